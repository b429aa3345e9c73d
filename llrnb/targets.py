"""Planted targets and the data drawn from them.

A target is a network with its parameters. Data are standard normal inputs with the target's exact
outputs; every data set has its own random stream, keyed by its size and its seed, so that different
architectures meet the same data.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from llrnb import checks
from llrnb.networks import Params, TanhNetwork, cnn, predict
from llrnb.streams import rng


@dataclass(frozen=True)
class Target:
    """A function to recover, f*(x) = net(params, x)."""

    net: TanhNetwork
    params: Params

    def __post_init__(self) -> None:
        checks.instance(self.net, TanhNetwork, "net").check(self.params)
        checks.double_params(self.params)  # finite ones

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
    kernel = checks.many(checks.real, kernel, "kernel")
    outputs = checks.many(checks.real, outputs, "outputs")
    bias, output_bias = checks.real(bias, "bias"), checks.real(output_bias, "output_bias")
    biases = {"bias": bias != 0, "output_bias": output_bias != 0}
    net = cnn(len(kernel) + len(outputs) - 1, len(kernel), kernels=1, **biases)
    values = {"w": [list(kernel)], "b": [bias], "a": [list(outputs)], "c": output_bias}
    params = {
        name: torch.tensor(values[name], dtype=torch.float64, device="cpu") for name in net.shapes
    }
    return Target(net, params)


def generic_target(net: TanhNetwork, seed: int = 0) -> Target:
    """A target whose parameters are all drawn from N(0, 1): generic in its own architecture."""
    checks.instance(net, TanhNetwork, "net")
    return Target(net, net.draw_params(net.stream("target params", checks.seed(seed))))


def draw(
    target: Target, samples: int, seed: int = 0
) -> tuple[Float[Tensor, "sample input"], Float[Tensor, " sample"]]:
    """Inputs from N(0, I) to train on, and the target's outputs there.

    Raises:
        ValueError: fewer than 1 sample.
    """
    checks.instance(target, Target, "target")
    inputs = draw_inputs(samples, target.net.input_dim, seed)
    return inputs, target(inputs)


def draw_test(
    target: Target, samples: int = 1000, seed: int = 0
) -> tuple[Float[Tensor, "sample input"], Float[Tensor, " sample"]]:
    """Inputs from N(0, I) to test on, and the target's outputs there.

    They come from a stream of their own: at no size and seed are they those of `draw`.

    Raises:
        ValueError: fewer than 1 sample.
    """
    checks.instance(target, Target, "target")
    inputs = draw_inputs(samples, target.net.input_dim, seed, role="test inputs")
    return inputs, target(inputs)


def draw_inputs(
    samples: int, dim: int, seed: int = 0, *, role: str = "training inputs"
) -> Float[Tensor, "sample input"]:
    """The inputs of `draw`, or those of another role of `llrnb.streams`.

    Raises:
        ValueError: fewer than 1 sample, or another role.
    """
    samples, seed = checks.count(samples, "samples"), checks.seed(seed)
    checks.room("a data set", samples, dim)
    stream = rng(role, samples=samples, inputs=dim, seed=seed)
    return torch.from_numpy(stream.standard_normal((samples, dim)))
