"""Numbers with proved error bounds, and their derivatives, through the computation of any model.

A model is traced once as a list of torch's operations. Each of them is then done on balls, numbers
of many digits with a bound for their error (Arb, by python-flint), which remember what they were
made of; the derivatives follow backwards. What comes out encloses the derivatives of the stored
function, whose parameters and constants are the floats as they are. That the trace computes what
the model does is compared at every input, in floats.
"""

import math
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial, reduce
from itertools import count, product
from typing import Any

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor

from llrnb.networks import Params

try:
    from flint import arb, ctx
except ImportError:
    arb = ctx = None  # type: ignore[assignment, misc]  # the functions that need it say so

BITS = 400  # of every number

_created = count()


class Undecided(ArithmeticError):
    """The balls do not tell on which side of a kink a number lies."""


class Ball:
    """A number within a proved error, made of others by known slopes."""

    __slots__ = ("at", "parents", "value")

    def __init__(self, value: "arb", *parents: tuple["Ball", "arb"]) -> None:
        self.value, self.parents, self.at = value, parents, next(_created)

    def __add__(self, other):
        if isinstance(other, Ball):
            return Ball(self.value + other.value, (self, arb(1)), (other, arb(1)))
        return Ball(self.value + other, (self, arb(1)))

    def __mul__(self, other):
        if isinstance(other, Ball):
            return Ball(self.value * other.value, (self, other.value), (other, self.value))
        return Ball(self.value * other, (self, arb(other)))

    __radd__, __rmul__ = __add__, __mul__

    def __neg__(self):
        return self * -1

    def __sub__(self, other):
        return self + -other

    def __rsub__(self, other):
        return -self + other

    def __truediv__(self, other):
        return self * (_reciprocal(other) if isinstance(other, Ball) else 1 / arb(other))

    def __rtruediv__(self, other):
        return _reciprocal(self) * other


def _reciprocal(x: Ball) -> Ball:
    inverse = 1 / x.value
    return Ball(inverse, (x, -inverse * inverse))


def _value(x) -> "arb":
    return x.value if isinstance(x, Ball) else arb(x)


def _sign(x) -> int:
    """1 or -1; 0 for a constant that is 0.

    Raises:
        Undecided: the ball holds 0.
    """
    value = _value(x)
    if value > 0:
        return 1
    if value < 0:
        return -1
    if isinstance(x, Ball) or not value.is_zero():
        raise Undecided("a number may lie on a kink")
    return 0


def pivots(matrix: np.ndarray) -> tuple[list[int], list[int], float]:
    """Rows and columns of a part of the matrix that is proved nonsingular, by elimination.

    Every pivot is the entry that is farthest from zero for certain; the elimination ends where
    every entry that is left may be zero.

    Returns:
        The rows and the columns, and a bound for what is left.
    """
    left = matrix.copy()
    rows, columns = list(range(left.shape[0])), list(range(left.shape[1]))
    chosen: list[tuple[int, int]] = []
    with _digits():
        while left.size:
            sizes = _each(lambda v: float(v.abs_lower()), left).astype(float)
            i, j = np.unravel_index(int(sizes.argmax()), sizes.shape)
            if not sizes[i, j] > 0:
                break
            chosen.append((rows.pop(i), columns.pop(j)))
            factors = np.delete(left[:, j], i) * (1 / left[i, j])
            pivot = np.delete(left[i], j)
            left = np.delete(np.delete(left, i, 0), j, 1) - np.outer(factors, pivot)
        largest = max((float(v.abs_upper()) for v in left.flat), default=0.0)
    return [i for i, _ in chosen], [j for _, j in chosen], largest


def slopes(output: Ball, leaves: Sequence[Ball]) -> list["arb"]:
    """The derivatives of a ball by some of those that it was made of."""
    found, stack = {output.at: output}, [output]
    while stack:
        for parent, _ in stack.pop().parents:
            if parent.at not in found:
                found[parent.at] = parent
                stack.append(parent)
    slope = dict.fromkeys(found, arb(0)) | {output.at: arb(1)}
    for at in sorted(found, reverse=True):
        for parent, factor in found[at].parents:
            slope[parent.at] += slope[at] * factor
    return [slope.get(leaf.at, arb(0)) for leaf in leaves]


