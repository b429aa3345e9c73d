"""Is any change of a stored file noticed? Fresh tables, written, damaged and read again."""

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from llrnb import store
from tools.search import Case

KINDS = ("untouched", "one bit", "some bytes", "cut off", "longer", "zeros", "a piece moved")


def case(seed: int) -> Case:
    """One table as a row file or as a publication, one change of its bytes, one verdict."""
    rng = np.random.default_rng(seed)
    kind, published = str(rng.choice(KINDS)), bool(rng.integers(2))
    with tempfile.TemporaryDirectory() as name:
        read, path = _stored(Path(name), table(rng), published, rng)
        before, whole = read(), path.read_bytes()
        path.write_bytes(changed(whole, kind, rng))
        same = path.read_bytes() == whole
        said = _said(read, before)
    right = said == "as written" if same else said in ("damaged", "as written")
    function = "llrnb.store.published" if published else "llrnb.store.read"
    return Case(function, kind, said, "right" if right else "false", clean=same)


def table(rng: np.random.Generator) -> pd.DataFrame:
    """Of one to six columns of several types and up to forty rows, some of them missing."""
    rows = int(rng.integers(40))
    makers = (
        lambda: rng.normal(size=rows) * 10.0 ** rng.integers(-300, 300),
        lambda: rng.integers(-(10**9), 10**9, rows),
        lambda: rng.choice(["converged", "diverged", "ü"], rows),
        lambda: rng.random(rows) < 0.5,
        lambda: np.where(rng.random(rows) < 0.5, np.nan, 1.0),
    )
    columns = range(int(rng.integers(1, 7)))
    return pd.DataFrame({f"column {n}": makers[rng.integers(len(makers))]() for n in columns})


def changed(whole: bytes, kind: str, rng: np.random.Generator) -> bytes:
    """The contents after an accident of this kind."""
    data, at = bytearray(whole), int(rng.integers(len(whole)))
    if kind == "one bit":
        data[at] ^= 1 << int(rng.integers(8))
    elif kind == "some bytes":
        data[at : at + 8] = rng.bytes(len(data[at : at + 8]))
    elif kind == "cut off":
        del data[at:]
    elif kind == "longer":
        data += rng.bytes(int(rng.integers(1, 100)))
    elif kind == "zeros":
        data[at : at + 64] = bytes(len(data[at : at + 64]))
    elif kind == "a piece moved":
        data[:at], data[at:] = data[at:], data[:at]
    return bytes(data)


def _stored(folder: Path, rows: pd.DataFrame, published: bool, rng: np.random.Generator):
    """How to read the table that was stored, and one of its files."""
    if published:
        path = folder / "table.parquet"
        store.publish(path, rows, {"core_hours": float(rng.random()), "device": ["cpu"]})
        one = path if rng.integers(2) else path.with_suffix(".json")
        return lambda: store.published(path), one
    key = store.key_of({"seed": int(rng.integers(2**31))})
    store.write(folder, key, rows, {"processor": "abacus"}, {"samples": 6})
    about = lambda: (store.provenances(folder, [key]), store.parameters(folder, key))  # noqa: E731
    return lambda: (store.read(folder, key), about()), next((folder / "rows").iterdir())


def _said(read, before) -> str:
    try:
        rows, about = read()
    except store.DamagedRows:
        return "damaged"
    same = rows.equals(before[0]) and (rows.dtypes == before[0].dtypes).all()
    return "as written" if same and about == before[1] else "something else"
