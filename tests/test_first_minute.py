"""What one meets first: the demo, colours, versions, reports that show themselves."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html import unescape
from pathlib import Path

import pytest

import parity
from parity import cli
from parity.show import colour
from tests import warm
from tests.classroom import ROOT

SUBJECTS = ROOT / "tests" / "subjects"
RIGHT, WRONG = SUBJECTS / "course_adapter.py", SUBJECTS / "wrong_tanh_adapter.py"


def command(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | variables
    environment = {key: one for key, one in environment.items() if one or key not in variables}
    return warm.python(["-m", "parity", *arguments], cwd=folder, env=environment)


def test_the_demo_shows_a_mistake_and_names_its_files(tmp_path: Path) -> None:
    done = command(tmp_path, "demo", "--folder", "demo")
    assert done.returncode == 0, done.stderr
    assert "return dy * (1 - self.y)\n" in done.stdout
    right = re.search(r"puts (\d+)% of 1000 new points on the right side", done.stdout)
    assert right is not None
    assert int(right[1]) >= 90
    findings = re.findall(r"^\d+\. \[.*", done.stdout, re.MULTILINE)
    assert findings == ["1. [wrong] Tanh input gradient lacks the square in 1 - y^2."]
    report = tmp_path / "demo" / "report.html"
    assert report.as_uri() in done.stdout
    assert "lacks the square" in report.read_text()
    course = tmp_path / "demo" / "course.py"
    course.write_text(course.read_text().replace("(1 - self.y)", "(1 - self.y**2)"))
    assert parity.check(tmp_path / "demo" / "adapter.py", quick=True, only="tanh").passed
    again = command(tmp_path, "demo", "--folder", "demo")
    assert again.returncode == 2
    assert "course.py is there already; --folder names another place" in again.stderr


def test_colours_are_for_a_terminal_that_wants_them(tmp_path: Path) -> None:
    only = ["check", str(WRONG), "--only", "TANH-FLOAT32-INPUT"]
    plain = command(tmp_path, *only, NO_COLOR="", FORCE_COLOR="")
    assert plain.returncode == 1
    assert "\33" not in plain.stdout
    painted = command(tmp_path, *only, NO_COLOR="", FORCE_COLOR="1").stdout
    assert "1. \33[31m[wrong]\33[0m" in painted
    assert "\33[31m1 fault\33[0m" in painted
    assert re.sub(r"\x1b\[\d+m", "", painted).splitlines()[:-1] == plain.stdout.splitlines()[:-1]
    assert "\33" not in command(tmp_path, *only, NO_COLOR="1", FORCE_COLOR="1").stdout
    assert colour.painted("own: PASSED.") == "own: \33[32mPASSED\33[0m."
    assert colour.painted("2. [edge, a remark] x") == "2. \33[33m[edge, a remark]\33[0m x"


def test_what_was_written_is_said_and_a_report_has_its_name(tmp_path: Path) -> None:
    options = ["--only", "tanh-float32-forward", "--name", "Group 7", "--html", "o.html",
               "--json", "o.json"]  # fmt: skip
    done = command(tmp_path, "check", str(RIGHT), *options)
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1] == "wrote o.html, o.json"
    assert "Group 7: PASSED. 1 passed, of 1 checks." in done.stdout
    assert "Group 7" in (tmp_path / "o.html").read_text()


def test_versions_are_told_without_an_import_of_torch(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert re.fullmatch(r"torch-parity \S+, torch \S+, numpy \S+, Python \S+\n", said), said
    assert parity.__version__ in said


def test_help_has_examples_and_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["check", "--help"])
    said = capsys.readouterr().out
    assert "parity check adapter.py --submissions class/*/" in said
    assert "exit codes: 0 all passed; 1 a fault; 2 it could not run" in said


def test_a_reader_who_has_enough_of_a_list_breaks_nothing() -> None:
    script = f"{sys.executable} -m parity list | head -n 1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", script], capture_output=True, text=True,
                          env=os.environ | {"PYTHONPATH": str(ROOT)}, check=False)  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Linear (layer)")


def test_a_report_shows_itself() -> None:
    report = parity.check(WRONG, only="tanh-float32-input", quick=True)
    assert str(report).startswith("case ")
    assert "1. [wrong] Tanh input gradient" in str(report)
    assert "\n()" not in str(report)
    page = report._repr_html_()
    assert page.startswith('<iframe srcdoc="')
    assert "<!DOCTYPE html>" in unescape(page)


def test_an_adapter_is_looked_for_beside_the_test_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("course.py", "course_adapter.py"):
        (tmp_path / name).write_text((SUBJECTS / name).read_text())
    (tmp_path / "test_own.py").write_text(
        "import parity\n\n"
        '@parity.parametrize("course_adapter.py", only="tanh-float32-forward")\n'
        "def test_parity(check):\n    check()\n"
    )
    (tmp_path / "elsewhere").mkdir()
    done = warm.python(
        ["-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path / "test_own.py")],
        cwd=tmp_path / "elsewhere", env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert "1 passed" in done.stdout, done.stdout


def test_a_failed_test_says_its_sentence_once(tmp_path: Path) -> None:
    (tmp_path / "test_own.py").write_text(
        "import parity\n\n"
        f'@parity.parametrize({str(WRONG)!r}, only="Tanh-float32-input_grad")\n'
        "def test_parity(check):\n    check()\n"
    )
    done = warm.python(["-m", "pytest", "-q", "-p", "no:cacheprovider", "test_own.py"],
                       cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)})  # fmt: skip
    failure = done.stdout.partition("short test summary")[0]
    assert failure.count("applied to the input") == 1, failure
