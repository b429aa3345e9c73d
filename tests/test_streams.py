"""Every random stream has a role, and no two roles share one."""

import ast
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch

import llrnb
from llrnb.deep import DeepNetwork
from llrnb.least_squares import draw_starts
from llrnb.networks import cnn, fully_connected
from llrnb.relu import plant
from llrnb.relu.mixture import Mixture, unit_means
from llrnb.relu.training import initial_relu
from llrnb.streams import ROLES, rng
from llrnb.targets import draw, draw_test, generic_target, paper_target

SOURCES = sorted(Path(llrnb.__file__).parent.rglob("*.py"))
# What makes a stream, or draws without naming one.
MAKERS = {"default_rng", "manual_seed", "SeedSequence", "RandomState", "Generator", "seed"}
TORCH = {"randn", "rand", "randint", "randperm", "normal", "bernoulli", "multinomial"}
TORCH |= {name + "_like" for name in TORCH}


def keys(role: str):
    """Coordinates of a role that another role, or another order of them, could be taken for."""
    for values in product((0, 1, 2), repeat=min(len(ROLES[role]), 3)):
        rest = (1,) * (len(ROLES[role]) - len(values))
        yield dict(zip(ROLES[role], (*values, *rest), strict=True))


def test_no_two_roles_nor_two_coordinates_share_a_stream():
    drawn = [rng(role, **key).bytes(16) for role in ROLES for key in keys(role)]
    assert len(drawn) == len(set(drawn)) > 300


def test_a_stream_is_that_of_its_key_whatever_numbers_it_is_written_in():
    one = rng("training inputs", samples=5, inputs=True, seed=2**70).bytes(16)
    assert one == rng("training inputs", seed=2**70, inputs=np.int64(1), samples=5).bytes(16)
    assert one != rng("training inputs", samples=5, inputs=1, seed=-(2**70)).bytes(16)
    deep = {"bias": np.bool_(True), "residual": False, "seed": 0}
    assert rng("deep initial params", widths=(2, 3, 1), **deep).bytes(8) != (
        rng("deep initial params", widths=[2, 31], **deep).bytes(8)
    )


@pytest.mark.parametrize(
    ("role", "coordinates", "message"),
    [
        ("test data", {}, "needs to be one of .*'test inputs'.*, got 'test data'"),
        ("mixing", {}, r"needs the coordinates \('seed',\), got \(\)"),
        ("mixing", {"seed": 0, "samples": 1}, "got .*samples"),
        ("mixing", {"seed": 0.5}, "seed of a stream needs a whole number, got 0.5"),
        ("mixing", {"seed": "0"}, "got '0'"),
        ("mixing", {"seed": None}, "got None"),
    ],
)
def test_another_role_or_other_coordinates_are_refused(role, coordinates, message):
    with pytest.raises(ValueError, match=message):
        rng(role, **coordinates)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_no_stream_is_made_elsewhere(path):
    if path.stem == "streams":
        return
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    for call in calls:
        name = ast.unparse(call.func)
        if name == "checks.seed":  # which draws nothing
            continue
        assert name.split(".")[-1] not in MAKERS, f"{path}: {name}"
        assert not name.startswith(("np.random", "random.")), f"{path}: {name}"
        assert name.removeprefix("torch.") not in TORCH, f"{path}: {name}"


def names_of_roles(path: Path) -> set[str]:
    tree = ast.walk(ast.parse(path.read_text()))
    return {node.value for node in tree if isinstance(node, ast.Constant)} & set(ROLES)


def test_every_role_is_drawn_from():
    used = set.union(*(names_of_roles(path) for path in SOURCES if path.stem != "streams"))
    assert used == set(ROLES)


@pytest.mark.parametrize("samples", [1, 7, 1000])
def test_a_test_set_is_no_training_set(samples):
    target = paper_target()
    training = [draw(target, samples, seed)[0] for seed in range(5)]
    test = draw_test(target, samples)[0]
    assert not any(torch.isin(test, one).any() for one in training)


NETS = [
    fully_connected(5, 3),
    cnn(5, 3, 2, bias=False, output_bias=True),
    cnn(5, 3, 2, shared=False),
    cnn(6, 3, 1),
]


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("seed", [0, 1, 7])
def test_a_target_an_initialisation_and_a_start_are_different_draws(net, seed):
    target = generic_target(net, seed)
    inputs, outputs = draw(target, 30, seed)
    drawn = [
        *(net.init(1.0, other) for other in (seed, 0, 1)),
        {k: v[0] for k, v in draw_starts(net, inputs, outputs, 1, seed).items()},
    ]
    for params in drawn:
        ratio = target.params["a"] / params["a"]
        assert not torch.allclose(ratio, ratio.flatten()[0], rtol=1e-6)
    ratio = drawn[0]["a"] / drawn[-1]["a"]  # a start is on the scale of the outputs
    assert not torch.allclose(ratio, ratio.flatten()[0], rtol=1e-6)


def test_training_does_not_begin_at_a_generic_target():
    """At std 1 it did, for the first seed, and converged in no step."""
    target = generic_target(fully_connected(2, 3))
    run = llrnb.train(
        target.net, *draw(target, 20), learning_rates=[0.01], seeds=[0], steps=10, std=1.0
    )
    assert run.steps.tolist() == [10] and float(run.loss) > 1e-6


def test_the_parts_of_a_planted_problem_do_not_hang_together():
    """X, w, the noise, a trained network and the mixtures: no sequence stands in another."""
    planted, clean = (plant(8, 4, labels="relu", noise=n, weights="random") for n in (1.0, 0.0))
    noise = planted.outputs - clean.outputs
    parts = [planted.inputs * np.sqrt(8), planted.weights, noise * np.sqrt(8)]
    parts.append(Mixture(unit_means(4), 1.0, 8).draw())
    parts.append(initial_relu("plain", 4, 8)["W"].numpy())
    parts.append(DeepNetwork((4, 8, 1)).init()["w1"].numpy())
    sorted_parts = [np.sort(np.abs(part).ravel()) for part in parts]
    for i, one in enumerate(sorted_parts):
        for other in sorted_parts[i + 1 :]:
            assert not np.isclose(one[:, None], other[None], rtol=1e-9).any()


def test_the_weights_and_the_noise_are_the_same_on_every_kind_of_data():
    plain, cubic = (plant(9, 3, data=data, noise=0.5) for data in ("gaussian", "cubic"))
    assert np.array_equal(plain.weights, cubic.weights)
    noise = [p.outputs - p(p.inputs) for p in (plain, cubic)]
    assert np.allclose(*noise)
