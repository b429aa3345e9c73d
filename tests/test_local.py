"""Recovery near a target: orders and sample sizes, against counts by hand and exact fits."""

import numpy as np
import pytest
import torch

from llrnb import cnn, exact_rank, fully_connected, least_squares, predict
from llrnb.local import local_order, local_sample_size


def split(net_of, w, a, shares, b=None):
    """A network of one kernel in copies with these shares of its output weights."""
    shares = torch.tensor(shares, dtype=torch.float64)
    params = {"w": w.repeat(len(shares), 1), "a": shares[:, None] * a}
    if b is not None:
        params = {"w": params["w"], "b": b.repeat(len(shares)), "a": params["a"]}
    return net_of(len(shares)), params


def dense(d, shares, bias=False):
    w = torch.linspace(0.5, 1.1, d, dtype=torch.float64)[None]
    one = torch.ones(1, 1, dtype=torch.float64)
    b = torch.tensor([0.3], dtype=torch.float64) if bias else None
    return split(lambda m: fully_connected(d, m, bias=bias), w, one, shares, b)


def shared(shares, array=(1.0, -0.5, 2.0)):
    w = torch.tensor([[0.6, 0.8, 1.0]], dtype=torch.float64)
    a = torch.tensor([array], dtype=torch.float64)
    return split(lambda m: cnn(5, 3, m), w, a, shares, torch.tensor([0.2], dtype=torch.float64))


@pytest.mark.parametrize(
    ("network", "least", "most"),
    [
        pytest.param(dense(2, [1.0]), 3, 3, id="one neuron"),
        pytest.param(dense(2, [0.5] * 2), 3, 5, id="two copies"),
        pytest.param(dense(2, [0.25, 0.5, 1, 2]), 3, 6, id="four copies"),
        pytest.param(dense(3, [1.0] * 9), 4, 10, id="nine copies in three dimensions"),
        pytest.param(dense(2, [1.0] * 9, bias=True), 4, 10, id="a bias is a dimension"),
        pytest.param(dense(2, [1, 0, 0, 0, 0]), 9, 15, id="idle copies may leave"),
        pytest.param(dense(2, [2, -1, 1, -1]), 3, 12, id="mixed signs"),
        pytest.param(dense(2, [0.0] * 3), 4, 9, id="all idle, in one place"),
        pytest.param(shared([1.0]), 7, 7, id="one kernel"),
        pytest.param(shared([0.5, 0.5]), 11, 14, id="two even copies"),
        pytest.param(shared([0.25] * 4), 15, 25, id="four even copies"),
        pytest.param(shared([2.0, -1.0]), 11, 14, id="even copies of both signs"),
    ],
)
def test_sample_sizes_are_those_counted_by_hand(network, least, most):
    found = local_sample_size(*network)
    assert (found.least, found.most) == (least, most)
    assert exact_rank(*network) <= found.least <= found.most <= network[0].parameter_count


def test_idle_copies_that_leave_in_pairs_raise_the_rank_nearby():
    net, params = dense(2, [1, 0, 0, 0, 0])
    near = {name: value.clone() for name, value in params.items()}
    near["w"][1:3] += 1e-3
    near["w"][3:] -= 1e-3
    near["a"][1:] = 1e-3 * torch.tensor([[1.0], [-1.0], [1.0], [-1.0]])
    x = torch.randn(20, 2, dtype=torch.float64, generator=torch.manual_seed(0))
    torch.testing.assert_close(predict(net, near, x), predict(net, params, x))
    assert exact_rank(net, near) == 9 == local_sample_size(net, params).least


def test_copies_of_opposite_sign_are_one_neuron():
    net, params = dense(2, [0.5, 0.5, 0.5])
    flipped = {name: value.clone() for name, value in params.items()}
    for name in flipped:
        flipped[name][1] *= -1
    assert local_sample_size(net, flipped) == local_sample_size(net, params)


def test_uneven_copies_of_a_shared_kernel_are_regular():
    net, params = shared([1.0, 1.0])
    params["a"] = torch.tensor([[1.0, 0.5, 0.25], [0.0, 0.5, 0.75]], dtype=torch.float64)
    found = local_sample_size(net, params)
    assert found.least == found.most == exact_rank(net, params) == 11


def test_idle_kernels_cost_their_windows():
    rng = torch.Generator().manual_seed(0)
    params = {
        "w": torch.randn(100, 3, generator=rng, dtype=torch.float64),
        "b": torch.randn(100, generator=rng, dtype=torch.float64),
        "a": torch.zeros(100, 3, dtype=torch.float64),
    }
    params["a"][0] = 1.0
    found = local_sample_size(cnn(5, 3, 100), params)
    assert (found.least, found.most) == (304, 304)


def test_translates_and_dead_neurons_are_not_covered():
    net, params = shared([0.5, 0.5])
    dead = {**params, "w": torch.zeros_like(params["w"])}
    assert "no theorem" in local_sample_size(net, dead).reason
    moved = {**params, "w": torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]).double()}
    assert "no theorem" in local_sample_size(net, moved).reason


def errors_of_exact_fits(net, params, samples, seed, distances=(2e-2, 2e-3)):
    """Of the fits that Levenberg and Marquardt's method reaches from near the target."""
    rng = np.random.default_rng(seed)
    x, other = (torch.from_numpy(rng.standard_normal((n, net.input_dim))) for n in (samples, 200))
    y, truth = (torch.vmap(net, (None, 0))(params, points) for points in (x, other))
    way = {name: torch.from_numpy(rng.standard_normal(v.shape)) for name, v in params.items()}
    way["a"] = way["a"] * params["a"]
    starts = {
        name: torch.stack([value + far * way[name] for far in distances])
        for name, value in params.items()
    }
    fits = least_squares.fit(net, x, y, starts, tolerance=1e-28, evaluations=1000)
    off = (predict(net, fits.params, other) - truth).square().mean(1).sqrt()
    return [
        float(error)
        for error, status in zip(off, fits.status, strict=True)
        if status == "converged"
    ]


