import matplotlib

matplotlib.use("Agg")

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.colors import Normalize

from llrnb import figures, sweep

TABLE = pd.DataFrame(
    [
        {"family": family, "multiple": multiple, "parameters": 7 * multiple, "samples": samples,
         "recovered": float(samples > 5)}
        for family in ("one", "two", "three") for multiple in (1, 3) for samples in (2, 4, 8)
    ]
)  # fmt: skip


def test_a_row_has_its_values_and_a_dash_at_its_rank():
    _, axes = plt.subplots()
    rows = TABLE[TABLE["family"] == "one"].assign(row=lambda t: t["multiple"].map(str))
    rows = rows.sort_values(["multiple", "samples"], ascending=[True, False])
    colours = figures.sample_size_rows(
        axes, rows, value="recovered", ranks=[5, 6], norm=Normalize(0, 1), cmap="Greens"
    )
    assert np.array_equal(colours.get_array(), [[0, 0, 1], [0, 0, 1]])
    assert colours.get_coordinates()[0, :, 0].tolist() == [1, 3, 6, 10]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["1", "3"]
    dashes = {tuple(path[0]) for lines in axes.collections for path in _segments(lines)}
    assert {(5.0, -0.5), (6.0, 0.5)} <= dashes
    plt.close()


def _segments(collection):
    return collection.get_segments() if hasattr(collection, "get_segments") else []


def test_fig3_has_a_panel_of_narrowest_networks_and_one_per_family():
    figure = figures.fig3(
        TABLE, value="recovered", ranks={"one": 3, "two": 5, "three": 7}, label="recovered fraction"
    )
    titles = [axes.get_title(loc="left") for axes in figure.axes[:4]]
    assert titles == ["(a) narrowest networks", "(b) one", "(c) two", "(d) three"]
    labels = [label.get_text() for label in figure.axes[1].get_yticklabels()]
    assert labels == ["1×, M = 7", "3×, M = 21"]
    plt.close(figure)


def rows_of_families(*names: str) -> pd.DataFrame:
    """The family numbered k has k + 1 multiples, of which the first is k + 1."""
    return pd.DataFrame(
        [
            {"family": name, "multiple": k + 1 + step, "parameters": 10 * k + step,
             "samples": samples, "test_error": 10.0 ** (-k - step)}
            for k, name in enumerate(names) for step in range(k + 1) for samples in (2, 4, 8)
        ]
    )  # fmt: skip


LONG = "a residual network of depth 4 with layer normalisation of every hidden layer and a skip"


@pytest.mark.parametrize("names", [("only",), ("one", LONG), tuple("abcdef"), (LONG, LONG + "s")])
def test_fig3_takes_any_number_of_families_and_any_names(names):
    ranks = {name: 3 + k for k, name in enumerate(names)}
    figure = figures.fig3(rows_of_families(*names), value="test_error", ranks=ranks, label="e")
    *panels, bar = figure.axes
    if len(names) > 1:
        first, *panels = panels
        shown = first.collections[0].get_array()
        expected = np.repeat(10.0 ** -np.arange(len(names))[:, None], 3, axis=1)
        assert np.allclose(shown, expected)  # the narrowest of each
        dashes = [path[0][0] for lines in first.collections for path in _segments(lines)]
        assert set(ranks.values()) <= set(dashes)
    assert len(panels) == len(names)
    for k, (axes, name) in enumerate(zip(panels, names, strict=True)):
        letter = f"({'bcdefg'[k]}) " if len(names) > 1 else ""
        assert axes.get_title(loc="left").startswith(letter + name[:20])
        assert len(axes.get_title(loc="left").splitlines()) < 3
        labels = [text.get_text() for text in axes.get_yticklabels()]
        assert labels == [f"{k + 1 + step}×, M = {10 * k + step}" for step in range(k + 1)]
    named = [axes for axes in figure.axes[:-1] if axes.get_xlabel()]
    assert len(named) == min(len(names) + (len(names) > 1), 2) and bar.get_ylabel() == "e"
    plt.close(figure)


