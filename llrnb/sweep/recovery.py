"""The recovery sweep: which targets do networks find, trained on how many samples?"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from inspect import signature
from itertools import product

import numpy as np
import pandas as pd
import torch

from llrnb import checks
from llrnb.descriptions import (
    describe_network,
    describe_optimizer,
    describe_target,
    family_of,
    network_from,
    optimizer_from,
    target_from,
)
from llrnb.laws import NORMAL, NORMAL_DESCRIBED, Law, describe_law, law_from
from llrnb.networks import TwoLayerNetwork, predict, relative_error
from llrnb.stacks import Stack
from llrnb.sweep.plan import (
    KINDS,
    Cell,
    cell,
    different,
    fields_for,
    grouping,
    one_row_per_trial,
)
from llrnb.targets import Target, draw, draw_test
from llrnb.training import PRECISIONS, GradientDescent, Optimizer, Training, train
from llrnb.transitions import at_best_rate, choice_interval, transition_point

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
        engine: as in `llrnb.train`; on a GPU, the one that suits it.
        variant: a name for the rows, to tell presets apart in one table.
        optimizer, batch_size, precision: as in `llrnb.train`.
        law: what inputs are drawn from; tests, from its test law.
    """

    target: Target
    families: Mapping[str, Callable[[int], TwoLayerNetwork]]
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
    law: Law = NORMAL

    def __post_init__(self) -> None:
        checks.settle_by_annotation(self, KINDS)
        checks.instance(self.target, Target, "target")
        checks.instance(self.law, Law, "law")
        for name, family in checks.mapping(self.families, "families").items():
            checks.function(family, f"families[{name!r}]")
        checks.instance(self.optimizer, Optimizer, "optimizer")
        checks.one_of(("auto", "cpu", "torch"), "engine", self.engine)
        checks.one_of(PRECISIONS, "precision", self.precision)
        different(self.samples, "sample sizes")
        different(self.learning_rates, "learning rates")
        different(self.multiples, "multiples")

    def cells(self) -> list[Cell]:
        """Everything to train, as parameters of `train_cell`.

        Raises:
            ValueError: a network under the name of another family.
        """
        networks = len(self.learning_rates) * self.trials
        fields = {**fields_for(plan_cell, self, always=("engine",)), "device": "cpu"}
        cells = []
        for (family, narrowest), multiple in product(self.families.items(), self.multiples):
            net = narrowest(multiple)
            parameters = {**fields, "network": describe_network(net)}
            labels = {
                "variant": self.variant,
                "family": family_of(parameters["network"], family),
                "multiple": multiple,
            }
            seconds = _SECONDS * net.neurons * self.steps * networks
            cells += [
                Cell(
                    "llrnb.sweep.recovery:train_cell",
                    {**parameters, "samples": n},
                    labels,
                    seconds * n,
                )
                for n in self.samples
            ]
        return cells


@dataclass(frozen=True)
class Planned:
    """A cell, ready to be trained: networks with their data, and what their rows will say.

    Attributes:
        net: the architecture.
        data: inputs and outputs of each network.
        options: of `llrnb.train`, the same for all networks.
        rows: one per network, without the results.
        test_set: inputs and outputs.
    """

    net: TwoLayerNetwork
    data: list[tuple[torch.Tensor, torch.Tensor]]
    options: dict
    rows: pd.DataFrame
    test_set: tuple[torch.Tensor, torch.Tensor]

    def filled(self, result: Training) -> pd.DataFrame:
        """The rows with what these networks have become."""
        status = [str(status) for status in result.status]
        rows = self.rows.assign(steps=result.steps.numpy(), status=status)
        if not self.options["record_at"]:
            return self._with_errors(rows, result.params, result.loss)
        looks = [
            self._with_errors(
                rows.assign(recorded=step),
                result.history.at(look),
                result.history.loss[look],
            )
            for look, step in enumerate(result.history.steps)
        ]
        return pd.concat(looks, ignore_index=True)

    def _with_errors(self, rows: pd.DataFrame, params: Stack, loss: torch.Tensor) -> pd.DataFrame:
        inputs, truth = self.test_set
        predictions = predict(self.net, params.to(self.options["device"]), inputs).cpu()
        return rows.assign(
            train_loss=loss.numpy(),
            test_error=(predictions - truth).square().mean(dim=-1).numpy(),
            relative_error=relative_error(predictions, truth).numpy(),
        )


