"""Run a preset's jobs on a Dask cluster; resume, retry, report.

Each job is one papermill run of llrnb/jobs/cell.ipynb on a worker, in its process or in a kernel of
its own. The worker writes the rows, so workers on other machines need the folder under the same
path. What is there is never computed again: after a crash of anything, the same command goes on.
"""

import gc
import json
import logging
import os
import platform
import re
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import torch

from llrnb import store
from llrnb.sweep.plan import BY_PARAMETERS, Cell, Job, Preset, distinct, jobs
from llrnb.sweep.rows import joined
from llrnb.training import cuda

_PATIENCE = 10.0  # seconds, for a scheduler to answer
_LATE = 15.0  # seconds, after which a file that another machine wrote is seen on any
_STARTS = 3  # of a job whose kernel does not come up, or whose process dies
# A job that kills its worker is alone there; and one that keeps it from answering is still at work.
_OF_THE_SCHEDULER = {
    "distributed.scheduler.worker-saturation": 1.0,
    "distributed.scheduler.worker-ttl": None,
}
_GPU, _GPU_STARTS = 100, 10.0  # cores that a GPU is worth, and seconds until it works, by a guess
_EXTRA = ("distributed", "papermill", "ipykernel")
_LIKELY = "A process that is killed has most likely asked for more memory than there is."


class SweepFailed(Exception):
    """Some cells of a sweep are missing; the message says which and why."""


@dataclass(frozen=True)
class Progress:
    """How far a sweep is, in cells and in seconds."""

    done: int
    running: int
    failed: int
    total: int
    workers: int
    elapsed: float
    left: float | None  # an estimate; None as long as there is none

    def __str__(self) -> str:
        left = "" if self.left is None else f", {_duration(self.left)} left"
        running = f"{self.running} jobs running" if self.workers else "waiting for workers: none"
        return (
            f"{self.done} of {self.total} cells done, {running}, "
            f"{self.failed} cells failed, {_duration(self.elapsed)} so far{left}"
        )


def launch(
    preset: Preset,
    folder: Path | str,
    *,
    scheduler: str | None = None,
    workers: int | None = None,
    device: str = "cpu",
    retry: bool = False,
    isolated: bool | None = None,
    report: Callable[[Progress], None] = lambda progress: None,
) -> pd.DataFrame:
    """Compute what is missing of a preset's cells; the rows of all of them.

    Args:
        preset: what to compute.
        folder: where the rows are stored, `failed/` with the notebooks of failed cells among them.
        scheduler: address of a running Dask scheduler, "tcp://host:8786"; by default a local
            cluster is started and stopped, with one worker per core, or per GPU.
        workers: how many workers the local cluster has.
        device: "cpu", "cuda", or "auto": the one that needs less time, as `device_for` says.
        retry: whether cells that failed before are tried again.
        isolated: whether each job has a process of its own, which takes seconds to start, and not
            that of its worker. By default on a processor those have one that compute a function of
            one's own, for it may change anything in a process, and all on a given scheduler's
            workers, which may be older than the sweep, and may not be started anew if they die.
        report: called about once a second.

    Raises:
        SweepFailed: some cells failed, or the scheduler was lost; the others are stored.
        store.FolderInUse: another process is filling the folder.
        store.DamagedRows: a row file was altered in the meantime.
        ValueError: a cell that stands twice, an unknown device, no workers, or workers next to a
            scheduler.
        RuntimeError: a GPU was asked for and there is none.
        ImportError: the packages of `pip install 'llrnb[sweep]'` are missing.
        OSError: the folder cannot be used.
    """
    folder = Path(folder).resolve()
    if workers is not None and (scheduler is not None or workers < 1):
        raise ValueError(f"a local cluster needs at least 1 worker, got {workers} at {scheduler}")
    device = device_for(preset, device)
    cells = on_device(preset, device)
    with store.only_writer(folder):
        done = store.finished(folder, [cell.key for cell in cells])
        todo = [cell for cell in cells if cell.key not in done]
        if retry:
            for cell in todo:
                _failure_path(folder, cell).unlink(missing_ok=True)
        todo = [cell for cell in todo if not failure(folder, cell)]
        if todo:
            _need_extra()
            with _client(scheduler, workers, device) as client:
                own = partial(_isolated, asked=isolated, given=scheduler is not None)
                _Sweep(folder, cells, client, report, own).run(jobs(todo))
        _tidy(folder, {cell.key for cell in cells} & store.held(folder))
    return collect(preset, folder, device)


