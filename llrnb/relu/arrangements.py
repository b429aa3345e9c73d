"""Activation patterns of a data matrix, and the recovery problem posed on them.

The hyperplanes x_i . g = 0 cut the space of weights g into cones. In each one the pattern
D = 1[X g >= 0] of active samples is constant, and a ReLU neuron is linear there: (X g)_+ = D X g.
The convex programs of `llrnb.relu.programs` have one group of variables for each pattern.
"""

from dataclasses import dataclass
from math import comb
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.optimize import linprog, nnls

from llrnb.relu.planted import Planted, one_of

Network = Literal["plain", "skip", "normalised"]
MADE_FOR = {"plain": "relu", "skip": "linear", "normalised": "normalised"}


def sample_patterns(
    inputs: Float[np.ndarray, "sample input"],
    count: int,
    rng: np.random.Generator,
    include: Float[np.ndarray, "input neuron"] | None = None,
) -> tuple[Bool[np.ndarray, "sample pattern"], Int[np.ndarray, " neuron"]]:
    """Distinct patterns 1[X g >= 0] of Gaussian directions g, in the order of their first drawing.

    Args:
        inputs: X.
        count: how many directions to draw; equal patterns are kept once.
        rng: the stream to draw from.
        include: weights whose patterns come first.

    Returns:
        The patterns, and for each included column of weights the number of its pattern.

    Raises:
        ValueError: no direction at all.

    >>> sample_patterns(np.eye(2), 0, np.random.default_rng(0), include=-np.eye(2))
    (array([[False,  True],
           [ True, False]]), array([0, 1]))
    """
    planted = np.empty((inputs.shape[1], 0)) if include is None else include
    if count < 0 or count + planted.shape[1] < 1:
        raise ValueError(f"patterns need at least 1 direction, got {count}")
    directions = np.hstack([planted, rng.standard_normal((inputs.shape[1], count))])
    drawn = inputs @ directions >= 0
    number: dict[bytes, int] = {}
    place = [number.setdefault(key.tobytes(), len(number)) for key in np.packbits(drawn.T, axis=1)]
    _, first = np.unique(place, return_index=True)
    return drawn[:, first], np.array(place[: planted.shape[1]], dtype=int)


def has_all_ones(inputs: Float[np.ndarray, "sample input"]) -> bool:
    """Whether a direction u has X u >= 0, X u != 0: whether all samples lie in a half space.

    Decided by Gordan's alternative: the point of the convex hull of the samples next to 0, found
    by nonnegative least squares, is either such a u with X u > 0, or the hull contains 0 and, if
    the samples that combine to 0 span the space, there is no u. Else (samples in special position)
    a linear program decides: max 1'Xu subject to 0 <= X u <= 1.

    >>> has_all_ones(np.array([[1.0, 0.0], [0.0, 1.0]]))
    True
    >>> has_all_ones(np.array([[1.0, 0.0], [-1.0, 1.0], [-1.0, -1.0]]))
    False
    """
    samples, dim = inputs.shape
    if samples <= dim and np.linalg.matrix_rank(inputs) == samples:
        return True
    scaled = inputs / max(np.abs(inputs).max(), np.finfo(float).tiny)
    hull = np.vstack([scaled.T, np.ones(samples)])
    origin = np.eye(dim + 1)[-1]
    try:
        share, residual = nnls(hull, origin)
    except RuntimeError:  # the iteration limit
        return _half_space(scaled)
    if residual > 1e-10:
        direction = (hull @ share - origin)[:-1]
        if (scaled @ direction).min() > 0:
            return True
    elif np.linalg.matrix_rank(scaled[share > 0]) == dim:
        return False
    return _half_space(scaled)


def _half_space(inputs: Float[np.ndarray, "sample input"]) -> bool:
    """The linear program max 1'Xu, 0 <= X u <= 1 has a positive optimum."""
    samples = len(inputs)
    solved = linprog(
        -inputs.sum(axis=0),
        A_ub=np.vstack([inputs, -inputs]),
        b_ub=np.concatenate([np.ones(samples), np.zeros(samples)]),
        bounds=(None, None),
        method="highs",
    )
    # Scaled up, any solution reaches X u = 1 in some sample.
    return solved.status == 0 and -solved.fun > 0.5


