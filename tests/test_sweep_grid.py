"""The sweep of a function of one's own, its key, and the keys of all presets."""

import hashlib
import json
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from llrnb import store, sweep
from llrnb.__main__ import main
from llrnb.presets import presets_of
from llrnb.sweep.references import reference_to
from tests import own_cells

GRID = sweep.Grid("tests.own_cells:count", {"samples": (5, 6), "std": (0.5, 1.0)}, {"trials": 2})
imported = own_cells.count
FILE = """
import pandas as pd

from llrnb.sweep import Grid


def area(*, width, height, trials):
    return pd.DataFrame({"trial": range(trials), "area": width * height})


PRESET = Grid(area, {"width": (1.5, 2), "height": (3,)}, {"trials": 2}, {"variant": "mine"})
"""
# Of a preset's sorted keys: how many, and a hash. By them stored rows are found.
KEYS = json.loads((Path(__file__).parent / "sweep_keys.json").read_text())


def test_every_combination_is_a_cell_with_its_parameters_as_columns():
    table = sweep.run(replace(GRID, labels={"variant": "a"}))
    expected = [
        {"samples": n, "std": std, "variant": "a", "trial": trial, "value": n * std}
        for n, std, trial in product((5, 6), (0.5, 1.0), range(2))
    ]
    pd.testing.assert_frame_equal(table, pd.DataFrame(expected))


def test_a_functions_own_column_is_kept():
    rows = sweep.run(sweep.Grid(own_cells.own_column, {"samples": (5,)}))
    assert rows["samples"].tolist() == [5.5]


@pytest.mark.parametrize("name", sorted(KEYS.keys() - {"own"}))
def test_the_keys_of_stored_rows_have_not_changed(name):
    sweep_name, preset = name.split()
    keys = sorted(cell.key for cell in presets_of(sweep_name)[preset].cells())
    assert [len(keys), hashlib.sha256("\n".join(keys).encode()).hexdigest()[:16]] == KEYS[name]


def test_the_key_of_a_model_of_ones_own_has_not_changed(monkeypatch):
    monkeypatch.setattr("llrnb.sweep.own.source_of", lambda *references: "a hash")
    preset = sweep.OwnModel(
        "tests.own_models:build", "tests.own_models:data", samples=(6,), learning_rates=(0.05,),
        steps=25, variant="a name",
    )  # fmt: skip
    assert [cell.key for cell in preset.cells()] == KEYS["own"]


def test_a_key_holds_the_function_its_parameters_and_its_files_text(tmp_path):
    (tmp_path / "area.py").write_text(FILE)
    grid = sweep.referred(f"{tmp_path / 'area.py'}:PRESET")
    keys = {cell.key for cell in grid.cells()}
    assert len(keys) == 2 and keys == {cell.key for cell in replace(grid, labels={}).cells()}
    (tmp_path / "moved").mkdir()
    (tmp_path / "moved" / "area.py").write_text(FILE)
    moved = sweep.Grid(f"{tmp_path / 'moved' / 'area.py'}:area", grid.each, grid.fixed)
    assert {cell.key for cell in moved.cells()} == keys
    others = [
        FILE + "# Another text.\n",
        FILE.replace("area(", "other(").replace("(area", "(other"),
    ]
    for text in others:
        (tmp_path / "area.py").write_text(text)
        other = sweep.referred(f"{tmp_path / 'area.py'}:PRESET")
        assert not keys & {cell.key for cell in other.cells()}
    with pytest.raises(ValueError, match="area needs a file with the hash 123, got "):
        replace(moved, source="123").cells()


def test_a_function_and_its_reference_are_the_same():
    assert replace(GRID, compute=own_cells.count) == GRID
    assert replace(GRID, compute="tests.test_sweep_grid:imported") == GRID  # whose text counts
    ours = sweep.Grid("llrnb.sweep.phase:phase_cell", {"samples": (10, 20)}, fixed_of_a_phase())
    preset = sweep.PhaseDiagram("recovery", "skip", samples=(10, 20), dims=(5,), trials=2)
    assert [cell.key for cell in ours.cells()] == [cell.key for cell in preset.cells()]


def fixed_of_a_phase() -> dict:
    return {
        "task": "recovery", "network": "skip", "dim": np.int64(5), "trials": 2, "form": "relaxed",
        "neurons": 1, "data": "gaussian", "weights": "random", "noise": np.float64(0), "steps": 400,
    }  # fmt: skip


