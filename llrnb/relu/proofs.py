"""What proves that the planted weights are, or are not, the only solution of a convex program.

A proof up to rounding: the equations that it needs hold as far as numbers of 16 digits can tell,
and what may be wrong with them is added to the inequalities. The bounds stand below. Every test is
written so that NaN fails it.
"""

from collections.abc import Callable
from functools import cache, cached_property

import numpy as np
from jaxtyping import Bool, Float
from scipy.optimize import linprog

from llrnb.relu.arrangements import Problem
from llrnb.relu.blocks import Blocks, blocks, column_norms, symmetric_solver
from llrnb.relu.conditions import STRICT, certificate, directions, independent
from llrnb.relu.cones import Cones
from llrnb.relu.solutions import Solution

ROUNDINGS = 64 * np.finfo(float).eps  # for each input: by what share of its terms a sum may be off
MARGIN = 1e-8  # by how much, relatively, a point must undercut the planted weights
SAME = 1e-12  # by how much, relatively, a tie may cost more
APART = 1e-2  # how far a tie must be from the planted weights, in shares of their length
NULL = 1e-11  # how far ŵ may be outside of a range that it lies in
IMPOSSIBLE = 1e-4  # how far it is outside of one that it does not lie in
HEARD = 1e3  # times rounding, what a planted neuron must add to some output
SAFETY = 10.0  # times the measured cost of a repair


