"""What a convex program answers; apart from the programs, for cvxpy takes a second to import."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

ACCURATE = 1e-6  # the largest gap and violation of a solution that is called one


@dataclass(frozen=True)
class Solution:
    """The solution of a convex program, as weights on the inputs.

    On the data the network is X w_0 + sum_j D_j X (w_j - w'_j).

    Attributes:
        skip: w_0 of the linear unit, or None for a network without one.
        positive: w_j of each pattern.
        negative: w'_j of each pattern; 0 in a relaxed program.
        objective: the value of the program at these weights.
        status: what the solver says of it, a word of `llrnb.endings.Solver`.
        dual: a multiplier λ of A w = y with no slope above 1; see `llrnb.relu.duality`.
        gap: by what share of the objective it may exceed the optimum, at most, by the lower bound
            that λ proves. Rounding may leave it a little below 0.
        violation: how far the weights are from what the program demands: ||A w - y|| / ||y|| (not
            for a regularised program) or the most that a neuron is on the wrong side of its cone,
            over the largest |X w_j|; whichever is larger.
    """

    skip: Float[np.ndarray, " input"] | None
    positive: Float[np.ndarray, "input pattern"]
    negative: Float[np.ndarray, "input pattern"]
    objective: float
    status: str
    dual: Float[np.ndarray, " sample"]
    gap: float
    violation: float

    @property
    def accurate(self) -> bool:
        """Whether gap and violation are at most 1e-6: else it is no solution to judge by.

        The cost is then known to a share of 1e-6. The weights are not: others may cost as little.
        """
        return abs(self.gap) <= ACCURATE and self.violation <= ACCURATE
