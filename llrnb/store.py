"""Rows on disk and back: one file per cell, written whole or not at all, with its hash in its name.

A cell is whatever was computed in one piece; its key is a hash of everything that the rows depend
on. A folder may hold the cells of many sweeps, and nothing in it is ever overwritten.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

import filelock
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from llrnb.provenance import PHYSICS

_KEY, _PROVENANCE, _PARAMETERS = b"llrnb.key", b"llrnb.provenance", b"llrnb.parameters"
_KNOWN, _SEAL = ".known", "manifest_sha256"
_LENGTH = 20  # of a key and of a hash in a name
_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False).encode


class DamagedRows(Exception):
    """A file that is not the whole of what it should hold."""


class OldRows(Exception):
    """A published table of another version of the physics."""


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
    return hashlib.sha256(_canonical(parameters).encode()).hexdigest()[:_LENGTH]


def write(
    folder: Path,
    key: str,
    table: pd.DataFrame,
    provenance: Mapping[str, str] | None = None,
    parameters: Mapping | None = None,
) -> None:
    """Store a cell's rows, and beside them in the file how they came about and from what.

    No reader meets a part of them, and whole rows that are there already are kept instead.
    """
    rows = pa.Table.from_pandas(table, preserve_index=False)
    about = {_PROVENANCE: dict(provenance or {}), _PARAMETERS: dict(parameters or {})}
    texts = {_KEY: key, **{name: json.dumps(value) for name, value in about.items()}}
    data = _parquet(rows.replace_schema_metadata({**rows.schema.metadata, **texts}))
    if key not in finished(folder, [key]):
        (folder / "rows").mkdir(parents=True, exist_ok=True)
        _put({folder / "rows" / f"{key}-{_digest(key, data)}.parquet": data})


def read(folder: Path, key: str) -> pd.DataFrame:
    """A cell's rows.

    Raises:
        FileNotFoundError: the cell is not there.
        DamagedRows: the file is cut off or altered, or was another cell's.
    """
    return next(read_all(folder, [key]))


def read_all(folder: Path, keys: Iterable[str]) -> Iterator[pd.DataFrame]:
    """The rows of many cells, one after the other; raises as `read`."""
    return (rows.to_pandas() for rows in _rows(folder, keys))


def provenances(folder: Path, keys: Iterable[str]) -> list[dict[str, str]]:
    """How the rows of these cells came about; raises as `read`."""
    return [json.loads(rows.schema.metadata[_PROVENANCE]) for rows in _rows(folder, keys)]


def parameters(folder: Path, key: str) -> dict:
    """What a cell's rows were computed from; raises as `read`."""
    (rows,) = _rows(folder, [key])
    return json.loads(rows.schema.metadata[_PARAMETERS])


def held(folder: Path) -> set[str]:
    """The keys of the cells whose rows are in a folder, by the names of its files alone."""
    return set(_names(folder))


def finished(folder: Path, keys: Iterable[str]) -> set[str]:
    """Which of these cells are there, whole. A damaged file is set aside, not deleted."""
    done = set()
    for key, name in _names_of(folder, keys):
        path = folder / "rows" / name
        if _is_whole(path):
            done.add(key)
        else:
            with suppress(FileNotFoundError):  # another process has done it
                path.replace(path.with_suffix(f".damaged-{uuid4().hex[:8]}"))
    return done


def valid(folder: Path, keys: Iterable[str]) -> set[str]:
    """Which of these cells are there, whole; nothing is set aside.

    A file that an earlier call found whole is not read again while its size and times are the same.
    """
    done, known, found = set(), _known(folder), {}
    for key, name in _names_of(folder, keys):
        stamp = _stamp(f"{folder}/rows/{name}")
        if (stamp and stamp == known.get(name)) or _is_whole(folder / "rows" / name):
            found[name] = stamp
            done.add(key)
    if not found.items() <= known.items():
        with suppress(OSError):  # then the next call reads them again
            lines = [f"{name} {stamp}\n" for name, stamp in {**known, **found}.items()]
            _put({folder / "rows" / _KNOWN: "".join(lines).encode()})
    return done


