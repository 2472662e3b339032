"""`python -m bench sweep`: every result exactly once, whatever is killed on the way."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

import scratch
from bench import __main__ as command
from bench import pool, sweep
from bench.problem import disks
from scratch import data

ROOT = Path(__file__).parent.parent
SMALL = sweep.Grid(activations=("relu", "tanh"), losses=("mse",), dropouts=(0.5,), seeds=12,
                   epochs=1, batch_size=100)  # fmt: skip
ARGUMENTS = ["--activations", "relu", "tanh", "selu", "elu", "--optimizers", "sgd", "adam",
             "--losses", "mse", "bce", "--dropouts", "0.5", "--seeds", "4", "--epochs", "30",
             "--batch-size", "1"]  # fmt: skip
COUNT = 16  # tasks of these


def results(folder: Path) -> dict[Path, int]:
    """The files of results, and when each was written."""
    return {file: file.stat().st_mtime_ns for file in folder.glob("[!.]*.json")}


def started(folder: Path, *more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "bench", "sweep", *ARGUMENTS, "--output", str(folder), *more],
        cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def until(true: Callable[[], object], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it takes too long"
        time.sleep(0.02)


def finished(process: subprocess.Popen[str], folder: Path) -> str:
    """What a sweep printed, once it has ended well with every result there once."""
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    tasks = [json.loads(file.read_text())["task"] for file in results(folder)]
    assert len({json.dumps(task) for task in tasks}) == len(tasks) == COUNT
    return out


def test_a_grid_has_each_combination_once_in_blocks_of_seeds() -> None:
    tasks = SMALL.tasks()
    assert [(t.activation, t.optimizer, t.seeds) for t in tasks] == [
        (activation, optimizer, tuple(seeds))
        for activation in ("relu", "tanh")
        for optimizer in ("sgd", "adam")
        for seeds in (range(10), range(10, 12))
    ]
    assert len({task.name for task in tasks}) == 8
    twice = sweep.Grid(activations=("relu", "relu"), seeds=1)
    assert len(twice.tasks()) == len(set(twice.tasks())) == 8
    assert sweep.Grid(seeds=20).tasks()[0].name == sweep.Grid(seeds=10).tasks()[0].name


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"activations": ["gelu"]}, "there is no gelu; there are relu"),
        ({"losses": ["huber"]}, "there is no huber"),
        ({"optimizers": ["lion"]}, "there is no lion"),
        ({"models": ["25x25"]}, "such as 25-25-25, not '25x25'"),
        ({"models": ["25-0"]}, "such as 25-25-25, not '25-0'"),
        ({"dropouts": [1.0]}, "from 0 to below 1, not 1.0"),
        ({"rates": [0.0]}, "above 0 and finite, not 0.0"),
        ({"rates": [math.inf]}, "above 0 and finite, not inf"),
        ({"models": ["025"]}, "such as 25-25-25, not '025'"),
        ({"seeds": 0}, "seeds is at least 1, not 0"),
        ({"epochs": 0}, "epochs is at least 1, not 0"),
    ],
)
def test_a_grid_of_what_there_is_not_is_refused(options: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        sweep.Grid(**options)


def test_a_run_is_that_of_its_seed_alone() -> None:
    task = SMALL.tasks()[2]
    assert task.optimizer == "adam"
    found = sweep.run(task)["accuracies"]
    model = task.network(7)
    x, labels = disks([7])
    scratch.fit(model, scratch.MSELoss(), scratch.Adam(model.param()), x[0],
                data.one_hot(labels[0]), epochs=1, batch_size=100, seed=7)  # fmt: skip
    points, right = disks([7], test=True)
    assert found[7] == float(scratch.train.accuracy(model, points[0], right[0]))
    assert not points.equal(x)
    assert len(found) == 10


def test_what_diverges_is_told_and_takes_no_other_run_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = sweep.Grid(losses=("bce",), rates=(1e-3,), seeds=3, epochs=1).tasks()[0]
    network = sweep.Task.network

    def broken(self: sweep.Task, seed: int) -> scratch.Sequential:
        made = network(self, seed)
        if seed == 1:
            made.param()[0][0].fill_(torch.nan)
        return made

    right = sweep.run(task)["accuracies"]
    monkeypatch.setattr(sweep.Task, "network", broken)
    result = sweep.run(task)
    assert result["accuracies"] == [right[0], None, right[2]]
    (why,) = result["refused"]
    assert why.startswith("seed 1: BCELoss")
    stored = result | {"task": asdict(task)}
    assert f"Left out, 25-25-25 relu bce dropout 0 sgd 0.001, {why}" in sweep.text([stored])
    diverged = sweep.run(dataclasses.replace(task, loss="mse"))
    assert diverged["refused"] == ["seed 1: training diverged"]
    assert diverged["accuracies"][1] is None


def test_a_worker_with_other_code_is_refused(tmp_path: Path) -> None:
    def old(task: sweep.Task) -> dict[str, Any]:
        return sweep.run(task) | {"version": ["older", torch.__version__]}

    with pytest.raises(pool.Lost, match="a worker has other code, or another torch"):
        pool.compute(
            SMALL.tasks()[:1], old, lambda: ThreadPoolExecutor(1), tmp_path, version=sweep.VERSION
        )
    assert not results(tmp_path)


def _poison(task: sweep.Task, worst: sweep.Task) -> dict[str, Any]:
    if task == worst:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.2)
    return {"accuracies": [0.5]}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_task_that_kills_its_worker_does_not_stop_the_others(tmp_path: Path) -> None:
    tasks = SMALL.tasks()
    with pytest.raises(pool.Lost, match=r"1 are left, such as Task.*'relu'"):
        pool.compute(tasks, partial(_poison, worst=tasks[0]), partial(pool.processes, 1), tmp_path)
    assert len(results(tmp_path)) == len(tasks) - 1


def _dies(task: sweep.Task, marker: Path, always: bool = False) -> dict[str, Any]:
    """A task whose worker is killed, the first time or always."""
    if always or not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return {"accuracies": [0.5]}


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_worker_that_is_lost_is_replaced(tmp_path: Path) -> None:
    tasks, done = SMALL.tasks(), list[sweep.Task]()
    found = pool.compute(
        tasks, partial(_dies, marker=tmp_path / "marker"), partial(pool.processes, 1), tmp_path,
        done.append,
    )  # fmt: skip
    assert len(found) == len(results(tmp_path)) == len(done) == len(tasks)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_workers_that_are_always_lost_are_given_up(tmp_path: Path) -> None:
    with pytest.raises(pool.Lost, match="3 times all workers were lost"):
        pool.compute(
            SMALL.tasks()[:1], partial(_dies, marker=tmp_path / "marker", always=True),
            partial(pool.processes, 1), tmp_path,
        )  # fmt: skip
    assert not results(tmp_path)


def test_any_executor_will_do_and_an_error_of_ours_is_not_hidden(tmp_path: Path) -> None:
    def wrong(task: sweep.Task) -> dict[str, Any]:
        raise TypeError("a mistake")

    with pytest.raises(TypeError, match="a mistake"):
        pool.compute(SMALL.tasks(), wrong, lambda: ThreadPoolExecutor(1), tmp_path)
    assert not results(tmp_path)


def test_what_is_stored_is_not_computed_again_unless_it_is_damaged(tmp_path: Path) -> None:
    tasks, ran = SMALL.tasks()[:3], []

    def work(task: sweep.Task) -> dict[str, Any]:
        ran.append(task)
        return {"accuracies": [0.5]}

    for _ in range(2):
        pool.compute(tasks, work, lambda: ThreadPoolExecutor(1), tmp_path)
    assert ran == tasks
    (tmp_path / tasks[1].name).write_text('{"task":')
    pool.compute(tasks, work, lambda: ThreadPoolExecutor(1), tmp_path)
    assert ran == [*tasks, tasks[1]]
    (tmp_path / tasks[0].name).write_text((tmp_path / tasks[2].name).read_text())  # of another
    pool.compute(tasks, work, lambda: ThreadPoolExecutor(1), tmp_path)
    assert ran == [*tasks, tasks[1], tasks[0]]


def test_a_result_that_is_not_found_again_ends_it(tmp_path: Path) -> None:
    """As it was, such a task was computed for ever."""

    def work(task: sweep.Task) -> dict[str, Any]:
        return {"accuracies": [0.5]}  # and no version

    with pytest.raises(pool.Lost, match=r"Task.* is not found again as it was stored"):
        pool.compute(
            SMALL.tasks()[:1], work, lambda: ThreadPoolExecutor(1), tmp_path, version=sweep.VERSION
        )


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_killed_halfway_it_goes_on_and_nothing_is_done_twice(tmp_path: Path) -> None:
    process = started(tmp_path, "--workers", "1")
    until(lambda: len(results(tmp_path)) >= 3)
    process.kill()
    process.communicate()
    before = results(tmp_path)
    assert len(before) < COUNT
    worker = json.loads(next(iter(before)).read_text())["process"]
    until(lambda: not alive(worker), 20)  # it does not outlive what it works for
    assert results(tmp_path) == before
    out = finished(started(tmp_path, "--workers", "1"), tmp_path)
    assert results(tmp_path).items() >= before.items()
    assert out.count("25-25-25") == COUNT
    assert (tmp_path / "sweep.md").read_text().count("| 25-25-25") == COUNT
    assert not [file for file in tmp_path.iterdir() if file.name.startswith(".")]


def alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT to send")
def test_ctrl_c_says_how_to_go_on(tmp_path: Path) -> None:
    process = started(tmp_path, "--workers", "1")
    until(lambda: len(results(tmp_path)) >= 2)
    for _ in range(3):  # as a terminal and tox send it, and an impatient hand
        process.send_signal(signal.SIGINT)
        time.sleep(0.05)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted: what is done is kept; the same command goes on from there" in err
    assert "Traceback" not in err + out
    assert 2 <= len(results(tmp_path)) < COUNT


@contextmanager
def dask(tmp_path: Path, start_in: Path) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """A scheduler's address, and its two workers."""
    if not importlib.util.find_spec("distributed"):
        pytest.skip("Dask is not installed: pip install distributed")
    file, log = tmp_path / "scheduler", (tmp_path / "dask.log").open("w")

    def start(part: str, *options: str) -> subprocess.Popen[bytes]:
        run = [sys.executable, "-m", f"distributed.cli.dask_{part}", "--no-dashboard"]
        run += ["--scheduler-file", str(file), *options]
        return subprocess.Popen(run, cwd=start_in, stdout=log, stderr=log)

    made = [start("scheduler", "--host", "127.0.0.1", "--port", "0")]
    try:
        until(lambda: file.exists() and file.read_text())
        place = str(tmp_path / "work")
        made += [
            start("worker", "--nthreads", "1", "--no-nanny", "--local-directory", place)
            for _ in range(2)
        ]
        yield json.loads(file.read_text())["address"], made[1:]
    finally:
        for process in made:
            process.kill()
            process.wait()
        log.close()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_on_dask_a_worker_may_be_killed(tmp_path: Path) -> None:
    folder = tmp_path / "results"
    with dask(tmp_path, ROOT) as (address, workers):
        process = started(folder, "--scheduler", address)
        pids = {worker.pid for worker in workers}

        def both() -> bool:
            ran = {json.loads(file.read_text())["process"] for file in results(folder)}
            return ran == pids

        until(both)
        before = results(folder)
        assert len(before) < COUNT
        workers[0].kill()
        finished(process, folder)
    assert results(folder).items() >= before.items()


