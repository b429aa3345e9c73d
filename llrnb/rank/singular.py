"""The rank of a matrix by its singular values, and how clear of rounding it is."""

from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float
from torch import Tensor

from llrnb.checks import double
from llrnb.endings import RankVerdict
from llrnb.rank.rounding import EPS
from llrnb.rank.spectrum import Spectrum
from llrnb.streams import rng

_CLEAR_BY = 1e3  # what separates a rank from rounding by so much is convincing


@dataclass(frozen=True)
class NumericalRank:
    """What singular values say about a rank: evidence, not a proof.

    Attributes:
        rank: number of singular values above the cut.
        singular_values: in descending order, of the matrix with its columns scaled to norm 1; a
            column of much rounding is scaled down until its rounding is no more than the others'.
        cut: the largest value that rounding may have produced.
        gap: the smallest value above the cut over the cut; inf for rank 0.
        verdict: "convincing"; "at least", if more inputs may raise it; or "undecided".
        reason: of the verdict, in words.
        spectrum: of `numerical_rank`, the tangent matrix that was counted; None of a large model.
    """

    rank: int
    singular_values: Float[Tensor, " value"]
    cut: float
    gap: float
    verdict: RankVerdict
    reason: str
    spectrum: Spectrum | None = field(default=None, repr=False)

    @property
    def convincing(self) -> bool:
        """Whether nothing that was tried casts doubt on the rank."""
        return self.verdict == RankVerdict.CONVINCING

    @property
    def at_least(self) -> int:
        """Number of singular values of 1,000 times the cut: these are not rounding."""
        clear = self.singular_values >= _CLEAR_BY * self.cut
        return int((clear & (self.singular_values > 0)).sum())

    @property
    def eps_ranks(self) -> dict[float, int | None]:
        """For each eps the number of singular values of the tangent matrix above eps times the
        largest; None where rounding may change it.

        The columns are as they are: it says how much directions do, the rank whether they do
        anything.
        """
        return self._kept.eps_ranks

    @property
    def effective_dimensions(self) -> dict[float, float | None]:
        """For each eps the sum of s^2 / (s^2 + eps^2 s_1^2) over the singular values s of the
        tangent matrix; None where rounding may change it by a half.

        An eps-rank in which a direction of eps times the largest counts as a half: the effective
        number of parameters of MacKay (1992) and Maddox, Benton and Wilson (2020), for a ridge of
        eps^2 s_1^2.
        """
        return self._kept.effective_dimensions

    @property
    def null_directions(self) -> dict[str, Float[Tensor, "direction ..."]]:
        """An orthonormal basis of the parameters' directions along which no output at the inputs
        changes to first order: parameters less rank of them, along the first axis of each part.

        Raises:
            ValueError: of a large model, whose tangent matrix is not kept.
        """
        return self._kept.null_directions

    @property
    def _kept(self) -> Spectrum:
        if self.spectrum is None:
            raise ValueError(
                "eps-ranks, effective dimensions and null directions need a numerical_rank whose "
                "tangent matrix is kept, one of at most 5 * 10^7 entries, got none"
            )
        return self.spectrum

    def doubted(self, verdict: RankVerdict, reason: str) -> "NumericalRank":
        """The same with another verdict."""
        return replace(self, verdict=verdict, reason=reason)


def matrix_rank(
    matrix: Float[Tensor, "row column"], errors: Float[Tensor, "way some column"] | None = None
) -> NumericalRank:
    """The numerical rank of a matrix in float64, whatever the scales of its columns.

    Of a tangent matrix it is the empirical rank (Def. 6). The cut is
    max(rows, columns) * 2^-52 * (largest singular value), or 4 times the norm of the errors where
    that is more. Convincing is a rank with a gap of 1,000. If it is not full, the values must also
    show no sign of more below the cut, as nearly equal neurons leave: none in the upper half of it,
    no loss of half the digits, and no step so deep that two more like it would reach the cut.

    Args:
        matrix: any real matrix.
        errors: matrices of the size of its errors, also in some rows; by default those of its
            floating-point type.

    Raises:
        TypeError: entries that are not real floats.
        ValueError: not a matrix, or NaN or infinite entries.

    >>> matrix_rank(torch.tensor([[1e-20, 1.0], [1e-20, 2.0]], dtype=torch.float64)).rank
    2
    """
    stored = matrix
    matrix = double(matrix, "the matrix")
    if matrix.ndim != 2:
        raise ValueError(f"a rank needs a matrix, got shape {tuple(matrix.shape)}")
    found = _counted(matrix, errors)
    if stored.dtype == torch.float64:
        return found
    half = torch.from_numpy(rng("last digits", seed=0).uniform(-0.5, 0.5, matrix.shape))
    return within_digits(found, matrix, half[None] * matrix * torch.finfo(stored.dtype).eps)


