"""The recovery sweep: which targets do networks find, trained on how many samples?"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from inspect import signature
from itertools import product

import pandas as pd
import torch

from llrnb.descriptions import (
    describe_network,
    describe_optimizer,
    describe_target,
    network_from,
    optimizer_from,
    target_from,
)
from llrnb.networks import TanhNetwork, predict, relative_error
from llrnb.sweep.plan import Cell
from llrnb.targets import Target, draw
from llrnb.training import GradientDescent, Optimizer, train

# Of one neuron, sample and step, on one core; only the order of the jobs and the ETA rest on it.
_SECONDS = 1.2e-9

_PLAIN = GradientDescent()
_DESCRIBED = describe_optimizer(_PLAIN)


@dataclass(frozen=True)
class Recovery:
    """Which networks to train on a target's samples; the sweep trains every combination.

    A cell is one architecture at one sample size, with all learning rates and trials.

    Attributes:
        target: the function to recover.
        families: for each family's name, the network at a multiple of its narrowest width.
        multiples: N for the networks named Nx.
        samples: sample sizes n.
        learning_rates: all of them are tried at every sample size.
        trials: independent data sets and initialisations.
        steps, tolerance, std: as in `llrnb.train`.
        test_samples: size of the one test set, which all networks share.
        engine: as in `llrnb.train`.
        variant: a name for the rows, to tell presets apart in one table.
        optimizer, batch_size, precision: as in `llrnb.train`.
    """

    target: Target
    families: Mapping[str, Callable[[int], TanhNetwork]]
    multiples: tuple[int, ...]
    samples: tuple[int, ...]
    learning_rates: tuple[float, ...]
    trials: int
    steps: int
    tolerance: float
    std: float
    test_samples: int
    engine: str = "cpu"
    variant: str = ""
    optimizer: Optimizer = _PLAIN
    batch_size: int | None = None
    precision: str = "float64"

    notebook = "recovery"  # of llrnb/jobs
    along = "samples"  # a job may take several cells that differ in this parameter only

    @staticmethod
    def compute(**cell) -> pd.DataFrame:
        """The rows of a cell."""
        return train_cell(**cell)

    def cells(self) -> list[Cell]:
        """Everything to train, as parameters of `train_cell`."""
        target = describe_target(self.target)
        networks = len(self.learning_rates) * self.trials
        cells = []
        for (family, narrowest), multiple in product(self.families.items(), self.multiples):
            net = narrowest(multiple)
            for samples in self.samples:
                parameters = {
                    "variant": self.variant,
                    "family": family,
                    "multiple": multiple,
                    "network": describe_network(net),
                    "target": target,
                    "samples": samples,
                    "learning_rates": list(self.learning_rates),
                    "trials": self.trials,
                    "steps": self.steps,
                    "tolerance": self.tolerance,
                    "std": self.std,
                    "test_samples": self.test_samples,
                    "engine": self.engine,
                    "device": "cpu",
                    **options(
                        optimizer=describe_optimizer(self.optimizer),
                        batch_size=self.batch_size,
                        precision=self.precision,
                    ),
                }
                work = net.neurons * samples * self.steps * networks
                cells.append(Cell(parameters, seconds=_SECONDS * work))
        return cells


def train_cell(
    *,
    variant: str,
    family: str,
    multiple: int,
    network: Mapping,
    target: Mapping,
    samples: int,
    learning_rates: list[float],
    trials: int,
    steps: int,
    tolerance: float,
    std: float,
    test_samples: int,
    engine: str = "cpu",
    device: str = "cpu",
    optimizer: Mapping = _DESCRIBED,
    batch_size: int | None = None,
    precision: str = "float64",
    record_at: Sequence[int] = (),
) -> pd.DataFrame:
    """Train one architecture at one sample size, at all learning rates and trials, in one call.

    A trial's data depend on the sample size and the trial alone, and its initialisation on the
    architecture and the trial, so a row does not depend on the rest of a preset.

    Args:
        variant, family, multiple: names that the rows carry.
        network, target, optimizer: as `llrnb.descriptions` reads them.
        samples, learning_rates, trials, test_samples: as in `Recovery`.
        steps, tolerance, std, engine, device, batch_size, precision, record_at: as in
            `llrnb.train`.

    Returns:
        One row per network: variant, family, multiple, parameters, samples, learning_rate, trial,
        train_loss and test_error (mean squared errors), relative_error (the test error over the
        mean square of the target on the test set), steps and status. With `record_at`, one row per
        recorded step and network: `recorded` is that step, and the errors are those it had then.
    """
    net, planted = network_from(network), target_from(target)
    coordinates = pd.DataFrame(
        product(learning_rates, range(trials)), columns=["learning_rate", "trial"]
    )
    data = [draw(planted, samples, seed=trial) for trial in range(trials)]
    inputs, outputs = (
        torch.stack([part[trial] for trial in coordinates["trial"]])
        for part in zip(*data, strict=True)
    )
    result = train(
        net,
        inputs,
        outputs,
        learning_rates=coordinates["learning_rate"].tolist(),
        seeds=coordinates["trial"].tolist(),
        steps=steps,
        tolerance=tolerance,
        std=std,
        engine=engine,
        device=device,
        optimizer=optimizer_from(optimizer),
        batch_size=batch_size,
        precision=precision,
        record_at=record_at,
    )
    rows = coordinates.assign(
        variant=variant,
        family=family,
        multiple=multiple,
        parameters=net.parameter_count,
        samples=samples,
        steps=result.steps.numpy(),
        status=[str(status) for status in result.status],
    )
    test_set = draw(planted, test_samples)
    if not record_at:
        return _with_errors(rows, net, result.params, result.loss, test_set)
    looks = [
        _with_errors(
            rows.assign(recorded=step),
            net,
            {name: value[look] for name, value in result.history.params.items()},
            result.history.loss[look],
            test_set,
        )
        for look, step in enumerate(result.history.steps)
    ]
    return pd.concat(looks, ignore_index=True)


def _with_errors(rows, net, params, loss, test_set) -> pd.DataFrame:
    test_inputs, truth = test_set
    predictions = predict(net, params, test_inputs)
    return rows.assign(
        train_loss=loss.numpy(),
        test_error=(predictions - truth).square().mean(dim=-1).numpy(),
        relative_error=relative_error(predictions, truth).numpy(),
    )


def options(*, optimizer: Mapping, batch_size: int | None, precision: str) -> dict:
    """Those options of `train_cell` that are not as they are by default.

    Only these belong to a cell's parameters, so that a new option leaves old keys as they are.
    """
    given = {
        "optimizer": describe_optimizer(optimizer_from(optimizer)),
        "batch_size": batch_size,
        "precision": precision,
    }
    default = signature(train_cell).parameters
    return {name: value for name, value in given.items() if value != default[name].default}


def best_rate(table: pd.DataFrame, by: str = "test_error") -> pd.DataFrame:
    """The rows trained at each cell's best learning rate: the one with the lowest mean of `by`.

    Choosing by test error is what the paper does, an oracle's choice; choosing by train loss is
    what a user can do.
    """
    cell = ["variant", "family", "multiple", "samples"]
    means = table.groupby([*cell, "learning_rate"])[by].mean().reset_index()
    best = means.loc[means.groupby(cell)[by].idxmin(), [*cell, "learning_rate"]]
    return table.merge(best)


def means(table: pd.DataFrame) -> pd.DataFrame:
    """Mean and standard error over the trials, for every network, sample size and learning rate.

    Returns:
        Columns variant, family, multiple, parameters, samples, learning_rate, trials, and for
        train_loss, test_error and relative_error each a mean and, with `_sem` behind its name, the
        standard error of the mean (missing for a single trial).
    """
    by = ["variant", "family", "multiple", "parameters", "samples", "learning_rate"]
    values = ["train_loss", "test_error", "relative_error"]
    groups = table.groupby(by, sort=False)
    errors = groups[values].sem().add_suffix("_sem")
    found = pd.concat([groups.size().rename("trials"), groups[values].mean(), errors], axis=1)
    return found.reset_index()
