"""Exact fits by the method of Levenberg and Marquardt, from many starts at once.

Gradient descent needs thousands of steps where the samples are few; a method that solves the
linearised fit at each step needs tens. A single start rarely reaches a zero of the error, so there
are many, in compiled code, eight in the lanes of each core.
"""

from collections.abc import Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from math import frexp

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from llrnb import checks
from llrnb.checks import double, double_params
from llrnb.endings import Stop
from llrnb.least_squares import marquardt
from llrnb.networks import Params, TwoLayerNetwork, tanh_network
from llrnb.stacks import Stack

__all__ = ["BOUND", "ROUNDING", "Fits", "Stop", "Units", "draw_starts", "fit", "sizes", "units"]

ROUNDING = 1e-26  # a mean squared error this small, relative to the outputs' mean square, is zero
BOUND = 100.0  # of bounded weights, on the scales of the data

_STD = 0.3  # of the starts, on the same scales
_GLANCE = 0.5  # seconds after which an interrupt is answered
_FAR = 8  # units are powers of two to the power of this
_EXTREME = 1e300  # data beyond it, or all below its inverse, leave no room for weights


_STOPS = {
    marquardt.DROPPED: Stop.DROPPED,
    marquardt.CONVERGED: Stop.CONVERGED,
    marquardt.STALLED: Stop.STALLED,
    marquardt.UNBOUNDED: Stop.UNBOUNDED,
    marquardt.LIMIT: Stop.LIMIT,
}


@dataclass(frozen=True)
class Fits:
    """What each start has come to, along a leading `start` axis.

    Attributes:
        params: one network for each start; those of a dropped start are the start.
        loss: the mean squared errors; infinite for a dropped start. Of outputs beyond 1e150 or
            below 1e-150 they over- or underflow; the status does not.
        evaluations: of the network and its tangent matrix; 0 for a dropped start.
        status: why each search stopped.
    """

    params: Stack
    loss: Float[Tensor, " start"]
    evaluations: Int[Tensor, " start"]
    status: tuple[Stop, ...]

    @property
    def first(self) -> int | None:
        """The first start that has converged; None if none has."""
        return self.status.index(Stop.CONVERGED) if Stop.CONVERGED in self.status else None


