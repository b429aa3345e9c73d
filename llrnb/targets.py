"""Planted targets and the data drawn from them.

A target is a network with its parameters. Data are standard normal inputs with the target's exact
outputs; every data set has its own random stream, keyed by its number of samples and its seed, so
that different architectures meet the same data.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from llrnb.networks import Params, TanhNetwork, cnn, predict


@dataclass(frozen=True)
class Target:
    """A function to recover, f*(x) = net(params, x)."""

    net: TanhNetwork
    params: Params

    def __post_init__(self) -> None:
        self.net.check(self.params)

    def __call__(self, inputs: Float[Tensor, "sample input"]) -> Float[Tensor, " sample"]:
        """The target's outputs at many inputs."""
        return predict(self.net, self.params, inputs)


def paper_target(
    kernel: Sequence[float] = (0.6, 0.8, 1.0),
    outputs: Sequence[float] = (1.0, 1.0, 1.0),
    bias: float = 0.0,
    output_bias: float = 0.0,
) -> Target:
    """The target of the LLR paper's experiment (Section 6, Eq. 8): one kernel, seen three times.

    f*(x) = sum_p outputs[p] tanh(kernel . x[p : p + 3]) for x in R^5: W2 tanh(W1 x) with the
    kernel shifted along the rows of W1. The default values are taken from memory of the paper.
    With biases it is HMTK's teacher, W2 tanh(W1 x + b1) + b2.
    """
    biases = {"bias": bias != 0, "output_bias": output_bias != 0}
    net = cnn(len(kernel) + len(outputs) - 1, len(kernel), kernels=1, **biases)
    values = {"w": [list(kernel)], "b": [bias], "a": [list(outputs)], "c": output_bias}
    params = {name: torch.tensor(values[name], dtype=torch.float64) for name in net.shapes}
    return Target(net, params)


def generic_target(net: TanhNetwork, seed: int = 0) -> Target:
    """A target whose parameters are all drawn from N(0, 1): generic in its own architecture."""
    return Target(net, net.init(std=1.0, seed=seed))


def draw(
    target: Target, samples: int, seed: int = 0
) -> tuple[Float[Tensor, "sample input"], Float[Tensor, " sample"]]:
    """Inputs from N(0, I) and the target's outputs there.

    Raises:
        ValueError: fewer than 1 sample.
    """
    if samples < 1:
        raise ValueError(f"a data set needs at least 1 sample, got {samples}")
    rng = np.random.default_rng([samples, seed])
    inputs = torch.from_numpy(rng.standard_normal((samples, target.net.input_dim)))
    return inputs, target(inputs)
