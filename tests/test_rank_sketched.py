"""Sketches of tangent matrices against the matrices themselves."""

import pytest
import torch
from torch import nn

from llrnb import from_module, numerical_rank, tangent_matrix
from llrnb.rank import sketched


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Every matrix that is wide enough is sketched, three rows at a time."""
    monkeypatch.setattr(sketched, "_KEPT", 0)
    monkeypatch.setattr(sketched, "_FEWER", 5000)


def normal(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def sequential(*layers) -> nn.Sequential:
    return nn.Sequential(*layers).double()


def dense(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return sequential(nn.Linear(inputs, hidden), nn.Tanh(), nn.Linear(hidden, outputs))


def product(inputs: int, hidden: int) -> nn.Sequential:
    return sequential(nn.Linear(inputs, hidden, bias=False), nn.Linear(hidden, 1, bias=False))


@pytest.mark.parametrize("seed", range(3))
def test_singular_values_are_those_of_the_matrix(seed):
    torch.manual_seed(seed)
    module, inputs = dense(6, 150, 2), normal(20, 6)
    found = numerical_rank(module, None, inputs)
    tangent = tangent_matrix(module, None, inputs)
    known = torch.linalg.svdvals(tangent / tangent.norm(dim=0))
    assert (found.rank, found.verdict) == (40, "at least")
    assert "40 on 20 distinct inputs" in found.reason and "at 20 of 20 inputs" in found.reason
    ratios = found.singular_values / known
    assert ratios.max() / ratios.min() < 2.5  # a common factor: columns are scaled again


@pytest.mark.parametrize(
    ("rank", "module", "inputs"),
    [
        (7, lambda: product(7, 60), lambda: normal(20, 7)),
        (3, lambda: product(7, 60), lambda: normal(20, 3) @ normal(3, 7)),
        (12, lambda: dense(5, 40, 1), lambda: normal(12, 5).repeat(2, 1)),
    ],
    ids=["product", "inputs of rank 3", "repeated inputs"],
)
def test_it_finds_a_lower_rank_and_claims_it_as_a_lower_bound(rank, module, inputs):
    torch.manual_seed(5)
    found = numerical_rank(module(), None, inputs())
    assert (found.rank, found.verdict) == (rank, "at least")


def test_stored_digits_that_decide_are_named():
    torch.manual_seed(1)
    inputs = (normal(16, 3) @ normal(3, 7)).bfloat16()  # of rank 3, but for the last digits
    found = numerical_rank(product(7, 60), None, inputs)
    assert (found.rank, found.verdict) == (7, "undecided")
    assert found.reason == "7 for the stored digits, 3 within their last digit"


@pytest.mark.parametrize("known", [7, 3])
def test_rounding_is_measured_at_some_inputs_of_many(known, monkeypatch):
    monkeypatch.setattr(sketched, "_SOME", 5)
    torch.manual_seed(9)
    found = numerical_rank(product(7, 90), None, normal(33, known) @ normal(known, 7))
    assert (found.rank, found.verdict) == (known, "at least") and "at 5 of 33" in found.reason


def test_derivatives_that_are_not_finite_are_named(monkeypatch):
    monkeypatch.setattr(sketched, "_SOME", 2)

    def model(params, x):
        return torch.sqrt(x[0] * params["w"][0]) + params["w"].sum()

    inputs = torch.tensor([[1.0], [2.0], [3.0], [0.0]]).double()
    with pytest.raises(ValueError, match="finite derivatives"):
        numerical_rank(model, {"w": torch.ones(50).double()}, inputs)


def test_derivatives_that_are_not_those_of_the_output_are_named():
    class Detached(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.other = nn.Linear(4, 90), nn.Linear(90, 1)

        def forward(self, x):
            return self.other(torch.tanh(self.one(x) * 1.0).detach() + 0 * self.one(x))

    found = numerical_rank(Detached().double(), None, normal(9, 4))
    assert found.verdict == "undecided" and "one." in found.reason


def test_places_that_fold_onto_each_other_in_one_sketch_do_not_in_the_other():
    """Two rows, each of one entry, k places apart for the first or the second k."""
    for apart in (5, 7):  # 2 * rows + 1 and 2 * rows + 3
        rows = torch.zeros(2, 100, dtype=torch.float64)
        rows[0, 10] = rows[1, 10 + apart] = 1.0
        fold = sketched._folding(2, torch.ones(100, dtype=torch.float64))
        assert torch.linalg.matrix_rank(fold(rows)) == 2


def test_how_it_is_cut_into_parts_does_not_matter(monkeypatch):
    torch.manual_seed(2)
    model, inputs = from_module(dense(6, 80, 1), (6,)), normal(15, 6)
    ranks = []
    for entries in (1, 10**4, 10**7):
        monkeypatch.setattr(sketched, "_FEWER", entries)
        ranks.append(numerical_rank(model, None, inputs))
    for found in ranks[1:]:
        assert found.rank == ranks[0].rank
        assert torch.allclose(found.singular_values, ranks[0].singular_values, rtol=1e-9)


def test_a_device_that_is_not_here_is_named():
    with pytest.raises(ValueError, match="the device needs to be a torch device, got 'nowhere'"):
        numerical_rank(dense(2, 3, 1), None, torch.randn(4, 2), device="nowhere")
    if not torch.cuda.is_available():
        with pytest.raises(RuntimeError, match="needs a CUDA GPU"):
            numerical_rank(dense(2, 3, 1), None, torch.randn(4, 2), device="cuda")
