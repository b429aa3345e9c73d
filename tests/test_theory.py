import pytest
import torch

from llrnb import theory
from llrnb.deep import DeepNetwork
from llrnb.networks import cnn, fully_connected
from llrnb.rank import exact_rank


def doubles(*rows):
    return torch.tensor(rows, dtype=torch.float64)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [5, (4, 5)])
def test_generic_targets_have_the_rank_of_theorems_5_to_7(bias, shape):
    for kernels in (1, 2, 3):
        net = cnn(shape, 3, kernels, bias=bias)
        params = net.init(std=1.0)
        windows = theory.window_count(shape, 3)
        assert windows == len(net.windows)
        table = theory.table_3(kernels, net.entries, windows, net.input_dim, bias=bias)
        assert exact_rank(net, params) == table.shared
        each = {**params, "w": params["w"][:, None].repeat(1, windows, 1)}
        if bias:
            each["b"] = params["b"][:, None].repeat(1, windows)
        assert exact_rank(cnn(shape, 3, kernels, shared=False, bias=bias), each) == table.unshared
        dense = as_fully_connected(net, params)
        assert exact_rank(*dense) == table.fully_connected


@pytest.mark.parametrize("bias", [False, True])
def test_an_output_bias_adds_one_tangent_function(bias):
    biases = {"bias": bias, "output_bias": True}
    ranks = {
        cnn(5, 3, 2, **biases): theory.shared_cnn_rank(2, 3, 3, **biases),
        cnn(5, 3, 2, shared=False, **biases): theory.unshared_cnn_rank(6, 3, **biases),
        fully_connected(5, 2, **biases): theory.fully_connected_rank(2, 5, **biases),
    }
    for net, rank in ranks.items():
        assert exact_rank(net, net.init(std=1.0)) == rank
        with_a_silent_kernel = net.init(std=1.0)
        with_a_silent_kernel["a"][0] = with_a_silent_kernel["w"][0] = 0.0
        assert exact_rank(net, with_a_silent_kernel) == 1 + (rank - 1) // 2


def test_a_constant_is_free_for_an_output_bias():
    net = fully_connected(3, 2, output_bias=True)
    params = net.init(std=1.0)
    closed = theory.fully_connected_rank(2, 3, bias=True, offset=True, output_bias=True)
    assert exact_rank(net, params) == closed == theory.fully_connected_rank(2, 3, bias=True) + 1


def as_fully_connected(net, params):
    """The same function, every kernel padded at every window."""
    wide = fully_connected(net.input_dim, net.neurons, bias=net.bias)
    w = torch.zeros(net.kernels, len(net.windows), net.input_dim, dtype=torch.float64)
    for place, window in enumerate(net.windows):
        w[:, place, list(window)] = params["w"]
    dense = {"w": w.flatten(0, 1), "a": params["a"].reshape(-1, 1)}
    if net.bias:
        dense["b"] = params["b"].repeat_interleave(len(net.windows))
    return wide, {name: dense[name] for name in wide.shapes}


def test_a_strided_convolution_has_fewer_windows():
    assert theory.window_count((28, 28), 3, stride=2) == len(cnn((28, 28), 3, 1, stride=2).windows)


@pytest.mark.parametrize(
    ("bias", "blind"), [(0, "no"), (0, "active"), (1, "no"), (1, "active"), (1, "biased")]
)
def test_corollary_7_counts_distinct_active_and_blind_neurons(bias, blind):
    net = fully_connected(2, 5, bias=bool(bias))
    w = doubles([1, 2], [-1, -2], [3, 1], [0, 1], [0, 0])
    a = doubles([1], [1], [0], [1], [float(blind == "active")])
    b = {"b": doubles(0.5, -0.5, 0.0, 0.0, float(blind == "biased"))} if bias else {}
    expected = theory.fully_connected_rank_at(3, 2, 2, bias=bool(bias), blind=blind)
    assert exact_rank(net, {"w": w, **b, "a": a}) == expected


