"""How far a point is, at most, from the optimum of a convex program: its certified duality gap.

Let A_j be the blocks D_j X of a problem, and c(w) the sum of its groups' costs: ||w_j|| for plain
and skip networks, ||D_j X w_j|| for normalised ones. A multiplier λ has on group j the slope

    relaxed:             max  λ^T A_j w  over all w of cost 1,
    exact, regularised:  max ±λ^T A_j w  over the w of cost 1 with S_j X w >= 0.

If no slope exceeds 1, then λ^T A w <= c(w) for every w that the program allows, and so

    exact, relaxed:  c(w) >= λ^T y                                        wherever A w = y,
    regularised:     ||A w - y||² + β c(w) >= β (λ^T y - β ||λ||² / 4),

the latter because ||r||² + β λ^T r >= -β² ||λ||² / 4. Their greatest right-hand sides are the dual
programs, and equal to the optima: at the multiplier of A w = y, and at 2 (y - A w) / β.

Any λ serves once it is divided by its largest slope. Without a cone (relaxed programs, and the
linear unit of a skip network) the slope is ||A_j^T λ||, or ||U_j^T λ|| for a normalised network,
with U_j orthonormal in the range of D_j X. With one it is the distance of ±A_j^T λ from the polar
cone,

    min over τ >= 0 of ||±A_j^T λ + (S_j X)^T τ||,

where any τ gives a number that is large enough, and nonnegative least squares the least. Along
directions that cost nothing, the kernel of D_j X in a normalised network, the vector has to be 0.

No solver's word enters: all of it is arithmetic on the data, in double precision, and holds up to
its rounding, some 1e-12.
"""

from dataclasses import dataclass, replace
from heapq import heapify, heapreplace

import numpy as np
from jaxtyping import Bool, Float
from scipy.optimize import nnls

from llrnb.relu.arrangements import Problem
from llrnb.relu.blocks import blocks
from llrnb.relu.solutions import Solution

FREE = 1e8  # how heavily a slope weighs along which a group may move without cost
ROUNDING = 1e-11  # Such a slope below this share of its terms is 0.

Parts = tuple[
    Float[np.ndarray, " input"] | None,
    Float[np.ndarray, "input pattern"],
    Float[np.ndarray, "input pattern"],
]


@dataclass(frozen=True)
class Units:
    """The units in which a problem has numbers near 1: powers of two, so that nothing is rounded.

    In a normalised network every input may have its own, for a group costs the norm of its output;
    otherwise ||w_j|| allows one for all.

    Attributes:
        inputs: the size of every input.
        outputs: of the outputs.
        cost: of the costs.
    """

    inputs: Float[np.ndarray, " input"]
    outputs: float
    cost: float

    def beta(self, beta: float) -> float:
        """β in these units."""
        return beta * self.cost / self.outputs / self.outputs

    def back(self, solution: Solution, form: str) -> Solution:
        """A solution of the problem in these units, in its own ones."""
        weight = self.outputs / self.inputs
        value = self.outputs**2 if form == "regularised" else self.cost
        return replace(
            solution,
            skip=None if solution.skip is None else weight * solution.skip,
            positive=weight[:, None] * solution.positive,
            negative=weight[:, None] * solution.negative,
            objective=value * solution.objective,
            dual=self.cost / self.outputs * solution.dual,
        )


def in_units(problem: Problem) -> tuple[Problem, Units]:
    """An equivalent problem with inputs and outputs near 1, and the units it stands in."""
    planted = problem.planted
    largest = np.abs(planted.inputs).max(axis=0)
    sizes = np.where(largest > 0, largest, 1.0)
    if problem.network != "normalised":
        sizes = np.full_like(sizes, sizes[largest > 0].max(initial=0) or 1.0)
    inputs = 2.0 ** np.round(np.log2(sizes))
    outputs = float(2.0 ** np.round(np.log2(np.abs(planted.outputs).max() or 1.0)))
    cost = outputs if problem.network == "normalised" else float(outputs / inputs[0])
    weights = planted.weights * (inputs / outputs)[:, None]
    if problem.network == "normalised":  # whose neurons may be of any length
        weights = np.ldexp(weights, -np.frexp(np.abs(weights).max(axis=0))[1])
    scaled = replace(
        planted,
        inputs=planted.inputs / inputs,
        outputs=planted.outputs / outputs,
        weights=weights,
        noise=planted.noise / outputs,
    )
    return replace(problem, planted=scaled), Units(inputs, outputs, cost)


