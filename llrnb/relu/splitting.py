"""Operator splitting (ADMM) for the relaxed and the exact program, with certificates on the way.

Both programs minimise a sum of norms under A w = y. Each iteration projects onto the equality, with
one factorisation of an n x n matrix for all iterations, and shrinks the groups. That converges
slowly, but a verdict on the planted weights needs no convergence. Every ten iterations

- a feasible point that costs less than the planted weights proves that they are not the solution;
- a dual certificate proves that they are the only one. The multiplier λ of the equality is moved
  to A_s^T λ = ŵ_s; it remains to see ||A_j^T λ|| < 1 on the other blocks ("relaxed"), or
  ||±A_j^T λ + (S_j X W_j)^T τ_j|| < 1 for multipliers τ_j >= 0 of the cones ("exact").

Only where neither turns up do the iterations run until they converge. The exact program's iterates
are feasible only in the limit; there a point counts as cheaper, and the run as converged, once it
undercuts the planted weights by more than its repair should cost. That is no proof.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from numpy.linalg import norm
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from scipy.optimize import nnls

from llrnb.relu.blocks import Blocks
from llrnb.relu.isometry import MISFIT, STRICT, certificate, directions

RATE = 15.0  # the penalty ρ, for planted weights of unit length
# The exact program's rates, each from the iteration on: small ones find certificates sooner, large
# ones solutions, and one may stall where another does not.
EXACT_RATES = {1: 6.0, 301: 60.0, 1001: 2.0, 2501: 200.0}
RELAXATION = 1.8
CHECK_EVERY = 10
CHEAPER = 1e-6  # by how much, relatively, a point must undercut the planted weights
FREE = 1e6  # how heavily a slope weighs along which a group may move without cost
NEAR = 1e-3  # the residuals of a point whose cost to repair is known, up to the next factor
SAFETY = 3.0
CONVERGED = 1e-6  # the residuals of a solution


@dataclass(frozen=True)
class Run:
    """How a splitting ended.

    Attributes:
        end: "dual certificate", "cheaper feasible point", "converged" or "iteration limit".
        weights: the last iterate w, or w - w' of the exact program, in the blocks' coordinates.
        iterations: how many.
    """

    end: str
    weights: Float[np.ndarray, "input block"]
    iterations: int


def relaxed_splitting(
    parts: Blocks, outputs: Float[np.ndarray, " sample"], *, noise_free: bool, limit: int
) -> Run:
    """Minimise sum_j ||w_j|| subject to A w = y, until the planted weights are decided.

    Args:
        parts: the blocks of A.
        outputs: y.
        noise_free: whether the planted weights are feasible; else only convergence ends the run.
        limit: on the iterations.
    """
    solve = symmetric_solver(parts.gram())
    proof = Proof(parts)
    rate = RATE
    groups = np.zeros((parts.inputs.shape[1], parts.masks.shape[1]))
    scaled = np.zeros_like(groups)  # the dual of w = z, over ρ
    for iteration in range(1, limit + 1):
        point = groups - scaled
        multiplier = solve(parts.output(point) - outputs)
        point = point - parts.correlate(multiplier)  # A w = y
        moved = RELAXATION * point + (1 - RELAXATION) * groups + scaled
        before, groups = groups, shrink(moved, 1 / rate)
        scaled = moved - groups
        if iteration % CHECK_EVERY:
            continue
        if noise_free and column_norms(point).sum() < (1 - CHEAPER) * proof.cost:
            return Run("cheaper feasible point", point, iteration)
        if noise_free and proof.relaxed(-rate * multiplier):
            return Run("dual certificate", parts.planted(), iteration)
        if max(np.abs(point - groups).max(), np.abs(groups - before).max()) < CONVERGED / 10:
            return Run("converged", point, iteration)
    return Run("iteration limit", point, limit)


def exact_splitting(
    parts: Blocks,
    outputs: Float[np.ndarray, " sample"],
    *,
    linear_unit: bool,
    noise_free: bool,
    limit: int,
) -> Run:
    """Minimise sum_j ||w_j|| + ||w'_j|| subject to A (w - w') = y and the cones of the patterns.

    The cones are S_j X W_j w_j >= 0 and the same for w'_j, with S_j = 2 D_j - 1. Next to z = w the
    splitting has t = S_j X W_j w_j, so that both become simple.

    Args:
        parts: the blocks of A.
        outputs: y.
        linear_unit: whether the first block is a linear unit, which has no cone and no w'.
        noise_free: whether the planted weights are feasible; else only convergence ends the run.
        limit: on the iterations.
    """
    cones = Cones(parts, linear_unit)
    proof = Proof(parts, cones)
    rate = EXACT_RATES[1]
    groups, slack = cones.zeros()
    scaled, pressed = cones.zeros()  # the duals of w = z and of the cones, over ρ
    for iteration in range(1, limit + 1):
        if iteration in EXACT_RATES:
            change = EXACT_RATES[iteration] / rate
            rate, scaled, pressed = rate * change, scaled / change, pressed / change
        point, sides, multiplier = cones.project(groups - scaled, slack - pressed, outputs)
        moved = RELAXATION * point + (1 - RELAXATION) * groups + scaled
        raised = RELAXATION * sides + (1 - RELAXATION) * slack + pressed
        before, groups, slack = groups, cones.shrink(moved, 1 / rate), np.maximum(raised, 0)
        scaled, pressed = moved - groups, np.minimum(raised, 0)
        if iteration % CHECK_EVERY:
            continue
        if noise_free and proof.exact(-rate * multiplier, -rate * pressed):
            return Run("dual certificate", parts.planted(), iteration)
        solution = cones.difference(groups)
        off, beyond = point - groups, sides - slack
        step = rate * np.abs(groups - before).max()
        residual = max(np.abs(off).max(), np.abs(beyond).max(), step)
        # What making z and t feasible may cost, by the multipliers of their equations.
        repair = rate * (norm(scaled) * norm(off) + norm(pressed) * norm(beyond))
        cost = cones.cost(groups) + SAFETY * repair
        cheaper = noise_free and residual < NEAR and cost < (1 - CHEAPER) * proof.cost
        if cheaper or residual < _accuracy(np.abs(solution - parts.planted()).max()):
            return Run("converged", solution, iteration)
    return Run("iteration limit", cones.difference(groups), limit)


def _accuracy(distance: float) -> float:
    """How small residuals tell a solution, at some distance, from the planted weights."""
    return min(max(distance / 10_000, CONVERGED / 100), CONVERGED * 10)


class Cones:
    """The affine half of the exact program's splitting.

    Weights stand in one array "input group": the linear unit, if any, then all w_j, then all w'_j.
    """

    def __init__(self, parts: Blocks, linear_unit: bool) -> None:
        self.first = int(linear_unit)
        self.parts = parts
        self.gates = parts.without(np.arange(parts.masks.shape[1]) == 0) if linear_unit else parts
        self.costly = np.ones((parts.inputs.shape[1], self.gates.masks.shape[1]))
        if parts.factors is not None:
            self.gates, self.costly = self.gates.completed()
        self.signs = self._signs()
        inputs, factors = parts.inputs, self.gates.factors
        if factors is None:
            product = inputs.T @ (self.signs[:, :1] ** 2 * inputs)
        else:
            seen = np.abs(self.signs.T)[:, :, None] * (inputs @ factors)
            product = np.matmul(seen.transpose(0, 2, 1), seen)
        self.inverse = np.linalg.inv(np.eye(inputs.shape[1]) + product)
        self.solve = symmetric_solver(self._gram())

    def _signs(self) -> np.ndarray:
        """S_j, each side of a cone scaled so that its normal has length sqrt(d / n)."""
        parts = self.gates
        samples, dim = parts.inputs.shape
        if parts.factors is None:
            lengths = np.linalg.norm(parts.inputs, axis=1)[:, None]
        else:
            lengths = np.linalg.norm(parts.inputs @ parts.factors, axis=2).T
        lengths = np.where(lengths > 1e-10 * lengths.max(initial=0), lengths, np.inf)
        return (2 * parts.masks - 1) * np.sqrt(dim / samples) / lengths

    def zeros(self) -> tuple[np.ndarray, np.ndarray]:
        """Weights, and cone sides, of zeros."""
        samples, gates = self.gates.masks.shape
        return (
            np.zeros((self.parts.inputs.shape[1], self.first + 2 * gates)),
            np.zeros((samples, 2 * gates)),
        )

    def project(
        self,
        weights: Float[np.ndarray, "input group"],
        sides: Float[np.ndarray, "sample side"],
        outputs: Float[np.ndarray, " sample"],
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The w with A (w - w') = y next to given weights and sides, its sides and μ."""
        first, parts = self.first, self.gates
        linear = weights[:, :first]
        halves = np.split(weights[:, first:], 2, axis=1)
        targets = np.split(sides, 2, axis=1)
        free = [
            self._damp(half + parts.pull(self.signs * target))
            for half, target in zip(halves, targets, strict=True)
        ]
        seen = [parts.neurons(half) for half in free]
        output = np.einsum("nb,nb->n", parts.masks, seen[0] - seen[1])
        output = output + (parts.inputs @ linear).sum(axis=1)
        multiplier = self.solve(output - outputs)
        step = self._damp(parts.correlate(multiplier))
        shift = parts.neurons(step)
        linear = linear - (parts.inputs.T @ multiplier)[:, None][:, :first]
        point = np.hstack([linear, free[0] - step, free[1] + step])
        sides = np.hstack([self.signs * (seen[0] - shift), self.signs * (seen[1] + shift)])
        return point, sides, multiplier

    def difference(
        self, weights: Float[np.ndarray, "input group"]
    ) -> Float[np.ndarray, "input block"]:
        """w_0, then w - w'."""
        positive, negative = np.split(weights[:, self.first :], 2, axis=1)
        return np.hstack([weights[:, : self.first], self.costly * (positive - negative)])

    def shrink(
        self, weights: Float[np.ndarray, "input group"], amount: float
    ) -> Float[np.ndarray, "input group"]:
        """Shorten every group by an amount, as far as it costs anything."""
        costly = self._costly()
        return shrink(weights * costly, amount) + weights * (1 - costly)

    def cost(self, weights: Float[np.ndarray, "input group"]) -> float:
        """The sum of the groups' norms."""
        return float(column_norms(weights * self._costly()).sum())

    def _costly(self) -> Float[np.ndarray, "input group"]:
        """1 for every coordinate that counts in a group's norm, 0 for the others."""
        return np.hstack([np.ones((len(self.costly), self.first)), self.costly, self.costly])

    def slopes(
        self, dual: Float[np.ndarray, " sample"], pressure: Float[np.ndarray, "sample side"]
    ) -> tuple[np.ndarray, np.ndarray]:
        """±A_j^T λ + (S_j X W_j)^T τ_j for both signs.

        A coordinate without cost needs slope 0, so it is multiplied by a large number.
        """
        weight = np.where(self.costly > 0, 1.0, FREE)
        correlation = self.gates.correlate(dual)
        lifts = [self.gates.pull(self.signs * part) for part in np.split(pressure, 2, axis=1)]
        return weight * (correlation + lifts[0]), weight * (lifts[1] - correlation)

    def least_slope(self, dual: Float[np.ndarray, " sample"], gate: int) -> float:
        """The least ||A_j^T λ + (S_j X W_j)^T τ|| over all τ >= 0, for one pattern."""
        weight = np.where(self.costly[:, gate] > 0, 1.0, FREE)
        sides = self.signs[:, gate, None] * self.gates.neuron(gate) * weight
        slope = self.gates.block(gate).T @ dual
        try:
            return float(nnls(sides.T, -slope)[1])
        except RuntimeError:  # the iteration limit
            return np.inf

    def _damp(self, weights: np.ndarray) -> np.ndarray:
        """(1 + (X W_j)^T X W_j)^-1 w_j."""
        if self.inverse.ndim == 2:
            return self.inverse @ weights
        return np.matmul(self.inverse, weights.T[:, :, None])[:, :, 0].T

    def _gram(self) -> np.ndarray:
        """A A^T, each cone block damped and counted twice."""
        parts, inputs = self.gates, self.parts.inputs
        total = self.first * (inputs @ inputs.T)
        if parts.factors is None:
            return total + 2 * (inputs @ self.inverse @ inputs.T) * (parts.masks @ parts.masks.T)
        for mask, factor, inverse in zip(parts.masks.T, parts.factors, self.inverse, strict=True):
            active = np.flatnonzero(mask)
            basis = inputs[active] @ factor
            total[np.ix_(active, active)] += 2 * (basis @ inverse @ basis.T)
        return total


