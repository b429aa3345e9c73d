"""Gradient training of two-layer ReLU networks against torch's own modules and optimizers."""

from itertools import product

import numpy as np
import pytest
import torch
from torch.nn import functional

from llrnb.rank import numerical_rank, tangent_matrix

# `from` would offer its `test_distance` to pytest as a test.
from llrnb.relu import training as relu
from llrnb.relu.training import (
    AdamW,
    ReluNetwork,
    SignDescent,
    initial_relu,
    loss_gradient,
    predict_relu,
    train_relu,
    weight_distance,
)
from llrnb.streams import rng
from llrnb.training import Adam, GradientDescent, Sum, closed, losses, train

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
    "Adam": (Adam(weight_decay=0.1), torch.optim.Adam, {"weight_decay": 0.1}),
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
    network,
    inputs,
    outputs,
    optimizer,
    options,
    *,
    seed,
    steps,
    anew=False,
    batches=None,
    mean=False,
):
    """One network, autograd and an optimizer of torch.optim, made once or anew at each step."""
    params = initial_relu(network, inputs.shape[1], len(inputs) + 1, seed=seed)
    for value in params.values():
        value.requires_grad_()
    descent = None
    for step in range(steps):
        at = slice(None) if batches is None else batches[step]
        if anew or descent is None:
            descent = optimizer(params.values(), lr=0.01, **options)
        descent.zero_grad()
        squares = (one_network(network, params, inputs[at], "relu") - outputs[at]).square()
        (squares.mean() if mean else squares.sum()).backward()
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


def test_integers_are_numbers_to_predictions():
    params = stacked("skip", 3, 4, [0, 1])
    whole = torch.arange(12).view(4, 3) - 5
    assert torch.equal(
        predict_relu("skip", params, whole), predict_relu("skip", params, whole.double())
    )


class Doubled(ReluNetwork):
    """A parent's squares, and outputs of its own."""

    def outputs(self, params, inputs):
        return 2 * super().outputs(params, inputs)


class Own(Doubled):
    """Squares of its own, too, with the outputs' factor."""

    def squares(self, params, inputs, outputs):
        gradient, loss = super().squares(params, inputs, outputs / 2)
        return {name: 4 * slope for name, slope in gradient.items()}, 4 * loss


def test_a_subclass_with_squares_of_its_own_is_trained_by_them():
    inputs, outputs = torch.randn(8, 3).double(), torch.randn(8).double()
    options = {"learning_rates": [0.01], "steps": 30, "tolerance": None}
    own, general = (
        train(Own("plain", 3, 4), inputs, outputs, engine=engine, **options)
        for engine in ("auto", "general")
    )
    assert own.engine == "closed form"
    assert torch.allclose(own.params["W"], general.params["W"], rtol=1e-9)


def test_a_subclass_with_outputs_of_its_own_is_trained_as_itself():
    net = Doubled("plain", 3, 4)
    inputs, outputs = torch.randn(8, 3).double(), torch.randn(8).double()
    options = {"learning_rates": [0.01], "steps": 30, "tolerance": None}
    run = train(net, inputs, outputs, **options)
    assert run.engine == "general" and "outputs of its own" in run.passed_over[-1]
    params = {name: value.requires_grad_() for name, value in net.start(0).items()}
    for _ in range(30):
        made = 2 * (inputs @ params["W"]).relu() @ params["alpha"]
        slopes = torch.autograd.grad((made - outputs).square().mean(), list(params.values()))
        params = {
            name: (value - 0.01 * slope).detach().requires_grad_()
            for (name, value), slope in zip(params.items(), slopes, strict=True)
        }
    for name, value in params.items():
        assert torch.allclose(run.params[name][0], value, rtol=1e-10)
    with pytest.raises(ValueError, match="got a Doubled, which has outputs of its own"):
        train(net, inputs, outputs, engine="closed form", **options)


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


@pytest.mark.parametrize("engine", ["closed form", "general"])
@pytest.mark.parametrize("network", relu.NETWORKS)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_relu_network_is_a_model_that_is_trained_like_others(name, network, engine):
    ours, theirs, options = OPTIMIZERS[name]
    inputs, outputs = data(samples=7)
    inputs, seeds, steps = inputs / 3, [3, 4, 5], 30
    net = ReluNetwork(network, 4, width=8)
    run = train(
        net, inputs, outputs, learning_rates=[0.02] * 3, seeds=seeds, steps=steps, optimizer=ours,
        engine=engine, tolerance=None, record_at=[0],
    )  # fmt: skip
    assert run.engine == engine and run.model == net
    for i, seed in enumerate(seeds):
        start = run.history.at(0)[i]
        assert all(torch.equal(start[key], v) for key, v in net.start(seed).items())
        expected = plain_loop(
            network, inputs[i], outputs[i], lambda p, lr, **o: theirs(p, lr=0.02, **o), options,
            seed=seed, steps=steps, mean=True,
        )  # fmt: skip
        assert_same_networks(run, expected, i)
        off = one_network(network, expected, inputs[i], "relu") - outputs[i]
        assert torch.allclose(run.loss[i], off.square().mean(), rtol=1e-6)


