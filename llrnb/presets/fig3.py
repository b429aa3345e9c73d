"""Figure 3 of the LLR paper: who recovers Eq. 8 from how many samples?

Three families, each at multiples of the narrowest width that can express the target.
"""

from dataclasses import replace
from functools import partial

from llrnb.networks import cnn, fully_connected
from llrnb.sweep import Recovery
from llrnb.targets import paper_target
from llrnb.theory import fully_connected_rank, shared_cnn_rank, unshared_cnn_rank

CNN = "CNN"
UNSHARED = "CNN without sharing"
FULLY_CONNECTED = "fully connected"


def _fully_connected(multiple: int):
    return fully_connected(5, 3 * multiple)


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
        *(28, 31, 35, 39, 43, 48, 53, 58, 63),
    ),
    learning_rates=(0.05, 0.1, 0.2, 0.35, 0.5),
    trials=10,
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
