"""Does a convex program recover the planted weights? A verdict, and the proof it rests on.

"recovered" means that the program's only solution is the planted one. Both outcomes are proved, up
to rounding (see `llrnb.relu.proofs`): the fast route needs no solution for that, the other one
verifies what a convex solver answers. Where there is no proof the outcome is "undecided".
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Float

from llrnb import checks
from llrnb.endings import Instance, Reason, Splitting
from llrnb.relu.admm import Run, exact_splitting, relaxed_splitting
from llrnb.relu.arrangements import Problem
from llrnb.relu.conditions import least_certificate
from llrnb.relu.duality import in_units
from llrnb.relu.planted import one_of
from llrnb.relu.proofs import Proofs

Form = Literal["relaxed", "exact"]
Method = Literal["auto", "cvxpy", "fast"]

LIMIT = {"relaxed": 4000, "exact": 4000}  # iterations of a splitting
FIRST = {"relaxed": 4000, "exact": 200}  # those before a solver is asked


@dataclass(frozen=True)
class Verdict:
    """Whether a convex program recovers the planted weights.

    Attributes:
        outcome: "recovered", "not recovered" or "undecided".
        reason: what that rests on.
        weights: the program's solution on the inputs, as far as it was needed: the linear unit's,
            if the network has one, then w_j - w'_j of each pattern.
        iterations: of the splitting; 0 where none was needed.
        distance: of the solution from the planted weights, in shares of their length, where noise
            keeps these from fitting.
    """

    outcome: Instance
    reason: Reason
    weights: Float[np.ndarray, "input block"] | None = None
    iterations: int = 0
    distance: float | None = None

    @property
    def recovered(self) -> bool:
        """Whether the outcome is "recovered"."""
        return self.outcome is Instance.RECOVERED


def recover(problem: Problem, form: str = "relaxed", method: str = "auto") -> Verdict:
    """Whether the relaxed or the exact convex program recovers the planted weights.

    Planted weights that do not give the outputs are no solution; if that is for noise, there is no
    verdict, but a distance.

    Args:
        problem: see `pose`.
        form: "relaxed", without the cones of the patterns, or "exact".
        method: "fast" looks for a proof on its own; "cvxpy" verifies the answer of a convex solver;
            "auto" is fast, and asks the solver where that finds no proof soon.

    Raises:
        ValueError: another form or method.

    >>> from llrnb.relu.arrangements import pose
    >>> from llrnb.relu.planted import plant
    >>> verdict = recover(pose(plant(40, 5), "skip"))
    >>> str(verdict.outcome), str(verdict.reason)
    ('recovered', 'isometry')
    """
    checks.instance(problem, Problem, "problem")
    one_of(Form, "form", form)
    one_of(Method, "method", method)
    scaled, back = _in_units(problem)
    verdict = _decided(Proofs(scaled, form), form, method)
    if verdict.weights is None:
        return verdict
    return replace(verdict, weights=back[:, None] * verdict.weights)


def _in_units(problem: Problem) -> tuple[Problem, Float[np.ndarray, " input"]]:
    """The problem in units near 1, and by what weights there are multiplied to get back."""
    scaled, units = in_units(problem)
    if problem.network != "normalised":
        return scaled, units.outputs / units.inputs
    planted = replace(scaled.planted, outputs=problem.planted.outputs)  # of neurons of length 1
    return replace(scaled, planted=planted), 1 / units.inputs


def _decided(proofs: Proofs, form: str, method: str) -> Verdict:
    """The verdict on a problem in units near 1."""
    if not proofs.fits():
        noisy = proofs.problem.planted.noise > 0
        return _apart(proofs, form) if noisy else _lost(Reason.NO_FIT)
    if proofs.problem.shared:
        return _lost(Reason.SHARED)
    if proofs.dependent:
        return _lost(Reason.DEPENDENT)
    if method == "cvxpy":
        return _by_solver(proofs, form)
    verdict = _by_structure(proofs)
    if verdict is None and method == "auto":
        verdict = _by_splitting(proofs, FIRST[form])
        if verdict.reason is Reason.NO_PROOF:
            verdict = _by_solver(proofs, form)
    if verdict is None or (verdict.reason is Reason.NO_PROOF and LIMIT[form] > FIRST[form]):
        verdict = _by_splitting(proofs, LIMIT[form])
    return verdict


def _by_structure(proofs: Proofs) -> Verdict | None:
    """The verdict that needs no iteration, if there is one."""
    if proofs.repeated():
        return _lost(Reason.ALL_ONES if proofs.linear_unit else Reason.TIE)
    if proofs.certify(least_certificate(proofs.parts)):
        return _won(proofs, Reason.ISOMETRY)
    return _lost(Reason.TOO_FEW) if proofs.shorter() else None


def _by_splitting(proofs: Proofs, limit: int) -> Verdict:
    """The verdict of operator splitting, by a proof on the way."""
    outputs = proofs.problem.planted.outputs
    if proofs.cones is None:
        run = relaxed_splitting(proofs.parts, outputs, limit=limit, proofs=proofs)
    else:
        run = _relaxed_first(proofs, outputs) or exact_splitting(
            proofs.cones, outputs, limit=limit, proofs=proofs
        )
    if run.end is Splitting.CERTIFICATE:
        return _won(proofs, Reason.CERTIFICATE, run.iterations)
    if run.end is Splitting.CHEAPER:
        return _lost(Reason.CHEAPER, run.iterations)
    return Verdict(Instance.UNDECIDED, Reason.NO_PROOF, None, run.iterations)


def _relaxed_first(proofs: Proofs, outputs: Float[np.ndarray, " sample"]) -> Run | None:
    """The relaxed program's run, if a λ of it is a certificate in the cones."""
    repeated = np.logical_and(proofs.parts.masks.all(axis=0), proofs.linear_unit)
    repeated[:1] = False  # The gate that is always open would keep λ from being found.
    parts = proofs.parts.without(repeated)
    run = relaxed_splitting(parts, outputs, limit=200, proofs=proofs, relaxation=True)
    return run if run.end is Splitting.CERTIFICATE else None


