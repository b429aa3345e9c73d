from dataclasses import replace

import numpy as np
import pytest

from llrnb.relu import Problem, plant, pose, programs
from llrnb.relu.blocks import blocks
from llrnb.relu.programs import Equation, SolverFailed, solve

LABELS = {"skip": "linear", "plain": "relu", "normalised": "normalised"}


def posed(network, samples, dim, **options):
    return pose(plant(samples, dim, labels=LABELS[network], **options), network)


def output(problem, solution):
    """X w_0 + sum_j D_j X (w_j - w'_j), in a loop."""
    X = problem.planted.inputs
    total = np.zeros(len(X)) if solution.skip is None else X @ solution.skip
    gates = solution.positive - solution.negative
    for pattern, weights in zip(problem.patterns.T, gates.T, strict=True):
        total = total + pattern * (X @ weights)
    return total


def cost(problem, solution):
    """The sum of the neurons' norms; of their outputs, for a normalised network."""
    total = 0.0 if solution.skip is None else np.linalg.norm(solution.skip)
    for half in (solution.positive, solution.negative):
        if problem.network == "normalised":
            half = problem.patterns * 1.0 * (problem.planted.inputs @ half)
        total += np.linalg.norm(half, axis=0).sum()
    return total


@pytest.mark.parametrize("network", LABELS)
@pytest.mark.parametrize("form", ["exact", "relaxed"])
def test_a_solution_fits_the_data_at_the_cost_it_states(network, form):
    problem = posed(network, 14, 5, seed=1)
    solution = solve(problem, form)
    assert np.allclose(output(problem, solution), problem.planted.outputs, atol=1e-6)
    assert cost(problem, solution) == pytest.approx(solution.objective, abs=1e-6)
    assert solution.status in ("optimal", "optimal_inaccurate")


@pytest.mark.parametrize("network", LABELS)
@pytest.mark.parametrize("form", ["exact", "regularised"])
def test_the_weights_lie_in_the_cones_of_their_patterns(network, form):
    problem = posed(network, 20, 5, noise=0.1)
    solution = solve(problem, form)
    signs = 2 * problem.patterns - 1
    for half in (solution.positive, solution.negative):
        assert (signs * (problem.planted.inputs @ half)).min() > -1e-6
    # So the neurons of the network itself give the same outputs.
    X = problem.planted.inputs
    neurons = np.maximum(X @ solution.positive, 0) - np.maximum(X @ solution.negative, 0)
    total = neurons.sum(axis=1) + (0 if solution.skip is None else X @ solution.skip)
    assert np.allclose(total, output(problem, solution), atol=1e-4)


@pytest.mark.parametrize("network", LABELS)
def test_the_relaxed_program_costs_at_most_the_exact_one(network):
    for seed in range(3):
        problem = posed(network, 12, 5, seed=seed)
        assert solve(problem, "relaxed").objective <= solve(problem, "exact").objective + 1e-7


def test_the_linear_unit_costs_its_norm():
    """Else (Eq. 6 as printed) it would be free, and the optimum of every linear problem 0."""
    solution = solve(posed("skip", 30, 4), "exact")
    assert solution.objective == pytest.approx(1, abs=1e-6)
    assert np.linalg.norm(solution.skip) == pytest.approx(1, abs=1e-6)


def test_without_gates_the_linear_unit_is_the_least_norm_fit():
    planted = plant(4, 9)
    problem = Problem(planted, "skip", np.zeros((4, 1), dtype=bool), (), True)
    expected = np.linalg.pinv(planted.inputs) @ planted.outputs
    assert np.allclose(solve(problem, "relaxed").skip, expected, atol=1e-6)


@pytest.mark.parametrize("network", LABELS)
def test_the_planted_weights_of_an_easy_problem_are_the_solution(network):
    problem = posed(network, 60, 4)
    solution, planted = solve(problem, "exact"), problem.planted
    target = planted.weights[:, 0]
    if network == "normalised":
        target = target / np.linalg.norm(np.maximum(planted.inputs @ target, 0))
    found = solution.skip if network == "skip" else solution.positive[:, problem.support[0]]
    assert np.allclose(found, target, atol=1e-5)


