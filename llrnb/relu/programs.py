"""The convex programs of two-layer ReLU networks, written as in the paper.

For patterns D_j = diag(1[X g_j >= 0]) and S_j = 2 D_j - 1 a network is a sum of linear pieces, and
the sum of its neurons' norms is what it costs. Each network has three programs:

- "exact": least cost among the networks that fit the data;
- "relaxed": the same without the cones S_j X w_j >= 0, and so without the negative weights w'_j;
- "regularised": squared loss, without a factor 1/2, plus β times the cost, with the cones.

(Wang, Hua, Candès, Pilanci, arXiv:2209.15265.)
"""

import warnings
from typing import Literal

import cvxpy as cp
import numpy as np
from scipy.sparse import block_diag

from llrnb.relu.arrangements import Problem
from llrnb.relu.blocks import blocks
from llrnb.relu.planted import one_of
from llrnb.relu.solutions import Solution

# Where the solution is barely unique, a gap of 1e-8, the default, leaves entries 1e-3 off.
PRECISE = {"CLARABEL": {"tol_gap_abs": 1e-10, "tol_gap_rel": 1e-10, "tol_feas": 1e-10}}

Form = Literal["exact", "relaxed", "regularised"]


class SolverFailed(Exception):
    """A convex solver is missing, or ended without a solution."""


def solve(
    problem: Problem, form: str = "exact", *, beta: float = 1e-6, solver: str = "CLARABEL"
) -> Solution:
    """Solve a problem's convex program.

    Args:
        problem: see `pose`.
        form: "exact", "relaxed" or "regularised".
        beta: β, of the regularised program.
        solver: a solver of cvxpy that is installed.

    Raises:
        ValueError: another form, or a β that is not positive.
        SolverFailed: a solver that is not installed, or no solution: infeasible or unbounded.

    >>> from llrnb.relu.arrangements import pose
    >>> from llrnb.relu.planted import plant
    >>> planted = plant(40, 3)
    >>> bool(np.allclose(solve(pose(planted, "skip")).skip, planted.weights[:, 0], atol=1e-6))
    True
    """
    one_of(Form, "form", form)
    if not beta > 0:
        raise ValueError(f"a regularised program needs β > 0, got {beta}")
    if solver not in cp.installed_solvers():
        raise SolverFailed(
            f"{solver} is not installed; cvxpy finds {', '.join(cp.installed_solvers())}"
        )
    program = {"plain": plain, "skip": skip, "normalised": normalised}[problem.network]
    return program(problem, form, beta, solver)


def plain(problem: Problem, form: str, beta: float, solver: str) -> Solution:
    """min sum_j ||w_j|| + ||w'_j|| s.t. sum_j D_j X (w_j - w'_j) = y, S_j X w_j, S_j X w'_j >= 0.

    (Eq. 11; regularised Eq. 211.)
    """
    X, y, D = problem.planted.inputs, problem.planted.outputs, problem.patterns.astype(float)
    S = 2 * D - 1
    W, V = _pair(X.shape[1], D.shape[1], form)

    fit = cp.sum(cp.multiply(D, X @ (W - V)), axis=1)
    cost = cp.sum(cp.norm(W, axis=0)) + cp.sum(cp.norm(V, axis=0))
    cones = [cp.multiply(S, X @ W) >= 0, cp.multiply(S, X @ V) >= 0]

    objective, status = _minimise(fit, y, cost, cones, form, beta, solver)
    return Solution(None, W.value, V.value, objective, status)


