"""What a tangent matrix says beyond its rank: how much directions do, and which do nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod

import torch
from jaxtyping import Float
from torch import Tensor

from llrnb import checks


@dataclass(frozen=True)
class Spectrum:
    """A tangent matrix as it is; its rank is counted of columns that are scaled.

    Attributes:
        tangent: the matrix.
        shapes: of the parameters, whose entries are its columns.
        rank: of it.
        length: what each column was divided by for the rank.
        noise: how far rounding, or the last digit stored, may move a singular value.
        eps: which sizes are asked for.
    """

    tangent: Float[Tensor, "row param"]
    shapes: Mapping[str, tuple[int, ...]]
    rank: int
    length: Float[Tensor, " param"]
    noise: float
    eps: tuple[float, ...]

    @cached_property
    def values(self) -> Float[Tensor, " value"]:
        """The singular values, in descending order."""
        return torch.linalg.svdvals(self.tangent)

    @property
    def eps_ranks(self) -> dict[float, int | None]:
        """For each eps the number of values above eps times the largest; None where rounding may
        change it.
        """  # fmt: skip
        return {eps: self._rank(eps) for eps in self.eps}

    @property
    def effective_dimensions(self) -> dict[float, float | None]:
        """For each eps the sum of s^2 / (s^2 + eps^2 s_1^2) over all values s; None where rounding
        may change it by a half.
        """  # fmt: skip
        return {eps: self._dimension(eps) for eps in self.eps}

    @cached_property
    def null_directions(self) -> dict[str, Float[Tensor, "direction ..."]]:
        """An orthonormal basis of the directions along which no output changes, by parameter."""
        columns = self.tangent.shape[1]
        checks.room("a basis of null directions", columns, columns)
        basis = null_space(self.tangent / self.length, self.rank) / self.length[:, None]
        return self.named(torch.linalg.qr(basis / basis.norm(dim=0))[0])

    def named(
        self, vectors: Float[Tensor, "param direction"]
    ) -> dict[str, Float[Tensor, "direction ..."]]:
        """The part of every parameter in some vectors."""
        parts = vectors.mT.split([prod(shape) for shape in self.shapes.values()], dim=1)
        named = zip(self.shapes.items(), parts, strict=True)
        return {name: part.reshape(len(part), *shape) for (name, shape), part in named}

    def _rank(self, eps: float) -> int | None:
        most = eps * (self.values[0] - self.noise) - self.noise
        least = eps * (self.values[0] + self.noise) + self.noise
        rank = int((self.values > least).sum())
        return rank if rank == int((self.values > most.clamp_min(0.0)).sum()) else None

    def _dimension(self, eps: float) -> float | None:
        exact, low, high = (self._moved(eps, move) for move in (0.0, -self.noise, self.noise))
        return exact if high - low < 0.5 else None

    def _moved(self, eps: float, by: float) -> float:
        """The effective dimension if rounding moved all values so as to lower, or raise, it."""
        squares = (self.values + by).clamp_min(0.0).square()
        ridge = (eps * (self.values[0] - by)) ** 2
        return float((squares / (squares + ridge).clamp_min(1e-300)).sum())


def null_space(matrix: Float[Tensor, "row param"], rank: int) -> Float[Tensor, "param direction"]:
    """Orthonormal vectors that a matrix of this rank takes to zero."""
    rows = torch.linalg.svd(matrix, full_matrices=False).Vh[:rank]
    return torch.linalg.qr(rows.mT, mode="complete")[0][:, rank:]