def enclosed_derivatives(
    model: Callable,
    params: Params,
    inputs: Shaped[Tensor, "sample ..."],
    outputs: Mapping[int, Sequence[int]],
) -> tuple[np.ndarray, list[int]]:
    """Rows of the tangent matrix in balls, (row, param), and the input of each.

    An input at which the output may have a kink is left out.

    Args:
        model, params, inputs: as in `llrnb.tangent_matrix`.
        outputs: for the inputs that are asked for, by their numbers, those of the outputs.

    Raises:
        ImportError: there is no python-flint.
        ValueError: an operation that is not known, steps that depend on the data, or a trace that
            computes something else.
    """
    if arb is None:
        raise ImportError("a proof needs python-flint: pip install 'llrnb[proof]'")
    graph = _traced(model, params, inputs[0])
    rows: list[list[arb]] = []
    of_input: list[int] = []
    with _digits():
        for i, wanted in outputs.items():
            with suppress(Undecided):
                expected = model(params, inputs[i]).detach().numpy().ravel()
                rows += _rows(graph, params, inputs[i], wanted, expected)
                of_input += [i] * len(wanted)
    parameters = sum(value.numel() for value in params.values())
    return np.array(rows, dtype=object).reshape(len(rows), parameters), of_input


@contextmanager
def _digits() -> Iterator[None]:
    """As many digits as this module computes with; put back afterwards."""
    before, ctx.prec = ctx.prec, BITS
    try:
        yield
    finally:
        ctx.prec = before


def _rows(
    graph, params: Params, x: Tensor, wanted: Sequence[int], expected: np.ndarray
) -> list[list["arb"]]:
    leaves = [_each(lambda v: Ball(arb(v)), value.numpy()) for value in params.values()]
    flat = [leaf for value in leaves for leaf in value.flat]
    made = np.asarray(_run(graph, [*leaves, _constant(x)]), dtype=object).ravel()
    _check_alike(np.array([float(_value(y).mid()) for y in made]), expected)
    constant = [arb(0)] * len(flat)
    return [slopes(made[k], flat) if isinstance(made[k], Ball) else constant for k in wanted]


def _check_alike(made: np.ndarray, expected: np.ndarray) -> None:
    """Raise ValueError unless the trace gives what the model does, up to rounding."""
    size = np.abs(expected).max(initial=0.0)
    if made.shape != expected.shape or not (np.abs(made - expected) <= 1e-6 * size + 1e-9).all():
        raise ValueError(
            f"a proof needs a model that computes what was traced of it, which gives {made}, "
            f"got {expected}"
        )


def _traced(model: Callable, params: Params, x: Tensor) -> torch.fx.GraphModule:
    """The model at one input as a graph of torch's core operations, none of them in place."""
    from torch._decomp import core_aten_decompositions
    from torch.fx.experimental.proxy_tensor import make_fx

    names = list(params)
    table: Any = core_aten_decompositions()  # torch's types do not fit each other

    def flat(*values: Tensor) -> Tensor:
        return model(dict(zip(names, values[:-1], strict=True)), values[-1])

    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad():
            core = make_fx(flat, decomposition_table=table)(*params.values(), x)
            plain = torch.func.functionalize(core, remove="mutations")
            graph = make_fx(plain)(*params.values(), x)
        graph.graph.eliminate_dead_code()
        return graph
    except RuntimeError as error:
        raise ValueError(
            f"a proof needs a model whose steps do not depend on the data, got: {error}"
        ) from error
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)


def _run(graph: torch.fx.GraphModule, arguments: list) -> object:
    """The graph's output on arrays of balls."""
    known: dict = {}
    given = iter(arguments)
    for node in graph.graph.nodes:
        if node.op == "placeholder":
            known[node] = next(given)
        elif node.op == "get_attr":
            known[node] = _constant(getattr(graph, node.target))
        elif node.op == "output":
            return known[node.args[0]]
        else:
            args, kwargs = torch.fx.map_arg((node.args, node.kwargs), known.__getitem__)
            made = _done(node.target, args, kwargs)
            known[node] = np.asarray(made, dtype=object) if isinstance(made, Ball | arb) else made
    return None


