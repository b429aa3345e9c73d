"""Numerical rank: the singular values of a tangent matrix, and how clear their gap is."""

from dataclasses import dataclass
from itertools import count

import torch
from jaxtyping import Float
from torch import Tensor

from llrnb.networks import Params
from llrnb.rank.checks import double, double_params
from llrnb.rank.tangent import Model, tangent_matrix

# What separates a rank from rounding by so much is convincing: 8 of 16 digits may be lost in the
# tangent functions' own resemblance, and 3 are kept between the last one and the rounding.
_CONVINCING = 1e3


@dataclass(frozen=True)
class NumericalRank:
    """What singular values say about a rank: evidence, not a proof.

    Attributes:
        rank: number of singular values above the cut.
        singular_values: of the matrix with its columns scaled to norm 1, in descending order.
        cut: the largest value that rounding may have produced.
        gap: the smallest value above the cut over the larger of the cut and the next value;
            inf for rank 0.
    """

    rank: int
    singular_values: Float[Tensor, " value"]
    cut: float
    gap: float

    @property
    def convincing(self) -> bool:
        """Whether the gap is at least 1,000."""
        return self.gap >= _CONVINCING


def matrix_rank(matrix: Float[Tensor, "row column"]) -> NumericalRank:
    """The numerical rank of a matrix in float64, whatever the scales of its columns.

    Of a tangent matrix it is the empirical rank (Def. 6). The cut is
    max(rows, columns) * 2^-52 * (largest singular value).

    Raises:
        TypeError: entries that are not real floats.
        ValueError: not a matrix, or NaN or infinite entries.

    >>> matrix_rank(torch.tensor([[1e-20, 1.0], [1e-20, 2.0]])).rank
    2
    """
    matrix = double(matrix, "the matrix")
    if matrix.ndim != 2:
        raise ValueError(f"a rank needs a matrix, got shape {tuple(matrix.shape)}")
    if not matrix.numel():
        return NumericalRank(0, matrix.new_zeros(0), 0.0, float("inf"))
    largest = matrix.abs().amax(0)
    matrix = matrix / torch.where(largest > 0, largest, 1.0)  # first, so that no norm overflows
    values = torch.linalg.svdvals(matrix / matrix.norm(dim=0).clamp_min(1.0))
    cut = max(matrix.shape) * torch.finfo(torch.float64).eps * float(values[0])
    rank = int((values > cut).sum())
    rest = max(cut, float(values[rank])) if rank < len(values) else cut
    gap = float(values[rank - 1]) / rest if rank else float("inf")
    return NumericalRank(rank, values, cut, gap)


def numerical_rank(
    model: Model, params: Params, inputs: Float[Tensor, "sample ..."] | None = None
) -> NumericalRank:
    """The model rank (Def. 5) of any differentiable model, from its tangent matrix in float64.

    Args:
        model: as in `tangent_matrix`.
        params: its parameters.
        inputs: where to evaluate the tangent functions; there must be more than their rank. None
            draws them from N(0, I), as many as are needed, for a model that has an `input_dim`.

    Raises:
        As `tangent_matrix`; ValueError for too few inputs, or none and no `input_dim`.

    >>> from llrnb.networks import cnn
    >>> net = cnn(5, 3, kernels=1)
    >>> numerical_rank(net, net.init(std=1.0)).rank
    7
    """
    if inputs is not None:
        tangent = tangent_matrix(model, params, inputs)
        found = matrix_rank(tangent)
        samples, parameters = tangent.shape
        if found.rank == samples < parameters:
            raise ValueError(
                f"the rank of {parameters} tangent functions needs more inputs than "
                f"the rank, got {samples}, on which they have rank {found.rank}"
            )
        return found
    if not hasattr(model, "input_dim"):
        raise ValueError("numerical_rank needs inputs for a model without an input_dim")
    inputs = generic_inputs(model, params, (model.input_dim,))
    return matrix_rank(tangent_matrix(model, params, inputs))


def generic_inputs(
    model: Model, params: Params, shape: tuple[int, ...]
) -> Float[Tensor, "sample ..."]:
    """Inputs from N(0, I), enough that more of them would not raise the rank of the tangent matrix.

    For an analytic model almost all inputs are generic (Lemma 9). Their number is quadrupled
    until it is twice the rank, or exceeds the number of parameters by a twentieth.
    """
    parameters = sum(value.numel() for value in double_params(params).values())
    most = parameters + parameters // 20 + 16
    stream = torch.Generator().manual_seed(0)
    for power in count(3):
        samples = min(2 * 4**power, most)
        inputs = torch.randn(samples, *shape, generator=stream, dtype=torch.float64)
        if samples == most:
            return inputs
        if 2 * matrix_rank(tangent_matrix(model, params, inputs)).rank <= samples:
            return inputs
