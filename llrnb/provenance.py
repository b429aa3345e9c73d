"""Where numbers come from: the machine, the versions, the commit and the time."""

import platform
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib import metadata
from itertools import chain
from pathlib import Path

PACKAGES = ("llrnb", "numpy", "numba", "pandas", "torch")

# The version of everything that a row depends on. Raise it when a change of the package changes any
# row: then no stored row counts as done, and no published table as of now.
PHYSICS = 2


def here(packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """This machine and these versions."""
    return {
        "processor": processor(),
        "python": platform.python_version(),
        **{package: version(package) for package in packages},
        "commit": commit(),
    }


def version(package: str) -> str:
    """The installed version of a package; "unknown" if it is only a folder on the path."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "unknown"


@contextmanager
def timed(device: str = "cpu") -> Iterator[dict[str, str]]:
    """What `here` says, filled in with the device at once, with start and end when it is over.

    The end is the start and the time that has passed, whatever happened to the clock meanwhile.
    """
    start, ticks = datetime.now(UTC), time.monotonic()
    record = {**here(), "device": device_name(device), "start": _stamp(start)}
    yield record
    record["end"] = _stamp(start + timedelta(seconds=time.monotonic() - ticks))


def summary(records: Sequence[Mapping[str, str]]) -> dict:
    """Of many timed records: all values that occurred, the dates, hours of work and of waiting.

    `core_hours` adds the records' times up; `wall_hours` counts an hour with several at work once.
    A record that ends before it starts, because the clock was set back, counts as no time.

    Raises:
        ValueError: no record.
    """
    if not records:
        raise ValueError("a summary needs at least 1 record, got none")
    names = [n for n in dict.fromkeys(chain(*records)) if n not in ("start", "end")]
    spans = sorted(map(_span, records))
    wall, reached = 0.0, spans[0][0]
    for start, end in spans:
        wall += max((end - max(start, reached)).total_seconds(), 0.0)
        reached = max(reached, end)
    work = sum((end - start).total_seconds() for start, end in spans)
    return {
        **{name: sorted({record.get(name, "unknown") for record in records}) for name in names},
        "first": spans[0][0].date().isoformat(),
        "last": reached.date().isoformat(),
        "core_hours": round(work / 3600, 3),
        "wall_hours": round(wall / 3600, 3),
    }


@cache
def processor() -> str:
    """The processor's name."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = [line.split(":", 1) for line in cpuinfo.read_text().split("\n\n")[0].splitlines()]
        fields = {line[0].strip(): line[1].strip() for line in lines if len(line) == 2}
        if "model name" in fields:  # which different models share
            return f"{fields['model name']}, model {fields.get('model', '?')}"
    return platform.processor() or platform.machine()


@cache
def commit() -> str:
    """The commit of the checkout that the package is run from, with a + if it has changes."""
    try:
        return _git("rev-parse", "--short=12", "HEAD") + "+" * bool(
            _git("status", "--porcelain", ".")
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*words: str) -> str:
    command = ["git", "-C", str(Path(__file__).parent), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def device_name(device: str) -> str:
    """The GPU's name, or cpu."""
    if device == "cpu":
        return device
    import torch

    return torch.cuda.get_device_name(device)


def parts(record: Mapping[str, str], count: int) -> list[dict[str, str]]:
    """A record of work for many at once as one of each: its time in equal parts."""
    start, end = _span(record)
    times = [start + (end - start) * part / count for part in range(count + 1)]
    return [
        {**record, "start": _stamp(times[part]), "end": _stamp(times[part + 1])}
        for part in range(count)
    ]


def _stamp(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds")


def _span(record: Mapping[str, str]) -> tuple[datetime, datetime]:
    start, end = (datetime.fromisoformat(record[name]) for name in ("start", "end"))
    return start, max(start, end)
