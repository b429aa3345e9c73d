"""The built pages as files: sizes, links, and what each figure offers.

`make test` builds the pages and says where they are in LLRNB_PAGES.
"""

import json
import os
import xml.etree.ElementTree as ET
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from bs4 import BeautifulSoup

from llrnb import pictures

PAGES = Path(os.environ.get("LLRNB_PAGES", "_build/html")).absolute()
FILES = [p for p in sorted(PAGES.rglob("*.html")) if "_static" not in p.parts]
CHAPTERS = [p for p in FILES if p.parent.name in ("recovery", "relu")]
MEGABYTE = 1_000_000


def name(path: Path) -> str:
    return path.relative_to(PAGES).as_posix()


@cache
def soup(path: Path) -> BeautifulSoup:
    return BeautifulSoup(path.read_text("utf-8"), "html.parser")


@cache
def anchors(path: Path) -> set[str]:
    return {tag["id"] for tag in soup(path).find_all(id=True)}


def broken_links(path: Path) -> list[str]:
    """The links and sources of a page that lead to no file or no place of the book."""
    found = []
    for tag in soup(path).find_all(True):
        target = tag.get("href", tag.get("src", ""))
        parts = urlsplit(target)
        if not target or parts.scheme or parts.netloc:
            continue
        to = (path.parent / unquote(parts.path)).resolve() if parts.path else path
        place = unquote(parts.fragment)
        if not to.exists() or (place and to.suffix == ".html" and place not in anchors(to)):
            found.append(target)
    return found


def downloads(path: Path) -> list[Path]:
    links = soup(path).select("p.downloads a.download")
    return [(path.parent / unquote(link["href"])).resolve() for link in links]


@pytest.mark.parametrize("path", FILES, ids=name)
def test_no_link_is_broken(path):
    assert broken_links(path) == []


@pytest.mark.parametrize("path", FILES, ids=name)
def test_a_page_is_small(path):
    assert path.stat().st_size < 1.5 * MEGABYTE


def test_the_book_is_small():
    assert sum(p.stat().st_size for p in PAGES.rglob("*") if p.is_file()) < 40 * MEGABYTE


@pytest.mark.parametrize("path", CHAPTERS, ids=name)
def test_every_figure_offers_its_numbers(path):
    page = soup(path)
    figures = page.select(".cell_output img, .cell_output .explorer")
    rows = page.select("p.downloads")
    assert len(rows) == len(figures)
    for file in downloads(path):
        if file.suffix == ".svg":
            assert ET.parse(file).getroot().tag.endswith("svg")
        elif file.suffix == ".png":
            assert pictures.carried(file.read_bytes())
        else:
            data = json.loads(file.read_text("utf-8"))
            if file.name.endswith(".states.json"):
                assert data["states"] and data["controls"]
            else:
                assert data["panels"] and {"constants", "code"} <= set(data)


@pytest.mark.parametrize("path", CHAPTERS, ids=name)
def test_every_picture_is_described_by_its_numbers(path):
    for picture in soup(path).select(".cell_output img"):
        assert any(c.isdigit() for c in picture["alt"]), picture["alt"]


def references(page: str) -> set[str]:
    """The entries of the API reference that a page links to, by their full names."""
    links = soup(PAGES / page).select("article a[href*='appendix/api/'], article a[href^='api/']")
    return {urlsplit(link["href"]).fragment for link in links}


def test_formula_page_and_function_lead_to_each_other():
    rank = "llrnb.rank.exact.exact_rank"
    assert rank in references("book/appendix/notation.html")  # from the symbol
    assert rank in references("book/recovery/rank.html")  # from the page's code
    entry = soup(PAGES / "book/appendix/api/rank.html").find(id=rank).find_parent("dl")
    used = {link["href"] for link in entry.select("p.used-on a")}
    assert "../../recovery/rank.html" in used


def test_a_name_in_a_sentence_leads_to_its_entry():
    sentence = soup(PAGES / "book/recovery/embedding.html").select("article p a:has(> code)")
    assert "llrnb.DeepNetwork" in {link.text for link in sentence}


@pytest.mark.parametrize("path", CHAPTERS, ids=name)
def test_buttons_that_leave_the_book_wait_for_a_repository(path):
    hosts = ("mybinder.org", "colab.research.google.com")
    assert not any(host in path.read_text("utf-8") for host in hosts)


@pytest.mark.parametrize(
    ("body", "broken"),
    [
        ('<a href="page.html#there"></a><p id="there">', []),
        ('<a href="#nowhere"></a>', ["#nowhere"]),
        ('<img src="none.png">', ["none.png"]),
        ('<a href="page.html#nowhere"></a>', ["page.html#nowhere"]),
        ('<a href="https://example.org/x"></a>', []),
    ],
)
def test_a_broken_link_is_seen(tmp_path, body, broken):
    page = tmp_path / "page.html"
    page.write_text(body)
    assert broken_links(page) == broken
