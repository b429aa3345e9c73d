"""The sweep of a function of one's own, its key, and the keys of all presets."""

import hashlib
import importlib
import json
import os
import sys
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from llrnb import store, sweep
from llrnb.__main__ import main
from llrnb.presets import presets_of
from llrnb.sweep.plan import Job
from llrnb.sweep.references import reference_to, source_of
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
    (tmp_path / "area.py").write_text(FILE + "# Another text.\n")
    other = sweep.referred(f"{tmp_path / 'area.py'}:PRESET")
    assert not keys & {cell.key for cell in other.cells()}
    with pytest.raises(ValueError, match="area needs a file with the hash 123, got "):
        replace(moved, source="123").cells()


def test_two_functions_of_one_file_have_two_keys():
    (one,), (other,) = (
        sweep.Grid(function, {"samples": (5,)}).cells()
        for function in (own_cells.number, own_cells.own_column)
    )
    assert one.source == other.source and one.key != other.key


def test_the_hash_of_several_files_is_that_of_their_texts_in_the_order_of_their_names(tmp_path):
    places = [tmp_path / f"{name}.py" for name in "abcdef"]
    for place in places:
        place.write_text(f"{place.stem} = 3")
    text = "\n".join(f"{name} = 3" for name in "abcdef")
    expected = hashlib.sha256(text.encode()).hexdigest()[:12]
    references = [f"{place}:{place.stem}" for place in places]
    assert source_of(*references) == source_of(*references[::-1]) == expected


CHANGED = "import pandas as pd\n\n\ndef f(*, std):\n    return pd.DataFrame({'value': [1 * std]})\n"


def test_a_module_that_has_changed_since_it_was_referred_to_is_refused(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    (tmp_path / "changing").mkdir()
    path = tmp_path / "changing" / "one.py"
    path.write_text(CHANGED)
    grid, results = sweep.Grid("changing.one:f", {"std": (3,)}), tmp_path / "results"
    before = grid.cells()
    assert sweep.run(grid, results)["value"].tolist() == [3]
    path.write_text(CHANGED.replace("1 *", "100 *"))
    for ask in (grid.cells, lambda: sweep.run(grid, results), lambda: sweep.run(Fixed(before))):
        with pytest.raises(ValueError, match="changing.one needs the text .* start Python anew"):
            ask()
    importlib.reload(sys.modules["changing.one"])
    assert sweep.run(grid, results)["value"].tolist() == [300]
    assert store.held(results) == {before[0].key, grid.cells()[0].key}


class Fixed:
    """Cells that were made before."""

    def __init__(self, cells):
        self.found = cells

    def cells(self):
        return self.found


def test_a_file_that_changes_while_its_sweep_works_ends_it(tmp_path):
    path, results = tmp_path / "changing.py", tmp_path / "results"
    change = "    with open(__file__, 'a') as file:\n        file.write('# Another text.')\n"
    path.write_text(CHANGED.replace("    return", change + "    return"))
    one_by_one = Fixed([sweep.Cell(f"{path}:f", {"std": std}) for std in (1, 2, 3)])
    with pytest.raises(ValueError, match="changing.py:f needs a file with the hash .*, got "):
        sweep.run(one_by_one, results)
    assert store.held(results) == {one_by_one.cells()[0].key}


def test_a_file_runs_with_the_text_that_it_has_and_not_with_an_older_bytecode(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    path = tmp_path / "one.py"
    for factor in (1, 2):  # texts of one length and time
        path.write_text(CHANGED.replace("1 *", f"{factor} *"))
        os.utime(path, (10**9, 10**9))
        rows = sweep.run(sweep.Grid(f"{path}:f", {"std": (3,)}))
        assert rows["value"].tolist() == [3 * factor]


def test_a_cell_without_a_hash_of_its_file_finds_it(tmp_path):
    cells = []
    for factor in (1, 2):
        path = tmp_path / str(factor) / "one.py"
        path.parent.mkdir()
        path.write_text(CHANGED.replace("1 *", f"{factor} *"))
        cells.append(sweep.Cell(f"{path}:f", {"std": 3}))
    values = [sweep.run(Fixed([cell]), tmp_path)["value"].tolist() for cell in cells]
    assert values == [[3], [6]]
    for cell in cells:
        (launched,) = sweep.Grid(**Job((cell,)).parameters).cells()
        assert launched.key == cell.key
    imported = sweep.Cell("tests.test_sweep_grid:imported", {"samples": 5, "std": 1, "trials": 1})
    assert imported.compute == "tests.own_cells:count"  # whose text counts
    with pytest.raises(ValueError, match="tests.own_cells needs to define 'none'"):
        sweep.Cell("tests.own_cells:none", {})


@pytest.mark.parametrize(
    ("function", "label"), [("count", "value"), ("count", "trial"), ("with_variant", "variant")]
)
def test_a_label_does_not_take_the_place_of_a_result(function, label):
    grid = sweep.Grid(f"tests.own_cells:{function}", {"samples": (5,)}, {"std": 1.0, "trials": 2})
    message = f"labels need names that .*:{function} gives no columns, got \\['{label}'\\]"
    with pytest.raises(ValueError, match=message):
        sweep.run(replace(grid, labels={label: 7}))


def test_a_label_does_not_take_the_place_of_a_parameter():
    with pytest.raises(ValueError, match="labels need .* the parameters' values, got .'trials'."):
        replace(GRID, labels={"trials": 3}).cells()
    assert sweep.run(replace(GRID, labels={"trials": 2}))["trials"].eq(2).all()


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
    names = "seconds: 1e-3\nlabels: {variant: 1e3}\nsource: 1e3"
    grid = sweep.from_yaml(written(tmp_path, f"{text}\n{names}"))
    assert (grid.seconds, grid.labels, grid.source) == (1e-3, {"variant": "1e3"}, "1e3")


def test_a_text_like_1e3_is_a_text_outside_of_a_yaml_file():
    grid = sweep.Grid(own_cells.number, {"samples": ("1e3", 1000.0)})
    assert [cell.parameters["samples"] for cell in grid.cells()] == ["1e3", 1000.0]


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
        ({"each": {"samples": (1, 1.0)}}, "values of samples need to be different"),
        ({"each": {"samples": (1, True)}}, "values of samples need to be different"),
        ({"each": {"samples": ([{"a": 1}], [{"a": 1.0}])}}, "values of samples need to be diff"),
        ({"each": {"samples": ()}}, "each.'samples'. needs a list of at least 1"),
        ({"each": {"samples": 5}}, "each.'samples'. needs a list of at least 1, got 5"),
        ({"fixed": {"trials": print}}, "fixed.'trials'. needs values of JSON .*, got <built-in"),
        ({"fixed": {"trials": [float("nan")]}}, "each of fixed.'trials'. needs values of JSON"),
        ({"fixed": {"trials": {3: 4}}}, "fixed.'trials'. needs values of JSON .* got {3: 4}"),
        ({"labels": {"variant": {1}}}, "labels.'variant'. needs values of JSON"),
        ({"labels": {"variant": [1]}}, "labels need single values, got {'variant': .1.}"),
        ({"labels": {"samples": 7}}, "the names in each and labels need to be different"),
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
