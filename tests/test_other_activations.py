"""Networks of other activations: each function is right for them, or says that it is for tanh.

What is right is compared with formulas and loops written here.
"""

import json
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from llrnb import (
    DeepNetwork,
    certify,
    certify_rank,
    cnn,
    exact_rank,
    fully_connected,
    local_linear_fit,
    narrowest_interpolator,
    numerical_rank,
    series_rank,
    strategies,
    tangent_matrix,
    train,
)
from llrnb.activations import ACTIVATIONS, TANH, activation_of
from llrnb.condensation import condense
from llrnb.descriptions import (
    describe_network,
    describe_target,
    network_from,
    target_from,
)
from llrnb.embedding import add_null, compare, compatible, split, split_kernel, widen
from llrnb.least_squares import draw_starts, fit
from llrnb.networks import TanhNetwork, TwoLayerNetwork, is_tanh_network, predict
from llrnb.rank.certified import enclosed_tangent
from llrnb.rank.exact import structure
from llrnb.reduction import reduce
from llrnb.sweep import train_cell
from llrnb.targets import draw, generic_target
from llrnb.training import Adam

# Each activation as NumPy or torch's autograd know it.
FORMULAS = {
    "gelu": torch.nn.functional.gelu,
    "relu": lambda u: u.clamp(min=0),
    "sine": torch.sin,
    "softplus": lambda u: (1 + u.exp()).log(),
}
others = pytest.mark.parametrize("name", FORMULAS)


def inputs_of(samples: int, dim: int = 3) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(samples).standard_normal((samples, dim)))


@dataclass(frozen=True)
class Quadratic(TwoLayerNetwork):
    """f(x) = sum_k a_k (w_k . x)^2, whose model rank is that of quadratic forms."""

    def __call__(self, params, x):
        return (params["a"][:, 0] * (params["w"] @ x).square()).sum()


QUADRATIC = Quadratic(3, ((0, 1, 2),), 4, bias=False)
PARAMS = QUADRATIC.init(std=1.0)
INPUTS = inputs_of(12)
OUTPUTS = INPUTS[:, 0] ** 2


# What a network of another activation is.


def test_the_old_name_is_the_same_class():
    assert TanhNetwork is TwoLayerNetwork
    assert TanhNetwork(1, ((0,),), 1) == fully_connected(1, 1)


@others
def test_its_outputs_are_those_of_its_formula(name):
    net = fully_connected(3, 4, output_bias=True, activation=name)
    params = net.init(1.0)
    hidden = FORMULAS[name](INPUTS @ params["w"].T + params["b"])
    expected = hidden @ params["a"][:, 0] + params["c"]
    assert torch.allclose(predict(net, params, INPUTS), expected, rtol=1e-12)
    conv = cnn(3, 2, 4, activation=name)
    params = conv.init(1.0)
    expected = sum(
        FORMULAS[name](INPUTS[:, p : p + 2] @ params["w"].T + params["b"]) @ params["a"][:, p]
        for p in (0, 1)
    )
    assert torch.allclose(predict(conv, params, INPUTS), expected, rtol=1e-12)


@others
def test_only_tanh_is_a_tanh_network_and_all_start_alike(name):
    net, tanh = fully_connected(3, 4, activation=name), fully_connected(3, 4)
    assert is_tanh_network(tanh) and not is_tanh_network(net) and not is_tanh_network(QUADRATIC)
    assert tanh.activation is TANH and net.activation is ACTIVATIONS[name]
    assert net != tanh and repr(net).endswith(f"activation=Activation({name!r}))")
    assert all(torch.equal(net.init()[key], tanh.init()[key]) for key in net.shapes)


@others
def test_a_deep_network_takes_it_by_name_as_a_value_or_as_a_function(name):
    nets = [
        DeepNetwork((3, 4, 2, 1), bias=True, activation=given)
        for given in (name, ACTIVATIONS[name], FORMULAS[name])
    ]
    params = nets[0].init()
    made = [torch.vmap(net, in_dims=(None, 0))(params, INPUTS) for net in nets]
    assert torch.allclose(made[0], made[2], rtol=1e-12) and torch.equal(made[0], made[1])


