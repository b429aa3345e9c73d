import pytest
import torch

from llrnb.deep import DeepNetwork
from llrnb.embedding import add_null, compare, compatible, split, split_kernel, widen
from llrnb.networks import cnn, fully_connected
from llrnb.rank import exact_rank, numerical_rank

NETWORKS = [
    DeepNetwork((3, 2, 1)),
    DeepNetwork((3, 2, 2, 1), bias=True),
    DeepNetwork((3, 2, 3, 2, 1)),
    DeepNetwork((2, 2, 2, 2, 2, 1), activation=torch.sin),
    DeepNetwork((2, 3, 3, 3, 1), residual=True),
    DeepNetwork((2, 3, 3, 1), bias=True, residual=True),
]


def named(net):
    return f"{net.widths}{' residual' * net.residual}{' bias' * net.bias}"


def inputs(net):
    stream = torch.Generator().manual_seed(0)
    return torch.randn(100, net.input_dim, generator=stream, dtype=torch.float64)


def assert_critical(net, params, embedded):
    comparison = compare(net, params, *embedded, inputs(net))
    assert comparison.keeps_output
    assert comparison.keeps_criticality
    assert comparison.keeps_tangent_space
    assert comparison.wide_rank == comparison.narrow_rank


@pytest.mark.parametrize("net", NETWORKS, ids=named)
def test_splitting_and_null_embeddings_are_critical(net):
    params = net.init()
    for layer in range(1, net.layers):
        assert_critical(net, params, split(net, params, layer, neuron=1, share=0.3))
        assert_critical(net, params, add_null(net, params, layer))


@pytest.mark.parametrize("net", NETWORKS, ids=named)
def test_general_compatible_embeddings_are_critical(net):
    params = net.init()
    copies = [[0, *range(width), None, width - 1, 0] for width in net.widths[1:-1]]
    assert_critical(net, params, compatible(net, params, copies))
    assert_critical(net, params, compatible(net, params, copies, mixing_seed=1))


def test_mixing_gives_copies_different_output_weights():
    net = DeepNetwork((2, 2, 2, 1))
    _, plain = compatible(net, net.init(), [[0, 0, 1], [0, 1, 1]])
    _, mixed = compatible(net, net.init(), [[0, 0, 1], [0, 1, 1]], mixing_seed=0)
    assert torch.equal(plain["w2"][1], plain["w2"][2])
    assert not torch.allclose(mixed["w2"][1], mixed["w2"][2])


@pytest.mark.parametrize("shared", [True, False])
def test_splitting_a_kernel_is_critical(shared):
    for net in (
        cnn(5, 3, 2, shared=shared),
        cnn((4, 4), 2, 1, shared=shared, bias=False),
        cnn(5, 3, 2, shared=shared, output_bias=True),
    ):
        params = net.init(std=1.0)
        wide, wide_params = split_kernel(net, params, 0)
        assert_critical(net, params, (wide, wide_params))
        assert exact_rank(wide, wide_params) == exact_rank(net, params) == net.parameter_count


def test_the_share_must_be_exact_for_the_exact_rank_to_stay():
    net = cnn(5, 3, 1)
    params = net.init(std=1.0)
    assert exact_rank(*split_kernel(net, params, 0, share=0.5)) == 7
    rounded = split_kernel(net, params, 0, share=0.3)
    assert (exact_rank(*rounded), numerical_rank(*rounded).rank) == (11, 7)


def test_splitting_a_kernel_unevenly_over_its_windows_keeps_the_output_only():
    net = cnn(5, 3, 1, bias=False)
    params = net.init(std=1.0)
    wide, wide_params = split_kernel(net, params, 0)
    total = wide_params["a"].sum(0)
    wide_params["a"][0] = total * torch.tensor([0.1, 0.5, 0.7], dtype=torch.float64)
    wide_params["a"][1] = total - wide_params["a"][0]
    comparison = compare(net, params, wide, wide_params, inputs(net))
    assert comparison.keeps_output
    assert not comparison.keeps_criticality
    assert not comparison.keeps_tangent_space


