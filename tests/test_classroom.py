"""A class: every submission alone, what all have in common, and what is done already."""

from __future__ import annotations

import csv
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from parity import AdapterError
from parity.classroom.points import Points, points_of
from parity.classroom.result import Found, Result, shared
from parity.classroom.submissions import digest_of, submissions_of
from parity.classroom.table import as_csv
from tests import warm
from tests.classroom import EDITS, FORBIDDEN, ROOT, command, written

STUDENTS = {kind.replace(" ", "-").replace("'", ""): kind for kind in EDITS} | {"=SUM": "right"}

WORTH = """
[points]
Linear = 3
Tanh = 2
Softmax = 2
network = 4
"""


def run(folder: Path, *options: str) -> tuple[int, str, str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(folder)}
    done = warm.python(command(folder, "--seconds", "4", *options), cwd=folder, env=environment)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A class that was checked, and what was printed."""
    folder = tmp_path_factory.mktemp("course")
    written(folder, STUDENTS)
    (folder / "points.toml").write_text(WORTH)
    options = ["--html", "pages", "--csv", "grades.csv", "--points", "points.toml", "--quick",
               "--only", "float32"]  # fmt: skip
    code, told, _ = run(folder, *options, "--forbid", FORBIDDEN, "-v", "--workers", "2")
    assert code == 1, told
    return folder, told


def test_each_submission_is_told_what_is_wrong_in_it_alone(course: tuple[Path, str]) -> None:
    _, told = course
    for line in (
        r"no-square: \[wrong\] Tanh input gradient lacks the square in 1 - y\^2",
        r"no-Tanh: \[wrong\] Tanh is not written yet: .*course.py has no Tanh",
        r"the-identity: \[wrong\] ReLU input gradient .*",
        r"mean-of-the-bias: \[wrong\] Linear\.bias gradient .*",
        r"no-2: \[wrong\] MSELoss gradient .*",
        r"ascent: \[wrong\] SGD .*",
        r"hangs: \[wrong\] Tanh: hangs in forward.*",
        r"ends: \[wrong\] Softmax: ended the process, with exit code 3.*",
        r"torchs: \[wrong\] Tanh: raises Forbidden: uses torch\.nn\.functional\.tanh.*",
        r"torchs: \[wrong\] uses torch\.nn\.functional\.tanh \(course\.py:\d+\)",
        r"imports: \[wrong\] imports torch\.nn.* \(course\.py:\d+\)",
        r"no-Python: adapter\.py: raises SyntaxError.*",
        r"nothing: adapter\.py: raises ModuleNotFoundError: No module named 'course'.*",
    ):
        assert re.search(f"^{line}$", told, re.MULTILINE), (line, told)
    found = set(re.findall(r"^(\S+): \[", told, re.MULTILINE))
    assert "right" not in found
    assert found | {"right", "no-Python", "nothing", "prints-its-place", "=SUM"} == set(STUDENTS)
    for name in found - {"wrong-softmax", "torchs"}:
        assert len(re.findall(rf"^{re.escape(name)}: \[", told, re.MULTILINE)) == 1, (name, told)
    assert "2 of 17 submissions have no fault" in told


def test_grades_have_a_row_for_each(course: tuple[Path, str]) -> None:
    folder, _ = course
    rows = {
        row["student"]: row
        for row in csv.DictReader((folder / "grades.csv").read_text().splitlines())
    }
    assert len(rows) == len(STUDENTS)
    assert rows["'=SUM"]["total"] == rows["right"]["total"] == "11"
    assert [rows[name]["Tanh"] for name in ("right", "no-square", "no-Tanh")] == ["2", "1", "0"]
    assert rows["no-square"]["total"] == "10"  # the network is not blamed for its layer
    assert rows["nothing"]["total"] == "0"
    assert "No module named" in rows["nothing"]["note"]


def test_a_page_can_be_sent_to_its_student(course: tuple[Path, str]) -> None:
    folder, _ = course
    pages = {path.stem: path.read_text() for path in (folder / "pages").glob("*.html")}
    index = pages.pop("index")
    for name, page in pages.items():
        own = name.rsplit("-", 1)[0] if name.startswith("_") else name
        assert str(folder) not in page
        others = [other for other in ("mean-of-the-bias", "the-identity", "no-square")
                  if other != own]  # fmt: skip
        assert not any(other in page for other in others), name
    assert str(folder) not in index
    assert "lacks the square" in pages["no-square"]
    assert re.search(r'<a href="no-square.html">no-square</a>', index)
    assert "2 of 17 have no fault, 3 could not be checked to the end" in index
    for file in (folder / "pages" / ".parity").iterdir():
        assert str(folder) not in file.read_text()


def test_nothing_is_done_twice_while_nothing_has_changed(course: tuple[Path, str]) -> None:
    folder, _ = course
    options = ["--html", "pages", "--forbid", FORBIDDEN, "--workers", "2", "--quick",
               "--only", "float32"]  # fmt: skip
    path = folder / "class" / "no-square" / "course.py"
    path.write_text(path.read_text().replace("(1 - self.y)", "(1 - self.y**2)"))
    code, told, progress = run(folder, *options)
    assert code == 1
    assert "16 of 17 are as they were, and not checked again" in progress
    assert "3 of 17 submissions have no fault" in told


@pytest.mark.fresh
def test_killed_halfway_it_goes_on(tmp_path: Path) -> None:
    written(tmp_path, {"anna": "right", "berta": "hangs", "carl": "right"})
    arguments = command(tmp_path, "--html", "pages", "--workers", "1", "--only", "float32-forward",
                        "--seconds", "4")  # fmt: skip
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, *arguments], cwd=tmp_path, env=environment,
                               stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                               start_new_session=True, text=True,
                               preexec_fn=lambda: signal.signal(
                                   signal.SIGINT, signal.default_int_handler
                               ))  # fmt: skip
    first = tmp_path / "pages" / ".parity" / "anna.json"
    until = time.monotonic() + 120
    while not first.exists() and time.monotonic() < until:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert re.search(r"interrupted; [12] of 3 are done: the same command goes on", said), said
    assert "Traceback" not in said
    _, told, progress = run(tmp_path, "--html", "pages", "--workers", "1",
                            "--only", "float32-forward")  # fmt: skip
    assert re.search(r"[12] of 3 are as they were", progress), (progress, told)
    assert "2 of 3 submissions have no fault" in told


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--submissions", "missing"], "takes a folder for each student; missing is none"),
        (["--submissions", "a", "b/a"], "a is the name of several folders"),
        (["--submissions", "a", "--json", "o.json"], "--json is of one subject"),
        (["--submissions", "a", "--html", "file"], "--html names a folder for a class"),
        (["--submissions", "a", "--points", "none.toml"], "none.toml cannot be read"),
        (["--csv", "g.csv"], "--csv is of a class: it goes with --submissions"),
        (["--submissions", "a", "--workers", "0"], "takes a number from 1 to 256, not 0"),
        (["--forbid", "torch.nn,3"], "takes names of modules, such as torch.nn, not 'torch.nn,3'"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path: Path, options: list[str], says: str) -> None:
    written(tmp_path, {})
    for folder in ("a", "b/a"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "file").write_text("")
    arguments = ["-m", "parity", "check", "adapter.py", *options]
    done = warm.python(arguments, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert done.returncode == 2
    assert says in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_points_are_a_share_for_right_values() -> None:
    points = Points({"Tanh": 2, "Linear": 3, "SGD": 1}, forward=0.25)
    wrong = Found("Tanh", "wrong", True, "Tanh input gradient is wrong")
    remark = Found("Linear", "edge", False, "Linear is wrong at an edge")
    classes = {"Tanh": "wrong", "Linear": "edge"}
    result = Result("a", "", classes=classes, values=("Linear", "Tanh"), findings=(wrong, remark))
    assert [points.earned(result, cls) for cls in points.of] == [0.5, 3, 0]
    assert points.total(result) == 3.5
    assert as_csv([result], points).splitlines()[1] == "a,0.5,3,0,3.5,"
    assert Result.from_json(result.to_json()) == result
    with pytest.raises(ValueError, match="no result"):
        Result.from_json("{}")
    other = Result("b", "", findings=(wrong,))
    assert shared([result, other]) == [(wrong, ["a", "b"])]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("points = 3", r"has no table \[points\]"),
        ("[points]\nTanh = 'two'", "Tanh = 'two' is no number from 0 on"),
        ("forward = 2\n[points]\nTanh = 1", "forward = 2 is no number from 0 to 1"),
        ("forwards = 1\n[points]\nTanh = 1", "has forwards; it takes"),
        ("[points", "is no TOML"),
    ],
)
def test_points_that_make_no_sense_are_refused(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "points.toml").write_text(text)
    with pytest.raises(AdapterError, match=says):
        points_of(tmp_path / "points.toml")


def test_a_submission_is_another_once_a_file_of_it_has_changed(tmp_path: Path) -> None:
    (tmp_path / "anna" / "__pycache__").mkdir(parents=True)
    (tmp_path / "anna" / "course.py").write_text("x = 1")
    (anna,) = submissions_of([str(tmp_path / "anna")])
    first = digest_of(anna, b"adapter")
    assert digest_of(anna, b"adapter") == first
    (tmp_path / "anna" / "__pycache__" / "course.pyc").write_text("compiled")
    assert digest_of(anna, b"adapter") == first
    assert digest_of(anna, b"another adapter") != first
    (tmp_path / "anna" / "course.py").write_text("x = 2")
    assert digest_of(anna, b"adapter") != first
