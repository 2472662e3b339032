"""An attempt to break the harness, and what is promised of it: seconds, exit code, a sentence."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests import warm

ROOT = Path(__file__).parent.parent.parent
MARK = "PARITY_HOSTILE"
"""A variable of the environment by which what a case has left behind is found."""

SUBJECT = """
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time

import torch
from torch import nn

import parity

{top}

class Tanh:
    def __init__(self):
        {init}

    def forward(self, x):
        self.y = torch.tanh(x)
        {forward}
        return self.y.clone()

    def backward(self, dy):
        {backward}
        return dy * (1 - self.y**2)


class Sigmoid:
    def forward(self, x):
        self.y = torch.sigmoid(x)
        return self.y.clone()

    def backward(self, dy):
        return dy * self.y * (1 - self.y)


subject = parity.Subject(
    {{nn.Tanh: Tanh, nn.Sigmoid: Sigmoid}}, dtypes=("float32",), name={name}
)
{bottom}
"""


@dataclass(frozen=True)
class Case:
    """One attempt.

    Args:
        group, name: what it is.
        attempt: does it, in an empty folder, and returns what is wrong with what came of it.
        worst: whether it is of the fast tier.
    """

    group: str
    name: str
    attempt: Callable[[Path], list[str]]
    worst: bool = False

    def __str__(self) -> str:
        return f"{self.group}-{self.name}".replace(" ", "_")


CASES: list[Case] = []


@dataclass
class Promise:
    """What must hold of a command that has run.

    Args:
        code: its exit code.
        says: texts that it must print, on one line or several.
        never: texts that it must not print.
        seconds: how long it may take.
        blameless: whether the innocent layer, Sigmoid, must have passed.
        shortest: how many characters it may print at most.
    """

    code: int = 1
    says: tuple[str, ...] = ()
    never: tuple[str, ...] = ("Traceback",)
    seconds: float = 40.0
    blameless: bool = True
    most: int = 20_000

    def broken(self, code: int, said: str, seconds: float, mark: str) -> list[str]:
        found = []
        plain = " ".join(said.split())
        if code != self.code:
            found.append(f"exit code {code}, not {self.code}")
        found += [f"does not say {text!r}" for text in self.says if text not in plain]
        found += [f"says {text!r}" for text in self.never if text in said]
        if self.blameless and "Sigmoid 1 passed" not in plain:
            found.append("the innocent layer did not pass")
        if seconds > self.seconds:
            found.append(f"took {seconds:.0f} seconds")
        if len(said) > self.most:
            found.append(f"printed {len(said)} characters")
        if left := left_behind(mark):
            found.append(f"left processes {left}")
        return [*found, said[-1500:]] if found else []


def left_behind(mark: str, seconds: float = 5.0) -> list[int]:
    """Processes that bear the mark, once they have had a moment to end; they are killed."""
    until = time.monotonic() + seconds
    while (found := marked(mark)) and time.monotonic() < until:
        time.sleep(0.05)
    for process in found:
        os.kill(process, signal.SIGKILL)
    return found


def marked(mark: str) -> list[int]:
    """Processes that bear the mark."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            state = (path / "stat").read_text().rpartition(")")[2].split()[0]
            environment = (path / "environ").read_bytes()
        except OSError:
            continue
        if f"{MARK}={mark}\0".encode() in environment and state != "Z":
            found.append(int(path.name))
    return found


CHECKS = ("--only=-forward", "--seconds", "2")


@dataclass
class Run:
    """A command to be run in a folder, with the adapter that it is about."""

    promise: Promise
    options: tuple[str, ...] = CHECKS
    adapter: str = "adapter.py"
    environment: dict[str, str] = field(default_factory=dict)
    prepare: Callable[[Path], object] = lambda folder: None
    shell: str = ""
    """In place of the command itself: `$PARITY` is it, `$ADAPTER` the adapter."""
    warm: bool = False
    """Whether the subject's process is a fork of the command's."""

    def attempt(self, text: str | bytes | None) -> Callable[[Path], list[str]]:
        def attempted(folder: Path) -> list[str]:
            if text is not None:
                content = text.encode() if isinstance(text, str) else text
                (folder / self.adapter).parent.mkdir(parents=True, exist_ok=True)
                (folder / self.adapter).write_bytes(content)
            self.prepare(folder)
            mark = f"{os.getpid()}-{time.monotonic_ns()}"
            environment = os.environ | {"PYTHONPATH": str(ROOT), MARK: mark} | self.environment
            start = time.monotonic()
            if self.shell:
                environment |= {
                    "PARITY": f"{sys.executable} -m parity check",
                    "ADAPTER": self.adapter,
                }
                done = subprocess.run(
                    ["bash", "-c", self.shell], cwd=folder, env=environment, capture_output=True,
                    timeout=120, check=False,
                )  # fmt: skip
                code = done.returncode
                said = (done.stdout + done.stderr).decode(errors="backslashreplace")
            else:
                command = ["-m", "parity", "check", self.adapter, *self.options]
                ran = warm.python(
                    command, cwd=folder, env=environment, timeout=120, keepers=self.warm
                )
                code, said = ran.returncode, ran.stdout + ran.stderr
            return self.promise.broken(code, said, time.monotonic() - start, mark)

        return attempted


def subject(
    *,
    top: str = "",
    init: str = "pass",
    forward: str = "",
    backward: str = "",
    called: str = "''",
    bottom: str = "",
) -> str:
    """An adapter with one layer that does something, and one that is innocent."""

    def within(text: str) -> str:
        return text.strip().replace("\n", "\n        ")

    return SUBJECT.format(
        top=top, init=within(init), forward=within(forward), backward=within(backward), name=called,
        bottom=bottom,
    )  # fmt: skip


def layer(
    group: str,
    name: str,
    *says: str,
    code: int = 1,
    worst: bool = False,
    options: tuple[str, ...] = CHECKS,
    blameless: bool = True,
    never: tuple[str, ...] = ("Traceback",),
    environment: dict[str, str] | None = None,
    **text: str,
) -> None:
    """Adds a case of an adapter's layer."""
    promise = Promise(code, says, blameless=blameless, never=never)
    run = Run(promise, options, environment=environment or {}, warm=not worst)
    CASES.append(Case(group, name, run.attempt(subject(**text)), worst))