@pytest.mark.parametrize(
    "network", [dense(2, [0.25] * 4), shared([0.25] * 4)], ids=["dense", "shared"]
)
def test_exact_fits_are_as_far_off_as_the_order_says(network):
    net, params = network
    rank, most = exact_rank(net, params), local_sample_size(net, params).most
    for samples, order in ((rank - 1, 1), (rank, 2)):
        slopes = []
        for seed in range(8):
            errors = errors_of_exact_fits(net, params, samples, seed)
            if len(errors) == 2:
                slopes.append(np.log10(errors[0] / errors[1]))
        assert abs(np.median(slopes) - order) < 0.4
    for seed in range(8):
        assert max(errors_of_exact_fits(net, params, most + 4, seed), default=0) < 1e-9


@pytest.mark.parametrize(("network", "first", "second"), [
    (dense(2, [0.25] * 4), 3, 6),
    (dense(2, [1.0] * 9, bias=True), 4, 10),
    (shared([0.25] * 4), 7, 25),
    (dense(2, [2, -1, 1, -1]), 3, 6),
], ids=["dense", "with bias", "shared", "mixed signs"])  # fmt: skip
def test_the_second_order_space_has_the_dimension_of_the_count(network, first, second):
    x = torch.from_numpy(
        np.random.default_rng(3).standard_normal((2 * second, network[0].input_dim))
    )
    for samples, order in ((first - 1, 1), (first, 2), (second - 1, 2), (2 * second, 3)):
        found = local_order(*network, x[:samples])
        assert (found.first.rank, found.second.rank) == (first, second)
        assert found.order == order


def test_a_regular_point_has_no_second_order():
    net, params = dense(2, [1.0])
    x = torch.randn(5, 2, dtype=torch.float64, generator=torch.manual_seed(0))
    found = local_order(net, params, x)
    assert found.order == 3 and found.second.rank == found.first.rank == 3


def test_the_second_order_of_a_matrix_product_is_its_dimension():
    # U V^T near 0: no tangent functions, and all bilinear forms x^T U V^T y.
    def product(params, x):
        return x[:2] @ params["u"] @ params["v"].T @ x[2:]

    zero = {name: torch.zeros(2, 2, dtype=torch.float64) for name in ("u", "v")}
    x = torch.randn(9, 4, dtype=torch.float64, generator=torch.manual_seed(0))
    found = local_order(product, zero, x)
    assert (found.first.rank, found.second.rank, found.order) == (0, 4, 3)


def relu_split():
    """One ReLU neuron in two copies: exact fits are off by the first power near the kink."""
    module = torch.nn.Sequential(
        torch.nn.Linear(2, 2, bias=False), torch.nn.ReLU(), torch.nn.Linear(2, 1, bias=False)
    ).double()
    with torch.no_grad():
        module[0].weight[:] = torch.tensor([0.8, -0.6])
        module[2].weight[:] = 0.5
    return module


@pytest.mark.parametrize("kink", [torch.nn.ReLU(), torch.nn.Hardtanh(), torch.nn.LeakyReLU()])
def test_of_a_model_with_kinks_no_order_is_said(kink):
    module = relu_split()
    module[1] = kink
    x = torch.randn(9, 2, dtype=torch.float64, generator=torch.manual_seed(0))
    assert local_order(module, None, x).order is None


def test_of_smooth_modules_an_order_is_said():
    x = torch.randn(12, 2, dtype=torch.float64, generator=torch.manual_seed(0))
    for smooth in (torch.nn.Tanh(), torch.nn.GELU(), torch.nn.Sigmoid(), torch.nn.SiLU()):
        module = relu_split()
        module[1] = smooth
        found = [local_order(module, None, x[:n]).order for n in (2, 3, 12)]
        assert found == [1, 2, 3]


def test_repeated_samples_tell_no_more_than_once():
    net, params = dense(2, [0.25] * 4)
    x = torch.randn(2, 2, dtype=torch.float64, generator=torch.manual_seed(0))
    assert local_order(net, params, x.repeat(5, 1)).order == 1


def test_a_model_that_computes_in_float32_is_never_taken_for_more():
    net, params = dense(2, [0.25] * 4)

    def coarse(params, x):
        single = {name: value.float() for name, value in params.items()}
        return net(single, x.float()).double()

    x = torch.randn(6, 2, dtype=torch.float64, generator=torch.manual_seed(0))
    for samples, order in ((2, 1), (3, 2), (6, 3)):
        assert local_order(coarse, params, x[:samples]).order in (None, order)
    assert local_order(coarse, params, x[:2].repeat(5, 1)).order in (None, 1)


def test_a_module_without_second_derivatives_side_by_side_is_refused_in_words():
    class Branching(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(2, dtype=torch.float64))

        def forward(self, x):
            return torch.tanh(x @ self.weight) * (1.0 if float(x.sum()) > 9 else 2.0)

    with pytest.raises(ValueError, match="second derivatives"):
        local_order(Branching(), None, torch.randn(5, 2, dtype=torch.float64))


def test_words_are_no_inputs_of_which_more_can_be_drawn():
    module = torch.nn.Sequential(torch.nn.Embedding(5, 2), torch.nn.Linear(2, 1))
    with pytest.raises(ValueError, match="needs real numbers as inputs.*int64"):
        local_order(module, None, torch.arange(5))
