"""Recovery in the model itself, near a target: how far off exact fits are, from what samples.

Local linear recovery speaks of the tangent space T at parameters of the target. Near them the model
is T and a remainder. A direction z in which no tangent function changes still bends the function,
by D^2 f[z, z]; these functions, with T, are the second-order space. Samples that tell the functions
of a space apart, E_X injective on it, bind exact fits to the order of its remainder.
"""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from jaxtyping import Real
from torch import Tensor

from llrnb.checks import double_params, room
from llrnb.networks import Params, TwoLayerNetwork
from llrnb.rank import NumericalRank, matrix_rank
from llrnb.rank.exact import by_neuron, structure
from llrnb.rank.modular import sparse_rank
from llrnb.rank.numerical import on_generic_inputs
from llrnb.rank.rounding import EPS
from llrnb.rank.tangent import checked, derivatives
from llrnb.streams import rng

Model = Callable[[Params, Tensor], Tensor]


@dataclass(frozen=True)
class LocalOrder:
    """How the error of exact fits near a target falls with their distance, at given inputs.

    Attributes:
        order: p, if exact fits at the distance e have an error of at most C e^p: 3 if the samples
            tell all functions of the second-order space apart, 2 if those of T, else 1. None where
            rounding leaves it open.
        first: the rank of T, the model rank.
        first_here: the rank of T on the inputs.
        second: the dimension of the second-order space, T and all D^2 f[z, z].
        second_here: the same on the inputs.
    """

    order: int | None
    first: NumericalRank
    first_here: NumericalRank
    second: NumericalRank
    second_here: NumericalRank


def local_order(
    model: Model | torch.nn.Module, params: Params | None, inputs: Real[Tensor, "sample ..."]
) -> LocalOrder:
    """The order of recovery near parameters of a target, from their values at these inputs.

    Theorem "Order of recovery" (chapter "From the tangent plane to the model"). An order is a
    bound for fits that are near enough; at regular points, and for some splits, they are even
    exact (`local_sample_size`). Cost: some hundred second derivatives on some hundred inputs.

    Args:
        model: a smooth torch function of (params, one input), or a module; with kinks, as those of
            ReLU, nothing is proved.
        params: those of the target, in any of its representations; None for a module's own.
        inputs: the samples, along the first axis.

    Raises:
        As `numerical_rank`.

    >>> from llrnb.networks import fully_connected
    >>> w = torch.tensor([[1.0, 2.0]]).repeat(4, 1)  # one neuron, in four copies
    >>> net, split = fully_connected(2, 4, bias=False), {"w": w, "a": torch.ones(4, 1)}
    >>> inputs = torch.randn(7, 2, dtype=torch.float64, generator=torch.manual_seed(0))
    >>> [local_order(net, split, inputs[:n]).order for n in (2, 3, 7)]
    [1, 2, 3]
    """
    model, params, inputs = checked(model, params, inputs)
    first, generic = on_generic_inputs(model, params, tuple(inputs.shape[1:]))
    here = matrix_rank(derivatives(model, params, inputs))
    spaces = _second_order(model, params, generic, inputs, first.rank)
    return LocalOrder(_order(first, here, *spaces), first, here, *spaces)


def _order(
    first: NumericalRank, here: NumericalRank, second: NumericalRank, second_here: NumericalRank
) -> int | None:
    """What the ranks say, where they are convincing."""
    if not (first.convincing and here.convincing):
        return None
    if here.rank < first.rank:
        return 1
    if second.convincing and second_here.convincing:
        return 3 if second_here.rank == second.rank else 2
    return None


