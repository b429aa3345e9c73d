"""Gradient training of two-layer ReLU networks against torch's own modules and optimizers."""

from itertools import product

import numpy as np
import pytest
import torch
from torch.nn import functional

# `from` would offer its `test_distance` to pytest as a test.
from llrnb.relu import training as relu
from llrnb.relu.training import (
    AdamW,
    SignDescent,
    initial_relu,
    loss_gradient,
    predict_relu,
    train_relu,
    weight_distance,
)
from llrnb.training import GradientDescent

ACTIVATIONS = {
    "relu": functional.relu,
    "leaky relu": functional.leaky_relu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "gelu": functional.gelu,
}
CASES = list(product(relu.NETWORKS, ACTIVATIONS))
OPTIMIZERS = {
    "gradient descent": (GradientDescent(), torch.optim.SGD, {}),
    "momentum and decay": (
        GradientDescent(0.8, 0.1),
        torch.optim.SGD,
        {"momentum": 0.8, "weight_decay": 0.1},
    ),
    "AdamW": (AdamW(), torch.optim.AdamW, {}),
    "AdamW, its options": (
        AdamW(0.8, 0.99, 1e-6, 0.3),
        torch.optim.AdamW,
        {"betas": (0.8, 0.99), "eps": 1e-6, "weight_decay": 0.3},
    ),
}


def data(nets=3, samples=9, dim=4, seed=0):
    """Inputs and, for each network, outputs without structure."""
    rng = np.random.default_rng([samples, dim, seed])
    inputs = torch.from_numpy(rng.standard_normal((nets, samples, dim)))
    return inputs, torch.from_numpy(rng.standard_normal((nets, samples)))


def one_network(network, params, inputs, activation):
    """The formulas of the networks, for one of them."""
    hidden = ACTIVATIONS[activation](inputs @ params["W"])
    if network == "normalised":
        return functional.normalize(hidden, dim=0) @ (params["alpha"] * params["gamma"])
    outputs = hidden @ params["alpha"]
    if network == "skip":
        outputs = outputs + params["alpha0"] * (inputs @ params["w0"])
    return outputs


def plain_loop(
    network, inputs, outputs, optimizer, options, *, seed, steps, anew=False, activation="relu"
):
    """One network, autograd and an optimizer of torch.optim, made once or anew at each step."""
    params = initial_relu(network, inputs.shape[1], len(inputs) + 1, seed=seed)
    for value in params.values():
        value.requires_grad_()
    descent = None
    for _ in range(steps):
        if anew or descent is None:
            descent = optimizer(params.values(), lr=0.01, **options)
        descent.zero_grad()
        loss = (one_network(network, params, inputs, activation) - outputs).square().sum()
        loss.backward()
        descent.step()
    return {name: value.detach() for name, value in params.items()}


def assert_same_networks(run, expected, i):
    assert run.params.keys() == expected.keys()
    for name, value in expected.items():
        # Normalised, a neuron that is active on one sample is constant: its gradient is rounding
        # error, which these optimizers divide by its own size plus 1e-8.
        atol = 1e-6 if name == "W" and "gamma" in expected else 1e-9
        assert torch.allclose(run.params[name][i], value, rtol=1e-8, atol=atol)


def stacked(network, dim, width, seeds):
    drawn = [initial_relu(network, dim, width, seed=seed) for seed in seeds]
    return {name: torch.stack([params[name] for params in drawn]) for name in drawn[0]}


@pytest.mark.parametrize(("network", "activation"), CASES)
def test_the_gradient_in_closed_form_is_that_of_autograd(network, activation):
    inputs, outputs = data()
    params = stacked(network, 4, 7, seeds=range(3))
    if "gamma" in params:
        params["gamma"] = params["gamma"] * torch.linspace(-1, 2, 7, dtype=torch.float64)
    gradient, losses = loss_gradient(network, params, inputs, outputs, activation)
    found = predict_relu(network, params, inputs, activation)
    for i in range(3):
        own = {name: value[i].clone().requires_grad_() for name, value in params.items()}
        expected = one_network(network, own, inputs[i], activation)
        loss = (expected - outputs[i]).square().sum()
        loss.backward()
        assert torch.allclose(found[i], expected)
        assert torch.allclose(losses[i], loss)
        for name, value in own.items():
            assert torch.allclose(gradient[name][i], value.grad, rtol=1e-10, atol=1e-12)


