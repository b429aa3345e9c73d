"""The torch engine: all two-layer networks in one batch of tensor operations, on any device.

A step is a fixed sequence of operations on fixed tensors. On a GPU it is captured once as a graph
and replayed, so that no step waits for Python; elsewhere the same step is called, with so many
networks at a time that their activations stay in a core's cache.
"""

import sys
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from llrnb import checks
from llrnb.activations import TANH, activation_of
from llrnb.networks import TwoLayerNetwork, is_two_layer, kind_of
from llrnb.stacks import Stack
from llrnb.streams import rng
from llrnb.training import progress
from llrnb.training.losses import name_of, squared
from llrnb.training.outcome import BLOWN_UP, History, Status, Training, empty_history, stopped
from llrnb.training.task import Task

NAME = "torch"

# Steps between two questions whether every network has stopped; on a GPU a question waits.
_PATIENCE = 100

# Steps from which on a GPU's step is worth compiling.
_LONG = 20_000

# Activations of the networks that a processor trains at a time.
_TOGETHER = 2**17


def refuses(task: Task) -> str | None:
    """Why this engine cannot do a task; None if it can."""
    if not is_two_layer(task.model):
        return f"the torch engine needs a two-layer network, got {kind_of(task.model)}"
    if task.loss is not squared:
        return f"the torch engine needs the squared loss, got {name_of(task.loss)}"
    return None


