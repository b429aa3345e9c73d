"""The engines that run on a GPU and JAX (`vmap`, `lax.scan`, `jit`), in float64 on one card.

A time is that of one step of all networks together. Of the cuda engine it is the difference
between a call of many steps and one of half as many, so that what a call costs once is left out;
of the torch and the general engine that of a step as it is replayed in a run of many.
`python -m benchmarks.gpu`, with a torch and a JAX for the GPU.
"""

import os
import sys
from collections.abc import Callable
from itertools import pairwise
from statistics import median
from time import perf_counter

import numpy as np
import torch

from benchmarks import publish
from llrnb import cnn, from_module, fully_connected, numerical_rank, provenance, train
from llrnb.models import Model
from llrnb.networks import TwoLayerNetwork
from llrnb.stacks import Stack
from llrnb.training import GradientDescent, cuda
from llrnb.training.batched import Descents, Networks, Steps
from llrnb.training.general import AnyModels
from llrnb.training.losses import squared
from llrnb.training.task import Task

os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"

RATE, ROUNDS = 1e-4, 3
NETWORKS = (128, 1024, 8192)
TWO_LAYERS = {
    "fully connected 1x": (fully_connected(5, 3), 21),
    "fully connected 10x": (fully_connected(5, 30), 63),
    "fully connected 100x": (fully_connected(5, 300), 63),
    "CNN 1x": (cnn(5, 3, 1), 21),
    "CNN 10x": (cnn(5, 3, 10), 21),
    "CNN 100x": (cnn(5, 3, 100), 21),
    "CNN without sharing 1x": (cnn(5, 3, 1, shared=False), 63),
    "CNN without sharing 10x": (cnn(5, 3, 10, shared=False), 63),
    "CNN without sharing 100x": (cnn(5, 3, 100, shared=False), 63),
}


def modules() -> dict[str, tuple[torch.nn.Module, tuple[int, ...]]]:
    """With the shape of an input."""
    linear, conv, tanh = torch.nn.Linear, torch.nn.Conv2d, torch.nn.Tanh
    deep = linear(5, 20), tanh(), linear(20, 20), tanh(), linear(20, 1)
    small = conv(1, 4, 3), tanh(), conv(4, 8, 3), tanh(), torch.nn.Flatten(), linear(32, 1)
    return {
        "5-20-20-1": (torch.nn.Sequential(*deep), (5,)),
        "two convolutions": (torch.nn.Sequential(*small), (1, 6, 6)),
    }


# Double-precision instructions of the kernel for each neuron, sample and step, as its source counts
# them: 21 for tanh; w . x and its gradient, 2 for each entry; the output, the error times tanh, its
# sum, the slope and its sum for the bias, 5.
PER_ENTRY, REST = 2, 26


def problem(model: Model, samples: int, nets: int):
    stream = torch.Generator().manual_seed(0)
    normal = lambda *shape: torch.randn(shape, generator=stream, dtype=torch.float64)  # noqa: E731
    starts = {name: 0.1 * normal(nets, *shape) for name, shape in model.shapes.items()}
    return normal(samples, *model.input_shape), normal(samples), starts


def of_cuda(net: TwoLayerNetwork, inputs, outputs, starts, steps: int) -> float:
    """Seconds of a step."""
    nets = len(starts["a"])
    seconds = {steps: [], 2 * steps: []}
    for _ in range(ROUNDS + 1):  # the first one compiles
        for count, times in seconds.items():
            start = perf_counter()
            train(
                net, inputs, outputs, learning_rates=np.full(nets, RATE), starts=starts,
                steps=count, tolerance=0.0, engine="cuda", device="cuda",
            )  # fmt: skip
            times.append(perf_counter() - start)
    half, whole = (median(times[1:]) for times in seconds.values())
    return (whole - half) / steps


def replayed(engine: type[Descents], model: Model, inputs, outputs, starts, steps: int) -> float:
    """Seconds of a step of the torch or the general engine."""
    nets = len(next(iter(starts.values())))
    task = Task(
        model, inputs, outputs, False, None, Stack(starts), np.full(nets, RATE),
        tuple(range(nets)), 10**6, 0.0, (), squared, GradientDescent(), None, "float64", "cuda",
    )  # fmt: skip
    run, seconds = Steps(engine(task)), []
    for _ in range(ROUNDS + 1):
        start = perf_counter()
        run.advance(0, steps)
        torch.cuda.synchronize()
        seconds.append(perf_counter() - start)
    return median(seconds[1:]) / steps


def of_jax(output: Callable, inputs, outputs, starts, steps: int) -> float:
    """Seconds of a step, for a function of params and inputs."""
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)
    x, y = (jnp.asarray(part.numpy()) for part in (inputs, outputs))
    params = {name: jnp.asarray(value.numpy()) for name, value in starts.items()}

    def step(p, _):
        slope = jax.grad(lambda p: jnp.mean((output(p, x) - y) ** 2))(p)
        return {name: p[name] - RATE * slope[name] for name in p}, None

    descend = jax.jit(jax.vmap(lambda p: jax.lax.scan(step, p, None, length=steps)[0]))
    seconds = []
    for _ in range(ROUNDS + 1):
        start = perf_counter()
        jax.block_until_ready(descend(params))
        seconds.append(perf_counter() - start)
    return median(seconds[1:]) / steps


