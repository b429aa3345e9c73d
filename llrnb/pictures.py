"""A picture that carries what was drawn: its numbers, its words and its vector form.

A notebook stores a figure as PNG. `carrying` writes into that PNG, as compressed text that image
viewers pass over, the plotted numbers with the constants and the code of the cell that drew them,
a description for readers who cannot see it, and the same figure as SVG. `carried` reads them back.
"""

import inspect
import io
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from weakref import WeakSet

import matplotlib.pyplot as plt
import numpy as np
from matplotlib import collections, image, patches
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from PIL.PngImagePlugin import PngInfo

DIGITS = 6  # of a number in the data
SERIES_DESCRIBED = 6  # per panel; the others are in the data
CLOUD = 1_000  # points; so many are drawn as one image in the SVG
SVG_AT_MOST = 400_000  # bytes; a larger one opens slowly
TEXT_AT_MOST = 1_000_000  # bytes; what Pillow reads of one text of a PNG

_PUBLISHING: WeakSet = WeakSet()  # shells


@dataclass(frozen=True)
class Carried:
    """What a picture carries.

    Attributes:
        text: JSON with the keys "panels" (see `numbers`), "constants" and "code".
        description: the panels in words and numbers.
        svg: the figure as vector graphics, or None for one of very many marks.
    """

    text: str
    description: str
    svg: str | None


def carrying(figure: Figure, *, constants: Mapping | None = None, code: str = "") -> bytes:
    """The figure as PNG that carries its numbers, description and vector form.

    Args:
        figure: a figure as it is to be seen.
        constants: names and values that the figure depends on; what JSON cannot hold is left out.
        code: the lines that drew it.

    Series of more than a megabyte in all are left out, which the data say.
    """
    panels = numbers(figure)
    data = {"panels": panels, "constants": plain(constants or {}), "code": code}
    texts = {"Description": describe(panels), "Data": _json(data)}
    if len(texts["Data"].encode()) > TEXT_AT_MOST:
        bare = [{**panel, "series": "left out: too many numbers"} for panel in panels]
        texts["Data"] = _json({**data, "panels": bare})
    if len(svg := _svg(figure)) <= SVG_AT_MOST:
        texts["SVG"] = svg
    info = PngInfo()
    for name, text in texts.items():
        info.add_itxt(name, text, zip=True)
    file = io.BytesIO()
    figure.savefig(file, format="png", bbox_inches="tight", pil_kwargs={"pnginfo": info})
    return file.getvalue()


def carried(png: bytes) -> Carried | None:
    """What a picture carries; None if it is not from `carrying`."""
    with Image.open(io.BytesIO(png)) as picture:
        texts = getattr(picture, "text", {})
    if "Data" not in texts:
        return None
    return Carried(str(texts["Data"]), str(texts["Description"]), texts.get("SVG"))


def numbers(figure: Figure) -> list[dict]:
    """The panels of a figure: title, axes, and the series drawn in their coordinates.

    Each series has a "kind" (line, points, band, bars, grid, image, segments), its label where it
    has one, and lists of numbers, null where nothing is drawn.
    """
    return [
        {
            "title": axes.get_title() or axes.get_title("left"),
            "x": _axis(axes, "x"),
            "y": _axis(axes, "y"),
            "series": list(_series(axes)),
        }
        for axes in figure.axes
        if axes.get_label() != "<colorbar>"
    ]


def describe(panels: list[dict]) -> str:
    """The panels in words: of each series the range, and for lines with a name both ends."""
    parts = []
    for number, panel in enumerate(panels, 1):
        lines = [s for s in panel["series"] if s["kind"] == "line" and "label" not in s]
        others = [s for s in panel["series"] if s not in lines]
        shown = [words for s in others if (words := _in_words(s))] + _together(lines)
        left = len(shown) - SERIES_DESCRIBED
        more = [f"and {left} more"] * (left > 0)
        name = _spoken(panel["title"]) or (f"Panel {number}" if len(panels) > 1 else "")
        across = " against ".join(
            filter(None, (_spoken(panel[axis]["label"]) for axis in ("y", "x")))
        )
        head = ", ".join(filter(None, (name, across)))
        body = "; ".join(shown[:SERIES_DESCRIBED] + more)
        parts.append(": ".join(filter(None, (head, body))) + ".")
    return " ".join(parts)


