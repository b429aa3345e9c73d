"""The bounds hold for every multiplier and feasible point, and those of solutions are tight."""

from dataclasses import replace

import cvxpy as cp
import numpy as np
import pytest

from llrnb.relu import Planted, Problem, duality, plant, pose
from llrnb.relu.duality import cost, dual_bound, in_units, output, slope_in_cone, steepest
from llrnb.relu.programs import SolverFailed, solve

LABELS = {"skip": "linear", "plain": "relu", "normalised": "normalised"}
FORMS = ("relaxed", "exact", "regularised")


def by_hand(outputs):
    """Two samples, the unit vectors, and all three patterns with an active sample."""
    planted = Planted(np.eye(2), np.eye(2), np.array(outputs), "relu")
    patterns = np.array([[1, 0, 1], [0, 1, 1]], dtype=bool)
    return Problem(planted, "plain", patterns, (0, 1), True)


def feasible(network, samples, dim, seed):
    """A problem, and weights in its cones that make its outputs."""
    rng = np.random.default_rng(seed)
    inputs = rng.standard_normal((samples, dim))
    directions = rng.standard_normal((dim, 12))
    patterns = np.unique(inputs @ directions >= 0, axis=1)
    halves = []
    for _ in range(2):
        half = np.zeros((dim, patterns.shape[1]))
        for g in rng.standard_normal((dim, 300)).T:
            same = (patterns == (inputs @ g >= 0)[:, None]).all(axis=0)
            half[:, same] += rng.exponential() * g[:, None]
        halves.append(half * (rng.random(patterns.shape[1]) < 0.4))
    unit = rng.standard_normal(dim) if network == "skip" else None
    weights = (unit, *halves)
    planted = Planted(inputs, directions[:, :1], np.zeros(samples), LABELS[network])
    support = () if network == "skip" else (0,)
    problem = Problem(planted, network, patterns, support, False)
    planted = replace(planted, outputs=output(problem, weights))
    return replace(problem, planted=planted), weights


def test_a_relaxed_program_by_hand():
    """The pattern of both samples makes y = (3, 4) with w = y, at the cost 5."""
    found = solve(by_hand([3.0, 4.0]), "relaxed")
    assert found.objective == pytest.approx(5)
    assert np.allclose(found.dual, [0.6, 0.8], atol=1e-6)
    assert found.accurate and found.dual @ [3, 4] <= 5


def test_an_exact_program_by_hand():
    """No neuron makes 3 and -4 at once within its cone: two of them cost 3 + 4, not 5."""
    problem, dual = by_hand([3.0, -4.0]), np.array([1.0, -1.0])
    assert solve(problem, "relaxed").objective == pytest.approx(5)
    assert solve(problem, "exact").objective == pytest.approx(7)
    assert steepest(problem, "relaxed", dual) == pytest.approx(2**0.5)
    assert steepest(problem, "exact", dual) == pytest.approx(1)
    assert dual_bound(problem, "exact", 5 * dual)[1] == pytest.approx(7)


def test_a_regularised_program_by_hand():
    """One group w with ||w - (3, 4)||² + 2 ||w|| shrinks by 1: to 4/5 of (3, 4), at 1 + 8."""
    found = solve(by_hand([3.0, 4.0]), "regularised", beta=2.0)
    assert found.objective == pytest.approx(9)
    assert np.allclose(found.positive.sum(axis=1), [2.4, 3.2], atol=1e-5)
    assert np.allclose(found.dual, [0.6, 0.8], atol=1e-6)


@pytest.mark.parametrize("network", LABELS)
def test_no_feasible_point_costs_less_than_any_bound(network):
    rng = np.random.default_rng(1)
    for seed in range(4):
        problem, weights = feasible(network, 7, 3, seed)
        least = cost(problem, weights)
        for _ in range(20):
            dual = rng.standard_normal(7)
            relaxed, exact = (dual_bound(problem, form, dual)[1] for form in ("relaxed", "exact"))
            assert relaxed <= exact * (1 + 1e-9) + 1e-12
            assert exact <= least * (1 + 1e-9)
            beta = 10 ** rng.uniform(-3, 2)
            noisy = problem.planted.outputs + rng.standard_normal(7)
            other = replace(problem, planted=replace(problem.planted, outputs=noisy))
            loss = np.sum((noisy - output(problem, weights)) ** 2)
            bound = dual_bound(other, "regularised", dual, beta)[1]
            assert bound <= (loss + beta * least) * (1 + 1e-9)


