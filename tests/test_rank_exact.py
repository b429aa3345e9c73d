from fractions import Fraction
from math import inf, nan

import numpy as np
import pytest
import torch
from degenerate import KINDS, QUIET, degenerate
from hypothesis import given, settings
from hypothesis import strategies as st

from llrnb.networks import TwoLayerNetwork, cnn, fully_connected
from llrnb.rank import exact_rank, matrix_rank, structure, tangent_matrix

pytestmark = QUIET


def doubles(*rows):
    return torch.tensor(rows, dtype=torch.float64)


def generic(net, seed=0):
    return net.init(std=1.0, seed=seed)


@pytest.mark.parametrize("kind", KINDS)
def test_exact_rank_is_the_numerical_rank_of_degenerate_networks(kind):
    convincing = []

    @settings(max_examples=1000)
    @given(degenerate(kind))
    def check(case):
        net, params = case
        samples = 4 * net.parameter_count + 8
        stream = torch.Generator().manual_seed(0)
        inputs = torch.randn(samples, net.input_dim, generator=stream, dtype=torch.float64)
        numerical = matrix_rank(tangent_matrix(net, params, inputs))
        convincing.append(numerical.convincing)
        assert exact_rank(net, params) == numerical.rank

    check()
    assert np.mean(convincing) > 0.97  # neurons of one input may be too much alike


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60)
@given(data=st.data())
def test_rank_is_that_of_the_matrix_over_the_rationals(kind, data):
    net, params = data.draw(degenerate(kind))
    found = structure(net, params)
    assert found.rank == found.distinct + rational_rank(found.matrix())


def rational_rank(matrix):
    rank = 0
    for column in range(len(matrix[0])):
        pivot = next((row for row in range(rank, len(matrix)) if matrix[row][column]), None)
        if pivot is None:
            continue
        matrix[rank], matrix[pivot] = matrix[pivot], matrix[rank]
        for row in range(rank + 1, len(matrix)):
            factor = matrix[row][column] / matrix[rank][column]
            matrix[row] = [x - factor * y for x, y in zip(matrix[row], matrix[rank], strict=True)]
        rank += 1
    return rank


def test_translated_kernels_share_neurons_so_propositions_3_and_4_fail():
    kernels, outputs = doubles([2, 3, 0], [0, 2, 3]), generic(cnn(6, 3, 2))["a"]
    shared = cnn(6, 3, 2, bias=False)
    assert exact_rank(shared, {"w": kernels, "a": outputs}) == 11  # not 14
    unshared = cnn(6, 3, 2, shared=False, bias=False)
    everywhere = kernels[:, None].repeat(1, 4, 1)
    assert exact_rank(unshared, {"w": everywhere, "a": outputs}) == 23  # not 20


@pytest.mark.parametrize(
    ("net", "rank"),
    [
        (cnn((28, 28), 3, 1, bias=False), 685),
        (cnn((28, 28), 3, 1, shared=False, bias=False), 6_760),
        (fully_connected(784, 676, bias=False), 530_660),
    ],
)
def test_table_3_at_the_size_of_an_image(net, rank):
    assert exact_rank(net, generic(net)) == rank


def test_a_zero_kernel_with_outputs_sees_its_inputs_linearly():
    net = cnn(6, 3, 1, bias=False)
    assert exact_rank(net, {"w": doubles([0, 0, 0]), "a": doubles([1, 1, 1, 1])}) == 3
    assert exact_rank(net, {"w": doubles([0, 0, 0]), "a": doubles([0, 0, 0, 0])}) == 0


def test_a_blind_biased_neuron_is_a_constant():
    net, w, b = fully_connected(2, 1), doubles([0, 0]), doubles(1.0)
    assert exact_rank(net, {"w": w, "b": b, "a": doubles([0])}) == 1
    assert exact_rank(net, {"w": w, "b": b, "a": doubles([1])}) == 3
    assert exact_rank(net, {"w": w, "b": 0 * b, "a": doubles([0])}) == 0


def test_a_copy_one_ulp_off_is_another_neuron():
    net, a = fully_connected(1, 2, bias=False), doubles([1], [1])
    assert exact_rank(net, {"w": doubles([1], [1]), "a": a}) == 2
    assert exact_rank(net, {"w": doubles([1], [np.nextafter(1, 2)]), "a": a}) == 4


