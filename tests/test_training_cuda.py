"""The kernel of the cuda engine: compiled, and emulated, anywhere; on a GPU by `make test-gpu`."""

import ctypes
import io
import re
import shutil
from dataclasses import replace
from itertools import product

import mpmath
import numpy as np
import pytest
import torch

from llrnb import cnn, from_module, fully_connected, train
from llrnb.activations import ACTIVATIONS
from llrnb.networks import TwoLayerNetwork
from llrnb.stacks import Stack
from llrnb.training import LOSSES, Adam, GradientDescent, Training, batched, cpu, cuda, general
from llrnb.training.losses import squared
from llrnb.training.task import Task
from tests.emulated_gpu import kernel_in, library

gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")

SPLIT = TwoLayerNetwork(
    4, ((0, 1), (3, 0), (2, 3)), 5
)  # windows that are not one window moved along
NETWORKS = {
    "one neuron": fully_connected(2, 1),
    "three": fully_connected(5, 3),
    "thirty": fully_connected(5, 30),
    "33": fully_connected(3, 33, output_bias=True),
    "300": fully_connected(5, 300),
    "1,024": fully_connected(2, 1024, bias=False),
    "kernel": cnn(5, 3, 1),
    "kernels": cnn(5, 3, 10, output_bias=True),
    "many kernels": cnn(5, 3, 100),
    "image": cnn((4, 4), 2, 3),
    "unshared": cnn(5, 3, 10, shared=False),
    "unshared kernel": cnn(5, 3, 1, shared=False, bias=False),
    "split": SPLIT,
}
OPTIMIZERS = {
    "descent": GradientDescent(),
    "momentum": GradientDescent(momentum=0.9, weight_decay=1e-3),
    "adam": Adam(weight_decay=1e-3),
}


def draw(net, nets: int, samples: int, seed: int = 0):
    stream = torch.Generator().manual_seed(seed)
    normal = lambda *shape: torch.randn(shape, generator=stream, dtype=torch.float64)  # noqa: E731
    return normal(nets, samples, net.input_dim), normal(nets, samples)


def task(net, optimizer=OPTIMIZERS["descent"], batch_size=None, precision="float64", samples=63):
    starts = Stack({name: torch.zeros(1, *shape) for name, shape in net.shapes.items()})
    return Task(
        net, torch.zeros(samples, net.input_dim), torch.zeros(samples), False, None, starts,
        np.ones(1), (0,), 1, 1e-12, (), squared, optimizer, batch_size, precision, "cuda",
    )  # fmt: skip


@pytest.mark.parametrize("architecture", ["sm_80", "sm_90", "sm_100", "sm_120"])
@pytest.mark.parametrize("name", ["three", "300", "many kernels", "unshared"])
def test_kernels_compile_and_keep_everything_in_registers(name, architecture):
    net = NETWORKS[name]
    for optimizer, batch_size, precision in (
        (OPTIMIZERS["descent"], None, "float64"),
        (OPTIMIZERS["descent"], None, "float32"),
        (OPTIMIZERS["adam"], 7, "float64"),
    ):
        asked = task(net, optimizer, batch_size, precision)
        layout = cuda.layout_of(net, cuda.averages(optimizer), asked.dtype.itemsize)
        logs = io.StringIO()
        cuda.compiled(cuda.definitions(asked, layout), architecture, logs)
        said = logs.getvalue()
        said = said[said.index("'descend'") :]
        frame, stores = re.search(r"(\d+) bytes stack frame, (\d+) bytes spill", said).groups()
        assert (frame, stores) == ("0", "0"), (name, optimizer, precision, said)


