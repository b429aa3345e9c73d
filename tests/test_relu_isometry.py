import numpy as np
import pytest

from llrnb.relu import Problem, isometry, plant, pose, recover
from llrnb.relu.blocks import blocks, orthonormal_factor


def posed(network, samples, dim, neurons=1, seed=0, **options):
    labels = {"skip": "linear", "plain": "relu", "normalised": "normalised"}[network]
    return pose(plant(samples, dim, labels=labels, neurons=neurons, seed=seed, **options), network)


def parts_of(problem):
    """X, the diagonals of D_j, the planted patterns' numbers and weights."""
    planted = problem.planted
    return planted.inputs, problem.patterns.T.astype(float), problem.support, planted.weights


def basis(inputs, pattern):
    """U_j, by an SVD."""
    left, sizes, right = np.linalg.svd(pattern[:, None] * inputs, full_matrices=False)
    return left, sizes[:, None] * right


@pytest.mark.parametrize("seed", range(5))
def test_for_linear_labels_it_is_definition_2(seed):
    problem = posed("skip", 40, 8, seed=seed)
    X, patterns, _, w = parts_of(problem)
    dual = X @ np.linalg.inv(X.T @ X) @ w[:, 0]
    expected = max(np.linalg.norm(X.T @ (D * dual)) for D in patterns)
    result = isometry(problem)
    assert result.value == pytest.approx(expected, rel=1e-9)
    assert result.valid and result.condition == "NIC-L"


@pytest.mark.parametrize("seed", range(5))
def test_for_one_relu_neuron_it_is_definition_3(seed):
    problem = posed("plain", 40, 5, seed=seed)
    X, patterns, (s,), w = parts_of(problem)
    gram = X.T @ (patterns[s][:, None] * X)
    dual = patterns[s] * (X @ np.linalg.inv(gram) @ w[:, 0])
    sizes = [np.linalg.norm(X.T @ (D * dual)) for D in np.delete(patterns, s, axis=0)]
    assert isometry(problem).value == pytest.approx(max(sizes), rel=1e-9)
    assert isometry(problem).condition == "NIC-1"


@pytest.mark.parametrize("seed", range(5))
def test_for_one_normalised_neuron_it_is_definition_4(seed):
    problem = posed("normalised", 30, 6, seed=seed)
    X, patterns, (s,), w = parts_of(problem)
    U, coordinates = basis(X, patterns[s])
    target = coordinates @ w[:, 0] / np.linalg.norm(coordinates @ w[:, 0])
    others = np.delete(patterns, s, axis=0)
    sizes = [np.linalg.norm(basis(X, D)[0].T @ (U @ target)) for D in others]
    assert isometry(problem).value == pytest.approx(max(sizes), rel=1e-9)
    assert isometry(problem).condition == "NNIC-1"


@pytest.mark.parametrize("seed", range(5))
def test_for_several_relu_neurons_it_is_definition_5(seed):
    problem = posed("plain", 60, 5, neurons=3, seed=seed)
    X, patterns, support, w = parts_of(problem)
    planted = np.hstack([patterns[s][:, None] * X for s in support])
    dual = np.linalg.pinv(planted.T) @ w.T.ravel()
    others = np.delete(patterns, support, axis=0)
    expected = max(np.linalg.norm(X.T @ (D * dual)) for D in others)
    assert isometry(problem).value == pytest.approx(expected, rel=1e-8)
    assert isometry(problem).condition == "NIC-k"


@pytest.mark.parametrize("seed", range(5))
def test_for_several_normalised_neurons_it_is_definition_6(seed):
    problem = posed("normalised", 50, 5, neurons=2, seed=seed)
    X, patterns, support, w = parts_of(problem)
    bases, coordinates = zip(*(basis(X, patterns[s]) for s in support), strict=True)
    targets = [c @ v for c, v in zip(coordinates, w.T, strict=True)]
    wanted = np.concatenate([target / np.linalg.norm(target) for target in targets])
    U = np.hstack(bases)
    dual = U @ np.linalg.pinv(U.T @ U) @ wanted
    others = np.delete(patterns, support, axis=0)
    expected = max(np.linalg.norm(basis(X, D)[0].T @ dual) for D in others)
    assert isometry(problem).value == pytest.approx(expected, rel=1e-8)
    assert isometry(problem).condition == "NNIC-k"


