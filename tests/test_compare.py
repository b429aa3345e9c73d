"""What a run prints is compared with what is stored: the comparator sees every real change."""

import random
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from llrnb import interactive
from llrnb.interactive import marks
from tools import compare
from tools.notebooks import notebooks

SAME = [
    ("slope 1.02", "slope 1.03"),
    ("9.99e-03", "1.00e-02"),  # next to each other where the exponent changes
    ("0.99", "1.0"),
    ("4e+02", "5e+02"),
    ("99.9 and", "100.0 and"),
    ("-0.00", "0.00"),
    ("−0.01 %", "0.01 %".replace("0.01", "0.00")),
    ("x = -0.0", "x = 0.0"),
    ("1,024.5 s", "1,024.4 s"),
    ("[1.    0.92 ]", "[0.999 0.921]"),
    ("[ 0.01 0.17]", "[-0.00 0.17]"),
    ("[1.2, 1.28]", "[1.21, 1.28]"),
    ("{1: 1.0, 5: 0.95}", "{1: 0.99, 5: 0.95}"),
    ("a     b\n 9.99  1\n", "a      b\n 10.00  1\n"),  # a column gets wider
    ("nan 0.5", "nan 0.5"),
    ("<td>0.82</td>", "<td>0.83</td>"),
    ("| a | 0.82 |", "| a | 0.81 |"),
]
OTHER = [
    ("slope 1.02", "slope 1.04"),
    ("slope 1.02", "slope -1.02"),
    ("slope 1.02", "slopes 1.02"),
    ("rank 7", "rank 8"),
    ("rank 7.", "rank 8."),
    ("rank 7", "rank 7.0"),
    ("1,024 networks", "1,025 networks"),
    ("1,024 networks", "-1,024 networks"),
    ("9.99e-03", "1.02e-02"),
    ("1e-10", "1e-09"),
    ("1.0e-10", "1.0e+10"),
    ("0.9", "0.95"),  # five units of the place to which the other is printed
    ("[1.2, 1.28]", "[1.3, 1.28]"),  # of a list printed to two places
    ("{1: 1.0, 5: 0.95}", "{1: 0.9, 5: 0.95}"),
    ("{0.1: 1.0}", "{0.2: 10}"),
    ("0.5%", "0.7%"),
    ("0.5", "nan"),
    ("inf", "-inf"),
    ("nan", "0.0"),
    ("not recovered", "recovered"),
    ("True", "False"),
    ("n50 = 42", "n51 = 42"),
    ("version 1.0.4", "version 1.0.5"),
    ("on 2026-11-21", "on 2026-11-22"),
    ("commit 32ae3292c511", "commit 32ae3292c512"),
    ("NIC-1: 0.98", "NIC-2: 0.98"),
    ("6.5 to 7.1", "6.5 - 7.1"),
    ("6.5-7.1", "6.5+7.1"),
    ("one\ntwo\n", "one\n"),
    ("one\n", "one\none\n"),
    ("1.0 2.0", "1.0"),
    ("1.0 2.0", "2.0 1.0"),
    ("1.02", "10.2"),
    ("a b", "ab"),
    ("10⁻³", "10⁻⁴"),
    ("<td>7</td>", "<td>8</td>"),
    ("<td>0.82</td>", "<th>0.82</th>"),
]


@pytest.mark.parametrize(("stored", "fresh"), SAME)
def test_one_unit_of_the_last_place_is_no_difference(stored, fresh):
    assert compare.differences(stored, fresh) == compare.differences(fresh, stored) == []


@pytest.mark.parametrize(("stored", "fresh"), OTHER)
def test_anything_else_is_one(stored, fresh):
    assert compare.differences(stored, fresh) and compare.differences(fresh, stored)


def test_a_cell_can_state_what_its_numbers_may_differ_by():
    assert compare.stated(["hide-input"]) is None
    assert compare.stated(["hide-input", "within-3-units"]) == 3
    assert not compare.differences("1.02 and 72", "1.05 and 71", 3)
    assert compare.differences("1.02", "1.06", 3) and compare.differences("72", "68", 3)
    assert compare.differences("1.02", "1.03", compare.stated(["within-0-units"]))


def test_a_difference_is_told_in_words():
    found = compare.differences("one\ntwo 2\n", "one\ntwo 3\nthree\n")
    assert found == ["2 lines became 3", "line 2: 'two 2' became 'two 3'"]


def printed():
    """All text that the notebooks of the book store, but for that of interactive figures."""
    for path in notebooks():
        for cell in nbformat.read(path, as_version=4).cells:
            for output in cell.get("outputs", []):
                yield from (text for text in texts(output) if text.strip())


def texts(output):
    found = [t for kind, t in output.get("data", output).items() if kind.startswith("text")]
    return [text for text in found if "<script" not in text]