@cell
def plan_cell(
    *,
    network: Mapping,
    target: Mapping,
    samples: int,
    learning_rates: Sequence[float],
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
    looks: int | None = None,
    law: Mapping = NORMAL_DESCRIBED,
) -> Planned:
    """What `train_cell` trains; its arguments.

    Args:
        network, target, optimizer: as `llrnb.descriptions` reads them.
        law: of the inputs, as `llrnb.laws.law_from` reads it.
        samples, learning_rates, trials, test_samples: as in `Recovery`.
        steps, tolerance, std, engine, device, batch_size, precision, record_at: as in
            `llrnb.train`.
        looks: instead of `record_at`, how many steps the function `looks` chooses.
    """
    net, planted = network_from(network), target_from(target)
    different(learning_rates, "learning rates")
    if looks and record_at:
        raise ValueError(f"a cell needs record_at or looks, got {record_at} and {looks}")
    if net.input_shape != planted.input_shape:
        raise ValueError(
            f"a network needs the target's input_shape {planted.input_shape}, got {net.input_shape}"
        )
    checks.room("the data", len(learning_rates), trials, samples, net.input_dim)
    rows = pd.DataFrame(product(learning_rates, range(trials)), columns=["learning_rate", "trial"])
    described = json.dumps(describe_target(planted), sort_keys=True)
    drawn = json.dumps(describe_law(law_from(law)), sort_keys=True)
    data = [_data(described, drawn, samples, trial) for trial in range(trials)]
    return Planned(
        net,
        [data[trial] for trial in rows["trial"]],
        {
            "steps": steps,
            "tolerance": tolerance,
            "std": std,
            "engine": engine,
            "device": device,
            "optimizer": optimizer_from(optimizer),
            "batch_size": batch_size,
            "precision": precision,
            "record_at": _looks(steps, looks) if looks else record_at,
        },
        rows.assign(parameters=net.parameter_count, samples=samples),
        _test_data(described, drawn, test_samples),
    )