def within_digits(found: NumericalRank, matrix: Tensor, errors: Tensor) -> NumericalRank:
    """Undecided, if errors of the last stored digit would leave a smaller rank."""
    rank = _counted(matrix, errors).rank
    if not found.convincing or rank >= found.rank:
        return found
    return found.doubted(
        RankVerdict.UNDECIDED, f"{found.rank} for the stored digits, {rank} within their last digit"
    )


def _counted(matrix: Tensor, errors: Tensor | None) -> NumericalRank:
    size, least = max(matrix.shape), min(matrix.shape)
    errors = matrix.new_zeros(0, *matrix.shape) if errors is None else errors
    used = (matrix != 0).any(0) | (errors != 0).any(1).any(0)
    matrix, errors = matrix[:, used], errors[..., used]
    length = unit(lengths(matrix, errors))
    matrix, errors = matrix / length, errors / length
    values = matrix.new_zeros(least)
    values[: min(matrix.shape)] = torch.linalg.svdvals(matrix)
    largest = float(values[0]) if least else 0.0
    cut = max(size * EPS * largest, 4 * spectral_norm(errors))
    rank = int((values > cut).sum())
    smallest = float(values[rank - 1]) if rank else 0.0
    gap = smallest / cut if rank else float("inf")
    return NumericalRank(rank, values, cut, gap, *_judged(values, rank, cut, gap))


def _judged(values: Tensor, rank: int, cut: float, gap: float) -> tuple[RankVerdict, str]:
    if gap < _CLEAR_BY:
        return RankVerdict.UNDECIDED, f"a gap of {gap:.0f} does not tell the rank from rounding"
    if 0 < rank < len(values) and _may_hide(values[:rank], cut):
        return RankVerdict.UNDECIDED, "the values fall so far that more may lie below rounding"
    if rank < len(values) and 2 * float(values[rank]) > cut:
        return RankVerdict.UNDECIDED, "a value lies just below the cut"
    return RankVerdict.CONVINCING, "the singular values are clear of rounding"


def _may_hide(values: Tensor, cut: float) -> bool:
    """Whether values above the cut suggest more below it.

    Two neurons at a distance d bring values of the orders d and d^3 or, with others, d^2. If d is
    the smallest that is seen, d^2 is hidden where d^2 < cut; d^3 where the step to d, twice more,
    leads below the cut, by two orders to be sure.
    """
    largest, smallest = float(values[0]), float(values[-1])
    step = float((values[:-1] / values[1:]).max()) if len(values) > 1 else 1.0
    return smallest**2 < cut * largest or smallest / step**2 < 100 * cut


def lengths(matrix: Tensor, errors: Tensor) -> Float[Tensor, " column"]:
    """What to divide the columns by: their norm, or more where rounding is much; 0 for zero ones.

    So much that no column's errors exceed (rows or columns) * 2^-52.
    """
    if not matrix.numel():
        return matrix.new_zeros(matrix.shape[1])
    most = max(matrix.shape) * EPS
    largest = matrix.abs().amax(0)  # first, so that no norm overflows
    for way in errors:
        largest = torch.maximum(largest, way.abs().amax(0) / most)
    length = (matrix / unit(largest)).norm(dim=0)
    for way in errors:
        length = torch.maximum(length, (way / unit(largest * most)).norm(dim=0))
    return (largest * length).clamp_max(1e308)


def unit(length: Tensor) -> Tensor:
    """Lengths to divide by: 1 instead of 0."""
    return torch.where(length > 0, length, 1.0)


def spectral_norm(errors: Float[Tensor, "way some column"]) -> float:
    """The spectral norm of the matrices below each other, by the power method."""
    stacked = errors.flatten(0, 1)
    if not stacked.numel():
        return 0.0
    vector = torch.from_numpy(rng("directions").standard_normal(stacked.shape[1]))
    length = 0.0
    for _ in range(12):
        vector = stacked.mT @ (stacked @ (vector / vector.norm().clamp_min(1e-300)))
        length = float(vector.norm())
    return length**0.5
