"""Run, watch and publish sweeps.

    python -m llrnb list
    python -m llrnb run fig3 --preset small
    python -m llrnb status fig3 --preset small
    python -m llrnb publish fig3 --preset small --to book/data
    python -m llrnb run my_sweep.py:PRESET
    python -m llrnb run my_sweep.yaml

A sweep that was stopped goes on with the same command.
"""

import argparse
import os
import re
import sys
import time
from contextlib import suppress
from pathlib import Path

from llrnb import checks, provenance, store, sweep
from llrnb.presets import SWEEPS, presets_of

_REFUSALS = (
    *(ValueError, TypeError, RuntimeError, OSError, ImportError),
    *(sweep.SweepFailed, store.FolderInUse, store.DamagedRows),
)

_YAML = (".yaml", ".yml")


def main(arguments: list[str] | None = None) -> int:
    """The command line; the exit status is 0 if everything that was asked for is done."""
    options = _parser().parse_args(arguments)
    try:
        status = options.command(options)
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # whoever reads has read enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except _REFUSALS as error:
        print(f"llrnb: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(
            "llrnb: stopped. What is finished is kept; the same command goes on.", file=sys.stderr
        )
        return 130


def _list(options: argparse.Namespace) -> int:
    for name, module in SWEEPS.items():
        about = (module.__doc__ or "").partition("\n")[0]
        print(f"{name}: {about}")
        for preset, value in presets_of(name).items():
            cells = value.cells()
            hours = sum(cell.seconds for cell in cells) / 3600
            print(f"  {preset:12} {len(cells):5,} cells, at most about {hours:.2g} core hours")
    return 0


def _run(options: argparse.Namespace) -> int:
    preset = _preset(options)
    folder = options.results
    shown = _Shown()
    device = sweep.device_for(preset, options.device)
    if options.device == "auto":
        print(f"on device {device}, which is likely to be the faster")
    start = time.monotonic()
    table = sweep.launch(
        preset,
        folder,
        scheduler=options.scheduler,
        workers=options.workers,
        device=device,
        retry=options.retry,
        isolated=options.isolated or None,
        report=shown,
    )
    seconds = time.monotonic() - start
    print(f"{len(table):,} rows in {folder} after {seconds:.0f} s")
    return 0


def _status(options: argparse.Namespace) -> int:
    counts = sweep.status(_preset(options), options.results, options.device)
    print(", ".join(f"{count} cells {state}" for state, count in counts.items()))
    return 0 if counts["done"] == sum(counts.values()) else 1


def _publish(options: argparse.Namespace) -> int:
    preset = _preset(options)
    name, kind = _published_name(options)
    path, own = options.to / f"{name}-{kind}.parquet", _own_source(options)
    # Cells of other labels may share a key.
    keys = list(dict.fromkeys(cell.key for cell in sweep.on_device(preset, options.device)))
    table = sweep.collect(preset, options.results, options.device)
    records = store.provenances(options.results, keys)
    manifest = {"sweep": name, "preset": kind, "physics": sweep.PHYSICS, **own}
    _check_same_source(path, own)
    store.publish(path, table, {**manifest, **provenance.summary(records)})
    print(f"{len(table):,} rows, {path.stat().st_size / 1e6:.1f} MB: {path}")
    return 0


def _published_name(options: argparse.Namespace) -> tuple[str, str]:
    """Of a sweep and its preset, as a table's file has it."""
    if options.sweep in SWEEPS:
        return options.sweep, options.preset
    place, _, kind = options.sweep.rpartition(":")
    if options.sweep.endswith(_YAML):
        place, kind = options.sweep, "own"
    name = re.sub(r"\.(py|ya?ml)$", "", Path(place).name).replace(".", "-")
    if name in SWEEPS:
        raise ValueError(f"a file of one's own needs another name than the sweep {name!r}")
    return name, kind.lower()


def _own_source(options: argparse.Namespace) -> dict[str, str]:
    """What defines a preset of one's own; a file by its place as seen from the table's."""
    if options.sweep in SWEEPS:
        return {}
    yaml = options.sweep.endswith(_YAML)
    place, _, kind = (options.sweep, "", "own") if yaml else options.sweep.rpartition(":")
    if yaml or place.endswith(".py"):
        place = Path(os.path.relpath(place, options.to)).as_posix()
    return {"source": f"{place}:{kind}"}


def _check_same_source(path: Path, own: dict[str, str]) -> None:
    """Raise unless a table of this name, if there is one, comes from the same place."""
    with suppress(FileNotFoundError, store.DamagedRows):
        this, other = (
            found.get("source", "a preset of the package")
            for found in (own, store.manifest_of(path))
        )
        if this != other:
            raise ValueError(
                f"publishing {this} needs another file name or another folder, got {path}, which "
                f"is the table of {other}"
            )


def _preset(options: argparse.Namespace) -> sweep.Preset:
    if options.sweep.endswith(_YAML):
        return sweep.from_yaml(options.sweep)
    if ":" in options.sweep:
        return checks.instance(sweep.referred(options.sweep), sweep.Preset, options.sweep)
    known = presets_of(options.sweep)
    if options.preset not in known:
        raise ValueError(f"the preset needs to be one of {list(known)}, got {options.preset!r}")
    return known[options.preset]


class _Shown:
    """Progress on one line of a terminal; in a file, a line whenever a cell is done."""

    def __init__(self) -> None:
        self.last: tuple[int, int, bool] | None = None

    def __call__(self, progress: sweep.Progress) -> None:
        if sys.stdout.isatty():
            print(f"\r\033[K{progress}", end="", flush=True)
            if progress.done + progress.failed == progress.total:
                print()
        elif (news := (progress.done, progress.failed, progress.workers == 0)) != self.last:
            self.last = news
            print(progress, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m llrnb",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True)
    commands.add_parser("list", help="sweeps and presets").set_defaults(command=_list)
    run = commands.add_parser("run", help="compute what is missing of a sweep")
    status = commands.add_parser("status", help="how far a sweep is")
    publish = commands.add_parser("publish", help="write a finished sweep as one table")
    for command, function in ((run, _run), (status, _status), (publish, _publish)):
        command.set_defaults(command=function)
        command.add_argument(
            "sweep",
            help=f"one of {', '.join(SWEEPS)}; file.py:PRESET; or file.yaml, an OwnModel or a Grid",
        )
        command.add_argument("--preset", default="small", help="see `list`; small by default")
        command.add_argument(
            "--results", type=Path, default=Path("results"), help="folder of the row files"
        )
        command.add_argument(
            "--device", default="cpu", help="cpu, cuda, or auto: what is done first"
        )
    run.add_argument("--scheduler", help="address of a Dask scheduler, tcp://host:8786")
    run.add_argument("--workers", type=int, help="of the local cluster; one per core or GPU")
    run.add_argument("--retry", action="store_true", help="try again what failed")
    run.add_argument(
        "--isolated", action="store_true", help="a process of its own for each job, in any case"
    )
    publish.add_argument("--to", type=Path, default=Path("book/data"), help="folder of the table")
    return parser


if __name__ == "__main__":
    sys.exit(main())
