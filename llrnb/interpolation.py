"""The narrowest network that interpolates the samples, and what it proves.

Theorem (one sample more than parameters). Of an analytic family of functions with r parameters, for
almost every n >= r + 1 inputs, a member that agrees with a given analytic target at these inputs is
the target. So a fit that is exact, with fewer dimensions to choose from than samples, is a
certificate: no knowledge of the target's width or rank is needed.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

import torch
from torch import Tensor

from llrnb.embedding import widen
from llrnb.least_squares import ROUNDING, Fits, Stop, checked_data, fit, stream
from llrnb.networks import Params, TanhNetwork, predict
from llrnb.rank import exact_rank

_ROUND = 512  # starts between two looks at the budget
_EVALUATIONS = 200  # of one start, at most


class Outcome(StrEnum):
    """What the search can honestly say."""

    RECOVERED = "recovered"
    INTERPOLATES = "interpolates, not certified"
    BUDGET_SPENT = "budget spent"
    NOT_INTERPOLABLE = "not interpolable at the net's width"


@dataclass(frozen=True)
class Interpolation:
    """The narrowest interpolator found, as a narrow and as a wide network.

    Attributes:
        params: of the network that was asked for: a critical embedding of the narrow ones.
        narrow: the narrow network; its kernels are all zero if `kernels` is 0.
        narrow_params: its parameters.
        kernels: the width found: kernels that are not zero.
        rank: the exact model rank, of the narrow and of the wide parameters.
        loss: the mean squared error of `params` on the samples.
        starts: the starts used, at all widths together, the last one being the one that is kept.
        evaluations: of a network and its tangent matrix, by these starts.
        status: what all this says about the target; see `narrowest_interpolator`.
    """

    params: Params
    narrow: TanhNetwork
    narrow_params: Params
    kernels: int
    rank: int
    loss: float
    starts: int
    evaluations: int
    status: Outcome


def narrowest_interpolator(
    net: TanhNetwork,
    inputs: Tensor,
    outputs: Tensor,
    *,
    budget: int,
    seed: int,
    starts: int = 4096,
) -> Interpolation:
    """Parameters of `net` that interpolate the samples with as few kernels as possible.

    Widths 1, 2, 3, ... are tried, each from many starts (`llrnb.least_squares.fit`), until a start
    fits the samples up to rounding (`ROUNDING`), with bounded weights (`BOUND`). The narrow
    parameters are embedded in `net` by splitting kernels, which keeps the function, the rank, and
    every critical point. Before, a kernel of zeros (and an output bias) is tried. The status says

    - "recovered": the rank is below the number of distinct inputs. Then, for almost every choice of
      these, the function is the target, provided that the outputs are those of some analytic
      function without noise, and that an error at the level of rounding is zero.
    - "interpolates, not certified": the fit is as good, but the samples are too few to tell.
    - "budget spent": no start has fitted, and the budget does not suffice for those still due.
    - "not interpolable at the net's width": no start has fitted, out of `starts` at each width up
      to the net's. It is a report of the search, not a proof.

    In the last two cases the parameters are those of the best fit. The theorem is applied to the
    functions of at most this rank: the parameters where the tangent functions span at most r
    dimensions make an analytic set, whose functions are a countable union of r-dimensional
    families. So the rank counts, not the parameters; the two agree unless kernels are degenerate.

    Args:
        net: the wide architecture, of any family.
        inputs: (sample, input).
        outputs: (sample), to interpolate.
        budget: the most evaluations of a network with its tangent matrix, of all starts together.
        seed: of the starts. The result depends on nothing else.
        starts: the most starts at each width.

    Raises:
        TypeError: data that are not tensors of real floats.
        ValueError: data of the wrong shape or not finite, a budget or starts below 1.

    >>> from llrnb.networks import fully_connected
    >>> from llrnb.targets import draw, paper_target
    >>> wide = fully_connected(5, width=300)
    >>> found = narrowest_interpolator(wide, *draw(paper_target(), 22), budget=10**6, seed=0)
    >>> found.status, found.kernels, found.rank
    (<Outcome.RECOVERED: 'recovered'>, 3, 21)
    """
    inputs, outputs = checked_data(net, inputs, outputs)
    if budget < 1:
        raise ValueError(f"an interpolator needs a budget of at least 1 evaluation, got {budget}")
    if starts < 1:
        raise ValueError(f"an interpolator needs at least 1 start at each width, got {starts}")
    climb = _Climb(inputs, outputs, budget, starts, seed, *_constant(net, inputs, outputs))
    found = climb.reached or any(
        climb.try_width(replace(net, kernels=width)) for width in range(1, net.kernels + 1)
    )
    rank = exact_rank(climb.narrow, climb.params)
    if found:
        distinct = len(inputs.unique(dim=0))
        status = Outcome.RECOVERED if rank < distinct else Outcome.INTERPOLATES
    else:
        status = Outcome.BUDGET_SPENT if climb.exhausted else Outcome.NOT_INTERPOLABLE
    _, wide = widen(climb.narrow, climb.params, net.kernels)
    return Interpolation(
        params=wide,
        narrow=climb.narrow,
        narrow_params=climb.params,
        kernels=climb.narrow.kernels if climb.params["w"].any() else 0,
        rank=rank,
        loss=float((predict(net, wide, inputs) - outputs).square().mean()),
        starts=climb.used,
        evaluations=climb.spent,
        status=status,
    )


def _constant(net: TanhNetwork, inputs: Tensor, outputs: Tensor) -> tuple[TanhNetwork, Params]:
    """One kernel of zeros, and the mean as the output bias if there is one."""
    narrow = replace(net, kernels=1)
    params = narrow.init(std=0.0)
    if net.output_bias:
        params["c"] = outputs.mean()
    return narrow, params


@dataclass
class _Climb:
    """The search so far: the best fit, and what it has cost."""

    inputs: Tensor
    outputs: Tensor
    budget: int
    starts: int
    seed: int
    narrow: TanhNetwork
    params: Params
    used: int = 0
    spent: int = 0
    exhausted: bool = False

    def __post_init__(self) -> None:
        self.loss = self.loss_of(self.narrow, self.params)

    def loss_of(self, narrow: TanhNetwork, params: Params) -> float:
        return float((predict(narrow, params, self.inputs) - self.outputs).square().mean())

    @property
    def reached(self) -> bool:
        """Whether the best fit is exact up to rounding."""
        return self.loss <= ROUNDING * float(self.outputs.square().mean())

    def try_width(self, narrow: TanhNetwork) -> bool:
        """Whether one of the starts that are due, and that the budget allows, fits the samples."""
        due = self.starts
        source = stream(narrow, self.inputs, self.outputs, min(_ROUND, due), self.seed)
        while due and self.spent < self.budget:
            left = self.budget - self.spent
            limit = min(_EVALUATIONS, left)
            count = min(_ROUND, due, left // limit)
            starts = {name: value[:count] for name, value in next(source).items()}
            fits = fit(
                narrow, self.inputs, self.outputs, starts, evaluations=limit, until_first=True
            )
            due -= count
            self.used += count if fits.first is None else fits.first + 1
            self.spent += int(fits.evaluations.sum())
            self._keep_best(narrow, fits)
            if fits.first is not None:
                return True
        self.exhausted |= due > 0
        return False

    def _keep_best(self, narrow: TanhNetwork, fits: Fits) -> None:
        bounded = torch.tensor([stop is not Stop.UNBOUNDED for stop in fits.status])
        loss = torch.where(bounded, fits.loss, torch.inf)
        best = int(loss.argmin()) if fits.first is None else fits.first
        if loss[best] < self.loss:
            self.loss, self.narrow = float(loss[best]), narrow
            self.params = {name: value[best].clone() for name, value in fits.params.items()}
