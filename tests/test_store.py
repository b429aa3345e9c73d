import json
import os
import resource
import signal
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from llrnb import store

ROWS = pd.DataFrame({"samples": [6, 9], "status": ["converged", "diverged"], "loss": [0.1, 2e-300]})
CELL = {"samples": 6, "std": 1e-10}
KEY = store.key_of(CELL)


@pytest.fixture
def folder(tmp_path) -> Path:
    store.write(tmp_path, KEY, ROWS, {"processor": "abacus"}, CELL)
    return tmp_path


def file_of(folder: Path, key: str = KEY) -> Path:
    """The one row file of a cell."""
    (path,) = (folder / "rows").glob(f"{key}-*.parquet")
    return path


def damages(whole: bytes, other: bytes, seed: int = 0) -> dict[str, bytes]:
    """What may become of a file, by what happened to it."""
    rng = np.random.default_rng(seed)
    found = {"empty": b"", "longer": whole + b"\0", "longer by itself": 2 * whole, "other": other}
    for length in (1, 4, len(whole) // 2, len(whole) - 8, len(whole) - 1):
        found[f"cut to {length}"] = whole[:length]
    for bit in rng.choice(8 * len(whole), size=300, replace=False):
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << (bit % 8)
        found[f"bit {bit}"] = bytes(changed)
    return found


def test_a_key_depends_on_the_values_and_not_on_their_order():
    assert store.key_of({"a": 1, "b": [2.0]}) == store.key_of({"b": [2.0], "a": 1})
    assert store.key_of({"a": 1}) != store.key_of({"a": 2})
    assert store.key_of({"a": 1e-10}) != store.key_of({"a": 1.0000000000000002e-10})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, Path("x")])
def test_a_key_is_of_plain_values_only(value):
    with pytest.raises((TypeError, ValueError)):
        store.key_of({"a": value})


def test_rows_come_back_as_they_went_in_with_what_they_are_of(folder):
    pd.testing.assert_frame_equal(store.read(folder, KEY), ROWS, check_exact=True)
    assert store.provenances(folder, [KEY]) == [{"processor": "abacus"}]
    assert store.parameters(folder, KEY) == CELL
    assert store.finished(folder, [KEY, "another"]) == {KEY} == store.held(folder)
    with pytest.raises(FileNotFoundError, match="no rows of cell another"):
        store.read(folder, "another")


def test_whatever_happens_to_a_row_file_is_noticed(folder, tmp_path_factory):
    path, elsewhere = file_of(folder), tmp_path_factory.mktemp("elsewhere")
    store.write(elsewhere, KEY, ROWS.head(1))
    for what, contents in damages(path.read_bytes(), file_of(elsewhere).read_bytes()).items():
        path.write_bytes(contents)
        with pytest.raises(store.DamagedRows, match=KEY):
            store.read(folder, KEY)
        assert store.valid(folder, [KEY]) == set(), what
    path.unlink()
    path.mkdir()
    with pytest.raises(store.DamagedRows, match="cannot be read"):
        store.read(folder, KEY)
    assert store.finished(folder, [KEY]) == set()
    store.write(folder, KEY, ROWS)
    assert len(store.read(folder, KEY)) == 2


def test_a_damaged_file_is_set_aside_and_the_rows_stored_anew(folder):
    path = file_of(folder)
    path.write_bytes(path.read_bytes()[:-1])
    assert store.finished(folder, [KEY]) == set()
    assert not path.exists() and len(list(path.parent.glob("*.damaged-*"))) == 1
    store.write(folder, KEY, ROWS)
    assert store.finished(folder, [KEY]) == {KEY}


def test_the_rows_of_another_cell_are_not_taken_for_these(folder):
    other = store.key_of({"samples": 7})
    path = file_of(folder)
    path.rename(path.with_name(path.name.replace(KEY, other)))
    with pytest.raises(store.DamagedRows, match=f"{other}.*renamed"):
        store.read(folder, other)
    assert store.finished(folder, [other]) == set()


