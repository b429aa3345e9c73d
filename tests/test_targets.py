import numpy as np
import pytest
import torch

from llrnb import cnn, fully_connected
from llrnb.targets import Target, draw, generic_target, paper_target


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
    assert torch.equal(outputs, target(inputs))
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
        w1[row, row : row + 3] = torch.tensor([0.6, 0.8, 1.0])
    assert torch.allclose(teacher(inputs), torch.tanh(inputs @ w1.T + 0.3).sum(1) - 0.5)
