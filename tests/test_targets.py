import numpy as np
import pytest
import torch
from torch import nn

from llrnb import DeepNetwork, cnn, from_module, fully_connected
from llrnb.laws import CovariateShift, Normal, Rows, Uniform
from llrnb.relu.training import ReluNetwork
from llrnb.targets import (
    DataSet,
    Target,
    draw,
    draw_inputs,
    draw_test,
    generic_target,
    paper_target,
)


def test_the_papers_target_is_equation_8():
    """W2 tanh(W1 x) with the kernel shifted along the rows of W1."""
    first = np.array([[0.6, 0.8, 1, 0, 0], [0, 0.6, 0.8, 1, 0], [0, 0, 0.6, 0.8, 1]])
    inputs, outputs = draw(paper_target(), 50)
    assert np.allclose(outputs, np.tanh(inputs.numpy() @ first.T).sum(axis=1), rtol=1e-13)


def test_the_papers_kernel_is_a_parameter():
    target = paper_target(kernel=(1.0, -2.0), outputs=(3.0, 0.5, -1.0, 2.0))
    x = torch.randn(1, 5, dtype=torch.float64)
    expected = sum(
        a * np.tanh(float(x[0, p] - 2 * x[0, p + 1])) for p, a in enumerate((3.0, 0.5, -1.0, 2.0))
    )
    assert float(target(x)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("net", [fully_connected(4, 2), cnn(5, 3, 1), cnn(5, 3, 1, shared=False)])
def test_a_generic_target_lies_in_its_own_network(net):
    target = generic_target(net, seed=4)
    inputs, outputs = draw(target, 7)
    own = {name: value.numpy() for name, value in target.params.items()}
    expected = sum(
        own["a"][k, p]
        * np.tanh(
            inputs.numpy()[:, window] @ own["w"][(k,) if net.shared else (k, p)]
            + own["b"][(k,) if net.shared else (k, p)]
        )
        for k in range(net.kernels)
        for p, window in enumerate(net.windows)
    )
    assert target.net == net and np.allclose(outputs, expected, rtol=1e-12)
    assert all(value.abs().min() > 0 for value in target.params.values())


def test_data_are_standard_normal_and_keyed_by_size_and_seed():
    target = paper_target()
    inputs, _ = draw(target, 20_000, seed=1)
    assert torch.allclose(inputs.T.cov(), torch.eye(5, dtype=torch.float64), atol=0.05)
    assert torch.equal(inputs, draw(target, 20_000, seed=1)[0])
    assert not torch.equal(inputs, draw(target, 20_000, seed=2)[0])
    assert not torch.equal(draw(target, 10)[0], draw(target, 11)[0][:10])


def test_families_meet_the_same_data():
    wide = generic_target(fully_connected(5, 9), seed=1)
    assert torch.equal(draw(paper_target(), 12, seed=3)[0], draw(wide, 12, seed=3)[0])


def test_bad_requests_are_named():
    with pytest.raises(ValueError, match="samples needs an integer of at least 1, got 0"):
        draw(paper_target(), 0)
    with pytest.raises(ValueError, match="needs params of shapes"):
        Target(cnn(5, 3, 1), fully_connected(5, 3).init())


def test_hmtks_teacher_is_the_papers_target_with_biases():
    teacher = paper_target(bias=0.3, output_bias=-0.5)
    inputs = torch.randn(20, 5, dtype=torch.float64)
    w1 = torch.zeros(3, 5, dtype=torch.float64)
    for row in range(3):
        w1[row, row : row + 3] = torch.tensor([0.6, 0.8, 1.0], dtype=torch.float64)
    assert torch.allclose(teacher(inputs), torch.tanh(inputs @ w1.T + 0.3).sum(1) - 0.5)


def smooth(inputs):
    return np.stack([inputs[:, 0] * inputs[:, 1], np.sin(np.asarray(inputs[:, 2]))], axis=1)


def test_a_function_with_several_outputs_is_a_target():
    inputs, outputs = draw(smooth, 8, seed=2, input_shape=(3,))
    assert torch.equal(inputs, draw_inputs(8, 3, 2))
    assert np.array_equal(outputs, smooth(inputs.numpy())) and outputs.dtype == torch.float64
    test_inputs, truth = draw_test(smooth, 8, input_shape=(3,))
    assert np.array_equal(truth, smooth(test_inputs.numpy()))
    assert not torch.isin(test_inputs, inputs).any()


def test_kinds_stay_integers_and_inputs_may_have_any_shape():
    inputs, kinds = draw(lambda x: (x.sum(dim=(1, 2)) > 0).long(), 9, input_shape=(2, 3))
    assert inputs.shape == (9, 2, 3) and kinds.dtype == torch.int64
    assert torch.equal(inputs.flatten(1), draw_inputs(9, 6))


def test_a_law_tells_its_number_of_inputs():
    rows = np.arange(12.0).reshape(4, 3)
    inputs, outputs = draw(lambda x: x[:, 0], 4, law=Rows(rows))
    assert sorted(outputs.tolist()) == [0, 3, 6, 9] and inputs.shape == (4, 3)


def test_inputs_of_a_planted_target_come_from_any_law():
    target, law = paper_target(), CovariateShift(Uniform(), Normal())
    inputs, outputs = draw(target, 50, law=law)
    first = inputs.unfold(1, 3, 1) @ target.params["w"][0]
    assert inputs.abs().max() < 1 and torch.allclose(outputs, first.tanh().sum(1))
    assert torch.equal(draw_test(target, 50, law=law)[0], draw_test(target, 50)[0])


def conv_and_gelu():
    layers = nn.Conv1d(1, 2, 3), nn.GELU(), nn.Flatten(), nn.Dropout(0.5), nn.Linear(6, 2)
    return nn.Sequential(*layers)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (
            generic_target(DeepNetwork((4, 3, 2, 1), bias=True, activation=torch.relu), seed=3),
            lambda p, x: (
                (x @ p["w1"].T + p["b1"]).relu() @ p["w2"].T + p["b2"]
            ).relu() @ p["w3"][0],
        ),
        (
            generic_target(nn.Linear(4, 2), input_shape=(4,)),
            lambda p, x: x @ p["weight"].T + p["bias"],
        ),
        (
            Target(lambda p, x: p["a"] @ x**2, {"a": torch.ones(3, 4)}, (4,)),
            lambda p, x: (x**2).sum(dim=1)[:, None].expand(-1, 3),
        ),
    ],
)  # fmt: skip
def test_any_model_with_its_parameters_is_a_target(target, expected):
    inputs, outputs = draw(target, 6)
    assert inputs.shape == (6, 4) and torch.equal(inputs, draw_inputs(6, 4))
    assert torch.allclose(outputs, expected(target.params, inputs), rtol=1e-12)


