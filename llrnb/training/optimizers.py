"""How a gradient becomes a step. The conventions are those of torch.optim's SGD and Adam."""

from dataclasses import dataclass


@dataclass(frozen=True)
class GradientDescent:
    """v <- momentum v + gradient + weight_decay theta,   theta <- theta - learning_rate v."""

    momentum: float = 0.0
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        check_bounds(self, momentum=(0, 1), weight_decay=(0, float("inf")))


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
        check_bounds(self, beta1=(0, 1), beta2=(0, 1), weight_decay=(0, float("inf")))
        check_bounds(self, epsilon=(0, float("inf")))


Optimizer = GradientDescent | Adam


def check_bounds(optimizer: object, **bounds: tuple[float, float]) -> None:
    """Raise ValueError unless low <= value < high for every named field."""
    for name, (low, high) in bounds.items():
        value = getattr(optimizer, name)
        if not low <= value < high:
            kind = type(optimizer).__name__
            raise ValueError(f"{kind} needs {low} <= {name} < {high}, got {value}")
