"""From a table and an axes to a picture: no files, and no number of theory typed by hand."""

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize

from llrnb import checks, pictures

# Okabe and Ito's palette, distinguishable with any colour vision.
BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILION = (
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00"
)  # fmt: skip
COLOURS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY)


def style() -> None:
    """The book's figure style: white ground, so that a figure is legible on a dark page, too.

    In a notebook, figures are stored with their numbers (see `llrnb.pictures`).
    """
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is not None:
        pictures.publish(shell)
    plt.rcParams.update(
        {
            "figure.facecolor": "white",
            "figure.dpi": 110,
            "figure.constrained_layout.use": True,
            "font.size": 10,
            "axes.titlesize": 10,
            "axes.titlelocation": "left",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.prop_cycle": plt.cycler(color=COLOURS),
            "legend.frameon": False,
        }
    )


def sample_size_rows(
    axes: Axes, table: pd.DataFrame, *, value: str, ranks: Sequence[int], norm: Normalize,
    cmap: str
) -> ScalarMappable:  # fmt: skip
    """One row of colour per network, sample size across, a dashed line at each row's model rank.

    Args:
        axes: where to draw.
        table: columns row (label), samples and the one named by `value`; values of the same row
            and sample size are averaged. Rows are drawn from the bottom up, in order of appearance.
        value: the column to show.
        ranks: the model rank of each row.
        norm, cmap: from values to colours.
    """
    checks.table(table, ["row", "samples", value])
    labels = list(dict.fromkeys(table["row"]))
    grid = table.pivot_table(index="row", columns="samples", values=value, aggfunc="mean")
    sizes = grid.columns.to_numpy(float)
    steps = np.diff(sizes) / 2 if len(sizes) > 1 else np.array([0.5])
    edges = np.concatenate(
        [[sizes[0] - steps[0]], sizes[:-1] + np.diff(sizes) / 2, [sizes[-1] + steps[-1]]]
    )
    colours = axes.pcolormesh(
        edges, np.arange(len(labels) + 1) - 0.5, grid.loc[labels], norm=norm, cmap=cmap
    )
    for row, rank in enumerate(ranks):
        dash: dict[str, Any] = {"ymin": row - 0.5, "ymax": row + 0.5, "zorder": 3}
        axes.vlines(rank, **dash, color="white", linewidth=3.5)
        axes.vlines(rank, **dash, color=VERMILION, linewidth=2, linestyle=(0, (2.5, 1)))
    axes.hlines(np.arange(len(labels) - 1) + 0.5, edges[0], edges[-1], color="white", zorder=2)
    axes.set_yticks(range(len(labels)), labels)
    axes.set_xlabel("sample size n")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return colours


def fig3(table: pd.DataFrame, *, value: str, ranks: Mapping[str, int], label: str) -> plt.Figure:
    """Panels (a) to (d) of Figure 3 of the LLR paper.

    Args:
        table: rows of `llrnb.sweep.run`, at one learning rate per cell.
        value: "test_error" (logarithmic colours) or a column of fractions.
        ranks: the target's model rank in each family.
        label: what the colours mean.
    """
    families = list(checks.mapping(ranks, "ranks"))
    checks.table(table, ["family", "multiple", "parameters", "samples"])
    checks.one_of(table.columns, "value", value)
    if len(families) != 3 or set(families) - set(table["family"]):
        raise ValueError(f"the figure needs rows of three families, got {families}")
    narrowest = table["multiple"] == table["multiple"].min()
    panels = {"(a) narrowest networks": table[narrowest].assign(row=lambda t: t["family"])}
    for letter, family in zip("bcdefg", families, strict=False):
        of_family = table[table["family"] == family]
        panels[f"({letter}) {family}"] = of_family.assign(
            row=of_family["multiple"].map("{}×".format)
            + of_family["parameters"].map(", M = {}".format)
        )
    logarithmic = value.endswith("error")
    norm = LogNorm(1e-6, 1, clip=True) if logarithmic else Normalize(0, 1)
    figure, grid = plt.subplots(2, 2, figsize=(8.2, 4.6), sharex=True)
    for axes, (title, rows) in zip(grid.flat, panels.items(), strict=True):
        of_row = rows.drop_duplicates("row")["family"].map(ranks)
        colours = sample_size_rows(
            axes, rows, value=value, ranks=list(of_row), norm=norm,
            cmap="Blues" if logarithmic else "Greens",
        )  # fmt: skip
        axes.set_title(title, loc="left")
    for axes in grid[0]:
        axes.set_xlabel("")
    bar = figure.colorbar(
        colours, ax=grid, label=label, extend="both" if logarithmic else "neither"
    )
    bar.outline.set_visible(False)
    return figure


