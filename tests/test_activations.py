import pickle
from dataclasses import dataclass
from math import erfc, sqrt

import numpy as np
import pytest
import torch

from llrnb.activations import (
    ACTIVATIONS,
    RELU,
    SIGMOID,
    SINE,
    TANH,
    Activation,
    activation_of,
)

# What each is, from NumPy and from the book's formulas.
TRUTH = {
    "tanh": np.tanh,
    "relu": lambda u: np.maximum(u, 0),
    "leaky relu": lambda u: np.maximum(u, 0) + 0.01 * np.minimum(u, 0),
    "sigmoid": lambda u: 1 / (1 + np.exp(-u)),
    "gelu": np.vectorize(lambda u: u * erfc(-u / sqrt(2)) / 2),
    "softplus": lambda u: np.log1p(np.exp(-abs(u))) + np.maximum(u, 0),
    "sine": np.sin,
    "identity": lambda u: u,
}
POINTS = torch.cat([torch.linspace(-30, 30, 61), torch.linspace(-2, 2, 40)]).double()
POINTS = POINTS[POINTS != 0]  # where a kink has no derivative
every = pytest.mark.parametrize("known", ACTIVATIONS.values(), ids=ACTIVATIONS)


@every
def test_values_are_those_of_the_formula(known):
    expected = torch.from_numpy(TRUTH[known.name](POINTS.numpy()))
    assert torch.allclose(known(POINTS), expected, rtol=1e-13, atol=1e-15)
    assert torch.allclose(known.value_and_slope(POINTS)[0], expected, rtol=1e-13, atol=1e-15)
    assert known.at_zero == TRUTH[known.name](0.0)


@every
def test_slopes_are_those_of_autograd_and_of_differences(known):
    leaf = POINTS.clone().requires_grad_()
    by_autograd = torch.autograd.grad(known(leaf).sum(), leaf)[0]
    differences = (known(POINTS + 1e-5) - known(POINTS - 1e-5)) / 2e-5
    for slope in (known.slope(POINTS), known.value_and_slope(POINTS)[1]):
        assert torch.allclose(slope, by_autograd, rtol=1e-12, atol=1e-15)
        assert torch.allclose(slope, differences, rtol=1e-8, atol=1e-9)


@every
def test_odd_ones_are_odd_and_others_are_not(known):
    mirrored = torch.allclose(known(-POINTS), -known(POINTS), rtol=1e-15)
    assert known.odd == mirrored


@every
def test_only_tanh_is_covered_and_others_say_why_not(known):
    assert (known.uncovered is None) == (known is TANH)
    assert known is TANH or known.name[:3] in known.uncovered or known.name == "identity"


def test_what_uncovers_them_is_true():
    u, b = POINTS, 0.7
    for name in ("relu", "leaky relu"):
        value, slope = ACTIVATIONS[name].value_and_slope(u)
        assert torch.allclose(value, u * slope)
    sigmoid, softplus, gelu = (ACTIVATIONS[name] for name in ("sigmoid", "softplus", "gelu"))
    assert torch.allclose(sigmoid(u) + sigmoid(-u), torch.ones_like(u))
    assert torch.allclose(gelu(u) - gelu(-u), u)
    assert torch.allclose(softplus(u) - softplus(-u), u)
    assert torch.allclose(SINE(u + b), np.cos(b) * u.sin() + np.sin(b) * u.cos())


@every
def test_each_keeps_precision_and_is_itself_in_another_process(known):
    assert known(POINTS.float()).dtype == known.slope(POINTS.float()).dtype == torch.float32
    assert pickle.loads(pickle.dumps(known)) == known
    assert activation_of(known.name) is activation_of(known) is known
    assert repr(known) == f"Activation({known.name!r})"


def test_torchs_functions_of_those_names_are_these():
    assert activation_of(torch.tanh) is TANH
    assert activation_of(torch.nn.functional.relu) is RELU
    assert activation_of(torch.nn.functional.tanh) is TANH
    assert activation_of(torch.nn.functional.sigmoid) is SIGMOID


