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
    device_for,
    launch,
    on_device,
    status,
)
from llrnb.sweep.limit import Limit, limit_cell, recovered_shares
from llrnb.sweep.own import OwnModel, from_yaml, own_cell, referred
from llrnb.sweep.phase import NOT_RUN, PhaseDiagram, averages, phase_cell, shares
from llrnb.sweep.plan import PHYSICS, Cell, Preset, Together, key_of
from llrnb.sweep.recovery import (
    CRITERIA,
    RULES,
    Recovery,
    best_rate,
    looks,
    means,
    options,
    plan_cell,
    shares_below,
    train_cell,
    train_cells,
    transition_intervals,
    transition_points,
)

__all__ = [
    "CRITERIA",
    "NOT_RUN",
    "PHYSICS",
    "RULES",
    "Cell",
    "Limit",
    "OwnModel",
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
    "device_for",
    "from_yaml",
    "key_of",
    "launch",
    "limit_cell",
    "looks",
    "means",
    "on_device",
    "options",
    "own_cell",
    "phase_cell",
    "plan_cell",
    "recovered_shares",
    "referred",
    "run",
    "shares",
    "shares_below",
    "status",
    "train_cell",
    "train_cells",
    "transition_intervals",
    "transition_points",
]


def run(preset: Preset) -> pd.DataFrame:
    """Compute everything in a preset in this process, and store nothing.

    Returns:
        The rows of `train_cell`, `phase_cell`, `limit_cell` or `own_cell`, cell by cell.
    """
    cells = (preset.compute(**cell.parameters) for cell in preset.cells())
    return pd.concat(cells, ignore_index=True)
