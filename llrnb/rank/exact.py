"""Exact model rank of two-layer tanh networks, from their structure.

Let v be the padded input weights of a neuron: its kernel placed on the inputs that its window
sees, and its bias. By Proposition 2' the functions 1, x_j, tanh(v . x) and sech^2(v . x) x_j of
pairwise distinct ±v with nonzero weights are linearly independent. Written in them, the tangent
functions of the output weights span one dimension for each class ±v, and those of the input
weights have the coefficients C below. So

    rank = #{classes ±v with nonzero weights} + rank(C),

an integer computed from the stored floats without a tolerance: a copy that is one ulp off is
another neuron.
"""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from jaxtyping import Float, Int

from llrnb.activations import activation_of
from llrnb.checks import double_params
from llrnb.networks import Params, TwoLayerNetwork, is_tanh_network, is_two_layer, kind_of
from llrnb.rank.modular import sparse_rank

Terms = Int[np.ndarray, " term"]


@dataclass(frozen=True)
class Structure:
    """What the model rank of a network depends on.

    C has a row for each free input weight and bias, in the order of the kernels, a kernel's
    entries, its bias; and a last row, the unit vector of column (0, constant), if the output has a
    bias or a neuron without input weights has one. Column `class * (input_dim + 1) + j` is the
    function sech^2(v . x) x_j of a class, with j = input_dim for the constant. An entry is the
    exact sum of its terms.

    Attributes:
        classes: for each neuron the number of its class ±v, from 1; 0 without input weights.
        shape: of C.
        rows: the row of each term of C.
        columns: the column of each term of C.
        terms: an output weight, or 1.
    """

    classes: Int[np.ndarray, "kernel window"]
    shape: tuple[int, int]
    rows: Terms
    columns: Terms
    terms: Float[np.ndarray, " term"]

    @property
    def distinct(self) -> int:
        """Number of classes with nonzero input weights: the dimension that output weights span."""
        return int(self.classes.max())

    @property
    def rank(self) -> int:
        """The model rank."""
        return self.distinct + sparse_rank(self.rows, self.columns, self.terms)

    def matrix(self) -> list[list[Fraction]]:
        """C, dense and exact: for small networks, to look at."""
        dense = [[Fraction(0)] * self.shape[1] for _ in range(self.shape[0])]
        for row, column, term in zip(self.rows, self.columns, self.terms, strict=True):
            dense[row][column] += Fraction(float(term))
        return dense


def exact_rank(net: TwoLayerNetwork, params: Params) -> int:
    """The model rank (Def. 5) of a two-layer tanh network at any parameters, however degenerate.

    It is the rank of the stored network. Parameters in a narrower float type are widened to
    float64, which changes no value. Cost: reading the network, and an elimination for kernels
    that repeat, up to sign and translation, with different outputs.

    Args:
        net: any architecture of the package.
        params: its parameters, one network's.

    Raises:
        TypeError: another model (see `numerical_rank`), or params that are not real floats.
        ValueError: params of other shapes, NaN or infinite.

    >>> import torch
    >>> from llrnb.networks import fully_connected
    >>> w = torch.tensor([[1.0, 2.0], [-1.0, -2.0], [0.0, 1.0]])  # the first two are one neuron
    >>> exact_rank(fully_connected(2, 3, bias=False), {"w": w, "a": torch.ones(3, 1)})
    6
    """
    return structure(net, params).rank


def structure(net: TwoLayerNetwork, params: Params) -> Structure:
    """The classes of neurons and the matrix C that the exact rank is made of.

    Raises:
        As `exact_rank`.
    """
    if not is_tanh_network(net):
        why = activation_of(net.activation).uncovered if is_two_layer(net) else None
        raise TypeError(
            f"the exact rank needs a two-layer tanh network, got {kind_of(net)}"
            f"{f' ({why})' if why else ''}; numerical_rank takes any model"
        )
    values = {name: value.numpy() for name, value in double_params(params).items()}
    net.check(params)
    w, b, a = by_neuron(net, values)
    classes = _classes(net, w, b)
    coordinates = net.input_dim + 1  # the last is the constant
    seen = np.array(net.windows)
    if net.bias:
        seen = np.pad(seen, ((0, 0), (0, 1)), constant_values=net.input_dim)
    entries = seen.shape[1]
    first = np.arange(len(a))[:, None] if net.shared else np.arange(a.size).reshape(a.shape)
    rows, columns, terms = (
        np.ravel(part)
        for part in np.broadcast_arrays(
            first[..., None] * entries + np.arange(entries),
            classes[..., None] * coordinates + seen,
            a[..., None],  # sech^2(b) is common to the rows of a kernel, so it may be dropped
        )
    )
    height = first.size * entries
    if net.output_bias or ((classes == 0) & (b != 0)).any():
        rows, columns = np.append(rows, height), np.append(columns, net.input_dim)
        terms, height = np.append(terms, 1.0), height + 1
    width = (int(classes.max()) + 1) * coordinates
    return Structure(classes, (height, width), rows, columns, terms)


def by_neuron(net: TwoLayerNetwork, values: dict[str, np.ndarray]) -> tuple[np.ndarray, ...]:
    """Input weights (kernel, window, entry), biases and output weights (kernel, window)."""
    w, a = values["w"], values["a"]
    b = values.get("b", np.zeros(a.shape[:1] if net.shared else a.shape))
    if net.shared:
        w, b = w[:, None], b[:, None]
    return np.broadcast_to(w, (*a.shape, net.entries)), np.broadcast_to(b, a.shape), a


def _classes(
    net: TwoLayerNetwork, w: np.ndarray, b: np.ndarray
) -> Int[np.ndarray, "kernel window"]:
    """Number the neurons by their padded weights up to sign: equal numbers, equal functions."""
    # A padded vector is its nonzero weights in the order of their inputs; zeros go to the end.
    place = np.where(w == 0, net.input_dim, np.array(net.windows))
    order = np.argsort(place, axis=-1, kind="stable")
    place, weight = np.take_along_axis(place, order, -1), np.take_along_axis(w, order, -1)
    sign = np.where(weight[..., :1] < 0, -1.0, 1.0)
    signed = np.concatenate([weight, b[..., None]], axis=-1) * sign + 0.0  # which turns -0 into 0
    keys = np.concatenate([place, signed.view(np.int64)], axis=-1)
    number: dict[bytes, int] = {}
    classes = [
        0 if key[0] == net.input_dim else number.setdefault(key.tobytes(), len(number) + 1)
        for key in keys.reshape(-1, keys.shape[-1])
    ]
    return np.array(classes).reshape(b.shape)
