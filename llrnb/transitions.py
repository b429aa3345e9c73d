"""Where recovery sets in: fractions with their intervals, and the sample size of a transition."""

from statistics import NormalDist

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from scipy.optimize import isotonic_regression

from llrnb import checks
from llrnb.streams import rng

_ROUNDING = 1e-12  # of a mean of fractions: four trials in eight may come out just below one half


def binomial_interval(
    successes: Int[np.ndarray, "..."] | int, trials: int, confidence: float = 0.95
) -> tuple[Float[np.ndarray, "..."] | float, Float[np.ndarray, "..."] | float]:
    """Wilson's interval for a probability, from so many successes in independent trials.

    Raises:
        ValueError: no trials, or successes outside 0..trials.

    >>> [round(float(end), 2) for end in binomial_interval(20, 20)]
    [0.84, 1.0]
    """
    trials = checks.count(trials, "trials")
    confidence = checks.real(confidence, "confidence", above=0, below=1)
    found = checks.data(successes, "successes").numpy()
    if not found.size or (found % 1).any() or found.min() < 0 or found.max() > trials:
        raise ValueError(f"an interval needs 0..trials successes, got {successes} of {trials}")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    fraction, scale = found / trials, 1 + z**2 / trials
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
    samples, fractions = _sizes(samples), checks.array(fractions, "fractions", len(samples))
    return _point(samples, fractions, checks.real(level, "level", above=0))


def _point(samples: np.ndarray, fractions: np.ndarray, level: float) -> float:
    rising = isotonic_regression(fractions).x
    reached = rising > level - _ROUNDING
    if not reached[-1]:
        return float("inf")
    after = int(np.argmax(reached))
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
    samples, level = _sizes(samples), checks.real(level, "level", above=0)
    recovered = _flags(recovered, len(samples))
    confidence = checks.real(confidence, "confidence", above=0, below=1)
    draws, stream = checks.count(draws, "draws"), rng("bootstrap of transitions", seed=seed)
    sizes, trials = recovered.shape
    points = []
    for _ in range(draws):
        again = stream.integers(trials, size=(sizes, trials))
        fractions = np.take_along_axis(recovered, again, axis=1).mean(axis=1)
        points.append(_point(samples, fractions, level))
    return _ends(points, confidence)


def at_best_rate(
    errors: Float[np.ndarray, "size rate trial"],
    scores: Float[np.ndarray, "size rate trial"],
    each_run: bool = False,
) -> Float[np.ndarray, "size trial"]:
    """The errors at the learning rate of the lowest score: of the lowest mean, or in each run.

    A score that is not a number, of a descent that diverged, is the highest.
    """
    scores = np.where(np.isnan(scores), np.inf, scores)
    if each_run:
        best = scores.argmin(axis=1)
    else:
        best = np.repeat(scores.mean(axis=2).argmin(axis=1)[:, None], errors.shape[2], axis=1)
    return np.take_along_axis(errors, best[:, None, :], axis=1)[:, 0]


def choice_interval(
    samples: Shaped[np.ndarray, " size"],
    errors: Float[np.ndarray, "size rate trial"],
    scores: Float[np.ndarray, "size rate trial"],
    criterion: float,
    each_run: bool = False,
    confidence: float = 0.95,
    draws: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """A bootstrap interval of the transition point, with the learning rate chosen in every draw.

    Trials are drawn anew at every sample size, all rates of a trial together. An interval that
    keeps the rate that was best on all trials is narrower than what the data say.
    """
    stream = rng("bootstrap of choices", seed=seed)
    sizes, rates, trials = errors.shape
    points = []
    for _ in range(draws):
        again = np.repeat(stream.integers(trials, size=(sizes, 1, trials)), rates, axis=1)
        drawn, judged = (np.take_along_axis(values, again, axis=2) for values in (errors, scores))
        fractions = (at_best_rate(drawn, judged, each_run) < criterion).mean(axis=1)
        points.append(transition_point(samples, fractions))
    return _ends(points, confidence)


def _ends(points: list[float], confidence: float) -> tuple[float, float]:
    """The ends of a bootstrap's interval.

    An end is a value that was drawn: between a number and infinity nothing can be interpolated.
    """
    tail = (1 - confidence) / 2
    ends = np.quantile(points, [tail, 1 - tail], method="nearest")
    return float(ends[0]), float(ends[1])


def _flags(recovered: Bool[np.ndarray, "size trial"], sizes: int) -> Bool[np.ndarray, "size trial"]:
    """For each sample size, which trials recovered."""
    found = np.asarray(recovered)
    if found.dtype != bool or found.ndim != 2 or len(found) != sizes or not found.size:
        raise ValueError(
            f"a transition needs True or False for each of {sizes} sizes and each trial, "
            f"got {checks.came(recovered)}"
        )
    return found


def _sizes(samples: Shaped[np.ndarray, " size"]) -> Float[np.ndarray, " size"]:
    """Sample sizes, which rise."""
    sizes = checks.array(samples, "samples", None)
    if (np.diff(sizes) <= 0).any():
        raise ValueError(f"a transition needs rising sample sizes, got {samples}")
    return sizes
