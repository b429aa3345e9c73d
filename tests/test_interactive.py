"""Interactive figures: self-contained, reproducible, and with the package's own numbers."""

import json
import re
from importlib import import_module

import numpy as np
import pandas as pd
import pytest
import torch

import llrnb
from llrnb import interactive, transitions
from llrnb.deep import DeepNetwork
from llrnb.interactive import marks
from llrnb.interactive.condensation import cosines, directions
from llrnb.interactive.phases import counts
from llrnb.interactive.ranks import CASES, network
from llrnb.interactive.recovery import summary

WIDGET = "application/vnd.jupyter.widget-view+json"


def simple(last=1.0):
    """A choice and a slider over lines; one combination is missing."""
    across, up = (marks.axis(name, 0, 2) for name in "xy")

    def state(height):
        line = marks.line([0, 1, 2], [0, height, last], name="a <line>", dots=True)
        line = marks.probed(line, {"x": ["0", "1", "2"]}, "y is {0}.", [0, height, last])
        return interactive.State((marks.panel("Lines", across, up, line),), f"Height {height}.")

    controls = (
        interactive.Choice("Kind", ("low", "high")),
        interactive.Slider("Part", ("first", "second"), play=True),
    )
    states = {(0, 0): state(0.5), (0, 1): state(0.7), (1, 1): state(1.5)}
    return interactive.Explorer("Some lines", controls, states, probes=("Place",))


@pytest.fixture(scope="module")
def ranks():
    return interactive.ranks()


def recovery_rows():
    rng = np.random.default_rng(0)
    rows = [
        {"family": family, "multiple": multiple, "learning_rate": rate, "samples": n,
         "trial": trial, "parameters": 7 * multiple, "train_loss": 1e-9,
         "test_error": (error := 10.0 ** rng.uniform(-9, 0)), "relative_error": error}
        for family in ("one", "two") for multiple in (1, 10) for rate in (0.1, 0.2)
        for n in (3, 7, 20) for trial in range(5)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_a_bundle_has_a_page_a_print_and_a_live_view():
    bundle = simple()._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "text/html", "image/png", WIDGET}
    assert bundle["image/png"].startswith(b"\x89PNG")
    assert bundle["text/plain"] == "Explorer(title='Some lines')"


def test_the_player_asks_for_nothing_from_outside():
    page = simple().html()
    spaces = {"http://www.w3.org/${drawn"}  # names of markup languages, not addresses
    assert set(re.findall(r"https?://[^\s\"'`]+", page)) <= spaces
    assert not re.search(r"\b(?:src|href|import|fetch)\b\s*[=(]", page)


def test_equal_figures_have_equal_pages():
    assert simple().html() == simple().html() != simple(last=1.1).html()


def test_two_figures_on_a_page_share_no_name():
    """They have none: the player looks for its parts inside of its figure."""
    assert not re.search(r"\b(?:id|for|data-explorer)[=:]", simple().html())


def test_text_cannot_end_the_script():
    assert "<line>" not in simple().html() and "\\u003cline>" in simple().html()


def test_equal_marks_are_written_once():
    pool = json.loads(simple().data)["pool"]
    assert len(pool) == len({json.dumps(entry) for entry in pool})


def test_a_start_without_a_state_is_refused():
    explorer = simple()
    with pytest.raises(ValueError, match="needs a state at its start"):
        interactive.Explorer("x", explorer.controls, {(1, 1): explorer.states[1, 1]})


def test_the_live_view_follows_its_controls():
    explorer = simple()
    view = explorer.widget()
    (kind, (_, part), picture, text) = (
        view.children[0], view.children[1].children, view.children[2], view.children[3]
    )  # fmt: skip
    before = picture.value
    part.index = 1
    assert text.value == "Height 0.7." and picture.value != before
    kind.index = 1
    assert text.value == "Height 1.5."
    part.index = 0
    assert "Not computed" in text.value


def test_numbers_are_rounded_and_gaps_are_none():
    found = marks.rounded([1.23456, 2.0, np.nan, np.inf, 1e-9 / 3, 1e100])
    assert found == [1.23, 2, None, None, 3.33e-10, 1e100]


