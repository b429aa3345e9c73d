"""The convex programs of two-layer ReLU networks, written as in the paper.

For patterns D_j = diag(1[X g_j >= 0]) and S_j = 2 D_j - 1 a network is a sum of linear pieces, and
the sum of its neurons' norms is what it costs. Each network has three programs:

- "exact": least cost among the networks that fit the data;
- "relaxed": the same without the cones S_j X w_j >= 0, and so without the negative weights w'_j;
- "regularised": squared loss, without a factor 1/2, plus β times the cost, with the cones.

(Wang, Hua, Candès, Pilanci, arXiv:2209.15265.) A solver sees them in units in which the data are
near 1, and its answer is believed only as far as a dual bound goes, see `llrnb.relu.duality`.
"""

import warnings
from dataclasses import dataclass
from typing import Literal

import cvxpy as cp
import numpy as np
from jaxtyping import Float
from scipy.linalg import qr
from scipy.sparse import block_diag

from llrnb import checks
from llrnb.relu.arrangements import Problem
from llrnb.relu.blocks import Blocks, blocks
from llrnb.relu.duality import Parts, certified, in_units, no_weights
from llrnb.relu.planted import one_of
from llrnb.relu.solutions import Solution

# Where the solution is barely unique, a gap of 1e-8, the default, leaves entries 1e-3 off.
PRECISE = {"CLARABEL": {"tol_gap_abs": 1e-10, "tol_gap_rel": 1e-10, "tol_feas": 1e-10}}
ROUNDED = 1e-12  # A gap of rounding errors is none.
RANK = 1e-13  # Equations that are this share of others are none.
OFF = 1e-9  # Outputs of which no weights make this share cannot be made.

Form = Literal["exact", "relaxed", "regularised"]


class SolverFailed(Exception):
    """A convex solver is missing, or ended without a solution."""


def solve(
    problem: Problem, form: str = "exact", *, beta: float = 1e-6, solver: str = "CLARABEL"
) -> Solution:
    """Solve a problem's convex program.

    A solver may stop early, or at a point that is none: ask the solution whether it is `accurate`.
    Where it is not, as with inputs of very different sizes, the solver is asked a second time, with
    the rows of the equation A w = y mixed so that those of A become orthonormal. That is slower.

    Args:
        problem: see `pose`.
        form: "exact", "relaxed" or "regularised".
        beta: β, of the regularised program.
        solver: a solver of cvxpy that is installed, in small or capital letters.

    Raises:
        ValueError: another form, or a β that is not positive and finite.
        SolverFailed: a solver that is not installed, or no solution: infeasible or unbounded.

    >>> from llrnb.relu.arrangements import pose
    >>> from llrnb.relu.planted import plant
    >>> planted = plant(40, 3)
    >>> solution = solve(pose(planted, "skip"))
    >>> bool(np.allclose(solution.skip, planted.weights[:, 0], atol=1e-6)), solution.accurate
    (True, True)
    """
    checks.instance(problem, Problem, "problem")
    one_of(Form, "form", form)
    beta, solver = checks.real(beta, "beta", above=0), checks.text(solver, "solver").upper()
    if solver not in cp.installed_solvers():
        raise SolverFailed(
            f"{solver} is not installed; cvxpy finds {', '.join(cp.installed_solvers())}"
        )
    scaled, units = in_units(problem)
    beta = units.beta(beta)
    if form == "regularised" or not scaled.planted.outputs.any():
        nothing = no_weights(scaled, form, beta)
        if abs(nothing.gap) <= ROUNDED:
            return units.back(nothing, form)
    posed = {"plain": plain, "skip": skip, "normalised": normalised}[problem.network]
    program = posed(scaled, form)
    found: list[Solution] = []
    failures: list[SolverFailed] = []
    for mixed in (False, True):
        try:
            answer = _minimise(program, scaled, form, beta, solver, mixed)
        except SolverFailed as failure:
            failures.append(failure)
            continue
        found.append(certified(scaled, form, beta, *answer))
        if found[-1].accurate:
            return units.back(found[-1], form)
    if not found:
        raise failures[0]
    return units.back(min(found, key=lambda one: abs(one.gap) + one.violation), form)


