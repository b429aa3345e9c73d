from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from llrnb import sweep
from llrnb.presets import fig3, presets_of
from llrnb.sweep import plan
from llrnb.training import Adam
from tests.tiny_sweep import TINY


@pytest.fixture(scope="module")
def table():
    return sweep.run(TINY)


def test_a_sweep_has_one_row_per_network(table):
    coordinates = table[["family", "multiple", "samples", "learning_rate", "trial"]]
    assert len(coordinates.drop_duplicates()) == len(table) == 3 * 2 * 2 * 3 * 2
    assert set(table["status"]) <= {"converged", "step limit", "diverged"}
    assert not table.isna().any().any()


def test_a_cell_does_not_depend_on_the_rest_of_the_grid(table):
    alone = sweep.run(
        replace(
            TINY,
            families={fig3.UNSHARED: TINY.families[fig3.UNSHARED]},
            multiples=(3,),
            samples=(9,),
            learning_rates=(0.15,),
        )
    )
    where = (table["family"] == fig3.UNSHARED) & (table["multiple"] == 3)
    where &= (table["samples"] == 9) & (table["learning_rate"] == 0.15)
    same = table[where].reset_index(drop=True)
    pd.testing.assert_frame_equal(alone[same.columns], same, check_exact=True)


def test_the_relative_error_is_over_the_targets_mean_square(table):
    ratio = table["test_error"] / table["relative_error"]
    assert np.allclose(ratio, ratio[0])
    assert ratio[0] > 1


def test_the_best_rate_has_the_lowest_mean_error_of_its_cell(table):
    best = sweep.best_rate(table)
    for cell, rows in table.groupby(["family", "multiple", "samples"]):
        means = rows.groupby("learning_rate")["test_error"].mean()
        chosen = best.set_index(["family", "multiple", "samples"]).loc[[cell]]
        assert set(chosen["learning_rate"]) == {means.idxmin()}
        assert len(chosen) == TINY.trials


def test_presets_hold_the_papers_experiment():
    assert fig3.RANKS == {fig3.CNN: 7, fig3.UNSHARED: 15, fig3.FULLY_CONNECTED: 21}
    assert fig3.PAPER.multiples == (1, 3, 10, 34, 100)
    parameters = [family(100).parameter_count for family in fig3.PAPER.families.values()]
    assert parameters == [700, 1500, 2100]
    assert len(fig3.PAPER.samples) >= 20 and fig3.PAPER.samples[::23] == (1, 63)
    assert len(fig3.PAPER.learning_rates) >= 5 and fig3.PAPER.trials >= 10
    assert len(fig3.SMALL.samples) >= 14
    for rank in fig3.RANKS.values():
        assert min(fig3.SMALL.samples) < rank < max(fig3.SMALL.samples)


def test_jobs_cover_the_cells_that_are_not_done_once_each():
    cells = fig3.PAPER.cells()
    done = {cell.key for cell in cells[::7]}
    found = plan.jobs(cells, "samples", done)
    covered = [cell.key for job in found for cell in job.cells]
    assert sorted(covered) == sorted({cell.key for cell in cells} - done)
    for job in found:
        assert len(job.cells) == 1 or job.seconds <= 60
        assert len(job.parameters["samples"]) == len(job.cells)
        others = {**job.parameters, "samples": None}
        assert all({**cell.parameters, "samples": None} == others for cell in job.cells)
    assert [job.seconds for job in found] == sorted((job.seconds for job in found), reverse=True)


@pytest.mark.parametrize("name", presets_of("fig3"))
def test_every_cell_of_a_preset_has_a_key_of_its_own(name):
    cells = presets_of("fig3")[name].cells()
    assert len({cell.key for cell in cells}) == len(cells)


def test_one_sample_size_more_adds_only_its_own_cells():
    more = replace(TINY, samples=(6, 7, 9))
    new = {c.key for c in more.cells()} - {c.key for c in TINY.cells()}
    assert len(new) == len(more.cells()) - len(TINY.cells()) == 6


def test_a_new_version_of_the_physics_has_new_keys(monkeypatch):
    old = {cell.key for cell in TINY.cells()}
    monkeypatch.setattr(plan, "PHYSICS", plan.PHYSICS + 1)
    assert not old & {cell.key for cell in TINY.cells()}


def test_the_physics_has_not_changed_unnoticed(table):
    """If this fails and the change is meant, raise PHYSICS, or stored rows of both would mix."""
    row = table.iloc[-1]
    assert (row["family"], row["samples"], row["trial"]) == (fig3.FULLY_CONNECTED, 9, 1)
    assert sweep.PHYSICS == 1
    assert row["train_loss"] == pytest.approx(2.71783868e-5, rel=1e-6)


def test_variants_are_one_sweep():
    steps = sweep.Together((replace(TINY, variant="a"), replace(TINY, steps=200, variant="b")))
    table = sweep.run(steps)
    assert table.groupby("variant").size().to_dict() == {"a": 72, "b": 72}
    assert set(sweep.best_rate(table)["variant"]) == {"a", "b"}


def test_means_are_over_the_trials(table):
    found = sweep.means(table)
    assert len(found) == len(table) / 2 and set(found["trials"]) == {2}
    last = table[table["learning_rate"] == 0.5].tail(2)["test_error"]
    assert found["test_error"].iloc[-1] == pytest.approx(last.mean())
    difference = abs(last.iloc[0] - last.iloc[1])
    assert found["test_error_sem"].iloc[-1] == pytest.approx(difference / 2)


def test_recorded_rows_end_in_the_final_ones(table):
    cell = TINY.cells()[-1]
    rows = sweep.train_cell(**cell.parameters, record_at=[1, 10, 300])
    final = table.tail(6).reset_index(drop=True)
    last = rows[rows["recorded"] == 300].reset_index(drop=True)
    pd.testing.assert_frame_equal(last[final.columns], final, check_exact=True)
    first = rows[rows["recorded"] == 1]
    assert (first["train_loss"].to_numpy() > last["train_loss"].to_numpy()).all()


def test_an_option_at_its_default_leaves_the_key_as_it_is():
    plain, adam = (
        replace(TINY, precision="float64"),
        replace(TINY, optimizer=Adam(), engine="torch"),
    )
    assert [c.key for c in plain.cells()] == [c.key for c in TINY.cells()]
    assert not {c.key for c in adam.cells()} & {c.key for c in TINY.cells()}
    short = {"optimizer": {"kind": "gradient descent"}, "batch_size": None, "precision": "float64"}
    assert sweep.options(**short) == {}
    rows = sweep.run(replace(adam, multiples=(1,), samples=(6,), learning_rates=(0.01,)))
    assert len(rows) == 6 and (rows["train_loss"] < 1).any()
