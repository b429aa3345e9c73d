"""The torch engine: all networks in one batch of tensor operations, on any device.

A step is a fixed sequence of operations on fixed tensors. On a GPU a run of steps is captured once
as a graph and replayed, so that no step waits for Python; elsewhere the same steps are called, with
so many networks at a time that their activations stay in a core's cache.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from llrnb.networks import Params, TanhNetwork
from llrnb.streams import rng
from llrnb.training.optimizers import Adam, Optimizer
from llrnb.training.outcome import BLOWN_UP, History, Training, empty_history, stopped

# Steps between two questions whether every network has stopped; on a GPU a question waits.
_PATIENCE = 100

# Activations of the networks that a processor trains at a time.
_TOGETHER = 2**17


def descend(
    net: TanhNetwork,
    inputs: Tensor,
    outputs: Tensor,
    initial: Params,
    learning_rates: np.ndarray,
    *,
    steps: int,
    tolerance: float,
    record_at: tuple[int, ...],
    device: str,
    optimizer: Optimizer,
    batch_size: int | None,
    seeds: tuple[int, ...],
    precision: torch.dtype,
    report: Callable[[int], None],
) -> Training:
    """Train every network; see `llrnb.train`."""
    nets, of_each = len(seeds), net.neurons * inputs.shape[-2]
    together = max(1, _TOGETHER // of_each) if torch.device(device).type == "cpu" else nets
    own_data = inputs.ndim == 3
    parts = []
    for first in range(0, nets, together):
        some = slice(first, first + together)
        data = (inputs[some], outputs[some]) if own_data else (inputs, outputs)
        parts.append(
            _descend(
                net,
                *data,
                {name: value[some] for name, value in initial.items()},
                learning_rates[some],
                steps=steps,
                tolerance=tolerance,
                record_at=record_at,
                device=device,
                optimizer=optimizer,
                batch_size=batch_size,
                seeds=seeds[some],
                precision=precision,
                report=lambda made, before=steps * first: report(before + made),
            )
        )
    return _joined(parts)


def _descend(
    net, inputs, outputs, initial, learning_rates, *,
    steps, tolerance, record_at, device, optimizer, batch_size, seeds, precision, report,
) -> Training:  # fmt: skip
    """Train these networks together."""
    data = [part.to(device, precision) for part in (inputs, outputs)]
    params = {name: value.to(device, precision, copy=True) for name, value in initial.items()}
    rate = torch.as_tensor(learning_rates, device=device, dtype=precision)
    run = _Batch(net, *data, params, rate, tolerance, optimizer)
    if batch_size is None or batch_size >= inputs.shape[-2]:
        chunks = _Steps(run, device)
    else:
        chunks = _Epochs(run, batch_size, seeds, device)

    history = empty_history(initial, record_at)
    at = 0
    for event in sorted({*record_at, steps}):
        while at < event and run.going.any():
            count = min(chunks.length - at % chunks.length, event - at)
            chunks.advance(at % chunks.length, count)
            at += count
            report(at * len(rate))
        at = event
        loss = run.measure().double().cpu()
        for record, step in enumerate(record_at):
            if step == event:
                history.loss[record] = loss
                for name, value in params.items():
                    history.params[name][record] = value.cpu()
    status = tuple(
        stopped(float(value), int(made), tolerance=tolerance, limit=steps)
        for value, made in zip(loss, run.done, strict=True)
    )
    found = {name: value.double().cpu() for name, value in params.items()}
    return Training(found, loss, run.done.cpu(), status, history)


def _joined(parts: list[Training]) -> Training:
    """The networks of all parts, in order."""
    pasts = [part.history for part in parts]
    names = parts[0].params
    past = {name: torch.cat([past.params[name] for past in pasts], dim=1) for name in names}
    return Training(
        {name: torch.cat([part.params[name] for part in parts]) for name in names},
        torch.cat([part.loss for part in parts]),
        torch.cat([part.steps for part in parts]),
        tuple(status for part in parts for status in part.status),
        History(pasts[0].steps, past, torch.cat([past.loss for past in pasts], dim=1)),
    )


class _Batch:
    """The networks and what a step needs, all on the device.

    Hidden neurons are laid out as (net, window), kernel, sample, so that everything but tanh and a
    square is a batched matrix product. Shared kernels are repeated for their windows. A bias is one
    more entry, which sees a 1.
    """

    def __init__(self, net, inputs, outputs, params, rate, tolerance, optimizer) -> None:
        self.net, self.params, self.rate = net, params, rate
        self.tolerance, self.optimizer = tolerance, optimizer
        windows = torch.tensor(net.windows, device=inputs.device)
        seen = inputs[..., windows]
        if net.bias:
            seen = torch.cat([seen, torch.ones_like(seen[..., :1])], dim=-1)
        # (net or 1, sample, window, entry)
        self.seen = seen if inputs.ndim == 3 else seen[None]
        self.y = outputs if outputs.ndim == 2 else outputs[None]
        self.columns = self.columns_of(self.seen)
        self.done = torch.zeros(len(rate), dtype=torch.int64, device=rate.device)
        self.going = torch.ones(len(rate), dtype=torch.bool, device=rate.device)
        slots = 2 if isinstance(optimizer, Adam) else int(optimizer.momentum > 0)
        self.memory = {
            name: [torch.zeros_like(value) for _ in range(slots)] for name, value in params.items()
        }
        self.hidden: dict[int, Tensor] = {}  # for each number of samples, memory to work in

    def columns_of(self, seen: Tensor) -> Tensor:
        """Inputs as ((net, window), entry, sample)."""
        columns = seen.permute(0, 2, 3, 1)
        return columns.expand(len(self.rate), -1, -1, -1).flatten(0, 1).contiguous()

    def gradient(self, columns: Tensor, y: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Of every network's mean squared error on these samples, and that error.

        With t = tanh(w . x), the slope in w is the sum over samples of a (1 - t^2) error x, which
        is a (sum of error x - sum of t^2 error x): nothing but t has a hidden neuron's size.
        """
        net, nets, samples = self.net, len(self.rate), y.shape[-1]
        w, windows = self.params["w"], len(net.windows)
        if net.bias:
            w = torch.cat([w, self.params["b"][..., None]], dim=-1)
        w = w[:, None].expand(-1, windows, -1, -1) if net.shared else w.transpose(1, 2)
        a = self.params["a"].transpose(1, 2)  # (net, window, kernel)
        if samples not in self.hidden:
            self.hidden[samples] = w.new_empty(nets * windows, net.kernels, samples)
        t = torch.bmm(w.flatten(0, 1), columns, out=self.hidden[samples]).tanh_()
        every = t.view(nets, -1, samples)
        error = torch.bmm(a.reshape(nets, 1, -1), every)[:, 0] - y
        if net.output_bias:
            error = error + self.params["c"][:, None]
        loss = error.square().mean(dim=-1)
        error = error * (2 / samples)
        by_a = torch.bmm(every, error[..., None]).view(nets, windows, -1).transpose(1, 2)
        weighted = (columns.view(nets, windows, -1, samples) * error[:, None, None]).flatten(0, 1)
        by_w = weighted.sum(-1)[:, None] - torch.bmm(t.square_(), weighted.mT)
        by_w = a[..., None] * by_w.view(nets, windows, net.kernels, -1)
        by_w = by_w.sum(1) if net.shared else by_w.transpose(1, 2)
        gradient = {"w": by_w[..., : net.entries], "a": by_a}
        if net.bias:
            gradient["b"] = by_w[..., -1]
        if net.output_bias:
            gradient["c"] = error.sum(dim=-1)
        return gradient, loss

    def state(self) -> list[Tensor]:
        """All tensors that a step changes."""
        memory = [tensor for slots in self.memory.values() for tensor in slots]
        return [*self.params.values(), *memory, self.done, self.going]

    def measure(self) -> Tensor:
        """The losses on all samples. A network whose loss is small enough, or too large, stops."""
        return self._judge(self.gradient(self.columns, self.y)[1])

    def _judge(self, loss: Tensor) -> Tensor:
        self.going.logical_and_((loss > self.tolerance) & (loss < BLOWN_UP))  # a NaN stops, too
        return loss

    def step(self, columns: Tensor | None = None, y: Tensor | None = None) -> None:
        """One update of every network that goes on; on all samples, it asks first who does."""
        if columns is None:
            gradient, loss = self.gradient(self.columns, self.y)
            self._judge(loss)
        else:
            gradient, _ = self.gradient(columns, y)
        self.done.add_(self.going)
        for name, value in self.params.items():
            of_net = (-1, *[1] * (value.ndim - 1))
            going = self.going.view(of_net)
            t = self.done.view(of_net).to(value.dtype)
            change = self._change(name, gradient[name], t, going)
            value.sub_(torch.where(going, self.rate.view(of_net) * change, 0.0))

    def _change(self, name: str, slope: Tensor, t: Tensor, going: Tensor) -> Tensor:
        """What the optimizer makes of a gradient."""
        by, memory = self.optimizer, self.memory[name]
        if by.weight_decay:
            slope = slope + by.weight_decay * self.params[name]
        if isinstance(by, Adam):
            m, v = memory
            m.copy_(torch.where(going, by.beta1 * m + (1 - by.beta1) * slope, m))
            v.copy_(torch.where(going, by.beta2 * v + (1 - by.beta2) * slope * slope, v))
            return m / (1 - by.beta1**t) / ((v / (1 - by.beta2**t)).sqrt() + by.epsilon)
        if memory:
            memory[0].copy_(torch.where(going, by.momentum * memory[0] + slope, memory[0]))
            return memory[0]
        return slope


