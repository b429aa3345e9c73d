from math import inf, nan

import pytest
import torch
from degenerate import KINDS, QUIET, networks
from hypothesis import given, settings
from hypothesis import strategies as st

from llrnb.deep import DeepNetwork
from llrnb.networks import cnn, fully_connected
from llrnb.rank import exact_rank, matrix_rank, numerical_rank, tangent_matrix
from llrnb.rank.singular import _may_hide, lengths

pytestmark = QUIET


def linear(params, x):
    return (params["w"] * x).sum()


def loop_of_gradients(model, params, inputs):
    """The tangent matrix, one sample at a time."""
    params = {name: value.clone().requires_grad_() for name, value in params.items()}
    rows = []
    for x in inputs:
        slopes = torch.autograd.grad(model(params, x), list(params.values()))
        rows.append(torch.cat([slope.flatten() for slope in slopes]))
    return torch.stack(rows)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=50)
@given(data=st.data())
def test_tangent_matrix_is_a_loop_of_gradients(kind, data):
    net = data.draw(networks(kind))
    params, inputs = net.init(std=1.0), torch.randn(7, net.input_dim, dtype=torch.float64)
    expected = loop_of_gradients(net, params, inputs)
    torch.testing.assert_close(tangent_matrix(net, params, inputs), expected)
    as_any_model = tangent_matrix(lambda p, x: net(p, x), params, inputs)
    torch.testing.assert_close(as_any_model, expected)


def test_columns_follow_the_params_dict():
    net, inputs = cnn(5, 3, 2), torch.randn(4, 5)
    params = net.init(std=1.0)
    backwards = {name: params[name] for name in reversed(params)}
    w, b, a = tangent_matrix(net, params, inputs).split([6, 2, 6], dim=1)
    assert torch.equal(tangent_matrix(net, backwards, inputs), torch.cat([a, b, w], dim=1))


def test_tangent_matrix_takes_modules_and_inputs_of_any_shape():
    layer = torch.nn.Linear(3, 1)

    def model(params, x):
        return torch.func.functional_call(layer, params, (x[0] * x[1],)).squeeze()

    inputs = torch.randn(9, 2, 3, dtype=torch.float64)
    tangent = tangent_matrix(model, dict(layer.named_parameters()), inputs)
    assert torch.equal(tangent, torch.cat([inputs.prod(1), torch.ones(9, 1)], dim=1))


