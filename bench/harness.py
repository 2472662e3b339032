"""How long the harness takes: commands and library, idle and beside busy loops, before and after.

Every figure is of a process of its own, from its start to its end. The two trees, an earlier
commit and this one, take turns, A B B A …, on one machine.
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tabulate import tabulate

from bench.environment import caption, environment
from parity.gate.measure.trees import export, git, temporary

ROOT = Path(__file__).parent.parent
BEFORE = "9d2c4f8"  # the last commit before the truth was shared
LOOPS = 4
COURSE = "tests/subjects/course_adapter.py"

SMALLEST = """
import torch
from torch import nn
import parity

class Tanh:
    def forward(self, x):
        self.y = torch.tanh(x)
        return self.y
    def backward(self, dy):
        return dy * (1 - self.y**2)

subject = parity.Subject({nn.Tanh: Tanh})
"""
LIBRARY = f"""
import parity
report = parity.check({COURSE!r})
print("PASSED" if report.passed else "not passed", "of", len(report.outcomes), "checks")
"""


@dataclass(frozen=True)
class Row:
    """One thing that is timed.

    Args:
        name: as the table has it.
        arguments: of Python.
        passes: whether the output is to say that checks passed.
        code: its exit code.
        busy: whether the busy loops run beside it.
    """

    name: str
    arguments: list[str]
    passes: bool = False
    code: int = 0
    busy: bool = False


@dataclass
class Times:
    """Seconds of each row in each tree, and how many checks it ran."""

    seconds: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    checks: dict[tuple[str, str], int] = field(default_factory=dict)


class Failed(Exception):
    """A command that did not do what its time would be of."""


def rows(smallest: Path) -> list[Row]:
    """Everything that is timed."""
    parity, command = ["-m", "parity"], ["-m", "parity", "check", COURSE]
    found = [
        Row("parity check, the course example", command, passes=True),
        Row("parity.check, the same", ["-c", LIBRARY], passes=True),
        Row("parity check, one Tanh", [*parity, "check", str(smallest)], passes=True),
        Row("parity --help", [*parity, "--help"]),
        Row("parity list", [*parity, "list"]),
        Row("parity list ADAPTER", [*parity, "list", COURSE]),
        Row("parity new MODULE", [*parity, "new", "tests/subjects/course.py", "-o", "new.py"]),
        Row("parity check, no such file", [*parity, "check", "nothing.py"], code=2),
    ]
    beside = f", beside {LOOPS} busy loops"
    return found + [Row(r.name + beside, r.arguments, r.passes, busy=True) for r in found[:2]]


def measured(before: str, rounds: int, progress: Callable[[str], object]) -> Times:
    """Runs everything `rounds` times in both trees.

    Raises:
        Failed: a command ended otherwise than it should.
    """
    times = Times()
    with temporary() as folder:
        trees = {"before": before, "now": None}
        places = {n: export(ROOT, c, Path(folder, n), n) for n, c in trees.items()}
        smallest = Path(folder, "smallest.py")
        smallest.write_text(SMALLEST)
        for row in rows(smallest):
            with busy(LOOPS if row.busy else 0):
                for turn in range(rounds):
                    for name in ("before", "now") if turn % 2 == 0 else ("now", "before"):
                        _timed(row, name, places[name], times)
                        progress(f"{row.name}, {name}")
    return times


def _timed(row: Row, name: str, tree: Path, times: Times) -> None:
    (tree / "new.py").unlink(missing_ok=True)
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *row.arguments], cwd=tree, check=False, capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": str(tree)},
    )  # fmt: skip
    spent = time.perf_counter() - start
    if done.returncode != row.code or (row.passes and "PASSED" not in done.stdout):
        raise Failed(f"{row.name}, {name}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    times.seconds.setdefault((row.name, name), []).append(spent)
    found = re.search(r"of (\d+) checks", done.stdout)
    if found:
        times.checks[row.name, name] = int(found[1])


@contextmanager
def busy(loops: int) -> Iterator[None]:
    """Within it, so many processes use all the time that they are given."""
    burning = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(loops)]
    try:
        yield
    finally:
        for one in burning:
            one.kill()
            one.wait()


def text(times: Times, before: str, form: str = "simple") -> str:
    """The table, and what it was measured on."""
    names = list(dict.fromkeys(name for name, _ in times.seconds))
    table = []
    for name in names:
        old, new = (times.seconds[name, tree] for tree in ("before", "now"))
        count = times.checks.get((name, "now"))
        table.append(
            {
                "seconds": name,
                f"{before}": _middle(old),
                "now": _middle(new),
                "before / now": f"{statistics.median(old) / statistics.median(new):.2f}",
                "checks a second": f"{count / statistics.median(new):.0f}" if count else "",
            }
        )
    command, library, *_ = names
    ratios = [_ratio(times, library, command)]
    if len(names) > 2:
        ratios.append(_ratio(times, *reversed(names[-2:])))
    said = " and ".join(f"{ratio:.2f}" for ratio in ratios)
    return (
        f"{tabulate(table, headers='keys', tablefmt=form, disable_numparse=True)}\n\n"
        f"The library takes {said} times as long as the command, idle and busy.\n"
        f"Medians, and the range, of {len(times.seconds[command, 'now'])} processes; "
        f"{os.cpu_count()} processors; {caption(environment('cpu'))}"
    )


def _middle(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} [{min(values):.2f}, {max(values):.2f}]"


def _ratio(times: Times, above: str, below: str) -> float:
    return statistics.median(times.seconds[above, "now"]) / statistics.median(
        times.seconds[below, "now"]
    )


def commit(name: str) -> str:
    """The short name of a commit.

    Raises:
        Broken: there is none of that name here.
    """
    return git(ROOT, "rev-parse", "--short", f"{name}^{{commit}}")
