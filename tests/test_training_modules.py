"""Training any torch module: the general engine against a plain autograd loop."""

import copy
from itertools import pairwise, product

import pytest
import torch
from torch import nn

import llrnb
from llrnb import Status, from_module, train
from llrnb.training import LOSSES, Adam, GradientDescent, Sum


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.inner, self.last = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x):
        hidden = torch.tanh(self.first(x))
        return self.last(hidden + torch.tanh(self.inner(hidden)))


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(2, 1, batch_first=True)
        self.last = nn.Linear(4, 3)

    def forward(self, x):
        tokens = x.view(-1, 2, 2)
        mixed, _ = self.attention(tokens, tokens, tokens, need_weights=False)
        return self.last(mixed.flatten(1))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.unit, self.last = nn.GRU(1, 5, batch_first=True), nn.Linear(5, 3)

    def forward(self, x):
        return self.last(self.unit(x[..., None])[0][:, -1])


class Own(nn.Module):
    """Parameters of its own, a buffer, and an operation in place."""

    def __init__(self):
        super().__init__()
        self.matrix = nn.Parameter(torch.randn(4, 3))
        self.size = nn.Parameter(torch.ones(()))
        self.register_buffer("shift", torch.arange(3.0))

    def forward(self, x):
        made = x @ self.matrix
        made.mul_(self.size)
        return torch.sin(made) + self.shift


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.there, self.back = nn.Linear(4, 4), nn.Linear(4, 4)
        self.back.weight = self.there.weight
        self.last = nn.Linear(4, 3)

    def forward(self, x):
        return self.last(self.back(torch.tanh(self.there(x))))


class Branching(nn.Module):
    """Which way it goes depends on the data: no batch of networks can do that."""

    def __init__(self):
        super().__init__()
        self.one, self.other = nn.Linear(4, 3), nn.Linear(4, 3)

    def forward(self, x):
        rows = [self.one(row) if self.one(row).sum() > 0 else self.other(row) for row in x]
        return torch.stack(rows)


class Items(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x):
        return self.layer(x) * float(self.layer.weight.detach().abs().max().item() > 0)


class RandomBuffer(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("features", torch.randn(4, 4))

    def forward(self, x):
        return x @ self.features


def dense(*widths, activation=nn.GELU):
    layers = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), activation()]
    return nn.Sequential(*layers[:-1])


def normalised():
    module = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 3))
    module(torch.linspace(-3, 5, 200).view(50, 4).sin())
    module[1].running_mean.copy_(torch.arange(5))  # statistics to keep
    module[1].running_var.fill_(2.0)
    return module


MODULES = {
    "dense, 2 layers": lambda: dense(4, 6, 3),
    "dense, 3 layers": lambda: dense(4, 6, 5, 3),
    "dense, 4 layers, ReLU": lambda: dense(4, 6, 5, 4, 3, activation=nn.ReLU),
    "dense, 5 layers": lambda: dense(4, 5, 5, 5, 5, 3, activation=nn.Tanh),
    "residual": Residual,
    "conv 1-D": lambda: nn.Sequential(
        nn.Unflatten(1, (1, 4)), nn.Conv1d(1, 2, 3), nn.SiLU(), nn.Flatten(), nn.Linear(4, 3)
    ),
    "conv 2-D": lambda: nn.Sequential(
        nn.Unflatten(1, (1, 2, 2)), nn.Conv2d(1, 3, 2), nn.Tanh(), nn.Flatten(), nn.Linear(3, 3)
    ),
    "attention": Attention,
    "layer norm": lambda: nn.Sequential(
        nn.Linear(4, 5), nn.LayerNorm(5), nn.Tanh(), nn.Linear(5, 3)
    ),
    "batch norm": normalised,
    "dropout": lambda: nn.Sequential(nn.Linear(4, 5), nn.Dropout(), nn.Tanh(), nn.Linear(5, 3)),
    "embedding": lambda: nn.Sequential(nn.Embedding(7, 3), nn.Flatten(), nn.Linear(12, 3)),
    "recurrent": Recurrent,
    "own parameters": Own,
    "tied": Tied,
    "branching": Branching,
    "items": Items,
}
OPTIMIZERS = {
    "descent": (GradientDescent(), torch.optim.SGD, {}),
    "momentum": (GradientDescent(momentum=0.9), torch.optim.SGD, {"momentum": 0.9}),
    # A larger epsilon: a gradient of 0 up to rounding, as of a key's bias, is no direction.
    "Adam": (Adam(epsilon=1e-4), torch.optim.Adam, {"eps": 1e-4}),
}
PAIRS = list(product(OPTIMIZERS, ["squared", "cross entropy"]))
# Every kind of module with two of the pairs, and every pair with several kinds.
CASES = [(name, *PAIRS[(i + 3 * k) % 6]) for k in (0, 1) for i, name in enumerate(MODULES)]


