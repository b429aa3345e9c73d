"""Small networks and what their rank is made of."""

from collections.abc import Callable, Mapping
from itertools import product

import numpy as np
import torch

from llrnb.interactive.explorer import Choice, Explorer, Position, State
from llrnb.interactive.marks import INK, axis, dots, line, panel, power, table
from llrnb.networks import TwoLayerNetwork, cnn
from llrnb.rank import numerical_rank, structure

_FLOOR = 1e-17  # where values are drawn that may be rounding
_KERNELS = [[1.0, 2.0], [3.0, 1.0], [2.0, -1.0]]
_OUTPUTS = [[1.0, 2.0, 1.0], [2.0, 1.0, 3.0], [1.0, -1.0, 2.0]]
_KINDS = {"shared": True, "not shared": False}


def _last_is(kernel: Callable, outputs: Callable) -> Callable[[dict], None]:
    """Replace the last kernel and its outputs by functions of the first one's and its own."""

    def change(params: dict) -> None:
        for name, new in (("w", kernel), ("a", outputs)):
            params[name][-1] = new(params[name][0], params[name][-1])

    return change


def _own(first, own):
    return own


def _translates(params: dict) -> None:
    """At neighbouring windows the first kernel and the last one look at the same input."""
    params["w"][0] = torch.tensor([0.0, 1.0])
    params["w"][-1] = torch.tensor([1.0, 0.0])


# What happens to the last kernel, and how many kernels that needs.
CASES: Mapping[str, tuple[int, Callable[[dict], None]]] = {
    "all different": (1, lambda params: None),
    "last output weights zero": (1, _last_is(_own, lambda first, own: 0 * own)),
    "last kernel zero": (1, _last_is(lambda first, own: 0 * own, _own)),
    "last kernel and outputs zero": (1, _last_is(*[lambda first, own: 0 * own] * 2)),
    "last equals first, outputs too": (2, _last_is(*[lambda first, own: first] * 2)),
    "last equals first, outputs differ": (2, _last_is(lambda first, own: first, _own)),
    "last is minus first, outputs differ": (2, _last_is(lambda first, own: -first, _own)),
    "last is a translate of first": (2, _translates),
}


def ranks() -> Explorer:
    """Singular values, exact rank and the matrix C of small networks, degenerate ones included."""
    counts, windows = (1, 2, 3), (1, 2, 3)
    states: dict[Position, State] = {
        position: _state(*network(counts[position[0]], windows[position[1]], kind, case), case)
        for (k, kind), (c, case) in product(enumerate(_KINDS), enumerate(CASES))
        for position in product(range(3), range(3), [k], [c])
        if counts[position[0]] >= CASES[case][0]
    }
    controls = (
        Choice("Kernels", tuple(map(str, counts)), start=1),
        Choice("Windows", tuple(map(str, windows)), start=2),
        Choice("Kernels are", tuple(_KINDS)),
        Choice("Case", tuple(CASES), start=4),
    )
    return Explorer("The rank of a small network and what it is made of", controls, states)


def network(kernels: int, windows: int, kind: str, case: str) -> tuple[TwoLayerNetwork, dict]:
    """A network of kernels with two entries, without biases, and its parameters, all integers.

    Without sharing the windows have kernels of their own, with equal weights: the same function.
    """
    net = cnn(windows + 1, 2, kernels, shared=_KINDS[kind], bias=False)
    w = torch.tensor(_KERNELS[:kernels], dtype=torch.float64, device="cpu")
    params = {
        "w": w if net.shared else w[:, None].repeat(1, windows, 1),
        "a": torch.tensor(_OUTPUTS, dtype=torch.float64, device="cpu")[:kernels, :windows].clone(),
    }
    CASES[case][1](params)
    return net, params


def _state(net: TwoLayerNetwork, params: dict, case: str) -> State:
    exact, found = structure(net, params), numerical_rank(net, params)
    values = found.singular_values.numpy()
    place = np.arange(1, len(values) + 1)
    real = values > found.cut
    matrix = np.array(exact.matrix(), dtype=float).reshape(exact.shape)
    used = np.flatnonzero((matrix != 0).any(axis=0))
    words = [[f"{v:g}".replace("-", "−") if v else "·" for v in row] for row in matrix[:, used]]
    tints = [
        [int(column // (net.input_dim + 1)) % 6 if value else INK for column, value in row]
        for row in ([*zip(used, entries, strict=True)] for entries in matrix[:, used])
    ]
    rows, columns = len(matrix), max(1, len(used))
    ticks = [(10.0**p, power(p)) for p in (-16, -12, -8, -4, 0)]
    cut = [exact.rank + 0.5] * 2
    panels = (
        panel(
            "Singular values of the tangent matrix",
            axis("number", 0, len(values) + 1),
            axis("", _FLOOR / 5, 30, ticks=ticks, log=True),
            dots(place[real], values[real], colour=0, name="above rounding"),
            dots(place[~real], np.full((~real).sum(), _FLOOR), colour=1, hollow=True,
                 name="rounding"),
            line(cut, [_FLOOR / 5, 30], colour=INK, dash=True, width=1.5,
                 name=f"exact rank {exact.rank}"),
            height=300,
        ),
        panel(
            f"The matrix C: {rows} × {len(used)}, rank {exact.rank - exact.distinct}",
            axis("functions sech²(v·x) xⱼ", 0, columns, ticks=()),
            axis("input weights", rows, 0, ticks=()),
            table(words, tints), height=46 + 22 * rows,
        ),
    )  # fmt: skip
    text = (
        f"{case.capitalize()}: {net.neurons} neurons, {exact.distinct} classes ±v: "
        f"rank {exact.distinct} + {exact.rank - exact.distinct} = {exact.rank} "
        f"among {net.parameter_count} parameters; by singular values {found.rank}."
    )
    return State(panels, text)