def plain(values: Mapping) -> dict:
    """Those of the values that JSON can hold: numbers, texts, and short lists of them."""
    return {name: value for name, value in values.items() if _is_plain(value)}


def publish(shell) -> None:
    """From now on the notebook of the IPython ``shell`` stores its figures `carrying`."""
    if shell in _PUBLISHING:
        return
    _PUBLISHING.add(shell)

    def stored(figure: Figure) -> bytes:
        own = set(shell.user_ns) - set(shell.user_ns_hidden)
        names = {k: shell.user_ns[k] for k in sorted(own) if not k.startswith("_")}
        return carrying(figure, constants=names, code=shell.user_ns["In"][-1])

    def register(*_) -> None:
        shell.display_formatter.formatters["image/png"].for_type(Figure, stored)

    # The inline backend sets its own way after the cell that first asks for it, which is this one.
    plt.draw_if_interactive()
    register()
    shell.events.register("pre_run_cell", register)


def _svg(figure: Figure) -> str:
    for mesh in figure.findobj(collections.QuadMesh):
        mesh.set_rasterized(True)  # as vectors its cells would show seams
    for points in figure.findobj(collections.PathCollection):
        points.set_rasterized(len(np.asarray(points.get_offsets())) > CLOUD)
    file = io.StringIO()
    with plt.rc_context({"svg.hashsalt": "llrnb"}):  # equal figures have equal bytes
        figure.savefig(file, format="svg", dpi=220, bbox_inches="tight", metadata={"Date": None})
    return file.getvalue()


def _axis(axes: Axes, name: str) -> dict:
    axis = getattr(axes, f"{name}axis")
    found = {"label": axis.get_label_text(), "scale": axis.get_scale()}
    texts = [t.get_text() for t in axis.get_ticklabels()]
    if any(re.search("[A-Za-z]", re.sub(r"\\?math\w+", "", text)) for text in texts):
        found["ticks"] = texts
    return found


def _series(axes: Axes) -> Iterator[dict]:
    for line in axes.lines:
        xy = np.column_stack(np.broadcast_arrays(*line.get_data())).astype(float)
        if line.get_transform() == axes.transData and len(xy):
            kind = "points" if line.get_linestyle() in ("None", "") else "line"
            yield _named(line, kind=kind, x=xy[:, 0], y=xy[:, 1])
        elif len(xy):  # across the panel, at one value of the other coordinate
            fixed = "x" if line.get_transform() == axes.get_xaxis_transform() else "y"
            yield _named(line, kind="line", **{fixed: xy[:1, "xy".index(fixed)]})
    for drawn in axes.collections:
        if isinstance(drawn, collections.QuadMesh):
            corners = np.asarray(drawn.get_coordinates())
            values = _filled(drawn.get_array()).reshape(len(corners) - 1, -1)
            yield _named(drawn, kind="grid", x_edges=corners[0, :, 0], y_edges=corners[:, 0, 1],
                         values=values)  # fmt: skip
        elif isinstance(drawn, collections.PathCollection):
            xy = _filled(drawn.get_offsets())
            colours = drawn.get_array()
            extra = {} if colours is None else {"values": _filled(colours)}
            yield _named(drawn, kind="points", x=xy[:, 0], y=xy[:, 1], **extra)
        else:
            kind = "segments" if isinstance(drawn, collections.LineCollection) else "band"
            for path in drawn.get_paths():
                if len(xy := np.asarray(path.vertices)):
                    yield _named(drawn, kind=kind, x=xy[:, 0], y=xy[:, 1])
    for shown in axes.images:
        if isinstance(shown, image.AxesImage):
            yield _named(shown, kind="image", extent=np.array(shown.get_extent(), float),
                         values=_filled(shown.get_array()))  # fmt: skip
    boxes = [box for box in axes.patches if isinstance(box, patches.Rectangle)]
    if boxes:
        corners = np.array([(*b.get_xy(), b.get_width(), b.get_height()) for b in boxes], float)
        names = ("x", "y", "width", "height")
        yield {"kind": "bars"} | {n: _listed(c) for n, c in zip(names, corners.T, strict=True)}