@pytest.mark.slow
def test_dask_that_cannot_import_bench_says_where_to_start_it(tmp_path: Path) -> None:
    with dask(tmp_path, tmp_path) as (address, _):
        process = started(tmp_path / "results", "--scheduler", address)
        _, err = process.communicate(timeout=120)
    assert process.returncode == 2
    assert "No module named 'bench': start them in this project's folder with PYTHONPATH=." in err
    assert "Traceback" not in err


def test_what_cannot_run_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command.main(["sweep", "--losses", "huber"]) == 2
    assert "python -m bench sweep: there is no huber" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "distributed", None)
    monkeypatch.chdir(tmp_path)
    assert command.main(["sweep", "--scheduler", "tcp://127.0.0.1:1", "--output", "x"]) == 2
    assert "--scheduler needs Dask: pip install distributed" in capsys.readouterr().err
    monkeypatch.undo()
    assert command.main(["sweep", "--scheduler", "nonsense", "--output", str(tmp_path)]) == 2
    assert "'nonsense' is no address such as tcp://host:8786" in capsys.readouterr().err
    (tmp_path / "file").touch()
    assert command.main(["sweep", "--output", str(tmp_path / "file")]) == 2
    assert "python -m bench sweep: [Errno 17] File exists" in capsys.readouterr().err


def test_the_pool_is_of_processes() -> None:
    with pool.processes(2) as workers:
        assert isinstance(workers, ProcessPoolExecutor)
        assert workers.submit(os.getpid).result() != os.getpid()