def certified(
    problem: Problem,
    form: str,
    beta: float,
    weights: Parts,
    dual: Float[np.ndarray, " sample"],
    status: str,
) -> Solution:
    """A solution from what a solver answers: made to fit, with its gap and its violation.

    Args:
        problem: see `llrnb.relu.pose`.
        form: "exact", "relaxed" or "regularised".
        beta: β, of the regularised program.
        weights: w_0 or None, w_j and w'_j.
        dual: any λ, of any length.
        status: the solver's word.
    """
    outputs = problem.planted.outputs
    dual, bound = dual_bound(problem, form, dual, beta)
    weights = fitted(problem, weights, beta / 2 * dual if form == "regularised" else 0 * dual)
    off = outputs - output(problem, weights)
    objective, violation = cost(problem, weights), beyond_cones(problem, weights, form)
    if form == "regularised":
        objective = float(off @ off) + beta * objective
    else:
        violation = max(violation, float(np.linalg.norm(off) / (np.linalg.norm(outputs) or 1.0)))
    most = objective + (lost(problem, weights, off) if form == "regularised" else 0.0)
    gap = (most - bound) / objective if objective > 0 else 0.0
    return Solution(*weights, objective, status, dual, gap, violation)


def no_weights(problem: Problem, form: str, beta: float) -> Solution:
    """Weights of 0, with their gap: 0 where there are no outputs, or β is large."""
    planted = problem.planted
    zeros = np.zeros((planted.dim, problem.patterns.shape[1]))
    weights = (zeros[:, 0] if problem.network == "skip" else None, zeros, zeros)
    return certified(problem, form, beta, weights, planted.outputs, "optimal")


def dual_bound(
    problem: Problem, form: str, dual: Float[np.ndarray, " sample"], beta: float = 1e-6
) -> tuple[Float[np.ndarray, " sample"], float]:
    """The multiple of λ that proves most of a program's value, and how much.

    >>> from llrnb.relu.arrangements import pose
    >>> from llrnb.relu.planted import plant
    >>> problem = pose(plant(8, 2), "skip")
    >>> dual, bound = dual_bound(problem, "relaxed", problem.planted.outputs)
    >>> 0 < bound <= 1  # the planted weights cost 1
    True
    """
    outputs = problem.planted.outputs
    nothing = np.zeros_like(outputs), 0.0
    largest = np.abs(dual).max(initial=0.0)
    if not (np.isfinite(largest) and largest > 0):
        return nothing
    dual = dual / largest
    value, slope = float(dual @ outputs), steepest(problem, form, dual)
    if not value > 0:
        return nothing
    if form == "regularised":
        best = 2 * value / (beta * float(dual @ dual))
        dual = dual * (min(best, 1 / slope) if slope > 0 else best)
        return dual, beta * float(dual @ outputs - beta / 4 * (dual @ dual))
    return (dual / slope, value / slope) if slope > 0 else nothing


def steepest(problem: Problem, form: str, dual: Float[np.ndarray, " sample"]) -> float:
    """The largest slope of λ over all groups, up to rounding.

    Groups are taken with the slope that they have without their cone; only while the largest one
    is such a slope, nonnegative least squares sharpens it.
    """
    parts, first = blocks(problem), int(problem.network == "skip")
    costly = np.ones((parts.inputs.shape[1], parts.masks.shape[1]))
    cones = form != "relaxed"
    if cones:
        parts, costly = parts.completed()
    correlation = costly * parts.correlate(dual)
    sizes = np.linalg.norm(correlation, axis=0)
    linear = sizes[:first].max(initial=0.0)
    if not cones:
        return float(sizes.max(initial=0.0))
    # One entry for each pattern and sign: (-slope, whether it is sharp, block, sign).
    heap = [(-size, False, j, s) for j, size in enumerate(sizes) for s in (1, -1) if j >= first]
    heapify(heap)
    while heap and not heap[0][1]:
        _, _, j, sign = heap[0]
        sides = (2 * parts.masks[:, j, None] - 1) * parts.neuron(j)
        sharp = slope_in_cone(sign * correlation[:, j], sides, costly[:, j] == 0)
        heapreplace(heap, (-sharp, True, j, sign))
    return float(max(linear, -heap[0][0] if heap else 0.0))