def test_two_files_that_are_swapped_are_both_noticed(folder):
    store.write(folder, "other", ROWS)
    one, other = file_of(folder), file_of(folder, "other")
    contents = one.read_bytes(), other.read_bytes()
    one.write_bytes(contents[1])
    other.write_bytes(contents[0])
    for key in (KEY, "other"):
        with pytest.raises(store.DamagedRows):
            store.read(folder, key)


def test_files_without_a_hash_in_their_name_are_not_rows(folder):
    path = file_of(folder)
    path.rename(path.with_name(f"{KEY}.parquet"))
    assert store.held(folder) == set() == store.finished(folder, [KEY])
    assert (folder / "rows" / f"{KEY}.parquet").exists()


def test_whole_rows_are_never_written_over(folder):
    before = file_of(folder).read_bytes()
    store.write(folder, KEY, ROWS.head(1))
    assert file_of(folder).read_bytes() == before


def test_of_two_files_of_a_cell_the_whole_one_counts(folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    store.write(elsewhere, KEY, ROWS, {"processor": "another"})
    for damaged in (file_of(folder), file_of(elsewhere)):
        both = [file_of(folder), file_of(elsewhere)]
        contents = [path.read_bytes() for path in both]
        (folder / "rows" / both[1].name).write_bytes(contents[1])
        (folder / "rows" / damaged.name).write_bytes(b"")
        pd.testing.assert_frame_equal(store.read(folder, KEY), ROWS)
        assert store.valid(folder, [KEY]) == {KEY}
        (folder / "rows" / both[1].name).unlink()
        both[0].write_bytes(contents[0])


def test_what_was_found_whole_is_not_read_again_until_it_changes(folder, monkeypatch):
    read = []
    whole = store._whole
    monkeypatch.setattr(store, "_whole", lambda path: read.append(path) or whole(path))
    path = file_of(folder)
    for _ in range(2):
        assert store.valid(folder, [KEY]) == {KEY}
    assert read == [path]
    contents, times = path.read_bytes(), path.stat()
    time.sleep(0.02)  # file systems count in ticks
    path.write_bytes(contents[:-1] + bytes([contents[-1] ^ 1]))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))  # the same size and date
    assert store.valid(folder, [KEY]) == set()
    for nonsense in (b"", b"[]", b"{}", b"\xff", b'{"manifest_sha256": 1}'):
        (folder / "rows" / ".known").write_bytes(nonsense)
        assert store.valid(folder, [KEY]) == set()


def test_counting_many_files_takes_some_microseconds_each(tmp_path, monkeypatch):
    (tmp_path / "rows").mkdir()
    keys = [store.key_of({"n": n}) for n in range(4000)]
    for key in keys:
        (tmp_path / "rows" / f"{key}-{store._digest(key, b'')}.parquet").touch()
    assert store.valid(tmp_path, keys) == set(keys)
    monkeypatch.delattr(store, "_whole")  # nothing is read
    start = time.process_time()
    assert store.valid(tmp_path, keys) == set(keys)
    assert time.process_time() - start < 0.5


def test_a_failed_write_leaves_nothing_and_keeps_what_was_there(folder, monkeypatch):
    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        store.write(folder, "other", ROWS.head(1))
    assert [path.name for path in (folder / "rows").iterdir()] == [file_of(folder).name]


