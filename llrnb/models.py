"""What a model is, and how a torch module becomes one.

A model is a function of its parameters and one input; the parameters live outside of it, in a dict
of tensors. Functions of this package batch it. The networks of the book are models, and so is any
torch module, by `from_module`.
"""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from llrnb import checks
from llrnb.networks import Params, drawn_params
from llrnb.streams import rng


@runtime_checkable
class Model(Protocol):
    """A function of parameters and one input.

    Attributes:
        input_shape: of one input.
        shapes: of every parameter.

    A model whose outputs are faster to compute for many inputs at once, or that knows them only so,
    has a method `outputs(params, inputs)` besides; one with initial parameters of its own,
    `start(seed)`; one that knows the gradient of its squared error, `squares`
    (`llrnb.training.closed`).
    """

    @property
    def input_shape(self) -> tuple[int, ...]: ...

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]: ...

    def __call__(self, params: Params, x: Tensor) -> Tensor: ...

    def init(self, std: float, seed: int) -> Params: ...


@dataclass(frozen=True, eq=False)
class ModuleModel:
    """A torch module as a function of its parameters; made by `from_module`.

    Attributes:
        module: the copy that computes, in evaluation mode.
        input_shape: of one input.
        params: the module's own parameters, by their names in `named_parameters()`, as they were
            stored; tied ones once, frozen ones (`requires_grad=False`) not at all.
    """

    module: torch.nn.Module
    input_shape: tuple[int, ...]
    params: Mapping[str, Float[Tensor, "..."]]

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every parameter."""
        return {name: tuple(value.shape) for name, value in self.params.items()}

    @property
    def parameter_count(self) -> int:
        """Number of parameters M."""
        return sum(value.numel() for value in self.params.values())

    def __call__(self, params: Params, x: Shaped[Tensor, "..."]) -> Float[Tensor, "..."]:
        """The output at one input."""
        return self.outputs(params, x[None])[0]

    def outputs(
        self, params: Params, inputs: Shaped[Tensor, "sample ..."]
    ) -> Float[Tensor, "sample ..."]:
        """The outputs at many inputs, which stay as they are if the module works in place."""
        return torch.func.functional_call(self.module, dict(params), (inputs.clone(),))

    def init(self, std: float, seed: int = 0) -> dict[str, Float[Tensor, "..."]]:
        """Every parameter from N(0, std²), from a stream keyed by the shapes and the seed."""
        return normal_params(self.shapes, std, seed)

    def computes_like(self, other: "ModuleModel") -> bool:
        """Whether another one has parameters of the same shapes, and all else is the same."""
        rest, others = (
            {
                name: value
                for name, value in (*one.module.named_parameters(), *one.module.named_buffers())
                if name not in one.params
            }
            for one in (self, other)
        )
        return (
            self.shapes == other.shapes
            and rest.keys() == others.keys()
            and all(torch.equal(value, others[name]) for name, value in rest.items())
        )

    def on(self, device: str, precision: torch.dtype) -> "ModuleModel":
        """The same, computing there and in that type."""
        return replace(self, module=copy.deepcopy(self.module).to(device, precision))


def from_module(module: torch.nn.Module, input_shape: tuple[int, ...]) -> ModuleModel:
    """A torch module as a model: a copy that computes in float64, in evaluation mode, on the CPU.

    Buffers, such as the statistics of a batch normalisation, and frozen parameters keep their
    values; dropout is off. The module itself stays as it is.

    Args:
        module: takes a batch of inputs, and gives a batch of outputs.
        input_shape: of one input, without the batch.

    Raises:
        TypeError: not a module.
        ValueError: a module without parameters that are not frozen, or with complex ones, or that
            cannot be copied.

    >>> model = from_module(torch.nn.Sequential(torch.nn.Linear(5, 3), torch.nn.GELU()), (5,))
    >>> model.parameter_count, model(model.params, torch.zeros(5)).shape
    (18, torch.Size([3]))
    """
    checks.instance(module, torch.nn.Module, "module")
    shape = checks.many(checks.count, input_shape, "input_shape", fewest=0)
    try:
        own = copy.deepcopy(module)
    except Exception as error:  # whatever a module holds
        raise ValueError(f"a module needs to be one that can be copied, got: {error}") from error
    params = {
        name: value.detach().to("cpu", copy=True)
        for name, value in own.named_parameters()
        if value.requires_grad
    }
    sizes = [value.numel() for value in params.values()]
    if not sum(sizes) or any(value.is_complex() for value in params.values()):
        raise ValueError(
            "a module needs at least 1 parameter that is not frozen, all of them real, got "
            f"{sum(sizes)}"
        )
    return ModuleModel(own.to("cpu", torch.float64).eval(), shape, params)


def normal_params(
    shapes: Mapping[str, tuple[int, ...]], std: float, seed: int = 0
) -> dict[str, Float[Tensor, "..."]]:
    """Parameters from N(0, std²), from a stream keyed by their shapes and the seed."""
    seed = checks.seed(seed)
    stream = rng("module initial params", shapes=tuple(shapes.values()), seed=seed)
    return drawn_params(shapes, stream, std)


def as_model(
    model: Callable, params: Params | None, input_shape: tuple[int, ...] | None
) -> tuple[Callable, Params]:
    """A model and its parameters: those given, or a module's own.

    Raises:
        TypeError: no parameters, and not a module that has its own; or no function.
        ValueError: no shape of the inputs of a module.
    """
    if isinstance(model, torch.nn.Module):
        if input_shape is None:
            raise ValueError("a module needs inputs, or the input_shape of one, got neither")
        model = from_module(model, input_shape)
    checks.function(model, "model")
    if params is None and isinstance(model, ModuleModel):
        params = model.params
    if params is None:
        raise TypeError("a model needs params, for only a module has its own, got None")
    return model, params


def outputs_of(
    model: Model | Callable, params: Params, inputs: Shaped[Tensor, "sample ..."]
) -> Float[Tensor, "sample ..."]:
    """The outputs of any model at many inputs, which stay as they are."""
    inputs = inputs.clone()
    if hasattr(model, "outputs"):
        return model.outputs(params, inputs)
    return torch.vmap(model, in_dims=(None, 0))(dict(params), inputs)
