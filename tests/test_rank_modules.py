"""Ranks of torch modules: several outputs, buffers, ties, and what has no batched form."""

import pytest
import torch
from test_training_modules import Branching, Own, RandomBuffer, Residual, Tied, dense, normalised
from torch import nn

import llrnb
from llrnb import local_linear_fit, numerical_rank, tangent_matrix


def jacobian(module, inputs):
    """Row by row, by autograd: one for each output of each sample."""
    module = module.double().eval()
    leaves, rows = list(module.parameters()), []
    for x in inputs.double():
        for output in module(x[None])[0].flatten():
            slopes = torch.autograd.grad(output, leaves, retain_graph=True, allow_unused=True)
            pairs = zip(slopes, leaves, strict=True)
            rows.append(torch.cat([(leaf * 0 if s is None else s).flatten() for s, leaf in pairs]))
    return torch.stack(rows).detach()


KINDS = {
    "dense": lambda: dense(4, 5, 3),
    "residual": Residual,
    "batch norm": normalised,
    "tied": Tied,
    "own": Own,
    "branching": Branching,
    "random features": lambda: nn.Sequential(RandomBuffer(), nn.Tanh(), nn.Linear(4, 2)),
}


@pytest.mark.parametrize("name", KINDS)
def test_the_tangent_matrix_of_a_module_has_a_row_for_each_output(name):
    torch.manual_seed(0)
    module, inputs = KINDS[name](), torch.randn(6, 4)
    before = {key: value.clone() for key, value in module.state_dict().items()}
    found = tangent_matrix(module, None, inputs)
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())
    assert module.training and all(value.dtype != torch.float64 for value in module.parameters())
    assert torch.allclose(found, jacobian(module, inputs), rtol=1e-12, atol=1e-12)


def test_a_dense_module_has_the_rank_of_the_network():
    """Without ties every parameter counts; two equal neurons share their functions."""
    torch.manual_seed(1)
    module = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1, bias=False))
    assert numerical_rank(module, input_shape=(3,)).rank == 20
    with torch.no_grad():
        module[0].weight[1], module[0].bias[1] = module[0].weight[0], module[0].bias[0]
        module[2].weight[0, :2] = torch.tensor([0.5, 1.0])
    net = llrnb.fully_connected(3, 4)
    own = {"w": module[0].weight, "b": module[0].bias, "a": module[2].weight.T}
    found = numerical_rank(module.double(), input_shape=(3,))
    assert found.convincing
    assert found.rank == llrnb.exact_rank(net, {k: v.detach().double() for k, v in own.items()})


@pytest.mark.parametrize(
    ("make", "rank"),
    [
        # The last layer's weights alone: 4 features and 1 for each of 2 outputs.
        (lambda: nn.Sequential(RandomBuffer(), nn.Tanh(), nn.Linear(4, 2)), 10),
        # Products of matrices of rank 2: 2 (4 + 3 - 2).
        (lambda: nn.Sequential(nn.Linear(4, 2, bias=False), nn.Linear(2, 3, bias=False)), 10),
        # Homogeneous neurons: a scale of each is in two layers.
        (lambda: nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3)), 5 * (5 + 3 - 1) + 3),
        (lambda: dense(4, 5, 3), 5 * (5 + 3) + 3),
        # The shift before a batch norm in evaluation mode is its own shift; so is a scale.
        (
            lambda: nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Tanh(), nn.Linear(3, 2)),
            3 * 5 + 8,
        ),
    ],
)
def test_ranks_that_are_known_by_counting(make, rank):
    for seed in range(3):
        torch.manual_seed(seed)
        found = numerical_rank(make().double(), input_shape=(4,))
        assert found.rank == rank and found.verdict != "at least"


def test_several_outputs_are_recovered_from_fewer_samples():
    torch.manual_seed(0)
    module = dense(4, 3, 2).double()  # 15 + 8 parameters, 2 rows of each sample
    fits = {n: local_linear_fit(module, None, torch.randn(n, 4).double()) for n in (11, 12)}
    assert [fit.verdict for fit in fits.values()] == ["does not", "recovers"]
    assert fits[12].samples == 12 and fits[12].joint.rank == 23


def test_stored_digits_of_a_module_are_its_own():
    """Three neurons of which one is two others up to float32: full for the digits, or not."""
    torch.manual_seed(3)
    module = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 1, bias=False))
    with torch.no_grad():
        module[0].weight[1] = module[0].weight[0] * (1 + 2.0**-22)
        module[0].bias[1] = module[0].bias[0]
    found = numerical_rank(module, input_shape=(3,))
    assert not found.convincing
    params = {name: value.detach() for name, value in module.named_parameters()}
    model = llrnb.from_module(module, (3,))
    assert numerical_rank(model, params).reason == found.reason


def test_a_frozen_parameter_has_no_column():
    module = dense(4, 3, 2)
    module[0].weight.requires_grad_(False)
    assert tangent_matrix(module, None, torch.randn(5, 4)).shape == (10, 3 + 8)


class Centred(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 2)

    def forward(self, x):
        made = self.layer(x)
        return made - made.mean(dim=0)


def test_a_sample_that_depends_on_the_others_has_no_row():
    with pytest.raises(ValueError, match="takes each sample by itself"):
        numerical_rank(Centred(), input_shape=(4,))


