"""The compiled engine: the whole descent of eight networks in a core's cache, on every core.

Threads take networks from one queue. Each keeps eight of them in the lanes of `lanes.py`; a lane
whose network has stopped takes the next one. Lanes never mix, so a network's result is the same,
to the last bit, whatever else is in the call.
"""

from collections import deque
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from threading import Event

import numpy as np
import torch
from numba import njit

from llrnb.caching import compiled
from llrnb.networks import is_tanh_network, kind_of, tanh_network
from llrnb.stacks import Stack
from llrnb.training.lanes import WIDTH, fill, fma, load, store, tanh
from llrnb.training.losses import name_of, squared
from llrnb.training.optimizers import GradientDescent
from llrnb.training.outcome import BLOWN_UP, Status, Training, empty_history, stopped
from llrnb.training.task import Task

NAME = "cpu"

# Neuron-sample-steps between two looks at the queue: a fraction of a second, so that an interrupt
# is answered.
_PATIENCE = 10**8

_PLAIN = {
    "optimizer": GradientDescent(), "batch_size": None, "precision": "float64", "device": "cpu",
}  # fmt: skip

_GLANCE = 0.5  # seconds between two reports


@compiled(nogil=True)
def _advance(w, a, c, x, y, seen, shared, rate, tolerance, limit, activation, error, u, v, loss):
    """Descend in all lanes, for `limit` steps or until a lane with a nonzero rate stops.

    Every array has the lanes as its last axis. w (row * entry): a row of input weights for each
    kernel, or for each kernel and window when they are not shared. a (kernel * window), c (1), or
    empty without an output bias, x (input * sample), y (sample), rate (1), loss (1).
    seen (window, entry) numbers the inputs of each window. activation (kernel * window * sample),
    error, u and v (sample) are scratch. Kernels and entries are taken two by two, so that a core
    always has independent work; their numbers are even. Returns the number of steps made; `loss`
    then belongs to the current w, a and c.
    """
    (windows, entries), samples = seen.shape, y.shape[0]
    kernels = a.shape[0] // windows
    for step in range(limit + 1):
        start = load(c, 0) if len(c) else fill(0.0)
        for s in range(samples):
            store(error, s, start - load(y, s))
        for k in range(0, kernels, 2):
            for p in range(windows):
                q, r = k * windows + p, (k + 1) * windows + p
                rows = (k if shared else q) * entries, (k + 1 if shared else r) * entries
                _preactivate(w, rows, x, seen[p], u, v)
                _activate(a, q, r, u, v, activation, error)
        total = fill(0.0)
        for s in range(samples):
            total = fma(load(error, s), load(error, s), total)
        store(loss, 0, total / fill(float(samples)))
        for lane in range(WIDTH):
            # In this form a NaN stops the lane as well.
            if rate[0, lane] > 0 and not tolerance < loss[0, lane] < BLOWN_UP:
                return step
        if step == limit:
            break
        for s in range(samples):
            store(error, s, load(error, s) * fill(2.0 / samples))
        if len(c):
            slope = fill(0.0)
            for s in range(samples):
                slope = slope + load(error, s)
            store(c, 0, load(c, 0) - load(rate, 0) * slope)
        # The gradient needs no w, so that shared rows can be updated window by window.
        for k in range(0, kernels, 2):
            for p in range(windows):
                q, r = k * windows + p, (k + 1) * windows + p
                rows = (k if shared else q) * entries, (k + 1 if shared else r) * entries
                _descend_outputs(a, q, r, load(rate, 0), activation, error, u, v)
                _descend_inputs(w, rows, x, seen[p], load(rate, 0), u, v)
    return limit


@njit(inline="always")
def _preactivate(w, rows, x, window, u, v):
    """u and v = w . x at every sample, for two rows of w."""
    samples = u.shape[0]
    for j in range(0, window.size, 2):
        u0, u1 = load(w, rows[0] + j), load(w, rows[0] + j + 1)
        v0, v1 = load(w, rows[1] + j), load(w, rows[1] + j + 1)
        first, second = window[j] * samples, window[j + 1] * samples
        if j == 0:
            for s in range(samples):
                x0, x1 = load(x, first + s), load(x, second + s)
                store(u, s, fma(u1, x1, u0 * x0))
                store(v, s, fma(v1, x1, v0 * x0))
        else:
            for s in range(samples):
                x0, x1 = load(x, first + s), load(x, second + s)
                store(u, s, fma(u1, x1, fma(u0, x0, load(u, s))))
                store(v, s, fma(v1, x1, fma(v0, x0, load(v, s))))


@njit(inline="always")
def _activate(a, q, r, u, v, activation, error):
    """The activations tanh(u) and tanh(v) of neurons q and r, and their shares in the error."""
    samples = error.shape[0]
    a0, a1 = load(a, q), load(a, r)
    for s in range(samples):
        t0, t1 = tanh(load(u, s)), tanh(load(v, s))
        store(activation, q * samples + s, t0)
        store(activation, r * samples + s, t1)
        store(error, s, fma(a1, t1, fma(a0, t0, load(error, s))))


