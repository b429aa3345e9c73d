import pytest
import torch
from degenerate import KINDS, QUIET, degenerate
from hypothesis import given, settings
from hypothesis import strategies as st

from llrnb.deep import DeepNetwork
from llrnb.embedding import split, split_kernel
from llrnb.endings import RankVerdict
from llrnb.networks import cnn, fully_connected
from llrnb.rank import exact_rank, local_linear_fit, numerical_rank, tangent_matrix
from llrnb.rank.linear_fit import _compared
from llrnb.rank.singular import NumericalRank

pytestmark = QUIET


def inputs(samples, dim, seed=0):
    stream = torch.Generator().manual_seed(seed)
    return torch.randn(samples, dim, generator=stream, dtype=torch.float64)


@pytest.mark.parametrize(
    "net",
    [fully_connected(5, 3), cnn(5, 3, 1), cnn(5, 3, 1, shared=False), DeepNetwork((3, 3, 2, 1))],
    ids=["fully connected", "shared", "unshared", "three layers"],
)
def test_a_target_is_recovered_exactly_from_its_rank_on(net):
    params = net.init(std=1.0)
    rank = numerical_rank(net, params).rank
    for samples in range(1, rank + 4):
        fit = local_linear_fit(net, params, inputs(samples, net.input_dim))
        assert fit.recovers == (samples >= rank)
        assert (fit.error < 1e-9) == (samples >= rank)
        assert fit.empirical.rank == min(samples, rank)
        assert fit.joint.rank == rank


def test_recovery_starts_at_the_narrow_rank_in_a_wide_network():
    net, params = cnn(5, 3, 1), cnn(5, 3, 1).init(std=1.0)
    for _ in range(20):
        net, params = split_kernel(net, params, 0)
    assert net.parameter_count == 147
    found = [local_linear_fit(net, params, inputs(n, 5)).recovers for n in (6, 7)]
    assert found == [False, True]
    deep = DeepNetwork((2, 2, 2, 1))
    wide, wide_params = split(deep, deep.init(), layer=1, neuron=0)
    found = [local_linear_fit(wide, wide_params, inputs(n, 2)).recovers for n in (9, 10)]
    assert found == [False, True]


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=30)
@given(data=st.data())
def test_recovery_starts_at_the_exact_rank_of_degenerate_networks(kind, data):
    net, params = data.draw(degenerate(kind))
    rank = exact_rank(net, params)
    for samples in {max(1, rank - 1), max(1, rank)}:
        fit = local_linear_fit(net, params, inputs(samples, net.input_dim))
        assert fit.recovers == (samples >= rank)


def test_the_minimum_norm_solution_is_the_smallest_that_fits():
    net = fully_connected(2, 3)
    params, points = net.init(std=1.0), inputs(5, 2)
    fit = local_linear_fit(net, params, points)
    flat, solution = (
        torch.cat([value.flatten() for value in p.values()]) for p in (params, fit.params)
    )
    tangent = tangent_matrix(net, params, points)
    torch.testing.assert_close(tangent @ solution, tangent @ flat)
    torch.testing.assert_close(solution, torch.linalg.lstsq(tangent, tangent @ flat).solution)
    assert {name: value.shape for name, value in fit.params.items()} == {
        name: value.shape for name, value in params.items()
    }


def test_a_fit_learns_nothing_from_rounding():
    """Inputs that leave a plane by 100 roundings, in 400 samples, are inputs in the plane."""
    plane, normal = inputs(400, 3), torch.tensor([2.0, -1.0, 2.0], dtype=torch.float64) / 3
    away = torch.randn(400, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    plane -= (plane @ normal)[:, None] * normal
    points = plane + 100 * 2.0**-52 * away[:, None] * normal
    params = {"w": torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)}
    fit = local_linear_fit(lambda params, x: params["w"] @ x, params, points)
    expected = params["w"] - (params["w"] @ normal) * normal
    torch.testing.assert_close(fit.params["w"], expected)


def test_a_rank_that_is_not_sure_recovers_nothing_unless_it_cannot_be_more():
    """Three values clear of the cut, and one that may be rounding."""
    values = torch.tensor([1.0, 1.0, 1.0, 1e-15], dtype=torch.float64)
    sure = NumericalRank(3, values, 4e-15, 1e14, RankVerdict.CONVINCING, "")
    unsure = sure.doubted(RankVerdict.UNDECIDED, "a value lies just below the cut")
    assert _compared(sure, sure, 3, 5)[0] == "recovers"
    assert _compared(sure, unsure, 3, 5) == ("undecided", unsure.reason)
    assert _compared(sure, unsure, 3, 3)[0] == "recovers"


def test_a_linear_model_needs_all_its_parameters():
    def model(params, x):
        return params["c"] @ torch.cos(torch.arange(6) * x)

    params = {"c": torch.tensor([1.0, 0, 0, 0, 0, 0])}  # a simple target is no easier
    points = inputs(6, 1)
    assert [local_linear_fit(model, params, points[:n]).recovers for n in (5, 6)] == [False, True]


def test_a_bump_is_missed_by_samples_outside_it():
    def model(params, x):
        return params["c"] * torch.relu(1 - x.square().sum())

    params, test_inputs = {"c": torch.tensor(2.0)}, torch.linspace(-1, 1, 9)[:, None]
    outside = local_linear_fit(model, params, 2 + torch.rand(50, 1), test_inputs)
    inside = local_linear_fit(model, params, torch.tensor([[0.5]]), test_inputs)
    assert (outside.recovers, outside.error) == (False, 1.0)
    assert (inside.recovers, inside.error) == (True, 0.0)


def test_the_zero_target_is_recovered_from_any_sample():
    net = fully_connected(3, 4)
    fit = local_linear_fit(net, net.init(std=0.0), inputs(1, 3))
    assert (fit.recovers, fit.error, fit.joint.rank) == (True, 0.0, 0)


def test_empty_inputs_are_refused():
    net = fully_connected(3, 4)
    with pytest.raises(ValueError, match="at least 1 input"):
        local_linear_fit(net, net.init(), torch.ones(0, 3))


def test_one_chosen_sample_can_single_out_a_target_of_rank_two():
    """The conjecture after Cor. 5 needs "almost every"."""

    def model(params, x):
        theta = params["theta"]
        line = theta[0] * x[0] + theta[1] * x[0] ** 2
        return line + (theta**2).sum() * (1 - x[0] ** 2)

    zero = {"theta": torch.zeros(2, dtype=torch.float64)}
    assert numerical_rank(model, zero, inputs(20, 1)).rank == 2
    others = [{"theta": point} for point in inputs(100, 2, seed=1)]
    origin, elsewhere = torch.zeros(1, dtype=torch.float64), torch.tensor([0.5]).double()
    assert all(model(params, origin) > 0 for params in others)
    outputs = torch.stack([model(params, elsewhere) for params in others])
    assert outputs.min() < 0 < outputs.max()  # so that some other interpolates