@pytest.mark.parametrize(
    ("model", "params"),
    [
        (nn.Sequential(nn.ReLU(inplace=True), nn.Linear(3, 1)), None),
        (lambda p, x: p["a"] @ x.sub_(1.0) + p["b"], {"a": torch.ones(3), "b": torch.ones(())}),
    ],
    ids=["module", "function"],
)
def test_a_model_that_works_in_place_leaves_the_inputs(model, params):
    inputs = torch.randn(20, 3, dtype=torch.float64)
    before = inputs.clone()
    assert numerical_rank(model, params, inputs).rank == 4
    shifted = inputs.relu() if params is None else inputs - 1
    expected = torch.cat([shifted, torch.ones_like(inputs[:, :1])], dim=1)
    assert torch.equal(tangent_matrix(model, params, inputs), expected)
    assert torch.equal(inputs, before)


def test_what_is_missing_is_named():
    with pytest.raises(ValueError, match="needs inputs, or the input_shape of one, got neither"):
        numerical_rank(Residual())
    with pytest.raises(TypeError, match="needs params, for only a module has its own"):
        numerical_rank(llrnb.cnn(5, 3, 1))


@pytest.mark.parametrize("seed", range(6))
def test_the_rank_on_inputs_of_a_small_dimension_is_the_formula(seed):
    torch.manual_seed(seed)
    width, hidden, outputs, dimension = 9, 2 + seed % 3, 4 + seed % 2, 3 + seed
    module = nn.Sequential(nn.Linear(width, hidden), nn.Tanh(), nn.Linear(hidden, outputs))
    basis = torch.randn(dimension - 1, width).double()
    for samples in (hidden + 1, hidden + 3, hidden + dimension, hidden + dimension + 1, 40):
        inputs = torch.randn(samples, dimension - 1).double() @ basis + 1
        rank = torch.linalg.matrix_rank(jacobian(module, inputs))
        least = min(dimension, samples - hidden - 1)
        assert rank == outputs * (hidden + 1) + hidden * least


class Words(nn.Module):
    """A sum over words of u . v, with a vector v for each."""

    def __init__(self, words: int = 7, numbers: int = 3):
        super().__init__()
        self.vectors, self.line = nn.Embedding(words, numbers), nn.Linear(numbers, 1, bias=False)

    def forward(self, x):
        return self.line(self.vectors(x).sum(1))


def test_whole_numbers_stay_whole_and_further_ones_need_to_be_given():
    torch.manual_seed(0)
    stream = torch.Generator().manual_seed(1)
    few, all_words = (torch.randint(high, (40, 4), generator=stream) for high in (5, 7))
    # u . v_i for each word: its slopes are those of a product of a 1 x 3 and a 3 x 7 matrix.
    for words, known in ((few, 5), (all_words, 7)):
        found = numerical_rank(Words(), None, words)
        assert (found.rank, found.verdict) == (known, "at least") and "`fresh`" in found.reason
    more = numerical_rank(Words(), None, few, fresh=all_words)
    assert (more.rank, more.verdict) == (5, "at least") and "rank to 7" in more.reason
    every = numerical_rank(Words(), None, all_words, fresh=few)
    assert (every.rank, every.verdict) == (7, "convincing")


def test_fresh_inputs_take_the_place_of_normal_ones():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 1))
    plane = torch.randn(60, 2).double() @ torch.randn(2, 4).double()
    inside, outside = plane[:40], torch.randn(30, 4).double()
    assert numerical_rank(module, None, inside).verdict == "at least"
    found = numerical_rank(module.double(), None, inside, fresh=plane[40:])
    assert (found.rank, found.verdict) == (13, "convincing")  # 3 * (1 + 2 + 1) + 1
    assert numerical_rank(module.double(), None, inside, fresh=outside).verdict == "at least"


@pytest.mark.parametrize(
    ("fresh", "error"),
    [
        (torch.zeros(5, 3), "of shape"),
        (torch.zeros(0, 4), "got 0"),
        (torch.full((5, 4), torch.nan), "finite"),
    ],
)
def test_fresh_inputs_of_another_kind_are_named(fresh, error):
    with pytest.raises(ValueError, match=error):
        numerical_rank(nn.Linear(4, 1), None, torch.randn(9, 4), fresh=fresh)


def test_fresh_inputs_that_say_nothing_are_refused(monkeypatch):
    words = torch.tensor([[0, 1], [2, 3], [0, 3], [4, 4], [1, 1], [2, 2]])
    with pytest.raises(ValueError, match="not among the others, got 4"):
        numerical_rank(Words(), None, words, fresh=words[:4])
    with pytest.raises(ValueError, match=r"torch.int64 of shape \(sample, \*\(2,\)\)"):
        numerical_rank(Words(), None, words, fresh=words.double())
    unknown = torch.tensor([[5, 9]])  # a word that the module does not have
    with pytest.raises(Exception, match="index out of range|out of bounds"):
        numerical_rank(Words().double(), None, words.repeat(4, 1), fresh=unknown)
    monkeypatch.setattr(llrnb.rank.sketched, "_KEPT", 0)
    with pytest.raises(ValueError, match="no others are asked, got 2 inputs"):
        numerical_rank(Words(), None, words[:2], fresh=words[2:])


def test_whole_numbers_for_a_module_of_floats_are_named():
    with pytest.raises(TypeError, match="cannot take whole numbers, and got inputs of torch.int64"):
        numerical_rank(nn.Linear(4, 1), None, torch.ones(3, 4, dtype=torch.int64))
