"""Fitting the target in its own tangent plane: local linear recovery, measured."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from llrnb.networks import Params
from llrnb.rank.checks import double, double_params
from llrnb.rank.numerical import NumericalRank, generic_inputs, matrix_rank
from llrnb.rank.tangent import Model, tangent_matrix


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
    """

    params: Params
    error: float
    samples: int
    empirical: NumericalRank
    joint: NumericalRank

    @property
    def recovers(self) -> bool:
        """Whether every minimiser equals the target at the test inputs too (Lemma 7).

        A minimiser departs from the target by a tangent function that vanishes on the fitted
        inputs. All of these vanish on the test inputs as well if and only if these do not raise
        the rank.
        """
        return self.joint.rank == self.empirical.rank


def local_linear_fit(
    model: Model,
    params: Params,
    inputs: Float[Tensor, "sample ..."],
    test_inputs: Float[Tensor, "test ..."] | None = None,
) -> LocalLinearFit:
    """Fit the target f* = model(params, .) at the inputs by its linear approximation in params.

        g(x; theta) = f*(x) + grad f*(x) . (theta - params),    min sum_i (g(x_i) - f*(x_i))^2

    Its minimisers are params + ker J, with J the tangent matrix; the smallest is the projection of
    params on the row space of J. The target is recovered exactly from its model rank on (Cor. 1).

    Args:
        model: as in `tangent_matrix`.
        params: the target's parameters.
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
    params = double_params(params)
    tangent = tangent_matrix(model, params, inputs)
    if test_inputs is None:
        test_inputs = generic_inputs(model, params, tuple(inputs.shape[1:]))
    test_tangent = tangent_matrix(model, params, test_inputs)
    flat = torch.cat([value.flatten() for value in params.values()])
    rows = _row_space(tangent)
    solution = rows.mT @ (rows @ flat)
    target = torch.vmap(model, in_dims=(None, 0))(params, double(test_inputs, "test_inputs"))
    departure = test_tangent @ (solution - flat)
    error = float(departure.norm() / target.norm()) if departure.any() else 0.0
    parts = solution.split([value.numel() for value in params.values()])
    return LocalLinearFit(
        params={
            name: part.view_as(value)
            for (name, value), part in zip(params.items(), parts, strict=True)
        },
        error=error,
        samples=len(tangent),
        empirical=matrix_rank(tangent),
        joint=matrix_rank(torch.cat([tangent, test_tangent])),
    )


def _row_space(matrix: Float[Tensor, "row column"]) -> Float[Tensor, "rank column"]:
    """An orthonormal basis of the span of the rows."""
    length = matrix.norm(dim=1, keepdim=True)
    _, values, basis = torch.linalg.svd(
        matrix / torch.where(length > 0, length, 1.0), full_matrices=False
    )
    return basis[values > max(matrix.shape) * torch.finfo(torch.float64).eps * values[0]]
