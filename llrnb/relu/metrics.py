"""What a solution says of the planted neurons: one meaning for each word.

A solution of a convex program is a network: neurons w_j with output weight 1, neurons w'_j with
output weight -1, and a linear unit w_0, if there is one. A relaxed program's w_j need not lie in
the cone of its pattern; its neurons apply the ReLU all the same.
"""

import numpy as np
from jaxtyping import Float

from llrnb.relu.arrangements import Problem
from llrnb.relu.blocks import blocks
from llrnb.relu.planted import VANISHING, responses
from llrnb.relu.solutions import Solution
from llrnb.relu.splitting import relaxed_splitting

_LIMIT = 5000  # iterations


def solution(problem: Problem, form: str = "relaxed") -> Solution:
    """The solution of a program, also where a verdict on it needs none.

    Operator splitting to 1e-7 for the relaxed program, as far as it converges; a convex solver for
    the others. Where the solution is not unique it is one of them.

    Raises:
        ValueError, SolverFailed: as `llrnb.relu.programs.solve`.
    """
    from llrnb.relu.programs import solve  # here, because cvxpy takes a second to import

    if form == "relaxed":
        parts = blocks(problem)
        run = relaxed_splitting(parts, problem.planted.outputs, noise_free=False, limit=_LIMIT)
        if run.end == "converged":
            weights = parts.to_inputs(run.weights)
            linear, rest = np.split(weights, [int(problem.network == "skip")], axis=1)
            cost = float(np.linalg.norm(run.weights, axis=0).sum())
            unit = linear[:, 0] if linear.size else None
            return Solution(unit, rest, np.zeros_like(rest), cost, "converged")
    return solve(problem, form)


def predictions(
    problem: Problem, found: Solution, inputs: Float[np.ndarray, "fresh input"]
) -> Float[np.ndarray, " fresh"]:
    """The outputs of a solution's network at other inputs.

    A normalised network normalises over these inputs: what its neuron j adds has the norm that it
    had on the data, ||D_j X w_j||.
    """
    total = np.zeros(len(inputs))
    if found.skip is not None:
        total += inputs @ found.skip
    for sign, neurons in ((1, found.positive), (-1, found.negative)):
        active = np.maximum(inputs @ neurons, 0)
        if problem.network == "normalised":
            pieces = problem.patterns * (problem.planted.inputs @ neurons)
            norms = np.maximum(np.linalg.norm(active, axis=0), VANISHING)
            active = active * np.linalg.norm(pieces, axis=0) / norms
        total += sign * active.sum(axis=1)
    return total


def weight_distance(problem: Problem, found: Solution) -> float:
    """How far the planted groups are from the planted weights.

    skip: ||w_0 - w||. Otherwise (sum_i ||w_i - w'_i - w*_i||^2)^(1/2) over the planted groups, for
    normalised networks in the norm ||D_i X v||, with w*_i scaled to make the planted outputs.
    """
    planted = problem.planted
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
    rest = np.delete(found.positive - found.negative, list(problem.support), axis=1)
    return float(np.linalg.norm(rest))


def cosine(problem: Problem, found: Solution) -> float:
    """The cosine of the angle between w_0 and the planted weights; NaN without a linear unit."""
    if found.skip is None:
        return float("nan")
    goal = problem.planted.weights.sum(axis=1)
    size = np.linalg.norm(found.skip) * np.linalg.norm(goal)
    return float(found.skip @ goal / size) if size else 0.0


def residual(problem: Problem, found: Solution) -> float:
    """||f(X) - y||_2 on the data, f linear on every pattern as in the program."""
    X = problem.planted.inputs
    fitted = (problem.patterns * (X @ (found.positive - found.negative))).sum(axis=1)
    if found.skip is not None:
        fitted += X @ found.skip
    return float(np.linalg.norm(fitted - problem.planted.outputs))
