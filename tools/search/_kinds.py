"""What may become of a good argument: for each kind, bad values, and others that mean the same."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import inf, nan

import numpy as np
import pandas as pd
import torch

from llrnb import stacks


class _Nothing:
    """A value of a class that no function knows."""

    def __repr__(self) -> str:
        return "<nothing>"


NOTHING = _Nothing()
STRANGE = (None, NOTHING, {}, {"a": 1}, object, b"x")

Mutations = list[tuple[str, object]]


@dataclass(frozen=True)
class Kind:
    """What may become of a good argument.

    Attributes:
        bad: values that must be refused.
        same: values that mean the same.
        either: values that are refused or mean the same.
    """

    bad: Callable[..., Sequence]
    same: Callable[..., Sequence] = lambda value, rng: ()
    either: Callable[..., Sequence] = lambda value, rng: ()


def a_word(rng) -> str:
    return "".join(rng.choice(list("abcdefghijklmnopqrstuvwxyz"), 6))


NOT_NUMBERS = (
    *STRANGE,
    True,
    False,
    "3",
    "three",
    "",
    [3],
    (),
    1j,
    nan,
    inf,
    -inf,
    np.array([3, 3]),
)
NOT_NUMBERS += (np.array(["3"]), torch.tensor([1.0, 2.0]), np.datetime64("2020"), slice(3), "nan")


def _bad_count(value, rng, *, least: int, huge: bool) -> list:
    fractions = (2.5, np.float32(0.5), float(rng.uniform(1, 9)) + 0.001, 1e-10)
    small = [least - 1, least - int(rng.integers(1, 10**6)), -(10**30)]
    big = [10**30, 2**63, 10**16 + int(rng.integers(10**9)), float(2**80)] if huge else []
    return [*NOT_NUMBERS, *fractions, *small, *big]


def a_count(least: int = 1, *, huge: bool = True) -> Kind:
    return Kind(
        lambda value, rng: _bad_count(value, rng, least=least, huge=huge),
        lambda value, rng: [np.int64(value), np.int32(value), np.uint16(value)],
        lambda value, rng: [float(value), np.float64(value), np.array(value), torch.tensor(value)],
    )


def _bad_real(value, rng, *, above=-inf, least=-inf, below=inf) -> list:
    outside = []
    if above == 0:
        outside = [0, 0.0, -0.0, -1e-300, -1.0, -float(rng.exponential())]
    elif least == 0:
        outside = [-1e-300, -1.0, -float(rng.exponential())]
    if below < inf:
        outside += [below, below + float(rng.exponential())]
    return [*NOT_NUMBERS, np.complex128(1), torch.tensor(1j), 10**400, *outside]


def a_real(**range_) -> Kind:
    return Kind(
        lambda value, rng: _bad_real(value, rng, **range_),
        lambda value, rng: [np.float64(value)],
        lambda value, rng: [np.array(value), torch.tensor(value, dtype=torch.float64)],
    )


def _bad_list(value, rng, *, one: Kind, least: int = 1) -> list:
    single = [[bad] for bad in one.bad(value[0] if len(value) else 1, rng)]
    ends = [[*value, bad] for bad in ("3", None, nan, True)]
    empty = [[], (), np.array([])] if least else []
    return [*STRANGE, "123", "1", 5, 0.5, True, nan, {1: 2}, {3}, *single, *ends, *empty]


def a_list(one: Kind, least: int = 1, again=np.array) -> Kind:
    return Kind(
        lambda value, rng: _bad_list(value, rng, one=one, least=least),
        lambda value, rng: [list(value), tuple(value), again(value), list(again(value))],
        lambda value, rng: [iter(value), torch.tensor(list(value)), pd.Series(list(value))],
    )


def _bad_flag(value, rng) -> list:
    words = ("false", "False", "true", "no", "yes", "off", "", "0", a_word(rng))
    return [*STRANGE, *words, 2, -1, nan, 0.5, [], [False], np.array([True, False]), 1j]


FLAG = Kind(
    _bad_flag,
    lambda value, rng: [np.bool_(value)],
    lambda value, rng: [int(value), np.array(value), torch.tensor(value)],
)


def _bad_word(value, rng) -> list:
    near = [value + "d", value[:-1], value[::-1], value + " ", value.title() + "!", value * 2]
    return [
        *STRANGE,
        *near,
        "",
        a_word(rng),
        3,
        True,
        nan,
        [value],
        value.encode(),
        np.array([value]),
    ]


WORD = Kind(_bad_word, lambda value, rng: [np.str_(value)])


def _as_tensor(value) -> torch.Tensor:
    return value if isinstance(value, torch.Tensor) else torch.from_numpy(value)


def _like(value, tensor: torch.Tensor):
    """As the good value: a tensor or an array."""
    return tensor if isinstance(value, torch.Tensor) else tensor.numpy()


def bad_data(value, rng) -> list:
    tensor = _as_tensor(value)
    spoiled = []
    for number in (nan, inf, -inf):
        spoiled.append(tensor.clone())
        spoiled[-1].view(-1)[int(rng.integers(tensor.numel()))] = number
    shapes = [tensor[None, None, None], tensor[..., None], tensor[:0], tensor.new_zeros(0)]
    shapes += [tensor.new_ones(()), tensor[..., :-1], torch.cat([tensor, tensor], dim=-1)]
    wrong = [*spoiled, *shapes, tensor + 0j, tensor > 0]
    masked = np.ma.array(tensor.numpy(), mask=tensor.numpy() > 0)
    ragged = [[1.0, 2.0], [3.0]]
    odd = [tensor.to_sparse(), tensor.to("meta"), masked, tensor.numpy().astype(object)]
    odd += [
        tensor.numpy().astype(str),
        tensor.numpy().astype("datetime64[s]"),
        ragged,
        "123",
        3,
        0.5,
    ]
    kept = [_like(value, w) for w in wrong]
    return [*STRANGE, True, [], [None], ["1", "2"], nan, *kept, *odd, tensor.tolist()[:-1]]


def _same_data(value, rng) -> list:
    tensor = _as_tensor(value)
    wide = torch.stack([tensor, tensor], dim=-1)[..., 0]
    if isinstance(value, torch.Tensor):
        return [wide, tensor.clone().requires_grad_(), tensor.float()]
    frozen = value.copy()
    frozen.flags.writeable = False
    return [wide.numpy(), np.asfortranarray(value), value.astype(np.float32), frozen]


def _either_data(value, rng) -> list:
    tensor = _as_tensor(value)
    frozen = tensor.numpy().copy()
    frozen.flags.writeable = False
    kinds = [frozen, tensor.numpy(), tensor.numpy().astype(np.longdouble), tensor.tolist(), tensor]
    return [*kinds, np.ma.array(frozen), pd.DataFrame(frozen) if frozen.ndim == 2 else frozen]


DATA = Kind(bad_data, _same_data, _either_data)


def some_shapes(value, rng) -> list:
    """Where another number of samples, or of inputs, is good data as well."""
    tensor = _as_tensor(value)
    fine = {tuple(tensor[..., :-1].shape), (*tensor.shape[:-1], 2 * tensor.shape[-1])}
    fine.add((len(tensor) - 1, *tensor.shape[1:]))
    return [v for v in bad_data(value, rng) if shape_of(v) not in fine or is_unreal(v)]


def shape_of(value) -> tuple[int, ...] | None:
    """None for what has no shape."""
    try:
        return tuple(np.shape(value))
    except (TypeError, ValueError, RuntimeError):
        return None


def _ndim(value) -> int | None:
    return None if shape_of(value) is None else len(shape_of(value))


def is_unreal(value) -> bool:
    """Whether the values are no finite real numbers, whatever the shape."""
    if isinstance(value, torch.Tensor) and (value.is_meta or value.is_sparse):
        return True
    if shape_of(value) is None:
        return True
    array = np.ma.getdata(np.asarray(value))
    if isinstance(value, np.ma.MaskedArray) or array.dtype.kind not in "iuf":
        return True
    return not np.isfinite(array).all()


ANY_DATA = Kind(some_shapes, _same_data, _either_data)
# Divided by the user, or shown: what is not finite shows as such.
FREE_DATA = Kind(
    lambda value, rng: [v for v in bad_data(value, rng) if not _not_finite(v)],
    _same_data,
    _either_data,
)


def but_arrays(kind: Kind) -> Kind:
    """The kind, where a list is as good as a number."""

    def rest(value, rng):
        return [b for b in kind.bad(value, rng) if not isinstance(b, np.ndarray | torch.Tensor)]

    return Kind(rest, kind.same, kind.either)


def but_shapes(kind: Kind, *shapes: tuple[int, ...]) -> Kind:
    """The kind, where other shapes are as good."""

    def rest(value, rng):
        return [
            bad for bad in kind.bad(value, rng) if shape_of(bad) not in shapes or is_unreal(bad)
        ]

    return Kind(rest, kind.same, kind.either)


def _not_finite(value) -> bool:
    try:
        array = np.asarray(value, dtype=float)
    except (TypeError, ValueError, RuntimeError):
        return False
    return bool(array.size and array.ndim and not np.isfinite(array).all())


def _bad_params(value, rng, *, finite: bool = True) -> list:
    name = str(rng.choice(list(value)))
    one = value[name]
    spoiled = [one.clone() for _ in range(2)]
    spoiled[0].view(-1)[0], spoiled[1].view(-1)[-1] = nan, inf
    wrong = [*(spoiled if finite else ()), one + 0j, one > 0, one[..., None], None, "w", 0.5, {}]
    wrong += [one.to_sparse() if one.ndim else None, one.to("meta"), one.numpy().astype(str)]
    wrong += [torch.stack([one, one, one], dim=-1), one[:0] if one.ndim else one[None]]
    without = {key: part for key, part in value.items() if key != name}
    extra = {**value, "z": one}
    changed = [{**value, name: bad} for bad in wrong]
    numbered = dict(enumerate(value.values()))
    return [None, NOTHING, 3, "wba", "", [], [1, 2], without, extra, {}, numbered, *changed]


def _same_params(value, rng) -> list:
    wide = {name: torch.stack([v, v], dim=-1)[..., 0] for name, v in value.items()}
    return [
        wide,
        {name: v.float() for name, v in value.items()},
        {name: v.clone().requires_grad_() for name, v in value.items()},
    ]


def _either_params(value, rng) -> list:
    arrays = {name: v.numpy() for name, v in value.items()}
    lists = {name: v.tolist() for name, v in value.items()}
    return [arrays, lists, list(value.items()), {name: v.half() for name, v in value.items()}]


PARAMS = Kind(_bad_params, _same_params, _either_params)
# A network that has diverged may be looked at.
SHOWN_PARAMS = Kind(partial(_bad_params, finite=False), _same_params, _either_params)


def _bad_stack(value, rng) -> list:
    name = str(rng.choice(list(value)))
    one = value[name]
    wrong = [one + 0j, one > 0, one[0] if one.ndim == 1 else one[:1], None, "w", 0.5, one.numpy()]
    wrong += [one.to_sparse(), one.to("meta")]
    numbered = dict(enumerate(value.values()))
    return [None, NOTHING, 3, "wba", "", [], {}, numbered, *({**value, name: bad} for bad in wrong)]


STACKED = Kind(_bad_stack, lambda value, rng: [stacks.Stack(value)])


def strange(*more) -> Kind:
    return Kind(lambda value, rng: [*STRANGE, "cnn", 3, nan, True, [], *more])


OBJECT = strange(np.ones((2, 2)))
MODEL = strange()


def _bad_table(value, rng) -> list:
    return [
        *STRANGE, "table", 3, [], value[:0], pd.DataFrame(), value.to_numpy(), value.iloc[0],
        pd.DataFrame({"x": [1]}), value.add_suffix("_"), value.drop(columns=value.columns),
    ]  # fmt: skip


TABLE = Kind(_bad_table)


def but(kind: Kind, *fine) -> Kind:
    """The kind, where these values mean something."""

    def rest(value, rng):
        return [bad for bad in kind.bad(value, rng) if not any(_is(bad, v) for v in fine)]

    return Kind(rest, kind.same, kind.either)


def _is(one, other) -> bool:
    return one is other or (
        type(one) is type(other) and isinstance(one, int | float | str | tuple | list | dict)
        and (one == other or (one != one and other != other))
    )  # fmt: skip


COUNT, COUNT0, FREE0 = a_count(), a_count(0), a_count(0, huge=False)
SEED = Kind(
    lambda value, rng: [*_bad_count(value, rng, least=0, huge=False), 10**30, 2**63],
    COUNT0.same,
    COUNT0.either,
)
REAL, REAL0, POSITIVE = a_real(), a_real(least=0), a_real(above=0)
SHARE = a_real(least=0, below=1.0)
COUNTS, SEEDS = a_list(COUNT), a_list(SEED)
RATES = a_list(POSITIVE)


COUNT_OR_NONE = but(COUNT, None)
STEPS = a_list(COUNT0, least=0)
STEPS_AT = Kind(
    lambda value, rng: [b for b in STEPS.bad(value, rng) if _ndim(b) != 1 or np.size(b)],
    STEPS.same,
    STEPS.either,
)


def bad_description(value, rng) -> list:
    """Of a mapping: unknown, missing and impossible keys."""
    keys = [k for k in value if k != "kind"]
    bad = [{**value, "kind": word} for word in (*STRANGE, "cnnn", "", 3, [], ["cnn"], True)]
    bad += [{**value, a_word(rng): 1}, {**value, 3: 1}, {**value, None: 1}, {}, {"kind": None}]
    bad += [{**value, key: wrong} for key in keys for wrong in (None, "x", nan, [], {}, 1j, [None])]
    return [None, NOTHING, "cnn", 3, [], [1], ["kind"], True, *bad]


def in_text_of(one: Kind) -> Kind:
    """A number in a file: YAML leaves 1e-10 as a string, and means a number."""
    return Kind(
        one.bad, lambda value, rng: [*one.same(value, rng), f"{float(value):e}"], one.either
    )


NET = strange(np, len)
NUMBERS = a_list(REAL)
WIDTHS = a_list(a_count(huge=False))
OPTIONS = Kind(
    lambda value, rng: [
        None, "steps", 3, [], {a_word(rng): 1}, {"steps": 2.5}, {"steps": nan}, {"steps": "many"},
        {"steps": 0}, {"steps": None}, {3: 3}, {"steps": True}, {"starts": 3},
    ]
)  # fmt: skip
DESCRIPTION = Kind(bad_description)


def bad_size(value, rng) -> list:
    return [
        *NOT_NUMBERS,
        2.5,
        0,
        -1,
        (2.5, 2),
        (0, 3),
        (3, -1),
        (3, True),
        ("3", 3),
        (None, 3),
        "55",
        10**30,
    ]


SIZE = Kind(
    lambda v, rng: [
        b for b in bad_size(v, rng) if not _is(b, [3]) and not isinstance(b, np.ndarray)
    ],
    lambda v, rng: [np.int64(v), (v,), [v]],
    lambda v, rng: [float(v)],
)

WORD_DEVICE = Kind(
    lambda v, rng: [
        *STRANGE,
        "cpuu",
        "gpu",
        "",
        "cpu:x",
        3.5,
        nan,
        True,
        [],
        ["cpu"],
        "cuda:99",
        "meta",
        "mps",
    ]
)

ANY_MATRIX_RELU = Kind(some_shapes, DATA.same, DATA.either)

ANY_MATRIX = Kind(
    lambda v, rng: [
        b
        for b in some_shapes(v, rng)
        if not (isinstance(b, torch.Tensor) and b.ndim == 2 and not b.numel())
    ],
    DATA.same,
    DATA.either,
)

SQUARE = but_shapes(FREE_DATA)
