"""What panels are made of, as JSON's values: the same description is drawn in a page and in print.

A panel is a frame (title, axes) and marks in it. Colours are numbers: 0 to 5 for the book's
palette, INK for that of the text. Numbers are rounded, so that they are short, and the same on any
processor.
"""

from collections.abc import Iterable, Mapping, Sequence
from math import ceil, floor, log10

import numpy as np

Mark = Mapping[str, object]
INK = -1
# A level between 0 and 1 as a character; a point stands for a missing one.
LEVELS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_"


def rounded(values: Iterable, digits: int = 3) -> list[float | None]:
    """To so many significant digits; None where missing or infinite."""
    short = (float(f"{value:.{digits}g}") for value in np.ravel(values).astype(float))
    return [
        None if not np.isfinite(v) else int(v) if abs(v) < 1e6 and v == int(v) else v for v in short
    ]


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
        "label": label, "low": float(low), "high": float(high), "log": log,
        "ticks": [list(tick) for tick in ticks],
    }  # fmt: skip


def panel(title: str, x: dict, y: dict, *marks: Mark, height: int = 240, square=False) -> dict:
    """Marks between two axes, `height` pixels tall, or as tall as wide."""
    return {
        "frame": {"title": title, "x": x, "y": y, "height": height, "square": square},
        "marks": list(marks),
    }


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


def dots(x, y, *, colour=0, name="", radius: float | Iterable = 4.0, hollow=False) -> dict:
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
