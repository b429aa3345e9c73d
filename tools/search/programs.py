"""Convex programs: is every solution that is called accurate one, and are its distances right?

The second route evaluates a solution in loops over patterns, bounds the slopes of its multiplier by
bounded least squares, holds the planted weights against the bound where they fit, and compares with
the solution of the same problem in other units.
"""

from dataclasses import replace

import cvxpy as cp
import numpy as np
from scipy.optimize import lsq_linear

from llrnb.relu import metrics
from llrnb.relu.arrangements import Problem, pose
from llrnb.relu.planted import Planted, plant, responses
from llrnb.relu.programs import SolverFailed, solve
from llrnb.relu.solutions import Solution
from tools.search import Case

LABELS = {"skip": "linear", "plain": "relu", "normalised": "normalised"}
KINDS = {
    "gaussian": lambda X, rng: X,
    "noise": lambda X, rng: X,
    "cubic": lambda X, rng: X**3,
    "units": lambda X, rng: X * 10.0 ** rng.integers(-15, 16),
    "columns": lambda X, rng: X * 10 ** rng.uniform(-3.5, 3.5, X.shape[1]),
    "rows": lambda X, rng: X * 10 ** rng.uniform(-3, 3, (len(X), 1)),
    "repeated": lambda X, rng: X[rng.integers(len(X), size=len(X))],
    "integers": lambda X, rng: np.round(2 * np.sqrt(len(X)) * X) + np.eye(*X.shape),
    "mirrored": lambda X, rng: np.vstack([X, -X])[: len(X) + 1],
    "low rank": lambda X, rng: X[:, :1] * rng.standard_normal(X.shape[1]) + X * (X > 0),
}
CLEAN = ("gaussian", "noise", "cubic")
TOLERANCE = 3e-6


def case(seed: int) -> Case:
    """One program, solved and judged."""
    rng = np.random.default_rng([seed, 15])
    kind, network = rng.choice(list(KINDS)), rng.choice(list(LABELS))
    form = rng.choice(["relaxed", "exact", "regularised"])
    beta = float(10 ** rng.uniform(-6, 0))
    problem = _problem(str(kind), str(network), rng)
    by_metrics = bool(form != "regularised" and rng.random() < 0.4)
    function = "llrnb.relu.metrics.solution" if by_metrics else "llrnb.relu.programs.solve"
    names = {"function": function, "kind": f"{kind}, {network} {form}", "clean": kind in CLEAN}
    if form == "regularised":  # β in the units of the problem
        beta *= _beta_unit(problem)
    try:
        found = metrics.solution(problem, form) if by_metrics else solve(problem, form, beta=beta)
    except SolverFailed as failure:
        said = str(failure)
        impossible = form != "regularised" and "infeasible" in said and not _fits(problem)
        return Case(**names, said=said, outcome="right" if impossible else "undecided")
    if not found.accurate:
        said = f"inaccurate, gap {found.gap:.0e}, violation {found.violation:.0e}"
        return Case(**names, said=said, outcome="undecided")
    wrong = [*_wrong(problem, form, beta, found), *_wrong_metrics(problem, found)]
    return Case(**names, said="; ".join(wrong) or "accurate", outcome="false" if wrong else "right")


def _problem(kind: str, network: str, rng: np.random.Generator) -> Problem:
    samples, dim = int(rng.integers(4, 20)), int(rng.integers(1, 6))
    samples = max(samples, dim + 2)
    base = plant(samples, dim, seed=int(rng.integers(2**31)))
    inputs = KINDS[kind](base.inputs, rng)
    weights = rng.standard_normal((dim, int(rng.integers(1, 3))))
    silent = (inputs @ weights <= 0).all(axis=0)
    weights = np.where(silent, -weights, weights)  # a neuron that is active on no sample is none
    clean = responses(inputs, weights, LABELS[network]).sum(axis=1)
    noise = 0.2 if kind == "noise" else 0.0
    outputs = clean + noise * np.linalg.norm(clean) * rng.standard_normal(len(inputs))
    planted = Planted(inputs, weights, outputs, LABELS[network], noise)
    return pose(planted, network, patterns=int(rng.integers(3, 20)), seed=int(rng.integers(1000)))


