"""What may be wrong with a rank although its gap is clear: each doubt tests for one thing.

A doubt is a verdict and its reason, or None where there is nothing to object.
"""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from llrnb.endings import RankVerdict
from llrnb.models import outputs_of
from llrnb.networks import Params
from llrnb.rank.rounding import EPS, moved_by, rounding
from llrnb.rank.singular import NumericalRank, lengths, matrix_rank, unit
from llrnb.rank.tangent import Model, tangent_matrix
from llrnb.streams import rng

Doubt = tuple[RankVerdict, str] | None
_SCALES = [2.0**k for k in (-27, -20, -13, -7, -3, 3, 7, 13, 20, 27, 34, 44)]
_PER_SCALE = 6
# Of `rarely_told`: inputs, numbers in all of them, and what a change must be over the floor.
_FAR = [1.0, 1.0, 1.0, 1.0, 4.0, 16.0, 64.0, 1024.0]
_FURTHER, _MOST_NUMBERS, _TOLD = 2**14, 2**21, 1e3
_AT_A_TIME = 2**10  # inputs
_MOST_COLUMNS = 1500  # of which singular vectors are had in seconds


def coarse(tangent: Tensor, errors: Tensor) -> Doubt:
    """Columns known to some 3 to 9 digits only: the model computes in a narrow type, or cancels."""
    noise = errors.norm(dim=1).amax(0) / tangent.norm(dim=0).clamp_min(1e-300)
    if ((noise > 2.0**-32) & (noise < 2.0**-8)).any():
        digits = -float(noise[noise < 2.0**-8].max().log10())
        return RankVerdict.UNDECIDED, f"some derivatives are computed to {digits:.0f} digits only"
    return None


def repeated(rank: int, inputs: Tensor, outputs: int) -> Doubt:
    """As many as there are outputs, of equal inputs once: other inputs may raise the rank."""
    flat = inputs.flatten(1).double()
    step = flat.abs().amax(0).clamp_min(1e-300) * 2.0**-40
    distinct = len(torch.unique((flat / step).round(), dim=0))
    if rank < distinct * outputs:
        return None
    return (
        RankVerdict.AT_LEAST,
        f"{rank} on {distinct} distinct inputs, so at least {rank} for the model",
    )


def underived(model: Model, params: Params, inputs: Tensor, tangent: Tensor) -> Doubt:
    """Derivatives that differ from differences of outputs, as of detached parameters."""
    parts = tangent.split([value.numel() for value in params.values()], dim=1)
    for (name, value), part in zip(params.items(), parts, strict=True):
        drawn = np.asarray(rng("directions").standard_normal(value.shape))
        along = torch.from_numpy(drawn).to(value.device)
        slope = part @ along.flatten()
        size = float(value.square().mean().sqrt())
        steps = {h * s for h in (2.0**-17, 2.0**-26) for s in (1.0, size) if s}
        if all(_differs(model, params, inputs, name, step * along, slope * step) for step in steps):
            return RankVerdict.UNDECIDED, f"the derivatives by {name!r} are not those of the output"
    return None


def _differs(
    model: Model, params: Params, inputs: Tensor, name: str, move: Tensor, expected: Tensor
) -> bool:
    """Whether the output's central difference is another at a quarter of the inputs."""
    ahead = _outputs(model, {**params, name: params[name] + move}, inputs)
    behind = _outputs(model, {**params, name: params[name] - move}, inputs)
    change, size = (ahead - behind) / 2, ahead.abs() + behind.abs()
    off = (change - expected).abs() > 0.01 * (change.abs() + expected.abs()) + 64 * EPS * size
    return bool(off.double().mean() > 0.25)


def _outputs(model: Model, params: Params, inputs: Tensor) -> Float[Tensor, " row"]:
    return outputs_of(model, params, inputs).double().flatten()


def out_of_scale(model: Model, params: Params, inputs: Tensor, found: NumericalRank) -> Doubt:
    """Tiny or huge numbers hide tangent functions: brought to order 1, they raise the rank."""
    moderate = {name: _moderate(value) for name, value in params.items()}
    points = _moderate(inputs)
    if torch.equal(points, inputs) and all(
        torch.equal(moderate[name], value) for name, value in params.items()
    ):
        return None
    tangent = tangent_matrix(model, moderate, points)
    rank = matrix_rank(tangent[tangent.isfinite().all(1)]).at_least
    if rank <= found.rank:
        return None
    return (
        RankVerdict.AT_LEAST,
        f"with tiny and huge numbers brought to order 1, the rank is {rank}",
    )