def test_levels_are_characters_and_a_gap_is_a_point():
    assert marks.heat([[0, 1], [np.nan, 0.5]], (0, 1), (0, 1))["rows"] == ["0_", ".W"]


def test_ticks_are_round_and_inside():
    assert [t for _, t in marks.axis("", 0, 120)["ticks"]] == [str(20 * k) for k in range(7)]
    assert [t for _, t in marks.axis("", 1e-3, 10, log=True)["ticks"]] == [
        "10⁻³", "10⁻²", "10⁻¹", "1", "10"
    ]  # fmt: skip


def test_recovery_shows_means_and_intervals():
    rows = recovery_rows()
    one = rows[
        (rows["family"] == "one") & (rows["multiple"] == 10) & (rows["learning_rate"] == 0.1)
    ]
    found = summary(one)
    assert np.allclose(found["error"], one.groupby("samples")["test_error"].mean())
    assert ((found["low"] <= found["error"]) & (found["error"] <= found["high"])).all()
    hits = one["relative_error"].lt(1e-4).groupby(one["samples"]).sum()
    low, _ = transitions.binomial_interval(hits.to_numpy(), 5)
    assert np.allclose(found["fraction_low"], low)


def test_recovery_has_a_state_for_every_choice():
    rows = recovery_rows()
    best = rows[rows["learning_rate"] == 0.1]
    explorer = interactive.recovery(rows, best, ranks={"one": 5, "two": 7})
    assert len(explorer.states) == 2 * 2 * 3
    assert explorer.states[0, 1, 0] == explorer.states[0, 1, 1]  # the best is that at 0.1
    assert "70 parameters, model rank 7" in explorer.states[1, 1, 0].text


def test_families_may_have_different_multiples():
    rows = recovery_rows()
    rows = rows[(rows["family"] == "two") | (rows["multiple"] == 1)]
    best = rows[rows["learning_rate"] == 0.1]
    explorer = interactive.recovery(rows, best, ranks={"one": 5, "two": 7})
    assert {position[:2] for position in explorer.states} == {(0, 0), (1, 0), (1, 1)}
    assert explorer.start == (0, 0, 0)


def test_the_ranks_are_the_exact_ranks(ranks):
    kinds, cases = ranks.controls[2].values, ranks.controls[3].values
    for (k, p, kind, case), state in ranks.states.items():
        net, params = network(k + 1, p + 1, kinds[kind], cases[case])
        rank = llrnb.exact_rank(net, params)
        assert f"= {rank} among" in state.text and state.text.endswith(f"values {rank}.")


def test_degenerate_cases_need_enough_kernels(ranks):
    two = [i for i, (least, _) in enumerate(CASES.values()) if least == 2]
    assert two and not [
        position for position in ranks.states if position[0] == 0 and position[3] in two
    ]


def test_redundant_parameters_light_up(monkeypatch):
    module = import_module("llrnb.interactive.redundant")  # its function has its name
    monkeypatch.setattr(module, "CASES", {k: module.CASES[k] for k in ("tanh", "ReLU")})
    explorer = interactive.redundant()
    assert set(explorer.states) == {(0, 0), (1, 0), (1, 5)} and explorer.start == (1, 0)
    lit = {p: [c for m in s.panels[0]["marks"][:2] for c in m["colours"]]
           for p, s in explorer.states.items()}  # fmt: skip
    assert set(lit[0, 0]) == {marks.INK} and set(lit[1, 0]) == {4} == set(lit[1, 5])
    assert "Rank 17:" in explorer.states[0, 0].text and "Rank 14:" in explorer.states[1, 5].text


def test_no_figure_is_too_large(ranks):
    assert len(ranks.data.encode()) < 250_000


def test_directions_of_condensed_neurons():
    weights = np.array([[1.0, 0], [-2, 0], [0, 3], [0, 1]])
    assert directions(cosines(weights)) == 2


def test_condensation_keeps_the_order_of_the_end():
    end = np.array([[1.0, 0], [0, 1], [2, 0], [0, 2]])
    explorer = interactive.condensation({"net": [end, end]}, [0, 100], {"net": [1.0, 0.1]})
    rows = explorer.states[0, 1].panels[0]["marks"][0]["rows"]
    assert rows == ["__00", "__00", "00__", "00__"]
    assert "4 neurons point in 2 directions" in explorer.states[0, 0].text


