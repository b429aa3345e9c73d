"""What public functions ask of their arguments: one check for each kind of argument.

A check returns the value as the plain type that it means, so that NumPy's integers become int and
lists tuples, or raises an error that says what was needed and what came. Checks stand in the first
lines of public functions and where dataclasses are made, never in loops.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from functools import wraps
from inspect import signature
from math import inf, nan, prod
from numbers import Integral, Real
from operator import ge, gt, lt
from sys import float_info
from types import UnionType
from typing import Any, TypeVar, get_args

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

T = TypeVar("T")

_MANY = 10**15  # more than a loop can do
_ROOM = 2**31  # numbers in an array: 16 GiB
_HOLDS = {">=": ge, ">": gt, "<": lt}
_WHOLE = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
_EXACT = 2**53  # all integers up to here are float64 numbers
# Numbers that YAML 1.1 leaves as text, for want of a point or a sign: 1e-10, 1.5e3.
_EXPONENT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")


def count(value: object, name: str, *, least: int = 1, most: float = _MANY) -> int:
    """The integer from `least` to `most` that an argument is; 1e5 is one, 2.5 and True are not."""
    number = _number(value)
    if number is None or number % 1 or not least <= number <= most:
        needed = f"from {least} to {most}" if least <= (number or 0) else f"of at least {least}"
        raise ValueError(f"{name} needs an integer {needed}, got {came(value)}")
    return int(number)


def seed(value: object, name: str = "seed") -> int:
    """The integer from 0 to 2^63 - 1 that keys a random stream."""
    return count(value, name, least=0, most=2**63 - 1)


def real(
    value: object,
    name: str,
    *,
    least: float | None = None,
    above: float | None = None,
    below: float | None = None,
    finite: bool = True,
) -> float:
    """The number in a range that an argument is, as a float."""
    given = _number(value)
    number = nan if given is None else given  # which fits nothing
    bounds = [(">=", least), (">", above), ("<", below)]
    limits = {sign: limit for sign, limit in bounds if limit is not None and limit != inf}
    fits = abs(number) <= float_info.max or (number == inf and not finite)
    if not (fits and all(_HOLDS[sign](number, limit) for sign, limit in limits.items())):
        needed = "a finite number" if finite else "a number"
        needed += " and".join(f" {sign} {limit}" for sign, limit in limits.items())
        raise ValueError(f"{name} needs {needed}, got {came(value)}")
    return float(number)


def flag(value: object, name: str) -> bool:
    """True or False; words, such as "false", and numbers are neither."""
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"{name} needs True or False, got {came(value)}")
    return bool(value)


def one_of(words: Any, name: str, word: object) -> str:
    """The word, if it is one of a literal type's, or of a collection.

    Raises:
        ValueError: another word.
    """
    known = get_args(words) or tuple(words)
    if not isinstance(word, str) or word not in known:
        raise ValueError(f"{name} needs one of {', '.join(known)}, got {came(word)}")
    return str(word)


def text(value: object, name: str) -> str:
    """A name, such as a row's label."""
    if not isinstance(value, str):
        raise ValueError(f"{name} needs a text, got {came(value)}")
    return value


def many(
    check: Callable[..., T], values: object, name: str, *, fewest: int = 1, **limits: float
) -> tuple[T, ...]:
    """The members of a list, a tuple, a range or an array, each of them checked."""
    if isinstance(values, np.ndarray | Tensor | pd.Series) and values.ndim:
        values = values.tolist()
    if not isinstance(values, list | tuple | range) or len(values) < fewest:
        raise ValueError(f"{name} needs a list of at least {fewest}, got {came(values)}")
    return tuple(check(value, f"each of {name}", **limits) for value in values)


def sizes(value: object, name: str, axes: int = 1) -> tuple[int, ...]:
    """A size for each axis; a single one is that of all axes."""
    if _number(value) is not None:
        return (count(value, name),) * axes
    return many(count, value, name)


def instance(value: object, kind: type[T] | UnionType, name: str) -> T:
    """An object of a class, or of one of several."""
    if not isinstance(value, kind):
        needed = " or ".join(one.__name__ for one in get_args(kind) or (kind,))
        raise TypeError(f"{name} needs to be a {needed}, got {came(value)}")
    return value


def itself(value: object, kind: type[T], name: str) -> T:
    """A network of a class, and not of one derived from it with outputs of its own."""
    found = instance(value, kind, name)
    if type(found).__call__ is not kind.__call__ or hasattr(found, "outputs"):
        raise TypeError(
            f"{name} needs to be a {kind.__name__} itself, got a {type(found).__name__}, which "
            "computes its outputs in its own way"
        )
    return found


