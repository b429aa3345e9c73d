"""The cuda engine, the torch engine and JAX (`vmap`, `lax.scan`, `jit`) in float64 on one GPU.

A time is that of one step of all networks together. Of the two engines it is the difference
between a call of many steps and one of half as many, so that what a call costs once is left out.
`python -m benchmarks.gpu`, with a torch and a JAX for the GPU.
"""

import os
import sys
from statistics import median
from time import perf_counter

import numpy as np
import torch

from benchmarks import publish
from llrnb import cnn, fully_connected, provenance, train
from llrnb.networks import TwoLayerNetwork
from llrnb.training import cuda

os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"

RATE, ROUNDS = 1e-4, 3
FULLY_CONNECTED = {
    "fully connected 1x": (fully_connected(5, 3), 21),
    "fully connected 10x": (fully_connected(5, 30), 63),
    "fully connected 100x": (fully_connected(5, 300), 63),
}
CONVOLUTIONS = {
    "CNN 1x": (cnn(5, 3, 1), 21),
    "CNN 10x": (cnn(5, 3, 10), 21),
    "CNN 100x": (cnn(5, 3, 100), 21),
    "CNN without sharing 10x": (cnn(5, 3, 10, shared=False), 63),
}
SETTINGS = [(n, *s, nets) for n, s in FULLY_CONNECTED.items() for nets in (128, 1024, 8192)]
SETTINGS += [(n, *s, 1024) for n, s in CONVOLUTIONS.items()]

# Double-precision instructions of the kernel for each neuron, sample and step, as its source counts
# them: 21 for tanh; w . x and its gradient, 2 for each entry; the output, the error times tanh, its
# sum, the slope and its sum for the bias, 5.
PER_ENTRY, REST = 2, 26


def problem(net: TwoLayerNetwork, samples: int, nets: int):
    stream = torch.Generator().manual_seed(0)
    normal = lambda *shape: torch.randn(shape, generator=stream, dtype=torch.float64)  # noqa: E731
    starts = {name: 0.1 * normal(nets, *shape) for name, shape in net.shapes.items()}
    return normal(samples, net.input_dim), normal(samples), starts


def of_engine(engine: str, net, inputs, outputs, starts, steps: int) -> float:
    """Seconds of a step."""
    nets = len(starts["a"])
    seconds = {steps: [], 2 * steps: []}
    for _ in range(ROUNDS + 1):  # the first one compiles
        for count, times in seconds.items():
            start = perf_counter()
            train(
                net, inputs, outputs, learning_rates=np.full(nets, RATE), starts=starts,
                steps=count, tolerance=0.0, engine=engine, device="cuda",
            )  # fmt: skip
            times.append(perf_counter() - start)
    half, whole = (median(times[1:]) for times in seconds.values())
    return (whole - half) / steps


def of_jax(net, inputs, outputs, starts, steps: int) -> float:
    """Seconds of a step."""
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)
    x, y = (jnp.asarray(part.numpy()) for part in (inputs, outputs))
    params = {name: jnp.asarray(value.numpy()) for name, value in starts.items()}
    windows = np.array(net.windows)

    def loss(p):
        if len(windows) == 1:
            made = jnp.tanh(x @ p["w"].T + p["b"]) @ p["a"][:, 0]
        else:
            seen = x[:, windows]
            rows, b = ("ke", p["b"][:, None]) if net.shared else ("kpe", p["b"])
            hidden = jnp.tanh(jnp.einsum(f"{rows},spe->skp", p["w"], seen) + b)
            made = jnp.einsum("skp,kp->s", hidden, p["a"])
        return jnp.mean((made - y) ** 2)

    def step(p, _):
        slope = jax.grad(loss)(p)
        return {name: p[name] - RATE * slope[name] for name in p}, None

    descend = jax.jit(jax.vmap(lambda p: jax.lax.scan(step, p, None, length=steps)[0]))
    seconds = []
    for _ in range(ROUNDS + 1):
        start = perf_counter()
        jax.block_until_ready(descend(params))
        seconds.append(perf_counter() - start)
    return median(seconds[1:]) / steps


def main() -> None:
    if not torch.cuda.is_available():
        sys.exit("this benchmark needs a CUDA GPU, and torch finds none here")
    limit = cuda.fused_multiply_adds_per_second()
    print(f"{provenance.device_name('cuda')}: {limit:.3g} fused multiply-adds a second\n")
    header = ("setting", "nets", "torch", "JAX", "cuda", "vs torch", "vs JAX", "of limit", "GB")
    print("{:>24} {:>6} {:>9} {:>9} {:>9} {:>8} {:>7} {:>8} {:>5}".format(*header))
    rows = []
    for name, net, samples, nets in SETTINGS:
        data = problem(net, samples, nets)
        work = net.neurons * samples * nets
        torch.cuda.reset_peak_memory_stats()
        microseconds = {"cuda": 1e6 * of_engine("cuda", net, *data, int(1e10 / work) + 500)}
        memory = torch.cuda.max_memory_allocated() / 1e9
        microseconds["torch"] = 1e6 * of_engine("torch", net, *data, 200)
        microseconds["jax"] = 1e6 * of_jax(net, *data, min(2000, int(3e9 / work) + 20))
        torch.cuda.empty_cache()
        needed = work * (PER_ENTRY * net.entries + REST) / limit * 1e6
        ratios = {peer: microseconds[peer] / microseconds["cuda"] for peer in ("torch", "jax")}
        rows.append(
            {
                "setting": name,
                "samples": samples,
                "networks": nets,
                "microseconds_per_step_of_all": microseconds,
                "ratio_to_torch": ratios["torch"],
                "ratio_to_jax": ratios["jax"],
                "share_of_arithmetic_limit": needed / microseconds["cuda"],
                "gigabytes": memory,
            }
        )
        print(
            f"{name:>24} {nets:6} {microseconds['torch']:9.1f} {microseconds['jax']:9.1f} "
            f"{microseconds['cuda']:9.2f} {ratios['torch']:8.1f} {ratios['jax']:7.1f} "
            f"{needed / microseconds['cuda']:8.0%} {memory:5.2f}",
            flush=True,
        )
    results = {
        "gpu": provenance.device_name("cuda"),
        "fused_multiply_adds_per_second": limit,
        "settings": rows,
    }
    publish("gpu", results, ["numpy", "torch", "jax", "cuda-core"])


if __name__ == "__main__":
    main()
