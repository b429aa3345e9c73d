"""The phase diagrams of Part II: planted ReLU problems on a grid of sample sizes and dimensions."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd
import torch

from llrnb import checks
from llrnb.endings import Instance
from llrnb.relu import metrics
from llrnb.relu import training as descent
from llrnb.relu.arrangements import MADE_FOR, Network, pose
from llrnb.relu.conditions import isometry
from llrnb.relu.planted import Data, Weights, data_matrix, plant
from llrnb.relu.verdict import recover
from llrnb.streams import rng
from llrnb.sweep.plan import (
    KINDS,
    Cell,
    cell,
    different,
    fields_for,
    grouping,
    one_row_per_trial,
)

NOT_RUN = str(Instance.NOT_RUN)
_OUTCOMES = {"recovery": ("recovered", "not recovered"), "isometry": ("holds", "fails")}
_GROUP = ["variant", "samples", "dim"]


@dataclass(frozen=True)
class PhaseDiagram:
    """Which planted problems to pose and what to ask of them; a cell is one (n, d).

    Attributes:
        task: "recovery" (a verdict), "isometry" (the condition's value), "solution" (the convex
            program's distances from the truth) or "descent" (those of a trained network).
        network: "plain", "skip" or "normalised".
        samples: sample sizes n.
        dims: input dimensions d.
        trials: independent instances of each (n, d).
        form: of the convex program: "relaxed", "exact" or "regularised".
        neurons, data, weights, noise: as in `llrnb.relu.plant`.
        steps: of a descent, by sign descent on one more neurons than samples.
        seconds: a guess at the time of an instance with n = 100, d = 50.
        variant: a name for the rows, to tell presets apart in one table.
    """

    task: str
    network: str
    samples: tuple[int, ...]
    dims: tuple[int, ...]
    trials: int
    form: str = "relaxed"
    neurons: int = 1
    data: str = "gaussian"
    weights: str = "random"
    noise: float = 0.0
    steps: int = 400
    seconds: float = 0.02
    variant: str = ""

    def __post_init__(self) -> None:
        checks.settle_by_annotation(self, KINDS)
        _check_words(self.task, self.network, self.form, self.data, self.weights)
        different(self.samples, "sample sizes")
        different(self.dims, "dimensions")

    def cells(self) -> list[Cell]:
        """Everything to pose, as parameters of `phase_cell`."""
        fields, labels = fields_for(phase_cell, self), {"variant": self.variant}
        return [
            Cell(
                "llrnb.sweep.phase:phase_cell",
                {**fields, "dim": dim, "samples": samples},
                labels,
                self.seconds * self.trials * (samples / 100) ** 2,
            )
            for dim, samples in product(self.dims, self.samples)
        ]


@cell
def phase_cell(
    *,
    task: str,
    network: str,
    samples: int,
    dim: int,
    trials: int,
    form: str,
    neurons: int,
    data: str,
    weights: str,
    noise: float,
    steps: int,
) -> pd.DataFrame:
    """Pose the problems of one (n, d) and do the task on each.

    An instance depends on n, d, its trial and the kinds of data, weights and labels alone.

    Returns:
        One row per trial: task, network, form, data, weights, neurons, noise, samples,
        dim, trial; outcome; and by the task

        recovery: reason, iterations; the outcome is the verdict's;
        isometry: value, valid; the outcome is "holds" or "fails";
        solution: weight_distance, test_distance, test_mse, cosine, other_norm, residual, gap,
        violation; the outcome is "accurate" or "inaccurate", see `llrnb.relu.solutions`;
        descent: weight_distance, test_distance, test_mse, cosine, other_norm, train_loss.

        The outcome of a problem that cannot be posed, because n < d in a normalised network, is
        "not run", which is no verdict, and its other values are missing.

    Raises:
        ValueError: another task, or as `plant` and `recover`.
    """
    _check_words(task, network, form, data, weights)
    labels = MADE_FOR[network]
    rows = pd.DataFrame({"trial": range(trials)}).assign(
        task=task, network=network, form=form, data=data, weights=weights,
        neurons=neurons, noise=noise, samples=samples, dim=dim,
    )  # fmt: skip
    if network == "normalised" and samples < dim:
        return rows.assign(outcome=NOT_RUN)
    planted = [
        plant(
            samples, dim, labels=labels, neurons=neurons, data=data, weights=weights, noise=noise,
            seed=trial,
        )
        for trial in range(trials)
    ]  # fmt: skip
    key = {"samples": samples, "inputs": dim}
    fresh = [
        data_matrix(samples, dim, data, rng("planted test inputs", **key, seed=trial))
        for trial in range(trials)
    ]
    found = _TASKS[task](planted, fresh, network=network, form=form, steps=steps)
    return rows.join(pd.DataFrame(found))


def shares(table: pd.DataFrame, outcome: str = "recovered") -> pd.DataFrame:
    """For every variant and (n, d), the share of its trials with an outcome.

    Returns:
        Columns variant, samples, dim, trials, value (the share of those that were run and decided;
        missing if there is none), undecided and not_run (counts).

    Raises:
        ValueError: an outcome that is none of the table's task, several tasks, or a trial with
            several rows in a group.
    """
    group = grouping(table, _GROUP)
    checks.table(table, ["task", *group, "trial", "outcome"])
    if len(tasks := table["task"].unique()) > 1:
        raise ValueError(f"shares need rows of one task, got {list(tasks)}")
    possible = set(table["outcome"]) - {NOT_RUN, "undecided"}
    possible = possible.union(*(_OUTCOMES.get(task, ()) for task in tasks))
    if outcome not in possible:
        raise ValueError(f"the outcome needs to be one of {sorted(possible)}, got {outcome!r}")
    one_row_per_trial(table, group)
    by = table.assign(
        value=(table["outcome"] == outcome).astype(float),
        undecided=table["outcome"] == "undecided",
        not_run=table["outcome"] == NOT_RUN,
    )
    by.loc[by["undecided"] | by["not_run"], "value"] = np.nan
    groups = by.groupby(group, sort=False, dropna=False)
    return groups.agg(
        trials=("trial", "size"),
        value=("value", "mean"),
        undecided=("undecided", "sum"),
        not_run=("not_run", "sum"),
    ).reset_index()


def averages(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """For every variant and (n, d), the mean of a metric over its trials.

    Returns:
        Columns variant, samples, dim, trials (those that were run), value, sem (the standard error
        of the mean). Both are missing where one of the trials that were run has no number.

    Raises:
        ValueError: a trial with several rows in a group.
    """
    group = grouping(table, _GROUP)
    checks.table(table, [*group, "trial", "outcome"])
    checks.one_of(table.columns, "metric", metric)
    one_row_per_trial(table, group)
    run = table["outcome"] != NOT_RUN
    rows = table[group].assign(run=run, metric=table[metric].where(run))
    groups = rows.groupby(group, sort=False, dropna=False)
    found = groups.agg(
        trials=("run", "sum"),
        value=("metric", "mean"),
        sem=("metric", "sem"),
        known=("metric", "count"),
    )
    found.loc[found["known"] < found["trials"], ["value", "sem"]] = np.nan
    return found.drop(columns="known").reset_index()


def _verdict(planted, fresh, *, network, form, **_) -> list[dict]:
    verdicts = [recover(pose(p, network, seed=trial), form) for trial, p in enumerate(planted)]
    return [
        {"outcome": str(v.outcome), "reason": str(v.reason), "iterations": v.iterations}
        for v in verdicts
    ]


def _isometry(planted, fresh, *, network, **_) -> list[dict]:
    found = [isometry(pose(p, network, seed=trial)) for trial, p in enumerate(planted)]
    return [
        {
            "outcome": str(Instance.HOLDS if one.holds else Instance.FAILS),
            "value": one.value,
            "valid": one.valid,
        }
        for one in found
    ]


def _solution(planted, fresh, *, network, form, **_) -> list[dict]:
    rows = []
    for trial, (truth, inputs) in enumerate(zip(planted, fresh, strict=True)):
        problem = pose(truth, network, seed=trial)
        found = metrics.solution(problem, form)
        off = metrics.predictions(problem, found, inputs) - truth(inputs)
        measures: dict[str, Callable] = {
            name: getattr(metrics, name)
            for name in ("weight_distance", "cosine", "other_norm", "residual")
        }
        rows.append(
            {
                "outcome": str(Instance.ACCURATE if found.accurate else Instance.INACCURATE),
                "gap": found.gap,
                "violation": found.violation,
                "test_distance": float(np.linalg.norm(off)),
                "test_mse": float(np.mean(off**2)),
                **{name: measure(problem, found) for name, measure in measures.items()},
            }
        )
    return rows


def _descent(planted, fresh, *, network, steps, **_) -> list[dict]:
    inputs, outputs, weights, test_inputs, truth = (
        torch.from_numpy(np.stack(part))
        for part in (
            [p.inputs for p in planted],
            [p.outputs for p in planted],
            [p.weights for p in planted],
            fresh,
            [p(x) for p, x in zip(planted, fresh, strict=True)],
        )
    )
    run = descent.train_relu(network, inputs, outputs, seeds=range(len(planted)), steps=steps)
    guesses = descent.predict_relu(network, run.params, test_inputs)
    goal = weights.sum(dim=-1)
    if network == "skip":
        linear = run.params["alpha0"][:, None] * run.params["w0"]
        cosine = torch.nn.functional.cosine_similarity(linear, goal)
    else:
        cosine = torch.full((len(planted),), torch.nan, device="cpu")
    columns = {
        "weight_distance": descent.weight_distance(network, run.params, weights, inputs),
        "test_distance": descent.test_distance(guesses, truth),
        "test_mse": descent.test_mse(guesses, truth),
        "cosine": cosine,
        "other_norm": (run.params["W"] * run.params["alpha"][:, None]).flatten(1).norm(dim=1),
        "train_loss": run.loss,
    }
    table = pd.DataFrame({name: value.numpy() for name, value in columns.items()})
    return table.assign(outcome=str(Instance.TRAINED)).to_dict("records")


_TASKS: dict[str, Callable] = {
    "recovery": _verdict,
    "isometry": _isometry,
    "solution": _solution,
    "descent": _descent,
}


def _check_words(task: str, network: str, form: str, data: str, weights: str) -> None:
    checks.one_of(_TASKS, "task", task)
    checks.one_of(Network, "network", network)
    checks.one_of(("relaxed", "exact", "regularised"), "form", form)
    checks.one_of(Data, "data", data)
    checks.one_of(Weights, "weights", weights)
