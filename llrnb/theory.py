"""Closed forms of the theory: integers in, integers out, no arrays.

The optimistic sample size of a target is its model rank (Theorem 1): the smallest number of
samples from which the target can be recovered locally and linearly. `bias` says whether the
network's hidden neurons have biases, `output_bias` whether its output has one; the target's need
not. An output bias adds the tangent function 1, and nothing else changes.

Names that begin with `paper_` are the paper's formulas where they hold under hypotheses that the
paper does not state; the book shows where they fail, and `llrnb.exact_rank` has no exceptions.
"""

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from math import inf, prod
from operator import gt
from typing import NamedTuple

from llrnb import checks

# Python's integers, since NumPy's overflow.
_whole = partial(checks.count, least=0, most=inf)
_exact = checks.by_annotation(
    {int: _whole, bool: checks.flag, Sequence[int]: partial(checks.many, _whole)}
)


@_exact
def deep_rank_bound(widths: Sequence[int], *, bias: bool = False) -> int:
    """Largest model rank of a target of these widths, in any wider network (Thm 4, Table 1).

    The number of its parameters, sum over layers of k_l k_(l-1), and of its hidden biases. Widths
    are those of the inputs, of the hidden layers, and of the output, 1.

    >>> deep_rank_bound((5, 3, 1))
    18
    """
    if len(widths) < 2 or widths[-1] != 1:
        raise ValueError(f"a bound needs the widths of all layers, the last one 1, got {widths}")
    weights = sum(after * before for before, after in pairwise(widths))
    return weights + bias * sum(widths[1:-1])


@_exact
def deep_rank(widths: Sequence[int], *, bias: bool, offset: bool = False) -> int:
    """Model rank of an irreducible tanh network of any depth, in any wider network.

    The number of its parameters. With `offset` the target is a nonzero constant plus that network:
    a neuron of the last hidden layer without input weights adds 1 and the width before it.

    Raises:
        ValueError: an offset without biases, which no network has.

    >>> deep_rank((5, 3, 1), bias=True) == fully_connected_rank(3, 5, bias=True)
    True
    """
    if offset and (not bias or len(widths) < 3):
        raise ValueError("a nonzero constant needs a network with biases")
    return deep_rank_bound(widths, bias=bias) + offset * (widths[-3] + 1)


@_exact
def fully_connected_rank(
    neurons: int, input_dim: int, *, bias: bool, offset: bool = False, output_bias: bool = False
) -> int:
    """Model rank of a target with that many distinct tanh neurons, at any larger width (Thm 5).

    k (d + 1), and k (d + 2) with biases. With `offset` the target is a nonzero constant plus those
    neurons, which takes one neuron without input weights and adds d + 1: one less than the
    parameters of that neuron, so that the bound of Theorem 4 is not attained. An output bias is
    that constant by itself.

    Raises:
        ValueError: an offset without biases, which no network has.

    >>> fully_connected_rank(3, 5, bias=True)
    21
    """
    if offset and not bias and not output_bias:
        raise ValueError("a nonzero constant needs a network with biases")
    constant = 1 if output_bias else offset * (input_dim + 1)
    return neurons * (input_dim + bias + 1) + constant


@_exact
def shared_cnn_rank(
    kernels: int, entries: int, windows: int, *, bias: bool, output_bias: bool = False
) -> int:
    """Model rank of a generic k-kernel target in a CNN with weight sharing (Thm 6).

    k (s + P) for kernels of s entries at P windows, and k (s + 1 + P) with one bias per kernel. An
    upper bound for every target; attained if the kernels of a minimal representation are pairwise
    no ± translates of each other, as almost all are.

    >>> shared_cnn_rank(1, 3, 3, bias=True)
    7
    """
    return kernels * (entries + bias + windows) + output_bias


@_exact
def unshared_cnn_rank(neurons: int, entries: int, *, bias: bool, output_bias: bool = False) -> int:
    """Model rank of a target with that many distinct neurons in a CNN without sharing (Thm 7).

    K (s + 1), and K (s + 2) with biases. K counts the distinct ± padded weight vectors whose output
    weights do not sum to zero: kP - m_null if the padded vectors of a k-kernel target at P windows
    are distinct.

    >>> unshared_cnn_rank(3, 3, bias=True)
    15
    """
    return neurons * (entries + bias + 1) + output_bias


