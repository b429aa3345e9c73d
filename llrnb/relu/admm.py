"""Operator splitting (ADMM) for the relaxed and the exact program, with certificates on the way.

Both programs minimise a sum of norms under A w = y. Each iteration projects onto the equality, with
one factorisation of an n x n matrix for all iterations, and shrinks the groups. That converges
slowly, but a verdict on the planted weights needs no convergence. Every ten iterations

- a feasible point that costs less than the planted weights proves that they are not the solution;
- a dual certificate proves that they are the only one. The multiplier λ of the equality is moved
  to A_s^T λ = ŵ_s; it remains to see ||A_j^T λ|| < 1 on the other blocks ("relaxed"), or
  ||±A_j^T λ + (S_j X W_j)^T τ_j|| < 1 for multipliers τ_j >= 0 of the cones ("exact"); see
  `llrnb.relu.proofs`.

Where neither turns up the iterations run until they converge, which is no proof of anything. The
exact program's iterates are feasible only in the limit; a point that is likely to be cheaper is
moved to where it fits, into its cones, and its cost is compared then.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.linalg import norm

from llrnb.endings import Splitting
from llrnb.relu.blocks import Blocks, column_norms, symmetric_solver
from llrnb.relu.cones import Cones
from llrnb.relu.proofs import Proofs

RATE = 15.0  # the penalty ρ, for planted weights of unit length
# The exact program's rates, each from the iteration on: small ones find certificates sooner, large
# ones solutions, and one may stall where another does not.
EXACT_RATES = {1: 6.0, 301: 60.0, 1001: 2.0, 2501: 200.0}
RELAXATION = 1.8
CHECK_EVERY = 10
REPAIR_EVERY = 50  # iterations of the exact program
CONVERGED = 1e-6  # the residuals of a solution


@dataclass(frozen=True)
class Run:
    """How a splitting ended.

    Attributes:
        end: why it stopped.
        weights: the last iterate w, or w - w' of the exact program, in the blocks' coordinates.
        iterations: how many.
        dual: the multiplier λ of A w = y, where the relaxed program's splitting converged.
    """

    end: Splitting
    weights: Float[np.ndarray, "input block"]
    iterations: int
    dual: Float[np.ndarray, " sample"] | None = None


def relaxed_splitting(
    parts: Blocks,
    outputs: Float[np.ndarray, " sample"],
    *,
    limit: int,
    accuracy: float = CONVERGED / 10,
    proofs: Proofs | None = None,
    relaxation: bool = False,
) -> Run:
    """Minimise sum_j ||w_j|| subject to A w = y, until the planted weights are decided.

    Args:
        parts: the blocks of A.
        outputs: y.
        limit: on the iterations.
        accuracy: the residuals of a solution.
        proofs: that end the run; without them only convergence does.
        relaxation: whether they are about the exact program, to which a point means nothing here.
    """
    solve = symmetric_solver(parts.gram())
    rate = RATE / (proofs.longest if proofs else 1.0)
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
        if proofs and not relaxation and proofs.cheaper(point):
            return Run(Splitting.CHEAPER, point, iteration)
        if proofs and proofs.certify(-rate * multiplier):
            return Run(Splitting.CERTIFICATE, parts.planted(), iteration)
        if max(np.abs(point - groups).max(), np.abs(groups - before).max()) < accuracy:
            return Run(Splitting.CONVERGED, point, iteration, -rate * multiplier)
    return Run(Splitting.LIMIT, point, limit)


def exact_splitting(
    cones: Cones,
    outputs: Float[np.ndarray, " sample"],
    *,
    limit: int,
    proofs: Proofs | None = None,
) -> Run:
    """Minimise sum_j ||w_j|| + ||w'_j|| subject to A (w - w') = y and the cones of the patterns.

    The cones are S_j X W_j w_j >= 0 and the same for w'_j, with S_j = 2 D_j - 1. Next to z = w the
    splitting has t = S_j X W_j w_j, so that both become simple.

    Args:
        cones: of the blocks of A.
        outputs: y.
        limit: on the iterations.
        proofs: that end the run; without them only convergence does.
    """
    affine = Projection(cones)
    size, repairs = proofs.longest if proofs else 1.0, 0
    rate = EXACT_RATES[1] / size
    groups, slack = affine.zeros()
    scaled, pressed = affine.zeros()  # the duals of w = z and of the cones, over ρ
    for iteration in range(1, limit + 1):
        if iteration in EXACT_RATES:
            change = EXACT_RATES[iteration] / size / rate
            rate, scaled, pressed = rate * change, scaled / change, pressed / change
        point, sides, multiplier = affine.project(groups - scaled, slack - pressed, outputs)
        moved = RELAXATION * point + (1 - RELAXATION) * groups + scaled
        raised = RELAXATION * sides + (1 - RELAXATION) * slack + pressed
        before, groups, slack = groups, affine.shrink(moved, 1 / rate), np.maximum(raised, 0)
        scaled, pressed = moved - groups, np.minimum(raised, 0)
        if iteration % CHECK_EVERY:
            continue
        if proofs and proofs.certify(-rate * multiplier, -rate * pressed):
            return Run(Splitting.CERTIFICATE, cones.parts.planted(), iteration)
        off, beyond = point - groups, sides - slack
        step = rate * np.abs(groups - before).max()
        residual = max(np.abs(off).max(), np.abs(beyond).max(), step)
        # What making z and t feasible may cost, by the multipliers of their equations.
        repair = rate * (norm(scaled) * norm(off) + norm(pressed) * norm(beyond))
        due = iteration >= REPAIR_EVERY * repairs
        if proofs and due and cones.cost(groups) + repair < proofs.cost:
            repairs = iteration // REPAIR_EVERY + 1
            if proofs.cheaper(groups):
                return Run(Splitting.CHEAPER, cones.difference(groups), iteration)
        if residual < CONVERGED:
            return Run(Splitting.CONVERGED, cones.difference(groups), iteration)
    return Run(Splitting.LIMIT, cones.difference(groups), limit)


class Projection:
    """The affine half of the exact program's splitting: next to given weights and sides of cones.

    Weights stand as in `llrnb.relu.cones`.
    """

    def __init__(self, cones: Cones) -> None:
        self.cones = cones
        inputs, factors = cones.parts.inputs, cones.gates.factors
        if factors is None:
            product = inputs.T @ (cones.signs[:, :1] ** 2 * inputs)
        else:
            seen = np.abs(cones.signs.T)[:, :, None] * (inputs @ factors)
            product = np.matmul(seen.transpose(0, 2, 1), seen)
        self.inverse = np.linalg.inv(np.eye(inputs.shape[1]) + product)
        self.solve = symmetric_solver(self._gram())

    def zeros(self) -> tuple[np.ndarray, np.ndarray]:
        """Weights, and cone sides, of zeros."""
        samples, gates = self.cones.gates.masks.shape
        return (
            np.zeros((self.cones.parts.inputs.shape[1], self.cones.first + 2 * gates)),
            np.zeros((samples, 2 * gates)),
        )

    def project(
        self,
        weights: Float[np.ndarray, "input group"],
        sides: Float[np.ndarray, "sample side"],
        outputs: Float[np.ndarray, " sample"],
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The w with A (w - w') = y next to given weights and sides, its sides and μ."""
        cones, first, parts = self.cones, self.cones.first, self.cones.gates
        linear = weights[:, :first]
        halves = cones.split(weights)
        targets = np.split(sides, 2, axis=1)
        free = [
            self._damp(half + parts.pull(cones.signs * target))
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
        sides = np.hstack([cones.signs * (seen[0] - shift), cones.signs * (seen[1] + shift)])
        return point, sides, multiplier

    def shrink(
        self, weights: Float[np.ndarray, "input group"], amount: float
    ) -> Float[np.ndarray, "input group"]:
        """Shorten every group by an amount, as far as it costs anything."""
        counts = self.cones.counts
        return shrink(weights * counts, amount) + weights * (1 - counts)

    def _damp(self, weights: np.ndarray) -> np.ndarray:
        """(1 + (X W_j)^T X W_j)^-1 w_j."""
        if self.inverse.ndim == 2:
            return self.inverse @ weights
        return np.matmul(self.inverse, weights.T[:, :, None])[:, :, 0].T

    def _gram(self) -> np.ndarray:
        """A A^T, each cone block damped and counted twice."""
        parts, inputs = self.cones.gates, self.cones.parts.inputs
        total = self.cones.first * (inputs @ inputs.T)
        if parts.factors is None:
            return total + 2 * (inputs @ self.inverse @ inputs.T) * (parts.masks @ parts.masks.T)
        for mask, factor, inverse in zip(parts.masks.T, parts.factors, self.inverse, strict=True):
            active = np.flatnonzero(mask)
            basis = inputs[active] @ factor
            total[np.ix_(active, active)] += 2 * (basis @ inverse @ basis.T)
        return total


def shrink(
    weights: Float[np.ndarray, "input group"], amount: float
) -> Float[np.ndarray, "input group"]:
    """Shorten every column by an amount, to 0 at the least.

    >>> shrink(np.array([[3.0, 0.1], [4.0, 0.1]]), 1.0).tolist()
    [[2.4000000000000004, 0.0], [3.2, 0.0]]
    """
    sizes = np.maximum(column_norms(weights), amount)
    return weights * (1 - amount / sizes)
