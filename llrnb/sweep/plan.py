"""What a preset asks for, in pieces: cells with keys, and the jobs that compute them."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, runtime_checkable

import pandas as pd

from llrnb import store

# Raise this when a change of the package changes any row: then no stored row counts as done.
PHYSICS = 1

# A job of less would lose too much of its time on starting a kernel.
_SECONDS_PER_JOB = 60.0


@dataclass(frozen=True)
class Cell:
    """A piece of a sweep with a row file of its own.

    Attributes:
        parameters: everything that its rows depend on, in JSON's values.
        seconds: a guess at its time on one core.
    """

    parameters: Mapping
    seconds: float

    @cached_property
    def key(self) -> str:
        """Of its parameters and of the version of the physics."""
        return key_of(self.parameters)


def key_of(parameters: Mapping) -> str:
    """The key of the cell with these parameters."""
    return store.key_of({**parameters, "physics": PHYSICS})


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


@dataclass(frozen=True)
class Together:
    """Several presets of one kind as one sweep; their variants tell the rows apart."""

    presets: tuple[Preset, ...]

    @property
    def notebook(self) -> str:
        return self.presets[0].notebook

    @property
    def along(self) -> str:
        return self.presets[0].along

    def cells(self) -> list[Cell]:
        return [cell for preset in self.presets for cell in preset.cells()]

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
    """Jobs of about a minute for the cells that are not done, the longest first."""
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        if cell.key not in done:
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