def test_layouts_have_room_for_every_row():
    for net in NETWORKS.values():
        for layout in cuda.layouts(net, 0, 8):
            lanes = layout.rows * layout.warps  # times the lanes of each group
            if net.shared:  # all windows of a kernel lie in one group
                assert lanes * (layout.row_lanes // len(net.windows)) >= net.kernels
            else:
                assert lanes * layout.row_lanes >= net.neurons
            assert layout.warps == 1 or layout.row_lanes == 32  # samples are shared out in one warp


def test_without_a_gpu_or_for_other_models_it_says_why():
    net = NETWORKS["three"]
    assert "a CUDA GPU as the device" in cuda.refuses(replace(task(net), device="cpu"))
    assert "fits into a GPU's registers" in cuda.refuses(task(fully_connected(500, 10)))
    assert "squared loss, got huber" in cuda.refuses(replace(task(net), loss=LOSSES["huber"]))


compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
SAMPLES = 17


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("kernels")


def own_task(net, optimizer, **changes) -> Task:
    """Three networks on data of their own, on the processor."""
    inputs, outputs = draw(net, 3, SAMPLES)
    drawn = [net.init(0.3, seed) for seed in range(3)]
    starts = Stack.of(drawn)
    rates = np.array([0.1, 0.05, 0.03]) / (10 + net.neurons)
    whole = Task(
        net, inputs, outputs, True, None, starts, rates, (3, 1, 3), 9, 0.0, (), squared, optimizer,
        None, "float64", "cpu",
    )  # fmt: skip
    return replace(whole, **changes)


def emulated(some: Task, folder, blocks: int = 10**6) -> Training:
    run = cuda._Run(some, kernel_in(folder, blocks))
    return cuda._descended(run, lambda made: None)


@compiler
@pytest.mark.parametrize(
    ("name", "by"),
    [
        *product(["three"], OPTIMIZERS),
        *(("kernels", "adam"), ("33", "momentum"), ("split", "descent")),
        *(("unshared", "momentum"), ("300", "descent")),
    ],
)
def test_the_kernel_on_the_processor_agrees_with_the_torch_engine(name, by, folder):
    whole = own_task(NETWORKS[name], OPTIMIZERS[by], steps=4 if name == "300" else 9)
    batches = replace(whole, batch_size=5, record_at=(0, 3, 2, 3))
    for some, blocks in ((whole, 10**6), (batches, 10**6), (batches, 2)):  # 2: several turns
        found, known = emulated(some, folder, blocks), batched.descend(some, lambda made: None)
        assert found.status == known.status and torch.equal(found.steps, known.steps)
        assert torch.allclose(found.loss, known.loss, rtol=1e-12)
        assert torch.allclose(found.history.loss, known.history.loss, rtol=1e-12)
        for key, value in known.params.items():
            assert torch.allclose(found.params[key], value, rtol=1e-11, atol=1e-15)
            past = known.history.params[key]
            assert torch.allclose(found.history.params[key], past, rtol=1e-11, atol=1e-15)


@compiler
def test_on_the_processor_it_knows_single_precision_and_samples_that_stay_outside(
    folder, monkeypatch
):
    whole = own_task(NETWORKS["kernels"], OPTIMIZERS["adam"], precision="float32")
    found, known = emulated(whole, folder), batched.descend(whole, lambda made: None)
    for name, value in known.params.items():
        assert torch.allclose(found.params[name], value, rtol=1e-4, atol=1e-6)
    double = replace(whole, precision="float64")
    inside = emulated(double, folder)
    assert not torch.equal(inside.loss, found.loss)  # they are of two precisions
    monkeypatch.setattr(cuda, "_KEPT", 0)
    outside = emulated(double, folder)
    assert torch.equal(inside.params["w"], outside.params["w"])


@compiler
def test_on_the_processor_a_result_is_the_same_whatever_it_is_launched_with(folder):
    counts = (9, 17, 4)
    for net in (NETWORKS["kernels"], NETWORKS["33"]):
        for batch_size in (None, 6):
            whole = own_task(
                net, OPTIMIZERS["descent"], counts=counts, batch_size=batch_size, tolerance=0.02,
                steps=12,
            )  # fmt: skip
            together = emulated(whole, folder, blocks=2)
            for i in range(3):
                alone = emulated(whole.of([i]), folder)
                assert alone.steps[0] == together.steps[i] and alone.loss[0] == together.loss[i]
                for name, value in alone.params.items():
                    assert torch.equal(value[0], together.params[name][i])


@compiler
def test_on_the_processor_networks_stop_as_with_the_compiled_engine(folder):
    net = fully_connected(2, 3)
    inputs, _ = draw(net, 1, 6)
    drawn = [net.init(0.5, seed) for seed in range(6)]
    some = Task(
        net, inputs[0], inputs[0].sum(dim=1).tanh(), False, None,
        Stack.of(drawn),
        np.array([0.05, 0.1, 0.3, 1e3, 1e6, 0.2]), tuple(range(6)), 200, 0.02,
        (0, 1, 10, 200), squared, OPTIMIZERS["descent"], None, "float64", "cpu",
    )  # fmt: skip
    found, known = emulated(some, folder), cpu.descend(some, lambda made: None)
    assert found.status == known.status and {"converged", "diverged"} <= set(known.status)
    assert torch.equal(found.steps, known.steps)
    assert torch.allclose(found.history.loss[:3, :3], known.history.loss[:3, :3], rtol=1e-9)


@compiler
def test_the_kernels_tanh_is_accurate_odd_and_keeps_nan(folder):
    some = task(NETWORKS["three"])
    layout = cuda.layout_of(NETWORKS["three"], 0, 8)
    one = library(cuda.definitions(some, layout), folder).one_tanh
    one.restype, one.argtypes = ctypes.c_double, [ctypes.c_double]
    stream = np.random.default_rng(0)
    x = [*stream.uniform(-3, 3, 20_000), *stream.uniform(-25, 25, 5_000), 1e-300, 5e-324]
    with mpmath.workprec(200):
        for value in map(float, x):
            exact = mpmath.tanh(value)
            off = abs(float((mpmath.mpf(one(value)) - exact) / float(np.spacing(float(exact)))))
            assert off <= 2.6 and one(-value) == -one(value)
    assert one(np.inf) == 1 and one(-np.inf) == -1 and np.isnan(one(np.nan))


@gpu
def test_tanh_is_accurate_odd_and_keeps_nan():
    stream = np.random.default_rng(0)
    x = np.concatenate(
        [
            stream.uniform(-25, 25, 500_000),
            stream.choice([-1, 1], 400_000) * 10 ** stream.uniform(-300, 1.5, 400_000),
            np.linspace(-1, 1, 99_993),
            [0.0, -0.0, np.inf, -np.inf, np.nan, 5e-324, -5e-324],
        ]
    )
    found = cuda.tanh_of_each(torch.from_numpy(x)).numpy()
    flipped = cuda.tanh_of_each(torch.from_numpy(-x)).numpy()
    known = np.tanh(x)
    assert np.isnan(found[np.isnan(x)]).all()
    assert found[-5] == 1 and found[-4] == -1
    fine = ~np.isnan(x)
    assert (found[fine] == -flipped[fine]).all()
    normal = fine & (np.abs(x) > 1e-290)
    ulps = np.abs(found - known)[normal] / np.spacing(np.abs(known[normal]))
    assert ulps.max() <= 3.5  # NumPy's own error among them
    mpmath.mp.prec = 200
    worst = np.flatnonzero(normal)[np.argsort(ulps)[-300:]]
    errors = [mpmath.tanh(mpmath.mpf(float(x[i]))) - mpmath.mpf(float(found[i])) for i in worst]
    exact = [
        abs(float(e / float(np.spacing(abs(known[i]))))) for e, i in zip(errors, worst, strict=True)
    ]
    assert max(exact) <= 2.6


def both(net, inputs, outputs, **options) -> dict[str, Training]:
    """The torch engine on the processor and the cuda engine on the GPU, for all steps."""
    options = {"std": 0.3, "tolerance": 0, **options}
    return {
        engine: train(net, inputs, outputs, engine=engine, device=device, **options)
        for engine, device in (("torch", "cpu"), ("cuda", "cuda"))
    }


def agree(runs, within: float) -> None:
    known, found = runs["torch"], runs["cuda"]
    assert torch.equal(known.steps, found.steps) and known.status == found.status
    for name, value in known.params.items():
        far = (value - found.params[name]).abs().max() / value.abs().max().clamp(min=1e-3)
        assert far <= within, (name, float(far))
        past = known.history.params[name]
        assert torch.allclose(past, found.history.params[name], rtol=10 * within, atol=within)
    assert torch.allclose(known.loss, found.loss, rtol=10 * within, atol=1e-20)


@gpu
@pytest.mark.parametrize(
    ("name", "by"),
    [
        *product(NETWORKS, ["descent"]),
        *product(("three", "33", "kernels", "unshared"), ("momentum", "adam")),
    ],
)
def test_it_agrees_with_the_torch_engine(name, by):
    net, optimizer = NETWORKS[name], OPTIMIZERS[by]
    rates = np.array([0.1, 0.05, 0.03]) / (10 + net.neurons)
    for samples, steps in product((1, 15, 16, 17, 70), (1, 3, 100)):
        data = draw(net, 3, samples)
        runs = both(net, *data, learning_rates=rates, steps=steps, optimizer=optimizer)
        agree(runs, 1e-9 if by == "adam" and steps > 3 else 1e-11)


@gpu
@pytest.mark.parametrize("by", OPTIMIZERS)
def test_mini_batches_come_in_the_same_orders(by):
    net = NETWORKS["kernels"]
    for steps in (1, 7, 20, 161):
        runs = both(
            net, *draw(net, 4, 23), learning_rates=[0.01] * 4, seeds=[3, 1, 4, 1], steps=steps,
            batch_size=5, optimizer=OPTIMIZERS[by], record_at=[0, 1, steps // 2],
        )  # fmt: skip
        agree(runs, 1e-9)


@gpu
def test_stops_history_and_divergence_are_those_of_the_compiled_engine():
    net = fully_connected(2, 3)
    inputs, _ = draw(net, 1, 6)
    outputs = inputs[0].sum(dim=1).tanh()
    rates = [0.05, 0.1, 0.3, 1e3, 1e6, 0.2]
    runs = {
        engine: train(
            net, inputs[0], outputs, learning_rates=rates, std=0.5, steps=3000, tolerance=1e-4,
            record_at=[0, 1, 10, 3000], engine=engine, device=device,
        )
        for engine, device in (("cpu", "cpu"), ("cuda", "cuda"))
    }  # fmt: skip
    one, other = runs.values()
    assert one.status == other.status and {"converged", "diverged"} <= set(one.status)
    assert torch.equal(one.steps, other.steps)
    assert torch.allclose(one.history.loss[:3, :3], other.history.loss[:3, :3], rtol=1e-9)


@gpu
@pytest.mark.parametrize("name", ["three", "kernels", "300"])
def test_a_result_is_the_same_to_the_last_bit_whatever_it_is_launched_with(name):
    net = NETWORKS[name]
    sizes = [9, 30, 64, 9, 101, 1] * 200
    data = [draw(net, 1, size, seed) for seed, size in enumerate(sizes)]
    common = {"std": 0.3, "steps": 300, "tolerance": 1e-3, "engine": "cuda", "device": "cuda"}
    inputs, outputs = [x[0] for x, _ in data], [y[0] for _, y in data]
    many = train(net, inputs, outputs, learning_rates=[0.05] * len(sizes), **common)
    for i in (0, 2, 4, 5, 777, 1199):
        one = train(net, inputs[i], outputs[i], learning_rates=[0.05], seeds=[i], **common)
        assert one.steps[0] == many.steps[i]
        for key, value in one.params.items():
            assert torch.equal(value[0], many.params[key][i])


@gpu
def test_many_samples_stay_in_the_memory_of_the_gpu():
    net = NETWORKS["three"]
    agree(both(net, *draw(net, 2, 2500), learning_rates=[0.05] * 2, steps=20), 1e-11)


@gpu
def test_what_does_not_fit_is_trained_in_halves(monkeypatch):
    net = NETWORKS["three"]
    inputs, outputs = draw(net, 5, 9)
    common = {"learning_rates": [0.05] * 5, "steps": 30, "std": 0.3, "device": "cuda"}
    whole = train(net, inputs, outputs, **common)
    real = cuda._descend

    def small(some, report):
        if some.nets > 2:
            raise torch.cuda.OutOfMemoryError
        return real(some, report)

    monkeypatch.setattr(cuda, "_descend", small)
    with pytest.warns(UserWarning, match="no room for 5 networks; 2 are tried"):
        halves = train(net, inputs, outputs, **common)
    assert torch.equal(whole.params["w"], halves.params["w"])
    assert torch.equal(whole.loss, halves.loss) and whole.status == halves.status


@gpu
def test_single_precision_descends_alike():
    net, precision = NETWORKS["kernels"], "float32"
    data = draw(net, 3, 40)
    agree(both(net, *data, learning_rates=[0.05] * 3, steps=20, precision=precision), 1e-4)


@gpu
@pytest.mark.parametrize(
    "activation", [*ACTIVATIONS.values(), torch.erf], ids=lambda one: getattr(one, "name", "own")
)
def test_the_torch_engine_trains_every_activation_as_on_the_processor(activation):
    net = fully_connected(3, 5, activation=activation)
    options = {"learning_rates": [0.01, 0.03], "std": 0.5, "steps": 250, "engine": "torch"}
    here, there = (train(net, *draw(net, 2, 9), device=d, **options) for d in ("cpu", "cuda"))
    for name, value in here.params.items():
        assert torch.allclose(value, there.params[name], rtol=1e-9, atol=1e-12)


@gpu
@pytest.mark.parametrize("from_step", [0, 10**6], ids=["compiled", "captured"])
def test_the_general_engine_trains_modules_as_on_the_processor(from_step, monkeypatch):
    monkeypatch.setattr(batched, "_LONG", from_step)
    module = torch.nn.Sequential(
        torch.nn.Conv1d(1, 3, 2), torch.nn.GELU(), torch.nn.Flatten(), torch.nn.Linear(12, 2)
    )
    stream = torch.Generator().manual_seed(4)
    inputs, outputs = (
        torch.randn(9, *shape, generator=stream).double() for shape in ((1, 5), (2,))
    )
    options = {"learning_rates": [0.01, 0.03], "std": 0.5, "steps": 250, "optimizer": Adam()}
    here, there = (train(module, inputs, outputs, device=d, **options) for d in ("cpu", "cuda"))
    assert there.engine == "general"
    for name, value in here.params.items():
        assert torch.allclose(value, there.params[name], rtol=1e-9, atol=1e-12)


@gpu
def test_a_step_that_is_another_one_each_time_is_not_replayed():
    class Counting(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.line, self.calls = torch.nn.Linear(3, 1), 0

        def forward(self, x):
            self.calls += 1
            return self.line(x) * self.calls

    model = from_module(Counting(), (3,))
    run = general.AnyModels(
        replace(task(NETWORKS["three"], samples=5), model=model, inputs=torch.ones(5, 3).double(),
                starts=Stack.of([model.init(1.0, 0)]))
    )  # fmt: skip
    assert batched._captured(run.step, run) == run.step
