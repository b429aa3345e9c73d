"""The notebooks of llrnb/jobs: every kind of job stores what its preset computes."""

import json
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
}


@pytest.mark.parametrize("notebook", PRESETS)
def test_a_job_stores_the_rows_that_its_preset_computes(notebook, tmp_path):
    preset = PRESETS[notebook]
    assert preset.notebook == notebook
    job = jobs(preset.cells(), preset.along)[0]
    executed = tmp_path / "run.ipynb"
    driver.run_notebook(notebook, {**job.parameters, "folder": str(tmp_path)}, str(executed))
    assert not executed.exists()  # kept only if it fails
    for cell in job.cells:
        stored = store.read(tmp_path, cell.key)
        pd.testing.assert_frame_equal(stored, preset.compute(**cell.parameters), check_exact=True)


def test_a_run_from_a_file_has_its_own_labels_and_a_single_look_is_the_last(tmp_path):
    config = {
        "network": {"kind": "fully connected", "input_dim": 5, "width": 6},
        "target": {"kind": "paper"}, "samples": [6], "learning_rates": [0.1], "trials": 2,
        "steps": 30, "looks": 1, "variant": None, "family": None,
        "folder": str(tmp_path), "summary": str(tmp_path / "summary.json"),
    }  # fmt: skip
    driver.run_notebook("recovery", config, str(tmp_path / "run.ipynb"))
    (row,) = json.loads((tmp_path / "summary.json").read_text())
    labels = {"variant": "", "family": "fully connected", "multiple": 2}
    assert {name: row[name] for name in labels} == labels
    assert row["trials"] == 2 and row["samples"] == 6
    (key,) = store.held(tmp_path)
    parameters = store.parameters(tmp_path, key)
    assert sweep.key_of(parameters, labels) == key  # whoever has the file can check it


def test_every_kind_of_job_is_tested():
    known = {preset.notebook for name in SWEEPS for preset in presets_of(name).values()}
    assert known | {sweep.OwnModel.notebook} == set(PRESETS)


def test_a_cell_that_is_stored_is_read_and_not_computed_again(tmp_path):
    asked = []

    def compute(samples: int) -> pd.DataFrame:
        asked.append(samples)
        return pd.DataFrame({"samples": [samples]})

    first = sweep.compute_cells(compute, [{"samples": 3}], tmp_path)
    both = sweep.compute_cells(compute, [{"samples": 3}, {"samples": 5}], tmp_path)
    assert asked == [3, 5]
    assert list(first["samples"]) == [3] and list(both["samples"]) == [3, 5]


def test_without_a_folder_nothing_is_stored(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sweep.compute_cells(lambda: pd.DataFrame({"samples": [1]}), [{}])
    assert not list(tmp_path.iterdir())


def test_cells_that_stand_twice_are_refused():
    with pytest.raises(ValueError, match="need to be different, got one twice: {'samples': 6}"):
        sweep.compute_cells(lambda samples: None, [{"samples": 6}, {"samples": 6}])


def test_a_cell_that_is_read_under_another_label_has_its_own(tmp_path):
    made = []

    def compute(samples, variant=""):
        made.append(samples)
        return pd.DataFrame({"variant": [variant], "samples": [samples]})

    def labels_of(cell):
        return {"variant": cell["variant"]}

    for variant in ("first", "second"):
        cells = [{"samples": 6, "variant": variant}]
        table = sweep.compute_cells(compute, cells, tmp_path, labels_of=labels_of)
        assert table["variant"].tolist() == [variant]
    assert made == [6]
    preset = Labelled(("third", "fourth"))
    assert sweep.collect(preset, tmp_path)["variant"].tolist() == ["third", "fourth"]
    assert sweep.launch(preset, tmp_path)["variant"].tolist() == ["third", "fourth"]


class Labelled:
    """One cell under several names."""

    notebook, along = "phase", "samples"

    def __init__(self, variants):
        self.variants = variants

    def cells(self):
        return [
            sweep.Cell({"samples": 6, "variant": name}, 1.0, {"variant": name})
            for name in self.variants
        ]

    def compute(self, **cell):
        raise AssertionError("it is stored")


def test_a_job_inside_this_process_stores_the_same_rows_and_keeps_what_failed(tmp_path):
    preset = PRESETS["recovery"]
    job = jobs(preset.cells(), preset.along)[0]
    notebook = str(files("llrnb") / "jobs" / "recovery.ipynb")
    run = partial(papermill.execute_notebook, notebook, engine_name=inside.NAME, progress_bar=False)
    parameters = {**job.parameters, "folder": str(tmp_path)}
    run(str(tmp_path / "run.ipynb"), parameters)
    for cell in job.cells:
        stored = store.read(tmp_path, cell.key)
        pd.testing.assert_frame_equal(stored, preset.compute(**cell.parameters), check_exact=True)
    with pytest.raises(papermill.PapermillExecutionError, match="steps needs an integer"):
        run(str(tmp_path / "failed.ipynb"), {**parameters, "steps": -1})
    assert "steps needs an integer" in (tmp_path / "failed.ipynb").read_text()


def test_cells_computed_together_are_stored_one_by_one_and_share_the_time(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "device_name", lambda device: device)
    cells = [dict(cell.parameters) for cell in TINY.cells()][:2]
    labels = sweep.Recovery.labels_of
    compute = partial(sweep.compute_cells, sweep.train_cell, cells, tmp_path, "a GPU", labels)
    rows = compute(together=sweep.train_cells)
    assert len(store.held(tmp_path)) == 2
    with pytest.raises(ZeroDivisionError):
        sweep.compute_cells(sweep.train_cell, cells, "", "a GPU", labels, together=lambda _: 1 / 0)
    pd.testing.assert_frame_equal(rows, compute(together=lambda _: 1 / 0))  # all are stored
    keys = [sweep.key_of(cell, labels(cell)) for cell in cells]
    first, second = store.provenances(tmp_path, keys)
    assert first["end"] == second["start"] and first["device"] == "a GPU"
