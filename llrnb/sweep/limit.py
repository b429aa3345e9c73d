"""The sweep at the limit of information: which strategy recovers which target, from what n?"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from inspect import signature

import pandas as pd
import torch
from torch import Tensor

from llrnb import checks
from llrnb.deep import DeepNetwork
from llrnb.descriptions import describe_network, family_of, network_from
from llrnb.laws import NORMAL, NORMAL_DESCRIBED, Law, law_from
from llrnb.networks import TwoLayerNetwork, predict, relative_error
from llrnb.strategies import STRATEGIES
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
from llrnb.targets import draw_inputs, generic_target, paper_target

_TARGETS = ("paper", "generic", "deep", "relu")
RECOVERED, EXACT = 1e-4, 1e-10  # relative test errors, of the paper's criterion and of a strict one

# Guesses at the seconds that a data set takes on one core; only the order of the jobs rests on it.
_SECONDS = {
    "narrowest interpolator": 0.2,
    "condense and polish": 0.2,
    "gradient descent": 0.3,
    "least squares": 0.2,
}


@dataclass(frozen=True)
class Limit:
    """One strategy on data sets of one kind of target, at several sample sizes.

    A cell is one family at one sample size.

    Attributes:
        strategy: a name in `llrnb.strategies.STRATEGIES`.
        target: "paper"; "generic", a new one for each data set, at the family's `kernels`;
            or "deep" or "relu", which no network of the family expresses.
        families: for each family's name, the network at a multiple of one kernel.
        kernels: for each family's name, the width of the target in it.
        samples: for each family's name, sample sizes n.
        multiple: how many times wider the network is than the target.
        trials: independent data sets.
        noise: the standard deviation of Gaussian noise in the outputs.
        test_samples: size of the test set.
        options: of the strategy, `steps`, `starts` or `budget`.
        variant: a name for the rows, to tell presets apart in one table.
        law: what inputs are drawn from; tests, from its test law.
    """

    strategy: str
    target: str
    families: Mapping[str, Callable[[int], TwoLayerNetwork]]
    kernels: Mapping[str, int]
    samples: Mapping[str, tuple[int, ...]]
    multiple: int
    trials: int
    noise: float = 0.0
    test_samples: int = 1000
    options: Mapping[str, int] | None = None
    variant: str = ""
    law: Law = NORMAL

    def __post_init__(self) -> None:
        checks.settle_by_annotation(self, KINDS)
        checks.one_of(STRATEGIES, "strategy", self.strategy)
        checks.one_of(_TARGETS, "target", self.target)
        _check_options(self.strategy, self.options or {})
        checks.instance(self.law, Law, "law")
        names = set(checks.mapping(self.families, "families"))
        sizes = {
            name: checks.many(checks.count, size, f"samples[{name!r}]", fewest=0)
            for name, size in checks.mapping(self.samples, "samples").items()
        }
        checks.settle(self, samples=sizes)
        if not names or not names <= set(self.kernels) & set(sizes):
            raise ValueError(
                "each of the families needs kernels and samples of its name, "
                f"got {sorted(names)}, {sorted(self.kernels)} and {sorted(sizes)}"
            )
        for name, family in self.families.items():
            checks.function(family, f"families[{name!r}]")
        for family, samples in sizes.items():
            different(samples, f"sample sizes of {family}")

    def cells(self) -> list[Cell]:
        """Everything to attempt, as parameters of `limit_cell`.

        Raises:
            ValueError: a network under the name of another family.
        """
        seconds = _SECONDS.get(self.strategy, 2.0) * self.trials
        fields = {**fields_for(limit_cell, self), "options": self.options or {}}
        found = []
        for family, one in self.families.items():
            network, kernels = describe_network(one(self.kernels[family])), self.kernels[family]
            parameters = {**fields, "network": network, "kernels": kernels}
            labels = {"variant": self.variant, "family": family_of(network, family)}
            found += [
                Cell("llrnb.sweep.limit:limit_cell", {**parameters, "samples": n}, labels, seconds)
                for n in self.samples[family]
            ]
        return found


@cell
def limit_cell(
    *,
    strategy: str,
    network: Mapping,
    kernels: int,
    multiple: int,
    target: str,
    samples: int,
    trials: int,
    noise: float,
    test_samples: int,
    options: Mapping[str, int],
    law: Mapping = NORMAL_DESCRIBED,
) -> pd.DataFrame:
    """Attempt to recover the targets of all trials from their samples by one strategy.

    A row depends on the family, the target's width, the sample size and the trial, and on the
    strategy and its network alone.

    Args:
        network: the narrowest one that expresses the target, as `llrnb.descriptions` reads it.
        law: as `llrnb.laws.law_from` reads it.
        others: as in `Limit`.

    Returns:
        One row per trial: strategy, target, inputs, kernels, multiple,
        parameters (of the network), model_rank (of the target; 0 if the family does not compute
        it), samples, noise, trial; status (what the strategy says); train_loss, test_error (mean
        squared errors), relative_error; recovered and exact (whether that is below `RECOVERED` and
        `EXACT`); width (kernels of what was found), starts, evaluations.

    Raises:
        ValueError: another strategy or target.
    """
    checks.one_of(STRATEGIES, "strategy", strategy)
    checks.one_of(_TARGETS, "target", target)
    _check_options(strategy, options)
    narrow = network_from(network)
    if narrow.kernels != kernels:
        raise ValueError(f"the network needs to have {kernels} kernels, got {narrow.kernels}")
    checks.room("the data", trials, max(samples, test_samples), narrow.input_dim)
    wide = network_from({**network, "kernels": kernels * multiple})
    seeds = range(trials)
    truths = [truth_of(target, narrow, trial) for trial in seeds]
    dim, drawn = narrow.input_dim, law_from(law)
    inputs = torch.stack([draw_inputs(samples, dim, trial, law=drawn) for trial in seeds])
    outputs = torch.stack([truth(x) for truth, x in zip(truths, inputs, strict=True)])
    outputs = outputs + noise * torch.stack([_noise(samples, dim, trial) for trial in seeds])
    attempts = STRATEGIES[strategy](wide, inputs, outputs, list(seeds), **options)
    test_inputs = draw_inputs(test_samples, dim, role="test inputs", law=drawn)
    rows = []
    for trial, (attempt, truth) in enumerate(zip(attempts, truths, strict=True)):
        goal = truth(test_inputs)
        guess = predict(attempt.net, attempt.params, test_inputs)
        error = float(relative_error(guess, goal))
        rows.append(
            {
                "trial": trial,
                "status": str(attempt.status),
                "train_loss": attempt.loss,
                "test_error": float((guess - goal).square().mean()),
                "relative_error": error,
                "recovered": error < RECOVERED,
                "exact": error < EXACT,
                "width": attempt.net.kernels if attempt.params["w"].any() else 0,
                "starts": attempt.starts,
                "evaluations": attempt.evaluations,
            }
        )
    return pd.DataFrame(rows).assign(
        strategy=strategy, target=target, inputs=narrow.input_dim,
        kernels=kernels, multiple=multiple, parameters=wide.parameter_count, samples=samples,
        noise=noise,
        model_rank=narrow.parameter_count if target in ("paper", "generic") else 0,
    )  # fmt: skip


def _check_options(strategy: str, options: Mapping[str, int]) -> None:
    parameters = signature(STRATEGIES[strategy]).parameters.values()
    known = [one.name for one in parameters if one.kind is one.KEYWORD_ONLY]
    if unknown := sorted(set(options) - set(known)):
        raise ValueError(f"{strategy} needs options among {known}, got {unknown}")


def truth_of(target: str, narrow: TwoLayerNetwork, trial: int) -> Callable[[Tensor], Tensor]:
    """The function to recover in a trial.

    "paper" is the paper's target, whatever the trial; "generic" has parameters from N(0, 1) in the
    narrow network, "deep" in a tanh network of three layers, with 3 and 2 neurons, and "relu" in
    three ReLU neurons with biases.

    Raises:
        ValueError: another target.
    """
    if target == "paper":
        return paper_target()
    if target == "generic":
        return generic_target(narrow, trial)
    teachers = {
        "deep": DeepNetwork((narrow.input_dim, 3, 2, 1)),
        "relu": DeepNetwork((narrow.input_dim, 3, 1), bias=True, activation=torch.relu),
    }
    if target not in teachers:
        known = ["paper", "generic", *teachers]
        raise ValueError(f"the target needs to be one of {known}, got {target!r}")
    net = teachers[target]
    params = net.draw_params(net.stream("deep target params", trial))
    return torch.vmap(lambda x: net(params, x))


def recovered_shares(table: pd.DataFrame, column: str = "recovered") -> pd.DataFrame:
    """For every variant, strategy, family, target, multiple, noise and n, the share of data sets.

    Returns:
        One row each, with the model rank, trials and value (the share).

    Raises:
        ValueError: a trial with several rows in a group.
    """
    by = ["variant", "strategy", "family", "target", "multiple", "model_rank", "noise", "samples"]
    by = grouping(table, by)
    one_row_per_trial(checks.table(table, [*by, column]), by)
    groups = table.groupby(by, sort=False, dropna=False)[column]
    return groups.agg(trials="size", value="mean").reset_index()


def _noise(samples: int, inputs: int, trial: int) -> Tensor:
    stream = rng("noise", samples=samples, inputs=inputs, seed=trial)
    return torch.from_numpy(stream.standard_normal(samples))
