"""Recovery sweeps: a preset in, a table out with one row per trained network."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product

import pandas as pd
import torch

from llrnb.networks import TanhNetwork, predict, relative_error
from llrnb.targets import Target, draw
from llrnb.training import train


@dataclass(frozen=True)
class Recovery:
    """Which networks to train on a target's samples; the sweep trains every combination.

    Attributes:
        target: the function to recover.
        families: for each family's name, the network at a multiple of its narrowest width.
        multiples: N for the networks named Nx.
        samples: sample sizes n.
        learning_rates: all of them are tried at every sample size.
        trials: independent data sets and initialisations.
        steps, tolerance, std: as in `llrnb.train`.
        test_samples: size of the one test set, which all networks share.
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


def run(preset: Recovery) -> pd.DataFrame:
    """Train everything in a preset.

    A trial's data depend on the sample size and the trial alone, and its initialisation on the
    architecture and the trial, so a row does not depend on the rest of the preset.

    Returns:
        One row per network: family, multiple, parameters, samples, learning_rate, trial,
        train_loss and test_error (mean squared errors), relative_error (the test error over the
        mean square of the target on the test set), steps and status.
    """
    cells = product(preset.families, preset.multiples, preset.samples)
    return pd.concat([_cell(preset, *cell) for cell in cells], ignore_index=True)


def _cell(preset: Recovery, family: str, multiple: int, samples: int) -> pd.DataFrame:
    """All learning rates and trials of one architecture at one sample size, in one call."""
    net = preset.families[family](multiple)
    coordinates = pd.DataFrame(
        product(preset.learning_rates, range(preset.trials)), columns=["learning_rate", "trial"]
    )
    data = [draw(preset.target, samples, seed=trial) for trial in range(preset.trials)]
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
        steps=preset.steps,
        tolerance=preset.tolerance,
        std=preset.std,
    )
    test_inputs, truth = draw(preset.target, preset.test_samples)
    predictions = predict(net, result.params, test_inputs)
    return coordinates.assign(
        family=family,
        multiple=multiple,
        parameters=net.parameter_count,
        samples=samples,
        train_loss=result.loss.numpy(),
        test_error=(predictions - truth).square().mean(dim=-1).numpy(),
        relative_error=relative_error(predictions, truth).numpy(),
        steps=result.steps.numpy(),
        status=[str(status) for status in result.status],
    )


def best_rate(table: pd.DataFrame, by: str = "test_error") -> pd.DataFrame:
    """The rows trained at each cell's best learning rate: the one with the lowest mean of `by`.

    A cell is a family, a multiple and a sample size. Choosing by test error is what the paper
    does, an oracle's choice; choosing by train loss is what a user can do.
    """
    cell = ["family", "multiple", "samples"]
    means = table.groupby([*cell, "learning_rate"])[by].mean().reset_index()
    best = means.loc[means.groupby(cell)[by].idxmin(), [*cell, "learning_rate"]]
    return table.merge(best)