def test_a_neuron_that_is_zero_on_all_samples_is_neither_normalised_nor_moved():
    inputs, outputs = data(nets=1)
    inputs = inputs.abs()
    params = stacked("normalised", 4, 3, seeds=[0])
    params["W"][0, :, 0] = -1.0
    gradient, loss = loss_gradient("normalised", params, inputs, outputs)
    assert loss.isfinite().all()
    assert (gradient["W"][0, :, 0] == 0).all() and gradient["alpha"][0, 0] == 0


def test_a_neuron_below_the_smallest_norm_has_the_gradient_of_autograd():
    inputs, outputs = data(nets=1)
    params = stacked("normalised", 4, 3, seeds=[0])
    params["W"][0, :, 0] *= 1e-14
    gradient, _ = loss_gradient("normalised", params, inputs, outputs)
    own = {name: value[0].clone().requires_grad_() for name, value in params.items()}
    (one_network("normalised", own, inputs[0], "relu") - outputs[0]).square().sum().backward()
    for name, value in own.items():
        assert torch.allclose(gradient[name][0], value.grad, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("network", relu.NETWORKS)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_is_that_of_torch(name, network):
    ours, theirs, options = OPTIMIZERS[name]
    inputs, outputs = data()
    inputs = inputs / 3  # gradient descent with momentum stays bounded
    run = train_relu(
        network, inputs, outputs, seeds=[3, 4, 5], learning_rate=0.01, steps=60, optimizer=ours
    )
    for i, seed in enumerate([3, 4, 5]):
        expected = plain_loop(network, inputs[i], outputs[i], theirs, options, seed=seed, steps=60)
        assert_same_networks(run, expected, i)


@pytest.mark.parametrize("network", relu.NETWORKS)
def test_sign_descent_is_adamw_created_anew_at_each_step(network):
    inputs, outputs = data()
    ours = SignDescent(weight_decay=0.02)
    run = train_relu(
        network, inputs, outputs, seeds=[3, 4, 5], learning_rate=0.01, steps=25, optimizer=ours
    )
    for i, seed in enumerate([3, 4, 5]):
        expected = plain_loop(
            network, inputs[i], outputs[i], torch.optim.AdamW, {"weight_decay": 0.02},
            seed=seed, steps=25, anew=True,
        )  # fmt: skip
        assert_same_networks(run, expected, i)


@pytest.mark.parametrize(("network", "activation"), CASES)
def test_a_network_does_not_depend_on_the_others_in_the_call(network, activation, monkeypatch):
    monkeypatch.setattr(relu, "_TOGETHER", 3 * 9 * 10)  # three at a time, then two
    inputs, outputs = data(nets=5)
    options = {"steps": 40, "activation": activation}
    run = train_relu(network, inputs, outputs, seeds=range(5), **options)
    for i in range(5):
        alone = train_relu(network, inputs[i], outputs[i], seeds=[i], **options)
        assert torch.equal(run.loss[i], alone.loss[0])
        for name, value in alone.params.items():
            assert torch.equal(run.params[name][i], value[0])


def test_shared_data_are_every_networks_own():
    inputs, outputs = data()
    shared = train_relu("skip", inputs[0], outputs[0].numpy(), seeds=[1, 2], steps=20)
    own = train_relu(
        "skip", inputs[[0, 0]].numpy(), outputs[0].repeat(2, 1), seeds=[1, 2], steps=20
    )
    assert torch.equal(shared.loss, own.loss)
    assert shared.loss[0] != shared.loss[1]


@pytest.mark.parametrize("network", relu.NETWORKS)
def test_the_history_is_what_shorter_trainings_end_with(network):
    inputs, outputs = data()
    options = {"seeds": [0, 1, 2], "optimizer": AdamW()}
    run = train_relu(network, inputs, outputs, steps=30, record_at=[12, 0, 30], **options)
    assert run.history.steps == (12, 0, 30)
    short = train_relu(network, inputs, outputs, steps=12, **options)
    start = stacked(network, 4, 10, seeds=[0, 1, 2])
    for name in run.params:
        for record, expected in enumerate([short.params, start, run.params]):
            assert torch.equal(run.history.params[name][record], expected[name])
    assert torch.equal(run.history.loss[0], short.loss)
    assert torch.equal(run.history.loss[2], run.loss)
    residuals = predict_relu(network, run.params, inputs) - outputs
    assert torch.allclose(run.loss, residuals.square().sum(dim=1))


def test_the_initialisation_is_uniform_by_fan_in_and_depends_on_the_seed():
    params = initial_relu("skip", 25, 400, seed=3)
    assert 0.999 / 5 < params["W"].abs().max() < 1 / 5
    assert 0.98 / 20 < params["alpha"].abs().max() < 1 / 20
    assert params["w0"].abs().max() < 1 / 5 and params["alpha0"].abs() < 1
    assert abs(params["W"].std() - 1 / 5 / 3**0.5) < 2e-3
    normalised = initial_relu("normalised", 25, 400, seed=3)
    assert torch.equal(normalised["W"], params["W"]) and (normalised["gamma"] == 1).all()
    assert not torch.equal(initial_relu("skip", 25, 400, seed=4)["W"], params["W"])


@pytest.mark.parametrize("optimizer", [SignDescent(), AdamW(), GradientDescent(momentum=0.9)])
def test_a_skip_network_fits_linear_labels_of_four_times_as_many_samples(optimizer):
    rng = np.random.default_rng(0)
    inputs = rng.standard_normal((3, 40, 10)) / 40**0.5
    planted = rng.standard_normal((3, 10, 1))
    planted /= np.linalg.norm(planted, axis=1, keepdims=True)
    outputs = (inputs @ planted)[..., 0]
    rate = 0.02 if isinstance(optimizer, GradientDescent) else 2e-3
    run = train_relu(
        "skip", inputs, outputs, seeds=range(3), optimizer=optimizer, learning_rate=rate,
        steps=1000, record_at=[0],
    )  # fmt: skip
    assert (run.history.loss[0] > 0.1).all()
    assert (run.loss < 2e-3).all()


def test_a_network_that_diverges_is_an_outcome():
    inputs, outputs = data()
    run = train_relu(
        "plain", inputs, outputs, seeds=range(3), learning_rate=10.0, optimizer=GradientDescent()
    )
    assert not run.loss.isfinite().any()


def test_single_precision_is_close_and_its_result_is_double():
    inputs, outputs = data()
    options = {"seeds": range(3), "steps": 50, "optimizer": GradientDescent()}
    double = train_relu("skip", inputs, outputs, **options)
    single = train_relu("skip", inputs, outputs, precision="float32", **options)
    assert single.params["W"].dtype == single.loss.dtype == torch.float64
    assert torch.allclose(single.params["W"], double.params["W"], atol=1e-5)
    assert not torch.equal(single.params["W"], double.params["W"])


def recovered(network, inputs, planted):
    """A network of the planted neurons, each split into two halves of different scales."""
    columns = torch.cat([planted, 3 * planted], dim=-1)[None]
    ones = columns.new_ones(1, columns.shape[-1])
    if network == "normalised":
        return {"W": columns, "alpha": 0.25 * ones, "gamma": 2 * ones}
    halves = [columns.new_full((1, planted.shape[-1]), part) for part in (1 / 2, 1 / 6)]
    params = {"W": columns, "alpha": torch.cat(halves, dim=1)}
    if network == "plain":
        return params
    return {**params, "w0": 2 * planted.sum(dim=-1)[None], "alpha0": 0.5 * ones[:, 0]}


@pytest.mark.parametrize("network", relu.NETWORKS)
def test_the_weight_distance_is_zero_at_the_planted_weights_and_grows_from_there(network):
    inputs = data(samples=20)[0][0]
    planted = data(samples=4, dim=2, seed=1)[0][0]
    params = recovered(network, inputs, planted)
    assert weight_distance(network, params, planted, inputs) < 1e-12
    if network == "skip":
        moved = {**params, "w0": params["w0"] + 0.2}
        expected = torch.tensor([0.5 * 0.2 * 2.0], dtype=torch.float64)
    else:
        moved = {**params, "alpha": 1.1 * params["alpha"]}
        sizes = planted.norm(dim=0) if network == "plain" else torch.ones(2)
        expected = 0.1 * sizes.norm()[None].double()
    assert torch.allclose(weight_distance(network, moved, planted, inputs), expected)


@pytest.mark.parametrize("network", ["plain", "normalised"])
def test_neurons_of_other_patterns_do_not_count_in_the_weight_distance(network):
    inputs = data(samples=20)[0][0]
    planted = data(samples=4, dim=2, seed=1)[0][0]
    params = recovered(network, inputs, -planted)
    size = planted.norm() if network == "plain" else torch.tensor(2.0).sqrt().double()
    assert torch.allclose(weight_distance(network, params, planted, inputs), size[None])


@pytest.mark.parametrize("network", ["plain", "normalised"])
def test_planted_neurons_of_one_pattern_are_one_neuron_to_the_weight_distance(network):
    inputs = data(samples=20)[0][0]
    one = data(samples=4, dim=1, seed=1)[0][0]
    params = recovered(network, inputs, torch.cat([one, one], dim=1))
    assert weight_distance(network, params, torch.cat([one, one], dim=1), inputs) < 1e-12
    one_less = weight_distance(network, params, one, inputs)
    size = one.norm() if network == "plain" else torch.ones((), dtype=torch.float64)
    assert torch.allclose(one_less, size[None])


def test_the_test_distance_is_a_norm_and_the_test_mse_a_mean():
    found = torch.tensor([[1.0, 2.0], [4.0, 6.0]], dtype=torch.float64)
    truth = torch.tensor([1.0, 2.0], dtype=torch.float64)
    assert relu.test_distance(found, truth).tolist() == [0.0, 5.0]
    assert relu.test_mse(found, truth).tolist() == [0.0, 12.5]


def poisoned(values):
    values = values.clone()
    values.view(-1)[0] = float("nan")
    return values


BAD = {
    "an unknown network": ({"network": "conv"}, "network needs one of .*got 'conv'"),
    "an unknown activation": ({"activation": "elu"}, "activation needs .*got 'elu'"),
    "an unknown precision": ({"precision": "half"}, "precision needs .*got 'half'"),
    "an unknown device": ({"device": "abacus"}, "device needs .*got 'abacus'"),
    "no width": ({"width": 0}, "width needs an integer of at least 1, got 0"),
    "no seeds": ({"seeds": []}, "seeds needs a list of at least 1"),
    "too few seeds": ({"seeds": [1]}, r"\(1, sample, input\), for 1 seeds, got \(3, 9, 4\)"),
    "one sample": ({"inputs": torch.zeros(4)}, r"inputs of shape .*got \(4,\)"),
    "no inputs": ({"inputs": torch.zeros(9, 0)}, r"inputs of shape .*got \(9, 0\)"),
    "other outputs": ({"outputs": torch.zeros(8)}, r"outputs of shape \(9,\) .*got \(8,\)"),
    "NaN inputs": ({"inputs": poisoned(data()[0])}, "inputs needs finite numbers, got 1 NaN"),
    "NaN outputs": ({"outputs": poisoned(data()[1])}, "outputs needs finite numbers, got 1 NaN"),
    "no step": ({"steps": 0}, "steps needs an integer of at least 1, got 0"),
    "a late record": (
        {"steps": 5, "record_at": [6]},
        "record_at needs an integer from 0 to 5, got 6",
    ),
    "no rate": ({"learning_rate": 0.0}, "learning_rate needs .*got 0.0"),
    "an infinite rate": ({"learning_rate": float("inf")}, "learning_rate needs .*got inf"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_named(name):
    change, message = BAD[name]
    inputs, outputs = data()
    arguments = {"network": "skip", "inputs": inputs, "outputs": outputs, "seeds": [0, 1, 2]}
    with pytest.raises(ValueError, match=message):
        train_relu(**{**arguments, **change})


@pytest.mark.parametrize(
    ("kind", "option"),
    [
        (AdamW, {"beta1": 1.0}),
        (AdamW, {"epsilon": -1.0}),
        (SignDescent, {"weight_decay": -0.1}),
        (SignDescent, {"epsilon": float("nan")}),
    ],
)
def test_an_optimizer_out_of_bounds_is_named(kind, option):
    with pytest.raises(ValueError, match=f"{kind.__name__}'s {next(iter(option))} needs"):
        kind(**option)