def test_minus_zero_is_zero():
    net, a = cnn(3, 2, 2), doubles([1, 1], [1, 1])
    same = {"w": doubles([1, 0], [1, -0.0]), "b": doubles(0.0, -0.0), "a": a}
    assert exact_rank(net, same) == exact_rank(net, {**same, "w": doubles([1, 0], [1, 0])})


def test_outputs_are_summed_and_compared_exactly():
    net = cnn(3, 1, 2)  # two blind kernels: their biases see the exact sum of the outputs
    blind = {"w": doubles([0], [0]), "b": doubles(0.0, 0.0)}
    assert exact_rank(net, {**blind, "a": doubles([1e16, 1, -1e16], [0, 0, 0])}) == 2
    assert exact_rank(net, {**blind, "a": doubles([1e308, 1e308, -1e308], [0, 0, 0])}) == 2
    twins = {"w": doubles([1], [1]), "b": doubles(1.0, 1.0)}
    assert exact_rank(net, {**twins, "a": doubles([1, 1e16, 0], [1, 1e16, 0])}) == 3 + 2
    assert exact_rank(net, {**twins, "a": doubles([1, 1e16, 0], [2, 2e16 + 4, 0])}) == 3 + 4


def test_scaling_outputs_by_a_power_of_two_changes_nothing():
    net = cnn(5, 3, 3, bias=False)
    params = {"w": doubles(*[[1, 2, 3]] * 3), "a": doubles([1, 2, 3], [2, 4, 6], [0, 1, 1])}
    for exponent in (-1000, 0, 1000):
        a = torch.ldexp(params["a"], torch.tensor(exponent))
        assert exact_rank(net, {**params, "a": a}) == 9


def test_windows_may_see_their_inputs_in_any_order():
    net = TwoLayerNetwork(2, ((0, 1), (1, 0)), 1, bias=False)
    palindrome = {"w": doubles([1, 1]), "a": doubles([1, 2])}  # both windows are one neuron
    assert (
        exact_rank(net, palindrome)
        == matrix_rank(tangent_matrix(net, palindrome, torch.randn(20, 2))).rank
        == 3
    )
    opposite = {"w": doubles([1, -1]), "a": doubles([1, 1])}
    assert exact_rank(net, opposite) == 2


def test_structure_shows_which_neurons_are_one():
    net = cnn(4, 2, 2, bias=False)
    found = structure(net, {"w": doubles([1, 0], [0, -1]), "a": doubles([1, 2, 3], [4, 5, 6])})
    assert found.classes.tolist() == [[1, 2, 3], [2, 3, 4]]
    assert found.distinct == 4
    assert sum(map(sum, found.matrix())) == 2 * Fraction(21)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_narrow_floats_are_widened_without_change(dtype):
    net = cnn(5, 3, 2)
    narrow = {name: value.to(dtype) for name, value in generic(net).items()}
    wide = {name: value.double() for name, value in narrow.items()}
    assert exact_rank(net, narrow) == exact_rank(net, wide)


@pytest.mark.parametrize("dtype", [torch.int64, torch.complex128, torch.bool])
def test_params_that_are_not_real_floats_are_refused(dtype):
    net = fully_connected(2, 3)
    with pytest.raises(TypeError, match="float|Float"):
        exact_rank(net, {**generic(net), "w": torch.ones(3, 2, dtype=dtype)})


@pytest.mark.parametrize("value", [nan, inf, -inf])
def test_params_that_are_not_finite_are_refused(value):
    net = fully_connected(2, 3)
    with pytest.raises(ValueError, match="'w'.* finite"):
        exact_rank(net, {**generic(net), "w": torch.full((3, 2), value)})


def test_params_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"needs params of shapes .*\(3, 2\)"):
        exact_rank(fully_connected(2, 3), generic(fully_connected(2, 4)))
    with pytest.raises(ValueError, match="at least 1 parameter"):
        exact_rank(fully_connected(2, 3), {})


def test_a_network_of_another_library_is_refused():
    other = torch.nn.Linear(2, 1).double()
    with pytest.raises(TypeError, match="TwoLayerNetwork"):
        exact_rank(other, dict(other.named_parameters()))
