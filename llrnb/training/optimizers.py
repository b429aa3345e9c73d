"""How a gradient becomes a step. The conventions are those of torch.optim's SGD, Adam and AdamW.

A further one is a class in this file, or a subclass of `Optimizer` of one's own.
"""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from math import inf

import torch
from torch import Tensor

from llrnb import checks

Memory = list[Tensor]


class Optimizer:
    """What a step makes of a gradient: the same for every array of parameters of every network.

    On a GPU a step is captured and replayed where it is a fixed sequence of operations.
    The torch, closed-form and general engines take any; the cuda engine takes `GradientDescent` and
    `Adam`, the cpu engine plain gradient descent.
    """

    @property
    def slots(self) -> int:
        """Number of arrays that are remembered for each array of parameters."""
        return 0

    def step(
        self, theta: Tensor, gradient: Tensor, memory: Memory, t: Tensor, rate: Tensor
    ) -> tuple[Tensor, Memory]:
        """The parameters after a network's t-th step, t >= 1, and what is then remembered.

        Args:
            theta: (net, ...), which stays as it is, as memory does: networks may have stopped.
            gradient: of their shape.
            memory: of their shape, at first zero.
            t, rate: of each network, to be multiplied with these.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class GradientDescent(Optimizer):
    """v <- momentum v + gradient + weight_decay theta,   theta <- theta - learning_rate v."""

    momentum: float = 0.0
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        check_bounds(self, momentum=1, weight_decay=inf)

    @property
    def slots(self) -> int:
        return int(self.momentum > 0)

    def step(self, theta, gradient, memory, t, rate):
        v = gradient + self.weight_decay * theta if self.weight_decay else gradient
        if memory:
            v = self.momentum * memory[0] + v
            memory = [v]
        return theta - rate * v, memory


@dataclass(frozen=True)
class Adam(Optimizer):
    """m and v average g = gradient + weight_decay theta and g^2, with the start corrected for:

    theta <- theta - learning_rate (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + epsilon)
    """

    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        check_bounds(self, beta1=1, beta2=1, epsilon=inf, weight_decay=inf)

    @property
    def slots(self) -> int:
        return 2

    def step(self, theta, gradient, memory, t, rate):
        slope = gradient + self.weight_decay * theta if self.weight_decay else gradient
        change, memory = _averaged(self, slope, memory, t)
        return theta - rate * change, memory


@dataclass(frozen=True)
class AdamW(Optimizer):
    """Adam with decoupled weight decay; m and v average g = gradient and g^2:

    theta <- (1 - learning_rate weight_decay) theta
             - learning_rate (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + epsilon)
    """

    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.01

    def __post_init__(self) -> None:
        check_bounds(self, beta1=1, beta2=1, epsilon=inf, weight_decay=inf)

    @property
    def slots(self) -> int:
        return 2

    def step(self, theta, gradient, memory, t, rate):
        change, memory = _averaged(self, gradient, memory, t)
        return theta * (1 - rate * self.weight_decay) - rate * change, memory


@dataclass(frozen=True)
class SignDescent(Optimizer):
    """A step of one length in every coordinate, whatever the size of the gradient g:

    theta <- (1 - learning_rate weight_decay) theta - learning_rate g / (|g| + epsilon)

    It is AdamW without a memory. The experiments of the neural-recovery repositories are named
    after AdamW, but create it anew in each epoch of one step, and so run this. A neuron whose
    gradient is zero up to rounding, such as a normalised one that a single sample activates, moves
    by its rounding errors where they are not small against epsilon.
    """

    epsilon: float = 1e-8
    weight_decay: float = 1e-6

    def __post_init__(self) -> None:
        check_bounds(self, epsilon=inf, weight_decay=inf)

    def step(self, theta, gradient, memory, t, rate):
        change = (rate * gradient).div_(gradient.abs().add_(self.epsilon))
        return (theta * (1 - rate * self.weight_decay)).sub_(change), memory


def check_step(optimizer: Optimizer, params: Mapping[str, Tensor]) -> None:
    """Raise ValueError if a step changes what it is given, and so networks that have stopped."""
    for value in params.values():
        theta = torch.ones_like(value[:1])
        memory = [torch.zeros_like(theta) for _ in range(optimizer.slots)]
        t, rate = (torch.full_like(theta, number) for number in (1.0, 0.5))
        given = [theta, *memory, t, rate]
        before = [part.clone() for part in given]
        deepcopy(optimizer).step(theta, theta / 2, memory, t, rate)
        now = [theta, *memory, t, rate]
        if not all(
            a is b and torch.equal(b, c) for a, b, c in zip(now, given, before, strict=True)
        ):
            raise ValueError(
                "an optimizer's step needs to return other tensors, and to leave theta and memory "
                f"as they are, got {optimizer!r}, which changes them in place"
            )


def check_bounds(optimizer: object, **bounds: float) -> None:
    """Raise ValueError unless 0 <= value < bound for every named field."""
    kind = type(optimizer).__name__
    for name, below in bounds.items():
        value = checks.real(getattr(optimizer, name), f"{kind}'s {name}", least=0, below=below)
        checks.settle(optimizer, **{name: value})


def _averaged(by: Adam | AdamW, slope: Tensor, memory: Memory, t: Tensor) -> tuple[Tensor, Memory]:
    """The mean slope over its mean size, and both averages."""
    m, v = memory
    m = by.beta1 * m + (1 - by.beta1) * slope
    v = by.beta2 * v + (1 - by.beta2) * slope * slope
    return m / (1 - by.beta1**t) / ((v / (1 - by.beta2**t)).sqrt() + by.epsilon), [m, v]
