"""What a figure carries is what was drawn."""

import io
import json
import xml.etree.ElementTree as ET

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from llrnb import figures, pictures


@pytest.fixture
def axes():
    figure, axes = plt.subplots()
    yield axes
    plt.close(figure)


def only_series(axes) -> dict:
    (panel,) = pictures.numbers(axes.figure)
    (series,) = panel["series"]
    return series


def test_a_line_with_a_gap(axes):
    axes.plot([1, 2, 3], [0.5, np.nan, 1 / 3], label="loss $L$")
    assert only_series(axes) == {
        "kind": "line", "label": "loss $L$", "x": [1, 2, 3], "y": [0.5, None, 0.333333],
    }  # fmt: skip
    assert pictures.describe(pictures.numbers(axes.figure)) == "loss L from 0.5 at 1 to 0.333 at 3."


def test_lines_across_the_panel_have_one_number(axes):
    axes.axvline(14, label="rank")
    axes.axhline(0.5)
    across, along = pictures.numbers(axes.figure)[0]["series"]
    assert across == {"kind": "line", "label": "rank", "x": [14]}
    assert along == {"kind": "line", "y": [0.5]}


def test_straight_lines_are_said_once(axes):
    axes.plot([7, 7], [0, 1], label="rank")
    axes.plot([1, 9], [0.5, 0.5], label="half")
    axes.plot([3, 3], [0, 1])
    words = pictures.describe(pictures.numbers(axes.figure))
    assert words == "rank at 7; half: 0.5 from 1 to 9."


def test_lines_without_names_are_taken_together(axes):
    axes.plot([1, 2], [3, 4], [1, 2], [-1, 0])
    axes.plot([1, 2], [5, 6], "o")
    words = pictures.describe(pictures.numbers(axes.figure))
    assert words == "2 points from 5 to 6; 2 lines between -1 and 4."


def test_points_and_their_colours(axes):
    axes.scatter([1, 2], [3, 4], c=[5, 6])
    assert only_series(axes) == {"kind": "points", "x": [1, 2], "y": [3, 4], "values": [5, 6]}


def test_a_grid(axes):
    axes.pcolormesh([0, 1, 2], [0, 1, 2], np.ma.masked_equal([[1.0, 2.0], [3.0, -1.0]], -1))
    assert only_series(axes)["values"] == [[1, 2], [3, None]]
    assert only_series(axes)["x_edges"] == [0, 1, 2]
    words = pictures.describe(pictures.numbers(axes.figure))
    assert words == "grid of 2 by 2 values from 1 to 3."


def test_an_image_bars_and_a_band(axes):
    axes.imshow([[0.0, 1.0]])
    axes.bar([1, 2], [3, 4])
    axes.fill_between([0, 1], [0, 0], [1, 1])
    kinds = {s["kind"]: s for s in pictures.numbers(axes.figure)[0]["series"]}
    assert kinds["image"]["values"] == [[0, 1]]
    assert kinds["bars"]["height"] == [3, 4]
    assert set(kinds) == {"image", "bars", "band"}


def test_panels_are_named_and_the_colour_bar_is_none():
    figure, (left, right) = plt.subplots(1, 2)
    left.set(title=r"shared $\mathrm{FC}$", xlabel="n", ylabel="error")
    figure.colorbar(right.pcolormesh([[1.0]]), ax=right)
    panels = pictures.numbers(figure)
    plt.close(figure)
    assert len(panels) == 2
    assert pictures.describe(panels).startswith("shared FC, error against n. Panel 2: grid of")


def test_a_picture_carries_numbers_words_and_vectors(axes):
    axes.plot([1, 2], [3, 4])
    png = pictures.carrying(
        axes.figure, constants={"seed": 3, "sizes": range(2), "net": axes}, code="plot()"
    )
    assert Image.open(io.BytesIO(png)).format == "PNG"
    found = pictures.carried(png)
    data = json.loads(found.text)
    assert data["panels"] == pictures.numbers(axes.figure)
    assert data["constants"] == {"seed": 3, "sizes": [0, 1]}
    assert data["code"] == "plot()"
    assert found.description == "a line between 3 and 4."
    assert ET.fromstring(found.svg).tag.endswith("svg")


def test_equal_figures_have_equal_bytes(axes):
    axes.plot([1, 2], [3, 4])
    assert pictures.carrying(axes.figure) == pictures.carrying(axes.figure)


def test_grids_and_clouds_are_images_in_the_vector_form(axes):
    axes.scatter(*np.random.default_rng(0).normal(size=(2, 30_000)))
    axes.pcolormesh(np.zeros((40, 40)))
    svg = pictures.carried(pictures.carrying(axes.figure)).svg
    assert "data:image/png" in svg
    assert len(svg) < pictures.SVG_AT_MOST


def test_a_vector_form_that_opens_slowly_is_left_out(axes, monkeypatch):
    monkeypatch.setattr(pictures, "SVG_AT_MOST", 100)
    assert pictures.carried(pictures.carrying(axes.figure)).svg is None


def test_numbers_beyond_measure_are_left_out(axes):
    axes.pcolormesh(np.random.default_rng(0).normal(size=(400, 400)))
    (panel,) = json.loads(pictures.carried(pictures.carrying(axes.figure)).text)["panels"]
    assert panel["series"] == "left out: too many numbers"


def test_a_foreign_picture_carries_nothing():
    file = io.BytesIO()
    Image.new("L", (1, 1)).save(file, "PNG")
    assert pictures.carried(file.getvalue()) is None


def test_a_notebook_stores_its_figures_so():
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell()
    shell.user_ns.update(steps=100, _hidden=1, In=["", "draw()"])
    pictures.publish(shell)
    figure, axes = plt.subplots()
    axes.plot([1, 2], [3, 4])
    found, _ = shell.display_formatter.format(figure)
    plt.close(figure)
    data = json.loads(pictures.carried(found["image/png"]).text)
    assert data["constants"]["steps"] == 100
    assert "_hidden" not in data["constants"]
    assert data["code"] == "draw()"


def test_outside_a_notebook_the_style_is_only_a_style():
    with plt.rc_context():
        figures.style()
        assert plt.rcParams["figure.facecolor"] == "white"
