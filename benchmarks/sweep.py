"""What a sweep costs beside training, and what a second worker gains.

(i) The share of a job's time that is not spent in `train_cell`: papermill, the kernel's start, the
imports, reading and writing; for jobs of about 30 s. It is the difference between the sweep's wall
time on one worker and the sum of the times that the stored rows carry.
(ii) The time of the same jobs on one worker over that on two.
(iii) The published run of the PAPER preset: its networks' neuron-sample-steps per second.
"""

import tempfile
import time
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import torch

from benchmarks import publish
from llrnb import store, sweep
from llrnb.presets import fig3

SECONDS, JOBS = 30, 4
TO_REACH = {"lost": 0.10, "speedup": 1.8}


def preset(seconds: float) -> sweep.Recovery:
    """So many jobs of one cell each, all of the same work: a tolerance of 0 is never reached."""
    small = replace(
        fig3.PAPER,
        families={fig3.FULLY_CONNECTED: fig3.PAPER.families[fig3.FULLY_CONNECTED]},
        multiples=(10,),
        samples=(63,),
        learning_rates=(0.05,),
        trials=16,
        tolerance=0.0,
        steps=10_000,
    )
    steps = round(small.steps * seconds / small.cells()[0].seconds)
    variants = [replace(small, steps=steps, variant=str(job)) for job in range(JOBS)]
    return sweep.Union(tuple(variants))


def measure(workers: int, seconds: float) -> tuple[float, float]:
    """Wall seconds of the sweep, and the sum of the seconds in training."""
    jobs = preset(seconds)
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        sweep.launch(jobs, folder, workers=workers)
        wall = time.perf_counter() - start
        records = store.provenances(Path(folder), [cell.key for cell in jobs.cells()])
    inside = sum(
        (datetime.fromisoformat(r["end"]) - datetime.fromisoformat(r["start"])).total_seconds()
        for r in records
    )
    return wall, inside


def main() -> None:
    torch.set_num_threads(1)
    measure(1, 1.0)  # compiled code and file caches
    wall, inside = measure(1, SECONDS)
    wall_of_two, inside_of_two = measure(2, SECONDS)
    lost, speedup = 1 - inside / wall, wall / wall_of_two
    print(
        f"one worker: {wall:.0f} s for {JOBS} jobs, {inside:.0f} s of it training: {lost:.1%} lost"
    )
    print(f"two workers: {wall_of_two:.0f} s, {speedup:.2f} times as fast")
    published, manifest = store.published(Path("book/data/fig3-paper.parquet"))
    neurons = 3 * published["multiple"]  # in all three families
    work = (neurons * published["samples"] * published["steps"]).sum()
    rate = work / (manifest["core_hours"] * 3600)
    print(f"PAPER: {work:.3g} neuron-sample-steps, {rate / 1e9:.2f}e9 per second and core")
    results = {
        "seconds_per_job": inside / JOBS,
        "lost_share": lost,
        "speedup_of_two_workers": speedup,
        "training_seconds": {"one worker": inside, "two workers": inside_of_two},
        "paper_preset": {
            "core_hours": manifest["core_hours"],
            "neuron_sample_steps": float(work),
            "neuron_sample_steps_per_second_and_core": float(rate),
            "processor": manifest["processor"],
        },
        "to_reach": TO_REACH,
    }
    publish("sweep", results, ["numpy", "torch", "numba", "papermill", "distributed"])


if __name__ == "__main__":
    main()
