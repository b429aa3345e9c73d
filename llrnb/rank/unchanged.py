"""Whether a move of the parameters leaves a model's outputs as they are, to rounding."""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from llrnb.models import outputs_of
from llrnb.networks import Params
from llrnb.rank.rounding import EPS, moved_by
from llrnb.streams import rng

Move = Callable[[float], Params]
_TIMES = 64  # the measured rounding
_EXACT, _ROUGH = 2.0**-42, 2.0**-32  # of what a move of the same size in another direction changes


class Outputs:
    """The outputs of a model at groups of inputs, which are looked at group by group."""

    def __init__(self, model: Callable, params: Params, groups: list[Tensor]) -> None:
        self.model, self.params = model, params
        self.sizes, self.points = [len(some) for some in groups], torch.cat(groups)
        self.here = self._at(params)
        self.digits = float((self._fourth() / self._most(self.here).clamp_min(1e-300)).max())
        self.stream = rng("directions")

    def unchanged(self, move: Move, steps: tuple[float, ...], exact: bool) -> bool:
        """Whether no output changes by more than rounding, at any of these steps.

        Rounding is measured there: by one unit in the last place of every parameter, and by the
        precision that the model computes in.

        Args:
            move: the parameters after a step.
            steps: of it.
            exact: whether the move is known to the last digit; else the outputs may change by some
                digits of what other moves of these parameters, as far, do.
        """
        return all(self._is_unchanged(move(step), exact) for step in steps)

    def _is_unchanged(self, there: Params, exact: bool) -> bool:
        outputs = self._at(there)
        nearby = {name: moved_by(value, EPS, k) for k, (name, value) in enumerate(there.items())}
        noise = self._most(self._at(nearby) - outputs)
        noise += (EPS + self.digits) * self._most(self.here)
        scale = self._most(self._at(self._elsewhere(there)) - self.here).nan_to_num(0.0, 0.0, 0.0)
        most = _TIMES * noise + (_EXACT if exact else _ROUGH) * scale
        return bool((self._most(outputs - self.here) <= most).all())  # NaN is not

    def _elsewhere(self, there: Params) -> Params:
        """Parameters as far away, in random directions of the entries that differ."""
        found = {}
        for name, value in self.params.items():
            far = there[name] - value
            size = far.square().mean().sqrt() * (far.numel() / max(1, int((far != 0).sum()))) ** 0.5
            drawn = torch.from_numpy(np.asarray(self.stream.standard_normal(value.shape)))
            found[name] = value + drawn * size * (far != 0)
        return found

    def _at(self, params: Params) -> Float[Tensor, "sample output"]:
        return outputs_of(self.model, params, self.points).double().reshape(len(self.points), -1)

    def _most(self, outputs: Float[Tensor, "sample output"]) -> Float[Tensor, " group"]:
        return torch.stack([part.abs().amax() for part in outputs.split(self.sizes)])

    def _fourth(self) -> Float[Tensor, " group"]:
        """What outputs are rounded to: see `llrnb.rank.rounding`."""
        fourth = 6 * self.here
        for weight, steps in ((1, 2), (-4, 1), (-4, -1), (1, -2)):
            moved = {name: v * (1 + steps * 2.0**-24) for name, v in self.params.items()}
            fourth = fourth + weight * self._at(moved)
        return self._most(fourth) / 70**0.5
