"""The engines against each other and against a plain loop over one network."""

import numpy as np
import pytest
import torch
from mpmath import mp
from numba import njit
from test_networks import NETWORKS

from llrnb import Status, cnn, train
from llrnb.deep import DeepNetwork
from llrnb.networks import TwoLayerNetwork
from llrnb.products import MatrixProduct
from llrnb.relu.training import ReluNetwork
from llrnb.targets import draw, generic_target, paper_target
from llrnb.training.lanes import load, store, tanh

ENGINES = ["cpu", "torch"]


def plain_descent(net, inputs, outputs, *, learning_rate, seed, std, steps):
    """One network, one sample at a time, autograd and a written-out update."""
    params = {name: value.requires_grad_() for name, value in net.init(std, seed).items()}
    for _ in range(steps):
        errors = [net(params, x) - y for x, y in zip(inputs, outputs, strict=True)]
        loss = torch.stack(errors).square().mean()
        gradient = torch.autograd.grad(loss, list(params.values()))
        with torch.no_grad():
            for value, slope in zip(params.values(), gradient, strict=True):
                value -= learning_rate * slope
    return {name: value.detach() for name, value in params.items()}


def distance(params, others) -> float:
    """The largest difference relative to the largest parameter."""
    size = max(float(value.abs().max()) for value in others.values())
    return max(float((params[name] - others[name]).abs().max()) for name in others) / size


@pytest.mark.parametrize(
    ("net", "engine", "loss"),
    [
        (NETWORKS["cnn"], "cpu", "squared"),
        (NETWORKS["cnn"], "torch", "squared"),
        (NETWORKS["cnn"], "general", "huber"),
        (ReluNetwork("skip", 5, 3), "closed form", "squared"),
        (ReluNetwork("skip", 5, 3), "general", "squared"),
        (DeepNetwork((5, 3, 2, 1)), "general", "huber"),
        (MatrixProduct((5, 2, 4)), "general", "squared"),
    ],
)
def test_integers_are_numbers_to_every_network_of_the_package(net, engine, loss):
    stream = torch.Generator().manual_seed(0)
    inputs = torch.randint(-3, 4, (6, *net.input_shape), generator=stream)
    outputs = torch.randint(-2, 3, (6,), generator=stream)
    options = {"learning_rates": [0.01], "steps": 20, "std": 0.5, "engine": engine, "loss": loss}
    whole = train(net, inputs, outputs, **options)
    real = train(net, inputs.double(), outputs.double(), **options)
    for name in net.shapes:
        assert torch.equal(whole.params[name], real.params[name])
    assert torch.equal(whole.predict(inputs), real.predict(inputs.double()))
    assert torch.equal(whole.predict(inputs.numpy()), whole.predict(inputs))


@pytest.mark.parametrize("net", NETWORKS.values(), ids=NETWORKS)
def test_engines_and_the_plain_loop_agree(net):
    target = generic_target(net, seed=9)
    rates, seeds = [0.02, 0.05, 0.05], [0, 0, 1]
    data = [draw(target, 7, seed=k) for k in range(3)]
    inputs, outputs = (torch.stack(part) for part in zip(*data, strict=True))
    budget = {"steps": 200, "tolerance": 0.0, "std": 0.5}
    runs = {
        engine: train(
            net, inputs, outputs, learning_rates=rates, seeds=seeds, engine=engine, **budget
        )
        for engine in ENGINES
    }
    for i in range(3):
        plain = plain_descent(
            net, *data[i], learning_rate=rates[i], seed=seeds[i], steps=200, std=0.5
        )
        for run in runs.values():
            assert distance(run.params[i], plain) < 1e-9
            assert run.steps[i] == 200 and run.status[i] is Status.STEP_LIMIT


@pytest.mark.parametrize("engine", ENGINES)
def test_an_even_kernel_needs_no_bias(engine):
    net = cnn(3, 2, 1, bias=False)
    run = train(
        net, *draw(generic_target(net), 5), learning_rates=[0.05], seeds=[0], steps=10, std=0.5,
        engine=engine,
    )  # fmt: skip
    assert set(run.params) == {"w", "a"} and run.params["w"].shape == (1, 1, 2)