class Proofs:
    """The proofs about one program, in units in which its numbers are about 1.

    Attributes:
        parts: the blocks of A.
        cones: those of the exact program, or None for the relaxed one.
        cost: of the planted weights.
        longest: the length of the longest of them.
    """

    def __init__(self, problem: Problem, form: str) -> None:
        self.problem = problem
        self.parts = blocks(problem)
        self.linear_unit = problem.network == "skip"
        self.first = int(self.linear_unit)  # of the gates among the blocks
        self.cones = Cones(self.parts, self.linear_unit) if form == "exact" else None
        lengths = column_norms(self.parts.target)
        self.cost, self.longest = float(lengths.sum()), float(lengths.max())
        self.groups, self.sign = self.parts, np.ones(self.parts.masks.shape[1])
        if self.cones:
            self.groups, self.sign = self.cones.groups()
            self.interior = cache(self.cones.interior)
        self.support = list(self.parts.support)
        self.seen, self.rounding = _seen(problem)
        self.made = self.parts.masks[:, self.support] * self.seen
        self.level = np.abs(self.seen) <= self.rounding  # samples on a planted hyperplane

    # ---- The planted weights are a point of the program.

    def fits(self) -> bool:
        """Whether the planted weights give the outputs, from within their cones, up to rounding."""
        outputs = self.problem.planted.outputs
        misfit = np.abs(self.made.sum(axis=1) - outputs)
        fits = misfit <= self.rounding.sum(axis=1) + ROUNDINGS * np.abs(outputs)
        if self.cones is None or self.linear_unit:
            return bool(fits.all())
        inside = self.level | ((self.seen >= 0) == (self.parts.masks[:, self.support] > 0))
        return bool(fits.all() and inside.all())

    @cached_property
    def heard(self) -> bool:
        """Whether each planted neuron adds far more to some output than rounding does."""
        loud = np.abs(self.made) > HEARD * self.rounding.sum(axis=1)[:, None]
        return bool(loud.any(axis=0).all())

    # ---- It is the only solution.

    def certify(
        self,
        dual: Float[np.ndarray, " sample"],
        pressure: Float[np.ndarray, "sample side"] | None = None,
    ) -> bool:
        """Whether λ, moved to A_s^T λ = ŵ_s, proves recovery.

        It does if ||A_j^T λ|| < 1 on the other blocks, or with the cones, if there are τ_j >= 0
        with ||±A_j^T λ + (S_j X W_j)^T τ_j|| < 1 (of which some may be given), and if the planted
        outputs are independent.
        """
        if not (np.isfinite(dual).all() and self.heard and self.independent and self.possible):
            return False
        dual, slack = self._moved(dual)
        below = 1 - STRICT - slack
        if self.cones is None:
            return bool(certificate(self.parts, dual)[0] < below)
        if pressure is None:
            pressure = np.zeros((len(dual), 2 * self.cones.gates.masks.shape[1]))
        return self._certify_in_cones(self.cones, dual, pressure, below)

    @cached_property
    def independent(self) -> bool | None:
        """Whether the planted neurons' outputs are linearly independent; None if nearly not."""
        return independent(self.parts)

    @property
    def possible(self) -> bool:
        """Whether A_s^T λ = ŵ_s for some λ, up to rounding."""
        return bool(np.linalg.norm(self.missing) <= NULL)

    @cached_property
    def wanted(self) -> Float[np.ndarray, " entry"]:
        """ŵ_s, in one vector."""
        return directions(self.parts).T.ravel()

    @cached_property
    def missing(self) -> Float[np.ndarray, " entry"]:
        """The part of ŵ_s that no λ reaches."""
        _, _, right = self._range
        return self.wanted - right.T @ (right @ self.wanted)

    @cached_property
    def _equality(self) -> Float[np.ndarray, "row entry"]:
        """A_s, and below it the sides of the planted cones on which their neurons lie.

        There A_s^T λ + C^T τ = ŵ_s with τ >= 0 is enough.
        """
        planted, dim = self.parts.planted_blocks(), self.problem.planted.dim
        if self.cones is None or self.linear_unit:
            return planted
        rows = [planted]
        for i, j in enumerate(self.support):
            normals = self.cones.signs[:, j, None] * self.cones.gates.neuron(j)
            normals = (normals * self.cones.costly[:, j])[self.level[:, i]]
            rows.append(np.zeros((len(normals), planted.shape[1])))
            rows[-1][:, i * dim : (i + 1) * dim] = normals
        return np.vstack(rows)

    @cached_property
    def _range(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The singular value decomposition of these equations, without what is rounding."""
        left, sizes, right = np.linalg.svd(self._equality, full_matrices=False)
        kept = sizes > sizes[0] * max(self._equality.shape) * ROUNDINGS / 16
        return left[:, kept], sizes[kept], right[kept]

    def _moved(self, dual: Float[np.ndarray, " sample"]) -> tuple[np.ndarray, float]:
        """The λ next to a given one with A_s^T λ = ŵ_s, and what rounding may change in A_j^T λ."""
        left, sizes, right = self._range
        equality, goal, inverse = self._equality, self.wanted - self.missing, (left / sizes) @ right
        state = np.concatenate([dual, np.zeros(len(equality) - len(dual))])
        for _ in range(4):
            for _ in range(2):
                state = state + inverse @ (goal - equality.T @ state)
            negative = (np.arange(len(state)) >= len(dual)) & (state < 0)
            if not negative.any():
                break
            state = np.where(negative, 0.0, state)
            equality = np.where(negative[:, None], 0.0, equality)
            inverse = np.linalg.pinv(equality.T, rcond=1e-12)
        misfit = float(np.linalg.norm(goal - equality.T @ state))
        largest = 1.0 if self.parts.factors is not None else np.linalg.norm(self.parts.inputs)
        slack = SAFETY * misfit / sizes[-1] * largest
        return state[: len(dual)], slack if (state[len(dual) :] >= 0).all() else np.inf

    def _certify_in_cones(
        self,
        cones: Cones,
        dual: Float[np.ndarray, " sample"],
        pressure: Float[np.ndarray, "sample side"],
        below: float,
    ) -> bool:
        slopes = cones.slopes(dual, pressure)
        for sizes, settled, sign in zip(slopes, self._settled, (1, -1), strict=True):
            sizes = np.where(settled, 0.0, sizes)
            for j in np.argsort(-sizes)[: np.count_nonzero(~(sizes < below))]:
                if not cones.least_slope(sign * dual, int(j)) < below:
                    return False
        return True

    @cached_property
    def _settled(self) -> list[Bool[np.ndarray, " gate"]]:
        """The w_j, and the w'_j, that need no slope below 1.

        A planted neuron's own w_j: inside its cone there is no other direction ŵ. Its w'_j, if no
        sample lies on its hyperplane: -ŵ is outside of the cone. The gate that is always open next
        to a linear unit: its cone has neither ŵ nor -ŵ, if X ŵ has both signs.
        """
        gates = self.parts.masks[:, self.first :]
        if self.linear_unit:
            open_gate = np.logical_and(gates.all(axis=0), not self._one_sign())
            return [open_gate, open_gate]
        numbers = np.arange(gates.shape[1])
        clear = [j for i, j in enumerate(self.support) if not self.level[:, i].any()]
        return [np.isin(numbers, self.support), np.isin(numbers, clear)]

    # ---- It is no solution, or not the only one.

    @property
    def dependent(self) -> bool:
        """Whether the planted neurons' outputs are linearly dependent.

        Then some of them give what others give: the planted weights can be changed in shares, both
        ways, and one way does not raise the cost.
        """
        return self.independent is False

    def repeated(self) -> bool:
        """Whether another block makes a planted neuron's output with weights as short, in its cone.

        One that differs on the neuron's hyperplane only does, as the always open gate does for a
        linear unit; an orthonormal one if the output lies in its range.
        """
        if self.linear_unit and self.cones is not None and not self._one_sign():
            return False
        tied = self._in_range() if self.parts.factors is not None else self._same_samples()
        return any(tied)

    def _one_sign(self) -> bool:
        """Whether the linear unit's output has one sign, up to rounding."""
        beyond = [(sign * self.made > self.rounding).any() for sign in (1, -1)]
        return not all(beyond)

    def _same_samples(self) -> Bool[np.ndarray, " other"]:
        """For each planted block, whether another one has its samples, its hyperplane aside."""
        masks = self.parts.masks
        pairs = [
            np.delete(((masks == masks[:, [j]]) | self.level[:, [i]]).all(axis=0), j)
            for i, j in enumerate(self.support)
        ]
        return np.concatenate(pairs)

    def _in_range(self) -> list[bool]:
        """The same for orthonormal blocks: those in whose range, and cone, the output lies."""
        found = []
        for i, j in enumerate(self.support):
            target = directions(self.parts)[:, i]
            output = self.parts.block(j) @ target
            weights = np.zeros((len(target), self.parts.masks.shape[1]))
            for _ in range(3):
                rest = output[:, None] - self.parts.masks * self.parts.neurons(weights)
                weights = weights + self.parts.pull(self.parts.masks * rest)
            rounding = self._rounding(self.parts, weights) + self.rounding[:, [i]]
            tied = (np.abs(rest) <= rounding).all(axis=0)
            tied[j] = False
            found += [self._inside(int(k), weights[:, k]) for k in np.flatnonzero(tied)]
        return found

    def _rounding(self, parts: Blocks, weights: np.ndarray) -> Float[np.ndarray, "sample block"]:
        """By how much rounding may be wrong about the blocks' outputs."""
        terms = np.abs(parts.inputs) @ np.abs(parts.to_inputs(weights))
        return ROUNDINGS * len(weights) * parts.masks * terms

    def _inside(self, number: int, weights: Float[np.ndarray, " input"]) -> bool:
        """Whether an orthonormal block's weights lie in its cone, with some of what costs nothing.

        Its active samples see the output, which is not negative.
        """
        if self.cones is None:
            return True
        idle = self.parts.masks[:, number] == 0
        neuron = (self.cones.signs[:, number, None] * self.cones.gates.neuron(number))[idle]
        unseen = neuron[:, self.cones.costly[:, number] == 0]
        sides = neuron @ weights
        if sides.size and unseen.shape[1]:
            rises = np.column_stack([-unseen, np.ones(len(sides))])
            goal = np.eye(rises.shape[1])[-1]
            bounds = [(None, None)] * unseen.shape[1] + [(None, 1.0)]
            found = linprog(-goal, A_ub=rises, b_ub=sides, bounds=bounds, method="highs")
            if found.status != 0:
                return False
            sides = sides + unseen @ found.x[:-1]
        return bool((sides >= -SAME).all())

    def shorter(self) -> bool:
        """Whether the planted blocks alone fit with shorter weights: no λ has A_s^T λ = ŵ_s."""
        if not np.linalg.norm(self.missing) > IMPOSSIBLE:
            return False
        step = self.parts.planted()
        step[:, self.support] = self.missing.reshape(len(self.support), -1).T
        for share in self._steps(step):
            weights = self.parts.planted() - share * step
            if self.cones is not None:
                weights = self._in_halves(weights)
            if self.cheaper(weights):
                return True
        return False

    def _steps(self, step: Float[np.ndarray, "input block"]) -> Float[np.ndarray, " share"]:
        """How far one may go: as far as the cones allow, and shares of it."""
        most = self.longest
        if self.cones is not None and not self.linear_unit:
            sides = self.cones.sides(self._in_halves(self.parts.planted()))[:, self.support]
            falls = self.cones.sides(self._in_halves(step))[:, self.support]
            held = (falls > 0) & ~self.level
            most = min(most, (sides[held] / falls[held]).min(initial=np.inf))
        return most * np.array([1.0, 0.5, 0.1, 0.01])

    def _in_halves(self, weights: Float[np.ndarray, "input block"]) -> np.ndarray:
        """Weights of the blocks as w_0 and w_j of the exact program, with w'_j = 0."""
        return np.hstack([weights, np.zeros_like(weights[:, self.first :])])

    def cheaper(self, weights: Float[np.ndarray, "input group"]) -> bool:
        """Whether weights, made feasible, cost less than the planted ones."""
        if not self.length(weights) < self.cost:
            return False
        weights, repair = self._feasible(weights)
        cost = self.length(weights) + SAFETY * repair
        return bool(cost < (1 - MARGIN) * self.cost)

    def tied(self, weights: Float[np.ndarray, "input group"]) -> bool:
        """Whether weights, made feasible without their smallest groups, cost as much as planted."""
        sizes = column_norms(weights)
        kept = sizes > 1e-5 * self.cost
        weights, repair = self._feasible(weights * kept, kept)
        planted = self.parts.planted() if self.cones is None else self.cones.planted()
        apart = column_norms(weights - planted).sum() > APART * self.cost
        cost = self.length(weights) + SAFETY * repair
        return bool(apart and cost <= (1 + SAME) * self.cost)

    def weights(self, solution: Solution) -> Float[np.ndarray, "input group"]:
        """A solution's weights in the coordinates of the groups."""
        halves = [solution.positive, solution.negative] if self.cones else [solution.positive]
        if solution.skip is not None:
            halves = [solution.skip[:, None], *halves]
        weights = np.hstack(halves)
        if self.groups.factors is None or self.cones is None:
            return self.groups.from_inputs(weights)
        return np.linalg.solve(self.groups.factors, weights.T[:, :, None])[:, :, 0].T

    def length(self, weights: Float[np.ndarray, "input group"]) -> float:
        """The cost of weights: the sum of their groups' norms."""
        return float(column_norms(weights * (self.cones.counts if self.cones else 1.0)).sum())

    def _feasible(
        self,
        weights: Float[np.ndarray, "input group"],
        kept: Bool[np.ndarray, " group"] | None = None,
    ) -> tuple[np.ndarray, float]:
        """Weights moved to where they fit and lie in their cones, and the last move's cost.

        That cost is what is left to repair, as far as rounding lets it be seen; infinite if the
        weights do not fit up to rounding. Only the kept groups are moved.
        """
        solve = (
            self._solver if kept is None else symmetric_solver(self.groups.without(~kept).gram())
        )
        goal, repair, sign = self.made.sum(axis=1), np.inf, self.sign
        kept = np.ones(weights.shape[1], dtype=bool) if kept is None else kept
        for _ in range(4):
            misfit = goal - self.groups.output(weights * sign)
            fitted = weights + self.groups.correlate(solve(misfit)) * sign * kept
            moved = self._into_cones(fitted, lift=bool(kept.all()))
            repair, weights = float(column_norms(moved - weights).sum()), moved
        terms = self.groups.masks * (
            np.abs(self.groups.inputs) @ np.abs(self.groups.to_inputs(weights))
        )
        misfit = np.abs(goal - self.groups.output(weights * sign))
        fits = misfit <= ROUNDINGS * len(weights) * terms.sum(axis=1)
        return weights, repair if fits.all() else np.inf

    @cached_property
    def _solver(self) -> Callable[[np.ndarray], np.ndarray]:
        return symmetric_solver(self.groups.gram())

    def _into_cones(
        self, weights: Float[np.ndarray, "input group"], *, lift: bool
    ) -> Float[np.ndarray, "input group"]:
        """Weights with as much added to w_j and to w'_j as brings both into their cone.

        NaN where a cone has no inside, or if nothing may be added.
        """
        if self.cones is None:
            return weights
        weights, first = weights.copy(), self.first
        gates = self.cones.gates.masks.shape[1]
        sides = self.cones.sides(weights)
        allowed = ROUNDINGS * column_norms(weights[:, first:])
        for half in np.flatnonzero(~(sides.min(axis=0) >= -allowed)):
            gate = int(half) % gates
            inside = self.interior(gate) if lift else None
            if inside is None:
                return np.full_like(weights, np.nan)
            normals = self.cones.signs[:, gate] * (self.cones.gates.neuron(gate) @ inside)
            short = np.max(-sides[normals > 0, half] / normals[normals > 0], initial=0.0)
            weights[:, first + gate] += (1 + 1e-6) * short * inside
            weights[:, first + gates + gate] += (1 + 1e-6) * short * inside
        return weights


def _seen(problem: Problem) -> tuple[np.ndarray, np.ndarray]:
    """What each planted neuron sees, X w_i, and by how much rounding may be wrong about it.

    The linear unit of a skip network is one neuron; a normalised one is divided by its length.
    """
    inputs, weights = problem.planted.inputs, problem.planted.weights
    rounding = ROUNDINGS * inputs.shape[1] * (np.abs(inputs) @ np.abs(weights))
    if problem.network == "skip":
        return inputs @ weights.sum(axis=1, keepdims=True), rounding.sum(axis=1, keepdims=True)
    seen = inputs @ weights
    if problem.network == "normalised":
        sizes = np.linalg.norm(np.maximum(seen, 0), axis=0)
        seen, rounding = seen / sizes, rounding / sizes
    return seen, rounding