def function(value: object, name: str) -> Callable[..., Any]:
    """What can be called; a class cannot stand for its instances."""
    if not callable(value) or isinstance(value, type):
        raise TypeError(f"{name} needs to be a function, got {came(value)}")
    return value


def mapping(value: object, name: str) -> dict:
    """A dict whose keys are words."""
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise TypeError(f"{name} needs a dict with words as keys, got {came(value)}")
    return dict(value)


def table(value: object, columns: Iterable[str], name: str = "the table") -> pd.DataFrame:
    """A table of at least one row that has these columns."""
    if not isinstance(value, pd.DataFrame):
        raise TypeError(f"{name} needs to be a DataFrame, got {came(value)}")
    if missing := [column for column in columns if column not in value.columns]:
        raise ValueError(f"{name} needs the columns {missing}, got {list(value.columns)}")
    if value.empty:
        raise ValueError(f"{name} needs at least 1 row, got none")
    return value


def tensor(value: object, name: str) -> Tensor:
    """A tensor of real floating-point numbers, as it is."""
    if not (isinstance(value, Tensor) and value.is_floating_point() and _plain(value)):
        raise TypeError(
            f"{name} needs to be a tensor of real floating-point numbers, got {came(value)}"
        )
    return value


def reals(value: object, name: str) -> Tensor:
    """A tensor of real numbers, whole ones too, as it is."""
    if isinstance(value, Tensor) and value.dtype in _WHOLE and _plain(value):
        return value
    return tensor(value, name)


def double(value: Tensor, name: str, *, finite: bool = True) -> Tensor:
    """The tensor, detached on the CPU, in float64.

    Raises:
        TypeError: not a tensor of real floats.
        ValueError: NaN or infinite values.
    """
    value = tensor(value, name).detach().to("cpu", torch.float64)
    if finite and not value.isfinite().all():
        bad = int((~value.isfinite()).sum())
        raise ValueError(f"{name} needs finite numbers, got {bad} NaN or infinite")
    return value