@pytest.mark.parametrize("network", LABELS)
def test_the_steepest_slope_is_the_maximum_over_the_cones(network):
    """By another program: max λ^T A_j w over the weights of one cone that cost 1."""
    problem, _ = feasible(network, 6, 3, 5)
    X, dual = problem.planted.inputs, np.random.default_rng(2).standard_normal(6)
    slopes = [np.linalg.norm(X.T @ dual)] if network == "skip" else []
    for pattern in problem.patterns.T.astype(float):
        for sign in (1, -1):
            w = cp.Variable(3)
            size = cp.norm(cp.multiply(pattern, X @ w)) if network == "normalised" else cp.norm(w)
            cone = cp.multiply(2 * pattern - 1, X @ w) >= 0
            most = cp.Problem(cp.Maximize((sign * pattern * dual) @ X @ w), [cone, size <= 1])
            slopes.append(most.solve(solver="CLARABEL"))
    assert steepest(problem, "exact", dual) == pytest.approx(max(slopes), rel=1e-6)


def test_the_slope_in_a_cone_is_that_of_the_nearest_direction():
    free = np.zeros(2, dtype=bool)
    rng = np.random.default_rng(3)
    angles = np.linspace(0, 2 * np.pi, 20_001)
    circle = np.array([np.cos(angles), np.sin(angles)])
    for _ in range(20):
        sides, slope = rng.standard_normal((2, 2)), rng.standard_normal(2)
        inside = (sides @ circle >= 0).all(axis=0)
        expected = max(0.0, (slope @ circle[:, inside]).max())
        assert slope_in_cone(slope, sides, free) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("network", LABELS)
@pytest.mark.parametrize("form", FORMS)
def test_a_solution_is_accurate_and_its_dual_proves_it(network, form):
    problem = pose(plant(12, 4, labels=LABELS[network], noise=0.1, seed=2), network, patterns=15)
    found = solve(problem, form, beta=0.1)
    assert found.accurate and found.gap < 1e-8
    assert steepest(problem, form, found.dual) <= 1 + 1e-9
    bound = found.dual @ problem.planted.outputs
    if form == "regularised":
        bound = 0.1 * (bound - 0.1 / 4 * found.dual @ found.dual)
    assert (found.objective - bound) / found.objective == pytest.approx(found.gap, abs=1e-12)


@pytest.mark.parametrize("network", LABELS)
@pytest.mark.parametrize("form", FORMS)
def test_units_scale_a_solution(network, form):
    problem = pose(plant(10, 3, labels=LABELS[network], noise=0.1, seed=4), network, patterns=10)
    planted, here, there = problem.planted, 1e-12, 1e9
    other = replace(planted, inputs=here * planted.inputs, outputs=there * planted.outputs)
    price = there if network == "normalised" else there / here
    one = solve(problem, form, beta=0.1)
    two = solve(replace(problem, planted=other), form, beta=0.1 * there**2 / price)
    value = there**2 if form == "regularised" else price
    assert two.accurate
    assert two.objective == pytest.approx(value * one.objective, rel=1e-7)
    assert np.allclose(two.dual * there / price, one.dual, atol=1e-4)
    made, again = (
        output(p, (s.skip, s.positive, s.negative)) for p, s in ((problem, one), (problem, two))
    )
    assert np.allclose(again * here / there, made, atol=1e-6)


def test_columns_over_seven_decades():
    """The planted weights cost 1, and nothing that fits costs less."""
    rng = np.random.default_rng(0)
    inputs = rng.standard_normal((30, 5)) * 10.0 ** np.array([3.5, -3.5, 0, 1.5, -1.5])
    weights = np.eye(5, 1)
    planted = Planted(inputs, weights, (inputs @ weights)[:, 0], "linear")
    problem = pose(planted, "skip", patterns=20)
    for form in ("relaxed", "exact"):
        found = solve(problem, form)
        assert found.accurate and found.objective == pytest.approx(1, rel=1e-6)
        assert np.allclose(found.skip, weights[:, 0], atol=1e-5)


