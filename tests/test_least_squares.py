"""Many starts at once against SciPy's least squares, one at a time."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.optimize
import torch
from test_networks import NETWORKS

from llrnb import cnn, fully_connected, predict, tangent_matrix
from llrnb.least_squares import BOUND, ROUNDING, Stop, draw_starts, fit, sizes
from llrnb.stacks import Stack
from llrnb.targets import draw, generic_target, paper_target

NARROW = {
    "CNN": cnn(5, 3, 1),
    "unshared": cnn(5, 3, 1, shared=False),
    "fully connected": fully_connected(5, 3),
}


def noisy(net, samples, noise=0.3, seed=0):
    """Data that no network fits."""
    inputs, outputs = draw(generic_target(net, seed), samples)
    return inputs, outputs + noise * torch.from_numpy(np.random.default_rng(0).normal(size=samples))


def flat(params):
    return torch.cat([value.flatten() for value in params.values()])


def unflat(net, theta):
    parts = torch.as_tensor(theta).split([int(np.prod(s)) for s in net.shapes.values()])
    return {name: p.reshape(s) for (name, s), p in zip(net.shapes.items(), parts, strict=True)}


def by_scipy(net, inputs, outputs, start):
    """MINPACK's Levenberg-Marquardt with the tangent matrix as Jacobian."""
    return scipy.optimize.least_squares(
        lambda theta: (predict(net, unflat(net, theta), inputs) - outputs).numpy(),
        flat(start).numpy(),
        jac=lambda theta: tangent_matrix(net, unflat(net, theta), inputs).numpy(),
        method="lm",
    )


