import numpy as np
import pytest

from llrnb.relu import Planted, data_matrix, plant, planted_weights

KINDS = ["gaussian", "cubic", "whitened", "cubic whitened"]


def stream(seed=0):
    return np.random.default_rng(seed)


def test_gaussian_data_have_variance_one_over_n():
    entries = data_matrix(400, 50, "gaussian", stream())
    assert np.mean(entries**2) * 400 == pytest.approx(1, abs=0.05)


def test_cubic_data_are_the_cubes_of_the_gaussian_ones():
    gaussian = data_matrix(7, 4, "gaussian", stream(3))
    assert np.allclose(np.cbrt(data_matrix(7, 4, "cubic", stream(3))), gaussian)


@pytest.mark.parametrize("kind", ["whitened", "cubic whitened"])
def test_whitened_data_have_orthonormal_columns_or_rows(kind):
    tall, wide = data_matrix(9, 4, kind, stream()), data_matrix(4, 9, kind, stream())
    assert np.allclose(tall.T @ tall, np.eye(4)) and np.allclose(wide @ wide.T, np.eye(4))


def test_cubic_whitened_data_span_what_the_cubic_ones_span():
    cubic, white = (data_matrix(9, 4, kind, stream(1)) for kind in ("cubic", "cubic whitened"))
    assert np.allclose(white @ (white.T @ cubic), cubic)
    assert not np.allclose(white, data_matrix(9, 4, "whitened", stream(1)))


@pytest.mark.parametrize("kind", ["random", "smallest singular", "axes", "opposite"])
def test_planted_weights_are_unit_vectors(kind):
    weights = planted_weights(data_matrix(8, 5, "gaussian", stream()), 2, kind, stream())
    assert np.allclose(np.linalg.norm(weights, axis=0), 1) and weights.shape == (5, 2)


def test_the_smallest_singular_direction_minimises_the_output():
    inputs = data_matrix(20, 6, "gaussian", stream())
    weights = planted_weights(inputs, 1, "smallest singular", stream())
    others = planted_weights(inputs, 100, "random", stream(1))
    assert np.linalg.norm(inputs @ weights) < np.linalg.norm(inputs @ others, axis=0).min()
    smallest = np.linalg.eigvalsh(inputs.T @ inputs)[0]
    assert np.sum((inputs @ weights) ** 2) == pytest.approx(smallest)


def test_the_smallest_singular_direction_of_few_samples_lies_in_their_row_space():
    inputs = data_matrix(4, 10, "gaussian", stream())
    weights = planted_weights(inputs, 1, "smallest singular", stream())
    assert np.allclose(np.linalg.pinv(inputs) @ (inputs @ weights), weights)


def test_opposite_weights_make_every_sample_active_in_one_neuron():
    planted = plant(12, 4, labels="relu", neurons=2, weights="opposite")
    assert np.allclose(planted.outputs, np.abs(planted.inputs @ planted.weights[:, 0]))


@pytest.mark.parametrize("data", KINDS)
def test_outputs_follow_from_the_weights(data):
    linear = plant(9, 3, neurons=2, data=data)
    relu = plant(9, 3, neurons=2, data=data, labels="relu")
    seen = linear.inputs @ linear.weights
    assert np.array_equal(linear.inputs, relu.inputs)
    assert np.allclose(linear.outputs, seen.sum(axis=1))
    assert np.allclose(relu.outputs, np.where(seen > 0, seen, 0).sum(axis=1))
    normalised = plant(9, 3, neurons=2, data=data, labels="normalised")
    active = np.maximum(normalised.inputs @ normalised.weights, 0)
    assert np.allclose(normalised.outputs, (active / np.linalg.norm(active, axis=0)).sum(axis=1))


def test_fresh_inputs_get_outputs_without_noise():
    planted = plant(30, 4, labels="relu", noise=0.3)
    fresh = data_matrix(11, 4, "gaussian", stream(5))
    assert np.allclose(planted(fresh), np.maximum(fresh @ planted.weights[:, 0], 0))
    assert not np.allclose(planted(planted.inputs), planted.outputs)


def test_noise_has_about_the_length_sigma():
    planted = plant(4000, 2, noise=0.2)
    noise = planted.outputs - planted(planted.inputs)
    assert np.linalg.norm(noise) == pytest.approx(0.2, rel=0.05)


def test_noise_changes_neither_the_data_nor_the_weights():
    clean, noisy = plant(10, 3), plant(10, 3, noise=0.1)
    assert np.array_equal(clean.inputs, noisy.inputs)
    assert np.array_equal(clean.weights, noisy.weights)


def test_an_instance_is_keyed_by_its_size_and_seed():
    assert np.array_equal(plant(10, 3, seed=4).inputs, plant(10, 3, seed=4).inputs)
    assert not np.array_equal(plant(10, 3, seed=4).inputs, plant(10, 3, seed=5).inputs)
    assert not np.allclose(plant(10, 3).inputs[0, 0], plant(11, 3).inputs[0, 0] * np.sqrt(1.1))


def test_a_normalised_neuron_is_drawn_until_it_is_active():
    drawn = [plant(1, 2, labels="normalised", neurons=2, seed=seed) for seed in range(20)]
    assert all((planted.inputs @ planted.weights > 0).all() for planted in drawn)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": "quadratic"}, "labels needs one of linear, relu, normalised, got 'quadratic'"),
        ({"data": "uniform"}, "kind of data needs one of gaussian, .*, got 'uniform'"),
        ({"weights": "largest"}, "kind of weights needs one of random, .*, got 'largest'"),
        ({"neurons": 4, "weights": "axes"}, "axes weights need 1 to 3 neurons here, got 4"),
        ({"neurons": 3, "weights": "opposite"}, "opposite weights need 2 neurons here, got 3"),
        ({"neurons": 0}, "neurons needs an integer of at least 1, got 0"),
        ({"noise": -1.0}, "noise needs a finite number >= 0, got -1.0"),
    ],
)
def test_misuse_says_what_was_needed_and_what_came(options, message):
    with pytest.raises(ValueError, match=message):
        plant(6, 3, **options)


def test_data_need_samples_and_finite_numbers_that_differ():
    with pytest.raises(ValueError, match="samples needs an integer of at least 1, got 0"):
        data_matrix(0, 3, "gaussian", stream())
    with pytest.raises(ValueError, match="inputs needs finite numbers, got 6 NaN"):
        Planted(np.full((3, 2), np.nan), np.ones((2, 1)), np.ones(3))
    with pytest.raises(ValueError, match="more than one value, got only 1.0"):
        Planted(np.ones((3, 2)), np.ones((2, 1)), np.ones(3))
