"""Sweeps on a cluster: nothing is lost, and nothing is computed twice, whatever is killed."""

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path

import nbformat
import pandas as pd
import papermill
import psutil
import pytest
from nbclient.exceptions import DeadKernelError

from llrnb import __main__ as command_line
from llrnb import store, sweep
from llrnb.presets import SWEEPS, fig3, presets_of
from llrnb.sweep import driver
from llrnb.sweep.plan import jobs
from tests import own_cells
from tests.tiny_sweep import SLOW, TINY

# Two jobs.
FEW = replace(TINY, families={fig3.CNN: TINY.families[fig3.CNN]})

ROOT = Path(__file__).resolve().parents[1]


def rows_of(folder: Path) -> dict[str, int]:
    """The row files and when each was written."""
    found = (folder / "rows").glob("*.parquet") if (folder / "rows").exists() else ()
    return {path.stem: path.stat().st_mtime_ns for path in found}


def wait_for(condition, seconds=600):
    """Until something is true; what it is then."""
    for _ in range(10 * seconds):
        if found := condition():
            return found
        time.sleep(0.1)
    raise AssertionError("waited in vain")


def start(*arguments: str) -> subprocess.Popen:
    """A Python process in a group of its own."""
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def kill(process: subprocess.Popen) -> None:
    """Kill -9 this process, and only it."""
    process.kill()
    process.wait()


def launched(folder: Path, address: str, **options) -> Future:
    """A launch in a thread of this process, on the workers of this scheduler."""
    pool = ThreadPoolExecutor(1)
    found = pool.submit(sweep.launch, SLOW, folder, scheduler=address, **options)
    pool.shutdown(wait=False)
    return found


@contextmanager
def cluster(tmp_path: Path):
    """A scheduler and two worker processes over loopback TCP: (address, scheduler, workers)."""
    tmp_path.mkdir(exist_ok=True)
    file = tmp_path / "scheduler.json"
    scheduler = start(
        *("-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0"),
        *("--no-dashboard", "--scheduler-file", str(file)),
    )
    processes = [scheduler]
    try:
        wait_for(file.exists)
        address = wait_for(lambda: json.loads(file.read_text() or "{}").get("address"))
        processes += [
            start(
                *("-m", "distributed.cli.dask_worker", address, "--nthreads", "1", "--no-nanny"),
                *("--no-dashboard", "--local-directory", str(tmp_path)),
            )
            for _ in range(2)
        ]
        yield address, scheduler, processes[1:]
    finally:
        for process in processes:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture(scope="module")
def undisturbed() -> pd.DataFrame:
    return sweep.run(SLOW)


def assert_whole(folder: Path, undisturbed: pd.DataFrame, before: dict[str, int]) -> None:
    """Every row is as if nothing had happened, and what was there before was not written again."""
    pd.testing.assert_frame_equal(sweep.collect(SLOW, folder), undisturbed, check_exact=True)
    after = rows_of(folder)
    assert before and before.items() <= after.items()
    assert len(after) == len(SLOW.cells())


def compute(cells: list[dict], folder: Path | str) -> None:
    """What the notebook of these cells does."""
    for cell in cells:
        sweep.run(sweep.Grid("llrnb.sweep.recovery:train_cell", {}, cell), folder)


def fill(folder: Path, preset, leave: int = 1) -> None:
    """Store the rows of all cells but some, as jobs would."""
    cells = [cell.parameters for cell in preset.cells()]
    compute(cells[: len(cells) - leave], folder)


class Inline:
    """A cluster of no workers, which does every job at once in this process."""

    def submit(self, function, *arguments, pure):
        future = Future()
        try:
            future.set_result(function(*arguments))
        except Exception as error:
            future.set_exception(error)
        return future

    def processing(self):
        return {"here": ()}