def test_a_regularised_program_tends_to_the_exact_one():
    problem = posed("skip", 24, 6)
    exact = solve(problem, "exact")
    distances = [
        np.linalg.norm(solve(problem, "regularised", beta=beta).skip - exact.skip)
        for beta in (1e-1, 1e-3, 1e-5)
    ]
    assert distances[0] > 10 * distances[1] > 10 * distances[2]


def test_the_loss_has_no_factor_one_half():
    """With only a linear unit: 2 X^T (X w - y) + β w / ||w|| = 0."""
    planted = plant(20, 3)
    problem = Problem(planted, "skip", np.zeros((20, 1), dtype=bool), (), False)
    X, w = planted.inputs, solve(problem, "regularised", beta=0.1).skip
    slope = 2 * X.T @ (X @ w - planted.outputs) + 0.1 * w / np.linalg.norm(w)
    assert np.abs(slope).max() < 1e-6


def test_an_infeasible_program_fails_with_its_status():
    planted = plant(20, 3, labels="relu")
    problem = Problem(planted, "plain", np.zeros((20, 1), dtype=bool), (0,), False)
    with pytest.raises(SolverFailed, match="CLARABEL found the relaxed program infeasible"):
        solve(problem, "relaxed")


def test_a_missing_solver_and_a_wrong_word_are_named():
    problem = posed("skip", 10, 3)
    with pytest.raises(SolverFailed, match="MOSEQ is not installed; cvxpy finds .*CLARABEL"):
        solve(problem, solver="MOSEQ")
    with pytest.raises(ValueError, match="form needs one of exact, relaxed, .* got 'approx'"):
        solve(problem, "approx")
    with pytest.raises(ValueError, match="beta needs a finite number > 0, got 0"):
        solve(problem, "regularised", beta=0.0)


@pytest.mark.parametrize("ridge", [0.0, 0.3])
def test_mixed_rows_are_orthonormal_and_the_same_equation(ridge):
    problem = posed("skip", 9, 2)  # of a rank less than 9 with two patterns
    parts = blocks(replace(problem, patterns=problem.patterns[:, :2]))
    weights = np.random.default_rng(0).standard_normal((2, 3))
    outputs = parts.output(weights)
    whole = np.hstack([parts.block(j) for j in range(3)])
    equation = Equation.of(parts, outputs, ridge)
    rows, count = equation.rows, len(equation.rows)
    assert count == (9 if ridge else np.linalg.matrix_rank(whole))
    assert np.allclose(rows @ rows.T, np.eye(count))
    unknown = np.concatenate([weights.ravel(order="F"), np.zeros(9)])
    assert np.allclose(rows @ unknown, equation.size * equation.right)
    dual = np.random.default_rng(1).standard_normal(9)
    again = equation.mixing @ equation.back(equation.mixing @ dual)
    assert np.allclose(again, equation.mixing @ dual)


def test_outputs_that_no_weights_make_are_told_before_solving():
    problem = posed("skip", 9, 2, noise=0.5)
    parts = blocks(replace(problem, patterns=problem.patterns[:, :2]))
    with pytest.raises(SolverFailed, match="no weights make the outputs"):
        Equation.of(parts, problem.planted.outputs, 0.0)


def test_the_better_of_two_inaccurate_answers_is_returned(monkeypatch):
    """Rows are mixed only where the first answer is not accurate, and the second may be worse."""
    problem, asked = posed("plain", 8, 3), []

    def answer(program, problem, form, beta, solver, mixed):
        asked.append(mixed)
        weights, dual, status = minimise(program, problem, form, beta, solver, mixed)
        return weights, dual * (1 + (1.0 if mixed else 0.1) * np.arange(8)), status

    minimise = programs._minimise
    monkeypatch.setattr(programs, "_minimise", answer)
    found = solve(problem, "relaxed")
    assert asked == [False, True] and not found.accurate
    monkeypatch.setattr(programs, "_minimise", minimise)
    best = solve(problem, "relaxed")
    assert best.accurate and found.gap > 1e-6
    assert found.objective * (1 - found.gap) <= best.objective
