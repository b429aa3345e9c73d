"""Fitting a target in its own tangent plane, with one sample more at a time."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from llrnb.interactive.explorer import Choice, Explorer, Position, Slider, State
from llrnb.interactive.marks import INK, axis, dots, line, panel, power
from llrnb.rank import LocalLinearFit, tangent_matrix

_ROUNDING = 1e-11  # an error below is drawn at the floor: its digits are rounding's
_FLOOR = 1e-13


def linear_fit(
    models: Mapping[str, tuple],
    fits: Mapping[str, Sequence[LocalLinearFit]],
    others: Mapping[str, Float[Tensor, "test input"]],
    shown: int = 30,
) -> Explorer:
    """The fit at other inputs, and its error, for any model and number of samples.

    Args:
        models: for each name the model and the target's parameters in it.
        fits: for each, the fits from 1, 2, ... samples.
        others: for each, the inputs at which the fits were tested.
        shown: of how many of them the values are drawn.
    """
    states: dict[Position, State] = {}
    most = max(map(len, fits.values()))
    for i, (name, (model, params)) in enumerate(models.items()):
        rank = next(fit.samples for fit in fits[name] if fit.recovers)
        truth = torch.vmap(model, in_dims=(None, 0))(params, others[name][:shown])
        tangent = tangent_matrix(model, params, others[name][:shown])
        for j, fit in enumerate(fits[name]):
            away = torch.cat([(fit.params[key] - params[key]).flatten() for key in params])
            states[i, j] = _state(fit, fits[name], rank, truth, truth + tangent @ away)
    controls = (
        Choice("Model", tuple(models)),
        Slider("Samples n", tuple(map(str, range(1, most + 1))), start=5, play=True),
    )
    return Explorer("The best linear fit at the target, sample by sample", controls, states)


def _state(fit: LocalLinearFit, fits, rank: int, truth: Tensor, values: Tensor) -> State:
    n = np.arange(1, len(fits) + 1)
    errors = np.array([one.error if one.error > _ROUNDING else _FLOOR for one in fits])
    reach = 1.15 * float(truth.abs().max())
    edge = 2 * reach
    values = values.clamp(-edge, edge)
    values = torch.where((values - truth).abs() < _ROUNDING, truth, values)
    ticks = [(10.0**p, power(p)) for p in (-12, -9, -6, -3, 0)]
    panels = (
        panel(
            "Relative error at other inputs",
            axis("sample size n", 0, len(fits) + 1),
            axis("", _FLOOR / 3, 10, ticks=ticks, log=True),
            line([rank, rank], [_FLOOR / 3, 10], colour=INK, dash=True, width=1.5,
                 name=f"model rank {rank}"),
            line(n, errors, dots=True, name="error"),
            dots([fit.samples], errors[[fit.samples - 1]], colour=1, radius=7),
        ),
        panel(
            "The fit against the target",
            axis("target's value", -reach, reach), axis("fit's value", -reach, reach),
            line([-reach, reach], [-reach, reach], colour=INK, width=1, name="equal"),
            dots(truth, values, colour=2 if fit.recovers else 1,
                 name="at inputs that were not fitted"),
        ),
    )  # fmt: skip
    if fit.recovers:
        outcome = "every minimiser is the target; the error is rounding."
    else:
        outcome = f"not recovered, relative error {fit.error:.1e}."
    parameters = sum(value.numel() for value in fit.params.values())
    about = f"n = {fit.samples}, model rank {rank}, {parameters:,} parameters: "
    return State(panels, about + outcome)
