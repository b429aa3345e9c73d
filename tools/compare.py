"""Whether a run prints what is stored: the same text, and in it the same numbers.

The last digits of a floating-point number depend on the processor, and rounding only moves the
border at which they are seen. So the two texts are compared number by number:

- a number with a point or an exponent may differ by one unit of its last printed place (the finer
  of the two, if they differ; in a list, that of its finest number);
- a whole number must be the same, and so must every word, sign between words and line;
- how many spaces stand between two words, or before a number, does not matter: a table moves when a
  number in it gets wider.

A cell tagged ``within-3-units`` states that its numbers, the whole ones too, may differ by so many
units; ``within-0-units`` makes all of them exact.
"""

import json
import re
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from decimal import Decimal

# Not in a word (n50), and no part of a version or a name (1.0.4); a dash between two is no sign.
NUMBER = re.compile(
    r"((?:(?<![\w)\]}])[-+−])?(?<![\w.])"
    r"(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]+)?(?:e[-+][0-9]+)?(?!\.?[0-9]))"
)
LIST = re.compile(r"[\[{][^\[\]{}]*[\]}]")
DECIMALS = re.compile(r"(?<![\w.])[0-9]+\.([0-9]*)(?![0-9e:])")  # of a list's number, no key
PAYLOAD = re.compile(r'(?<=<script type="application/json">).*?(?=</script>)', re.DOTALL)
TAG = re.compile(r"within-([0-9]+)-units?")


def stated(tags: Sequence[str]) -> int | None:
    """The units of the last place that a cell's tag allows; None if no tag does."""
    found = [int(match[1]) for tag in tags if (match := TAG.fullmatch(tag))]
    return found[0] if found else None


def differences(stored: str, fresh: str, within: int | None = None) -> list[str]:
    """Where a fresh text differs from the stored one, in words; empty if it says the same.

    Args:
        within: so many units may any two numbers differ; by default 1, and whole ones not at all.
    """
    if stored == fresh:
        return []
    if PAYLOAD.search(stored) and PAYLOAD.search(fresh):
        return list(_figure(stored, fresh, within))
    old, new = (_evened(text).splitlines() for text in (stored, fresh))
    found = [f"{len(old)} lines became {len(new)}"] if len(old) != len(new) else []
    for number, (a, b) in enumerate(zip(old, new, strict=False), 1):
        if not _same(a, b, within):
            found.append(f"line {number}: {a!r} became {b!r}")
    return found


def settle(fresh: MutableMapping, stored: Mapping, within: int | None = None) -> list[str]:
    """Replace the text of a fresh output that agrees with the stored one's by that.

    Returns:
        Where the other text differs.
    """
    new, old = (output.get("data", output) for output in (fresh, stored))
    found = []
    for kind in [kind for kind in new if kind in old and kind.startswith("text")]:
        apart = differences(old[kind], new[kind], within)
        if not apart:
            new[kind] = old[kind]
        found += apart
    return found


def _same(old: str, new: str, within: int | None) -> bool:
    """Whether two lines say the same."""
    before, after = NUMBER.split(old), NUMBER.split(new)  # words, number, words, ..., words
    if list(map(_spaced, before[::2])) != list(map(_spaced, after[::2])):
        return False
    numbers = zip(before[1::2], after[1::2], strict=True)
    return all(_near(a, b, within) for a, b in numbers)


def _near(old: str, new: str, within: int | None) -> bool:
    """Whether two printed numbers are as near as they must be."""
    a, b = (Decimal(number.replace(",", "").replace("−", "-")) for number in (old, new))
    whole = [not re.search("[.e]", number) for number in (old, new)]
    if within is None and any(whole):
        return all(whole) and a == b
    place = min(a.as_tuple().exponent, b.as_tuple().exponent)
    return abs(a - b) <= _allowed(within) * Decimal(10) ** place


def _allowed(within: int | None) -> int:
    return 1 if within is None else within


def _spaced(words: str) -> str:
    """With single spaces, and none at the end, where a number begins or the line ends."""
    return re.sub(r"[ \t]+", " ", words).rstrip(" ")


