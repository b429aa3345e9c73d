"""From a table and an axes to a picture: no files, and no number of theory typed by hand."""

import sys
from collections.abc import Callable, Mapping, Sequence
from string import ascii_lowercase
from textwrap import fill
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
_QUARTILES = {0.25: "lower", 0.75: "higher"}  # of losses that may be infinite
_MARKERS = "osD^v"  # one for every turn of the colours


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
            and sample size are averaged, and without colour if one of them is missing. Rows are
            drawn from the bottom up, in order of appearance.
        value: the column to show.
        ranks: the model rank of each row.
        norm, cmap: from values to colours.
    """
    checks.table(table, ["row", "samples", value])
    labels = list(dict.fromkeys(table["row"]))
    grid = _means(table, ["row", "samples"], value).unstack().sort_index(axis=1)
    sizes = grid.columns.to_numpy(float)
    steps = np.diff(sizes) / 2 if len(sizes) > 1 else np.array([0.5])
    edges = np.concatenate(
        [[sizes[0] - steps[0]], sizes[:-1] + np.diff(sizes) / 2, [sizes[-1] + steps[-1]]]
    )
    colours = axes.pcolormesh(
        edges, np.arange(len(labels) + 1) - 0.5, grid.loc[labels].replace(np.inf, norm.vmax),
        norm=norm, cmap=cmap,
    )  # fmt: skip
    for row, rank in enumerate(ranks):
        dash: dict[str, Any] = {"ymin": row - 0.5, "ymax": row + 0.5, "zorder": 3}
        axes.vlines(rank, **dash, color="white", linewidth=3.5)
        axes.vlines(rank, **dash, color=VERMILION, linewidth=2, linestyle=(0, (2.5, 1)))
    axes.hlines(np.arange(len(labels) - 1) + 0.5, edges[0], edges[-1], color="white", zorder=2)
    axes.set_yticks(range(len(labels)), [_in_lines(str(label), 20) for label in labels])
    axes.set_xlabel("sample size n")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return colours


def _means(
    table: pd.DataFrame, by: list[str], value: str, run: pd.Series | bool = True
) -> pd.Series:
    """Means of groups, missing where a number is missing of what was run."""
    groups = table.assign(lost=table[value].isna() & run).groupby(by, sort=False)
    return groups[value].mean().mask(groups["lost"].any())


def _one_row(table: pd.DataFrame, by: Sequence[str]) -> None:
    """Raise ValueError if several rows are the same in those of these columns that there are."""
    by = [name for name in by if name in table]
    twice = table.duplicated(by)
    if twice.any():
        example = table.loc[twice.to_numpy(), by].iloc[0].to_dict()
        raise ValueError(
            f"a figure needs one row for the same {', '.join(by)}, got several for {example}"
        )


def _one_row_per_trial(table: pd.DataFrame, by: Sequence[str]) -> None:
    """The same of the rows whose trial is known."""
    if "trial" in table:
        _one_row(table.dropna(subset="trial"), [*by, "trial"])


def _with_variant(table: pd.DataFrame) -> pd.DataFrame:
    """With a variant, which is empty where it is missing."""
    given = table["variant"].astype(object).fillna("") if "variant" in table else ""
    return table.assign(variant=given)


def fig3(table: pd.DataFrame, *, value: str, ranks: Mapping[str, int], label: str) -> plt.Figure:
    """Figure 3 of the LLR paper: the narrowest network of every family, and a panel for each.

    Args:
        table: rows of `llrnb.sweep.run`, of one variant, at one learning rate per cell.
        value: "test_error" or another error or loss (logarithmic colours; one that is not a number,
            of a network that has diverged, counts as infinite), or a column of fractions.
        ranks: the target's model rank in each family to show, in the order of the panels.
        label: what the colours mean.
    """
    families = list(checks.mapping(ranks, "ranks"))
    checks.table(table, ["family", "multiple", "parameters", "samples"])
    checks.one_of(table.columns, "value", value)
    if not families or set(families) - set(table["family"]):
        raise ValueError(f"the figure needs rows of 1 family or more, of each, got {families}")
    table = table[table["family"].isin(families)]
    if "variant" in table and table["variant"].nunique(dropna=False) > 1:
        raise ValueError(
            f"the figure needs rows of one variant, got {table['variant'].unique().tolist()}"
        )
    _one_row_per_trial(table, ["family", "multiple", "parameters", "samples"])
    logarithmic = value.endswith(("error", "loss"))
    titled = _of_families(table.fillna({value: np.inf}) if logarithmic else table, families)
    norm = LogNorm(1e-6, 1, clip=True) if logarithmic else Normalize(0, 1)
    most = max(rows["row"].nunique() for rows in titled.values())
    figure, panels = _panels(len(titled), max(2.15, 0.8 + 0.22 * most))
    for letter, axes, (title, rows) in zip(ascii_lowercase, panels, titled.items(), strict=False):
        of_row = rows.drop_duplicates("row")["family"].map(ranks)
        colours = sample_size_rows(
            axes, rows, value=value, ranks=list(of_row), norm=norm,
            cmap="Blues" if logarithmic else "Greens",
        )  # fmt: skip
        title = f"({letter}) {title}" if len(panels) > 1 else title
        axes.set_title(_in_lines(title, 45), loc="left")
    _sizes_below(panels)
    bar = figure.colorbar(
        colours, ax=panels, label=label, aspect=max(20, 5 * len(panels)),
        extend="both" if logarithmic else "neither",
    )  # fmt: skip
    bar.outline.set_visible(False)
    return figure


def _of_families(table: pd.DataFrame, families: Sequence[str]) -> dict[str, pd.DataFrame]:
    """For each panel's title the rows in it, with the label of each."""
    of = {family: table[table["family"] == family] for family in families}
    narrowest = [
        rows[rows["parameters"] == rows["parameters"].min()].assign(row=family)
        for family, rows in of.items()
    ]
    first = {"narrowest networks": pd.concat(narrowest)} if len(families) > 1 else {}
    return first | {
        family: rows.assign(
            row=[
                f"{_times(multiple)}{', ' * bool(_times(multiple))}M = {parameters}"
                for multiple, parameters in zip(rows["multiple"], rows["parameters"], strict=True)
            ]
        )
        for family, rows in of.items()
    }


