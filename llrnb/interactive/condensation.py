"""How neurons condense during training, to be played and scrubbed."""

from collections.abc import Mapping, Sequence

import numpy as np

from llrnb.interactive.explorer import Choice, Explorer, Position, Slider, State
from llrnb.interactive.marks import INK, axis, dots, heat, line, panel


def condensation(
    networks: Mapping[str, Sequence[np.ndarray]],
    steps: Sequence[int],
    losses: Mapping[str, Sequence[float]],
) -> Explorer:
    """The angles between the neurons of some networks over time, and their training loss.

    Args:
        networks: for each, the neurons' input weights (neuron, input) at every step.
        steps: of the descent, increasing; a first 0 is drawn at 1.
        losses: for each network, the training loss at every step.
    """
    states: dict[Position, State] = {}
    for i, (name, moments) in enumerate(networks.items()):
        order = _next_to_likes(cosines(moments[-1]))  # of the end, so that no neuron jumps
        for j, (step, weights) in enumerate(zip(steps, moments, strict=True)):
            states[i, j] = _state(cosines(weights)[order][:, order], step, steps, losses[name], j)
    middle = int(np.argmin(np.abs(np.array(steps) - 100)))
    controls = (
        Choice("Network", tuple(networks)),
        Slider("Step", tuple(f"{step:,}" for step in steps), start=middle, play=True),
    )
    return Explorer("Neurons condense during training", controls, states)


def cosines(weights: np.ndarray) -> np.ndarray:
    """The absolute cosine of the angle between every two neurons (the sign is tanh's to drop)."""
    unit = weights / np.linalg.norm(weights, axis=1, keepdims=True)
    return np.abs(unit @ unit.T)


def directions(cosine: np.ndarray, least: float = 0.98) -> int:
    """How many directions the neurons have: a new one is that of a neuron far from those before."""
    found: list[int] = []
    for neuron in range(len(cosine)):
        if not found or cosine[neuron, found].max() < least:
            found.append(neuron)
    return len(found)


def _state(cosine, step, steps, loss, now) -> State:
    neurons = len(cosine)
    count = directions(cosine)
    side = axis("neuron", 0, neurons, ticks=())
    time = axis("step", 1, steps[-1], log=True)
    shown = np.maximum(steps, 1)
    height = axis("training loss", 10.0 ** np.floor(np.log10(min(loss))), 10, log=True)
    panels = (
        panel(
            "Angles between neurons", side, side | {"label": "neuron"},
            heat(cosine, (0, neurons), (neurons, 0), colour=3, name="full colour: parallel"),
            square=True,
        ),
        panel(
            "Training loss", time, height,
            line(shown, loss, name="mean squared error"),
            dots(shown[now : now + 1], loss[now : now + 1], colour=1, radius=6),
            line([shown[now]] * 2, [height["low"], 10], colour=INK, dash=True, width=1),
            height=320,
        ),
    )  # fmt: skip
    text = (
        f"Step {step:,}: the {neurons} neurons point in {count} direction{'s' * (count > 1)} "
        f"(|cos| above 0.98 counts as one); training loss {loss[now]:.1e}."
    )
    return State(panels, text)


def _next_to_likes(cosine: np.ndarray) -> list[int]:
    """An order in which each neuron is followed by the one most like it that is left."""
    order, left = [0], set(range(1, len(cosine)))
    while left:
        order.append(max(left, key=lambda i: cosine[order[-1], i]))
        left.remove(order[-1])
    return order