def _evened(text: str) -> str:
    """The numbers of every list written to the same place: "[1.   0.92 ]" is "[1.00 0.92]"."""

    def evened(found: re.Match) -> str:
        inside = re.sub(r"\s+(?=[\]}])", "", found[0])
        most = max((len(decimals) for decimals in DECIMALS.findall(inside)), default=0)
        return DECIMALS.sub(lambda one: one[0] + "0" * (most - len(one[1])), inside)

    return LIST.sub(evened, text)


def _figure(stored: str, fresh: str, within: int | None) -> Iterator[str]:
    """Where two interactive figures differ: nowhere but in the numbers of their states."""
    if PAYLOAD.sub("", stored) != PAYLOAD.sub("", fresh):
        yield "the page around the figure's states differs"
    old, new = (_unpacked(PAYLOAD.search(page)[0]) for page in (stored, fresh))
    yield from _apart(old, new, within)


def _unpacked(payload: str) -> dict:
    """A figure's states, with the marks in place of their numbers in the pool."""
    figure = json.loads(payload, parse_float=Decimal)
    pool: list = []

    def whole(value):
        if not isinstance(value, dict):
            return value
        return pool[value["$"]] if "$" in value else {key: whole(v) for key, v in value.items()}

    for entry in figure.pop("pool"):
        pool.append(whole(entry))
    states = {
        place: [text, *([pool[number] for number in panel] for panel in panels)]
        for place, (text, *panels) in figure["states"].items()
    }
    return {**figure, "states": states}


def _apart(old, new, within, place: str = "", alike: Sequence[Decimal] = ()) -> Iterator[str]:
    """Where two JSON values differ; ``alike`` are the numbers of the list in which they stand."""
    if type(old) is not type(new):
        yield f"{place}: {old} became {new}"
    elif isinstance(old, dict) and old.keys() == new.keys():
        for key in old:
            far = _levels_apart if (old.get("kind"), key) == ("heat", "rows") else _apart
            yield from far(old[key], new[key], within, f"{place} {key}")
    elif isinstance(old, list) and len(old) == len(new):
        alike = [value for value in old + new if isinstance(value, Decimal)]
        for number, pair in enumerate(zip(old, new, strict=True)):
            yield from _apart(*pair, within, f"{place} {number}", alike)
    elif isinstance(old, Decimal):
        if old != new and abs(old - new) > _allowed(within) * _unit(old, new, alike or (old, new)):
            yield f"{place}: {old} became {new}"
    elif isinstance(old, str):
        yield from (f"{place}, {found}" for found in differences(old, new, within))
    elif old != new:
        yield f"{place}: {old} became {new}"


def _levels_apart(old: list, new: list, within, place: str) -> Iterator[str]:
    """Where two heat maps differ by more than one level of colour, or in what is missing."""
    from llrnb.interactive.marks import LEVELS  # late, for it takes seconds

    gap = 2 * len(LEVELS)  # the character of no level
    rows = [[[LEVELS.find(c) % gap for c in row] for row in rows] for rows in (old, new)]
    if [*map(len, rows[0])] != [*map(len, rows[1])]:
        yield f"{place}: another number of cells"
        return
    for i, pair in enumerate(zip(*rows, strict=True)):
        if any(abs(a - b) > _allowed(within) for a, b in zip(*pair, strict=True)):
            yield f"{place} {i}: {old[i]} became {new[i]}"


def _unit(old: Decimal, new: Decimal, alike: Sequence[Decimal]) -> Decimal:
    """Of the last place of two numbers, which is that of the numbers in their list.

    JSON drops zeros at the end: a list has as many digits (on a logarithmic axis) or as many
    decimals (on a linear one) as the number that shows most of them, and two digits at least.
    """
    shown = [value.normalize() for value in alike]
    digits = max(2, *(len(value.as_tuple().digits) for value in shown))
    finest = Decimal(10) ** min(value.as_tuple().exponent for value in shown)
    last = min(value.adjusted() if value else digits for value in (old, new)) - digits + 1
    return max(Decimal(10) ** last, min(finest, max(map(abs, alike)) / 100))
