"""Part II: verdicts against solving the program with CLARABEL, and whole grids, on one core.

(i) A relaxed skip verdict by `recover(method="fast")` against `method="cvxpy"`, paired on the same
instances, with random weights and with the smallest singular vector's, half of each.
(ii) The time of whole grids: relaxed skip, exact skip, and normalised with two planted neurons.
"""

import time
from dataclasses import replace
from statistics import median

from benchmarks import on_one_core, publish

on_one_core()

from llrnb import sweep  # noqa: E402
from llrnb.presets import relu  # noqa: E402
from llrnb.relu import plant, pose, recover  # noqa: E402

INSTANCES = {(60, 30): 20, (200, 50): 6, (400, 100): 2}
RATIO_TO_REACH = {(60, 30): 10, (200, 50): 100, (400, 100): 300}
GRIDS = {
    "relaxed skip, n <= 400, d <= 100, 5 trials": (relu.FIG_4A, 120),
    "exact skip, n <= 100, d <= 50, 3 trials": (relu.FIG_4B, 60),
    "normalised k = 2, n <= 200, d <= 30, 5 trials": (
        replace(relu.FIG_5.presets[0], samples=tuple(range(10, 201, 10))),
        60,
    ),
}


def seconds_of(run) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def ratios(samples: int, dim: int, instances: int) -> tuple[list[dict], int]:
    """Times of both routes on each instance, and how often their verdicts differ."""
    rows, differ = [], 0
    for number in range(instances):
        weights = ("random", "smallest singular")[number % 2]
        problem = pose(plant(samples, dim, weights=weights, seed=number), "skip", seed=number)
        verdicts, times = {}, {}
        for method in ("fast", "cvxpy"):
            start = time.perf_counter()
            verdicts[method] = recover(problem, method=method).outcome
            times[method] = time.perf_counter() - start
        differ += verdicts["fast"] != verdicts["cvxpy"]
        rows.append({"weights": weights, **times, "ratio": times["cvxpy"] / times["fast"]})
    return rows, differ


def main() -> None:
    recover(pose(plant(20, 5), "skip"), method="cvxpy")  # imports
    recover(pose(plant(20, 5), "skip"), method="fast")
    pairs, grids = [], []
    for (samples, dim), instances in INSTANCES.items():
        rows, differ = ratios(samples, dim, instances)
        ratio = median(row["ratio"] for row in rows)
        goal = RATIO_TO_REACH[samples, dim]
        print(
            f"n = {samples:3}, d = {dim:3}: median ratio {ratio:7.0f} (to reach {goal}),", end=" "
        )
        print(f"{differ} of {instances} verdicts differ")
        pairs.append({"n": samples, "d": dim, "median_ratio": ratio, "to_reach": goal,
                      "differ": differ, "instances": rows})  # fmt: skip
    for name, (preset, goal) in GRIDS.items():
        tables = []
        seconds = seconds_of(lambda preset=preset, into=tables: into.append(sweep.run(preset)))
        undecided = int((tables[0]["outcome"] == "undecided").sum())
        print(f"{name}: {seconds:.0f} s (to reach {goal}), {undecided} undecided")
        grids.append({"grid": name, "seconds": seconds, "to_reach": goal, "undecided": undecided})
    results = {"cores": 1, "verdicts": pairs, "grids": grids}
    publish("verdicts", results, ["numpy", "scipy", "cvxpy", "clarabel"])


if __name__ == "__main__":
    main()