@pytest.mark.parametrize("net", NETWORKS.values(), ids=NETWORKS)
def test_a_gauss_newton_step_is_that_of_the_tangent_matrix(net):
    inputs, outputs = draw(generic_target(net, seed=1), net.parameter_count + 5)
    starts = draw_starts(net, inputs, outputs, 3, seed=2)
    after = fit(net, inputs, outputs, starts, evaluations=2, bound=np.inf)
    for k in range(3):
        start = starts[k]
        tangent = tangent_matrix(net, start, inputs)
        error = predict(net, start, inputs) - outputs
        normal = tangent.mT @ tangent
        damping = 1e-2 * normal.trace() / len(normal) * torch.eye(len(normal), dtype=torch.float64)
        step = unflat(net, flat(start) - torch.linalg.solve(normal + damping, tangent.mT @ error))
        loss = (predict(net, step, inputs) - outputs).square().mean()
        expected = step if loss < error.square().mean() else start
        for name, value in expected.items():
            assert torch.allclose(after.params[name][k], value, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("net", NARROW.values(), ids=NARROW)
def test_the_least_residual_near_a_target_is_scipys(net):
    # The valley of target 0 is so flat that a search stalls on the way down.
    inputs, outputs = noisy(net, 5 * net.parameter_count, noise=0.01, seed=2)
    truth = generic_target(net, 2).params
    near = draw_starts(net, inputs, outputs, 5)
    starts = Stack({name: truth[name] + 0.1 * value for name, value in near.items()})
    fits = fit(net, inputs, outputs, starts)
    for k in range(5):
        theirs = by_scipy(net, inputs, outputs, starts[k])
        assert float(fits.loss[k]) == pytest.approx(2 * theirs.cost / len(inputs), rel=1e-6)


@pytest.mark.parametrize("net", NARROW.values(), ids=NARROW)
def test_scipy_finds_zeros_where_we_do(net):
    data = draw(paper_target(), net.parameter_count + 1)
    starts = draw_starts(net, *data, 300)
    found = fit(net, *data, starts)
    zero = found.params[found.first]
    polished = by_scipy(net, *data, {name: value + 1e-6 for name, value in zero.items()})
    assert polished.cost < 1e-20
    assert torch.allclose(torch.from_numpy(polished.x), flat(zero), atol=1e-8)


@pytest.mark.parametrize("net", NARROW.values(), ids=NARROW)
def test_the_loss_is_that_of_the_params(net):
    inputs, outputs = noisy(net, 30)
    fits = fit(net, inputs, outputs, draw_starts(net, inputs, outputs, 20))
    loss = (predict(net, fits.params, inputs) - outputs).square().mean(dim=1)
    assert torch.allclose(fits.loss, loss, rtol=1e-10)
    assert fits.first is None
    assert (fits.evaluations > 1).all()


@pytest.mark.parametrize("net", NARROW.values(), ids=NARROW)
def test_a_start_at_the_target_has_converged_and_stays(net):
    target = generic_target(net)
    starts = {name: value[None] for name, value in target.params.items()}
    fits = fit(net, *draw(target, 30), starts)
    assert fits.status == (Stop.CONVERGED,)
    assert fits.evaluations.tolist() == [1]
    assert all(torch.equal(fits.params[name], starts[name]) for name in starts)


def test_starts_do_not_depend_on_each_other_or_on_threads():
    net = cnn(5, 3, 1, shared=False)
    data = draw(paper_target(), 16)
    starts = draw_starts(net, *data, 100)
    together = fit(net, *data, starts)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = fit(net, *data, starts)
    finally:
        torch.set_num_threads(threads)
    few = fit(net, *data, starts[30:33])
    for name in starts:
        assert torch.equal(together.params[name], alone.params[name])
        assert torch.equal(together.params[name][30:33], few.params[name])
    assert together.status[30:33] == few.status
    assert torch.equal(together.evaluations, alone.evaluations)


def test_until_first_drops_what_comes_after_the_first_success():
    net = cnn(5, 3, 1, shared=False)
    data = draw(paper_target(), 16)
    starts = draw_starts(net, *data, 200)
    every, some = fit(net, *data, starts), fit(net, *data, starts, until_first=True)
    assert some.first == every.first
    assert some.status[: some.first + 1] == every.status[: some.first + 1]
    assert set(some.status[some.first + 1 :]) == {Stop.DROPPED}
    assert some.evaluations[some.first + 1 :].sum() == 0
    assert some.loss[some.first] <= ROUNDING * data[1].square().mean()


def test_weights_beyond_the_bound_end_a_search():
    net = fully_connected(1, 1, bias=False)
    x = torch.linspace(1.0, 2.0, 5, dtype=torch.float64)[:, None]
    step = torch.ones(5, dtype=torch.float64)  # reached by w -> infinity
    starts = {"w": torch.ones(1, 1, 1), "a": torch.ones(1, 1, 1)}
    assert fit(net, x, step, starts, bound=5.0).status == (Stop.UNBOUNDED,)
    assert fit(net, x, step, starts, bound=BOUND).loss < 1e-12


def test_the_search_does_not_depend_on_the_scale_of_the_data():
    net = fully_connected(5, 3, bias=False)
    inputs, outputs = draw(paper_target(), 22)
    small, large = (inputs / 8, outputs), (inputs * 8, outputs)  # w x stays, w^T w does not
    assert torch.allclose(draw_starts(net, *small, 5)["w"], 64 * draw_starts(net, *large, 5)["w"])
    assert sizes(net, inputs, 4 * outputs)["a"] == 4 * sizes(net, inputs, outputs)["a"]


def test_starts_are_the_first_of_one_stream():
    net = cnn(5, 3, 2, output_bias=True)
    data = draw(paper_target(), 10)
    few, many = draw_starts(net, *data, 3), draw_starts(net, *data, 7)
    other = draw_starts(net, *data, 3, seed=1)
    assert all(torch.equal(few[name], many[name][:3]) for name in net.shapes)
    assert not torch.equal(few["w"], other["w"])


def test_a_start_whose_error_overflows_stalls():
    net = cnn(5, 3, 1)
    starts = {
        name: torch.full((1, *shape), 1e300, dtype=torch.float64)
        for name, shape in net.shapes.items()
    }
    fits = fit(net, *draw(paper_target(), 8), starts, bound=np.inf)
    assert fits.status == (Stop.STALLED,)
    assert fits.loss.isinf().all()
    assert all(torch.equal(fits.params[name], starts[name]) for name in starts)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inputs": torch.zeros(8, 4)}, r"inputs of shape \(sample, 5\), got \(8, 4\)"),
        ({"inputs": torch.zeros(0, 5), "outputs": torch.zeros(0)}, "inputs of shape"),
        ({"outputs": torch.zeros(7)}, r"outputs of shape \(8,\), got \(7,\)"),
        ({"outputs": torch.full((8,), torch.nan)}, "outputs needs finite numbers"),
        ({"starts": {"w": torch.zeros(2, 1, 3)}}, "needs params of shapes"),
        ({"tolerance": -1.0}, "tolerance needs a finite number >= 0, got -1"),
        ({"bound": 0.0}, "bound needs a number > 0, got 0"),
        ({"evaluations": 0}, "evaluations needs an integer of at least 1, got 0"),
    ],
)
def test_misuse_is_named(change, message):
    net = cnn(5, 3, 1)
    inputs, outputs = draw(paper_target(), 8)
    options = {"inputs": inputs, "outputs": outputs}
    options["starts"] = draw_starts(net, inputs, outputs, 2)
    with pytest.raises(ValueError, match=message):
        fit(net, **{**options, **change})


def test_a_stream_needs_starts():
    net = replace(cnn(5, 3, 1), kernels=2)
    with pytest.raises(ValueError, match="count needs an integer of at least 1, got 0"):
        draw_starts(net, *draw(paper_target(), 8), 0)
