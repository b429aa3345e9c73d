"""Neural isometry conditions: a certificate of recovery from one least-squares problem.

All are one statement about the blocks A_j of the problem (see `llrnb.relu.blocks`). Let A_s be the
blocks of the planted neurons, ŵ_s their planted directions and λ the vector of least norm with

    A_s^T λ = ŵ_s.

If ||A_j^T λ|| < 1 for every other block, then λ is a dual certificate: the relaxed program has the
planted weights as its only solution, if the outputs of the planted blocks are linearly independent,
as that of one block always is. A_s need not be injective. Sufficient, not necessary: another λ may
do.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.linalg import qr, solve_triangular

from llrnb.relu.arrangements import Problem
from llrnb.relu.blocks import Blocks, blocks

MISFIT = 1e-8  # how far A_s^T λ may be off ŵ_s
STRICT = 1e-9  # Norms this close to 1 are 1, up to round-off: a tie, which certifies nothing.


@dataclass(frozen=True)
class Isometry:
    """The value of a neural isometry condition.

    Attributes:
        value: the largest ||A_j^T λ|| over the blocks without a planted neuron; exactly 1 if one
            of them is the planted block again.
        valid: whether λ exists: A_s^T λ = ŵ_s to 1e-8. Else the value means nothing.
        condition: its name in the paper, "NIC-L", "NIC-1", "NIC-k", "NNIC-1" or "NNIC-k".
    """

    value: float
    valid: bool
    condition: str

    @property
    def holds(self) -> bool:
        """Whether the condition certifies recovery: valid, and the value is less than 1."""
        return self.valid and self.value < 1 - STRICT


def isometry(problem: Problem) -> Isometry:
    """The neural isometry condition of a problem.

    NIC-L (Definition 2) for "skip", NIC-1 and NIC-k (3, 5) for "plain", NNIC-1 and NNIC-k (4, 6)
    for "normalised" networks. For one neuron it reads

        NIC-L:  max_j      ||X^T D_j X (X^T X)^-1 ŵ||             < 1
        NIC-1:  max_{j≠s}  ||X^T D_j D_s X (X^T D_s X)^-1 ŵ||     < 1
        NNIC-1: max_{j≠s}  ||U_j^T U_s ŵ||                        < 1.

    The planted weights enter by direction only, and noise does not enter.

    >>> from llrnb.relu.arrangements import pose
    >>> from llrnb.relu.planted import plant
    >>> isometry(pose(plant(40, 5), "skip")).holds
    True
    >>> problem = pose(plant(10, 2, seed=1), "skip")
    >>> isometry(problem).condition
    'NIC-L'
    """
    parts = blocks(problem)
    dual = least_certificate(parts)
    return Isometry(*certificate(parts, dual), _name(problem))


def directions(parts: Blocks) -> Float[np.ndarray, "input neuron"]:
    """ŵ: the planted weights in the coordinates of the blocks, with unit length."""
    return parts.target / np.linalg.norm(parts.target, axis=0)


def least_certificate(parts: Blocks) -> Float[np.ndarray, " sample"]:
    """The λ of least norm with A_s^T λ = ŵ_s, or that comes closest."""
    planted = parts.planted_blocks()
    wanted = directions(parts).T.ravel()
    if planted.shape[0] >= planted.shape[1]:
        basis, upper = qr(planted, mode="economic", check_finite=False)
        pivots = np.abs(np.diag(upper))
        if pivots.min() > MISFIT * pivots.max():
            return basis @ solve_triangular(upper, wanted, trans="T", check_finite=False)
    return np.linalg.lstsq(planted.T, wanted, rcond=None)[0]


def certificate(parts: Blocks, dual: Float[np.ndarray, " sample"]) -> tuple[float, bool]:
    """The largest ||A_j^T λ|| over the other blocks, and whether A_s^T λ = ŵ_s."""
    correlation = parts.correlate(dual)
    support = list(parts.support)
    misfit = np.abs(correlation[:, support] - directions(parts)).max()
    other = np.ones(correlation.shape[1], dtype=bool)
    other[support] = False
    sizes = np.linalg.norm(correlation, axis=0)
    # The planted block again, as the all-ones pattern is of the linear unit: 1 without round-off.
    again = (parts.masks[:, :, None] == parts.masks[:, None, support]).all(axis=0).any(axis=1)
    sizes[again] = 1.0
    return float(sizes[other].max(initial=0.0)), bool(misfit < MISFIT)


def _name(problem: Problem) -> str:
    """The condition's name."""
    if problem.network == "skip":
        return "NIC-L"
    family = "NNIC" if problem.network == "normalised" else "NIC"
    return f"{family}-{'1' if len(problem.support) == 1 else 'k'}"