def test_a_linear_fit_lies_on_the_target_from_its_rank_on():
    net = llrnb.fully_connected(2, 1, bias=False)
    params = net.init(std=1.0)
    x, others = torch.randn(2, 20, 2, dtype=torch.float64, generator=torch.manual_seed(0))
    fits = [llrnb.local_linear_fit(net, params, x[:n], others) for n in range(1, 8)]
    explorer = interactive.linear_fit(
        {"neuron": (net, params)}, {"neuron": fits}, {"neuron": others}
    )
    for (_, j), state in explorer.states.items():
        points = state.panels[1]["marks"][1]
        assert (points["x"] == points["y"]) == (j + 1 >= 3)
        assert ("every minimiser is the target" in state.text) == (j + 1 >= 3)


def test_splitting_keeps_function_loss_and_rank_until_the_copies_part():
    net = DeepNetwork((2, 2, 1))
    params = {name: value.double() for name, value in net.init(seed=1).items()}
    x = torch.randn(20, 2, dtype=torch.float64, generator=torch.manual_seed(0))
    y = torch.vmap(net, in_dims=(None, 0))(params, x)  # a minimum, with loss 0
    y = y + 1e-3 * torch.randn(20, dtype=torch.float64, generator=torch.manual_seed(1))
    explorer = interactive.splitting(net, params, x, y, [torch.tensor([1.0, 0.0]).double()])
    for (_, j, k), state in explorer.states.items():
        wide, narrow = (mark["y"] for mark in state.panels[1]["marks"])
        if k == 4:  # distance 0
            assert wide == narrow and "changes by 0.00%" in state.text
            assert "rank 6 of 9" in state.text
        elif j == 6:
            assert "rank 9 of 9" in state.text
            assert k not in (0, 8) or wide != narrow  # nearer by, the eye sees nothing


def phase_rows():
    cells = [("gaussian", 10, 0.0, "recovered"), ("gaussian", 20, 0.0, "not recovered"),
             ("cubic", 10, 0.0, "undecided"), ("cubic", 20, 0.0, "not run")]  # fmt: skip
    common = {"network": "skip", "form": "relaxed", "neurons": 1, "weights": "random", "dim": 5}
    rows = [
        {"task": "recovery", "data": data, "samples": n, "noise": noise, "outcome": outcome,
         "trial": trial, "weight_distance": np.nan, **common}
        for data, n, noise, outcome in cells for trial in range(2)
    ]  # fmt: skip
    rows += [
        {"task": "solution", "data": "gaussian", "samples": n, "noise": 0.1, "outcome": "optimal",
         "trial": 0, "weight_distance": 0.01, **common} for n in (10, 20)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_a_phase_diagram_counts_what_was_decided():
    rows = phase_rows().assign(shown="share recovered")
    gaussian, cubic = (
        counts(rows[(rows["data"] == data) & (rows["task"] == "recovery")])
        for data in ("gaussian", "cubic")
    )
    assert gaussian["level"].tolist() == [1, 0] and cubic["level"].isna().all()
    assert gaussian["says"].iloc[0] == "2 of 2 trials recovered"
    assert cubic["says"].tolist() == ["nothing decided", "not posed"]


def test_a_phase_diagram_offers_what_was_computed():
    twice = pd.concat([phase_rows(), phase_rows()])
    explorer = interactive.phases(twice, {"n = 2d": lambda d: 2 * d})
    assert [control.label for control in explorer.controls] == ["Shown", "Data", "Noise σ"]
    assert set(explorer.states) == {(0, 0, 0), (0, 1, 0), (1, 0, 1)}
    colours = explorer.states[0, 0, 0].panels[0]["marks"][0]
    assert colours["probe"]["columns"][2][0] == "2 of 2 trials recovered"
    assert explorer.states[0, 1, 0].panels[0]["marks"][0]["rows"] == [".."]
    assert explorer.states[1, 0, 1].panels[0]["marks"][0]["rows"] == ["gg"]  # two of three decades
