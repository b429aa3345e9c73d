"""Every random stream of the package, each with a role: what is drawn from it.

A stream is keyed by its role and by the coordinates that the role names. Streams of two roles have
nothing in common, whatever their coordinates: no test set is a training set, no target an
initialisation. Equal keys give equal numbers, on every machine.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from operator import index
from typing import Any

import numpy as np
import torch

_NETWORK = ("kernels", "windows", "entries", "shared", "bias", "output_bias")
_DEEP = ("widths", "bias", "residual")
_SAMPLES = ("samples", "inputs", "seed")

ROLES: Mapping[str, tuple[str, ...]] = {
    "training inputs": _SAMPLES,
    "test inputs": _SAMPLES,
    "noise": _SAMPLES,
    "initial params": (*_NETWORK, "seed"),
    "target params": (*_NETWORK, "seed"),
    "search starts": (*_NETWORK, "seed"),
    "deep initial params": (*_DEEP, "seed"),
    "deep target params": (*_DEEP, "seed"),
    "product initial params": ("widths", "seed"),
    "module initial params": ("shapes", "seed"),
    "model target params": ("shapes", "seed"),
    "mini-batch orders": ("batch_size", "seed"),
    "generic inputs": (),
    "fresh inputs": (),
    "directions": (),
    "further inputs": (),
    "further directions": (),
    "last digits": ("seed",),
    "signs of a sketch": (),
    "rows of a certificate": ("samples", "params", "seed"),
    "second-order inputs": (),
    "null directions": (),
    "lines of series": (),
    "residual": (),
    "mixing": ("seed",),
    "symmetries": (),
    "inputs of symmetries": (),
    "zoo params": ("seed",),
    "own inputs": ("samples", "seed"),
    "own test inputs": ("samples",),
    "planted inputs": _SAMPLES,
    "planted weights": _SAMPLES,
    "planted noise": _SAMPLES,
    "planted test inputs": _SAMPLES,
    "sampled patterns": _SAMPLES,
    "ReLU initial params": ("width", "inputs", "seed"),
    "mixture means": ("inputs", "seed"),
    "mixture noise": _SAMPLES,
    "bootstrap of transitions": ("seed",),
    "bootstrap of choices": ("seed",),
    "bootstrap of means": (),
}


def rng(role: str, **coordinates: object) -> np.random.Generator:
    """The stream of a role at these coordinates, from its beginning.

    Its seed is a hash of the role and of the coordinates' names and values.

    Args:
        role: one of `ROLES`.
        coordinates: those that `ROLES` names for it; whole numbers, or sequences of them.

    Raises:
        ValueError: another role or other coordinates, or a value that is not a whole number.

    >>> rng("training inputs", samples=5, inputs=2, seed=0).integers(100, size=4).tolist()
    [41, 58, 33, 97]
    >>> rng("test inputs", samples=5, inputs=2, seed=0).integers(100, size=4).tolist()
    [70, 4, 44, 63]
    """
    if role not in ROLES:
        raise ValueError(f"a stream's role needs to be one of {list(ROLES)}, got {role!r}")
    if set(coordinates) != set(ROLES[role]):
        raise ValueError(
            f"the stream of {role} needs the coordinates {ROLES[role]}, got {tuple(coordinates)}"
        )
    values = {name: _whole(name, value) for name, value in coordinates.items()}
    digest = hashlib.sha256(json.dumps([role, values], sort_keys=True).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest))


@contextmanager
def torch_seeded(seed: int) -> Iterator[None]:
    """Torch's own generators at a seed, for what draws from them; put back afterwards."""
    devices = list(range(torch.cuda.device_count()))
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        yield


def _whole(name: str, value: Any) -> int | list:
    """The number as Python's, or the sequence as a list; True is 1."""
    if isinstance(value, tuple | list):
        return [_whole(name, part) for part in value]
    try:
        return int(value) if isinstance(value, bool | np.bool_) else index(value)
    except TypeError:
        raise ValueError(f"{name} of a stream needs a whole number, got {value!r}") from None
