"""python -m tools.search [MODULE ...] [--cases N] [--seed S] [--processes P]

Draw N cases for each module (all by default), from seed S on (the clock's by default), and count
right, undecided and false verdicts. A false one is printed with its seed, which alone makes it
again: `python -m tools.search rank --cases 1 --seed 123`. The exit status is 1 if there is any.
"""

import argparse
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

from tools.search import Case

OUTCOMES = ("right", "undecided", "false")


def modules() -> list[str]:
    """The names of the modules that draw cases."""
    return sorted(m.name for m in iter_modules([str(Path(__file__).parent)]) if m.name[0] != "_")


def judged(name: str, seed: int) -> Case:
    """One case of a module; an exception is no verdict, and false."""
    try:
        return import_module(f"tools.search.{name}").case(seed)
    except Exception as error:
        return Case(name, "raised", f"{type(error).__name__}: {error}", "false")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("module", nargs="*", choices=[[], *modules()])
    parser.add_argument("--cases", type=int, default=500, help="for each module")
    parser.add_argument("--seed", type=int, default=time.time_ns() // 1_000_000)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    names = options.module or modules()
    if not names:
        parser.error("there is no module that draws cases, so nothing was searched")
    print(f"seeds from {options.seed} on")
    counts: Counter[tuple[str, str, bool, str]] = Counter()
    seeds = range(options.seed, options.seed + options.cases)
    with ProcessPoolExecutor(options.processes) as pool:
        for name in names:
            for seed, case in zip(seeds, pool.map(partial(judged, name), seeds), strict=True):
                counts[case.function, case.kind, case.clean, case.outcome] += 1
                if case.outcome == "false":
                    print(f"FALSE {name} --cases 1 --seed {seed}: {case}", flush=True)
    print_table(counts)
    return int(any(outcome == "false" for *_, outcome in counts))


def print_table(counts: Counter) -> None:
    """A line for each function and kind, and the totals."""
    print(f"{'function':32} {'kind':36} " + " ".join(f"{o:>9}" for o in OUTCOMES))
    for function, kind, clean in sorted({key[:3] for key in counts}):
        row = " ".join(f"{counts[function, kind, clean, o]:9,}" for o in OUTCOMES)
        print(f"{function:32} {kind + (' (clean)' if clean else ''):36} {row}")
    total, due = Counter(), Counter()
    for (*_, clean, outcome), number in counts.items():
        total[outcome] += number
        due[outcome] += number * clean
    for what, tally in (("all", total), ("clean", due)):
        print(f"{what:69} " + " ".join(f"{tally[o]:9,}" for o in OUTCOMES))
    if due.total():
        print(f"decided rightly of the clean ones: {due['right'] / due.total():.1%}")


if __name__ == "__main__":
    sys.exit(main())