def comparison(table: pd.DataFrame, *, ranks: Mapping[str, int] | None = None) -> plt.Figure:
    """Mean test error against sample size, a line with standard errors for each network.

    Args:
        table: rows of `llrnb.sweep.means`, at one learning rate per network and sample size.
        ranks: the target's model rank in each family, drawn as a dashed line of its colour.
    """
    columns = ["variant", "family", "multiple", "samples", "test_error", "test_error_sem"]
    checks.table(table, columns)
    figure, axes = plt.subplots(figsize=(6.4, 3.4))
    for (variant, family, multiple), rows in table.groupby(
        ["variant", "family", "multiple"], sort=False, dropna=False
    ):
        times = "" if pd.isna(multiple) else f" {multiple:g}×"
        rows = rows.sort_values("samples")
        line = axes.errorbar(
            rows["samples"], rows["test_error"], rows["test_error_sem"].fillna(0), marker="o",
            markersize=4, capsize=3, label=f"{family}{times}{', ' * bool(variant)}{variant}",
        )  # fmt: skip
        if ranks:
            axes.axvline(ranks[family], color=line[0].get_color(), linestyle="--", linewidth=1)
    axes.set(xscale="log", yscale="log", xlabel="sample size n", ylabel="mean test error")
    axes.legend()
    return figure


def learning_curves(table: pd.DataFrame) -> plt.Figure:
    """Train loss and test error against the step, a line for each network.

    Args:
        table: rows of `llrnb.sweep.train_cell` with recorded steps.
    """
    columns = ["samples", "learning_rate", "trial", "recorded", "train_loss", "test_error"]
    checks.table(table, columns)
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3), sharex=True, sharey=True)
    networks = table.groupby(["samples", "learning_rate", "trial"], sort=False)
    for number, (_, rows) in enumerate(networks):
        colour = COLOURS[number % len(COLOURS)]
        left.plot(rows["recorded"], rows["train_loss"], color=colour)
        right.plot(rows["recorded"], rows["test_error"], color=colour)
    left.set(xscale="log", yscale="log", xlabel="step", ylabel="mean squared error", title="train")
    right.set(xlabel="step", title="test")
    return figure


def cosine_similarities(axes: Axes, vectors: np.ndarray) -> ScalarMappable:
    """The absolute cosine between every two vectors (vector, entry), each next to its likes.

    Condensed neurons form dark blocks. The sign is dropped, since tanh is odd.
    """
    vectors = checks.array(vectors, "vectors", None, None)
    if not vectors.any(axis=1).all():
        raise ValueError("a cosine needs vectors that are not zero, got a zero one")
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = np.abs(unit @ unit.T)
    order, left = [0], set(range(1, len(unit)))
    while left:
        order.append(max(left, key=lambda i: cosines[order[-1], i]))
        left.remove(order[-1])
    image = axes.imshow(cosines[order][:, order], cmap="Purples", norm=Normalize(0, 1))
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    return image


def network_diagram(
    axes: Axes, weights: Sequence[np.ndarray], new: Sequence[Sequence[int]] = ()
) -> None:
    """A network as it is: a circle per neuron, a line per weight, wide if large, blue if positive.

    Args:
        axes: where to draw, inputs on the left.
        weights: one matrix (neuron, neuron before) per layer.
        new: for each layer, inputs included, the neurons to fill in.
    """
    widths = [weights[0].shape[1], *(len(weight) for weight in weights)]
    places = [[(x, (k - 1) / 2 - i) for i in range(k)] for x, k in enumerate(widths)]
    largest = max(np.abs(weight).max() for weight in weights)
    for weight, before, after in zip(weights, places, places[1:], strict=False):
        for (i, j), value in np.ndenumerate(weight):
            (x, y), (to_x, to_y) = before[j], after[i]
            colour = BLUE if value > 0 else VERMILION
            width = 5 * abs(value) / largest
            axes.plot([x, to_x], [y, to_y], color=colour, linewidth=width, zorder=1)
    for layer, points in enumerate(places):
        filled = new[layer] if layer < len(new) else ()
        colours = [ORANGE if i in filled else "white" for i in range(len(points))]
        xs, ys = zip(*points, strict=True)
        axes.scatter(xs, ys, s=150, c=colours, edgecolors="black", clip_on=False, zorder=2)
    axes.set_aspect("equal")
    axes.margins(0.15)
    axes.axis("off")


