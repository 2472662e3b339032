"""The line between judge and subject: whole messages, and no wait without an end."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import parity
from parity.play import remote
from parity.play.line import Ended, Late, Line

pytestmark = pytest.mark.fresh
DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.int64, torch.bool]
SHAPES: list[tuple[int, ...]] = [(), (0,), (0, 3), (7, 5), (2, 3, 4)]

TANH = """
import os
import time

import torch
from torch import nn

import parity


class Tanh:
    def forward(self, x):
        self.y = torch.tanh(x)
        return self.y

    def backward(self, dy):
        return dy * (1 - self.y**2)


subject = parity.Subject({nn.Tanh: Tanh}, dtypes=("float32",))
"""


@pytest.fixture
def ends() -> Iterator[tuple[Line, Line]]:
    """Both ends of a line."""
    pipes = os.pipe(), os.pipe()
    descriptors = [one for pipe in pipes for one in pipe]
    yield Line(pipes[0][0], pipes[1][1]), Line(pipes[1][0], pipes[0][1])
    for one in descriptors:
        with contextlib.suppress(OSError):
            os.close(one)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_tensors_arrive_as_they_were(
    ends: tuple[Line, Line], shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    x = torch.randn(shape).to(dtype)
    here, there = ends
    here.send(("call", {"x": x, "turned": x.mT if x.dim() == 2 else x}), 5)
    verb, got = there.receive(5)
    assert verb == "call"
    assert got["x"].equal(x)
    assert got["x"].dtype == dtype
    assert got["turned"].shape == (x.mT if x.dim() == 2 else x).shape
    got["x"].fill_(1)  # it has memory of its own


def test_nan_and_signs_of_zero_arrive_bit_for_bit(ends: tuple[Line, Line]) -> None:
    x = torch.tensor([float("nan"), -0.0, float("-inf")])
    ends[0].send(x, 5)
    assert ends[1].receive(5).view(torch.int32).equal(x.view(torch.int32))


def test_messages_that_arrive_together_are_told_apart(ends: tuple[Line, Line]) -> None:
    here, there = ends
    for number in range(5):
        here.send(number, 5)
    assert [there.receive(5) for _ in range(5)] == list(range(5))


def test_a_message_that_does_not_come_is_not_waited_for(ends: tuple[Line, Line]) -> None:
    start = time.monotonic()
    with pytest.raises(Late):
        ends[0].receive(0.1)
    os.write(ends[1].outgoing, b"\x64\0\0")  # of a length of eight bytes
    with pytest.raises(Late):
        ends[0].receive(0.1)
    assert time.monotonic() - start < 5


def test_eight_megabytes_to_one_that_does_not_read_are_not_waited_for(
    ends: tuple[Line, Line],
) -> None:
    with pytest.raises(Late):
        ends[0].send(torch.zeros(1_000_000, dtype=torch.float64), 0.2)


def test_an_end_that_is_closed_is_told(ends: tuple[Line, Line]) -> None:
    here, there = ends
    os.close(there.outgoing)
    with pytest.raises(Ended):
        here.receive(5)
    os.close(there.incoming)
    with pytest.raises(Ended):
        here.send(1, 5)


def checked(folder: Path, before: str = "", backward: str = "") -> parity.Report:
    text = TANH.replace("        return dy *", f"{backward}        return dy *")
    (folder / "adapter.py").write_text(text.replace("class Tanh", f"{before}\n\nclass Tanh"))
    return parity.check(str(folder / "adapter.py"), only=("-forward", "-input_grad", "-eval_mode"))


def test_a_child_in_a_session_of_its_own_that_holds_the_pipes_does_not_hold_up_the_end(
    tmp_path: Path,
) -> None:
    child = "if os.fork() == 0:\n    os.setsid()\n    time.sleep(60)\n    os._exit(0)\n"
    start = time.monotonic()
    report = checked(tmp_path, before=child)
    assert report.passed
    assert time.monotonic() - start < 45


def test_a_process_that_closes_the_line_and_lives_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "GRACE", 0.5)
    closes = "        os.closerange(3, 256)\n        time.sleep(60)\n"
    report = checked(tmp_path, backward=closes)
    assert not report.passed
    said = {failure.reason for outcome in report.outcomes for failure in outcome.failures}
    assert any("closes the line to the judge, and goes on" in reason for reason in said), said


def test_a_call_that_is_broken_off_here_takes_its_process_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer may still come: it is not to be taken for that of the next call."""
    (tmp_path / "adapter.py").write_text(TANH)
    subject = parity.Remote(tmp_path / "adapter.py")
    try:
        (case,) = subject.description.cases
        layer = subject.new(case, torch.float32, "cpu", 0)
        with monkeypatch.context() as patch:
            patch.setattr(subject.line, "receive", lambda seconds: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                layer.forward(torch.ones(2, 3))
        assert subject.process is None
        again = subject.new(case, torch.float32, "cpu", 0)
        assert torch.equal(again.forward(torch.ones(2, 3)), torch.ones(2, 3).tanh())
    finally:
        subject.close()


def test_a_process_that_is_forked_meanwhile_does_not_hold_up_the_end(tmp_path: Path) -> None:
    (tmp_path / "adapter.py").write_text(TANH)
    subject = parity.Remote(tmp_path / "adapter.py")
    child = os.fork()
    if not child:
        time.sleep(60)
        os._exit(0)
    start = time.monotonic()
    subject.close()
    taken = time.monotonic() - start
    os.kill(child, 9)
    os.waitpid(child, 0)
    assert taken < 4


def test_a_process_that_is_forked_has_a_worker_of_its_own(tmp_path: Path) -> None:
    """As pytest-forked does: two that read from one line take each other's answers."""
    (tmp_path / "adapter.py").write_text(TANH)
    subject = parity.Remote(tmp_path / "adapter.py")
    (case,) = subject.description.cases
    child = os.fork()
    if not child:
        x = torch.full((2, 3), 2.0)
        right = torch.equal(subject.new(case, torch.float32, "cpu", 0).forward(x), x.tanh())
        subject.close()
        os._exit(0 if right else 1)
    layer = subject.new(case, torch.float32, "cpu", 0)
    while (done := os.waitpid(child, os.WNOHANG)) == (0, 0):
        assert torch.equal(layer.forward(torch.ones(2, 3)), torch.ones(2, 3).tanh())
    assert done[1] == 0
    assert torch.equal(layer.forward(torch.ones(2, 3)), torch.ones(2, 3).tanh())
    subject.close()