def test_for_the_smallest_singular_direction_the_value_crosses_1_near_2_488_d():
    """For a typical pattern value² -> 1/4 + q² / (4 (1 - q)²) with q = sqrt(d / n)."""
    dim, samples = 120, round(2.488 * 120)
    values = []
    for seed in range(4):
        planted = plant(samples, dim, weights="smallest singular", seed=seed)
        patterns = pose(planted, "skip").patterns[:, :50]
        singles = [Problem(planted, "skip", patterns[:, [j]], (), False) for j in range(50)]
        values += [isometry(single).value for single in singles]
    assert np.mean(values) == pytest.approx(1, abs=0.05)


def test_for_a_random_direction_the_value_of_a_typical_pattern_has_a_closed_form():
    """1/2 (1 - d/n)^(-1/2)."""
    planted = plant(400, 100)
    patterns = pose(planted, "skip").patterns
    singles = [Problem(planted, "skip", patterns[:, [j]], (), False) for j in range(30)]
    assert np.mean([isometry(p).value for p in singles]) == pytest.approx(0.577, abs=0.03)


def test_the_all_ones_pattern_gives_exactly_1_and_certifies_nothing():
    problem = next(
        problem for s in range(30) if (problem := posed("skip", 36, 20, seed=s)).all_ones
    )
    result = isometry(problem)
    assert result.value >= 1 and not result.holds
    alone = Problem(problem.planted, "skip", np.ones((36, 1), dtype=bool), (), True)
    assert isometry(alone).value == 1.0


def test_without_a_dual_certificate_the_value_is_not_valid():
    """Two blocks of 20 columns in 30 dimensions: the value may be small, and means nothing."""
    results = [isometry(posed("normalised", 30, 20, neurons=2, seed=s)) for s in range(5)]
    assert not any(result.valid or result.holds for result in results)


@pytest.mark.parametrize(
    ("network", "samples", "dim", "neurons"),
    [("skip", 24, 10, 1), ("plain", 40, 4, 1), ("normalised", 14, 8, 1), ("normalised", 40, 7, 2)],
)
def test_where_the_isometry_holds_the_planted_weights_are_recovered(network, samples, dim, neurons):
    problems = [posed(network, samples, dim, neurons, seed=s) for s in range(12)]
    holding = [problem for problem in problems if isometry(problem).holds]
    assert holding
    for problem in holding[:4]:
        for form in ("relaxed", "exact"):
            assert recover(problem, form, "cvxpy").recovered


@pytest.mark.parametrize("data", ["gaussian", "cubic"])
def test_the_blocks_of_a_normalised_problem_are_orthonormal_bases(data):
    problem = posed("normalised", 22, 7, data=data)
    parts = blocks(problem)
    for j, pattern in enumerate(problem.patterns.T):
        U, full = parts.block(j), basis(problem.planted.inputs, pattern)[0]
        rank = np.linalg.matrix_rank(pattern[:, None] * problem.planted.inputs)
        assert np.allclose(U @ U.T, full[:, :rank] @ full[:, :rank].T, atol=1e-9)


def test_a_factor_of_dependent_rows_spans_their_range():
    rows = np.array([[1.0, 2.0, 3.0], [2.0, 4.0, 6.0], [0.0, 1.0, 0.0], [1.0, 3.0, 3.0]])
    U = rows @ orthonormal_factor(rows)
    assert np.allclose(U @ (U.T @ rows), rows) and np.trace(U.T @ U) == pytest.approx(2)


@pytest.mark.parametrize("network", ["skip", "plain", "normalised"])
def test_the_map_of_the_blocks_and_its_transpose_are_the_matrix(network):
    parts = blocks(posed(network, 12, 4))
    count = parts.masks.shape[1]
    dense = np.hstack([parts.block(j) for j in range(count)])
    rng = np.random.default_rng(0)
    weights, dual = rng.standard_normal((4, count)), rng.standard_normal(12)
    assert np.allclose(parts.output(weights), dense @ weights.T.ravel())
    assert np.allclose(parts.correlate(dual).T.ravel(), dense.T @ dual)
    assert np.allclose(parts.gram(), dense @ dense.T)
    assert np.allclose(parts.output(parts.planted()), posed(network, 12, 4).planted.outputs)