def test_inputs_of_a_normalised_network_have_units_of_their_own():
    planted = plant(20, 3, labels="normalised", seed=1)
    sizes = np.array([1e-4, 1.0, 1e5])
    other = Planted(
        planted.inputs * sizes, planted.weights / sizes[:, None], planted.outputs, "normalised"
    )
    one, two = (pose(p, "normalised", patterns=10, seed=3) for p in (planted, other))
    two = replace(two, patterns=one.patterns, support=one.support)
    for form in FORMS:
        a, b = solve(one, form), solve(two, form)
        assert b.accurate and b.objective == pytest.approx(a.objective, rel=1e-7)


def test_nothing_rounds_when_units_change():
    problem = pose(plant(9, 4, seed=5), "skip")
    scaled, units = in_units(problem)
    assert np.array_equal(scaled.planted.inputs * units.inputs, problem.planted.inputs)
    assert np.array_equal(scaled.planted.outputs * units.outputs, problem.planted.outputs)


@pytest.mark.parametrize("form", FORMS)
def test_outputs_of_zero_need_no_weights(form):
    planted = replace(plant(8, 3, labels="relu"), outputs=np.zeros(8))
    found = solve(pose(planted, "plain"), form)
    assert found.objective == found.gap == found.violation == 0
    assert not found.positive.any() and not found.negative.any()


def test_a_large_beta_leaves_no_weights():
    problem = pose(plant(8, 3, labels="relu"), "plain")
    found = solve(problem, "regularised", beta=1e12)
    assert found.objective == pytest.approx(np.sum(problem.planted.outputs**2))
    assert not found.positive.any() and abs(found.gap) < 1e-12


def test_a_solvers_name_is_no_matter_of_case():
    problem = pose(plant(10, 3), "skip")
    assert np.array_equal(solve(problem, solver="clarabel").skip, solve(problem).skip)
    with pytest.raises(SolverFailed, match="MOSEQ is not installed"):
        solve(problem, solver="moseq")


def test_an_answer_that_stopped_early_says_so(monkeypatch):
    problem = pose(plant(14, 5, labels="relu", seed=1), "plain")
    best = solve(problem).objective
    coarse = {"eps_abs": 1e-2, "eps_rel": 1e-2}
    monkeypatch.setattr("llrnb.relu.programs.PRECISE", {"SCS": coarse})
    found = solve(problem, solver="scs")
    assert not found.accurate
    assert found.violation > 1e-6 or found.objective * (1 - found.gap) <= best * (1 + 1e-9)


def test_a_beta_below_double_precision_is_not_called_accurate():
    """The loss of the exact weights is rounding, and larger than β times their cost."""
    found = solve(pose(plant(10, 3, labels="relu"), "plain"), "regularised", beta=1e-33)
    assert not found.accurate and found.gap > 1e-6


def test_a_beta_that_is_no_number_is_refused():
    for beta in (float("nan"), float("inf"), -1.0):
        with pytest.raises(ValueError, match="beta needs a finite number > 0"):
            solve(pose(plant(10, 3), "skip"), "regularised", beta=beta)


def test_a_direction_without_cost_leaves_its_cone_as_it_is():
    """|w_2| <= w_1 with a free w_2: no weights of the cone have w_1 < 0."""
    sides, free = np.array([[1.0, 1.0], [1.0, -1.0]]), np.array([False, True])
    assert slope_in_cone(np.array([-1.0, 0.0]), sides, free) == pytest.approx(0, abs=1e-7)
    assert slope_in_cone(np.array([1.0, 0.0]), sides, free) == pytest.approx(1)
    sides = sides[:1]  # w_2 >= -w_1 keeps no w_1 out
    assert slope_in_cone(np.array([-1.0, 0.0]), sides, free) == pytest.approx(1)


def test_pressure_on_a_direction_without_cost_proves_nothing(monkeypatch):
    """Least squares that stop early: w_2 >= -w_1 with a free w_2 keeps no w_1 out."""
    sides, free = np.array([[1.0, 1.0]]), np.array([False, True])
    monkeypatch.setattr(duality, "nnls", lambda *_: (np.array([2**0.5]), 0.0))
    assert slope_in_cone(np.array([-1.0, 0.0]), sides, free) == pytest.approx(1)


def test_patterns_of_few_samples_have_accurate_solutions():
    problem = pose(plant(12, 8, labels="normalised", noise=0.1, seed=1), "normalised", patterns=15)
    assert (problem.patterns.sum(axis=0) < 8).any()
    assert solve(problem, "exact").accurate and solve(problem, "regularised").accurate
