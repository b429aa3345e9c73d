"""Optimizers, mini-batches, precision and the progress bar."""

import pytest
import torch
from test_networks import NETWORKS

from llrnb import train
from llrnb.networks import predict
from llrnb.streams import rng
from llrnb.targets import draw, generic_target
from llrnb.training import Adam, AdamW, GradientDescent, Optimizer, SignDescent, progress


class AdamWAnew:
    """AdamW of torch without a memory."""

    def __init__(self, params, **options):
        self.params, self.options = list(params), options

    def zero_grad(self):
        for value in self.params:
            value.grad = None

    def step(self):
        torch.optim.AdamW(self.params, **self.options).step()


OPTIMIZERS = {
    "momentum": (GradientDescent(momentum=0.9), torch.optim.SGD, {"momentum": 0.9}),
    "weight decay": (GradientDescent(weight_decay=0.1), torch.optim.SGD, {"weight_decay": 0.1}),
    "both": (
        GradientDescent(0.5, 0.01),
        torch.optim.SGD,
        {"momentum": 0.5, "weight_decay": 0.01},
    ),
    "Adam": (Adam(), torch.optim.Adam, {}),
    "Adam, weight decay": (
        Adam(0.8, 0.99, 1e-6, 0.05),
        torch.optim.Adam,
        {"betas": (0.8, 0.99), "eps": 1e-6, "weight_decay": 0.05},
    ),
    "AdamW": (
        AdamW(0.8, 0.99, 1e-6, 0.3),
        torch.optim.AdamW,
        {"betas": (0.8, 0.99), "eps": 1e-6, "weight_decay": 0.3},
    ),
    "sign descent": (SignDescent(0.5, 0.1), AdamWAnew, {"eps": 0.5, "weight_decay": 0.1}),
}


def plain_loop(net, inputs, outputs, optimizer, options, *, rate, seed, steps, batches=None):
    """One network and an optimizer of torch.optim."""
    params = {name: value.requires_grad_() for name, value in net.init(0.5, seed).items()}
    descent = optimizer(params.values(), lr=rate, **options)
    for step in range(steps):
        pick = slice(None) if batches is None else batches[step]
        descent.zero_grad()
        (predict(net, params, inputs[pick]) - outputs[pick]).square().mean().backward()
        descent.step()
    return {name: value.detach() for name, value in params.items()}


def assert_close(run, expected, i):
    for name, value in expected.items():
        assert torch.allclose(run.params[name][i], value, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize(
    ("net", "engine"), [("cnn", "torch"), ("cnn without sharing", "torch"), ("cnn", "general")]
)
def test_an_optimizer_is_that_of_torch(name, net, engine):
    ours, theirs, options = OPTIMIZERS[name]
    net = NETWORKS[net]
    inputs, outputs = draw(generic_target(net, seed=3), 9)
    run = train(
        net, inputs, outputs, learning_rates=[0.01, 0.03], seeds=[5, 6], steps=150, std=0.5,
        tolerance=0.0, engine=engine, optimizer=ours,
    )  # fmt: skip
    for i, (rate, seed) in enumerate([(0.01, 5), (0.03, 6)]):
        expected = plain_loop(
            net, inputs, outputs, theirs, options, rate=rate, seed=seed, steps=150
        )
        assert_close(run, expected, i)


@pytest.mark.parametrize("own_data", [False, True])
def test_mini_batches_take_every_sample_once_an_epoch(own_data):
    net, seeds, steps = NETWORKS["cnn"], [2, 7], 50
    inputs, outputs = draw(generic_target(net, seed=3), 10)
    data = (inputs.repeat(2, 1, 1), outputs.repeat(2, 1)) if own_data else (inputs, outputs)
    run = train(
        net, *data, learning_rates=[0.02, 0.02], seeds=seeds, steps=steps, std=0.5,
        tolerance=0.0, engine="torch", batch_size=4, record_at=[7, 20],
    )  # fmt: skip
    for i, seed in enumerate(seeds):
        stream = rng("mini-batch orders", batch_size=4, seed=seed)
        orders = [stream.permutation(10) for _ in range(steps)]
        batches = [part for order in orders for part in (order[:4], order[4:8], order[8:])]
        expected = plain_loop(
            net, inputs, outputs, torch.optim.SGD, {}, rate=0.02, seed=seed, steps=steps,
            batches=batches,
        )  # fmt: skip
        assert_close(run, expected, i)
        loss = (predict(net, expected, inputs) - outputs).square().mean()
        assert float(run.loss[i]) == pytest.approx(float(loss), rel=1e-8)


def test_a_batch_of_all_samples_is_full_batch_descent():
    net = NETWORKS["cnn"]
    data = draw(generic_target(net, seed=3), 6)
    options = {"learning_rates": [0.05], "seeds": [0], "steps": 40, "engine": "torch"}
    whole = train(net, *data, **options)
    assert torch.equal(train(net, *data, batch_size=6, **options).params["a"], whole.params["a"])


def test_float32_is_float64_with_fewer_digits():
    net = NETWORKS["cnn"]
    data = draw(generic_target(net, seed=3), 6)
    options = {"learning_rates": [0.05], "seeds": [0], "steps": 40, "std": 0.5, "engine": "torch"}
    exact, rounded = train(net, *data, **options), train(net, *data, precision="float32", **options)
    assert rounded.params["a"].dtype == torch.float64
    difference = (rounded.params["a"] - exact.params["a"]).abs().max()
    assert 1e-9 < float(difference) < 1e-4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"engine": "cpu", "optimizer": Adam()},
            "cpu engine needs optimizer .*GradientDescent.* got Adam",
        ),
        (
            {"engine": "cpu", "optimizer": SignDescent()},
            "cpu engine needs optimizer .*GradientDescent.* got SignDescent",
        ),
        (
            {"engine": "cuda", "optimizer": AdamW(), "device": "cuda"},
            "cuda engine needs GradientDescent or Adam, got AdamW",
        ),
        ({"engine": "closed form"}, "closed form engine needs a model that .* a TwoLayerNetwork"),
        ({"engine": "torch", "loss": "sum of squares"}, "the squared loss, got sum of squares"),
        ({"engine": "cpu", "batch_size": 4}, "cpu engine needs batch_size None, got 4"),
        (
            {"engine": "cpu", "precision": "float32"},
            "cpu engine needs precision 'float64', got 'float32'",
        ),
        ({"precision": "half"}, "precision needs one of float64, float32, got 'half'"),
        ({"batch_size": 0, "engine": "torch"}, "batch_size needs an integer of at least 1, got 0"),
    ],
)
def test_an_option_that_does_not_fit_is_refused(changes, message):
    net = NETWORKS["cnn"]
    data = draw(generic_target(net, seed=3), 6)
    with pytest.raises(ValueError, match=message):
        train(net, *data, **({"learning_rates": [0.1], "seeds": [0], "steps": 5} | changes))


