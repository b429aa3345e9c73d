"""Sweeps: a preset in, a table out with one row per trained network or planted problem.

`run` computes a preset here and now; `launch` cuts it into jobs for a Dask cluster, stores every
cell as it is finished, and goes on where an earlier launch stopped. `Grid` sweeps any function.
"""

from llrnb.sweep.driver import (
    Progress,
    SweepFailed,
    collect,
    device_for,
    launch,
    on_device,
    status,
)
from llrnb.sweep.grid import Grid
from llrnb.sweep.limit import Limit, limit_cell, recovered_shares
from llrnb.sweep.own import OwnModel, from_yaml, own_cell
from llrnb.sweep.phase import NOT_RUN, PhaseDiagram, averages, phase_cell, shares
from llrnb.sweep.plan import PHYSICS, Cell, Preset, Together, Union, key_of
from llrnb.sweep.recovery import (
    CRITERIA,
    RULES,
    Recovery,
    best_rate,
    looks,
    means,
    plan_cell,
    shares_below,
    train_cell,
    train_cells,
    transition_intervals,
    transition_points,
)
from llrnb.sweep.references import referred
from llrnb.sweep.rows import run, shown

__all__ = [
    "CRITERIA",
    "NOT_RUN",
    "PHYSICS",
    "RULES",
    "Cell",
    "Grid",
    "Limit",
    "OwnModel",
    "PhaseDiagram",
    "Preset",
    "Progress",
    "Recovery",
    "SweepFailed",
    "Together",
    "Union",
    "averages",
    "best_rate",
    "collect",
    "device_for",
    "from_yaml",
    "key_of",
    "launch",
    "limit_cell",
    "looks",
    "means",
    "on_device",
    "own_cell",
    "phase_cell",
    "plan_cell",
    "recovered_shares",
    "referred",
    "run",
    "shares",
    "shares_below",
    "shown",
    "status",
    "train_cell",
    "train_cells",
    "transition_intervals",
    "transition_points",
]
