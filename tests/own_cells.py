"""Functions of one's own, for the tests of sweeps of any function."""

import os
import signal
from pathlib import Path

import pandas as pd


def hook(samples):
    """Called by every cell."""


def count(*, samples, std, trials, device="cpu"):
    if trials < 1:
        raise ValueError(f"trials needs an integer of at least 1, got {trials}")
    hook(samples)
    return pd.DataFrame({"trial": range(trials), "value": samples * std})


def number(*, samples):
    return samples


def named(*, samples):
    return pd.DataFrame({"name": [samples]})


def own_column(*, samples):
    return pd.DataFrame({"samples": [samples + 0.5]})


def with_variant(*, samples, std, trials):
    return pd.DataFrame({"variant": range(trials)})


def on_an_engine(*, samples, engine, device):
    return pd.DataFrame({"value": [samples]})


def deadly(*, samples, mark):
    """The first cell is harmless, the second kills its process once, the third each time."""
    if samples == 3 or (samples == 2 and not Path(mark).exists()):
        Path(mark).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return pd.DataFrame({"value": [samples]})


def doubled(rows):
    return 2 * rows


def length(rows):
    return len(rows)


MADE = 3
