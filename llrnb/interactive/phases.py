"""The phase diagrams of Part II, to be chosen by data, planted weights and noise."""

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

from llrnb.interactive.explorer import Choice, Explorer, State
from llrnb.interactive.marks import axis, heat, line, panel, probed

RECOVERED, DISTANCE = "share recovered", "distance to the planted weights"
_CHOICES = {
    "Shown": "shown", "Network": "network", "Program": "form", "Neurons": "neurons",
    "Data": "data", "Planted weights": "weights", "Noise σ": "noise",
}  # fmt: skip
_FARTHEST, _NEAREST = 0.0, -3.0  # powers of ten of the distances at which colours end


def phases(rows: pd.DataFrame, lines: Mapping[str, Callable] | None = None) -> Explorer:
    """Share of recovered trials, or distance to the planted weights, over n and d.

    Args:
        rows: of `llrnb.sweep.run` for any number of phase diagrams, of the tasks "recovery" and
            "solution", one below the other; a problem that stands in two of them counts once. A
            choice with a single value is no control.
        lines: for each name, n as a function of d, drawn over all diagrams.
    """
    rows = rows[rows["task"].isin(["recovery", "solution"])]
    rows = rows.assign(shown=np.where(rows["task"] == "recovery", RECOVERED, DISTANCE))
    rows = rows.drop_duplicates([*_CHOICES.values(), "samples", "dim", "trial"])
    values = {name: list(dict.fromkeys(rows[column])) for name, column in _CHOICES.items()}
    values["Noise σ"].sort()
    values = {name: found for name, found in values.items() if len(found) > 1}
    columns = [_CHOICES[name] for name in values]
    states = {
        tuple(found.index(v) for found, v in zip(values.values(), key, strict=True)): _state(
            cell, ", ".join(map(_named, columns, key)), lines or {}
        )
        for key, cell in (rows.groupby(columns, sort=False) if columns else [((), rows)])
    }
    first = min(states)
    controls = tuple(
        Choice(name, tuple(map(_word, found)), start=start)
        for (name, found), start in zip(values.items(), first, strict=True)
    )
    title = "Where planted neurons are recovered: sample size against dimension"
    return Explorer(title, controls, states, probes=("Samples n", "Dimension d"))


def _word(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:g}"


def _named(column: str, value: str | float) -> str:
    """A value as a sentence has it."""
    sign = {"neurons": "k = ", "noise": "σ = "}.get(column, "")
    return sign + _word(value)


def counts(rows: pd.DataFrame) -> pd.DataFrame:
    """For every (n, d): level (0 to 1, missing if nothing was decided) and a sentence."""
    by_place = rows.groupby(["samples", "dim"])
    trials = by_place.size()
    if (rows["shown"] == RECOVERED).all():
        outcome = rows["outcome"]
        found, undecided, not_run = (
            rows.assign(hit=outcome == name).groupby(["samples", "dim"])["hit"].sum()
            for name in ("recovered", "undecided", "not run")
        )
        decided = trials - undecided - not_run
        level = (found / decided.where(decided > 0)).astype(float)
        says = [
            f"{hit} of {of} trials recovered" + f", {open_} undecided" * (open_ > 0)
            if of else "nothing decided" if open_ else "not posed"
            for hit, of, open_ in zip(found, decided, undecided, strict=True)
        ]  # fmt: skip
    else:
        mean = by_place["weight_distance"].mean()
        span = np.log10(mean.clip(lower=10**_NEAREST))
        level = ((_FARTHEST - span) / (_FARTHEST - _NEAREST)).clip(0, 1)
        says = [f"mean distance {v:.1e}" if np.isfinite(v) else "not posed" for v in mean]
    return pd.DataFrame({"level": level, "says": says})


def _state(rows: pd.DataFrame, chosen: str, lines: Mapping[str, Callable]) -> State:
    found = counts(rows)
    level, says = found["level"].unstack("samples"), found["says"].unstack("samples")
    samples, dims = level.columns.to_list(), level.index.to_list()
    edges = [
        (v[0] - (v[1] - v[0]) / 2, v[-1] + (v[-1] - v[-2]) / 2) if len(v) > 1 else (v[0], v[0] + 1)
        for v in (samples, dims)
    ]
    shares = (rows["shown"] == RECOVERED).all()
    name = (
        "full colour: all recovered"
        if shares
        else "full colour: 0.001 or closer, none: 1 or farther"
    )
    words = says.fillna("not run").to_numpy().ravel()
    colours = probed(
        heat(level, *edges, name=name),
        {"n": [str(n) for n in samples], "d": [str(d) for d in dims]},
        "At n = {0}, d = {1}: {2}.",
        np.tile(samples, len(dims)), np.repeat(dims, len(samples)), words,
    )  # fmt: skip
    over = [
        line(curve(np.array(dims)), dims, colour=1, dash=True, name=label)
        for label, curve in lines.items()
    ]
    text = f"{chosen}: " if chosen else ""
    text += f"{rows['trial'].nunique()} trials at each of {level.size} places; "
    if shares:
        most = float((level > 0.5).sum().sum() / max(1, level.notna().sum().sum()))
        text += f"{100 * most:.0f}% of the places are recovered by most trials."
    else:
        mean = rows.groupby(["samples", "dim"])["weight_distance"].mean()
        text += f"mean distances from {mean.min():.1e} to {mean.max():.1e}."
    x, y = axis("sample size n", *edges[0]), axis("dimension d", *edges[1])
    what = "Share of trials that recover" if shares else "Distance to the planted weights"
    return State((panel(what, x, y, colours, *over, height=330),), text)