class Slower(Optimizer):
    """Gradient descent at a rate that falls as 1 / t, of one's own."""

    def step(self, theta, gradient, memory, t, rate):
        return theta - rate / t * gradient, memory


@pytest.mark.parametrize("engine", ["torch", "general"])
def test_an_optimizer_of_ones_own_is_a_class(engine):
    net = NETWORKS["cnn"]
    inputs, outputs = draw(generic_target(net, seed=3), 6)
    run = train(
        net, inputs, outputs, learning_rates=[0.1], steps=20, std=0.5, optimizer=Slower(),
        engine=engine,
    )  # fmt: skip
    params = net.init(0.5, 0)
    for step in range(1, 21):
        slopes = torch.func.grad(lambda p: (predict(net, p, inputs) - outputs).square().mean())(
            params
        )
        params = {name: value - 0.1 / step * slopes[name] for name, value in params.items()}
    assert_close(run, params, 0)


class OnTheta(Optimizer):
    def step(self, theta, gradient, memory, t, rate):
        theta.data.sub_(rate * gradient)
        return theta, memory


class OnMemory(Optimizer):
    slots = 1

    def step(self, theta, gradient, memory, t, rate):
        memory[0].mul_(0.9).add_(gradient)
        return theta - rate * memory[0], memory


class OnList(Optimizer):
    slots = 1

    def step(self, theta, gradient, memory, t, rate):
        memory[0] = memory[0] * 0.9 + gradient
        return theta - rate * memory[0], memory


class OnRate(Optimizer):
    def step(self, theta, gradient, memory, t, rate):
        return theta - rate.div_(t + 1) * gradient, memory


@pytest.mark.parametrize("optimizer", [OnTheta(), OnMemory(), OnList(), OnRate()])
def test_an_optimizer_that_works_in_place_is_refused(optimizer):
    """It would move networks that have stopped."""
    net = NETWORKS["cnn"]
    data = draw(generic_target(net, seed=3), 6)
    with pytest.raises(ValueError, match="needs to return other tensors, .* changes them in place"):
        train(net, *data, learning_rates=[0.1], steps=5, optimizer=optimizer)


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        (
            GradientDescent,
            {"momentum": 1.0},
            "momentum needs a finite number >= 0 and < 1, got 1.0",
        ),
        (
            GradientDescent,
            {"weight_decay": -0.1},
            "weight_decay needs a finite number >= 0, got -0.1",
        ),
        (Adam, {"beta2": float("nan")}, "beta2 needs a finite number >= 0 and < 1, got nan"),
        (Adam, {"epsilon": -1.0}, "epsilon needs a finite number >= 0, got -1.0"),
    ],
)
def test_an_optimizer_refuses_impossible_values(kind, value, message):
    with pytest.raises(ValueError, match=message):
        kind(**value)


class Bar:
    """What tqdm would be told."""

    def __init__(self, total, **options):
        self.total, self.n, self.shown = total, 0, []
        Bar.last = self

    def update(self, by):
        self.n += by
        self.shown.append(self.n)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        pass


@pytest.mark.parametrize("engine", ["cpu", "torch"])
def test_a_notebook_sees_how_far_a_long_training_is(engine, monkeypatch):
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    monkeypatch.setattr(progress, "_in_notebook", lambda: True)
    monkeypatch.setattr("tqdm.auto.tqdm", Bar)
    monkeypatch.setattr("llrnb.training.cpu._GLANCE", 0.01)
    monkeypatch.setattr("llrnb.training.cpu._PATIENCE", 10**5)
    net = NETWORKS["cnn"]
    steps = 20_000 if engine == "cpu" else 500
    train(
        net, *draw(generic_target(net, seed=3), 20), learning_rates=[1e-6] * 2, seeds=[0, 1],
        steps=steps, tolerance=0.0, engine=engine,
    )  # fmt: skip
    assert Bar.last.total == 2 * steps
    assert Bar.last.shown and Bar.last.shown == sorted(Bar.last.shown)
    assert 0 < Bar.last.n <= 2 * steps


def test_nothing_is_shown_outside_a_notebook(capsys):
    with progress.bar(10) as report:
        report(5)
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


def test_an_environment_variable_hides_the_bar(monkeypatch):
    monkeypatch.setenv("TQDM_DISABLE", "1")
    monkeypatch.setattr(progress, "_in_notebook", lambda: True)
    monkeypatch.setattr("tqdm.auto.tqdm", None)  # calling it would fail
    with progress.bar(10) as report:
        report(5)