def _done(target, args: tuple, kwargs: dict) -> object:
    """An operation on its arguments.

    Raises:
        ValueError: it is not known, or not with such arguments.
    """
    name = getattr(target, "__name__", str(target))
    operation = _OPERATIONS.get(name, _OPERATIONS.get(name.split(".")[0]))
    if operation is None:
        raise ValueError(f"a proof needs operations of which it knows the error, got {name}")
    try:
        return operation(*args, **kwargs)
    except (TypeError, AttributeError, IndexError) as error:
        raise ValueError(f"a proof does not know {name} with such arguments: {error}") from error


def _constant(value: Tensor) -> np.ndarray:
    """Whole numbers and truths as they are, floats as arrays of numbers without error."""
    value = value.detach().cpu()
    if value.is_floating_point():
        return _each(arb, value.double().numpy())
    return value.numpy()


def _each(function: Callable, *arrays) -> np.ndarray:
    """A function of the entries of arrays of one shape, or of such as broadcast."""
    arrays = np.broadcast_arrays(*(np.asarray(a) for a in arrays))
    found = np.empty(arrays[0].shape, dtype=object)
    for i in np.ndindex(found.shape):
        found[i] = function(
            *(a[i].item() if isinstance(a[i], np.generic) else a[i] for a in arrays)
        )
    return found


def _smooth(value: Callable, slope: Callable) -> Callable:
    """An operation on every entry: its value, and its slope from the point and the value."""

    def one(x):
        y = value(_value(x))
        return Ball(y, (x, slope(x.value, y))) if isinstance(x, Ball) else y

    return lambda x, *_, **__: _each(one, x)


def _pieces(negative: Callable, positive: Callable) -> Callable:
    """An operation that differs on both sides of 0."""
    one = lambda x: positive(x) if _sign(x) > 0 else negative(x)  # noqa: E731
    return lambda x: _each(one, x)


def _compared(holds: Callable, sign: Callable[[int], bool]) -> Callable:
    """A comparison, by the sign of the difference; of whole numbers as they are."""

    def compare(x, y):
        x, y = np.asarray(x), np.asarray(y)
        if x.dtype != object and y.dtype != object:
            return holds(x, y)
        return _each(lambda a, b: sign(0 if a is b else _sign(a - b)), x, y).astype(bool)

    return compare


def _chosen(larger: bool) -> Callable:
    """The larger, or the smaller, of two."""

    def choose(x, y):
        return x if (_sign(x - y) >= 0) == larger else y

    return choose


def _largest(values: np.ndarray):
    """The largest of some numbers: the one that is certainly no smaller than any other."""
    return reduce(_chosen(True), values.flat)


def _over(function: Callable, x: np.ndarray, axes, keep: bool) -> np.ndarray:
    """A function of all entries along some axes (None or []: all)."""
    axes = [axes] if isinstance(axes, int) else axes
    axes = sorted(a % x.ndim for a in axes) if axes else list(range(x.ndim))
    rest = [a for a in range(x.ndim) if a not in axes]
    rows = x.transpose(*rest, *axes).reshape(*(x.shape[a] for a in rest), -1)
    found = np.empty(rows.shape[:-1], dtype=object)
    for i in np.ndindex(found.shape):
        found[i] = function(rows[i])
    if not keep:
        return found
    return found.reshape([1 if a in axes else x.shape[a] for a in range(x.ndim)])


def _sum(values: np.ndarray):
    return reduce(operator.add, values.flat, arb(0))


def _mean(values: np.ndarray):
    return _sum(values) * (1 / arb(values.size))


def _variance(values: np.ndarray, correction: float = 0):
    off = values - _mean(values)
    return _sum(off * off) * (1 / arb(values.size - correction))


def _power(x, exponent) -> object:
    if exponent == int(exponent) and 0 < exponent <= 64:
        return reduce(operator.mul, [x] * int(exponent))
    return _each(lambda v: _real_power(v, exponent), x)


def _real_power(x, exponent: float):
    whole = exponent == int(exponent)
    y = _value(x) ** (int(exponent) if whole else arb(exponent))
    return Ball(y, (x, arb(exponent) * y / x.value)) if isinstance(x, Ball) else y