def slope_in_cone(
    slope: Float[np.ndarray, " input"],
    sides: Float[np.ndarray, "sample input"],
    free: Bool[np.ndarray, " input"],
) -> float:
    """The largest slope^T w over sides @ w >= 0 and ||w|| <= 1; free coordinates do not count.

    >>> sides, free = np.eye(2), np.zeros(2, dtype=bool)
    >>> [slope_in_cone(np.array(c), sides, free) for c in ([3.0, 4.0], [3.0, -4.0], [-3.0, -4.0])]
    [5.0, 3.0, 0.0]
    """
    size = np.linalg.norm(slope)
    lengths = np.linalg.norm(sides, axis=1)
    kept = lengths > 0
    if not size or not kept.any():
        return float(size)
    sides = sides[kept] / lengths[kept, None]
    weight = np.where(free, FREE, 1.0)
    try:
        pressure = nnls((sides * weight).T, -slope / size)[0]
    except RuntimeError:  # the iteration limit
        return float(size)
    found = slope / size + pressure @ sides
    terms = 1 + pressure.sum()
    if np.abs(found[free]).max(initial=0.0) > ROUNDING * terms:
        return float(size)
    return float(size * min(1.0, float(np.linalg.norm(found[~free]))))


def fitted(problem: Problem, weights: Parts, rest: Float[np.ndarray, " sample"]) -> Parts:
    """Weights moved to A w = y - rest, as little as least squares can, each group by its size.

    Of w_j and w'_j the larger one moves.
    """
    skip, positive, negative = weights
    parts, first = blocks(problem), int(problem.network == "skip")
    stacked = _stacked(weights)
    halves = [np.linalg.norm(parts.from_inputs(half), axis=0) for half in stacked]
    larger = np.maximum(*halves)
    used = np.flatnonzero(larger > 0).tolist()
    if not used:
        return weights
    matrix = np.hstack([larger[j] * parts.block(j) for j in used])
    change = np.zeros_like(stacked[0])
    for _ in range(2):
        moved = (skip, positive, negative)
        off = problem.planted.outputs - rest - output(problem, moved)
        step = np.linalg.lstsq(matrix, off, rcond=None)[0].reshape(len(used), -1).T
        change = np.zeros_like(stacked[0])
        change[:, used] = larger[used] * step
        change = parts.to_inputs(change)
        on_first = halves[0] >= halves[1]
        skip = skip if skip is None else skip + change[:, 0]
        positive = positive + np.where(on_first, change, 0.0)[:, first:]
        negative = negative - np.where(on_first, 0.0, change)[:, first:]
    return skip, positive, negative


def output(problem: Problem, weights: Parts) -> Float[np.ndarray, " sample"]:
    """A w: X w_0 + sum_j D_j X (w_j - w'_j)."""
    skip, positive, negative = weights
    total = (problem.patterns * (problem.planted.inputs @ (positive - negative))).sum(axis=1)
    return total if skip is None else total + problem.planted.inputs @ skip


def lost(problem: Problem, weights: Parts, off: Float[np.ndarray, " sample"]) -> float:
    """By how much the squared length of y - A w may exceed that of off, which was rounded."""
    skip, positive, negative = weights
    inputs, sizes = np.abs(problem.planted.inputs), np.abs(positive) + np.abs(negative)
    terms = np.abs(problem.planted.outputs) + (problem.patterns * (inputs @ sizes)).sum(axis=1)
    if skip is not None:
        terms = terms + inputs @ np.abs(skip)
    rounding = np.finfo(float).eps * terms
    return float((2 * np.abs(off) + rounding) @ rounding)


def cost(problem: Problem, weights: Parts) -> float:
    """c(w): the sum of the groups' norms; of their outputs, for a normalised network."""
    skip, positive, negative = weights
    groups = np.hstack([positive, negative])
    if problem.network == "normalised":
        groups = np.tile(problem.patterns, 2) * (problem.planted.inputs @ groups)
    linear = 0.0 if skip is None else float(np.linalg.norm(skip))
    return linear + float(np.linalg.norm(groups, axis=0).sum())


def beyond_cones(problem: Problem, weights: Parts, form: str) -> float:
    """The most that a neuron is on the wrong side of its cone, over the largest |y| or |X w_j|."""
    if form == "relaxed":
        return 0.0
    seen = problem.planted.inputs @ np.hstack(weights[1:])
    sides = np.tile(2.0 * problem.patterns - 1, 2) * seen
    largest = max(np.abs(seen).max(), np.abs(problem.planted.outputs).max())
    return float(max(0.0, -sides.min()) / (largest or 1.0))


def _stacked(weights: Parts) -> list[np.ndarray]:
    """w and w' as blocks, the linear unit first, if there is one."""
    skip, positive, negative = weights
    if skip is None:
        return [positive, negative]
    unit = skip[:, None]
    return [np.hstack([unit, positive]), np.hstack([0 * unit, negative])]