@pytest.fixture
def inline(monkeypatch):
    """Launches in this process, without a cluster and without notebooks."""

    def run_notebook(parameters, executed, isolated):
        Path(executed).write_text("what a failed run leaves")
        try:
            asked = dict(parameters)
            folder = asked.pop("folder")
            sweep.run(sweep.Grid(**asked), folder)
        except ValueError as error:
            raise RuntimeError(f"Traceback ... {error}") from error
        Path(executed).unlink()

    monkeypatch.setattr(driver, "_client", lambda *arguments: nullcontext(Inline()))
    monkeypatch.setattr(driver._Sweep, "_settled", lambda self: set(self.futures))
    monkeypatch.setattr(driver, "run_notebook", run_notebook)
    return monkeypatch


def test_jobs_on_a_local_cluster_give_the_rows_of_this_process(tmp_path):
    reports = []
    table = sweep.launch(FEW, tmp_path, workers=2, report=reports.append)
    pd.testing.assert_frame_equal(table, sweep.run(FEW), check_exact=True)
    last = reports[-1]
    assert (last.done, last.failed, last.running, last.total) == (4, 0, 0, 4)
    assert max(report.running for report in reports) == 2
    assert sweep.status(FEW, tmp_path) == {"done": 4, "failed": 0, "missing": 0}
    assert {path.name for path in tmp_path.iterdir()} == {".lock", "rows"}
    cell = FEW.cells()[0]
    assert store.parameters(tmp_path, cell.key) == cell.parameters


def test_a_larger_sweep_computes_only_what_is_new(tmp_path, inline):
    sweep.launch(TINY, tmp_path)
    before = rows_of(tmp_path)
    sweep.launch(replace(TINY, samples=(6, 7, 9)), tmp_path)
    assert len(rows_of(tmp_path)) == 18
    assert before.items() <= rows_of(tmp_path).items()


def test_a_killed_worker_costs_only_its_job_and_a_killed_scheduler_no_row(tmp_path, undisturbed):
    """On one cluster, because its start takes longer than all else."""
    first, second = tmp_path / "first", tmp_path / "second"
    with cluster(tmp_path / "dask") as (address, scheduler, workers):
        driving = launched(first, address)
        before = wait_for(lambda: rows_of(first))
        kill(workers[0])
        assert len(driving.result(timeout=600)) == len(undisturbed)
        assert_whole(first, undisturbed, before)
        driving = launched(second, address, isolated=False)
        wait_for(lambda: rows_of(second))
        kill(scheduler)
        with pytest.raises(sweep.SweepFailed, match="scheduler was lost.*the same command goes on"):
            driving.result(timeout=600)
    before = rows_of(second)  # of all cells, perhaps: workers end what they have begun
    assert len(sweep.launch(SLOW, second, workers=1)) == len(undisturbed)
    assert_whole(second, undisturbed, before)


def test_a_scheduler_that_no_longer_answers_is_lost(tmp_path):
    """A client that is asked before it notices has a connection that times out."""

    class Gone:
        def processing(self):
            raise OSError("Timed out trying to connect")

    one = driver._Sweep(tmp_path, TINY.cells(), Gone(), print, bool)
    one.futures = {"a future": None}
    one._settled = set
    with pytest.raises(sweep.SweepFailed, match="the scheduler was lost.*the same command goes on"):
        one.run([])


def test_after_a_killed_driver_the_same_command_goes_on(tmp_path, undisturbed):
    driving = start("-m", "tests.tiny_sweep", str(tmp_path))
    wait_for(lambda: rows_of(tmp_path))
    workers = psutil.Process(driving.pid).children(recursive=True)
    kill(driving)
    assert workers and not psutil.wait_procs(workers, timeout=60)[1]  # they notice by themselves
    before = rows_of(tmp_path)
    assert len(before) < len(SLOW.cells())
    assert len(sweep.launch(SLOW, tmp_path, workers=1)) == len(undisturbed)
    assert_whole(tmp_path, undisturbed, before)


