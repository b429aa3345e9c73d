"""A proved lower bound on the model rank of a deep tanh network, from power series.

Along a line x = s v, the tangent functions of a network without biases are power series in s with
coefficients that are rational in the weights. Their rank modulo a prime never exceeds their rank,
and that never exceeds the model rank: arithmetic without rounding, at any depth.
"""

import numpy as np
from jaxtyping import Float, Int

from llrnb import checks
from llrnb.activations import TANH
from llrnb.checks import double_params
from llrnb.deep import DeepNetwork
from llrnb.networks import Params
from llrnb.rank.compiled import rank_modulo
from llrnb.rank.modular import _odd_parts, _prime
from llrnb.streams import rng

Series = Int[np.ndarray, "order neuron line"]  # coefficients of s^0, s^1, … on each line
_PRIME = _prime(1)


def series_rank(net: DeepNetwork, params: Params, order: int = 40) -> int:
    """A lower bound on the model rank, proved: the rank of the tangent functions' power series.

    The weights are the rational numbers that their floats are. It is the model rank unless the
    series are too short, or the prime happens to divide the minors that matter.

    Args:
        net: a tanh network, residual or not. Its biases must be zero, where the series are
            rational; their tangent functions count.
        params: its parameters.
        order: number of coefficients on each line. There are as many lines as parameters; for one
            input all lines are the same, and the order must be well above twice the rank.

    Raises:
        ValueError: another activation, or a bias that is not 0.
        TypeError: another model, or a `DeepNetwork` with a `__call__` of its own.

    >>> net = DeepNetwork((2, 3, 3, 3, 1))
    >>> series_rank(net, net.init()), net.parameter_count
    (27, 27)
    """
    params = double_params(params)
    checks.itself(net, DeepNetwork, "net").check(params)
    order = checks.count(order, "order", least=2)
    if net.activation != TANH:
        raise ValueError(
            f"the series are those of tanh, got {net.activation}; numerical_rank takes any model"
        )
    if any(value.any() for name, value in params.items() if name.startswith("b")):
        raise ValueError("the series need biases that are 0")
    weights = [_residues(params[f"w{layer}"].numpy()) for layer in range(1, net.layers + 1)]
    lines = net.parameter_count if net.input_dim > 1 else 1
    checks.room("the series", order, max(net.widths) * net.parameter_count, lines)
    inputs = np.zeros((order, net.input_dim, lines), dtype=np.int64)
    inputs[1] = rng("lines of series").integers(1, 1000, (net.input_dim, lines))
    tangent = _tangent_series(net, weights, inputs)
    return rank_modulo(tangent.reshape(len(tangent), -1), _PRIME)


def _tangent_series(
    net: DeepNetwork, weights: list[np.ndarray], inputs: Series
) -> Int[np.ndarray, "param order line"]:
    """The derivative of the output by every parameter, by backpropagation of series."""
    hidden, slopes = [inputs], []
    for layer, weight in enumerate(weights[:-1], start=1):
        activation, slope = _tanh(_linear(weight, hidden[-1]))
        residual = net.residual and layer > 1
        hidden.append((hidden[-1] + activation) % _PRIME if residual else activation)
        slopes.append(slope)
    tangent = [_rows(hidden[-1])]
    ahead = np.zeros_like(hidden[-1])  # the derivative by the layer's outputs
    ahead[0] = weights[-1].T
    for layer in range(net.layers - 1, 0, -1):
        inner = _product(ahead, slopes[layer - 1])
        before = hidden[layer - 1]
        tangent += [_rows(_product(inner, before[:, [j]])) for j in range(before.shape[1])]
        if net.bias:
            tangent.append(_rows(inner))
        behind = _linear(weights[layer - 1].T, inner)
        ahead = (ahead + behind) % _PRIME if net.residual and layer > 1 else behind
    return np.concatenate(tangent)


def _rows(series: Series) -> Int[np.ndarray, "neuron order line"]:
    return series.transpose(1, 0, 2)


def _linear(
    weight: Int[np.ndarray, "after before"], series: Int[np.ndarray, "order before line"]
) -> Int[np.ndarray, "order after line"]:
    total = np.zeros((len(series), len(weight), series.shape[2]), dtype=np.int64)
    for column, neuron in zip(weight.T, series.transpose(1, 0, 2), strict=True):
        total = (total + column[:, None] * neuron[:, None]) % _PRIME
    return total


def _product(left: Series, right: Int[np.ndarray, "order _ line"]) -> Series:
    left, right = np.broadcast_arrays(left, right)
    total = np.zeros_like(left)
    for shift, factor in enumerate(left):
        total[shift:] = (total[shift:] + factor * right[: len(right) - shift]) % _PRIME
    return total


def _tanh(inner: Series) -> tuple[Series, Series]:
    """tanh z and 1 - tanh^2 z of series z with z(0) = 0, from (tanh z)' = (1 - tanh^2 z) z'."""
    value, slope = np.zeros_like(inner), np.zeros_like(inner)
    slope[0] = 1
    derivative = np.arange(1, len(inner))[:, None, None] * inner[1:] % _PRIME
    for order in range(1, len(inner)):
        total = sum(slope[i] * derivative[order - 1 - i] % _PRIME for i in range(order))
        value[order] = total % _PRIME * pow(order, -1, _PRIME) % _PRIME
        square = sum(value[i] * value[order - i] % _PRIME for i in range(1, order))
        slope[order] = -square % _PRIME
    return value, slope


def _residues(values: Float[np.ndarray, "..."]) -> Int[np.ndarray, "..."]:
    """Floats, which are odd numbers times powers of two, modulo the prime."""
    residues = np.zeros(values.shape, dtype=np.int64)
    odd, exponent, _ = _odd_parts(values[values != 0])
    powers = np.array([pow(2, int(e), _PRIME) for e in exponent], dtype=np.int64)
    residues[values != 0] = odd % _PRIME * powers % _PRIME
    return residues
