"""Does a convex program recover the planted weights? A verdict, and what it rests on.

"recovered" means that the program's only solution is the planted one: every entry of every group,
planted or not, is within the tolerance of it. The fast route decides that without solving the
program, wherever a proof turns up; the other one solves it and looks.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

import numpy as np
from jaxtyping import Float
from scipy.linalg import null_space
from scipy.optimize import linprog

from llrnb.relu.arrangements import Problem
from llrnb.relu.blocks import Blocks, blocks
from llrnb.relu.isometry import STRICT, certificate, directions, least_certificate
from llrnb.relu.planted import one_of
from llrnb.relu.splitting import Run, exact_splitting, relaxed_splitting

Form = Literal["relaxed", "exact"]
Method = Literal["auto", "cvxpy", "fast"]

LIMIT = {"relaxed": 4000, "exact": 10_000}
IMPOSSIBLE = 1e-4  # No λ comes closer to A_s^T λ = ŵ_s: more than round-off.


class Reason(StrEnum):
    """What a verdict rests on."""

    ISOMETRY = "isometry"  # the neural isometry condition holds
    CERTIFICATE = "dual certificate"  # another λ proves recovery
    CHEAPER = "cheaper feasible point"  # other weights fit and are shorter
    TIE = "tie"  # another pattern carries a planted neuron at the same cost
    ALL_ONES = "all-ones pattern"  # a gate that is always open repeats the linear unit
    SHARED = "shared pattern"  # two planted neurons have one group of variables
    TOO_FEW = "too few samples"  # the planted blocks alone fit with shorter weights
    CONVERGED = "converged"  # the splitting came to a solution, close enough to compare
    SOLVED = "solved"  # so did the convex solver
    LIMIT = "iteration limit"  # of the splitting


@dataclass(frozen=True)
class Verdict:
    """Whether a convex program recovers the planted weights.

    Attributes:
        outcome: "recovered", "not recovered" or "undecided".
        reason: what that rests on.
        weights: the program's solution on the inputs, where it is known: the linear unit's, if the
            network has one, then w_j - w'_j of each pattern.
        iterations: of the splitting; 0 where none was needed.
    """

    outcome: str
    reason: Reason
    weights: Float[np.ndarray, "input block"] | None = None
    iterations: int = 0

    @property
    def recovered(self) -> bool:
        """Whether the outcome is "recovered"."""
        return self.outcome == "recovered"


def recover(
    problem: Problem, form: str = "relaxed", method: str = "auto", tolerance: float = 1e-4
) -> Verdict:
    """Whether the relaxed or the exact convex program recovers the planted weights.

    Args:
        problem: see `pose`.
        form: "relaxed", without the cones of the patterns, or "exact".
        method: "fast" stops at the first proof, and may be "undecided"; "cvxpy" solves the program
            with a convex solver; "auto" is fast, and solves what that leaves undecided.
        tolerance: on every entry of a solution that is compared with the planted one.

    Raises:
        ValueError: another form or method, or a tolerance that is not positive.
        SolverFailed: from "cvxpy".

    >>> from llrnb.relu.arrangements import pose
    >>> from llrnb.relu.planted import plant
    >>> verdict = recover(pose(plant(40, 5), "skip"))
    >>> verdict.outcome, str(verdict.reason)
    ('recovered', 'isometry')
    """
    one_of(Form, "form", form)
    one_of(Method, "method", method)
    if not tolerance > 0:
        raise ValueError(f"a verdict needs a positive tolerance, got {tolerance}")
    if problem.shared:
        return Verdict("not recovered", Reason.SHARED)
    parts = blocks(problem)
    if method == "cvxpy":
        return _by_solver(problem, parts, form, tolerance)
    verdict = _by_proof(problem, parts, form) if problem.planted.noise == 0 else None
    verdict = verdict or _by_splitting(problem, parts, form, tolerance)
    if verdict.outcome == "undecided" and method == "auto":
        return _by_solver(problem, parts, form, tolerance)
    return verdict


def _by_proof(problem: Problem, parts: Blocks, form: str) -> Verdict | None:
    """The verdict that needs no iteration, if there is one."""
    skip, planted = problem.network == "skip", problem.planted
    if skip and problem.all_ones:
        response = planted(planted.inputs)
        # In the exact program the open gate may carry the planted weights only inside its cone.
        if form == "relaxed" or response.min() >= 0 or response.max() <= 0:
            return Verdict("not recovered", Reason.ALL_ONES)
    if _tied(parts, form):
        return Verdict("not recovered", Reason.TIE)
    dual = least_certificate(parts)
    exact_skip = skip and form == "exact"
    largest, exists = certificate(_without_repeats(parts) if exact_skip else parts, dual)
    if exists and largest < 1 - STRICT:
        return Verdict("recovered", Reason.ISOMETRY, parts.to_inputs(parts.planted()))
    misfit = parts.planted_blocks().T @ dual - _wanted(parts)
    if np.abs(misfit).max() > IMPOSSIBLE:
        return Verdict("not recovered", Reason.TOO_FEW)
    return None


def _by_splitting(problem: Problem, parts: Blocks, form: str, tolerance: float) -> Verdict:
    """The verdict of operator splitting, by a proof on the way or at its end."""
    outputs, noise_free = problem.planted.outputs, problem.planted.noise == 0
    skip = problem.network == "skip"
    if form == "relaxed":
        run = relaxed_splitting(parts, outputs, noise_free=noise_free, limit=LIMIT[form])
        return _verdict(run, parts, tolerance)
    if noise_free:  # What the relaxed program recovers, the exact one does.
        fewer = _without_repeats(parts) if skip else parts
        run = relaxed_splitting(fewer, outputs, noise_free=True, limit=200)
        if run.end == "dual certificate":
            solution = parts.to_inputs(parts.planted())
            return Verdict("recovered", Reason.CERTIFICATE, solution, run.iterations)
    run = exact_splitting(
        parts, outputs, linear_unit=skip, noise_free=noise_free, limit=LIMIT[form]
    )
    return _verdict(run, parts, tolerance)


def _verdict(run: Run, parts: Blocks, tolerance: float) -> Verdict:
    """What a splitting's end says."""
    reason = Reason(run.end)
    if reason is Reason.LIMIT:
        return Verdict("undecided", reason, None, run.iterations)
    if reason is Reason.CHEAPER:
        return Verdict("not recovered", reason, None, run.iterations)
    same = np.abs(run.weights - parts.planted()).max() <= tolerance
    outcome = "recovered" if same else "not recovered"
    return Verdict(outcome, reason, parts.to_inputs(run.weights), run.iterations)


