"""The sweep at the limit of information: what a cell's rows say, and the claim at small scale."""

from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch

from llrnb import Outcome, narrowest_interpolator, predict, sweep
from llrnb.laws import Uniform
from llrnb.networks import cnn, fully_connected
from llrnb.presets import limit, presets_of
from llrnb.strategies import STRATEGIES, adam, dropout, gradient_descent
from llrnb.targets import draw, draw_test, generic_target, paper_target
from llrnb.training import train

TINY = sweep.Limit(
    strategy="narrowest interpolator",
    target="generic",
    families={"CNN": partial(cnn, 5, 3), "fully connected": partial(fully_connected, 2)},
    kernels={"CNN": 1, "fully connected": 2},
    samples={"CNN": (6, 8), "fully connected": (7, 9)},
    multiple=3,
    trials=4,
)
SHORT = {"Adam": 50, "weight decay": 50, "dropout": 50, "gradient descent": 500}
SHORT["condense and polish"] = 500


def options(strategy):
    return {"steps": SHORT[strategy]} if strategy in SHORT else {}


@pytest.fixture(scope="module")
def table():
    return sweep.run(TINY)


def test_a_sweep_has_one_row_per_data_set(table):
    assert len(table[["family", "samples", "trial"]].drop_duplicates()) == len(table) == 4 * 4
    assert not table.isna().any().any()
    assert set(table["model_rank"]) == {7, 8}
    assert set(table["parameters"]) == {21, 24}


def test_one_sample_more_than_the_rank_recovers_and_fewer_do_not(table):
    enough = table["samples"] > table["model_rank"]
    assert table.loc[enough, "exact"].all()
    assert not table.loc[~enough, "exact"].any()
    assert set(table.loc[enough, "status"]) == {Outcome.AGREES}
    assert set(table.loc[~enough, "status"]) <= {Outcome.FITS, Outcome.DETERMINED}


def test_inputs_are_drawn_from_the_law_of_the_preset():
    law = Uniform(-3, 1)
    one = replace(TINY, families={"CNN": partial(cnn, 5, 3)}, samples={"CNN": (8,)}, law=law)
    rows = sweep.run(replace(one, trials=1))
    target = generic_target(cnn(5, 3, 1), 0)
    found = narrowest_interpolator(
        cnn(5, 3, 3), *draw(target, 8, law=law), budget=10**7, seed=0
    )  # fmt: skip
    inputs, truth = draw_test(target, law=law)
    error = (predict(found.narrow, found.narrow_params, inputs) - truth).square().mean()
    assert rows["test_error"].tolist() == [float(error)] and rows["exact"].all()


def test_a_row_is_what_its_strategy_finds_on_its_samples(table):
    row = table[(table["family"] == "CNN") & (table["samples"] == 8)].iloc[2]
    target = generic_target(cnn(5, 3, 1), 2)
    net = cnn(5, 3, 3)
    found = narrowest_interpolator(net, *draw(target, 8, 2), budget=10**7, seed=2)
    inputs, truth = draw_test(target)
    error = float((predict(net, found.params, inputs) - truth).square().mean())
    assert row["evaluations"] == found.evaluations and row["starts"] == found.starts
    assert row["status"] == found.status and row["width"] == found.kernels
    assert row["test_error"] == pytest.approx(error, abs=1e-25)


def test_a_descent_row_is_its_rate_of_lowest_train_loss():
    preset = replace(
        TINY, strategy="gradient descent", target="paper", options={"steps": 300},
        families={"CNN": TINY.families["CNN"]}, samples={"CNN": (8,)}, trials=2,
    )  # fmt: skip
    row = sweep.run(preset).iloc[1]
    result = train(
        cnn(5, 3, 3), *draw(paper_target(), 8, 1), learning_rates=(0.05, 0.15, 0.5),
        seeds=[1] * 3, steps=300, std=1e-10,
    )  # fmt: skip
    best = int(result.loss.argmin())
    params = result.params[best]
    inputs, truth = draw_test(paper_target())
    error = (predict(cnn(5, 3, 3), params, inputs) - truth).square().mean()
    assert row["train_loss"] == pytest.approx(float(result.loss[best]))
    assert row["test_error"] == pytest.approx(float(error))
    assert row["evaluations"] == int(result.steps.sum())


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_row_does_not_depend_on_the_rest_of_the_grid(strategy):
    whole = replace(TINY, strategy=strategy, options=options(strategy), trials=2)
    alone = sweep.run(replace(whole, samples={"CNN": (8,), "fully connected": ()}))
    table = sweep.run(whole)
    same = table[(table["family"] == "CNN") & (table["samples"] == 8)].reset_index(drop=True)
    pd.testing.assert_frame_equal(alone, same, check_exact=True)


