"""The figures of the ReLU paper: where are planted neurons recovered, and how far off else?

Each is a grid over the number of samples n and the dimension d, at the largest size that a few
minutes on two cores allow. `FIGURES` says what every figure shows; `thinned` makes a small one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from llrnb import checks
from llrnb.sweep import PhaseDiagram, Preset, Union

NOISES = (0.0, 0.05, 0.1, 0.2)
DATA = ("gaussian", "cubic", "whitened", "cubic whitened")


def _up_to(most: int) -> tuple[int, ...]:
    return tuple(range(10, most + 1, 10))


def _panels(preset: PhaseDiagram, name: str, values: Mapping[str, Any]) -> Union:
    """One preset for each value of a field."""
    return Union(
        tuple(replace(preset, **{name: v}, variant=variant) for variant, v in values.items())
    )


def _by_noise(preset: PhaseDiagram) -> Union:
    return _panels(preset, "noise", {f"σ = {noise:g}": noise for noise in NOISES})


_SKIP = PhaseDiagram("recovery", "skip", _up_to(400), _up_to(100), trials=5)
_NORMALISED = PhaseDiagram("recovery", "normalised", _up_to(300), _up_to(30), trials=5)

# Recovery: does the program find the planted neurons?
FIG_4A = replace(_SKIP, weights="smallest singular")
FIG_4B = replace(FIG_4A, form="exact", samples=_up_to(100), dims=_up_to(50), trials=3, seconds=0.2)
FIG_5 = _panels(_NORMALISED, "neurons", {"k = 2": 2, "k = 3": 3})
FIG_6 = _panels(_SKIP, "data", {data: data for data in DATA})
FIG_18 = _panels(FIG_4A, "data", {data: data for data in DATA})
FIG_22 = replace(_NORMALISED, samples=_up_to(200), dims=_up_to(50))
FIG_26 = Union(
    tuple(
        replace(_NORMALISED, neurons=k, weights=weights, variant=f"k = {k}, {weights}")
        for k, weights in ((2, "axes"), (2, "opposite"), (3, "axes"))
    )
)
# Skip networks at random weights: the exact program next to the relaxed one.
EXACT = replace(FIG_4B, weights="random")

# The neural isometry condition.
FIG_10 = replace(_NORMALISED, task="isometry", neurons=2, dims=_up_to(50), trials=10, seconds=0.02)

# Distances of the minimum norm solution from the truth.
FIG_2 = replace(FIG_4B, task="solution", samples=_up_to(80), dims=_up_to(40), trials=3, seconds=2.0)
FIG_7 = _by_noise(
    replace(FIG_4A, task="solution", samples=_up_to(200), dims=_up_to(50), seconds=0.05)
)
_DISTANCE = replace(_NORMALISED, task="solution", samples=_up_to(200), seconds=0.05)
FIG_9 = _by_noise(replace(_DISTANCE, neurons=2, weights="opposite"))
FIG_23 = _by_noise(_DISTANCE)
FIG_27 = _by_noise(replace(_DISTANCE, neurons=2))
FIG_28 = _by_noise(replace(_DISTANCE, neurons=2, weights="axes"))
FIG_29 = _by_noise(replace(_DISTANCE, neurons=3, weights="axes"))

# The same of the regularised training problem.
_REGULARISED = replace(
    FIG_4A, task="solution", form="regularised", samples=_up_to(60), dims=_up_to(30), trials=3,
    seconds=2.0,
)  # fmt: skip
FIG_20 = _by_noise(_REGULARISED)
FIG_24 = _by_noise(
    replace(_REGULARISED, network="normalised", weights="random", neurons=2, dims=_up_to(20))
)

# Networks trained by gradients.
_DESCENT = replace(FIG_4A, task="descent", samples=_up_to(200), dims=_up_to(50), seconds=0.05)
FIG_8 = _by_noise(_DESCENT)
_NORMALISED_DESCENT = replace(
    _DESCENT, network="normalised", weights="random", neurons=2, samples=_up_to(150),
    dims=_up_to(30),
)  # fmt: skip
FIG_25 = _by_noise(replace(_NORMALISED_DESCENT, neurons=1))
FIG_30 = _by_noise(replace(_NORMALISED_DESCENT, weights="opposite"))
FIG_31 = _by_noise(_NORMALISED_DESCENT)
FIG_32 = _by_noise(replace(_NORMALISED_DESCENT, weights="axes"))


@dataclass(frozen=True)
class Figure:
    """What a figure of the paper shows.

    Attributes:
        preset: the rows that it is drawn from.
        metric: their column, or "recovered" or "isometry" for a share of the outcomes.
        page: of the book.
        equation: the program's number in the paper, if it has one.
        note: where the repositories' command is ambiguous or broken.
    """

    preset: str
    metric: str
    page: str
    equation: str
    note: str = ""


_SAME = "its command is that of figure {}; the regularised program is presumably meant"
_CRASHED = "the reimplementation's command crashes"

FIGURES = {
    "2": Figure("fig_2", "test_distance", "exact", "6", "(6) is printed without ||w_0||"),
    "4a": Figure("fig_4a", "recovered", "relaxed", "15"),
    "4b": Figure("fig_4b", "recovered", "exact", "6", "(6) is printed without ||w_0||"),
    "5a": Figure("fig_5", "recovered", "normalised", "17", "k = 2; random weights, as commanded"),
    "5b": Figure("fig_5", "recovered", "normalised", "17", "k = 3; random weights, as commanded"),
    "6": Figure("fig_6", "recovered", "relaxed", "15"),
    "7": Figure("fig_7", "weight_distance", "noise", "15"),
    "8": Figure(
        "fig_8", "test_distance", "descent", "9", "the reimplementation's test labels are noisy"
    ),
    "9": Figure("fig_9", "weight_distance", "noise", "17"),
    "10": Figure(
        "fig_10", "isometry", "isometry", "Def. 6",
        "the reimplementation has no command; the authors' script draws max(2n, 50) patterns, "
        "here they are max(n, 50)",
    ),
    "18": Figure("fig_18", "recovered", "relaxed", "15"),
    "19": Figure("fig_7", "test_distance", "noise", "15"),
    "20": Figure("fig_20", "weight_distance", "noise", "211", _SAME.format(7)),
    "21": Figure("fig_20", "test_distance", "noise", "211", _SAME.format(19)),
    "22": Figure("fig_22", "recovered", "normalised", "17"),
    "23": Figure("fig_23", "weight_distance", "noise", "17"),
    "24": Figure(
        "fig_24", "weight_distance", "noise", "212", "its command names no k, which is 2 by default"
    ),
    "25": Figure(
        "fig_25", "test_distance", "descent", "",
        _CRASHED + " and names no k, which is 2 by default; one neuron is presumably meant",
    ),
    "26": Figure("fig_26", "recovered", "normalised", "17", "three opposite weights do not exist"),
    "27": Figure("fig_27", "weight_distance", "noise", "17"),
    "28": Figure("fig_28", "weight_distance", "noise", "17"),
    "29": Figure("fig_29", "weight_distance", "noise", "17"),
    "30": Figure("fig_30", "test_distance", "descent", "", _CRASHED),
    "31": Figure("fig_31", "test_distance", "descent", "", _CRASHED),
    "32": Figure(
        "fig_32", "test_distance", "descent", "",
        _CRASHED + ", and is that of figure 31; axes are presumably meant",
    ),
}  # fmt: skip


def thinned(preset: Preset, trials: int = 2) -> PhaseDiagram | Union:
    """A small one of a figure: at most four sample sizes, two dimensions, few trials."""
    if isinstance(preset, Union):
        return Union(tuple(thinned(panel, trials) for panel in preset.presets))
    preset = checks.instance(preset, PhaseDiagram, "a figure's preset")
    samples = preset.samples
    few = dict.fromkeys(samples[round(i * (len(samples) - 1) / 8)] for i in (0, 1, 2, 4))
    return replace(preset, samples=tuple(few), dims=preset.dims[:2], trials=trials)


SMALL = thinned(FIG_4A)
