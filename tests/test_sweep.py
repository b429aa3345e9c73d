from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from llrnb import sweep
from llrnb.laws import CovariateShift, Sphere, Uniform
from llrnb.presets import fig3, presets_of, relu
from llrnb.sweep import plan
from llrnb.targets import draw, draw_test
from llrnb.training import Adam, cuda, train
from llrnb.transitions import transition_point
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


def test_jobs_cover_the_cells_once_each():
    cells = fig3.PAPER.cells()
    found = plan.jobs(cells)
    covered = [cell.key for job in found for cell in job.cells]
    assert sorted(covered) == sorted(cell.key for cell in cells)
    for job in found:
        assert len(job.cells) == 1 or job.seconds <= 60
        grid = sweep.Grid(**job.parameters)
        assert [cell.parameters for cell in grid.cells()] == [cell.parameters for cell in job.cells]
        assert [cell.key for cell in grid.cells()] == [cell.key for cell in job.cells]
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
    assert sweep.PHYSICS == 2
    assert row["train_loss"] == pytest.approx(1.20062453e-5, rel=1e-6)


@pytest.mark.parametrize("field", ["samples", "learning_rates", "multiples"])
def test_what_stands_twice_is_refused(field):
    values = getattr(TINY, field)
    with pytest.raises(ValueError, match=f"need to be different, got .*{values[0]}, {values[0]}"):
        replace(TINY, **{field: (*values, values[0], values[0])})


def test_one_preset_twice_is_refused_and_overlapping_variants_are_not():
    with pytest.raises(ValueError, match="different cells or variants, got one twice: .*samples 6"):
        sweep.Union((TINY, replace(TINY, samples=(5, 6)))).cells()
    with pytest.raises(ValueError, match="one twice"):
        sweep.run(sweep.Union((TINY, TINY)))
    cells = sweep.Union((TINY, replace(TINY, variant="again"))).cells()
    assert len(cells) == 24 and len({cell.key for cell in cells}) == 12
    assert sum(len(job.cells) for job in plan.jobs(cells)) == 12


def test_presets_of_any_kinds_are_one_sweep_and_together_is_its_old_name():
    phases = sweep.PhaseDiagram("recovery", "skip", samples=(10,), dims=(5,), trials=2)
    one = replace(TINY, samples=(6,), multiples=(1,), trials=1, learning_rates=(0.1,))
    both = sweep.Union((one, phases))
    assert len(both.cells()) == 4 and len(sweep.run(both)) == 5
    assert sweep.Together is sweep.Union


def test_inputs_are_drawn_from_the_law_of_the_preset(tmp_path):
    law = CovariateShift(Uniform(0, 2), Sphere(1.5))
    one = replace(TINY, samples=(6,), multiples=(1,), trials=2, learning_rates=(0.1,), law=law)
    rows = sweep.run(one)
    family, narrowest = next(iter(one.families.items()))
    train_data = [draw(one.target, 6, trial, law=law) for trial in range(2)]
    run = train(
        narrowest(1), *(list(part) for part in zip(*train_data, strict=True)), seeds=range(2),
        learning_rates=[0.1, 0.1], steps=one.steps, tolerance=one.tolerance, std=one.std,
    )  # fmt: skip
    test_inputs, truth = draw_test(one.target, one.test_samples, law=Sphere(1.5))
    assert test_inputs.norm(dim=1).allclose(torch.tensor(1.5, dtype=torch.float64))
    errors = (run.predict(test_inputs) - truth).square().mean(dim=1)
    mine = rows[rows["family"] == family]
    assert mine["train_loss"].to_numpy() == pytest.approx(run.loss.numpy(), rel=1e-6)
    assert mine["test_error"].to_numpy() == pytest.approx(errors.numpy(), rel=1e-6)

    cell = next(cell for cell in one.cells() if cell.labels["family"] == family)
    assert cell.key not in {cell.key for cell in TINY.cells()}
    grid = {
        "compute": "llrnb.sweep.recovery:train_cell",
        "each": {"samples": [6]},
        "fixed": {name: value for name, value in cell.parameters.items() if name != "samples"},
    }
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(grid))
    written = sweep.from_yaml(tmp_path / "grid.yaml")
    assert written.cells()[0].key == cell.key
    assert sweep.run(written)["test_error"].tolist() == mine["test_error"].tolist()
    with pytest.raises(ValueError, match="the law's kind needs one of normal"):
        sweep.train_cell(**{**cell.parameters, "law": {"kind": "cauchy"}})


