"""The job notebook and what it calls: every kind of preset stores what its function computes."""

import json
from dataclasses import dataclass, replace
from functools import partial
from importlib.resources import files

import pandas as pd
import papermill
import pytest

from llrnb import provenance, store, sweep
from llrnb.networks import cnn
from llrnb.presets import SWEEPS, presets_of
from llrnb.sweep import driver, inside
from llrnb.sweep.plan import jobs
from tests import own_cells
from tests.tiny_sweep import TINY

PRESETS = {
    "recovery": TINY,
    "own": sweep.OwnModel(
        model="tests.own_models:build",
        data="tests.own_models:data",
        samples=(6, 9),
        learning_rates=(0.05,),
        steps=20,
        trials=2,
    ),
    "phase": sweep.PhaseDiagram("recovery", "skip", samples=(10, 30), dims=(5,), trials=2),
    "limit": sweep.Limit(
        strategy="narrowest interpolator",
        target="generic",
        families={"CNN": partial(cnn, 5, 3)},
        kernels={"CNN": 1},
        samples={"CNN": (6, 8)},
        multiple=2,
        trials=2,
    ),
    "grid": sweep.Grid(own_cells.count, {"samples": (5, 6), "std": (0.5, 1.0)}, {"trials": 3}),
}
NOTEBOOK = str(files("llrnb") / "jobs" / "cell.ipynb")


def assert_stored(cells, folder) -> None:
    """Each cell's rows are those of its function."""
    for cell in cells:
        computed = sweep.referred(cell.compute)(**cell.parameters)
        pd.testing.assert_frame_equal(store.read(folder, cell.key), computed, check_exact=True)


@pytest.mark.parametrize("kind", ["grid", "own"])
def test_a_job_stores_the_rows_that_its_function_computes(kind, tmp_path):
    job = jobs(PRESETS[kind].cells())[0]
    executed = tmp_path / "run.ipynb"
    driver.run_notebook({**job.parameters, "folder": str(tmp_path)}, str(executed), isolated=True)
    assert not executed.exists()  # kept only if it fails
    assert len(job.cells) == 2
    assert_stored(job.cells, tmp_path)


def test_a_job_leaves_texts_like_1e3_texts(tmp_path):
    grid = sweep.Grid(own_cells.named, {"samples": ("1e3", "1e4")})
    (job,) = jobs(grid.cells())
    asked = {**job.parameters, "folder": str(tmp_path)}
    driver.run_notebook(asked, str(tmp_path / "run.ipynb"), isolated=False)
    assert sweep.collect(grid, tmp_path)["name"].tolist() == ["1e3", "1e4"]


@pytest.mark.parametrize("kind", PRESETS)
def test_a_job_inside_this_process_stores_the_same_rows_and_keeps_what_failed(kind, tmp_path):
    job = jobs(PRESETS[kind].cells())[0]
    run = partial(papermill.execute_notebook, NOTEBOOK, engine_name=inside.NAME, progress_bar=False)
    parameters = {**job.parameters, "folder": str(tmp_path)}
    run(str(tmp_path / "run.ipynb"), parameters)
    assert_stored(job.cells, tmp_path)
    wrong = {**parameters, "fixed": {**parameters["fixed"], "trials": -1}}
    with pytest.raises(papermill.PapermillExecutionError, match="trials needs an integer"):
        run(str(tmp_path / "failed.ipynb"), wrong)
    assert "trials needs an integer" in (tmp_path / "failed.ipynb").read_text()


def test_every_kind_of_preset_is_tested():
    known = {type(one).__name__ for one in PRESETS.values()} | {"Union"}
    assert {type(one).__name__ for name in SWEEPS for one in presets_of(name).values()} <= known


def test_whoever_has_a_row_file_can_check_its_key(tmp_path):
    for preset in PRESETS.values():
        one = First(preset)
        sweep.run(one, tmp_path)
        (cell,) = one.cells()
        assert sweep.key_of(store.parameters(tmp_path, cell.key)) == cell.key


@dataclass
class First:
    """The first cell of a preset."""

    preset: sweep.Preset

    def cells(self):
        return self.preset.cells()[:1]


