"""The sweep at the limit of information: which strategy recovers which target, from what n?"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from inspect import signature

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from llrnb.deep import DeepNetwork
from llrnb.descriptions import describe_network, network_from
from llrnb.networks import TanhNetwork, predict, relative_error
from llrnb.strategies import STRATEGIES
from llrnb.sweep.plan import Cell
from llrnb.targets import draw, generic_target, paper_target

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
    """

    strategy: str
    target: str
    families: Mapping[str, Callable[[int], TanhNetwork]]
    kernels: Mapping[str, int]
    samples: Mapping[str, tuple[int, ...]]
    multiple: int
    trials: int
    noise: float = 0.0
    test_samples: int = 1000
    options: Mapping[str, int] | None = None
    variant: str = ""

    notebook = "limit"  # of llrnb/jobs
    along = "samples"

    @staticmethod
    def compute(**cell) -> pd.DataFrame:
        """The rows of a cell."""
        return limit_cell(**cell)

    def cells(self) -> list[Cell]:
        """Everything to attempt, as parameters of `limit_cell`."""
        seconds = _SECONDS.get(self.strategy, 2.0) * self.trials
        names = signature(limit_cell).parameters
        fields = {name: getattr(self, name) for name in names if hasattr(self, name)}
        fields["options"] = dict(self.options or {})
        return [
            Cell(
                {
                    **fields,
                    "family": family,
                    "network": describe_network(one(self.kernels[family])),
                    "kernels": self.kernels[family],
                    "samples": samples,
                },
                seconds,
            )
            for family, one in self.families.items()
            for samples in self.samples[family]
        ]


def limit_cell(
    *,
    variant: str,
    strategy: str,
    family: str,
    network: Mapping,
    kernels: int,
    multiple: int,
    target: str,
    samples: int,
    trials: int,
    noise: float,
    test_samples: int,
    options: Mapping[str, int],
) -> pd.DataFrame:
    """Attempt to recover the targets of all trials from their samples by one strategy.

    A row depends on the family, the target's width, the sample size and the trial, and on the
    strategy and its network alone.

    Args:
        network: the narrowest one that expresses the target, as `llrnb.descriptions` reads it.
        others: as in `Limit`.

    Returns:
        One row per trial: variant, strategy, family, target, inputs, kernels, multiple,
        parameters (of the network), model_rank (of the target; 0 if the family does not compute
        it), samples, noise, trial; status (what the strategy says); train_loss, test_error (mean
        squared errors), relative_error; recovered and exact (whether that is below `RECOVERED` and
        `EXACT`); width (kernels of what was found), starts, evaluations.

    Raises:
        ValueError: another strategy or target.
    """
    if strategy not in STRATEGIES:
        raise ValueError(f"the strategy needs to be one of {list(STRATEGIES)}, got {strategy!r}")
    narrow = network_from(network)
    wide = network_from({**network, "kernels": kernels * multiple})
    seeds = range(trials)
    truths = [truth_of(target, narrow, trial) for trial in seeds]
    inputs = torch.stack([_inputs(narrow, samples, trial) for trial in seeds])
    outputs = torch.stack([truth(x) for truth, x in zip(truths, inputs, strict=True)])
    outputs = outputs + noise * torch.stack([_noise(samples, trial) for trial in seeds])
    attempts = STRATEGIES[strategy](wide, inputs, outputs, list(seeds), **options)
    test_inputs = _inputs(narrow, test_samples, 0)
    rows = []
    for trial, (attempt, truth) in enumerate(zip(attempts, truths, strict=True)):
        goal = truth(test_inputs)
        guess = predict(attempt.net, attempt.params, test_inputs)
        error = float(relative_error(guess, goal))
        rows.append(
            {
                "trial": trial,
                "status": attempt.status,
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
        variant=variant, strategy=strategy, family=family, target=target, inputs=narrow.input_dim,
        kernels=kernels, multiple=multiple, parameters=wide.parameter_count, samples=samples,
        noise=noise,
        model_rank=narrow.parameter_count if target in ("paper", "generic") else 0,
    )  # fmt: skip


def truth_of(target: str, narrow: TanhNetwork, trial: int) -> Callable[[Tensor], Tensor]:
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
    net, params = teachers[target], teachers[target].init(seed=trial)
    return torch.vmap(lambda x: net(params, x))


def recovered_shares(table: pd.DataFrame, column: str = "recovered") -> pd.DataFrame:
    """For every variant, strategy, family, target, multiple and n, the share of data sets.

    Returns:
        One row each, with the model rank, trials and value (the share).
    """
    by = ["variant", "strategy", "family", "target", "multiple", "model_rank", "samples"]
    groups = table.groupby(by, sort=False)[column]
    return groups.agg(trials="size", value="mean").reset_index()


def _inputs(narrow: TanhNetwork, samples: int, trial: int) -> Tensor:
    """The inputs of `llrnb.targets.draw`."""
    return draw(generic_target(narrow), samples, trial)[0]


def _noise(samples: int, trial: int) -> Tensor:
    rng = np.random.default_rng([samples, trial, 1])
    return torch.from_numpy(rng.standard_normal(samples))
