"""The report on redundancy: known ranks of the zoo, and candidates that must not count."""

from collections import Counter

import pytest
import torch
from torch import nn

from llrnb import certify_rank, from_module, redundancy
from llrnb.rank import doubts, symmetries
from llrnb.zoo import ZOO, Map, dense

# What the counts by hand say of each, by kind.
KNOWN = {
    "ReLU": {"scaling": 4},
    "PReLU": {"scaling": 4},
    "cubes": {"scaling": 2},
    "weight normalisation": {"scaling": 4},
    "low-rank adapter": {"scaling": 1},
    "two linear with biases": {"mixing": 4, "shift": 2},
    "three linear": {"mixing": 18},
    "log-softmax head": {"shift": 3},
    "scale in a softmax": {"unused": 1, "scaling": 1},
    "unused parameter": {"unused": 4},
    "batch norm": {"shift": 4, "scaling": 4},
    "layer norm": {"shift": 4},
    "layer norm without eps": {"shift": 4, "scaling": 1},
    "instance norm": {"unused": 3},
    "group norm": {"shift": 2},
    "convolution ReLU": {"scaling": 2},
    "attention": {"unused": 3, "mixing": 18, "shift": 3},
    "neuron without output": {"unused": 4},
    "RNN": {"equal": 2},
    "transformer layer": {"unused": 4, "shift": 26, "mixing": 16, "scaling": 6},
}


@pytest.fixture(autouse=True)
def without_doubts(monkeypatch):
    """Of the numerical rank, which its own tests look at."""
    monkeypatch.setattr(doubts, "unseen", lambda *_: None)
    monkeypatch.setattr(doubts, "underived", lambda *_: None)
    monkeypatch.setattr(doubts, "out_of_scale", lambda *_: None)
    monkeypatch.setattr(symmetries, "_MANY", 100)


def of_zoo(name: str, samples: int = 40):
    specimen, stream = ZOO[name], torch.Generator().manual_seed(0)
    inputs = torch.randn(samples, *specimen.input_shape, generator=stream, dtype=torch.float64)
    return redundancy(specimen.module(1), inputs=inputs)


@pytest.mark.parametrize("name", KNOWN)
def test_redundant_parameters_are_explained(name):
    found = of_zoo(name, 6 if name == "RNN" else 40)
    by_kind = Counter()
    for symmetry in found.symmetries:
        by_kind[symmetry.kind] += symmetry.count
    assert by_kind == KNOWN[name] and found.upper == ZOO[name].rank
    if name != "transformer layer":  # of which singular values do not tell the rank for certain
        assert found.rank == found.upper and not found.unexplained
        assert found.verdict.startswith(f"{found.rank}: from below by singular values")


@pytest.mark.parametrize("name", ["tanh", "GELU", "residual tanh", "convolution tanh"])
def test_a_module_without_symmetries_has_none(name):
    found = of_zoo(name)
    assert found.symmetries == () and found.rank == found.parameters
    assert found.table().empty


@pytest.mark.parametrize("name", ["layer norm", "attention"])
def test_directions_of_symmetries_change_no_output_by_differences(name):
    specimen = ZOO[name]
    model = from_module(specimen.module(3), specimen.input_shape)
    inputs = torch.randn(30, *specimen.input_shape, dtype=torch.float64)
    stacked = []
    for symmetry in redundancy(model, inputs=inputs).symmetries:
        assert tuple(symmetry.directions) == symmetry.names
        for k in range(len(symmetry.directions[symmetry.names[0]])):
            moves = {n: torch.zeros(v.shape).double() for n, v in model.params.items()}
            moves |= {n: part[k] for n, part in symmetry.directions.items()}
            ahead, behind = (
                model.outputs({n: v + h * moves[n] for n, v in model.params.items()}, inputs)
                for h in (1e-5, -1e-5)
            )
            assert float((ahead - behind).abs().max()) / 2e-5 < 1e-8
            stacked.append(torch.cat([move.flatten() for move in moves.values()]))
    rank = int(torch.linalg.matrix_rank(torch.stack(stacked), rtol=1e-9))
    assert rank == model.parameter_count - specimen.rank


def layer_norm(eps: float) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4, eps=eps)).double()


@pytest.mark.parametrize("eps", [1e-5, 1e-12, 1e-15])
def test_a_scaling_that_eps_breaks_is_not_counted(eps):
    """Even where the derivative along it is below rounding, so that singular values show 19."""
    found = redundancy(layer_norm(eps), input_shape=(3,))
    assert found.verified == 4 and found.upper == 20
    assert found.lower == (20 if eps > 1e-8 else found.lower) >= 19


@pytest.mark.parametrize("distance", [1e-6, 1e-11])
def test_neurons_that_are_nearly_equal_do_not_count_as_one(distance):
    module = ZOO["equal neurons"].module(1)
    with torch.no_grad():
        module[0].weight[1, 0] += distance
    found = redundancy(module, input_shape=(3,))
    assert found.symmetries == () and found.upper == 21


