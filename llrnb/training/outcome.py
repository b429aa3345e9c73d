"""What a training run leaves behind: numerical outcomes are data, not exceptions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from llrnb.endings import Status
from llrnb.models import Model, outputs_of
from llrnb.networks import Params
from llrnb.stacks import Stack

# A loss above this is a divergence; its square root is still far from overflow.
BLOWN_UP = 1e100


@dataclass(frozen=True)
class History:
    """The networks at the requested steps; one that had stopped before stays as it stopped."""

    steps: tuple[int, ...]
    params: Params  # each (record, net, ...)
    loss: Float[Tensor, "record net"]

    def keep(self, at: int, loss: Tensor, params: Mapping[str, Tensor]) -> None:
        """The networks at this step, in every record of it."""
        for record, step in enumerate(self.steps):
            if step == at:
                self.loss[record] = loss
                for name, value in params.items():
                    self.params[name][record] = value

    def at(self, record: int) -> Stack:
        """The networks at one of these steps."""
        return Stack({name: value[record] for name, value in self.params.items()})


@dataclass(frozen=True)
class Training:
    """Many trained networks.

    Attributes:
        params: of every network; `params[i]` is one of them.
        loss: that of these params on the train data.
        steps: the number of updates made.
        status: why each network stopped.
        history: the networks at the steps of `record_at`.
        model: of every network.
        engine: which one it was.
        passed_over: why other engines were not taken.
    """

    params: Stack
    loss: Float[Tensor, " net"]
    steps: Int[Tensor, " net"]
    status: tuple[Status, ...]
    history: History
    model: Model | None = None
    engine: str = ""
    passed_over: tuple[str, ...] = ()

    def of(self, nets: Sequence[int]) -> "Training":
        """Some of the networks, in this order."""
        past = {name: value[:, nets] for name, value in self.history.params.items()}
        return replace(
            self,
            params=self.params[nets],
            loss=self.loss[nets],
            steps=self.steps[nets],
            status=tuple(self.status[i] for i in nets),
            history=replace(self.history, params=past, loss=self.history.loss[:, nets]),
        )

    def predict(
        self, inputs: Shaped[Tensor | np.ndarray, "sample ..."]
    ) -> Float[Tensor, "net sample ..."]:
        """The outputs of every network at many inputs."""
        if self.model is None:  # as an engine leaves it
            raise ValueError("predict needs the model that `train` notes, got none")
        inputs = torch.as_tensor(inputs, device="cpu")
        x = inputs.double() if inputs.is_floating_point() else inputs
        with torch.no_grad():
            return torch.stack([outputs_of(self.model, params, x) for params in self.params.each()])


def stopped(loss: float, steps: int, *, tolerance: float, limit: int) -> Status | None:
    """The status of a network with this loss after so many steps; None while it goes on."""
    if loss <= tolerance:
        return Status.CONVERGED
    if not loss < BLOWN_UP:  # also NaN
        return Status.DIVERGED
    return Status.STEP_LIMIT if steps == limit else None


def empty_history(initial: Stack, record_at: tuple[int, ...]) -> History:
    """A history to be filled by an engine."""
    params = {
        name: torch.empty((len(record_at), *value.shape), dtype=value.dtype, device="cpu")
        for name, value in initial.items()
    }
    shape = len(record_at), initial.nets
    return History(record_at, params, torch.empty(shape, dtype=torch.float64, device="cpu"))
