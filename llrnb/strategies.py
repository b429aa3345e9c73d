"""Ways to recover a target from samples: what the book compares at the limit of information.

Each takes a network, a stack of data sets and a seed for each, knows neither the target nor its
rank, and makes one attempt per data set. Where a strategy has a setting, it tries all of them and
keeps the one with the lowest loss on the samples, which is what a user can do.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf

import torch
from torch import Tensor

from llrnb import checks
from llrnb.certificate import certify, misfit, settle
from llrnb.condensation import condense, polish
from llrnb.endings import Ending, Status, Stop
from llrnb.interpolation import narrowest_interpolator
from llrnb.least_squares import BOUND, draw_starts, fit
from llrnb.networks import Params, TwoLayerNetwork, predict, tanh_network
from llrnb.stacks import Stack
from llrnb.training import train

RATES = (0.05, 0.15, 0.5)  # of gradient descent
ADAM_RATE = 0.01
STRENGTHS = (1e-4, 1e-3, 1e-2)  # of a penalty
ANGLE = 0.1  # radians up to which kernels are merged
_STD = 1e-10  # of small initial weights, as in the paper
_PENALISED_STD = 0.1  # of those that a penalty is to make condense


@dataclass(frozen=True)
class Attempt:
    """What a strategy makes of one data set.

    Attributes:
        net: the network of `params`, which may be narrower than the one that was asked for.
        params: its parameters.
        loss: the mean squared error on the samples.
        status: what the strategy itself can say.
        starts: initialisations used, all settings together.
        evaluations: of a network and its derivatives on all samples, all settings together.
    """

    net: TwoLayerNetwork
    params: Params
    loss: float
    status: Ending
    starts: int
    evaluations: int


def climb(
    net: TwoLayerNetwork,
    inputs: Tensor,
    outputs: Tensor,
    seeds: Sequence[int],
    *,
    budget: int = 10**7,
) -> list[Attempt]:
    """The narrowest interpolator, width after width; see `narrowest_interpolator`."""
    inputs, outputs, seeds = _checked(net, inputs, outputs, seeds)
    budget = checks.count(budget, "budget")
    found = [
        narrowest_interpolator(net, x, y, budget=budget, seed=seed)
        for x, y, seed in zip(inputs, outputs, seeds, strict=True)
    ]
    return [
        Attempt(f.narrow, f.narrow_params, f.loss, f.status, f.starts, f.evaluations) for f in found
    ]


def least_squares_fit(
    net: TwoLayerNetwork,
    inputs: Tensor,
    outputs: Tensor,
    seeds: Sequence[int],
    *,
    starts: int = 1000,
) -> list[Attempt]:
    """The first exact one, or the best, of many second-order fits of `net` itself.

    This is for a width that is known, and for noise, with which no fit is exact.
    """
    inputs, outputs, seeds = _checked(net, inputs, outputs, seeds)
    starts = checks.count(starts, "starts")
    attempts = []
    for x, y, seed in zip(inputs, outputs, seeds, strict=True):
        fits = fit(net, x, y, draw_starts(net, x, y, starts, seed), until_first=True)
        bounded = torch.tensor([stop is not Stop.UNBOUNDED for stop in fits.status], device="cpu")
        best = int(torch.where(bounded, fits.loss, inf).argmin())
        used = starts if fits.first is None else fits.first + 1
        cost = int(fits.evaluations.sum())
        loss = float(fits.loss[best])
        attempts.append(Attempt(net, fits.params[best], loss, fits.status[best], used, cost))
    return attempts


def gradient_descent(
    net: TwoLayerNetwork,
    inputs: Tensor,
    outputs: Tensor,
    seeds: Sequence[int],
    *,
    steps: int = 50_000,
) -> list[Attempt]:
    """The paper's: small initial weights, full-batch steps of a fixed size."""
    inputs, outputs, seeds = _checked(net, inputs, outputs, seeds)
    steps = checks.count(steps, "steps")
    count, rates = len(seeds), [rate for rate in RATES for _ in seeds]
    result = train(
        net, inputs.repeat(len(RATES), 1, 1), outputs.repeat(len(RATES), 1), steps=steps,
        learning_rates=rates, seeds=[*seeds] * len(RATES), std=_STD,
    )  # fmt: skip
    loss = torch.where(result.loss.isfinite(), result.loss, inf)
    steps_taken = result.steps.reshape(len(RATES), count).sum(dim=0)
    attempts = []
    for i in range(count):
        best = i + count * int(loss[i::count].argmin())
        status = result.status[best]
        cost = int(steps_taken[i])
        attempts.append(
            Attempt(net, result.params[best], float(loss[best]), status, len(RATES), cost)
        )
    return attempts