def small_run(**changes):
    """Eleven 3x networks on 20 samples of the paper's target."""
    net = NETWORKS["cnn without sharing"]
    inputs, outputs = draw(paper_target(), 20)
    arguments = {
        "learning_rates": np.linspace(0.01, 0.2, 11),
        "seeds": list(range(11)),
        "steps": 2000,
        "tolerance": 1e-3,
        "std": 0.3,
    }
    return train(net, inputs, outputs, **(arguments | changes))


def test_a_cpu_result_does_not_depend_on_what_else_is_in_the_call():
    """To the last bit: alone, with others, in another order, on any number of threads."""
    together = small_run()
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        backwards = small_run(
            learning_rates=np.linspace(0.01, 0.2, 11)[::-1], seeds=list(range(11))[::-1]
        )
    finally:
        torch.set_num_threads(threads)
    for i in range(11):
        alone = small_run(learning_rates=[np.linspace(0.01, 0.2, 11)[i]], seeds=[i])
        for other, j in [(alone, 0), (backwards, 10 - i)]:
            assert other.steps[j] == together.steps[i]
            assert other.status[j] == together.status[i]
            for name, value in together.params.items():
                assert torch.equal(other.params[name][j], value[i])
    assert len(set(together.steps.tolist())) > 3  # they did stop at different steps