def skip(problem: Problem, form: str, beta: float, solver: str) -> Solution:
    """min ||w_0|| + sum_j ||w_j|| + ||w'_j|| s.t. X w_0 + sum_j D_j X (w_j - w'_j) = y, and cones.

    (Eq. 6, whose objective is printed without ||w_0||: then w_0 would be free, and the linear fit
    always a solution; relaxed Eq. 15, regularised Eq. 211.)
    """
    X, y, D = problem.planted.inputs, problem.planted.outputs, problem.patterns.astype(float)
    S = 2 * D - 1
    w0 = cp.Variable(X.shape[1])
    W, V = _pair(X.shape[1], D.shape[1], form)

    fit = X @ w0 + cp.sum(cp.multiply(D, X @ (W - V)), axis=1)
    cost = cp.norm(w0) + cp.sum(cp.norm(W, axis=0)) + cp.sum(cp.norm(V, axis=0))
    cones = [cp.multiply(S, X @ W) >= 0, cp.multiply(S, X @ V) >= 0]

    objective, status = _minimise(fit, y, cost, cones, form, beta, solver)
    return Solution(w0.value, W.value, V.value, objective, status)


def normalised(problem: Problem, form: str, beta: float, solver: str) -> Solution:
    """min sum_j ||D_j X v_j|| + ||D_j X v'_j|| s.t. sum_j D_j X (v_j - v'_j) = y, and the cones.

    With D_j X = U_j R_j and w_j = R_j v_j these are sum_j U_j (w_j - w'_j) = y, at the cost of
    sum_j ||w_j|| + ||w'_j||, and S_j X R_j^-1 w_j >= 0. (Eq. 16; relaxed Eq. 17, regularised
    Eq. 212.) What D_j X does not see of v_j, if its rank is less than d, only helps with the cone.
    """
    X, y, D, parts = (
        problem.planted.inputs,
        problem.planted.outputs,
        problem.patterns.astype(float),
        blocks(problem),
    )
    S = 2 * D - 1
    if form != "relaxed":
        parts, costly = parts.completed()
    U = np.hstack([parts.block(j) for j in range(D.shape[1])])
    W, V = _pair(X.shape[1], D.shape[1], form)

    fit = U @ cp.vec(W - V, order="F")
    cost, cones = cp.sum(cp.norm(W, axis=0)), []
    if form != "relaxed":
        C = block_diag(S.T[:, :, None] * (X @ parts.factors), format="csr")  # S_j X R_j^-1
        cost = cp.sum(
            cp.norm(cp.multiply(costly, W), axis=0) + cp.norm(cp.multiply(costly, V), axis=0)
        )
        cones = [C @ cp.vec(W, order="F") >= 0, C @ cp.vec(V, order="F") >= 0]

    objective, status = _minimise(fit, y, cost, cones, form, beta, solver)
    return Solution(None, parts.to_inputs(W.value), parts.to_inputs(V.value), objective, status)


def _pair(dim: int, patterns: int, form: str) -> tuple[cp.Variable, cp.Expression]:
    """Variables w_j and w'_j, the latter 0 in a relaxed program."""
    negative = cp.Variable if form != "relaxed" else lambda shape: cp.Constant(np.zeros(shape))
    return cp.Variable((dim, patterns)), negative((dim, patterns))


def _minimise(
    fit: cp.Expression,
    outputs: np.ndarray,
    cost: cp.Expression,
    cones: list[cp.Constraint],
    form: str,
    beta: float,
    solver: str,
) -> tuple[float, str]:
    """Solve a program of one of the three forms; the optimal value and the status."""
    if form == "regularised":
        program = cp.Problem(cp.Minimize(cp.sum_squares(fit - outputs) + beta * cost), cones)
    elif form == "exact":
        program = cp.Problem(cp.Minimize(cost), [fit == outputs, *cones])
    else:
        program = cp.Problem(cp.Minimize(cost), [fit == outputs])
    try:
        with warnings.catch_warnings():  # An inaccurate solution says so in its status.
            warnings.simplefilter("ignore", UserWarning)
            program.solve(solver=solver, **PRECISE.get(solver, {}))
    except cp.SolverError as error:
        raise SolverFailed(f"{solver} failed on the {form} program: {error}") from error
    if program.status not in (cp.OPTIMAL, cp.OPTIMAL_INACCURATE):
        raise SolverFailed(f"{solver} found the {form} program {program.status}")
    return float(program.value), program.status
