"""An error of parity's own is told apart: nothing of it is said of the subject, and the run has not
been one."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch
from torch import nn

import parity
import parity.checks.layers
import parity.explain.layers
import parity.judge.evaluate
import parity.play.arrays
import parity.play.guard
import parity.subject.builders
from parity import cli
from parity.gate.judge.numerics import suite
from parity.gate.judge.result import BROKEN
from parity.judge.outcome import ERROR, Outcome
from parity.show.html import page
from parity.show.json import as_json
from parity.show.junit import as_junit
from parity.show.text import text
from tests import warm
from tests.subjects import course

ROOT = Path(__file__).parent.parent
ADAPTER = """
import parity, torch
class Tanh:
    def forward(self, x): self.y = x.tanh(); return self.y
    def backward(self, dy): return dy * (1 - self.y**2)
subject = parity.Subject({torch.nn.Tanh: Tanh})
"""


def planted(*given: Any, **options: Any) -> NoReturn:
    raise RuntimeError("planted")


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (parity.Case, "module"),
        (parity.judge.evaluate, "layer"),
        (parity.explain.layers, "of_layer"),
        (parity.play.arrays.Layout, "take"),
        (parity.checks.layers, "one_pass"),
        (parity.Trial, "inputs"),
    ],
)
def test_an_error_of_paritys_own_is_none_of_the_subjects(
    owner: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = parity.Subject({nn.Tanh: course.Tanh})
    monkeypatch.setattr(owner, name, planted)
    if owner is parity.Case:  # before any check: it is the caller's to see
        parity.checks.layers._seen.cache_clear()  # which has made the module before
        with pytest.raises(RuntimeError, match="planted"):
            parity.check(subject, only="Tanh-float32-forward")
        return
    report = parity.check(subject, only="Tanh-float32-forward", seed=4711)  # of no other test
    assert not report.findings
    assert not report.passed
    (error,) = report.errors
    assert error.why.startswith("RuntimeError: planted (test_errors.py:")
    shown = text(report)
    assert "An error of parity's own, which says nothing of the subject: RuntimeError" in shown
    assert "1 check ended by an error of parity's own" in shown
    assert "Traceback" not in shown
    assert "Traceback" in text(report, verbose=True)
    assert "An error of parity&#x27;s own" in page(report)
    assert '"traceback": "RuntimeError: planted' in as_json(report)
    assert 'errors="1"' in as_junit(report)


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("catalogue/values.py", "def weights_of("),
        ("play/calls.py", "def forward(subject"),
        ("play/arrays.py", "    def take(self"),
        ("subject/builders.py", "def bound("),
        ("run/plan.py", "    def _command("),
        ("show/text.py", "def _verdict("),
    ],
)
def test_the_command_ends_with_2_wherever_it_is(file: str, line: str, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "parity", tmp_path / "parity")
    changed = tmp_path / "parity" / file
    head, found, tail = changed.read_text().partition(line)
    signature, end, body = tail.partition(":\n")
    assert found
    indent = " " * (len(line) - len(line.lstrip()) + 4)
    wrong = f'{indent}raise RuntimeError("planted")\n'
    changed.write_text(f"{head}{found}{signature}{end}{wrong}{body}")
    (tmp_path / "adapter.py").write_text(ADAPTER)
    done = warm.python(
        ["-m", "parity", "check", "adapter.py", "--only", "Tanh-float32-forward"],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == cli.COULD_NOT_RUN, done.stdout + done.stderr
    assert "an error of parity's own" in (done.stdout + done.stderr).lower()
    assert "RuntimeError: planted" in done.stdout + done.stderr
    assert "[wrong]" not in done.stdout


def test_what_a_subject_raises_is_the_subjects_wherever_it_is_raised() -> None:
    class Odd(course.Tanh):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.zeros(3) @ x.reshape(-1)  # raised in torch, called here

    (finding,) = parity.check(parity.Subject({nn.Tanh: Odd}), only="Tanh-float32-f").findings
    assert "(test_errors.py:" in str(finding)
    assert finding.where == ""  # which says it already
    (line,) = finding.evidence.entries
    assert line.startswith("test_errors.py:")
    assert "in forward: return torch.zeros(3) @ x.reshape(-1)" in line


def test_an_own_check_that_raises_is_the_adapters() -> None:
    def odd(trial: parity.Trial) -> NoReturn:
        raise ValueError("not mine")

    subject = parity.Subject({nn.Tanh: course.Tanh}, checks={"layer": {"odd": odd}})
    report = parity.check(subject, only="Tanh-float32-odd")
    assert not report.errors
    (finding,) = report.findings
    assert str(finding) == (
        "Tanh: its own check raises ValueError: not mine (test_errors.py:"
        f"{odd.__code__.co_firstlineno + 1})"
    )


def test_the_gate_is_broken_by_one() -> None:
    why = "RuntimeError: planted (x.py:1)\nTraceback"
    outcome = Outcome("it", "Tanh", "Tanh", "float32", "forward", ERROR, [], why=why)
    (row,) = suite([outcome], {})
    assert (row.name, row.verdict) == ("it", BROKEN)
    assert row.says == "an error of parity's own: RuntimeError: planted (x.py:1)"
