"""ReLU networks as convex programs: planted neurons, activation patterns, recovery."""

from llrnb.relu.arrangements import (
    Problem,
    cover_probability,
    has_all_ones,
    pose,
    sample_patterns,
)
from llrnb.relu.isometry import Isometry, isometry
from llrnb.relu.mixture import Mixture, Separation, separation, unit_means
from llrnb.relu.planted import Planted, data_matrix, plant, planted_weights
from llrnb.relu.programs import Solution, SolverFailed, solve
from llrnb.relu.verdict import Reason, Verdict, recover

__all__ = [
    "Isometry",
    "Mixture",
    "Planted",
    "Problem",
    "Reason",
    "Separation",
    "Solution",
    "SolverFailed",
    "Verdict",
    "cover_probability",
    "data_matrix",
    "has_all_ones",
    "isometry",
    "plant",
    "planted_weights",
    "pose",
    "recover",
    "sample_patterns",
    "separation",
    "solve",
    "unit_means",
]
