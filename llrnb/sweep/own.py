"""The sweep of one's own: any model, trained on any data, over sample sizes and learning rates."""

from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from llrnb import checks
from llrnb.descriptions import optimizer_from
from llrnb.streams import rng
from llrnb.sweep.grid import Grid
from llrnb.sweep.plan import KINDS, Cell, described, different
from llrnb.sweep.references import reference_to, referred, source_of
from llrnb.training import LOSSES, PRECISIONS, GradientDescent, Optimizer, train
from llrnb.training.losses import loss_of, mean_loss

_PLAIN = GradientDescent()
_NOT_OF_TRAIN = ("model", "data", "samples", "trials", "test_samples", "variant")
_NAMES = ("labels", "source", "variant")
_SECONDS = 3e-3  # of one network and step; only the order of the jobs and the ETA rest on it


@dataclass(frozen=True)
class OwnModel:
    """Train a model of one's own on one's own data; the sweep trains every combination.

    A cell is one sample size, with all learning rates and trials. Its key holds a hash of the files
    that are referred to: after a change of them, cells are computed anew.

    Attributes:
        model: "file.py:name" or "package.module:name" of a function without arguments that makes a
            torch module, or a model; each trial calls it at its own seed.
        data: the same of a function (samples, stream) -> (inputs, outputs), which draws from the
            NumPy generator `stream`: every trial has its own, and the test set has one.
        samples: sample sizes n.
        learning_rates: all of them are tried at every sample size.
        steps: the most updates.
        trials: independent data sets and initialisations.
        tolerance, std, loss, optimizer, batch_size, precision: as in `llrnb.train`.
        test_samples: size of the test set, which all networks share.
        variant: a name for the rows.
    """

    model: str
    data: str
    samples: tuple[int, ...]
    learning_rates: tuple[float, ...]
    steps: int
    trials: int = 1
    tolerance: float = 1e-12
    std: float | None = None
    loss: str = "squared"
    test_samples: int = 1000
    optimizer: Optimizer = _PLAIN
    batch_size: int | None = None
    precision: str = "float64"
    variant: str = ""

    def __post_init__(self) -> None:
        checks.settle_by_annotation(self, KINDS)
        checks.instance(self.optimizer, Optimizer, "optimizer")
        checks.one_of(LOSSES, "loss", self.loss)
        checks.one_of(PRECISIONS, "precision", self.precision)
        different(self.samples, "sample sizes")
        different(self.learning_rates, "learning rates")
        for name in ("model", "data"):
            reference = reference_to(getattr(self, name))
            checks.settle(self, **{name: reference})
            found = referred(reference)
            if not callable(found) or isinstance(found, torch.nn.Module):
                raise TypeError(f"{reference} needs to be a function, got {checks.came(found)}")

    def cells(self) -> list[Cell]:
        """Everything to train, as parameters of `own_cell`."""
        given = {field.name: described(getattr(self, field.name)) for field in fields(self)}
        labels = {"variant": given.pop("variant")}
        parameters = {**given, "source": source_of(self.model, self.data), "device": "cpu"}
        seconds = _SECONDS * self.steps * len(self.learning_rates) * self.trials
        return [
            Cell("llrnb.sweep.own:own_cell", {**parameters, "samples": n}, labels, seconds)
            for n in self.samples
        ]


def from_yaml(path: Path | str) -> OwnModel | Grid:
    """A preset from a YAML file with its fields by name: an `OwnModel`, or, by `compute`, a `Grid`.

    Files are looked for beside it; the optimizer is written as `llrnb.descriptions` reads it.

    Raises:
        ValueError: a file that cannot be read, other names, or values of another kind.
        ImportError: there is no pyyaml.
    """
    path = Path(path)
    given = checks.mapping(_read(path), str(path))
    kind = Grid if "compute" in given else OwnModel
    known = {field.name: field for field in fields(kind)}
    if unknown := sorted(set(given) - set(known)):
        raise ValueError(f"{path} needs names among {list(known)}, got {unknown}")
    needed = {n for n, f in known.items() if f.default is MISSING and f.default_factory is MISSING}
    if missing := sorted(needed - set(given)):
        raise ValueError(f"{path} needs {missing}, too")
    for name in {"model", "data", "compute"} & set(given):
        place = checks.text(given[name], name).rpartition(":")[0]
        if place.endswith(".py"):
            given[name] = str(path.parent / given[name])
    return Grid(**_meant(given)) if kind is Grid else _from_values(given)


