import numpy as np
import pytest

from llrnb.relu import Problem, plant, pose, recover, verdict
from llrnb.relu.admm import exact_splitting, relaxed_splitting
from llrnb.relu.blocks import blocks
from llrnb.relu.cones import Cones
from llrnb.relu.programs import solve

# Around the transition of each kind: network, form, weights, neurons, samples per input.
NEAR = {
    "skip relaxed, random": ("skip", "relaxed", "random", 1, (1.7, 2.4)),
    "skip relaxed, smallest singular": ("skip", "relaxed", "smallest singular", 1, (2.2, 2.9)),
    "skip exact, random": ("skip", "exact", "random", 1, (0.9, 1.7)),
    "skip exact, smallest singular": ("skip", "exact", "smallest singular", 1, (1.3, 2.5)),
    "normalised relaxed, one": ("normalised", "relaxed", "random", 1, (1.0, 1.4)),
    "normalised relaxed, two": ("normalised", "relaxed", "random", 2, (3.0, 5.0)),
    "normalised exact, one": ("normalised", "exact", "random", 1, (1.0, 1.5)),
    "normalised exact, two": ("normalised", "exact", "random", 2, (2.4, 4.4)),
    "plain relaxed": ("plain", "relaxed", "random", 1, (2.0, 8.0)),
    "plain exact": ("plain", "exact", "random", 1, (1.5, 4.0)),
}
LABELS = {"skip": "linear", "plain": "relu", "normalised": "normalised"}


def instances(network, weights, neurons, span, count):
    for seed in range(count):
        rng = np.random.default_rng(seed)
        dim = int(rng.integers(3, {"skip": 15, "plain": 9, "normalised": 8}[network]))
        samples = min(40, int(np.ceil(dim * rng.uniform(*span))))
        labels = LABELS[network]
        planted = plant(samples, dim, labels=labels, neurons=neurons, weights=weights, seed=seed)
        yield pose(planted, network)


def posed(network, samples, dim, **options):
    return pose(plant(samples, dim, labels=LABELS[network], **options), network)


def by_solution(problem, form):
    """The verdict of a convex solver's solution, every entry compared; without any proof."""
    solution, parts = solve(problem, form), blocks(problem)
    halves = [solution.positive, solution.negative]
    if solution.skip is not None:
        unit = solution.skip[:, None]
        halves = [np.hstack([unit, halves[0]]), np.hstack([0 * unit, halves[1]])]
    positive, negative = (parts.from_inputs(half) for half in halves)
    off = max(np.abs(positive - parts.planted()).max(), np.abs(negative).max())
    return "recovered" if off <= 1e-4 else "not recovered"


@pytest.mark.parametrize("kind", NEAR)
def test_the_fast_route_agrees_with_the_convex_solver(kind):
    network, form, weights, neurons, span = NEAR[kind]
    undecided, outcomes = 0, set()
    for problem in instances(network, weights, neurons, span, 20):
        fast = recover(problem, form, "fast")
        undecided += fast.outcome == "undecided"
        if fast.outcome != "undecided":
            assert fast.outcome == by_solution(problem, form)
            outcomes.add(fast.outcome)
    assert undecided <= 1
    assert outcomes == {"recovered", "not recovered"}


@pytest.mark.parametrize("kind", NEAR)
def test_a_solvers_answer_becomes_a_proof_of_the_same(kind):
    network, form, weights, neurons, span = NEAR[kind]
    for problem in instances(network, weights, neurons, span, 6):
        proved = recover(problem, form, "cvxpy")
        assert proved.outcome == by_solution(problem, form)
        if proved.recovered:
            assert str(proved.reason) == "dual certificate"


@pytest.mark.parametrize("network", LABELS)
def test_what_the_relaxed_program_recovers_the_exact_one_does(network):
    for problem in instances(network, "random", 1, (1.5, 6.0), 15):
        if recover(problem, "relaxed").recovered:
            assert recover(problem, "exact").recovered


def test_a_gate_that_is_always_open_spoils_the_relaxed_program_only():
    problem = next(
        problem for s in range(30) if (problem := posed("skip", 36, 20, seed=s)).all_ones
    )
    relaxed = recover(problem, "relaxed")
    assert (relaxed.outcome, str(relaxed.reason)) == ("not recovered", "all-ones pattern")
    assert not recover(problem, "relaxed", "cvxpy").recovered
    assert recover(problem, "exact").recovered
    assert recover(problem, "exact", "cvxpy").recovered