def test_fig3_shows_a_diverged_network_as_infinite():
    rows = pd.concat([rows_of_families("a").assign(trial=trial) for trial in range(2)])
    rows["test_error"] = 1e-5
    rows.loc[rows["samples"].eq(4) & rows["trial"].eq(1), "test_error"] = np.nan
    rows.loc[rows["samples"].eq(8), "test_error"] = np.nan
    figure = figures.fig3(rows, value="test_error", ranks={"a": 1}, label="e")
    colours = figure.axes[0].collections[0]
    assert np.ma.filled(colours.get_array(), -1).tolist() == [[1e-5, 1, 1]]
    assert colours.norm.vmax == 1
    plt.close(figure)


def test_a_mean_of_shares_with_one_missing_has_no_colour():
    table = TABLE[TABLE["family"] == "one"].astype({"recovered": float})
    table = pd.concat([table.assign(trial=0), table.assign(trial=1)], ignore_index=True)
    table.loc[table["samples"].eq(2), "recovered"] = np.nan
    table.loc[0:1, "recovered"] = np.nan
    figure = figures.fig3(table, value="recovered", ranks={"one": 5}, label="")
    shown = figure.axes[0].collections[0].get_array()
    assert np.ma.filled(shown, -1).tolist() == [[-1, -1, 1], [-1, 0, 1]]
    plt.close(figure)


def test_fig3_takes_one_variant_and_one_rate_of_each_cell():
    rows, ranks = rows_of_families("a", "b").assign(trial=0), {"a": 1}
    both = pd.concat([rows.assign(variant=name) for name in ("one", "two")])
    for table in (both, both.drop(columns="trial")):
        with pytest.raises(ValueError, match=r"rows of one variant, got \['one', 'two'\]"):
            figures.fig3(table, value="test_error", ranks=ranks, label="")
    rates = pd.concat([rows.assign(learning_rate=rate) for rate in (0.1, 0.5)])
    with pytest.raises(ValueError, match="one row for the same family, .*got several .*'samples'"):
        figures.fig3(rates, value="test_error", ranks=ranks, label="")
    elsewhere = rows.assign(variant=rows["family"])
    plt.close(figures.fig3(elsewhere, value="test_error", ranks=ranks, label=""))


def test_multiples_may_be_fractions_words_or_missing():
    rows = rows_of_families("a", "b", "c")
    rows["multiple"] = [0.5] * 3 + [np.nan] * 3 + ["wide"] * (len(rows) - 6)
    figure = figures.fig3(rows, value="test_error", ranks={"a": 3, "b": 4}, label="e")
    labels = [[text.get_text() for text in axes.get_yticklabels()] for axes in figure.axes[:3]]
    assert labels == [["a", "b"], ["0.5×, M = 0"], ["M = 10", "wide, M = 11"]]
    plt.close(figure)


def test_a_family_without_rows_is_named():
    with pytest.raises(ValueError, match=r"rows of 1 family or more, of each, got \['a', 'z'\]"):
        figures.fig3(rows_of_families("a"), value="test_error", ranks={"a": 1, "z": 2}, label="")


def test_many_networks_are_told_apart_beside_the_picture():
    rows = rows_of_families(*"abcd").assign(variant=np.nan, test_error_sem=0.0)
    figure = figures.comparison(rows, ranks={"a": 3})
    lines = [box.lines[0] for box in figure.axes[0].containers]
    assert len({(line.get_color(), line.get_marker()) for line in lines}) == 10
    assert figure.axes[0].get_legend() is None
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts[:3] == ["a 1×", "b 2×", "b 3×"]
    plt.close(figure)