def test_a_job_that_kills_its_worker_costs_only_its_cell(tmp_path, monkeypatch):
    """One of them is done by the worker that comes next; another one kills that, too."""
    monkeypatch.setattr(driver, "_STARTS", 2)
    mark = str(tmp_path / "mark")
    grid = sweep.Grid(own_cells.deadly, {"samples": (1, 2, 3)}, {"mark": mark}, seconds=60)
    with pytest.raises(sweep.SweepFailed, match="(?s)1 of 3 cells .*those workers died"):
        sweep.launch(grid, tmp_path / "rows of it", workers=1, isolated=False)
    last = grid.cells()[-1]
    assert sweep.status(grid, tmp_path / "rows of it") == {"done": 2, "failed": 1, "missing": 0}
    assert "more memory than there is" in driver.failure(tmp_path / "rows of it", last)


@pytest.mark.parametrize("asked", [None, True, False])
def test_which_jobs_have_a_process_of_their_own(asked):
    own = {"compute": "my_file.py:f", "fixed": {}}
    known = {"compute": "llrnb.sweep.recovery:train_cell", "fixed": {"device": "cpu"}}
    on_gpu = {**known, "fixed": {"device": "cuda"}}
    found = {
        given: [driver._isolated(job, asked, given) for job in (own, known, on_gpu)]
        for given in (False, True)
    }
    if asked is None:
        assert found == {False: [True, False, False], True: [True, True, False]}
    else:
        assert found == {False: [asked] * 3, True: [asked] * 3}


def test_two_drivers_do_not_share_a_folder(tmp_path):
    with store.only_writer(tmp_path), pytest.raises(store.FolderInUse, match="needs to be free"):
        sweep.launch(TINY, tmp_path)


def test_a_file_that_is_seen_late_is_no_failure(tmp_path, inline):
    """What another machine wrote is not in the driver's list of the folder for a while."""
    held, start = store.held, time.monotonic()

    def late(folder):
        return held(folder) if time.monotonic() > start + 2 else set()

    def run_job(*arguments):  # the worker sees it at once
        with pytest.MonkeyPatch.context() as here:
            here.setattr(store, "held", held)
            return job(*arguments)

    job = driver.run_job
    inline.setattr(driver, "run_job", run_job)
    inline.setattr(store, "held", late)
    assert len(sweep.launch(FEW, tmp_path)) == len(sweep.run(FEW))
    assert not (tmp_path / "failed").exists()


def test_workers_that_write_elsewhere_are_named(tmp_path, inline):
    inline.setattr(driver, "_LATE", 0.1)
    inline.setattr(driver, "run_job", lambda parameters, executed, keys, isolated: (set(keys), ""))
    with pytest.raises(sweep.SweepFailed, match="is it the same folder on all machines"):
        sweep.launch(FEW, tmp_path)


def test_what_a_killed_worker_wrote_counts_even_if_it_is_seen_late(tmp_path, inline):
    job, held, start = driver.run_job, store.held, time.monotonic()

    def run_job(*arguments):
        job(*arguments)
        raise OSError("all workers died")

    inline.setattr(driver, "run_job", run_job)
    inline.setattr(
        store, "held", lambda folder: held(folder) if time.monotonic() > start + 2 else set()
    )
    assert len(sweep.launch(FEW, tmp_path)) == len(sweep.run(FEW))
    assert not (tmp_path / "failed").exists()


@pytest.mark.parametrize("deaths", [2, 3])
def test_a_kernel_that_is_killed_is_started_again(tmp_path, monkeypatch, deaths):
    notebooks = []

    def execute(notebook, executed, parameters, **options):
        notebooks.append(notebook)
        Path(executed).touch()
        if len(notebooks) <= deaths:
            raise DeadKernelError("Kernel died")

    monkeypatch.setattr(papermill, "execute_notebook", execute)
    told = pytest.raises(RuntimeError, match="died, 3 times.*more memory than there is")
    with told if deaths == 3 else nullcontext():
        driver.run_notebook({}, str(tmp_path / "run.ipynb"), isolated=True)
    assert len(notebooks) == 3
    assert (tmp_path / "run.ipynb").exists() == (deaths == 3)


