"""What rounding does to a tangent matrix: measured, by computing it again a little differently."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float, Real
from torch import Tensor

from llrnb.checks import double
from llrnb.networks import Params
from llrnb.rank.tangent import Model, tangent_matrix
from llrnb.streams import rng

EPS = torch.finfo(torch.float64).eps
_STEP = 2.0**-24


Tangent = Callable[[Model, Params, Tensor], Tensor]


def measured(
    model: Model, params: Params, inputs: Real[Tensor, "sample ..."], of: Tangent = tangent_matrix
) -> tuple[Float[Tensor, "row param"], Float[Tensor, "way row param"]]:
    """A tangent matrix, and two matrices of the size of its errors; see `rounding`.

    Raises:
        As `tangent_matrix`; ValueError for derivatives that are not finite.
    """
    tangent = of(model, params, inputs)
    finite = tangent.view(len(inputs), -1).isfinite().all(1)
    if not finite.all():
        raise ValueError(
            "a rank needs finite derivatives, got NaN or infinity "
            f"at {int((~finite).sum())} of {len(finite)} inputs"
        )
    return tangent, rounding(model, params, inputs, tangent, of)


def rounding(
    model: Model, params: Params, inputs: Tensor, tangent: Float[Tensor, "row param"],
    of: Tangent = tangent_matrix,
) -> Float[Tensor, "way row param"]:  # fmt: skip
    """Two matrices of the size of the errors in a tangent matrix.

    - The fourth difference of the matrix along the params, of step 2^-24: what is smooth drops
      out, and rounding stays, whatever precision the model computes in. (The coefficients
      1, -4, 6, -4, 1 enlarge it by sqrt(70).)
    - Its change when params and inputs move by one unit in the last place, the inputs in another
      order and in two batches.
    """
    fourth = 6 * tangent
    for weight, steps in ((1, 2), (-4, 1), (-4, -1), (1, -2)):
        moved = {name: value * (1 + steps * _STEP) for name, value in params.items()}
        fourth += weight * of(model, moved, inputs)
    moved = {name: moved_by(value, EPS, seed) for seed, (name, value) in enumerate(params.items())}
    order = torch.from_numpy(rng("last digits", seed=0).permutation(len(inputs)))
    again = torch.empty_like(tangent)
    rows = again.view(len(inputs), -1)
    for batch in order.tensor_split(2):
        if len(batch):
            found = of(model, moved, moved_by(inputs[batch], EPS, len(params)))
            rows[batch] = found.view(len(batch), -1)
    errors = torch.stack([fourth.div_(70**0.5), again.sub_(tangent)])
    if errors.isfinite().all():
        return errors
    return torch.where(errors.isfinite(), errors, 1 + tangent.abs())


def last_digits(
    model: Model, params: Mapping[str, Tensor], inputs: Sequence[Tensor], tangent: Tensor
) -> Float[Tensor, "1 row param"] | None:
    """The change of the matrix within the last stored digit; None if all came in float64."""
    if not any(is_narrow(value) for value in (*params.values(), *inputs)):
        return None
    moved = {name: half_a_digit(value, seed) for seed, (name, value) in enumerate(params.items())}
    points = torch.cat([half_a_digit(points, len(params)) for points in inputs])
    return (tangent_matrix(model, moved, points) - tangent)[None]


def half_a_digit(value: Tensor, seed: int) -> Tensor:
    """In float64, moved by half a unit in the last place that was stored; float64 stays."""
    if not is_narrow(value):
        return value.detach().cpu()
    return moved_by(double(value, "values"), torch.finfo(value.dtype).eps / 2, seed)


def is_narrow(value: Tensor) -> bool:
    """Whether its numbers came with fewer digits than float64 has."""
    return value.is_floating_point() and value.dtype != torch.float64


def moved_by(values: Tensor, relative: float, seed: int) -> Tensor:
    """Every value times 1 + relative or 1 - relative, by chance; zeros and whole numbers stay."""
    if not values.is_floating_point():
        return values
    signs = np.asarray(rng("last digits", seed=seed).choice([-1.0, 1.0], values.shape))
    return values * (1 + relative * torch.from_numpy(signs).to(values.device))
