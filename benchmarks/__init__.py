"""Paired timings against the peers: `make bench`, or `python -m benchmarks [name ...]`.

Every contender is timed in the same process, turn by turn, and medians are reported, so that a
ratio means something on a noisy machine. Speed is measured here and never asserted in a test.
"""

import json
import os
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from statistics import median
from time import perf_counter

from llrnb import provenance

RESULTS = Path(__file__).parent / "results"


def on_one_core() -> None:
    """Keep this process, and all threads it starts from now on, on one core."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    os.environ["OMP_NUM_THREADS"] = "1"


def paired_medians(
    contenders: Mapping[str, Callable[[], None]], rounds: int, repeats: int = 1
) -> dict[str, float]:
    """Median seconds of each contender's calls, so many at each turn, after one to warm up."""
    for run in contenders.values():
        run()
    seconds = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            for _ in range(repeats):
                start = perf_counter()
                run()
                seconds[name].append(perf_counter() - start)
    return {name: median(times) for name, times in seconds.items()}


def publish(name: str, results: dict, packages: list[str]) -> None:
    """Write results with their provenance to benchmarks/results/<name>.json."""
    origin = {"date": date.today().isoformat(), **provenance.here(packages)}
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"provenance": origin, **results}, indent=2) + "\n")
    print(f"written to {path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}")