@njit(inline="always")
def _descend_outputs(a, q, r, rate, activation, slope, u, v):
    """Update the output weights of neurons q and r, from the loss's slope in the output.

    Leaves in u and v the loss's slopes in their preactivations, slope a (1 - tanh^2).
    """
    samples = slope.shape[0]
    a0, a1 = load(a, q), load(a, r)
    minus0, minus1 = fill(0.0) - a0, fill(0.0) - a1
    d0, d1 = fill(0.0), fill(0.0)
    for s in range(samples):
        e = load(slope, s)
        t0, t1 = load(activation, q * samples + s), load(activation, r * samples + s)
        d0, d1 = fma(e, t0, d0), fma(e, t1, d1)
        store(u, s, e * fma(minus0 * t0, t0, a0))
        store(v, s, e * fma(minus1 * t1, t1, a1))
    store(a, q, a0 - rate * d0)
    store(a, r, a1 - rate * d1)


@njit(inline="always")
def _descend_inputs(w, rows, x, window, rate, u, v):
    """Update two rows of input weights, whose preactivations the loss has the slopes u and v in."""
    samples = u.shape[0]
    for j in range(0, window.size, 2):
        u0, u1, v0, v1 = fill(0.0), fill(0.0), fill(0.0), fill(0.0)
        first, second = window[j] * samples, window[j + 1] * samples
        for s in range(samples):
            x0, x1 = load(x, first + s), load(x, second + s)
            u0, u1 = fma(load(u, s), x0, u0), fma(load(u, s), x1, u1)
            v0, v1 = fma(load(v, s), x0, v0), fma(load(v, s), x1, v1)
        for row, gradient in (rows[0] + j, u0), (rows[0] + j + 1, u1):
            store(w, row, load(w, row) - rate * gradient)
        for row, gradient in (rows[1] + j, v0), (rows[1] + j + 1, v1):
            store(w, row, load(w, row) - rate * gradient)


def refuses(task: Task) -> str | None:
    """Why this engine cannot do a task; None if it can. It is fast because it does one thing."""
    if not is_tanh_network(task.model):
        return f"the cpu engine needs a two-layer tanh network, got {kind_of(task.model)}"
    if task.loss is not squared:
        return f"the cpu engine needs the squared loss, got {name_of(task.loss)}"
    for name, needed in _PLAIN.items():
        if (came := getattr(task, name)) != needed:
            return f"the cpu engine needs {name} {needed!r}, got {came!r}"
    return None