def rows_of_losses() -> pd.DataFrame:
    stream = np.random.default_rng(0)
    return pd.DataFrame(
        [
            {"variant": variant, "samples": n, "learning_rate": rate, "trial": trial,
             "train_loss": stream.lognormal(), "test_loss": stream.lognormal()}
            for variant in ("mine", "yours") for n in (80, 20) for rate in (0.1, 1.0)
            for trial in range(4)
        ]
    )  # fmt: skip


def test_losses_are_medians_and_quartiles_at_the_best_rate_of_each_size():
    rows = rows_of_losses()
    cell = rows["variant"].eq("mine") & rows["samples"].eq(80)
    rows.loc[cell & rows["learning_rate"].eq(1), "test_loss"] += 10
    rows.loc[cell & rows["trial"].eq(0), "test_loss"] = np.nan  # diverged at the best rate
    figure = figures.losses(rows)
    for axes, loss in zip(figure.axes, ("train_loss", "test_loss"), strict=True):
        for line, band, variant in zip(
            axes.lines, axes.collections, ("mine", "yours"), strict=True
        ):
            assert line.get_xdata().tolist() == [20, 80]
            for n, shown in zip((20, 80), line.get_ydata(), strict=True):
                cell = rows[(rows["variant"] == variant) & (rows["samples"] == n)]
                both = [cell[cell["learning_rate"] == rate].fillna(np.inf) for rate in (0.1, 1.0)]
                best = min(both, key=lambda each: each["test_loss"].median())
                values = sorted(best[loss])
                assert shown == np.median(values)
                edge = {y for path in band.get_paths() for x, y in path.vertices if x == n}
                diverged = (variant, n, loss) == ("mine", 80, "test_loss")
                assert np.isinf(values[3]) == diverged
                assert edge == (set() if diverged else {values[0], values[3]})
    texts = [text.get_text() for text in figure.axes[1].get_legend().get_texts()]
    assert texts == ["mine", "yours"]
    mine = rows[rows["variant"] == "mine"].drop(columns="variant")
    assert figures.losses(mine).axes[1].get_legend() is None
    plt.close("all")


def test_losses_of_several_networks_without_a_variant_are_refused():
    rows = rows_of_losses().rename(columns={"variant": "optimizer"})
    with pytest.raises(ValueError, match="one row for the same variant, .*, got several .*0.1"):
        figures.losses(rows)
    unknown = rows[rows["optimizer"] == "mine"].assign(trial=np.nan)
    assert len(figures.losses(unknown).axes[0].lines) == 1
    plt.close("all")


def test_condensed_vectors_make_blocks():
    vectors = np.array([[1.0, 0], [0, 2], [-3, 0], [0, 1]])
    _, axes = plt.subplots()
    shown = figures.cosine_similarities(axes, vectors).get_array()
    block = np.kron(np.eye(2), np.ones((2, 2)))
    assert np.allclose(shown, block)
    plt.close()


def test_a_comparison_has_a_line_with_errors_per_network_and_its_rank():
    means = TABLE.assign(variant="", test_error=0.1, test_error_sem=0.01)
    figure = figures.comparison(means, ranks={"one": 3, "two": 5, "three": 7})
    axes = figure.axes[0]
    assert len(axes.containers) == 6
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels[:2] == ["one 1×", "one 3×"]
    dashed = {line.get_xdata()[0] for line in axes.lines if line.get_linestyle() == "--"}
    assert dashed == {3, 5, 7}
    plt.close(figure)


def test_a_comparison_tells_networks_without_names_apart_by_their_parameters():
    names = ["variant", "family", "multiple"]
    rows = pd.DataFrame(
        [
            {"parameters": size, "samples": n, "test_error": size / n, "test_error_sem": 0.1}
            for n in (5, 10) for size in (7, 70)
        ]
    )  # fmt: skip
    for nameless in (rows, rows.assign(**dict.fromkeys(names, np.nan))):
        axes = figures.comparison(nameless).axes[0]
        lines = [box.lines[0].get_ydata().tolist() for box in axes.containers]
        assert lines == [[1.4, 0.7], [14, 7]]
        labels = [text.get_text() for text in axes.get_legend().get_texts()]
        assert labels == ["M = 7", "M = 70"]
    with pytest.raises(ValueError, match="one row for the same .*got several for .*'samples': 5"):
        figures.comparison(rows.drop(columns="parameters"))
    alone = figures.comparison(rows[rows["parameters"] == 7].drop(columns="parameters"))
    assert alone.axes[0].get_legend().get_texts()[0].get_text() == "networks"
    plt.close("all")


