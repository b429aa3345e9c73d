"""Targets and the data drawn from them.

A target is a function to recover: a model with its parameters (`Target`), any function on many
inputs at once, or arrays that came. Inputs are drawn from a law (`llrnb.laws`), N(0, I) unless
another is named, and outputs are exact; every data set has its own random stream, keyed by its size
and its seed, so that different architectures meet the same data.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from llrnb import checks
from llrnb.deep import DeepNetwork
from llrnb.laws import NORMAL, Law, Rows
from llrnb.models import Model, as_model, outputs_of
from llrnb.networks import Params, TwoLayerNetwork, cnn, drawn_params
from llrnb.streams import ROLES, rng


@dataclass(frozen=True)
class Target:
    """A function to recover, f*(x) = net(params, x).

    Attributes:
        net: a network of the book, any model, or a torch module.
        params: its parameters, in float64 on the CPU; a module has its own.
        input_shape: of one input, where the net does not know it.
    """

    net: Model | Callable
    params: Params | None = None
    input_shape: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        net, params = as_model(self.net, self.params, self.input_shape)
        shape = getattr(net, "input_shape", self.input_shape)
        if shape is None or self.input_shape not in (None, shape):
            raise TypeError(
                f"a target needs the input_shape of its net, {shape}, got {self.input_shape}"
            )
        shape = checks.many(checks.count, shape, "input_shape", fewest=0)
        if hasattr(net, "shapes"):
            checks.shapes(params, net.shapes)
        params = {name: value.clone() for name, value in checks.double_params(params).items()}
        checks.settle(self, net=net, params=params, input_shape=shape)

    def __call__(self, inputs: Shaped[Tensor, "sample ..."]) -> Float[Tensor, "sample ..."]:
        """The target's outputs at many inputs; integers, such as tokens, stay integers."""
        assert self.params is not None and self.input_shape is not None  # once it is made
        whole = isinstance(inputs, Tensor) and inputs.dtype in (torch.int32, torch.int64)
        inputs = inputs if whole else checks.tensor(inputs, "inputs").double()
        if inputs.ndim == 0 or inputs.shape[1:] != self.input_shape:
            needed = ", ".join(map(str, self.input_shape))
            raise ValueError(
                f"the target needs inputs of shape (sample, {needed}), got {tuple(inputs.shape)}"
            )
        return outputs_of(self.net, self.params, inputs)


@dataclass(frozen=True, eq=False)
class DataSet:
    """Arrays that came: a target that is known at some inputs only.

    Attributes:
        inputs, outputs: "sample ..."; integers, such as tokens and kinds, stay integers.
        tests: how many samples, the last ones, are set apart for tests.
    """

    inputs: Shaped[Tensor | np.ndarray, "..."]
    outputs: Shaped[Tensor | np.ndarray, "..."]
    tests: int = 0

    def __post_init__(self) -> None:
        inputs, outputs = (checks.numbers(getattr(self, n), n) for n in ("inputs", "outputs"))
        if not (inputs.ndim and outputs.ndim and len(inputs) == len(outputs) > 0):
            raise ValueError(
                "a data set needs as many outputs as inputs, at least 1, got shapes "
                f"{tuple(inputs.shape)} and {tuple(outputs.shape)}"
            )
        checks.settle(self, inputs=inputs.clone(), outputs=outputs.clone())
        checks.settle(self, tests=self._numbers.tests)

    @property
    def _numbers(self) -> Rows:
        """Those of the samples."""
        return Rows(np.arange(len(self.inputs))[:, None], self.tests)

    def at(
        self, samples: int, seed: int, role: str
    ) -> tuple[Shaped[Tensor, "sample ..."], Shaped[Tensor, "sample ..."]]:
        """So many samples in random order, each at most once."""
        chosen = draw_inputs(samples, 1, seed, role=role, law=self._numbers)[:, 0]
        return self.inputs[chosen], self.outputs[chosen]


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
    inputs = len(kernel) + len(outputs) - 1
    net = cnn(inputs, len(kernel), kernels=1, bias=bias != 0, output_bias=output_bias != 0)
    values = {"w": [list(kernel)], "b": [bias], "a": [list(outputs)], "c": output_bias}
    params = {
        name: torch.tensor(values[name], dtype=torch.float64, device="cpu") for name in net.shapes
    }
    return Target(net, params)


def generic_target(
    net: Model | torch.nn.Module, seed: int = 0, *, input_shape: tuple[int, ...] | None = None
) -> Target:
    """A target whose parameters are all drawn from N(0, 1): generic in its own architecture.

    Args:
        net: a network of the book, another model, or a torch module with the `input_shape` of one
            input.
        seed: of the stream, which is never that of an initialisation.
    """
    seed = checks.seed(seed)
    given = as_model(net, None, input_shape)[0] if isinstance(net, torch.nn.Module) else net
    model = checks.instance(given, Model, "net")
    if isinstance(model, TwoLayerNetwork | DeepNetwork):
        role = "target params" if isinstance(model, TwoLayerNetwork) else "deep target params"
        return Target(model, model.draw_params(model.stream(role, seed)))
    stream = rng("model target params", shapes=tuple(model.shapes.values()), seed=seed)
    return Target(model, drawn_params(model.shapes, stream))


Given = Target | DataSet | Callable | tuple  # what data can be drawn from