def test_weights_that_keep_every_sample_active_are_not_recovered_by_an_open_gate():
    """The gate carries them as well as the linear unit does, in the exact program too."""
    inputs = np.abs(np.random.default_rng(0).standard_normal((12, 3))) / 4
    drawn = plant(12, 3, weights="axes")
    planted = type(drawn)(inputs, drawn.weights, inputs[:, 0].copy())
    verdict = recover(pose(planted, "skip"), "exact", "fast")
    assert (verdict.outcome, str(verdict.reason)) == ("not recovered", "all-ones pattern")


def test_few_samples_recover_only_a_direction_of_their_row_space():
    inside = posed("skip", 10, 30, weights="smallest singular", seed=1)
    outside = posed("skip", 10, 30, weights="random")
    for method in ("fast", "cvxpy"):
        assert recover(inside, "exact", method).recovered
        assert not recover(outside, "exact", method).recovered
        assert not recover(inside, "relaxed", method).recovered
    assert str(recover(outside, "exact").reason) == "too few samples"


def test_a_certified_verdict_has_the_planted_weights_as_its_solution():
    problem = posed("normalised", 30, 6)
    verdict, solved = recover(problem, "relaxed", "fast"), recover(problem, "relaxed", "cvxpy")
    target = problem.planted.weights[:, 0]
    target = target / np.linalg.norm(np.maximum(problem.planted.inputs @ target, 0))
    assert np.allclose(verdict.weights[:, problem.support[0]], target)
    assert np.allclose(verdict.weights, solved.weights, atol=1e-4)
    assert verdict.iterations == 0


def test_iterations_come_back_to_the_planted_weights_without_their_certificate():
    problem = posed("skip", 30, 5)
    parts, outputs = blocks(problem), problem.planted.outputs
    for run in (
        relaxed_splitting(parts, outputs, limit=4000),
        exact_splitting(Cones(parts, True), outputs, limit=4000),
    ):
        assert run.end == "converged"
        assert np.allclose(run.weights, parts.planted(), atol=1e-5)


def test_the_cap_on_iterations_leaves_a_problem_to_the_solver(monkeypatch):
    monkeypatch.setitem(verdict.LIMIT, "relaxed", 10)
    monkeypatch.setitem(verdict.FIRST, "relaxed", 10)
    problem = next(
        problem
        for problem in instances("normalised", "random", 2, (4.0, 4.0), 20)
        if recover(problem, "relaxed", "fast").outcome == "undecided"
    )
    assert str(recover(problem, "relaxed", "fast").reason) == "no proof"
    assert recover(problem, "relaxed", "auto").outcome == by_solution(problem, "relaxed")


def test_every_group_counts_not_only_the_planted_ones():
    """A pattern twice: the solver may split the weights, and then nothing is recovered."""
    problem = posed("normalised", 20, 4)
    twice = np.hstack([problem.patterns, problem.patterns[:, [problem.support[0]]]])
    doubled = Problem(problem.planted, "normalised", twice, problem.support, False)
    assert recover(problem, "relaxed").recovered
    for method in ("fast", "cvxpy"):
        assert not recover(doubled, "relaxed", method).recovered


@pytest.mark.parametrize("form", ["relaxed", "exact"])
def test_a_neuron_that_another_pattern_carries_as_well_is_not_recovered(form):
    """Hardly more samples than inputs: some U_j of few active samples has the outputs in range."""
    problem = posed("normalised", 12, 9, seed=24167)
    fast, solved = recover(problem, form, "fast"), recover(problem, form, "cvxpy")
    assert (fast.outcome, str(fast.reason)) == ("not recovered", "tie")
    assert not solved.recovered


def test_a_wrong_word_is_named():
    problem = posed("skip", 10, 3)
    with pytest.raises(ValueError, match="form needs one of relaxed, exact, got 'approx'"):
        recover(problem, "approx")
    with pytest.raises(ValueError, match="method needs one of auto, cvxpy, fast, got 'slow'"):
        recover(problem, method="slow")
