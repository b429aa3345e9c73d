"""Tangent functions on inputs: the matrix whose columns are the derivatives of the output."""

from collections.abc import Callable
from itertools import accumulate

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from llrnb import checks
from llrnb.checks import double, double_params
from llrnb.networks import Params, TanhNetwork
from llrnb.rank.compiled import fill_tangent

Model = Callable[[Params, Tensor], Tensor]


def tangent_matrix(
    model: Model, params: Params, inputs: Float[Tensor, "sample ..."]
) -> Float[Tensor, "sample param"]:
    """The derivative of the output by every parameter, at every input.

        J[i, k] = d f(x_i; params) / d params_k

    in float64, whatever float came: widening changes no value. Columns follow the params dict,
    each array flattened row by row. Its rank is the empirical rank (Def. 6).

    Args:
        model: a differentiable torch function of (params, one input) with a scalar value. A
            `torch.nn.Module` becomes one with `torch.func.functional_call`.
        params: its parameters, of one network.
        inputs: the samples, along the first axis.

    Raises:
        TypeError: params, inputs or outputs that are not real floats.
        ValueError: no parameters, no inputs, NaN or infinity, an output that is not a scalar.

    >>> tangent_matrix(lambda params, x: (params["w"] * x).sum(), {"w": torch.ones(2)},
    ...                torch.tensor([[3.0, 4.0]]))
    tensor([[3., 4.]], dtype=torch.float64)
    """
    checks.function(model, "model")
    params, inputs = double_params(params), double(inputs, "inputs")
    if not inputs.ndim or not len(inputs):
        raise ValueError(
            f"a tangent matrix needs at least 1 input, got inputs of shape {tuple(inputs.shape)}"
        )
    if isinstance(model, TanhNetwork):
        return _closed_form(model, params, inputs)

    def scalar(params: Params, x: Tensor) -> Tensor:
        output = model(params, x)
        if not isinstance(output, Tensor) or output.is_complex():
            came = output.dtype if isinstance(output, Tensor) else type(output).__name__
            raise TypeError(f"a model needs a real tensor as output, got {came}")
        if output.ndim:
            raise ValueError(f"a model needs a scalar output, got shape {tuple(output.shape)}")
        return output

    slopes = torch.vmap(torch.func.grad(scalar), in_dims=(None, 0))(params, inputs)
    return torch.cat([slopes[name].reshape(len(inputs), -1) for name in params], dim=1)


def _closed_form(
    net: TanhNetwork, params: Params, inputs: Float[Tensor, "sample input"]
) -> Float[Tensor, "sample param"]:
    """The same for our own networks, each entry written once.

    By a[k, p]: tanh(u). By w[k, e]: the sum over p of a[k, p] sech^2(u) x[window p][e], and by
    b[k]: without the x; not summed if the kernels are not shared. By c: 1.
    """
    net.check(params)
    if inputs.shape[1:] != (net.input_dim,):
        raise ValueError(
            f"the network needs inputs of shape (sample, {net.input_dim}), "
            f"got {tuple(inputs.shape)}"
        )
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
