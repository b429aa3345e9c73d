"""Fitting the target in its own tangent plane: local linear recovery, measured."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from llrnb.checks import double, double_params
from llrnb.endings import FitVerdict
from llrnb.models import as_model, outputs_of
from llrnb.networks import Params
from llrnb.rank.doubts import coarse, out_of_scale, underived, unseen
from llrnb.rank.numerical import generic_inputs
from llrnb.rank.rounding import EPS, last_digits, measured
from llrnb.rank.singular import NumericalRank, matrix_rank, within_digits
from llrnb.rank.tangent import Model


@dataclass(frozen=True)
class LocalLinearFit:
    """The minimisers of the empirical loss over the tangent plane at the target (Def. 2).

    Attributes:
        params: the minimiser of the smallest norm.
        error: its root mean square distance from the target at the test inputs, relative to the
            target's root mean square there; 0 where both vanish.
        samples: number of inputs that were fitted.
        empirical: rank of the tangent matrix at the inputs that were fitted.
        joint: rank of the tangent matrix at these and the test inputs.
        verdict: "recovers", if every minimiser equals the target at the test inputs too (Lemma 7);
            "does not"; or "undecided".
        reason: of the verdict, in words.

    A minimiser departs from the target by a tangent function that vanishes on the fitted inputs.
    All of these vanish on the test inputs as well if and only if these do not raise the rank.
    """

    params: Params
    error: float
    samples: int
    empirical: NumericalRank
    joint: NumericalRank
    verdict: FitVerdict
    reason: str

    @property
    def recovers(self) -> bool:
        """Whether the verdict is "recovers"; False also where it is undecided."""
        return self.verdict == FitVerdict.RECOVERS


def local_linear_fit(
    model: Model | torch.nn.Module,
    params: Params | None,
    inputs: Float[Tensor, "sample ..."],
    test_inputs: Float[Tensor, "test ..."] | None = None,
) -> LocalLinearFit:
    """Fit the target f* = model(params, .) at the inputs by its linear approximation in params.

        g(x; theta) = f*(x) + grad f*(x) . (theta - params),    min sum_i (g(x_i) - f*(x_i))^2

    Its minimisers are params + ker J, with J the tangent matrix; the smallest is the projection of
    params on the row space of J. The target is recovered exactly from its model rank on (Cor. 1).

    Args:
        model: as in `tangent_matrix`.
        params: the target's parameters; None for those that a module has.
        inputs: the samples to fit.
        test_inputs: where minimisers are compared with the target; drawn from N(0, I) by default,
            as many as determine a tangent function.

    Raises:
        As `tangent_matrix`.

    >>> from llrnb.targets import generic_target, draw
    >>> from llrnb.networks import fully_connected
    >>> target = generic_target(fully_connected(2, 1, bias=False))
    >>> [local_linear_fit(target.net, target.params, draw(target, n)[0]).recovers for n in (2, 3)]
    [False, True]
    """
    given, inputs = inputs, double(inputs, "inputs")
    model, stored = as_model(model, params, tuple(inputs.shape[1:]))
    params = double_params(stored)
    if not inputs.ndim or not len(inputs):
        raise ValueError(f"a fit needs at least 1 input, got shape {tuple(inputs.shape)}")
    tests = test_inputs
    if tests is None:
        tests = generic_inputs(model, params, tuple(inputs.shape[1:]))
    others = double(tests, "test_inputs")
    if not others.ndim or not len(others) or others.shape[1:] != inputs.shape[1:]:
        raise ValueError(
            f"a fit needs test inputs like its inputs, of shape {tuple(inputs.shape[1:])}, "
            f"got {tuple(others.shape)}"
        )
    points = torch.cat([inputs, others])
    both, errors = measured(model, params, points)
    fitted = len(both) // len(points) * len(inputs)  # rows: several outputs are several
    tangent, test_tangent = both[:fitted], both[fitted:]
    flat = torch.cat([value.flatten() for value in params.values()])
    rows = _row_space(tangent)
    solution = rows.mT @ (rows @ flat)
    target = outputs_of(model, params, others)
    departure = test_tangent @ (solution - flat)
    error = float(departure.norm() / target.norm()) if departure.any() else 0.0
    parts = solution.split([value.numel() for value in params.values()])
    empirical = matrix_rank(tangent, errors[:, :fitted])
    joint = matrix_rank(both, errors)
    digits = last_digits(model, stored, [given, tests], both)
    if digits is not None:
        empirical = within_digits(empirical, tangent, digits[:, :fitted])
        joint = within_digits(joint, both, digits)
    verdict, reason = _compared(
        empirical, joint, fitted // len(inputs) * len(inputs.unique(dim=0)), len(flat)
    )
    doubt = coarse(both, errors) or underived(model, params, points, both)
    if not doubt and verdict == FitVerdict.DOES_NOT and empirical.rank < fitted:
        doubt = out_of_scale(model, params, inputs, empirical)
    if not doubt and verdict == FitVerdict.RECOVERS and joint.rank < len(flat):
        doubt = out_of_scale(model, params, points, joint)
        if test_inputs is None:
            doubt = doubt or unseen(model, params, points, both, errors, joint)
    if doubt:
        verdict, reason = FitVerdict.UNDECIDED, doubt[1]
    return LocalLinearFit(
        params={
            name: part.view_as(value)
            for (name, value), part in zip(params.items(), parts, strict=True)
        },
        error=error,
        samples=len(inputs),
        empirical=empirical,
        joint=joint,
        verdict=verdict,
        reason=reason,
    )


def _compared(
    empirical: NumericalRank, joint: NumericalRank, distinct: int, parameters: int
) -> tuple[FitVerdict, str]:
    """Whether two ranks are the same, each between what is clear of rounding and what can be."""
    most = empirical.rank if empirical.convincing else distinct
    if joint.at_least > most:
        return FitVerdict.DOES_NOT, f"other inputs raise the rank from {most} to {joint.at_least}"
    if empirical.at_least == (joint.rank if joint.convincing else parameters):
        return FitVerdict.RECOVERS, f"other inputs leave the rank at {empirical.at_least}"
    return FitVerdict.UNDECIDED, (empirical if joint.convincing else joint).reason


def _row_space(matrix: Float[Tensor, "row column"]) -> Float[Tensor, "rank column"]:
    """An orthonormal basis of the span of the rows."""
    length = matrix.norm(dim=1, keepdim=True)
    _, values, basis = torch.linalg.svd(
        matrix / torch.where(length > 0, length, 1.0), full_matrices=False
    )
    return basis[values > max(matrix.shape) * EPS * values[0]]