def draw(
    target: Given,
    samples: int,
    seed: int = 0,
    *,
    law: Law = NORMAL,
    input_shape: tuple[int, ...] | None = None,
) -> tuple[Shaped[Tensor, "sample ..."], Shaped[Tensor, "sample ..."]]:
    """Inputs from a law to train on, and the target's outputs there.

    Args:
        target: a `Target`; a module, or any function from many inputs, "sample ...", to as many
            outputs, "sample ...", each of them a number or of any shape; or a `DataSet`, or a pair
            of arrays (inputs, outputs), from which samples are taken in random order.
        samples: how many.
        seed: of the stream, which belongs to this number of samples.
        law: what inputs are drawn from.
        input_shape: of one input, if neither the target nor the law knows it.

    Raises:
        ValueError: fewer than 1 sample, or more than there are; another input_shape than the
            target's; outputs that are not one for each input, not finite, or others at a second
            call with half of the inputs.

    >>> inputs, outputs = draw(lambda x: x.prod(dim=1), samples=4, input_shape=(2,))
    >>> inputs.shape, outputs.equal(inputs[:, 0] * inputs[:, 1])
    (torch.Size([4, 2]), True)
    """
    return _drawn(target, samples, seed, law, input_shape, "training inputs")


def draw_test(
    target: Given,
    samples: int = 1000,
    seed: int = 0,
    *,
    law: Law = NORMAL,
    input_shape: tuple[int, ...] | None = None,
) -> tuple[Shaped[Tensor, "sample ..."], Shaped[Tensor, "sample ..."]]:
    """Inputs from a law's test law to test on, and the target's outputs there; see `draw`.

    They come from a stream of their own: at no size and seed are they those of `draw`. Of arrays
    they are samples that are set apart, as `DataSet` says.

    Raises:
        ValueError: as `draw`, or no samples are set apart.
    """
    return _drawn(target, samples, seed, law, input_shape, "test inputs")


def draw_inputs(
    samples: int,
    dim: int | tuple[int, ...],
    seed: int = 0,
    *,
    role: str = "training inputs",
    law: Law = NORMAL,
) -> Shaped[Tensor, "sample ..."]:
    """The inputs of `draw`, of `draw_test`, or those of another role of `llrnb.streams`.

    Args:
        samples: how many.
        dim: the number of inputs, or the shape of one.
        seed: of the stream.
        role: of the stream; "test inputs" are drawn from the law's test law.
        law: what they are drawn from.

    Raises:
        ValueError: fewer than 1 sample, another role, or a law of other inputs.
    """
    samples, seed = checks.count(samples, "samples"), checks.seed(seed)
    shape = checks.sizes(dim, "dim")
    checks.one_of(ROLES, "role", role)
    checks.instance(law, Law, "law")
    law = law.test_law if role == "test inputs" else law
    checks.room("a data set", samples, *shape)
    if law.dim not in (None, prod(shape)):
        raise ValueError(f"the law needs inputs of {law.dim} numbers, got {shape}")
    stream = rng(role, samples=samples, inputs=prod(shape), seed=seed)
    drawn = checks.numbers(law.draw(samples, prod(shape), stream), "a law")
    if drawn.shape != (samples, prod(shape)):
        raise ValueError(
            f"a law needs to draw an array of shape {(samples, prod(shape))}, "
            f"got {tuple(drawn.shape)}"
        )
    return drawn.reshape(samples, *shape)


def _drawn(
    target: Given, samples: int, seed: int, law: Law, shape: tuple[int, ...] | None, role: str
) -> tuple[Tensor, Tensor]:
    shape = None if shape is None else checks.sizes(shape, "input_shape")
    if isinstance(target, tuple | list) and len(target) == 2:
        target = DataSet(*target)
    if isinstance(target, DataSet):
        if law != NORMAL:
            raise ValueError(f"arrays need no law, for they are their own, got {law}")
        _check_shape(shape, tuple(target.inputs.shape[1:]))
        return target.at(samples, seed, role)
    if isinstance(target, torch.nn.Module | Model):
        target = Target(target, input_shape=shape)
    function = checks.function(target, "target")
    checks.instance(law, Law, "law")
    dim = getattr(target, "input_shape", None)
    if dim is None:
        dim = law.dim if shape is None else shape
    if dim is None:
        raise ValueError("a function needs the input_shape of one input, got None")
    _check_shape(shape, checks.sizes(dim, "input_shape"))
    inputs = draw_inputs(samples, dim, seed, role=role, law=law)
    return inputs, _outputs_at(function, inputs)


def _check_shape(given: tuple[int, ...] | None, own: tuple[int, ...]) -> None:
    if given not in (None, own):
        raise ValueError(f"the input_shape needs to be the target's, {own}, got {given}")


def _outputs_at(target: Callable, inputs: Tensor) -> Tensor:
    """The outputs, checked: each is that of one input, whichever stand beside it."""
    some = torch.arange(len(inputs) - 1, -1, -2, device="cpu")
    outputs, again = (
        checks.numbers(target(part.clone()), "a target's output") for part in (inputs, inputs[some])
    )
    if outputs.ndim == 0 or len(outputs) != len(inputs):
        raise ValueError(
            f"a target needs to give {len(inputs)} outputs, one for each input, got the shape "
            f"{tuple(outputs.shape)}"
        )
    rounding = 1e-5 * float(outputs.abs().max()) if outputs.numel() else 0.0
    if again.shape != outputs[some].shape or not torch.allclose(
        again.double(), outputs[some].double(), rtol=0, atol=rounding
    ):
        raise ValueError(
            "a target needs to be a function of its inputs, each by itself, got other outputs at a "
            "second call with half of them"
        )
    return outputs
