import json
from dataclasses import replace

import pytest
import torch

from llrnb.descriptions import (
    describe_network,
    describe_optimizer,
    describe_target,
    network_from,
    optimizer_from,
    target_from,
)
from llrnb.networks import cnn, fully_connected
from llrnb.presets import fig3
from llrnb.targets import Target, generic_target, paper_target
from llrnb.training import Adam, GradientDescent, Optimizer

NETS = [
    fully_connected(5, 3),
    cnn(5, 3, 2, bias=False),
    cnn((4, 5), (2, 3), 2, shared=False, stride=2),
    cnn(5, 3, 2, output_bias=True),
]


@pytest.mark.parametrize("net", NETS)
def test_a_network_comes_back_from_json(net):
    assert network_from(json.loads(json.dumps(describe_network(net)))) == net


@pytest.mark.parametrize("target", [paper_target(), *map(generic_target, NETS)])
def test_a_target_comes_back_from_json_to_the_last_bit(target):
    again = target_from(json.loads(json.dumps(describe_target(target))))
    assert again.net == target.net
    assert all(torch.equal(again.params[name], value) for name, value in target.params.items())


@pytest.mark.parametrize("optimizer", [GradientDescent(0.5, 0.1), Adam(weight_decay=1e-3)])
def test_an_optimizer_comes_back_from_json(optimizer):
    assert optimizer_from(json.loads(json.dumps(describe_optimizer(optimizer)))) == optimizer


def test_short_descriptions_name_the_functions_of_the_package():
    image = {"kind": "cnn", "input_shape": [4, 5], "kernel_size": [2, 3], "kernels": 2}
    assert network_from({**image, "shared": False, "stride": 2}) == NETS[2]
    assert network_from({"kind": "fully connected", "input_dim": 5, "width": 3}) == NETS[0]
    assert torch.equal(target_from({"kind": "paper"}).params["w"], paper_target().params["w"])
    generic = target_from({"kind": "generic", "network": describe_network(NETS[1]), "seed": 4})
    assert torch.equal(generic.params["a"], generic_target(NETS[1], seed=4).params["a"])


@pytest.mark.parametrize(
    ("make", "description", "message"),
    [
        (network_from, {"kind": "transformer"}, "one of .*cnn.* got 'transformer'"),
        (network_from, {}, "got None"),
        (
            network_from,
            {"kind": "fully connected", "input_dim": 5, "width": 3, "widht": 3},
            "widht",
        ),
        (target_from, {"kind": "paper", "seed": 3}, "seed"),
        (
            optimizer_from,
            {"kind": "sgd"},
            "one of gradient descent, adam, adamw, sign descent, got 'sgd'",
        ),
        (optimizer_from, {"kind": "adam", "momentum": 0.9}, "momentum"),
        (target_from, {"kind": "params", "network": describe_network(NETS[0])}, "params"),
    ],
)
def test_a_wrong_description_is_refused_with_what_was_wrong(make, description, message):
    with pytest.raises(ValueError, match=message):
        make(description)


class Opposite(Target):
    def __call__(self, inputs):
        return -super().__call__(inputs)


def test_a_target_of_ones_own_is_not_taken_for_its_parent():
    own = Opposite(paper_target().net, paper_target().params)
    with pytest.raises(TypeError, match="a Target and no subclass, got Opposite"):
        describe_target(own)


class Slow(Adam):
    def step(self, theta, gradient, memory, t, rate):
        return theta - 1e-3 * rate * gradient, memory


@pytest.mark.parametrize("own", [Slow(), Optimizer()])
def test_an_optimizer_of_ones_own_is_not_taken_for_its_parent(own):
    needed = "an optimizer that it can name, one of gradient descent, adam, .*, got"
    with pytest.raises(ValueError, match=needed):
        describe_optimizer(own)
    with pytest.raises(ValueError, match=needed):
        replace(fig3.SMALL, optimizer=own).cells()
