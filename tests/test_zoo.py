"""Known ranks of all kinds of modules, numerically and by a proof that shares no arithmetic."""

import numpy as np
import pytest
import torch
from flint import arb
from test_training_modules import Branching
from torch import nn

from llrnb import certify_rank, from_module, numerical_rank, tangent_matrix
from llrnb.rank import balls
from llrnb.zoo import ZOO, judged

# Their numerical rank takes long, since vmap does not know them; or their proof does.
SLOW = {"RNN", "LSTM", "GRU", "transformer layer", "transformer layer with GELU"}
# Right, with a verdict that says less than it could.
SAYS_LESS = {
    "scale in a softmax": "undecided",
    "neuron that is off": "at least",
}
# Of which floats cannot know the rank, and must not say that they do.
BEYOND = {"computed in float32", "nearly equal neurons"}


@pytest.mark.parametrize("name", [name for name in ZOO if name not in SLOW | BEYOND])
def test_the_numerical_rank_is_the_known_one(name):
    row = judged(name, seed=0).iloc[0]
    assert row["right"] and row["found"] == ZOO[name].rank
    assert row["verdict"] == SAYS_LESS.get(name, "convincing")


@pytest.mark.parametrize("name", sorted(BEYOND))
def test_a_rank_beyond_the_floats_is_not_convincing(name):
    assert judged(name).iloc[0]["verdict"] != "convincing"


@pytest.mark.parametrize(
    "name", [name for name in ZOO if name not in SLOW | {"computed in float32"}]
)
def test_the_known_rank_is_proved_from_below_and_400_bits_show_no_more(name):
    specimen = ZOO[name]
    found = certify_rank(specimen.module(seed=0), input_shape=specimen.input_shape)
    assert found.lower == specimen.rank <= found.upper
    assert found.left < 1e-80


OPERATIONS = {
    "pooling": (
        nn.Sequential(
            nn.Conv2d(2, 4, 3, stride=2, padding=1, dilation=2, groups=2), nn.Hardtanh(-3.0, 2.0),
            nn.AvgPool2d(2, padding=1), nn.AdaptiveAvgPool2d((2, 1)), nn.Flatten(),
        ), (2, 11, 9),
    ),
    "transposed": (nn.ConvTranspose2d(2, 4, 3, stride=2, padding=1, groups=2), (2, 3, 3)),
    "activations": (
        nn.Sequential(
            nn.Linear(3, 3), nn.Mish(), nn.Softsign(), nn.GELU("tanh"), nn.LogSigmoid(), nn.CELU(),
            nn.Linear(3, 3), nn.Softmax(-1), nn.Tanhshrink(),
        ), (3,),
    ),
    "group norm": (nn.GroupNorm(2, 4), (4, 5)),
}  # fmt: skip


@pytest.mark.parametrize("name", OPERATIONS)
def test_balls_hold_the_derivatives_that_autograd_finds(name):
    module, shape = OPERATIONS[name]
    torch.manual_seed(3)
    with torch.no_grad():
        for value in module.parameters():
            value.copy_(torch.randn(value.shape))
    model, inputs = from_module(module, shape), torch.randn(2, *shape, dtype=torch.float64)
    params = {key: value.double() for key, value in model.params.items()}
    expected = tangent_matrix(model, params, inputs)
    each = range(len(expected) // 2)
    found, of_row = balls.enclosed_derivatives(model, params, inputs, {0: each, 1: each})
    assert of_row == [i for i in (0, 1) for _ in each]
    middle = np.array([[float(v) for v in row] for row in found])
    assert np.allclose(middle, expected.numpy(), rtol=1e-11, atol=1e-12)
    assert max(float(v.rad()) for v in found.flat) < 1e-100


def test_an_elimination_proves_no_more_than_the_balls_tell():
    exact = np.array([[arb(1), arb(2)], [arb(2), arb(4)]], dtype=object)
    assert balls.pivots(exact)[0] == [1]
    wide = np.array([[arb(1), arb(0)], [arb(0), arb(1e-3, 2e-3)]], dtype=object)
    rows, columns, left = balls.pivots(wide)
    assert (rows, columns) == ([0], [0]) and 2.9e-3 < left < 3.1e-3


def test_a_kink_is_no_place_for_a_proof():
    """relu(w x) has no derivative at 0: the input is left out."""
    model = lambda params, x: torch.relu(params["w"] * x).sum()  # noqa: E731
    params, inputs = {"w": torch.ones(1).double()}, torch.tensor([[0.0], [2.0]]).double()
    found, of_row = balls.enclosed_derivatives(model, params, inputs, {0: [0], 1: [0]})
    assert of_row == [1] and float(found[0, 0]) == 2.0


def test_what_cannot_be_traced_or_bounded_is_refused_in_words():
    params = {"w": torch.ones(1).double()}
    with pytest.raises(ValueError, match="steps do not depend on the data"):
        certify_rank(Branching(), input_shape=(4,))
    with pytest.raises(ValueError, match="operations of which it knows the error, got .*bessel"):
        certify_rank(
            lambda p, x: torch.special.bessel_j0(p["w"] * x).sum(), params, input_shape=(1,)
        )
    with pytest.raises(ValueError, match="at most 600 parameters, got 1,001"):
        certify_rank(nn.Linear(1000, 1), input_shape=(1000,))
    specimen = ZOO["computed in float32"]
    with pytest.raises(ValueError, match="computes in float64, got torch.float32"):
        certify_rank(specimen.module(), input_shape=specimen.input_shape)


class Lying(nn.Module):
    """Of which a trace sees a constant where there is a function of the input."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.ones(1))

    def forward(self, x):
        return self.w * x * torch.tensor(np.tanh(x.detach().tolist()))


def test_a_trace_that_computes_something_else_proves_nothing():
    with pytest.raises(ValueError, match="a proof needs a model"):
        certify_rank(Lying(), input_shape=(1,))
    with pytest.raises(ValueError, match="what was traced of it, which gives .*, got"):
        balls._check_alike(np.array([1.0, 2.0]), np.array([1.0, 2.1]))
    with pytest.raises(ValueError, match=r"does not know div.* with such arguments"):
        certify_rank(
            lambda p, x: torch.div(p["w"] * x, 2.0, rounding_mode="floor").sum(),
            {"w": torch.ones(1).double()}, input_shape=(1,),
        )  # fmt: skip


def test_a_direction_that_matters_at_one_input_in_a_thousand_is_found():
    """Both parameters do the same but on a strip, of a share of 1e-3 of the inputs."""

    def model(params, x):
        strip = torch.relu(1 - (x[0] - 1.5).abs() * 200)
        return params["a"] * x[1] + params["b"] * (x[1] + strip)

    params = {"a": torch.ones(()).double(), "b": torch.ones(()).double()}
    inputs = torch.randn(60, 2, generator=torch.Generator().manual_seed(0)).double()
    assert not ((inputs[:, 0] - 1.5).abs() < 0.01).any()
    found = numerical_rank(model, params, inputs)
    assert (found.rank, found.verdict) == (1, "at least")
    assert "further outputs raise the rank" in found.reason


def test_a_detached_parameter_counts_as_what_it_does_to_the_output():
    model = lambda params, x: (params["w"].detach() * x).sum() + params["b"]  # noqa: E731
    params = {"w": torch.ones(2).double(), "b": torch.ones(()).double()}
    assert certify_rank(model, params, input_shape=(2,)).lower == 3
    assert not numerical_rank(model, params, input_shape=(2,)).convincing