def test_learning_curves_have_a_line_for_each_network():
    rows = pd.DataFrame(
        [
            {"family": family, "parameters": size, "samples": 5, "learning_rate": 0.1, "trial": 0,
             "recorded": step, "train_loss": size / step, "test_error": 2 * size / step}
            for step in (10, 1) for family, size in (("one", 7), (None, 70))
        ]
    )  # fmt: skip
    for names in ([], ["family"], ["parameters"]):
        figure = figures.learning_curves(rows.drop(columns=names))
        for axes, factor in zip(figure.axes, (1, 2), strict=True):
            lines = [line.get_ydata().tolist() for line in axes.lines]
            assert lines == [[7 * factor, 0.7 * factor], [70 * factor, 7 * factor]]
            assert len({line.get_color() for line in axes.lines}) == 2
    with pytest.raises(ValueError, match="one row for the same samples, .*got several .*10"):
        figures.learning_curves(rows.drop(columns=["family", "parameters"]))
    plt.close("all")


def test_learning_curves_show_train_and_test_error_of_every_network():
    rows = pd.DataFrame(
        [
            {"samples": 5, "learning_rate": 0.1, "trial": trial, "recorded": step,
             "train_loss": 1 / step, "test_error": 2 / step}
            for step in (1, 10) for trial in (0, 1)
        ]
    )  # fmt: skip
    figure = figures.learning_curves(rows)
    left, right = (axes.lines[0].get_ydata().tolist() for axes in figure.axes)
    assert (left, right) == ([1, 0.1], [2, 0.2])
    assert [len(axes.lines) for axes in figure.axes] == [2, 2]
    plt.close(figure)


def test_a_network_diagram_has_a_line_per_weight_and_a_circle_per_neuron():
    axes = plt.subplots()[1]
    weights = [np.array([[1.0, -2.0], [0.0, 0.5], [1.0, 1.0]]), np.array([[1.0, 0.0, -1.0]])]
    figures.network_diagram(axes, weights, new=[[], [2]])
    assert [len(circles.get_offsets()) for circles in axes.collections] == [2, 3, 1]
    assert len(axes.lines) == 6 + 3
    assert axes.lines[1].get_linewidth() == max(line.get_linewidth() for line in axes.lines) == 5
    assert axes.lines[0].get_color() == figures.BLUE
    assert axes.lines[1].get_color() == figures.VERMILION


def test_a_phase_diagram_has_a_panel_per_variant_and_hatches_what_is_missing():
    table = pd.DataFrame(
        [
            {"variant": variant, "samples": n, "dim": d,
             "value": np.nan if n < d else float(n >= 2 * d)}
            for variant in ("one", "two", "three") for n in (10, 20, 40) for d in (10, 20)
        ]
    )  # fmt: skip
    figure = figures.phase_diagram(table, label="share", lines={"n = 2d": lambda d: 2 * d})
    *panels, bar = figure.axes
    assert [axes.get_title() for axes in panels] == ["one", "two", "three"]
    shown = panels[0].collections[0].get_array()
    assert np.array_equal(np.ma.filled(shown, -1), [[0, 1, 1], [-1, 0, 1]])
    assert panels[0].patch.get_hatch()
    assert panels[0].lines[-1].get_xdata()[[0, -1]].tolist() == [20, 40]
    assert bar.get_ylabel() == "share"
    plt.close(figure)


