"""Tangent functions on inputs: the matrix whose columns are the derivatives of the output."""

import warnings
from collections.abc import Callable
from itertools import accumulate

import numpy as np
import torch
from jaxtyping import Float, Real
from torch import Tensor

from llrnb import checks
from llrnb.checks import double_params
from llrnb.models import ModuleModel, as_model
from llrnb.networks import Params, TwoLayerNetwork, is_tanh_network
from llrnb.rank.compiled import fill_tangent

Model = Callable[[Params, Tensor], Tensor]


def tangent_matrix(
    model: Model | torch.nn.Module, params: Params | None, inputs: Real[Tensor, "sample ..."]
) -> Float[Tensor, "row param"]:
    """The derivative of the output by every parameter, at every input.

        J[i, k] = d f(x_i; params) / d params_k

    in float64, whatever float came: widening changes no value. Columns follow the params dict,
    each array flattened row by row. Its rank is the empirical rank (Def. 6). Several outputs of one
    sample are rows, one below the other.

    Args:
        model: a differentiable torch function of (params, one input), or a module.
        params: its parameters, of one network; None for those that a module has.
        inputs: the samples, along the first axis; whole numbers, such as words, stay whole.

    Raises:
        TypeError: params or outputs that are not real floats, or inputs that are no real numbers.
        ValueError: no parameters, no inputs, NaN or infinity.

    >>> tangent_matrix(lambda params, x: (params["w"] * x).sum(), {"w": torch.ones(2)},
    ...                torch.tensor([[3.0, 4.0]]))
    tensor([[3., 4.]], dtype=torch.float64)
    """
    model, params, inputs = checked(model, params, inputs)
    if is_tanh_network(model):
        return _closed_form(model, params, inputs)
    return derivatives(model, params, inputs)


def checked(
    model: Model | torch.nn.Module, params: Params | None, inputs: Tensor
) -> tuple[Model, Params, Tensor]:
    """The arguments of `tangent_matrix`, in float64 on the CPU, or whole numbers; its errors."""
    inputs = checks.numbers(checks.reals(inputs, "inputs"), "inputs")
    model, params = as_model(model, params, tuple(inputs.shape[1:]))
    params = double_params(params)
    if hasattr(model, "input_dim"):  # a network of the package, which takes floats
        inputs = inputs.double()
    if not inputs.ndim or not len(inputs):
        raise ValueError(
            f"a tangent matrix needs at least 1 input, got inputs of shape {tuple(inputs.shape)}"
        )
    if is_tanh_network(model):
        model.check(params)
        if inputs.shape[1:] != (model.input_dim,):
            raise ValueError(
                f"the network needs inputs of shape (sample, {model.input_dim}), "
                f"got {tuple(inputs.shape)}"
            )
    if not inputs.is_floating_point():
        try:
            output_shape(model, params, inputs)
        except Exception as error:  # of many kinds, by what a model does
            raise TypeError(
                f"the model cannot take whole numbers, and got inputs of {inputs.dtype}: {error}"
            ) from error
    if isinstance(model, ModuleModel):
        _check_alone(model, params, inputs[:3])
    return model, params, inputs


def derivatives(
    model: Model, params: Params, inputs: Real[Tensor, "sample ..."]
) -> Float[Tensor, "row param"]:
    """The same by automatic differentiation, for what has been checked, on whatever device."""
    real, shape = _real(model), output_shape(model, params, inputs)
    slope = torch.func.jacrev(real) if shape else torch.func.grad(real)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="There is a performance drop")
            slopes = torch.vmap(slope, in_dims=(None, 0))(params, inputs)
    except RuntimeError:
        if not isinstance(model, ModuleModel):
            raise
        return _one_by_one(real, params, inputs)
    rows = len(inputs) * shape.numel()
    return torch.cat([slopes[name].reshape(rows, -1) for name in params], dim=1)


def output_shape(model: Model, params: Params, inputs: Real[Tensor, "sample ..."]) -> torch.Size:
    """Of one input."""
    with torch.no_grad():
        return _real(model)(params, inputs[0]).shape


def _real(model: Model) -> Model:
    """The model, which raises TypeError where it makes no real numbers."""

    def real(params: Params, x: Tensor) -> Tensor:
        output = model(params, x.clone())  # which a model may change
        if not isinstance(output, Tensor) or output.is_complex():
            came = output.dtype if isinstance(output, Tensor) else type(output).__name__
            raise TypeError(f"a model needs a real tensor as output, got {came}")
        return output

    return real


def _check_alone(model: ModuleModel, params: Params, inputs: Tensor) -> None:
    """Raise ValueError if what a module makes of a sample depends on the others of its batch."""
    with torch.no_grad():
        together, alone = (
            model.outputs(params, inputs),
            torch.stack([model(params, x) for x in inputs]),
        )
    if together.shape != alone.shape or not torch.allclose(
        together, alone, rtol=1e-3, atol=1e-3 * float(alone.abs().max()), equal_nan=True
    ):
        raise ValueError(
            "a tangent matrix needs a module that takes each sample by itself, got one whose "
            "outputs depend on the other samples of a batch"
        )


def _one_by_one(model: Model, params: Params, inputs: Tensor) -> Float[Tensor, "row param"]:
    """The same for modules that have no batched form: one output of one sample at a time."""
    leaves = {name: value.detach().requires_grad_() for name, value in params.items()}
    rows = []
    for x in inputs:
        for output in model(leaves, x).flatten():
            slopes = torch.autograd.grad(
                output, list(leaves.values()), retain_graph=True, materialize_grads=True
            )
            rows.append(torch.cat([slope.flatten() for slope in slopes]))
    return torch.stack(rows)


def _closed_form(
    net: TwoLayerNetwork, params: Params, inputs: Float[Tensor, "sample input"]
) -> Float[Tensor, "sample param"]:
    """The same for our own networks, each entry written once.

    By a[k, p]: tanh(u). By w[k, e]: the sum over p of a[k, p] sech^2(u) x[window p][e], and by
    b[k]: without the x; not summed if the kernels are not shared. By c: 1.
    """
    seen = inputs[:, torch.tensor(net.windows, device=inputs.device)]
    w, a, b = params["w"], params["a"], params.get("b", inputs.new_zeros(()))
    u = torch.einsum("ipe,ke->ikp" if net.shared else "ipe,kpe->ikp", seen, w)
    activation = torch.tanh_(u + (b[:, None] if net.shared and net.bias else b))
    # NumPy asks the system for huge pages; touching small ones would take longer than the sums.
    tangent = np.empty((len(inputs), net.parameter_count))
    ends = accumulate(value.numel() for value in params.values())
    begin = {name: end - params[name].numel() for name, end in zip(params, ends, strict=True)}
    fill_tangent(
        tangent, begin["w"], begin.get("b", -1), begin["a"], activation.numpy(), a.numpy(),
        inputs.numpy(), np.array(net.windows), net.shared,
    )  # fmt: skip
    if net.output_bias:
        tangent[:, begin["c"]] = 1.0
    return torch.from_numpy(tangent)
