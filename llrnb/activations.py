"""What a hidden neuron does to its input: a value that knows its consequences.

An `Activation` is a function of real numbers with its derivative and with what follows from it:
whether a sign moves through it, whether a neuron without weights is zero, whether a theorem covers
it. A further one is an instance in this file and a row of its tests.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import pi, sqrt

import torch
from torch import Tensor
from torch.nn import functional

from llrnb import checks

Elementwise = Callable[[Tensor], Tensor]
Joint = Callable[[Tensor], tuple[Tensor, Tensor]]

_LEAK = 0.01
_UNPROVED = "the independence of its neurons is not proved (Proposition 2' is about tanh)"


@dataclass(frozen=True, repr=False)
class Activation:
    """A function of every hidden neuron's input, element by element.

    Attributes:
        name: in files and in sentences.
        value: the function, of a tensor.
        slope: its derivative, of a tensor; if None, by automatic differentiation.
        joint: value and slope at once, where that is faster.
        odd: whether value(-u) = -value(u), so that neurons of opposite weights are one neuron;
            None where it is unknown.
        uncovered: why the independence of neurons (Proposition 2'), on which exact ranks rest, does
            not hold for it or is not known to, in words; None for tanh.

    >>> RELU(torch.tensor([-2.0, 3.0])), RELU.odd, RELU.at_zero
    (tensor([0., 3.]), False, 0.0)
    """

    name: str
    value: Elementwise
    slope: Elementwise | None = None
    joint: Joint | None = None
    odd: bool | None = None
    uncovered: str | None = _UNPROVED

    def __post_init__(self) -> None:
        value, joint, slope = checks.function(self.value, "value"), self.joint, self.slope
        if joint is None and slope is None:
            joint = _ByAutograd(value)
        checks.settle(
            self,
            name=checks.text(self.name, "name"),
            joint=joint if joint is None else checks.function(joint, "joint"),
            slope=_SlopeOf(joint) if slope is None else checks.function(slope, "slope"),
            odd=self.odd if self.odd is None else checks.flag(self.odd, "odd"),
            uncovered=self.uncovered and checks.text(self.uncovered, "uncovered"),
        )

    def __call__(self, u: Tensor) -> Tensor:
        """The values at many points."""
        return self.value(u)

    def __repr__(self) -> str:
        return f"Activation({self.name!r})"

    def value_and_slope(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """The values and the derivatives at many points."""
        return self.joint(u) if self.joint else (self.value(u), self.slope(u))

    @property
    def at_zero(self) -> float:
        """The value at 0; where that is 0, a neuron without weights adds nothing."""
        return float(self.value(torch.zeros((), dtype=torch.float64)))


@dataclass(frozen=True)
class _ByAutograd:
    value: Elementwise

    def __call__(self, u: Tensor) -> tuple[Tensor, Tensor]:
        values, pull = torch.func.vjp(self.value, u)
        return values, pull(torch.ones_like(values))[0]


@dataclass(frozen=True)
class _SlopeOf:
    joint: Joint

    def __call__(self, u: Tensor) -> Tensor:
        return self.joint(u)[1]


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


def _softplus(u: Tensor) -> Tensor:
    return torch.logaddexp(u, torch.zeros_like(u))  # torch's own is u from 20 on


def _normal_share(u: Tensor) -> Tensor:
    return u * torch.special.ndtr(u)


def _gelu(u: Tensor) -> tuple[Tensor, Tensor]:
    below = torch.special.ndtr(u)
    return u * below, below + u * (-0.5 * u * u).exp() / sqrt(2 * pi)


def _identity(u: Tensor) -> Tensor:
    return u


TANH = Activation("tanh", torch.tanh, joint=_tanh, odd=True, uncovered=None)
RELU = Activation(
    "relu",
    torch.relu,
    joint=_relu,
    odd=False,
    uncovered="relu(u) is u times its own slope, so that each neuron's tangent functions depend on "
    "one another",
)
LEAKY_RELU = replace(
    RELU,
    name="leaky relu",
    value=functional.leaky_relu,  # whose slope on the left is _LEAK, too
    slope=None,
    joint=_leaky_relu,
    uncovered=RELU.uncovered.replace("relu", "leaky relu", 1),
)
SIGMOID = Activation(
    "sigmoid",
    _logistic,
    joint=_sigmoid,
    odd=False,
    uncovered="sigmoid(u) + sigmoid(-u) is 1 for every u, so that neurons depend on one another",
)
SOFTPLUS = Activation(
    "softplus",
    _softplus,
    slope=torch.sigmoid,
    odd=False,
    uncovered="softplus(u) - softplus(-u) is u, so that neurons depend on one another",
)
SINE = Activation(
    "sine",
    torch.sin,
    slope=torch.cos,
    odd=True,
    uncovered="sin(u + b) is cos(b) sin(u) + sin(b) cos(u), so that neurons with other biases "
    "depend on one another",
)
IDENTITY = Activation(
    "identity",
    _identity,
    slope=torch.ones_like,
    odd=True,
    uncovered="neurons are linear, so that they depend on one another",
)
GELU = Activation(
    "gelu",
    _normal_share,
    joint=_gelu,
    odd=False,
    uncovered="gelu(u) - gelu(-u) is u, so that neurons depend on one another",
)

ACTIVATIONS = {
    known.name: known for known in (TANH, RELU, LEAKY_RELU, SIGMOID, GELU, SOFTPLUS, SINE, IDENTITY)
}
_TORCHS = {
    torch.tanh: TANH,
    torch.relu: RELU,
    functional.relu: RELU,
    functional.leaky_relu: LEAKY_RELU,
    torch.sigmoid: SIGMOID,
    functional.gelu: GELU,
    functional.softplus: SOFTPLUS,
    torch.sin: SINE,
}


def activation_of(
    activation: str | Activation | Elementwise,
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
        ValueError: an unknown name, a function that does not act element by element or cannot be
            differentiated, or a slope or oddness of what has its own.
        TypeError: none of these.

    >>> activation_of("sine"), activation_of(torch.relu) is RELU
    (Activation('sine'), True)
    >>> activation_of(lambda u: u**3).slope(torch.tensor([2.0]))
    tensor([12.])
    """
    known = activation if isinstance(activation, Activation) else None
    if isinstance(activation, str):
        known = ACTIVATIONS[checks.one_of(ACTIVATIONS, "activation", activation)]
    elif known is None:
        known = _TORCHS.get(checks.function(activation, "activation"))
    if known is None:
        name = getattr(activation, "__name__", type(activation).__name__)
        return _checked(Activation(name, activation, slope=slope, odd=odd))
    if slope is not None or odd is not None:
        raise ValueError(f"{known!r} needs no slope or oddness, for it has its own, got some")
    return known


def _checked(own: Activation) -> Activation:
    """A function of one's own, if it acts element by element and has a derivative."""
    points = torch.tensor([-1.5, -0.5, 0.25, 0.5, 2.0], dtype=torch.float64)
    try:
        found = own.value_and_slope(points)
        each = [own.value_and_slope(point) for point in points[:, None]]
        alone = [torch.cat(parts) for parts in zip(*each, strict=True)]
        fits = [torch.allclose(*pair, equal_nan=True) for pair in zip(found, alone, strict=True)]
    except Exception as error:  # whatever a function may raise
        raise ValueError(
            "an activation needs a function of a tensor that can be differentiated, got "
            f"{own.name}, and: {error}"
        ) from error
    if not all(fits):
        raise ValueError(
            f"an activation needs a function that acts element by element, got {own.name}"
        )
    return own