def _from_values(given: Mapping) -> OwnModel:
    """With an optimizer, and numbers, as a file has them."""
    values = _meant(given)
    if "optimizer" in values:
        values["optimizer"] = optimizer_from(values["optimizer"])
    return OwnModel(**values)


def _meant(given: Mapping) -> dict:
    """With its numbers as numbers; a name may look like one."""
    return {name: v if name in _NAMES else checks.meant(v) for name, v in given.items()}


def _read(path: Path) -> object:
    try:
        import yaml
    except ImportError:
        raise ImportError("a sweep from YAML needs pyyaml: pip install 'llrnb[sweep]'") from None
    try:
        return yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"a sweep needs a YAML file that can be read, got {error}") from None


def own_cell(*, samples: int, source: str = "", device: str = "cpu", **others) -> pd.DataFrame:
    """Train a model of one's own at one sample size, at all learning rates and trials.

    Args:
        samples: of a data set.
        source: what `OwnModel` found the files to be; empty if that does not matter.
        device: "cpu" or "cuda".
        others: as in `OwnModel`, with the optimizer as `llrnb.descriptions` reads it.

    Returns:
        One row per network: samples, learning_rate, trial, parameters, train_loss,
        test_loss, steps, status and engine.

    Raises:
        ValueError: the files are not those of `source` any more.
    """
    asked = _from_values({**others, "samples": (samples,)})
    build, drawn, least = referred(asked.model), referred(asked.data), loss_of(asked.loss)
    if source and source != (now := source_of(asked.model, asked.data)):
        raise ValueError(f"the cell needs files with the hash {source}, got {now}")
    options = {f.name: getattr(asked, f.name) for f in fields(asked) if f.name not in _NOT_OF_TRAIN}
    rates, size = options["learning_rates"], asked.test_samples
    test_inputs, truth = _drawn(drawn, size, rng("own test inputs", samples=size))
    tables = []
    for trial in range(asked.trials):
        inputs, outputs = _drawn(drawn, samples, rng("own inputs", samples=samples, seed=trial))
        seeds = [trial] * len(rates)
        run = train(build, inputs, outputs, seeds=seeds, device=device, **options)
        losses = [mean_loss(least, made, truth) for made in run.predict(test_inputs)]
        rows = {
            "samples": samples,
            "learning_rate": list(rates),
            "trial": trial,
            "parameters": sum(value[0].numel() for value in run.params.values()),
            "train_loss": run.loss.numpy(),
            "test_loss": np.array([float(value) for value in losses]),
            "steps": run.steps.numpy(),
            "status": [str(status) for status in run.status],
            "engine": run.engine,
        }
        tables.append(pd.DataFrame(rows))
    return pd.concat(tables, ignore_index=True)


def _drawn(data: Callable, samples: int, stream: np.random.Generator) -> tuple[Tensor, Tensor]:
    """What a function of one's own draws, as tensors."""
    found = data(samples, stream)
    if not isinstance(found, tuple | list) or len(found) != 2:
        raise ValueError(f"data needs to give inputs and outputs, got {checks.came(found)}")
    inputs, outputs = (torch.as_tensor(part) for part in found)
    if len(inputs) != samples or len(outputs) != samples:
        raise ValueError(
            f"data needs to give {samples} samples, got {len(inputs)} inputs and {len(outputs)} "
            "outputs"
        )
    return inputs, outputs
