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

from llrnb import checks
from llrnb.relu.arrangements import Problem
from llrnb.relu.blocks import Blocks, blocks, column_norms
from llrnb.relu.duality import in_units

MISFIT = 1e-8  # how far A_s^T λ may be off ŵ_s
INDEPENDENT, DEPENDENT = 1e-9, 1e-12  # Outputs whose least singular value is in between: unknown.
TINY = np.finfo(float).tiny
STRICT = 1e-9  # Norms this close to 1 are 1, up to round-off: a tie, which certifies nothing.


@dataclass(frozen=True)
class Isometry:
    """The value of a neural isometry condition.

    Attributes:
        value: the largest ||A_j^T λ|| over the blocks without a planted neuron; exactly 1 if one
            of them is the planted block again.
        valid: whether λ exists: A_s^T λ = ŵ_s to 1e-8. Else the value means nothing.
        condition: its name in the paper, "NIC-L", "NIC-1", "NIC-k", "NNIC-1" or "NNIC-k".
        independent: whether the planted neurons' outputs are linearly independent. Else other
            weights give the same outputs at the same cost, with or without λ.
        rounding: what rounding may add to the value.
    """

    value: float
    valid: bool
    condition: str
    independent: bool = True
    rounding: float = 0.0

    @property
    def holds(self) -> bool:
        """Whether the condition certifies recovery.

        It is valid, the outputs are independent, and the value is less than 1 beyond rounding.
        """
        return bool(self.valid and self.independent and self.value + self.rounding < 1 - STRICT)


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
    parts = blocks(in_units(checks.instance(problem, Problem, "problem"))[0])
    dual = least_certificate(parts)
    value, valid = certificate(parts, dual)
    return Isometry(value, valid, _name(problem), bool(independent(parts)), _slack(parts, dual))


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


def independent(parts: Blocks) -> bool | None:
    """Whether the planted neurons' outputs are linearly independent; None if they nearly are not.

    They are if their least singular value, every neuron at length 1, is above 1e-9 of the largest.
    They are not, up to rounding, if it is below 1e-12 although every output counts by the terms of
    its sum, so that rounding is alike in all.
    """
    planted = zip(parts.support, parts.target.T, strict=True)
    outputs = np.column_stack([parts.block(j) @ weights for j, weights in planted])
    weights = np.abs(parts.to_inputs(parts.planted())[:, list(parts.support)])
    terms = (np.abs(parts.inputs) @ (weights / np.maximum(weights.max(axis=0), TINY))).sum(axis=1)
    even = outputs / np.where(terms > 0, terms, 1)[:, None]
    if _spread(even) < DEPENDENT:
        return False
    return True if min(_spread(outputs), _spread(even)) > INDEPENDENT else None


def _spread(outputs: Float[np.ndarray, "sample neuron"]) -> float:
    """The least singular value, over the largest, of columns at length 1."""
    if outputs.shape[1] > len(outputs):
        return 0.0
    norms = column_norms(outputs)
    sizes = np.linalg.svd(outputs / np.where(norms > 0, norms, 1), compute_uv=False)
    return float(sizes[-1] / sizes[0]) if sizes[0] > 0 else 0.0


def _slack(parts: Blocks, dual: Float[np.ndarray, " sample"]) -> float:
    """How much ||A_j^T λ|| may change on the way to the nearest λ with A_s^T λ = ŵ_s exactly."""
    planted = parts.planted_blocks()
    misfit = np.linalg.norm(planted.T @ dual - directions(parts).T.ravel())
    sizes = np.linalg.svd(planted, compute_uv=False)
    least = sizes[sizes > sizes[0] * max(planted.shape) * 4 * np.finfo(float).eps][-1]
    largest = 1.0 if parts.factors is not None else np.linalg.norm(parts.inputs)
    return float(misfit / least * largest)


def _name(problem: Problem) -> str:
    """The condition's name."""
    if problem.network == "skip":
        return "NIC-L"
    family = "NNIC" if problem.network == "normalised" else "NIC"
    return f"{family}-{'1' if len(problem.support) == 1 else 'k'}"