def test_noise_is_added_to_the_samples_only():
    preset = replace(TINY, strategy="least squares", multiple=1, options={"starts": 64}, trials=2)
    quiet, loud = (sweep.run(replace(preset, noise=noise)) for noise in (0.0, 1e-3))
    enough = quiet["samples"] > quiet["model_rank"]
    assert quiet.loc[enough, "exact"].all()
    assert not loud["exact"].any()
    assert loud.loc[enough, "train_loss"].between(1e-12, 1e-6).all()
    assert loud.loc[enough, "test_error"].median() < 1e-3


@pytest.mark.parametrize("target", ["deep", "relu"])
def test_a_target_of_another_kind_is_never_certified(target):
    table = sweep.run(replace(TINY, target=target))
    assert set(table["model_rank"]) == {0}
    assert Outcome.AGREES not in set(table["status"])
    assert not table["recovered"].any()


@pytest.mark.parametrize("strategy", [adam, dropout])
def test_a_batched_descent_lowers_the_loss_and_keeps_data_sets_apart(strategy):
    net = fully_connected(2, 6)
    data = [draw(generic_target(fully_connected(2, 2), seed), 9, seed) for seed in range(2)]
    inputs, outputs = (torch.stack(part) for part in zip(*data, strict=True))
    both = strategy(net, inputs, outputs, [0, 1], steps=400)
    single = strategy(net, inputs[1:], outputs[1:], [1], steps=400)
    assert both[1].loss == pytest.approx(single[0].loss, rel=1e-3)
    assert both[0].loss < 0.1 * float(outputs[0].square().mean())


def test_a_diverged_rate_is_not_the_best():
    inputs, outputs = (part[None] for part in draw(paper_target(), 12))
    (attempt,) = gradient_descent(cnn(5, 3, 100), 8 * inputs, 8 * outputs, [0], steps=200)
    assert np.isfinite(attempt.loss)


def test_shares_are_those_of_the_table(table):
    share = sweep.recovered_shares(table, "exact")
    assert share["trials"].tolist() == [4] * 4
    assert share["value"].tolist() == [0.0, 1.0, 0.0, 1.0]
    near = table[(table["model_rank"] == 8) & (table["samples"] == 7)]
    value = sweep.recovered_shares(table)["value"][2]
    assert value == sum(near["relative_error"] < 1e-4) / 4


def test_repeats_are_refused_and_labels_change_no_key():
    with pytest.raises(ValueError, match=r"sample sizes of CNN need to be different, got \[6, 6\]"):
        replace(TINY, samples={"CNN": (6, 6), "fully connected": ()})
    first, named = (preset.cells()[0] for preset in (TINY, replace(TINY, variant="a")))
    assert first.key == named.key and named.labels == {"variant": "a", "family": "CNN"}
    other = replace(TINY, multiple=4).cells()[0]
    assert other.key != first.key


def test_a_family_is_that_of_the_network():
    swapped = {**TINY.families, "CNN": TINY.families["fully connected"]}
    with pytest.raises(ValueError, match="needs to be 'fully connected', got 'CNN'"):
        replace(TINY, families=swapped).cells()


def test_shares_keep_noises_apart_and_refuse_a_trial_twice(table):
    share = sweep.recovered_shares(pd.concat([table, table.assign(noise=0.1, recovered=False)]))
    assert len(share) == 8 and set(share.loc[share["noise"] > 0, "value"]) == {0.0}
    with pytest.raises(ValueError, match="each trial needs one row"):
        sweep.recovered_shares(pd.concat([table, table]))


def test_an_unknown_strategy_or_target_is_refused():
    with pytest.raises(ValueError, match="strategy needs one of .*, got 'guess'"):
        sweep.run(replace(TINY, strategy="guess"))
    with pytest.raises(ValueError, match="target needs one of .*, got 'none'"):
        sweep.run(replace(TINY, target="none"))


def test_presets_stand_on_both_sides_of_the_limit():
    assert limit.RANKS == {limit.CNN: 7, limit.UNSHARED: 15, limit.FULLY_CONNECTED: 21}
    for preset in limit.MEASURED.presets:
        assert preset.strategy in STRATEGIES and preset.trials >= 10
        for family, sizes in preset.samples.items():
            assert max(sizes) >= 3 * limit.RANKS[family]
    first = limit.MEASURED.presets[0]
    for family, rank in limit.RANKS.items():
        assert {rank - 1, rank, rank + 1} <= set(first.samples[family])
    assert {"measured", "small", "widths", "inputs", "noise", "foreign"} <= set(presets_of("limit"))
    keys = [c.key for preset in presets_of("limit").values() for c in preset.cells()]
    assert len(keys) >= len(set(keys)) > 100
