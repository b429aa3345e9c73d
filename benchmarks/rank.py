"""What a model rank costs: exact, numerical, certified; and the tangent matrix against a loop.

The loop calls `torch.autograd.grad` once per sample, as is usual. Times are medians; memory is the
largest of the process so far, everything loaded included.
"""

import resource
import sys
from functools import partial
from time import perf_counter

import numpy as np
import torch

from benchmarks import paired_medians, publish
from llrnb.networks import TwoLayerNetwork, cnn, fully_connected
from llrnb.rank import certify_rank, exact_rank, numerical_rank, tangent_matrix

IMAGE = (28, 28)
# Three decades of parameters, up to more than Table 3 needs.
FAMILIES = {
    "fully connected": [fully_connected(784, n, bias=False) for n in (1, 10, 100, 676, 1000)],
    "CNN with sharing": [cnn(IMAGE, 3, n, bias=False) for n in (1, 10, 100, 1000)],
    "CNN without sharing": [cnn(IMAGE, 3, n, shared=False, bias=False) for n in (1, 10, 100)],
}
WIDE = {
    "fully connected": fully_connected(5, 300),
    "CNN with sharing": cnn(5, 3, 100),
    "CNN without sharing": cnn(5, 3, 100, shared=False),
}
SAMPLES = 2_000


def peak_memory() -> float:
    """GiB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def exact_costs() -> list[dict]:
    rows = []
    for family, nets in FAMILIES.items():
        seconds = []
        for net in nets:
            params = net.init(std=1.0)
            run = partial(exact_rank, net, params)
            seconds.append(paired_medians({"exact": run}, rounds=3)["exact"])
            print(f"  {family:20} {net.parameter_count:9,} parameters {seconds[-1]:8.3f} s")
        counts = [net.parameter_count for net in nets]
        slope = np.polyfit(np.log(counts), np.log(seconds), 1)[0]
        print(f"  {family:20} cost grows as parameters to the power {slope:.2f}")
        rows.append(
            {
                "family": family,
                "parameters": counts,
                "seconds": seconds,
                "exponent": float(slope),
                "peak_memory_gib": peak_memory(),
            }
        )
    print(f"  peak memory {peak_memory():.2f} GiB")
    return rows


def degenerate_costs() -> list[dict]:
    """100 kernels on an image that are all the same: now the outputs need exact elimination."""
    net = cnn(IMAGE, 3, 100, bias=False)
    params = net.init(std=1.0)
    params["w"][:] = params["w"][0].clone()
    rows = []
    for name, copies in (("outputs independent", 1), ("two outputs equal", 2)):
        params["a"][:copies] = params["a"][0].clone()
        start = perf_counter()
        rank = exact_rank(net, params)
        rows.append({"case": name, "rank": rank, "seconds": perf_counter() - start})
        print(f"  100 equal kernels, {name:20} rank {rank:,} {rows[-1]['seconds']:8.3f} s")
    return rows


def tangent_costs() -> list[dict]:
    rows = []
    for name, net in WIDE.items():
        params = net.init(std=1.0)
        inputs = torch.randn(SAMPLES, net.input_dim, dtype=torch.float64)
        as_any_model = partial(_call, net)
        seconds = paired_medians(
            {
                "tangent_matrix": partial(tangent_matrix, net, params, inputs),
                "of any model": partial(tangent_matrix, as_any_model, params, inputs),
                "loop": partial(loop_of_gradients, net, params, inputs),
            },
            rounds=5,
            # The first call after another contender also pays for memory taken back meanwhile.
            repeats=3,
        )
        ratio = seconds["loop"] / seconds["tangent_matrix"]
        rows.append({"family": name, "seconds": seconds, "ratio": ratio})
        print(
            f"  {name:20} {1e3 * seconds['tangent_matrix']:6.1f} ms, of any model "
            f"{1e3 * seconds['of any model']:6.1f} ms, loop {1e3 * seconds['loop']:6.0f} ms: "
            f"{ratio:.0f} times"
        )
    return rows


def _call(net: TwoLayerNetwork, params, x):
    return net(params, x)


def loop_of_gradients(net: TwoLayerNetwork, params, inputs) -> torch.Tensor:
    params = {name: value.clone().requires_grad_() for name, value in params.items()}
    tangent = torch.empty(len(inputs), net.parameter_count, dtype=torch.float64)
    for row, x in zip(tangent, inputs, strict=True):
        slopes = torch.autograd.grad(net(params, x), list(params.values()))
        torch.cat([slope.flatten() for slope in slopes], out=row)
    return tangent


def large_rank_costs() -> list[dict]:
    net = cnn(IMAGE, 3, 1, shared=False, bias=False)
    params, rows = net.init(std=1.0), []
    for name, function in (("numerical", numerical_rank), ("certified", certify_rank)):
        start = perf_counter()
        found = function(net, params)
        seconds = perf_counter() - start
        if name == "numerical":
            outcome = {"rank": found.rank, "convincing": found.convincing, "gap": found.gap}
        else:
            outcome = {"rank": found.lower, "proved": found.proved, "bound": found.bound}
        rows.append({"way": name, "seconds": seconds, **outcome, "peak_memory_gib": peak_memory()})
        print(f"  {name:10} rank {outcome['rank']:,} {seconds:7.1f} s, {peak_memory():.2f} GiB")
    return rows


def main() -> dict:
    results = {"threads": torch.get_num_threads()}
    for name, measure in (
        ("exact", exact_costs),
        ("degenerate", degenerate_costs),
        ("tangent", tangent_costs),
        ("large_rank", large_rank_costs),
    ):
        print(f"{name}:")
        results[name] = measure()
    return results


if __name__ == "__main__":
    publish("rank", main(), ["numpy", "torch", "numba"])