def _by_solver(proofs: Proofs, form: str) -> Verdict:
    """The verdict by a convex solver's solution and multiplier, each made a proof."""
    from llrnb.relu.programs import SolverFailed, solve  # here: cvxpy takes a second to import

    unknown = Verdict(Instance.UNDECIDED, Reason.NO_PROOF)
    try:
        solution = solve(proofs.problem, form)
    except SolverFailed:
        return unknown
    if proofs.certify(solution.dual):
        return _won(proofs, Reason.CERTIFICATE)
    weights = proofs.weights(solution)
    if proofs.cheaper(weights):
        return _lost(Reason.CHEAPER)
    if proofs.tied(weights) or proofs.repeated():
        return _lost(Reason.TIE)
    return unknown


def _apart(proofs: Proofs, form: str) -> Verdict:
    """How far the solution is from planted weights that do not fit, without a verdict."""
    from llrnb.relu.programs import SolverFailed, solve

    try:
        weights = proofs.weights(solve(proofs.problem, form))
    except SolverFailed:
        return Verdict(Instance.UNDECIDED, Reason.NO_FIT)
    if proofs.cones is not None:
        weights = proofs.cones.difference(weights)
    off = np.linalg.norm(weights - proofs.parts.planted()) / np.linalg.norm(proofs.parts.target)
    found = proofs.parts.to_inputs(weights)
    return Verdict(Instance.UNDECIDED, Reason.NO_FIT, found, distance=float(off))


def _won(proofs: Proofs, reason: Reason, iterations: int = 0) -> Verdict:
    solution = proofs.parts.to_inputs(proofs.parts.planted())
    return Verdict(Instance.RECOVERED, reason, solution, iterations)


def _lost(reason: Reason, iterations: int = 0) -> Verdict:
    return Verdict(Instance.NOT_RECOVERED, reason, None, iterations)