def test_a_cell_that_is_stored_is_read_and_not_computed_again(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(own_cells, "hook", asked.append)
    grid = sweep.Grid(own_cells.count, {"samples": (3,)}, {"std": 1.0, "trials": 1})
    first = sweep.run(grid, tmp_path)
    both = sweep.run(replace(grid, each={"samples": (3, 5)}), tmp_path)
    assert asked == [3, 5]
    assert list(first["samples"]) == [3] and list(both["samples"]) == [3, 5]


def test_without_a_folder_nothing_is_stored(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sweep.run(PRESETS["grid"])
    assert not list(tmp_path.iterdir())


def test_a_cell_that_is_read_under_another_label_has_its_own(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(own_cells, "hook", made.append)
    grid = sweep.Grid(own_cells.count, {"samples": (6,)}, {"std": 1.0, "trials": 1})

    def named(variant):
        return replace(grid, labels={"variant": variant})

    for variant in ("first", "second"):
        assert sweep.run(named(variant), tmp_path)["variant"].tolist() == [variant]
    both = sweep.Union((named("third"), named("fourth")))
    assert sweep.collect(both, tmp_path)["variant"].tolist() == ["third", "fourth"]
    assert sweep.launch(both, tmp_path)["variant"].tolist() == ["third", "fourth"]
    assert made == [6]
    assert len(sweep.run(both)) == 2 and made == [6, 6]  # once for both


def test_rows_of_files_with_old_label_columns_are_those_of_new_ones(tmp_path):
    """Files of earlier versions hold a variant, a family and a multiple."""
    preset = replace(TINY, multiples=(1,), samples=(6,), trials=1, variant="new")
    for cell in preset.cells():
        rows = sweep.referred(cell.compute)(**cell.parameters)
        old = rows.assign(variant="old", family="other", multiple=7)
        store.write(tmp_path, cell.key, old, {}, {**cell.parameters, "variant": "old"})
    expected = sweep.run(preset)
    pd.testing.assert_frame_equal(sweep.collect(preset, tmp_path), expected, check_exact=True)
    pd.testing.assert_frame_equal(sweep.run(preset, tmp_path), expected, check_exact=True)
    assert list(expected.columns[:3]) == ["variant", "family", "multiple"]


def test_cells_of_a_gpu_are_computed_together_stored_one_by_one_and_share_the_time(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(provenance, "device_name", lambda device: device)
    calls = []

    def together(cells):
        calls.append([cell["samples"] for cell in cells])
        return [own_cells.count(**cell) for cell in cells]

    monkeypatch.setattr(own_cells.count, "together", together, raising=False)
    fixed = {"trials": 3, "device": "a GPU"}
    preset = sweep.Grid(own_cells.count, {"samples": (5, 6), "std": (0.5, 1.0)}, fixed)
    on_gpu = sweep.run(preset, tmp_path)
    assert calls == [[5, 6], [5, 6]]  # cells that differ in their samples only
    expected = sweep.run(replace(preset, fixed={"trials": 3}))
    pd.testing.assert_frame_equal(on_gpu, expected)
    pd.testing.assert_frame_equal(sweep.run(preset, tmp_path), on_gpu)
    assert len(calls) == 2
    first, _, second, _ = store.provenances(tmp_path, [cell.key for cell in preset.cells()])
    assert first["end"] == second["start"] and first["device"] == "a GPU"


def test_a_recovery_on_a_gpu_is_trained_in_one_call(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "device_name", lambda device: device)
    preset = replace(TINY, multiples=(1,))
    cells, expected = sweep.on_device(preset, "cuda"), sweep.run(preset)
    calls, trained = [], sweep.train_cells

    def on_cpu(cells):
        calls.append(len(cells))
        return trained([{**cell, "device": "cpu", "engine": "cpu"} for cell in cells])

    monkeypatch.setattr(sweep.train_cell, "together", on_cpu)
    for job in jobs(cells):
        asked = {**job.parameters, "folder": str(tmp_path)}
        driver.run_notebook(asked, str(tmp_path / "a.ipynb"), isolated=False)
    assert calls == [2] * 3
    pd.testing.assert_frame_equal(sweep.collect(preset, tmp_path, "cuda"), expected)


def test_a_summary_is_the_last_table_of_the_functions_or_the_rows(tmp_path, capsys):
    rows, summary = pd.DataFrame({"a": [1, 2]}), tmp_path / "summary.json"
    assert sweep.shown(rows, summary=summary) is rows
    assert json.loads(summary.read_text()) == [{"a": 1}, {"a": 2}]
    assert sweep.shown(rows, ["tests.own_cells:doubled", "tests.own_cells:length"], summary) is None
    assert json.loads(summary.read_text()) == [{"a": 2}, {"a": 4}]
    assert capsys.readouterr().out.split() == ["a", "0", "2", "1", "4"]