def test_a_module_is_a_target_with_its_own_parameters_in_evaluation_mode():
    module = conv_and_gelu()
    inputs, outputs = draw(module, 7, input_shape=(1, 5))
    assert module.training and next(module.parameters()).dtype == torch.float32
    assert torch.allclose(outputs, module.double().eval()(inputs), rtol=1e-12)
    planted = Target(conv_and_gelu(), input_shape=(1, 5))
    assert draw(planted, 3)[1].shape == (3, 2)


def test_tokens_stay_integers():
    target = generic_target(nn.Sequential(nn.Embedding(9, 3), nn.Flatten()), input_shape=(2,))
    tokens, outputs = draw(target, 5, law=Rows(np.arange(10).reshape(5, 2) % 9))
    assert torch.equal(outputs, target.params["0.weight"][tokens].flatten(1))


def test_a_network_of_the_package_takes_integers_as_numbers():
    inputs, outputs = draw(paper_target(), 4, law=Rows(np.arange(20).reshape(4, 5) - 9))
    assert inputs.dtype == torch.int64
    assert torch.equal(outputs, paper_target()(inputs.double()))


@pytest.mark.parametrize(
    "model",
    [from_module(nn.Linear(4, 2), (4,)), cnn(5, 3, 2), DeepNetwork((3, 2, 2, 1), bias=True)],
    ids=["module", "two layers", "deep"],
)
def test_a_generic_target_is_never_an_initialisation(model):
    planted, again, other = (generic_target(model, seed).params for seed in (5, 5, 6))
    initial = model.init(1.0, 5)
    for name, value in planted.items():
        assert not torch.isin(value, initial[name]).any()
        assert torch.equal(value, again[name])
        assert not torch.isin(value, other[name]).any()


def in_place(inputs):
    return inputs.relu_().sum(1)


IN_PLACE = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(3, 1, bias=False))
nn.init.ones_(IN_PLACE[1].weight)