def phase_diagram(
    table: pd.DataFrame,
    *,
    label: str,
    lines: Mapping[str, Callable[[np.ndarray], np.ndarray]] | None = None,
    boundary: float | None = 0.5,
    share: bool = True,
) -> plt.Figure:
    """Sample size n across, dimension d up, colour for the value; one panel per variant.

    Args:
        table: columns variant, samples, dim and value, one row for each (n, d) of a variant. Where
            the value is missing the panel is hatched.
        label: of the colours.
        lines: for each label, n as a function of d, drawn over all panels.
        boundary: the level at which values are outlined; None for no outline.
        share: whether values are shares, from 0 to 1; else the colours are logarithmic.
    """
    checks.table(table, ["variant", "samples", "dim", "value"])
    variants = list(dict.fromkeys(table["variant"]))
    rows = -(-len(variants) // 2) if len(variants) > 1 else 1
    columns = min(len(variants), 2)
    figure, grid = plt.subplots(
        rows, columns, figsize=(3.6 * columns + 1, 2.6 * rows + 0.3), sharex=True, sharey=True,
        squeeze=False,
    )  # fmt: skip
    values = table["value"].to_numpy(float)
    positive = values[np.isfinite(values) & (values > 0)]
    low = max(positive.min(initial=1.0), positive.max(initial=1.0) * 1e-4)
    norm = Normalize(0, 1) if share else LogNorm(low, positive.max(initial=1.0))
    for axes, variant in zip(grid.flat, variants, strict=False):
        panel = table[table["variant"] == variant].pivot(
            index="dim", columns="samples", values="value"
        )
        colours = _phase_panel(axes, panel, norm=norm, boundary=boundary)
        for number, (name, line) in enumerate((lines or {}).items()):
            dims = np.linspace(panel.index.min(), panel.index.max(), 50)
            axes.plot(line(dims), dims, color="white", linewidth=3, scalex=False, scaley=False)
            axes.plot(
                line(dims), dims, color=COLOURS[1 + number], linestyle="--", label=name,
                scalex=False, scaley=False,
            )  # fmt: skip
        axes.set_title(variant)
    for axes in grid.flat[len(variants) :]:
        axes.remove()
    for axes in grid.flat[len(variants) - columns : len(variants)]:  # the lowest of each column
        axes.set_xlabel("sample size n")
        axes.tick_params(labelbottom=True)
    for axes in grid[:, 0]:
        axes.set_ylabel("dimension d")
    if lines:
        grid[0, 0].legend(loc="upper left", frameon=True, framealpha=0.9)
    figure.colorbar(colours, ax=figure.axes, label=label, extend="neither" if share else "min")
    return figure


def _phase_panel(
    axes: Axes, panel: pd.DataFrame, *, norm: Normalize, boundary: float | None
) -> ScalarMappable:
    """Colours on a grid of dimensions (rows) and sample sizes (columns)."""
    axes.patch.set(hatch="////", edgecolor="0.75", facecolor="white")
    samples, dims = panel.columns.to_numpy(float), panel.index.to_numpy(float)
    shown = panel.clip(lower=norm.vmin)
    colours = axes.pcolormesh(samples, dims, shown, norm=norm, cmap="viridis", shading="nearest")
    if boundary is not None and min(panel.shape) > 1:
        axes.contour(
            samples, dims, panel.fillna(0), levels=[boundary], colors="black", linewidths=1.2
        )
    return colours


def distance_map(table: pd.DataFrame, metric: str) -> plt.Figure:
    """A phase diagram of the mean of a distance over the trials of each (n, d).

    Args:
        table: columns variant, samples, dim and the distance's, one row per trial.
        metric: the distance's column, such as "weight_distance".
    """
    checks.table(table, ["variant", "samples", "dim"])
    checks.one_of(table.columns, "metric", metric)
    trials = table.groupby(["variant", "samples", "dim"], sort=False)[metric]
    means = trials.mean().rename("value").reset_index()
    label = f"mean {metric.replace('_', ' ')}"
    return phase_diagram(means, label=label, boundary=None, share=False)
