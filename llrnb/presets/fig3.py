"""Figure 3 of the LLR paper: who recovers Eq. 8 from how many samples?

Three families, each at multiples of the narrowest width that can express the target.
"""

from dataclasses import replace
from functools import partial

from llrnb.descriptions import CNN, FULLY_CONNECTED, UNSHARED
from llrnb.networks import cnn, fully_connected
from llrnb.sweep import Recovery, Union
from llrnb.targets import generic_target, paper_target
from llrnb.theory import fully_connected_rank, shared_cnn_rank, unshared_cnn_rank


def _fully_connected(multiple: int, *, input_dim: int = 5, neurons: int = 3):
    return fully_connected(input_dim, neurons * multiple)


# Model rank of the target in each family, at any multiple; the networks have biases.
RANKS = {
    CNN: shared_cnn_rank(kernels=1, entries=3, windows=3, bias=True),
    UNSHARED: unshared_cnn_rank(neurons=3, entries=3, bias=True),
    FULLY_CONNECTED: fully_connected_rank(neurons=3, input_dim=5, bias=True),
}

PAPER = Recovery(
    target=paper_target(),
    families={
        CNN: partial(cnn, 5, 3),
        UNSHARED: partial(cnn, 5, 3, shared=False),
        FULLY_CONNECTED: _fully_connected,
    },
    multiples=(1, 3, 10, 34, 100),
    samples=(
        *(1, 3, 5, 6, 7, 8, 9, 11, 13, 15, 17, 19, 21, 23, 25),
        *(28, 31, 35, 39, 43, 48, 53, 58, 63, 70, 78, 88, 100, 120),
    ),
    learning_rates=(0.05, 0.1, 0.2, 0.35, 0.5),
    trials=20,
    steps=50_000,
    tolerance=1e-12,
    std=1e-10,
    test_samples=1000,
)

SMALL = replace(
    PAPER,
    multiples=(1, 3, 10),
    samples=(3, 5, 6, 7, 8, 9, 11, 13, 15, 17, 19, 21, 23, 25, 28, 32, 36, 40, 45, 50),
    learning_rates=(0.05, 0.15, 0.5),
    trials=5,
)

# What the picture does not hinge on, or does: each at a few cells on both sides of the transition.
_NEAR = replace(PAPER, multiples=(10,), samples=(9, 13, 19, 25, 31, 39, 48), learning_rates=(0.2,))

STEPS = Union(
    tuple(
        replace(_NEAR, steps=steps, tolerance=0.0, variant=f"{steps:,} steps")
        for steps in (10_000, 100_000, 1_000_000)
    )
)

SCALE = Union(
    tuple(
        replace(_NEAR, std=std, learning_rates=(0.02, 0.05, 0.1, 0.2), variant=f"std {std:g}")
        for std in (1e-10, 1e-6, 1e-3, 1e-2, 0.1, 0.3, 1.0)
    )
)

PRECISION = Union(
    tuple(
        replace(
            _NEAR,
            multiples=(3,),
            samples=(9, 13, 25, 39),
            trials=10,
            engine="torch",
            precision=precision,
            variant=precision,
        )
        for precision in ("float64", "float32")
    )
)

# A target of its own rank: one random kernel of three entries with a bias, seen four times.
GENERIC_RANKS = {
    CNN: shared_cnn_rank(kernels=1, entries=3, windows=4, bias=True),
    UNSHARED: unshared_cnn_rank(neurons=4, entries=3, bias=True),
    FULLY_CONNECTED: fully_connected_rank(neurons=4, input_dim=6, bias=True),
}

GENERIC = replace(
    PAPER,
    target=generic_target(cnn(6, 3, 1)),
    families={
        CNN: partial(cnn, 6, 3),
        UNSHARED: partial(cnn, 6, 3, shared=False),
        FULLY_CONNECTED: partial(_fully_connected, input_dim=6, neurons=4),
    },
    multiples=(1, 10),
    samples=(5, 7, 8, 9, 11, 13, 16, 19, 20, 21, 24, 28, 32, 33, 37, 42, 48, 56, 64, 80, 96),
    learning_rates=(0.05, 0.1, 0.2, 0.35),
    variant="generic target",
)
