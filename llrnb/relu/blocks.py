"""The linear map A = [A_1 ... A_q] that a recovery problem inverts, block by block.

A block is D_j X W_j: D_j X itself for "plain" and "skip" networks, whose linear unit is the block
with every sample active, and for "normalised" ones an orthonormal basis U_j of the range of D_j X.
Any such basis gives the same program; here W_j = R_j^-1 of a QR decomposition D_j X = U_j R_j.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from scipy.linalg.lapack import dpotrf, dtrtri

from llrnb.relu.arrangements import Problem

Weights = Float[np.ndarray, "input block"]
ILL_CONDITIONED = 1e-3  # A Cholesky factor with a smaller ratio of pivots gives way to an SVD,
NOT_WELL = 0.1  # and with a smaller ratio than this is followed by a second one.
PIVOT = 1e-7  # A Cholesky factor of A A^T with a smaller ratio of pivots gives way to an inverse.


@dataclass(frozen=True)
class Blocks:
    """The blocks of a problem and the planted weights in their coordinates.

    Attributes:
        inputs: X.
        masks: the diagonals of D_j, 0 or 1.
        factors: W_j, or None for the identity. Columns beyond the rank of D_j X are 0.
        support: the blocks of the planted neurons.
        target: the planted weights in the coordinates of these blocks.
    """

    inputs: Float[np.ndarray, "sample input"]
    masks: Float[np.ndarray, "sample block"]
    factors: Float[np.ndarray, "block input input"] | None
    support: tuple[int, ...]
    target: Float[np.ndarray, "input neuron"]

    def neurons(self, weights: Weights) -> Float[np.ndarray, "sample block"]:
        """X W_j w_j for every block: what its neuron sees, active or not."""
        return self.inputs @ self.to_inputs(weights)

    def pull(self, values: Float[np.ndarray, "sample block"]) -> Weights:
        """W_j^T X^T t_j for every block, the transpose of `neurons`."""
        pulled = self.inputs.T @ values
        if self.factors is None:
            return pulled
        return np.matmul(pulled.T[:, None, :], self.factors)[:, 0].T

    def output(self, weights: Weights) -> Float[np.ndarray, " sample"]:
        """A w = sum_j A_j w_j."""
        return np.einsum("nb,nb->n", self.masks, self.neurons(weights))

    def correlate(self, dual: Float[np.ndarray, " sample"]) -> Weights:
        """A_j^T λ for every block."""
        return self.pull(self.masks * dual[:, None])

    def block(self, number: int) -> Float[np.ndarray, "sample input"]:
        """A_j."""
        return self.masks[:, number, None] * self.neuron(number)

    def neuron(self, number: int) -> Float[np.ndarray, "sample input"]:
        """X W_j."""
        return self.inputs if self.factors is None else self.inputs @ self.factors[number]

    def planted_blocks(self) -> Float[np.ndarray, "sample entry"]:
        """A_s = [A_j of every planted neuron]."""
        return np.hstack([self.block(j) for j in self.support])

    def planted(self) -> Weights:
        """The planted weights in their blocks, 0 elsewhere."""
        weights = np.zeros((self.inputs.shape[1], self.masks.shape[1]))
        weights[:, list(self.support)] = self.target
        return weights

    def to_inputs(self, weights: Weights) -> Weights:
        """W_j w_j: weights on the inputs."""
        if self.factors is None:
            return weights
        return np.matmul(self.factors, weights.T[:, :, None])[:, :, 0].T

    def from_inputs(self, weights: Weights) -> Weights:
        """The coordinates of weights on the inputs: U_j^T D_j X v_j, the inverse of `to_inputs`."""
        if self.factors is None:
            return weights
        return self.pull(self.masks * (self.inputs @ weights))

    def gram(self) -> Float[np.ndarray, "sample sample"]:
        """A A^T = sum_j A_j A_j^T."""
        if self.factors is None:
            return (self.inputs @ self.inputs.T) * (self.masks @ self.masks.T)
        total = np.zeros((len(self.inputs), len(self.inputs)))
        for mask, factor in zip(self.masks.T, self.factors, strict=True):
            active = np.flatnonzero(mask)
            basis = self.inputs[active] @ factor
            total[np.ix_(active, active)] += basis @ basis.T
        return total

    def without(self, dropped: Bool[np.ndarray, " block"]) -> "Blocks":
        """The blocks that are not dropped; the planted ones too, if they are kept."""
        number = np.cumsum(~dropped) - 1
        factors = None if self.factors is None else self.factors[~dropped]
        support = tuple(int(number[j]) for j in self.support if not dropped[j])
        return Blocks(self.inputs, self.masks[:, ~dropped], factors, support, self.target)

    def completed(self) -> tuple["Blocks", Weights]:
        """Invertible factors, with the directions that D_j X does not see; 1 for the others.

        Such directions cost nothing in a normalised network, but move the inactive samples.
        """
        if self.factors is None:
            return self, np.ones((self.inputs.shape[1], self.masks.shape[1]))
        factors, costly = self.factors.copy(), np.any(self.factors != 0, axis=1).T.astype(float)
        for factor, seen in zip(factors, costly.T, strict=True):
            if not seen.all():
                rank = int(seen.sum())
                size = np.linalg.norm(factor[:, :rank], axis=0).min() if rank else 1.0
                factor[:, rank:] = size * np.linalg.qr(factor[:, :rank], "complete")[0][:, rank:]
        return Blocks(self.inputs, self.masks, factors, self.support, self.target), costly


def blocks(problem: Problem) -> Blocks:
    """The blocks of a problem.

    For "skip" the linear unit comes first, and carries the sum of the planted weights; for "plain"
    and "normalised" they are the patterns, in their order.

    >>> from llrnb.relu.arrangements import pose
    >>> from llrnb.relu.planted import plant
    >>> parts = blocks(pose(plant(8, 3), "skip"))
    >>> bool(np.allclose(parts.output(parts.planted()), plant(8, 3).outputs))
    True
    """
    planted, masks = problem.planted, problem.patterns.astype(float)
    inputs, weights = planted.inputs, planted.weights
    if problem.network == "skip":
        masks = np.hstack([np.ones((planted.samples, 1)), masks])
        return Blocks(inputs, masks, None, (0,), weights.sum(axis=1, keepdims=True))
    if problem.network == "plain":
        return Blocks(inputs, masks, None, problem.support, weights)
    factors = np.stack([orthonormal_factor(inputs[column]) for column in problem.patterns.T])
    target = np.empty_like(weights)
    for i, j in enumerate(problem.support):
        active = inputs[problem.patterns[:, j]]
        coordinates = factors[j].T @ (active.T @ (active @ weights[:, i]))
        target[:, i] = coordinates / np.linalg.norm(coordinates)
    return Blocks(inputs, masks, factors, problem.support, target)


def orthonormal_factor(
    rows: Float[np.ndarray, "active input"],
) -> Float[np.ndarray, "input input"]:
    """W such that the nonzero columns of `rows @ W` are an orthonormal basis of the rows' range.

    >>> orthonormal_factor(np.array([[0.0, 2.0], [0.0, 0.0]])).tolist()
    [[0.0, 0.0], [0.5, 0.0]]
    """
    count, dim = rows.shape
    if count >= dim:
        upper, failed = dpotrf(rows.T @ rows)
        pivots = np.diag(upper)
        if not failed and pivots.min() > ILL_CONDITIONED * pivots.max():
            factor = dtrtri(upper)[0]
            if pivots.min() > NOT_WELL * pivots.max():
                return factor
            basis = rows @ factor  # orthonormal up to rounding times the squared condition
            return factor @ dtrtri(dpotrf(basis.T @ basis)[0])[0]
    factor = np.zeros((dim, dim))
    if count:
        _, sizes, right = np.linalg.svd(rows, full_matrices=False)
        rank = int((sizes > sizes[0] * max(rows.shape) * np.finfo(float).eps).sum())
        factor[:, :rank] = right[:rank].T / sizes[:rank]
    return factor


def column_norms(weights: Float[np.ndarray, "input group"]) -> Float[np.ndarray, " group"]:
    """||w_j|| of every column."""
    return np.sqrt(np.einsum("ij,ij->j", weights, weights))


def symmetric_solver(
    matrix: Float[np.ndarray, "sample sample"],
) -> Callable[[Float[np.ndarray, " sample"]], Float[np.ndarray, " sample"]]:
    """Solve with a positive matrix many times; a singular one by its pseudo-inverse."""
    try:
        factor = cho_factor(matrix, check_finite=False)
        pivots = np.diag(factor[0])
        if pivots.min() > PIVOT * pivots.max():
            return lambda right: cho_solve(factor, right, check_finite=False)
    except LinAlgError:
        pass
    inverse = np.linalg.pinv(matrix, rcond=PIVOT**2, hermitian=True)
    return lambda right: inverse @ right
