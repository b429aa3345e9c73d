"""The processors that are imitated are those that the libraries then see."""

import subprocess
import sys

import pytest

from tools.processors import PROCESSORS, run, suites

SEEN = """
import llvmlite.binding, numba.core.registry, numpy, torch
numpy_features = numpy._core._multiarray_umath.__cpu_features__
dispatched = [numpy_features[name] for name in numpy._core._multiarray_umath.__cpu_dispatch__]
numba_cpu = numba.core.registry.cpu_target.target_context.codegen().magic_tuple()[1]
print(any(dispatched), torch.backends.cpu.get_cpu_capability(), numba_cpu, torch.get_num_threads())
"""


def test_the_libraries_see_a_plain_processor():
    told = PROCESSORS["plain"].environment()
    done = subprocess.run([sys.executable, "-c", SEEN], env=told, capture_output=True, text=True)
    assert done.stdout.split() == ["False", "DEFAULT", "generic", "1"], done.stderr


def test_one_thread_and_two_and_four_kinds_are_imitated():
    kinds = [one for one in PROCESSORS.values() if one.openblas]
    assert len(kinds) == len({one.openblas for one in kinds}) == 4
    assert {one.threads for one in kinds} == {1, 2}


@pytest.mark.parametrize(
    ("paths", "named"),
    [
        ([], {"tests": "tests", "notebooks": "book"}),
        (["book/relu"], {"notebooks": "book/relu"}),
        (["tests/test_store.py::test_a"], {"tests": "tests/test_store.py::test_a"}),
    ],
)
def test_paths_restrict_what_is_run(paths, named):
    assert {what: options[0] for what, options in suites(paths).items()} == named


def test_a_failure_is_named(tmp_path):
    (tmp_path / "test_two.py").write_text("def test_a(): pass\ndef test_b(): assert 0\n")
    done = run(PROCESSORS["here-threads"], [str(tmp_path / "test_two.py")])
    assert done.passed == 1 and len(done.failures) == 1 and "test_b" in done.failures[0]
    none = run(PROCESSORS["here-threads"], [str(tmp_path / "missing.py")])
    assert none.passed == 0 and none.failures
