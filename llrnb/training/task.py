"""What an engine is asked to do, and how it answers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from llrnb.models import Model
from llrnb.stacks import Stack
from llrnb.training.losses import Loss
from llrnb.training.optimizers import Optimizer
from llrnb.training.outcome import Training

PRECISIONS = {"float64": torch.float64, "float32": torch.float32}


@dataclass(frozen=True)
class Task:
    """Many networks to train, each by its own descent.

    Attributes:
        model: of every network.
        inputs: (sample, ...), shared, or (net, sample, ...).
        outputs: (sample, ...) or (net, sample, ...), to match.
        own_data: whether inputs and outputs have the axis `net`.
        counts: samples of each network, where they differ: its others are zero and not its own.
        starts: the initial parameters.
        rates: a learning rate for each network.
        seeds: of each network's mini-batches.
        steps, tolerance, record_at, optimizer, batch_size, precision, device: see `llrnb.train`.
        loss: of one sample.
    """

    model: Model
    inputs: Shaped[Tensor, "..."]
    outputs: Shaped[Tensor, "..."]
    own_data: bool
    counts: tuple[int, ...] | None
    starts: Stack
    rates: Float[np.ndarray, " net"]
    seeds: tuple[int, ...]
    steps: int
    tolerance: float
    record_at: tuple[int, ...]
    loss: Loss
    optimizer: Optimizer
    batch_size: int | None
    precision: str
    device: str

    @property
    def nets(self) -> int:
        """Number of networks."""
        return len(self.rates)

    @property
    def samples(self) -> int:
        """Number of samples of each network, or of the one that has most."""
        return self.inputs.shape[int(self.own_data)]

    @property
    def dtype(self) -> torch.dtype:
        """Of the arithmetic."""
        return PRECISIONS[self.precision]

    def of(self, some: Sequence[int]) -> "Task":
        """The same for some of the networks."""
        some, counts, size = list(some), self.counts, self.samples
        if counts is not None:
            counts = tuple(counts[i] for i in some)
            size = max(counts)
            counts = None if min(counts) == size else counts
        return replace(
            self,
            inputs=self.inputs[some, :size] if self.own_data else self.inputs,
            outputs=self.outputs[some, :size] if self.own_data else self.outputs,
            counts=counts,
            starts=self.starts[some],
            rates=self.rates[some],
            seeds=tuple(self.seeds[i] for i in some),
        )


class Engine(Protocol):
    """A module of this package that trains."""

    NAME: str

    def refuses(self, task: Task) -> str | None:
        """Why it cannot do a task, in words; None if it can."""

    def descend(self, task: Task, report: Callable[[int], None]) -> Training:
        """Do it; report the number of steps made, summed over the networks."""
