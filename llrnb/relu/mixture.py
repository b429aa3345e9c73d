"""Two Gaussian clusters and the direction between their means.

n samples, half of them around each of two unit means μ_1, μ_2, with noise of standard deviation
1/σ: σ is the precision of the clusters. How probable is it that the direction u = μ_1 - μ_2 has
exactly the first cluster in its half space, x_i . u >= 0? Then its pattern 1[X u >= 0] labels the
clusters. A sample of the first cluster has x_i . u ~ N(1 - c, |u|²/σ²) with c = μ_1 . μ_2 and
|u|² = 2 (1 - c), one of the second the opposite mean, so that

    P = Φ(σ sqrt((1 - c) / 2))^n.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy.special import log_ndtr

from llrnb import checks
from llrnb.streams import rng


@dataclass(frozen=True)
class Mixture:
    """Two clusters of the same size.

    Attributes:
        means: μ_1 and μ_2, unit columns.
        precision: σ, one over the standard deviation of the noise.
        samples: n, even.

    Raises:
        ValueError: means that are not two different unit columns, a precision that is not positive,
            or an odd number of samples.
    """

    means: Float[np.ndarray, "input 2"]
    precision: float
    samples: int = 100

    def __post_init__(self) -> None:
        checks.settle(
            self,
            means=checks.array(self.means, "means", None, 2),
            precision=checks.real(self.precision, "precision", above=0),
            samples=checks.count(self.samples, "samples"),
        )
        lengths = np.linalg.norm(self.means, axis=0)
        if not np.allclose(lengths, 1):
            raise ValueError(f"a mixture needs 2 unit means, got columns of lengths {lengths}")
        if np.allclose(self.means[:, 0], self.means[:, 1]):
            raise ValueError("a mixture needs 2 different means, got the same twice")
        checks.room("a mixture", self.samples, len(self.means))
        if self.samples % 2:
            raise ValueError(f"two clusters need an even number of samples, got {self.samples}")

    @property
    def probability(self) -> float:
        """P, in closed form.

        >>> round(Mixture(np.array([[1.0, -1.0], [0.0, 0.0]]), 3.0).probability, 4)
        0.8736
        """
        cosine = float(self.means[:, 0] @ self.means[:, 1])
        return float(np.exp(self.samples * log_ndtr(self.precision * np.sqrt((1 - cosine) / 2))))

    def draw(self, seed: int = 0) -> Float[np.ndarray, "sample input"]:
        """Samples: the first half around μ_1, the second around μ_2."""
        dim = self.means.shape[0]
        stream = rng("mixture noise", samples=self.samples, inputs=dim, seed=checks.seed(seed))
        noise = stream.standard_normal((self.samples, dim))
        return np.repeat(self.means.T, self.samples // 2, axis=0) + noise / self.precision

    def separated(self, inputs: Float[np.ndarray, "sample input"]) -> bool:
        """Whether u has exactly the first half of the samples in its half space."""
        inputs = checks.array(inputs, "inputs", self.samples, len(self.means))
        pattern = inputs @ (self.means[:, 0] - self.means[:, 1]) >= 0
        return bool((pattern == self.labels).all())

    @property
    def labels(self) -> Bool[np.ndarray, " sample"]:
        """Which samples are of the first cluster."""
        return np.arange(self.samples) < self.samples // 2


def unit_means(dim: int, seed: int = 0) -> Float[np.ndarray, "input 2"]:
    """Two independent random unit means.

    Raises:
        ValueError: fewer than 2 inputs, where the means may coincide.
    """
    dim = checks.count(dim, "dim", least=2)
    checks.room("two means", dim, 2)
    means = rng("mixture means", inputs=dim, seed=checks.seed(seed)).standard_normal((dim, 2))
    return means / np.linalg.norm(means, axis=0)


@dataclass(frozen=True)
class Separation:
    """How often u separated the clusters, and how often it should.

    Attributes:
        simulated: the share of the trials.
        expected: the mean of P over the trials' means.
        trials: how many.
    """

    simulated: float
    expected: float
    trials: int

    @property
    def deviation(self) -> float:
        """The standard deviation of the share, at most, by sampling alone."""
        return float(np.sqrt(self.expected * (1 - self.expected) / self.trials))


def separation(
    dim: int,
    precision: float,
    *,
    samples: int = 100,
    trials: int = 1000,
    fixed_means: bool = False,
    seed: int = 0,
) -> Separation:
    """Simulate the event that the direction between the means separates the clusters.

    Args:
        dim: d.
        precision: σ.
        samples: n.
        trials: how many mixtures to draw.
        fixed_means: one pair of means for all trials, else new ones for each. With one pair, the
            result depends on the pair.
        seed: of the means and the samples.

    Raises:
        ValueError: as `Mixture` and `unit_means`, or no trial.

    >>> separation(20, 50.0, trials=5).simulated
    1.0
    """
    trials, seed = checks.count(trials, "trials"), checks.seed(seed)
    fixed_means = checks.flag(fixed_means, "fixed_means")
    checks.room("the means", trials, 2, checks.count(dim, "dim", least=2))
    numbers = [seed * trials + trial for trial in range(trials)]
    mixtures = [
        Mixture(unit_means(dim, seed if fixed_means else number), precision, samples)
        for number in numbers
    ]
    hits = [m.separated(m.draw(i)) for m, i in zip(mixtures, numbers, strict=True)]
    return Separation(
        float(np.mean(hits)), float(np.mean([m.probability for m in mixtures])), trials
    )
