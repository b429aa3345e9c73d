import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from llrnb.rank.modular import _prime, sparse_rank


def rank(matrix):
    rows, columns = np.indices(matrix.shape)
    return sparse_rank(rows.ravel(), columns.ravel(), matrix.astype(float).ravel())


shapes = st.tuples(st.integers(1, 7), st.integers(1, 7))


@settings(max_examples=300)
@given(shapes.flatmap(lambda shape: arrays(np.int64, shape, elements=st.integers(-2, 2))))
def test_rank_of_integers_is_numpys(matrix):
    assert rank(matrix) == np.linalg.matrix_rank(matrix)


def test_rank_survives_primes_that_divide_everything():
    assert rank(_prime(1) * np.array([[1, 1], [1, 2]])) == 2
    assert rank(_prime(1) * np.array([[1, 1], [1, 1 + _prime(2) / 2**31]])) == 2


def test_rank_of_entries_of_very_different_size():
    singular = np.outer([1.0, 3, 2**900], [1.0, 2**-900, 5])
    assert rank(singular) == 1
    singular[0, 0] = np.nextafter(1, 2)
    assert rank(singular) == 2


@pytest.mark.parametrize("deficiency", [0, 1, 5])
def test_rank_of_a_dense_block_of_floats(deficiency):
    rng = np.random.default_rng(deficiency)
    matrix = rng.standard_normal((30, 60))
    for row in range(deficiency):
        matrix[row] = matrix[row + 10] * -0.25  # exact
    assert rank(matrix) == rank(matrix.T) == 30 - deficiency


def test_blocks_that_touch_nowhere_add_their_ranks():
    twin = np.array([[1, 2], [2, 4]])
    matrix = np.kron(np.eye(5), twin)
    order = np.random.default_rng(0).permutation(10)
    assert rank(matrix[order][:, order[::-1]]) == 5


def test_the_empty_and_the_zero_matrix_have_rank_0():
    nothing = np.zeros(0, dtype=np.int64)
    assert sparse_rank(nothing, nothing, np.zeros(0)) == 0
    assert rank(np.zeros((3, 2))) == 0


def test_primes_are_prime_and_above_2_to_30():
    primes = [_prime(index) for index in range(1, 20)]
    assert primes[0] == 2**31 - 1
    assert all(p > 2**30 and all(p % q for q in range(2, 46_341)) for p in primes[:3])
    assert len(set(primes)) == len(primes)
