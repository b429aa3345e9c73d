"""Panels in print."""

from collections.abc import Mapping, Sequence
from io import BytesIO

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from llrnb import figures, pictures
from llrnb.interactive.marks import LEVELS

_INK = "0.2"


def picture(panels: Sequence[Mapping], constants: Mapping | None = None) -> bytes:
    """The panels side by side, as PNG; with ``constants`` one that carries its numbers, too."""
    with plt.rc_context():
        figures.style()
        height = max(p["frame"]["height"] for p in panels) / 72
        figure, grid = plt.subplots(
            1, len(panels), figsize=(3.6 * len(panels) + 0.6, min(height, 5)), squeeze=False
        )
        for axes, panel in zip(grid.flat, panels, strict=True):
            _frame(axes, panel["frame"])
            for mark in panel["marks"]:
                _DRAW[mark["kind"]](axes, mark)
            if axes.get_legend_handles_labels()[0]:
                axes.legend(fontsize=8, frameon=any(m["kind"] == "heat" for m in panel["marks"]))
        if constants is not None:
            png = pictures.carrying(figure, constants=constants)
        else:
            file = BytesIO()
            figure.savefig(file, format="png")
            png = file.getvalue()
        plt.close(figure)
    return png


def _frame(axes: Axes, frame: Mapping) -> None:
    axes.set_title(frame["title"])
    for name in "xy":
        about = frame[name]
        if about["log"]:
            axes.set(**{f"{name}scale": "log"})
        limits = about["low"], about["high"]
        axes.set(**{f"{name}lim": limits, f"{name}label": about["label"]})
        positions, texts = zip(*about["ticks"], strict=True) if about["ticks"] else ((), ())
        axes.set(**{f"{name}ticks": positions, f"{name}ticklabels": texts})
        getattr(axes, f"{name}axis").set_ticks([], minor=True)
        if not about["ticks"]:
            axes.spines["bottom" if name == "x" else "left"].set_visible(False)
    if frame["square"]:
        axes.set_box_aspect(1)


def _colour(number: int) -> str:
    return _INK if number < 0 else figures.COLOURS[number]


def _floats(values) -> np.ndarray:
    return np.array(values, dtype=float)  # None becomes nan


def _line(axes: Axes, mark: Mapping) -> None:
    axes.plot(
        _floats(mark["x"]), _floats(mark["y"]), color=_colour(mark["colour"]),
        linestyle="--" if mark["dash"] else "-", marker="o" if mark["dots"] else "",
        markersize=3, linewidth=mark["width"] * 0.8, label=mark["name"] or None,
    )  # fmt: skip


def _band(axes: Axes, mark: Mapping) -> None:
    x, low, high = (_floats(mark[key]) for key in ("x", "low", "high"))
    axes.fill_between(x, low, high, color=_colour(mark["colour"]), alpha=0.2, linewidth=0)


def _dots(axes: Axes, mark: Mapping) -> None:
    colour = _colour(mark["colour"])
    axes.scatter(
        _floats(mark["x"]), _floats(mark["y"]), s=1.5 * _floats(mark["radius"]) ** 2,
        facecolors="none" if mark["hollow"] else colour, edgecolors=colour,
        label=mark["name"] or None, zorder=3,
    )  # fmt: skip


def _segments(axes: Axes, mark: Mapping) -> None:
    ends = [_floats(mark[key]) for key in ("x", "to_x", "y", "to_y")]
    for x, to_x, y, to_y, width, colour in zip(*ends, mark["widths"], mark["colours"], strict=True):
        axes.plot([x, to_x], [y, to_y], color=_colour(colour), linewidth=0.8 * width)


def _labels(axes: Axes, mark: Mapping) -> None:
    for x, y, text in zip(mark["x"], mark["y"], mark["texts"], strict=True):
        axes.text(x, y, text, ha="center", va="center", fontsize=8)


def _heat(axes: Axes, mark: Mapping) -> None:
    levels = np.array([[LEVELS.find(c) for c in row] for row in mark["rows"]], float)
    levels[levels < 0] = np.nan
    ends = zip((mark["x"], mark["y"]), levels.T.shape, strict=True)
    x, y = (np.linspace(low, high, n + 1) for (low, high), n in ends)
    axes.patch.set(hatch="////", edgecolor="0.75")
    axes.pcolormesh(x, y, levels, cmap="Blues", vmin=0, vmax=len(LEVELS) - 1)


def _table(axes: Axes, mark: Mapping) -> None:
    for i, (row, tints) in enumerate(zip(mark["rows"], mark["tints"], strict=True)):
        for j, (text, tint) in enumerate(zip(row, tints, strict=True)):
            if tint >= 0:
                axes.add_patch(plt.Rectangle((j, i), 1, 1, color=_colour(tint), alpha=0.25))
            axes.text(j + 0.5, i + 0.5, text, ha="center", va="center", fontsize=8)


_DRAW = {
    "line": _line, "band": _band, "dots": _dots, "segments": _segments, "labels": _labels,
    "heat": _heat, "table": _table,
}  # fmt: skip
