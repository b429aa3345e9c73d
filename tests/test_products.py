from itertools import product

import numpy as np
import pytest
import torch

from llrnb import local_linear_fit, numerical_rank, train
from llrnb.products import MatrixProduct, one_hot, product_rank
from llrnb.training import Adam


def of_rank(rows, columns, rank, stream):
    """A matrix of small integers of that rank, as a rule."""
    left, right = (stream.integers(-3, 4, shape) for shape in ((rows, rank), (rank, columns)))
    return torch.from_numpy((left @ right).astype(float))


def every(shape):
    return one_hot(list(product(*map(range, shape))), shape)


def rank_of_derivatives(params):
    """The rank of all A E B, each a Kronecker product, by NumPy alone."""
    factors = [value.numpy() for value in params.values()]
    columns = []
    for at in range(len(factors)):
        before, after = np.eye(factors[0].shape[1]), np.eye(factors[-1].shape[0])
        for factor in factors[:at]:
            before = factor @ before
        for factor in factors[:at:-1]:
            after = after @ factor
        columns.append(np.kron(after, before.T))
    return np.linalg.matrix_rank(np.hstack(columns))


def test_its_outputs_are_entries_of_the_product():
    net = MatrixProduct((4, 2, 3, 5))
    params = net.init()
    expected = params["w3"] @ params["w2"] @ params["w1"]
    made = torch.stack([net(params, x) for x in every((5, 4))])
    assert torch.allclose(made.view(5, 4), expected, rtol=1e-12)
    assert torch.allclose(net.matrix(params), expected, rtol=1e-12)
    x = torch.randn(5, 4, dtype=torch.float64)
    assert torch.allclose(net(params, x), torch.trace(expected.T @ x))
    assert (net.parameter_count, net.input_shape) == (8 + 6 + 15, (5, 4))


@pytest.mark.parametrize("ranks", [*product(range(4), range(4))], ids=str)
def test_the_rank_of_two_factors_is_that_of_the_formula_and_of_singular_values(ranks):
    """Every pair of ranks of A, 3 x 5, and B, 4 x 3, zero and full ones included."""
    stream = np.random.default_rng([*ranks])
    net = MatrixProduct((5, 3, 4))
    a, b = (of_rank(*s, r, stream) for s, r in zip(((3, 5), (4, 3)), ranks, strict=True))
    at_a, at_b = (np.linalg.matrix_rank(w.numpy()) for w in (a, b))
    found = product_rank(net, {"w1": a, "w2": b})
    assert found == at_b * 5 + at_a * 4 - at_a * at_b
    assert found == numerical_rank(net, {"w1": a, "w2": b}).rank
    assert found == rank_of_derivatives({"w1": a, "w2": b})


@pytest.mark.parametrize("seed", range(30))
def test_the_rank_of_more_factors_is_that_of_singular_values(seed):
    stream = np.random.default_rng(seed)
    widths = tuple(map(int, stream.integers(1, 5, stream.integers(2, 6))))
    net = MatrixProduct(widths)
    params = {
        name: of_rank(*shape, int(stream.integers(0, min(shape) + 1)), stream)
        for name, shape in net.shapes.items()
    }
    found = product_rank(net, params)
    assert found == rank_of_derivatives(params)
    if seed < 8:
        assert found == numerical_rank(net, params).rank


@pytest.mark.parametrize("seed", range(10))
def test_a_product_that_is_zero_up_to_rounding_is_zero(seed):
    """w3 w2 = 0 but for its rounding: the columns of w2 lie in what w3 does not see."""
    stream = np.random.default_rng(seed)
    basis = np.linalg.qr(stream.standard_normal((4, 4)))[0]
    w1, w2 = stream.standard_normal((4, 5)), basis[:, :2] @ stream.standard_normal((2, 4))
    w3 = stream.standard_normal((3, 2)) @ basis[:, 2:].T
    assert 0 < np.abs(w3 @ w2).max() < 1e-14
    params = {f"w{k}": torch.from_numpy(w) for k, w in enumerate((w1, w2, w3), 1)}
    # u = 0, 2, 3 and v = 5, 4, 2
    assert product_rank(MatrixProduct((5, 4, 4, 3)), params) == 2 * 4 + 1 * 2


