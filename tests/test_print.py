"""In print, what is HTML on a page becomes tables and boxes, and what it needs is said once."""

import importlib.util
import re
from pathlib import Path

import pandas as pd
from bs4 import BeautifulSoup
from docutils import nodes

ROOT = Path(__file__).resolve().parents[1]
_spec = importlib.util.spec_from_file_location("printed", ROOT / "book" / "_ext" / "printed.py")
printed = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(printed)


def in_print(frame: pd.DataFrame) -> tuple[str, list[list[str]]]:
    """The sides of the columns, and the texts of the rows."""
    html = BeautifulSoup(frame.to_html(), "html.parser")
    _, spec, table, _ = printed.table(html.table, "book/relu")
    rows = [[cell.astext() for cell in row] for row in table.findall(nodes.row)]
    return spec["spec"], rows


def test_the_name_of_the_index_and_those_of_the_columns_share_a_row():
    frame = pd.DataFrame({"rank": [7, 21], "status": ["exact", "open"]}, index=["CNN", "dense"])
    sides, rows = in_print(frame.rename_axis("network"))
    assert sides == "lrl"
    assert rows == [["network", "rank", "status"], ["CNN", "7", "exact"], ["dense", "21", "open"]]


def test_a_name_that_stands_for_several_rows_stands_in_the_first():
    index = pd.MultiIndex.from_product([["CNN", "dense"], [1, 10]], names=["family", "width"])
    sides, rows = in_print(pd.DataFrame({"n50": [6.7, 14.3, float("inf"), -2e-05]}, index=index))
    assert sides == "lrr"
    assert [row[0] for row in rows] == ["family", "CNN", "", "dense", ""]
    assert {len(row) for row in rows} == {3}


def test_a_link_leads_to_the_page_in_the_same_book():
    box = BeautifulSoup('<a href="local.html#thm-llr"><b>Theorem 1</b></a>', "html.parser")
    (link,) = printed.inline(box, "book/recovery")
    assert link["refuri"] == "%book/recovery/local#thm-llr"
    assert link.astext() == "Theorem 1"


def test_a_table_wider_than_a_line_gets_columns_that_break():
    row = nodes.row("", *(nodes.entry("", nodes.paragraph("", "word " * 12)) for _ in range(3)))
    group = nodes.tgroup("", *(nodes.colspec() for _ in range(3)), nodes.tbody("", row))
    page = nodes.section("", nodes.table("", group))
    printed.fit(page[0])
    spec, table = page
    assert spec["spec"].count(r"\raggedright") == 3
    assert table["classes"] == []


def test_make_and_the_page_name_the_same_packages():
    (listed,) = re.findall(r"Debian: ([^)]*)", (ROOT / "Makefile").read_text())
    page = (ROOT / "book" / "appendix" / "running.md").read_text("utf-8")
    (wanted,) = re.findall(r"apt-get install (.*?)\nmake", page, re.DOTALL)
    assert wanted.replace("\\", "").split() == listed.split()
