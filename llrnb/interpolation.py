"""The narrowest network that interpolates the samples, and what it proves.

Theorem (one sample more than parameters). Of an analytic family of functions with r parameters, for
almost every n >= r + 1 inputs, a member that agrees with a given analytic target at these inputs is
the target. What that means for a fit up to rounding, `llrnb.certificate` says.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from llrnb import checks
from llrnb.certificate import Certificate, certify, misfit, precision_of, settle, tolerance_of
from llrnb.embedding import widen
from llrnb.endings import Outcome
from llrnb.least_squares import Fits, Stop, checked_data, fit, stream, units
from llrnb.networks import Params, TwoLayerNetwork, predict
from llrnb.rank import exact_rank
from llrnb.stacks import Stack

__all__ = ["Interpolation", "Outcome", "narrowest_interpolator"]

_ROUND = 512  # starts between two looks at the budget
_EVALUATIONS = 200  # of one start, at most


@dataclass(frozen=True)
class Interpolation:
    """The narrowest interpolator found, as a narrow and as a wide network.

    Attributes:
        params: of the network that was asked for: a critical embedding of the narrow ones.
        narrow: the narrow network; its kernels are all zero if `kernels` is 0.
        narrow_params: its parameters.
        kernels: the width found: kernels that are not zero.
        rank: the exact model rank, of the narrow and of the wide parameters.
        loss: the mean squared error of `params` on the samples; of outputs beyond 1e150 or below
            1e-150 it over- or underflows, and nothing rests on it.
        starts: the starts used, at all widths together, the last one being the one that is kept.
        evaluations: of a network and its tangent matrix, by these starts.
        status: what all this says about the target; see `narrowest_interpolator`.
        certificate: what was measured of the narrow fit.
    """

    params: Params
    narrow: TwoLayerNetwork
    narrow_params: Params
    kernels: int
    rank: int
    loss: float
    starts: int
    evaluations: int
    status: Outcome
    certificate: Certificate


def narrowest_interpolator(
    net: TwoLayerNetwork,
    inputs: Tensor,
    outputs: Tensor,
    *,
    budget: int,
    seed: int,
    starts: int = 4096,
    precision: float | None = None,
) -> Interpolation:
    """Parameters of `net` that interpolate the samples with as few kernels as possible.

    Widths 1, 2, 3, ... are tried, each from many starts (`llrnb.least_squares.fit`), until one
    fits every sample to its rounding (`llrnb.certificate`), with bounded weights (`BOUND`). The
    narrow parameters are embedded in `net` by splitting kernels, which keeps the function, the
    rank, and every critical point. Before, a kernel of zeros (and an output bias) is tried. The
    status is

    - that of `certify`, if a start has fitted: "agrees on this input law, or a coincidence",
      "fits to δ, locally determined", or "fits to δ, not certified".
    - "budget spent": no start has fitted, and the budget does not suffice for those still due.
    - "not interpolable at the net's width": no start has fitted, out of `starts` at each width up
      to the net's. It is a report of the search, not a proof.

    In the last two cases the parameters are those of the best fit. The bound of the certificate is
    for the width found; for all widths tried, add those of the narrower ones, which are smaller.

    Args:
        net: the wide architecture, of any family.
        inputs: (sample, input).
        outputs: (sample), to interpolate.
        budget: the most evaluations of a network with its tangent matrix, of all starts together;
            those of the certificate are not counted.
        seed: of the starts. The result depends on nothing else.
        starts: the most starts at each width.
        precision: of the data, relative; see `certify`.

    Raises:
        TypeError: data that are not tensors of real floats.
        ValueError: data of the wrong shape or not finite, a budget or starts below 1.

    >>> from llrnb.networks import fully_connected
    >>> from llrnb.targets import draw, paper_target
    >>> wide = fully_connected(5, width=300)
    >>> found = narrowest_interpolator(wide, *draw(paper_target(), 22), budget=10**6, seed=0)
    >>> found.status, found.kernels, found.rank
    ('agrees on this input law, or a coincidence', 3, 21)
    """
    inputs, outputs = checked_data(net, inputs, outputs)
    budget, seed = checks.count(budget, "budget"), checks.seed(seed)
    starts = checks.count(starts, "starts")
    precision = precision_of(outputs) if precision is None else precision
    unit = units(inputs, outputs)
    data = unit.data(inputs, outputs)
    climb = _Climb(*data, precision, budget, starts, seed, *_constant(net, *data))
    found = climb.reached or any(
        climb.try_width(replace(net, kernels=width)) for width in range(1, net.kernels + 1)
    )
    params = unit.back(climb.params)
    certificate = certify(climb.narrow, params, inputs, outputs, precision=precision, seed=seed)
    missed = Outcome.BUDGET_SPENT if climb.exhausted else Outcome.NOT_INTERPOLABLE
    _, wide = widen(climb.narrow, params, net.kernels)
    return Interpolation(
        params=wide,
        narrow=climb.narrow,
        narrow_params=params,
        kernels=climb.narrow.kernels if params["w"].any() else 0,
        rank=exact_rank(climb.narrow, params),
        loss=float((predict(net, wide, inputs) - outputs).square().mean()),
        starts=climb.used,
        evaluations=climb.spent,
        status=certificate.outcome if found else missed,
        certificate=certificate,
    )


def _constant(
    net: TwoLayerNetwork, inputs: Tensor, outputs: Tensor
) -> tuple[TwoLayerNetwork, Params]:
    """One kernel of zeros, and the mean as the output bias if there is one."""
    narrow = replace(net, kernels=1)
    params = narrow.init(std=0.0)
    if net.output_bias:
        params["c"] = outputs.mean()
    return narrow, params


@dataclass
class _Climb:
    """The search so far, in units of the data: the best fit, and what it has cost."""

    inputs: Tensor
    outputs: Tensor
    precision: float
    budget: int
    starts: int
    seed: int
    narrow: TwoLayerNetwork
    params: Params
    used: int = 0
    spent: int = 0
    exhausted: bool = False

    def __post_init__(self) -> None:
        self.loss = float(
            (predict(self.narrow, self.params, self.inputs) - self.outputs).square().mean()
        )
        self.reached = self.fits(self.narrow, self.params)

    def fits(self, narrow: TwoLayerNetwork, params: Params) -> bool:
        """Whether every sample is met to its rounding."""
        return misfit(narrow, params, self.inputs, self.outputs, precision=self.precision) <= 1

    def try_width(self, narrow: TwoLayerNetwork) -> bool:
        """Whether one of the starts that are due, and that the budget allows, fits the samples."""
        due = self.starts
        source = stream(narrow, self.inputs, self.outputs, min(_ROUND, due), self.seed)
        while due and self.spent < self.budget:
            left = self.budget - self.spent
            limit = min(_EVALUATIONS, left)
            count = min(_ROUND, due, left // limit)
            starts = next(source)[:count]
            due -= count
            if self.reach(narrow, starts, limit):
                return True
        self.exhausted |= due > 0
        return False

    def reach(self, narrow: TwoLayerNetwork, starts: Stack, limit: int) -> bool:
        """Whether one of these starts fits; one that is near, but not to delta, is passed over."""
        while starts.nets:
            fits = fit(
                narrow, self.inputs, self.outputs, starts, evaluations=limit, until_first=True,
                tolerance=tolerance_of(self.precision),
            )  # fmt: skip
            tried = starts.nets if fits.first is None else fits.first + 1
            self.used += tried
            self.spent += int(fits.evaluations.sum())
            self._keep_best(narrow, fits)
            if fits.first is not None:
                near = settle(
                    narrow, fits.params[fits.first], self.inputs, self.outputs,
                    precision=self.precision,
                )  # fmt: skip
                if self.fits(narrow, near):
                    self.narrow, self.params = narrow, near
                    return True
            starts = starts[tried:]
        return False

    def _keep_best(self, narrow: TwoLayerNetwork, fits: Fits) -> None:
        bounded = torch.tensor([stop is not Stop.UNBOUNDED for stop in fits.status], device="cpu")
        loss = torch.where(bounded, fits.loss, torch.inf)
        best = int(loss.argmin())
        if loss[best] < self.loss:
            self.loss, self.narrow = float(loss[best]), narrow
            self.params = fits.params[best]