def double_params(params: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The params, detached on the CPU, in float64; a narrower float is widened, which is exact.

    Raises:
        TypeError: not a mapping, or a value that is not a tensor of real floats.
        ValueError: no parameters, NaN or infinite ones.
    """
    if not isinstance(params, Mapping):
        raise TypeError(f"params need to be a dict of tensors, got {came(params)}")
    found = {name: double(value, f"params[{name!r}]") for name, value in params.items()}
    if not sum(value.numel() for value in found.values()):
        raise ValueError("a model needs at least 1 parameter, got none")
    return found


def data(values: object, name: str, *, finite: bool = True) -> Float[Tensor, "..."]:
    """Real numbers in a tensor, an array or nested lists, as float64 on the CPU.

    Raises:
        TypeError: anything else: complex numbers, masks, masked or sparse arrays, texts.
        ValueError: NaN or infinite values, or integers that no float64 is.
    """
    if isinstance(values, Tensor) and values.is_floating_point():
        return double(values, name, finite=finite)
    array = _array(values)
    if array is None:
        raise TypeError(f"{name} needs an array of real numbers, got {came(values)}")
    if array.dtype.kind != "f" and array.size and np.abs(array.astype(float)).max() > _EXACT:
        raise ValueError(f"{name} needs integers up to 2^53, got {np.abs(array).max()}")
    return double(torch.from_numpy(array.astype(np.float64)), name, finite=finite)


def numbers(values: object, name: str) -> Shaped[Tensor, "..."]:
    """Finite numbers as float64 on the CPU, but integers, such as kinds and tokens, as int64."""
    found = data(values, name)
    array = _array(values.detach() if isinstance(values, Tensor) else values)
    whole = array is not None and array.dtype.kind in "iu"  # None: of floats that NumPy lacks
    return found.to(torch.int64) if whole else found


def array(values: object, name: str, *sizes: int | None) -> Float[np.ndarray, "..."]:
    """The same as an array with so many axes, each of a given length or, for None, at least 1."""
    found = data(values, name).numpy()
    fits = found.ndim == len(sizes) and found.size > 0
    if not fits or any(size not in (None, n) for size, n in zip(sizes, found.shape, strict=True)):
        needed = ", ".join("any" if size is None else str(size) for size in sizes)
        raise ValueError(f"{name} needs an array of shape ({needed}), got {found.shape}")
    return found


def shapes(params: Mapping[str, Tensor], needed: Mapping[str, tuple[int, ...]]) -> None:
    """Raise unless params are tensors of real floats of these names and shapes."""
    if not isinstance(params, Mapping):
        raise TypeError(f"the network needs params, a dict of tensors, got {came(params)}")
    found = {name: tuple(tensor(v, f"params[{name!r}]").shape) for name, v in params.items()}
    if needed != found:
        raise ValueError(f"the network needs params of shapes {dict(needed)}, got {found}")


def device(name: str) -> None:
    """Raise ValueError unless torch knows the device, RuntimeError unless it is here."""
    try:
        kind = torch.device(name).type if isinstance(name, str | torch.device) else "meta"
    except RuntimeError:
        kind = "meta"
    if kind == "meta":  # where nothing is computed
        raise ValueError(f"the device needs to be a torch device, got {came(name)}")
    if kind == "cuda" and not torch.cuda.is_available():
        raise RuntimeError(f"device {name!r} needs a CUDA GPU, and torch finds none here")
    try:
        torch.empty(0, device=name)
    except Exception as error:  # each backend has its own
        raise RuntimeError(f"device {name!r} needs to be here, got: {error}") from None


def room(what: str, *shape: int) -> None:
    """Raise ValueError if an array of this shape does not fit."""
    if prod(shape) > _ROOM:
        raise ValueError(f"{what} needs at most {_ROOM:,} numbers, got a shape of {shape}")


def by_annotation(kinds: Mapping[object, Callable]) -> Callable:
    """Decorate a function so that each argument is checked as its annotation's kind."""

    def decorate(function: Callable) -> Callable:
        known = signature(function)
        annotated = known.parameters.items()
        of = {name: kinds[p.annotation] for name, p in annotated if p.annotation in kinds}

        @wraps(function)
        def checked(*args, **kwargs):
            given = known.bind(*args, **kwargs)
            for name, check in of.items():
                if name in given.arguments:
                    given.arguments[name] = check(given.arguments[name], name)
            return function(*given.args, **given.kwargs)

        return checked

    return decorate


def settle_by_annotation(made: Any, kinds: Mapping[object, Callable]) -> None:
    """The same for the fields of a frozen dataclass."""
    known = [field for field in fields(made) if field.type in kinds]
    settle(made, **{f.name: kinds[f.type](getattr(made, f.name), f.name) for f in known})


def settle(made: object, **values: object) -> None:
    """Give a frozen dataclass, while it is made, its fields as their checks return them."""
    for name, value in values.items():
        object.__setattr__(made, name, value)


def meant(value: Any) -> Any:
    """What values from a file mean: the text 1e-10, which YAML 1.1 does not read, is a number.

    Lists become tuples.
    """
    if isinstance(value, str) and _EXPONENT.fullmatch(value):
        return float(value)
    if isinstance(value, Mapping):
        return {key: meant(part) for key, part in value.items()}
    return tuple(map(meant, value)) if isinstance(value, list | tuple) else value


def described(kinds: Mapping[str, Callable[..., T]], what: str, description: Mapping) -> T:
    """What a description names: its `kind`, next to the arguments that this kind takes."""
    arguments = meant(mapping(description, f"a {what}"))
    kind = one_of(kinds, f"the {what}'s kind", arguments.pop("kind", None))
    try:
        signature(kinds[kind]).bind(**arguments)
    except TypeError as error:  # Python's message names the argument
        needed = list(signature(kinds[kind]).parameters)
        raise ValueError(f"a {what} of kind {kind!r} needs some of {needed}: {error}") from None
    return kinds[kind](**arguments)


def came(value: object) -> str:
    """What came, in a few words."""
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}, {value.dtype}, {value.layout}"
    if isinstance(value, np.ndarray):
        return f"an array ({type(value).__name__}) of shape {value.shape}, {value.dtype}"
    if isinstance(value, pd.DataFrame | pd.Series):
        return f"a {type(value).__name__} of shape {value.shape}"
    shown = repr(value)
    return shown if len(shown) <= 80 else f"{shown[:77]}..."


def _number(value: object) -> int | float | None:
    """A real number that is no truth value; else None."""
    if type(value) is int:  # as most are
        return value
    if isinstance(value, bool) or not isinstance(value, Real):
        return None
    return int(value) if isinstance(value, Integral) else float(value)


def _plain(value: Tensor) -> bool:
    """Whether a tensor holds all its numbers, one by one."""
    return value.layout == torch.strided and not value.is_meta


def _array(values: object) -> Shaped[np.ndarray, "..."] | None:
    """Real numbers as an array; None if they are something else."""
    odd = isinstance(values, Tensor) and not _plain(values)
    if odd or isinstance(values, np.ma.MaskedArray | str | bytes | Mapping):
        return None
    try:
        found = np.asarray(values.cpu() if isinstance(values, Tensor) else values)
    except (TypeError, ValueError, RuntimeError):  # ragged lists, lists of what has no number
        return None
    return found if found.dtype.kind in "iuf" else None
