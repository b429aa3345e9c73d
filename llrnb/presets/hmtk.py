"""The comparison of HMTK: a teacher with biases, three students, two optimizers.

HMTK is the PyTorch repository for the LLR paper. Sample sizes, steps, tolerance and initialisation
are those of its configuration; the widths are ours, ten times the narrowest ones.
"""

from dataclasses import replace
from functools import partial

from llrnb.networks import cnn, fully_connected
from llrnb.presets.fig3 import CNN, FULLY_CONNECTED, UNSHARED
from llrnb.sweep import Recovery, Union
from llrnb.targets import paper_target
from llrnb.training import Adam


def _fully_connected(multiple: int):
    return fully_connected(5, 3 * multiple, output_bias=True)


_GRADIENT_DESCENT = Recovery(
    target=paper_target(bias=0.3, output_bias=-0.5),
    families={
        CNN: partial(cnn, 5, 3, output_bias=True),
        UNSHARED: partial(cnn, 5, 3, shared=False, output_bias=True),
        FULLY_CONNECTED: _fully_connected,
    },
    multiples=(10,),
    samples=(5, 10, 20, 50, 100, 200),
    learning_rates=(0.1,),
    trials=10,
    steps=20_000,
    tolerance=1e-10,
    std=1e-10,
    test_samples=1000,
    variant="gradient descent",
)
_ADAM = replace(
    _GRADIENT_DESCENT,
    optimizer=Adam(),
    engine="torch",
    learning_rates=(0.01,),
    variant="Adam",
)

STUDENTS = Union((_GRADIENT_DESCENT, _ADAM))

SMALL = replace(_GRADIENT_DESCENT, samples=(5, 20, 100), trials=3)