# Ranks and fits.


@others
def test_its_tangent_matrix_is_that_of_autograd(name):
    net = cnn(3, 2, 2, activation=name)
    params = {key: value.requires_grad_() for key, value in net.init(1.0).items()}
    rows = []
    for x in INPUTS:
        made = sum(
            params["a"][k, p] * FORMULAS[name](params["w"][k] @ x[p : p + 2] + params["b"][k])
            for k in range(2)
            for p in range(2)
        )
        slopes = torch.autograd.grad(made, list(params.values()))
        rows.append(torch.cat([slope.flatten() for slope in slopes]))
    assert torch.allclose(tangent_matrix(net, params, INPUTS), torch.stack(rows), rtol=1e-10)


RANKS = {"tanh": 10, "relu": 8, "sine": 10, "gelu": 10}


@pytest.mark.parametrize("name", RANKS)
def test_its_numerical_rank_is_its_own(name):
    """Two neurons of 3 inputs and a bias: 10 parameters, of which each ReLU's scale is none."""
    net = fully_connected(3, 2, activation=name)
    assert numerical_rank(net, net.init(1.0)).rank == RANKS[name]


def test_neurons_that_tanh_tells_apart_may_depend_on_one_another():
    w = torch.tensor([[1.0, -0.5], [1.0, -0.5]], dtype=torch.float64)
    params = {"w": w, "b": torch.tensor([0.3, 1.1]).double(), "a": torch.ones(2, 1).double()}
    tanh, sine = fully_connected(2, 2), fully_connected(2, 2, activation="sine")
    assert exact_rank(tanh, params) == numerical_rank(tanh, params).rank == 8
    assert numerical_rank(sine, params).rank == 6  # sin, cos, and the same times x_1 and x_2


@others
def test_its_local_linear_fit_recovers_from_its_rank_on(name):
    net = fully_connected(2, 1, bias=False, activation=name)
    params = {"w": torch.tensor([[0.8, -0.6]]).double(), "a": torch.ones(1, 1).double()}
    rank = numerical_rank(net, params).rank
    assert rank == (2 if name == "relu" else 3)
    found = [local_linear_fit(net, params, inputs_of(20, 2)[:n]) for n in (rank - 1, 20)]
    assert [f.recovers for f in found] == [False, True]


# Embeddings, targets, descriptions.


@others
def test_splitting_keeps_its_function_and_its_critical_points(name):
    net = cnn(3, 2, 2, activation=name)
    params = net.init(1.0)
    for wide in (split_kernel(net, params, 1, 0.3), widen(net, params, 5)):
        assert wide[0].activation == net.activation
        found = compare(net, params, *wide, inputs_of(40))
        assert found.keeps_output and found.keeps_criticality and found.keeps_tangent_space
    deep = DeepNetwork((3, 2, 1), activation=name)
    found = compare(deep, deep.init(), *split(deep, deep.init(), 1, 0, 0.3), inputs_of(40))
    assert found.keeps_output and found.keeps_criticality


@others
def test_a_target_of_it_comes_back_from_json(name):
    target = generic_target(cnn(3, 2, 2, activation=name), seed=1)
    again = target_from(json.loads(json.dumps(describe_target(target))))
    assert again.net == target.net
    assert torch.equal(again(INPUTS), target(INPUTS))
    hidden = [
        FORMULAS[name](INPUTS[:, p : p + 2] @ target.params["w"].T + target.params["b"])
        for p in (0, 1)
    ]
    expected = sum(h @ target.params["a"][:, p] for p, h in enumerate(hidden))
    assert torch.allclose(target(INPUTS), expected, rtol=1e-12)


@others
def test_its_description_names_it_and_that_of_tanh_is_as_before(name):
    net = fully_connected(3, 2, activation=name)
    usual = describe_network(replace(net, activation="tanh"))
    assert describe_network(net) == {**usual, "activation": name}
    assert list(usual) == ["kind", "input_dim", "windows", "kernels", "shared", "bias"]
    assert network_from(describe_network(net)) == net
    dense = {"kind": "fully connected", "input_dim": 3, "width": 2, "activation": name}
    assert network_from(dense) == net


