"""What a solution says of the planted neurons: one meaning for each word.

A solution of a convex program is a network: neurons w_j with output weight 1, neurons w'_j with
output weight -1, and a linear unit w_0, if there is one. A relaxed program's w_j need not lie in
the cone of its pattern; its neurons apply the ReLU all the same.
"""

import numpy as np
from jaxtyping import Float

from llrnb import checks
from llrnb.relu.admm import relaxed_splitting
from llrnb.relu.arrangements import Problem
from llrnb.relu.blocks import blocks
from llrnb.relu.duality import certified, in_units
from llrnb.relu.planted import responses
from llrnb.relu.solutions import Solution

_LIMIT, _ACCURACY = 5000, 1e-8  # of a splitting
_SMALL = 1e-6  # A group of this share of the largest one is 0, but for the accuracy of a splitting.


def solution(problem: Problem, form: str = "relaxed") -> Solution:
    """The solution of a program, also where a verdict on it needs none.

    Operator splitting for the relaxed program, where it converges to a gap of 1e-6; a convex solver
    else. Where the solution is not unique it is one of them. Ask it whether it is `accurate`.

    Raises:
        ValueError, SolverFailed: as `llrnb.relu.programs.solve`.
    """
    from llrnb.relu.programs import solve  # here, because cvxpy takes a second to import

    checks.instance(problem, Problem, "problem")
    checks.one_of(("relaxed", "exact", "regularised"), "form", form)
    found = _by_splitting(problem) if form == "relaxed" else None
    return found if found is not None and found.accurate else solve(problem, form)


def _by_splitting(problem: Problem) -> Solution | None:
    """The relaxed program's solution by operator splitting, if it converges."""
    scaled, units = in_units(problem)
    parts = blocks(scaled)
    length = float(np.linalg.norm(scaled.planted.weights, axis=0).max())  # its rate is made for 1
    if problem.network == "normalised":
        length = 1 / units.outputs
    if not (length > 0 and scaled.planted.outputs.any()):
        return None
    outputs = scaled.planted.outputs / length
    run = relaxed_splitting(parts, outputs, limit=_LIMIT, accuracy=_ACCURACY)
    if run.dual is None:
        return None
    sizes = length * np.linalg.norm(run.weights, axis=0)
    kept = np.where(sizes > _SMALL * sizes.max(), length * run.weights, 0.0)
    linear, rest = np.split(parts.to_inputs(kept), [int(problem.network == "skip")], axis=1)
    answer = (linear[:, 0] if linear.size else None, rest, np.zeros_like(rest))
    return units.back(certified(scaled, "relaxed", 1.0, answer, run.dual, str(run.end)), "relaxed")


def predictions(
    problem: Problem, found: Solution, inputs: Float[np.ndarray, "fresh input"]
) -> Float[np.ndarray, " fresh"]:
    """The outputs of a solution's network at other inputs.

    A normalised network normalises over these inputs: what its neuron j adds has the norm that it
    had on the data, ||D_j X w_j||.
    """
    _of(problem, found)
    inputs = checks.array(inputs, "inputs", None, problem.planted.dim)
    total = np.zeros(len(inputs))
    if found.skip is not None:
        total += inputs @ found.skip
    for sign, neurons in ((1, found.positive), (-1, found.negative)):
        active = np.maximum(inputs @ neurons, 0)
        if problem.network == "normalised":
            pieces = problem.patterns * (problem.planted.inputs @ neurons)
            active = responses(inputs, neurons, "normalised") * np.linalg.norm(pieces, axis=0)
        total += sign * active.sum(axis=1)
    return total


def weight_distance(problem: Problem, found: Solution) -> float:
    """How far the planted groups are from the planted weights.

    skip: ||w_0 - w||. Otherwise (sum_i ||w_i - w'_i - w*_i||^2)^(1/2) over the planted groups, for
    normalised networks in the norm ||D_i X v||, with w*_i scaled to make the planted outputs.
    """
    planted = _of(problem, found).planted
    if found.skip is not None:
        return float(np.linalg.norm(found.skip - planted.weights.sum(axis=1)))
    support = list(problem.support)
    weights = (found.positive - found.negative)[:, support]
    if problem.network == "plain":
        return float(np.linalg.norm(weights - planted.weights))
    pieces = problem.patterns[:, support] * (planted.inputs @ weights)
    goals = responses(planted.inputs, planted.weights, planted.labels)
    return float(np.linalg.norm(pieces - goals))


def other_norm(problem: Problem, found: Solution) -> float:
    """(sum_j ||w_j - w'_j||^2)^(1/2) over the groups without a planted neuron."""
    _of(problem, found)
    rest = np.delete(found.positive - found.negative, list(problem.support), axis=1)
    return float(np.linalg.norm(rest))


def cosine(problem: Problem, found: Solution) -> float:
    """The cosine of the angle between w_0 and the planted weights; NaN without a linear unit."""
    _of(problem, found)
    if found.skip is None:
        return float("nan")
    goal = problem.planted.weights.sum(axis=1)
    size = np.linalg.norm(found.skip) * np.linalg.norm(goal)
    return float(found.skip @ goal / size) if size else 0.0


def residual(problem: Problem, found: Solution) -> float:
    """||f(X) - y||_2 on the data, f linear on every pattern as in the program."""
    X = _of(problem, found).planted.inputs
    fitted = (problem.patterns * (X @ (found.positive - found.negative))).sum(axis=1)
    if found.skip is not None:
        fitted += X @ found.skip
    return float(np.linalg.norm(fitted - problem.planted.outputs))


def _of(problem: Problem, found: Solution) -> Problem:
    """The problem, if the solution may be its own."""
    checks.instance(problem, Problem, "problem")
    came = checks.instance(found, Solution, "found").positive.shape
    if came != (needed := (problem.planted.dim, problem.patterns.shape[1])):
        raise ValueError(f"the problem needs a solution of shape {needed}, got {came}")
    return problem
