"""Run the unit tests and the notebooks as other processors would, one after the other.

    python -m tools.processors [--on plain,haswell] [PATH ...]

Paths are test files, single tests, notebooks or folders of them; without any, all are run, which
takes about the time of `make test` for each processor. NumPy, OpenBLAS (NumPy's and SciPy's), MKL,
torch and Numba choose instructions by the processor that they find, and so round differently; here
they are told another one. Threads matter, too, for they cut sums. The notebook of Fig. 3 is left
out where fused multiply-adds have to be imitated: it would take hours.
"""

import argparse
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from numpy._core._multiarray_umath import __cpu_dispatch__

ROOT = Path(__file__).resolve().parents[1]
LONG = "book/recovery/fig3.ipynb"
BROWSER = ["--ignore=tests/test_browser.py", "--ignore=tests/test_pages.py"]  # need a built book


@dataclass(frozen=True)
class Processor:
    """What the libraries are told: None is the processor that they find.

    Attributes:
        numpy: whether NumPy chooses by processor at all.
        fused: whether it has fused multiply-adds; where not, Numba's code imitates them, slowly.
        openblas, mkl, torch, numba: their words for a processor.
    """

    threads: int
    numpy: bool = True
    openblas: str | None = None
    mkl: str | None = None
    torch: str | None = None
    numba: str | None = None
    fused: bool = True

    def environment(self) -> dict[str, str]:
        """The variables that say so."""
        threads = ("OMP", "MKL", "OPENBLAS", "NUMBA")
        told = {
            "OPENBLAS_CORETYPE": self.openblas,
            "MKL_CBWR": self.mkl,
            "ATEN_CPU_CAPABILITY": self.torch,
            "NUMBA_CPU_NAME": self.numba,
            "NUMBA_CPU_FEATURES": None if self.numba is None else "",  # those of that name
            "NPY_DISABLE_CPU_FEATURES": None if self.numpy else " ".join(__cpu_dispatch__),
        }
        told = {name: word for name, word in told.items() if word is not None}
        return told | {f"{library}_NUM_THREADS": str(self.threads) for library in threads}


# By age. A newer one than the machine has would end in illegal instructions.
PROCESSORS = {
    "plain": Processor(1, False, "Prescott", "COMPATIBLE", "default", "generic", False),
    "nehalem": Processor(2, False, "Nehalem", "SSE4_2", "default", "nehalem", False),
    "sandybridge": Processor(1, False, "Sandybridge", "AVX", "default", "sandybridge", False),
    "haswell": Processor(2, True, "Haswell", "AVX2", "avx2", "haswell"),
    "here": Processor(1),
    "here-threads": Processor(2),
}


@dataclass(frozen=True)
class Run:
    """How a run of pytest ended: how many passed, and the lines that name what failed."""

    passed: int
    failures: list[str]
    minutes: float


def run(processor: Processor, options: list[str]) -> Run:
    """Run pytest as on a processor."""
    start = time.monotonic()
    workers = max(1, (os.cpu_count() or 1) // processor.threads)
    command = [sys.executable, "-m", "pytest", "-rfE", "--color=no", *options]
    command += ["-n", str(workers), "--dist", "loadscope"] if workers > 1 else []
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | processor.environment(), capture_output=True, text=True
    )
    lines = done.stdout.splitlines() or [done.stderr]
    passed = re.search(r"(\d+) passed", lines[-1])
    failures = [line for line in lines if line.startswith(("FAILED ", "ERROR "))]
    if done.returncode and not failures:
        failures = [f"pytest ended with {done.returncode}: {lines[-1]}"]
    return Run(int(passed[1]) if passed else 0, failures, (time.monotonic() - start) / 60)


def suites(paths: list[str]) -> dict[str, list[str]]:
    """The options of pytest for the tests and for the notebooks among the paths."""
    notebooks = [path for path in paths if path.startswith("book")]
    tests = [path for path in paths if path not in notebooks]
    found = {
        "tests": [*(tests or ["tests"]), *BROWSER],
        "notebooks": [*(notebooks or ["book"]), "--nbval", "--nbval-current-env"],
    }
    wanted = {"tests": tests, "notebooks": notebooks}
    return {name: found[name] for name in found if wanted[name] or not paths}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("path", nargs="*")
    parser.add_argument("--on", default=",".join(PROCESSORS), help="names, separated by commas")
    arguments = parser.parse_args()
    failures = []
    print(f"{'processor':12} {'threads':>7} {'what':>9} {'passed':>6} {'failed':>6} {'minutes':>7}")
    for name in arguments.on.split(","):
        for what, options in suites(arguments.path).items():
            if what == "notebooks" and not PROCESSORS[name].fused:
                options = [*options, f"--ignore={LONG}"]
            done = run(PROCESSORS[name], options)
            print(
                f"{name:12} {PROCESSORS[name].threads:7} {what:>9} {done.passed:6} "
                f"{len(done.failures):6} {done.minutes:7.1f}",
                flush=True,
            )
            failures += [f"{name}: {failure}" for failure in done.failures]
    print(*failures, sep="\n")
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main())
