"""The narrowest interpolator is the target from one sample more than its rank on."""

from dataclasses import replace

import pytest
import torch

from llrnb import (
    Outcome,
    cnn,
    exact_rank,
    fully_connected,
    narrowest_interpolator,
    predict,
    relative_error,
    tangent_matrix,
)
from llrnb.embedding import compare, widen
from llrnb.least_squares import ROUNDING
from llrnb.targets import Target, draw, generic_target, paper_target

# Wide networks of the experiment, with the width and the model rank of the paper's target.
WIDE = {
    "CNN": (cnn(5, 3, 10), 1, 7),
    "unshared": (cnn(5, 3, 10, shared=False), 1, 15),
    "fully connected": (fully_connected(5, 30), 3, 21),
}
MORE = {
    "image": (cnn((3, 3), 2, 4), 1),
    "image, unshared": (cnn((3, 3), 2, 4, shared=False), 1),
    "stride": (cnn(7, 3, 4, stride=2), 2),
    "no bias": (fully_connected(3, 6, bias=False), 2),
    "output bias": (fully_connected(2, 6, output_bias=True), 2),
    "output bias only": (cnn(4, 2, 6, bias=False, output_bias=True), 1),
}
BUDGET = 10**6


def solve(net, data, *, seed=0, budget=BUDGET, **options):
    return narrowest_interpolator(net, *data, budget=budget, seed=seed, **options)


def error(net, found, target):
    inputs, truth = draw(target, 500, seed=99)
    return float(relative_error(predict(net, found.params, inputs), truth))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("family", WIDE)
@pytest.mark.parametrize("generic", [False, True])
def test_one_sample_more_than_the_rank_recovers_the_target(family, seed, generic):
    net, kernels, rank = WIDE[family]
    target = generic_target(replace(net, kernels=kernels), seed) if generic else paper_target()
    found = solve(net, draw(target, rank + 1, seed))
    assert found.status == Outcome.AGREES
    assert (found.kernels, found.rank) == (kernels, rank)
    assert error(net, found, target) < 1e-15


@pytest.mark.parametrize("name", MORE)
def test_every_family_is_recovered(name):
    net, kernels = MORE[name]
    narrow = replace(net, kernels=kernels)
    target = generic_target(narrow, seed=3)
    found = solve(net, draw(target, narrow.parameter_count + 1))
    assert found.status == Outcome.AGREES
    assert (found.kernels, found.rank) == (kernels, narrow.parameter_count)
    assert error(net, found, target) < 1e-15


@pytest.mark.parametrize("family", WIDE)
def test_up_to_the_rank_a_generic_target_is_never_recovered(family):
    net, kernels, rank = WIDE[family]
    for seed in range(3):
        target = generic_target(replace(net, kernels=kernels), seed)
        for samples in (rank - 2, rank):
            found = solve(net, draw(target, samples, seed))
            assert found.status in (Outcome.FITS, Outcome.DETERMINED)
            assert found.loss < 1e-20
            assert found.rank >= samples


@pytest.mark.parametrize("family", WIDE)
def test_the_wide_network_is_the_narrow_one(family):
    net, _, rank = WIDE[family]
    inputs, outputs = draw(paper_target(), rank + 1)
    found = solve(net, (inputs, outputs))
    others, _ = draw(paper_target(), 100, seed=5)
    wide, narrow = (
        predict(net, found.params, others),
        predict(found.narrow, found.narrow_params, others),
    )
    assert torch.allclose(wide, narrow, rtol=1e-13, atol=1e-13)
    assert exact_rank(net, found.params) == exact_rank(found.narrow, found.narrow_params) == rank
    assert torch.linalg.matrix_rank(tangent_matrix(net, found.params, others)) == rank
    comparison = compare(found.narrow, found.narrow_params, net, found.params, others)
    assert comparison.keeps_output
    assert comparison.keeps_criticality
    assert comparison.keeps_tangent_space
    assert found.loss <= 10 * ROUNDING * outputs.square().mean()


@pytest.mark.parametrize("output_bias", [False, True])
def test_a_constant_needs_no_kernel(output_bias):
    net = fully_connected(3, 4, output_bias=output_bias)
    inputs, outputs = torch.randn(2, 3).double(), torch.full((2,), 2.0 * output_bias).double()
    found = solve(net, (inputs, outputs))
    assert found.status == Outcome.AGREES
    assert (found.kernels, found.rank, found.starts) == (0, int(output_bias), 0)
    assert torch.equal(predict(net, found.params, inputs), outputs)
    alone = solve(net, (inputs[:1], outputs[:1]))
    assert alone.status == (Outcome.DETERMINED if output_bias else Outcome.AGREES)


def test_a_sample_counts_once():
    net, _, rank = WIDE["CNN"]
    inputs, outputs = draw(paper_target(), rank)
    twice = torch.cat([inputs, inputs[:1]]), torch.cat([outputs, outputs[:1]])
    assert solve(net, twice).status in (Outcome.FITS, Outcome.DETERMINED)


def test_noise_is_not_recovered():
    net, _, rank = WIDE["CNN"]
    inputs, outputs = draw(paper_target(), rank + 5)
    noise = 1e-3 * torch.sin(17.0 * torch.arange(rank + 5).double())
    found = solve(net, (inputs, outputs + noise))
    assert found.status in (Outcome.FITS, Outcome.DETERMINED)
    assert found.kernels > 1


def test_contradictions_are_not_interpolable():
    net = fully_connected(2, 2)
    inputs, outputs = torch.ones(2, 2).double(), torch.tensor([1.0, 2.0]).double()
    found = solve(net, (inputs, outputs), starts=40)
    assert found.status == Outcome.NOT_INTERPOLABLE
    assert found.starts == 80
    assert found.loss == pytest.approx(0.25)  # the best is the mean


def test_the_budget_is_kept():
    net, _, rank = WIDE["fully connected"]
    for budget in (1, 50, 1000, 33_333):
        found = solve(net, draw(paper_target(), rank + 1), budget=budget)
        assert found.status == Outcome.BUDGET_SPENT
        assert found.evaluations <= budget
        net.check(found.params)


def test_the_result_depends_on_the_seed_only():
    net, _, rank = WIDE["unshared"]
    data = draw(paper_target(), rank + 1)
    threads = torch.get_num_threads()
    first = solve(net, data)
    try:
        torch.set_num_threads(1)
        again = solve(net, data)
    finally:
        torch.set_num_threads(threads)
    other = solve(net, data, seed=1)
    assert all(torch.equal(first.params[name], again.params[name]) for name in net.shapes)
    assert (first.starts, first.evaluations) == (again.starts, again.evaluations)
    assert not torch.equal(first.params["w"], other.params["w"])


def test_a_wide_target_is_found_by_its_narrow_width():
    wide, params = widen(paper_target().net, paper_target().params, 3)
    found = solve(wide, draw(Target(wide, params), 8))
    assert (found.kernels, found.rank, found.status) == (1, 6, Outcome.AGREES)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"budget": 0}, "budget needs an integer of at least 1, got 0"),
        ({"starts": 0}, "starts needs an integer of at least 1, got 0"),
        ({"inputs": torch.zeros(8, 4)}, "inputs of shape"),
        ({"outputs": torch.zeros(7)}, "outputs of shape"),
    ],
)
def test_misuse_is_named(change, message):
    inputs, outputs = draw(paper_target(), 8)
    options = {"inputs": inputs, "outputs": outputs, "budget": 100, "seed": 0}
    with pytest.raises(ValueError, match=message):
        narrowest_interpolator(cnn(5, 3, 2), **{**options, **change})
