"""Sweeps: a preset in, a table out with one row per trained network or planted problem.

`run` computes a preset here and now; `launch` cuts it into jobs for a Dask cluster, stores every
cell as it is finished, and goes on where an earlier launch stopped.
"""

import pandas as pd

from llrnb.sweep.driver import (
    Progress,
    SweepFailed,
    collect,
    compute_cells,
    launch,
    on_device,
    status,
)
from llrnb.sweep.limit import Limit, limit_cell, recovered_shares
from llrnb.sweep.phase import NOT_RUN, PhaseDiagram, averages, phase_cell, shares
from llrnb.sweep.plan import PHYSICS, Cell, Preset, Together, key_of
from llrnb.sweep.recovery import Recovery, best_rate, means, options, train_cell

__all__ = [
    "NOT_RUN",
    "PHYSICS",
    "Cell",
    "Limit",
    "PhaseDiagram",
    "Preset",
    "Progress",
    "Recovery",
    "SweepFailed",
    "Together",
    "averages",
    "best_rate",
    "collect",
    "compute_cells",
    "key_of",
    "launch",
    "limit_cell",
    "means",
    "on_device",
    "options",
    "phase_cell",
    "recovered_shares",
    "run",
    "shares",
    "status",
    "train_cell",
]


def run(preset: Preset) -> pd.DataFrame:
    """Compute everything in a preset in this process, and store nothing.

    Returns:
        The rows of `train_cell`, `phase_cell` or `limit_cell`, cell by cell.
    """
    cells = (preset.compute(**cell.parameters) for cell in preset.cells())
    return pd.concat(cells, ignore_index=True)