def test_means_of_columns_of_ones_own():
    values = [(1, 0, 3.0, 1.0), (1, 1, 5.0, np.nan), (1, 2, 10.0, 2.0), (2, 0, 8.0, 4.0)]
    table = pd.DataFrame(values, columns=["width", "trial", "rank", "loss"])
    found = sweep.means(table, ["rank", "loss"], "width").set_index("width")
    assert found["trials"].tolist() == [3, 1] and found["rank"].tolist() == [6.0, 8.0]
    assert found.loc[1, "rank_sem"] == pytest.approx(np.std([3, 5, 10], ddof=1) / 3**0.5)
    assert np.isnan(found.loc[2, "rank_sem"]) and found.loc[2, "loss"] == 4
    assert np.isnan(found.loc[1, "loss"]) and np.isnan(found.loc[1, "loss_sem"])
    for wrong, message in (
        (("rank",), "by needs a list of at least 1"),
        (("speed", "width"), "needs the columns .*'speed'"),
        (("rank", "rank"), "columns need to be different"),
        (("rank", "loss"), "needs one row for the same loss|each trial needs one row"),
        (("name", "width"), "means need columns of numbers, got .*'name'"),
    ):
        twice = pd.concat([table, table]) if wrong == ("rank", "loss") else table
        with pytest.raises(ValueError, match=message):
            sweep.means(twice.assign(name="a"), *wrong)


def test_a_repeated_rate_of_a_cell_is_refused():
    cell = TINY.cells()[0].parameters
    with pytest.raises(ValueError, match=r"learning rates need to be different, got \[0.1, 0.1\]"):
        sweep.train_cell(**{**cell, "learning_rates": [0.1, 0.1]})


def test_labels_change_no_key_and_everything_else_does():
    (first, *_), (named, *_) = TINY.cells(), replace(TINY, variant="other name").cells()
    assert first.key == named.key and named.labels["variant"] == "other name"
    keys = {first.key}
    for name in first.parameters:
        keys.add(replace(first, parameters={**first.parameters, name: "other"}).key)
    assert len(keys) == 1 + len(first.parameters)


def test_the_labels_of_a_presets_cells_are_its_names_of_them():
    for cell, (family, multiple) in zip(
        TINY.cells()[::2], product(TINY.families, TINY.multiples), strict=True
    ):
        assert cell.labels == {"variant": "", "family": family, "multiple": multiple}


def test_rows_that_nobody_named_have_no_such_columns_and_their_means(table):
    cell = TINY.cells()[1]
    rows = sweep.train_cell(**cell.parameters)
    assert not {"variant", "family", "multiple"} & set(rows)
    named = table[
        (table["family"] == fig3.CNN) & (table["multiple"] == 1) & (table["samples"] == 9)
    ]
    mean, expected = sweep.means(rows), sweep.means(named)
    pd.testing.assert_frame_equal(mean, expected[mean.columns])
    best, expected = sweep.best_rate(rows), sweep.best_rate(named)
    pd.testing.assert_frame_equal(best, expected[best.columns])


def test_the_name_of_another_family_is_refused():
    with pytest.raises(ValueError, match="needs to be 'fully connected', got 'CNN'"):
        replace(TINY, families={fig3.CNN: TINY.families[fig3.FULLY_CONNECTED]}).cells()


def rows_of(errors: dict) -> pd.DataFrame:
    """Rows of one cell with these errors at each rate."""
    coordinates = {"variant": "", "family": "CNN", "multiple": 1, "parameters": 7, "samples": 9}
    rows = [
        {**coordinates, "learning_rate": rate, "trial": trial, "test_error": error}
        for rate, of_rate in errors.items()
        for trial, error in enumerate(of_rate)
    ]
    table = pd.DataFrame(rows)
    return table.assign(train_loss=table["test_error"], relative_error=table["test_error"])


def test_a_diverged_network_counts_as_infinite_in_means_and_in_the_choice_of_a_rate():
    nan = float("nan")
    table = rows_of({0.1: [2.0, 4.0], 0.5: [1.0, nan]})
    assert sweep.means(table)["test_error"].tolist() == [3.0, float("inf")]
    assert sweep.means(table)["test_error_sem"].isna().tolist() == [False, True]
    assert set(sweep.best_rate(table)["learning_rate"]) == {0.1}
    table = rows_of({0.5: [1.0, nan], 0.1: [nan, nan]})
    best = sweep.best_rate(table)
    assert best["learning_rate"].tolist() == [0.1, 0.1] and best["test_error"].isna().all()


@pytest.mark.parametrize("column", ["variant", "family", "multiple"])
def test_a_label_that_is_missing_loses_no_row(column):
    table = rows_of({0.1: [2.0, 4.0], 0.5: [1.0, 2.0]}).assign(**{column: None})
    assert sweep.means(table)["test_error"].tolist() == [3.0, 1.5]
    assert sweep.best_rate(table)["test_error"].tolist() == [1.0, 2.0]