def test_a_torch_result_does_not_depend_on_what_else_is_in_the_call():
    together = small_run(engine="torch")
    alone = small_run(engine="torch", learning_rates=[0.2], seeds=[10])
    assert alone.steps[0] == together.steps[10]
    for name, value in together.params.items():
        assert torch.allclose(alone.params[name][0], value[10], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("engine", ["cpu", "torch", "general"])
def test_networks_may_have_data_sets_of_different_sizes(engine):
    net = NETWORKS["cnn without sharing"]
    sets = [draw(paper_target(), samples, seed) for seed, samples in enumerate((9, 5, 9, 6))]
    inputs, outputs = zip(*sets, strict=True)
    common = {"steps": 30, "std": 0.3, "record_at": [0, 10], "engine": engine}
    run = train(net, inputs, outputs, learning_rates=[0.1, 0.2, 0.3, 0.4], **common)
    for i, (x, y) in enumerate(sets):
        alone = train(net, x, y, learning_rates=[(i + 1) / 10], seeds=[i], **common)
        assert torch.allclose(run.loss[i], alone.loss[0], rtol=1e-13)
        assert torch.allclose(run.history.loss[:, i], alone.history.loss[:, 0], rtol=1e-13)
        for name, value in alone.params.items():
            assert torch.allclose(run.params[name][i], value[0], rtol=1e-11)


def test_a_loss_that_rounds_to_the_tolerance_has_converged_in_single_precision():
    """The loss is 0.1 as float32 holds it, which is more than 0.1."""
    root = float(np.float32(np.sqrt(0.1)))
    rounded = np.float32(0.1)
    assert np.float32(root) ** 2 == rounded and float(rounded) > 0.1
    x, y = torch.ones(1, 1, dtype=torch.float64), torch.tensor([root], dtype=torch.float64)
    run = train(
        TwoLayerNetwork(1, ((0,),), 1), x, y, learning_rates=[1e-3], std=0.0, steps=5,
        tolerance=0.1, precision="float32",
    )  # fmt: skip
    assert run.status == (Status.CONVERGED,) and run.steps[0] == 0


@pytest.mark.parametrize("engine", ["auto", "torch"])
def test_a_device_that_does_not_exist_is_named(engine):
    net, (x, y) = NETWORKS["cnn without sharing"], draw(paper_target(), 5)
    with pytest.raises(ValueError, match="a torch device, got 'gpu'"):
        train(net, x, y, learning_rates=[0.1], steps=1, device="gpu", engine=engine)


def test_a_list_of_data_sets_needs_one_for_each_network():
    net, (x, y) = NETWORKS["cnn without sharing"], draw(paper_target(), 5)
    with pytest.raises(ValueError, match="lists of inputs and outputs for each of 2 networks"):
        train(net, [x], [y], learning_rates=[0.1] * 2, steps=1)
    with pytest.raises(ValueError, match="lists of inputs and outputs for each of 2 networks"):
        train(net, [x, x], torch.stack([y, y]), learning_rates=[0.1] * 2, steps=1)
    with pytest.raises(ValueError, match=r"inputs of shape \(sample, 5\), got \(2, 5, 5\)"):
        train(net, [torch.stack([x, x]), x], [y, y], learning_rates=[0.1] * 2, steps=1)


@pytest.mark.parametrize("engine", ENGINES)
def test_shared_data_are_the_same_data_for_every_network(engine):
    net = NETWORKS["cnn"]
    inputs, outputs = draw(paper_target(), 6)
    budget = {"learning_rates": [0.1] * 3, "seeds": [0, 1, 2], "steps": 50, "engine": engine}
    shared = train(net, inputs, outputs, **budget)
    own = train(net, inputs.repeat(3, 1, 1), outputs.repeat(3, 1), **budget)
    for name, value in shared.params.items():
        assert torch.allclose(value, own.params[name], rtol=1e-12, atol=0)


@pytest.mark.parametrize("engine", ENGINES)
def test_every_network_starts_at_its_own_init(engine):
    net = NETWORKS["cnn"]
    run = train(
        net, *draw(paper_target(), 6), learning_rates=[0.1, 0.1], seeds=[4, 8], std=0.3, steps=1,
        engine=engine, record_at=[0],
    )  # fmt: skip
    for i, seed in enumerate([4, 8]):
        for name, value in net.init(0.3, seed).items():
            assert torch.equal(run.history.params[name][0, i], value)


@pytest.mark.parametrize("engine", ENGINES)
def test_outcomes_say_why_a_network_stopped(engine):
    run = train(
        NETWORKS["cnn"], *draw(paper_target(), 20), learning_rates=[0.1, 0.1, 50.0],
        seeds=[0, 1, 2], std=1.0, steps=3000, tolerance=1e-2, engine=engine,
    )  # fmt: skip
    assert run.status[0] is Status.CONVERGED and run.loss[0] <= 1e-2 and run.steps[0] < 3000
    assert run.status[2] is Status.DIVERGED and not run.loss[2] < 1e100 and run.steps[2] < 3000
    limited = train(
        NETWORKS["cnn"], *draw(paper_target(), 20), learning_rates=[0.1], seeds=[0], std=1.0,
        steps=int(run.steps[0]) - 1, tolerance=1e-2, engine=engine,
    )  # fmt: skip
    assert limited.status[0] is Status.STEP_LIMIT and limited.loss[0] > 1e-2


@pytest.mark.parametrize("engine", ENGINES)
def test_history_holds_the_networks_at_the_requested_steps(engine):
    whole = small_run(record_at=[0, 7, 40, 2000], engine=engine)
    assert whole.history.steps == (0, 7, 40, 2000)
    until_40 = small_run(steps=40, engine=engine)
    for name, value in whole.history.params.items():
        assert torch.allclose(value[2], until_40.params[name], rtol=1e-12, atol=1e-14)
        assert torch.equal(value[3], whole.params[name])
    assert torch.allclose(whole.history.loss[2], until_40.loss, rtol=1e-12)


def test_recording_changes_nothing():
    recorded, plain = small_run(record_at=[3, 5, 100]), small_run()
    assert torch.equal(recorded.loss, plain.loss) and torch.equal(recorded.steps, plain.steps)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_loss_belongs_to_the_params(engine):
    net = NETWORKS["cnn without sharing"]
    inputs, outputs = draw(paper_target(), 20)
    run = small_run(engine=engine)
    for i in range(11):
        params = run.params[i]
        errors = torch.stack([net(params, x) for x in inputs]) - outputs
        assert float(run.loss[i]) == pytest.approx(float(errors.square().mean()), rel=1e-10)


@njit
def _tanh_rows(x, result):
    for row in range(x.shape[0]):
        store(result, row, tanh(load(x, row)))


def lane_tanh(values):
    x = np.resize(values, (-(-len(values) // 8), 8))
    result = np.empty_like(x)
    _tanh_rows(x, result)
    return result.ravel()[: len(values)]


def test_lane_tanh_is_accurate_to_two_units_in_the_last_place():
    rng = np.random.default_rng(0)
    x = np.concatenate(
        [10 ** rng.uniform(-300, 1.4, 4000), rng.uniform(0, 22, 4000), np.linspace(0.1, 1.2, 2000)]
    )
    with mp.workdps(40):
        exact = np.array([float(mp.tanh(mp.mpf(float(value)))) for value in x])
    assert np.max(np.abs(lane_tanh(x) - exact) / np.spacing(exact)) <= 2


def test_lane_tanh_is_exactly_odd_and_keeps_special_values():
    x = np.random.default_rng(1).normal(size=800)
    assert np.array_equal(lane_tanh(-x), -lane_tanh(x))
    special = lane_tanh(np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1e300, 5e-324, -1e-10]))
    assert np.array_equal(special[[0, 2, 3, 5, 6]], [0.0, 1.0, -1.0, 1.0, 5e-324])
    assert np.signbit(special[1])
    assert np.isnan(special[4])
    assert special[7] == -1e-10


GOOD = {"learning_rates": [0.1], "seeds": [0], "steps": 10}
X, Y = torch.zeros(4, 5), torch.zeros(4)


@pytest.mark.parametrize(
    ("inputs", "outputs", "changes", "message"),
    [
        (X[:, :4], Y, {}, r"inputs of shape \(sample, 5\) or .*got \(4, 4\)"),
        (X[0], Y, {}, r"inputs of shape .* got \(5,\)"),
        (X[:0], Y[:0], {}, r"inputs of shape .* got \(0, 5\)"),
        (X, Y[:3], {}, r"outputs of shape \(4,\), got \(3,\)"),
        (X, Y[:, None], {}, r"outputs of shape \(4,\), got \(4, 1\)"),
        (X[None].repeat(2, 1, 1), Y.repeat(2, 1), {}, "inputs of 1 networks, got those of 2"),
        (X * torch.nan, Y, {}, "inputs needs finite numbers, got 20 NaN or infinite"),
        (X, Y + torch.inf, {}, "outputs needs finite numbers, got 4 NaN or infinite"),
        (X, Y, {"learning_rates": [0.0]}, "learning_rates needs a finite number > 0, got 0.0"),
        (X, Y, {"learning_rates": [-0.1]}, "learning_rates needs a finite number > 0, got -0.1"),
        (X, Y, {"learning_rates": [np.nan]}, "learning_rates needs a finite number > 0, got nan"),
        (X, Y, {"learning_rates": [], "seeds": []}, "learning_rates needs a list of at least 1"),
        (X, Y, {"seeds": [0, 1]}, "got 1 learning rates and 2 seeds"),
        (X, Y, {"steps": 0}, "steps needs an integer of at least 1, got 0"),
        (X, Y, {"tolerance": -1.0}, "tolerance needs a finite number >= 0, got -1.0"),
        (X, Y, {"std": -1.0}, "std needs a finite number >= 0, got -1.0"),
        (X, Y, {"record_at": [11]}, "record_at needs an integer from 0 to 10, got 11"),
        (
            X,
            Y,
            {"engine": "jax"},
            "engine needs one of cpu, cuda, torch, closed form, general, got 'jax'",
        ),
        (X, Y, {"engine": "cpu", "device": "cuda"}, "cpu engine needs device 'cpu', got 'cuda'"),
        (X, Y, {"engine": "torch", "device": "gpu"}, "torch device, got 'gpu'"),
    ],
)
def test_bad_input_names_what_was_needed_and_what_came(inputs, outputs, changes, message):
    with pytest.raises(ValueError, match=message):
        train(NETWORKS["cnn"], inputs, outputs, **(GOOD | changes))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_missing_gpu_is_named():
    with pytest.raises(RuntimeError, match="'cuda:1' needs a CUDA GPU"):
        train(NETWORKS["cnn"], X, Y, **GOOD, engine="torch", device="cuda:1")
