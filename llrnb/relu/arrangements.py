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

from llrnb import checks
from llrnb.relu.half_spaces import has_all_ones
from llrnb.relu.planted import Planted, one_of, responses
from llrnb.streams import rng

Network = Literal["plain", "skip", "normalised"]
_MOST_SAMPLES = 10**4  # of a probability: its terms are as long integers
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
    inputs = checks.array(inputs, "inputs", None, None)
    count = checks.count(count, "count", least=0)
    checks.instance(rng, np.random.Generator, "rng")
    checks.room("the patterns", count, max(inputs.shape))
    planted = np.empty((inputs.shape[1], 0)) if include is None else include
    planted = checks.data(planted, "include").numpy()
    if count + planted.shape[1] < 1:
        raise ValueError(f"patterns need at least 1 direction, got {count}")
    directions = np.hstack([planted, rng.standard_normal((inputs.shape[1], count))])
    drawn = inputs @ directions >= 0
    number: dict[bytes, int] = {}
    place = [number.setdefault(key.tobytes(), len(number)) for key in np.packbits(drawn.T, axis=1)]
    _, first = np.unique(place, return_index=True)
    return drawn[:, first], np.array(place[: planted.shape[1]], dtype=int)


def cover_probability(samples: int, dim: int) -> float:
    """The probability that samples in general position with symmetric law lie in a half space.

    P = 2^-(n-1) sum_{i < d} C(n-1, i), exactly 1/2 at n = 2d (Cover 1965).

    Raises:
        ValueError: no sample or no input.

    >>> cover_probability(20, 10)
    0.5
    """
    samples = checks.count(samples, "samples", most=_MOST_SAMPLES)
    dim = checks.count(dim, "dim")
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

    Raises:
        ValueError: a planted neuron, or a sum of linear ones, of weights 0, or a normalised neuron
            that is active on no sample: nothing of them is there to be recovered.
    """

    planted: Planted
    network: str
    patterns: Bool[np.ndarray, "sample pattern"]
    support: tuple[int, ...]
    all_ones: bool

    def __post_init__(self) -> None:
        weights = self.planted.weights
        if self.network == "skip":
            weights = weights.sum(axis=1, keepdims=True)
        if not weights.any(axis=0).all():
            what = "linear model" if self.network == "skip" else "neuron"
            raise ValueError(f"a planted {what} needs weights that are not 0")
        silent = ~(responses(self.planted.inputs, weights, "relu") > 0).any(axis=0)
        if self.network == "normalised" and silent.any():
            raise ValueError(
                "a normalised neuron needs a sample that it is active on, "
                f"number {int(silent.argmax())} has none"
            )

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
        patterns: how many directions to draw, max(n, 50) by default. With 0 there are only the
            planted neurons' own patterns, and all ones.
        seed: of the directions; they do not depend on the network.

    Raises:
        ValueError: another network, labels that are not the network's, fewer samples than inputs
            for "normalised", or more planted neurons than there are patterns.
    """
    one_of(Network, "network", network)
    checks.instance(planted, Planted, "planted")
    patterns = None if patterns is None else checks.count(patterns, "patterns", least=0)
    seed = checks.seed(seed)
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
    stream = rng("sampled patterns", samples=samples, inputs=dim, seed=seed)
    include = None if network == "skip" else planted.weights
    count = max(samples, 50) if patterns is None else patterns
    drawn, support = sample_patterns(planted.inputs, count, stream, include)
    uniform = drawn.all(axis=0)
    all_ones = bool(uniform.any() or has_all_ones(planted.inputs))
    if all_ones and not uniform.any():
        drawn = np.hstack([drawn, np.ones((samples, 1), dtype=bool)])
    return Problem(planted, network, drawn, tuple(support.tolist()), all_ones)