def _beta_unit(problem: Problem) -> float:
    """The β of a problem whose optimum is near no weights at all, roughly."""
    X, y = problem.planted.inputs, problem.planted.outputs
    size = np.linalg.norm(y)
    return float(size if problem.network == "normalised" else size * np.linalg.norm(X)) or 1.0


def _fits(problem: Problem) -> bool:
    """Whether some weights make the outputs, up to 1e-6 of them."""
    X, y = problem.planted.inputs, problem.planted.outputs
    masks = (
        [np.ones(len(X)), *problem.patterns.T] if problem.network == "skip" else problem.patterns.T
    )
    sizes = np.where(np.abs(X).max(axis=0) > 0, np.abs(X).max(axis=0), 1)
    matrix = np.hstack([mask[:, None] * X / sizes for mask in masks])
    weights = np.linalg.lstsq(matrix, y, rcond=None)[0]
    return bool(np.linalg.norm(matrix @ weights - y) <= 1e-6 * np.linalg.norm(y))


def _groups(
    problem: Problem, found: Solution, form: str
) -> list[tuple[np.ndarray, np.ndarray, int]]:
    """Every group's mask, weights and sign; the linear unit with sign 0."""
    groups = [] if found.skip is None else [(np.ones(problem.planted.samples), found.skip, 0)]
    for j, pattern in enumerate(problem.patterns.T.astype(float)):
        groups += [(pattern, found.positive[:, j], 1), (pattern, found.negative[:, j], -1)]
    return groups


def _slope(problem: Problem, mask, dual, sign: int, form: str) -> float:
    """The largest slope of one group: by bounded least squares, or as a convex program."""
    X = problem.planted.inputs / _sizes(problem)
    size = np.linalg.norm(dual) or 1.0
    if form == "relaxed" or sign == 0:
        if problem.network != "normalised":
            return float(np.linalg.norm(problem.planted.inputs.T @ (mask * dual)))
        left, values, _ = np.linalg.svd(mask[:, None] * X, full_matrices=False)
        return float(np.linalg.norm(left[:, values > 1e-11 * values[0]].T @ dual))
    if problem.network == "normalised":
        v = cp.Variable(X.shape[1])
        active, idle = X[mask > 0], X[mask == 0]
        if not active.size:
            return 0.0
        unit = 1 / np.maximum(np.abs(idle).max(axis=1, initial=0), 1e-300)
        rows = (1 / np.maximum(np.abs(active).max(axis=1), 1e-300))[:, None] * active
        within = [rows @ v >= 0, cp.norm(active @ v) <= 1, (unit[:, None] * idle) @ v <= 0]
        goal = cp.Maximize((sign * dual[mask > 0] / size) @ active @ v)
        return float(size * cp.Problem(goal, within).solve(solver="CLARABEL"))
    slope = sign * (mask * dual) @ X
    return _distance_from_polar(slope, (2 * mask - 1)[:, None] * X)


def _distance_from_polar(slope: np.ndarray, sides: np.ndarray) -> float:
    """The least ||slope + sides^T τ|| over τ >= 0."""
    size = np.linalg.norm(slope)
    if not size:
        return 0.0
    sides = sides / np.maximum(np.linalg.norm(sides, axis=1, keepdims=True), 1e-300)
    found = lsq_linear(sides.T, -slope / size, (0, np.inf), method="bvls", tol=1e-14)
    return float(size * np.linalg.norm(slope / size + sides.T @ found.x))


def _sizes(problem: Problem) -> np.ndarray | float:
    """By what a normalised network's inputs may be divided: it does not matter there."""
    if problem.network != "normalised":
        return 1.0
    largest = np.abs(problem.planted.inputs).max(axis=0)
    return np.where(largest > 0, largest, 1.0)