def test_a_neuron_without_output_weights_keeps_the_output_only():
    net = fully_connected(3, 2)
    wide, params = fully_connected(3, 3), net.init(std=1.0)
    wide_params = {name: torch.cat([v, torch.ones_like(v[:1])]) for name, v in params.items()}
    wide_params["a"][2] = 0.0
    comparison = compare(net, params, wide, wide_params, inputs(net))
    assert comparison.keeps_output
    assert not comparison.keeps_criticality
    assert (comparison.narrow_rank, comparison.wide_rank) == (10, 11)


def test_a_critical_mapping_may_shrink_the_tangent_space():
    comparison = compare(
        lambda p, x: p["t"] * x[0], {"t": torch.zeros(())},
        lambda p, x: p["t"] ** 3 * x[0], {"t": torch.zeros(())},
        torch.randn(9, 1),
    )  # fmt: skip
    assert comparison.keeps_criticality
    assert (comparison.narrow_rank, comparison.wide_rank) == (1, 0)


def test_a_split_network_of_any_depth_has_the_narrow_rank():
    for net in NETWORKS:
        params = net.init()
        wide, wide_params = net, params
        for layer in range(1, net.layers):
            wide, wide_params = split(wide, wide_params, layer, neuron=0)
        assert numerical_rank(wide, wide_params).rank == numerical_rank(net, params).rank


def test_impossible_embeddings_are_refused():
    net = DeepNetwork((2, 2, 2, 1))
    params = net.init()
    with pytest.raises(ValueError, match="hidden layers 1..2, got 3"):
        split(net, params, layer=3, neuron=0)
    with pytest.raises(ValueError, match="neurons 0..1, got 2"):
        split(net, params, layer=1, neuron=2)
    with pytest.raises(ValueError, match=r"copies of neurons 0..1, got \(0, 0\)"):
        compatible(net, params, [[0, 0], [0, 1]])
    with pytest.raises(ValueError, match="copies are needed for 2 hidden layers"):
        compatible(net, params, [[0, 1]])
    with pytest.raises(ValueError, match="sum to 1"):
        compatible(net, params, [[0, 1, 1], [0, 1]], shares=[[1.0, 0.5, 0.6], [1.0, 1.0]])
    with pytest.raises(ValueError, match="kernels 0..1, got 2"):
        split_kernel(cnn(5, 3, 2), cnn(5, 3, 2).init(), 2)
    even = DeepNetwork((2, 2, 1), activation=torch.cos)
    with pytest.raises(ValueError, match=r"activation\(0\) = 0"):
        add_null(even, even.init(), layer=1)
    residual = DeepNetwork((2, 2, 2, 1), residual=True)
    with pytest.raises(ValueError, match="same copies and shares"):
        compatible(residual, residual.init(), [[0, 1, 1], [0, 0, 1]])


def test_impossible_deep_networks_are_refused():
    with pytest.raises(ValueError, match="1 output"):
        DeepNetwork((3, 2, 2))
    with pytest.raises(ValueError, match="one width"):
        DeepNetwork((3, 2, 3, 1), residual=True)
    with pytest.raises(ValueError, match="needs params of shapes"):
        DeepNetwork((3, 2, 1)).check(DeepNetwork((3, 3, 1)).init())


@pytest.mark.parametrize("kernels", [2, 3, 7, 19])
@pytest.mark.parametrize("net", [cnn(5, 3, 2), cnn(5, 3, 2, shared=False), fully_connected(3, 2)])
def test_widening_is_critical_exact_and_even(net, kernels):
    params = net.init(1.0)
    wide, embedded = widen(net, params, kernels)
    assert wide.kernels == kernels
    assert_critical(net, params, (wide, embedded))
    assert exact_rank(wide, embedded) == exact_rank(net, params)
    shares = embedded["a"].abs()[:, 0] / params["a"].abs()[torch.arange(kernels) % 2, 0]
    assert shares.max() <= 4 * shares.min()


def test_widening_does_not_narrow():
    net = cnn(5, 3, 2)
    with pytest.raises(ValueError, match="kernels needs an integer of at least 2, got 1"):
        widen(net, net.init(), 1)
