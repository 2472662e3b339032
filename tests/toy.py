"""A small project with a gate of its own, in a repository of its own: for the gate to be tried on.

`Toy.gate` runs the command in a process, as its user does, or in a fork that is as good as one.
What no file of the project can bring about, such as arms that are swapped, is done by a patch that
the process begins with.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests import warm

ROOT = Path(__file__).parent.parent

LIBRARY = """
import torch


class Tanh:
    def forward(self, x):
        self.y = torch.tanh(x)
        return self.y

    def backward(self, dy):
        return dy * (1 - self.y**2)


def work():
    x = torch.ones(64)
    for _ in range(20):
        x = x * 1.0
    return x
"""

PLAN = """
from pathlib import Path

from torch import nn

import library
from parity import Subject
from parity.gate import Gate

gate = Gate(
    Subject({nn.Tanh: library.Tanh}, name="toy"),
    trajectories={"descent": lambda: 0.5},
    counts={"work": lambda: {"operations": 20}},
    timed=Path(__file__).with_name("timed.py"),
    against_torch={"work": lambda: ([1.0, 1.1, 1.0], [2.0, 2.0, 2.0])},
    pairs={"net": lambda seeds: ([90 + seed % 3 for seed in seeds],) * 2},
    runs={"net": lambda seeds: [90 + seed % 3 for seed in seeds]},
)
"""

TIMED = """
import library


def repeated(units):
    def run():
        for _ in range(units):
            library.work()
    return lambda: run


def benchmarks():
    return {"work": repeated, "more work": repeated}
"""

QUICK = """
import sys
from parity.gate.measure.lockstep import Design
Design.__init__.__defaults__ = ({restarts}, 3, 3e-4)
{patch}
from parity.cli import main
if __name__ == "__main__":
    sys.exit(main(["gate", *sys.argv[1:]]))
"""


FORKED = """
from tests import warm
warm.fork_workers()
"""


class Toy:
    """The project, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def made(cls, folder: Path) -> Toy:
        """A new one, with a baseline, of two commits that differ in a comment."""
        toy = cls(folder)
        folder.mkdir()
        (folder / "pyproject.toml").write_text('[tool.parity]\ngate = "plan.py"\n')
        (folder / ".gitignore").write_text("__pycache__/\n")
        toy.write("library.py", LIBRARY)
        toy.write("plan.py", PLAN)
        toy.write("timed.py", TIMED)
        toy.git("init", "--quiet", "--initial-branch=main")
        done = toy.gate("--update-baseline", "--reason", "the first")
        assert done.returncode == 0, done.stdout + done.stderr
        toy.commit("first")
        toy.write("library.py", LIBRARY + "# a comment\n")
        toy.commit("second")
        return toy

    def write(self, name: str, content: str) -> None:
        (self.folder / name).write_text(content)

    def replace(self, name: str, old: str, new: str) -> None:
        content = (self.folder / name).read_text()
        assert old in content, old
        self.write(name, content.replace(old, new))

    def git(self, *arguments: str) -> None:
        who = ["-c", "user.name=toy", "-c", "user.email=toy@example.org"]
        subprocess.run(["git", *who, *arguments], cwd=self.folder, check=True, capture_output=True)

    def commit(self, message: str) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)

    @property
    def baseline(self) -> Path:
        """The file of this machine's values."""
        files = [p for p in (self.folder / "baseline").iterdir() if p.name != "manifest.json"]
        assert len(files) == 1
        return files[0]

    def gate(
        self, *options: str, patch: str = "", restarts: int = 9, fresh: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """`parity gate`, with few restarts: nine are the least that can fail.

        Args:
            fresh: by processes that begin with nothing, as a user's; else they are forks of one
                that has imported torch, each of which saves two to four CPU seconds.
        """
        if fresh or not hasattr(os, "fork"):
            return subprocess.run(
                self.command(*options, patch=patch, restarts=restarts), cwd=self.folder,
                env=self.environment(), capture_output=True, text=True, timeout=300, check=False,
            )  # fmt: skip
        _, *arguments = self.command(*options, patch=FORKED + patch, restarts=restarts)
        return warm.python(arguments, cwd=self.folder, env=self.environment())

    def command(self, *options: str, patch: str = "", restarts: int = 9) -> list[str]:
        script = QUICK.format(patch=patch, restarts=restarts)
        return [sys.executable, "-c", script, "--workers", "1", *options]

    def environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("GITHUB_")}
        return kept | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