def _filled(values) -> np.ndarray:
    """Numbers, NaN where they are masked."""
    return np.ma.filled(np.ma.asarray(values, float), np.nan)


def _named(drawn, *, kind: str, **values: np.ndarray) -> dict:
    label = str(drawn.get_label())
    name = {} if label.startswith("_") else {"label": label}
    return {"kind": kind, **name, **{key: _listed(value) for key, value in values.items()}}


def _listed(values: np.ndarray) -> list:
    """Nested lists of rounded numbers, None for what is not finite."""
    if values.ndim > 1:
        return [_listed(row) for row in values]
    return [float(f"{v:.{DIGITS}g}") if np.isfinite(v) else None for v in values]


def _in_words(series: dict) -> str:
    """A series in words; those without a name that only guide the eye are passed over."""
    name = _spoken(series.get("label", ""))
    kind = series["kind"]
    if kind in ("grid", "image"):
        rows = series["values"]
        seen = [v for row in rows for v in (row if isinstance(row, list) else [row])]
        seen = [v for v in seen if isinstance(v, float)]
        size = f"{len(rows)} by {len(rows[0])}" if isinstance(rows[0], list) else str(len(rows))
        return f"{kind} of {size} values from {min(seen):.3g} to {max(seen):.3g}" if seen else ""
    if kind == "bars":
        heights = [h for h in series["height"] if h is not None]
        return f"{len(heights)} bars of height {min(heights):.3g} to {max(heights):.3g}"
    if kind in ("band", "segments"):
        return ""
    if "y" not in series or "x" not in series:
        axis = "x" if "x" in series else "y"
        return f"{name} at {axis} = {series[axis][0]:.4g}" if name else ""
    points = [p for p in zip(series["x"], series["y"], strict=True) if None not in p]
    if not points:
        return ""
    (x, y), (to_x, to_y) = points[0], points[-1]
    if kind == "line" and len(points) > 1:
        xs, ys = zip(*points, strict=True)
        if len(set(xs)) == 1:
            return f"{name} at {x:.4g}"
        if len(set(ys)) == 1:
            return f"{name}: {y:.3g} from {x:.4g} to {to_x:.4g}"
        return f"{name} from {y:.3g} at {x:.4g} to {to_y:.3g} at {to_x:.4g}"
    low, high = min(p[1] for p in points), max(p[1] for p in points)
    many = "1 point" if len(points) == 1 else f"{len(points)} points"
    between = f"at {low:.3g}" if low == high else f"from {low:.3g} to {high:.3g}"
    return f"{name}: {many} {between}" if name else f"{many} {between}"


def _together(lines: list[dict]) -> list[str]:
    """Lines without names, but for those that mark one place."""
    curves = [[y for y in s.get("y", ()) if y is not None] for s in lines]
    curves = [ys for s, ys in zip(lines, curves, strict=True) if len({*s.get("x", ())}) > 1 and ys]
    if not curves:
        return []
    low, high = min(map(min, curves)), max(map(max, curves))
    many = "a line" if len(curves) == 1 else f"{len(curves)} lines"
    return [f"{many} between {low:.3g} and {high:.3g}"]


def _spoken(label: str) -> str:
    """A label without the marks of TeX."""
    label = re.sub(r"\\(?:math\w+|text|operatorname)\b|[${}]", "", label)
    return re.sub(r"\s+", " ", label.replace("\\", "").replace("\n", " ")).strip()


def _is_plain(value, depth: int = 0) -> bool:
    if isinstance(value, (list, tuple, range)):
        return depth < 2 and len(value) <= 64 and all(_is_plain(v, depth + 1) for v in value)
    if isinstance(value, float):
        return bool(np.isfinite(value))
    return isinstance(value, (bool, int, str, type(None))) and not inspect.isclass(value)


def _json(value) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=list)
