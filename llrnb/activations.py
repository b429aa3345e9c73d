"""What a hidden neuron does to its input: a value that knows its consequences.

An `Activation` is a function of real numbers with its derivative and with what follows from it:
whether a sign moves through it, whether a neuron without weights is zero, whether a theorem covers
it. A further one is an instance in this file and a row of its tests.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import pi, sqrt

import torch
from torch import Tensor
from torch.nn import functional

from llrnb import checks

Elementwise = Callable[[Tensor], Tensor]
Joint = Callable[[Tensor], tuple[Tensor, Tensor]]

_LEAK = 0.01
# Where what is said of an activation is tried: near and far, in no order, and at no round number.
_POINTS = (29.7 * torch.linspace(-0.987, 1, 40, dtype=torch.float64, device="cpu") ** 3)[
    torch.arange(40, device="cpu") * 7 % 40
]
_STEP = 2.0**-20  # of the differences that a slope is compared with
_UNPROVED = "the independence of its neurons is not proved (Proposition 2' is about tanh)"


@dataclass(frozen=True, repr=False)
class Activation:
    """A function of every hidden neuron's input, element by element.

    Attributes:
        name: in files and in sentences.
        value: the function, of a tensor.
        value_and_slope: it and its derivative at once.
        odd: whether value(-u) = -value(u), so that neurons of opposite weights are one neuron;
            None where it is unknown.
        uncovered: why the independence of neurons (Proposition 2'), on which exact ranks rest, does
            not hold for it or is not known to, in words; None for tanh.

    >>> RELU(torch.tensor([-2.0, 3.0])), RELU.odd, RELU.at_zero
    (tensor([0., 3.]), False, 0.0)
    """

    name: str
    value: Elementwise
    value_and_slope: Joint
    odd: bool | None = None
    uncovered: str | None = _UNPROVED

    def __post_init__(self) -> None:
        checks.text(self.name, "name")
        checks.function(self.value, "value")
        checks.function(self.value_and_slope, "value_and_slope")
        if self.odd is not None:
            checks.flag(self.odd, "odd")
        _check(self)

    def __call__(self, u: Tensor) -> Tensor:
        """The values at many points."""
        return self.value(u)

    def __repr__(self) -> str:
        return f"Activation({self.name!r})"

    def slope(self, u: Tensor) -> Tensor:
        """The derivatives at many points."""
        return self.value_and_slope(u)[1]

    @property
    def at_zero(self) -> float:
        """The value at 0; where that is 0, a neuron without weights adds nothing."""
        return float(self.value(torch.zeros((), dtype=torch.float64, device="cpu")))


Given = Activation | Elementwise | str  # as an argument; `activation_of` makes it an activation


def _check(own: Activation) -> None:
    """Raise ValueError unless all that an activation says of itself is so at some points."""
    u = _POINTS.clone()
    try:
        values = own.value(u)
        if torch.equal(u, _POINTS):
            again, slopes = own.value_and_slope(u)
        if not torch.equal(u, _POINTS):
            raise ValueError("it works in place, and changes its input")
        alone = [torch.cat(p) for p in zip(*map(own.value_and_slope, u[:, None]), strict=True)]
        by_autograd = _derivatives(own.value, u)
        rise = (own.value(u + _STEP) - own.value(u - _STEP)) / (2 * _STEP)
        one_by_one = torch.allclose(again, alone[0]) and torch.allclose(slopes, alone[1])
        same = torch.allclose(values, again)
        derived = torch.allclose(slopes, by_autograd)
        derived &= torch.allclose(slopes, rise, rtol=1e-4, atol=1e-6)
        mirrored = not own.odd or torch.allclose(own.value(-u), -values)
    except Exception as error:  # whatever a function may raise
        raise ValueError(
            "an activation needs a function of a tensor that can be differentiated, got "
            f"{own.name}, and: {error}"
        ) from error
    if not values.isfinite().all():
        raise ValueError(f"an activation needs finite values up to +-30, got others of {own.name}")
    if not one_by_one:
        raise ValueError(
            f"an activation needs a function that acts element by element, got {own.name}"
        )
    if not same:
        raise ValueError(f"value_and_slope needs to give the values of {own.name}, got others")
    if not derived:
        raise ValueError(
            f"an activation needs the derivative of {own.name} as its slope, got another"
        )
    if not mirrored:
        raise ValueError(f"an odd activation needs value(-u) = -value(u), got {own.name}")


def _derivatives(value: Elementwise, u: Tensor) -> Tensor:
    # Not by torch.func, which first imports a compiler for longer than all of this package takes.
    with torch.inference_mode(False), torch.enable_grad():
        at = u.clone().requires_grad_()
        return torch.autograd.grad(value(at).sum(), at)[0]


def _relu(u: Tensor) -> tuple[Tensor, Tensor]:
    a = u.relu()
    return a, a.sign()  # several times faster than u > 0


def _leaky_relu(u: Tensor) -> tuple[Tensor, Tensor]:
    slope = torch.where(u > 0, 1.0, u.new_full((), _LEAK))
    return slope * u, slope


def _tanh(u: Tensor) -> tuple[Tensor, Tensor]:
    a = u.tanh()
    return a, 1 - a * a


def _logistic(u: Tensor) -> Tensor:
    return 0.5 + 0.5 * (0.5 * u).tanh()  # its rounding does not depend on the number of networks


def _sigmoid(u: Tensor) -> tuple[Tensor, Tensor]:
    a = _logistic(u)
    return a, a * (1 - a)


def _above(u: Tensor) -> Tensor:
    return torch.logaddexp(u, torch.zeros_like(u))  # torch's own is u from 20 on


def _softplus(u: Tensor) -> tuple[Tensor, Tensor]:
    return _above(u), torch.sigmoid(u)


def _weighted(u: Tensor) -> Tensor:
    return u * torch.special.ndtr(u)


def _gelu(u: Tensor) -> tuple[Tensor, Tensor]:
    below = torch.special.ndtr(u)
    return u * below, below + u * (-0.5 * u * u).exp() / sqrt(2 * pi)


def _sine(u: Tensor) -> tuple[Tensor, Tensor]:
    return u.sin(), u.cos()


def _same(u: Tensor) -> Tensor:
    return u


def _identity(u: Tensor) -> tuple[Tensor, Tensor]:
    return u, torch.ones_like(u)


# Why the neurons of each depend on one another.
_HOMOGENEOUS = "{}(u) is u times its own slope, so that a neuron's tangent functions are dependent"
_SIGMOID = "sigmoid(u) + sigmoid(-u) is 1 for every u, so that neurons are dependent"
_REFLECTED = "{0}(u) - {0}(-u) is u, so that neurons are dependent"
_SINE = "sin(u + b) is cos(b) sin(u) + sin(b) cos(u), so that neurons of other biases are dependent"
_LINEAR = "neurons are linear, and so dependent"

TANH = Activation("tanh", torch.tanh, _tanh, odd=True, uncovered=None)
RELU = Activation("relu", torch.relu, _relu, False, _HOMOGENEOUS.format("relu"))
LEAKY_RELU = Activation(  # torch's leak is _LEAK, too
    "leaky relu", functional.leaky_relu, _leaky_relu, False, _HOMOGENEOUS.format("leaky relu")
)
SIGMOID = Activation("sigmoid", _logistic, _sigmoid, False, _SIGMOID)
GELU = Activation("gelu", _weighted, _gelu, False, _REFLECTED.format("gelu"))
SOFTPLUS = Activation("softplus", _above, _softplus, False, _REFLECTED.format("softplus"))
SINE = Activation("sine", torch.sin, _sine, True, _SINE)
IDENTITY = Activation("identity", _same, _identity, True, _LINEAR)

ACTIVATIONS = {
    known.name: known for known in (TANH, RELU, LEAKY_RELU, SIGMOID, GELU, SOFTPLUS, SINE, IDENTITY)
}
_TORCHS: dict[Callable, Activation] = {
    torch.tanh: TANH,
    functional.tanh: TANH,
    torch.relu: RELU,
    functional.relu: RELU,
    functional.leaky_relu: LEAKY_RELU,
    torch.sigmoid: SIGMOID,
    functional.sigmoid: SIGMOID,
    functional.gelu: GELU,
    functional.softplus: SOFTPLUS,
    torch.sin: SINE,
}


def activation_of(
    activation: Given,
    *,
    slope: Elementwise | None = None,
    odd: bool | None = None,
) -> Activation:
    """An activation by its name, or a function of one's own as an activation.

    Args:
        activation: a name of `ACTIVATIONS`, an `Activation`, or a function of a tensor that acts
            element by element; torch's functions of those names are these.
        slope: the derivative of a function of one's own; None for automatic differentiation.
        odd: whether that function is; None where it is unknown.

    Raises:
        ValueError: an unknown name, a function that works in place, does not act element by
            element, cannot be differentiated or is not finite, a slope or oddness that is not its
            own, or any for what has its own.
        TypeError: none of these.

    >>> activation_of("sine"), activation_of(torch.relu) is RELU
    (Activation('sine'), True)
    >>> activation_of(lambda u: u**3).slope(torch.tensor([2.0]))
    tensor([12.])
    """
    if isinstance(activation, Activation):
        known = activation
    elif isinstance(activation, str):
        known = ACTIVATIONS[checks.one_of(ACTIVATIONS, "activation", activation)]
    else:
        checks.function(activation, "activation")
        found = [known for function, known in _TORCHS.items() if function is activation]
        if not found:
            return _own(activation, slope, odd)
        known = found[0]
    if slope is not None or odd is not None:
        raise ValueError(f"{known!r} needs no slope or oddness, for it has its own, got some")
    return known


@dataclass(frozen=True)
class _Joint:
    """A function and its derivative, by automatic differentiation if none is given."""

    value: Elementwise
    slope: Elementwise | None

    def __call__(self, u: Tensor) -> tuple[Tensor, Tensor]:
        if self.slope is not None:
            return self.value(u), self.slope(u)
        values, pull = torch.func.vjp(self.value, u)[:2]
        return values, pull(torch.ones_like(values))[0]


def _own(value: Elementwise, slope: Elementwise | None, odd: bool | None) -> Activation:
    """A function of one's own."""
    name = getattr(value, "__name__", type(value).__name__)
    slope = slope if slope is None else checks.function(slope, "slope")
    return Activation(name, value, _Joint(value, slope), odd)
