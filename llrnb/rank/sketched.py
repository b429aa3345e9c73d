"""Numerical rank where the tangent matrix has too many entries to be kept: from a sketch of it.

A row of M entries is multiplied with random signs and folded: entries k places apart are added. Of
two such sketches side by side, with k = 2 * rows + 1 and k = 2 * rows + 3, the rank is at most the
matrix's, so that "at least" holds; in general it is equal, and the singular values are the matrix's
to within some ten percent each. In J J^T half of the digits would be lost.
Rounding is measured at some of the inputs.
"""

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from llrnb import checks
from llrnb.checks import double_params
from llrnb.endings import RankVerdict
from llrnb.models import ModuleModel
from llrnb.rank import doubts
from llrnb.rank.rounding import half_a_digit, is_narrow, measured
from llrnb.rank.singular import NumericalRank, lengths, matrix_rank, unit, within_digits
from llrnb.rank.tangent import Model, derivatives
from llrnb.streams import rng

_KEPT = 5 * 10**7  # entries of a tangent matrix that is kept as a whole
_TOGETHER = {"cuda": 2**27}  # entries that are computed at a time
_FEWER = 2**23  # elsewhere
_SOME = 64  # inputs that tell how long columns are, and how much is rounding
_FEW = 8  # inputs at which derivatives are compared with differences


def is_large(rows: int, parameters: int) -> bool:
    """Whether a tangent matrix needs a sketch."""
    return rows * parameters > _KEPT and parameters > 4 * (rows + 1)


def sketched_rank(
    model: Model, params: Mapping[str, Tensor], inputs: Tensor, outputs: int, device: str
) -> NumericalRank:
    """The rank of the tangent matrix at these inputs, evidence for at least so much of the model's.

    Args:
        model: as in `numerical_rank`.
        params, inputs: as they are stored.
        outputs: of one input.
        device: where derivatives are computed.
    """
    points = checks.numbers(inputs, "inputs").to(device)
    wide = {name: value.to(device) for name, value in double_params(params).items()}
    if isinstance(model, ModuleModel):
        model = model.on(device, torch.float64)
    parameters = sum(value.numel() for value in wide.values())
    entries = _TOGETHER.get(torch.device(device).type, _FEWER)
    together = max(1, entries // (outputs * parameters))

    some = points[:: -(-len(points) // _SOME)]
    norms = torch.zeros(3, parameters, dtype=torch.float64, device=device)
    for x in some.split(together):
        tangent, errors = measured(model, wide, x, derivatives)
        torch.hypot(norms, torch.cat([tangent[None], errors]).norm(dim=1), out=norms)
    of_columns = norms[:1], norms[1:, None]
    fold = _folding(len(points) * outputs, unit(lengths(*of_columns)))

    noise = []
    for x in some.split(together):
        _, errors = measured(model, wide, x, derivatives)
        noise.append(torch.stack([fold(way) for way in errors]))
    tangent = torch.cat([fold(derivatives(model, wide, x)) for x in points.split(together)])
    if not tangent.isfinite().all():
        raise ValueError("a rank needs finite derivatives, got NaN or infinity at some inputs")
    found = matrix_rank(tangent, torch.cat(noise, dim=1) * (len(points) / len(some)) ** 0.5)
    if any(map(is_narrow, (*params.values(), inputs))):
        moved = [half_a_digit(value, seed).to(device) for seed, value in enumerate(params.values())]
        wide_moved = dict(zip(params, moved, strict=True))
        inputs_moved = half_a_digit(inputs, len(params)).to(device)
        parts = [fold(derivatives(model, wide_moved, x)) for x in inputs_moved.split(together)]
        found = within_digits(found, tangent, (torch.cat(parts) - tangent)[None])
    if not found.convincing:
        return found
    few = points[:_FEW]
    doubt = doubts.coarse(*of_columns) or doubts.underived(
        model, wide, few, derivatives(model, wide, few)
    )
    if doubt:
        return found.doubted(*doubt)
    _, reason = doubts.repeated(found.rank, points.cpu(), outputs) or (
        "at least", f"{found.rank} on these inputs, and of so large a model no others are asked",
    )  # fmt: skip
    measured_at = f"rounding is measured at {len(some)} of {len(points)} inputs"
    return found.doubted(RankVerdict.AT_LEAST, f"{reason}; {measured_at}")


def _folding(
    rows: int, length: Float[Tensor, " param"]
) -> Callable[[Float[Tensor, "row param"]], Float[Tensor, "row place"]]:
    """What makes sketches of rows, on the CPU, with the columns divided by these lengths."""
    stream, kinds = rng("signs of a sketch"), []
    for places in (2 * rows + 1, 2 * rows + 3):
        signs = torch.from_numpy(stream.integers(2, size=len(length), dtype="i1") * 2 - 1)
        kinds.append((places, signs.to(length) / length))

    def fold(matrix: Float[Tensor, "row param"]) -> Float[Tensor, "row place"]:
        sketches = []
        for places, factors in kinds:
            padded = torch.nn.functional.pad(matrix * factors, (0, -len(factors) % places))
            sketches.append(padded.view(len(matrix), -1, places).sum(1))
        return torch.cat(sketches, dim=1).cpu()

    return fold
