"""The networks against the formulas of the paper, written out with loops."""

import math

import pytest
import torch

from llrnb import cnn, fully_connected, predict
from llrnb.networks import TanhNetwork

NETWORKS = {
    "fully connected": fully_connected(5, 4),
    "fully connected, no bias": fully_connected(5, 4, bias=False),
    "cnn": cnn(5, 3, 2),
    "cnn, no bias": cnn(5, 3, 2, bias=False),
    "cnn, stride 2": cnn(7, 3, 2, stride=2),
    "cnn without sharing": cnn(5, 3, 2, shared=False),
    "cnn without sharing, no bias": cnn(5, 3, 2, shared=False, bias=False),
    "image cnn": cnn((4, 5), (2, 3), 2),
    "image cnn without sharing": cnn((4, 4), 2, 2, shared=False),
    "image cnn, stride 2": cnn((5, 5), 3, 2, stride=2),
    "fully connected, output bias": fully_connected(5, 4, output_bias=True),
    "cnn, output bias alone": cnn(5, 3, 2, bias=False, output_bias=True),
    "cnn without sharing, output bias": cnn(5, 3, 2, shared=False, output_bias=True),
}


@pytest.mark.parametrize("net", NETWORKS.values(), ids=NETWORKS)
def test_the_output_is_the_written_out_sum(net):
    params = net.init(std=0.7, seed=3)
    x = torch.randn(net.input_dim, dtype=torch.float64)
    total = float(params["c"]) if net.output_bias else 0.0
    for k in range(net.kernels):
        for p, window in enumerate(net.windows):
            row = (k,) if net.shared else (k, p)
            u = sum(float(params["w"][(*row, e)] * x[i]) for e, i in enumerate(window))
            u += float(params["b"][row]) if net.bias else 0.0
            total += float(params["a"][k, p]) * math.tanh(u)
    assert float(net(params, x)) == pytest.approx(total, rel=1e-12)


def test_a_cnn_is_torchs_convolution():
    net = cnn((6, 5), (3, 2), 4, stride=2)
    params = net.init(std=0.5)
    x = torch.randn(6, 5, dtype=torch.float64)
    hidden = torch.conv2d(x[None], params["w"].reshape(4, 1, 3, 2), params["b"], stride=2)
    expected = (params["a"].reshape(hidden.shape) * torch.tanh(hidden)).sum()
    assert torch.allclose(net(params, x.flatten()), expected, rtol=1e-13)


@pytest.mark.parametrize("net", NETWORKS.values(), ids=NETWORKS)
def test_neuron_weights_see_all_inputs_at_once(net):
    params = net.init(std=0.5, seed=2)
    x = torch.randn(net.input_dim, dtype=torch.float64)
    seen = torch.cat([x, torch.ones(1, dtype=torch.float64)]) if net.bias else x
    hidden = torch.tanh(net.neuron_weights(params) @ seen)
    output = params["a"].flatten() @ hidden + (params["c"] if net.output_bias else 0.0)
    assert torch.allclose(net(params, x), output, rtol=1e-12)


def test_parameter_counts_of_the_papers_experiment():
    families = [
        lambda n: cnn(5, 3, n),
        lambda n: cnn(5, 3, n, shared=False),
        lambda n: fully_connected(5, 3 * n),
    ]
    assert [family(1).parameter_count for family in families] == [7, 15, 21]
    assert [family(100).parameter_count for family in families] == [700, 1500, 2100]


@pytest.mark.parametrize("net", NETWORKS.values(), ids=NETWORKS)
def test_params_have_the_documented_shapes(net):
    params = net.init()
    assert sum(value.numel() for value in params.values()) == net.parameter_count
    rows = (net.kernels,) if net.shared else (net.kernels, len(net.windows))
    assert params["w"].shape == (*rows, net.entries)
    assert params["a"].shape == (net.kernels, len(net.windows))
    assert ("b" in params) == net.bias and (not net.bias or params["b"].shape == rows)
    assert all(value.dtype == torch.float64 for value in params.values())


def test_init_is_normal_with_the_given_std_and_repeatable():
    net = fully_connected(20, 500)
    w = net.init(std=1e-10, seed=1)["w"]
    assert w.std().item() == pytest.approx(1e-10, rel=0.05)
    assert abs(w.mean().item()) < 5e-12
    assert torch.equal(w, net.init(std=1e-10, seed=1)["w"])
    assert not torch.equal(w, net.init(std=1e-10, seed=2)["w"])


@pytest.mark.parametrize("net", NETWORKS.values(), ids=NETWORKS)
def test_predict_is_the_network_at_each_input(net):
    inputs = torch.randn(6, net.input_dim, dtype=torch.float64)
    many = [net.init(std=0.5, seed=seed) for seed in range(3)]
    stacked = {name: torch.stack([params[name] for params in many]) for name in net.shapes}
    expected = torch.stack([torch.stack([net(params, x) for x in inputs]) for params in many])
    assert torch.allclose(predict(net, stacked, inputs), expected, rtol=1e-12, atol=1e-14)
    assert torch.allclose(predict(net, many[0], inputs), expected[0], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: cnn(5, 6, 1), r"1 to \(5,\) entries.*got \(6,\)"),
        (lambda: cnn((4, 4), (2, 5), 1), r"1 to \(4, 4\) entries.*got \(2, 5\)"),
        (lambda: cnn(4, (2, 2), 1), r"1 to \(4,\) entries.*got \(2, 2\)"),
        (lambda: cnn(5, 0, 1), "kernel_size needs an integer of at least 1, got 0"),
        (lambda: cnn(5, 3, 0), "kernels needs an integer of at least 1, got 0"),
        (lambda: cnn(5, 3, 1, stride=0), "stride needs an integer of at least 1, got 0"),
        (lambda: fully_connected(5, 0), "kernels needs an integer of at least 1, got 0"),
        (lambda: fully_connected(0, 3), "input_dim needs an integer of at least 1, got 0"),
        (lambda: TanhNetwork(3, ((0, 1), (2,)), 1), "one common, nonzero size"),
        (lambda: TanhNetwork(3, ((),), 1), "windows needs a list of at least 1"),
        (lambda: TanhNetwork(3, ((0, 0),), 1), "distinct inputs in 0..2, got"),
        (lambda: TanhNetwork(3, ((0, 3),), 1), "distinct inputs in 0..2, got"),
        (lambda: fully_connected(5, 3).init(std=-1), "std needs a finite number >= 0, got -1"),
        (
            lambda: fully_connected(5, 3).init(std=math.nan),
            "std needs a finite number >= 0, got nan",
        ),
    ],
)
def test_an_impossible_network_names_what_was_needed(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_wrong_params_and_inputs_are_named():
    net = cnn(5, 3, 2)
    x = torch.zeros(5, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"needs params of shapes .*\(2, 3\).*got .*\(4, 3\)"):
        net(cnn(5, 3, 4).init(), x)
    with pytest.raises(ValueError, match="needs params of shapes .* got"):
        net({"w": net.init()["w"]}, x)
    with pytest.raises(ValueError, match=r"input of shape \(5,\), got \(4,\)"):
        net(net.init(), x[:4])
