"""Exact fits from many starts against SciPy's least squares, one start at a time.

The peer is `scipy.optimize.least_squares(method="lm")`, MINPACK in Fortran, with the residual and
its analytic Jacobian in plain NumPy. Both have the same starts, the same samples, the same limit of
evaluations, and the same criterion of success: an error at the level of rounding with bounded
weights. Ours uses two cores; a start of the peer uses one, so its speed is doubled, as if two
processes ran without loss.

A start that stops sooner is not a better one, so beside the starts per second stands what counts:
seconds per start that reaches zero.
"""

import os

CORES = 2
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[:CORES]))
os.environ["OMP_NUM_THREADS"] = "1"

from functools import partial  # noqa: E402

import numpy as np  # noqa: E402
import torch  # noqa: E402
from scipy.optimize import least_squares  # noqa: E402

from benchmarks import paired_medians, publish  # noqa: E402
from llrnb import TwoLayerNetwork, cnn, fully_connected  # noqa: E402
from llrnb.least_squares import BOUND, ROUNDING, Stop, draw_starts, fit  # noqa: E402
from llrnb.targets import draw, paper_target  # noqa: E402

torch.set_num_threads(CORES)

SETTINGS = {
    "CNN 1x, n = 8": (cnn(5, 3, 1), 8),
    "unshared CNN 1x, n = 16": (cnn(5, 3, 1, shared=False), 16),
    "FC 1x, n = 22": (fully_connected(5, 3), 22),
}
TO_REACH = {"FC 1x, n = 22": 15}
OURS, THEIRS = 8192, 64  # starts in a turn
EVALUATIONS = 200  # of one start, at most, for both


class Peer:
    """The residual and the Jacobian of a network as functions of a flat vector, in NumPy."""

    def __init__(self, net: TwoLayerNetwork, inputs: torch.Tensor, outputs: torch.Tensor) -> None:
        self.net, self.y = net, outputs.numpy()
        self.seen = inputs.numpy()[:, np.array(net.windows)]  # (sample, window, entry)
        self.cuts = np.cumsum([int(np.prod(shape)) for shape in net.shapes.values()])[:-1]

    def hidden(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The output weights, and the activations (sample, kernel, window)."""
        net = self.net
        w, b, a = (
            part.reshape(shape)
            for part, shape in zip(np.split(theta, self.cuts), net.shapes.values(), strict=True)
        )
        if net.shared:
            return a, np.tanh(self.seen @ w.T + b).transpose(0, 2, 1)
        return a, np.tanh((self.seen[:, None] * w).sum(-1) + b)

    def residual(self, theta: np.ndarray) -> np.ndarray:
        a, t = self.hidden(theta)
        return (t * a).sum((1, 2)) - self.y

    def jacobian(self, theta: np.ndarray) -> np.ndarray:
        a, t = self.hidden(theta)
        slope = a * (1 - t * t)
        by_w = slope[..., None] * self.seen[:, None]
        if self.net.shared:
            by_w, slope = by_w.sum(2), slope.sum(2)
        return np.concatenate([part.reshape(len(t), -1) for part in (by_w, slope, t)], axis=1)

    def search(self, starts: np.ndarray) -> list:
        return [
            least_squares(
                self.residual, theta, jac=self.jacobian, method="lm", max_nfev=EVALUATIONS
            )
            for theta in starts
        ]

    def zeros(self, found: list) -> int:
        """How many of these results count as an exact fit."""
        goal = ROUNDING * (self.y @ self.y)
        return sum(2 * one.cost <= goal and abs(one.x).max() <= BOUND for one in found)


def flat(params: dict[str, torch.Tensor]) -> np.ndarray:
    return torch.cat([value.flatten(1) for value in params.values()], dim=1).numpy()


def main() -> None:
    header = ("setting", "starts/s", "SciPy's", "ratio", "ms/zero", "SciPy's", "ratio", "reached")
    print("{:>24} {:>9} {:>9} {:>6} {:>9} {:>9} {:>6} {:>8}".format(*header))
    rows = []
    for setting, (net, samples) in SETTINGS.items():
        data = draw(paper_target(), samples)
        starts = draw_starts(net, *data, OURS)
        peer, vectors = Peer(net, *data), flat(starts)
        seconds = paired_medians(
            {
                "ours": partial(fit, net, *data, starts, evaluations=EVALUATIONS),
                "scipy": partial(peer.search, vectors[:THEIRS]),
            },
            rounds=7,
        )
        per_start = {"ours": seconds["ours"] / OURS, "scipy": seconds["scipy"] / THEIRS / CORES}
        rates = {
            "ours": fit(net, *data, starts, evaluations=EVALUATIONS).status.count(Stop.CONVERGED)
            / OURS,
            "scipy": peer.zeros(peer.search(vectors[: 8 * THEIRS])) / (8 * THEIRS),
        }
        per_zero = {
            name: per_start[name] / rates[name] if rates[name] else float("inf") for name in rates
        }
        ratios = [times["scipy"] / times["ours"] for times in (per_start, per_zero)]
        goal = TO_REACH.get(setting)
        reached = "" if goal is None else "yes" if min(ratios) >= goal else "NO"
        print(
            f"{setting:>24} {1 / per_start['ours']:9.0f} {1 / per_start['scipy']:9.0f} "
            f"{ratios[0]:6.0f} {1e3 * per_zero['ours']:9.3f} {1e3 * per_zero['scipy']:9.1f} "
            f"{ratios[1]:6.0f} {reached:>8}"
        )
        rows.append(
            {
                "setting": setting,
                "seconds_per_start": per_start,
                "share_of_starts_at_zero": rates,
                "seconds_per_zero": per_zero,
                "ratio_of_starts": ratios[0],
                "ratio_of_zeros": ratios[1],
                "to_reach": goal,
            }
        )
    publish(
        "interpolation", {"cores": CORES, "settings": rows}, ["numpy", "scipy", "torch", "numba"]
    )


if __name__ == "__main__":
    main()