def test_a_product_of_which_rounding_does_not_tell_the_rank_is_refused():
    params = {"w1": torch.diag(torch.tensor([1.0, 1e-14])).double(), "w2": torch.eye(2).double()}
    params["w1"][0, 1] = 1.0
    with pytest.raises(ValueError, match="needs factors of which rounding tells the ranks"):
        product_rank(MatrixProduct((2, 2, 2)), params)


def test_a_wide_product_has_the_rank_of_the_matrices_of_its_rank():
    """Rank 2 in 5 x 6: 2 (5 + 6 - 2) = 18 dimensions, at factors that have this rank, too."""
    u, v = np.random.default_rng(0).standard_normal((2, 6, 2))
    w1, w2 = np.zeros((4, 6)), np.zeros((5, 4))
    w1[:2], w2[:, :2] = v.T, u[:5]
    params = {"w1": torch.from_numpy(w1), "w2": torch.from_numpy(w2)}
    assert product_rank(MatrixProduct((6, 4, 5)), params) == 2 * (5 + 6 - 2)
    alone = {"w1": params["w1"][:2], "w2": params["w2"][:, :2]}
    assert product_rank(MatrixProduct((6, 2, 5)), alone) == 18
    assert product_rank(MatrixProduct((6, 4, 5)), MatrixProduct((6, 4, 5)).init()) == 28


def test_measurements_recover_it_locally_from_its_rank_on():
    net = MatrixProduct((3, 1, 3))
    params = {"w1": torch.tensor([[1.0, -2.0, 0.5]]), "w2": torch.tensor([[0.5], [1.0], [2.0]])}
    assert product_rank(net, params) == 5
    inputs = torch.randn(9, 3, 3, generator=torch.Generator().manual_seed(0)).double()
    found = [local_linear_fit(net, params, inputs[:n], every((3, 3))) for n in (4, 5)]
    assert [f.recovers for f in found] == [False, True]
    cross = [(0, 0), (0, 1), (0, 2), (1, 0), (2, 0)]  # a row and a column tell all entries
    assert local_linear_fit(net, params, one_hot(cross, (3, 3)), every((3, 3))).recovers
    block = [(0, 0), (0, 1), (1, 0), (1, 1), (2, 2)]  # four of rank 1: one entry is not needed
    assert not local_linear_fit(net, params, one_hot(block, (3, 3)), every((3, 3))).recovers


@pytest.mark.parametrize("optimizer", [None, Adam()])
def test_it_is_trained_as_a_plain_loop_does(optimizer):
    net = MatrixProduct((4, 3, 3, 2))
    inputs = torch.randn(6, 2, 4, generator=torch.Generator().manual_seed(1)).double()
    outputs = inputs[:, 0, 0] - 2 * inputs[:, 1, 2]
    options = {"optimizer": optimizer} if optimizer else {}
    rates = [0.01, 0.03]
    run = train(net, inputs, outputs, learning_rates=rates, steps=80, std=0.5, **options)
    assert run.engine == "general"
    kind = torch.optim.Adam if optimizer else torch.optim.SGD
    for seed, rate in enumerate(rates):
        params = {name: value.requires_grad_() for name, value in net.init(0.5, seed).items()}
        steps = kind(params.values(), lr=rate)
        for _ in range(80):
            steps.zero_grad()
            matrix = params["w3"] @ params["w2"] @ params["w1"]
            (torch.einsum("ij,sij->s", matrix, inputs) - outputs).square().mean().backward()
            steps.step()
        for name, value in params.items():
            assert torch.allclose(run.params[name][seed], value.detach(), rtol=1e-9, atol=1e-12)


def test_what_is_no_product_is_refused():
    net = MatrixProduct((4, 2, 3))
    with pytest.raises(ValueError, match="widths needs a list of at least 2"):
        MatrixProduct((4,))
    with pytest.raises(ValueError, match=r"measurement of shape \(3, 4\), got \(4, 3\)"):
        net(net.init(), torch.zeros(4, 3).double())
    with pytest.raises(ValueError, match="needs params of shapes"):
        product_rank(net, MatrixProduct((4, 2, 2)).init())
    with pytest.raises(ValueError, match=r"\(row, column\) of entries"):
        one_hot([(0, 4)], (3, 4))
