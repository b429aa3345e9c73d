"""Figure 3, to be explored: one network at a time, with all its numbers."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from llrnb import transitions
from llrnb.interactive.explorer import Choice, Explorer, Position, State
from llrnb.interactive.marks import INK, axis, band, line, panel, probed, rounded
from llrnb.streams import rng

_BEST = "best at each n"
_LOWEST = 1e-13  # of the axis of errors


def recovery(table: pd.DataFrame, best: pd.DataFrame, *, ranks: Mapping[str, int]) -> Explorer:
    """Test error and recovered fraction against the sample size, for any network and rate.

    Recovered is a relative test error below 1e-4.

    Args:
        table: rows of `llrnb.sweep.run`.
        best: those at the best rate of each cell, by `llrnb.sweep.best_rate`.
        ranks: the target's model rank in each family.
    """
    rates = sorted(set(table["learning_rate"]))
    multiples = sorted(set(table["multiple"]))
    chosen = {_BEST: best} | {f"{r:g}": table[table["learning_rate"] == r] for r in rates}
    states: dict[Position, State] = {
        (i, j, k): _state(rows[(rows["family"] == family) & (rows["multiple"] == multiple)], rank)
        for i, (family, rank) in enumerate(ranks.items())
        for j, multiple in enumerate(multiples)
        if ((table["family"] == family) & (table["multiple"] == multiple)).any()
        for k, rows in enumerate(chosen.values())
    }
    widest = max((j for i, j, _ in states if i == 0), default=0)
    controls = (
        Choice("Network", tuple(ranks)),
        Choice("Multiple", tuple(f"{m:g}×" for m in multiples), start=widest),
        Choice("Learning rate", tuple(chosen)),
    )
    title = "Test error and recovered fraction against the sample size, for one network"
    return Explorer(title, controls, states, probes=("Samples n",))


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """For each sample size of one network the means over its trials, with 95% intervals.

    Returns:
        Indexed by sample size: error, low, high (a bootstrap's interval of the mean); fraction,
        fraction_low, fraction_high (Wilson's); loss (the median train loss).
    """
    by_size = rows.sort_values("trial").groupby("samples")
    errors = np.stack([group.to_numpy() for _, group in by_size["test_error"]])
    trials = errors.shape[1]
    draws = rng("bootstrap of means").integers(trials, size=(1000, trials))
    with np.errstate(invalid="ignore"):
        low, high = np.quantile(errors[:, draws].mean(axis=2), [0.025, 0.975], axis=1)
    successes = by_size["relative_error"].apply(lambda error: int((error < 1e-4).sum()))
    ends = transitions.binomial_interval(successes.to_numpy(), trials)
    return pd.DataFrame(
        {
            "error": errors.mean(axis=1), "low": low, "high": high,
            "fraction": successes / trials, "fraction_low": ends[0], "fraction_high": ends[1],
            "loss": by_size["train_loss"].median(),
        },
        index=successes.index,
    )  # fmt: skip


def _state(rows: pd.DataFrame, rank: int) -> State:
    found = summary(rows).apply(lambda column: pd.Series(rounded(column, 2), column.index, float))
    n, trials = found.index, rows["trial"].nunique()
    samples = axis("sample size n", 0, float(n.max()))
    dashed = {"colour": INK, "dash": True, "width": 1.5}
    at_rank = [rank, rank]
    errors = probed(
        line(n, found["error"].clip(_LOWEST), name="mean test error", dots=True),
        {"n": [str(size) for size in n]},
        "At n = {0}: mean test error {1:e} (95% interval {2:e} to {3:e}), {4:%} of "
        f"{trials} trials recovered (relative error below 1e-4), median train loss {{5:e}}.",
        n, *(found[name] for name in ("error", "low", "high", "fraction", "loss")),
    )  # fmt: skip
    panels = (
        panel(
            "Test error", samples, axis("mean squared error", _LOWEST, 20, log=True),
            band(n, found["low"].clip(_LOWEST), found["high"].clip(_LOWEST)), errors,
            line(at_rank, [_LOWEST, 20], name=f"model rank {rank}", **dashed),
        ),
        panel(
            "Who has recovered the target", samples, axis("fraction of trials", 0, 1),
            band(n, found["fraction_low"], found["fraction_high"], colour=2),
            line(n, found["fraction"], colour=2, name="relative error below 10⁻⁴", dots=True),
            line(at_rank, [0, 1], **dashed),
        ),
    )  # fmt: skip
    middle = transitions.transition_point(n.to_numpy(), found["fraction"].to_numpy())
    when = f"from about {middle:.0f}" if np.isfinite(middle) else "at none of these sizes"
    text = f"{rows['parameters'].iloc[0]:,} parameters, model rank {rank}; half recover {when}."
    return State(panels, text)
