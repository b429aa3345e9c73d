"""Certified rank: a floating-point computation that proves a lower bound.

A square part of the tangent matrix is nonsingular, and its size a lower bound of the model rank,
if some matrix R has ||I - R A|| < 1 for every A within the error of its computed entries. Nothing
is assumed but IEEE 754: additions, multiplications and divisions of float64 round to nearest, and a
matrix product is made of them in any order, fused or not. In particular no library's tanh is
trusted: `_exp` below computes it from such operations, with a bound for all of its errors. The
exact structure gives the upper bound; where the two meet, the rank is proved.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import factorial, nan

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from llrnb import checks
from llrnb.checks import double_params
from llrnb.models import as_model
from llrnb.networks import Params, TwoLayerNetwork, is_tanh_network, tanh_network
from llrnb.rank import balls
from llrnb.rank.exact import by_neuron, exact_rank
from llrnb.rank.numerical import on_generic_inputs, shape_of_input
from llrnb.rank.singular import matrix_rank
from llrnb.rank.tangent import tangent_matrix
from llrnb.streams import rng

_UNIT = 2.0**-53  # the relative error of one rounding
# Covers the roundings made in computing a bound itself: sums of up to 10^8 nonnegative numbers.
_ROUND_UP = 1 + 2.0**-20
_UNDERFLOW = 1e-300  # more than the absolute errors of 10^20 operations that underflow
_MOST_ENTRIES = 10**8  # of a tangent matrix: below 1 GB
_MOST_PARAMETERS = 600  # of a model in balls, whose elimination grows with the third power
_SPARE = 8  # rows more than parameters

Matrix = Float[np.ndarray, "row column"]
Array = Float[np.ndarray, "..."]
Indices = Int[np.ndarray, " index"]


@dataclass(frozen=True)
class Certificate:
    """Proved bounds of a model rank.

    Attributes:
        lower: size of a part of the tangent matrix that was proved nonsingular; 0 if none was.
        upper: of a two-layer tanh network the exact rank of its structure; of any other model the
            number of its parameters.
        bound: of a tanh network a proved bound of ||I - R A|| for that part, below 1; inf if there
            is none. Of any other model 0, as no pivot of an elimination may be zero.
        inputs: its rows: the inputs, exactly as stored. An input of a model of several outputs has
            several rows, and may stand here several times.
        columns: its columns, as numbered in `tangent_matrix`.
        left: of any other model, a bound for every entry of the tangent matrix that the elimination
            leaves: where it is tiny, these inputs show no more rank in 400 bits, which is evidence
            and no proof. NaN for a tanh network.
    """

    lower: int
    upper: int
    bound: float
    inputs: Float[Tensor, "lower ..."]
    columns: Int[Tensor, " lower"]
    left: float = nan

    @property
    def proved(self) -> bool:
        """Whether the bounds meet."""
        return self.lower == self.upper


def certify_rank(
    model: Callable | torch.nn.Module,
    params: Params | None = None,
    *,
    input_shape: tuple[int, ...] | None = None,
) -> Certificate:
    """Bounds of the model rank with proof; where numbers cannot tell, the bounds stay apart.

    Two-layer tanh networks have a way of their own, in floating-point numbers: its cost is a few
    products of two matrices of the size of the rank, and a tangent matrix with more than 10^8
    entries at as many inputs is not attempted. Any other model is traced and computed in balls of
    400 bits (`llrnb.rank.balls`), which needs python-flint (`pip install 'llrnb[proof]'`) and some
    seconds for 100 parameters, minutes for 300.

    Args:
        model: as in `numerical_rank`.
        params: its parameters; None for those that a module has.
        input_shape: of one input; a model may know it.

    Raises:
        As `numerical_rank`; ValueError for an operation whose error is not known, steps that depend
        on the data, or more than 600 parameters; ImportError without python-flint.

    >>> from llrnb.networks import cnn
    >>> net = cnn(5, 3, kernels=2)
    >>> certificate = certify_rank(net, net.init(std=1.0))
    >>> certificate.lower, certificate.upper, certificate.proved
    (14, 14, True)
    >>> layers = torch.nn.Linear(2, 2), torch.nn.ReLU(), torch.nn.Linear(2, 1)
    >>> certificate = certify_rank(torch.nn.Sequential(*layers), input_shape=(2,))
    >>> certificate.lower, certificate.upper, certificate.left < 1e-100  # a scale for each neuron
    (7, 9, True)
    """
    if not is_tanh_network(model):
        return _by_balls(model, params, input_shape)
    net = model
    _, params = as_model(net, params, None)
    upper = exact_rank(net, params)
    samples = upper + upper // 8 + 16
    if samples * net.parameter_count > _MOST_ENTRIES:
        return _unproved(net, upper)
    inputs = torch.from_numpy(rng("generic inputs").standard_normal((samples, net.input_dim)))
    with np.errstate(over="ignore", invalid="ignore"):
        tangent, error = enclosed_tangent(net, params, inputs)
    if not np.isfinite(tangent).all():
        return _unproved(net, upper)
    rows, columns = _pivots(tangent, upper)
    for size in _candidates(tangent[np.ix_(rows, columns)]):
        part = np.ix_(rows[:size], columns[:size])  # the first pivots are the best conditioned
        bound = nonsingularity_bound(tangent[part], error[part])
        if bound < 1:
            chosen = torch.from_numpy(columns[:size])
            return Certificate(size, upper, bound, inputs[rows[:size]], chosen)
    return _unproved(net, upper)


def _by_balls(
    model: Callable | torch.nn.Module, params: Params | None, input_shape: tuple[int, ...] | None
) -> Certificate:
    """The certificate of any model: generic inputs, their derivatives in balls, an elimination."""
    shape = shape_of_input(model, input_shape)
    model, params = as_model(model, params, shape)
    params = double_params(params)
    upper = sum(value.numel() for value in params.values())
    if upper > _MOST_PARAMETERS:
        raise ValueError(f"a proof needs at most {_MOST_PARAMETERS} parameters, got {upper:,}")
    _, inputs = on_generic_inputs(model, params, shape)
    derivatives, of_row = balls.enclosed_derivatives(
        model, params, inputs, _telling(model, params, inputs, upper + _SPARE)
    )
    rows, columns, left = balls.pivots(derivatives)
    chosen = torch.tensor(columns, dtype=torch.int64, device="cpu")
    return Certificate(len(rows), upper, 0.0, inputs[[of_row[row] for row in rows]], chosen, left)


def _telling(model: Callable, params: Params, inputs: Tensor, rows: int) -> dict[int, list[int]]:
    """The rows of the tangent matrix that pivoting takes first, as inputs and their outputs."""
    tangent = tangent_matrix(model, params, inputs)
    scaled = tangent / tangent.abs().amax(0).clamp_min(1e-300)
    found: dict[int, list[int]] = {}
    for row in _pivot_rows(scaled)[:rows]:
        sample, output = divmod(int(row), len(tangent) // len(inputs))
        found.setdefault(sample, []).append(output)
    return found


def _candidates(matrix: Matrix) -> Iterator[int]:
    """Sizes to attempt: the full one first, then those of ever clearer singular values."""
    yield len(matrix)
    values = matrix_rank(torch.from_numpy(matrix)).singular_values
    for cut in (1e-12, 1e-8, 1e-4):
        yield int((values > cut * values[:1]).sum())


def _unproved(net: TwoLayerNetwork, upper: int) -> Certificate:
    nothing = torch.zeros(0, dtype=torch.int64, device="cpu")
    return Certificate(
        0,
        upper,
        float("inf"),
        torch.zeros(0, net.input_dim, dtype=torch.float64, device="cpu"),
        nothing,
    )


def _pivots(tangent: Matrix, size: int) -> tuple[Indices, Indices]:
    """As many rows and columns on which the matrix is as far from singular as pivoting finds."""
    scaled = torch.from_numpy(tangent / np.maximum(np.abs(tangent).max(0, initial=0), 1e-300))
    columns = _pivot_rows(scaled.mT)[:size]
    return _pivot_rows(scaled[:, columns])[:size], columns


def _pivot_rows(matrix: Tensor) -> Indices:
    """The rows of a matrix in the order in which partial pivoting takes them."""
    swaps = torch.linalg.lu_factor_ex(matrix).pivots.numpy() - 1  # a zero pivot is no error here
    order = np.arange(len(matrix))
    for row, other in enumerate(swaps):
        order[[row, other]] = order[[other, row]]
    return order


def nonsingularity_bound(matrix: Matrix, error: Matrix | float = 0.0) -> float:
    """A proved bound of ||I - R A||, in the maximum norm, for an R and all |A - matrix| <= error.

    Below 1 it proves that every such A is nonsingular. R is an approximate inverse, so the bound
    is about (condition of the matrix) * (its relative error + size * 2^-53). With the matrix
    product computed as P,

        ||I - R A|| <= ||I - P|| + gamma || |R| |matrix| || + || |R| error ||,    gamma <= 2 n 2^-53

    Columns and rows are scaled first, by powers of two, which is exact.

    >>> nonsingularity_bound(np.eye(3)) < 1e-14, nonsingularity_bound(np.ones((2, 2))) < 1
    (True, False)
    """
    matrix = checks.data(matrix, "matrix", finite=False).numpy()
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"a bound needs a square matrix, got shape {matrix.shape}")
    errors = checks.data(error, "error", finite=False).numpy()
    if errors.shape not in ((), matrix.shape) or (errors < 0).any():
        raise ValueError(f"a bound needs errors >= 0, one or each, got {checks.came(errors)}")
    errors = np.broadcast_to(errors, matrix.shape)
    for axis in (0, 1):
        exponent = -np.frexp(np.abs(matrix).max(axis, keepdims=True, initial=0.0))[1]
        matrix, errors = np.ldexp(matrix, exponent), np.ldexp(errors, exponent)
    size = len(matrix)
    with np.errstate(all="ignore"):  # what is not finite proves nothing, and says so below
        try:
            inverse = np.linalg.inv(matrix)
        except np.linalg.LinAlgError:
            return np.inf
        residual = np.abs(inverse @ matrix - np.eye(size)).sum(1)
        rounding = 2 * size * _UNIT * np.abs(matrix).sum(1) + (errors + _UNDERFLOW).sum(1)
        bound = (residual + np.abs(inverse) @ rounding).max(initial=0.0) * _ROUND_UP
    return float(bound) if np.isfinite(bound) else np.inf


def enclosed_tangent(
    net: TwoLayerNetwork, params: Params, inputs: Float[Tensor, "sample input"]
) -> tuple[Matrix, Matrix]:
    """The tangent matrix, and a proved bound for the error of every entry.

    Let |u - true u| <= d for a computed preactivation. Then tanh(u) is within d of the truth, and
    sech^2(u) within the factor exp(2 d), because |(log sech^2)'| = 2 |tanh| < 2. A sum of n
    products has an error of at most 2 n 2^-53 times the sum of their magnitudes.
    """
    tanh_network(net)
    values = {name: value.numpy() for name, value in double_params(params).items()}
    w, b, a = by_neuron(net, values)
    seen = inputs.numpy()[:, np.array(net.windows)]
    u = np.einsum("ipe,kpe->ikp", seen, w) + b
    u_error = (np.einsum("ipe,kpe->ikp", np.abs(seen), np.abs(w)) + np.abs(b)) * _ROUND_UP
    u_error = u_error * (2 * (net.entries + 1) * _UNIT) + _UNDERFLOW
    t, s, relative = tanh_and_slope(u)
    slope = a * s
    # 1 + 4 d > exp(2 d) for these d, with room for the other factors. Elsewhere all that is known
    # is 0 <= sech^2 <= 1.
    relative_slope = 4 * u_error + relative + (2 * len(net.windows) + 4) * _UNIT
    known = (u_error < 2.0**-10) & (np.abs(u) < 350)
    slope_error = np.where(known, np.abs(slope) * relative_slope, 2 * np.abs(a))
    by = {"a": (t, np.abs(t) * relative + u_error)}
    sums = "ikp,ipe->ike" if net.shared else "ikp,ipe->ikpe"
    by["w"] = np.einsum(sums, slope, seen), np.einsum(sums, slope_error, np.abs(seen))
    if net.bias:
        by["b"] = (slope.sum(-1), slope_error.sum(-1)) if net.shared else (slope, slope_error)
    if net.output_bias:
        by["c"] = np.ones(len(inputs)), np.zeros(len(inputs))
    tangent, error = (
        np.concatenate([by[name][part].reshape(len(inputs), -1) for name in params], axis=1)
        for part in (0, 1)
    )
    return tangent, error * _ROUND_UP + _UNDERFLOW


def tanh_and_slope(u: Array) -> tuple[Array, Array, float]:
    """tanh(u) and sech^2(u), and a bound of the relative error of both, for |u| < 350.

    With y = 2 |u|, e = exp(-y) and m = 1 - e: tanh = m / (2 - m) and sech^2 = 4 e / (2 - m)^2.
    In units of 2^-53, e carries at most 5 and m at most 14 (see `_exp`), both an absolute error of
    at most 5; with the roundings, 2 - m carries 6, tanh 21 and sech^2 19. The bound is 32.
    """
    e, m = _exp(2 * np.minimum(np.abs(u), 350.0))
    return np.copysign(m / (2 - m), u), 4 * e / (2 - m) ** 2, 32 * _UNIT


def _exp(y: Array) -> tuple[Array, Array]:
    """e = exp(-y) and m = 1 - exp(-y) for 0 <= y <= 700, without cancellation.

    exp(-y) = 2^-n exp(-t) with y = n log 2 + t, |t| < 0.347, and 1 - exp(-t) = t q(t) with the
    Taylor polynomial q(t) = 1 - t/2 + t^2/6 - ... of degree 13. In units of 2^-53:

    - n * _LOG2_HIGH is exact, since both have few bits; t has an absolute error of at most 0.75,
      and none if n = 0;
    - q, at least 0.84, has an error of at most 1.8, since in Horner's scheme an error shrinks by
      |t| per step, and a truncation error of 0.003; so m of t has a relative error of at most 4;
    - exp(-t) = 1 - m, at least 0.70, gains one rounding: 4, and with that of t at most 5;
    - m = 1 - e for n > 0, where e < 0.71: at most (0.71 * 5) / 0.29 + 1 < 14.
    """
    n = np.rint(y / (_LOG2_HIGH + _LOG2_LOW))
    t = (y - n * _LOG2_HIGH) - n * _LOG2_LOW
    q = np.zeros_like(t)
    for k in reversed(range(14)):
        q = 1 / factorial(k + 1) - t * q
    m = t * q
    e = np.ldexp(1 - m, -n.astype(np.int64))
    return e, np.where(n == 0, m, 1 - e)


# log 2 in two parts: the first has 42 bits, and the sum is within 2^-96 of it.
_LOG2_HIGH = float.fromhex("0x1.62e42fefa38p-1")
_LOG2_LOW = float.fromhex("0x1.ef35793c7673p-45")