def descend(task: Task, report: Callable[[int], None]) -> Training:
    """Train every network; see `llrnb.train`."""
    of_each = checks.instance(task.model, TwoLayerNetwork, "model").neurons * task.samples
    on_cpu = torch.device(task.device).type == "cpu"
    together = max(1, _TOGETHER // of_each) if on_cpu else task.nets
    return in_parts(task, Networks, together, report)


def in_parts(
    task: Task, kind: type["Descents"], together: int, report: Callable[[int], None]
) -> Training:
    """Train so many networks at a time."""
    parts = []
    for first in range(0, task.nets, together):
        some = task.of(range(first, min(first + together, task.nets)))
        before = task.steps * first
        parts.append(_descend(some, kind(some), progress.after(report, before)))
    return joined(parts)


def _descend(task: Task, run: "Descents", report: Callable[[int], None]) -> Training:
    """Train these networks together."""
    chunks: Steps | Epochs
    if task.batch_size is None or task.batch_size >= task.samples:
        chunks = Steps(run)
    else:
        chunks = Epochs(run, task.batch_size, task.seeds)
    history = empty_history(task.starts, task.record_at)
    at = 0
    for event in sorted({*task.record_at, task.steps}):
        while at < event and run.going.any():
            count = min(chunks.length - at % chunks.length, event - at)
            chunks.advance(at % chunks.length, count)
            at += count
            report(at * task.nets)
        at = event
        loss = run.measure().double().cpu()
        history.keep(event, loss, run.params)
    status = tuple(
        stopped(float(value), int(made), tolerance=task.tolerance, limit=task.steps)
        or Status.STEP_LIMIT
        for value, made in zip(loss, run.done, strict=True)
    )
    found = Stack(run.params).to("cpu", torch.float64)
    return Training(found, loss, run.done.cpu(), status, history)


def joined(parts: list[Training]) -> Training:
    """The networks of all parts, in order."""
    pasts = [part.history for part in parts]
    past = {
        name: torch.cat([past.params[name] for past in pasts], dim=1) for name in pasts[0].params
    }
    return Training(
        Stack.joined(part.params for part in parts),
        torch.cat([part.loss for part in parts]),
        torch.cat([part.steps for part in parts]),
        tuple(status for part in parts for status in part.status),
        History(pasts[0].steps, past, torch.cat([past.loss for past in pasts], dim=1)),
    )


class Descents:
    """Networks that descend side by side, and what a step needs, all on the device.

    Attributes:
        x: (net or 1, sample, ...).
        y: (net or 1, sample, ...).
    """

    def __init__(self, task: Task) -> None:
        device, dtype = task.device, task.dtype
        self.tolerance, self.optimizer, self.device = task.tolerance, task.optimizer, device
        self.long = task.steps >= _LONG
        self.params = {
            name: value.to(device, dtype, copy=True) for name, value in task.starts.items()
        }
        data = [
            part.to(device, dtype if part.is_floating_point() else part.dtype)
            for part in (task.inputs, task.outputs)
        ]
        self.x, self.y = data if task.own_data else (part[None] for part in data)
        self.rate = torch.as_tensor(task.rates, device=device, dtype=dtype)
        self.done = torch.zeros(len(self.rate), dtype=torch.int64, device=device)
        self.going = torch.ones(len(self.rate), dtype=torch.bool, device=device)
        self.memory = {
            name: [torch.zeros_like(value) for _ in range(task.optimizer.slots)]
            for name, value in self.params.items()
        }

    def gradient(self, x: Tensor | None, y: Tensor | None) -> tuple[dict[str, Tensor], Tensor]:
        """Of every network's loss on these samples, or on all, and that loss."""
        raise NotImplementedError

    def state(self) -> list[Tensor]:
        """All tensors that a step changes."""
        memory = [tensor for slots in self.memory.values() for tensor in slots]
        return [*self.params.values(), *memory, self.done, self.going]

    def measure(self) -> Tensor:
        """The losses on all samples. A network whose loss is small enough, or too large, stops."""
        return self._judge(self.gradient(None, None)[1])

    def _judge(self, loss: Tensor) -> Tensor:
        self.going.logical_and_((loss > self.tolerance) & (loss < BLOWN_UP))  # a NaN stops, too
        return loss

    def step(self, x: Tensor | None = None, y: Tensor | None = None) -> None:
        """One update of every network that goes on; on all samples, it asks first who does."""
        gradient, loss = self.gradient(x, y)
        if x is None:
            self._judge(loss)
        self.done.add_(self.going)
        made = self.done.to(self.rate.dtype)
        everyone = self.done.device.type == "cpu" and bool(self.going.all())  # a GPU would wait
        for name, value in self.params.items():
            of_net = (-1, *[1] * (value.ndim - 1))
            going = self.going.view(of_net)
            t, rate, memory = made.view(of_net), self.rate.view(of_net), self.memory[name]
            moved = self.optimizer.step(value, gradient[name], memory, t, rate)
            for old, new in zip([value, *memory], [moved[0], *moved[1]], strict=True):
                if everyone:
                    old.copy_(new)
                else:
                    torch.where(going, new, old, out=old)


class Networks(Descents):
    """Two-layer networks with the squared loss.

    Hidden neurons are laid out as (net, window), kernel, sample, so that everything but tanh and a
    square, or another activation and its slope, is a batched matrix product. Shared kernels are
    repeated for their windows. A bias is one more entry, which sees a 1.
    """

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.net = checks.instance(task.model, TwoLayerNetwork, "model")
        self.activation = activation_of(self.net.activation)
        windows = torch.tensor(self.net.windows, device=self.x.device)
        seen = self.x[..., windows]
        if self.net.bias:
            seen = torch.cat([seen, torch.ones_like(seen[..., :1])], dim=-1)
        self.x = seen  # (net or 1, sample, window, entry)
        self.columns = self.columns_of(seen)
        self.hidden: dict[int, Tensor] = {}  # for each number of samples, memory to work in

    def columns_of(self, seen: Tensor) -> Tensor:
        """Inputs as ((net, window), entry, sample)."""
        columns = seen.permute(0, 2, 3, 1)
        return columns.expand(len(self.rate), -1, -1, -1).flatten(0, 1).contiguous()

    def gradient(self, x: Tensor | None, y: Tensor | None) -> tuple[dict[str, Tensor], Tensor]:
        """Of every network's mean squared error on these samples, and that error.

        With t = tanh(w . x), the slope in w is the sum over samples of a (1 - t^2) error x, which
        is a (sum of error x - sum of t^2 error x): nothing but t has a hidden neuron's size. Of
        another activation the slopes have it, too.
        """
        columns, y = (self.columns, self.y) if x is None or y is None else (self.columns_of(x), y)
        net, nets, samples = self.net, len(self.rate), y.shape[-1]
        w, windows = self.params["w"], len(net.windows)
        if net.bias:
            w = torch.cat([w, self.params["b"][..., None]], dim=-1)
        w = w[:, None].expand(-1, windows, -1, -1) if net.shared else w.transpose(1, 2)
        a = self.params["a"].transpose(1, 2)  # (net, window, kernel)
        if samples not in self.hidden:
            self.hidden[samples] = w.new_empty(nets * windows, net.kernels, samples)
        u = torch.bmm(w.flatten(0, 1), columns, out=self.hidden[samples])
        if self.activation == TANH:
            t, slope = u.tanh_(), None
        else:
            t, slope = self.activation.value_and_slope(u)
        every = t.reshape(nets, -1, samples)
        error = torch.bmm(a.reshape(nets, 1, -1), every)[:, 0] - y
        if net.output_bias:
            error = error + self.params["c"][:, None]
        loss = error.square().mean(dim=-1)
        error = error * (2 / samples)
        by_a = torch.bmm(every, error[..., None]).view(nets, windows, -1).transpose(1, 2)
        weighted = (columns.view(nets, windows, -1, samples) * error[:, None, None]).flatten(0, 1)
        if slope is None:
            by_w = weighted.sum(-1)[:, None] - torch.bmm(t.square_(), weighted.mT)
        else:
            by_w = torch.bmm(slope, weighted.mT)
        by_w = a[..., None] * by_w.view(nets, windows, net.kernels, -1)
        by_w = by_w.sum(1) if net.shared else by_w.transpose(1, 2)
        gradient = {"w": by_w[..., : net.entries], "a": by_a}
        if net.bias:
            gradient["b"] = by_w[..., -1]
        if net.output_bias:
            gradient["c"] = error.sum(dim=-1)
        return gradient, loss


class Steps:
    """Runs of full-batch steps."""

    def __init__(self, run: Descents) -> None:
        self.length = _PATIENCE
        self.step = _captured(run.step, run)

    def advance(self, at: int, count: int) -> None:
        """Make so many steps, from the step `at` of a run on."""
        for _ in range(count):
            self.step()


class Epochs:
    """Runs of steps on mini-batches; every epoch takes the samples in a new order.

    A network's orders come from a stream of its own. Whether it has stopped is asked, on all
    samples, when an epoch begins.
    """

    def __init__(self, run: Descents, batch_size: int, seeds: tuple[int, ...]) -> None:
        self.run, self.batch_size = run, batch_size
        self.samples = run.y.shape[1]
        self.length = -(-self.samples // batch_size)
        self.streams = [
            rng("mini-batch orders", batch_size=batch_size, seed=seed) for seed in seeds
        ]
        self.order = torch.zeros(len(seeds), self.samples, dtype=torch.int64, device=run.device)
        self.epoch = _captured(lambda: self._steps(0, self.length), run)

    def advance(self, at: int, count: int) -> None:
        """Make so many steps, from the step `at` of an epoch on."""
        if at == 0:
            orders = np.stack([stream.permutation(self.samples) for stream in self.streams])
            self.order.copy_(torch.from_numpy(orders))
            self.run.measure()
        if count == self.length:
            self.epoch()
        else:
            self._steps(at, count)

    def _steps(self, at: int, count: int) -> None:
        run = self.run
        nets = torch.arange(len(self.order), device=self.order.device)[:, None]
        for step in range(at, at + count):
            pick = self.order[:, step * self.batch_size : (step + 1) * self.batch_size]
            run.step(*(data[nets % len(data), pick] for data in (run.x, run.y)))


def _captured(work: Callable[[], object], run: Descents) -> Callable[[], object]:
    """The work as one graph, on a GPU; itself elsewhere, or where no graph does the same.

    That is where a step asks the GPU for a number, or is another one each time. For many steps the
    work is compiled, which takes seconds.
    """
    device = torch.device(run.device)
    if device.type != "cuda":
        return work
    candidates = [_compiled(work), work] if run.long else [work]
    with torch.cuda.device(device):
        before = [tensor.clone() for tensor in run.state()]
        work()
        known = _exchanged(run, before)
        for candidate in candidates:
            try:
                replay = _graph_of(candidate)
                _exchanged(run, before)
                replay()
            except Exception:  # of many kinds, by what a model does
                _exchanged(run, before)
                continue
            if all(map(_alike, known, _exchanged(run, before))):
                return replay
    return work


def _compiled(work: Callable[[], object]) -> Callable[[], None]:
    """The work, compiled anew for each run, however many there are."""
    fused = torch.compile(work, dynamic=False)

    def compiled() -> None:
        with torch._dynamo.config.patch(recompile_limit=sys.maxsize):
            fused()

    return compiled


def _graph_of(work: Callable[[], object]) -> Callable[[], object]:
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        work()  # libraries allocate when they are first used, which a capture forbids
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    return graph.replay


def _exchanged(run: Descents, state: list[Tensor]) -> list[Tensor]:
    """A copy of a run's state, which becomes the other one."""
    copies = [tensor.clone() for tensor in run.state()]
    for tensor, value in zip(run.state(), state, strict=True):
        tensor.copy_(value)
    return copies


def _alike(one: Tensor, other: Tensor) -> bool:
    """Up to the order of sums."""
    one, other = one.double(), other.double()
    same = (one == other) | (one.isnan() & other.isnan())
    return bool((same | ((one - other).abs() <= 1e-4 * other.abs().max())).all())
