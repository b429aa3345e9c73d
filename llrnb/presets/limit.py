"""Recovery at the limit of information: strategies near n = r, and where recovery ends.

r is the number of parameters of the narrowest network that expresses the target.
"""

from dataclasses import replace
from functools import partial

from llrnb.networks import cnn, fully_connected
from llrnb.presets.fig3 import CNN, FULLY_CONNECTED, UNSHARED
from llrnb.sweep import Limit, Union

_FAMILIES = {
    CNN: partial(cnn, 5, 3),
    UNSHARED: partial(cnn, 5, 3, shared=False),
    FULLY_CONNECTED: partial(fully_connected, 5),
}
_KERNELS = {CNN: 1, UNSHARED: 1, FULLY_CONNECTED: 3}  # that express the paper's target
RANKS = {family: one(_KERNELS[family]).parameter_count for family, one in _FAMILIES.items()}
TARGETS = ("paper", "generic")
DESCENTS = ("condense and polish", "gradient descent", "Adam", "weight decay", "dropout")


def _grid(*multiples: float, near: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """Sample sizes: so many more than the rank, and multiples of it."""
    return {
        family: tuple(sorted({rank + k for k in near} | {round(rank * m) for m in multiples}))
        for family, rank in RANKS.items()
    }


_INTERPOLATOR = Limit(
    strategy="narrowest interpolator",
    target="paper",
    families=_FAMILIES,
    kernels=_KERNELS,
    samples=_grid(1.25, 1.5, 2, 3, near=(-2, -1, 0, 1, 2, 3)),
    multiple=100,
    trials=40,
)
_DESCENT = replace(
    _INTERPOLATOR, samples=_grid(1.25, 1.5, 2, 3, 4, near=(0, 1)), multiple=10, trials=20
)
_PENALISED = replace(_DESCENT, strategy="Adam", trials=10, options={"steps": 10_000})
_WHERE = {"paper": _grid(2, 4, near=(1,)), "generic": _grid(4, near=())}  # they are slow

MEASURED = Union(
    tuple(
        replace(preset, target=target)
        for target in TARGETS
        for preset in (
            _INTERPOLATOR,
            replace(_INTERPOLATOR, multiple=10),
            *(replace(_DESCENT, strategy=strategy) for strategy in DESCENTS[:2]),
            *(
                replace(_PENALISED, strategy=strategy, samples=_WHERE[target])
                for strategy in DESCENTS[2:]
            ),
        )
    )
)

SMALL = Union(
    tuple(
        replace(_INTERPOLATOR, multiple=multiple, target=target, trials=8, samples=samples)
        for target in TARGETS
        for multiple in (1, 10)
        for samples in [_grid(1.5, near=(-1, 0, 1))]
    )
)


def _one(kernels: int, inputs: int, **options) -> Limit:
    """Fully connected networks of one size, on generic targets."""
    return replace(
        _INTERPOLATOR,
        target="generic",
        families={FULLY_CONNECTED: partial(fully_connected, inputs)},
        kernels={FULLY_CONNECTED: kernels},
        **options,
    )


def _at(*samples: float) -> dict[str, dict[str, tuple[int, ...]]]:
    return {"samples": {FULLY_CONNECTED: tuple(round(n) for n in samples)}}


_KNOWN = {"strategy": "least squares", "multiple": 1, "trials": 20}

# The first of so many starts that fits exactly, at the width of the target.
WIDTHS = Union(
    tuple(
        _one(
            kernels, 5, **_at(7 * kernels + 1, 10.5 * kernels, 14 * kernels), **_KNOWN,
            options={"starts": 2**13}, variant=f"{kernels} kernels",
        )
        for kernels in (1, 2, 3, 4, 5)
    )
)  # fmt: skip
INPUTS = Union(
    tuple(
        _one(
            2, dim, **_at(2 * dim + 5, 3 * dim + 6, 4 * dim + 8), **_KNOWN,
            options={"starts": 2**13}, variant=f"{dim} inputs",
        )
        for dim in (5, 10, 15, 20)
    )
)  # fmt: skip

# Noise: no exact fit is the target then.
SIGMAS = (0.0, 1e-6, 1e-4, 1e-3, 1e-2, 0.03, 0.1, 0.3)
NOISE = Union(
    (
        *(
            _one(2, 5, **_at(15, 21, 28, 56, 112), **_KNOWN, noise=noise, options={"starts": 512})
            for noise in SIGMAS
        ),
        *(
            _one(
                2, 5, **_at(15, 28), multiple=4, trials=5, noise=noise,
                options={"budget": 4 * 10**5},
            )
            for noise in SIGMAS[1::2]
        ),
    )
)  # fmt: skip

# Functions that no two-layer tanh network computes, next to one that it does.
FOREIGN = Union(
    tuple(
        replace(
            _one(3, 5, **_at(12, 20, 28, 36), multiple=4, options={"budget": 2 * 10**6}),
            target=target,
            trials=10,
            variant=name,
        )
        for target, name in (
            ("generic", "three tanh neurons"),
            ("deep", "three layers"),
            ("relu", "three ReLU neurons"),
        )
    )
)
