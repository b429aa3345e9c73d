"""Which parameters are redundant, by name and by which symmetry: each one carried out and checked.

A symmetry moves the parameters along a curve and leaves all outputs as they are, so that the
derivative along it is zero at every input, and the rank at most the number of parameters less that
of independent symmetries. Candidates come from the tangent matrix: what it takes to zero among

- moves of one tensor, of two, or of all vectors along a straight line,
- products E W and W' E^-1 of a tensor and of another, or of blocks of them, for every matrix E,
- scalings of the slices of tensors.

A candidate counts where the move itself, by much and by little, both ways, changes no output at
fresh inputs by more than rounding.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import combinations
from math import log, prod
from typing import Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Real
from torch import Tensor

from llrnb import checks
from llrnb.checks import double_params
from llrnb.models import Model, as_model
from llrnb.networks import Params
from llrnb.rank.certified import Certificate, certify_rank
from llrnb.rank.numerical import numerical_rank, on_generic_inputs, shape_of_input
from llrnb.rank.singular import NumericalRank
from llrnb.rank.spectrum import Spectrum
from llrnb.rank.tangent import tangent_matrix
from llrnb.rank.unchanged import Move, Outputs
from llrnb.streams import rng

Kind = Literal["unused", "equal", "shift", "mixing", "scaling"]
Directions = Float[Tensor, "param _"]

_STRAIGHT = (1.0, -1.0, 32.0, -32.0)  # how far, in units of the largest parameter
_SCALED = tuple(k * log(2.0) for k in (1.0, -1.0, 16.0, -16.0))  # to 1 / 65,536 and back
_MIXED = (0.5, -0.5, 1.5)
_POINTS = 2  # further parameters at which a direction must be null
_FEW, _MANY = 24, 500  # inputs of each size
_SIZES = (1.0, 0.125, 8.0, 1024.0)  # of inputs, where none are given
_SIMPLE = 12  # what is near a twelfth of a whole number is meant to be that
_PRECISE = 2.0**-40
_NEW = 1e-6  # how far from the span of others a direction is independent of them


@dataclass(frozen=True)
class Symmetry:
    """Moves of some parameters that change no output.

    Attributes:
        kind: "unused": the outputs do not depend on them; "equal": of two, only the sum matters;
            "shift": any other straight line; "mixing": E W and W' E^-1; "scaling": of slices.
        names: of the parameters that it moves.
        count: the directions that it adds to those of the symmetries before it.
        directions: all its directions, by name, with a leading axis.
    """

    kind: Kind
    names: tuple[str, ...]
    count: int
    directions: dict[str, Float[Tensor, "direction ..."]] = field(repr=False)


@dataclass(frozen=True)
class Redundancy:
    """How many parameters count, and what the others do.

    Attributes:
        parameters: number of them.
        numerical: the rank by singular values.
        proof: of a lower bound, if it was asked for.
        symmetries: those that were verified.
        rounding: of the outputs, relative to them.
    """

    parameters: int
    numerical: NumericalRank
    proof: Certificate | None
    symmetries: tuple[Symmetry, ...]
    rounding: float

    @property
    def verified(self) -> int:
        """Number of independent directions of the symmetries."""
        return sum(symmetry.count for symmetry in self.symmetries)

    @property
    def lower(self) -> int:
        """What is proved, or shown by singular values that are clear of rounding."""
        return self.proof.lower if self.proof else self.numerical.at_least

    @property
    def upper(self) -> int:
        """The parameters less the verified directions."""
        return self.parameters - self.verified

    @property
    def rank(self) -> int | None:
        """Where both bounds meet; None elsewhere, or if outputs have too few digits to tell."""
        few = self.rounding > _PRECISE and self.symmetries
        return self.lower if self.lower == self.upper and not few else None

    @property
    def unexplained(self) -> int:
        """Directions that are missing in the lower bound, and are of no symmetry that was found."""
        return max(0, self.upper - self.lower)

    @property
    def verdict(self) -> str:
        """The bounds in words. What is verified holds to rounding at fresh inputs: no proof."""
        below = "proved" if self.proof else "by singular values"
        if self.lower > self.upper:
            return f"undecided: at least {self.lower} {below}, at most {self.upper} by symmetries"
        if self.rank is not None:
            return f"{self.rank}: from below {below}, from above by verified symmetries"
        words = f"from {self.lower} ({below}) to {self.upper} (by verified symmetries)"
        if self.lower == self.upper:
            return f"undecided: {words}, but outputs are known to {self.rounding:.0e} only"
        doubt = "" if self.proof or self.numerical.convincing else f"; {self.numerical.reason}"
        return f"{words}: {self.unexplained} unexplained{doubt}"

    def table(self) -> pd.DataFrame:
        """A row for each kind of symmetry and set of parameters: kind, parameters, count."""
        rows: list[tuple[str, str, int]] = [
            (one.kind, ", ".join(one.names), one.count) for one in self.symmetries
        ]
        if self.unexplained:
            rows.append(("unexplained", "", self.unexplained))
        return pd.DataFrame(rows, columns=["kind", "parameters", "count"])


def redundancy(
    model: Model | torch.nn.Module,
    params: Params | None = None,
    inputs: Real[Tensor, "sample ..."] | None = None,
    *,
    input_shape: tuple[int, ...] | None = None,
    fresh: Real[Tensor, "other ..."] | None = None,
    proved: bool = False,
) -> Redundancy:
    """Which parameters of a model are redundant, and by which symmetry.

    The counts hold at these parameters, to the last digits of the outputs: two neurons that differ
    by less count as one. Where several symmetries share a direction, the first one has it: their
    order decides how a sum splits.

    Args:
        model, params, inputs, input_shape: as in `numerical_rank`.
        fresh: inputs at which symmetries are checked, in place of normal ones.
        proved: whether the lower bound is that of `certify_rank`, on normal inputs.

    Raises:
        As `numerical_rank`, and as `certify_rank` where it is asked; ValueError for a model that is
        too large for its tangent matrix to be kept.

    >>> layers = torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2)
    >>> found = redundancy(torch.nn.Sequential(*layers), input_shape=(3,))
    >>> found.verdict
    '22: from below by singular values, from above by verified symmetries'
    >>> found.table().to_numpy().tolist()
    [['scaling', '0.weight, 0.bias, 2.weight', 4]]
    """
    checks.flag(proved, "proved")
    if inputs is None:
        if fresh is not None:
            raise ValueError("fresh inputs need others that they are compared with, got None")
        shape = shape_of_input(model, input_shape)
        called, params = as_model(model, params, shape)
        found, inputs = on_generic_inputs(called, params, shape)
    else:
        inputs = checks.reals(inputs, "inputs")
        called, params = as_model(model, params, tuple(inputs.shape[1:]))
        found = numerical_rank(called, params, inputs, fresh=fresh)
    if found.spectrum is None:
        raise ValueError(
            "a report on redundancy needs a tangent matrix of at most 5 * 10^7 entries, "
            f"got {len(inputs):,} inputs and {sum(v.numel() for v in params.values()):,} parameters"
        )
    proof = certify_rank(called, params, input_shape=tuple(inputs.shape[1:])) if proved else None
    search = _Search(
        called,
        double_params(params),
        found,
        found.spectrum,
        inputs,
        *(_checked_at(inputs, fresh, each) for each in (_FEW, _MANY)),
    )
    search.unused()
    search.mixing()
    search.lines(1)
    search.lines(2)
    search.lines_of_vectors()
    search.scaling()
    return Redundancy(len(search.theta), found, proof, tuple(search.symmetries), search.few.digits)


def _checked_at(inputs: Tensor, fresh: Tensor | None, each: int) -> list[Tensor]:
    """Groups of inputs of one size: some of those given, or so many normal ones of each size."""
    given = checks.numbers(inputs if fresh is None else fresh, "inputs")
    if fresh is not None or not given.is_floating_point():
        given = given[:: max(1, len(given) // (len(_SIZES) * each))]
        return [given.double() if given.is_floating_point() else given]
    stream, spread = rng("inputs of symmetries"), given.double().square().mean().sqrt()
    shape = (len(_SIZES), each, *given.shape[1:])
    normal = torch.from_numpy(stream.standard_normal(shape))
    return [size * spread * some for size, some in zip(_SIZES, normal, strict=True)]


class _Search:
    """The symmetries of a model that are found so far."""

    def __init__(
        self, model: Callable, params: Params, found: NumericalRank, spectrum: Spectrum,
        inputs: Tensor, few: list[Tensor], many: list[Tensor],
    ) -> None:  # fmt: skip
        self.model, self.params, self.inputs = model, params, inputs
        self.shapes = {name: tuple(value.shape) for name, value in params.items()}
        self.theta = torch.cat([value.flatten() for value in params.values()])
        ends = np.cumsum([0, *(prod(shape) for shape in self.shapes.values())])
        self.places = {
            name: torch.arange(int(a), int(b), device="cpu")
            for name, a, b in zip(self.shapes, ends, ends[1:], strict=False)
        }
        self.spectrum, self.length = spectrum, spectrum.length
        self.matrix = _reduced(spectrum.tangent / spectrum.length)
        self.largest = (spectrum.tangent / spectrum.length).abs().max()
        self.unit = float(self.theta.abs().max().clamp_min(1.0))
        self.floor = 4 * found.cut
        self.missing = len(self.theta) - found.rank
        self.few, self.many = (Outputs(model, params, groups) for groups in (few, many))
        self.symmetries: list[Symmetry] = []
        self.span = self.matrix.new_zeros(len(self.theta), 0)
        self.stream = rng("symmetries")

    def unused(self) -> None:
        """Parameters of which nothing depends, one by one."""
        still = self.matrix.norm(dim=0) <= self.floor
        places = still.nonzero().flatten()
        inside = torch.eye(len(places), dtype=torch.float64, device="cpu")
        self._straight(places, inside, torch.ones_like(places, dtype=torch.bool))

    def lines(self, tensors: int) -> None:
        """Straight lines in every so many tensors."""
        for names in combinations(self.shapes, tensors):
            self._lines(torch.cat([self.places[name] for name in names]))

    def lines_of_vectors(self) -> None:
        """Straight lines in all biases, and other vectors and numbers."""
        vectors = [name for name, shape in self.shapes.items() if len(shape) < 2]
        if len(vectors) > 2:
            self._lines(torch.cat([self.places[name] for name in vectors]))

    def mixing(self) -> None:
        """Products with a matrix and with its inverse, of pairs of slots."""
        sizes = sorted({slot.size for slot in self._slots()}, reverse=True)
        for size in sizes:
            slots = [slot for slot in self._slots() if slot.size == size]
            drawn = self._drawn(size, size) / size**0.5
            ahead = torch.stack([self._turned(slot, drawn) for slot in slots], dim=1)
            back = torch.stack([self._turned(slot, -drawn.mT) for slot in slots], dim=1)
            of_ahead, of_back = self.matrix @ ahead, self.matrix @ back
            for p, first in enumerate(slots):
                left = (of_ahead[:, p, None] + of_back).norm(dim=0)
                length = (ahead[:, p, None] + back).norm(dim=0)
                for q in (left <= self.floor * length).nonzero().flatten().tolist():
                    if not first.overlaps(slots[q]):
                        self._mixed(first, slots[q], drawn)

    def scaling(self) -> None:
        """Scalings of the slices of all tensors along all axes, at the same rates everywhere."""
        if self.complete:
            return
        slices = torch.stack([*self._slices()], dim=1)
        some = self.theta != 0
        draws = [self.theta * (0.5 * self._drawn(len(self.theta))).exp() for _ in range(_POINTS)]
        points = [(self.theta, self.matrix), *((theta, self._at(theta)) for theta in draws)]
        along = torch.cat(
            [matrix @ (slices * (theta * self.length)[:, None]) for theta, matrix in points]
        )
        sizes = (slices * (self.theta * self.length)[:, None]).norm(dim=0)
        slices, along, sizes = (part[..., sizes > 0] for part in (slices, along, sizes))
        rates = slices @ (self._null(along / sizes) / sizes[:, None])
        rates[~some] = 0
        basis, exact = _sparse(_independent(rates))

        def move(some: Tensor) -> Move:
            most = float(some.abs().max())
            return lambda t: self._named(self.theta * (some * (t / most)).exp())

        self._take(basis, exact, move, _SCALED, lambda rate: "scaling", self.theta[:, None])

    @property
    def complete(self) -> bool:
        """Whether all that is missing in the rank is explained."""
        return self.span.shape[1] >= self.missing

    def _lines(self, places: Tensor) -> None:
        """Straight lines through some entries.

        Where not all that are lines to first order are lines, those that are so whatever the
        values of these entries: a second try, with fewer candidates, known to more digits.
        """
        if self.complete:
            return
        matrix = self.matrix[:, places]
        if not self._straight(places, *_sparse(self._null(matrix) / self.length[places, None])):
            redrawn = [
                self.theta.index_add(0, places, self.unit * self._drawn(len(places)))
                for _ in range(_POINTS)
            ]
            matrix = torch.cat([matrix, *(self._at(theta)[:, places] for theta in redrawn)])
            self._straight(places, *_sparse(self._null(matrix) / self.length[places, None]))

    def _straight(self, places: Tensor, inside: Tensor, exact: Tensor) -> bool:
        """Take those straight lines that hold; whether all do."""
        basis = self.theta.new_zeros(len(self.theta), inside.shape[1])
        basis[places] = inside

        def move(some: Tensor) -> Move:
            step = some * (self.unit / float(some.abs().max()))
            return lambda t: self._named(self.theta + t * step)

        ones = torch.ones_like(self.theta)[:, None]
        return self._take(basis, exact, move, _STRAIGHT, _kind_of_line, ones)

    def _take(
        self, basis: Tensor, exact: Tensor, move: Callable[[Tensor], Move],
        sizes: tuple[float, ...], kind: Callable[[Tensor], Kind], factor: Tensor,
    ) -> bool:  # fmt: skip
        """Of candidates those that are new and that hold, to the symmetries; whether all do."""
        new = self._beyond(basis * factor).norm(dim=0) > _NEW
        basis, exact = basis[:, new], exact[new]
        held = self._held([*range(basis.shape[1])], basis, exact, move, sizes)
        groups: dict[tuple[Kind, tuple[str, ...]], list[int]] = {}
        for k in held:
            groups.setdefault((kind(basis[:, k]), self._moved(basis[:, k])), []).append(k)
        for (word, names), members in groups.items():
            self._add(word, names, basis[:, members] * factor)
        return len(held) == basis.shape[1]

    def _held(
        self, members: list[int], basis: Tensor, exact: Tensor, move: Callable[[Tensor], Move],
        sizes: tuple[float, ...],
    ) -> list[int]:  # fmt: skip
        """The candidates that hold: all, if a random one of their span does; else by halves."""
        if not members:
            return []
        weights = self._drawn(len(members))
        some = basis[:, members] @ weights
        if self._holds(move(some), sizes, bool(exact[members].all())):
            return members
        half = len(members) // 2
        parts = (members[:half], members[half:]) if half else ()
        return [k for part in parts for k in self._held(part, basis, exact, move, sizes)]

    def _mixed(self, first: "_Slot", second: "_Slot", drawn: Tensor) -> None:
        size = first.size
        units = torch.eye(size * size, dtype=torch.float64, device="cpu").view(-1, size, size)
        basis = (
            torch.stack(
                [self._turned(first, e) + self._turned(second, -e.mT) for e in units], dim=1
            )
            / self.length[:, None]
        )
        if float(self._beyond(basis).norm(dim=0).max()) <= _NEW:
            return

        def move(t: float) -> Params:
            there = torch.linalg.matrix_exp(t * drawn)
            found = first.acted(dict(self.params), there)
            return second.acted(found, torch.linalg.inv(there).mT)

        if self._holds(move, _MIXED, True):
            self._add("mixing", self._moved(basis.abs().sum(1)), basis)

    def _holds(self, move: Move, sizes: tuple[float, ...], exact: bool) -> bool:
        """First at a few inputs, for most candidates fail there."""
        return all(at.unchanged(move, sizes, exact) for at in (self.few, self.many))

    def _add(self, kind: Kind, names: tuple[str, ...], directions: Directions) -> None:
        beyond = self._beyond(directions)
        left, values, _ = torch.linalg.svd(beyond, full_matrices=False)
        count = int((values > _NEW).sum())
        if count:
            self.span = torch.linalg.qr(torch.cat([self.span, left[:, :count]], dim=1))[0]
            named = self.spectrum.named(directions / directions.norm(dim=0))
            own = {name: named[name] for name in names}
            self._merge(Symmetry(kind, names, count, own))

    def _merge(self, new: Symmetry) -> None:
        """One symmetry for each kind and its parameters."""
        for k, old in enumerate(self.symmetries):
            if (old.kind, old.names) == (new.kind, new.names):
                own = {n: torch.cat([old.directions[n], new.directions[n]]) for n in new.names}
                self.symmetries[k] = replace(old, count=old.count + new.count, directions=own)
                return
        self.symmetries.append(new)

    def _beyond(self, directions: Directions) -> Directions:
        """What directions, of length 1 in scaled columns, have outside of the span."""
        scaled = directions * self.length[:, None]
        scaled = scaled / scaled.norm(dim=0).clamp_min(1e-300)
        for _ in range(2):
            scaled = scaled - self.span @ (self.span.mT @ scaled)
        return scaled

    def _null(self, columns: Tensor) -> Tensor:
        return _null_of(columns, self.floor)

    def _at(self, theta: Float[Tensor, " param"]) -> Float[Tensor, "row param"]:
        """The scaled tangent matrix at other parameters, with the rows of the first one's size."""
        tangent = tangent_matrix(self.model, self._named(theta), self.inputs) / self.length
        return _reduced(tangent * (self.largest / tangent.abs().max().clamp_min(1e-300)))

    def _drawn(self, *shape: int) -> Tensor:
        return torch.from_numpy(self.stream.standard_normal(shape))

    def _named(self, theta: Float[Tensor, " param"]) -> Params:
        return {name: theta[at].view(self.shapes[name]) for name, at in self.places.items()}

    def _moved(self, direction: Float[Tensor, " param"]) -> tuple[str, ...]:
        return tuple(name for name, at in self.places.items() if direction[at].any())

    def _slices(self) -> Iterator[Float[Tensor, " param"]]:
        """1 in a slice of a tensor, 0 elsewhere."""
        for name, shape in self.shapes.items():
            places = self.places[name].view(shape)
            if not shape:
                yield torch.zeros_like(self.theta).index_fill_(0, places.view(1), 1.0)
            for axis, size in enumerate(shape):
                for k in range(size):
                    at = places.select(axis, k).flatten()
                    yield torch.zeros_like(self.theta).index_fill_(0, at, 1.0)

    def _slots(self) -> Iterator["_Slot"]:
        """What a matrix may act on: blocks of an axis, with the bias of the same outputs."""
        for name, shape in self.shapes.items():
            bias = name.replace("weight", "bias")
            with_bias = len(shape) > 1 and bias != name and self.shapes.get(bias) == shape[:1]
            for axis, whole in enumerate(shape if len(shape) > 1 else ()):
                names = (name, bias) if with_bias and axis == 0 else (name,)
                for size in range(2, whole + 1):
                    if whole % size:
                        continue
                    for block in range(whole // size):
                        yield _Slot(names, axis, size, block * size, 1)
                    if size < whole:
                        yield _Slot(names, axis, size, 0, whole // size)

    def _turned(self, slot: "_Slot", matrix: Tensor) -> Float[Tensor, " param"]:
        """The direction, in scaled columns, in which a slot moves if a matrix acts on it."""
        still = {name: torch.zeros_like(value) for name, value in self.params.items()}
        identity = torch.eye(slot.size, dtype=torch.float64, device="cpu")
        ahead = slot.acted(dict(self.params), matrix + identity)
        for name in slot.names:
            still[name] = ahead[name] - self.params[name]
        return torch.cat([value.flatten() for value in still.values()]) * self.length


@dataclass(frozen=True)
class _Slot:
    """Entries of an axis, from a first one on, that a matrix mixes: `inner` at a time."""

    names: tuple[str, ...]
    axis: int
    size: int
    start: int
    inner: int

    def acted(self, params: dict, matrix: Tensor) -> dict:
        """The parameters with the matrix times what is in the slot."""
        for name in self.names:
            value = params[name].movedim(self.axis, 0).clone()
            part = value[self.start : self.start + self.size * self.inner]
            mixed = torch.tensordot(matrix, part.reshape(self.size, self.inner, -1), dims=1)
            part.copy_(mixed.reshape(part.shape))
            params[name] = value.movedim(0, self.axis)
        return params

    def overlaps(self, other: "_Slot") -> bool:
        """Whether another slot has entries of the same axis."""
        if (self.names[0], self.axis) != (other.names[0], other.axis):
            return False
        ends = [one.start + one.size * one.inner for one in (self, other)]
        return self.start < ends[1] and other.start < ends[0]


def _kind_of_line(direction: Float[Tensor, " param"]) -> Kind:
    values = direction[direction != 0]
    if len(values) == 1:
        return "unused"
    return "equal" if len(values) == 2 and float(values.sum()) == 0 else "shift"


def _reduced(matrix: Tensor) -> Tensor:
    """Fewer rows, of the same null vectors and singular values."""
    return torch.linalg.qr(matrix, mode="r")[1] if matrix.shape[0] > matrix.shape[1] else matrix


def _null_of(matrix: Tensor, floor: float) -> Tensor:
    """Orthonormal vectors that a matrix takes to no more than a floor."""
    _, values, rows = torch.linalg.svd(matrix, full_matrices=True)
    return rows[int((values > floor).sum()) :].mT


def _independent(vectors: Directions) -> Directions:
    left, values, _ = torch.linalg.svd(vectors, full_matrices=False)
    return left[:, values > _NEW * values.max().clamp_min(1e-300)] if len(values) else left


def _sparse(basis: Float[Tensor, "entry vector"]) -> tuple[Tensor, Tensor]:
    """Another basis of the same span, with a 1 and zeros in as many rows, and simple numbers.

    Returns:
        The basis, and of each vector whether all its numbers are simple, hence exact.
    """
    if not basis.numel():
        return basis, torch.ones(basis.shape[1], dtype=torch.bool, device="cpu")
    size = basis.abs().amax(1).clamp_min(1e-300)
    rows = torch.from_numpy(_pivots(basis.numpy() / size.numpy()[:, None]))
    basis = torch.linalg.solve(basis[rows].mT, basis.mT).mT
    basis = basis / basis.abs().amax(0)
    simple = (basis * _SIMPLE).round() / _SIMPLE
    near = (basis - simple).abs() < _NEW
    basis = torch.where(near & ((simple == 0) | near.all(0)), simple, basis)
    return basis, near.all(0)


def _pivots(basis: np.ndarray) -> np.ndarray:
    from scipy.linalg import qr

    return qr(basis.T, mode="r", pivoting=True)[1][: basis.shape[1]]