def test_a_killed_worker_is_noted_with_the_likely_cause(tmp_path, inline):
    def run_job(*arguments):
        raise OSError("all workers died")

    inline.setattr(driver, "_LATE", 0.1)
    inline.setattr(driver, "run_job", run_job)
    with pytest.raises(sweep.SweepFailed, match="all workers died\n.*more memory than there is"):
        sweep.launch(FEW, tmp_path)


def test_a_local_cluster_whose_sweep_is_interrupted_ends_at_once():
    client = driver._LocalClient(driver.local_workers(1, "cpu"))
    busy = client.client.submit(time.sleep, 600, pure=False)  # a future that is kept is run
    wait_for(lambda: any(client.client.processing().values()))
    assert not busy.done()
    start = time.monotonic()
    client.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert time.monotonic() - start < 2


class Broken(sweep.Recovery):
    """A preset, two cells of which cannot be computed."""

    def cells(self):
        cells = super().cells()
        first, last = ({**cells[n].parameters, "std": -1.0} for n in (0, 2))
        return [replace(cells[0], parameters=first), cells[1], replace(cells[2], parameters=last)]


def test_a_failed_cell_is_kept_reported_and_retried_on_request(tmp_path, inline):
    few = {**vars(TINY), "families": {fig3.CNN: TINY.families[fig3.CNN]}}
    broken, healthy = Broken(**few), sweep.Recovery(**few)
    with pytest.raises(sweep.SweepFailed, match="2 of 3 cells") as failed:
        sweep.launch(broken, tmp_path)
    assert "std needs a finite number >= 0" in str(failed.value)
    assert "--retry" in str(failed.value)
    bad = broken.cells()[0].key
    assert sweep.status(broken, tmp_path) == {"done": 1, "failed": 2, "missing": 0}
    assert (tmp_path / "failed" / f"{bad}.ipynb").exists()
    assert "Traceback" in (tmp_path / "failed" / f"{bad}.txt").read_text()

    traceback = tmp_path / "failed" / f"{bad}.txt"
    noted = traceback.stat().st_mtime_ns
    with pytest.raises(sweep.SweepFailed):
        sweep.launch(broken, tmp_path)
    assert traceback.stat().st_mtime_ns == noted
    with pytest.raises(sweep.SweepFailed):
        sweep.launch(broken, tmp_path, retry=True)
    assert traceback.stat().st_mtime_ns > noted
    assert sweep.status(healthy, tmp_path)["done"] == 1


def test_what_a_failure_left_goes_when_its_cell_is_done(tmp_path, inline):
    fill(tmp_path, FEW)
    first, last = FEW.cells()[0].key, FEW.cells()[-1].key
    (tmp_path / "failed").mkdir()
    for key in (first, last):
        for suffix in (".txt", ".ipynb"):
            (tmp_path / "failed" / f"{key}{suffix}").touch()
    assert sweep.status(FEW, tmp_path) == {"done": 3, "failed": 1, "missing": 0}
    (tmp_path / "jobs").mkdir()
    sweep.launch(FEW, tmp_path, retry=True)
    assert {path.name for path in tmp_path.iterdir()} == {".lock", "rows"}


def test_a_failed_notebook_says_where(tmp_path):
    """In a folder whose name means something to papermill."""
    folder = tmp_path / "a {b} 'c'"
    folder.mkdir()
    (job, *_) = jobs(Broken(**vars(FEW)).cells()[:1])
    executed = folder / "{run}.ipynb"
    parameters = {**job.parameters, "folder": str(folder)}
    keys, text = driver.run_job(parameters, str(executed), ["a key"], isolated=True)
    assert keys == set() and "Traceback" in text
    assert "std needs a finite number >= 0" in text
    cells = nbformat.read(executed, as_version=4).cells
    assert any(o.output_type == "error" for c in cells for o in c.get("outputs", ()))