def _second_order(
    model: Model, params: Params, generic: Tensor, inputs: Tensor, rank: int
) -> tuple[NumericalRank, NumericalRank]:
    """The dimension of the second-order space, and of its values on the inputs."""
    tangent = derivatives(model, params, generic)
    length = tangent.norm(dim=0).where(tangent.any(0), tangent.new_ones(()))
    _, values, directions = torch.linalg.svd(tangent / length, full_matrices=True)
    directions = directions.mT / length[:, None]
    basis, null = directions[:, :rank], directions[:, rank:]
    if not null.shape[1]:
        return matrix_rank(tangent), matrix_rank(derivatives(model, params, inputs))
    count, error = 64, EPS * len(length) / float(values[rank - 1] if rank else 1.0)
    while True:
        wide = _columns(model, params, generic, basis, null, count)
        found = matrix_rank(wide, _errors(wide, rank, error))
        if 2 * found.rank <= min(wide.shape) or count > rank + null.shape[1] ** 2:
            break
        count *= 2
        more = rng("second-order inputs").standard_normal((2 * count, *generic.shape[1:]))
        generic = torch.from_numpy(more)
    here = _columns(model, params, inputs, basis, null, count)
    return found, matrix_rank(here, _errors(here, rank, error))


def _columns(
    model: Model, params: Params, inputs: Tensor, basis: Tensor, null: Tensor, count: int
) -> Tensor:
    """The values of T's basis, and of D^2 f[z, z] for so many random z without first-order change.

    A quadratic map spans with random arguments what it spans with all of them.
    """
    room("the second derivatives", len(inputs), count, len(null))
    draws = rng("null directions").standard_normal((null.shape[1], count))
    z = null @ torch.from_numpy(draws)
    bent = torch.vmap(lambda way: _bending(model, params, inputs, way))(
        z.mT / z.norm(dim=0)[:, None]
    )
    return torch.cat([derivatives(model, params, inputs) @ basis, bent.flatten(1).mT], dim=1)


def _bending(model: Model, params: Params, inputs: Tensor, way: Tensor) -> Tensor:
    """D^2 f[z, z] at each input."""
    parts = dict(zip(params, way.split([value.numel() for value in params.values()]), strict=True))
    z = {name: parts[name].reshape(value.shape) for name, value in params.items()}

    def slope(at: Params) -> Tensor:
        outputs = torch.vmap(model, in_dims=(None, 0))
        return torch.func.jvp(lambda here: outputs(here, inputs), (at,), (z,))[1]

    return torch.func.jvp(slope, (dict(params),), (z,))[1]


def _errors(columns: Tensor, rank: int, error: float) -> Tensor:
    """Of the size of the columns' errors: directions that are null up to rounding bend T's, too."""
    size = columns[:, rank:].abs().max().clamp_min(1.0) * error
    errors = torch.zeros_like(columns)
    errors[:, rank:] = size * torch.from_numpy(
        rng("last digits", seed=1).uniform(-1, 1, (len(columns), columns.shape[1] - rank))
    )
    return errors[None]


@dataclass(frozen=True)
class LocalSampleSize:
    """Bounds of the number of samples that make exact fits near a target the target.

    Attributes:
        least: fewer samples leave, for almost every draw, wrong exact fits arbitrarily near.
        most: so many samples, or more, exclude them near enough, for almost every draw.
        reason: what the bounds rest on.
    """

    least: int
    most: int
    reason: str


