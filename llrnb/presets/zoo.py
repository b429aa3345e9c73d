"""What `numerical_rank` says of every kind of module whose rank is known."""

from llrnb.sweep import Grid
from llrnb.zoo import ZOO, judged

ALL = Grid(judged, {"name": tuple(ZOO), "seed": tuple(range(5))}, seconds=2.0)

SMALL = Grid(judged, {"name": ("tanh", "ReLU", "attention"), "seed": (0,)})
