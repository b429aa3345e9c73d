"""The cones of the exact program, and what they allow a dual certificate.

A neuron w_j of pattern D_j has to stay in the cone S_j X W_j w_j >= 0, S_j = 2 D_j - 1. Weights of
the exact program stand in one array "input group": the linear unit, if any, then all w_j, then all
w'_j.
"""

import numpy as np
from jaxtyping import Bool, Float
from scipy.optimize import nnls

from llrnb.relu.blocks import Blocks, column_norms

FREE = 1e6  # how heavily a slope weighs along which a group may move without cost
LEVEL = 1e-11  # Such a slope is 0 up to rounding.


class Cones:
    """The groups of the exact program with their cones."""

    def __init__(self, parts: Blocks, linear_unit: bool) -> None:
        self.first = int(linear_unit)
        self.parts = parts
        self.gates = parts.without(np.arange(parts.masks.shape[1]) == 0) if linear_unit else parts
        self.gates, self.costly = self.gates.completed()
        self.signs = self._signs()
        # 1 for every coordinate that counts in a group's norm, 0 for the others.
        linear = np.ones((len(self.costly), self.first))
        self.counts = np.hstack([linear, self.costly, self.costly])

    def _signs(self) -> np.ndarray:
        """S_j, each side of a cone scaled so that its normal has length sqrt(d / n)."""
        parts = self.gates
        samples, dim = parts.inputs.shape
        if parts.factors is None:
            lengths = np.linalg.norm(parts.inputs, axis=1)[:, None]
        else:
            lengths = np.linalg.norm(parts.inputs @ parts.factors, axis=2).T
        lengths = np.where(lengths > 0, lengths, np.inf)
        return (2 * parts.masks - 1) * np.sqrt(dim / samples) / lengths

    def groups(self) -> tuple[Blocks, Float[np.ndarray, " group"]]:
        """Every group as a block of its own, and the signs with which they add up."""
        gates, linear = self.gates, self.parts.masks[:, : self.first]
        masks = np.hstack([linear, gates.masks, gates.masks])
        factors = None if gates.factors is None else np.concatenate([gates.factors, gates.factors])
        signs = np.ones(masks.shape[1])
        signs[self.first + gates.masks.shape[1] :] = -1.0
        parts = self.parts
        return Blocks(parts.inputs, masks, factors, parts.support, parts.target), signs

    def split(self, weights: Float[np.ndarray, "input group"]) -> list[np.ndarray]:
        """All w_j, and all w'_j."""
        return np.split(weights[:, self.first :], 2, axis=1)

    def difference(
        self, weights: Float[np.ndarray, "input group"]
    ) -> Float[np.ndarray, "input block"]:
        """w_0, then w - w', as far as it counts."""
        positive, negative = self.split(weights)
        return np.hstack([weights[:, : self.first], self.costly * (positive - negative)])

    def sides(self, weights: Float[np.ndarray, "input group"]) -> np.ndarray:
        """S_j X W_j w_j of all w_j, then of all w'_j: not negative within the cones."""
        return np.hstack([self.signs * self.gates.neurons(half) for half in self.split(weights)])

    def cost(self, weights: Float[np.ndarray, "input group"]) -> float:
        """The sum of the groups' norms."""
        return float(column_norms(weights * self.counts).sum())

    def planted(self) -> Float[np.ndarray, "input group"]:
        """The planted weights, 0 elsewhere."""
        planted = self.parts.planted()
        return np.hstack([planted, np.zeros_like(planted[:, self.first :])])

    def slopes(
        self, dual: Float[np.ndarray, " sample"], pressure: Float[np.ndarray, "sample side"]
    ) -> list[np.ndarray]:
        """||±A_j^T λ + (S_j X W_j)^T τ_j|| for both signs; infinite where it is no certificate.

        A coordinate without cost needs slope 0.
        """
        correlation = self.gates.correlate(dual)
        sizes = []
        for sign, part in zip((1, -1), np.split(pressure, 2, axis=1), strict=True):
            slope = sign * correlation + self.gates.pull(self.signs * np.maximum(part, 0))
            free = np.abs(slope * (1 - self.costly)).max(axis=0)
            sizes.append(np.where(free < LEVEL, column_norms(slope * self.costly), np.inf))
        return sizes

    def least_slope(self, dual: Float[np.ndarray, " sample"], gate: int) -> float:
        """The least ||A_j^T λ + (S_j X W_j)^T τ|| over all τ >= 0, for one pattern, or more."""
        normals = self.signs[:, gate, None] * self.gates.neuron(gate)
        slope = self.gates.block(gate).T @ dual
        costly = self.costly[:, gate] > 0
        if costly.all():
            return _least(normals, slope, costly)
        # An inactive sample may press along what costs nothing, or not at all.
        active = self.gates.masks[:, gate] > 0
        return min(_least(normals, slope, costly), _least(normals[active], slope, costly))

    def interior(self, gate: int) -> Float[np.ndarray, " input"] | None:
        """The weights of length 1 whose least side is the largest, if it is not 0."""
        normals = self.signs[:, gate, None] * self.gates.neuron(gate)
        normals = normals[column_norms(normals.T) > 0]
        hull = np.vstack([normals.T, np.ones(len(normals))])
        try:
            share = nnls(hull, np.eye(len(hull))[-1])[0]
        except RuntimeError:  # the iteration limit
            return None
        middle = normals.T @ share
        size = np.linalg.norm(middle)
        if not (size > 0 and (normals @ middle).min() > LEVEL * size):
            return None
        return middle / size


def _least(
    normals: Float[np.ndarray, "side input"],
    slope: Float[np.ndarray, " input"],
    costly: Bool[np.ndarray, " input"],
) -> float:
    """The least ||slope + normals^T τ|| over τ >= 0, if it is 0 where it has to be."""
    weight = np.where(costly, 1.0, FREE)
    try:
        pressure = nnls((normals * weight).T, -slope * weight)[0]
    except RuntimeError:  # the iteration limit
        return np.inf
    reached = slope + normals.T @ pressure
    level = np.abs(reached[~costly]).max(initial=0) < LEVEL
    return float(np.linalg.norm(reached[costly])) if level else np.inf