def test_a_damaged_row_file_is_computed_again(tmp_path, inline):
    whole = sweep.launch(FEW, tmp_path)
    path = next((tmp_path / "rows").glob(f"{FEW.cells()[0].key}-*.parquet"))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(store.DamagedRows):
        sweep.collect(FEW, tmp_path)
    assert sweep.status(FEW, tmp_path) == {"done": 3, "failed": 0, "missing": 1}
    pd.testing.assert_frame_equal(sweep.launch(FEW, tmp_path), whole, check_exact=True)


def test_a_sweep_waits_visibly_for_workers():
    waiting = sweep.Progress(1, 0, 0, 3, workers=0, elapsed=5.0, left=None)
    assert "waiting for workers: none" in str(waiting)
    assert "2 jobs running" in str(replace(waiting, running=2, workers=2))


def test_a_missing_extra_names_itself(tmp_path, monkeypatch):
    monkeypatch.setattr(driver, "find_spec", lambda name: None if name == "papermill" else name)
    with pytest.raises(ImportError, match=r"needs papermill: pip install 'llrnb\[sweep\]'"):
        sweep.launch(FEW, tmp_path)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"device": "tpu"}, ValueError, "'cpu', 'cuda' or 'auto', got 'tpu'"),
        ({"workers": 0}, ValueError, "at least 1 worker, got 0"),
        ({"workers": 2, "scheduler": "tcp://127.0.0.1:1"}, ValueError, "local cluster"),
        ({"scheduler": "tcp://127.0.0.1:1"}, sweep.SweepFailed, "no scheduler answers at tcp"),
        ({"scheduler": "tls://127.0.0.1:1"}, sweep.SweepFailed, "no scheduler answers at tls"),
        ({"scheduler": "first"}, sweep.SweepFailed, "at first: missing port number"),
    ],
)
def test_a_launch_that_cannot_start_says_why(tmp_path, monkeypatch, options, error, message):
    monkeypatch.setattr(driver, "_PATIENCE", 1.0)
    with pytest.raises(error, match=message):
        sweep.launch(TINY, tmp_path, **options)
    assert rows_of(tmp_path) == {}