class Proof:
    """What proves that the planted weights are the only solution of a program."""

    def __init__(self, parts: Blocks, cones: Cones | None = None) -> None:
        self.parts, self.cones = parts, cones
        self.cost = float(np.linalg.norm(parts.target, axis=0).sum())
        self.wanted = directions(parts).T.ravel()
        self.planted = parts.planted_blocks()
        self.inverse = np.linalg.pinv(self.planted.T)

    def relaxed(self, dual: Float[np.ndarray, " sample"]) -> bool:
        """Whether λ, moved to A_s^T λ = ŵ_s, has ||A_j^T λ|| < 1 on the other blocks."""
        largest, exists = certificate(self.parts, self.moved(dual))
        return exists and largest < 1 - STRICT

    def exact(
        self, dual: Float[np.ndarray, " sample"], pressure: Float[np.ndarray, "sample side"]
    ) -> bool:
        """The same with the cones: ||±A_j^T λ + (S_j X W_j)^T τ_j|| < 1."""
        dual = self.moved(dual)
        if np.abs(self.planted.T @ dual - self.wanted).max() > MISFIT:
            return False
        for sign, slope in zip((1, -1), self.cones.slopes(dual, pressure), strict=True):
            sizes = np.where(self.settled, 0.0, column_norms(slope))
            for j in np.argsort(-sizes)[: np.count_nonzero(sizes >= 1 - STRICT)]:
                if self.cones.least_slope(sign * dual, int(j)) >= 1 - STRICT:
                    return False
        return True

    @property
    def settled(self) -> Bool[np.ndarray, " gate"]:
        """Patterns whose cones need no proof.

        A planted neuron's own: inside its cone there is no other direction ŵ, and -ŵ is outside.
        The linear unit's: its cone has neither ŵ nor -ŵ, if X ŵ has both signs.
        """
        gates, linear_unit = self.cones.gates, self.cones.first
        if linear_unit:
            return gates.masks.all(axis=0)
        return np.isin(np.arange(gates.masks.shape[1]), self.parts.support)

    def moved(self, dual: Float[np.ndarray, " sample"]) -> Float[np.ndarray, " sample"]:
        """The λ next to a given one with A_s^T λ = ŵ_s."""
        return dual + self.inverse @ (self.wanted - self.planted.T @ dual)


def shrink(
    weights: Float[np.ndarray, "input group"], amount: float
) -> Float[np.ndarray, "input group"]:
    """Shorten every column by an amount, to 0 at the least.

    >>> shrink(np.array([[3.0, 0.1], [4.0, 0.1]]), 1.0).tolist()
    [[2.4000000000000004, 0.0], [3.2, 0.0]]
    """
    sizes = np.maximum(column_norms(weights), amount)
    return weights * (1 - amount / sizes)


def column_norms(weights: Float[np.ndarray, "input group"]) -> Float[np.ndarray, " group"]:
    """||w_j|| of every column."""
    return np.sqrt(np.einsum("ij,ij->j", weights, weights))


def symmetric_solver(
    matrix: Float[np.ndarray, "sample sample"],
) -> Callable[[Float[np.ndarray, " sample"]], Float[np.ndarray, " sample"]]:
    """Solve with a positive matrix many times; a singular one by its pseudo-inverse."""
    try:
        factor = cho_factor(matrix, check_finite=False)
    except LinAlgError:
        inverse = np.linalg.pinv(matrix, hermitian=True)
        return lambda right: inverse @ right
    return lambda right: cho_solve(factor, right, check_finite=False)