def data(name, loss, seed=0):
    stream = torch.Generator().manual_seed(seed)
    inputs = torch.randn(9, 4, generator=stream, dtype=torch.float64)
    if name == "embedding":
        inputs = torch.randint(7, (9, 4), generator=stream)
    if loss == "cross entropy":
        return inputs, torch.randint(3, (9,), generator=stream)
    return inputs, torch.randn(9, 3, generator=stream, dtype=torch.float64)


def made(name, seed):
    torch.manual_seed(seed)
    return MODULES[name]()


def plain_loop(module, inputs, outputs, loss, optimizer, options, *, rate, steps):
    """One module, one optimizer of torch.optim, in float64."""
    module = copy.deepcopy(module).double().eval()
    descent = optimizer(module.parameters(), lr=rate, **options)
    for _ in range(steps):
        descent.zero_grad()
        predictions = module(inputs)
        if loss == "squared":
            total = (predictions - outputs).square().sum(1).mean()
        else:
            total = nn.functional.cross_entropy(predictions, outputs)
        total.backward()
        descent.step()
    return {name: value.detach() for name, value in module.named_parameters()}


@pytest.mark.parametrize(("name", "optimizer", "loss"), CASES)
def test_a_module_descends_as_in_a_plain_loop(name, optimizer, loss):
    ours, theirs, options = OPTIMIZERS[optimizer]
    inputs, outputs = data(name, loss)
    rates = [0.02, 0.005]
    run = train(
        MODULES[name], inputs, outputs, learning_rates=rates, seeds=[3, 4], steps=200,
        tolerance=0.0, loss=loss, optimizer=ours,
    )  # fmt: skip
    assert run.engine == "general" and set(run.status) == {Status.STEP_LIMIT}
    for i, rate in enumerate(rates):
        plain = plain_loop(
            made(name, 3 + i), inputs, outputs, loss, theirs, options, rate=rate, steps=200
        )
        assert run.params.keys() == plain.keys()
        for key, value in plain.items():
            assert torch.allclose(run.params[key][i], value, rtol=1e-10, atol=1e-10), key


def test_a_module_that_is_given_stays_as_it_is():
    module = normalised()
    module.train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    inputs, outputs = data("batch norm", "squared")
    run = train(module, inputs, outputs, learning_rates=[0.05], steps=20)
    assert module.training and not run.params["0.weight"].requires_grad
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert all(value.dtype == torch.float32 for value in module.parameters())


def test_a_module_that_works_in_place_leaves_the_data():
    inputs, outputs = data("residual", "squared")
    before = inputs.clone()
    module, twin = (nn.Sequential(nn.ReLU(inplace=k), nn.Linear(4, 3)) for k in (True, False))
    twin.load_state_dict(module.state_dict())
    options = {"learning_rates": [0.05], "steps": 5}
    runs = [train(one, inputs, outputs, **options) for one in (module, twin)]
    assert torch.equal(runs[0].predict(inputs), runs[1].predict(inputs))
    assert torch.equal(inputs, before) and (inputs < 0).any()


def test_a_factory_leaves_the_generator_as_it_is():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    inputs, outputs = data("residual", "squared")
    train(Residual, inputs, outputs, learning_rates=[0.05] * 2, steps=1)
    assert torch.equal(torch.rand(3), expected)


def test_a_network_of_ours_in_the_general_engine_is_the_same():
    net = llrnb.cnn(5, 3, 2)
    inputs, outputs = torch.randn(8, 5).double(), torch.randn(8).double()
    options = {"learning_rates": [0.05, 0.1], "seeds": [0, 1], "steps": 100, "std": 0.5}
    runs = [train(net, inputs, outputs, engine=engine, **options) for engine in ("cpu", "general")]
    for name in net.shapes:
        assert torch.allclose(runs[0].params[name], runs[1].params[name], atol=1e-12)


def test_starts_are_the_initial_parameters_and_data_may_be_each_networks_own():
    model = from_module(dense(4, 3, 1), (4,))
    starts = {name: torch.randn(2, *shape).double() for name, shape in model.shapes.items()}
    inputs, outputs = torch.randn(2, 6, 4).double(), torch.randn(2, 6).double()
    options = {"steps": 30, "record_at": [0, 30]}
    run = train(model, inputs, outputs, starts=starts, learning_rates=[0.1, 0.05], **options)
    for i, rate in enumerate([0.1, 0.05]):
        own = {name: value[i : i + 1] for name, value in starts.items()}
        one = train(model, inputs[i], outputs[i], starts=own, learning_rates=[rate], **options)
        for name in model.shapes:
            assert torch.equal(run.history.params[name][0, i], starts[name][i])
            assert torch.allclose(run.params[name][i], one.params[name][0], atol=1e-12)


def test_a_loss_of_ones_own_and_mini_batches():
    inputs, outputs = data("residual", "squared")
    options = {"learning_rates": [0.02], "seeds": [1], "steps": 60}
    own = train(
        Residual, inputs, outputs, loss=lambda made, output: (made - output).square().sum(),
        batch_size=4, **options,
    )  # fmt: skip
    named = train(Residual, inputs, outputs, batch_size=4, **options)
    assert torch.allclose(own.loss, named.loss, rtol=1e-12)
    huber = train(Residual, inputs, outputs, loss="huber", **options)
    assert 0 < huber.loss < named.loss