def test_every_text_of_the_book_agrees_with_itself_and_with_no_line_or_letter_less():
    draw = random.Random(0)
    for text in printed():
        lines = text.splitlines(keepends=True)
        assert compare.differences(text, text.replace("\n", " \n")) == []
        missing = draw.randrange(len(lines))
        if lines[missing].strip():
            assert compare.differences(text, "".join(lines[:missing] + lines[missing + 1 :]))
        words = [m.start() for m in re.finditer("[a-zA-Z]", text)]
        if words:
            at = draw.choice(words)
            assert compare.differences(text, text[:at] + "Ж" + text[at + 1 :])


def leading_digits(text):
    """Where a number begins that does not begin with 0 or 9."""
    return [m.start() for m in re.finditer(r"(?<![\w.,])[1-8](?=[\d,]*\.\d)", text)]


def test_a_leading_digit_is_never_a_last_place():
    """By a second route: digits are found one by one, not as numbers."""
    for text in printed():
        for at in leading_digits(text):
            other = text[:at] + str(int(text[at]) + 1) + text[at + 1 :]
            assert compare.differences(text, other), text[at : at + 8]


def figure(scale=1.0, level=0.5, count=3, word="low", last=0.123, first=1.0):
    """A small interactive figure: a heat map, lines on both kinds of axes, counts."""
    x, y = marks.axis("x", 0, 2), marks.axis("y", 1e-13, 1, log=True)
    linear = marks.line([0, 1, 2], [first * scale, 2.25 * scale, last], name=word)
    log = marks.line([0, 1, 2], [0.5 * scale, 1.23e-5 * scale, 1.07e-13 * scale])
    heat = marks.heat([[0, 1], [level, float("nan")]], (0, 1), (0, 1))
    sizes = marks.line([count, 120], [0.5, 0.25])
    twin = marks.line([0, 1, 2], [0.123 * scale, 2.25 * scale, 0.123], name=word)
    panels = (marks.panel("one", x, x, linear, twin, heat), marks.panel("two", x, y, log, sizes))
    state = interactive.State(panels, f"{count} of 5 at {0.5 * scale:.2f}.")
    controls = (interactive.Choice("Kind", ("only",)),)
    return interactive.Explorer("Some lines", controls, {(0,): state}).html()


@pytest.mark.parametrize(
    "change",
    [{"scale": 1 + 1e-9}, {"scale": 1.0022}, {"level": 0.5 + 1 / 63}, {"last": 0.124}],
    ids=str,
)
def test_an_interactive_figure_may_differ_by_a_unit(change):
    assert not compare.differences(figure(), figure(**change))
    assert not compare.differences(figure(**change), figure())


@pytest.mark.parametrize(
    "change",
    [
        {"scale": 1.05}, {"scale": -1.0}, {"level": 0.6}, {"level": float("nan")}, {"count": 4},
        {"word": "high"}, {"last": 0.2}, {"last": float("nan")},
    ],
    ids=str,
)  # fmt: skip
def test_an_interactive_figure_may_not_differ_by_more(change):
    assert compare.differences(figure(), figure(**change))
    assert compare.differences(figure(**change), figure())


def test_the_page_of_a_figure_must_be_the_same_to_the_letter():
    page = figure()
    assert compare.differences(page, page.replace("opacity: 0.3", "opacity: 0.4"))
    assert compare.differences(page, page.replace("Some lines", "Some line"))


def test_marks_may_become_equal():
    """They are written once then, which changes all numbers of the pool."""
    apart, equal = figure(last=0.124, first=0.123), figure(last=0.123, first=0.123)
    assert not compare.differences(apart, equal)


ROOT = Path(__file__).parents[1]


def test_nbval_compares_so(tmp_path):
    """One unit off, a tolerance stated; a number, a count, a word and a line changed."""
    stored = ["0.51", "0.55", "0.53", "8", "word", "1\n2"]
    prints = ["0.52", "0.52", "0.55", "7", "sword", "1"]
    cells = [
        new_code_cell(f"print({now!r})", outputs=[new_output("stream", text=f"{then}\n")],
                      execution_count=i)
        for i, (then, now) in enumerate(zip(stored, prints, strict=True), 1)
    ]  # fmt: skip
    cells[1].metadata.tags = ["within-3-units"]
    nbformat.write(new_notebook(cells=cells), tmp_path / "page.ipynb")
    (tmp_path / "conftest.py").write_text((ROOT / "book" / "conftest.py").read_text())
    command = [sys.executable, "-m", "pytest", "--nbval", "--nbval-current-env", "page.ipynb"]
    command += ["-rfp", "--color=no", "-p", "no:cacheprovider", "--rootdir", "."]
    command += ["-o", f"pythonpath={ROOT}"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    found = re.findall(r"^(PASSED|FAILED) \S+::Cell (\d)", done.stdout, re.MULTILINE)
    outcomes = {int(cell): outcome for outcome, cell in found}
    assert outcomes == {0: "PASSED", 1: "PASSED"} | dict.fromkeys(range(2, 6), "FAILED")
    assert "line 1: '0.53' became '0.55'" in done.stdout
