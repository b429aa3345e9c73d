"""From a wide network back to the narrowest one with the same function, and to its sample size.

A tanh network is irreducible if no neuron can be merged with another, folded into a bias, or left
out. The tangent functions of an irreducible network are independent, at any depth; hence it tells
the optimistic sample size of its function in every wider network.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from llrnb import checks, theory
from llrnb.activations import TANH
from llrnb.checks import double_params
from llrnb.deep import DeepNetwork
from llrnb.networks import Params


@dataclass(frozen=True)
class Irreducible:
    """An irreducible tanh network plus a constant.

    Attributes:
        widths: of inputs, hidden layers and output; all hidden ones are 0 if the function is
            constant.
        bias: whether hidden neurons have biases.
        params: of `DeepNetwork(widths, bias)`, or empty arrays.
        offset: the constant, 0 without biases.
    """

    widths: tuple[int, ...]
    bias: bool
    params: dict[str, Float[Tensor, "..."]]
    offset: float

    @property
    def sample_size(self) -> int:
        """The optimistic sample size of the function, in every network that is as wide."""
        return theory.deep_rank(self.widths, bias=self.bias, offset=self.offset != 0)


def reduce(net: DeepNetwork, params: Params) -> Irreducible:
    """Leave out, fold and merge neurons until the network is irreducible; the function stays.

    - A neuron without output weights is left out.
    - One without input weights is constant: it goes into the biases of the next layer, or into
      the offset.
    - Of two neurons with the same input weights and bias, up to sign, one takes over the other's
      output weights.

    Weights count as equal if they are equal as floats. Sums are rounded.

    Raises:
        ValueError: a residual network, or an activation other than tanh.
        TypeError: another model, or a `DeepNetwork` with a `__call__` of its own.

    >>> net = DeepNetwork((2, 3, 1))
    >>> w = torch.tensor([[1.0, 2.0], [-1.0, -2.0], [0.0, 0.0]])
    >>> found = reduce(net, {"w1": w, "w2": torch.tensor([[1.0, 0.5, 7.0]])})
    >>> found.widths, found.params["w2"].item(), found.sample_size
    ((2, 1, 1), 0.5, 3)
    """
    checks.itself(net, DeepNetwork, "net")
    if net.residual or net.activation != TANH:
        kind = "a residual network" if net.residual else f"one of {net.activation}"
        raise ValueError(f"only tanh networks that are not residual are reduced, got {kind}")
    params = {name: value.clone() for name, value in double_params(params).items()}
    net.check(params)
    offset = 0.0
    while (found := _superfluous(net, params)) is not None:
        layer, neuron, twin = found
        outward = params[f"w{layer + 1}"][:, neuron]
        if twin is not None:
            original, sign = twin
            params[f"w{layer + 1}"][:, original] += sign * outward
        elif net.bias:
            constant = outward * torch.tanh(params[f"b{layer}"][neuron])
            if layer < net.layers - 1:
                params[f"b{layer + 1}"] += constant
            else:
                offset += float(constant)
        _drop(params, layer, neuron)
    hidden = [len(params[f"w{layer}"]) for layer in range(1, net.layers)]
    return Irreducible((net.input_dim, *hidden, 1), net.bias, params, offset)


Twin = tuple[int, int]  # a neuron, and the sign of the other one's weights relative to it


def _superfluous(
    net: DeepNetwork, params: dict[str, Tensor]
) -> tuple[int, int, Twin | None] | None:
    """A layer, a neuron that it can do without, and the neuron that takes over its output."""
    for layer in range(1, net.layers):
        inward, outward = params[f"w{layer}"], params[f"w{layer + 1}"]
        bias = params.get(f"b{layer}", inward.new_zeros(len(inward)))
        seen: dict[tuple[float, ...], int] = {}
        for neuron, (weights, b) in enumerate(zip(inward, bias, strict=True)):
            if not weights.any() or not outward[:, neuron].any():
                return layer, neuron, None
            key = tuple((torch.cat([weights, b[None]]) + 0.0).tolist())  # -0.0 becomes 0.0
            for sign in (1, -1):
                if (twin := seen.get(tuple(sign * entry + 0.0 for entry in key))) is not None:
                    return layer, neuron, (twin, sign)
            seen[key] = neuron
    return None


def _drop(params: dict[str, Tensor], layer: int, neuron: int) -> None:
    keep = torch.arange(len(params[f"w{layer}"]), device="cpu") != neuron
    params[f"w{layer}"] = params[f"w{layer}"][keep]
    params[f"w{layer + 1}"] = params[f"w{layer + 1}"][:, keep]
    if f"b{layer}" in params:
        params[f"b{layer}"] = params[f"b{layer}"][keep]