def test_an_activation_of_ones_own_cannot_be_described():
    own = fully_connected(3, 2, activation=torch.erf)
    with pytest.raises(ValueError, match="needs an activation that it can name, .*, got .* erf"):
        describe_network(own)
    disguised = fully_connected(3, 2, activation=replace(activation_of(torch.erf), name="tanh"))
    with pytest.raises(ValueError, match="got one of your own, tanh"):
        describe_network(disguised)
    assert not is_tanh_network(disguised)


# Training.


def by_hand(net, formula, start, inputs, outputs, rate, steps, adam=False):
    """The params after so many steps of a plain loop, one network, by autograd."""
    params = {name: value.clone().requires_grad_() for name, value in start.items()}
    kind = torch.optim.Adam if adam else torch.optim.SGD
    optimizer = kind(params.values(), lr=rate)
    windows = torch.tensor(net.windows)
    for _ in range(steps):
        optimizer.zero_grad()
        inner = torch.einsum("spe,ke->skp", inputs[:, windows], params["w"]) + params["b"][:, None]
        made = (params["a"] * formula(inner)).sum(dim=(1, 2))
        (made - outputs).square().mean().backward()
        optimizer.step()
    return {name: value.detach() for name, value in params.items()}


@others
@pytest.mark.parametrize("adam", [False, True])
def test_the_torch_engine_trains_it_as_a_plain_loop_does(name, adam):
    net, rates = cnn(3, 2, 4, activation=name), [0.01, 0.03]
    options = {"std": 0.5, "steps": 60, **({"optimizer": Adam()} if adam else {})}
    run = train(net, INPUTS, OUTPUTS, learning_rates=rates, **options)
    assert run.engine == "torch"
    for seed, rate in enumerate(rates):
        start = net.init(0.5, seed)
        expected = by_hand(net, FORMULAS[name], start, INPUTS, OUTPUTS, rate, 60, adam)
        for key, value in expected.items():
            assert torch.allclose(run.params[key][seed], value, rtol=1e-9, atol=1e-12)


def test_mini_batches_integers_single_precision_and_own_activations_are_trained_alike():
    net = fully_connected(3, 4, output_bias=True, activation=lambda u: u * u.sigmoid())
    data = INPUTS.round().to(torch.int64), OUTPUTS
    common = {"learning_rates": [0.01] * 2, "std": 0.5, "steps": 40, "batch_size": 5}
    batched, general = (train(net, *data, engine=e, **common) for e in ("torch", "general"))
    for key in net.shapes:
        assert torch.allclose(batched.params[key], general.params[key], rtol=1e-9, atol=1e-12)
    single = train(net, *data, engine="torch", precision="float32", **common)
    assert torch.allclose(single.params["a"], batched.params["a"], rtol=1e-3, atol=1e-5)


def test_a_cell_of_a_sweep_trains_it_on_a_target_of_it():
    narrow = {"kind": "cnn", "input_shape": 4, "kernel_size": 2, "kernels": 1, "activation": "gelu"}
    target = {"kind": "generic", "network": narrow, "seed": 3}
    rows = train_cell(
        network={**narrow, "kernels": 3}, target=target, samples=8, learning_rates=(0.01, 0.02),
        trials=1, steps=30, tolerance=0.0, std=0.5, test_samples=5, engine="auto",
    )  # fmt: skip
    inputs, outputs = draw(target_from(target), 8, seed=0)
    net = cnn(4, 2, 3, activation="gelu")
    for row in rows.itertuples():
        found = by_hand(
            net, FORMULAS["gelu"], net.init(0.5), inputs, outputs, row.learning_rate, 30
        )
        loss = (predict(net, found, inputs) - outputs).square().mean()
        assert row.train_loss == pytest.approx(float(loss), rel=1e-9)


