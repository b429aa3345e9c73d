"""Compiled code that is kept: used again by another process, and void after any change."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from llrnb import caching

SOURCE = Path(caching.__file__).read_text()
HELPER = "from numba import njit\n\n\n@njit\ndef helper(x):\n    return {} * x\n"
CALLER = """
from package.caching import compiled
from package.helper import helper


@compiled()
def caller(x):
    return helper(x) + 1


value, hits = caller(2.0), sum(caller.stats.cache_hits.values())
print([value, hits])
"""


@pytest.fixture
def package(tmp_path):
    """A package of a helper and its caller, which a process of its own imports."""
    folder = tmp_path / "package"
    folder.mkdir()
    for name, text in (("caching", SOURCE), ("helper", HELPER.format(3)), ("caller", CALLER)):
        (folder / f"{name}.py").write_text(text)
    return folder


def run(package: Path) -> list:
    done = subprocess.run(
        [sys.executable, "-c", "import package.caller"],
        env={**os.environ, "PYTHONPATH": str(package.parent)},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def test_compiled_code_is_used_again_until_an_imported_function_changes(package):
    assert run(package) == [7.0, 0]
    assert run(package) == [7.0, 1]
    (package / "helper.py").write_text(HELPER.format(5))
    assert run(package) == [11.0, 0]
    assert run(package) == [11.0, 1]


def test_a_hash_of_files_sees_each_of_them(package):
    before = caching.of_files.__wrapped__(package)
    (package / "below").mkdir()
    (package / "below" / "one.py").write_text("1")
    assert caching.of_files.__wrapped__(package) != before
