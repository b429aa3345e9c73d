"""What every rank function asks of its arguments."""

import torch
from torch import Tensor

from llrnb.networks import Params


def double_params(params: Params) -> dict[str, Tensor]:
    """The params, detached on the CPU, in float64; a narrower float is widened, which is exact.

    Raises:
        TypeError: not a mapping, or a value that is not a tensor of real floats.
        ValueError: no parameters, NaN or infinite ones.
    """
    if not isinstance(params, dict):
        try:
            params = dict(params)
        except (TypeError, ValueError):
            came = type(params).__name__
            raise TypeError(f"params need to be a dict of tensors, got {came}") from None
    if not sum(value.numel() for value in params.values() if isinstance(value, Tensor)):
        raise ValueError("a model needs at least 1 parameter, got none")
    return {name: double(value, f"params[{name!r}]") for name, value in params.items()}


def double(value: Tensor, name: str) -> Tensor:
    """The tensor, detached on the CPU, in float64.

    Raises:
        TypeError: not a tensor of real floats.
        ValueError: NaN or infinite values.
    """
    came = value.dtype if isinstance(value, Tensor) else type(value).__name__
    if not isinstance(value, Tensor) or not value.is_floating_point():
        raise TypeError(f"{name} needs to be a tensor of real floating-point numbers, got {came}")
    value = value.detach().to("cpu", torch.float64)
    if not value.isfinite().all():
        raise ValueError(f"{name} needs finite numbers, got NaN or infinity")
    return value
