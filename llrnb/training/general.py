"""The general engine: any model and any loss, by automatic differentiation.

Networks descend side by side by `torch.vmap`. A module that it refuses, because its steps depend on
the data or an operation has no batched form, is trained one network after the other in each step.
"""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from llrnb.models import ModuleModel, outputs_of
from llrnb.networks import Params
from llrnb.training.batched import Descents, in_parts
from llrnb.training.losses import fitted_to, mean_loss, total
from llrnb.training.outcome import Training
from llrnb.training.task import Task

NAME = "general"

# Numbers of the networks that are trained at a time, on a processor and on a GPU: for each sample
# at most some as many as parameters, for most kinds of layers.
_TOGETHER, _ON_GPU = 2**26, 2**29


def refuses(task: Task) -> str | None:
    """Why this engine cannot do a task; None, for it can do all."""
    return None


def descend(task: Task, report: Callable[[int], None]) -> Training:
    """Train every network; see `llrnb.train`."""
    of_each = sum(value[0].numel() for value in task.starts.values())
    numbers = _TOGETHER if torch.device(task.device).type == "cpu" else _ON_GPU
    together = max(1, numbers // (of_each * (1 + task.samples)))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="There is a performance drop")
        return in_parts(task, AnyModels, together, report)


class AnyModels(Descents):
    """Networks of any kind, with any loss."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.model, self.loss = task.model, task.loss
        if isinstance(self.model, ModuleModel):
            self.model = self.model.on(task.device, task.dtype)
        self.together = True  # until vmap refuses

    def gradient(self, x: Tensor | None, y: Tensor | None) -> tuple[dict[str, Tensor], Tensor]:
        x, y = (self.x, self.y) if x is None or y is None else (x, y)
        if self.together:
            try:
                return self._batched(x, y)
            except Exception:  # of many kinds; what is wrong with the model itself comes again
                self.together = False
        return self._one_by_one(x, y)

    def _batched(self, x: Tensor, y: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        shared = len(x) == 1
        slopes = torch.func.grad_and_value(self._mean_loss)
        of_net = (0, None, None) if shared else (0, 0, 0)
        data = (x[0], y[0]) if shared else (x, y)
        return torch.vmap(slopes, in_dims=of_net)(self.params, *data)

    def _one_by_one(self, x: Tensor, y: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        found, losses = {name: torch.zeros_like(v) for name, v in self.params.items()}, []
        for i in range(len(self.rate)):
            params = {name: v[i].detach().requires_grad_() for name, v in self.params.items()}
            made = fitted_to(outputs_of(self.model, params, x[i % len(x)]), y[i % len(y)])
            of_each = map(self.loss, made, y[i % len(y)])
            loss = total(self.loss, torch.stack(list(of_each)))
            slopes = torch.autograd.grad(loss, list(params.values()), allow_unused=True)
            for name, slope in zip(params, slopes, strict=True):
                if slope is not None:
                    found[name][i] = slope
            losses.append(loss.detach())
        return found, torch.stack(losses)

    def _mean_loss(self, params: Params, x: Tensor, y: Tensor) -> Tensor:
        return mean_loss(self.loss, outputs_of(self.model, params, x), y)