def collect(preset: Preset, folder: Path | str, device: str = "cpu") -> pd.DataFrame:
    """The rows of all cells of a preset, in its order.

    Raises:
        SweepFailed: some are missing.
        store.DamagedRows: a file was altered.
    """
    folder = Path(folder).resolve()
    cells, held = on_device(preset, device), store.held(folder)
    missing = [cell for cell in cells if cell.key not in held]
    if missing:
        failed = [text for cell in missing if (text := failure(folder, cell))]
        last = f"; the last one ended with:\n{failed[-1].strip()}\n" if failed else ". "
        raise SweepFailed(
            f"{len(missing)} of {len(cells)} cells are missing in {folder}, {len(failed)} of which "
            f"failed{last}What is there is kept; the same command goes on with the rest, and with "
            "--retry also with what failed."
        )
    return joined(store.read_all(folder, [cell.key for cell in cells]), cells)


def status(preset: Preset, folder: Path | str, device: str = "cpu") -> dict[str, int]:
    """How many of a preset's cells are done, failed and missing.

    A cell is done if its row file is whole; a damaged one is missing.
    """
    folder = Path(folder).resolve()
    keys = [cell.key for cell in on_device(preset, device)]  # cells of other labels may share one
    done = store.valid(folder, keys)
    noted = {path.stem for path in (folder / "failed").glob("*.txt")} - done
    states = ["done" if key in done else "failed" if key in noted else "missing" for key in keys]
    return {state: states.count(state) for state in ("done", "failed", "missing")}


def device_for(preset: Preset, device: str) -> str:
    """Where to compute: "cpu" or "cuda" as given; for "auto", where it is over earlier, by a guess.

    A GPU is taken only if it can train such networks by the cuda engine, and if this work on all
    cores would take longer than a GPU needs to get started.
    """
    if device != "auto":
        return device
    cells = preset.cells()
    on_cpu = sum(cell.seconds for cell in cells) / (os.cpu_count() or 1)
    on_gpu = _GPU_STARTS + sum(cell.seconds for cell in cells) / _GPU
    chooses = all("engine" in cell.parameters for cell in cells)  # else it trains others, or none
    chooses &= not any(_chosen(cell) for cell in cells)
    possible = chooses and torch.cuda.is_available() and cuda.installed()
    return "cuda" if possible and on_gpu < on_cpu else "cpu"


