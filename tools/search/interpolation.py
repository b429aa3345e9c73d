"""Does the narrowest interpolator, or a climb after a descent, claim agreement that is not there?

A case draws a target, a family, a kind of data and a number of samples. A claim is false if on
2,000 fresh inputs of the same law the found function is farther from the target than the
certificate allows on all but a share of 1e-3. A claim that holds on less than 99% of them is right,
too, and counted as a kind of its own, "in part". Silence is "undecided" where there are more
samples than parameters, and right elsewhere.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from llrnb.certificate import SHARES, Outcome, allowance, certify, precision_of
from llrnb.interpolation import narrowest_interpolator
from llrnb.networks import TwoLayerNetwork, cnn, fully_connected, predict
from llrnb.strategies import condense_and_polish
from llrnb.targets import Target
from tools.search import Case

Law = Callable[[np.random.Generator, int, int], np.ndarray]

NETWORKS = (
    cnn(5, 3, 1),
    cnn(5, 3, 1, bias=False),
    cnn(4, 2, 1, output_bias=True),
    cnn(5, 3, 1, shared=False),
    cnn(3, 2, 1, shared=False, bias=False),
    fully_connected(2, 2),
    fully_connected(3, 2, bias=False),
)
LAWS: dict[str, Law] = {
    "normal": lambda rng, n, d: rng.standard_normal((n, d)),
    "uniform": lambda rng, n, d: rng.uniform(-2, 2, (n, d)),
    "correlated": lambda rng, n, d: rng.normal(rng.standard_normal((n, 1)), 0.3, (n, d)),
    "heavy tails": lambda rng, n, d: rng.standard_t(1.5, (n, d)),
    "inputs x 30": lambda rng, n, d: 30 * rng.standard_normal((n, d)),
    "inputs x 100": lambda rng, n, d: 100 * rng.standard_normal((n, d)),
    "inputs x 1e-3": lambda rng, n, d: 1e-3 * rng.standard_normal((n, d)),
    "binary": lambda rng, n, d: rng.integers(0, 2, (n, d)) + 0.0,
    "integers": lambda rng, n, d: rng.integers(-3, 4, (n, d)) + 0.0,
    "palindromes": lambda rng, n, d: _folded(rng.standard_normal((n, d))),
    "far away": lambda rng, n, d: 3 + 0.1 * rng.standard_normal((n, d)),
}
UNITS = {f"outputs x {unit:g}": unit for unit in (1e155, 1e170, 1e-163, 1e-170, 1e20)}
REPEATED = {"repeated": 0.0, "repeated to 1e-15": 1e-15, "repeated to 1e-12": 1e-12}
OTHERS = ("x and -x", "weights x 10", "signs as outputs", "float32")
CLEAN = ("normal", "uniform", "float32", "outputs x 1e+155", "outputs x 1e-170")
KINDS = (*LAWS, *UNITS, *REPEATED, *OTHERS, *CLEAN)  # the clean ones twice


def case(seed: int) -> Case:
    """One instance."""
    rng = np.random.default_rng([seed, 15])
    kind, net = str(rng.choice(KINDS)), NETWORKS[rng.integers(len(NETWORKS))]
    size = net.parameter_count
    more = int(rng.choice([0, 1, 1, 2, size // 2, size]))
    truth = _truth(kind, net, rng)
    inputs = _inputs(kind, net, rng, size + more)
    outputs = truth(inputs)
    if kind == "float32":
        inputs, outputs = inputs.float(), outputs.float()
    name = "condense_and_polish" if rng.uniform() < 0.1 else "narrowest_interpolator"
    said, agreeing = verdict(
        name, net, inputs, outputs, truth, _law(kind)(rng, 2000, net.input_dim)
    )
    clean = kind in CLEAN and more > 0 and name == "narrowest_interpolator"
    if said == Outcome.AGREES:
        outcome = "right" if agreeing > SHARES[0] else "false"
        kind = f"{kind}, in part" if SHARES[0] < agreeing < 0.99 else kind
    else:
        outcome = "undecided" if more else "right"
    text = f"{size} parameters, n = {size + more}: {said}; near on {agreeing:.2%}"
    return Case(f"llrnb.{name}", kind, text, outcome, clean)


def verdict(
    name: str,
    net: TwoLayerNetwork,
    inputs: Tensor,
    outputs: Tensor,
    truth: Callable[[Tensor], Tensor],
    fresh: np.ndarray,
) -> tuple[str, float]:
    """What is said, and the share of fresh inputs at which what was found is near the target."""
    wide = replace(net, kernels=net.kernels + 3)
    if name == "condense_and_polish":
        data = inputs.double(), outputs.double()
        (found,) = condense_and_polish(wide, data[0][None], data[1][None], [0], steps=2000)
        narrow, params, said = found.net, found.params, found.status
        certificate = certify(narrow, params, *data)
    else:
        found = narrowest_interpolator(wide, inputs, outputs, budget=60_000, seed=0, starts=512)
        narrow, params, said = found.narrow, found.narrow_params, str(found.status)
        certificate = found.certificate
    points = torch.from_numpy(fresh)
    near = allowance(narrow, params, points, certificate, precision=precision_of(outputs))
    off = predict(narrow, params, points) - truth(points)
    return said, float((off.abs() <= near).double().mean())


def _truth(kind: str, net: TwoLayerNetwork, rng: np.random.Generator) -> Callable[[Tensor], Tensor]:
    """The function behind the outputs, with weights from N(0, 1) or N(0, 100)."""
    size = 10.0 if kind == "weights x 10" else 1.0
    params = {
        name: torch.from_numpy(np.asarray(size * rng.standard_normal(shape)))
        for name, shape in net.shapes.items()
    }
    target, unit = Target(net, params), UNITS.get(kind, 1.0)
    return lambda x: target(x).sign() if kind == "signs as outputs" else unit * target(x)


def _law(kind: str) -> Law:
    return LAWS.get(kind, LAWS["normal"])


def _inputs(kind: str, net: TwoLayerNetwork, rng: np.random.Generator, samples: int) -> Tensor:
    x = _law(kind)(rng, samples, net.input_dim)
    if kind in REPEATED or kind == "x and -x":
        half = x[: -(-samples // 2)]
        again = (
            -half
            if kind == "x and -x"
            else half * (1 + REPEATED[kind] * rng.standard_normal(half.shape))
        )
        x = np.concatenate([half, again])[:samples]
    return torch.from_numpy(x)


def _folded(x: np.ndarray) -> np.ndarray:
    """The same from the left and from the right."""
    middle = x.shape[1] // 2
    x[:, -middle:] = x[:, :middle][:, ::-1]
    return x
