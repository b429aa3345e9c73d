"""A sweep of twelve small cells, and a driver for it that a test can kill."""

import sys
from dataclasses import replace
from pathlib import Path

from llrnb import sweep
from llrnb.presets import fig3

TINY = replace(fig3.SMALL, multiples=(1, 3), samples=(6, 9), trials=2, steps=300, test_samples=50)

# The same, but slow enough to be disturbed: a cell takes a good part of a second.
SLOW = replace(
    TINY,
    families={fig3.CNN: TINY.families[fig3.CNN]},
    multiples=(1, 2),
    samples=(40, 50, 60),
    learning_rates=(1e-9,),
    steps=120_000,
)

if __name__ == "__main__":
    sweep.launch(SLOW, Path(sys.argv[1]))