def _by_solver(problem: Problem, parts: Blocks, form: str, tolerance: float) -> Verdict:
    """The verdict of a convex solver's solution, w_j and w'_j compared each."""
    from llrnb.relu.programs import solve  # here, because cvxpy takes a second to import

    solution = solve(problem, form)
    halves = [solution.positive, solution.negative]
    if solution.skip is not None:
        halves = [
            np.column_stack([solution.skip, halves[0]]),
            np.column_stack([np.zeros_like(solution.skip), halves[1]]),
        ]
    positive, negative = (parts.from_inputs(half) for half in halves)
    off = max(np.abs(positive - parts.planted()).max(), np.abs(negative).max())
    outcome = "recovered" if off <= tolerance else "not recovered"
    return Verdict(outcome, Reason.SOLVED, halves[0] - halves[1])


def _without_repeats(parts: Blocks) -> Blocks:
    """The blocks of a skip network without the gate that is always open.

    The exact program lets it carry only weights of one sign on all samples, which the planted ones
    are not: then it does not take part in whether they are the solution.
    """
    repeated = parts.masks.all(axis=0)
    repeated[0] = False  # the linear unit itself
    return parts.without(repeated)


def _tied(parts: Blocks, form: str) -> bool:
    """Whether another block makes some planted neuron's output with weights no longer than its own.

    For orthonormal blocks: whether the output lies in the range of another one; in the exact
    program, with weights in the cone of that block.
    """
    if parts.factors is None:
        return False
    for j, target in zip(parts.support, directions(parts).T, strict=True):
        weights = parts.correlate(parts.block(j) @ target)
        tied = np.linalg.norm(weights, axis=0) >= 1 - STRICT
        tied[j] = False
        if form == "relaxed" and tied.any():
            return True
        if any(_fits_cone(parts, int(i), weights[:, i]) for i in np.flatnonzero(tied)):
            return True
    return False


def _fits_cone(parts: Blocks, number: int, weights: Float[np.ndarray, " input"]) -> bool:
    """Whether weights of a block lie in its cone, up to directions that D_j X does not see."""
    factor = parts.factors[number]
    sides = (2 * parts.masks[:, number] - 1)[:, None] * parts.inputs
    unseen = np.column_stack([null_space(factor.T), np.zeros(len(factor))])  # at least a column
    found = linprog(
        np.zeros(unseen.shape[1]),
        A_ub=-sides @ unseen,
        b_ub=sides @ (factor @ weights) + STRICT,
        bounds=(None, None),
        method="highs",
    )
    return found.status == 0


def _wanted(parts: Blocks) -> Float[np.ndarray, " entry"]:
    """ŵ_s, in one vector."""
    return directions(parts).T.ravel()