def test_a_function_of_ones_own_has_a_slope():
    cube = activation_of(lambda u: u**3)
    assert torch.allclose(cube.slope(POINTS), 3 * POINTS**2)
    assert cube.odd is None and cube.at_zero == 0 and cube.uncovered
    given = activation_of(torch.erf, slope=lambda u: 2 * (-u * u).exp() / np.sqrt(np.pi), odd=True)
    assert (given.name, given.odd) == ("erf", True)
    assert torch.allclose(given.slope(POINTS), activation_of(torch.erf).slope(POINTS))
    silu = activation_of(torch.nn.SiLU())
    leaf = POINTS.clone().requires_grad_()
    assert torch.allclose(
        silu.value_and_slope(POINTS)[1], torch.autograd.grad(silu(leaf).sum(), leaf)[0]
    )


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ("tahn", ValueError, "activation needs one of tanh, .*, got 'tahn'"),
        (torch.nn.Tanh, TypeError, "needs to be a function"),
        (lambda u: u.softmax(0), ValueError, "acts element by element, got <lambda>"),
        (lambda u: u.cumsum(0), ValueError, "acts element by element"),
        (lambda u: u.sort()[0], ValueError, "acts element by element"),
        (torch.acos, ValueError, "finite values up to .-30, got others of acos"),
        (torch.nn.ReLU(inplace=True), ValueError, "got ReLU, and: it works in place"),
        (lambda u: u.sum(), ValueError, "that can be differentiated|element by element"),
        (lambda u: np.tanh(u.numpy()), ValueError, "that can be differentiated"),
        (lambda u: u if u > 0 else 0 * u, ValueError, "that can be differentiated, got <lambda>"),
    ],
)
def test_what_is_no_activation_is_refused(wrong, error, message):
    with pytest.raises(error, match=message):
        activation_of(wrong)


def test_what_has_no_hash_may_be_an_activation():
    @dataclass
    class Power:
        by: int

        def __call__(self, u):
            return u**self.by

    assert torch.equal(activation_of(Power(3)).slope(POINTS), 3 * POINTS**2)


def test_what_has_a_slope_takes_no_other():
    with pytest.raises(ValueError, match="Activation\\('tanh'\\) needs no slope or oddness"):
        activation_of("tanh", slope=torch.cos)


def test_what_is_said_of_a_function_must_be_so():
    with pytest.raises(ValueError, match="needs the derivative of cos as its slope, got another"):
        activation_of(torch.cos, slope=torch.sin)
    with pytest.raises(ValueError, match="odd activation needs .*, got cos"):
        activation_of(torch.cos, odd=True)
    assert activation_of(torch.cos, slope=lambda u: -u.sin(), odd=False).odd is False


def half(u):
    """Of which a thousandth is no longer seen by autograd."""
    return 0.999 * u.tanh() + 0.001 * u.tanh().detach()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: activation_of(lambda u: u.clamp(-3, 5), odd=True), "an odd activation needs"),
        (
            lambda: activation_of(torch.nn.functional.relu6, slope=lambda u: (u > 0).to(u)),
            "the derivative of relu6 as its slope, got another",
        ),
        (
            lambda: activation_of(torch.atan, slope=lambda u: 1.00005 / (1 + u * u)),
            "the derivative of atan as its slope, got another",
        ),
        (lambda: activation_of(half), "the derivative of half as its slope, got another"),
        (
            lambda: Activation("mine", torch.tanh, lambda u: (u.tanh(), u.cos()), odd=True),
            "the derivative of mine as its slope, got another",
        ),
        (
            lambda: Activation("mine", torch.tanh, lambda u: (u.sin(), 1 - u.tanh() ** 2)),
            "value_and_slope needs to give the values of mine, got others",
        ),
        (
            lambda: Activation("mine", torch.cos, lambda u: (u.cos(), -u.sin()), odd=True),
            "an odd activation needs value.* got mine",
        ),
        (
            lambda: Activation("mine", torch.relu, lambda u: (u.relu_(), u.sign())),
            "got mine, and: it works in place",
        ),
    ],
)
def test_what_an_activation_says_of_itself_must_be_so_far_out_too(make, message):
    with pytest.raises(ValueError, match=message):
        make()