def test_equal_neurons_share_their_outputs_and_the_rest_is_unexplained():
    """Their input weights are redundant to first order only: that is no symmetry."""
    found = of_zoo("equal neurons")
    assert [(s.kind, s.names, s.count) for s in found.symmetries] == [("equal", ("2.weight",), 1)]
    assert (found.lower, found.upper, found.rank, found.unexplained) == (16, 20, None, 4)
    assert found.verdict.startswith("from 16 (by singular values) to 20 (by verified symmetries)")


def test_a_neuron_that_is_off_near_by_is_not_unused():
    """Far out it is on. Only the scales of neurons are redundant there."""
    found = of_zoo("neuron that is off")
    assert {s.kind for s in found.symmetries} <= {"scaling"} and found.upper >= 17


@pytest.mark.parametrize("bias", [1e7])
def test_a_saturated_neuron_is_not_unused(bias):
    module = ZOO["tanh"].module(0)
    with torch.no_grad():
        module[0].bias[0] = bias
    found = redundancy(module, input_shape=(3,))
    assert all("0." not in name for s in found.symmetries for name in s.names)


def test_zero_parameters_are_unused_one_by_one_and_not_together():
    """At w = a = 0 both may be moved, each alone."""
    module = ZOO["tanh"].module(0)
    with torch.no_grad():
        for value in module.parameters():
            value.zero_()
    found = redundancy(module, input_shape=(3,))
    assert found.rank == 2 and found.verified == 24  # the biases of the outputs are left


def test_few_digits_decide_nothing():
    found = of_zoo("computed in float32")
    assert found.upper == 12 and found.rank is None
    assert found.verdict.startswith("undecided: from ") or "unexplained" in found.verdict


def test_parameters_in_float32_are_those_of_float64_with_zeros_behind():
    specimen = ZOO["ReLU"]
    found = redundancy(specimen.module(0).float(), input_shape=(3,))
    assert found.rank == 22


def test_repeated_inputs_show_less_and_explain_no_more():
    specimen = ZOO["ReLU"]
    inputs = torch.randn(3, 3, dtype=torch.float64).repeat(8, 1)
    found = redundancy(specimen.module(0), inputs=inputs)
    assert "3 distinct inputs" in found.verdict
    assert found.lower <= 6 and found.upper >= 22 and found.rank is None


def test_inputs_of_ones_own_are_a_law_of_their_own():
    """On inputs whose last number is 0, its weights do nothing."""
    module = ZOO["tanh"].module(0)
    inputs = torch.randn(60, 3, dtype=torch.float64)
    inputs[:, 2] = 0
    assert redundancy(module, inputs=inputs).upper == 26
    on_law = redundancy(module, inputs=inputs[:40], fresh=inputs[40:])
    assert on_law.rank == 22 and on_law.table().values.tolist() == [["unused", "0.weight", 4]]


def test_words_are_inputs():
    torch.manual_seed(0)
    embedding = nn.Sequential(nn.Embedding(6, 3), nn.Flatten(), nn.Linear(6, 2)).double()
    words = torch.cartesian_prod(torch.arange(5), torch.arange(5))
    found = redundancy(embedding, inputs=words)
    assert "unused" in {s.kind for s in found.symmetries}  # the sixth word
    assert found.upper >= found.lower


def test_below_proved_and_above_verified():
    specimen = ZOO["ReLU"]
    found = redundancy(specimen.module(), input_shape=specimen.input_shape, proved=True)
    known = certify_rank(specimen.module(), input_shape=specimen.input_shape)
    assert found.proof.lower == known.lower == found.rank == specimen.rank
    assert found.verdict == (
        f"{specimen.rank}: from below proved, from above by verified symmetries"
    )


def test_a_symmetry_of_some_inputs_only_is_none():
    """Along w = (1, -1) nothing happens but on a strip."""
    model = Map(lambda x, w: (w.sum() + w[0] * torch.relu(x[:, 0] - 2.0)) * x[:, 1], w=(2,))
    with torch.no_grad():
        model.w.copy_(torch.tensor([1.0, 2.0]))
    inputs = torch.rand(40, 2, dtype=torch.float64)
    found = redundancy(model.double(), inputs=inputs)
    assert found.lower == 1 and found.upper == 2 and found.symmetries == ()


def test_bad_arguments_are_refused():
    module = dense(3, 2, 1)
    with pytest.raises(ValueError, match="fresh inputs need others"):
        redundancy(module, input_shape=(3,), fresh=torch.ones(2, 3))
    with pytest.raises(ValueError, match="needs inputs, or the input_shape"):
        redundancy(module)
    broken = dense(3, 2, 1)
    with torch.no_grad():
        broken[0].weight[0, 0] = torch.nan
    with pytest.raises(ValueError, match="finite"):
        redundancy(broken, input_shape=(3,))


def test_a_large_model_is_refused_in_words(monkeypatch):
    from llrnb.rank import sketched

    monkeypatch.setattr(sketched, "_KEPT", 0)
    with pytest.raises(ValueError, match="at most 5 .* entries, got 5 inputs and 100 parameters"):
        redundancy(nn.Linear(99, 1), inputs=torch.randn(5, 99, dtype=torch.float64))
