"""Phase diagrams of planted ReLU problems: what a cell's rows say."""

from dataclasses import fields, replace

import numpy as np
import pandas as pd
import pytest

from llrnb import sweep
from llrnb.presets import presets_of, relu
from llrnb.relu import isometry, metrics, plant, pose, recover, training
from llrnb.relu.programs import solve

TINY = sweep.PhaseDiagram("recovery", "skip", samples=(10, 20, 40), dims=(5, 10), trials=3)


def test_a_row_is_the_verdict_of_its_instance():
    table = sweep.run(TINY)
    assert len(table) == 3 * 2 * 3
    for row in table.itertuples():
        problem = pose(plant(row.samples, row.dim, seed=row.trial), "skip", seed=row.trial)
        assert row.outcome == recover(problem).outcome


def test_a_row_does_not_depend_on_the_rest_of_the_grid():
    table = sweep.run(TINY)
    alone = sweep.run(replace(TINY, samples=(20,), dims=(10,)))
    same = table[(table["samples"] == 20) & (table["dim"] == 10)].reset_index(drop=True)
    pd.testing.assert_frame_equal(alone, same)


def test_what_was_not_run_is_no_verdict():
    table = sweep.run(replace(TINY, network="normalised"))
    assert set(table.loc[table["samples"] >= table["dim"], "outcome"]) != {sweep.NOT_RUN}
    narrow = sweep.run(replace(TINY, network="normalised", samples=(4,), dims=(5,)))
    assert set(narrow["outcome"]) == {sweep.NOT_RUN}
    share = sweep.shares(narrow)
    assert share["value"].isna().all() and share["not_run"].tolist() == [3]


def test_an_isometry_row_is_the_conditions_value():
    table = sweep.run(replace(TINY, task="isometry", network="normalised", neurons=2))
    row = table.iloc[-1]
    samples, dim, trial = int(row["samples"]), int(row["dim"]), int(row["trial"])
    planted = plant(samples, dim, labels="normalised", neurons=2, seed=trial)
    found = isometry(pose(planted, "normalised", seed=trial))
    assert (row["value"], row["outcome"]) == (found.value, "holds" if found.holds else "fails")


@pytest.mark.parametrize("network", ["skip", "normalised"])
def test_a_solution_without_noise_that_recovers_has_no_distance(network):
    preset = replace(TINY, network=network, dims=(5,), samples=(10, 40))
    table = sweep.run(replace(preset, task="solution"))
    recovered = table[sweep.run(preset)["outcome"] == "recovered"]
    assert 3 <= len(recovered) <= len(table)
    assert recovered["weight_distance"].max() < 1e-4
    assert recovered["test_distance"].max() < 1e-4
    assert table["residual"].max() < 1e-6


def test_a_solutions_row_says_how_far_it_can_be_from_the_optimum(monkeypatch):
    preset = replace(TINY, task="solution", form="regularised", dims=(3,), samples=(10,))
    table = sweep.run(preset)
    assert set(table["outcome"]) == {"accurate"}
    assert table[["gap", "violation"]].max(axis=None) < 1e-6
    solved = metrics.solution
    monkeypatch.setattr(metrics, "solution", lambda *task: replace(solved(*task), gap=1e-3))
    assert set(sweep.run(preset)["outcome"]) == {"inaccurate"}


def test_a_splittings_solution_does_not_depend_on_units():
    for network, labels in (("skip", "linear"), ("plain", "relu"), ("normalised", "normalised")):
        problem = pose(plant(20, 4, labels=labels, noise=0.1, seed=2), network)
        planted, here, there = problem.planted, 1e-12, 1e7
        other = replace(planted, inputs=here * planted.inputs, outputs=there * planted.outputs)
        other = replace(other, weights=planted.weights * there / here)
        one, two = metrics.solution(problem), metrics.solution(replace(problem, planted=other))
        assert one.accurate and two.accurate
        price = there if network == "normalised" else there / here
        assert two.objective == pytest.approx(price * one.objective, rel=1e-5)


def test_both_routes_to_a_solution_agree():
    planted = plant(30, 6, labels="normalised", noise=0.1, seed=3)
    problem = pose(planted, "normalised")
    fast, solved = metrics.solution(problem), solve(problem, "relaxed")
    assert fast.status == "converged"
    for measure in (metrics.weight_distance, metrics.other_norm):
        assert measure(problem, fast) == pytest.approx(measure(problem, solved), abs=1e-4)
    fresh = np.random.default_rng(0).standard_normal((20, 6))
    ours, theirs = (metrics.predictions(problem, found, fresh) for found in (fast, solved))
    assert np.allclose(ours, theirs, atol=1e-4)


def test_predictions_on_the_data_are_the_fit_of_an_exact_program():
    for network, labels in (("skip", "linear"), ("normalised", "normalised"), ("plain", "relu")):
        problem = pose(plant(12, 3, labels=labels, noise=0.1, seed=1), network)
        found = metrics.solution(problem, "exact")
        fitted = metrics.predictions(problem, found, problem.planted.inputs)
        assert np.allclose(fitted, problem.planted.outputs, atol=1e-5)


def test_a_descent_row_is_the_network_that_its_seed_trains():
    table = sweep.run(replace(TINY, task="descent", samples=(20,), dims=(5,), steps=30))
    planted = plant(20, 5, seed=2)
    run = training.train_relu("skip", planted.inputs, planted.outputs, seeds=[2], steps=30)
    assert table["train_loss"][2] == pytest.approx(float(run.loss[0]), rel=1e-6)