def test_frozen_parameters_stay():
    module = Residual()
    module.inner.weight.requires_grad_(False)
    inputs, outputs = data("residual", "squared")
    run = train(module, inputs, outputs, learning_rates=[0.05], steps=5)
    assert set(run.params) == set(dict(module.named_parameters())) - {"inner.weight"}
    kept = run.model.module.inner.weight
    assert torch.equal(kept, module.inner.weight.double())


def test_a_loss_that_is_an_object_or_negative():
    net = llrnb.fully_connected(4, 3)
    inputs, outputs = torch.randn(9, 4).double(), torch.randn(9).double()
    options = {"learning_rates": [0.1], "steps": 20, "std": 0.5}
    ours = train(net, inputs, outputs, loss="huber", **options)
    theirs = train(net, inputs, outputs, loss=nn.HuberLoss(reduction="sum"), **options)
    assert torch.allclose(ours.loss, theirs.loss) and "one of your own" in theirs.passed_over[0]

    def below_zero(made, output):
        return (made - output).square() - 100

    run = train(net, inputs, outputs, loss=below_zero, tolerance=None, **options)
    assert run.status == (Status.STEP_LIMIT,) and run.loss < 0


def test_a_sum_takes_a_loss_by_its_name():
    assert Sum("squared") == LOSSES["sum of squares"] and Sum("huber").each is LOSSES["huber"]
    with pytest.raises(ValueError, match="loss needs one of squared, .*, got 'square'"):
        Sum("square")


def test_integers_of_numpy_stay_integers():
    inputs, outputs = data("embedding", "cross entropy")
    options = {"learning_rates": [0.1], "steps": 5, "loss": "cross entropy"}
    runs = [
        train(MODULES["embedding"], *given, **options)
        for given in ((inputs, outputs), (inputs.numpy(), outputs.numpy().astype("uint8")))
    ]
    assert torch.equal(runs[0].loss, runs[1].loss)


class Noisy(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x):
        return self.layer(x + torch.randn_like(x))


@pytest.mark.parametrize(
    ("model", "changes", "message"),
    [
        (Residual(), {"learning_rates": [0.1] * 2}, "one initialisation, and there are 2 seeds"),
        (
            Residual(),
            {"engine": "cpu"},
            "two-layer tanh network, got a ModuleModel",
        ),
        (
            Residual(),
            {"engine": "torch"},
            "two-layer network, got a ModuleModel",
        ),
        (Residual(), {"outputs": torch.randn(9)}, r"outputs of shape \(9, 3\), got \(9,\)"),
        (Residual(), {"outputs": torch.randn(8, 3)}, r"outputs of shape \(9,\), got \(8, 3\)"),
        (Residual(), {"loss": "cross entropy"}, "cross entropy needs predictions of shape"),
        (
            Residual(),
            {"loss": "cross"},
            "loss needs one of squared, sum of squares, huber, cross entropy",
        ),
        (Residual(), {"starts": {"w": torch.ones(1)}}, "needs params of shapes"),
        (Residual(), {"starts": {}, "std": 1.0}, "starts or std, got both"),
        (nn.Tanh(), {}, "at least 1 parameter"),
        (Residual().requires_grad_(False), {}, "at least 1 parameter that is not frozen"),
        (Noisy(), {}, "draws random numbers in evaluation mode"),
        (Residual(), {"inputs": torch.ones(9, 4).long()}, "inputs that the model can take, got"),
        (Residual(), {"inputs": torch.ones(9, 5)}, "inputs that the model can take, got"),
        (Residual(), {"loss": lambda made, output: made - output}, "loss needs to be a scalar"),
        (Residual(), {"loss": lambda made, output: 1.0}, "loss needs to be a scalar tensor"),
        (
            lambda: nn.Sequential(RandomBuffer(), nn.Linear(4, 3)),
            {"learning_rates": [0.1] * 2},
            "differ in their parameters only, got other shapes or buffers",
        ),
        (
            Residual(),
            {"loss": "cross entropy", "outputs": torch.full((9,), 3)},
            "outputs in 0..2, got 3 to 3",
        ),
    ],
)
def test_bad_input_names_what_was_needed_and_what_came(model, changes, message):
    inputs, outputs = data("residual", "squared")
    given = {"inputs": inputs, "outputs": outputs, "learning_rates": [0.1], "steps": 5} | changes
    with pytest.raises(ValueError, match=message):
        train(model, given.pop("inputs"), given.pop("outputs"), **given)


def test_what_makes_no_module_is_refused():
    with pytest.raises(TypeError, match="needs to be a"):
        train(lambda: 3, torch.randn(3, 2), torch.randn(3), learning_rates=[0.1], steps=1)