def test_a_trial_with_two_rows_in_one_mean_is_refused(table):
    for summary in (sweep.means, sweep.best_rate):
        with pytest.raises(ValueError, match="each trial needs one row .*'trial': 0"):
            summary(pd.concat([table, table]))


@pytest.mark.parametrize("steps", [1, 2, 7, 300, 20_000, 10**7 + 1])
@pytest.mark.parametrize("count", [1, 2, 3, 60])
def test_looks_end_at_the_last_step(steps, count):
    found = sweep.looks(steps, count)
    assert found == sorted(set(found)) and found[-1] == steps and len(found) <= count
    assert found[0] == (1 if count > 1 else steps)
    with pytest.raises(ValueError, match="at least 1 step and 1 look"):
        sweep.looks(steps, 0)


def test_variants_are_one_sweep():
    steps = sweep.Union((replace(TINY, variant="a"), replace(TINY, steps=200, variant="b")))
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


def rows_at_looks(cell) -> pd.DataFrame:
    return sweep.train_cell(**cell.parameters, record_at=sweep.looks(300, 4))


def test_recorded_rows_end_in_the_final_ones(table):
    cell = TINY.cells()[-1]
    rows = sweep.train_cell(**cell.parameters, record_at=[1, 10, 300])
    pd.testing.assert_frame_equal(sweep.train_cell(**cell.parameters, looks=4), rows_at_looks(cell))
    final = table.tail(6).drop(columns=["variant", "family", "multiple"]).reset_index(drop=True)
    last = rows[rows["recorded"] == 300].reset_index(drop=True)
    pd.testing.assert_frame_equal(last[final.columns], final, check_exact=True)
    first = rows[rows["recorded"] == 1]
    assert (first["train_loss"].to_numpy() > last["train_loss"].to_numpy()).all()
    pd.testing.assert_frame_equal(sweep.means(rows), sweep.means(final))
    with pytest.raises(ValueError, match="record_at or looks, got .*1.* and 2"):
        sweep.train_cell(**cell.parameters, record_at=[1], looks=2)
    with pytest.raises(ValueError, match="means need one last recorded step, got .10, 300"):
        sweep.means(rows[(rows["recorded"] == 10) | (rows["trial"] == 0)])
    with pytest.raises(ValueError, match="each trial needs one row"):
        sweep.means(pd.concat([rows, rows]))


def test_an_option_at_its_default_leaves_the_key_as_it_is():
    plain, adam = (
        replace(TINY, precision="float64"),
        replace(TINY, optimizer=Adam(), engine="torch"),
    )
    assert [c.key for c in plain.cells()] == [c.key for c in TINY.cells()]
    assert not {c.key for c in adam.cells()} & {c.key for c in TINY.cells()}
    rows = sweep.run(replace(adam, multiples=(1,), samples=(6,), learning_rates=(0.01,)))
    assert len(rows) == 6 and (rows["train_loss"] < 1).any()


def test_n50_at_a_criterion_is_that_of_the_chosen_rates(table):
    """By groups of a table, row by row, instead of arrays."""
    found = sweep.transition_points(table, "train loss, each run", (1e-2, 1e-6))
    for (variant, family, multiple), row in found.iterrows():
        cell = table[(table["family"] == family) & (table["multiple"] == multiple)]
        cell = cell[cell["variant"] == variant]
        best = cell.loc[cell.groupby(["samples", "trial"])["train_loss"].idxmin()]
        for criterion, point in zip((1e-2, 1e-6), row, strict=True):
            shares = (best["relative_error"] < criterion).groupby(best["samples"]).mean()
            assert point == transition_point(shares.index.to_numpy(), shares.to_numpy())
    with pytest.raises(ValueError, match="the rule needs to be one of"):
        sweep.transition_points(table, "by heart")


def test_an_interval_of_all_rules_holds_those_of_each(table):
    ends = sweep.transition_intervals(table, draws=20)
    for rule in sweep.RULES:
        assert (ends["all", "low"] <= ends[rule, "low"]).all()
        assert (ends["all", "high"] >= ends[rule, "high"]).all()


def n50(table: pd.DataFrame) -> list[float]:
    """By both routes, which agree where nothing is left to chance."""
    points = sweep.transition_points(table, "test error, on average", [1e-4])["< 1e-04"]
    rules = ["test error, on average", "train loss, each run"]
    ends = sweep.transition_intervals(table, rules, draws=3)
    assert ends.index.equals(points.index) and ends.index.names == points.index.names
    assert (ends["all", "low"] == points).all() and (ends["all", "high"] == points).all()
    return points.to_list()


