import numpy as np
import pytest

from llrnb.relu import Mixture, separation, unit_means


@pytest.mark.parametrize("precision", [2.0, 3.5, 5.0])
@pytest.mark.parametrize("fixed_means", [False, True])
def test_the_simulation_agrees_with_the_closed_form(precision, fixed_means):
    result = separation(20, precision, trials=600, fixed_means=fixed_means, seed=3)
    assert abs(result.simulated - result.expected) <= 4 * result.deviation + 1e-9


def test_the_closed_form_is_the_chance_of_n_independent_samples():
    means = unit_means(6, seed=2)
    mixture = Mixture(means, 1.5, samples=2)
    rng = np.random.default_rng(0)
    u = means[:, 0] - means[:, 1]
    noise = rng.standard_normal((200_000, 6)) / 1.5
    one = np.mean((means[:, 0] + noise) @ u >= 0)
    assert mixture.probability == pytest.approx(one**2, abs=0.01)


def test_opposite_means_are_the_easiest_to_separate():
    means = unit_means(5)
    opposite = np.column_stack([means[:, 0], -means[:, 0]])
    assert Mixture(opposite, 3.0).probability > Mixture(means, 3.0).probability


def test_samples_lie_around_their_means():
    mixture = Mixture(unit_means(4), 10.0, samples=2000)
    inputs = mixture.draw(seed=1)
    for half, mean in zip(np.split(inputs, 2), mixture.means.T, strict=True):
        assert np.allclose(half.mean(axis=0), mean, atol=0.02)
        assert np.std(half - mean) == pytest.approx(0.1, rel=0.05)
    assert np.array_equal(inputs, mixture.draw(seed=1))


def test_precise_clusters_are_separated_and_a_swapped_sample_is_not():
    mixture = Mixture(unit_means(8), 1000.0, samples=6)
    inputs = mixture.draw()
    assert mixture.separated(inputs) and mixture.probability == pytest.approx(1)
    assert not mixture.separated(inputs[::-1].copy())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.ones((3, 2)), 1.0), "needs 2 unit means, got columns of lengths"),
        ((np.eye(3)[:, [0, 0]], 1.0), "2 different means, got the same twice"),
        ((np.eye(3)[:, :2], 0.0), "precision needs a finite number > 0, got 0.0"),
        ((np.eye(3)[:, :2], 1.0, 7), "even number of samples, got 7"),
    ],
)
def test_a_mixture_says_what_it_needs(arguments, message):
    with pytest.raises(ValueError, match=message):
        Mixture(*arguments)


def test_a_simulation_needs_a_trial_and_two_inputs():
    with pytest.raises(ValueError, match="trials needs an integer of at least 1, got 0"):
        separation(5, 1.0, trials=0)
    with pytest.raises(ValueError, match="dim needs an integer of at least 2, got 1"):
        separation(1, 1.0)
