"""How a gradient becomes a step. The conventions are those of torch.optim's SGD and Adam."""

from dataclasses import dataclass
from math import inf

from llrnb import checks


@dataclass(frozen=True)
class GradientDescent:
    """v <- momentum v + gradient + weight_decay theta,   theta <- theta - learning_rate v."""

    momentum: float = 0.0
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        check_bounds(self, momentum=1, weight_decay=inf)


@dataclass(frozen=True)
class Adam:
    """m and v average g = gradient + weight_decay theta and g^2, with the start corrected for:

    theta <- theta - learning_rate (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + epsilon)
    """

    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        check_bounds(self, beta1=1, beta2=1, epsilon=inf, weight_decay=inf)


Optimizer = GradientDescent | Adam


def check_bounds(optimizer: object, **bounds: float) -> None:
    """Raise ValueError unless 0 <= value < bound for every named field."""
    kind = type(optimizer).__name__
    for name, below in bounds.items():
        value = checks.real(getattr(optimizer, name), f"{kind}'s {name}", least=0, below=below)
        checks.settle(optimizer, **{name: value})
