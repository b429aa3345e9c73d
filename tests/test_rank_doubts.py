"""No rank is called convincing that is not the model's: known ranks, counted by hand."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

from llrnb.deep import DeepNetwork
from llrnb.networks import cnn, fully_connected
from llrnb.rank import (
    doubts,
    exact_rank,
    local_linear_fit,
    matrix_rank,
    numerical_rank,
    tangent_matrix,
)
from tools.search import rank as search


@dataclass
class Drawing:
    """A model that may draw its inputs."""

    call: object
    input_dim: int

    def __call__(self, params, x):
        return self.call(params, x)


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def judged(call, params, inputs, input_dim=1):
    found = numerical_rank(Drawing(call, input_dim), params, inputs)
    return found.rank, found.verdict, found.reason


def test_repeated_inputs_show_a_lower_bound_only():
    net = cnn(5, 3, 2)
    params, three = net.init(std=1.0), normal(3, 5)
    found = numerical_rank(net, params, three.repeat(4, 1))
    assert (found.rank, found.verdict) == (3, "at least")
    assert found.reason == "3 on 3 distinct inputs, so at least 3 for the model"
    nearly = three.repeat(4, 1) + 1e-15 * normal(12, 5)
    assert not numerical_rank(net, params, nearly).convincing
    assert (numerical_rank(net, params).rank, numerical_rank(net, params).convincing) == (14, True)


def test_inputs_on_a_line_show_a_lower_bound_only():
    net = fully_connected(3, 3)
    found = numerical_rank(net, net.init(std=1.0), normal(200, 1) * normal(1, 3))
    assert found.rank < 15 and not found.convincing
    line = normal(200, 1).repeat(1, 3)
    rank, verdict, reason = judged(lambda p, x: p["w"] @ x, {"w": normal(3)}, line, 3)
    assert (rank, verdict, reason) == (1, "at least", "fresh inputs raise the rank to 3 or more")


@pytest.mark.parametrize("part", [1.0, 0.5])
def test_detached_parameters_are_noticed(part):
    def call(params, x):
        w = params["w"]
        return torch.tanh((part * w.detach() + (1 - part) * w) * x[0])

    rank, verdict, reason = judged(call, {"w": torch.tensor(0.7)}, None)
    assert (verdict, reason) == ("undecided", "the derivatives by 'w' are not those of the output")
    assert rank == (part < 1)


def relu(params, x):
    return params["a"] * torch.relu(params["w"] * x[0] - params["b"])


def test_a_unit_that_no_input_switches_on_is_noticed():
    one = torch.ones((), dtype=torch.float64)
    params = {"a": one, "w": one, "b": 2 * one}
    assert judged(relu, params, None)[:2] == (2, "convincing")
    assert judged(relu, params, normal(8, 1).clamp(max=1.9))[:2] == (0, "at least")
    assert judged(relu, {**params, "b": 1e6 * one}, None)[:2] == (0, "at least")


def test_shifts_of_a_softmax_are_no_rank():
    v, values = normal(4, 3, 3), normal(4, seed=1)

    def call(params, x):
        scores = params["q"] * (torch.tanh(v @ x) @ params["k"] + params["b"])
        return torch.softmax(scores, 0) @ values

    params = {"q": normal(1)[0], "k": normal(3, seed=2), "b": normal(1, seed=3)[0]}
    assert judged(call, params, None, 3)[:2] == (3, "convincing")


def test_biases_before_an_instance_norm_are_no_rank():
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Unflatten(0, (1, 1, 6)), nn.Conv1d(1, 3, 3), nn.InstanceNorm1d(3, affine=True),
        nn.Tanh(), nn.Flatten(), nn.Linear(12, 1),
    ).double()  # fmt: skip
    params = {name: value.detach() for name, value in module.named_parameters()}

    def call(params, x):
        return torch.func.functional_call(module, params, (x,)).squeeze()

    # 31 parameters; each of the 3 biases before the norm does nothing.
    assert judged(call, params, None, 6)[:2] == (28, "convincing")


def test_a_model_that_computes_in_float32_is_not_convincing():
    def call(params, x):
        return (params["a"].float() @ torch.tanh(params["w"].float() @ x.float())).double()

    w = normal(8, 3)
    for neurons in (w, torch.cat([w[:4], w[:4]])):
        params = {"w": neurons, "a": torch.ones(8, dtype=torch.float64)}
        assert judged(call, params, None, 3)[1] == "undecided"
    assert judged(call, params, None, 3)[2] == "some derivatives are computed to 7 digits only"


@pytest.mark.parametrize("std", [1e-100, 1e-30, 1e-10, 1e-5, 1e-3, 1e10])
def test_tiny_and_huge_parameters_are_not_convincing_unless_right(std):
    net = fully_connected(2, 3)
    found = numerical_rank(net, net.init(std=std))
    assert exact_rank(net, net.init(std=std)) == 12
    assert found.rank == 12 or not found.convincing


@pytest.mark.parametrize("power", range(1, 15))
def test_a_near_copy_is_right_or_not_convincing(power):
    net = fully_connected(2, 2, bias=False)
    w = torch.tensor([[1.0, 2.0], [1.0, 2.0 + 10.0**-power]], dtype=torch.float64)
    found = numerical_rank(net, {"w": w, "a": torch.ones(2, 1)})
    assert found.rank == 6 or not found.convincing


def test_float32_data_of_low_rank_are_undecided():
    inputs = (normal(12, 2) @ normal(2, 6, seed=1)).float()
    rank, verdict, reason = judged(lambda p, x: p["w"] @ x, {"w": normal(6)}, inputs, 6)
    assert (rank, verdict) == (6, "undecided")
    assert reason == "6 for the stored digits, 2 within their last digit"
    found = matrix_rank(inputs)
    assert (found.rank, found.verdict) == (6, "undecided")


def test_derivatives_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="NaN or infinity at 2 of 3 inputs"):
        judged(lambda p, x: (p["w"] * x[0]).sqrt(), {"w": torch.ones(())},
               torch.tensor([[-1.0], [1.0], [-2.0]]))  # fmt: skip


@pytest.mark.parametrize(("times", "rank"), [(4, 2), (1 / 4, 1)])
def test_the_cut_is_the_larger_dimension_times_epsilon(times, rank):
    """Two columns of norm 1 at a small angle t have the singular values sqrt(2) and t / sqrt(2)."""
    rows = 40
    basis = torch.linalg.qr(normal(rows, 2)).Q
    cut = rows * 2.0**-52 * 2**0.5
    angle = times * cut * 2**0.5
    found = matrix_rank(torch.stack([basis[:, 0], basis[:, 0] + angle * basis[:, 1]], dim=1))
    assert found.cut == pytest.approx(cut)
    assert (found.rank, found.convincing) == (rank, rank == 1)


def test_a_fit_of_tiny_or_repeated_inputs_says_what_it_knows():
    net = fully_connected(2, 2, bias=False)
    params = net.init(std=1.0)
    found = [local_linear_fit(net, params, normal(n, 2).repeat(3, 1)).verdict for n in (5, 6)]
    assert found == ["does not", "recovers"]
    tiny = local_linear_fit(net, params, 1e-6 * normal(9, 2))
    assert tiny.verdict == "undecided"


def test_a_tiny_layer_of_a_deep_network_is_not_convincing():
    net = DeepNetwork((2, 3, 3, 1))
    params = net.init()
    params["w2"] *= 1e-12
    found = numerical_rank(net, params)
    assert found.verdict == "at least" and found.rank < net.parameter_count


@pytest.mark.parametrize("kind", search.KINDS, ids=lambda kind: kind.__name__)
def test_no_kind_of_the_random_search_has_a_false_verdict(kind):
    for seed in range(4):
        drawn = kind(np.random.default_rng(seed))
        found = numerical_rank(drawn, drawn.params, drawn.inputs)
        if found.verdict == "at least":
            assert found.rank <= drawn.rank
        else:
            assert found.rank == drawn.rank or not found.convincing
        assert found.convincing or not drawn.clean


@pytest.mark.parametrize(("inputs", "doubted"), [(0, False), (1, True), (3, True), (4, False)])
def test_a_column_that_is_not_zero_at_three_inputs_or_fewer_is_doubted(inputs, doubted):
    tangent = torch.ones(16, 2, dtype=torch.float64)
    tangent[inputs:, 0] = 0.0
    assert (doubts.rarely_on(tangent) is not None) is doubted


@pytest.mark.parametrize(("detached", "doubted"), [(4, False), (8, True)])
def test_derivatives_are_doubted_where_they_are_wrong_at_a_quarter_of_the_inputs(detached, doubted):
    def model(params, x):
        return torch.where(x[1] < detached, params["w"].detach(), params["w"]) * x[0]

    params = {"w": torch.ones((), dtype=torch.float64)}
    points = torch.stack([torch.ones(20), torch.arange(20.0)], dim=1).double()
    tangent = tangent_matrix(model, params, points)
    assert (doubts.underived(model, params, points, tangent) is not None) is doubted