def tidy(folder: Path, keys: Iterable[str]) -> None:
    """Remove what writers of these cells left behind when they were killed."""
    wanted = set(keys)
    for path in (folder / "rows").glob(".*.parquet.*"):
        if path.name[1:].partition("-")[0] in wanted:
            path.unlink(missing_ok=True)


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Hold the folder for one driver. The lock goes when its process does, however it ends.

    Raises:
        FolderInUse: another process holds it.
        OSError: there can be no such folder, or no lock in it.
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
    """Write a table as parquet at `path`, and beside it a JSON manifest with the hashes of both.

    Args:
        path: ends in .parquet; the manifest ends in .json.
        table: tidy, one row per network or program.
        manifest: how the table came about, in JSON's values.
    """
    data = _parquet(pa.Table.from_pandas(table, preserve_index=False), compression="zstd")
    whole = {
        "physics": PHYSICS,
        **manifest,
        "rows": len(table),
        "columns": list(table.columns),
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    _put({path: data, path.with_suffix(".json"): _sealed(whole)})


def published(path: Path) -> tuple[pd.DataFrame, dict]:
    """A published table and its manifest.

    Raises:
        FileNotFoundError: one of the two is missing.
        DamagedRows: one of the two is cut off or altered, or they do not belong together.
        OldRows: it is of another version of the physics, and not in the folder's list of such
            tables, `stale.txt`.
    """
    manifest = manifest_of(path)
    if manifest.get("physics") != PHYSICS and path.stem not in stale(path.parent):
        raise OldRows(
            f"{path} needs rows of version {PHYSICS} of the physics, got {manifest.get('physics')}"
        )
    data = _bytes(path)
    if (digest := hashlib.sha256(data).hexdigest()) != manifest.get("sha256"):
        raise DamagedRows(f"{path} needs the hash {manifest.get('sha256')}, got {digest}")
    return _table(data, path).to_pandas(), manifest


def manifest_of(path: Path) -> dict:
    """How a published table came about.

    Raises:
        FileNotFoundError: there is none.
        DamagedRows: it is cut off or altered.
    """
    about = path.with_suffix(".json")
    return _unsealed(_bytes(about), about)


def stale(folder: Path) -> set[str]:
    """The names of a folder's tables that are known to be of an older version of the physics.

    They stand in its file `stale.txt`, one a line, until they are computed anew.
    """
    names = folder / "stale.txt"
    lines = names.read_text("utf-8").splitlines() if names.exists() else []
    return {line.strip() for line in lines if line.strip() and not line.startswith("#")}


def _names(folder: Path) -> dict[str, list[str]]:
    """The names <key>-<hash>.parquet of a folder's row files, by their keys."""
    found: dict[str, list[str]] = {}
    for name in sorted(os.listdir(folder / "rows") if (folder / "rows").is_dir() else ()):
        key, dash, _ = name.rpartition("-")
        if dash and name.endswith(".parquet") and name[0] != ".":
            found.setdefault(key, []).append(name)
    return found


def _names_of(folder: Path, keys: Iterable[str]) -> list[tuple[str, str]]:
    """Those of these cells. A cell may have several, if two workers computed it."""
    names = _names(folder)
    return [(key, name) for key in set(keys) for name in names.get(key, ())]


def _rows(folder: Path, keys: Iterable[str]) -> Iterator[pa.Table]:
    """The rows of each cell: of its first file that is whole."""
    names = _names(folder)
    for key in keys:
        if key not in names:
            raise FileNotFoundError(f"{folder / 'rows'} has no rows of cell {key}")
        yield _first_whole([folder / "rows" / name for name in names[key]])


def _first_whole(paths: list[Path]) -> pa.Table:
    for path in paths[:-1]:
        with suppress(DamagedRows, FileNotFoundError):
            return _table(_whole(path), path)
    return _table(_whole(paths[-1]), paths[-1])


def _whole(path: Path) -> bytes:
    """A row file's contents, if they are those with the hash in its name."""
    data, (key, _, digest) = _bytes(path), path.stem.rpartition("-")
    if (got := _digest(key, data)) != digest:
        raise DamagedRows(
            f"{path} needs contents with the hash in its name, got {got}: it was cut off, altered "
            "or renamed"
        )
    return data


def _is_whole(path: Path) -> bool:
    try:
        _whole(path)
    except (DamagedRows, FileNotFoundError):
        return False
    return True


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:  # a directory, a disk that fails
        raise DamagedRows(f"{path} cannot be read: {error}") from error


def _table(data: bytes, path: Path) -> pa.Table:
    try:
        return pq.read_table(pa.BufferReader(data))
    except Exception as error:  # of many kinds, and every one means the same
        raise DamagedRows(f"{path} cannot be read as a table: {error}") from error


def _parquet(rows: pa.Table, **options: str) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(rows, sink, **options)
    return sink.getvalue().to_pybytes()


def _digest(key: str, data: bytes) -> str:
    """Of the contents and of the cell that they belong to, so that a renamed file is noticed."""
    return hashlib.sha256(key.encode() + b"\n" + data).hexdigest()[:_LENGTH]


def _sealed(manifest: Mapping) -> bytes:
    """As JSON, with a hash of it all as the last entry."""
    whole = {**manifest, _SEAL: hashlib.sha256(_canonical(dict(manifest)).encode()).hexdigest()}
    return (json.dumps(whole, indent=2, ensure_ascii=False) + "\n").encode()


def _unsealed(data: bytes, path: Path) -> dict:
    """What was sealed, without the seal."""
    try:
        manifest = json.loads(data)
        seal = manifest.pop(_SEAL)
        got = hashlib.sha256(_canonical(manifest).encode()).hexdigest()
    except Exception as error:
        raise DamagedRows(f"{path} cannot be read as a manifest with its hash: {error}") from error
    if got != seal:
        raise DamagedRows(f"{path} needs the hash {seal}, which it ends with, got {got}")
    return manifest


def _known(folder: Path) -> dict[str, str]:
    """The row files that were found whole, with their stamps; nothing if that is not known."""
    try:
        lines = _bytes(folder / "rows" / _KNOWN).decode(errors="replace").splitlines()
    except (DamagedRows, FileNotFoundError):
        return {}
    return {name: stamp for name, _, stamp in (line.partition(" ") for line in lines)}


def _stamp(path: str) -> str:
    """What changes when a file does."""
    try:
        status = os.stat(path)
    except OSError:  # gone in the meantime
        return ""
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"


def _put(contents: Mapping[Path, bytes]) -> None:
    """Write files whole or not at all: they get their names when all of them are on the disk."""
    temporary = {path: path.with_name(f".{path.name}.{uuid4().hex[:8]}") for path in contents}
    try:
        for path, data in contents.items():
            with temporary[path].open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        for path, unnamed in temporary.items():
            unnamed.replace(path)
    finally:
        for unnamed in temporary.values():
            unnamed.unlink(missing_ok=True)