@lru_cache(maxsize=4096)
def _data(target: str, law: str, samples: int, trial: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A trial's data, which all architectures and learning rates share."""
    law_of_inputs = law_from(json.loads(law))
    return draw(target_from(json.loads(target)), samples, seed=trial, law=law_of_inputs)


@lru_cache(maxsize=16)
def _test_data(target: str, law: str, samples: int) -> tuple[torch.Tensor, torch.Tensor]:
    return draw_test(target_from(json.loads(target)), samples, law=law_from(json.loads(law)))


def train_cell(**cell) -> pd.DataFrame:
    """Train one architecture at one sample size, at all learning rates and trials, in one call.

    A trial's data depend on the sample size and the trial alone, and its initialisation on the
    architecture and the trial, so a row does not depend on the rest of a preset.

    Args:
        cell: as `plan_cell` takes it.

    Returns:
        One row per network: parameters, samples, learning_rate, trial, train_loss and test_error
        (mean squared errors), relative_error (the test error over the mean square of the target on
        the test set), steps and status. With `record_at` or `looks`, one row per recorded step and
        network: `recorded` is that step, and the errors are those it had then.
    """
    return train_cells([cell])[0]


train_cell.__signature__ = signature(plan_cell)  # type: ignore[attr-defined]  # as inspect asks


def train_cells(cells: Sequence[Mapping]) -> list[pd.DataFrame]:
    """The rows of cells that differ in their samples only, all networks trained in one call.

    Raises:
        ValueError: cells of different architectures or options.
    """
    plans = [plan_cell(**cell) for cell in cells]
    net, options = plans[0].net, plans[0].options
    if any(plan.net != net or plan.options != options for plan in plans):
        raise ValueError("cells that are trained in one call need to differ in their samples only")
    data = [pair for plan in plans for pair in plan.data]
    rows = pd.concat([plan.rows for plan in plans])
    result = train(
        net,
        [inputs for inputs, _ in data],
        [outputs for _, outputs in data],
        learning_rates=rows["learning_rate"].tolist(),
        seeds=rows["trial"].tolist(),
        **options,
    )
    ends = np.cumsum([len(plan.rows) for plan in plans]).tolist()
    return [
        plan.filled(result.of(range(end - len(plan.rows), end)))
        for plan, end in zip(plans, ends, strict=True)
    ]


train_cell.together = train_cells  # type: ignore[attr-defined]  # as a sweep asks


def looks(steps: int, count: int) -> list[int]:
    """At most so many steps at which to look at a run, from 1 to the last, even on a log scale.

    The last step is always one of them; a single look is at the last one.

    Raises:
        ValueError: fewer than 1 step or look.

    >>> looks(1000, 1), looks(1000, 4)
    ([1000], [1, 10, 100, 1000])
    """
    if steps < 1 or count < 1:
        raise ValueError(f"looks need at least 1 step and 1 look, got {steps} and {count}")
    spaced = np.geomspace(1, steps, count) if count > 1 else np.zeros(0)
    return sorted({*(round(float(step)) for step in spaced), steps})


_looks = looks  # where an argument has its name


def best_rate(table: pd.DataFrame, by: str = "test_error") -> pd.DataFrame:
    """The rows trained at each cell's best learning rate: the one with the lowest mean of `by`.

    Choosing by test error is what the paper does, an oracle's choice; choosing by train loss is
    what a user can do. A network whose error is not a number has diverged, and counts as infinite:
    a rate at which one trial diverges is chosen only if one does at every rate, and then it is the
    smallest.

    Raises:
        ValueError: a trial with several rows in a cell at one rate.
    """
    cell = grouping(table, [*_NETWORK, "samples"])
    checks.table(table, [*cell, "learning_rate"])
    checks.one_of(table.columns, "by", by)
    one_row_per_trial(table, [*cell, "learning_rate"])
    table = table.reset_index(drop=True)
    rows = table[[*cell, "learning_rate"]].assign(error=table[by].fillna(np.inf))
    rows["mean"] = _within(rows, [*cell, "learning_rate"])["error"].transform("mean")
    lowest = rows[rows["mean"] == _within(rows, cell)["mean"].transform("min")]
    smallest = _within(lowest, cell)["learning_rate"].transform("min")
    return table.loc[lowest.index[lowest["learning_rate"] == smallest]].reset_index(drop=True)


def _within(table: pd.DataFrame, by: list[str]):
    """Groups in which a missing label is one like any other."""
    return table.groupby(by, sort=False, dropna=False)


# The relative test errors below which a network counts as recovered, beside each other: a share
# of recovered networks, or the sample size where it is one half, is one at a stated criterion.
CRITERIA = (1e-2, 1e-4, 1e-6, 1e-8)
# How a learning rate is chosen: by which error, and for all trials together or for each run.
RULES = {
    "test error, on average": ("test_error", False),
    "train loss, on average": ("train_loss", False),
    "test error, each run": ("test_error", True),
    "train loss, each run": ("train_loss", True),
}


def shares_below(
    errors: pd.Series,
    by: pd.Series | Sequence | None = None,
    criteria: Sequence[float] = CRITERIA,
) -> pd.DataFrame:
    """The share of networks whose relative test error is below each criterion.

    Args:
        errors: relative test errors; one that is not a number is below none.
        by: a column with the same index, several, or nothing for one row of all networks.
        criteria: for each one a column, "< 1e-04".

    Raises:
        ValueError: a column with another index.

    >>> shares_below(pd.Series([1e-9, 1e-5, 0.1, float("nan")])).to_numpy().tolist()
    [[0.5, 0.5, 0.25, 0.25]]
    """
    below = pd.DataFrame({f"< {level:.0e}": errors < level for level in criteria})
    if by is None:
        return below.mean().to_frame("all").T
    columns = [by] if isinstance(by, pd.Series) else list(by)
    for column in columns:
        if isinstance(column, pd.Series) and not column.index.equals(errors.index):
            raise ValueError(
                f"shares need columns with the errors' index {errors.index}, got {column.index}"
            )
    return below.groupby(columns, sort=False, dropna=False).mean()


def transition_points(
    table: pd.DataFrame, rule: str = "train loss, each run", criteria: Sequence[float] = CRITERIA
) -> pd.DataFrame:
    """n50 of every network at each criterion: where half of the trials have a smaller error.

    Args:
        table: rows at all learning rates.
        rule: of `RULES`: how the rate is chosen.
        criteria: on the relative test error.

    Returns:
        One row for each variant, family and multiple (for each number of parameters if the table
        has none of them), one column for each criterion; infinite where fewer than half reach it
        at every sample size.

    Raises:
        ValueError: a sample size that lacks a rate or a trial, or has one twice.
    """
    rows = {}
    for where, sizes, errors, scores, each_run in _by_rate(table, rule):
        chosen = at_best_rate(errors, scores, each_run)
        rows[where] = [transition_point(sizes, (chosen < c).mean(axis=1)) for c in criteria]
    return pd.DataFrame(
        rows.values(), _named(table, rows), [f"< {level:.0e}" for level in criteria]
    )


def transition_intervals(
    table: pd.DataFrame,
    rules: Sequence[str] = tuple(RULES),
    criterion: float = 1e-4,
    draws: int = 1000,
) -> pd.DataFrame:
    """95% intervals of n50, by each rule and over all: bootstraps that choose the rate anew.

    Returns:
        One row for each network, as of `transition_points`; for each rule and for "all" a column
        low and a column high.

    Raises:
        ValueError: as `transition_points`.
    """
    found: dict[str, pd.DataFrame] = {}
    for rule in rules:
        rows = {
            where: choice_interval(sizes, errors, scores, criterion, each_run, draws=draws)
            for where, sizes, errors, scores, each_run in _by_rate(table, rule)
        }
        found[rule] = pd.DataFrame(rows.values(), _named(table, rows), ["low", "high"])
    joined = pd.concat(found, axis=1)
    joined["all", "low"] = joined.xs("low", axis=1, level=1).min(axis=1)
    joined["all", "high"] = joined.xs("high", axis=1, level=1).max(axis=1)
    return joined


_NETWORK = ["variant", "family", "multiple"]


def _network(table: pd.DataFrame) -> list[str]:
    """The columns that tell networks apart."""
    return grouping(table, _NETWORK) or ["parameters"]


def _named(table: pd.DataFrame, networks: Iterable[tuple]) -> pd.MultiIndex:
    return pd.MultiIndex.from_tuples(networks, names=_network(table))


def _by_rate(table: pd.DataFrame, rule: str) -> Iterator[tuple]:
    """Every network's name, sample sizes, errors and scores "size rate trial", and the rule."""
    if rule not in RULES:
        raise ValueError(f"the rule needs to be one of {list(RULES)}, got {rule!r}")
    score, each_run = RULES[rule]
    network, axes = _network(table), ["samples", "learning_rate", "trial"]
    checks.table(table, [*network, *axes, "relative_error", score])
    one_row_per_trial(table, [*network, "samples", "learning_rate"])
    for where, rows in _within(table, network):
        rows = rows.sort_values(axes)
        shape = tuple(rows[axis].nunique() for axis in axes)
        if len(rows) != np.prod(shape):
            name = dict(zip(network, where, strict=True))
            raise ValueError(
                f"n50 needs every rate and trial at every sample size, got {len(rows)} rows of "
                f"{name} for {' x '.join(map(str, shape))} sizes, rates and trials"
            )
        errors, scores = (
            rows[name].to_numpy(float).reshape(shape) for name in ("relative_error", score)
        )
        yield where, rows["samples"].unique(), errors, scores, each_run


def means(
    table: pd.DataFrame, values: str | Sequence[str] = (), by: str | Sequence[str] = ()
) -> pd.DataFrame:
    """Mean and standard error over the trials, for every network, sample size and learning rate.

    Of the sweep of any function, such as a `Grid`, `values` are columns of its results, and `by`
    those that tell its cells apart; where a number is missing, the mean is, too.

    A loss or error that is not a number, of a network that has diverged, counts as infinite: the
    mean is then infinite, and its standard error is missing.

    Returns:
        Columns variant, family and multiple if the table has them, parameters, samples,
        learning_rate (or those of `by`), trials (the number of rows), and for train_loss,
        test_error and relative_error (or `values`) each a mean and, with `_sem` behind its name,
        the standard error of the mean (missing for a single trial). Of recorded steps the last one
        counts.

    Raises:
        ValueError: a trial with several rows in a group, other last steps than another's, values
            without `by`, or a column of them that holds other things than numbers.

    >>> rows = pd.DataFrame({"width": [1, 1, 2], "rank": [3, 5, 8]})
    >>> means(rows, "rank", by="width").to_dict("list")
    {'width': [1, 2], 'trials': [2, 1], 'rank': [4.0, 8.0], 'rank_sem': [1.0, nan]}
    """
    if not all(isinstance(names, tuple) and not names for names in (values, by)):
        return _own_means(table, *(_names(*given) for given in ((values, "values"), (by, "by"))))
    values = ["train_loss", "test_error", "relative_error"]
    by = grouping(table, [*_NETWORK, "parameters", "samples", "learning_rate"])
    checks.table(table, [*by, *values])
    table = _last_looks(table, by)
    groups = _within(table.fillna(dict.fromkeys(values, np.inf)), by)
    with np.errstate(invalid="ignore"):  # inf - inf
        errors = groups[values].sem().add_suffix("_sem")
    found = pd.concat([groups.size().rename("trials"), groups[values].mean(), errors], axis=1)
    return found.reset_index()


def _names(names: str | Sequence[str], kind: str) -> list[str]:
    return list(checks.many(checks.text, [names] if isinstance(names, str) else names, kind))


def _own_means(table: pd.DataFrame, values: list[str], by: list[str]) -> pd.DataFrame:
    different([*by, "trials", *(name + end for name in values for end in ("", "_sem"))], "columns")
    checks.table(table, [*by, *values])
    if wrong := [name for name in values if not pd.api.types.is_numeric_dtype(table[name])]:
        raise ValueError(f"means need columns of numbers, got {wrong}")
    if "trial" in table:
        one_row_per_trial(table, by)
    groups = _within(table.astype(dict.fromkeys(values, float)), by)
    trials = groups.size()
    whole = groups[values].count().eq(trials, axis=0)
    found = [groups[values].mean().where(whole)]
    found += [groups[values].sem().where(whole).add_suffix("_sem")]
    return pd.concat([trials.rename("trials"), *found], axis=1).reset_index()


def _last_looks(table: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """The rows of the last recorded step, one for each trial."""
    if "recorded" not in table:
        one_row_per_trial(table, by)
        return table
    one_row_per_trial(table, [*by, "recorded"])
    last = _within(table, [*by, "trial"])["recorded"].transform("max")
    if last.nunique(dropna=False) > 1:
        raise ValueError(f"means need one last recorded step, got {sorted(set(last))}")
    return table[table["recorded"] == last]
