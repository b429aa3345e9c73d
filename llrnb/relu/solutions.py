"""What a convex program answers; apart from the programs, for cvxpy takes a second to import."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True)
class Solution:
    """The solution of a convex program, as weights on the inputs.

    On the data the network is X w_0 + sum_j D_j X (w_j - w'_j).

    Attributes:
        skip: w_0 of the linear unit, or None for a network without one.
        positive: w_j of each pattern.
        negative: w'_j of each pattern; 0 in a relaxed program.
        objective: the optimal value.
        status: the solver's word for it, "optimal" or "optimal_inaccurate".
    """

    skip: Float[np.ndarray, " input"] | None
    positive: Float[np.ndarray, "input pattern"]
    negative: Float[np.ndarray, "input pattern"]
    objective: float
    status: str
