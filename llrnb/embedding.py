"""Critical mappings: a narrow network's parameters become a wide network's, with the same output.

A mapping is critical (Def. 11) if it also keeps critical points, for every data set. It is so if
and only if the wide network's tangent functions lie in the narrow network's tangent space (the
sharp form of Lemma 12); hence a wide network's model rank is at most the narrow one's (Thm 4).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from llrnb import checks
from llrnb.activations import activation_of
from llrnb.checks import double_params
from llrnb.deep import DeepNetwork
from llrnb.networks import Params, TwoLayerNetwork
from llrnb.rank import matrix_rank, tangent_matrix
from llrnb.rank.tangent import Model
from llrnb.streams import rng

# Below this, relative to its scale, a number that should vanish has vanished but for rounding.
_ROUNDING = 1e-10
_MOST_KERNELS = 10**5  # of a widened network: each is a copy of all before it

T = TypeVar("T", DeepNetwork, TwoLayerNetwork)

Copies = Sequence[Sequence[int | None]]


def split(
    net: DeepNetwork, params: Params, layer: int, neuron: int, share: float = 0.5
) -> tuple[DeepNetwork, dict[str, Tensor]]:
    """Split one hidden neuron in two (Fig. 1): (w, a) becomes (w, share a) and (w, (1 - share) a).

    The copy comes last in its layer, 1 .. L - 1. In a residual network the neuron is split in all
    hidden layers, so that the sums h + activation(...) keep their terms.

    Raises:
        ValueError: no such layer or neuron.
    """
    copies, shares = _unchanged(net)
    layer, neuron = checks.count(layer, "layer"), checks.count(neuron, "neuron", least=0)
    share = checks.real(share, "share")
    for split_layer in _layers_with(net, layer):
        if neuron >= net.widths[layer]:
            raise ValueError(f"layer {layer} has neurons 0..{net.widths[layer] - 1}, got {neuron}")
        copies[split_layer - 1].append(neuron)
        shares[split_layer - 1][neuron] = share
        shares[split_layer - 1].append(1 - share)
    return compatible(net, params, copies, shares)


def add_null(net: DeepNetwork, params: Params, layer: int) -> tuple[DeepNetwork, dict[str, Tensor]]:
    """Add a hidden neuron whose input and output weights are zero; activation(0) must be 0.

    Raises:
        ValueError: no such layer, or an activation with activation(0) != 0.
    """
    copies, shares = _unchanged(net)
    layer = checks.count(layer, "layer")
    for wider_layer in _layers_with(net, layer):
        copies[wider_layer - 1].append(None)
        shares[wider_layer - 1].append(0.0)
    return compatible(net, params, copies, shares)


def compatible(
    net: DeepNetwork,
    params: Params,
    copies: Copies,
    shares: Sequence[Sequence[float]] | None = None,
    mixing_seed: int | None = None,
) -> tuple[DeepNetwork, dict[str, Tensor]]:
    """The general compatible embedding: hidden neurons are copied any number of times.

    Neuron i of the wide layer l copies the narrow neuron copies[l - 1][i], or is null (None). With
    Q the 0/1 matrix that copies a layer, s the shares, R = Q^T diag(s), so that R Q = I,

        w'_l = (Q_l w_l Q_(l-1)^T) o (1 s_(l-1)^T + (I - Q_l R_l) N (I - Q_(l-1) R_(l-1)))

    (o is entrywise) for any N. The copies of a neuron have equal outputs, because the factors of
    its incoming copies sum to 1; and the derivatives by their outputs are the narrow one's times s.

    Args:
        net: the narrow network.
        params: its parameters.
        copies: for each hidden layer, which narrow neuron each wide neuron copies.
        shares: for each hidden layer, the share of each wide neuron in its narrow neuron's output,
            summing to 1; equal by default.
        mixing_seed: draws N from N(0, 1); None means N = 0. It has no effect on two layers.

    Raises:
        ValueError: copies that leave a neuron out, shares that do not sum to 1, a null neuron
            although activation(0) != 0, or a residual network whose layers differ in these.
    """
    net, params = _narrow(net, params, DeepNetwork)
    spreads = _spreads(net, copies)
    if shares is None:
        shares = [(q @ (1 / q.sum(0))).tolist() for q in spreads[1:-1]]
    else:
        shares = checks.many(partial(checks.many, checks.real), shares, "shares", fewest=0)
    portions = [
        torch.tensor(share, dtype=torch.float64, device="cpu")
        for share in ([1.0] * net.widths[0], *shares, [1.0])
    ]
    if len(shares) != net.layers - 1:
        raise ValueError(f"shares are needed for {net.layers - 1} hidden layers, got {len(shares)}")
    for spread, portion in zip(spreads[1:-1], portions[1:-1], strict=True):
        if len(portion) != len(spread) or not torch.allclose(portion @ spread, spread.new_ones(())):
            raise ValueError(f"the shares of a neuron's copies need to sum to 1, got {shares}")
    if net.residual and (len(set(map(tuple, copies))) > 1 or len(set(map(tuple, shares))) > 1):
        raise ValueError("a residual network needs the same copies and shares in all hidden layers")
    free = [
        torch.eye(len(q), dtype=torch.float64, device=q.device) - q @ (q.mT * s)
        for q, s in zip(spreads, portions, strict=True)
    ]
    mixing_seed = None if mixing_seed is None else checks.seed(mixing_seed, "mixing_seed")
    stream = rng("mixing", seed=mixing_seed or 0)
    wide = {}
    for layer in range(1, net.layers + 1):
        after, before = spreads[layer], spreads[layer - 1]
        factor = portions[layer - 1].expand(len(after), -1)
        if mixing_seed is not None:
            noise = torch.from_numpy(stream.standard_normal(factor.shape))
            factor = factor + free[layer] @ noise @ free[layer - 1]
        wide[f"w{layer}"] = after @ params[f"w{layer}"] @ before.mT * factor
        if f"b{layer}" in params:
            wide[f"b{layer}"] = after @ params[f"b{layer}"]
    return replace(net, widths=tuple(len(q) for q in spreads)), wide


def split_kernel(
    net: TwoLayerNetwork, params: Params, kernel: int, share: float = 0.5
) -> tuple[TwoLayerNetwork, dict[str, Tensor]]:
    """Split one kernel in two, at all windows: (w, b, a) to (w, b, share a), (w, b, (1 - share) a).

    For convolutions with and without sharing; with one window it splits a neuron. In floats only
    a share of 1/2 is exact: others round each product, and the exact rank sees it.

    Raises:
        ValueError: no such kernel.
    """
    net, params = _narrow(net, params, TwoLayerNetwork)
    kernel, share = checks.count(kernel, "kernel", least=0), checks.real(share, "share")
    if kernel >= net.kernels:
        raise ValueError(f"the network has kernels 0..{net.kernels - 1}, got {kernel}")
    wide = {
        name: value.clone() if name == "c" else torch.cat([value, value[[kernel]]])
        for name, value in params.items()
    }
    wide["a"][kernel] *= share
    wide["a"][-1] *= 1 - share
    return replace(net, kernels=net.kernels + 1), wide


def widen(
    net: TwoLayerNetwork, params: Params, kernels: int
) -> tuple[TwoLayerNetwork, dict[str, Tensor]]:
    """Split kernels in halves, the ones with the largest shares first, until there are so many.

    A critical mapping, and exact in floats: every share is a power of 1/2.

    Raises:
        ValueError: fewer kernels than the network has.

    >>> from llrnb.networks import fully_connected
    >>> params = {"w": torch.ones(1, 1), "a": torch.ones(1, 1)}
    >>> widen(fully_connected(1, 1, bias=False), params, kernels=3)[1]["a"].flatten().tolist()
    [0.25, 0.5, 0.25]
    """
    net, params = _narrow(net, params, TwoLayerNetwork)
    kernels = checks.count(kernels, "kernels", least=net.kernels, most=_MOST_KERNELS)
    wide = net
    whole = net.kernels  # at the beginning of the round in which all are split once
    while wide.kernels < kernels:
        if wide.kernels == 2 * whole:
            whole *= 2
        wide, params = split_kernel(wide, params, kernel=wide.kernels - whole)
    return wide, params


@dataclass(frozen=True)
class Comparison:
    """A wide network against the narrow one that was embedded in it.

    Attributes:
        output_change: largest change of the output, relative to the largest output.
        gradient: norm of the wide loss gradient where the narrow one is critical, relative to
            (2/n) |tangent matrix| |residual|.
        narrow_rank: rank of the narrow tangent functions.
        wide_rank: rank of the wide ones.
        joint_rank: rank of both together.
    """

    output_change: float
    gradient: float
    narrow_rank: int
    wide_rank: int
    joint_rank: int

    @property
    def keeps_output(self) -> bool:
        return self.output_change < _ROUNDING

    @property
    def keeps_criticality(self) -> bool:
        return self.gradient < _ROUNDING

    @property
    def keeps_tangent_space(self) -> bool:
        """Whether every wide tangent function is a combination of narrow ones."""
        return self.joint_rank == self.narrow_rank


def compare(
    narrow: Model,
    params: Params,
    wide: Model,
    wide_params: Params,
    inputs: Float[Tensor, "sample ..."],
) -> Comparison:
    """Check an embedding: its output, its critical points and its tangent space.

    The labels are made such that `params` is a critical point of the narrow network: f + e with a
    random residual e orthogonal to all its tangent functions. Any mapping can keep a global
    minimum, where e = 0; a critical mapping keeps these too.

    Raises:
        ValueError: not more inputs than the narrow network's rank.

    >>> net = DeepNetwork((2, 3, 1))
    >>> params, inputs = net.init(), torch.randn(20, 2)
    >>> compare(net, params, *split(net, params, layer=1, neuron=0), inputs).keeps_criticality
    True
    """
    params, wide_params = double_params(params), double_params(wide_params)
    inputs = checks.double(inputs, "inputs")
    tangent = tangent_matrix(narrow, params, inputs)
    wide_tangent = tangent_matrix(wide, wide_params, inputs)
    outputs, wide_outputs = (
        torch.vmap(model, in_dims=(None, 0))(at, inputs.clone())
        for model, at in ((narrow, params), (wide, wide_params))
    )
    narrow_rank = matrix_rank(tangent).rank
    if narrow_rank == len(inputs) < tangent.shape[1]:
        raise ValueError(f"the comparison needs more than {narrow_rank} inputs, the rank on them")
    basis = torch.linalg.svd(tangent, full_matrices=False).U[:, :narrow_rank]
    noise = torch.from_numpy(rng("residual").standard_normal(len(inputs)))
    residual = noise - basis @ (basis.mT @ noise)
    scale = wide_tangent.norm() * residual.norm()
    slope = wide_tangent.mT @ (wide_outputs - (outputs + residual))
    return Comparison(
        output_change=_ratio((wide_outputs - outputs).abs().max(), outputs.abs().max()),
        gradient=_ratio(slope.norm(), scale),
        narrow_rank=narrow_rank,
        wide_rank=matrix_rank(wide_tangent).rank,
        joint_rank=matrix_rank(torch.cat([tangent, wide_tangent], dim=1)).rank,
    )


def _narrow(net: T, params: Params, kind: type[T]) -> tuple[T, dict[str, Tensor]]:
    """A network and its parameters, in float64."""
    params = double_params(params)
    checks.itself(net, kind, "net").check(params)
    return net, params


def _ratio(part: Tensor, whole: Tensor) -> float:
    return float(part / whole) if part else 0.0


def _unchanged(net: DeepNetwork) -> tuple[list[list[int | None]], list[list[float]]]:
    """Copies and shares of the identity."""
    hidden = checks.itself(net, DeepNetwork, "net").widths[1:-1]
    return [list(range(width)) for width in hidden], [[1.0] * width for width in hidden]


def _layers_with(net: DeepNetwork, layer: int) -> Sequence[int]:
    """The hidden layers that change together with this one."""
    if layer >= net.layers:
        raise ValueError(f"the network has hidden layers 1..{net.layers - 1}, got {layer}")
    return range(1, net.layers) if net.residual else [layer]


def _original(neuron: int | None, name: str) -> int | None:
    return None if neuron is None else checks.count(neuron, name, least=0)


def _spreads(net: DeepNetwork, copies: Copies) -> list[Float[Tensor, "wide narrow"]]:
    """For every layer, inputs and output included, the 0/1 matrix Q that copies its neurons."""
    copies = checks.many(partial(checks.many, _original), copies, "copies")
    if len(copies) != net.layers - 1:
        raise ValueError(f"copies are needed for {net.layers - 1} hidden layers, got {len(copies)}")
    spreads = [torch.eye(net.widths[0], dtype=torch.float64, device="cpu")]
    for layer, (copied, width) in enumerate(zip(copies, net.widths[1:-1], strict=True), start=1):
        if set(copied) - {None} != set(range(width)):
            raise ValueError(f"layer {layer} needs copies of neurons 0..{width - 1}, got {copied}")
        if None in copied and activation_of(net.activation).at_zero != 0:
            raise ValueError("a null neuron needs an activation with activation(0) = 0")
        spread = torch.zeros(len(copied), width, dtype=torch.float64, device="cpu")
        for neuron, original in enumerate(copied):
            if original is not None:
                spread[neuron, original] = 1.0
        spreads.append(spread)
    return [*spreads, torch.ones(1, 1, dtype=torch.float64, device="cpu")]
