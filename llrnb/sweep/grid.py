"""The sweep of any function: every combination of some of its parameters."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from inspect import signature
from itertools import product

from llrnb import checks
from llrnb.sweep.plan import Cell, as_json, as_labels, different
from llrnb.sweep.references import reference_to, referred, source_of, where_defined


@dataclass(frozen=True)
class Grid:
    """Call a function of one's own with every combination of some parameters; each is a cell.

    A cell's key holds a hash of the file that the function stands in: after a change of it, cells
    are computed anew.

    Attributes:
        compute: the function, or "file.py:name" or "package.module:name" of it. It takes the
            parameters by their names and returns a DataFrame.
        each: for some parameters, the values to try: values of JSON. They become columns, except
            for lists and dicts.
        fixed: the values of other parameters.
        labels: columns that only name the rows, by single values.
        seconds: a guess at a cell's time on one core.
        source: what the file was found to be; empty if that does not matter.

    Raises:
        ValueError: a reference to nothing, parameters that the function does not take, a value that
            stands twice, as 1 and 1.0 do, one that JSON does not have, or a label of the name of a
            parameter in `each`.

    >>> preset = Grid("llrnb.sweep.recovery:looks", {"steps": (10, 20), "count": (1, 3)})
    >>> [tuple(cell.parameters.values()) for cell in preset.cells()]
    [(10, 1), (10, 3), (20, 1), (20, 3)]
    """

    compute: Callable | str
    each: Mapping = field(default_factory=dict)
    fixed: Mapping = field(default_factory=dict)
    labels: Mapping = field(default_factory=dict)
    seconds: float = 10.0
    source: str = ""

    def __post_init__(self) -> None:
        reference = where_defined(reference_to(self.compute))
        each, fixed = (
            as_json(checks.mapping(getattr(self, name), name), name) for name in ("each", "fixed")
        )
        for name, values in each.items():
            different(checks.many(_by_value, values, f"each[{name!r}]"), f"values of {name}")
        labels = as_labels(self.labels)
        different([*each, *labels], "the names in each and labels")
        seconds = checks.real(self.seconds, "seconds", least=0)
        checks.settle(
            self, compute=reference, each=each, fixed=fixed, labels=labels, seconds=seconds
        )
        _fits(referred(reference), [*each, *fixed], reference)

    def cells(self) -> list[Cell]:
        """All combinations; the last of the parameters varies fastest.

        Raises:
            ValueError: the function's file is not that of `source` any more.
        """
        compute = reference_to(self.compute)
        source = source_of(compute)
        if self.source not in ("", source):
            raise ValueError(
                f"{self.compute} needs a file with the hash {self.source}, got {source}"
            )
        combinations = product(*self.each.values())
        varied = [dict(zip(self.each, values, strict=True)) for values in combinations]
        return [self._cell(compute, one, source) for one in varied]

    def _cell(self, compute: str, varied: dict, source: str) -> Cell:
        columns = {name: one for name, one in varied.items() if not isinstance(one, list | dict)}
        parameters, labels = {**self.fixed, **varied}, {**columns, **self.labels}
        return Cell(compute, parameters, labels, self.seconds, self.batched, source)

    @property
    def batched(self) -> str:
        """In what the cells of one job differ: the samples, or the parameter of most values."""
        if "samples" in self.each or not self.each:
            return "samples"
        return max(self.each, key=lambda name: len(self.each[name]))


def _by_value(value: object, name: str) -> object:
    """What is the same for values that are equal, of which dicts and lists are no keys."""
    if isinstance(value, dict):
        return frozenset((key, _by_value(part, name)) for key, part in value.items())
    return tuple(_by_value(part, name) for part in value) if isinstance(value, list) else value


def _fits(function: object, names: list[str], reference: str) -> None:
    """Raise unless a function can be called with these parameters by name."""
    if not callable(function):
        raise TypeError(f"{reference} needs to be a function, got {checks.came(function)}")
    different(names, "the parameters in each and fixed")
    try:
        signature(function).bind(**dict.fromkeys(names))
    except TypeError as error:
        raise ValueError(f"{reference} needs other parameters than {names}: {error}") from None
