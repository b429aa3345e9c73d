"""Keep the stored notebooks thin, complete and reproducible.

    python tools/notebooks.py refresh [NOTEBOOK ...]    run, bring into normal form, write
    python tools/notebooks.py check [NOTEBOOK ...]      list what is wrong; status 1 if anything is

Without names, every notebook of the book. In normal form a notebook says nothing about the machine
and the moment it ran on, so a difference between two commits is a difference of the book.
"""

import argparse
import base64
import copy
import os
import re
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parents[1]
PICTURES = ROOT / "book" / "_static"

METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
CELL_METADATA = {"mystnb", "tags"}
WIDGET = "application/vnd.jupyter.widget-view+json"  # names a model that dies with its kernel
README_FIGURE = "readme-figure"  # tag of the cell whose picture the README shows
TRAINS = re.compile(r"\b(?:train|sweep|run)\w*\(")
MEDIAN_LINES = 10


def notebooks() -> list[Path]:
    """Every notebook of the book."""
    found = sorted((ROOT / "book").rglob("*.ipynb"))
    return [path for path in found if ".ipynb_checkpoints" not in path.parts]


def normal_form(notebook: NotebookNode) -> NotebookNode:
    """A copy that counts the cells that were run 1, 2, …, without widgets, timing and versions."""
    notebook = copy.deepcopy(notebook)
    notebook.metadata = nbformat.from_dict(METADATA)
    count = 0
    for cell in notebook.cells:
        for key in set(cell.metadata) - CELL_METADATA:
            del cell.metadata[key]
        if cell.cell_type != "code" or cell.execution_count is None:
            continue
        count += 1
        cell.execution_count = count
        for output in cell.outputs:
            output.get("data", {}).pop(WIDGET, None)
            if output.output_type == "execute_result":
                output.execution_count = count
    return notebook


def text(notebook: NotebookNode) -> str:
    """The file: keys sorted, indented, one newline at the end."""
    return nbformat.writes(notebook).rstrip("\n") + "\n"


def run(notebook: NotebookNode, folder: Path) -> None:
    """Execute all cells in a fresh kernel, as a reader in ``folder`` would; keep the outputs."""
    os.environ["TQDM_DISABLE"] = "1"  # what is stored has no progress bars
    NotebookClient(
        notebook,
        kernel_name="python3",
        timeout=1800,
        resources={"metadata": {"path": str(folder)}},
        record_timing=False,
        coalesce_streams=True,
    ).execute()


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def tags(cell: NotebookNode) -> list[str]:
    return cell.metadata.get("tags", [])


def pictures(cell: NotebookNode) -> list[str]:
    """The PNG outputs of a cell, in base64."""
    return [o.data["image/png"] for o in cell.outputs if "image/png" in o.get("data", {})]


def readme_figures(notebook: NotebookNode) -> Iterator[tuple[Path, bytes]]:
    """Where the picture of each cell tagged ``readme-figure`` belongs, and its bytes."""
    for cell in code_cells(notebook):
        if README_FIGURE in tags(cell):
            name = cell.metadata["mystnb"]["figure"]["name"]
            yield PICTURES / f"{name}.png", base64.b64decode(pictures(cell)[0])


def refresh(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    run(notebook, path.parent)
    notebook = normal_form(notebook)
    path.write_text(text(notebook), encoding="utf-8")
    for target, picture in readme_figures(notebook):
        target.write_bytes(picture)


def problems(path: Path) -> list[str]:
    """What keeps a stored notebook from being published; empty if nothing does."""
    notebook = nbformat.read(path, as_version=4)
    cells = enumerate(code_cells(notebook), 1)
    found = [f"cell {i}: {problem}" for i, cell in cells for problem in cell_problems(cell)]
    if text(normal_form(notebook)) != path.read_text(encoding="utf-8"):
        found.append("not in normal form: run `make refresh`")
    found += structure_problems(notebook)
    if not found:  # only now is the picture sure to be there
        found += [
            f"{target.name} is not the picture of this run: run `make refresh`"
            for target, picture in readme_figures(notebook)
            if not target.exists() or target.read_bytes() != picture
        ]
    return found


def cell_problems(cell: NotebookNode) -> Iterator[str]:
    # nbval compares nothing in a cell without a count.
    if cell.execution_count is None:
        yield "never run, or empty"
    for output in cell.outputs:
        if output.output_type == "error":
            yield f"failed with {output.ename}"
        if output.get("name") == "stderr":
            yield f"wrote to stderr: {output.text.strip()[:80]!r}"
    options = cell.metadata.get("mystnb", {})
    if pictures(cell) and not options.get("image", {}).get("alt"):
        yield "a picture without a description in metadata.mystnb.image.alt"
    named = options.get("figure", {}).get("name")
    if README_FIGURE in tags(cell) and not (pictures(cell) and named):
        yield f"{README_FIGURE} needs a picture and a name in metadata.mystnb.figure.name"


def structure_problems(notebook: NotebookNode) -> Iterator[str]:
    cells = code_cells(notebook)
    if any(TRAINS.search(cell.source) for cell in cells) and not any(
        "parameters" in tags(cell) for cell in cells
    ):
        yield "trains, but no cell is tagged `parameters` to choose the budget"
    median = statistics.median([len(cell.source.splitlines()) for cell in cells] or [0])
    if median > MEDIAN_LINES:
        yield f"code cells have {median:g} lines (median), more than {MEDIAN_LINES}"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=["refresh", "check"])
    parser.add_argument("notebook", nargs="*", type=Path)
    arguments = parser.parse_args()
    wrong = 0
    for path in arguments.notebook or notebooks():
        if arguments.command == "refresh":
            print(f"running {path}", flush=True)
            refresh(path.resolve())
        for problem in problems(path):  # after a refresh too: some of them only the author can mend
            wrong = 1
            print(f"{path}: {problem}")
    return wrong


if __name__ == "__main__":
    sys.exit(main())