@dataclass(frozen=True)
class Units:
    """Powers of two in which inputs and outputs are of ordinary size, so that no square overflows.

    Dividing by them is exact, and the network of the params divided alike is the same one.
    """

    inputs: float
    outputs: float

    def data(self, inputs: Tensor, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """The data in these units."""
        return inputs / self.inputs, outputs / self.outputs

    def into(self, params: Params) -> dict[str, Tensor]:
        """Params, for data in these units."""
        return {name: self._times(name, value, 1) for name, value in params.items()}

    def back(self, params: Params) -> dict[str, Tensor]:
        """The inverse of `into`."""
        return {name: self._times(name, value, -1) for name, value in params.items()}

    def _times(self, name: str, value: Tensor, power: int) -> Tensor:
        if name == "b":
            return value
        return value * self.inputs**power if name == "w" else value / self.outputs**power


def units(inputs: Tensor, outputs: Tensor) -> Units:
    """Units of the data: powers of 2^8 near their root mean squares; 1 for ordinary data."""
    powers = (frexp(_size(part))[1] for part in (inputs, outputs))
    return Units(*(2.0 ** (_FAR * round(power / _FAR)) for power in powers))


def _size(values: Tensor) -> float:
    """The root mean square, without overflow; 1 if it is zero."""
    unit = 2.0 ** frexp(float(values.abs().max()))[1]
    return unit * float((values / unit).square().mean().sqrt()) or 1.0


def fit(
    net: TwoLayerNetwork,
    inputs: Tensor,
    outputs: Tensor,
    starts: Params,
    *,
    tolerance: float = ROUNDING,
    bound: float = BOUND,
    evaluations: int = 200,
    until_first: bool = False,
) -> Fits:
    """Fit the samples from each start, by damped Gauss-Newton steps.

        theta <- theta - (J^T J + lambda)^-1 J^T e,    e_i = f_theta(x_i) - y_i,

    with the tangent matrix J. A step is made if it lowers |e|^2; the damping lambda follows the
    ratio of the gain to the gain that the linearisation promised (Nielsen 1999). Hopeless starts
    stop early. The result of a start does not depend on the others, nor on the number of threads,
    `torch.get_num_threads()`; with `until_first`, that holds up to the first start to converge.

    Args:
        net: the architecture.
        inputs: (sample, input).
        outputs: (sample), to match.
        starts: parameters, with a leading start axis; see `draw_starts`.
        tolerance: the mean squared error at which a start has converged, relative to the mean
            square of the outputs (absolute if they are zero).
        bound: the most that a weight may be, on the scales of `sizes`.
        evaluations: the most evaluations of a start, at least 1.
        until_first: drop all starts after the first one, in their order, that converges.

    Raises:
        TypeError: data or starts that are not tensors of real floats.
        ValueError: data or starts of the wrong shape or not finite, options out of range.

    >>> from llrnb.targets import draw, paper_target
    >>> target = paper_target()
    >>> samples = draw(target, 8)
    >>> found = fit(target.net, *samples, draw_starts(target.net, *samples, 20))
    >>> found.params["w"][found.first].abs().round(decimals=6).tolist()
    [[0.6, 0.8, 1.0]]
    """
    inputs, outputs = checked_data(net, inputs, outputs)
    starts = double_params(starts)
    tolerance = checks.real(tolerance, "tolerance", least=0)
    bound = checks.real(bound, "bound", above=0, finite=False)
    evaluations = checks.count(evaluations, "evaluations")
    until_first = checks.flag(until_first, "until_first")
    count = len(starts["w"]) if "w" in starts and starts["w"].ndim else 0
    net.check(starts, axes=(count,))
    if not count:
        raise ValueError("a fit needs at least 1 start, got none")
    unit = units(inputs, outputs)
    inputs, outputs = unit.data(inputs, outputs)
    square = float(outputs.square().sum()) or float(len(outputs))
    bounds = {name: bound * size for name, size in sizes(net, inputs, outputs).items()}
    widest = {name: starts[name].new_full((1, *net.shapes[name]), bounds[name]) for name in bounds}
    fits = _search(
        net, inputs, outputs, unit.into(starts), _pack(net, widest)[0], tolerance * square,
        evaluations, until_first,
    )  # fmt: skip
    return replace(
        fits, params=Stack(unit.back(fits.params)), loss=fits.loss * unit.outputs * unit.outputs
    )


def draw_starts(
    net: TwoLayerNetwork, inputs: Tensor, outputs: Tensor, count: int, seed: int = 0
) -> Stack:
    """Random starts from N(0, 0.3^2), on the scales of the data: the first of `stream`.

    Small weights, because a start then meets fewer minima that are not zero.
    """
    return next(stream(net, inputs, outputs, count, seed))


def stream(
    net: TwoLayerNetwork, inputs: Tensor, outputs: Tensor, count: int, seed: int = 0
) -> Iterator[Stack]:
    """Starts without end, so many at a time, from a stream keyed by the architecture and the seed.

    Raises:
        ValueError: fewer than 1 at a time, or as `fit`.
    """
    inputs, outputs = checked_data(net, inputs, outputs)
    count, seed = checks.count(count, "count"), checks.seed(seed)
    checks.room("the starts", count, net.parameter_count)
    source = net.stream("search starts", seed)
    scale = sizes(net, inputs, outputs)
    while True:
        drawn = _unpack(net, _STD * source.standard_normal((count, net.parameter_count)))
        yield Stack({name: value * scale[name] for name, value in drawn.items()})


def sizes(net: TwoLayerNetwork, inputs: Tensor, outputs: Tensor) -> dict[str, float]:
    """The scale of each parameter array: 1 over that of the inputs, 1, and that of the outputs."""
    inputs, outputs = checked_data(net, inputs, outputs)
    x, y = _size(inputs), _size(outputs)
    scales = {"w": 1 / x, "b": 1.0, "a": y, "c": y}
    return {name: scales[name] for name in net.shapes}


def checked_data(net: TwoLayerNetwork, inputs: Tensor, outputs: Tensor) -> tuple[Tensor, Tensor]:
    """The data in float64 on the CPU.

    Raises:
        TypeError: not tensors of real floats.
        ValueError: another shape, no samples, NaN or infinity, a size beyond 1e300 or its inverse.
    """
    tanh_network(net)
    inputs, outputs = double(inputs, "inputs"), double(outputs, "outputs")
    if inputs.ndim != 2 or inputs.shape[1] != net.input_dim or not len(inputs):
        raise ValueError(
            f"a fit needs inputs of shape (sample, {net.input_dim}), got {tuple(inputs.shape)}"
        )
    if outputs.shape != inputs.shape[:1]:
        raise ValueError(
            f"a fit needs outputs of shape ({len(inputs)},), got {tuple(outputs.shape)}"
        )
    for name, part in (("inputs", inputs), ("outputs", outputs)):
        if part.any() and not 1 / _EXTREME <= float(part.abs().max()) <= _EXTREME:
            raise ValueError(
                f"a fit needs {name} of a size between 1e-300 and 1e300, "
                f"got {float(part.abs().max()):.3g}"
            )
    return inputs, outputs


def _search(net, inputs, outputs, starts, bounds, goal, evaluations, until_first) -> Fits:
    """Share the starts among threads, each the next but so many."""
    rows = _pack(net, starts)
    count = len(rows)
    found, cost = rows.copy(), np.full(count, np.inf)
    made, state = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.int64)
    last = np.array([count])
    x = np.concatenate([inputs.numpy().T, np.ones((1, len(inputs)))])
    seen = np.array([[*window, *[net.input_dim] * net.bias] for window in net.windows])
    task = (x, outputs.numpy(), seen, net.shared, goal, bounds, evaluations)
    shared = (last, until_first, *task, found, cost, made, state)
    threads = min(torch.get_num_threads(), -(-count // marquardt.WIDTH))
    with ThreadPoolExecutor(threads) as pool:
        workers = [
            pool.submit(marquardt.search, rows, first, threads, *shared)
            for first in range(threads)
        ]  # fmt: skip
        try:
            while wait(workers, timeout=_GLANCE, return_when=FIRST_EXCEPTION).not_done:
                pass
        except BaseException:
            last[0] = -1
            raise
        for worker in workers:
            worker.result()
    if until_first:  # a later start may have stopped before it was dropped, or not
        state[last[0] + 1 :], made[last[0] + 1 :] = marquardt.DROPPED, 0
        cost[last[0] + 1 :], found[last[0] + 1 :] = np.inf, rows[last[0] + 1 :]
    return Fits(
        params=_unpack(net, found),
        loss=torch.from_numpy(cost / len(outputs)),
        evaluations=torch.from_numpy(made),
        status=tuple(_STOPS[int(stop)] for stop in state),
    )


def _pack(net: TwoLayerNetwork, params: Params) -> Float[np.ndarray, "start param"]:
    """Params as rows in the compiled layout, in which a bias is one more input weight."""
    count = len(params["w"])
    w = params["w"]
    if net.bias:
        w = torch.cat([w, params["b"][..., None]], dim=-1)
    parts = [w, params["a"], *([params["c"]] if net.output_bias else [])]
    return torch.cat([part.reshape(count, -1) for part in parts], dim=1).contiguous().numpy()


def _unpack(net: TwoLayerNetwork, rows: Float[np.ndarray, "start param"]) -> Stack:
    """The inverse of `_pack`."""
    count, values = len(rows), torch.from_numpy(rows)
    inward = values[:, : net.parameter_count - net.neurons - net.output_bias]
    w = inward.reshape(count, *net.shapes["w"][:-1], net.entries + net.bias)
    params = {"w": w[..., : net.entries].contiguous()}
    if net.bias:
        params["b"] = w[..., -1].contiguous()
    end = inward.shape[1] + net.neurons
    params["a"] = values[:, inward.shape[1] : end].reshape(count, *net.shapes["a"])
    if net.output_bias:
        params["c"] = values[:, -1].contiguous()
    return Stack(params)
