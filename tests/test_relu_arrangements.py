from itertools import product

import numpy as np
import pytest
from scipy.optimize import linprog

from llrnb.relu import (
    Planted,
    cover_probability,
    data_matrix,
    has_all_ones,
    isometry,
    plant,
    pose,
    recover,
    sample_patterns,
)
from tools.search.relu import by_rays


def stream(seed=0):
    return np.random.default_rng(seed)


def cone_is_open(inputs, signs):
    """Whether some u has signs * (X u) >= 1."""
    sides = -signs[:, None] * inputs
    free = np.zeros(inputs.shape[1])
    return linprog(free, A_ub=sides, b_ub=-np.ones(len(sides)), bounds=(None, None)).status == 0


def by_linear_program(inputs):
    """max 1'Xu subject to 0 <= X u <= 1 has a positive optimum, in floating-point numbers."""
    one = np.ones(len(inputs))
    scaled = inputs / np.abs(inputs).max()
    sides = np.vstack([scaled, -scaled])
    bounds = np.concatenate([one, 0 * one])
    return linprog(-scaled.sum(axis=0), A_ub=sides, b_ub=bounds, bounds=(None, None)).fun < -0.5


@pytest.mark.parametrize(("samples", "dim"), [(3, 2), (6, 2), (5, 3), (4, 4), (3, 5)])
def test_covers_count_is_the_number_of_patterns(samples, dim):
    """Cover: 2 sum_{i < d} C(n - 1, i) of the 2^n sign patterns occur."""
    inputs = data_matrix(samples, dim, "gaussian", stream(1))
    every = np.array(list(product([-1.0, 1.0], repeat=samples)))
    opened = sum(cone_is_open(inputs, signs) for signs in every)
    assert opened == cover_probability(samples, dim) * 2**samples
    assert sample_patterns(inputs, 20_000, stream())[0].shape[1] == opened


def test_covers_probability_is_how_often_samples_lie_in_a_half_space():
    hits = [has_all_ones(data_matrix(9, 4, "gaussian", stream(s))) for s in range(1500)]
    expected = cover_probability(9, 4)
    assert abs(np.mean(hits) - expected) < 4 * np.sqrt(expected * (1 - expected) / 1500)


@pytest.mark.parametrize("dim", [1, 4, 10, 100])
def test_covers_probability_is_one_half_at_twice_the_dimension(dim):
    assert cover_probability(2 * dim, dim) == 0.5
    assert cover_probability(dim, dim) == 1.0


@pytest.mark.parametrize("kind", ["gaussian", "cubic", "whitened", "cubic whitened"])
def test_the_hull_and_the_linear_program_agree_on_half_spaces(kind):
    for seed in range(40):
        dim = 2 + seed % 12
        inputs = data_matrix(2 * dim + seed % 3 - 1, dim, kind, stream(seed))
        assert has_all_ones(inputs) == by_linear_program(inputs)


def test_samples_in_special_position_are_decided_too():
    zero_row = np.array([[1.0, 0.0], [0.0, 0.0], [0.5, 1.0]])
    assert has_all_ones(zero_row)  # a sample at 0 is active in every pattern
    opposite = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]])
    assert has_all_ones(opposite)  # u = e_2 has X u = (0, 0, 1)
    assert not has_all_ones(np.vstack([np.eye(2), -np.eye(2)]))
    assert not has_all_ones(np.zeros((3, 2)))


def test_small_whole_numbers_in_special_position_are_decided_exactly():
    """By the extreme rays of the cone X u >= 0, in rational arithmetic."""
    rng = stream(0)
    for _ in range(120):
        whole = rng.integers(-2, 3, (int(rng.integers(1, 8)), int(rng.integers(1, 4))))
        assert has_all_ones(whole.astype(float)) == by_rays(whole)


def test_the_last_bit_decides():
    """u = (1, 0) has X u = (1, 0, 0), and a bit more on either side none or all."""
    corner = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    assert has_all_ones(corner)
    tilted = np.vstack([corner, [[-5e-324, 1.0]]])
    assert not has_all_ones(tilted)
    assert has_all_ones(np.vstack([corner, [[5e-324, 1.0]]]))
    third = 1 / 3  # of which three are not 1
    line = np.array([[1.0, third], [-3 * third, -third], [0.0, 1.0]])
    assert has_all_ones(line) and not has_all_ones(np.vstack([line, [[0.0, -1.0], [-1.0, 0.0]]]))


def test_half_spaces_do_not_depend_on_units():
    for seed in range(30):
        inputs = data_matrix(8, 4, "gaussian", stream(seed))
        units = 2.0 ** stream(seed).integers(-200, 200, 4)
        assert has_all_ones(inputs * units) == has_all_ones(inputs) == by_linear_program(inputs)


