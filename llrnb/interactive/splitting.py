"""A minimum of a narrow network after one neuron is split, and the copies moved apart."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from llrnb import embedding
from llrnb.deep import DeepNetwork
from llrnb.interactive.explorer import Choice, Explorer, Position, Slider, State
from llrnb.interactive.marks import INK, axis, dots, labels, line, panel, segments
from llrnb.rank import numerical_rank
from llrnb.stacks import Stack

SHARES = np.linspace(-0.5, 1.5, 17)
DISTANCES = np.linspace(-1, 1, 9)
_FINE = np.linspace(-1, 1, 33)
_ALONG = np.linspace(-2.5, 2.5, 41)


def splitting(
    net: DeepNetwork,
    params: Mapping[str, Tensor],
    inputs: Float[Tensor, "sample input"],
    outputs: Float[Tensor, " sample"],
    directions: Sequence[Float[Tensor, " input"]],
) -> Explorer:
    """Function, loss and rank over the share of a split and the distance of the copies.

    Args:
        net: one hidden layer.
        params: a critical point of its mean squared error.
        inputs, outputs: its samples.
        directions: for each neuron, where its copies go.
    """
    states: dict[Position, State] = {}
    for i, direction in enumerate(directions):
        for j, share in enumerate(SHARES):
            split = embedding.split(net, params, 1, i, float(share))
            curve = losses(*split, i, share, direction, _FINE, inputs, outputs)
            for k, distance in enumerate(DISTANCES):
                wide = split[0], apart(split[1], i, share, distance * direction)
                states[i, j, k] = _state(net, params, wide, i, j, k, curve, inputs, outputs)
    controls = (
        Choice("Neuron", tuple(str(i) for i in range(len(directions)))),
        Slider("Share α", tuple(_signed(s) for s in SHARES), start=6, play=True),
        Slider("Distance ξ", tuple(_signed(x) for x in DISTANCES), start=len(DISTANCES) // 2),
    )
    return Explorer("Splitting a neuron at a minimum of the loss", controls, states)


def apart(values: Mapping[str, Tensor], neuron: int, share: float, move: Tensor) -> dict:
    """The copies moved such that their mean, weighted by the shares, stays."""
    w = values["w1"].clone()
    w[neuron] += (1 - share) * move
    w[-1] -= share * move
    return {**values, "w1": w}


def losses(net, values, neuron, share, direction, distances, inputs, outputs) -> np.ndarray:
    """The mean squared error at distances of the copies."""
    points = [apart(values, neuron, share, float(d) * direction) for d in distances]
    over_points = torch.vmap(torch.vmap(net, in_dims=(None, 0)), in_dims=(0, None))
    outcome = over_points(dict(Stack.of(points)), inputs)
    return (outcome - outputs).square().mean(dim=1).numpy()


def _state(net, params, wide, neuron, j, k, curve, inputs, outputs) -> State:
    model, values = wide
    share, distance = SHARES[j], DISTANCES[k]
    start = float((torch.vmap(net, in_dims=(None, 0))(params, inputs) - outputs).square().mean())

    def loss(p):
        return (torch.vmap(model, in_dims=(None, 0))(p, inputs) - outputs).square().mean()

    slopes = torch.func.grad(loss)(values)
    slope = float(sum(part.square().sum() for part in slopes.values()).sqrt())
    rank = numerical_rank(model, values).rank
    percent = 100 * (float(loss(values)) / start - 1)
    w = params["w1"][neuron]
    line_of_inputs = torch.from_numpy(_ALONG)[:, None] * w / w.norm()
    before, after = (
        torch.vmap(one, in_dims=(None, 0))(at, line_of_inputs) for one, at in ((net, params), wide)
    )
    reach = 1.3 * float(before.abs().max())
    relative = 100 * (curve / start - 1)
    panels = (
        panel(
            "The wide network", axis("", -0.35, 2.4, ticks=()), axis("", -1.6, 1.6, ticks=()),
            *_diagram(values, neuron),
        ),
        panel(
            "Its function", axis("input along the neuron's weights", -2.5, 2.5),
            axis("output", -reach, reach),
            line(_ALONG, after, colour=0, width=4, name="wide"),
            line(_ALONG, before, colour=1, dash=True, name="narrow"),
        ),
        panel(
            "Its loss, at this share", axis("distance ξ of the copies", -1, 1),
            axis("change of the loss in percent", -3, 3),
            line(_FINE, relative, colour=2), dots([distance], [percent], colour=1, radius=7),
        ),
    )  # fmt: skip
    kind = "a critical point" if slope < 1e-9 else "not critical"
    text = (
        f"Neuron {neuron}, α = {_signed(share)}, ξ = {_signed(distance)}: "
        f"the loss changes by {_measured(percent)}%, {kind}; "
        f"rank {rank} of {model.parameter_count} tangent functions."
    )
    return State(panels, text)


def _diagram(values: Mapping[str, Tensor], neuron: int) -> list[dict]:
    """A line per weight, wide if large, blue if positive; the copies are filled."""
    w, a = values["w1"].numpy(), values["w2"].numpy()[0]
    hidden, inputs = w.shape
    left, middle = (np.linspace(1.1, -1.1, n) if n > 1 else np.zeros(1) for n in (inputs, hidden))
    ends = [(0, left[i], 1, middle[m], w[m, i]) for m in range(hidden) for i in range(inputs)]
    ends += [(1, middle[m], 2, 0, a[m]) for m in range(hidden)]
    *places, weights = (np.array(part) for part in zip(*ends, strict=True))
    widths = np.minimum(2.5 * np.abs(weights), 9)
    copies = [neuron, hidden - 1]
    others = [m for m in range(hidden) if m not in copies]
    return [
        segments(*places, widths=widths, colours=(weights < 0).astype(int).tolist()),
        dots([0] * inputs, left, colour=INK, radius=7),
        dots([1] * len(others), middle[others], colour=INK, radius=9),
        dots([1, 1], middle[copies], colour=4, radius=9, name="the two copies"),
        dots([2], [0], colour=INK, radius=7),
        labels([1.55] * hidden, 0.42 * middle + 0.28, [_measured(v) for v in a]),
    ]


def _signed(value: float) -> str:
    """A setting: three decimals, without zeros at the end."""
    return _measured(value, 3).rstrip("0").rstrip(".")


def _measured(value: float, digits: int = 2) -> str:
    """A number that was computed: all decimals, whatever they are."""
    return f"{round(float(value), digits) + 0.0:.{digits}f}".replace("-", "−")  # not −0.00