@_exact
def window_count(
    input_shape: int | Sequence[int], kernel_size: int | Sequence[int], stride: int = 1
) -> int:
    """Number of windows P of a convolution without padding.

    >>> window_count((28, 28), 3)
    676
    """
    shape = checks.sizes(input_shape, "input_shape")
    size = checks.sizes(kernel_size, "kernel_size", axes=len(shape))
    if stride < 1 or len(size) != len(shape) or any(map(gt, size, shape)):
        raise ValueError(f"a kernel needs to fit in {shape}, got {size} at strides of {stride}")
    return prod((n - k) // stride + 1 for n, k in zip(shape, size, strict=True))


@_exact
def fully_connected_rank_at(
    distinct: int, active: int, input_dim: int, *, bias: bool, blind: str = "no"
) -> int:
    """Model rank at given parameters of a two-layer tanh network (Cor. 7, and with biases).

    m_w + m_a (d + bias) with m_w distinct nonzero ±w (with biases: ±(w, b), w nonzero), m_a of
    which have a neuron with a nonzero output weight. Blind neurons, with w = 0, add more:

        blind = "active"  some a is not 0:                          d + bias
        blind = "biased"  every a is 0 and some b is not (bias):    1
        blind = "no"      otherwise:                                0

    >>> fully_connected_rank_at(3, 2, 5, bias=False, blind="active")
    18
    """
    _at_most("active", active, distinct)
    extra = {"no": 0, "biased": int(bias), "active": input_dim + bias}
    checks.one_of(extra, "blind", blind)
    return distinct + active * (input_dim + bias) + extra[blind]


@_exact
def paper_shared_cnn_rank_at(distinct: int, output_rank: int, entries: int, windows: int) -> int:
    """The paper's model rank of a CNN with sharing (Prop. 3): m_W P + s m_a.

    m_W distinct nonzero ± kernels; m_a sums, over these, the dimension that the output arrays of
    its copies span. It holds if no kernel is zero where its outputs are not, and no neurons of
    different kernels have the same ± padded weights.
    """
    return distinct * windows + entries * output_rank


@_exact
def paper_unshared_cnn_rank_at(distinct: int, active: int, entries: int) -> int:
    """The paper's model rank of a CNN without sharing (Prop. 4): m_W + s m_a.

    m_W distinct nonzero ± padded kernels, m_a of which have a nonzero output. It holds if no
    kernel is zero where its output is not, and no neurons of different windows have the same ±
    padded weights.
    """
    _at_most("active", active, distinct)
    return distinct + entries * active


@_exact
def paper_unshared_cnn_rank(kernels: int, entries: int, windows: int, silent: int = 0) -> int:
    """The paper's model rank of a k-kernel CNN target without sharing (Thm 7).

    (s + 1)(kP - m_null). It holds if the kP padded weight vectors are distinct up to sign; m_null
    of them have a zero output.
    """
    _at_most("silent", silent, kernels * windows)
    return (entries + 1) * (kernels * windows - silent)


@_exact
def paper_fully_connected_cnn_rank(
    kernels: int, input_dim: int, windows: int, silent: int = 0
) -> int:
    """The paper's model rank of a k-kernel CNN target in a fully connected network (Thm 5 with 7).

    (d + 1)(kP - m_null), under the hypothesis of `paper_unshared_cnn_rank`.
    """
    _at_most("silent", silent, kernels * windows)
    return (input_dim + 1) * (kernels * windows - silent)


class Table1(NamedTuple):
    """Table 1: a network of L >= 2 layers without biases."""

    generic: int  # the number of parameters bounds every target's sample size
    narrow: int  # a target of a narrower network: its number of parameters
    zero: int  # the zero function


@_exact
def table_1(widths: Sequence[int], target_widths: Sequence[int]) -> Table1:
    """Upper bounds of the optimistic sample size, for a target of narrower widths.

    Raises:
        ValueError: a target that is not narrower, or of another depth, input or output.

    >>> table_1((5, 300, 1), (5, 3, 1))
    Table1(generic=1800, narrow=18, zero=0)
    """
    ends = (0, -1)
    if (
        len(widths) != len(target_widths)
        or any(k > m for k, m in zip(target_widths, widths, strict=True))
        or any(widths[end] != target_widths[end] for end in ends)
    ):
        raise ValueError(
            f"the target needs widths up to {tuple(widths)} with the same inputs and "
            f"outputs, got {tuple(target_widths)}"
        )
    return Table1(deep_rank_bound(widths), deep_rank_bound(target_widths), 0)


class Table2(NamedTuple):
    """Table 2: a two-layer tanh network without biases."""

    generic: int  # the number of parameters bounds every target's sample size
    neurons: int  # a target with that many effective neurons: exact
    zero: int  # the zero function: exact


@_exact
def table_2(width: int, neurons: int, input_dim: int) -> Table2:
    """Optimistic sample sizes in a network of this width.

    >>> table_2(width=300, neurons=3, input_dim=5)
    Table2(generic=1800, neurons=18, zero=0)
    """
    if neurons > width:
        raise ValueError(
            f"a target in a network of width {width} has at most as many neurons, got {neurons}"
        )
    of = [fully_connected_rank(k, input_dim, bias=False) for k in (width, neurons, 0)]
    return Table2(*of)


class Table3(NamedTuple):
    """Table 3: one target, a generic CNN with sharing, in three architectures."""

    shared: int
    unshared: int
    fully_connected: int


@_exact
def table_3(
    kernels: int, entries: int, windows: int, input_dim: int, *, bias: bool = False
) -> Table3:
    """Optimistic sample sizes of a generic k-kernel CNN target with kP distinct active neurons.

    >>> table_3(1, entries=9, windows=676, input_dim=784)
    Table3(shared=685, unshared=6760, fully_connected=530660)
    """
    neurons = kernels * windows
    return Table3(
        shared_cnn_rank(kernels, entries, windows, bias=bias),
        unshared_cnn_rank(neurons, entries, bias=bias),
        fully_connected_rank(neurons, input_dim, bias=bias),
    )


def _at_most(name: str, value: int, most: int) -> None:
    if value > most:
        raise ValueError(f"{name} needs to be at most {most} here, got {value}")
