"""A class of students, made of the course's framework: right, wrong, and what else they hand in.

`python -m tests.classroom --students 100` checks such a class, and prints how long that takes.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COURSE = ROOT / "tests" / "subjects" / "course.py"

Edit = tuple[str, str]

EDITS: dict[str, Edit] = {
    "right": ("", ""),
    "no square": ("dy * (1 - self.y**2)", "dy * (1 - self.y)"),
    "no Tanh": ("class Tanh(Module)", "class Tangens(Module)"),
    "the identity": (
        "return torch.where(self.x > 0, dy, torch.zeros_like(dy))", "return dy * 1.0",
    ),
    "mean of the bias": ("self.db += dy.sum(0)", "self.db += dy.mean(0)"),
    "no 2": ("return 2 * self.difference", "return self.difference"),
    "ascent": ("p.sub_(self.lr * v)", "p.add_(self.lr * v)"),
    "the diagonal": (
        "return self.y * (dy - (dy * self.y).sum(1, keepdim=True))",
        "return dy * self.y * (1 - self.y)",
    ),
    "wrong softmax": ("self.y = e / e.sum(1, keepdim=True)", "self.y = e / e.sum()"),
    "hangs": ("self.y = x.tanh()", "self.y = x.tanh()\n        while True: pass"),
    "ends": ("e = (x - x", "import os; os._exit(3)\n        e = (x - x"),
    "torch's": ("self.y = x.tanh()", "self.y = torch.nn.functional.tanh(x)"),
    "imports": ("import torch\n", "import torch\nfrom torch.nn import functional\n"),
    "no Python": ("class ReLU(Module):", "class ReLU(Module)"),
    "prints its place": ("import torch\n", "import torch\nraise OSError(__file__)\n"),
    "nothing": ("", ""),
}  # fmt: skip
"""What each kind of student has changed."""

FORBIDDEN = "torch.nn,torch.autograd,torch.optim"


def written(folder: Path, students: dict[str, str]) -> None:
    """Writes an adapter, and a folder for each student.

    Args:
        students: the kind of each, by name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(COURSE.with_name("course_adapter.py"), folder / "adapter.py")
    for name, kind in students.items():
        own = folder / "class" / name
        own.mkdir(parents=True, exist_ok=True)
        before, after = EDITS[kind]
        text = COURSE.read_text()
        assert before in text
        if kind != "nothing":
            (own / "course.py").write_text(text.replace(before, after) if before else text)


def command(folder: Path, *options: str) -> list[str]:
    """The command that checks all of them."""
    students = sorted(map(str, (folder / "class").iterdir()))
    return ["-m", "parity", "check", str(folder / "adapter.py"), "--submissions", *students,
            *options]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--students", type=int, default=100)
    parser.add_argument("--folder", type=Path, help="is kept (default: a temporary one)")
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="parity-class-"))
    kinds = list(EDITS)
    written(folder, {f"student-{n:03}": kinds[n % len(kinds)] for n in range(options.students)})
    begun = time.monotonic()
    written_to = ["--html", str(folder / "pages"), "--csv", str(folder / "grades.csv")]
    subprocess.run(
        [sys.executable, *command(folder, *written_to, "--forbid", FORBIDDEN, "--seconds", "5")],
        check=False, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    minutes = (time.monotonic() - begun) / 60
    print(f"{options.students} submissions, {os.cpu_count()} processors: {minutes:.1f} minutes")
    if options.folder is None:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
