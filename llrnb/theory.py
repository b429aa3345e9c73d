"""Closed forms of the theory: integers in, integers out, no arrays.

The optimistic sample size of a target is its model rank (Theorem 1): the smallest number of
samples from which the target can be recovered locally and linearly. `bias` says whether the
network's hidden neurons have biases; the target's need not.
"""


def fully_connected_rank(neurons: int, input_dim: int, *, bias: bool) -> int:
    """Model rank of a target with that many distinct tanh neurons, at any larger width (Thm 5).

    k (d + 1), and k (d + 2) with biases.

    >>> fully_connected_rank(3, 5, bias=True)
    21
    """
    return neurons * (input_dim + bias + 1)


def shared_cnn_rank(kernels: int, entries: int, windows: int, *, bias: bool) -> int:
    """Model rank of a generic k-kernel target in a CNN with weight sharing (Thm 6).

    k (s + P) for kernels of s entries at P windows, and k (s + 1 + P) with one bias per kernel.

    >>> shared_cnn_rank(1, 3, 3, bias=True)
    7
    """
    return kernels * (entries + bias + windows)


def unshared_cnn_rank(neurons: int, entries: int, *, bias: bool) -> int:
    """Model rank of a target with that many distinct neurons in a CNN without sharing (Thm 7).

    K (s + 1), and K (s + 2) with biases; K counts neurons with a nonzero output weight, so a
    generic k-kernel target at P windows has K = k P.

    >>> unshared_cnn_rank(3, 3, bias=True)
    15
    """
    return neurons * (entries + bias + 1)
