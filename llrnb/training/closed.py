"""The closed-form engine: models that know the gradient of their squared error, of many at once.

Such a model has a method `squares(params, inputs, outputs)`: of params (net, ...), inputs
(net, sample, ...) and outputs (net, sample, ...), the gradient of every network's sum of squared
errors, by name, and that sum (net).
"""

from collections.abc import Callable
from math import prod
from typing import Any

import torch
from torch import Tensor

from llrnb.training.batched import Descents, in_parts
from llrnb.training.losses import Sum, name_of, per_sample, squared
from llrnb.training.outcome import Training
from llrnb.training.task import Task

NAME = "closed form"

# Numbers that a CPU computes with at a time, a sample's about as many as there are neurons: those
# of a few networks, which stay in its cache.
_TOGETHER = 2**15


def refuses(task: Task) -> str | None:
    """Why this engine cannot do a task; None if it can."""
    needed = "the closed form engine needs a model that knows the gradient of its squared error"
    if not hasattr(task.model, "squares"):
        return f"{needed}, got a {type(task.model).__name__}"
    if not _of_its_outputs(task.model):
        return (
            f"{needed}, got a {type(task.model).__name__}, which has outputs of its own and the "
            "squares of its parent"
        )
    if per_sample(task.loss) is not squared:
        return f"the closed form engine needs a squared loss, got {name_of(task.loss)}"
    return None


def _of_its_outputs(model: object) -> bool:
    """Whether no class overrides the outputs, and leaves the squares to a parent."""
    kinds = type(model).__mro__
    own = [kind for kind in kinds if {"outputs", "__call__"} & vars(kind).keys()]
    known = [kind for kind in kinds if "squares" in vars(kind)]
    return not (own and known) or issubclass(known[0], own[0])


def descend(task: Task, report: Callable[[int], None]) -> Training:
    """Train every network; see `llrnb.train`."""
    numbers = sum(value.numel() for value in task.starts[0].values())
    of_each = max(1, task.samples * (numbers // (1 + prod(task.model.input_shape))))
    on_cpu = torch.device(task.device).type == "cpu"
    return in_parts(task, Squares, max(1, _TOGETHER // of_each) if on_cpu else task.nets, report)


class Squares(Descents):
    """Networks whose model knows the gradient of their squares; each has data of its own."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        model: Any = task.model
        self.squares, self.sum = model.squares, isinstance(task.loss, Sum)
        self.x, self.y = (
            part.expand(task.nets, *part.shape[1:]).to(task.dtype).contiguous()
            for part in (self.x, self.y)
        )

    def gradient(self, x: Tensor | None, y: Tensor | None) -> tuple[dict[str, Tensor], Tensor]:
        x, y = (self.x, self.y) if x is None or y is None else (x, y)
        gradient, loss = self.squares(self.params, x, y)
        if self.sum:
            return gradient, loss
        return {name: slope / y.shape[1] for name, slope in gradient.items()}, loss / y.shape[1]