def _normalised(x: np.ndarray, axes: int, eps: float) -> np.ndarray:
    """Less the mean, over the standard deviation, along the last axes."""
    along = list(range(x.ndim - axes, x.ndim))
    middle = _over(_mean, x, along, True)
    spread = _over(_variance, x, along, True)
    return (x - middle) * _RSQRT(spread + arb(eps))


def _layer_norm(x, shape, weight, bias, eps):
    found = _normalised(x, len(shape), eps)
    return (_affine(found, weight, bias),)


def _group_norm(x, weight, bias, batch, channels, pixels, groups, eps):
    found = _normalised(x.reshape(batch, groups, -1), 1, eps).reshape(x.shape)
    return (_affine(found, weight, bias, (1, channels, *[1] * (x.ndim - 2))),)


def _batch_norm(x, weight, bias, mean, variance, training, momentum, eps):
    """Of stored statistics, or of those of each channel in this batch (an instance's own)."""
    of_channel = (1, x.shape[1], *[1] * (x.ndim - 2))
    if training:
        others = [a for a in range(x.ndim) if a != 1]
        mean, variance = (_over(f, x, others, False) for f in (_mean, _variance))
    found = (x - mean.reshape(of_channel)) * _RSQRT(variance + arb(eps)).reshape(of_channel)
    return (_affine(found, weight, bias, of_channel),)


def _affine(x, weight, bias, shape=(-1,)) -> np.ndarray:
    """Times the weight and plus the bias, brought to this shape, where there are some."""
    x = x if weight is None else x * (weight.reshape(shape) if len(shape) > 1 else weight)
    return x if bias is None else x + (bias.reshape(shape) if len(shape) > 1 else bias)


def _log_softmax(x, axis, *_):
    # Less about the largest. As a constant it changes no value, and no slope.
    x = x - _over(lambda v: arb(max(float(_value(e).mid()) for e in v)), x, axis, True)
    return x - _LOG(_over(_sum, _EXP(x), axis, True))


def _windows(x: np.ndarray, size, stride, padding, dilation, fill) -> np.ndarray:
    """(batch, channel, place..., entry): what each place of a moving window sees."""
    size, stride, padding, dilation = (
        [v[0]] * (x.ndim - 2) if len(v) == 1 else list(v) for v in (size, stride, padding, dilation)
    )
    x = _padded(x, [(0, 0), (0, 0), *((p, p) for p in padding)], fill)
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, size, strict=True)]
    seen = np.lib.stride_tricks.sliding_window_view(x, reach, axis=tuple(range(2, x.ndim)))
    axes = range(len(size))
    every = (slice(None), slice(None), *(slice(None, None, stride[a]) for a in axes))
    seen = seen[(*every, *(slice(None, None, dilation[a]) for a in axes))]
    return seen.reshape(*seen.shape[: x.ndim], -1)


def _padded(x: np.ndarray, pads, fill) -> np.ndarray:
    found = np.empty([n + sum(p) for n, p in zip(x.shape, pads, strict=True)], dtype=object)
    found.fill(fill)
    found[tuple(slice(p[0], p[0] + n) for n, p in zip(x.shape, pads, strict=True))] = x
    return found


def _convolution(x, weight, bias, stride, padding, dilation, transposed, extra, groups):
    if transposed:
        x, weight, padding = _as_plain(x, weight, stride, padding, dilation, extra, groups)
        stride = [1] * (x.ndim - 2)
    parts = []
    for inputs, kernels in zip(np.split(x, groups, 1), np.split(weight, groups), strict=True):
        seen = _windows(inputs, kernels.shape[2:], stride, padding, dilation, arb(0))
        seen = np.moveaxis(seen, 1, -2).reshape(seen.shape[0], *seen.shape[2:-1], -1)
        made = seen @ kernels.reshape(len(kernels), -1).T
        parts.append(np.moveaxis(made, -1, 1))
    found = np.concatenate(parts, axis=1)
    return found if bias is None else found + bias.reshape(1, -1, *[1] * (x.ndim - 2))