def test_a_file_of_ones_own_runs_on_a_local_cluster(tmp_path, capsys):
    (tmp_path / "my_sweep.py").write_text(FILE)
    mine = f"{tmp_path / 'my_sweep.py'}:PRESET"
    options = ["--results", str(tmp_path / "results")]
    assert main(["run", mine, *options, "--workers", "1"]) == 0
    assert main(["publish", mine, *options, "--to", str(tmp_path)]) == 0
    table, _ = store.published(tmp_path / "my_sweep-preset.parquet")
    assert (table["area"] == table["width"] * table["height"]).all()
    assert len(table) == 2 * 2 and set(table["variant"]) == {"mine"}
    config = tmp_path / "mine.yaml"
    config.write_text(
        "compute: my_sweep.py:area\neach: {width: [1.5, 2], height: [3]}\nfixed: {trials: 2}\n"
    )
    assert main(["status", str(config), *options]) == 0  # the same cells
    assert "2 cells done" in capsys.readouterr().out


def written(folder: Path, text: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("compute: tests.own_cells:count\nsamples: [5]", "needs names among .* got .'samples'"),
        ("compute: 3", "compute needs a text, got 3"),
        ("compute: no_such.py:count", "a file that can be read, got .*no_such.py"),
        ("compute: tests.own_cells:count\neach: [5]", "each"),
    ],
)
def test_a_yaml_file_that_is_no_grid_says_why(text, message, tmp_path):
    with pytest.raises((ValueError, TypeError), match=message):
        sweep.from_yaml(written(tmp_path, text))


def test_numbers_like_1e_minus_3_are_numbers_in_a_yaml_file(tmp_path):
    text = "compute: tests.own_cells:count\neach: {samples: [5], std: [1e-3]}\nfixed: {trials: 1}"
    (cell,) = sweep.from_yaml(written(tmp_path, text)).cells()
    assert cell.parameters["std"] == 1e-3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"compute": "tests.own_cells"}, "the form module:name or file.py:name"),
        ({"compute": "tests.own_cells:none"}, "tests.own_cells needs to define 'none'"),
        ({"compute": "tests.own_cells:MADE"}, "needs to be a function, got 3"),
        ({"compute": lambda samples: None}, "needs a function that a file defines by name"),
        ({"fixed": {}}, "count needs other parameters than .*: missing a required argument"),
        ({"fixed": {"trials": 2, "other": 1}}, "got an unexpected keyword argument 'other'"),
        ({"fixed": {"trials": 2, "std": 1}}, "parameters in each and fixed need to be different"),
        ({"each": {"samples": (5, 5)}}, "values of samples need to be different"),
        ({"each": {"samples": ()}}, "each.'samples'. needs a list of at least 1"),
        ({"each": {"samples": 5}}, "each.'samples'. needs a list of at least 1, got 5"),
        ({"fixed": {"trials": print}}, "fixed.'trials'. needs values of JSON .*, got <built-in"),
        ({"fixed": {"trials": [float("nan")]}}, "each of fixed.'trials'. needs values of JSON"),
        ({"fixed": {"trials": {3: 4}}}, "fixed.'trials'. needs values of JSON .* got {3: 4}"),
        ({"labels": {"variant": {1}}}, "labels.'variant'. needs values of JSON"),
        ({"seconds": -1.0}, "seconds needs a finite number >= 0"),
    ],
)
def test_what_is_no_grid_says_why(changes, message):
    with pytest.raises((ValueError, TypeError), match=message):
        replace(GRID, **changes)


def test_a_function_that_returns_no_table_is_named(tmp_path):
    grid = sweep.Grid(own_cells.number, {"samples": (5,)})
    with pytest.raises(TypeError, match="own_cells:number returns needs to be a DataFrame, got 5"):
        sweep.run(grid, tmp_path)
    assert not store.held(tmp_path)


def test_a_function_without_a_file_is_refused():
    names: dict = {"__name__": "__main__"}
    exec("def made(samples): ...", names)
    with pytest.raises(ValueError, match="needs a function in a file, got made of none"):
        reference_to(names["made"])


def test_a_name_that_is_no_preset_is_refused_on_the_command_line(capsys):
    assert main(["status", "tests.own_cells:MADE"]) == 1
    said = "llrnb: tests.own_cells:MADE needs to be a Preset, got 3\n"
    assert capsys.readouterr().err == said