@pytest.mark.parametrize(
    "target",
    [in_place, IN_PLACE, Target(lambda p, x: p["a"] @ x.relu_(), {"a": torch.ones(3)}, (3,))],
    ids=["function", "module", "model"],
)
def test_a_target_that_works_in_place_leaves_the_inputs(target):
    inputs, outputs = draw(target, 6, input_shape=(3,))
    assert torch.equal(inputs, draw_inputs(6, 3)) and (inputs < 0).any()
    assert torch.allclose(outputs.flatten(), inputs.relu().sum(1))


def test_a_target_stays_when_what_was_given_changes():
    x, y = torch.ones(4, 2, dtype=torch.float64), torch.ones(4, dtype=torch.float64)
    params = {"a": torch.ones(2, dtype=torch.float64)}
    own, planted = DataSet(x, y), Target(lambda p, x: p["a"] @ x, params, (2,))
    for value in (x, y, params["a"]):
        value.zero_()
    assert all(part.eq(1).all() for part in draw(own, 4))
    assert planted(torch.ones(1, 2)) == 2


def test_arrays_that_came_are_a_target():
    x, y = np.arange(20.0).reshape(10, 2), np.arange(10)
    inputs, outputs = draw((x, y), 10, seed=1)
    assert torch.equal(inputs[:, 0], 2.0 * outputs) and sorted(outputs.tolist()) == list(range(10))
    assert outputs.dtype == torch.int64 and outputs.tolist() != list(range(10))
    own = DataSet(x, y, tests=4)
    seen = {int(k) for seed in range(9) for k in draw(own, 3, seed)[1]}
    assert seen == set(range(6)) and set(draw_test(own, 4)[1].tolist()) == {6, 7, 8, 9}


def uneven(inputs):
    return torch.rand(len(inputs))


def noisy(inputs):
    """The same noise at every call."""
    return inputs[:, 0] + torch.randn(len(inputs), generator=torch.Generator().manual_seed(0))


NORMALISED = generic_target(ReluNetwork("normalised", 3, 2))


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda: draw(smooth, 5), "a function needs the input_shape of one input, got None"),
        (lambda: draw(lambda x: x[1:], 5, input_shape=(2,)), r"5 outputs.*shape \(4, 2\)"),
        (lambda: draw(lambda x: x.sum(), 5, input_shape=(2,)), r"5 outputs.*shape \(\)"),
        (lambda: draw(lambda x: x.log(), 5, input_shape=(2,)), "finite numbers, got . NaN"),
        (lambda: draw(lambda x: None, 5, input_shape=(2,)), "output needs an array.*got None"),
        (
            lambda: draw(uneven, 5, input_shape=(2,)),
            "a function of its inputs, .* got other outputs",
        ),
        (lambda: draw(noisy, 5, input_shape=(2,)), "each by itself, got other outputs"),
        (lambda: draw(lambda x: (x - x.mean(0)).sum(1), 6, input_shape=(2,)), "each by itself"),
        (lambda: draw(NORMALISED, 6), "each by itself, got other outputs at a second call"),
        (lambda: draw(paper_target(), 5, input_shape=(4,)), r"target's, \(5,\), got \(4,\)"),
        (lambda: draw((np.ones((3, 2)), np.ones(3)), 2, input_shape=(3,)), r"\(2,\), got \(3,\)"),
        (lambda: draw(fully_connected(5, 3), 5), "a model needs params"),
        (lambda: draw(nn.Linear(2, 1), 5), "a module needs inputs, or the input_shape"),
        (lambda: draw((np.ones((3, 2)), np.ones(4)), 2), r"shapes \(3, 2\) and \(4,\)"),
        (lambda: draw((np.ones((3, 2)), np.ones(3)), 4), "at most 3, got 4"),
        (lambda: draw_test((np.ones((3, 2)), np.ones(3)), 1), "rows that are set apart"),
        (lambda: draw((np.ones((3, 2)), np.ones(3)), 2, law=Uniform()), "arrays need no law"),
        (lambda: Target(lambda p, x: x, {"a": torch.ones(1)}), "needs the input_shape"),
        (lambda: Target(cnn(5, 3, 1), cnn(5, 3, 1).init(), (4,)), r"\(5,\), got \(4,\)"),
        (lambda: paper_target()(torch.ones(3, 4)), r"of shape \(sample, 5\), got \(3, 4\)"),
    ],
)
def test_what_is_no_target_is_refused_in_words(ask, message):
    with pytest.raises((ValueError, TypeError), match=message):
        ask()
