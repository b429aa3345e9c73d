"""From a wide network to a narrow one: kernels that compute the same are one kernel.

Merging is the inverse of splitting (`embedding.split_kernel`). Trained from small weights, kernels
gather in few directions; merged, they are a start near an exact fit for a second-order method.
"""

from dataclasses import replace
from math import inf

import torch
from jaxtyping import Float
from torch import Tensor

from llrnb import checks
from llrnb.activations import activation_of
from llrnb.checks import double_params
from llrnb.least_squares import Fits, fit
from llrnb.networks import Params, TwoLayerNetwork, is_two_layer, kind_of
from llrnb.stacks import Stack

Kernels = tuple[Float[Tensor, "kernel entry"], Float[Tensor, "kernel output"]]

# Output weights that cancel leave this much, relative to them.
_ROUNDING = 1e-14


def condense(
    net: TwoLayerNetwork, params: Params, *, angle: float = 1e-6, length: float = 1e-6
) -> tuple[TwoLayerNetwork, dict[str, Tensor]]:
    """Merge kernels that are equal up to sign and tolerance, and leave out those that are zero.

    Of kernels v_i = (w_i, b_i), equal up to the signs s_i, one remains, at their mean:

        v = sum_i |a_i| s_i v_i / sum_i |a_i|,    a = sum_i s_i a_i.

    If they are exactly equal, the function stays, up to the rounding of a, and so do its critical
    points: it is the inverse of a critical mapping. Otherwise the function changes, and `polish`
    is what should follow. Without weight sharing, the kernels of each window are merged by
    themselves, and listed with the largest outputs first.

    Args:
        net: the wide network.
        params: its parameters.
        angle: the most radians between kernels, biases included, that are merged.
        length: the most that their lengths may differ, relative to the longer one; infinity merges
            by direction only.

    Returns:
        A network of the same family with at most as many kernels, at least 1, and its parameters.

    Raises:
        TypeError: a network whose activation is not odd.
        ValueError: params of another network, a negative angle or length.

    >>> from llrnb.networks import fully_connected
    >>> w = torch.tensor([[1.0, 2.0], [-1.0, -2.0], [0.0, 1.0]])  # the first two are one neuron
    >>> net = fully_connected(2, 3, bias=False)
    >>> narrow, params = condense(net, {"w": w, "a": torch.tensor([[1.0], [0.5], [2.0]])})
    >>> narrow.kernels, params["a"].flatten().tolist()
    (2, [2.0, 0.5])
    """
    angle = checks.real(angle, "angle", least=0, finite=False)
    length = checks.real(length, "length", least=0, finite=False)
    params = double_params(params)
    checks.instance(net, TwoLayerNetwork, "net").check(params)
    if not (is_two_layer(net) and activation_of(net.activation).odd):
        raise TypeError(
            "condensing needs a two-layer network of odd neurons, such as tanh, of which those of "
            f"opposite weights are one, got {kind_of(net)}"
        )
    v, a = params["w"], params["a"]
    if net.bias:
        v = torch.cat([v, params["b"][..., None]], dim=-1)
    if net.shared:
        merged = [_merge(v, a, angle, length)]
    else:
        merged = [_merge(v[:, p], a[:, [p]], angle, length) for p in range(len(net.windows))]
    kernels = max(1, max(len(rows) for rows, _ in merged))
    v = torch.stack([_padded(rows, kernels) for rows, _ in merged], dim=1)
    narrow = {
        "w": v[..., : net.entries].reshape(kernels, *net.shapes["w"][1:]),
        "a": torch.cat([_padded(outward, kernels) for _, outward in merged], dim=1),
    }
    if net.bias:
        narrow["b"] = v[..., -1].reshape(kernels, *net.shapes["b"][1:])
    if net.output_bias:
        narrow["c"] = params["c"]
    return replace(net, kernels=kernels), {name: narrow[name] for name in net.shapes}


def polish(
    net: TwoLayerNetwork, params: Params, inputs: Tensor, outputs: Tensor, *, bound: float = inf
) -> Fits:
    """Fit the samples by second-order steps from these parameters; see `llrnb.least_squares.fit`.

    Raises:
        As `fit`.
    """
    start = Stack.of([double_params(params)])
    return fit(net, inputs, outputs, start, bound=bound, evaluations=1000)


def _merge(v: Tensor, a: Tensor, angle: float, length: float) -> Kernels:
    """The kernels that remain, those with the largest outputs first."""
    unit = a.abs().max()  # squares of outputs must not over- or underflow
    a = a / unit if unit > 0 else a
    order = a.norm(dim=1).argsort(descending=True, stable=True)
    order = [int(k) for k in order if v[k].any() and a[k].any()]
    kept: list[Tensor] = []
    outward: list[Tensor] = []
    weight: list[float] = []
    for k in order:
        for i, other in enumerate(kept):
            sign = 1.0 if _direction(v[k]) @ _direction(other) >= 0 else -1.0
            if _alike(sign * v[k], other, angle, length):
                weight[i] += float(a[k].norm())
                kept[i] = other + (sign * v[k] - other) * (float(a[k].norm()) / weight[i])
                outward[i] = outward[i] + sign * a[k]
                break
        else:
            kept.append(v[k])
            outward.append(a[k])
            weight.append(float(a[k].norm()))
    left = [i for i in range(len(kept)) if float(outward[i].norm()) > _ROUNDING * weight[i]]
    left.sort(key=lambda i: -float(outward[i].norm()))
    rows = [v.new_zeros(0, v.shape[1]), *(kept[i][None] for i in left)]
    columns = [a.new_zeros(0, a.shape[1]), *(outward[i][None] for i in left)]
    return torch.cat(rows), torch.cat(columns) * unit


def _alike(v: Tensor, other: Tensor, angle: float, length: float) -> bool:
    """Whether two kernels agree in direction and in length."""
    apart = (_direction(v) - _direction(other)).norm()  # twice the sine of half the angle
    near = float(2 * torch.asin((apart / 2).clamp(max=1.0))) <= angle or torch.equal(v, other)
    unit = torch.maximum(v.abs().max(), other.abs().max())
    sizes = float((v / unit).norm()), float((other / unit).norm())
    return near and abs(sizes[0] - sizes[1]) <= length * max(sizes)


def _direction(v: Tensor) -> Tensor:
    """The unit vector of it, however small or large it is."""
    v = v / v.abs().max()
    return v / v.norm()


def _padded(rows: Tensor, kernels: int) -> Tensor:
    """The rows, and zeros after them."""
    return torch.cat([rows, rows.new_zeros(kernels - len(rows), rows.shape[1])])
