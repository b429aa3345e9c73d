"""eps-ranks, effective dimensions and null directions against formulas and finite differences."""

from math import nan

import pytest
import torch
from torch import nn

from llrnb import from_module, matrix_rank, numerical_rank
from llrnb.rank import sketched
from llrnb.zoo import ZOO

VALUES = torch.tensor([1.0, 0.5, 3e-3, 2e-5, 7e-7], dtype=torch.float64)


def diagonal(params, x):
    """Whose tangent matrix at the unit vectors is diagonal."""
    return params["w"] @ (VALUES * x)


def at_unit_vectors(**options):
    inputs = torch.eye(5, dtype=torch.float64)
    return numerical_rank(diagonal, {"w": torch.ones(5).double()}, inputs, **options)


def test_eps_ranks_are_counts_of_singular_values():
    assert at_unit_vectors().eps_ranks == {1e-2: 2, 1e-4: 3, 1e-6: 4}
    assert at_unit_vectors(eps=[0.6, 1e-9]).eps_ranks == {0.6: 1, 1e-9: 5}


def test_an_eps_rank_does_not_depend_on_the_unit_of_the_output():
    model = lambda params, x: 1e30 * diagonal(params, x)  # noqa: E731
    found = numerical_rank(model, {"w": torch.ones(5).double()}, torch.eye(5).double())
    assert found.eps_ranks == {1e-2: 2, 1e-4: 3, 1e-6: 4}


def test_a_value_at_the_border_is_not_counted_either_way():
    found = at_unit_vectors(eps=(0.5, 0.499, 0.501))
    assert found.eps_ranks == {0.5: None, 0.499: 2, 0.501: 1}
    single = torch.eye(5, dtype=torch.float32)
    params = {"w": torch.ones(5)}
    found = numerical_rank(diagonal, params, single, eps=(0.5 + 1e-8, 0.5 + 1e-5))
    assert found.eps_ranks == {0.5 + 1e-8: None, 0.5 + 1e-5: 1}  # of which 8 digits are stored


def test_what_rounding_hides_has_no_eps_rank():
    """Singular values below the rounding of a module that computes in float32."""
    specimen = ZOO["computed in float32"]
    found = numerical_rank(specimen.module(), input_shape=(3,), eps=(1e-2, 1e-10))
    assert found.eps_ranks == {1e-2: 12, 1e-10: None}
    assert found.effective_dimensions[1e-10] is None


def test_an_effective_dimension_is_a_trace():
    torch.manual_seed(0)
    module, inputs = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)), torch.randn(9, 3)
    found = numerical_rank(module, None, inputs.double(), eps=[1e-1, 1e-3])
    gram = found.spectrum.tangent.mT @ found.spectrum.tangent
    largest = torch.linalg.eigvalsh(gram)[-1]
    for eps, dimension in found.effective_dimensions.items():
        ridge = eps**2 * largest * torch.eye(len(gram))
        trace = torch.linalg.solve(gram + ridge, gram).trace()
        assert dimension == pytest.approx(float(trace), rel=1e-6)


@pytest.mark.parametrize("name", ["ReLU", "layer norm", "attention", "unused parameter", "tanh"])
def test_null_directions_change_no_output_by_differences(name):
    specimen = ZOO[name]
    model = from_module(specimen.module(), specimen.input_shape)
    found = numerical_rank(model, model.params)
    directions = found.null_directions
    flat = torch.cat([part.flatten(1) for part in directions.values()], dim=1)
    assert len(flat) == model.parameter_count - specimen.rank
    torch.testing.assert_close(flat @ flat.mT, torch.eye(len(flat)).double())
    inputs = torch.randn(50, *specimen.input_shape, dtype=torch.float64)

    def slope(direction):
        ahead, behind = (
            model.outputs({k: v + h * direction[k] for k, v in model.params.items()}, inputs)
            for h in (1e-5, -1e-5)
        )
        return float(((ahead - behind) / 2e-5).abs().max())

    for i in range(len(flat)):
        assert slope({name: part[i] for name, part in directions.items()}) < 1e-8
    other = {name: torch.randn(value.shape).double() for name, value in model.params.items()}
    assert slope(other) > 1e-2


def test_null_directions_keep_parameters_of_tiny_derivatives_apart():
    """Of w, 1e-9 v and nothing of u, only u is null."""
    model = lambda p, x: p["w"] * x[0] + 1e-9 * p["v"] * x[1] + 0 * p["u"]  # noqa: E731
    params = {name: torch.ones(()).double() for name in "wvu"}
    null = numerical_rank(model, params, input_shape=(2,)).null_directions
    assert {name: part.abs().tolist() for name, part in null.items()} == {
        "w": [0.0], "v": [0.0], "u": [1.0],
    }  # fmt: skip


@pytest.mark.parametrize("eps", [[], 1e-3, [0.0], [1.0], [-1e-3], [nan], ["1e-3"], None, [True]])
def test_eps_needs_numbers_between_0_and_1(eps):
    with pytest.raises(ValueError, match=r"eps needs"):
        numerical_rank.__wrapped__(diagonal, {"w": torch.ones(5)}, torch.eye(5), eps=eps)


def test_of_a_bare_matrix_and_of_a_sketch_nothing_is_kept(monkeypatch):
    monkeypatch.setattr(sketched, "_KEPT", 0)
    torch.manual_seed(0)
    large = numerical_rank(nn.Linear(99, 1), None, torch.randn(5, 99, dtype=torch.float64))
    for found in (matrix_rank(torch.eye(3)), large):
        for what in ("eps_ranks", "effective_dimensions", "null_directions"):
            with pytest.raises(ValueError, match="need a numerical_rank whose tangent matrix"):
                getattr(found, what)