def _as_plain(x, weight, stride, padding, dilation, extra, groups):
    """A transposed convolution as a plain one: of spread inputs with kernels turned round."""
    spread = [1 + (n - 1) * s for n, s in zip(x.shape[2:], stride, strict=True)]
    wide = _padded(x[:0], [(0, len(x)), (0, 0), *((0, w - n) for w, n in
                   zip(spread, x.shape[2:], strict=True))], arb(0))  # fmt: skip
    wide[(slice(None), slice(None), *(slice(None, None, s) for s in stride))] = x
    edge = [
        (d * (k - 1) - p, d * (k - 1) - p + e)
        for k, p, d, e in zip(weight.shape[2:], padding, dilation, extra, strict=True)
    ]
    if min(min(pair) for pair in edge) < 0:
        raise ValueError(f"a proof needs a transposed convolution without cropping, got {edge}")
    turned = np.flip(weight, tuple(range(2, weight.ndim)))
    parts = [part.swapaxes(0, 1) for part in np.split(turned, groups)]
    wide = _padded(wide, [(0, 0), (0, 0), *edge], arb(0))
    return wide, np.concatenate(parts), [0] * len(stride)


def _max_pool(x, size, stride=(), padding=(0,), dilation=(1,), ceil=False):
    if ceil:
        raise ValueError("a proof needs pooling without ceil_mode")
    squeeze = x.ndim == len(size) + 1
    x = x[None] if squeeze else x
    seen = _windows(x, size, stride or size, padding, dilation, None)
    found = _over(lambda v: _largest(np.array([e for e in v if e is not None])), seen, -1, False)
    return (found[0] if squeeze else found, None)


def _average_pool(x, size, stride=(), padding=(0,), ceil=False, counts=True, divisor=None):
    if ceil or (any(padding) and not counts):
        raise ValueError("a proof needs average pooling without ceil_mode, with padding counted")
    squeeze = x.ndim == len(size) + 1
    x = x[None] if squeeze else x
    seen = _windows(x, size, stride or size, padding, (1,), arb(0))
    found = _over(lambda v: _sum(v) * (1 / arb(divisor or v.size)), seen, -1, False)
    return found[0] if squeeze else found


