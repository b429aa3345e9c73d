"""The sweep of a model of one's own: references, files, YAML, and the rows."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml

from llrnb import sweep, train
from llrnb.__main__ import main
from llrnb.streams import rng
from llrnb.sweep.own import own_cell, referred
from llrnb.training import Adam
from tests import own_models

FILE = Path(own_models.__file__)
PRESET = sweep.OwnModel(
    "tests.own_models:build", "tests.own_models:data", samples=(6, 9), learning_rates=(0.05, 0.02),
    steps=25, trials=2,
)  # fmt: skip
CONFIG = {
    "model": "own_models.py:build", "data": "own_models.py:data", "samples": [6],
    "learning_rates": [0.05], "steps": 10, "optimizer": {"kind": "adam"},
}  # fmt: skip


def written(folder: Path, **changes) -> Path:
    """A YAML file beside the models."""
    shutil.copy(FILE, folder / FILE.name)
    path = folder / "mine.yaml"
    config = {name: value for name, value in {**CONFIG, **changes}.items() if value != "none"}
    path.write_text(yaml.safe_dump(config))
    return path


def test_the_rows_are_those_of_training():
    rows = sweep.run(PRESET)
    assert len(rows) == 2 * 2 * 2 and set(rows["engine"]) == {"general"}
    inputs, outputs = own_models.data(9, rng("own inputs", samples=9, seed=1))
    inputs, outputs = torch.from_numpy(inputs), torch.from_numpy(outputs)
    rates = [0.05, 0.02]
    run = train(own_models.build, inputs, outputs, learning_rates=rates, seeds=[1, 1], steps=25)
    mine = rows[(rows["samples"] == 9) & (rows["trial"] == 1)]
    assert mine["train_loss"].to_numpy() == pytest.approx(run.loss.numpy(), rel=1e-12)
    test_inputs, truth = own_models.data(1000, rng("own test inputs", samples=1000))
    off = run.predict(torch.from_numpy(test_inputs)) - torch.from_numpy(truth)
    expected = off.square().sum(-1).mean(-1).numpy()
    assert mine["test_loss"].to_numpy() == pytest.approx(expected, rel=1e-12)


def test_an_imported_module_is_part_of_the_key_and_a_class_makes_modules():
    assert PRESET.cells()[0].parameters["source"]
    rows = sweep.run(replace(PRESET, model="tests.own_models:Layer", samples=(6,), trials=1))
    assert set(rows["parameters"]) == {10}
    with pytest.raises(TypeError, match="needs to be a function"):
        replace(PRESET, model="tests.own_models:MADE")


def test_integers_as_outputs_and_another_loss():
    rows = sweep.run(replace(PRESET, data="tests.own_models:labels", loss="cross entropy"))
    assert rows["train_loss"].between(0, 3).all() and rows["test_loss"].between(0, 3).all()


def test_a_file_is_part_of_the_key(tmp_path):
    path = written(tmp_path)
    before = sweep.from_yaml(path).cells()[0]
    assert sweep.from_yaml(path).cells()[0].key == before.key
    with (tmp_path / FILE.name).open("a") as file:
        file.write("\n# Another text.\n")
    assert sweep.from_yaml(path).cells()[0].key != before.key
    with pytest.raises(ValueError, match="the cell needs files with the hash"):
        own_cell(**before.parameters)


def test_a_sweep_from_a_file_on_a_local_cluster(tmp_path, capsys):
    path = written(tmp_path)
    assert sweep.from_yaml(path).optimizer == Adam()
    options = ["--results", str(tmp_path / "results")]
    assert main(["run", str(path), *options, "--workers", "1"]) == 0
    assert main(["status", str(path), *options]) == 0
    assert main(["publish", str(path), *options, "--to", str(tmp_path)]) == 0
    assert (tmp_path / "mine-own.parquet").exists()
    (tmp_path / "sweeps.py").write_text("from tests.test_sweep_own import PRESET as MINE")
    assert main(["status", f"{tmp_path / 'sweeps.py'}:MINE", *options]) == 1
    assert "2 cells missing" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("own_models", "needs the form module:name or file.py:name, got 'own_models'"),
        (":name", "needs the form module:name"),
        ("no_such_module:name", "module that can be imported, got No module named"),
        ("no_such_file.py:name", "file that can be read, got .*No such file"),
        ("tests.own_models:other", "tests.own_models needs to define 'other'"),
    ],
)
def test_a_reference_to_nothing_is_named(reference, message):
    with pytest.raises(ValueError, match=message):
        referred(reference)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sampels": [6]}, "needs names among .* got .'sampels'"),
        ({"steps": "none"}, "needs .'steps'., too"),
        ({"samples": [6, 6]}, "sample sizes need to be different"),
        (
            {"loss": "cross"},
            "loss needs one of squared, sum of squares, huber, cross entropy, got 'cross'",
        ),
        ({"precision": "half"}, "precision needs one of float64, float32, got 'half'"),
        ({"optimizer": {"kind": "newton"}}, "newton"),
        ({"model": "own_models.py:nothing"}, "needs to define 'nothing'"),
    ],
)
def test_a_file_that_is_no_sweep_says_why(changes, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        sweep.from_yaml(written(tmp_path, **changes))


@pytest.mark.parametrize("text", ["a: [1", "- a list", ""])
def test_a_file_that_is_no_dict_says_why(text, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises((ValueError, TypeError), match="mine.yaml|YAML"):
        sweep.from_yaml(path)


def test_numbers_like_1e_minus_3_are_numbers(tmp_path):
    preset = sweep.from_yaml(written(tmp_path, tolerance="1e-3", variant="1e3"))
    assert preset.tolerance == 1e-3 and preset.variant == "1e3"


@pytest.mark.parametrize(
    ("data", "message"),
    [("alone", "needs to give inputs and outputs"), ("fewer", "6 samples, got 5 inputs")],
)
def test_data_of_another_kind_say_what_was_needed(data, message):
    with pytest.raises(ValueError, match=message):
        sweep.run(replace(PRESET, data=f"tests.own_models:{data}", test_samples=6))
