"""The cpu engine against the ways such experiments are usually written, on one core.

(i) one `torch.nn.Module` and one `optim.SGD` per network, one network after the other, with a
tolerance checked at every step;
(ii) JAX: `vmap` over networks, `lax.scan` over steps, `jit`, in float64, at the better of two
batch sizes.

All contenders train the same fully connected networks for the same number of steps.
"""

from functools import partial

from benchmarks import on_one_core, paired_medians, publish

on_one_core()

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from numba import njit  # noqa: E402

from llrnb import fully_connected, train  # noqa: E402
from llrnb.targets import draw, paper_target  # noqa: E402
from llrnb.training.lanes import WIDTH, fill, fma, load, store  # noqa: E402

jax.config.update("jax_enable_x64", True)
torch.set_num_threads(1)

NETS, RATE = 16, 0.05
SETTINGS = {"FC 1x, n = 21": (3, 21), "FC 10x, n = 63": (30, 63), "FC 100x, n = 63": (300, 63)}
TO_REACH = {"FC 1x, n = 21": (500, None), "FC 10x, n = 63": (70, 2), "FC 100x, n = 63": (9, 2)}


def engine(width: int, samples: int, steps: int) -> None:
    inputs, outputs = draw(paper_target(), samples)
    train(
        fully_connected(5, width), inputs, outputs, learning_rates=[RATE] * NETS,
        seeds=range(NETS), steps=steps, tolerance=0.0,
    )  # fmt: skip


def loop_of_modules(width: int, samples: int, steps: int) -> None:
    """One network; the other networks of a sweep would follow, each for the same time."""
    inputs, outputs = draw(paper_target(), samples)
    module = torch.nn.Sequential(
        torch.nn.Linear(5, width), torch.nn.Tanh(), torch.nn.Linear(width, 1, bias=False)
    ).double()
    optimizer = torch.optim.SGD(module.parameters(), lr=RATE)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(module(inputs)[:, 0], outputs)
        if loss.item() <= 0.0:  # the tolerance, which the engine checks at every step, too
            break
        loss.backward()
        optimizer.step()


def jax_scan(width: int, samples: int, nets: int):
    """A compiled function of the number of steps."""
    inputs, outputs = (jnp.asarray(part.numpy()) for part in draw(paper_target(), samples))
    net = fully_connected(5, width)
    started = [net.init(seed=seed) for seed in range(nets)]
    params = {
        name: jnp.stack([jnp.asarray(p[name].numpy()) for p in started]) for name in net.shapes
    }

    def loss(p):
        hidden = jnp.tanh(inputs @ p["w"].T + p["b"])
        return jnp.mean((hidden @ p["a"][:, 0] - outputs) ** 2)

    def step(p, _):
        slope = jax.grad(loss)(p)
        return {name: p[name] - RATE * slope[name] for name in p}, None

    def descend(p, steps):
        return jax.lax.scan(step, p, None, length=steps)[0]

    compiled = jax.jit(jax.vmap(descend, in_axes=(0, None)), static_argnums=1)
    return lambda steps: jax.block_until_ready(compiled(params, steps))


# What the core can do at most. Per neuron, sample and step, in vector instructions of 8 lanes, the
# engine needs: w . x and its gradient, 2 (d + 1) = 12; tanh, 23 (absolute value, cut-off, 3 for the
# range reduction, 11 for the polynomial and its powers, 2 for the power of two, 5 to put them
# together) and a division; the output, 1; the rest of the gradient, 4. These 40 cannot be issued
# faster than fused multiply-adds are; at best the division overlaps with them. So the limit is
# 40 / 8 times the measured time of one independent fused multiply-add on 8 lanes.
INSTRUCTIONS = 12 + 23 + 1 + 4
CHAINS, LENGTH = 12, 100_000


@njit
def _fused_multiply_adds(x, length):
    a, b, c, d, e, f = (load(x, 0), load(x, 1), load(x, 2), load(x, 3), load(x, 4), load(x, 5))
    g, h, i, j, k, m = (load(x, 6), load(x, 7), load(x, 8), load(x, 9), load(x, 10), load(x, 11))
    half = fill(0.5)
    for _ in range(length):
        a, b, c = fma(a, half, a), fma(b, half, b), fma(c, half, c)
        d, e, f = fma(d, half, d), fma(e, half, e), fma(f, half, f)
        g, h, i = fma(g, half, g), fma(h, half, h), fma(i, half, i)
        j, k, m = fma(j, half, j), fma(k, half, k), fma(m, half, m)
    store(x, 0, a + b + c + d + e + f + g + h + i + j + k + m)


def main() -> None:
    x = np.zeros((CHAINS, WIDTH))
    seconds = paired_medians({"fma": lambda: _fused_multiply_adds(x, LENGTH)}, rounds=9)["fma"]
    limit_ns = INSTRUCTIONS / WIDTH * seconds / (CHAINS * LENGTH) * 1e9
    print(f"arithmetic limit of this core: {limit_ns:.2f} ns per neuron-sample-step (nss)\n")
    header = ("setting", "1e9 nss/s", "of limit", "(i) us/step", "vs (i)", "vs (ii)", "reached")
    print("{:>16} {:>10} {:>9} {:>12} {:>8} {:>8} {:>8}".format(*header))
    rows = []
    for setting, (width, samples) in SETTINGS.items():
        work = width * samples
        steps, module_steps = 400_000_000 // (work * NETS), 1000
        scans = {nets: jax_scan(width, samples, nets) for nets in (NETS, 8 * NETS)}
        scan_steps = {nets: max(1, steps * NETS // nets // 10) for nets in scans}
        seconds = paired_medians(
            {
                "engine": partial(engine, width, samples, steps),
                "modules": partial(loop_of_modules, width, samples, module_steps),
                **{nets: partial(scan, scan_steps[nets]) for nets, scan in scans.items()},
            },
            rounds=7,
        )
        per_step = {
            "engine": seconds["engine"] / (steps * NETS),
            "modules": seconds["modules"] / module_steps,
            "jax": min(seconds[nets] / (scan_steps[nets] * nets) for nets in scans),
        }
        ratios = tuple(per_step[peer] / per_step["engine"] for peer in ("modules", "jax"))
        reached = all(
            goal is None or ratio >= goal
            for ratio, goal in zip(ratios, TO_REACH[setting], strict=True)
        )
        ns = per_step["engine"] / work * 1e9
        print(
            f"{setting:>16} {1 / ns:10.2f} {limit_ns / ns:9.0%} {per_step['modules'] * 1e6:12.0f} "
            f"{ratios[0]:8.0f} {ratios[1]:8.1f} {'yes' if reached else 'NO':>8}"
        )
        rows.append(
            {
                "setting": setting,
                "seconds_per_network_step": per_step,
                "neuron_sample_steps_per_second": 1e9 / ns,
                "share_of_arithmetic_limit": limit_ns / ns,
                "ratio_to_modules": ratios[0],
                "ratio_to_jax": ratios[1],
                "to_reach": TO_REACH[setting],
            }
        )
    results = {"cores": 1, "arithmetic_limit_ns": limit_ns, "settings": rows}
    publish("training", results, ["numpy", "torch", "numba", "jax"])


if __name__ == "__main__":
    main()