def rows_of_sizes(trials=(0, 1)) -> pd.DataFrame:
    """Rows of one network that recovers from 9 samples on: n50 is 7.5."""
    found = [
        rows_of({0.1: [float(n < 9)] * len(trials), 0.5: [1.0] * len(trials)}).assign(samples=n)
        for n in (6, 9)
    ]
    return pd.concat(found, ignore_index=True)


@pytest.mark.parametrize("missing", [["variant"], ["multiple"], ["variant", "family", "multiple"]])
def test_n50_of_networks_without_names_is_theirs_too(missing):
    table = rows_of_sizes()
    assert n50(table) == [7.5]
    assert n50(table.assign(**dict.fromkeys(missing))) == [7.5]
    assert n50(table.drop(columns=missing)) == [7.5]
    larger = table.assign(parameters=70, samples=table["samples"] + 2)
    nameless = pd.concat([table, larger]).drop(columns=["variant", "family", "multiple"])
    assert n50(nameless) == [7.5, 9.5]
    points = sweep.transition_points(nameless)
    assert points.index.get_level_values("parameters").to_list() == [7, 70]


def test_n50_needs_every_rate_and_trial_once_at_every_size():
    table, other = rows_of_sizes(), rows_of_sizes().replace({"trial": {1: 2}})
    last = table["samples"] == 9
    for short in (table[1:], table[~last | (table["trial"] == 0)], table[:-2]):
        with pytest.raises(ValueError, match="n50 needs every rate and trial at every sample size"):
            n50(short)
    with pytest.raises(ValueError, match="got 8 rows of .*'CNN'.* for 2 x 2 x 3 sizes"):
        n50(pd.concat([table[~last], other[last]]))
    twice = pd.concat([table[~last], table[~last], table[last]])
    with pytest.raises(ValueError, match="each trial needs one row .*'samples': 6"):
        n50(twice)


def test_shares_are_of_columns_of_the_same_rows():
    errors = pd.Series([1e-9, 1.0, 1e-3], index=[5, 6, 7])
    shares = sweep.shares_below(errors, pd.Series(["a", None, None], index=[5, 6, 7]), [1e-2])
    assert shares["< 1e-02"].to_list() == [1.0, 0.5] and shares.index.isna().tolist() == [0, 1]
    shares = sweep.shares_below(errors, (np.array([2, 2, 1]),), [1e-2])
    assert shares["< 1e-02"].to_list() == [0.5, 1]
    for by in (pd.Series(["a", "b", "b"]), [pd.Series(1, index=[5, 6, 7]), pd.Series(1, [6, 7])]):
        with pytest.raises(ValueError, match="shares need columns with the errors' index"):
            sweep.shares_below(errors, by)


def test_an_error_that_is_no_number_is_below_no_criterion(table):
    errors = table["relative_error"].where(table["trial"] > 0)
    shares = sweep.shares_below(errors, [table["family"], table["multiple"]])
    for (family, multiple), row in shares.iterrows():
        cell = errors[(table["family"] == family) & (table["multiple"] == multiple)]
        assert row.to_list() == [float(np.mean([e < c for e in cell])) for c in sweep.CRITERIA]


def test_cells_trained_in_one_call_have_the_rows_that_each_has_alone():
    cells = [dict(cell.parameters) for cell in TINY.cells()]
    some = [cell for cell in cells if cell["network"] == cells[0]["network"]]
    together = sweep.train_cells([*some[::-1], *some])
    alone = [sweep.train_cell(**cell) for cell in some]
    for one, other in zip(together, [*alone[::-1], *alone], strict=True):
        pd.testing.assert_frame_equal(one, other)
    with pytest.raises(ValueError, match="need to differ in their samples only"):
        sweep.train_cells([some[0], {**some[1], "steps": 7}])


def test_auto_takes_a_gpu_only_if_there_is_one_and_the_work_is_worth_it(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert sweep.device_for(fig3.PAPER, "auto") == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(cuda, "installed", lambda: True)
    assert sweep.device_for(fig3.PAPER, "auto") == "cuda"
    assert sweep.device_for(TINY, "auto") == "cpu"
    assert sweep.device_for(relu.FIG_6, "auto") == "cpu"  # which has no other
    own = sweep.OwnModel(
        model="tests.own_models:build", data="tests.own_models:data", samples=(6,),
        learning_rates=(0.05,), steps=10**9, trials=100,
    )  # fmt: skip
    assert sweep.device_for(own, "auto") == "cpu"  # which the cuda engine cannot train
    assert {cell.parameters["device"] for cell in sweep.on_device(fig3.PAPER, "auto")} == {"cuda"}
