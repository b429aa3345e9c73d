"""Recovery at overparameterization: the small package behind the book.

>>> net = fully_connected(5, width=300)
>>> net.parameter_count
2100
"""

from llrnb import embedding, reduction, targets, theory
from llrnb.deep import DeepNetwork
from llrnb.networks import TanhNetwork, cnn, fully_connected, predict, relative_error
from llrnb.rank import (
    certify_rank,
    exact_rank,
    local_linear_fit,
    matrix_rank,
    numerical_rank,
    series_rank,
    tangent_matrix,
)
from llrnb.relu import isometry, plant, pose, recover
from llrnb.training import Status, Training, train

__version__ = "0.1.0"

__all__ = [
    "DeepNetwork",
    "Status",
    "TanhNetwork",
    "Training",
    "certify_rank",
    "cnn",
    "embedding",
    "exact_rank",
    "fully_connected",
    "isometry",
    "local_linear_fit",
    "matrix_rank",
    "numerical_rank",
    "plant",
    "pose",
    "predict",
    "recover",
    "reduction",
    "relative_error",
    "series_rank",
    "tangent_matrix",
    "targets",
    "theory",
    "train",
]