def test_columns_may_have_any_scale():
    matrix = torch.randn(20, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    matrix[:, 5] = matrix[:, 4]
    scaled = matrix * torch.tensor([1e-200, 1e-9, 1.0, 1e9, 1e200, 1e-200], dtype=torch.float64)
    assert matrix_rank(scaled).rank == matrix_rank(matrix).rank == 5
    assert matrix_rank(scaled).convincing


def test_gap_tells_a_rank_from_a_slope():
    size = 12
    basis = torch.linalg.qr(torch.randn(size, size, dtype=torch.float64)).Q
    slope = basis @ torch.diag(10.0 ** -torch.arange(0, 2 * size, 2).double()) @ basis.mT
    assert not matrix_rank(slope).convincing
    step = basis @ torch.diag((torch.arange(size) < 5).double()) @ basis.mT
    assert (matrix_rank(step).rank, matrix_rank(step).convincing) == (5, True)


@pytest.mark.parametrize("tall", [True, False])
def test_rounding_grows_with_the_longer_side(tall):
    """A value of 100 roundings is one of 400 rows, or columns, and not of three."""
    stream = torch.Generator().manual_seed(0)
    sides = torch.randn(400, 3, generator=stream).double(), torch.randn(3, 3, generator=stream)
    left, right = torch.linalg.qr(sides[0])[0], torch.linalg.qr(sides[1].double())[0]
    values = torch.tensor([1.0, 0.5, 100 * 2.0**-52], dtype=torch.float64)
    matrix = left * values @ right.mT
    found = matrix_rank(matrix if tall else matrix.mT)
    assert found.rank == 2 and 2 * 2.0**-52 < float(found.singular_values[2]) < found.cut
    assert found.cut == pytest.approx(400 * 2.0**-52 * float(found.singular_values[0]))


@pytest.mark.parametrize(
    ("values", "cut", "hides"),
    [
        ([1, 1e-2, 1e-4, 1e-6, 1e-8], 1e-15, True),  # half of the digits are lost
        ([1, 1e-2, 1e-4, 1e-6], 1e-15, False),
        ([1, 1e-4], 2e-14, True),  # two more steps lead to 1e-12, within 100 cuts
        ([1, 1e-4], 5e-15, False),
        ([1], 1e-15, False),
    ],
)
def test_values_that_fall_far_may_hide_more_below_the_cut(values, cut, hides):
    assert _may_hide(torch.tensor(values, dtype=torch.float64), cut) is hides


@pytest.mark.parametrize(("times", "verdict"), [(300, "undecided"), (3000, "convincing")])
def test_a_rank_is_convincing_from_a_gap_of_a_thousand(times, verdict):
    matrix = torch.eye(2, dtype=torch.float64) + 0.5  # columns of equal length
    vectors = torch.linalg.eigh(matrix)[1]
    small = times * 2 * 2.0**-52
    found = matrix_rank(vectors * torch.tensor([small, 1.0], dtype=torch.float64) @ vectors.mT)
    assert found.rank == 2 and found.verdict == verdict
    assert found.gap == pytest.approx(times, rel=0.02)


def test_a_column_of_much_rounding_is_scaled_down_to_that_of_the_others():
    """Of 400 rows: divided by the error's norm over 400 * 2^-52 where that is more than its own."""
    stream = torch.Generator().manual_seed(0)
    matrix, error = torch.randn(2, 400, 3, generator=stream, dtype=torch.float64)
    error = error[None] * torch.tensor([0.0, 1e-3, 1e-20], dtype=torch.float64)
    expected = matrix.norm(dim=0)
    expected[1] = error[0, :, 1].norm() / (400 * 2.0**-52)
    torch.testing.assert_close(lengths(matrix, error), expected)


def test_a_nearly_repeated_neuron_is_not_convincing_where_floats_may_not_see_it():
    net, a = fully_connected(2, 2, bias=False), torch.ones(2, 1)
    for distance, rank, convincing in ((1e-2, 6, True), (3e-4, 6, False), (1e-6, 5, False)):
        w = torch.tensor([[1.0, 2.0], [1.0, 2.0 + distance]], dtype=torch.float64)
        found = numerical_rank(net, {"w": w, "a": a})
        assert exact_rank(net, {"w": w, "a": a}) == 6
        assert (found.rank, found.convincing) == (rank, convincing), distance


def test_rank_0_and_no_columns():
    net = fully_connected(3, 4)
    assert numerical_rank(net, net.init(std=0.0)).rank == 0
    assert matrix_rank(torch.zeros(3, 0)).rank == 0


def test_inputs_are_drawn_for_models_that_name_their_number():
    deep = DeepNetwork((2, 3, 2, 1))
    assert numerical_rank(deep, deep.init()).rank == deep.parameter_count
    wide = fully_connected(5, 30)
    assert numerical_rank(wide, wide.init(std=1.0)).singular_values.shape == (wide.parameter_count,)


def test_numerical_rank_of_an_image_network_without_sharing():
    net = cnn((14, 14), 3, 1, shared=False, bias=False)  # `make bench` has 28 by 28: 6,760
    found = numerical_rank(net, net.init(std=1.0))
    assert (found.rank, found.convincing) == (1_440, True)


def test_narrow_floats_are_widened_before_the_model_runs():
    net = cnn(5, 3, 2)
    narrow = {name: value.float() for name, value in net.init(std=1.0).items()}
    wide = {name: value.double() for name, value in narrow.items()}
    inputs = torch.randn(6, 5)
    assert inputs.dtype == torch.float32
    tangent = tangent_matrix(net, narrow, inputs)
    assert torch.equal(tangent, tangent_matrix(net, wide, inputs.double()))


@pytest.mark.parametrize("dtype", [torch.int64, torch.complex128, torch.bool])
def test_numbers_that_are_not_real_floats_are_refused(dtype):
    ones = torch.ones(3, 2, dtype=dtype)
    if dtype == torch.int64:  # whole numbers are inputs
        assert tangent_matrix(linear, {"w": torch.ones(2)}, ones).tolist() == [[1.0, 1.0]] * 3
    else:
        with pytest.raises(TypeError, match="real floating-point numbers|Real"):
            tangent_matrix(linear, {"w": torch.ones(2)}, ones)
    with pytest.raises(TypeError, match=r"params\['w'\] needs"):
        tangent_matrix(linear, {"w": ones[0]}, torch.ones(3, 2))
    with pytest.raises(TypeError, match="float|Float"):
        matrix_rank(ones)


def test_several_outputs_are_several_rows():
    params, inputs = {"w": torch.ones(2)}, torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    found = tangent_matrix(lambda params, x: params["w"] * x, params, inputs)
    assert found.tolist() == [[1, 0], [0, 2], [3, 0], [0, 4]]


def test_models_without_a_real_value_are_refused():
    params, inputs = {"w": torch.ones(2)}, torch.ones(3, 2)
    with pytest.raises(TypeError, match="real tensor as output, got torch.complex128"):
        tangent_matrix(lambda params, x: 1j * linear(params, x), params, inputs)
    with pytest.raises(TypeError, match="real tensor as output, got float"):
        tangent_matrix(lambda params, x: 1.0, params, inputs)


def test_empty_inputs_and_params_are_refused():
    with pytest.raises(ValueError, match="at least 1 input"):
        tangent_matrix(linear, {"w": torch.ones(2)}, torch.ones(0, 2))
    with pytest.raises(ValueError, match="at least 1 parameter"):
        tangent_matrix(linear, {}, torch.ones(3, 2))
    with pytest.raises(ValueError, match="at least 1 parameter"):
        tangent_matrix(linear, {"w": torch.ones(0)}, torch.ones(3, 2))


@pytest.mark.parametrize("value", [nan, inf])
def test_numbers_that_are_not_finite_are_refused(value):
    with pytest.raises(ValueError, match=r"params\['w'\] needs finite"):
        tangent_matrix(linear, {"w": torch.full((2,), value)}, torch.ones(3, 2))
    with pytest.raises(ValueError, match="inputs needs finite"):
        tangent_matrix(linear, {"w": torch.ones(2)}, torch.full((3, 2), value))
    with pytest.raises(ValueError, match="the matrix needs finite"):
        matrix_rank(torch.full((3, 2), value))


def test_too_few_inputs_show_a_rank_that_is_a_lower_bound():
    net = cnn(5, 3, 1)
    params, inputs = net.init(std=1.0), torch.randn(7, 5)
    found = numerical_rank(net, params, inputs[:6])
    assert (found.rank, found.verdict) == (6, "at least")
    assert found.reason == "6 on 6 distinct inputs, so at least 6 for the model"
    found = numerical_rank(net, params, inputs)
    assert (found.rank, found.verdict) == (7, "convincing")  # all parameters: there is no more
    with pytest.raises(ValueError, match="input_shape"):
        numerical_rank(linear, {"w": torch.ones(2)})


def test_inputs_of_another_size_are_refused():
    net = cnn(5, 3, 1)
    with pytest.raises(ValueError, match=r"needs inputs of shape \(sample, 5\), got \(3, 4\)"):
        tangent_matrix(net, net.init(std=1.0), torch.ones(3, 4))


def test_rank_does_not_depend_on_the_inputs():
    net = fully_connected(3, 4)
    params = net.init(std=1.0)
    params["w"][1], params["b"][1] = params["w"][0], params["b"][0]
    for seed in range(20):
        stream = torch.Generator().manual_seed(seed)
        assert numerical_rank(net, params, torch.randn(99, 3, generator=stream)).rank == 15
