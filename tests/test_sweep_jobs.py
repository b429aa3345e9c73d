"""The notebooks of llrnb/jobs: every kind of job stores what its preset computes."""

from functools import partial

import pandas as pd
import pytest

from llrnb import store, sweep
from llrnb.networks import cnn
from llrnb.presets import SWEEPS, presets_of
from llrnb.sweep import driver
from llrnb.sweep.plan import jobs
from tests.tiny_sweep import TINY

PRESETS = {
    "recovery": TINY,
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


def test_every_kind_of_job_is_tested():
    known = {preset.notebook for name in SWEEPS for preset in presets_of(name).values()}
    assert known == set(PRESETS)


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
