"""From cells to rows, here and now: what is stored is read, the rest is computed and stored."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import pandas as pd

from llrnb import checks, provenance, store
from llrnb.sweep.plan import BY_PARAMETERS, NAMES, Cell, Preset, distinct, groups
from llrnb.sweep.references import referred, source_of


def run(preset: Preset, folder: Path | str = "") -> pd.DataFrame:
    """Compute everything in a preset in this process; the rows, cell by cell.

    Args:
        preset: what to compute.
        folder: where each cell's rows are stored as soon as they are computed, and where what an
            earlier run stored is read. Nowhere if empty.

    Raises:
        ValueError: a cell that stands twice, a function whose file has changed since its cells
            were made, or a label with the name of a result.
        TypeError: a function that returns no DataFrame.
    """
    cells = distinct(preset.cells())
    keys = [cell.key for cell in cells]
    stored = store.finished(Path(folder), keys) if folder else set()
    made = {}
    for cell, rows, record in _computed([cell for cell in cells if cell.key not in stored]):
        made[cell.key] = rows
        if folder:
            store.write(Path(folder), cell.key, rows, record, cell.keyed)
    tables = (made[key] if key in made else store.read(Path(folder), key) for key in keys)
    return joined(tables, cells)


def joined(tables: Iterable[pd.DataFrame], cells: Sequence[Cell]) -> pd.DataFrame:
    """The rows of cells in one table, which the cells' labels name."""
    named = [_labelled(rows, cell) for rows, cell in zip(tables, cells, strict=True)]
    return pd.concat(named, ignore_index=True)


def _labelled(rows: pd.DataFrame, cell: Cell) -> pd.DataFrame:
    """With a cell's labels as the first columns, whatever they were called when it was stored."""
    own = set(rows) & set(cell.parameters)  # say more than the parameters of these names
    old = set(NAMES) if cell.compute in BY_PARAMETERS else set()  # columns of older files
    if taken := sorted(set(rows) & set(cell.labels) - own - old):
        raise ValueError(f"labels need names that {cell.compute} gives no columns, got {taken}")
    labels = {name: value for name, value in cell.labels.items() if name not in own}
    return rows.assign(**labels)[[*labels, *(name for name in rows if name not in labels)]]


def _computed(cells: list[Cell]) -> Iterator[tuple[Cell, pd.DataFrame, dict[str, str]]]:
    """Cells, their rows and how these came about."""
    for batch in groups(cells):
        function = _function(batch[0])
        device = batch[0].others.get("device", "cpu")
        together = getattr(function, "together", None)
        if together and device != "cpu" and len(batch) > 1:
            yield from _in_one_call(together, batch, device)
            continue
        for cell in batch:
            with provenance.timed(device) as record:
                rows = function(**cell.parameters)
            yield cell, _table(rows, cell), record


def _function(cell: Cell) -> Callable:
    """What computes a cell, of the text that its key stands for."""
    function = referred(cell.compute)
    if cell.source and (now := source_of(cell.compute)) != cell.source:
        raise ValueError(f"{cell.compute} needs a file with the hash {cell.source}, got {now}")
    return function


def _in_one_call(together: Callable, cells: list[Cell], device: str) -> Iterator[tuple]:
    """The same, on a GPU, for which a cell is too small."""
    with provenance.timed(device) as record:
        tables = together([cell.parameters for cell in cells])
    parts = provenance.parts(record, len(cells))
    for cell, rows, part in zip(cells, tables, parts, strict=True):
        yield cell, _table(rows, cell), part


def _table(rows: object, cell: Cell) -> pd.DataFrame:
    return checks.instance(rows, pd.DataFrame, f"what {cell.compute} returns")


def shown(
    rows: pd.DataFrame, functions: Sequence[str] = (), summary: Path | str = ""
) -> pd.DataFrame | None:
    """What a job's notebook shows of its rows: what functions of them give, or they themselves.

    Args:
        rows: of `run`.
        functions: references, such as "llrnb.sweep:means" or "llrnb.figures:learning_curves".
        summary: a file for the last table of theirs, or for the rows, in JSON.
    """
    found = [referred(function)(rows) for function in functions]
    tables = [one for one in found if isinstance(one, pd.DataFrame)]
    if summary:
        text = [rows, *tables][-1].to_json(orient="records", indent=2)
        Path(summary).write_text(text, "utf-8")
    for table in tables:
        from IPython.display import display

        display(table)
    return None if found else rows
