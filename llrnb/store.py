"""Rows on disk and back: one file per cell, written whole or not at all.

A cell is whatever was computed in one piece; its key is a hash of everything that the rows depend
on. A folder may hold the cells of many sweeps, and nothing in it is ever overwritten by others.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import filelock
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

_KEY, _PROVENANCE = b"llrnb.key", b"llrnb.provenance"


class DamagedRows(Exception):
    """A file that is not the whole of the rows that it should hold."""


class FolderInUse(Exception):
    """Another process is filling the folder."""


def key_of(parameters: Mapping) -> str:
    """The key of a cell: equal parameters have equal keys, on every machine.

    Raises:
        TypeError: values that are not JSON's (dicts with string keys, lists, strings, numbers,
            booleans, None).
        ValueError: NaN or infinity.

    >>> key_of({"samples": 20, "std": 1e-10}) == key_of({"std": 1e-10, "samples": 20})
    True
    """
    canonical = json.dumps(parameters, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:20]


def path_of(folder: Path, key: str) -> Path:
    """Where a cell's rows are, or will be."""
    return folder / "rows" / f"{key}.parquet"


def write(
    folder: Path, key: str, table: pd.DataFrame, provenance: Mapping[str, str] | None = None
) -> None:
    """Store a cell's rows, and beside them in the file how they came about.

    Under a temporary name first, so that no reader meets a part of them.
    """
    rows = pa.Table.from_pandas(table, preserve_index=False)
    about = {_KEY: key.encode(), _PROVENANCE: json.dumps(dict(provenance or {})).encode()}
    rows = rows.replace_schema_metadata({**rows.schema.metadata, **about})
    path = path_of(folder, key)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _renamed_when_whole(path) as temporary:
        pq.write_table(rows, temporary, write_page_checksum=True)


def read(folder: Path, key: str) -> pd.DataFrame:
    """A cell's rows.

    Raises:
        FileNotFoundError: the cell is not there.
        DamagedRows: the file is cut off or altered, or holds another cell.
    """
    path = path_of(folder, key)
    try:
        rows = pq.read_table(path, page_checksum_verification=True)
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise DamagedRows(f"{path} cannot be read as the rows of a cell: {error}") from error
    held = (rows.schema.metadata or {}).get(_KEY, b"none").decode()
    if held != key:
        raise DamagedRows(f"{path} needs to hold the rows of cell {key}, but holds {held}")
    return rows.to_pandas()


def provenance(folder: Path, key: str) -> dict[str, str]:
    """How a cell's rows came about."""
    return json.loads(pq.read_schema(path_of(folder, key)).metadata[_PROVENANCE])


def finished(folder: Path, keys: Iterable[str]) -> set[str]:
    """Which of these cells are there, whole. A damaged file is set aside, not deleted."""
    done = set()
    for key in keys:
        path = path_of(folder, key)
        if not path.exists():
            continue
        try:
            read(folder, key)
        except DamagedRows:
            path.replace(path.with_suffix(f".damaged-{uuid4().hex[:8]}"))
        else:
            done.add(key)
    return done


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Hold the folder for one driver. The lock goes when its process does, however it ends.

    Raises:
        FolderInUse: another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with filelock.FileLock(folder / ".lock", timeout=0):
            yield
    except filelock.Timeout:
        raise FolderInUse(
            f"the results folder needs to be free, but another process is filling {folder}"
        ) from None


def publish(path: Path, table: pd.DataFrame, manifest: Mapping) -> None:
    """Write a table as parquet at `path`, and beside it a JSON manifest with its hash.

    Args:
        path: ends in .parquet; the manifest ends in .json.
        table: tidy, one row per network or program.
        manifest: how the table came about, in JSON's values.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _renamed_when_whole(path) as temporary:
        table.to_parquet(temporary, index=False, compression="zstd")
        digest = hashlib.sha256(temporary.read_bytes()).hexdigest()
    whole = {**manifest, "rows": len(table), "columns": list(table.columns), "sha256": digest}
    with _renamed_when_whole(path.with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps(whole, indent=2, ensure_ascii=False) + "\n", "utf-8")


def published(path: Path) -> tuple[pd.DataFrame, dict]:
    """A published table and its manifest.

    Raises:
        FileNotFoundError: one of the two is missing.
        DamagedRows: the table is not the one that the manifest describes.
    """
    manifest = json.loads(path.with_suffix(".json").read_text("utf-8"))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != manifest["sha256"]:
        raise DamagedRows(f"{path} needs the hash {manifest['sha256']}, got {digest}")
    return pd.read_parquet(path), manifest


@contextmanager
def _renamed_when_whole(path: Path) -> Iterator[Path]:
    """A temporary name in the same folder; the file gets its own name only once it is on disk."""
    temporary = path.with_name(f".{path.name}.{uuid4().hex[:8]}")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
