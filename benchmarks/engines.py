"""The torch engine on the processor against the cpu engine, on all cores.

A hundred networks of each architecture, at its rank's number of samples and at three times as many.
"""

from functools import partial

import torch

from benchmarks import paired_medians, publish
from llrnb import cnn, fully_connected, train
from llrnb.targets import draw, paper_target

NETS, RATE, TO_REACH = 100, 0.05, 10
SETTINGS = {
    "FC 1x, n = 21": (fully_connected(5, 3), 21),
    "FC 10x, n = 63": (fully_connected(5, 30), 63),
    "FC 100x, n = 63": (fully_connected(5, 300), 63),
    "CNN 10x, n = 21": (cnn(5, 3, 10), 21),
    "CNN without sharing 10x, n = 45": (cnn(5, 3, 10, shared=False), 45),
}
WORK = {"cpu": 8e8, "torch": 8e7}  # neuron-sample-steps of a call


def main() -> None:
    rows = []
    print(f"{'setting':>32} {'cpu ns':>7} {'torch ns':>9} {'ratio':>6}  per neuron-sample-step")
    for setting, (net, samples) in SETTINGS.items():
        inputs, outputs = draw(paper_target(), samples)
        task = partial(
            train, net, inputs, outputs,
            learning_rates=[RATE] * NETS, seeds=range(NETS), tolerance=0.0,
        )  # fmt: skip
        per_step = net.neurons * samples * NETS
        steps = {engine: max(10, int(work / per_step)) for engine, work in WORK.items()}
        seconds = paired_medians(
            {engine: partial(task, engine=engine, steps=steps[engine]) for engine in WORK}, rounds=7
        )
        ns = {engine: seconds[engine] / steps[engine] / per_step * 1e9 for engine in WORK}
        ratio = ns["torch"] / ns["cpu"]
        print(f"{setting:>32} {ns['cpu']:7.2f} {ns['torch']:9.2f} {ratio:6.1f}")
        rows.append({"setting": setting, "ns_per_neuron_sample_step": ns, "ratio": ratio})
    cores = torch.get_num_threads()
    results = {"cores": cores, "networks": NETS, "settings": rows, "to_reach": TO_REACH}
    publish("engines", results, ["numpy", "torch", "numba"])


if __name__ == "__main__":
    main()