@dataclass(frozen=True)
class Program:
    """A convex program but for its outputs.

    Attributes:
        blocks: the A_j.
        groups: w_0, if any, then w_j - w'_j, in the coordinates of the blocks.
        fit: A w, what the network makes of the data.
        cost: of the neurons.
        cones: the constraints on them; none in a relaxed program.
        weights: w_0 or None, w_j and w'_j.
    """

    blocks: Blocks
    groups: cp.Expression
    fit: cp.Expression
    cost: cp.Expression
    cones: list[cp.Constraint]
    weights: tuple[cp.Variable | None, cp.Variable, cp.Expression]

    def answer(self, size: float) -> Parts:
        """The weights that the solver found, in units of a size, on the inputs."""
        w0, W, V = self.weights
        positive, negative = (size * np.asarray(half.value) for half in (W, V))
        if w0 is not None:
            return size * np.asarray(w0.value), positive, negative
        return None, self.blocks.to_inputs(positive), self.blocks.to_inputs(negative)


def plain(problem: Problem, form: str) -> Program:
    """min sum_j ||w_j|| + ||w'_j|| s.t. sum_j D_j X (w_j - w'_j) = y, S_j X w_j, S_j X w'_j >= 0.

    (Eq. 11; regularised Eq. 211.) Its dual is max λ^T y s.t. ±λ^T D_j X w <= ||w|| for all w with
    S_j X w >= 0, or ||X^T D_j λ|| <= 1 if relaxed.
    """
    X, D = problem.planted.inputs, problem.patterns.astype(float)
    S = 2 * D - 1
    W, V = _pair(X.shape[1], D.shape[1], form)

    fit = cp.sum(cp.multiply(D, X @ (W - V)), axis=1)
    cost = cp.sum(cp.norm(W, axis=0)) + cp.sum(cp.norm(V, axis=0))
    cones = [cp.multiply(S, X @ W) >= 0, cp.multiply(S, X @ V) >= 0] if form != "relaxed" else []

    return Program(blocks(problem), W - V, fit, cost, cones, (None, W, V))


def skip(problem: Problem, form: str) -> Program:
    """min ||w_0|| + sum_j ||w_j|| + ||w'_j|| s.t. X w_0 + sum_j D_j X (w_j - w'_j) = y, and cones.

    (Eq. 6, whose objective is printed without ||w_0||: then w_0 would be free, and the linear fit
    always a solution; relaxed Eq. 15, regularised Eq. 211.) Its dual is that of a plain network
    with ||X^T λ|| <= 1 besides.
    """
    X, D = problem.planted.inputs, problem.patterns.astype(float)
    S = 2 * D - 1
    w0 = cp.Variable(X.shape[1])
    W, V = _pair(X.shape[1], D.shape[1], form)

    fit = X @ w0 + cp.sum(cp.multiply(D, X @ (W - V)), axis=1)
    cost = cp.norm(w0) + cp.sum(cp.norm(W, axis=0)) + cp.sum(cp.norm(V, axis=0))
    cones = [cp.multiply(S, X @ W) >= 0, cp.multiply(S, X @ V) >= 0] if form != "relaxed" else []

    groups = cp.hstack([cp.reshape(w0, (X.shape[1], 1), order="F"), W - V])
    return Program(blocks(problem), groups, fit, cost, cones, (w0, W, V))


def normalised(problem: Problem, form: str) -> Program:
    """min sum_j ||D_j X v_j|| + ||D_j X v'_j|| s.t. sum_j D_j X (v_j - v'_j) = y, and the cones.

    With D_j X = U_j R_j and w_j = R_j v_j these are sum_j U_j (w_j - w'_j) = y, at the cost of
    sum_j ||w_j|| + ||w'_j||, and S_j X R_j^-1 w_j >= 0. (Eq. 16; relaxed Eq. 17, regularised
    Eq. 212.) What D_j X does not see of v_j, if its rank is less than d, only helps with the cone.
    Its dual is max λ^T y s.t. ±λ^T U_j w <= ||w|| for all w in the cone, or ||U_j^T λ|| <= 1 if
    relaxed.
    """
    X, D, parts = problem.planted.inputs, problem.patterns.astype(float), blocks(problem)
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

    return Program(parts, W - V, fit, cost, cones, (None, W, V))