def on_device(preset: Preset, device: str) -> list[Cell]:
    """A preset's cells; for a GPU, with the engine that suits it.

    Raises:
        ValueError: a cell that stands twice, another device, or a GPU for cells that run on none or
            whose labels name their engine or device.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise ValueError(f"the device needs to be 'cpu', 'cuda' or 'auto', got {device!r}")
    device, cells = device_for(preset, device), distinct(preset.cells())
    if device == "cpu":
        return cells
    gpu = {"engine": "auto", "device": device}
    for cell in cells:
        if "device" not in cell.parameters:
            raise ValueError(f"{cell.compute} runs on device 'cpu' only, got {device!r}")
        if named := _chosen(cell):
            raise ValueError(f"a sweep on a GPU needs other labels than what it sets, got {named}")
    return distinct(
        replace(
            cell,
            parameters={name: gpu.get(name, value) for name, value in cell.parameters.items()},
            seconds=cell.seconds / _GPU,
        )
        for cell in cells
    )


def _chosen(cell: Cell) -> list[str]:
    """Labels that a GPU would make wrong."""
    return [name for name in ("engine", "device") if name in cell.labels]


def failure(folder: Path, cell: Cell) -> str | None:
    """How a cell failed, if it did."""
    path = _failure_path(folder, cell)
    return path.read_text("utf-8") if path.exists() else None


def _failure_path(folder: Path, cell: Cell) -> Path:
    return folder / "failed" / f"{cell.key}.txt"


def _tidy(folder: Path, done: set[str]) -> None:
    """Remove what earlier failures left of cells that are done now."""
    store.tidy(folder, done)
    shutil.rmtree(folder / "jobs", ignore_errors=True)
    failed = folder / "failed"
    for path in [*failed.glob("*.txt"), *failed.glob("*.ipynb")]:
        if path.stem in done:
            path.unlink(missing_ok=True)
    with suppress(OSError):  # others may have failed
        failed.rmdir()


class _Sweep:
    """One launch, from its first job to its last."""

    def __init__(self, folder, cells, client, report, isolated) -> None:
        self.folder, self.cells, self.client = folder, cells, client
        self.report, self.isolated = report, isolated
        self.start = time.monotonic()
        self.failed = 0
        self.stored: set[str] = set()  # as the workers see it
        self.unsure: set[str] = set()  # of workers that were killed
        self.before = self._done()
        self.futures: dict = {}

    def run(self, found: list[Job]) -> None:
        (self.folder / "jobs").mkdir(exist_ok=True)
        try:
            for job in found:
                self._submit(job)
            while self.futures:
                for future in self._settled():
                    self._settle(future, self.futures.pop(future))
                self.report(self._progress())
        except CancelledError:
            raise SweepFailed(
                "the scheduler was lost. What is finished is kept; the same command goes on."
            ) from None
        self._wait_for_files()

    def _settled(self) -> set:
        """The futures that are finished or failed, after a second at the latest."""
        from distributed import TimeoutError, wait

        try:
            return wait(list(self.futures), timeout=1, return_when="FIRST_COMPLETED").done
        except TimeoutError:
            return set()

    def _submit(self, job: Job) -> None:
        executed = self.folder / "jobs" / f"{job.cells[0].key}.ipynb"
        parameters = {**job.parameters, "folder": str(self.folder)}
        # Through JSON, so that a value that papermill would change is refused here.
        parameters = json.loads(json.dumps(parameters, allow_nan=False))
        keys = [cell.key for cell in job.cells]
        asked = parameters, str(executed), keys, self.isolated(parameters)
        future = self.client.submit(run_job, *asked, pure=False)
        self.futures[future] = job

    def _settle(self, future, job: Job) -> None:
        """After a job: if a cell failed, note it, and run those that came after it."""
        error = future.exception()  # raises CancelledError if the scheduler was lost
        if error is None:
            stored, text = future.result()
            self.stored |= stored
        else:  # whoever could say what is stored is gone
            stored, text = store.held(self.folder), f"{error}\n{_LIKELY}"
            self.unsure |= {cell.key for cell in job.cells}
        left = [cell for cell in job.cells if cell.key not in stored]
        if not left:  # also if it failed after its last cell, which no row can miss
            return
        first, *rest = left
        self.failed += 1
        self._note_failure(first, text or "the notebook ended without writing the rows", job)
        if rest:
            self._submit(Job(tuple(rest)))

    def _wait_for_files(self) -> None:
        """What a worker on another machine has written may be seen here some seconds later."""
        end = time.monotonic() + _LATE
        while (self.stored | self.unsure) - store.held(self.folder) and time.monotonic() < end:
            time.sleep(0.2)
        if missing := self.stored - store.held(self.folder):
            raise SweepFailed(
                f"workers say that they have stored {len(missing)} cells whose files are not in "
                f"{self.folder}: is it the same folder on all machines?"
            )

    def _note_failure(self, cell: Cell, text: str, job: Job) -> None:
        path = _failure_path(self.folder, cell)
        try:
            path.parent.mkdir(exist_ok=True)
            executed = self.folder / "jobs" / f"{job.cells[0].key}.ipynb"
            if executed.exists():
                executed.replace(path.with_suffix(".ipynb"))
            path.write_text(text, "utf-8")
        except OSError as error:  # a full disk, most likely: no other job would fare better
            raise SweepFailed(
                f"{self.folder} cannot be written to: {error}. A job had said:\n{text}"
            ) from error

    def _done(self) -> list[Cell]:
        held = store.held(self.folder)
        return [cell for cell in self.cells if cell.key in held]

    def _progress(self) -> Progress:
        elapsed, done = time.monotonic() - self.start, self._done()
        weight = sum(cell.seconds for cell in done)
        new = weight - sum(cell.seconds for cell in self.before)
        rest = sum(cell.seconds for cell in self.cells) - weight
        left = elapsed * rest / new if new else None
        work = self._work()
        running, total = sum(map(bool, work.values())), len(self.cells)
        return Progress(len(done), running, self.failed, total, len(work), elapsed, left)

    def _work(self) -> dict:
        """What each worker is doing."""
        try:
            return self.client.processing()
        except OSError as error:  # nobody answers
            raise CancelledError(str(error)) from error


def _isolated(parameters: dict, asked: bool | None, given: bool) -> bool:
    """Whether a job has a process of its own; see `launch`.

    On a GPU it takes less time than a kernel takes to start and to find the GPU.
    """
    if asked is not None:
        return asked
    on_gpu = parameters["fixed"].get("device", "cpu") != "cpu"
    return not on_gpu and (given or parameters["compute"] not in BY_PARAMETERS)


def run_job(
    parameters: dict, executed: str, keys: list[str], isolated: bool
) -> tuple[set[str], str]:
    """On a worker: run a job's notebook.

    Returns:
        Which of the cells with these keys are stored, and what the notebook failed of, or "".
    """
    text = ""
    try:
        run_notebook(parameters, executed, isolated)
    except RuntimeError as error:
        text = str(error)
    except Exception as error:  # what is amiss on this machine, which the driver cannot see
        text = f"on {platform.node()}: {type(error).__name__}: {error}"
    return store.held(Path(parameters["folder"])) & set(keys), text


def run_notebook(parameters: dict, executed: str, isolated: bool) -> None:
    """Run the job notebook, in a kernel of its own or in this process.

    `executed` is kept only if it fails.

    Raises:
        RuntimeError: a cell of the notebook failed, with its traceback; or the kernel died, again
            and again.
    """
    import papermill

    _prepare_environment()
    notebook = _escaped(str(files("llrnb") / "jobs" / "cell.ipynb"))
    from llrnb.sweep import inside  # which needs papermill

    engine = {} if isolated else {"engine_name": inside.NAME}
    for attempt in range(1, _STARTS + 1):
        try:
            papermill.execute_notebook(
                notebook,
                _escaped(executed),
                {**parameters, "from_file": False},
                **engine,
                progress_bar=False,
                log_output=False,
                extra_arguments=["--IPKernelApp.log_level=50"],
            )
            break
        except papermill.PapermillExecutionError as error:
            # Its own type does not survive the way to the driver.
            raise RuntimeError(_plain(str(error))) from None
        except RuntimeError as error:  # killed; or, now and then, two kernels choose one port
            if "died" not in str(error):
                raise
            if attempt == _STARTS:
                raise RuntimeError(f"{error}, {attempt} times. {_LIKELY}") from None
    Path(executed).unlink(missing_ok=True)


def _prepare_environment() -> None:
    """What the kernels of this process need in their environment."""
    from jupyter_core.paths import jupyter_runtime_dir

    os.environ["TQDM_DISABLE"] = "1"  # no bars inside workers
    here = str(Path(store.__file__).parents[1])  # this llrnb, installed or not
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if here not in paths:
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [here, *paths]))
    try:
        Path(jupyter_runtime_dir()).mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=jupyter_runtime_dir()).close()
    except OSError:  # a home that cannot be written
        os.environ["JUPYTER_RUNTIME_DIR"] = tempfile.mkdtemp(prefix="llrnb-")


def _escaped(path: str) -> str:
    """As papermill, which formats its paths, needs it."""
    return path.replace("{", "{{").replace("}", "}}")


def _need_extra() -> None:
    if missing := [name for name in _EXTRA if find_spec(name) is None]:
        raise ImportError(f"a sweep needs {', '.join(missing)}: pip install 'llrnb[sweep]'")


def _client(scheduler: str | None, workers: int | None, device: str):
    """A client of the scheduler, or of a local cluster of its own."""
    import distributed

    if scheduler is not None:
        try:
            return distributed.Client(scheduler, timeout=_PATIENCE)
        except Exception as error:  # of many kinds, by what is wrong with the address
            why = str(error)
        # A client that was made by half closes itself when it is collected. Now, not while another
        # one is being made, because both take one lock.
        gc.collect()
        raise SweepFailed(f"no scheduler answers at {scheduler}: {why}")
    return _LocalClient(local_workers(workers, device))


class _LocalClient:
    """A client whose cluster ends with it."""

    def __init__(self, workers: dict[int, dict]) -> None:
        import dask
        import distributed

        where = {"dashboard_address": "127.0.0.1:0", "host": "127.0.0.1", "port": 0}
        scheduler = {
            "cls": distributed.Scheduler,
            "options": {**where, "allowed_failures": _STARTS - 1},
        }
        nannies = {
            n: {"cls": distributed.Nanny, "options": options} for n, options in workers.items()
        }
        try:
            with dask.config.set(_OF_THE_SCHEDULER):
                self.cluster = distributed.SpecCluster(
                    nannies, scheduler=scheduler, silence_logs="ERROR"
                )
        except RuntimeError as error:
            raise SweepFailed(
                f"the workers of the local cluster do not start: {error} They import the script "
                "that launches the sweep: has it `if __name__ == '__main__':` before what it does?"
            ) from error
        self.client = distributed.Client(self.cluster)

    def __enter__(self):
        return self.client

    def __exit__(self, kind, *exception) -> None:
        if kind is not None:  # nobody waits for what the workers are doing
            for nanny in self.cluster.workers.values():
                nanny.auto_restart = False
                with suppress(OSError, AttributeError, TypeError):  # it may not live
                    os.kill(nanny.pid, signal.SIGKILL)
        self.client.close()
        self.cluster.close()


def local_workers(workers: int | None, device: str) -> dict[int, dict]:
    """Options of each worker of a local cluster: one core or one GPU each.

    Raises:
        RuntimeError: a GPU was asked for and there is none.
    """
    from dask.system import CPU_COUNT

    if device == "cuda":
        if not torch.cuda.is_available():
            raise RuntimeError("device 'cuda' needs a CUDA GPU, and torch finds none here")
        gpus = range(workers or torch.cuda.device_count())
        environments = [{"CUDA_VISIBLE_DEVICES": str(gpu)} for gpu in gpus]
    else:
        environments = [{"OMP_NUM_THREADS": "1"}] * (workers or CPU_COUNT)
    drawn = {"MPLBACKEND": "agg"}  # a thread of a worker can open no windows
    return {
        n: {
            "nthreads": 1,
            "memory_limit": 0,  # that of the machine
            "env": {**drawn, **environment},
            "host": "127.0.0.1",
            "dashboard_address": "127.0.0.1:0",
            "silence_logs": logging.CRITICAL,  # a failed job is reported by the driver
        }
        for n, environment in enumerate(environments)
    }


def _plain(text: str) -> str:
    """Without the colours that a terminal understands."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
