from fractions import Fraction
from statistics import mean

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from llrnb.transitions import (
    at_best_rate,
    binomial_interval,
    choice_interval,
    transition_interval,
    transition_point,
)

SIZES = np.array([5, 7, 9, 11])


def test_wilsons_interval_is_that_of_the_textbook():
    low, high = binomial_interval(np.array([0, 10, 20]), 20)
    assert np.allclose(low, [0.0, 0.2993, 0.8389], atol=1e-4)
    assert np.allclose(high, [0.1611, 0.7007, 1.0], atol=1e-4)


def test_wilsons_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    for p in (0.1, 0.5, 0.8):
        low, high = binomial_interval(rng.binomial(20, p, size=20_000), 20)
        assert 0.92 < ((low <= p) & (p <= high)).mean() < 0.98


@pytest.mark.parametrize(("successes", "trials"), [(-1, 20), (21, 20)])
def test_impossible_counts_are_refused(successes, trials):
    with pytest.raises(ValueError, match=f"got {successes} of {trials}"):
        binomial_interval(successes, trials)
    with pytest.raises(ValueError, match="trials needs an integer of at least 1, got 0"):
        binomial_interval(0, 0)


@pytest.mark.parametrize(
    ("fractions", "point"),
    [
        ([0.0, 0.5, 1.0, 1.0], 7),
        ([0.0, 0.0, 1.0, 1.0], 8),
        ([0.6, 0.7, 1.0, 1.0], 5),
        ([0.0, 0.1, 0.2, 0.3], np.inf),
        ([0.0, 0.6, 0.4, 1.0], 7),  # the fit has 0.5 at both sizes in the middle
    ],
)
def test_the_transition_is_where_the_fit_reaches_one_half(fractions, point):
    assert transition_point(SIZES, np.array(fractions)) == pytest.approx(point)


def exact_point(sizes, fractions, level):
    """The same in rational numbers: neighbours that fall are averaged until none does."""
    blocks = []
    for fraction in fractions:
        blocks.append([fraction])
        while len(blocks) > 1 and mean(blocks[-2]) > mean(blocks[-1]):
            last = blocks.pop()
            blocks[-1] += last
    fit = [mean(block) for block in blocks for _ in block]
    after = next((k for k, value in enumerate(fit) if value >= level), None)
    if after is None:
        return np.inf
    if after == 0:
        return sizes[0]
    share = (level - fit[after - 1]) / (fit[after] - fit[after - 1])
    return float(sizes[after - 1] + share * (sizes[after] - sizes[after - 1]))


@given(
    st.lists(st.integers(0, 20), min_size=1, max_size=12),
    st.sampled_from([Fraction(1, 2), Fraction(9, 10)]),
)
@example([0, 0, 0, 4, 0, 4, 16, 12, 8, 4, 20, 20], Fraction(1, 2))  # a half, less by rounding
@settings(max_examples=300)
def test_rounding_moves_no_transition(successes, level):
    fractions, sizes = [Fraction(k, 20) for k in successes], 5 + 2 * np.arange(len(successes))
    point = transition_point(sizes, np.array(fractions, dtype=float), float(level))
    assert point == pytest.approx(exact_point([int(n) for n in sizes], fractions, level))


def test_the_interval_holds_the_point_and_shrinks_with_trials():
    rng = np.random.default_rng(0)
    truth = np.array([0.1, 0.4, 0.7, 0.95])[:, None]
    widths = []
    for trials in (10, 1000):
        recovered = rng.random((4, trials)) < truth
        low, high = transition_interval(SIZES, recovered, draws=300)
        assert low <= transition_point(SIZES, recovered.mean(axis=1)) <= high
        widths.append(high - low)
    assert widths[1] < widths[0] / 3


def test_a_certain_transition_has_a_narrow_interval():
    recovered = np.array([[False] * 5, [False] * 5, [True] * 5, [True] * 5])
    assert transition_interval(SIZES, recovered) == (8, 8)
    assert transition_interval(SIZES, ~recovered[::-1] & False) == (np.inf, np.inf)


def test_the_best_rate_is_the_lowest_mean_or_each_runs_own():
    errors = np.array([[[1.0, 2.0], [3.0, 4.0]]])  # size, rate, trial
    scores = np.array([[[0.0, 5.0], [2.0, 1.0]]])
    assert at_best_rate(errors, scores).tolist() == [[3.0, 4.0]]
    assert at_best_rate(errors, scores, each_run=True).tolist() == [[1.0, 4.0]]
    scores[0, 1, 0] = np.nan  # diverged: never the best
    assert at_best_rate(errors, scores).tolist() == [[1.0, 2.0]]


def test_every_draw_of_a_bootstrap_chooses_its_own_rate():
    """At n = 7 one rate serves half of the trials, the other the other half: one does in a draw."""
    first = np.arange(20) < 10
    errors = np.stack([np.ones((2, 20)), [~first, first], np.zeros((2, 20)), np.zeros((2, 20))])
    errors = errors.astype(float)
    kept = at_best_rate(errors, errors) < 0.5
    assert transition_interval(SIZES, kept, draws=200)[1] > 7
    assert choice_interval(SIZES, errors, errors, 0.5, draws=200)[1] == 7


def test_one_rate_leaves_nothing_to_choose():
    rng = np.random.default_rng(1)
    errors = rng.random((4, 1, 30)) + np.array([0.5, 0.2, -0.2, -0.5])[:, None, None]
    below = errors[:, 0] < 0.5
    low, high = choice_interval(SIZES, errors, errors, 0.5, draws=300)
    assert low <= transition_point(SIZES, below.mean(axis=1)) <= high
