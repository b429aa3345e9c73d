"""The stored notebooks are fit to be published, and the check that says so can see what is not."""

import base64

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from tools import notebooks

PNG = base64.b64encode(b"a picture").decode()
FIGURE = {"mystnb": {"image": {"alt": "A line."}, "figure": {"name": "fig-line"}}}


def code(source="1 + 1", outputs=(), count=1, tags=(), metadata=None):
    metadata = {**(metadata or {}), **({"tags": list(tags)} if tags else {})}
    return new_code_cell(source, outputs=list(outputs), execution_count=count, metadata=metadata)


def picture():
    return new_output("display_data", data={"image/png": PNG, "text/plain": "<Figure>"})


@pytest.fixture
def stored(tmp_path, monkeypatch):
    """Write cells as a notebook in normal form (unless ``raw``); returns its path."""
    monkeypatch.setattr(notebooks, "PICTURES", tmp_path)

    def write(*cells, raw=False):
        notebook = new_notebook(cells=list(cells))
        path = tmp_path / "notebook.ipynb"
        path.write_text(notebooks.text(notebook if raw else notebooks.normal_form(notebook)))
        return path

    return write


@pytest.mark.parametrize("path", notebooks.notebooks(), ids=lambda path: path.name)
def test_a_notebook_of_the_book_has_no_problems(path):
    assert notebooks.problems(path) == []


def test_the_book_has_notebooks():
    assert notebooks.notebooks()


@pytest.mark.parametrize(
    ("cell", "problem"),
    [
        (code(count=None), "never run"),
        (code(outputs=[new_output("error", ename="ValueError")]), "failed with ValueError"),
        (code(outputs=[new_output("stream", name="stderr", text="careful")]), "stderr: 'careful'"),
        (code(outputs=[picture()]), "without a description"),
        (code("llrnb.train(net)"), "no cell is tagged `parameters`"),
        (code("x = 1\n" * 30), "30 lines"),
        (code(tags=["readme-figure"]), "needs a picture and a name"),
        (code(outputs=[picture()], tags=["readme-figure"], metadata=FIGURE), "is not the picture"),
    ],
)
def test_a_problem_is_seen(stored, cell, problem):
    assert [p for p in notebooks.problems(stored(cell)) if problem in p]


def test_a_good_notebook_has_no_problems(stored, tmp_path):
    path = stored(
        new_markdown_cell("# Training"),
        code("steps: int = 100", tags=["parameters"]),
        code("llrnb.train(net)", [picture()], tags=["readme-figure"], metadata=FIGURE),
    )
    (tmp_path / "fig-line.png").write_bytes(b"a picture")
    assert notebooks.problems(path) == []


@pytest.mark.parametrize(
    "cell",
    [
        code(count=7),
        code(metadata={"execution": {"iopub.status.busy": "2026-01-01"}}),
        code(outputs=[new_output("display_data", data={notebooks.WIDGET: {"model_id": "a"}})]),
    ],
    ids=["counts", "timing", "widget"],
)
def test_normal_form_drops_what_belongs_to_one_run(stored, cell):
    assert notebooks.problems(stored(cell, raw=True)) == ["not in normal form: run `make refresh`"]
    assert notebooks.problems(stored(cell)) == []


def test_normal_form_keeps_the_cells_and_is_reached_in_one_step():
    notebook = new_notebook(cells=[new_markdown_cell("# One"), code(count=3), code(count=9)])
    once = notebooks.normal_form(notebook)
    assert [c.source for c in once.cells] == ["# One", "1 + 1", "1 + 1"]
    assert [c.id for c in once.cells] == [c.id for c in notebook.cells]
    assert notebooks.text(notebooks.normal_form(once)) == notebooks.text(once)


def test_a_refresh_stores_the_run_and_the_figure_of_the_readme(stored, tmp_path):
    draw = "from IPython.display import Image\n\nImage(data=b'a picture', format='png')"
    path = stored(
        code("print(6 * 7)", count=None),
        code(draw, count=None, tags=["readme-figure"], metadata=FIGURE),
    )
    notebooks.refresh(path)
    assert nbformat.read(path, as_version=4).cells[0].outputs[0].text == "42\n"
    assert (tmp_path / "fig-line.png").read_bytes() == b"a picture"
    assert notebooks.problems(path) == []
