"""The sweep of one's own: any model, trained on any data, over sample sizes and learning rates."""

import hashlib
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from inspect import signature
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from llrnb import checks
from llrnb.descriptions import describe_optimizer, optimizer_from
from llrnb.streams import rng
from llrnb.sweep.plan import KINDS, Cell, cell, different
from llrnb.training import LOSSES, PRECISIONS, GradientDescent, Optimizer, train
from llrnb.training.losses import loss_of, mean_loss

_PLAIN = GradientDescent()
_DESCRIBED = describe_optimizer(_PLAIN)
_SECONDS = 3e-3  # of one network and step; only the order of the jobs and the ETA rest on it


def referred(reference: str) -> object:
    """What a reference names: "package.module:name", or "folder/file.py:name".

    Raises:
        ValueError: another form, no such module or file, or no such name in it.
    """
    place, colon, name = checks.text(reference, "a reference").rpartition(":")
    if not (colon and place and name):
        raise ValueError(
            f"a reference needs the form module:name or file.py:name, got {reference!r}"
        )
    module = _module(place)
    if not hasattr(module, name):
        raise ValueError(f"{place} needs to define {name!r}, which it does not")
    return getattr(module, name)


def _module(place: str) -> ModuleType:
    if place.endswith(".py"):
        return _from_file(Path(place))
    try:
        return import_module(place)
    except ImportError as error:
        raise ValueError(f"a reference needs a module that can be imported, got {error}") from error


def _from_file(path: Path) -> ModuleType:
    """The module of a file, under a name that depends on its path and contents."""
    try:
        contents = path.read_bytes()
    except OSError as error:
        raise ValueError(f"a reference needs a file that can be read, got {error}") from None
    name = f"llrnb_{path.stem}_{hashlib.sha256(str(path).encode() + contents).hexdigest()[:8]}"
    if name not in sys.modules:
        spec = spec_from_file_location(name, path)
        module = module_from_spec(spec)
        sys.modules[name] = module  # first, as pickled objects look there
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
    return sys.modules[name]


def _settled(reference: str) -> str:
    """With the whole path of a file, for workers that start elsewhere."""
    place, _, name = reference.rpartition(":")
    return f"{Path(place).resolve()}:{name}" if place.endswith(".py") else reference


def _source(*references: str) -> str:
    """A hash of the files, so that rows of an older text are not taken for those of this one."""
    places = {reference.rpartition(":")[0] for reference in references}
    files = {place: _module(place).__file__ for place in sorted(places)}
    contents = b"\n".join(Path(file).read_bytes() for file in files.values() if file)
    return hashlib.sha256(contents).hexdigest()[:12]


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

    notebook = "own"  # of llrnb/jobs
    along = "samples"

    def __post_init__(self) -> None:
        checks.settle_by_annotation(self, KINDS)
        checks.instance(self.optimizer, Optimizer, "optimizer")
        checks.one_of(LOSSES, "loss", self.loss)
        checks.one_of(PRECISIONS, "precision", self.precision)
        different(self.samples, "sample sizes")
        different(self.learning_rates, "learning rates")
        for name in ("model", "data"):
            reference = _settled(getattr(self, name))
            checks.settle(self, **{name: reference})
            found = referred(reference)
            if not callable(found) or isinstance(found, torch.nn.Module):
                raise TypeError(f"{reference} needs to be a function, got {checks.came(found)}")

    @staticmethod
    def compute(**cell) -> pd.DataFrame:
        """The rows of a cell."""
        return own_cell(**cell)

    @staticmethod
    def labels_of(cell: Mapping) -> dict:
        """The columns of a cell's rows that only name them."""
        return {"variant": cell.get("variant") or ""}

    def cells(self) -> list[Cell]:
        """Everything to train, as parameters of `own_cell`."""
        names = signature(own_cell).parameters
        parameters = {
            **{name: getattr(self, name) for name in names if hasattr(self, name)},
            "learning_rates": list(self.learning_rates),
            "optimizer": describe_optimizer(self.optimizer),
            "source": _source(self.model, self.data),
            "device": "cpu",
        }
        seconds = _SECONDS * self.steps * len(self.learning_rates) * self.trials
        labels = self.labels_of(parameters)
        return [Cell({**parameters, "samples": n}, seconds, labels) for n in self.samples]


def from_yaml(path: Path | str) -> OwnModel:
    """An `OwnModel` from a YAML file with its fields by name.

    Files are looked for beside it; the optimizer is written as `llrnb.descriptions` reads it.

    Raises:
        ValueError: a file that cannot be read, other names, or values of another kind.
        ImportError: there is no pyyaml.
    """
    try:
        import yaml
    except ImportError:
        raise ImportError("a sweep from YAML needs pyyaml: pip install 'llrnb[sweep]'") from None
    path = Path(path)
    try:
        found = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"a sweep needs a YAML file that can be read, got {error}") from None
    given = checks.meant(checks.mapping(found, str(path)))
    known = [field.name for field in fields(OwnModel)]
    if unknown := sorted(set(given) - set(known)):
        raise ValueError(f"{path} needs names among {known}, got {unknown}")
    if missing := {"model", "data", "samples", "learning_rates", "steps"} - set(given):
        raise ValueError(f"{path} needs {sorted(missing)}, too")
    for name in ("model", "data"):
        place = checks.text(given[name], name).rpartition(":")[0]
        if place.endswith(".py"):
            given[name] = str(path.parent / given[name])
    if "optimizer" in given:
        given["optimizer"] = optimizer_from(given["optimizer"])
    return OwnModel(**given)


@cell
def own_cell(
    *,
    model: str,
    data: str,
    samples: int,
    learning_rates: Sequence[float],
    steps: int,
    trials: int = 1,
    tolerance: float = 1e-12,
    std: float | None = None,
    loss: str = "squared",
    test_samples: int = 1000,
    optimizer: Mapping = _DESCRIBED,
    batch_size: int | None = None,
    precision: str = "float64",
    variant: str | None = "",
    source: str = "",
    device: str = "cpu",
) -> pd.DataFrame:
    """Train a model of one's own at one sample size, at all learning rates and trials.

    Args:
        source: what `OwnModel` found the files to be; empty if that does not matter.
        others: as in `OwnModel`, with the optimizer as `llrnb.descriptions` reads it.

    Returns:
        One row per network: variant, samples, learning_rate, trial, parameters, train_loss,
        test_loss, steps, status and engine.

    Raises:
        ValueError: the files are not those of `source` any more.
    """
    if source and source != (now := _source(model, data)):
        raise ValueError(f"the cell needs files with the hash {source}, got {now}")
    build, drawn, least = referred(model), referred(data), loss_of(loss)
    test_inputs, truth = _drawn(drawn, test_samples, rng("own test inputs", samples=test_samples))
    tables = []
    for trial in range(trials):
        inputs, outputs = _drawn(drawn, samples, rng("own inputs", samples=samples, seed=trial))
        run = train(
            build,
            inputs,
            outputs,
            learning_rates=learning_rates,
            seeds=[trial] * len(learning_rates),
            steps=steps,
            tolerance=tolerance,
            std=std,
            loss=loss,
            device=device,
            optimizer=optimizer_from(optimizer),
            batch_size=batch_size,
            precision=precision,
        )
        losses = [mean_loss(least, made, truth) for made in run.predict(test_inputs)]
        rows = {
            "variant": variant or "",
            "samples": samples,
            "learning_rate": list(learning_rates),
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