@pytest.mark.parametrize("engine", ["cpu", "cuda"])
@others
def test_engines_for_tanh_refuse_it(engine, name):
    net = fully_connected(3, 4, activation=name)
    options = {"engine": engine, "device": engine}
    with pytest.raises(ValueError, match=f"two-layer tanh network, got .* of {name} neurons"):
        train(net, INPUTS, OUTPUTS, learning_rates=[0.01], steps=5, **options)


# What is said of tanh alone.


def claims_of(net, params):
    return {
        "exact_rank": lambda: exact_rank(net, params),
        "structure": lambda: structure(net, params),
        "enclosed_tangent": lambda: enclosed_tangent(net, params, INPUTS),
        "draw_starts": lambda: draw_starts(net, INPUTS, OUTPUTS, 2),
        "fit": lambda: fit(net, INPUTS, OUTPUTS, {n: v[None] for n, v in params.items()}),
        "narrowest": lambda: narrowest_interpolator(net, INPUTS, OUTPUTS, budget=10, seed=0),
        "certify": lambda: certify(net, params, INPUTS, OUTPUTS),
        "adam": lambda: strategies.adam(net, INPUTS[None], OUTPUTS[None], [0], steps=2),
    }


@pytest.mark.parametrize("claim", claims_of(QUADRATIC, PARAMS))
@pytest.mark.parametrize("name", [*FORMULAS, "identity"])
def test_what_holds_for_tanh_alone_is_not_said_of_it(name, claim):
    net = fully_connected(3, 4, activation=name)
    with pytest.raises(TypeError, match=f"tanh network, got .* of {name} neurons.* any model"):
        claims_of(net, net.init(1.0))[claim]()


@others
def test_what_is_proved_of_its_rank_is_right(name):
    net = fully_connected(3, 4, activation=name)
    params = net.init(1.0)
    proof = certify_rank(net, params)
    assert proof.lower == numerical_rank(net, params).rank and proof.left < 1e-80


@others
def test_its_exact_rank_is_refused_with_the_reason(name):
    net = fully_connected(3, 4, activation=name)
    with pytest.raises(TypeError) as refused:
        exact_rank(net, net.init(1.0))
    assert ACTIVATIONS[name].uncovered in str(refused.value)


@others
def test_deep_networks_of_it_have_no_series_and_are_not_reduced(name):
    net = DeepNetwork((2, 2, 1), activation=name)
    with pytest.raises(ValueError, match=f"of tanh, got Activation.'{name}'.; numerical_rank"):
        series_rank(net, net.init())
    with pytest.raises(ValueError, match=f"tanh networks .* got one of Activation.'{name}'."):
        reduce(net, net.init())


def test_odd_neurons_of_opposite_weights_are_condensed_others_are_not():
    w = torch.tensor([[1.0, 2.0, 0.0], [-1.0, -2.0, 0.0], [0.0, 1.0, 0.5]]).double()
    params = {"w": w, "a": torch.tensor([[1.0], [0.5], [2.0]]).double()}
    sine = fully_connected(3, 3, bias=False, activation="sine")
    narrow, found = condense(sine, params)
    assert narrow.kernels == 2 and narrow.activation == sine.activation
    assert torch.allclose(predict(narrow, found, INPUTS), predict(sine, params, INPUTS))
    for name in ("gelu", "relu", "softplus"):
        with pytest.raises(TypeError, match=f"odd neurons, .* got .* of {name} neurons"):
            condense(replace(sine, activation=name), params)


# A subclass that computes its outputs in its own way is another model, too.


def test_the_rank_of_a_subclass_is_its_own():
    """Quadratic forms of 3 inputs: 6 parameters; a tanh network of these params has rank 16."""
    assert numerical_rank(QUADRATIC, PARAMS).rank == 6
    assert exact_rank(fully_connected(3, 4, bias=False), PARAMS) == 16
    matrix = tangent_matrix(QUADRATIC, PARAMS, INPUTS)
    of_a = (INPUTS @ PARAMS["w"].T).square()
    assert torch.allclose(matrix[:, -4:], of_a, rtol=1e-12)
    made = of_a @ PARAMS["a"][:, 0]
    assert torch.allclose(predict(QUADRATIC, PARAMS, INPUTS), made, rtol=1e-12)
    target = generic_target(QUADRATIC)
    by_formula = (INPUTS @ target.params["w"].T).square() @ target.params["a"][:, 0]
    assert torch.allclose(target(INPUTS), by_formula, rtol=1e-12)


