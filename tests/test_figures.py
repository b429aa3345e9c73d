import matplotlib

matplotlib.use("Agg")

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.colors import Normalize

from llrnb import figures

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
    colours = figures.sample_size_rows(
        axes, rows, value="recovered", ranks=[5, 6], norm=Normalize(0, 1), cmap="Greens"
    )
    assert np.array_equal(colours.get_array(), [[0, 0, 1], [0, 0, 1]])
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