def test_a_constant_costs_one_less_than_the_parameters_of_its_neuron():
    net = fully_connected(3, 2)
    params = {"w": doubles([1, 2, 3], [0, 0, 0]), "b": doubles(1.0, 1.0), "a": doubles([1], [1])}
    rank = exact_rank(net, params)
    assert rank == theory.fully_connected_rank(1, 3, bias=True, offset=True) == 9
    assert net.parameter_count == theory.deep_rank_bound((3, 2, 1), bias=True) == 10


def test_translated_kernels_make_the_papers_formulas_fail():
    shared, a = cnn(6, 3, 2, bias=False), cnn(6, 3, 2).init(std=1.0)["a"]
    params = {"w": doubles([2, 3, 0], [0, 2, 3]), "a": a}
    assert theory.paper_shared_cnn_rank_at(2, 2, 3, windows=4) == 14
    assert exact_rank(shared, params) == 11
    assert theory.paper_unshared_cnn_rank_at(5, 5, 3) == 20
    each = {**params, "w": params["w"][:, None].repeat(1, 4, 1)}
    assert exact_rank(cnn(6, 3, 2, shared=False, bias=False), each) == 23
    assert theory.paper_unshared_cnn_rank(2, 3, 4) == 32
    assert theory.unshared_cnn_rank(5, 3, bias=False) == 20
    assert theory.paper_fully_connected_cnn_rank(2, 6, 4) == 56
    assert theory.fully_connected_rank(5, 6, bias=False) == 35
    assert exact_rank(*merged(as_fully_connected(shared, params))) == 35


def merged(dense):
    """The same function with equal neurons joined: the parameters of the smallest rank."""
    net, params = dense
    w, place = torch.unique(params["w"], dim=0, return_inverse=True)
    a = torch.zeros(len(w), 1, dtype=torch.float64).index_add(0, place, params["a"])
    return fully_connected(net.input_dim, len(w), bias=False), {"w": w, "a": a}


def test_the_papers_zero_kernel_has_a_larger_rank_than_proposition_3_says():
    net = cnn(6, 3, 2, bias=False)
    params = {"w": doubles([1, 2, 3], [0, 0, 0]), "a": doubles([1, 1, 1, 1], [1, 1, 1, 1])}
    assert exact_rank(net, params) == theory.paper_shared_cnn_rank_at(1, 1, 3, 4) + 3


def test_table_3_at_28_by_28_with_3_by_3_kernels():
    assert theory.table_3(1, 9, theory.window_count((28, 28), 3), 784) == (685, 6_760, 530_660)


def test_the_networks_of_section_6():
    ranks = theory.table_3(1, 3, 3, 5, bias=True)
    assert ranks == (7, 15, 21)
    assert theory.table_3(1, 3, 3, 5) == (6, 12, 18)
    assert theory.fully_connected_rank(300, 5, bias=True) == fully_connected(5, 300).parameter_count


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("widths", [(5, 3, 1), (4, 3, 2, 1), (2, 2, 2, 2, 1)])
def test_theorem_4_bounds_by_the_parameters_of_the_narrow_network(widths, bias):
    assert theory.deep_rank_bound(widths, bias=bias) == DeepNetwork(widths, bias).parameter_count


def test_tables_1_and_2_agree_on_two_layers():
    table = theory.table_2(width=300, neurons=3, input_dim=5)
    assert tuple(table) == tuple(theory.table_1((5, 300, 1), (5, 3, 1))) == (1_800, 18, 0)


def test_impossible_architectures_are_refused():
    with pytest.raises(ValueError, match="needs a network with biases"):
        theory.fully_connected_rank(1, 2, bias=False, offset=True)
    with pytest.raises(ValueError, match="widths up to"):
        theory.table_1((5, 3, 1), (5, 4, 1))
    with pytest.raises(ValueError, match="at most as many neurons"):
        theory.table_2(width=2, neurons=3, input_dim=5)
    with pytest.raises(ValueError, match="the widths of all layers"):
        theory.deep_rank_bound((5,))
    with pytest.raises(ValueError, match="blind needs one of no, biased, active, got 'maybe'"):
        theory.fully_connected_rank_at(1, 1, 1, bias=False, blind="maybe")