def test_the_table_of_figures_names_every_figure_and_its_rows():
    expected = {"2", "4a", "4b", "5a", "5b", *map(str, range(6, 11)), *map(str, range(18, 33))}
    assert set(relu.FIGURES) == expected
    presets = presets_of("relu")
    for figure in relu.FIGURES.values():
        assert figure.preset in presets


def test_every_figures_preset_runs_when_thinned():
    for name, preset in presets_of("relu").items():
        thin = relu.thinned(preset, trials=1)
        panels = thin.presets if isinstance(thin, sweep.Union) else (thin,)
        few = [replace(p, samples=p.samples[-1:], dims=p.dims[:1], steps=5) for p in panels]
        table = sweep.run(sweep.Union(tuple(few)))
        assert len(table) == len(panels), name


def test_a_phase_sweep_is_refused_on_a_gpu():
    with pytest.raises(ValueError, match="runs on device 'cpu' only, got 'cuda'"):
        sweep.on_device(TINY, "cuda")


def test_an_unknown_task_is_refused():
    with pytest.raises(ValueError, match="task needs one of .*, got 'guess'"):
        sweep.run(replace(TINY, task="guess"))


def test_every_parameter_of_a_cell_is_in_its_key():
    (cell,) = replace(TINY, samples=(10,), dims=(5,)).cells()
    names = {field.name for field in fields(TINY)} - {"seconds", "dims", "variant"} | {"dim"}
    assert set(cell.parameters) == names


@pytest.mark.parametrize(("field", "name"), [("samples", "sample sizes"), ("dims", "dimensions")])
def test_what_stands_twice_is_refused(field, name):
    with pytest.raises(ValueError, match=f"{name} need to be different, got .10, 10"):
        replace(TINY, **{field: (10, 10)})


def test_labels_are_no_part_of_a_key_in_any_preset():
    """400 of the 7,280 cells of the figures are those of another one, under another name."""
    presets = presets_of("relu").values()
    cells = {id(cell): cell for preset in presets for cell in preset.cells()}.values()
    numbers = {sweep.key_of(cell.parameters) for cell in cells}
    assert {cell.key for cell in cells} == numbers
    assert len(cells) - len(numbers) >= 400


def test_a_share_of_an_outcome_that_cannot_be_is_refused():
    table = sweep.run(replace(TINY, samples=(10,)))
    for word in ("recoverd", "holds", "undecided", sweep.NOT_RUN):
        with pytest.raises(ValueError, match=f"one of .*'recovered'.*, got '{word}'"):
            sweep.shares(table, word)
    both = sweep.shares(table)["value"] + sweep.shares(table, "not recovered")["value"]
    assert (both == 1).all()
    with pytest.raises(ValueError, match="rows of one task, got .*'recovery', 'isometry'"):
        sweep.shares(pd.concat([table, table.assign(task="isometry", samples=11)]))


def test_a_share_is_of_what_was_decided():
    outcomes = ["recovered", "not recovered", "not recovered", "undecided", sweep.NOT_RUN]
    rows = {"task": "recovery", "variant": "", "dim": 5}
    table = pd.DataFrame(
        [{**rows, "samples": 10, "trial": k, "outcome": word} for k, word in enumerate(outcomes)]
        + [{**rows, "samples": 20, "trial": k, "outcome": "undecided"} for k in range(2)]
    )
    found = sweep.shares(table)
    assert found["value"][0] == 1 / 3 and np.isnan(found["value"][1])
    counts = found[["trials", "undecided", "not_run"]]
    assert counts.to_numpy().tolist() == [[5, 1, 1], [2, 2, 0]]
    assert sweep.shares(table[:5], "not recovered")["value"].tolist() == [2 / 3]


def test_a_trial_twice_is_refused_and_a_missing_variant_loses_no_row():
    table = sweep.run(replace(TINY, samples=(10,)))
    with pytest.raises(ValueError, match="each trial needs one row"):
        sweep.shares(pd.concat([table, table.assign(form="exact")]))
    assert len(sweep.shares(table.assign(variant=None))) == 2


def test_a_mean_with_a_number_missing_is_missing_and_what_was_not_run_is_left_out():
    coordinates = {"variant": "", "dim": 5, "outcome": "trained"}
    rows = [
        {**coordinates, "samples": n, "trial": trial, "test_mse": value}
        for n, values in ((10, [1.0, np.nan]), (20, [1.0, 3.0]), (30, [np.nan] * 2))
        for trial, value in enumerate(values)
    ]
    table = pd.DataFrame(rows)
    table.loc[table["samples"] == 30, "outcome"] = sweep.NOT_RUN
    table.loc[6] = {**coordinates, "samples": 20, "trial": 2, "outcome": sweep.NOT_RUN}
    found = sweep.averages(table, "test_mse")
    with pytest.raises(ValueError, match=r"the table needs the columns \['outcome'\], got"):
        sweep.averages(table.drop(columns="outcome"), "test_mse")
    assert found["trials"].tolist() == [2, 2, 0]
    assert found["value"].isna().tolist() == [True, False, True] and found["value"][1] == 2.0
    assert found["sem"].isna().tolist() == [True, False, True] and found["sem"][1] == 1.0