class _Steps:
    """Runs of full-batch steps."""

    def __init__(self, run: _Batch, device: str) -> None:
        self.length = _PATIENCE
        self.one = _captured(run.step, run, device)
        self.many = _captured(lambda: [run.step() for _ in range(_PATIENCE)], run, device)

    def advance(self, at: int, count: int) -> None:
        """Make so many steps, from the step `at` of a run on."""
        if count == self.length:
            self.many()
        else:
            for _ in range(count):
                self.one()


class _Epochs:
    """Runs of steps on mini-batches; every epoch takes the samples in a new order.

    A network's orders come from a stream of its own. Whether it has stopped is asked, on all
    samples, when an epoch begins.
    """

    def __init__(self, run: _Batch, batch_size: int, seeds: tuple[int, ...], device: str) -> None:
        self.run, self.batch_size = run, batch_size
        self.samples = run.y.shape[-1]
        self.length = -(-self.samples // batch_size)
        self.streams = [
            rng("mini-batch orders", batch_size=batch_size, seed=seed) for seed in seeds
        ]
        self.order = torch.zeros(len(seeds), self.samples, dtype=torch.int64, device=device)
        self.epoch = _captured(lambda: self._steps(0, self.length), run, device)

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
            seen, y = (data[nets % len(data), pick] for data in (run.seen, run.y))
            run.step(run.columns_of(seen), y)


def _captured(work: Callable[[], object], run: _Batch, device: str) -> Callable[[], object]:
    """The work as one graph, on a GPU; itself elsewhere."""
    if torch.device(device).type != "cuda":
        return work
    before = [tensor.clone() for tensor in run.state()]
    aside = torch.cuda.Stream(device)
    aside.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(aside):
        work()  # libraries allocate when they are first used, which a capture forbids
    torch.cuda.current_stream(device).wait_stream(aside)
    for tensor, value in zip(run.state(), before, strict=True):
        tensor.copy_(value)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.device(device), torch.cuda.graph(graph):
        work()
    return graph.replay