def test_a_gpu_sweep_is_the_same_with_an_engine_of_the_gpu_and_a_gpu_for_each_worker(monkeypatch):
    cells = sweep.on_device(TINY, "cuda")
    assert {(c.parameters["engine"], c.parameters["device"]) for c in cells} == {("auto", "cuda")}
    assert not {c.key for c in cells} & {c.key for c in TINY.cells()}
    monkeypatch.setattr(driver.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(driver.torch.cuda, "device_count", lambda: 2)
    found = [options["env"] for options in driver.local_workers(None, "cuda").values()]
    assert [environment["CUDA_VISIBLE_DEVICES"] for environment in found] == ["0", "1"]


@pytest.mark.parametrize("name", ["engine", "device"])
def test_what_a_gpu_sets_is_no_label_there(name, monkeypatch):
    monkeypatch.setattr(driver.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(driver.cuda, "installed", lambda: True)
    others = {"samples": 5, "engine": "cpu", "device": "cpu"}
    values = others.pop(name), "another"
    grid = sweep.Grid(own_cells.on_an_engine, {name: values}, others, seconds=1e6)
    with pytest.raises(ValueError, match=f"other labels than what it sets, got .'{name}'."):
        sweep.on_device(grid, "cuda")
    assert sweep.on_device(grid, "auto") == grid.cells()


def test_a_cell_that_stands_twice_is_refused(tmp_path):
    class Twice:
        def cells(self):
            return 2 * FEW.cells()

    for ask in (sweep.launch, sweep.collect, sweep.status):
        with pytest.raises(ValueError, match="got one twice"):
            ask(Twice(), tmp_path)


def publish(folder: Path, mine: str) -> int:
    options = ["--results", str(folder / "results"), "--to", str(folder / "to")]
    return command_line.main(["publish", mine, *options])


def test_tables_of_ones_own_have_different_names(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "pk").mkdir()
    for samples, name in enumerate(("one", "two", "fig3"), start=5):
        grid = f"Grid('tests.own_cells:named', {{'samples': [{samples}]}})"
        text = f"from llrnb.sweep import Grid\n\nP = {grid}\n"
        (tmp_path / "pk" / f"{name}.py").write_text(text)
        sweep.run(sweep.referred(f"pk.{name}:P"), tmp_path / "results")
    assert [publish(tmp_path, f"pk.{name}:P") for name in ("one", "two")] == [0, 0]
    tables = [
        store.published(tmp_path / "to" / f"pk-{name}-p.parquet")[0] for name in ("one", "two")
    ]
    assert [table["name"].tolist() for table in tables] == [[5], [6]]
    assert publish(tmp_path, f"{tmp_path}/pk/fig3.py:P") == 1
    assert "needs another name than the sweep 'fig3'" in capsys.readouterr().err
    assert len(list((tmp_path / "to").iterdir())) == 4


def test_two_files_of_one_name_are_not_published_as_one_table(tmp_path, capsys):
    for samples, folder in enumerate("ab", start=5):
        (tmp_path / folder).mkdir()
        grid = f"Grid('tests.own_cells:named', {{'samples': [{samples}]}})"
        path = tmp_path / folder / "mine.py"
        path.write_text(f"from llrnb.sweep import Grid\n\nP = {grid}\np = P\n")
        sweep.run(sweep.referred(f"{path}:P"), tmp_path / "results")
    first, second = (f"{tmp_path / folder / 'mine.py'}:P" for folder in "ab")
    assert [publish(tmp_path, first) for _ in range(2)] == [0, 0]
    for other in (second, first[:-1] + "p"):
        assert publish(tmp_path, other) == 1
        assert "another file name or another folder, got" in capsys.readouterr().err
    table, manifest = store.published(tmp_path / "to" / "mine-p.parquet")
    assert table["name"].tolist() == [5] and manifest["source"] == "../a/mine.py:P"
    (tmp_path / "to" / "mine-p.json").write_text("cut off")  # of which nothing is known
    assert publish(tmp_path, second) == 0


def test_the_time_of_a_cell_that_has_several_labels_counts_once(tmp_path):
    path = tmp_path / "both.py"
    path.write_text(
        "from llrnb.sweep import Grid, Union\nfrom tests.own_cells import named\n"
        "P = Union(tuple(Grid(named, {'samples': [5]}, {}, {'variant': v}) for v in 'ab'))\n"
    )
    first, _ = sweep.referred(f"{path}:P").cells()
    record = {"start": "2026-01-01T00:00:00+00:00", "end": "2026-01-01T02:00:00+00:00"}
    store.write(tmp_path / "results", first.key, pd.DataFrame({"name": [5]}), record)
    assert publish(tmp_path, f"{path}:P") == 0
    table, manifest = store.published(tmp_path / "to" / "both-p.parquet")
    assert table["variant"].tolist() == ["a", "b"] and manifest["core_hours"] == 2


def test_the_command_line_runs_watches_and_publishes(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(fig3, "SMALL", TINY)
    monkeypatch.chdir(tmp_path)

    def say(*arguments: str) -> tuple[int, str]:
        status = command_line.main(list(arguments))
        captured = capsys.readouterr()
        return status, captured.out + captured.err

    presets = [name for sweep in SWEEPS for name in presets_of(sweep)]
    assert say("list")[1].count(" cells, ") == len(presets)
    assert say("status", "fig3") == (1, "0 cells done, 0 cells failed, 12 cells missing\n")
    status, said = say("publish", "fig3")
    assert status == 1 and "12 of 12 cells are missing" in said
    fill(tmp_path / "results", TINY)
    status, said = say("run", "fig3", "--workers", "1")
    assert status == 0 and "72 rows in results" in said and "12 of 12 cells done" in said
    assert say("status", "fig3")[0] == 0
    assert say("publish", "fig3", "--to", "data")[0] == 0
    table, manifest = store.published(tmp_path / "data" / "fig3-small.parquet")
    pd.testing.assert_frame_equal(table, sweep.run(TINY), check_exact=True)
    assert manifest["rows"] == 72 and manifest["device"] == ["cpu"]
    Path("a file").touch()
    for where in (("publish", "fig3", "--to", "a file"), ("run", "fig3", "--results", "a file")):
        status, said = say(*where)
        assert status == 1 and said.startswith("llrnb: ") and "a file" in said
    status, said = say("run", "fig4")
    assert status == 1 and "sweep needs one of fig3, " in said and "'fig4'" in said
    status, said = say("run", "fig3", "--preset", "large")
    assert status == 1 and "got 'large'" in said


def test_a_reader_who_has_read_enough_is_no_error():
    listing = f"{sys.executable} -m llrnb list"
    done = subprocess.run(
        f"({listing} || true) | head -n 1", shell=True, cwd=ROOT, capture_output=True, text=True
    )
    assert done.stdout.startswith("fig3: ") and done.stderr == ""


CONFIG = """
compute: llrnb.sweep.recovery:train_cell
each: {samples: [6, 9]}
fixed:
  network: {kind: fully connected, input_dim: 5, width: 6}
  target: {kind: paper}
  learning_rates: [0.1]
  trials: 2
  steps: 200
  tolerance: 1e-10
  std: 1e-10
  test_samples: 1000
  optimizer: {kind: adam, weight_decay: 0.001}
  engine: torch
  looks: 10
labels: {family: students}
show: ["llrnb.figures:learning_curves", "llrnb.sweep:means"]
"""


def test_a_single_run_takes_its_parameters_from_a_config_file(tmp_path):
    config, summary = tmp_path / "config.yaml", tmp_path / "summary.json"
    config.write_text(f"{CONFIG}folder: {tmp_path}\nsummary: {summary}\n")
    notebook, executed = ROOT / "llrnb" / "jobs" / "cell.ipynb", tmp_path / "run.ipynb"
    subprocess.run(
        [sys.executable, "-m", "papermill", notebook, executed, "-f", config, "--no-progress-bar"],
        check=True,
        capture_output=True,
    )
    rows = pd.concat(store.read_all(tmp_path, store.held(tmp_path)))
    assert set(rows["samples"]) == {6, 9}
    assert all(store.parameters(tmp_path, key)["std"] == 1e-10 for key in store.held(tmp_path))
    assert rows["recorded"].max() == 200 and rows.groupby("recorded").size().eq(4).all()
    means = json.loads(summary.read_text())
    assert [row["samples"] for row in means] == [6, 9] and means[0]["trials"] == 2
    assert {row["family"] for row in means} == {"students"}
    outputs = [o for c in nbformat.read(executed, as_version=4).cells for o in c.get("outputs", ())]
    shown = [kind for output in outputs for kind in output.get("data", {})]
    assert shown.count("image/png") == 1 and shown.count("text/html") == 1


def test_a_script_without_its_guard_is_told_so(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        f"import sys\nsys.path.insert(0, {str(ROOT)!r})\n"
        "from llrnb import sweep\nfrom tests.tiny_sweep import TINY\n"
        f"sweep.launch(TINY, {str(tmp_path / 'results')!r}, workers=1)\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True)
    assert "has it `if __name__ == '__main__':` before" in done.stderr.splitlines()[-1]