def descend(task: Task, report: Callable[[int], None]) -> Training:
    """Train every network; see `llrnb.train`. As many threads as `torch.get_num_threads()`."""
    run = _Run(task)
    threads = min(torch.get_num_threads(), task.nets)
    lanes = min(WIDTH, -(-task.nets // threads))
    with ThreadPoolExecutor(threads) as pool:
        workers = [pool.submit(run.work, lanes) for _ in range(threads)]
        try:
            while wait(workers, timeout=_GLANCE, return_when=FIRST_EXCEPTION).not_done:
                report(int(run.made.sum()))
            for worker in workers:
                worker.result()
        finally:
            run.cancelled.set()
    return run.outcome()


class _Run:
    """One call: the networks in the engine's layout, the queue, and what has come out so far."""

    def __init__(self, task: Task) -> None:
        net, nets, initial = tanh_network(task.model), task.nets, task.starts
        self.net, self.learning_rates = net, task.rates
        self.steps, self.tolerance = task.steps, task.tolerance
        self.events = sorted({*task.record_at, task.steps})
        self.queue = deque(range(nets))
        self.cancelled = Event()

        # The bias is one more entry, which sees a constant 1. To make the numbers even, one more
        # entry sees a constant 0, and one more kernel is zero and stays so: its gradient vanishes.
        constants = [net.input_dim] * net.bias
        constants += [net.input_dim + 1] * ((net.entries + net.bias) % 2)
        self.seen = np.array([[*window, *constants] for window in net.windows])
        by_input = np.swapaxes(task.inputs.numpy(), -2, -1)
        ones = np.ones((*by_input.shape[:-2], 1, by_input.shape[-1]))
        self.x = np.concatenate([by_input, ones, 0 * ones], axis=-2)
        self.y = task.outputs.numpy()

        windows, kernels = len(net.windows), net.kernels + net.kernels % 2
        w = np.zeros((nets, kernels, 1 if net.shared else windows, self.seen.shape[1]))
        a = np.zeros((nets, kernels, windows))
        real = w[:, : net.kernels]
        real[..., : net.entries] = initial["w"].reshape(*real.shape[:-1], net.entries)
        if net.bias:
            real[..., net.entries] = initial["b"].reshape(real.shape[:-1])
        a[:, : net.kernels] = initial["a"]
        self.w, self.a = w.reshape(nets, -1), a.reshape(nets, -1)
        self.c = np.zeros((nets, int(net.output_bias)))
        if net.output_bias:
            self.c[:, 0] = initial["c"]

        self.loss, self.done = np.empty(nets), np.empty(nets, dtype=np.int64)
        self.made = np.zeros(nets, dtype=np.int64)  # steps made or saved, for the reports
        self.status = [Status.STEP_LIMIT] * nets
        self.history = empty_history(initial, task.record_at)

    def work(self, lanes: int) -> None:
        """One thread: keep the lanes busy until the queue is empty."""
        samples, neurons = self.y.shape[-1], self.a.shape[1]
        w, a, c = (_lane_array(part.shape[1]) for part in (self.w, self.a, self.c))
        x, y = _lane_array(self.x.shape[-2] * samples), _lane_array(samples)
        rate, loss = _lane_array(1), _lane_array(1)
        scratch = _lane_array(neurons * samples), *(_lane_array(samples) for _ in range(3))
        patience = _PATIENCE // (neurons * samples * WIDTH) + 1
        busy: dict[int, _Descent] = {}

        def take(lane: int) -> None:
            rate[0, lane] = 0.0
            busy.pop(lane, None)
            try:
                i = self.queue.popleft()
            except IndexError:
                return
            own_data = self.x.ndim == 3
            w[:, lane], a[:, lane], c[:, lane] = self.w[i], self.a[i], self.c[i]
            x[:, lane] = (self.x[i] if own_data else self.x).ravel()
            y[:, lane] = self.y[i] if own_data else self.y
            rate[0, lane] = self.learning_rates[i]
            busy[lane] = _Descent(i, deque(self.events))

        for lane in range(lanes):
            take(lane)
        while busy and not self.cancelled.is_set():
            limit = min(patience, *(descent.remaining for descent in busy.values()))
            made = _advance(
                *(w, a, c, x, y, self.seen, self.net.shared),
                *(rate, self.tolerance, limit, *scratch, loss),
            )
            for lane, descent in list(busy.items()):
                descent.steps += made
                self.made[descent.network] = descent.steps
                status = stopped(
                    loss[0, lane], descent.steps, tolerance=self.tolerance, limit=self.steps
                )
                if status or not descent.remaining:
                    descent.events.popleft()
                    self.keep(descent, status, w[:, lane], a[:, lane], c[:, lane], loss[0, lane])
                if status:
                    take(lane)

    def keep(self, descent, status, w, a, c, loss) -> None:
        """Record a network at a requested step, or for good when it has stopped."""
        i, params = descent.network, self.unpack(w, a, c)
        self.w[i], self.a[i], self.c[i] = w, a, c
        self.loss[i], self.done[i], self.status[i] = loss, descent.steps, status or self.status[i]
        self.made[i] = self.steps if status else descent.steps
        for record, step in enumerate(self.history.steps):
            if step == descent.steps or (status and step > descent.steps):
                self.history.loss[record, i] = loss
                for name, value in params.items():
                    self.history.params[name][record, i] = value

    def unpack(self, w: np.ndarray, a: np.ndarray, c: np.ndarray) -> dict[str, torch.Tensor]:
        """Params from the engine's layout, with any leading axes."""
        net, axes = self.net, a.shape[:-1]
        kernels = net.kernels + net.kernels % 2
        rows = w.reshape(*axes, kernels, -1, self.seen.shape[1])
        arrays = {
            "w": rows[..., : net.kernels, :, : net.entries],
            "b": rows[..., : net.kernels, :, net.entries : net.entries + 1],  # none without a bias
            "a": a.reshape(*axes, kernels, -1)[..., : net.kernels, :],
            "c": c,
        }
        return {
            name: torch.from_numpy(arrays[name].reshape((*axes, *shape)).copy())
            for name, shape in net.shapes.items()
        }

    def outcome(self) -> Training:
        return Training(
            params=Stack(self.unpack(self.w, self.a, self.c)),
            loss=torch.from_numpy(self.loss),
            steps=torch.from_numpy(self.done),
            status=tuple(self.status),
            history=self.history,
        )


@dataclass
class _Descent:
    """A network in a lane: the steps it has made and those at which it is next looked at."""

    network: int
    events: deque[int]
    steps: int = 0

    @property
    def remaining(self) -> int:
        return self.events[0] - self.steps


def _lane_array(rows: int) -> np.ndarray:
    """Zeros (row, WIDTH), each row in one cache line: a load across two of them costs double."""
    buffer = np.zeros(rows * WIDTH + WIDTH)
    start = -buffer.ctypes.data % 64 // 8
    return buffer[start : start + rows * WIDTH].reshape(rows, WIDTH)