def _in_lines(name: str, width: int) -> str:
    """A name in at most two lines."""
    return fill(name, width, max_lines=2, placeholder=" …")


def _times(multiple: object) -> str:
    """A multiple as a label; none if it is missing."""
    if pd.isna(multiple):
        return ""
    return multiple if isinstance(multiple, str) else f"{multiple:g}×"


def _panels(count: int, height: float, *, sharey: bool = False) -> tuple[plt.Figure, list[Axes]]:
    """Axes in rows of two, so high, with a common sample size and room for a colour bar."""
    rows, columns = -(-count // 2), min(count, 2)
    figure, grid = plt.subplots(
        rows, columns, figsize=(3.6 * columns + 1, height * rows + 0.3), sharex=True,
        sharey=sharey, squeeze=False,
    )  # fmt: skip
    for axes in grid.flat[count:]:
        axes.remove()
    return figure, list(grid.flat[:count])


def _sizes_below(panels: Sequence[Axes]) -> None:
    """Name the sample size below the lowest panel of each of two columns, and nowhere else."""
    for axes in panels:
        axes.set_xlabel("")
    for axes in panels[-2:]:
        axes.set_xlabel("sample size n")
        axes.tick_params(labelbottom=True)


def comparison(table: pd.DataFrame, *, ranks: Mapping[str, int] | None = None) -> plt.Figure:
    """Mean test error against sample size, a line with standard errors for each network.

    Args:
        table: rows of `llrnb.sweep.means`, at one learning rate per network and sample size;
            variant, family, multiple and parameters need not be there.
        ranks: the target's model rank in each family, drawn as a dashed line of its colour.
    """
    checks.table(table, ["samples", "test_error", "test_error_sem"])
    names = ["variant", "family", "multiple", "parameters"]
    table = table.assign(**{name: np.nan for name in names if name not in table})
    _one_row(table, [*names, "samples"])
    networks = table.groupby(names, sort=False, dropna=False)
    many = len(networks) > len(COLOURS)
    figure, axes = plt.subplots(figsize=(6.4 + 2 * many, max(3.4, 0.22 * len(networks) + 0.4)))
    for number, ((variant, family, multiple, parameters), rows) in enumerate(networks):
        size = _times(multiple) or ("" if pd.isna(parameters) else f"M = {parameters:g}")
        family = "" if pd.isna(family) else family
        named = " ".join(filter(None, [_in_lines(family, 28), size])) or "networks"
        rows = rows.sort_values("samples")
        line = axes.errorbar(
            rows["samples"], rows["test_error"], rows["test_error_sem"].fillna(0),
            marker=_MARKERS[number // len(COLOURS) % len(_MARKERS)], markersize=4, capsize=3,
            label=f"{named}, {variant}" if variant and not pd.isna(variant) else named,
        )  # fmt: skip
        if ranks and family in ranks:
            axes.axvline(ranks[family], color=line[0].get_color(), linestyle="--", linewidth=1)
    axes.set(xscale="log", yscale="log", xlabel="sample size n", ylabel="mean test error")
    (figure if many else axes).legend(loc="outside right upper" if many else "best")
    return figure


def losses(table: pd.DataFrame, *, by: str = "test_loss") -> plt.Figure:
    """Train and test loss of a model of one's own against sample size, at the best learning rate.

    Lines are medians over the trials, bands reach from the lower to the upper quartile; a loss that
    is not a number, of a network that has diverged, counts as infinite. What is infinite is not
    drawn.

    Args:
        table: rows of an `llrnb.sweep.OwnModel`, or columns samples, learning_rate, train_loss and
            test_loss; each value of the column variant, if there is one, has a colour. A trial, if
            it is named, has one row for the same variant, sample size and rate.
        by: the loss whose median is lowest at the rate that is shown, for each sample size.
    """
    checks.table(table, ["samples", "learning_rate", "train_loss", "test_loss"])
    checks.one_of(("train_loss", "test_loss"), "by", by)
    cell = ["variant", "samples", "learning_rate"]
    table = _with_variant(table.fillna({"train_loss": np.inf, "test_loss": np.inf}))
    _one_row_per_trial(table, cell)
    of_rate = table.sort_values("samples", kind="stable").groupby(cell, sort=False)
    best = of_rate[by].median().groupby(level=[0, 1], sort=False).idxmin()
    figure, panels = plt.subplots(1, 2, figsize=(8, 3), sharex=True, sharey=True)
    for axes, loss in zip(panels, ("train_loss", "test_loss"), strict=True):
        low, high = (of_rate[loss].quantile(q, end) for q, end in _QUARTILES.items())
        for variant, rates in best.groupby(level=0, sort=False):
            sizes = rates.index.get_level_values("samples")
            line = axes.plot(sizes, of_rate[loss].median()[rates], ".-", label=variant)
            colour = {"color": line[0].get_color(), "alpha": 0.25, "linewidth": 0}
            axes.fill_between(sizes, low[rates], high[rates], **colour)
        axes.set(xscale="log", yscale="log", xlabel="sample size n", title=loss.replace("_", " "))
        axes.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)
    sizes = sorted(set(table["samples"]))[:: -(-table["samples"].nunique() // 8)]
    panels[0].set_xticks(sizes, map(str, sizes))
    panels[0].set_ylabel("median and quartiles")
    if any(best.index.get_level_values(0)):
        panels[1].legend()
    return figure


def learning_curves(table: pd.DataFrame) -> plt.Figure:
    """Train loss and test error against the step, a line for each network.

    Args:
        table: rows of `llrnb.sweep.train_cell` with recorded steps; columns variant, family,
            multiple and parameters, where there are some, tell networks apart, too.
    """
    columns = ["samples", "learning_rate", "trial", "recorded", "train_loss", "test_error"]
    checks.table(table, columns)
    names = [n for n in ("variant", "family", "multiple", "parameters") if n in table]
    network = [*names, *columns[:3]]
    _one_row(table, [*network, "recorded"])
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3), sharex=True, sharey=True)
    networks = table.groupby(network, sort=False, dropna=False)
    for number, (_, rows) in enumerate(networks):
        rows = rows.sort_values("recorded")
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
        table: columns samples, dim and value, one row for each (n, d) of a variant; the column
            variant need not be there. Where the value is missing the panel is hatched.
        label: of the colours.
        lines: for each label, n as a function of d, drawn over all panels.
        boundary: the level at which values are outlined; None for no outline.
        share: whether values are shares, from 0 to 1; else the colours are logarithmic.
    """
    checks.table(table, ["samples", "dim", "value"])
    table = _with_variant(table)
    _one_row(table, ["variant", "samples", "dim"])
    variants = list(dict.fromkeys(table["variant"]))
    figure, panels = _panels(len(variants), 2.6, sharey=True)
    values = table["value"].to_numpy(float)
    positive = values[np.isfinite(values) & (values > 0)]
    low = max(positive.min(initial=1.0), positive.max(initial=1.0) * 1e-4)
    norm = Normalize(0, 1) if share else LogNorm(low, positive.max(initial=1.0))
    for axes, variant in zip(panels, variants, strict=True):
        panel = table[table["variant"] == variant].pivot(
            index="dim", columns="samples", values="value"
        )
        colours = _phase_panel(axes, panel, norm=norm, boundary=boundary)
        for number, (name, line) in enumerate((lines or {}).items()):
            dims = np.linspace(panel.index.min(), panel.index.max(), 50)
            axes.plot(line(dims), dims, color="white", linewidth=3, scalex=False, scaley=False)
            colour = COLOURS[(1 + number) % len(COLOURS)]
            axes.plot(
                line(dims), dims, color=colour, linestyle="--", label=name, scalex=False,
                scaley=False,
            )  # fmt: skip
        axes.set_title(_in_lines(str(variant), 40))
    _sizes_below(panels)
    for axes in panels[::2]:
        axes.set_ylabel("dimension d")
    if lines:
        panels[0].legend(loc="upper left", frameon=True, framealpha=0.9)
    figure.colorbar(
        colours, ax=panels, label=label, aspect=max(20, 5 * len(panels)),
        extend="neither" if share else "min",
    )  # fmt: skip
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

    The mean is missing where one of the trials that were run has no number, as in
    `llrnb.sweep.averages`.

    Args:
        table: columns samples, dim and the distance's, one row per trial of a variant; the columns
            variant and outcome ("not run") need not be there.
        metric: the distance's column, such as "weight_distance".
    """
    checks.table(table, ["samples", "dim"])
    checks.one_of(table.columns, "metric", metric)
    table, cell = _with_variant(table), ["variant", "samples", "dim"]
    _one_row_per_trial(table, cell)
    run = table["outcome"] != "not run" if "outcome" in table else True
    means = _means(table, cell, metric, run).rename("value")
    label = f"mean {metric.replace('_', ' ')}"
    return phase_diagram(means.reset_index(), label=label, boundary=None, share=False)