class Negative(TwoLayerNetwork):
    """Outputs of its own at many inputs, which are what is trained."""

    def outputs(self, params, inputs):
        return -torch.vmap(self, in_dims=(None, 0))(dict(params), inputs)


def test_a_subclass_with_outputs_of_its_own_is_another_model():
    net = Negative(3, ((0, 1, 2),), 4)
    options = {"learning_rates": [0.05], "std": 0.5, "steps": 40}
    run = train(net, INPUTS, OUTPUTS, **options)
    plain = train(fully_connected(3, 4), INPUTS, -OUTPUTS, **options)
    assert run.engine == "general" and torch.allclose(run.loss, plain.loss, rtol=1e-9)
    assert not is_tanh_network(net)


def test_a_subclass_is_trained_as_itself():
    run = train(QUADRATIC, INPUTS, OUTPUTS, learning_rates=[0.01], std=0.3, steps=50)
    assert run.engine == "general"
    params = {name: value.requires_grad_() for name, value in QUADRATIC.init(0.3, 0).items()}
    for _ in range(50):
        made = (INPUTS @ params["w"].T).square() @ params["a"][:, 0]
        slopes = torch.autograd.grad((made - OUTPUTS).square().mean(), list(params.values()))
        params = {
            name: (value - 0.01 * slope).detach().requires_grad_()
            for (name, value), slope in zip(params.items(), slopes, strict=True)
        }
    for name, value in params.items():
        assert torch.allclose(run.params[name][0], value.detach(), rtol=1e-10)
    made = (INPUTS @ params["w"].T).square() @ params["a"][:, 0]
    assert torch.allclose(run.predict(INPUTS)[0], made, rtol=1e-10)


class DeepSquares(DeepNetwork):
    """The square of its parent's output."""

    def __call__(self, params, x):
        return super().__call__(params, x).square()


def test_what_is_shown_for_deep_networks_refuses_a_subclass():
    net = DeepSquares((3, 2, 2, 1))
    params = net.init()
    refused = [
        lambda: series_rank(net, params),
        lambda: reduce(net, params),
        lambda: split(net, params, 1, 0),
        lambda: add_null(net, params, 1),
        lambda: compatible(net, params, [[0, 1, 1], [0, 1]]),
    ]
    for call in refused:
        with pytest.raises(TypeError, match="a DeepNetwork itself, got a DeepSquares, which"):
            call()
    with pytest.raises(TypeError, match="a TwoLayerNetwork itself, got a Quadratic, which"):
        widen(QUADRATIC, PARAMS, 5)
    inputs = torch.randn(40, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    parent = DeepNetwork(net.widths)
    outputs = torch.stack([parent(params, x) for x in inputs])
    slopes = 2 * outputs[:, None] * tangent_matrix(parent, params, inputs)
    assert torch.allclose(tangent_matrix(net, params, inputs), slopes, rtol=1e-10)


@pytest.mark.parametrize("engine", ["cpu", "torch"])
def test_engines_for_two_layers_refuse_a_subclass(engine):
    with pytest.raises(ValueError, match="needs a two-layer .*network, got a Quadratic, which"):
        train(QUADRATIC, INPUTS, OUTPUTS, learning_rates=[0.01], steps=5, engine=engine)


@pytest.mark.parametrize(
    "claim",
    [
        *claims_of(QUADRATIC, PARAMS).values(),
        lambda: condense(QUADRATIC, PARAMS),
        lambda: describe_network(QUADRATIC),
    ],
)
def test_what_holds_for_tanh_alone_is_not_said_of_a_subclass(claim):
    with pytest.raises(TypeError, match="two-layer .*network.*, got a Quadratic"):
        claim()