def _wrong(problem: Problem, form: str, beta: float, found: Solution) -> list[str]:
    """What is wrong about a solution."""
    X, y, wrong = problem.planted.inputs, problem.planted.outputs, []
    fit, cost, signed = np.zeros(len(X)), 0.0, problem.network == "normalised"
    largest = max(
        np.abs(y).max(), *(np.abs(X @ w).max() for _, w, _ in _groups(problem, found, form))
    )
    for mask, weights, sign in _groups(problem, found, form):
        fit += (sign or 1) * mask * (X @ weights)
        cost += np.linalg.norm(mask * (X @ weights) if signed else weights)
        if form != "relaxed" and sign and ((2 * mask - 1) * (X @ weights)).min() < -1e-6 * largest:
            wrong.append("outside of a cone")
    if form == "relaxed" and found.negative.any():
        wrong.append("negative weights in a relaxed program")
    off = np.linalg.norm(fit - y)
    value = off**2 + beta * cost if form == "regularised" else cost
    if form != "regularised" and off > TOLERANCE * np.linalg.norm(y):
        wrong.append(f"does not fit, {off:.0e}")
    if not np.isclose(value, found.objective, rtol=1e-9, atol=0):
        wrong.append(f"costs {value:.9g}, not {found.objective:.9g}")
    slopes = [
        _slope(problem, mask, found.dual, sign, form)
        for mask, _, sign in _groups(problem, found, form)
    ]
    dual = found.dual / max(1.0, *slopes)
    bound = dual @ y
    if form == "regularised":
        bound = beta * (bound - beta / 4 * dual @ dual)
    if bound < value * (1 - TOLERANCE):
        wrong.append(f"bound {bound:.9g} of {value:.9g}, with a slope of {max(slopes):.9g}")
    stated = found.objective * (1 - found.gap)
    if (
        problem.planted.noise == 0
        and form == "relaxed"
        and stated > _planted_cost(problem) * (1 + TOLERANCE)
    ):
        wrong.append(f"bound {stated:.9g} above the planted cost {_planted_cost(problem):.9g}")
    return [*wrong, *_wrong_in_units(problem, form, beta, found)]


def _planted_cost(problem: Problem) -> float:
    """What the planted weights cost, as one group each."""
    weights = problem.planted.weights
    if problem.network == "normalised":
        return float((np.maximum(problem.planted.inputs @ weights, 0).max(axis=0) > 0).sum())
    if problem.network == "skip":
        weights = weights.sum(axis=1, keepdims=True)
    return float(np.linalg.norm(weights, axis=0).sum())


def _wrong_in_units(problem: Problem, form: str, beta: float, found: Solution) -> list[str]:
    """Other units give another objective, if not."""
    planted, here, there = problem.planted, 3e-7, 7e8
    price = there if problem.network == "normalised" else there / here
    other = replace(planted, inputs=here * planted.inputs, outputs=there * planted.outputs)
    try:
        twin = solve(replace(problem, planted=other), form, beta=beta * there**2 / price)
    except SolverFailed:
        return []
    value = there**2 if form == "regularised" else price
    if not twin.accurate or np.isclose(
        twin.objective, value * found.objective, rtol=TOLERANCE, atol=0
    ):
        return []
    return [f"{twin.objective / value:.9g} in other units, not {found.objective:.9g}"]


def _wrong_metrics(problem: Problem, found: Solution) -> list[str]:
    """What is wrong about the distances of a solution, in loops."""
    X, wrong = problem.planted.inputs, []
    weights, support = problem.planted.weights, problem.support
    if problem.network == "skip":
        goal = np.linalg.norm(found.skip - weights.sum(axis=1))
    elif problem.network == "plain":
        parts = [
            found.positive[:, j] - found.negative[:, j] - weights[:, i]
            for i, j in enumerate(support)
        ]
        goal = np.linalg.norm(np.concatenate(parts))
    else:
        parts = []
        for i, j in enumerate(support):
            neuron = np.maximum(X @ weights[:, i], 0)
            seen = problem.patterns[:, j] * (X @ (found.positive[:, j] - found.negative[:, j]))
            parts.append(seen - neuron / (np.linalg.norm(neuron) or 1))
        goal = np.linalg.norm(np.concatenate(parts))
    said = metrics.weight_distance(problem, found)
    if not np.isclose(said, goal, rtol=1e-6, atol=1e-9 * (1 + np.linalg.norm(weights))):
        wrong.append(f"weight distance {said:.6g}, not {goal:.6g}")
    return wrong
