"""Every claim of the ledger has a page that shows it, tests that exist, and the value it says."""

import ast
import importlib.util
from functools import cache
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch

from llrnb import cnn, exact_rank, local_linear_fit, store, sweep, theory
from llrnb.presets import fig3
from llrnb.relu import cover_probability, normalised_transition
from llrnb.targets import draw, generic_target, paper_target
from llrnb.transitions import transition_point

ROOT = Path(__file__).resolve().parents[1]
_spec = importlib.util.spec_from_file_location("claims", ROOT / "book" / "_ext" / "claims.py")
ledger = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(ledger)
CLAIMS = ledger.load()
IDS = [claim["name"] for claim in CLAIMS]


@cache
def functions_in(file: str) -> set[str]:
    tree = ast.parse((ROOT / "tests" / file).read_text("utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


@cache
def published(name: str):
    return store.published(ROOT / "book" / "data" / f"{name}.parquet")[0]


def first_recovery(net, target):
    """The smallest sample size from which every minimiser of the tangent model is the target."""
    inputs, _ = draw(target, 100)
    fits = (local_linear_fit(net, target.params, inputs[:n]) for n in range(1, 30))
    return next(fit.samples for fit in fits if fit.recovers)


def translated_kernels(shared):
    """The rank of two kernels that are translates of each other."""
    kernels = torch.tensor([[1.0, 2.0, 0.0], [0.0, 1.0, 2.0]], dtype=torch.float64)
    outputs = generic_target(cnn(6, 3, 2)).params["a"]
    w = kernels if shared else kernels[:, None].repeat(1, 4, 1)
    return exact_rank(cnn(6, 3, 2, shared=shared, bias=False), {"w": w, "a": outputs})


def zero_kernel_with_and_without_outputs():
    """The ranks of a kernel beside a zero one, whose outputs are kept, or set to zero, too."""
    net = cnn(6, 3, 2, bias=False)
    w = torch.tensor([[1, 2, 3], [0, 0, 0]], dtype=torch.float64)
    outputs = torch.ones(2, 4, dtype=torch.float64)
    null = outputs * torch.tensor([[1], [0]])
    return [exact_rank(net, {"w": w, "a": a}) for a in (outputs, null)]


def n50_of_fig3(family, multiple=100):
    """Where half of the published networks recover the target, at the best learning rates."""
    table = published("fig3-paper")
    table = sweep.best_rate(table[(table["family"] == family) & (table["multiple"] == multiple)])
    shares = (table["relative_error"] < 1e-4).groupby(table["samples"]).mean()
    return transition_point(shares.index.to_numpy(), shares.to_numpy())


def hmtk_recovered(variant, samples):
    """How many of the ten published students of each family recover the teacher."""
    table = published("hmtk-students")
    table = table[(table["variant"] == variant) & (table["samples"] == samples)]
    counts = (table["relative_error"] < 1e-4).groupby(table["family"], sort=False).sum()
    return counts.tolist()


def n50_of_relu(preset, dim, variant=""):
    """Where half of the published instances of one dimension are recovered."""
    shares = sweep.shares(published(f"relu-{preset}"))
    rows = shares[(shares["dim"] == dim) & (shares["variant"] == variant)].dropna()
    return transition_point(rows["samples"].to_numpy(), rows["value"].to_numpy())


def share_of(preset, outcome, dim):
    """The share of an outcome among the published instances of one dimension that were run."""
    table = published(f"relu-{preset}")
    table = table[(table["dim"] == dim) & (table["outcome"] != sweep.NOT_RUN)]
    return float((table["outcome"] == outcome).mean())


def failures_without(preset, reason):
    """How many of the published instances are not recovered for another reason."""
    table = published(f"relu-{preset}")
    failed = ~table["outcome"].isin(["recovered", sweep.NOT_RUN])
    return int((failed & (table["reason"] != reason)).sum())


def share_at_limit(
    family, more, target="paper", column="recovered", strategy="narrowest interpolator"
):
    """The share of published data sets of so many samples more than the rank, at most width."""
    table = published("limit-measured")
    table = table[table["strategy"] == strategy]
    table = table[table["multiple"] == table["multiple"].max()]
    table = table[(table["family"] == family) & (table["target"] == target)]
    return float(table.loc[table["samples"] == table["model_rank"] + more, column].mean())


def corner(preset, metric, variant=""):
    """The mean of a metric at the largest published n and d."""
    means = sweep.averages(published(f"relu-{preset}"), metric)
    means = means[means["variant"] == variant]
    at = (means["samples"] == means["samples"].max()) & (means["dim"] == means["dim"].max())
    return float(means.loc[at, "value"].iloc[0])


NAMES = {
    "published": published,
    "cnn": cnn,
    "corner": corner,
    "cover_probability": cover_probability,
    "failures_without": failures_without,
    "fig3": fig3,
    "first_recovery": first_recovery,
    "hmtk_recovered": hmtk_recovered,
    "n50_of_fig3": n50_of_fig3,
    "n50_of_relu": n50_of_relu,
    "normalised_transition": normalised_transition,
    "paper_target": paper_target,
    "share_at_limit": share_at_limit,
    "share_of": share_of,
    "theory": theory,
    "translated_kernels": translated_kernels,
    "zero_kernel_with_and_without_outputs": zero_kernel_with_and_without_outputs,
}


@pytest.mark.parametrize("claim", CLAIMS, ids=IDS)
def test_a_claim_has_a_verdict_a_page_and_tests(claim):
    assert claim["source"] in ledger.SOURCES and claim["verdict"] in ledger.VERDICTS
    assert claim["says"] and claim["tests"]
    for test in claim["tests"]:
        file, name = test.split("::")
        assert name in functions_in(file), test
    if claim["verdict"] == "differs":
        assert claim["note"]


@pytest.mark.parametrize("claim", [c for c in CLAIMS if "value" in c or "compute" in c],
                         ids=lambda claim: claim["name"])  # fmt: skip
def test_a_claim_has_the_value_that_it_says(claim):
    computed = eval(claim["compute"], dict(NAMES))
    assert np.shape(computed) == np.shape(claim["value"])
    assert np.allclose(computed, claim["value"], rtol=0, atol=claim.get("tolerance", 0))


@pytest.mark.parametrize("page", sorted({claim["page"] for claim in CLAIMS}))
def test_a_page_shows_its_claims(page):
    notebook = nbformat.read(ROOT / "book" / f"{page}.ipynb", as_version=4)
    assert any("```{claims}" in cell["source"] for cell in notebook["cells"])


def test_a_claim_stands_once():
    assert len(set(IDS)) == len(IDS)
