"""Recovery in the model itself, near a target: how far off exact fits are, from what samples.

Local linear recovery speaks of the tangent space T at parameters of the target. Near them the model
is T and a remainder. A direction z in which no tangent function changes still bends the function,
by D^2 f[z, z]; these functions, with T, are the second-order space. Samples that tell the functions
of a space apart, E_X injective on it, bind exact fits to the order of its remainder.
"""

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
from llrnb.rank.rounding import EPS, measured
from llrnb.rank.tangent import Model, checked, derivatives
from llrnb.streams import rng

_STEP = 2.0**-6  # of the parameters' spread, where it is seen whether a model is smooth


@dataclass(frozen=True)
class LocalOrder:
    """How the error of exact fits near a target falls with their distance, at given inputs.

    Attributes:
        order: p, if exact fits at the distance e have an error of at most C e^p: 3 if the samples
            tell all functions of the second-order space apart, 2 if those of T, else 1. None where
            rounding leaves it open, or where the outputs bend so sharply that they may have kinks.
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

    Proposition "Order of recovery" and theorem "Third order" of the book. An order is a bound for
    fits that are near enough; at regular points, and for some splits, they are even exact
    (`local_sample_size`). Cost: some hundred second derivatives on some hundred inputs.

    Args:
        model: a torch function of (params, one input), or a module; three times differentiable.
        params: those of the target, in any of its representations; None for a module's own.
        inputs: the samples, along the first axis.

    Raises:
        As `numerical_rank`; ValueError for a model that is too large for its tangent matrix to be
        kept, or of which torch has no second derivatives side by side.

    >>> from llrnb.networks import fully_connected
    >>> w = torch.tensor([[1.0, 2.0]]).repeat(4, 1)  # one neuron, in four copies
    >>> net, split = fully_connected(2, 4, bias=False), {"w": w, "a": torch.ones(4, 1)}
    >>> inputs = torch.randn(7, 2, dtype=torch.float64, generator=torch.manual_seed(0))
    >>> [local_order(net, split, inputs[:n]).order for n in (2, 3, 7)]
    [1, 2, 3]
    """
    model, params, inputs = checked(model, params, inputs)
    if not inputs.is_floating_point():
        raise ValueError(
            f"a local order needs real numbers as inputs, and draws more, got {inputs.dtype}"
        )
    first, generic = on_generic_inputs(model, params, tuple(inputs.shape[1:]))
    here = matrix_rank(*measured(model, params, inputs))
    try:
        straight = first.rank == sum(value.numel() for value in params.values())
        spaces = (first, here) if straight else _second_order(model, params, first, generic, inputs)
        smooth = _is_smooth(model, params, inputs.shape[1:])
    except RuntimeError as error:  # of many kinds, by what a model does
        raise ValueError(
            f"a local order needs a model whose second derivatives torch.func takes, got {error}"
        ) from error
    order = _order(first, here, *spaces) if smooth else None
    return LocalOrder(order, first, here, *spaces)


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


def _is_smooth(model: Model, params: Params, shape: torch.Size) -> bool:
    """Whether third differences of the outputs fall as they do where there are no kinks.

    They fall by 8 with half the step; across a kink, on so many inputs, by about 2.
    """
    stream = rng("second-order inputs")
    inputs = torch.from_numpy(stream.standard_normal((1024, *shape)))
    outputs = torch.vmap(model, in_dims=(None, 0))
    way = {
        name: torch.from_numpy(stream.standard_normal(value.shape)) * _spread(value)
        for name, value in params.items()
    }

    def third(step: float) -> float:
        moved = (
            {name: value + k * step * way[name] for name, value in params.items()} for k in range(4)
        )
        values = [outputs(there, inputs) for there in moved]
        return float((values[3] - 3 * values[2] + 3 * values[1] - values[0]).abs().max())

    whole, half = third(_STEP), third(_STEP / 2)
    size = float(outputs(params, inputs).abs().max())
    return half <= max(whole / 4, 1e3 * EPS * size)


def _spread(value: Tensor) -> float:
    return float(value.square().mean().sqrt()) or 1.0


def _second_order(
    model: Model, params: Params, first: NumericalRank, generic: Tensor, inputs: Tensor
) -> tuple[NumericalRank, NumericalRank]:
    """The dimension of the second-order space, and of its values on the inputs.

    A quadratic map spans with random arguments what it spans with all of them: so many are drawn
    that the rank is at most half of their number.
    """
    null = torch.cat([part.flatten(1) for part in first.null_directions.values()], dim=1)
    count = 64
    while True:
        space = _Space(null, count, 1 / first.gap)
        found = space.rank(model, params, generic)
        if 2 * found.rank <= min(len(generic), count) or count > first.rank + len(null) ** 2:
            return found, space.rank(model, params, inputs)
        count *= 2
        more = rng("second-order inputs").standard_normal((2 * count, *generic.shape[1:]))
        generic = torch.from_numpy(more)


class _Space:
    """The tangent functions, and D^2 f[z, z] for so many random null directions z."""

    def __init__(self, null: Tensor, count: int, off: float) -> None:
        draws = rng("null directions").standard_normal((count, len(null)))
        self.ways = torch.nn.functional.normalize(torch.from_numpy(draws) @ null, dim=1)
        # Null directions are known up to rounding.
        error = rng("last digits", seed=1).standard_normal(tuple(self.ways.shape))
        self.nearby = self.ways + off * torch.nn.functional.normalize(
            torch.from_numpy(error), dim=1
        )

    def rank(self, model: Model, params: Params, inputs: Tensor) -> NumericalRank:
        room("the second derivatives", len(inputs), *self.ways.shape)
        found, errors = measured(model, params, inputs, of=self.matrix)
        nearby = _matrix(model, params, inputs, self.nearby) - found
        return matrix_rank(found, torch.cat([errors, nearby[None]]))

    def matrix(self, model: Model, params: Params, inputs: Tensor) -> Tensor:
        """A column for each tangent function, and for each direction."""
        return _matrix(model, params, inputs, self.ways)


def _matrix(model: Model, params: Params, inputs: Tensor, ways: Tensor) -> Tensor:
    tangent = derivatives(model, params, inputs)
    bent = torch.vmap(lambda way: _bending(model, params, inputs, way))(ways)
    return torch.cat([tangent, bent.flatten(1).mT], dim=1)


def _bending(model: Model, params: Params, inputs: Tensor, way: Tensor) -> Tensor:
    """D^2 f[z, z] at each input."""
    parts = dict(zip(params, way.split([value.numel() for value in params.values()]), strict=True))
    z = {name: parts[name].reshape(value.shape) for name, value in params.items()}
    outputs = torch.vmap(model, in_dims=(None, 0))

    def slope(at: Params) -> Tensor:
        return torch.func.jvp(lambda here: outputs(here, inputs), (at,), (z,))[1]

    return torch.func.jvp(slope, (dict(params),), (z,))[1]


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
