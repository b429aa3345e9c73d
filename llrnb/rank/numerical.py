"""Numerical rank: the singular values of a model's tangent matrix, and what casts doubt on them."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float, Real
from torch import Tensor

from llrnb import checks
from llrnb.checks import double_params
from llrnb.endings import RankVerdict
from llrnb.models import as_model
from llrnb.networks import Params
from llrnb.rank import doubts
from llrnb.rank.rounding import EPS, last_digits, measured
from llrnb.rank.singular import (
    NumericalRank,
    lengths,
    matrix_rank,
    spectral_norm,
    unit,
    within_digits,
)
from llrnb.rank.sketched import is_large, sketched_rank
from llrnb.rank.spectrum import Spectrum
from llrnb.rank.tangent import Model, checked, output_shape, tangent_matrix
from llrnb.streams import rng

EPS_RANKS = (1e-2, 1e-4, 1e-6)
_MOST = 10**7  # entries of a tangent matrix, for more inputs to be drawn


def numerical_rank(
    model: Model | torch.nn.Module,
    params: Params | None = None,
    inputs: Real[Tensor, "sample ..."] | None = None,
    *,
    input_shape: tuple[int, ...] | None = None,
    fresh: Real[Tensor, "other ..."] | None = None,
    eps: Sequence[float] = EPS_RANKS,
    device: str = "cpu",
) -> NumericalRank:
    """The model rank (Def. 5) of any differentiable model, from its tangent matrix in float64.

    It is convincing where the singular values are clear of the measured rounding, the derivatives
    are those of the output, no parameter is switched off, and fresh inputs do not raise it. The
    rank is that of the parameters up to their last digit: a copy of a neuron that is one unit in
    the last place off counts as a copy; see `exact_rank`.

    Where the tangent matrix has more than 5 * 10^7 entries and is wide, the rank is that of a
    sketch of it, on these inputs: "at least".

    Args:
        model: as in `tangent_matrix`.
        params: its parameters; None for those that a module has.
        inputs: where to evaluate the tangent functions. None draws them from N(0, I), as many as
            are needed. Whole numbers, such as words, stay whole.
        input_shape: of one input, if none are given; a model may know it.
        fresh: further inputs, new ones, which must not raise the rank, in place of normal ones
            around those given; a model of whole numbers needs them for a convincing rank.
        eps: for which the result has an eps-rank and an effective dimension, between 0 and 1.
        device: where the derivatives of a matrix that is sketched are computed, "cpu" or "cuda".

    Raises:
        As `tangent_matrix`; ValueError for derivatives that are not finite, for no inputs and no
        shape of them, or for an unknown device; RuntimeError for a device that is not here.

    >>> from llrnb.networks import cnn
    >>> net = cnn(5, 3, kernels=1)
    >>> found = numerical_rank(net, net.init(std=1.0))
    >>> found.rank, found.verdict
    (7, 'convincing')
    >>> found = numerical_rank(net, net.init(std=1.0), torch.randn(3, 5).repeat(4, 1))
    >>> found.rank, found.verdict, found.reason
    (3, 'at least', '3 on 3 distinct inputs, so at least 3 for the model')
    >>> layers = torch.nn.Linear(4, 3), torch.nn.Tanh(), torch.nn.Linear(3, 2)
    >>> numerical_rank(torch.nn.Sequential(*layers), input_shape=(4,)).rank
    23
    """
    checks.device(device)
    eps = checks.many(checks.real, eps, "eps", above=0.0, below=1.0)
    if inputs is not None:
        inputs = checks.reals(inputs, "inputs")
        model, params = as_model(model, params, tuple(inputs.shape[1:]))
        return _judged(model, params, inputs, fresh, eps, device)
    if fresh is not None:
        raise ValueError("fresh inputs need others that they are compared with, got inputs None")
    shape = shape_of_input(model, input_shape)
    model, params = as_model(model, params, shape)
    return on_generic_inputs(model, params, shape, eps, device)[0]


def on_generic_inputs(
    model: Model, params: Params, shape: tuple[int, ...], eps: Sequence[float] = EPS_RANKS,
    device: str = "cpu",
) -> tuple[NumericalRank, Float[Tensor, "sample ..."]]:  # fmt: skip
    """The numerical rank on inputs from N(0, I), of which more are drawn if they may raise it."""
    for more in (1, 8, 64):
        inputs = generic_inputs(model, params, shape, more)
        found = _judged(model, params, inputs, None, eps, device)
        if (
            found.verdict != RankVerdict.AT_LEAST
            or 8 * len(inputs) * found.singular_values.numel() > _MOST
        ):
            break
    return found, inputs


def shape_of_input(model: Callable, given: tuple[int, ...] | None) -> tuple[int, ...]:
    """The shape of one input: what the model knows of it, or what is given."""
    shape = getattr(model, "input_shape", given)
    if shape is None and hasattr(model, "input_dim"):
        shape = (model.input_dim,)
    if shape is None:
        raise ValueError("a rank needs inputs, or the input_shape of one, got neither")
    return checks.many(checks.count, shape, "input_shape", fewest=0)


def _judged(
    model: Model, params: Params, inputs: Tensor, others: Tensor | None, eps: Sequence[float],
    device: str,
) -> NumericalRank:  # fmt: skip
    _, wide, points = checked(model, params, inputs)
    if others is not None:
        others = _others(others, points)
    outputs = output_shape(model, wide, points).numel()
    if is_large(len(points) * outputs, sum(value.numel() for value in wide.values())):
        if others is not None:
            raise ValueError(
                "fresh inputs need a smaller model or fewer inputs: of a matrix that is sketched "
                f"no others are asked, got {len(points)} inputs"
            )
        return sketched_rank(model, params, inputs, outputs, device)
    tangent, errors = measured(model, wide, points)
    found = matrix_rank(tangent, errors)
    digits = last_digits(model, params, [inputs], tangent)
    found = replace(found, spectrum=_spectrum(found, wide, tangent, errors, digits, eps))
    if digits is not None:
        found = within_digits(found, tangent, digits)
    if not found.convincing:
        return found
    doubt = doubts.coarse(tangent, errors) or doubts.underived(model, wide, points, tangent)
    if not doubt and found.rank < tangent.shape[1]:
        doubt = (
            doubts.repeated(found.rank, points, len(tangent) // len(points))
            or doubts.out_of_scale(model, wide, points, found)
            or doubts.unseen(model, wide, points, tangent, errors, found, others)
        )
    return found.doubted(*doubt) if doubt else found


def _spectrum(
    found: NumericalRank, params: Params, tangent: Tensor, errors: Tensor, digits: Tensor | None,
    eps: Sequence[float],
) -> Spectrum:  # fmt: skip
    shapes = {name: tuple(value.shape) for name, value in params.items()}
    moves = [errors] if digits is None else [errors, digits]
    noise = max(
        max(tangent.shape) * EPS * spectral_norm(tangent[None]),
        *(4 * spectral_norm(move) for move in moves),
    )
    return Spectrum(tangent, shapes, found.rank, unit(lengths(tangent, errors)), noise, tuple(eps))


def _others(others: Tensor, points: Tensor) -> Tensor:
    """Further inputs, checked, and only those that are new."""
    others = checks.numbers(checks.reals(others, "fresh"), "fresh")
    if points.is_floating_point():
        others = others.double()
    shape = tuple(points.shape[1:])
    if others.shape[1:] != shape or others.dtype != points.dtype or not others.ndim:
        raise ValueError(
            f"fresh needs inputs like the others, {points.dtype} of shape (sample, *{shape}), "
            f"got {others.dtype} of {tuple(others.shape)}"
        )
    known = {row.numpy().tobytes() for row in points}
    new = [i for i, row in enumerate(others) if row.numpy().tobytes() not in known]
    if not new:
        raise ValueError(f"fresh needs inputs that are not among the others, got {len(others)}")
    return others[new]


def generic_inputs(
    model: Model, params: Params, shape: tuple[int, ...], more: int = 1
) -> Float[Tensor, "sample ..."]:
    """Inputs from N(0, I), enough that more of them would not raise the rank of the tangent matrix.

    For an analytic model almost all inputs are generic (Lemma 9). Their number is quadrupled
    until it is twice the rank, or exceeds the number of parameters by a twentieth; or `more` times
    as many, for models that are zero at most inputs.
    """
    checks.function(model, "model")
    shape = checks.many(checks.count, shape, "shape", fewest=0, least=0)
    parameters = sum(value.numel() for value in double_params(params).values())
    most = more * (parameters + parameters // 20 + 16)
    checks.room("the inputs", most, *shape)
    stream = rng("generic inputs")
    samples = 128 * more
    while samples < most:
        inputs = torch.from_numpy(stream.standard_normal((samples, *shape)))
        tangent = tangent_matrix(model, params, inputs)
        if 2 * matrix_rank(tangent).rank <= len(tangent):
            return inputs
        samples *= 4
    return torch.from_numpy(stream.standard_normal((most, *shape)))
