import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from llrnb import store

ROWS = pd.DataFrame({"samples": [6, 9], "status": ["converged", "diverged"], "loss": [0.1, 2e-300]})
KEY = store.key_of({"samples": 6})


@pytest.fixture
def folder(tmp_path) -> Path:
    store.write(tmp_path, KEY, ROWS, {"processor": "abacus"})
    return tmp_path


def test_a_key_depends_on_the_values_and_not_on_their_order():
    assert store.key_of({"a": 1, "b": [2.0]}) == store.key_of({"b": [2.0], "a": 1})
    assert store.key_of({"a": 1}) != store.key_of({"a": 2})
    assert store.key_of({"a": 1e-10}) != store.key_of({"a": 1.0000000000000002e-10})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, Path("x")])
def test_a_key_is_of_plain_values_only(value):
    with pytest.raises((TypeError, ValueError)):
        store.key_of({"a": value})


def test_rows_come_back_as_they_went_in(folder):
    pd.testing.assert_frame_equal(store.read(folder, KEY), ROWS, check_exact=True)
    assert store.provenance(folder, KEY) == {"processor": "abacus"}
    assert store.finished(folder, [KEY, "another"]) == {KEY}


@pytest.mark.parametrize("keep", [0, 10, 0.5, 0.999])
def test_a_cut_off_file_is_noticed_and_set_aside(folder, keep):
    path = store.path_of(folder, KEY)
    whole = path.read_bytes()
    path.write_bytes(whole[: keep if isinstance(keep, int) else int(keep * len(whole))])
    with pytest.raises(store.DamagedRows, match=KEY):
        store.read(folder, KEY)
    assert store.finished(folder, [KEY]) == set()
    assert not path.exists()
    assert len(list(path.parent.glob("*.damaged-*"))) == 1


def test_a_changed_byte_in_the_rows_is_noticed(folder):
    path = store.path_of(folder, KEY)
    changed = bytearray(path.read_bytes())
    at = changed.index(b"converged")
    changed[at] ^= 1
    path.write_bytes(changed)
    with pytest.raises(store.DamagedRows):
        store.read(folder, KEY)


def test_the_rows_of_another_cell_are_not_taken_for_these(folder):
    other = store.key_of({"samples": 7})
    store.path_of(folder, KEY).rename(store.path_of(folder, other))
    with pytest.raises(store.DamagedRows, match=f"needs to hold the rows of cell {other}.*{KEY}"):
        store.read(folder, other)
    assert store.finished(folder, [other]) == set()


def test_a_failed_write_leaves_nothing_and_keeps_what_was_there(folder, monkeypatch):
    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store.pq, "write_table", full)
    with pytest.raises(OSError, match="No space left"):
        store.write(folder, KEY, ROWS.head(1))
    monkeypatch.undo()
    assert [path.name for path in (folder / "rows").iterdir()] == [f"{KEY}.parquet"]
    assert len(store.read(folder, KEY)) == 2


def test_a_full_disk_leaves_no_rows(tmp_path):
    """In a process that may not write more than a few bytes to a file."""
    script = (
        "import resource, signal, sys, pandas as pd\n"
        "from pathlib import Path\n"
        "from llrnb import store\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n"
        "store.write(Path(sys.argv[1]), 'key', pd.DataFrame({'a': range(10_000)}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "File too large" in done.stderr
    assert list((tmp_path / "rows").iterdir()) == []


def test_a_folder_has_one_writer(tmp_path):
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from llrnb import store\n"
        "with store.only_writer(Path(sys.argv[1])): pass\n"
    )
    second = [sys.executable, "-c", script, str(tmp_path)]
    with store.only_writer(tmp_path):
        refused = subprocess.run(second, capture_output=True, text=True, check=False)
    assert refused.returncode != 0
    assert f"another process is filling {tmp_path}" in refused.stderr
    assert subprocess.run(second, check=True).returncode == 0


def test_a_published_table_is_the_one_that_its_manifest_describes(tmp_path):
    path = tmp_path / "data" / "table.parquet"
    store.publish(path, ROWS, {"preset": "small"})
    table, manifest = store.published(path)
    pd.testing.assert_frame_equal(table, ROWS, check_exact=True)
    assert manifest["preset"] == "small" and manifest["rows"] == 2
    assert json.loads(path.with_suffix(".json").read_text()) == manifest
    ROWS.head(1).to_parquet(path)
    with pytest.raises(store.DamagedRows, match="needs the hash"):
        store.published(path)
    os.remove(path)
    with pytest.raises(FileNotFoundError):
        store.published(path)
