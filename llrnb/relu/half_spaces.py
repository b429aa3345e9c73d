"""Whether samples lie in a half space, decided without rounding.

By Stiemke's alternative either some u has X u >= 0, X u != 0, or some λ has X^T λ = 0 and λ > 0 in
every entry. The point of the convex hull of the samples next to 0 is mostly a proof of one of them,
by margins far beyond rounding. Where it is none (samples in special position, or nearly) the
simplex method in whole numbers decides.
"""

from fractions import Fraction
from math import lcm

import numpy as np
from jaxtyping import Float
from scipy.optimize import nnls

from llrnb import checks

CLEAR = 1e-12  # A side x.u of unit vectors beyond this is not 0, whatever the rounding.
SPREAD = 1e-9  # The same for the least singular value of unit vectors.


def has_all_ones(inputs: Float[np.ndarray, "sample input"]) -> bool:
    """Whether a direction u has X u >= 0, X u != 0: whether all samples lie in a half space.

    The numbers are taken as they stand, to the last bit. A sample at 0 lies in every half space.

    >>> has_all_ones(np.array([[1.0, 0.0], [0.0, 1.0]]))
    True
    >>> has_all_ones(np.array([[1.0, 0.0], [-1.0, 1.0], [-1.0, -1.0]]))
    False
    >>> has_all_ones(np.array([[1.0, 0.0], [-1.0, 0.0], [-3.0, 1e-200]]))
    True

    Raises:
        ValueError: NaN or infinite data.
    """
    inputs = checks.array(inputs, "inputs", None, None)
    samples = np.unique(inputs[inputs.any(axis=1)], axis=0)
    if not len(samples):
        return False
    share = _nearest(samples)
    clear = _by_margins(samples, share)
    if clear is None:  # Samples of the hull's point first: they are likely pivots.
        return _by_whole_numbers(np.unique(samples[np.argsort(-share, kind="stable")], axis=1))
    return clear


def _unit(samples: Float[np.ndarray, "sample input"]) -> Float[np.ndarray, "sample input"]:
    """The samples at length 1."""
    unit = samples / np.abs(samples).max(axis=1, keepdims=True)
    return unit / np.linalg.norm(unit, axis=1, keepdims=True)


def _nearest(samples: Float[np.ndarray, "sample input"]) -> Float[np.ndarray, " sample"]:
    """The shares of the unit samples in the point of their convex hull next to 0."""
    hull = np.vstack([_unit(samples).T, np.ones(len(samples))])
    try:
        return nnls(hull, np.eye(len(hull))[-1])[0]
    except RuntimeError:  # the iteration limit
        return np.zeros(len(samples))


def _by_margins(
    samples: Float[np.ndarray, "sample input"], share: Float[np.ndarray, " sample"]
) -> bool | None:
    """The answer, if the hull's point next to 0 proves it beyond rounding."""
    unit = _unit(samples)
    direction = unit.T @ share
    size = np.linalg.norm(direction)
    if size > 0 and (unit @ direction).min() > CLEAR * size:
        return True
    return False if _surrounds(unit, share) else None


def _surrounds(
    unit: Float[np.ndarray, "sample input"], share: Float[np.ndarray, " sample"]
) -> bool:
    """Whether shares near these are positive, combine samples to 0, and the samples span the space.

    Then X u >= 0 wants x.u = 0 of each of them, and u = 0. The exact shares are off by no more than
    the misfit over the least singular value.
    """
    held = share > SPREAD
    if held.sum() <= unit.shape[1]:
        return False
    spread = np.linalg.svd(unit[held], compute_uv=False)[-1]
    misfit = np.linalg.norm(unit[held].T @ share[held]) + CLEAR
    return bool(spread > SPREAD and misfit / spread < share[held].min() / 2)


def _by_whole_numbers(samples: Float[np.ndarray, "sample input"]) -> bool:
    """Whether no λ >= 1 has X^T λ = 0: phase one of the simplex method, for λ - 1 >= 0.

    Bland's rule, which ends, on a tableau of integers (all entries share one denominator).
    """
    columns = np.array([_whole(sample) for sample in samples], dtype=object).T
    table = np.column_stack([columns, -columns.sum(axis=1)])
    table[table[:, -1] < 0] *= -1
    table = np.vstack([table, table.sum(axis=0)])  # the last row: what is still to be made 0
    basis, denominator = [len(samples)] * len(columns), 1
    while table[-1, -1] > 0:
        entering = next((j for j, gain in enumerate(table[-1, :-1]) if gain > 0), None)
        if entering is None:
            return True
        ratios = [
            (Fraction(row[-1], row[entering]), basis[i], i)
            for i, row in enumerate(table[:-1])
            if row[entering] > 0
        ]
        leaving = min(ratios)[-1]
        row, pivot = table[leaving].copy(), table[leaving, entering]
        table = (table * pivot - np.outer(table[:, entering], row)) // denominator
        table[leaving], basis[leaving], denominator = row, entering, pivot
    return False


def _whole(sample: Float[np.ndarray, " input"]) -> list[int]:
    """Whole numbers in the same ratios as a sample's entries."""
    entries = [Fraction(entry) for entry in sample.tolist()]
    common = lcm(*(entry.denominator for entry in entries))
    return [int(entry * common) for entry in entries]
