import numpy as np
import pytest
import torch

from llrnb.deep import DeepNetwork
from llrnb.embedding import compatible
from llrnb.networks import fully_connected
from llrnb.rank import exact_rank, numerical_rank, series_rank
from llrnb.rank.series import _tanh

NETWORKS = [
    DeepNetwork((2, 3, 1)),
    DeepNetwork((2, 2, 3, 2, 1)),
    DeepNetwork((3, 2, 2, 2, 2, 1)),
    DeepNetwork((2, 3, 3, 3, 1), residual=True),
]


def without_biases(params):
    return {k: torch.zeros_like(v) if k.startswith("b") else v for k, v in params.items()}


def integers(net, seed):
    rng = np.random.default_rng(seed)
    return {k: torch.tensor(rng.integers(-1, 2, s)).double() for k, s in net.shapes.items()}


def test_tanh_of_s_is_its_taylor_series():
    s = np.zeros((8, 1, 1), dtype=np.int64)
    s[1] = 1
    prime = 2**31 - 1
    value, slope = (series.ravel() for series in _tanh(s))
    fifteenth, third = pow(15, -1, prime), pow(3, -1, prime)
    assert value[:6].tolist() == [0, 1, 0, prime - third, 0, 2 * fifteenth % prime]
    assert slope[:4].tolist() == [1, 0, prime - 1, 0]


@pytest.mark.parametrize("net", NETWORKS, ids=lambda net: f"{net.widths}")
def test_generic_networks_of_any_depth_have_independent_tangent_functions(net):
    assert series_rank(net, net.init()) == net.parameter_count
    biased = DeepNetwork(net.widths, bias=True, residual=net.residual)
    assert series_rank(biased, without_biases(biased.init())) == biased.parameter_count


@pytest.mark.parametrize("net", NETWORKS, ids=lambda net: f"{net.widths}")
def test_degenerate_networks_have_the_rank_that_floats_find(net):
    for seed in range(10):
        params = integers(net, seed)
        found = numerical_rank(net, params)
        if found.convincing:
            assert series_rank(net, params) == found.rank


def test_two_layers_have_the_exact_rank():
    net, same = DeepNetwork((2, 5, 1)), fully_connected(2, 5, bias=False)
    for seed in range(20):
        params = integers(net, seed)
        assert series_rank(net, params) == exact_rank(
            same, {"w": params["w1"], "a": params["w2"].T.contiguous()}
        )


def test_an_embedding_keeps_the_rank_and_floats_may_not_see_a_network_of_one_input():
    net = DeepNetwork((2, 2, 2, 1))
    wide = compatible(net, net.init(), [[0, 1, 1], [0, 0, 1]])
    assert series_rank(*wide) == series_rank(net, net.init()) == net.parameter_count
    line = DeepNetwork((1, 3, 3, 1))
    assert not numerical_rank(line, line.init()).convincing
    assert series_rank(line, line.init()) == line.parameter_count


def test_what_has_no_rational_series_is_refused():
    net = DeepNetwork((2, 2, 1), bias=True)
    with pytest.raises(ValueError, match="biases that are 0"):
        series_rank(net, net.init())
    sine = DeepNetwork((2, 2, 1), activation=torch.sin)
    with pytest.raises(ValueError, match="those of tanh"):
        series_rank(sine, sine.init())