def adam(
    net: TwoLayerNetwork,
    inputs: Tensor,
    outputs: Tensor,
    seeds: Sequence[int],
    *,
    steps: int = 20_000,
) -> list[Attempt]:
    """Adam, from small initial weights."""
    inputs, outputs, seeds = _checked(net, inputs, outputs, seeds)
    steps = checks.count(steps, "steps")
    return _penalised(net, inputs, outputs, seeds, None, (0.0,), steps, _STD)


def weight_decay(
    net: TwoLayerNetwork,
    inputs: Tensor,
    outputs: Tensor,
    seeds: Sequence[int],
    *,
    steps: int = 20_000,
) -> list[Attempt]:
    """Adam on the loss plus strength |theta|^2, from ordinary weights, then without the penalty."""
    inputs, outputs, seeds = _checked(net, inputs, outputs, seeds)
    steps = checks.count(steps, "steps")
    return _penalised(
        net, inputs, outputs, seeds, _squares, STRENGTHS, steps, _PENALISED_STD
    )  # fmt: skip


def dropout(
    net: TwoLayerNetwork,
    inputs: Tensor,
    outputs: Tensor,
    seeds: Sequence[int],
    *,
    steps: int = 20_000,
) -> list[Attempt]:
    """Adam on the mean loss of dropout in the output layer, then without it.

    With neurons kept with probability p and scaled by 1/p, the mean of the squared error over the
    masks is exactly the loss plus (1 - p) / p times the sum of the neurons' mean squared outputs
    (Zhang and Xu 2024). The strengths stand for (1 - p) / p.
    """
    inputs, outputs, seeds = _checked(net, inputs, outputs, seeds)
    steps = checks.count(steps, "steps")
    return _penalised(
        net, inputs, outputs, seeds, _dropped, STRENGTHS, steps, _PENALISED_STD
    )  # fmt: skip


def condense_and_polish(
    net: TwoLayerNetwork,
    inputs: Tensor,
    outputs: Tensor,
    seeds: Sequence[int],
    *,
    steps: int = 10_000,
) -> list[Attempt]:
    """A short descent from small weights; its condensed kernels are merged and fitted anew.

    Kernels are merged by direction. Of those that remain, the one with the largest outputs is
    fitted by second-order steps, then the first two, and so on, until every sample is met to its
    rounding. The status is that of `certify`.
    """
    inputs, outputs, seeds = _checked(net, inputs, outputs, seeds)
    steps = checks.count(steps, "steps")
    attempts = []
    for descent, x, y in zip(
        gradient_descent(net, inputs, outputs, seeds, steps=steps), inputs, outputs, strict=True
    ):
        best, cost = descent, descent.evaluations
        merged, params = condense(net, descent.params, angle=ANGLE, length=inf)
        for kernels in range(1, merged.kernels + 1):
            narrow = replace(merged, kernels=kernels)
            start = {
                name: value[:kernels] if value.ndim else value for name, value in params.items()
            }
            fits = polish(narrow, start, x, y, bound=BOUND)
            cost += int(fits.evaluations[0])
            found = settle(narrow, fits.params[0], x, y)
            loss = float((predict(narrow, found, x) - y).square().mean())
            fitted = misfit(narrow, found, x, y) <= 1
            if fitted or loss < best.loss:
                best = replace(best, net=narrow, params=found, loss=loss)
            if fitted:
                break
        status = certify(best.net, best.params, x, y).outcome
        attempts.append(replace(best, status=status, evaluations=cost))
    return attempts


Strategy = Callable[..., list[Attempt]]