def _adaptive_average(x, size):
    axes = range(x.ndim - len(size), x.ndim)
    ranges = [
        [(i * n // m, -(-(i + 1) * n // m)) for i in range(m)]
        for m, n in zip(size, x.shape[axes[0] :], strict=True)
    ]
    means = [
        _over(_mean, x[(..., *(slice(*each) for each in place))], list(axes), False)
        for place in product(*ranges)
    ]
    return np.stack(means, -1).reshape(*x.shape[: axes[0]], *size)


def _gelu(x, approximate="none"):
    if approximate == "tanh":
        inner = (x + x * x * x * arb(0.044715)) * (2 / arb.pi()).sqrt()
        return x * (_TANH(inner) + 1) * arb(0.5)
    return x * (_ERF(x * (1 / arb(2).sqrt())) + 1) * arb(0.5)


def _index(x, indices):
    return x[tuple(slice(None) if i is None else i for i in indices)]


def _slice(x, axis=0, start=None, end=None, step=1):
    return x[(*[slice(None)] * (axis % x.ndim), slice(start, end, step))]


def _put(x, part, place):
    found = x.copy()
    found[place] = part
    return found


def _split(x, sizes, axis=0):
    sizes = [sizes] * -(-x.shape[axis] // sizes) if isinstance(sizes, int) else sizes
    return np.split(x, np.cumsum(sizes)[:-1].tolist(), axis)


def _expand(x, shape, **_):
    offset = len(shape) - x.ndim
    whole = [x.shape[i - offset] if n == -1 else n for i, n in enumerate(shape)]
    return np.broadcast_to(x, whole)


def _copied(x, *, dtype=None, **_):
    x = np.asarray(x)
    if dtype == torch.float64 and x.dtype != object:
        return _each(arb, x.astype(float))
    if dtype in (None, torch.float64) or (x.dtype != object and not dtype.is_floating_point):
        return x
    raise ValueError(f"a proof needs a model that computes in float64, got {dtype}")


def _filled(shape, value, *, dtype=None, **_):
    if dtype is not None and not dtype.is_floating_point:
        return np.full(shape, value)
    return _copied(np.full(shape, float(value)), dtype=dtype or torch.float64)


def _truths(function: Callable) -> Callable:
    """A function of truths, of which numbers with an error are none."""

    def of(*values, **options):
        if any(np.asarray(value).dtype == object for value in values):
            raise TypeError("truths are needed, got numbers")
        return function(*values, **options)

    return of


_scaled = lambda x, y, alpha: x + y if alpha == 1 else x + y * alpha  # noqa: E731
_TANH = _smooth(lambda v: v.tanh(), lambda v, y: 1 - y * y)
_EXP = _smooth(lambda v: v.exp(), lambda v, y: y)
_LOG = _smooth(lambda v: v.log(), lambda v, y: 1 / v)
_RSQRT = _smooth(lambda v: 1 / v.sqrt(), lambda v, y: -y * y * y / 2)
_ERF = _smooth(lambda v: v.erf(), lambda v, y: 2 * (-v * v).exp() / arb.pi().sqrt())
_SIGMOID = _smooth(lambda v: 1 / (1 + (-v).exp()), lambda v, y: y * (1 - y))

# Of torch's core operations, by their names.
_OPERATIONS: dict[str, Callable] = {
    "add": lambda x, y, alpha=1: _scaled(x, y, alpha),
    "sub": lambda x, y, alpha=1: _scaled(x, -y, alpha),
    "rsub": lambda x, y, alpha=1: _scaled(y, -x, alpha),
    "mul": operator.mul,
    "div": operator.truediv,
    "neg": operator.neg,
    "reciprocal": lambda x: _each(lambda v: 1 / v, x),
    "square": lambda x: x * x,
    "pow.Tensor_Scalar": _power,
    "sqrt": _smooth(lambda v: v.sqrt(), lambda v, y: 1 / (2 * y)),
    "rsqrt": _RSQRT,
    "exp": _EXP,
    "expm1": _smooth(lambda v: v.expm1(), lambda v, y: y + 1),
    "log": _LOG,
    "log1p": _smooth(lambda v: v.log1p(), lambda v, y: 1 / (1 + v)),
    "sin": _smooth(lambda v: v.sin(), lambda v, y: v.cos()),
    "cos": _smooth(lambda v: v.cos(), lambda v, y: -v.sin()),
    "tanh": _TANH,
    "sinh": _smooth(lambda v: v.sinh(), lambda v, y: v.cosh()),
    "cosh": _smooth(lambda v: v.cosh(), lambda v, y: v.sinh()),
    "atan": _smooth(lambda v: v.atan(), lambda v, y: 1 / (1 + v * v)),
    "erf": _ERF,
    "sigmoid": _SIGMOID,
    "gelu": _gelu,
    "relu": _pieces(lambda x: arb(0), lambda x: x),
    "abs": _pieces(lambda x: -x, lambda x: x),
    "leaky_relu": lambda x, slope=0.01: _pieces(lambda v: v * slope, lambda v: v)(x),
    "elu": lambda x, alpha=1.0, scale=1.0, inner=1.0: _pieces(
        lambda v: (_EXP(v * inner).item() - 1) * (alpha * scale), lambda v: v * scale
    )(x),
    "hardtanh": lambda x, low=-1.0, high=1.0: _clamped(x, low, high),
    "clamp": lambda x, low=None, high=None: _clamped(x, low, high),
    "minimum": lambda x, y: _each(_chosen(False), x, y),
    "maximum": lambda x, y: _each(_chosen(True), x, y),
    "gt": _compared(operator.gt, lambda s: s > 0),
    "lt": _compared(operator.lt, lambda s: s < 0),
    "ge": _compared(operator.ge, lambda s: s >= 0),
    "le": _compared(operator.le, lambda s: s <= 0),
    "eq": _compared(operator.eq, lambda s: s == 0),
    "ne": _compared(operator.ne, lambda s: s != 0),
    "logical_not": _truths(np.logical_not),
    "logical_and": _truths(np.logical_and),
    "logical_or": _truths(np.logical_or),
    "any": _truths(lambda x, axis=None, keep=False: np.any(x, axis=axis, keepdims=keep)),
    "where": lambda condition, x, y: np.where(condition, x, y),
    "sum": lambda x, axes=None, keep=False, **_: _over(_sum, x, axes, keep),
    "mean": lambda x, axes=None, keep=False, **_: _over(_mean, x, axes, keep),
    "var": lambda x, axes=None, *, correction=1, keepdim=False: _over(
        partial(_variance, correction=1 if correction is None else correction), x, axes, keepdim
    ),
    "linalg_vector_norm": lambda x, order=2, axes=None, keep=False, **_: _norm(
        x, order, axes, keep
    ),
    "amax": lambda x, axes=(), keep=False: _over(_largest, x, axes, keep),
    "amin": lambda x, axes=(), keep=False: -_over(_largest, -x, axes, keep),
    "_softmax": lambda x, axis, *_: _EXP(_log_softmax(x, axis)),
    "_log_softmax": _log_softmax,
    "mm": operator.matmul,
    "bmm": operator.matmul,
    "dot": operator.matmul,
    "mv": operator.matmul,
    "addmm": lambda c, x, y, *, beta=1, alpha=1: c * beta + (x @ y) * alpha,
    "native_layer_norm": _layer_norm,
    "native_group_norm": _group_norm,
    "native_batch_norm": _batch_norm,
    "_native_batch_norm_legit_no_training": lambda x, w, b, mean, var, momentum, eps: _batch_norm(
        x, w, b, mean, var, False, momentum, eps
    ),
    "convolution": _convolution,
    "max_pool2d_with_indices": _max_pool,
    "avg_pool1d": _average_pool,
    "avg_pool2d": _average_pool,
    "_adaptive_avg_pool2d": _adaptive_average,
    "embedding": lambda weight, rows, *_: weight[rows],
    "view": lambda x, shape: x.reshape(shape),
    "_unsafe_view": lambda x, shape: x.reshape(shape),
    "reshape": lambda x, shape: x.reshape(shape),
    "permute": lambda x, axes: x.transpose(axes),
    "t": lambda x: x.T,
    "transpose": lambda x, one, other: x.swapaxes(one, other),
    "expand": _expand,
    "unsqueeze": np.expand_dims,
    "squeeze": lambda x, axes=None: _squeezed(x, axes),
    "select": lambda x, axis, i: np.take(x, i, axis),
    "slice": _slice,
    "index": _index,
    "index_select": lambda x, axis, i: np.take(x, i, axis),
    "cat": lambda parts, axis=0: np.concatenate(parts, axis),
    "stack": lambda parts, axis=0: np.stack(parts, axis),
    "split": _split,
    "split_with_sizes": _split,
    "unbind": lambda x, axis=0: list(np.moveaxis(x, axis, 0)),
    "flip": np.flip,
    "constant_pad_nd": lambda x, pad, value=0.0: _padded(
        x, [(0, 0)] * (x.ndim - len(pad) // 2) + list(zip(pad[::2], pad[1::2], strict=True))[::-1],
        arb(value),
    ),
    "clone": lambda x, **_: x,
    "alias": lambda x: x,
    "detach": lambda x: x,  # it hides a derivative and changes no value
    "lift_fresh_copy": lambda x: x,
    "_to_copy": _copied,
    "full": _filled,
    "full_like": lambda x, value, **_: _filled(x.shape, value),
    "zeros_like": lambda x, **_: _filled(x.shape, 0.0),
    "ones_like": lambda x, **_: _filled(x.shape, 1.0),
    "scalar_tensor": lambda value, **k: _filled((), value, **k),
    "arange": lambda *given, **_: np.arange(*given),
    "empty": lambda shape, **_: _filled(shape, math.nan),
    "slice_scatter": lambda x, part, axis=0, start=None, end=None, step=1: _put(
        x, part, (*[slice(None)] * (axis % x.ndim), slice(start, end, step))
    ),
    "select_scatter": lambda x, part, axis, i: _put(x, part, (*[slice(None)] * (axis % x.ndim), i)),
    "getitem": operator.getitem,
}  # fmt: skip


def _norm(x, order, axes, keep):
    if order != 2:
        raise ValueError(f"a proof needs norms of order 2, got {order}")
    return _OPERATIONS["sqrt"](_over(lambda v: _sum(v * v), x, axes, keep))


def _clamped(x, low, high):
    x = x if low is None else _each(_chosen(True), x, np.asarray(arb(low)))
    return x if high is None else _each(_chosen(False), x, np.asarray(arb(high)))


def _squeezed(x, axes):
    axes = [axes] if isinstance(axes, int) else range(x.ndim) if axes is None else axes
    return np.squeeze(x, tuple(a for a in axes if x.shape[a] == 1))