def test_a_phase_diagram_of_distances_has_logarithmic_colours():
    table = pd.DataFrame(
        [{"variant": "", "samples": n, "dim": d, "value": 1 / n} for n in (1, 10) for d in (1, 2)]
    )
    figure = figures.phase_diagram(table, label="distance", share=False, boundary=None)
    norm = figure.axes[0].collections[0].norm
    assert (norm.vmin, norm.vmax) == (0.1, 1.0)
    plt.close(figure)


def test_a_distance_map_shows_the_mean_over_the_trials():
    table = pd.DataFrame(
        [
            {"variant": "", "samples": n, "dim": d, "trial": trial, "test_distance": trial / n}
            for n in (10, 20) for d in (1, 2) for trial in (1, 3)
        ]
    )  # fmt: skip
    figure = figures.distance_map(table, "test_distance")
    panel, bar = figure.axes
    assert np.allclose(panel.collections[0].get_array(), [[0.2, 0.1], [0.2, 0.1]])
    assert bar.get_ylabel() == "mean test distance"
    plt.close(figure)


def test_phase_diagrams_need_no_variant_and_one_row_of_each_cell():
    cells = [(n, d) for n in (10, 20) for d in (1, 2)]
    rows = pd.DataFrame([{"samples": n, "dim": d, "value": d / n} for n, d in cells])
    for nameless in (rows, rows.assign(variant=None), rows.assign(variant=np.nan)):
        for show in (figures.phase_diagram, figures.distance_map):
            options = {"label": ""} if show is figures.phase_diagram else {"metric": "value"}
            panel, _ = show(nameless, **options).axes
            assert np.allclose(panel.collections[0].get_array(), [[0.1, 0.05], [0.2, 0.1]])
            assert panel.get_title() == ""
    with pytest.raises(ValueError, match="one row for the same variant, samples, dim, got several"):
        figures.phase_diagram(pd.concat([rows, rows.assign(form="exact")]), label="")
    trials = rows.assign(trial=0)
    with pytest.raises(ValueError, match="one row for the same .*, trial, got several"):
        figures.distance_map(pd.concat([trials, trials]), "value")
    plt.close("all")


def test_colours_of_distances_reach_to_1e_4_of_the_largest():
    table = pd.DataFrame(
        [
            {"samples": n, "dim": d, "value": value}
            for n, values in ((1, (0.0, 1e-9)), (10, (3e-3, 2.0))) for d, value in enumerate(values)
        ]
    )  # fmt: skip
    figure = figures.phase_diagram(table, label="distance", share=False, boundary=None)
    colours = figure.axes[0].collections[0]
    assert (colours.norm.vmin, colours.norm.vmax) == (2e-4, 2.0)
    assert np.allclose(colours.get_array(), [[2e-4, 3e-3], [2e-4, 2.0]], atol=0)
    plt.close(figure)


def test_a_distance_map_has_the_means_of_averages():
    cells = {10: (1.0, np.nan), 20: (1.0, 3.0), 30: (np.nan, np.nan)}
    table = pd.DataFrame(
        [
            {"variant": "", "samples": n, "dim": d, "trial": trial, "outcome": "trained",
             "test_distance": d * value}
            for n, values in cells.items() for d in (1, 2) for trial, value in enumerate(values)
        ]
    )  # fmt: skip
    table.loc[table["samples"] == 30, "outcome"] = sweep.NOT_RUN
    more = table[-1:].assign(samples=20, trial=2)
    table = pd.concat([table, more], ignore_index=True)
    shown = figures.distance_map(table, "test_distance").axes[0].collections[0].get_array()
    assert np.ma.filled(shown, -1).tolist() == [[-1, 2, -1], [-1, 4, -1]]
    means = sweep.averages(table, "test_distance").pivot(index="dim", columns="samples")["value"]
    assert np.array_equal(np.ma.filled(shown, np.nan), means, equal_nan=True)
    plt.close("all")
