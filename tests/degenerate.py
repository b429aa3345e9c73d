"""Random networks with everything that can lower a rank, for Hypothesis."""

from math import prod

import pytest
import torch
from hypothesis import strategies as st

from llrnb.networks import TwoLayerNetwork, cnn, fully_connected

# The type checks around the package's functions look at random elements of a container.
QUIET = pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies")
KINDS = ("fully connected", "shared", "unshared")


@st.composite
def networks(draw, kind):
    """One architecture: 1-D or 2-D, strides 1 to 3, with and without biases, up to 4 kernels."""
    kernels = draw(st.integers(1, 4))
    biases = {"bias": draw(st.booleans()), "output_bias": draw(st.booleans())}
    shape = tuple(draw(st.lists(st.integers(1, 4), min_size=1, max_size=2)))
    if kind == "fully connected":
        return fully_connected(prod(shape), kernels, **biases)
    if len(shape) == 1:
        shape = (shape[0] + 2,)
    size = tuple(draw(st.integers(1, min(3, n))) for n in shape)
    stride = draw(st.integers(1, 3))
    if len(shape) == 1:
        shape, size = shape[0], size[0]
    return cnn(shape, size, kernels, shared=kind == "shared", stride=stride, **biases)


@st.composite
def degenerate(draw, kind) -> tuple[TwoLayerNetwork, dict]:
    """A network whose kernels are small integers, or copies, opposites and shifts of others."""
    net = draw(networks(kind))
    params = {}
    for name, shape in net.shapes.items():
        small = st.integers(-2, 2).map(float)
        values = draw(st.lists(small, min_size=prod(shape), max_size=prod(shape)))
        params[name] = torch.tensor(values, dtype=torch.float64).reshape(shape)
    rows = params["w"].view(-1, net.entries)
    for row in range(1, len(rows)):
        how = draw(st.sampled_from(("keep", "keep", "zero", "copy", "opposite", "shift")))
        source = rows[draw(st.integers(0, row - 1))].clone()
        rows[row] = {
            "keep": rows[row].clone(),
            "zero": torch.zeros(net.entries),
            "copy": source,
            "opposite": -source,
            "shift": torch.cat([source[1:], torch.zeros(1)]),
        }[how]
        if how in ("copy", "opposite") and net.bias:
            biases = params["b"].view(-1)
            biases[row] = biases[0] if how == "copy" else -biases[0]
    params["w"] *= draw(st.sampled_from((1.0, 0.3, 1 / 3)))  # also weights that are not integers
    return net, params