STRATEGIES: Mapping[str, Strategy] = {
    "narrowest interpolator": climb,
    "condense and polish": condense_and_polish,
    "gradient descent": gradient_descent,
    "Adam": adam,
    "weight decay": weight_decay,
    "dropout": dropout,
    "least squares": least_squares_fit,
}


def _checked(
    net: TwoLayerNetwork, inputs: Tensor, outputs: Tensor, seeds: Sequence[int]
) -> tuple[Tensor, Tensor, tuple[int, ...]]:
    """Data of as many sets as there are seeds."""
    tanh_network(net)
    seeds = checks.many(checks.seed, seeds, "seeds")
    inputs, outputs = checks.double(inputs, "inputs"), checks.double(outputs, "outputs")
    shapes = tuple(inputs.shape), tuple(outputs.shape)
    samples = inputs.shape[1] if inputs.ndim == 3 else 0
    if not samples or shapes != ((len(seeds), samples, net.input_dim), (len(seeds), samples)):
        raise ValueError(
            f"{len(seeds)} seeds need inputs of shape ({len(seeds)}, sample, {net.input_dim}) and "
            f"outputs of shape ({len(seeds)}, sample), got {shapes[0]} and {shapes[1]}"
        )
    return inputs, outputs, seeds


def _squares(net: TwoLayerNetwork, params: Params, hidden: Tensor) -> Tensor:
    """|theta|^2 of every network."""
    squares = (value.flatten(1).square().sum(dim=1) for value in params.values())
    return sum(squares, hidden.new_zeros(()))


def _dropped(net: TwoLayerNetwork, params: Params, hidden: Tensor) -> Tensor:
    """The sum of the neurons' mean squared outputs, of every network."""
    return (params["a"][:, None] * hidden).square().mean(dim=1).flatten(1).sum(dim=1)


def _penalised(
    net, inputs, outputs, seeds, penalty, strengths, steps, std
) -> list[Attempt]:  # fmt: skip
    """Adam at every strength on all data sets at once; the penalty is left out after half."""
    count = len(seeds)
    params = Stack.of([net.init(std, seed) for seed in seeds] * len(strengths))
    for value in params.values():
        value.requires_grad_()
    x = inputs[..., net.windows].repeat(len(strengths), 1, 1, 1)
    y = outputs.repeat(len(strengths), 1)
    strength = torch.tensor(strengths, dtype=torch.float64, device="cpu").repeat_interleave(count)
    optimizer = torch.optim.Adam(params.values(), lr=ADAM_RATE)
    decay = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: 1.0 if step < steps // 2 else 10 ** (4 - 8 * step / steps)
    )
    for step in range(steps):
        hidden = _hidden(net, params, x)
        loss = (_outputs(params, hidden) - y).square().mean(dim=1)
        if penalty is not None and step < steps // 2:
            loss = loss + strength * penalty(net, params, hidden)
        optimizer.zero_grad()
        loss.sum().backward()
        optimizer.step()
        decay.step()
    params = Stack({name: value.detach() for name, value in params.items()})
    loss = (_outputs(params, _hidden(net, params, x)) - y).square().mean(dim=1)
    attempts = []
    for i in range(count):
        best = i + count * int(loss[i::count].argmin())
        cost, lowest = steps * len(strengths), float(loss[best])
        attempt = Attempt(net, params[best], lowest, Status.STEP_LIMIT, len(strengths), cost)
        attempts.append(attempt)
    return attempts


def _hidden(net: TwoLayerNetwork, params: Params, x: Tensor) -> Tensor:
    """(net, sample, kernel, window): the hidden neurons' outputs."""
    subscripts = "zke,zspe->zskp" if net.shared else "zkpe,zspe->zskp"
    inner = torch.einsum(subscripts, params["w"], x)
    if net.bias:
        b = params["b"][:, None]
        inner = inner + (b[..., None] if net.shared else b)
    return torch.tanh(inner)


def _outputs(params: Params, hidden: Tensor) -> Tensor:
    """(net, sample)."""
    y = torch.einsum("zkp,zskp->zs", params["a"], hidden)
    return y + params["c"][:, None] if "c" in params else y