@pytest.mark.parametrize("engine", ["closed form", "general"])
@pytest.mark.parametrize("network", relu.NETWORKS)
def test_mini_batches_of_a_relu_network_have_norms_of_their_own(network, engine):
    inputs, outputs = data(nets=1, samples=10)
    run = train(
        ReluNetwork(network, 4, width=11), inputs[0], outputs[0], learning_rates=[0.01] * 2,
        seeds=[3, 8], steps=25, batch_size=4, loss="sum of squares", engine=engine,
    )  # fmt: skip
    for i, seed in enumerate([3, 8]):
        stream = rng("mini-batch orders", batch_size=4, seed=seed)
        orders = [stream.permutation(10) for _ in range(25)]
        batches = [part for order in orders for part in (order[:4], order[4:8], order[8:])]
        expected = plain_loop(
            network, inputs[0], outputs[0], torch.optim.SGD, {}, seed=seed, steps=25,
            batches=batches,
        )  # fmt: skip
        assert_same_networks(run, expected, i)


@pytest.mark.parametrize("network", relu.NETWORKS)
def test_dead_neurons_stay_where_they_are_in_every_engine(network):
    inputs, outputs = data(nets=1)
    start = stacked(network, 4, 3, seeds=[0])
    start["W"][0, :, 0] = -1.0
    runs = [
        train(
            ReluNetwork(network, 4, 3), inputs[0].abs(), outputs[0], learning_rates=[0.01],
            starts=start, steps=5, engine=engine,
        )
        for engine in ("closed form", "general")
    ]  # fmt: skip
    for name in start:
        assert torch.allclose(runs[0].params[name], runs[1].params[name], atol=1e-12)
    assert (runs[1].params["W"][0, :, 0] == -1.0).all()


def test_a_sum_is_the_number_of_samples_times_the_mean():
    inputs, outputs = data()
    net, options = ReluNetwork("skip", 4, 5), {"seeds": [0, 1, 2], "steps": 20, "tolerance": None}
    for name, loss in {"sum of squares": losses.squared, Sum(losses.huber): losses.huber}.items():
        whole = train(net, inputs, outputs, learning_rates=[0.01] * 3, loss=name, **options)
        mean = train(net, inputs, outputs, learning_rates=[0.09] * 3, loss=loss, **options)
        assert whole.engine == mean.engine
        assert torch.allclose(whole.loss, 9 * mean.loss, rtol=1e-10)
        assert torch.allclose(whole.params["W"], mean.params["W"], atol=1e-12)
    assert whole.engine == "general" and "one of your own" in whole.passed_over[-1]


def test_a_relu_network_has_a_rank_and_a_normalised_one_says_why_it_has_none():
    net = ReluNetwork("plain", 3, 2)
    params = {name: value.double() for name, value in net.init(1.0, seed=2).items()}
    assert numerical_rank(net, params).rank == net.parameter_count - 2  # a scale for each neuron
    off = ReluNetwork("normalised", 3, 2)
    for call in (numerical_rank, tangent_matrix):
        with pytest.raises(ValueError, match="a normalised network needs many inputs at once"):
            call(off, off.start(), torch.ones(4, 3, dtype=torch.float64))
    inputs = data(nets=1, dim=3)[0][0]
    together = off.outputs(off.start(), inputs)
    assert torch.allclose(together, one_network("normalised", off.start(), inputs, "relu"))
    with pytest.raises(ValueError, match=r"needs inputs of shape \(sample, 3\), got \(9, 4\)"):
        off.outputs(off.start(), data()[0][0])


def test_an_activation_of_ones_own_trains_a_relu_network():
    inputs, outputs = data()
    run, known = (
        train_relu("skip", inputs, outputs, seeds=range(3), steps=20, activation=activation)
        for activation in (lambda u: u * torch.special.ndtr(u), "gelu")
    )
    assert torch.allclose(run.loss, known.loss, rtol=1e-6)


@pytest.mark.parametrize(("network", "activation"), CASES)
def test_a_network_does_not_depend_on_the_others_in_the_call(network, activation, monkeypatch):
    of_each = sum(value.numel() for value in initial_relu(network, 4, 10).values()) * 9 // 4
    monkeypatch.setattr(closed, "_TOGETHER", 3 * of_each)  # three at a time, then two
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
    assert [str(status) for status in run.status] == ["diverged"] * 3
    assert not (run.loss < 1e100).any() and (run.steps < 400).all()


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
    "too few seeds": ({"seeds": [1]}, "needs inputs of 1 networks, got those of 3"),
    "one sample": ({"inputs": torch.zeros(4)}, r"inputs of shape .*got \(4,\)"),
    "no inputs": ({"inputs": torch.zeros(9, 0)}, r"inputs of shape .*got \(9, 0\)"),
    "other outputs": ({"outputs": torch.zeros(8)}, r"outputs of shape \(3, 9\), got \(3, 8\)"),
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
