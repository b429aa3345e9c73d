"""Bad and odd arguments: is each refused by a sentence of ours, or understood as what it means?

A foreign error, a bad argument that is accepted, another result for the same meaning, or more than
20 seconds are false.
"""

import signal
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from linecache import getline
from pathlib import Path

import numpy as np
import pandas as pd
import torch

import llrnb
from llrnb import figures
from tools.search import Case
from tools.search._calls import CALLS

PATIENCE = 20  # seconds
# Whose first call compiles, for half a minute.
COMPILED = (
    *("condensation.polish", "least_squares.fit", "narrowest_interpolator", "train[cpu]"),
    *("strategies.climb", "strategies.least_squares_fit", "strategies.gradient_descent"),
    *("strategies.condense_and_polish", "embedding.compare"),
)
_PACKAGE = str(Path(llrnb.__file__).parent)


@dataclass(frozen=True)
class Attempt:
    """One argument of one call, replaced."""

    function: str
    argument: str
    sort: str  # "bad", "same" or "either"
    value: object

    def __str__(self) -> str:
        return f"{self.function}({self.argument}={_shown(self.value)})"


def _shown(value: object) -> str:
    if isinstance(value, torch.Tensor):
        return f"tensor{tuple(value.shape)} {value.dtype}"
    if isinstance(value, np.ndarray | pd.DataFrame | pd.Series):
        return f"{type(value).__name__}{value.shape} {getattr(value, 'dtype', '')}"
    text = repr(value)
    return text if len(text) < 60 else text[:57] + "..."


def attempts(function: str, rng: np.random.Generator) -> Iterator[Attempt]:
    """Everything that the kinds make of a good call."""
    call = CALLS[function]
    good = call.arguments()
    for argument, kind in call.kinds.items():
        value = good.get(argument)
        for sort in ("bad", "same", "either"):
            for other in getattr(kind, sort)(value, rng):
                yield Attempt(function, argument, sort, other)


def judge(attempt: Attempt) -> str:
    """ "refused", "same", or what is wrong."""
    call = CALLS[attempt.function]
    if attempt.sort != "bad":
        _clean(attempt.function)  # first, so that what is compiled once takes no time
    try:
        with quiet(), at_most(PATIENCE):
            found = call.function(**{**call.arguments(), attempt.argument: attempt.value})
    except Late:
        return "late"
    except Exception as error:
        return "refused" if ours(error) else f"foreign {type(error).__name__}: {error}"
    finally:
        figures.plt.close("all")
    if attempt.sort == "bad":
        return "accepted"
    with quiet():
        return "same" if equal(found, _clean(attempt.function)) else "another result"


def right(attempt: Attempt, said: str) -> bool:
    """Whether that is how the argument should end."""
    return (
        said
        in {"bad": ("refused",), "same": ("same",), "either": ("same", "refused")}[attempt.sort]
    )


@cache
def _clean(function: str):
    call = CALLS[function]
    return call.function(**call.arguments())


def ours(error: Exception) -> bool:
    """Whether an error says in our own words what was needed, and what came.

    Raised by a `raise` in the package; or Python's own for an argument that a function has not.
    """
    if isinstance(error, TypeError) and "argument" in str(error) and "()" in str(error):
        return True
    trace = error.__traceback__
    while trace.tb_next is not None:
        trace = trace.tb_next
    path, line = trace.tb_frame.f_code.co_filename, trace.tb_lineno
    raised = getline(path, line).strip().startswith("raise ")
    known = isinstance(error, ValueError | TypeError) or type(error).__module__.startswith("llrnb")
    known |= isinstance(error, RuntimeError) and "device" in str(error)
    return (
        path.startswith(_PACKAGE)
        and raised
        and known
        and bool({"got", "needs", "finds"} & set(str(error).split()))
    )


class Late(BaseException):
    """A call took too long."""


@contextmanager
def at_most(seconds: int):
    """Raise Late in the main thread after so long."""

    def late(*_):
        raise Late

    signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)


@contextmanager
def quiet():
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield


def equal(one, other) -> bool:
    """Whether two results are the same, up to rounding."""
    if isinstance(one, figures.plt.Figure):
        return isinstance(other, figures.plt.Figure)
    one, other = (v.detach().numpy() if isinstance(v, torch.Tensor) else v for v in (one, other))
    if isinstance(one, pd.DataFrame):
        return all(equal(list(one[c]), list(other[c])) for c in other.columns)
    if is_dataclass(one) and not isinstance(one, type):
        return all(equal(getattr(one, f.name), getattr(other, f.name)) for f in fields(one))
    if isinstance(one, Mapping):
        return list(one) == list(other) and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    if isinstance(one, np.ndarray | float) and np.asarray(one).dtype.kind == "f":
        narrow = np.asarray(one).dtype.itemsize < 8
        near = np.allclose(one, other, 0.1 if narrow else 1e-9, 1e-12, equal_nan=True)
        return np.shape(one) == np.shape(other) and near
    if isinstance(one, np.ndarray):
        return np.array_equal(one, other)
    if callable(one):
        return True
    try:
        return bool(one == other)
    except ValueError:
        return False


def tried(each: int, functions: Iterable[str] = CALLS) -> dict[str, dict[str, str]]:
    """For each function, so many of its attempts (bad ones only, where a call compiles), judged.

    Returns:
        What went wrong with each attempt, by function; nothing if it went right.
    """
    found: dict[str, dict[str, str]] = {}
    for function in functions:
        every = [a for a in attempts(function, np.random.default_rng(0)) if _quick(a)]
        order = np.random.default_rng(1).permutation(len(every))[:each]
        said = {str(every[i]): (every[i], judge(every[i])) for i in order}
        found[function] = {
            name: "" if right(*judged) else f"{judged[0].sort}: {judged[1]}"
            for name, judged in said.items()
        }
    return found


def _quick(attempt: Attempt) -> bool:
    return attempt.sort == "bad" or attempt.function not in COMPILED


def case(seed: int) -> Case:
    """One random argument of one random function."""
    rng = np.random.default_rng(seed)
    function = str(rng.choice(list(CALLS)))
    drawn = list(attempts(function, rng))
    attempt = drawn[int(rng.integers(len(drawn)))]
    said = judge(attempt)
    outcome = "right" if right(attempt, said) else "false"
    return Case(function, attempt.sort, f"{attempt}: {said}", outcome, clean=attempt.sort == "same")
