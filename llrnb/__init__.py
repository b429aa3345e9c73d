"""Recovery at overparameterization: the small package behind the book.

>>> net = fully_connected(5, width=300)
>>> net.parameter_count
2100
"""

from llrnb import condensation, embedding, least_squares, reduction, relu, targets, theory
from llrnb.certificate import Certificate, certify
from llrnb.deep import DeepNetwork
from llrnb.interpolation import Interpolation, Outcome, narrowest_interpolator
from llrnb.models import Model, from_module
from llrnb.networks import (
    TanhNetwork,
    TwoLayerNetwork,
    cnn,
    fully_connected,
    predict,
    relative_error,
)
from llrnb.products import MatrixProduct
from llrnb.rank import (
    certify_rank,
    exact_rank,
    local_linear_fit,
    matrix_rank,
    numerical_rank,
    redundancy,
    series_rank,
    tangent_matrix,
)
from llrnb.relu import ReluNetwork
from llrnb.stacks import Stack
from llrnb.training import Status, Training, train

# Their names before they stood in `llrnb.relu` alone; they go with the next release.
isometry, plant, pose, recover = relu.isometry, relu.plant, relu.pose, relu.recover

__version__ = "0.1.0"

__all__ = [
    "Certificate",
    "DeepNetwork",
    "Interpolation",
    "MatrixProduct",
    "Model",
    "Outcome",
    "ReluNetwork",
    "Stack",
    "Status",
    "TanhNetwork",
    "Training",
    "TwoLayerNetwork",
    "certify",
    "certify_rank",
    "cnn",
    "condensation",
    "embedding",
    "exact_rank",
    "from_module",
    "fully_connected",
    "least_squares",
    "local_linear_fit",
    "matrix_rank",
    "narrowest_interpolator",
    "numerical_rank",
    "predict",
    "reduction",
    "redundancy",
    "relative_error",
    "relu",
    "series_rank",
    "tangent_matrix",
    "targets",
    "theory",
    "train",
]
