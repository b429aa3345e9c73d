"""The book's plan and what it brings along: pages have their place, files are what they claim."""

import hashlib
import importlib
import json
import re
from pathlib import Path

import nbformat
import pytest
import yaml

import llrnb
from tools import notebooks

ROOT = Path(__file__).resolve().parents[1]
CONFIG = (ROOT / "_config.yml").read_text()
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text())
SUFFIXES = {".ipynb", ".md"}
VENDORED = ROOT / "book" / "_static" / "mathjax"

CHAPTERS = [chapter for part in TOC["parts"] for chapter in part["chapters"]]
SECTIONS = [section for chapter in CHAPTERS for section in chapter.get("sections", [])]
CHAPTER_FILES = notebooks.notebooks()
PAGES = [TOC["root"], *(page["file"] for page in (*CHAPTERS, *SECTIONS))]


def test_every_page_of_the_plan_exists():
    assert [page for page in PAGES if not list(ROOT.glob(f"{page}.*"))] == []


def test_every_page_has_its_place_in_the_plan():
    written = [p.relative_to(ROOT) for p in (ROOT / "book").rglob("*.*") if p.suffix in SUFFIXES]
    written = [p for p in written if not {"_static", ".ipynb_checkpoints"} & set(p.parts)]
    assert {p.with_suffix("").as_posix() for p in written} == set(PAGES)


@pytest.mark.parametrize("path", CHAPTER_FILES, ids=lambda path: path.stem)
def test_a_chapter_says_what_it_needs_what_it_taught_and_asks(path):
    cells = nbformat.read(path, as_version=4).cells
    text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    for part in ("**The question.**", "**What you need.**", "## What you learned"):
        assert part in text
    reading = text.partition("**Further reading.**")[2]
    assert re.search(r"\{(cite|doc)\b", reading.partition("\n#")[0])
    labels = re.findall(r"\{exercise-start\}.*\n:label: (\S+)", text)
    assert len(labels) >= 3
    assert re.findall(r"\{solution-start\} (\S+)", text) == labels


@pytest.mark.parametrize("path", CHAPTER_FILES, ids=lambda path: path.stem)
def test_a_solution_checks_itself(path):
    inside, checked = False, []
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code":
            if inside and re.search(r"^ *assert ", cell.source, re.MULTILINE):
                checked[-1] = True
            continue
        for mark in re.findall(r"\{solution-(start|end)\}", cell.source):
            inside = mark == "start"
            checked += [False] * inside
    assert checked
    assert all(checked)


def test_a_reference_is_listed_once():
    entries = (ROOT / "book" / "references.bib").read_text()
    keys = re.findall(r"^@\w+\{(\w+),", entries, re.MULTILINE)
    assert len(keys) == len(set(keys)) > 0


def test_make_book_executes_what_a_plain_build_publishes_as_stored():
    makefile = (ROOT / "Makefile").read_text()
    command = re.search(r"sed 's/(.*)/(.*)/' _config\.yml > (.*)", makefile)
    assert f"--config {command[3]}" in makefile
    assert "/" not in command[3]  # else its relative paths mean other folders
    executed = yaml.safe_load(CONFIG.replace(*command.groups()[:2]))
    stored = yaml.safe_load(CONFIG)
    assert stored["execute"].pop("execute_notebooks") == "off"
    assert executed["execute"].pop("execute_notebooks") == "force"
    assert executed == stored


def test_no_page_asks_another_host_for_a_script():
    options = yaml.safe_load(CONFIG)["sphinx"]["config"]
    assert (ROOT / "book" / "_static" / options["mathjax_path"]).is_file()
    assert options["nb_ipywidgets_js"] == {}


def test_mathjax_is_the_file_its_note_names():
    (stated,) = re.findall(r"[0-9a-f]{64}", (VENDORED / "README.md").read_text())
    assert hashlib.sha256((VENDORED / "tex-svg-full.js").read_bytes()).hexdigest() == stated


def test_every_module_of_the_package_is_in_the_api_reference():
    documented = set()
    for page in (ROOT / "book" / "appendix" / "api").glob("*.md"):
        documented |= set(re.findall(r"automodule:: (\S+)", page.read_text("utf-8")))
    for name in documented:
        assert importlib.import_module(name)
    exported = {value.__module__ for value in vars(llrnb).values() if callable(value)}
    assert {name for name in exported if not _is_documented(name, documented)} == set()


def _is_documented(module: str, documented: set[str]) -> bool:
    return module in documented or module.rpartition(".")[0] in documented


def test_the_times_on_a_gpu_are_those_of_the_benchmark():
    results = json.loads((ROOT / "benchmarks" / "results" / "gpu.json").read_text())
    page = (ROOT / "book" / "appendix" / "sweeps.md").read_text()
    table = re.findall(r"^\|[^|]*\| ([\d,]+) \| ([\d.,]+) \| ([\d.,]+) \| (\d+)% \|$", page, re.M)
    shown = [[float(cell.replace(",", "")) for cell in row] for row in table]
    assert len(shown) == len(results["settings"]) == 26
    for (nets, ours, theirs, share), row in zip(shown, results["settings"], strict=True):
        times = row["microseconds_per_step_of_all"]
        assert nets == row["networks"]
        assert (ours, theirs) == pytest.approx((times["cuda"], times["jax"]), rel=5e-3)
        assert share == pytest.approx(100 * row["share_of_arithmetic_limit"])
    of_modules = re.findall(r"^\|[^|]*\| ([\d,]+) \| ([\d.,]+) \| ([\d.,]+) \|$", page, re.M)
    shown = [[float(cell.replace(",", "")) for cell in row] for row in of_modules]
    assert len(shown) == len(results["modules"]) == 6
    for (nets, ours, theirs), row in zip(shown, results["modules"], strict=True):
        times = row["microseconds_per_step_of_all"]
        assert nets == row["networks"]
        assert (ours, theirs) == pytest.approx((times["general"], times["jax"]), rel=5e-3)
    assert f"took {results['rank']['settings'][-1]['gpu']:.0f} s, with rounding" in page
    whole = results["sweeps"]["fig3 paper, 43,500 networks"]
    hours = json.loads((ROOT / "book" / "data" / "fig3-paper.json").read_text())["core_hours"]
    for text in (page, (ROOT / "README.md").read_text()):
        assert f"{whole} s" in text and f"{hours:.1f} hours" in text
