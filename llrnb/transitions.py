"""Where recovery sets in: fractions with their intervals, and the sample size of a transition."""

from statistics import NormalDist

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped


def binomial_interval(
    successes: Int[np.ndarray, "..."] | int, trials: int, confidence: float = 0.95
) -> tuple[Float[np.ndarray, "..."], Float[np.ndarray, "..."]]:
    """Wilson's interval for a probability, from so many successes in independent trials.

    Raises:
        ValueError: no trials, or successes outside 0..trials.

    >>> [round(float(end), 2) for end in binomial_interval(20, 20)]
    [0.84, 1.0]
    """
    successes = np.asarray(successes)
    if trials < 1 or successes.min() < 0 or successes.max() > trials:
        raise ValueError(f"an interval needs 0..trials successes, got {successes} of {trials}")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    fraction, scale = successes / trials, 1 + z**2 / trials
    middle = (fraction + z**2 / (2 * trials)) / scale
    half = z / scale * np.sqrt(fraction * (1 - fraction) / trials + z**2 / (4 * trials**2))
    return np.clip(middle - half, 0.0, 1.0), np.clip(middle + half, 0.0, 1.0)


def transition_point(
    samples: Shaped[np.ndarray, " size"],
    fractions: Float[np.ndarray, " size"],
    level: float = 0.5,
) -> float:
    """The sample size at which the recovered fraction reaches a level.

    Between the sample sizes of the best nondecreasing fit to the fractions (least squares), drawn
    with straight lines. Infinite if the level is not reached; the first size if it is at once.

    >>> transition_point(np.array([5, 7, 9]), np.array([0.0, 0.4, 0.8]))
    7.5
    """
    rising = _nondecreasing(fractions)
    if rising[-1] < level:
        return float("inf")
    after = int(np.argmax(rising >= level))
    if after == 0:
        return float(samples[0])
    before = rising[after - 1]
    share = (level - before) / (rising[after] - before)
    return float(samples[after - 1] + share * (samples[after] - samples[after - 1]))


def transition_interval(
    samples: Shaped[np.ndarray, " size"],
    recovered: Bool[np.ndarray, "size trial"],
    level: float = 0.5,
    confidence: float = 0.95,
    draws: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """A bootstrap interval of the transition point: trials are drawn anew at every sample size."""
    rng = np.random.default_rng(seed)
    sizes, trials = recovered.shape
    points = []
    for _ in range(draws):
        again = rng.integers(trials, size=(sizes, trials))
        fractions = np.take_along_axis(recovered, again, axis=1).mean(axis=1)
        points.append(transition_point(samples, fractions, level))
    # An end is a value that was drawn: between a number and infinity nothing can be interpolated.
    tail = (1 - confidence) / 2
    ends = np.quantile(points, [tail, 1 - tail], method="nearest")
    return float(ends[0]), float(ends[1])


def _nondecreasing(values: Float[np.ndarray, " size"]) -> Float[np.ndarray, " size"]:
    """The nearest nondecreasing sequence: neighbours that fall are averaged."""
    blocks: list[tuple[float, int]] = []
    for value in values:
        mean, count = float(value), 1
        while blocks and blocks[-1][0] > mean:
            other, weight = blocks.pop()
            mean = (mean * count + other * weight) / (count + weight)
            count += weight
        blocks.append((mean, count))
    return np.concatenate([np.full(count, mean) for mean, count in blocks])
