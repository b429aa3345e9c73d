import pytest
import torch

from llrnb import theory
from llrnb.deep import DeepNetwork
from llrnb.embedding import add_null, compatible, split
from llrnb.networks import fully_connected
from llrnb.rank import exact_rank, numerical_rank, series_rank
from llrnb.reduction import reduce

NETWORKS = [DeepNetwork((3, 2, 1)), DeepNetwork((2, 3, 2, 1)), DeepNetwork((2, 2, 3, 2, 1))]


def outputs(net, params):
    stream = torch.Generator().manual_seed(0)
    x = torch.randn(50, net.input_dim, generator=stream, dtype=torch.float64)
    return torch.vmap(net, in_dims=(None, 0))(params, x)


def assert_reduces_to(net, params, widths):
    """Returns what it is reduced to; the function is the same."""
    found = reduce(net, params)
    assert found.widths == widths
    narrow = DeepNetwork(found.widths, bias=found.bias)
    torch.testing.assert_close(
        outputs(narrow, found.params) + found.offset, outputs(net, params), rtol=0, atol=1e-12
    )
    return found


def cat_neuron(net, params, layer, inward, outward, bias=0.0):
    """A wider network with one more neuron in a layer."""
    params = dict(params)
    params[f"w{layer}"] = torch.cat([params[f"w{layer}"], inward[None]])
    params[f"w{layer + 1}"] = torch.cat([params[f"w{layer + 1}"], outward[:, None]], dim=1)
    if net.bias:
        extra = torch.tensor([bias], dtype=torch.float64)
        params[f"b{layer}"] = torch.cat([params[f"b{layer}"], extra])
    widths = list(net.widths)
    widths[layer] += 1
    return DeepNetwork(tuple(widths), bias=net.bias), params


@pytest.mark.parametrize("net", NETWORKS, ids=lambda net: f"{net.widths}")
def test_a_random_network_is_irreducible_and_its_functions_are_independent(net):
    found = assert_reduces_to(net, net.init(), net.widths)
    assert found.sample_size == net.parameter_count == series_rank(net, net.init())


@pytest.mark.parametrize("net", NETWORKS, ids=lambda net: f"{net.widths}")
def test_embeddings_are_undone(net):
    wide = net, net.init()
    for layer in range(1, net.layers):
        wide = add_null(*split(*wide, layer, neuron=0), layer)
    assert_reduces_to(*wide, net.widths)
    copies = [[*range(k), 0, None] for k in net.widths[1:-1]]
    assert_reduces_to(*compatible(net, net.init(), copies), net.widths)


@pytest.mark.parametrize("net", NETWORKS, ids=lambda net: f"{net.widths}")
def test_every_member_of_the_target_set_has_at_least_the_rank_of_the_sample_size(net):
    params = net.init()
    last = net.layers - 1
    before, after = net.widths[last - 1], net.widths[last + 1]
    stream = torch.Generator().manual_seed(1)
    inward = torch.randn(before, generator=stream, dtype=torch.float64)
    outward = torch.ones(after, dtype=torch.float64)
    for added in [(inward, 0 * outward), (0 * inward, outward)]:
        wide = cat_neuron(net, params, last, *added)
        found = assert_reduces_to(*wide, net.widths)
        assert numerical_rank(*wide).rank > found.sample_size


def test_copies_up_to_sign_are_merged():
    net = DeepNetwork((2, 2, 2, 1), bias=True)
    wide, params = split(net, net.init(), layer=1, neuron=0, share=0.5)
    for name in ("w1", "b1"):
        params[name][2] *= -1
    params["w2"][:, 2] *= -1
    assert_reduces_to(wide, params, net.widths)


def test_merging_can_start_an_avalanche():
    weights = [
        [[1, 2], [-1, -2], [3, 1]],
        [[1, 1, 0], [2, 0, 0]],  # the first row cancels, which silences the third neuron
        [[5, 7]],
    ]
    params = {f"w{i}": torch.tensor(w, dtype=torch.float64) for i, w in enumerate(weights, 1)}
    found = assert_reduces_to(DeepNetwork((2, 3, 2, 1)), params, (2, 1, 1, 1))
    assert found.sample_size == 4


def test_a_constant_neuron_is_folded_into_a_bias_or_the_offset():
    net = DeepNetwork((3, 2, 2, 1), bias=True)
    params = net.init()
    ones = torch.ones(2, dtype=torch.float64)
    blind = cat_neuron(net, params, 1, torch.zeros(3, dtype=torch.float64), ones, bias=0.7)
    assert assert_reduces_to(*blind, net.widths).sample_size == net.parameter_count
    constant = cat_neuron(net, params, 2, 0 * ones, ones[:1], bias=0.7)
    found = assert_reduces_to(*constant, net.widths)
    assert found.sample_size == net.parameter_count + 2 + 1 == numerical_rank(*constant).rank


def test_a_constant_function_leaves_nothing():
    assert reduce(DeepNetwork((2, 3, 3, 1)), DeepNetwork((2, 3, 3, 1)).init(0.0)).sample_size == 0
    for widths in [(2, 1, 1), (2, 3, 1, 1)]:
        net = DeepNetwork(widths, bias=True)
        params = net.init(0.0)
        params[f"b{net.layers - 1}"] += 1.0
        params[f"w{net.layers}"] += 1.0
        found = reduce(net, params)
        assert found.widths == (2, *[0] * (net.layers - 1), 1)
        assert found.sample_size == numerical_rank(net, params).rank


def test_two_layers_have_the_closed_form():
    for bias, offset in [(False, False), (True, False), (True, True)]:
        closed = theory.fully_connected_rank(3, 5, bias=bias, offset=offset)
        assert theory.deep_rank((5, 3, 1), bias=bias, offset=offset) == closed
    with pytest.raises(ValueError, match="needs a network with biases"):
        theory.deep_rank((5, 3, 1), bias=False, offset=True)


def test_two_layers_have_the_exact_rank_when_irreducible():
    net, same = DeepNetwork((2, 4, 1)), fully_connected(2, 4, bias=False)
    for seed in range(20):
        params = {name: value.round() for name, value in net.init(seed=seed).items()}
        found = reduce(net, params)
        exact = exact_rank(same, {"w": params["w1"], "a": params["w2"].T.contiguous()})
        assert found.sample_size <= exact
        assert (found.sample_size == exact) or found.widths != net.widths


def test_other_networks_are_refused():
    for net in (
        DeepNetwork((2, 2, 1), residual=True),
        DeepNetwork((2, 2, 1), activation=torch.sin),
    ):
        with pytest.raises(ValueError, match="only tanh networks"):
            reduce(net, net.init())
