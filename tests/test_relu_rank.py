"""The model rank of two-layer ReLU networks, by homogeneity and by singular values."""

import pytest
import torch

from llrnb import matrix_rank, numerical_rank

DIM = 6
DIRECTIONS = torch.randn(4, DIM, generator=torch.manual_seed(0), dtype=torch.float64)
INPUTS = torch.randn(300, DIM, generator=torch.manual_seed(1), dtype=torch.float64)
# Rows of DIRECTIONS with signs; how many hyperplanes they make, and whether two are opposite.
NETWORKS = [
    ([1], 1, 0),
    ([1, 2, 3, 4], 4, 0),
    ([1, 1, 1], 1, 0),
    ([1, -1], 1, 1),
    ([1, 2, -2], 2, 1),
]


def network(params, x):
    return params["a"] @ torch.relu(params["w"] @ x)


@pytest.mark.parametrize(("neurons", "hyperplanes", "opposite"), NETWORKS)
def test_a_relu_network_has_d_dimensions_for_each_hyperplane(neurons, hyperplanes, opposite):
    w = torch.stack([DIRECTIONS[abs(i) - 1] * (1 if i > 0 else -1) for i in neurons])
    found = numerical_rank(network, {"w": w, "a": torch.ones(len(w)).double()}, INPUTS)
    assert found.convincing
    assert found.rank == DIM * (hyperplanes + opposite)


def test_a_planted_neuron_needs_as_many_active_samples_as_inputs():
    w = DIRECTIONS[0]
    for samples in range(4, 30):
        seen = INPUTS[:samples]
        tangent = torch.cat([torch.relu(seen @ w)[:, None], seen * (seen @ w > 0)[:, None]], dim=1)
        active = int((seen @ w > 0).sum())
        assert matrix_rank(tangent).rank == min(active, DIM)
