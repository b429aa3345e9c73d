"""A small network in which the redundant parameters light up."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from llrnb.interactive.explorer import Choice, Explorer, State
from llrnb.interactive.marks import INK, axis, dots, panel, segments, table
from llrnb.rank import Redundancy, redundancy

_LEAST = 0.01  # of a parameter in the redundant directions, to be lit
_PARAMS = {
    "0.weight": [[1.0, -0.6], [0.5, 1.2], [-0.8, 0.7]],
    "0.bias": [0.3, -0.5, 0.2],
    "2.weight": [[0.9, -1.1, 0.6], [0.4, 0.8, -1.3]],
    "2.bias": [0.1, -0.2],
}
_LIT = ("all", "unused", "equal", "shift", "mixing", "scaling", "unexplained")


def _equal(module: nn.Module) -> None:
    for name in ("0.weight", "0.bias"):
        value = module.get_parameter(name)
        value[1] = value[0]


def _as_they_are(module: nn.Module) -> None:
    pass


def _no_output(module: nn.Module) -> None:
    module.get_parameter("2.weight")[:, 0] = 0


# What lies between the layers, what comes last, and what happens to the parameters.
CASES: Mapping[str, tuple[nn.Module, nn.Module, Callable[[nn.Module], object]]] = {
    "tanh": (nn.Tanh(), nn.Identity(), _as_they_are),
    "ReLU": (nn.ReLU(), nn.Identity(), _as_they_are),
    "linear": (nn.Identity(), nn.Identity(), _as_they_are),
    "layer norm between": (nn.LayerNorm(3, 1e-2, False), nn.Identity(), _as_they_are),
    "tanh and log-softmax": (nn.Tanh(), nn.LogSoftmax(-1), _as_they_are),
    "tanh, a neuron without output": (nn.Tanh(), nn.Identity(), _no_output),
    "tanh, two equal neurons": (nn.Tanh(), nn.Identity(), _equal),
}


def redundant() -> Explorer:
    """Networks of 2 inputs, 3 neurons and 2 outputs, and which of their parameters do nothing."""
    states: dict[tuple[int, ...], State] = {}
    for c, case in enumerate(CASES):
        found = redundancy(network(case), input_shape=(2,))
        for k, kind in enumerate(_LIT):
            shares = lit(found, kind)
            if k == 0 or any(share.any() for share in shares.values()):
                states[c, k] = _state(found, shares, case, kind)
    controls = Choice("Network", tuple(CASES), start=1), Choice("Lit", _LIT)
    return Explorer("A small network and its redundant parameters", controls, states)


def network(case: str) -> nn.Module:
    """One of them, with the same parameters in all cases but the degenerate ones."""
    between, last, change = CASES[case]
    module = nn.Sequential(nn.Linear(2, 3), between, nn.Linear(3, 2), last).double()
    with torch.no_grad():
        for name, value in _PARAMS.items():
            module.get_parameter(name).copy_(torch.tensor(value, device="cpu"))
        change(module)
    return module


def lit(found: Redundancy, kind: str) -> dict[str, np.ndarray]:
    """How much of every parameter lies in the redundant directions of a kind: from 0 to 1."""
    null = found.numerical.null_directions
    shapes = {name: part.shape[1:] for name, part in null.items()}
    if kind == "all":
        share = _flat(null, shapes).square().sum(0)
    else:
        chosen = [s for s in found.symmetries if kind in (s.kind, "unexplained")]
        stacked = [_flat(symmetry.directions, shapes) for symmetry in chosen]
        span = _orthonormal(torch.cat([*stacked, _flat(null, shapes)[:0]]))
        share = span.square().sum(0)
        if kind == "unexplained":
            share = (_flat(null, shapes).square().sum(0) - share) * (found.unexplained > 0)
    parts = share.split([shape.numel() for shape in shapes.values()])
    named = zip(shapes.items(), parts, strict=True)
    return {name: np.where(p > _LEAST, p, 0).reshape(shape) for (name, shape), p in named}


def _flat(parts: Mapping[str, Tensor], shapes: Mapping[str, torch.Size]) -> Tensor:
    """Directions as rows; parameters that have no part in them stay."""
    count = len(next(iter(parts.values())))
    rows = [
        parts.get(name, torch.zeros(count, *shape, device="cpu").double()).reshape(count, -1)
        if count
        else torch.zeros(0, shape.numel(), device="cpu").double()
        for name, shape in shapes.items()
    ]
    return torch.cat(rows, dim=1)


def _orthonormal(rows: Tensor) -> Tensor:
    _, values, vectors = torch.linalg.svd(rows, full_matrices=False)
    return vectors[values > 1e-6]


def _state(found: Redundancy, shares: Mapping[str, np.ndarray], case: str, kind: str) -> State:
    words = [["kind", "parameters", "count"], *found.table().astype(str).values.tolist()]
    tints = [[INK] * 3 for _ in words]
    panels = (
        panel(
            "Weights (lines) and biases (dots)",
            axis("", -0.2, 2.2, ticks=[(0, "inputs"), (1, "neurons"), (2, "outputs")]),
            axis("", -1.4, 1.4, ticks=()), *_diagram(shares), height=280,
        ),
        panel(
            "What is redundant", axis("", 0, 3, ticks=()), axis("", len(words), 0, ticks=()),
            table(words, tints), height=46 + 22 * len(words),
        ),
    )  # fmt: skip
    text = f"{case.capitalize()}: {found.parameters} parameters. Rank {found.verdict}. Lit: {kind}."
    return State(panels, text)


def _diagram(shares: Mapping[str, np.ndarray]) -> list[dict]:
    """A line for each weight and a dot for each bias: lit ones wide or filled."""
    heights = [np.linspace(1.1, -1.1, size) for size in (2, 3, 2)]
    marks = []
    for layer, name in enumerate(("0", "2")):
        share = shares[f"{name}.weight"]
        ends = [
            (layer, heights[layer][i], layer + 1, heights[layer + 1][o], share[o, i])
            for o, i in np.ndindex(share.shape)
        ]
        *places, lights = (np.array(part) for part in zip(*ends, strict=True))
        colours = [4 if light else INK for light in lights]
        marks.append(segments(*places, widths=1 + 7 * lights, colours=colours))
    marks.append(dots([0, 0], heights[0], colour=INK, radius=5))
    for layer, name in enumerate(("0", "2"), start=1):
        light = shares[f"{name}.bias"] > 0
        for on, colour in ((True, 4), (False, INK)):
            at = heights[layer][light == on]
            if len(at):
                marks.append(dots([layer] * len(at), at, colour=colour, radius=9, hollow=not on))
    return marks
