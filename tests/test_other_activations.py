"""A subclass of TanhNetwork with another activation is another model, never taken for tanh."""

from dataclasses import dataclass

import pytest
import torch

from llrnb import (
    certify,
    certify_rank,
    exact_rank,
    fully_connected,
    narrowest_interpolator,
    numerical_rank,
    tangent_matrix,
    train,
)
from llrnb.condensation import condense
from llrnb.descriptions import describe_target
from llrnb.least_squares import fit
from llrnb.networks import TanhNetwork, predict
from llrnb.targets import generic_target


@dataclass(frozen=True)
class Quadratic(TanhNetwork):
    """f(x) = sum_k a_k (w_k . x)^2, whose model rank is that of quadratic forms."""

    def __call__(self, params, x):
        return (params["a"][:, 0] * (params["w"] @ x).square()).sum()


NET = Quadratic(3, ((0, 1, 2),), 4, bias=False)
PARAMS = NET.init(std=1.0)
INPUTS = torch.randn(12, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
OUTPUTS = INPUTS[:, 0] ** 2


def test_its_rank_is_its_own():
    """Quadratic forms of 3 inputs: 6 parameters; a tanh network of these params has rank 16."""
    assert numerical_rank(NET, PARAMS).rank == 6
    assert exact_rank(fully_connected(3, 4, bias=False), PARAMS) == 16
    matrix = tangent_matrix(NET, PARAMS, INPUTS)
    of_a = (INPUTS @ PARAMS["w"].T).square()
    assert torch.allclose(matrix[:, -4:], of_a, rtol=1e-12)


def test_it_is_trained_as_itself():
    run = train(NET, INPUTS, OUTPUTS, learning_rates=[0.01], std=0.3, steps=50)
    assert run.engine == "general"
    params = {name: value.requires_grad_() for name, value in NET.init(0.3, 0).items()}
    for _ in range(50):
        made = torch.stack([NET(params, x) for x in INPUTS])
        slopes = torch.autograd.grad((made - OUTPUTS).square().mean(), list(params.values()))
        params = {
            name: (value - 0.01 * slope).detach().requires_grad_()
            for (name, value), slope in zip(params.items(), slopes, strict=True)
        }
    for name, value in params.items():
        assert torch.allclose(run.params[name][0], value.detach(), rtol=1e-10)
    made = torch.stack([NET({n: v.detach() for n, v in params.items()}, x) for x in INPUTS])
    assert torch.allclose(run.predict(INPUTS)[0], made, rtol=1e-10)


@pytest.mark.parametrize("engine", ["cpu", "torch"])
def test_engines_for_tanh_refuse_it(engine):
    with pytest.raises(ValueError, match="needs a TanhNetwork, got a Quadratic"):
        train(NET, INPUTS, OUTPUTS, learning_rates=[0.01], steps=5, engine=engine)


@pytest.mark.parametrize(
    "claim",
    [
        lambda: exact_rank(NET, PARAMS),
        lambda: certify_rank(NET, PARAMS),
        lambda: predict(NET, PARAMS, INPUTS),
        lambda: fit(NET, INPUTS, OUTPUTS, {name: value[None] for name, value in PARAMS.items()}),
        lambda: narrowest_interpolator(NET, INPUTS, OUTPUTS, budget=10, seed=0),
        lambda: certify(NET, PARAMS, INPUTS, OUTPUTS),
        lambda: condense(NET, PARAMS),
        lambda: describe_target(generic_target(NET)),
    ],
)
def test_what_holds_for_tanh_alone_is_not_said_of_it(claim):
    with pytest.raises(TypeError, match="needs? .*TanhNetwork, got a? ?Quadratic"):
        claim()