def _moderate(values: Tensor) -> Tensor:
    """Rows that are tiny or huge as a whole, times a power of two that brings them to order 1.

    So equal, opposite and proportional rows stay so.
    """
    if not values.is_floating_point():
        return values
    rows = values.reshape(len(values) if values.ndim else 1, -1)
    exponent = rows.abs().amax(1).frexp().exponent.double().clamp(-1000, 1000)
    exponent = torch.where(exponent.abs() > 12, exponent, 0.0)
    return (rows * 2.0 ** -exponent[:, None]).reshape(values.shape)


def unseen(
    model: Model, params: Params, inputs: Tensor, tangent: Tensor, errors: Tensor,
    found: NumericalRank, others: Tensor | None = None,
) -> Doubt:  # fmt: skip
    """What the inputs do not show: parameters that are off, and what other inputs add.

    The other ones are given, or drawn around the inputs.
    """
    doubt = switched_off(model, params, inputs, tangent) or rarely_on(tangent)
    if doubt:
        return doubt
    if others is not None:
        more = tangent_matrix(model, params, others)
        return raised(model, params, others, more, tangent, errors, found)
    if not inputs.is_floating_point():
        return (
            RankVerdict.AT_LEAST,
            f"{found.rank} on these inputs; further ones need to be given as `fresh`",
        )
    return fresh(model, params, inputs, tangent, errors, found) or rarely_told(
        model, params, inputs, tangent, errors, found
    )


def switched_off(model: Model, params: Params, inputs: Tensor, tangent: Tensor) -> Doubt:
    """Parameters with zero derivatives at every input that do matter once they are moved far."""
    still = (tangent == 0).all(0).split([value.numel() for value in params.values()])
    here = _outputs(model, params, inputs)
    for (name, value), zero in zip(params.items(), still, strict=True):
        along = torch.from_numpy(np.asarray(rng("directions").standard_normal(value.shape)))
        along *= zero.view(value.shape) * value.square().mean().sqrt().clamp_min(1.0)
        if not along.any():
            continue
        near, *far = (
            _outputs(model, {**params, name: value + step * along}, inputs) - here
            for step in (2.0**-10, 1.0, -1.0, 32.0, -32.0)
        )
        if not near.any() and any(change.any() for change in far):
            return (
                RankVerdict.AT_LEAST,
                f"some of {name!r} has zero derivatives at every input, and matters",
            )
    return None


def rarely_on(tangent: Tensor) -> Doubt:
    """Columns that are not zero at a few inputs only, as of a ReLU that is nearly always off."""
    on = (tangent != 0).sum(0)
    if ((on > 0) & (on < 4)).any() and len(tangent) >= 16:
        return RankVerdict.AT_LEAST, "some derivatives are not zero at 3 inputs or fewer"
    return None


def fresh(
    model: Model, params: Params, inputs: Tensor, tangent: Tensor, errors: Tensor,
    found: NumericalRank,
) -> Doubt:  # fmt: skip
    """Inputs that were not used, of every scale, raise the rank."""
    others = _others(inputs, found.rank)
    try:
        more = tangent_matrix(model, params, others)
    except (TypeError, ValueError, RuntimeError, IndexError):
        return None  # a model may refuse inputs that are none of its own
    return raised(model, params, others, more, tangent, errors, found)


def raised(
    model: Model, params: Params, others: Tensor, more: Tensor, tangent: Tensor, errors: Tensor,
    found: NumericalRank,
) -> Doubt:  # fmt: skip
    """The tangent matrix at other inputs raises the rank. Rows that are not finite do not count."""
    rows = more.view(len(others), -1, more.shape[1])
    finite = rows.isfinite().all(2).all(1)
    more, others = rows[finite].flatten(0, 1), others[finite]
    if not len(more):
        return None
    more_errors = rounding(model, params, others, more)
    columns = lengths(tangent, errors)
    columns = unit(torch.where(columns > 0, columns, lengths(more, more_errors)))
    matrix = torch.cat([tangent, more]) / columns
    noise = torch.cat([errors, more_errors], dim=1) / columns
    # Rows that are far out are brought to the size of the others; near ones are not enlarged,
    # nor is their rounding.
    rows = lengths(matrix.mT, noise.mT).clamp_min(1.0)[:, None]
    joint = matrix_rank(matrix / rows, noise / rows)
    if joint.at_least > found.rank:
        return RankVerdict.AT_LEAST, f"fresh inputs raise the rank to {joint.at_least} or more"
    if joint.rank > found.rank:
        return RankVerdict.UNDECIDED, f"fresh inputs seem to raise the rank to {joint.rank}"
    return None


