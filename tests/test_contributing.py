"""What CONTRIBUTING.md says how to add can be added so: its blocks of code are run as they stand.

A block whose first line names a file of the package is run among the names of that file.
"""

import re
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace
from unittest.mock import patch

import numpy as np
import pytest
import torch
from torch import nn

import llrnb
from llrnb import sweep, targets

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
BLOCKS = dict(re.findall(r"```python\n# (\S+)\n(.*?)```", TEXT, re.DOTALL))
INPUTS = torch.from_numpy(np.random.default_rng(0).standard_normal((12, 3)))
OUTPUTS = INPUTS[:, 0] * INPUTS[:, 1]


def module_of(file: str) -> ModuleType:
    return import_module(file.removesuffix(".py").replace("/", "."))


def added(file: str) -> SimpleNamespace:
    """The names of a file of the package after its block."""
    assert (ROOT / file).is_file()
    names = dict(vars(module_of(file)))
    exec(BLOCKS[file], names)
    return SimpleNamespace(**names)


def kept(file: str, names: str) -> patch.dict:
    """A dict of that file, from which what a block adds is taken out at the end."""
    return patch.dict(getattr(module_of(file), names))


def by_autograd(
    f, params: Mapping, optimizer, steps: int = 30, loss=None
) -> dict[str, torch.Tensor]:
    """The parameters after so many steps of torch's optimizer on the mean of the losses."""
    own = {name: value.clone().requires_grad_() for name, value in params.items()}
    steps_of = optimizer(list(own.values()))
    for _ in range(steps):
        steps_of.zero_grad()
        errors = f(own) - OUTPUTS
        (errors.square() if loss is None else loss(errors)).mean().backward()
        steps_of.step()
    return {name: value.detach() for name, value in own.items()}


def plain(rate: float):
    return lambda values: torch.optim.SGD(values, lr=rate)


def same(run: llrnb.Training, params: Mapping) -> bool:
    return all(
        torch.allclose(run.params[name][0], value, rtol=1e-9, atol=1e-12)
        for name, value in params.items()
    )


OPTIONS = {"learning_rates": [0.05], "steps": 30, "tolerance": None}


def test_every_block_is_tried():
    assert len(BLOCKS) == TEXT.count("```python") == 7


def test_an_activation():
    with kept("llrnb/activations.py", "ACTIVATIONS"):
        added("llrnb/activations.py")
        net = llrnb.fully_connected(3, 4, activation="swish")
        params = net.init(1.0)

        def f(params):
            inner = INPUTS @ params["w"].T + params["b"]
            return (inner * inner.sigmoid()) @ params["a"][:, 0]

        assert torch.allclose(llrnb.predict(net, params, INPUTS), f(params), rtol=1e-12)
        run = llrnb.train(net, INPUTS, OUTPUTS, std=1.0, **OPTIONS)
        assert same(run, by_autograd(f, params, plain(0.05)))
        with pytest.raises(TypeError, match=r"swish\(u\) - swish\(-u\) is u"):
            llrnb.exact_rank(net, params)


def test_a_loss():
    with kept("llrnb/training/losses.py", "LOSSES"):
        far = added("llrnb/training/losses.py").log_cosh(torch.tensor([-2e3, 0.0]), torch.zeros(2))
        assert torch.allclose(far, torch.tensor(2e3 - np.log(2), dtype=far.dtype))
        net = llrnb.fully_connected(3, 4)
        run = llrnb.train(net, INPUTS, OUTPUTS, std=1.0, loss="log cosh", **OPTIONS)

        def f(params):
            return (INPUTS @ params["w"].T + params["b"]).tanh() @ params["a"][:, 0]

        def loss(errors):
            return torch.logaddexp(errors, -errors) - np.log(2)

        assert same(run, by_autograd(f, net.init(1.0), plain(0.05), loss=loss))


def test_a_layer_is_a_module():
    class Square(nn.Module):
        def forward(self, x):
            return x.square()

    module = nn.Sequential(nn.Linear(3, 4, bias=False), Square(), nn.Linear(4, 1, bias=False))
    assert llrnb.numerical_rank(module, input_shape=(3,)).rank == 6  # quadratic forms of 3 inputs


def test_a_model():
    model = added("llrnb/models.py").Quotient((3,))
    assert isinstance(model, llrnb.Model)
    target = targets.generic_target(model)
    inputs, outputs = targets.draw(target, 5)
    expected = inputs @ target.params["p"] / (1 + (inputs @ target.params["q"]) ** 2)
    assert torch.allclose(outputs, expected, rtol=1e-12)
    assert llrnb.numerical_rank(model, target.params).rank == 6
    run = llrnb.train(model, INPUTS, OUTPUTS, std=1.0, **OPTIONS)

    def f(params):
        return INPUTS @ params["p"] / (1 + (INPUTS @ params["q"]) ** 2)

    assert same(run, by_autograd(f, model.init(1.0), plain(0.05)))


@pytest.mark.parametrize("engine", ["torch", "general"])
def test_an_optimizer(engine):
    optimizer = added("llrnb/training/optimizers.py").Nesterov(0.8)
    net = llrnb.fully_connected(3, 4)
    run = llrnb.train(net, INPUTS, OUTPUTS, std=1.0, optimizer=optimizer, engine=engine, **OPTIONS)

    def f(params):
        return (INPUTS @ params["w"].T + params["b"]).tanh() @ params["a"][:, 0]

    def nesterov(values):
        return torch.optim.SGD(values, lr=0.05, momentum=0.8, nesterov=True)

    assert same(run, by_autograd(f, net.init(1.0), nesterov))


def test_a_law():
    with kept("llrnb/laws.py", "LAWS"):
        laws = added("llrnb/laws.py")
        law = laws.law_from({"kind": "cauchy", "scale": 2.0})
        assert law == laws.Cauchy(2.0) and laws.describe_law(law)["kind"] == "cauchy"
        inputs, outputs = targets.draw(targets.paper_target(), 2000, law=law)
        quartiles = np.quantile(inputs, [0.25, 0.5, 0.75])  # of tan
        assert np.allclose(quartiles, [-2, 0, 2], atol=0.15)
        first = inputs.unfold(1, 3, 1) @ torch.tensor([0.6, 0.8, 1.0]).double()
        assert torch.allclose(outputs, first.tanh().sum(1))


def test_a_preset():
    from llrnb.presets import fig3, presets_of

    with patch.object(fig3, "LONGER", added("llrnb/presets/fig3.py").LONGER, create=True):
        preset = presets_of("fig3")["longer"]
        assert len(preset.cells()) == len(fig3.SMALL.cells())
        assert {cell.parameters["steps"] for cell in preset.cells()} == {100_000}


def test_a_sweep(tmp_path):
    file = tmp_path / "my_sweep.py"
    file.write_text(BLOCKS["my_sweep.py"])
    rows = sweep.run(sweep.referred(f"{file}:PRESET"), tmp_path / "rows")
    assert len(rows) == 6
    assert (rows["rank"] == rows["width"] * (rows["input_dim"] + 2)).all()
