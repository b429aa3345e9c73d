"""The statistical dimension, against sampling and against its known cases."""

import numpy as np
import pytest

from llrnb.relu import group_sparse_dimension, normalised_transition
from llrnb.relu.transition import _tail


@pytest.mark.parametrize(("dim", "t"), [(1, 0.5), (5, 2.0), (20, 5.0)])
def test_the_tail_is_the_mean_of_samples(dim, t):
    lengths = np.linalg.norm(np.random.default_rng(0).normal(size=(200_000, dim)), axis=1)
    excess = np.maximum(lengths - t, 0) ** 2
    error = excess.std() / np.sqrt(len(excess))
    assert abs(_tail(dim, t) - excess.mean()) < 5 * error


def test_without_idle_groups_nothing_is_saved():
    assert group_sparse_dimension(3, 0, 7) == pytest.approx(21, abs=1e-3)


def test_groups_of_one_are_the_sparse_vectors_of_compressed_sensing():
    # 10 of 100 entries: 0.33 measurements per entry (Donoho's transition at sparsity 0.1).
    assert group_sparse_dimension(10, 90, 1) / 100 == pytest.approx(0.33, abs=0.01)


def test_more_neurons_need_more_samples():
    found = [normalised_transition(k, d) for k, d in [(2, 10), (2, 20), (2, 30), (3, 10), (3, 20)]]
    assert found == [50, 96, 141, 74, 144]


@pytest.mark.parametrize("wrong", [(0, 5, 5), (1, -1, 5), (1, 5, 0)])
def test_sizes_are_checked(wrong):
    with pytest.raises(ValueError, match="needs an integer of at least [01], got (-1|0)"):
        group_sparse_dimension(*wrong)