def in_jax(net: TwoLayerNetwork) -> Callable:
    import jax.numpy as jnp

    windows = np.array(net.windows)

    def output(p, x):
        if len(windows) == 1:
            return jnp.tanh(x @ p["w"].T + p["b"]) @ p["a"][:, 0]
        rows, b = ("ke", p["b"][:, None]) if net.shared else ("kpe", p["b"])
        hidden = jnp.tanh(jnp.einsum(f"{rows},spe->skp", p["w"], x[:, windows]) + b)
        return jnp.einsum("skp,kp->s", hidden, p["a"])

    return output


def module_in_jax(module: torch.nn.Sequential) -> Callable:
    import jax
    import jax.numpy as jnp

    sides = ("NCHW", "OIHW", "NCHW")

    def output(p, x):
        for i, layer in enumerate(module):
            if isinstance(layer, torch.nn.Linear):
                x = x @ p[f"{i}.weight"].T + p[f"{i}.bias"]
            elif isinstance(layer, torch.nn.Conv2d):
                x = jax.lax.conv_general_dilated(
                    x, p[f"{i}.weight"], (1, 1), "VALID", dimension_numbers=sides
                )
                x = x + p[f"{i}.bias"][:, None, None]
            else:
                x = jnp.tanh(x) if isinstance(layer, torch.nn.Tanh) else x.reshape(len(x), -1)
        return x[:, 0]

    return output


def two_layers(limit: float) -> list[dict]:
    rows = []
    for name, (net, samples) in TWO_LAYERS.items():
        for nets in NETWORKS:
            data = problem(net, samples, nets)
            work = net.neurons * samples * nets
            torch.cuda.reset_peak_memory_stats()
            times = {"cuda": of_cuda(net, *data, int(1e10 / work) + 100)}
            memory = torch.cuda.max_memory_allocated() / 1e9
            times["torch"] = replayed(Networks, net, *data, int(5e8 / work) + 5)
            times["jax"] = of_jax(in_jax(net), *data, min(2000, int(3e9 / work) + 20))
            torch.cuda.empty_cache()
            rows.append(row(name, samples, nets, times, "cuda"))
            needed = work * (PER_ENTRY * net.entries + REST) / limit
            rows[-1] |= {"share_of_arithmetic_limit": needed / times["cuda"], "gigabytes": memory}
            print(
                f"{'':>40} {needed / times['cuda']:5.0%} of the limit, {memory:.2f} GB", flush=True
            )
    return rows


def of_modules(samples: int = 63) -> list[dict]:
    rows = []
    for name, (module, shape) in modules().items():
        model = from_module(module, shape)
        for nets in NETWORKS:
            data = problem(model, samples, nets)
            times = {"general": replayed(AnyModels, model, *data, 100_000 // nets + 10)}
            times["jax"] = of_jax(module_in_jax(module), *data, 100_000 // nets + 10)
            torch.cuda.empty_cache()
            rows.append(row(name, samples, nets, times, "general"))
    return rows


def of_ranks() -> list[dict]:
    """Seconds of a rank from a sketch; the largest on the GPU only."""
    rows = []
    for widths, samples in (((100, 400, 400, 1), 600), ((1000, 2700, 2700, 1), 2000)):
        torch.manual_seed(0)
        layers = [m for pair in pairwise(widths) for m in (torch.nn.Linear(*pair), torch.nn.Tanh())]
        module = torch.nn.Sequential(*layers[:-1]).double()
        inputs = torch.randn(samples, widths[0], dtype=torch.float64)
        parameters = sum(value.numel() for value in module.parameters())
        rows.append({"parameters": parameters, "inputs": samples})
        for device in ("cuda",) if parameters > 10**6 else ("cpu", "cuda"):
            start = perf_counter()
            found = numerical_rank(module, None, inputs, device=device)
            rows[-1] |= {"rank": found.rank, device: perf_counter() - start}
        print(rows[-1], flush=True)
    return rows


def row(name: str, samples: int, nets: int, seconds: dict[str, float], ours: str) -> dict:
    times = {engine: 1e6 * value for engine, value in seconds.items()}
    ratios = {f"{ours}_to_{e}": value / times[ours] for e, value in times.items() if e != ours}
    listed = [f"{e} {value:9.2f}" for e, value in times.items()]
    listed += [f"{key} {value:6.2f}" for key, value in ratios.items()]
    print(f"{name:>24} {nets:6}", *listed, flush=True)
    return {
        "setting": name, "samples": samples, "networks": nets,
        "microseconds_per_step_of_all": times, "times_as_fast": ratios,
    }  # fmt: skip


def main() -> None:
    if not torch.cuda.is_available():
        sys.exit("this benchmark needs a CUDA GPU, and torch finds none here")
    limit = cuda.fused_multiply_adds_per_second()
    print(f"{provenance.device_name('cuda')}: {limit:.3g} fused multiply-adds a second\n")
    results = {
        "gpu": provenance.device_name("cuda"),
        "fused_multiply_adds_per_second": limit,
        "rank": of_ranks(),
        "modules": of_modules(),
        "settings": two_layers(limit),
    }
    publish("gpu", results, ["numpy", "torch", "jax", "cuda-core"])


if __name__ == "__main__":
    main()
