"""What the library is given: caches, states, stored results, the gate, skeletons."""

from __future__ import annotations

import ast
import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import scratch
from bench import pool, sweep
from scratch.engines import cpu
from tests.hostile.case import CASES, MARK, ROOT, SUBJECT, Case, left_behind, marked
from tests.toy import Toy

Attempt = Callable[[Path], list[str]]


def case(group: str, name: str) -> Callable[[Attempt], Attempt]:
    """Adds a function as a case."""

    def add(attempt: Attempt) -> Attempt:
        CASES.append(Case(group, name, attempt))
        return attempt

    return add


# ---- the compiled cache ----

ANSWER = 'extern "C" int answer() { return 42; }'


def rebuilt(damage: Callable[[Path], object]) -> Attempt:
    def attempt(folder: Path) -> list[str]:
        place = folder / "cache"
        built = cpu.build(ANSWER, place)
        before = built.read_bytes()
        damage(built)
        again = cpu.build(ANSWER, place)
        whole = again.read_bytes() == before
        return [] if whole and not again.stat().st_mode & 0o022 else [f"{again} is not whole"]

    return attempt


def cut(built: Path) -> None:
    content = built.read_bytes()
    built.unlink()
    built.write_bytes(content[:100])


def replaced(built: Path) -> None:
    built.unlink()
    built.write_bytes(b"another library")


for name, damage in {
    "cut off": cut,
    "replaced": replaced,
    "empty": lambda built: [built.unlink(), built.touch()],
    "written by others": lambda built: built.chmod(0o666),
    "a folder open to all": lambda built: [built.parent.chmod(0o777), built.chmod(0o777)],
}.items():
    CASES.append(Case("cache", name, rebuilt(damage)))