@contextmanager
def full_disk():
    """No file can grow beyond a few bytes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)


def test_a_full_disk_leaves_no_rows_and_no_half_of_a_publication(tmp_path):
    path = tmp_path / "table.parquet"
    store.publish(path, ROWS, {})
    with full_disk(), pytest.raises(OSError, match="File too large"):
        store.write(tmp_path, KEY, ROWS)
    with full_disk(), pytest.raises(OSError, match="File too large"):
        store.publish(path, ROWS.head(1), {})
    assert list((tmp_path / "rows").iterdir()) == []
    assert len(store.published(path)[0]) == 2
    assert {found.name for found in tmp_path.iterdir()} == {"rows", path.name, "table.json"}


def test_leftovers_of_killed_writers_go_once_their_cell_is_there(folder):
    left, other = (folder / "rows" / f".{key}-ab.parquet.12345678" for key in (KEY, "other"))
    left.touch()
    other.touch()
    store.tidy(folder, [KEY])
    assert not left.exists() and other.exists()
    assert len(store.read(folder, KEY)) == 2


def test_a_folder_has_one_writer_for_as_long_as_that_lives(tmp_path):
    held, ready = os.pipe()
    child = os.fork()
    if child == 0:
        with store.only_writer(tmp_path):
            os.write(ready, b"!")
            time.sleep(60)
        os._exit(0)
    try:
        os.read(held, 1)
        with (
            pytest.raises(store.FolderInUse, match=f"another process is filling {tmp_path}"),
            store.only_writer(tmp_path),
        ):
            pass
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    with store.only_writer(tmp_path):
        pass


@pytest.mark.parametrize("where", ["a file", "a file/results", "locked"])
def test_a_folder_that_cannot_be_one_is_refused(tmp_path, where):
    (tmp_path / "a file").touch()
    (tmp_path / "locked" / ".lock").mkdir(parents=True)
    with pytest.raises(OSError, match=where), store.only_writer(tmp_path / where):
        pass


def test_a_published_table_is_the_one_that_its_manifest_describes(tmp_path):
    path = tmp_path / "data" / "table.parquet"
    store.publish(path, ROWS, {"preset": "small"})
    table, manifest = store.published(path)
    pd.testing.assert_frame_equal(table, ROWS, check_exact=True)
    assert manifest["preset"] == "small" and manifest["rows"] == 2
    assert manifest.items() < json.loads(path.with_suffix(".json").read_text()).items()
    ROWS.head(1).to_parquet(path)
    with pytest.raises(store.DamagedRows, match="needs the hash"):
        store.published(path)
    os.remove(path)
    with pytest.raises(FileNotFoundError):
        store.published(path)


@pytest.mark.parametrize("suffix", [".parquet", ".json"])
def test_whatever_happens_to_a_published_file_is_noticed(tmp_path, suffix):
    path, other = tmp_path / "table.parquet", tmp_path / "other.parquet"
    store.publish(path, ROWS, {"preset": "small"})
    store.publish(other, ROWS.head(1), {"preset": "small"})
    said = store.published(path)[1]
    path, other = path.with_suffix(suffix), other.with_suffix(suffix)
    for what, contents in damages(path.read_bytes(), other.read_bytes()).items():
        path.write_bytes(contents)
        with suppress(store.DamagedRows):
            table, manifest = store.published(path.with_suffix(".parquet"))
            # 1e5 and 1E5, say, are one bit apart, and the same.
            assert manifest == said and table.equals(ROWS), what
    path.unlink()
    path.mkdir()
    with pytest.raises(store.DamagedRows):
        store.published(path.with_suffix(".parquet"))


def test_a_published_table_of_another_version_is_refused_unless_it_is_listed(tmp_path):
    path = tmp_path / "fig.parquet"
    store.publish(path, ROWS, {"physics": store.PHYSICS - 1})
    with pytest.raises(store.OldRows, match=f"version {store.PHYSICS} .*, got {store.PHYSICS - 1}"):
        store.published(path)
    (tmp_path / "stale.txt").write_text("# older\nfig-2\n")
    with pytest.raises(store.OldRows):
        store.published(path)
    (tmp_path / "stale.txt").write_text("# older\nfig\n")
    assert len(store.published(path)[0]) == 2
    store.publish(path, ROWS, {"physics": None})
    (tmp_path / "stale.txt").unlink()
    with pytest.raises(store.OldRows, match="got None"):
        store.published(path)


def test_the_list_of_stale_tables_names_the_older_ones_and_no_others():
    data = Path(__file__).parents[1] / "book" / "data"
    manifests = {path.stem: json.loads(path.read_text()) for path in data.glob("*.json")}
    older = {name for name, about in manifests.items() if about["physics"] != store.PHYSICS}
    assert store.stale(data) == older
