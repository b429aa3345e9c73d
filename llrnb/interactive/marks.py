"""What panels are made of, as JSON's values: the same description is drawn in a page and in print.

A panel is a frame (title, axes) and marks in it. Colours are numbers: 0 to 5 for the book's
palette, INK for that of the text. Numbers are rounded to what a screen shows: three digits, and
thousandths of a linear axis. So they are short, and free of rounding noise. Integers are kept.
"""

from collections.abc import Iterable, Mapping, Sequence
from math import ceil, floor, log10
from typing import Any

import numpy as np

Mark = Mapping[str, Any]
INK = -1
# A level between 0 and 1 as a character; a point stands for a missing one.
LEVELS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_"


def rounded(values, digits: int = 3) -> list[float | None]:
    """Floats to so many significant digits, None if not finite; integers as they are."""
    values = np.ravel(np.asarray(values))
    if np.issubdtype(values.dtype, np.integer):
        return values.tolist()
    return [_short(value, digits) for value in values.astype(float)]


def _short(value: float, digits: int) -> float | None:
    return float(f"{value:.{digits}g}") + 0.0 if np.isfinite(value) else None  # not -0


def axis(
    label: str,
    low: float,
    high: float,
    *,
    log: bool = False,
    ticks: Sequence[tuple[float, str]] | None = None,
) -> dict:
    """An axis between two values; ticks at round numbers unless they are given."""
    if ticks is None:
        ticks = _decades(low, high) if log else _round_numbers(low, high)
    return {
        "label": label, "low": _short(low, 4), "high": _short(high, 4), "log": log,
        "ticks": [list(tick) for tick in ticks],
    }  # fmt: skip


def panel(title: str, x: dict, y: dict, *marks: Mark, height: int = 240, square=False) -> dict:
    """Marks between two axes, `height` pixels tall, or as tall as wide."""
    return {
        "frame": {"title": title, "x": x, "y": y, "height": height, "square": square},
        "marks": [_on_screen(mark, x, y) for mark in marks],
    }


def _on_screen(mark: Mark, x: dict, y: dict) -> Mark:
    """The mark with its coordinates on linear axes rounded to what a screen can tell apart."""
    axes = {"x": x, "to_x": x, "y": y, "to_y": y, "low": y, "high": y}
    linear = {key: axis for key, axis in axes.items() if key in mark and not axis["log"]}
    return {**mark, **{key: _to_thousandths(mark[key], axis) for key, axis in linear.items()}}


def _to_thousandths(values: Sequence[float | None], axis: dict) -> list[float | None]:
    """Rounded to a power of ten, a thousandth of the axis or less."""
    decimals = 3 - floor(log10(abs(axis["high"] - axis["low"])))
    return [v if v is None or type(v) is int else round(v, decimals) + 0.0 for v in values]


def line(x, y, *, colour=0, name="", dash=False, dots=False, width=2.0) -> dict:
    """A line through points; broken where a value is missing."""
    return {
        "kind": "line", "x": rounded(x), "y": rounded(y), "colour": colour, "name": name,
        "dash": dash, "dots": dots, "width": width,
    }  # fmt: skip


def band(x, low, high, *, colour=0) -> dict:
    """The area between two lines."""
    return {
        "kind": "band", "x": rounded(x), "low": rounded(low), "high": rounded(high),
        "colour": colour,
    }  # fmt: skip


def dots(x, y, *, colour=0, name="", radius=4.0, hollow=False) -> dict:
    """A circle at each point, all of one radius or each of its own, in pixels."""
    x = rounded(x)
    sizes = rounded(np.broadcast_to(radius, len(x)), 2) if np.ndim(radius) else radius
    return {
        "kind": "dots", "x": x, "y": rounded(y), "colour": colour, "name": name,
        "radius": sizes, "hollow": hollow,
    }  # fmt: skip


def segments(x, y, to_x, to_y, *, widths, colours) -> dict:
    """Straight lines from points to points, each of its own width in pixels and colour."""
    return {
        "kind": "segments", "x": rounded(x), "y": rounded(y), "to_x": rounded(to_x),
        "to_y": rounded(to_y), "widths": rounded(widths, 2), "colours": list(colours),
    }  # fmt: skip


def labels(x, y, texts: Sequence[str]) -> dict:
    """A word at each point."""
    return {"kind": "labels", "x": rounded(x), "y": rounded(y), "texts": list(texts)}


def heat(values: Iterable, x: tuple, y: tuple, *, colour=0, name="") -> dict:
    """Cells of equal size for values between 0 and 1, the first row at y[0]; missing: hatched."""
    values = np.asarray(values, float)
    steps = np.round(np.clip(np.nan_to_num(values), 0, 1) * (len(LEVELS) - 1)).astype(int)
    characters = np.where(np.isfinite(values), np.array(list(LEVELS))[steps], ".")
    return {
        "kind": "heat", "rows": ["".join(row) for row in characters], "x": rounded(x),
        "y": rounded(y), "colour": colour, "name": name,
    }  # fmt: skip


def table(rows: Sequence[Sequence[str]], tints: Sequence[Sequence[int]]) -> dict:
    """Words in cells of size 1, the first row from y = 0 to 1; a tint is a colour, INK for none."""
    return {"kind": "table", "rows": [list(r) for r in rows], "tints": [list(r) for r in tints]}


def probed(mark: Mark, values: Mapping[str, Sequence], template: str, *columns: Iterable) -> dict:
    """A mark whose points, or cells, can be asked for their numbers.

    Args:
        mark: a line or dots (one probe), or a heat map (two, across and up).
        values: the name of each probe and its values.
        template: the answer, with {0}, {1}, ... for the columns: {1:e} with an exponent, {1:%} in
            percent.
        columns: for each number its values at all points, or cells row by row.
    """
    probe = {
        "values": [list(v) for v in values.values()],
        "template": template,
        "columns": [c if isinstance(c[0], str) else rounded(c) for c in map(list, columns)],
    }
    return {**mark, "probe": probe}


def _decades(low: float, high: float) -> list[tuple[float, str]]:
    first, last = ceil(log10(low) - 1e-9), floor(log10(high) + 1e-9)
    step = max(1, ceil((last - first) / 6))
    return [(10.0**p, power(p)) for p in range(first, last + 1, step)]


def power(exponent: int) -> str:
    """10 to a power, in Unicode."""
    small = {0: "1", 1: "10"}
    return small.get(exponent) or "10" + str(exponent).translate(
        str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
    )


def _round_numbers(low: float, high: float) -> list[tuple[float, str]]:
    raw = (high - low) / 7
    unit = 10.0 ** floor(log10(raw))
    step = next(unit * m for m in (1, 2, 5, 10) if unit * m >= raw * 0.999)
    values = [step * k for k in range(ceil(low / step - 1e-9), floor(high / step + 1e-9) + 1)]
    return [(float(f"{v:.6g}"), f"{v:.6g}".replace("-", "−")) for v in values]
