"""The cuda engine: one kernel makes the whole descent of two-layer networks, many at once.

`two_layer.cu` says how a network is laid out over threads. It is compiled for each architecture
and optimizer when first needed (seconds, kept in the user's cache folder), and launched for a
fraction of a second at a time, so that progress is shown and an interrupt is answered. Networks may
have data of their own, also of different sizes. A network's result is the same, to the last bit,
whatever else is in the call.
"""

import struct
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from importlib.util import find_spec
from itertools import product
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from llrnb.networks import TwoLayerNetwork, is_tanh_network, kind_of, tanh_network
from llrnb.stacks import Stack
from llrnb.streams import rng
from llrnb.training import progress
from llrnb.training.batched import joined
from llrnb.training.losses import name_of, squared
from llrnb.training.optimizers import Adam, GradientDescent, Optimizer
from llrnb.training.outcome import BLOWN_UP, Status, Training, empty_history, stopped
from llrnb.training.task import Task

NAME = "cuda"

_LANES = 32  # of a warp
_REGISTERS = 65536  # of a multiprocessor, at most 255 for a thread
_KEPT = 40_000  # bytes of samples that a block keeps; more stay in the GPU's memory
_SECONDS = 0.1  # of a launch
_FIRST = 32  # steps of the first launch
_TURNS = 8  # of each network in a launch, where not all fit on the GPU at a time
_BLOCK = 256  # threads of the small kernels
_ORDERS = 2**26  # samples in the orders of a launch


@dataclass(frozen=True)
class Layout:
    """How a network's rows, a kernel at a window each, and the samples are spread over threads.

    Attributes:
        row_lanes: lanes of a warp that share out the rows; groups of them share out the samples.
        rows: of a thread.
        warps: of a network.
        chunk: samples that a thread takes at a time.
    """

    row_lanes: int
    rows: int
    warps: int
    chunk: int

    @property
    def threads(self) -> int:
        """Of a network."""
        return _LANES * self.warps


def averages(optimizer: Optimizer) -> int:
    """How many averages an optimizer keeps of each gradient, as the kernel counts them."""
    return 2 if isinstance(optimizer, Adam) else int(optimizer != GradientDescent())


