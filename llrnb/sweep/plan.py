"""What a preset asks for, in pieces: cells with keys, and the jobs that compute them."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from inspect import signature
from math import isfinite
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pandas as pd

from llrnb import checks, store
from llrnb.descriptions import describe_optimizer, describe_target
from llrnb.laws import Law, describe_law
from llrnb.provenance import PHYSICS
from llrnb.sweep.references import reference_to, source_of, where_defined
from llrnb.targets import Target
from llrnb.training import Optimizer


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
# Functions whose parameters alone are their cells' keys: they are older than other functions.
BY_PARAMETERS = {
    "llrnb.sweep.recovery:train_cell",
    "llrnb.sweep.limit:limit_cell",
    "llrnb.sweep.phase:phase_cell",
    "llrnb.sweep.own:own_cell",
}
NAMES = ("variant", "family", "multiple")  # columns that rows need not have


@dataclass(frozen=True)
class Cell:
    """A piece of a sweep with a row file of its own.

    Attributes:
        compute: what computes it, "package.module:name" or "file.py:name" of a function of its
            parameters that returns a DataFrame. If that has an attribute `together`, a function of
            a list of several cells' parameters, which returns a list of DataFrames, a GPU computes
            the cells of a job by one call of it.
        parameters: everything that its rows depend on, in JSON's values.
        labels: columns of its rows that only name them, by values. No number depends on them, so
            that cells which differ in nothing else have one key, and are computed once. A column
            that the rows have of a parameter stays as it is.
        seconds: a guess at its time on one core.
        batched: cells that differ in this parameter only may share a job.
        source: a hash of the file of a function of one's own; it is found if it is not given.

    Raises:
        ValueError: values that are not JSON's, a list or a dict as a label, a label that says
            something else than the parameter of its name, or a reference to nothing.
    """

    compute: str
    parameters: Mapping
    labels: Mapping = field(default_factory=dict)
    seconds: float = 1.0
    batched: str = "samples"
    source: str = ""

    def __post_init__(self) -> None:
        given = checks.mapping(self.parameters, "parameters")
        parameters = {name: as_json(v, name) for name, v in given.items()}
        labels = as_labels(self.labels)
        checks.settle(self, parameters=parameters, labels=labels)
        if wrong := [name for name in labels if parameters.get(name, labels[name]) != labels[name]]:
            raise ValueError(f"labels need other names or the parameters' values, got {wrong}")
        if self.compute not in BY_PARAMETERS and not self.source:
            compute = where_defined(reference_to(self.compute))
            checks.settle(self, compute=compute, source=source_of(compute))

    @cached_property
    def keyed(self) -> dict:
        """What its key holds beside the version of the physics: its parameters, and its function by
        name and text unless it is one of this package's four.
        """
        if self.compute in BY_PARAMETERS:
            return dict(self.parameters)
        name = self.compute.rpartition("/")[2]
        return {"compute": name, "source": self.source, "parameters": self.parameters}

    @cached_property
    def key(self) -> str:
        return key_of(self.keyed)

    @property
    def others(self) -> dict:
        """The parameters in which the cells of a job do not differ."""
        return {name: value for name, value in self.parameters.items() if name != self.batched}


def as_json(value: Any, name: str) -> Any:
    """A value as JSON has it: dicts with words as keys, lists, texts, finite numbers, True, False
    and None.

    Raises:
        ValueError: another value.
    """
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: as_json(part, f"{name}[{key!r}]") for key, part in value.items()}
    if isinstance(value, list | tuple | range):
        return [as_json(part, f"each of {name}") for part in value]
    if value is None or isinstance(value, str | int) or (type(value) is float and isfinite(value)):
        return value
    raise ValueError(
        f"{name} needs values of JSON (dicts, lists, texts, finite numbers, True, False, None), "
        f"got {checks.came(value)}"
    )


def as_labels(value: object) -> dict:
    """What names rows: texts, finite numbers, True, False and None.

    Raises:
        ValueError: other values.
    """
    labels = as_json(checks.mapping(value, "labels"), "labels")
    if wrong := {name: v for name, v in labels.items() if isinstance(v, list | dict)}:
        raise ValueError(f"labels need single values, got {checks.came(wrong)}")
    return labels


def fields_for(function: Callable, preset: object, always: Collection[str] = ()) -> dict:
    """The fields of a preset that a cell's function takes by their names, as that takes them.

    Those that are as the function has them by default are left out, unless they are in `always`,
    so that a new option leaves the keys of stored rows as they are.
    """
    found = {}
    for name, parameter in signature(function).parameters.items():
        if hasattr(preset, name):
            value = described(getattr(preset, name))
            if name in always or value != parameter.default:
                found[name] = value
    return found


def described(value: object) -> object:
    """A target, a law or an optimizer as a file has it; anything else as it is."""
    if isinstance(value, Law):
        return describe_law(value)
    if isinstance(value, Target):
        return describe_target(value)
    return describe_optimizer(value) if isinstance(value, Optimizer) else value


def key_of(parameters: Mapping) -> str:
    """The key of the cell with these parameters."""
    return store.key_of({**parameters, "physics": PHYSICS})


def distinct(cells: Iterable[Cell]) -> list[Cell]:
    """The cells; raises ValueError if two have one key and the same labels."""
    cells, seen = list(cells), set()
    for cell in cells:
        rows = (cell.key, frozenset(cell.labels.items()))
        if rows in seen:
            raise ValueError(
                "a sweep needs different cells or variants, got one twice: "
                f"{dict(cell.labels)}, {cell.batched} {cell.parameters.get(cell.batched)}"
            )
        seen.add(rows)
    return cells


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


def grouping(table: pd.DataFrame, by: Iterable[str]) -> list[str]:
    """These columns, without those of a variant, a family or a multiple that a table lacks."""
    checks.table(table, [])
    return [name for name in by if name in table or name not in NAMES]


@runtime_checkable
class Preset(Protocol):
    """What a sweep runs: anything that has cells."""

    def cells(self) -> list[Cell]: ...


def _preset(value: object, name: str) -> Preset:
    return checks.instance(value, Preset, name)


@dataclass(frozen=True)
class Union:
    """Several presets as one sweep; their variants tell the rows apart.

    Raises:
        ValueError: by `cells`, if two have a cell in common under the same labels.
    """

    presets: tuple[Preset, ...]

    def __post_init__(self) -> None:
        checks.settle(self, presets=checks.many(_preset, self.presets, "presets"))

    def cells(self) -> list[Cell]:
        return distinct(cell for preset in self.presets for cell in preset.cells())


Together = Union  # its name before; it goes with the next release


@dataclass(frozen=True)
class Job:
    """Cells that one run of the notebook computes: they differ in one parameter."""

    cells: tuple[Cell, ...]

    @property
    def parameters(self) -> dict:
        """Of the notebook; those of a `Grid`."""
        first, batched = self.cells[0], self.cells[0].batched
        varied = [cell.parameters[batched] for cell in self.cells if batched in cell.parameters]
        return {
            "compute": first.compute,
            "each": {batched: varied} if varied else {},
            "fixed": first.others,
            "labels": {name: v for name, v in first.labels.items() if name != batched},
            "source": first.source,
        }

    @property
    def seconds(self) -> float:
        return sum(cell.seconds for cell in self.cells)


def groups(cells: Iterable[Cell]) -> list[list[Cell]]:
    """Cells that differ in what is batched only; of those with one key, the first."""
    first: dict[str, Cell] = {}
    for cell in cells:
        first.setdefault(cell.key, cell)
    found: dict[str, list[Cell]] = {}
    for cell in first.values():
        key = store.key_of({"of": [cell.compute, cell.batched, cell.source, cell.others]})
        found.setdefault(key, []).append(cell)
    return list(found.values())


def jobs(cells: Iterable[Cell]) -> list[Job]:
    """Jobs of about a minute for these cells, the longest first.

    Of cells with one key only the first has a job.
    """
    bundles: list[list[Cell]] = []
    for group in groups(cells):
        bundles.append([])
        for cell in group:
            if (
                bundles[-1]
                and sum(c.seconds for c in bundles[-1]) > _SECONDS_PER_JOB - cell.seconds
            ):
                bundles.append([])
            bundles[-1].append(cell)
    found = [Job(tuple(bundle)) for bundle in bundles]
    return sorted(found, key=lambda job: -job.seconds)