def rarely_told(
    model: Model, params: Params, inputs: Tensor, tangent: Tensor, errors: Tensor,
    found: NumericalRank,
) -> Doubt:  # fmt: skip
    """Among thousands of inputs some at which a direction matters that did not on those given.

    Directions in which the output does not change to first order stay so at any input, unless the
    rank is larger there. One derivative along a random one of them asks this of all at once.
    """
    points = _many(inputs)
    if min(tangent.shape) > _MOST_COLUMNS or not len(points):
        return None
    still, others = _directions(tangent, errors, found)
    nearby = {name: moved_by(value, EPS, seed) for seed, (name, value) in enumerate(params.items())}
    try:
        change, *usual = (_along(model, params, points, v).abs() for v in (still, *others))
        noise = (_along(model, nearby, points, still).abs() - change).abs()
    except (TypeError, ValueError, RuntimeError, IndexError):
        return None  # a model may refuse inputs that are none of its own, or have no such form
    size = torch.stack(usual).amax(0)
    if not size.isfinite().any():
        return None
    size = torch.maximum(size, size[size.isfinite()].median())
    floor = found.cut / float(found.singular_values[found.rank - 1]) if found.rank else 0.0
    told = (change > _TOLD * (floor * size + noise)) & (change > 2.0**-30 * size)
    if not told.any():
        return None
    return (
        RankVerdict.AT_LEAST,
        f"{int(told.sum())} of {len(told):,} further outputs raise the rank",
    )


def _many(inputs: Tensor) -> Tensor:
    """Thousands of normal inputs, half of them as far out as those given, others up to 1,024."""
    numbers = inputs[0].numel()
    samples = min(_FURTHER, _MOST_NUMBERS // max(1, numbers))
    normal = rng("further inputs").standard_normal((samples, *inputs.shape[1:]))
    scale = torch.tensor(_FAR, device="cpu").double().repeat(samples)[:samples]
    spread = inputs.square().mean().sqrt().clamp_min(1e-300)
    return torch.from_numpy(normal) * spread * scale.view(-1, *[1] * (inputs.ndim - 1))


def _directions(
    tangent: Tensor, errors: Tensor, found: NumericalRank
) -> tuple[Float[Tensor, " param"], list[Float[Tensor, " param"]]]:
    """A random direction that changes no output to first order, and two of any kind."""
    length = unit(lengths(tangent, errors))
    rows = torch.linalg.svd(tangent / length, full_matrices=False).Vh[: found.rank]
    drawn = torch.from_numpy(rng("further directions").standard_normal((3, tangent.shape[1])))
    still = drawn[0] - rows.mT @ (rows @ drawn[0])
    still = still - rows.mT @ (rows @ still)  # once more, for the rounding of the first
    return still / length, [drawn[1] / length, drawn[2] / length]


def _along(
    model: Model, params: Params, points: Tensor, direction: Float[Tensor, " param"]
) -> Float[Tensor, " row"]:
    """The derivatives of the outputs along a direction of the parameters."""
    parts = direction.split([value.numel() for value in params.values()])
    moves = {
        name: part.view_as(value) for (name, value), part in zip(params.items(), parts, strict=True)
    }
    found = []
    for some in points.split(_AT_A_TIME):
        of_params = lambda values, some=some: outputs_of(model, values, some)  # noqa: E731
        found.append(torch.func.jvp(of_params, (dict(params),), (moves,))[1].double().flatten())
    return torch.cat(found)


def _others(inputs: Tensor, rank: int) -> Tensor:
    """Normal inputs around the given ones: more than twice the rank as far out, some elsewhere."""
    scales = torch.cat(
        [
            torch.ones(2 * rank + 32, device="cpu"),
            torch.tensor(_SCALES, device="cpu").repeat_interleave(_PER_SCALE),
        ]
    ).double()
    shape = (len(scales), *inputs.shape[1:])
    normal = torch.from_numpy(rng("fresh inputs").standard_normal(shape))
    spread = inputs.square().mean().sqrt().clamp_min(1e-300)
    return normal * scales.view(-1, *[1] * (inputs.ndim - 1)) * spread
