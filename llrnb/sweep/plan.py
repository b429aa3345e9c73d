"""What a preset asks for, in pieces: cells with keys, and the jobs that compute them."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Protocol, runtime_checkable

import pandas as pd

from llrnb import checks, store
from llrnb.provenance import PHYSICS


def _counts(value: object, name: str) -> dict[str, int]:
    """A dict of counts."""
    items = checks.mapping(value, name).items()
    return {key: checks.count(part, f"{name}[{key!r}]") for key, part in items}


def _or_none(check: Callable) -> Callable:
    return lambda value, name: None if value is None else check(value, name)


def _in_text(check: Callable) -> Callable:
    return lambda value, name: check(checks.meant(value), name)


_counted, _rates = partial(checks.many, checks.count), partial(checks.real, above=0)
# How arguments of cells and fields of presets are checked, by their annotations.
KINDS: dict[object, Callable] = {
    int: checks.count,
    float: partial(checks.real, least=0),
    str: checks.text,
    str | None: _or_none(checks.text),
    int | None: _or_none(checks.count),
    float | None: _or_none(partial(checks.real, least=0)),
    tuple[int, ...]: _counted,
    tuple[float, ...]: partial(checks.many, _rates),
    Sequence[int]: partial(_counted, fewest=0, least=0),
    Sequence[float]: partial(checks.many, _rates),
    Mapping: checks.mapping,
    Mapping[str, int]: _counts,
    Mapping[str, int] | None: _or_none(_counts),
}
# The values of a cell may come from a file; a name in it may look like a number.
cell = checks.by_annotation(
    {k: check if k in (str, str | None) else _in_text(check) for k, check in KINDS.items()}
)


# A job of less would lose too much of its time on starting a kernel.
_SECONDS_PER_JOB = 60.0


@dataclass(frozen=True)
class Cell:
    """A piece of a sweep with a row file of its own.

    Attributes:
        parameters: everything that its rows depend on, in JSON's values.
        seconds: a guess at its time on one core.
        labels: columns of its rows that only name them. No number depends on them, so that cells
            which differ in nothing else have one key, and are computed once.
    """

    parameters: Mapping
    seconds: float
    labels: Mapping = field(default_factory=dict)

    @cached_property
    def key(self) -> str:
        """Of its parameters without the labels, and of the version of the physics."""
        return key_of(self.parameters, self.labels)


def key_of(parameters: Mapping, labels: Collection[str] = ()) -> str:
    """The key of the cell with these parameters, of which some are only labels."""
    numbers = {name: value for name, value in parameters.items() if name not in labels}
    return store.key_of({**numbers, "physics": PHYSICS})


def different(values: Iterable, name: str) -> None:
    """Raise ValueError if a value stands twice: its rows would count twice in every mean."""
    values = list(values)
    if len(set(values)) < len(values):
        raise ValueError(f"{name} need to be different, got {values}")


def one_row_per_trial(table: pd.DataFrame, by: Sequence[str]) -> None:
    """Raise ValueError if a trial has several rows that these columns do not tell apart."""
    twice = table.duplicated([*by, "trial"])
    if twice.any():
        example = table[[*by, "trial"]].iloc[int(twice.to_numpy().argmax())].to_dict()
        raise ValueError(
            f"each trial needs one row for the same {', '.join(by)}, got several for {example}"
        )


@runtime_checkable
class Preset(Protocol):
    """What a sweep runs.

    Attributes:
        notebook: the notebook in llrnb/jobs that computes its cells.
        along: the parameter in which the cells of one job may differ.
    """

    notebook: str
    along: str

    def cells(self) -> list[Cell]: ...

    def compute(self, **cell) -> pd.DataFrame: ...


def _preset(value: object, name: str) -> Preset:
    return checks.instance(value, Preset, name)


@dataclass(frozen=True)
class Together:
    """Several presets of one kind as one sweep; their variants tell the rows apart.

    Raises:
        ValueError: by `cells`, if two have a cell in common under the same labels.
    """

    presets: tuple[Preset, ...]

    def __post_init__(self) -> None:
        presets = checks.many(_preset, self.presets, "presets")
        if len({preset.notebook for preset in presets}) > 1:
            raise ValueError(f"presets together need to be of one kind, got {checks.came(presets)}")
        checks.settle(self, presets=presets)

    @property
    def notebook(self) -> str:
        return self.presets[0].notebook

    @property
    def along(self) -> str:
        return self.presets[0].along

    def cells(self) -> list[Cell]:
        cells = [cell for preset in self.presets for cell in preset.cells()]
        seen = set()
        for cell in cells:
            rows = (cell.key, *cell.labels.values())
            if rows in seen:
                raise ValueError(
                    "presets together need different cells or variants, got one twice: "
                    f"{dict(cell.labels)}, {self.along} {cell.parameters[self.along]}"
                )
            seen.add(rows)
        return cells

    def compute(self, **cell) -> pd.DataFrame:
        return self.presets[0].compute(**cell)


@dataclass(frozen=True)
class Job:
    """Cells that one run of a notebook computes, one after the other."""

    cells: tuple[Cell, ...]
    along: str

    @property
    def parameters(self) -> dict:
        """Of the notebook: those of the cells, with the one that differs as a list."""
        first = self.cells[0].parameters
        return {**first, self.along: [cell.parameters[self.along] for cell in self.cells]}

    @property
    def seconds(self) -> float:
        return sum(cell.seconds for cell in self.cells)


def jobs(cells: Iterable[Cell], along: str, done: Collection[str] = ()) -> list[Job]:
    """Jobs of about a minute for the cells that are not done, the longest first.

    Of cells with one key only the first has a job.
    """
    groups: dict[str, list[Cell]] = {}
    first: dict[str, Cell] = {}
    for cell in cells:
        first.setdefault(cell.key, cell)
    for key, cell in first.items():
        if key not in done:
            others = {name: value for name, value in cell.parameters.items() if name != along}
            groups.setdefault(store.key_of(others), []).append(cell)
    bundles: list[list[Cell]] = []
    for group in groups.values():
        bundles.append([])
        for cell in group:
            if (
                bundles[-1]
                and sum(c.seconds for c in bundles[-1]) > _SECONDS_PER_JOB - cell.seconds
            ):
                bundles.append([])
            bundles[-1].append(cell)
    found = [Job(tuple(bundle), along) for bundle in bundles]
    return sorted(found, key=lambda job: -job.seconds)
