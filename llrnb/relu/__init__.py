"""Two-layer ReLU networks and planted neurons: convex programs, recovery, gradient training."""

import sys

from llrnb.relu import admm, conditions
from llrnb.relu.arrangements import (
    Problem,
    cover_probability,
    has_all_ones,
    pose,
    sample_patterns,
)
from llrnb.relu.conditions import Isometry, isometry
from llrnb.relu.mixture import Mixture, Separation, separation, unit_means
from llrnb.relu.planted import Planted, data_matrix, plant, planted_weights
from llrnb.relu.training import (
    AdamW,
    ReluNetwork,
    ReluTraining,
    SignDescent,
    predict_relu,
    train_relu,
)
from llrnb.relu.transition import group_sparse_dimension, normalised_transition
from llrnb.relu.verdict import Reason, Verdict, recover

# Their names before, of which the first was that of a function, too; they go with the next release.
sys.modules |= {f"{__name__}.isometry": conditions, f"{__name__}.splitting": admm}

__all__ = [
    "AdamW",
    "Isometry",
    "Mixture",
    "Planted",
    "Problem",
    "Reason",
    "ReluNetwork",
    "ReluTraining",
    "Separation",
    "SignDescent",
    "Verdict",
    "cover_probability",
    "data_matrix",
    "group_sparse_dimension",
    "has_all_ones",
    "isometry",
    "normalised_transition",
    "plant",
    "planted_weights",
    "pose",
    "predict_relu",
    "recover",
    "sample_patterns",
    "separation",
    "train_relu",
    "unit_means",
]