def layouts(net: TwoLayerNetwork, kept: int, size: int) -> Iterator[Layout]:
    """Those that a network fits in, with `kept` averages of numbers of `size` bytes."""
    windows = len(net.windows)
    for row_lanes, rows, chunk in product((1, 2, 4, 8, 16, 32), range(1, 6), (1, 2, 3, 4, 6, 8)):
        if net.shared and windows > 1:
            kernels = row_lanes // windows  # of each group of lanes
            groups = -(-net.kernels // kernels) if kernels else 0
        else:
            groups = -(-net.neurons // row_lanes)
        layout = Layout(row_lanes, rows, -(-groups // rows), chunk)
        numbers = rows * (net.entries + net.bias + 1) * (2 + kept)
        registers = 60 + size // 4 * (numbers + rows * chunk)  # of 4 bytes, about
        if (
            groups
            and rows * chunk <= 16
            and (layout.warps == 1 or row_lanes == _LANES)
            and registers <= min(230, _REGISTERS // layout.threads)
        ):
            yield layout


def layout_of(
    net: TwoLayerNetwork, kept: int, size: int, counts: Sequence[int] = (1,)
) -> Layout | None:
    """The layout that wastes least; None if a network is too large for all.

    Only the chunk depends on the numbers of samples, and no sum on the chunk.
    """

    def work(layout: Layout) -> float:
        """Of lanes, for each row: more than its share by what a chunk and a step take at once.

        The weights were fitted to measured speeds.
        """
        sample_lanes = _LANES // layout.row_lanes
        lanes = layout.threads * layout.rows / sample_lanes / net.neurons
        chunk = 0.2 / layout.rows + 1 / (layout.rows * layout.chunk) + 0.4 / layout.chunk
        step = 8e-4 * (net.entries + 2) * sample_lanes * (sample_lanes.bit_length() - 1)
        return lanes * (1 + chunk + step + 0.02 * layout.warps)

    def padded(layout: Layout) -> float:
        """Samples with those that fill the last chunk, for each sample."""
        taken = _LANES // layout.row_lanes * layout.chunk
        return sum(-(-count // taken) * taken for count in counts) / sum(counts)

    found = list(layouts(net, kept, size))
    best = min(found, key=work, default=None)
    alike = [one for one in found if best and replace(one, chunk=best.chunk) == best]
    return min(alike, key=lambda one: work(one) * padded(one), default=None)


def definitions(task: Task, layout: Layout) -> dict[str, object]:
    """What the kernel's source leaves to be defined."""
    net = tanh_network(task.model)
    sight = _sight(net)
    size = task.dtype.itemsize
    return {
        "REAL": "double" if size == 8 else "float",
        "KERNELS": net.kernels,
        "WINDOWS": len(net.windows),
        "SHARED": int(net.shared and len(net.windows) > 1),
        "BIAS": int(net.bias),
        "OUTPUT_BIAS": int(net.output_bias),
        "ENTRIES": net.entries,
        "STRIDE": sight.stride,
        "OFFSETS": _listed(sight.offsets),
        "PLACES": _listed(sight.places),
        "ROW_LANES": layout.row_lanes,
        "ROWS": layout.rows,
        "WARPS": layout.warps,
        "CHUNK": layout.chunk,
        "OPTIMIZER": averages(task.optimizer),
        "BATCHES": int(_in_batches(task)),
        "KEPT": int(_bytes_kept(task) > 0),
        "BLOWN_UP_AT": BLOWN_UP,
    }


def _listed(numbers: Sequence[int]) -> str:
    return "{" + ",".join(map(str, numbers)) + "}"


def compiled(defined: dict[str, object], architecture: str, logs=None):
    """The kernels for a GPU of an architecture such as "sm_90", as `cuda.core.ObjectCode`."""
    from cuda.core import Program, ProgramOptions
    from cuda.core.utils import FileStreamProgramCache

    source = files("llrnb.training").joinpath("two_layer.cu").read_text("utf-8")
    options = ProgramOptions(
        arch=architecture,
        fma=False,
        define_macro=[(name, str(value)) for name, value in defined.items()],
        ptxas_options=["-v"] if logs is not None else None,
    )
    program = Program(source, "c++", options=options)
    if logs is not None:
        return program.compile("cubin", logs=logs)
    try:
        return program.compile("cubin", cache=FileStreamProgramCache())
    except OSError:  # a cache folder that cannot be written
        return program.compile("cubin")


def tanh_of_each(x: Float[Tensor, " number"]) -> Float[Tensor, " number"]:
    """The kernel's tanh, on the current GPU."""
    on_gpu = x.to("cuda", torch.float64)
    found = torch.empty_like(on_gpu)
    _run_small("tanh_of_each", 64, on_gpu, found, len(x))
    return found.cpu()


def fused_multiply_adds_per_second() -> float:
    """How many in float64 the current GPU makes, measured."""
    x = torch.full((8,), 0.5, dtype=torch.float64, device="cuda")
    blocks = 8 * torch.cuda.get_device_properties("cuda").multi_processor_count
    result = torch.empty(blocks * _BLOCK, dtype=torch.float64, device="cuda")
    seconds = []
    for _ in range(4):  # the first one compiles
        start = time.monotonic()
        _run_small("multiply_add", blocks, x, result, 20_000)
        seconds.append(time.monotonic() - start)
    return 20_000 * 8 * len(result) / min(seconds[1:])


def _run_small(name: str, blocks: int, x: Tensor, result: Tensor, count: int) -> None:
    """Run one of the two small kernels."""
    from cuda.core import Device, LaunchConfig, Stream, launch

    Device(torch.cuda.current_device()).set_current()
    net = TwoLayerNetwork(1, ((0,),), 1)
    starts = Stack({name: torch.zeros(1, *shape) for name, shape in net.shapes.items()})
    some = Task(
        net, torch.zeros(1, 1), torch.zeros(1), False, None, starts, np.ones(1), (0,), 1, 0.0, (),
        squared, GradientDescent(), None, "float64", "cuda",
    )  # fmt: skip
    kernels = _kernels(some, Layout(1, 1, 1, 1))
    stream = torch.cuda.current_stream()
    config = LaunchConfig(grid=blocks, block=_BLOCK)
    pointers = x.data_ptr(), result.data_ptr()
    launch(
        Stream.from_handle(stream.cuda_stream), config, kernels.get_kernel(name), *pointers, count
    )
    stream.synchronize()


def _kernels(task: Task, layout: Layout):
    """Those for the current GPU, compiled once for each process."""
    defined = definitions(task, layout)
    key = (*defined.values(), torch.cuda.current_device())
    if key not in _LOADED:
        major, minor = torch.cuda.get_device_capability()
        _LOADED[key] = compiled(defined, f"sm_{major}{minor}")
    return _LOADED[key]


_LOADED: dict[tuple, object] = {}


def installed() -> bool:
    """Whether the package that compiles and launches kernels is here."""
    return find_spec("cuda") is not None and find_spec("cuda.core") is not None


def refuses(task: Task) -> str | None:
    """Why this engine cannot do a task; None if it can."""
    if str(task.device).partition(":")[0] != "cuda":
        return f"the cuda engine needs a CUDA GPU as the device, got {task.device!r}"
    if not is_tanh_network(task.model):
        return f"the cuda engine needs a two-layer tanh network, got {kind_of(task.model)}"
    if task.loss is not squared:
        return f"the cuda engine needs the squared loss, got {name_of(task.loss)}"
    if type(task.optimizer) not in (GradientDescent, Adam):
        return f"the cuda engine needs GradientDescent or Adam, got {task.optimizer!r}"
    if layout_of(task.model, averages(task.optimizer), task.dtype.itemsize) is None:
        return (
            "the cuda engine needs a network that fits into a GPU's registers, got "
            f"{task.model.neurons} neurons of {task.model.entries} entries"
        )
    if not installed():
        return "the cuda engine needs the package cuda-core: pip install 'llrnb[gpu]'"
    return None


def untried(task: Task) -> str | None:
    """Why "auto" does not choose this engine though it can do a task; None if it may."""
    if _in_batches(task):
        return "the cuda engine has not been run with mini-batches on a GPU yet"
    return None


def descend(task: Task, report: Callable[[int], None]) -> Training:
    """Train every network; see `llrnb.train`. What does not fit on the GPU is trained in halves."""
    try:
        return _descend(task, report)
    except torch.cuda.OutOfMemoryError as error:
        if task.nets == 1:
            raise RuntimeError(f"a network needs more memory than the GPU has: {error}") from None
    half = task.nets // 2
    warnings.warn(f"the GPU has no room for {task.nets} networks; {half} are tried", stacklevel=2)
    parts, before = [], 0
    for some in (range(half), range(half, task.nets)):
        parts.append(descend(task.of(some), progress.after(report, before)))
        before += task.steps * len(some)
    return joined(parts)


def _descend(task: Task, report: Callable[[int], None]) -> Training:
    with torch.cuda.device(torch.device(task.device)):
        return _descended(_Run(task), report)


def _descended(run: "_Run", report: Callable[[int], None]) -> Training:
    task, at = run.task, 0
    history = empty_history(task.starts, task.record_at)
    for event in sorted({*task.record_at, task.steps}):
        run.advance(at, event, report)
        at = event
        if event in task.record_at:
            history.keep(event, run.loss, run.unpacked())
    loss, made = run.loss.double().cpu(), run.made.cpu()
    status = tuple(
        stopped(float(value), int(steps), tolerance=task.tolerance, limit=task.steps)
        or Status.STEP_LIMIT
        for value, steps in zip(loss, made, strict=True)
    )
    return Training(Stack(run.unpacked()), loss, made, status, history)


class _Kernel:
    """The kernel that descends, on the current GPU.

    Attributes:
        blocks: so many networks are on the GPU at a time.
    """

    def __init__(self, task: Task, layout: Layout) -> None:
        from cuda.core import Device

        Device(torch.cuda.current_device()).set_current()
        self.kernel = _kernels(task, layout).get_kernel("descend")
        self.threads, self.memory = layout.threads, _bytes_kept(task)
        of_each = self.kernel.occupancy.max_active_blocks_per_multiprocessor
        gpu = torch.cuda.current_device()
        multiprocessors = torch.cuda.get_device_properties(gpu).multi_processor_count
        self.blocks = multiprocessors * of_each(self.threads, self.memory)

    def run(self, launch: Tensor, networks: int) -> None:
        """Do what a launch (the struct of two_layer.cu, in bytes) says, for so many networks."""
        from cuda.core import LaunchConfig, Stream
        from cuda.core import launch as start

        grid = min(networks, self.blocks)
        config = LaunchConfig(grid=grid, block=self.threads, shmem_size=self.memory)
        stream = torch.cuda.current_stream()
        start(Stream.from_handle(stream.cuda_stream), config, self.kernel, launch.data_ptr())
        stream.synchronize()


class _Run:
    """One call: the networks on the GPU and the kernel that advances them."""

    def __init__(self, task: Task, kernel_of: type["_Kernel"] | None = None) -> None:
        net, self.task = tanh_network(task.model), task
        kept = averages(task.optimizer)
        device, dtype, nets = torch.device(task.device), task.dtype, task.nets
        self.counts = np.asarray(task.counts or [task.samples] * nets)
        layout = layout_of(net, kept, dtype.itemsize, self.counts.tolist())
        assert layout is not None  # or `refuses` has said so
        x, y = _seen(task)
        offsets = np.arange(nets) * task.samples if task.own_data else np.zeros(nets, int)
        flat = torch.cat([value.reshape(nets, -1) for value in task.starts.values()], dim=1)
        on: dict[str, Any] = {"device": device, "dtype": dtype}
        self.x, self.y, self.params = x.to(**on), y.to(**on), flat.to(**on).contiguous()
        self.averages = torch.zeros((kept, *flat.shape), **on)
        self.rate, self.loss = torch.as_tensor(task.rates, **on), torch.zeros(nets, **on)
        self.first, self.count = (torch.from_numpy(v).to(device) for v in (offsets, self.counts))
        self.made, self.stopped = torch.zeros((2, nets), dtype=torch.int64, device=device)
        self.going = np.argsort(-self.counts, kind="stable")  # the longest first
        self.streams = [
            rng("mini-batch orders", batch_size=task.batch_size, seed=seed)
            for seed in (task.seeds if _in_batches(task) else ())
        ]
        self.orders: dict[int, np.ndarray] = {}  # of the epoch that each network is in
        self.kernel = (kernel_of or _Kernel)(task, layout)
        self.steps = _FIRST  # of the next launch

    def advance(self, at: int, event: int, report: Callable[[int], None]) -> None:
        """From one step to a later one, at which the losses are measured."""
        while len(self.going):
            steps = min(self.steps, event - at)
            if self.streams:
                most = _ORDERS // len(self.going) // (self.task.batch_size or self.task.samples)
                steps = min(steps, max(1, most))
            turns = _TURNS if len(self.going) > self.kernel.blocks else 1
            turns = min(turns, max(1, steps))
            steps = steps // turns * turns
            start = time.monotonic()
            self.launch(at, turns, steps // turns, measure=at + steps == event)
            self.going = self.going[self.stopped[torch.from_numpy(self.going)].cpu().numpy() == 0]
            took = time.monotonic() - start
            at += steps
            report(at * self.task.nets)
            if at == event:
                return
            self.steps = max(1, int(self.steps * min(8.0, _SECONDS / took)))

    def launch(self, at: int, turns: int, steps: int, measure: bool) -> None:
        """Every network that goes on makes `turns` times so many steps."""
        task, by, device = self.task, self.task.optimizer, self.params.device
        active = torch.from_numpy(self.going).to(device)
        queue, turn = (torch.zeros(n, dtype=torch.int32, device=device) for n in (1, len(active)))
        corrections = self._corrections(at, turns * steps)
        orders = self._orders(at, turns * steps)
        assert isinstance(by, GradientDescent | Adam)  # any other is refused
        momentum = by.momentum if isinstance(by, GradientDescent) else 0.0
        adam = (by.beta1, by.beta2, by.epsilon) if isinstance(by, Adam) else (0.0, 0.0, 0.0)
        tensors = (self.x, self.y, self.first, self.count, self.rate, self.params, self.averages)
        results = (self.loss, self.made, self.stopped, queue, turn, corrections, orders)
        packed = struct.pack(
            "q4q14q3q6d",
            active.data_ptr(),
            *(len(active), turns, steps, measure),
            *(tensor.data_ptr() for tensor in (*tensors, *results)),
            *(orders.shape[1], task.batch_size or 0, task.nets),
            *(max(task.tolerance, -1.0), momentum, by.weight_decay, *adam),
        )
        arguments = torch.frombuffer(bytearray(packed), dtype=torch.uint8).to(device)
        self.kernel.run(arguments, len(active))

    def _corrections(self, at: int, steps: int) -> Tensor:
        """1 - beta^t for each step of a launch and both of Adam's averages."""
        by = self.task.optimizer
        if not isinstance(by, Adam):
            return self.rate
        t = np.arange(at + 1, at + steps + 1, dtype=float)[:, None]
        return torch.from_numpy(1 - np.array([by.beta1, by.beta2]) ** t).to(self.params)

    def _orders(self, at: int, steps: int) -> Tensor:
        """For each network the samples of the launch's epochs in their orders."""
        batch, rows = self.task.batch_size, [np.zeros(0, dtype=int)]
        for net in self.going if self.streams and steps else ():
            count = self.counts[net]
            if count <= batch:  # these take all samples as they are
                rows.append(np.zeros(0, dtype=int))
                continue
            length = -(-count // batch)
            first, last = at // length, (at + steps - 1) // length
            epochs = [self.orders[net]] if at % length else []
            stream = self.streams[net]
            epochs += [stream.permutation(count) for _ in range(last - first + 1 - len(epochs))]
            self.orders[net] = epochs[-1]
            rows.append(np.concatenate(epochs))
        orders = np.zeros((len(rows), max(map(len, rows))), dtype=np.int32)[1:]
        for row, order in zip(orders, rows[1:], strict=True):
            row[: len(order)] = order
        return torch.from_numpy(orders).to(self.params.device)

    def unpacked(self) -> dict[str, Tensor]:
        """The parameters by name, on the processor."""
        shapes, nets = self.task.model.shapes, self.task.nets
        sizes = [int(np.prod(shape)) for shape in shapes.values()]
        parts = self.params.double().cpu().split(sizes, dim=1)
        return {
            name: part.reshape(nets, *shape).clone()
            for (name, shape), part in zip(shapes.items(), parts, strict=True)
        }


def _in_batches(task: Task) -> bool:
    return task.batch_size is not None and task.batch_size < task.samples


@dataclass(frozen=True)
class _Sight:
    """What rows see: entry j of window p number offsets[p] + places[j] of an input in x.

    Attributes:
        gathered: whether x holds what each window sees, and not the inputs as they are: where the
            windows are not one window in several places.
        stride: numbers of an input in x, odd so that lanes of a warp read from different banks.
    """

    offsets: tuple[int, ...]
    places: tuple[int, ...]
    gathered: bool
    stride: int


def _sight(net: TwoLayerNetwork) -> _Sight:
    windows = np.array(net.windows)
    places = windows - windows[:, :1]
    if (places == places[0]).all():
        return _Sight(
            tuple(windows[:, 0].tolist()), tuple(places[0].tolist()), False, net.input_dim | 1
        )
    entries = windows.shape[1]
    offsets = range(0, windows.size, entries)
    return _Sight(tuple(offsets), tuple(range(entries)), True, windows.size | 1)


def _seen(task: Task) -> tuple[Tensor, Tensor]:
    """The inputs of all data sets, as (sample, number), and the outputs."""
    net, inputs = tanh_network(task.model), task.inputs.reshape(-1, task.inputs.shape[-1])
    sight = _sight(net)
    if sight.gathered:
        inputs = inputs[:, torch.tensor(net.windows).flatten()]
    x = torch.nn.functional.pad(inputs, (0, sight.stride - inputs.shape[1]))
    return x.contiguous(), task.outputs.reshape(-1)


def _bytes_kept(task: Task) -> int:
    """Of the samples of one network, where a block keeps them; else 0."""
    numbers = task.samples * (_sight(tanh_network(task.model)).stride + 1)
    return size if (size := numbers * task.dtype.itemsize) <= _KEPT else 0