def _pair(dim: int, patterns: int, form: str) -> tuple[cp.Variable, cp.Expression]:
    """Variables w_j and w'_j, the latter 0 in a relaxed program."""
    negative = cp.Variable if form != "relaxed" else lambda shape: cp.Constant(np.zeros(shape))
    return cp.Variable((dim, patterns)), negative((dim, patterns))


def _minimise(
    program: Program, problem: Problem, form: str, beta: float, solver: str, mixed: bool
) -> tuple[Parts, np.ndarray, str]:
    """Solve a program of one of the three forms: the weights, the multiplier and the status.

    The regularised one is posed as min c(w) + ||s||² subject to A w + sqrt(β) s = y. Its multiplier
    is 2 (y - A w) / β, of the size that it has in the exact program, however small β is.
    """
    outputs, size = problem.planted.outputs, 1.0
    rest = cp.Variable(len(outputs)) if form == "regularised" else np.zeros(len(outputs))
    if mixed:
        equation = Equation.of(program.blocks, outputs, np.sqrt(beta) * (form == "regularised"))
        rows, size = equation.rows, equation.size
        unknown = cp.hstack([cp.vec(program.groups, order="F"), rest])
        equality = rows @ unknown == equation.right
    else:
        equality = program.fit + np.sqrt(beta) * rest == outputs
    loss = size * cp.sum_squares(rest)
    solved = cp.Problem(cp.Minimize(program.cost + loss), [equality, *program.cones])
    try:
        with warnings.catch_warnings():  # An inaccurate solution says so in its gap.
            warnings.simplefilter("ignore", UserWarning)
            solved.solve(solver=solver, **PRECISE.get(solver, {}))
    except cp.SolverError as error:
        raise SolverFailed(f"{solver} failed on the {form} program: {error}") from error
    if solved.status not in (cp.OPTIMAL, cp.OPTIMAL_INACCURATE):
        raise SolverFailed(f"{solver} found the {form} program {solved.status}")
    dual = -equality.dual_value
    weights = program.answer(size)
    return weights, equation.back(dual) if mixed else dual, solved.status


@dataclass(frozen=True)
class Equation:
    """[A, γ] (w, s) = y with orthonormal rows in the place of those of [A, γ].

    Attributes:
        rows: E, of which [A, γ] = R^T E.
        mixing: R.
        right: the z with R^T z = y, over its length.
        size: that length: (w, s) is in units of it.
    """

    rows: Float[np.ndarray, "equation unknown"]
    mixing: Float[np.ndarray, "equation sample"]
    right: Float[np.ndarray, " equation"]
    size: float

    @staticmethod
    def of(parts: Blocks, outputs: Float[np.ndarray, " sample"], ridge: float) -> "Equation":
        """The equation of A = [A_1 ... A_q] and γ, of full rank or not.

        Raises:
            SolverFailed: no weights make the outputs.
        """
        samples, groups = parts.masks.shape
        matrix = np.hstack([*(parts.block(j) for j in range(groups)), ridge * np.eye(samples)])
        lengths = np.linalg.norm(matrix, axis=1)
        lengths = np.where(lengths > 0, lengths, 1.0)
        basis, upper, order = qr((matrix / lengths[:, None]).T, mode="economic", pivoting=True)
        rank = int((np.abs(np.diag(upper)) > RANK * np.abs(upper[0, 0])).sum())
        mixing = np.empty((rank, samples))
        mixing[:, order] = upper[:rank] * lengths[order]
        scaled = mixing / lengths
        right = np.linalg.lstsq(scaled.T, outputs / lengths, rcond=None)[0]
        off = np.linalg.norm(mixing.T @ right - outputs)
        size = float(np.linalg.norm(right))
        if not size or off > OFF * np.linalg.norm(outputs):
            raise SolverFailed("the program is infeasible: no weights make the outputs")
        return Equation(basis[:, :rank].T, mixing, right / size, size)

    def back(self, dual: Float[np.ndarray, " equation"]) -> Float[np.ndarray, " sample"]:
        """λ, of the multiplier R λ of these equations."""
        lengths = np.linalg.norm(self.mixing, axis=0)
        lengths = np.where(lengths > 0, lengths, 1.0)
        return np.linalg.lstsq(self.mixing / lengths, dual, rcond=None)[0] / lengths