def test_a_half_space_of_nan_is_refused():
    with pytest.raises(ValueError, match="inputs needs finite numbers, got 1 NaN"):
        has_all_ones(np.array([[np.nan, 1.0]]))


def test_fewer_samples_than_inputs_always_lie_in_a_half_space():
    assert all(has_all_ones(data_matrix(5, 5 + s % 3, "cubic", stream(s))) for s in range(10))


def test_patterns_are_distinct_and_include_the_planted_ones():
    inputs = data_matrix(8, 3, "gaussian", stream())
    weights = stream(1).standard_normal((3, 4))
    patterns, index = sample_patterns(inputs, 200, stream(2), include=weights)
    assert np.array_equal(patterns[:, index], inputs @ weights >= 0)
    assert len({tuple(column) for column in patterns.T}) == patterns.shape[1]
    assert patterns.shape[1] <= 2 * sum([1, 7, 21])


def test_equal_directions_share_one_pattern():
    inputs = data_matrix(8, 3, "gaussian", stream())
    patterns, index = sample_patterns(inputs, 0, stream(), include=np.ones((3, 2)))
    assert patterns.shape[1] == 1 and index.tolist() == [0, 0]


def test_a_problem_has_the_all_ones_pattern_once_if_it_exists():
    for seed in range(30):
        problem = pose(plant(10, 5, seed=seed), "skip", patterns=5 + 10 * seed)
        assert problem.patterns.all(axis=0).sum() == problem.all_ones
        assert problem.all_ones == has_all_ones(problem.planted.inputs)


def test_a_problem_draws_as_many_directions_as_samples_but_at_least_50():
    assert pose(plant(300, 20), "skip").patterns.shape[1] == 300
    assert 40 < pose(plant(20, 10), "skip").patterns.shape[1] <= 51


@pytest.mark.parametrize("network", ["plain", "normalised"])
def test_the_support_is_where_the_planted_patterns_are(network):
    labels = {"plain": "relu", "normalised": "normalised"}[network]
    problem = pose(plant(20, 4, labels=labels, neurons=3), network)
    active = problem.planted.inputs @ problem.planted.weights >= 0
    assert np.array_equal(problem.patterns[:, list(problem.support)], active)
    assert pose(plant(20, 4), "skip").support == ()


def test_planted_neurons_with_one_pattern_are_not_recovered():
    weights = np.array([[1.0, 1.0], [0.0, 1e-9]])
    inputs = data_matrix(12, 2, "gaussian", stream())
    outputs = np.maximum(inputs @ weights, 0).sum(axis=1)
    problem = pose(Planted(inputs, weights, outputs, "relu"), "plain")
    assert problem.shared and problem.support == (0, 0)
    for method in ("fast", "cvxpy"):
        verdict = recover(problem, "exact", method)
        assert (verdict.outcome, str(verdict.reason)) == ("not recovered", "shared pattern")
    assert isometry(problem).condition == "NIC-k"


def test_a_problem_says_which_data_it_needs():
    with pytest.raises(ValueError, match="skip network needs linear labels, got relu ones"):
        pose(plant(6, 2, labels="relu"), "skip")
    with pytest.raises(ValueError, match="on 6 inputs needs 6 samples, got 5"):
        pose(plant(5, 6, labels="normalised"), "normalised")
    with pytest.raises(ValueError, match="network needs one of plain, skip, normalised, got 'deep"):
        pose(plant(6, 2), "deep")
    with pytest.raises(ValueError, match="patterns needs an integer of at least 0, got -1"):
        pose(plant(6, 2), "skip", patterns=-1)


def test_what_is_not_there_cannot_be_posed():
    inputs = data_matrix(8, 2, "gaussian", stream())
    for labels, network in [("relu", "plain"), ("normalised", "normalised"), ("linear", "skip")]:
        nothing = Planted(inputs, np.zeros((2, 1)), np.zeros(8), labels)
        with pytest.raises(ValueError, match="needs weights that are not 0"):
            pose(nothing, network)
    opposite = np.array([[1.0, -1.0], [0.5, -0.5]])
    with pytest.raises(ValueError, match="planted linear model needs weights that are not 0"):
        pose(Planted(inputs, opposite, np.zeros(8)), "skip")
    dead = Planted(np.abs(inputs), np.array([[1.0, -1.0]] * 2), inputs[:, 0], "normalised")
    with pytest.raises(ValueError, match="number 1 has none"):
        pose(dead, "normalised")


def test_more_neurons_than_cones_are_refused():
    planted = plant(2, 1, labels="relu", neurons=3)
    with pytest.raises(ValueError, match="have at most 2 patterns.*got 3 neurons"):
        pose(planted, "plain")
