"""Where the recovery of several normalised neurons should set in: a heuristic without data."""

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import gammaincc, gammaln

from llrnb import checks

_MOST = 10**4  # planted coordinates: the search goes up by single samples


def group_sparse_dimension(active: int, idle: int, dim: int) -> float:
    """Statistical dimension of the descent cone of a sum of norms.

    min over t >= 0 of  active (dim + t^2) + idle E (|g| - t)_+^2,  g from N(0, I_dim),

    about the number of Gaussian measurements from which `active` groups of `dim` coordinates,
    among `idle` groups that are zero, are the solution of least norm sum (Amelunxen, Lotz, McCoy,
    Tropp 2014).

    Raises:
        ValueError: fewer than one active group or coordinate, or a negative number of idle groups.
    """
    active, dim = checks.count(active, "active"), checks.count(dim, "dim")
    idle = checks.count(idle, "idle", least=0)

    def size(t: float) -> float:
        return active * (dim + t**2) + idle * _tail(dim, t)

    return float(minimize_scalar(size, bounds=(0, 3 * np.sqrt(dim) + 3), method="bounded").fun)


def normalised_transition(neurons: int, dim: int) -> int:
    """The smallest n that reaches the statistical dimension of the relaxed normalised program.

    As if the blocks U_j of the planted `neurons` and of max(n, 50) other patterns were independent
    and Gaussian. They are not: a heuristic, some 5 to 30% above what is measured.

    >>> normalised_transition(2, 10)
    50
    """
    neurons, dim = checks.count(neurons, "neurons"), checks.count(dim, "dim")
    if neurons * dim > _MOST:
        raise ValueError(f"a transition needs at most {_MOST} coordinates, got {neurons} x {dim}")
    samples = dim
    while samples < group_sparse_dimension(neurons, max(samples, 50), dim):
        samples += 1
    return samples


def _tail(dim: int, t: float) -> float:
    """E (|g| - t)_+^2, from the moments of |g| beyond t."""
    beyond = t**2 / 2
    first = np.sqrt(2) * np.exp(gammaln((dim + 1) / 2) - gammaln(dim / 2))
    return float(
        dim * gammaincc(dim / 2 + 1, beyond)
        - 2 * t * first * gammaincc((dim + 1) / 2, beyond)
        + t**2 * gammaincc(dim / 2, beyond)
    )
