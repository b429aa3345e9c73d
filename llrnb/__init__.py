"""Recovery at overparameterization: the small package behind the book.

>>> net = fully_connected(5, width=300)
>>> net.parameter_count
2100
"""

from llrnb import targets, theory
from llrnb.networks import TanhNetwork, cnn, fully_connected, predict, relative_error
from llrnb.training import Status, Training, train

__version__ = "0.1.0"

__all__ = [
    "Status",
    "TanhNetwork",
    "Training",
    "cnn",
    "fully_connected",
    "predict",
    "relative_error",
    "targets",
    "theory",
    "train",
]