def local_sample_size(net: TwoLayerNetwork, params: Params) -> LocalSampleSize:
    """From how many samples the target is the only exact fit near these parameters.

    For two-layer tanh networks, by the structure of the stored numbers: equal kernels are copies,
    one ulp apart they are not. `least` is a rank of parameters of the same function nearby. Every
    kernel with all its copies is

    - regular, if its output weights (arrays, where kernels are shared) are linearly independent;
    - a positive split, if no weights are shared and all output weights have one sign;
    - an even split, if kernels are shared and its arrays are positive multiples of one;

    and if each is one of these, `most` is the sum of their counts (chapter "From the tangent plane
    to the model"), if it is less than the number of parameters; else that number.

    Raises:
        As `exact_rank`.

    >>> from llrnb.networks import fully_connected
    >>> w = torch.tensor([[1.0, 2.0]]).repeat(4, 1)
    >>> local_sample_size(fully_connected(2, 4, bias=False), {"w": w, "a": torch.ones(4, 1)})
    LocalSampleSize(least=3, most=6, reason='positive split')
    """
    found = structure(net, params)
    copies = _copies(net, {name: value.numpy() for name, value in double_params(params).items()})
    windows = len(net.windows) if net.shared else 1
    if (found.classes == 0).any() or found.distinct != len(copies) * windows:
        why = "no theorem: neurons without input weights, or translates of each other"
        return LocalSampleSize(found.rank, net.parameter_count, why)
    entries = net.entries + net.bias
    kinds = [_kind(np.array(arrays), entries) for arrays in copies.values()]
    least = sum(kind[0] for kind in kinds) + net.output_bias
    most = [kind[1] for kind in kinds]
    reasons = sorted({kind[2] for kind in kinds})
    if None in most:
        return LocalSampleSize(least, net.parameter_count, "no theorem: " + ", ".join(reasons))
    sure = min(sum(count for count in most if count) + net.output_bias, net.parameter_count)
    return LocalSampleSize(least, sure, ", ".join(reasons))


def _copies(
    net: TwoLayerNetwork, values: dict[str, np.ndarray]
) -> dict[tuple[int, bytes], list[np.ndarray]]:
    """The output weights of all copies, flipped to one sign, for every kernel."""
    w, b, a = by_neuron(net, values)
    copies: dict[tuple[int, bytes], list[np.ndarray]] = {}
    for kernel in range(len(a)):
        for window in range(1 if net.shared else a.shape[1]):
            vector = np.append(w[kernel, window], b[kernel, window])
            sign = np.sign(vector[np.flatnonzero(vector)[0]]) if vector.any() else 1.0
            key = window, (sign * vector + 0.0).tobytes()
            outputs = a[kernel] if net.shared else a[kernel, window : window + 1]
            copies.setdefault(key, []).append(sign * outputs)
    return copies


def _kind(arrays: np.ndarray, entries: int) -> tuple[int, int | None, str]:
    """`least`, `most` and the kind of one kernel's copies, from their output weights."""
    count, windows = arrays.shape
    idle = int((~arrays.any(axis=1)).sum())
    least = _least(arrays, entries, idle)
    if count == idle == 1:
        return windows, windows, "regular"
    rows, columns = np.indices(arrays.shape)
    if sparse_rank(rows.ravel(), columns.ravel(), arrays.ravel()) == count:
        return least, windows + count * entries, "regular"
    if idle or not _one_sided(arrays):
        return least, None, "output weights of a kernel's copies that are zero, mixed or uneven"
    if windows == 1:
        steps = min(count - 1, entries)
        return least, 1 + entries + entries * steps - steps * (steps - 1) // 2, "positive split"
    bends = entries * (entries + 1) // 2
    return least, windows + windows * entries + bends, "even split"


def _least(arrays: np.ndarray, entries: int, idle: int) -> int:
    """The largest rank found nearby: copies share their sum unevenly, idle ones leave in groups."""
    count, windows = arrays.shape
    total = any(sum(map(Fraction, column)) for column in arrays.T.tolist())

    def rank(together: int, free: int) -> int:
        """Of a group in one place, whose arrays are so many free ones."""
        return windows + entries * min(free, windows) if together else 0

    # A group of idle copies may go elsewhere with arrays that add up to 0.
    elsewhere = [0]
    for left in range(1, idle + 1):
        sizes = range(1, min(left, windows + 1) + 1)
        elsewhere.append(max(rank(size, size - 1) + elsewhere[left - size] for size in sizes))
    return max(
        rank(count - away, count - away - (not total)) + elsewhere[away] for away in range(idle + 1)
    )


def _one_sided(arrays: np.ndarray) -> bool:
    """Whether all arrays are positive multiples of one, as stored."""
    first, *others = [[Fraction(value) for value in array] for array in arrays.tolist()]
    at = next(place for place, value in enumerate(first) if value)
    return all(
        other[at] * first[at] > 0
        and [other[at] * value for value in first] == [first[at] * value for value in other]
        for other in others
    )
