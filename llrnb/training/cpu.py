"""The compiled engine: the whole descent of eight networks in a core's cache, on every core.

Threads take networks from one queue. Each keeps eight of them in the lanes of `lanes.py`; a lane
whose network has stopped takes the next one. Lanes never mix, so a network's result is the same,
to the last bit, whatever else is in the call.
"""

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Event

import numpy as np
import torch
from numba import njit

from llrnb.networks import Params, TanhNetwork
from llrnb.training.lanes import WIDTH, fill, fma, load, store, tanh
from llrnb.training.outcome import BLOWN_UP, Training, empty_history, stopped

# Neuron-sample-steps between two looks at the queue: a fraction of a second, so that an interrupt
# is answered.
_PATIENCE = 10**8


@njit(nogil=True)
def _advance(w, a, x, y, seen, rate, tolerance, limit, activation, error, slope, loss):
    """Descend in all lanes, for `limit` steps or until a lane with a nonzero rate stops.

    Every array has the lanes as its last axis. w (row * entry): a row of input weights for each
    kernel, or for each kernel and window when they are not shared. a (neuron), x (input * sample),
    y (sample), rate (1), loss (1). seen (window, entry) numbers the inputs of each window.
    activation (neuron * sample), error (sample) and slope (sample) are scratch. Returns the number
    of steps made; `loss` then belongs to the current w and a.
    """
    windows, entries = seen.shape
    neurons, samples = a.shape[0], y.shape[0]
    neurons_per_row = neurons // (w.shape[0] // entries)
    for step in range(limit + 1):
        for s in range(samples):
            store(error, s, fill(0.0) - load(y, s))
        for q in range(neurons):
            _preactivate(w, q // neurons_per_row * entries, x, seen[q % windows], slope)
            out = load(a, q)
            for s in range(samples):
                t = tanh(load(slope, s))
                store(activation, q * samples + s, t)
                store(error, s, fma(out, t, load(error, s)))
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
        for q in range(neurons):
            _descend(w, q // neurons_per_row * entries, a, q, x, seen[q % windows],
                     load(rate, 0), activation, error, slope)  # fmt: skip
    return limit


@njit(inline="always")
def _preactivate(w, row, x, window, result):
    """result = w . x at every sample; the number of entries is even."""
    samples = result.shape[0]
    for j in range(0, window.size, 2):
        first, second = load(w, row + j), load(w, row + j + 1)
        i, k = window[j] * samples, window[j + 1] * samples
        if j == 0:
            for s in range(samples):
                store(result, s, fma(second, load(x, k + s), first * load(x, i + s)))
        else:
            for s in range(samples):
                so_far = fma(first, load(x, i + s), load(result, s))
                store(result, s, fma(second, load(x, k + s), so_far))


@njit(inline="always")
def _descend(w, row, a, q, x, window, rate, activation, error, slope):
    """Update neuron q's weights; the gradient needs no w, so shared rows add up window by window."""
    samples = error.shape[0]
    scale = fill(2.0 / samples)
    out, gradient = load(a, q), fill(0.0)
    for s in range(samples):
        t, e = load(activation, q * samples + s), load(error, s) * scale
        gradient = fma(e, t, gradient)
        store(slope, s, e * out * (fill(1.0) - t * t))
    store(a, q, out - rate * gradient)
    for j in range(0, window.size, 2):
        first, second = fill(0.0), fill(0.0)
        i, k = window[j] * samples, window[j + 1] * samples
        for s in range(samples):
            first = fma(load(slope, s), load(x, i + s), first)
            second = fma(load(slope, s), load(x, k + s), second)
        store(w, row + j, load(w, row + j) - rate * first)
        store(w, row + j + 1, load(w, row + j + 1) - rate * second)


def descend(
    net: TanhNetwork,
    inputs: torch.Tensor,
    outputs: torch.Tensor,
    initial: Params,
    learning_rates: np.ndarray,
    *,
    steps: int,
    tolerance: float,
    record_at: tuple[int, ...],
) -> Training:
    """Train every network; see `llrnb.train`. As many threads as `torch.get_num_threads()`."""
    run = _Run(net, inputs, outputs, initial, learning_rates, steps, tolerance, record_at)
    threads = min(torch.get_num_threads(), len(learning_rates))
    lanes = min(WIDTH, -(-len(learning_rates) // threads))
    with ThreadPoolExecutor(threads) as pool:
        workers = [pool.submit(run.work, lanes) for _ in range(threads)]
        try:
            for worker in workers:
                worker.result()
        finally:
            run.cancelled.set()
    return run.outcome()


class _Run:
    """One call: the networks in the engine's layout, the queue, and what has come out so far."""

    def __init__(self, net, inputs, outputs, initial, learning_rates, steps, tolerance, record_at):
        nets = len(learning_rates)
        self.net, self.learning_rates = net, learning_rates
        self.steps, self.tolerance = steps, tolerance
        self.events = sorted({*record_at, steps})
        self.queue = deque(range(nets))
        self.cancelled = Event()

        # The bias is one more entry, which sees a constant 1; another, which sees 0, makes the
        # number of entries even.
        constants = [net.input_dim] * net.bias
        constants += [net.input_dim + 1] * ((net.entries + net.bias) % 2)
        self.seen = np.array([[*window, *constants] for window in net.windows])
        by_input = np.swapaxes(inputs.numpy(), -2, -1)
        ones = np.ones((*by_input.shape[:-2], 1, by_input.shape[-1]))
        self.x = np.concatenate([by_input, ones, 0 * ones], axis=-2)
        self.y = outputs.numpy()

        rows = {name: initial[name].flatten(1, -1 - (name == "w")) for name in net.shapes}
        columns = [rows["w"], *([rows["b"][..., None]] if net.bias else [])]
        w = torch.cat(columns, dim=-1).numpy()
        padding = self.seen.shape[1] - w.shape[-1]
        self.w = np.pad(w, ((0, 0), (0, 0), (0, padding))).reshape(nets, -1)
        self.a = rows["a"].numpy().copy()

        self.loss, self.done = np.empty(nets), np.empty(nets, dtype=np.int64)
        self.status = [None] * nets
        self.history = empty_history(initial, record_at)

    def work(self, lanes: int) -> None:
        """One thread: keep the lanes busy until the queue is empty."""
        samples, neurons = self.y.shape[-1], self.net.neurons
        w, a = _lane_array(self.w.shape[1]), _lane_array(neurons)
        x, y = _lane_array(self.x.shape[-2] * samples), _lane_array(samples)
        rate, loss = _lane_array(1), _lane_array(1)
        scratch = _lane_array(neurons * samples), _lane_array(samples), _lane_array(samples)
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
            w[:, lane], a[:, lane] = self.w[i], self.a[i]
            x[:, lane] = (self.x[i] if own_data else self.x).ravel()
            y[:, lane] = self.y[i] if own_data else self.y
            rate[0, lane] = self.learning_rates[i]
            busy[lane] = _Descent(i, deque(self.events))

        for lane in range(lanes):
            take(lane)
        while busy and not self.cancelled.is_set():
            limit = min(patience, *(descent.remaining for descent in busy.values()))
            made = _advance(
                w, a, x, y, self.seen, rate, self.tolerance, limit, *scratch, loss
            )  # fmt: skip
            for lane, descent in list(busy.items()):
                descent.steps += made
                status = stopped(
                    loss[0, lane], descent.steps, tolerance=self.tolerance, limit=self.steps
                )
                if status or not descent.remaining:
                    descent.events.popleft()
                    self.keep(descent, status, w[:, lane], a[:, lane], loss[0, lane])
                if status:
                    take(lane)

    def keep(self, descent, status, w, a, loss) -> None:
        """Record a network at a requested step, or for good when it has stopped."""
        i, params = descent.network, self.unpack(w, a)
        self.w[i], self.a[i] = w, a
        self.loss[i], self.done[i], self.status[i] = loss, descent.steps, status
        for record, step in enumerate(self.history.steps):
            if step == descent.steps or (status and step > descent.steps):
                self.history.loss[record, i] = loss
                for name, value in params.items():
                    self.history.params[name][record, i] = value

    def unpack(self, w: np.ndarray, a: np.ndarray) -> dict[str, torch.Tensor]:
        """Params from rows of input weights and output weights, with any leading axes."""
        axes, shapes, entries = a.shape[:-1], self.net.shapes, self.net.entries
        rows = w.reshape(*axes, -1, self.seen.shape[1])
        arrays = {"w": rows[..., :entries], "b": rows[..., entries], "a": a}
        return {
            name: torch.from_numpy(arrays[name].reshape(*axes, *shape).copy())
            for name, shape in shapes.items()
        }

    def outcome(self) -> Training:
        return Training(
            params=self.unpack(self.w, self.a),
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