def cover_probability(samples: int, dim: int) -> float:
    """The probability that samples in general position with symmetric law lie in a half space.

    P = 2^-(n-1) sum_{i < d} C(n-1, i), exactly 1/2 at n = 2d (Cover 1965).

    Raises:
        ValueError: no sample or no input.

    >>> cover_probability(20, 10)
    0.5
    """
    if samples < 1 or dim < 1:
        raise ValueError(f"the probability needs 1 sample and 1 input, got {samples} and {dim}")
    samples, dim = int(samples), int(dim)  # NumPy's integers would overflow
    return pattern_count(samples, dim) / 2**samples


def pattern_count(samples: int, dim: int) -> int:
    """The number of patterns of samples in general position: 2 sum_{i < d} C(n-1, i) (Cover 1965).

    Samples in special position have fewer.

    >>> pattern_count(6, 2)
    12
    """
    return 2 * sum(comb(samples - 1, i) for i in range(min(dim, samples)))


@dataclass(frozen=True)
class Problem:
    """Recover the planted weights with a network, on given activation patterns.

    Attributes:
        planted: the data.
        network: "plain", "skip" (with a linear unit) or "normalised".
        patterns: distinct columns 1[X g >= 0].
        support: for each planted neuron its pattern's number; () for "skip", whose linear unit
            carries the planted weights. Where two neurons share a pattern the programs have one
            group for both, and the planted weights cannot be recovered as posed.
        all_ones: whether the pattern with every sample active exists.
    """

    planted: Planted
    network: str
    patterns: Bool[np.ndarray, "sample pattern"]
    support: tuple[int, ...]
    all_ones: bool

    @property
    def shared(self) -> bool:
        """Whether two planted neurons have the same pattern."""
        return len(set(self.support)) < len(self.support)


def pose(planted: Planted, network: str, *, patterns: int | None = None, seed: int = 0) -> Problem:
    """Pose the recovery of planted weights on sampled patterns.

    The patterns of the planted neurons come first ("plain" and "normalised"), then those of
    Gaussian directions, then the all-ones pattern, if it exists and was not drawn.

    Args:
        planted: linear labels for "skip", ReLU for "plain", normalised for "normalised".
        network: one of these three words.
        patterns: how many directions to draw, max(n, 50) by default.
        seed: of the directions; they do not depend on the network.

    Raises:
        ValueError: another network, labels that are not the network's, fewer samples than inputs
            for "normalised", or more planted neurons than there are patterns.
    """
    one_of(Network, "network", network)
    samples, dim = planted.samples, planted.dim
    if planted.labels != MADE_FOR[network]:
        raise ValueError(
            f"a {network} network needs {MADE_FOR[network]} labels, got {planted.labels} ones"
        )
    if network == "normalised" and samples < dim:
        raise ValueError(f"a normalised network on {dim} inputs needs {dim} samples, got {samples}")
    cones = pattern_count(samples, dim)
    if network != "skip" and planted.neurons > cones:
        raise ValueError(
            f"{samples} samples of {dim} inputs have at most {cones} patterns, one for each "
            f"planted neuron, got {planted.neurons} neurons"
        )
    rng = np.random.default_rng([samples, dim, seed, 1])
    include = None if network == "skip" else planted.weights
    count = max(samples, 50) if patterns is None else patterns
    drawn, support = sample_patterns(planted.inputs, count, rng, include)
    uniform = drawn.all(axis=0)
    # A direction whose pattern is empty, turned round, has the all-ones pattern.
    all_ones = bool(uniform.any() or not drawn.any(axis=0).all() or has_all_ones(planted.inputs))
    if all_ones and not uniform.any():
        drawn = np.hstack([drawn, np.ones((samples, 1), dtype=bool)])
    return Problem(planted, network, drawn, tuple(support.tolist()), all_ones)