def refused(environment: dict[str, str], says: str, prepare: Any = lambda folder: None) -> Attempt:
    """An engine that cannot be built is refused by name, and "auto" trains without it."""
    script = (
        "import warnings, torch, scratch\n"
        "warnings.simplefilter('ignore')\n"
        "from scratch.engines.job import Unsupported\n"
        "def fit(engine):\n"
        "    m = scratch.Sequential(scratch.Linear(2, 3), scratch.Tanh(), scratch.Linear(3, 2))\n"
        "    return scratch.fit(m, scratch.MSELoss(), scratch.SGD(m.param(), lr=0.1), "
        "torch.zeros(6, 2), torch.zeros(6, 2), epochs=1, batch_size=3, seed=0, engine=engine)\n"
        "try: fit('fused')\n"
        "except Unsupported as error: print('refused:', error)\n"
        "fit('auto'); print('trained')"
    )

    def attempt(folder: Path) -> list[str]:
        prepare(folder)
        given = os.environ | {"PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(folder)} | environment
        done = subprocess.run([sys.executable, "-c", script], cwd=folder, env=given, text=True,
                              capture_output=True, timeout=120, check=False)  # fmt: skip
        wrong = says not in done.stdout or "trained" not in done.stdout
        return [done.stdout + done.stderr] if wrong else []

    return attempt


CASES += [
    Case("cache", "a compiler that fails", refused({"CXX": "/bin/false"}, "could not be compiled")),
    Case("cache", "no compiler", refused({"CXX": "no-such"}, "there is no 'no-such' here")),
    Case("cache", "no folder", refused({"XDG_CACHE_HOME": "/proc/self"}, "cannot be kept in")),
    Case("cache", "a file in its place", refused(
        {}, "cannot be kept in", lambda folder: (folder / "torch-parity").touch())),
]  # fmt: skip

# ---- states ----


def half_loaded(change: Callable[[dict[str, Any]], object]) -> Attempt:
    def attempt(folder: Path) -> list[str]:
        model = scratch.Sequential(scratch.Linear(2, 3), scratch.Linear(3, 1))
        before = {name: value.clone() for name, value in model.state_dict().items()}
        state: dict[str, Any] = {name: value + 1 for name, value in before.items()}
        change(state)
        try:
            model.load_state_dict(state)
        except ValueError as error:
            same = all(value.equal(before[name]) for name, value in model.state_dict().items())
            return [] if same and "nothing loaded" in str(error) else [f"half loaded: {error}"]
        return ["it was loaded"]

    return attempt


for name, change in {
    "a sparse tensor": lambda s: s.update({"1.bias": s["1.bias"].to_sparse()}),
    "a tensor of no numbers": lambda s: s.update({"1.bias": s["1.bias"].to("meta")}),
    "complex numbers": lambda s: s.update({"1.bias": s["1.bias"] * 1j}),
    "a list": lambda s: s.update({"1.bias": [1.0]}),
    "another shape": lambda s: s.update({"1.bias": torch.ones(2)}),
    "one too few": lambda s: s.pop("1.bias"),
    "a nested tensor": lambda s: s.update(
        {"1.bias": torch.nested.nested_tensor([torch.ones(1)], layout=torch.jagged)}),
}.items():  # fmt: skip
    CASES.append(Case("state", name, half_loaded(change)))


def optimizer_half_loaded(folder: Path) -> list[str]:
    model = scratch.Linear(2, 3)
    adam = scratch.Adam(model.param(), lr=0.5)
    adam.step()
    state = adam.state_dict()
    state["param_groups"][0]["lr"] = 0.1
    state["state"][0]["exp_avg"] = state["state"][0]["exp_avg"].to_sparse()
    try:
        adam.load_state_dict(state)
    except ValueError:
        return [] if adam.lr == 0.5 else ["its options are loaded, and its state is not"]
    return ["it was loaded"]


CASES.append(Case("state", "an optimizer's sparse tensor", optimizer_half_loaded))

# ---- sweeps ----


def not_believed(content: Callable[[dict[str, Any], list[sweep.Task]], str]) -> Attempt:
    """A stored result that is not of its task is computed again."""

    def attempt(folder: Path) -> list[str]:
        tasks = sweep.Grid(activations=("relu",), losses=("mse",), dropouts=(0.5,), seeds=8,
                           epochs=1, batch_size=100).tasks()  # fmt: skip
        good = {"task": dataclasses.asdict(tasks[0]), "version": sweep.VERSION, "accuracies": []}
        (folder / tasks[0].name).write_text(content(good, tasks))
        found = pool.stored(tasks[0], folder, sweep.VERSION)
        return [f"it is believed: {found}"] if found is not None else []

    return attempt


CASES += [
    Case("sweep", "of another task", not_believed(
        lambda good, tasks: json.dumps(good | {"task": dataclasses.asdict(tasks[1])}))),
    Case("sweep", "of no task", not_believed(
        lambda good, tasks: json.dumps({"version": good["version"]}))),
    Case("sweep", "of another version", not_believed(
        lambda good, tasks: json.dumps(good | {"version": ["older"]}))),
    Case("sweep", "cut off", not_believed(lambda good, tasks: json.dumps(good)[:-9])),
    Case("sweep", "a list", not_believed(lambda good, tasks: "[]")),
    Case("sweep", "empty", not_believed(lambda good, tasks: "")),
]  # fmt: skip

# ---- the gate ----


@case("gate", "a check that never ends")
def endless(folder: Path) -> list[str]:
    from parity.gate.measure import jobs
    from parity.run.plan import planned
    from parity.run.run import opened

    space: dict[str, Any] = {}
    text = SUBJECT.format(top="", init="pass", forward="pass", backward="while True: pass",
                          name="'endless'", bottom="")  # fmt: skip
    exec(compile(text, "endless.py", "exec"), space)
    (check,) = planned(opened(space["subject"]), only="Tanh-float32-input_grad")
    before, jobs.CHECK_SECONDS = jobs.CHECK_SECONDS, 1.0
    try:
        outcome = jobs._in_time(check)
    finally:
        jobs.CHECK_SECONDS = before
    said = str(outcome.failures)
    return [] if "has not ended within" in said else [said]


@case("gate", "a base of no name")
def no_base(folder: Path) -> list[str]:
    from parity.gate.data.broken import Broken
    from parity.gate.measure import trees

    try:
        trees.base_of(ROOT, "")
    except Broken as broken:
        return [] if "empty text" in str(broken) else [str(broken)]
    return ["it is taken"]


@case("gate", "folders of one that was killed")
def left_folders(folder: Path) -> list[str]:
    import tempfile

    from parity.gate.measure import trees

    gone = subprocess.Popen(["true"])
    gone.wait()
    before, tempfile.tempdir = tempfile.tempdir, str(folder)
    try:
        (folder / f"parity-gate-{gone.pid}-x").mkdir()
        (folder / f"parity-gate-{os.getpid()}-x").mkdir()
        with trees.temporary():
            left = {one.name for one in folder.iterdir()}
    finally:
        tempfile.tempdir = before
    wrong = f"parity-gate-{gone.pid}-x" in left or f"parity-gate-{os.getpid()}-x" not in left
    return [str(left)] if wrong else []


@case("gate", "killed while its arms are timed")
def killed_gate(folder: Path) -> list[str]:
    """The arms end with it, and the next one removes its folder."""
    toy = Toy.made(folder / "toy")
    (folder / "tmp").mkdir()
    mark = f"{os.getpid()}-{time.monotonic_ns()}"
    environment = toy.environment() | {"TMPDIR": str(folder / "tmp"), MARK: mark}
    gate = subprocess.Popen(
        toy.command("--layers", "timing"), cwd=toy.folder, env=environment,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    until = time.monotonic() + 60
    while len(marked(mark)) < 3 and time.monotonic() < until:  # itself, and what it has started
        time.sleep(0.05)
    gate.kill()
    gate.wait()
    left = left_behind(mark)
    again = toy.gate("--layers", "numerics")
    return [f"left {left}"] if left else [] if again.returncode == 0 else [again.stdout]


# ---- skeletons ----


def skeleton_of(name: str, module: str = "", folder_name: str = ".") -> Attempt:
    """A skeleton parses, passes, and imports nothing of the framework as it is written."""
    course = (ROOT / "tests" / "subjects" / "course.py").read_text()

    def attempt(folder: Path) -> list[str]:
        place = folder / folder_name
        place.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(course)
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(folder)])}

        def parity(*arguments: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run([sys.executable, "-m", "parity", *arguments], cwd=folder,
                                  env=environment, capture_output=True, text=True,
                                  timeout=120, check=False)  # fmt: skip

        if package := module.rpartition(".")[0]:
            top = folder / package.split(".")[0] / "__init__.py"
            top.write_text("print('it is imported')")
        done = parity("new", module or str(place / name), "-o", "made.py")
        if done.returncode or "it is imported" in done.stdout:
            return [done.stdout + done.stderr]
        ast.parse((folder / "made.py").read_text())
        checked = parity("check", "made.py", "--only", "Tanh-float32-forward")
        return [] if checked.returncode == 0 else [checked.stdout + checked.stderr]

    return attempt


CASES += [
    Case("skeletons", "of a name with a dash", skeleton_of("my-framework.py")),
    Case("skeletons", "of a name that is a keyword", skeleton_of("class.py")),
    Case("skeletons", "of a name that begins with a digit", skeleton_of("2layers.py")),
    Case("skeletons", "of a name with a space", skeleton_of("my layers.py")),
    Case("skeletons", "of a folder with a quote", skeleton_of("nets.py", folder_name='a "b')),
    Case("skeletons", "of a part of a package", skeleton_of("nets.py", "pk.sub.nets", "pk/sub")),
]


@case("skeletons", "of what does not parse")
def unparsable(folder: Path) -> list[str]:
    from parity import cli

    (folder / "odd.py").write_bytes(b"class Tanh: \x00")
    code = cli.main(["new", str(folder / "odd.py"), "-o", str(folder / "made.py")])
    return [] if code == 2 and not (folder / "made.py").exists() else [f"exit code {code}"]
