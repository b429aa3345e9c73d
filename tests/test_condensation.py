"""Merging undoes splitting; after a lossy merge, a polish finds the target."""

from dataclasses import replace
from math import inf

import pytest
import torch
from test_networks import NETWORKS

from llrnb import cnn, exact_rank, fully_connected, predict, relative_error
from llrnb.condensation import condense, polish
from llrnb.embedding import split_kernel, widen
from llrnb.least_squares import Stop
from llrnb.targets import draw, generic_target


def points(net):
    stream = torch.Generator().manual_seed(0)
    return torch.randn(50, net.input_dim, generator=stream, dtype=torch.float64)


def flipped(params, kernel):
    """The same function: a kernel, its bias and its outputs change their signs."""
    params = {name: value.clone() for name, value in params.items()}
    for name in {"w", "b", "a"} & set(params):
        params[name][kernel] *= -1
    return params


@pytest.mark.parametrize("net", NETWORKS.values(), ids=NETWORKS)
def test_a_split_network_becomes_the_narrow_one_again(net):
    params = generic_target(net, seed=4).params
    wide, embedded = widen(net, params, 4 * net.kernels + 1)
    wide, embedded = split_kernel(wide, flipped(embedded, net.kernels), 0, share=2.0)
    narrow, back = condense(wide, embedded)
    assert narrow == net
    x = points(net)
    assert torch.allclose(predict(net, back, x), predict(net, params, x), rtol=1e-13, atol=1e-13)
    assert exact_rank(net, back) == exact_rank(wide, embedded) == exact_rank(net, params)


@pytest.mark.parametrize("net", NETWORKS.values(), ids=NETWORKS)
def test_an_irreducible_network_keeps_its_kernels(net):
    params = generic_target(net, seed=4).params
    narrow, same = condense(net, params)
    assert narrow == net
    x = points(net)
    assert torch.allclose(predict(net, same, x), predict(net, params, x), rtol=1e-12)


def test_kernels_are_merged_window_by_window_without_sharing():
    net = cnn(5, 3, 3, shared=False)
    params = generic_target(net).params
    permuted = {name: value.clone() for name, value in params.items()}
    for name, value in permuted.items():  # at window 1, the kernels in another order
        value[:, 1] = params[name][[2, 0, 1], 1]
    both = {name: torch.cat([params[name], permuted[name]]) for name in params}
    narrow, merged = condense(replace(net, kernels=6), both)
    assert narrow.kernels == 3
    x = points(net)
    assert torch.allclose(predict(net, merged, x), 2 * predict(net, params, x), rtol=1e-12)


def test_outputs_that_cancel_and_zero_kernels_are_left_out():
    net = fully_connected(2, 4)
    w = torch.tensor([[1.0, 2.0], [-1.0, -2.0], [0.0, 0.0], [3.0, 1.0]])
    params = {"w": w, "b": torch.tensor([0.5, -0.5, 0.0, 1.0]), "a": torch.ones(4, 1)}
    narrow, left = condense(net, params)
    assert narrow.kernels == 1
    assert left["w"].tolist() == [[3.0, 1.0]]
    nothing, zeros = condense(net, {name: 0 * value for name, value in params.items()})
    assert nothing.kernels == 1
    assert not any(value.any() for value in zeros.values())


def test_lengths_matter_unless_they_are_infinitely_tolerated():
    net = fully_connected(2, 2, bias=False)
    params = {"w": torch.tensor([[1.0, 2.0], [2.0, 4.0]]), "a": torch.ones(2, 1)}
    assert condense(net, params, angle=0.1)[0].kernels == 2
    narrow, merged = condense(net, params, angle=0.1, length=inf)
    assert narrow.kernels == 1
    assert merged["w"].tolist() == [[1.5, 3.0]]
    assert merged["a"].tolist() == [[2.0]]


@pytest.mark.parametrize("net", [cnn(5, 3, 1), cnn(5, 3, 1, shared=False), fully_connected(5, 3)])
def test_a_perturbed_split_network_is_polished_to_the_target(net):
    target = generic_target(net, seed=1)
    wide, embedded = widen(net, target.params, 4 * net.kernels)
    stream = torch.Generator().manual_seed(0)
    for value in embedded.values():
        value += 1e-3 * torch.randn(value.shape, generator=stream, dtype=torch.float64)
    narrow, near = condense(wide, embedded, angle=0.05, length=0.05)
    fits = polish(narrow, near, *draw(target, 2 * net.parameter_count))
    assert narrow.kernels == net.kernels
    assert fits.status == (Stop.CONVERGED,)
    inputs, truth = draw(target, 200, seed=9)
    assert relative_error(predict(narrow, fits.params, inputs), truth) < 1e-20


@pytest.mark.parametrize("options", [{"angle": -1.0}, {"length": -1.0}, {"angle": float("nan")}])
def test_misuse_is_named(options):
    net = fully_connected(2, 2)
    with pytest.raises(ValueError, match="(angle|length) needs a number >= 0, got"):
        condense(net, net.init(1.0), **options)
