"""Trials of the gate's timing: the same commit in both arms, where it must stay silent, and with
more work in the head's arm, which it must see.

A trial is what the gate does for one pull request: all restarts, verdicts, and the extension. The
work that is added is real: that share of more units of it, in every sample.
"""

from __future__ import annotations

import contextlib
import json
import random
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from bench.environment import code, environment
from bench.storage import write
from parity.gate.data.broken import Broken
from parity.gate.judge import timing
from parity.gate.judge.verdicts import Rule, medians
from parity.gate.measure import trees
from parity.gate.measure.arm import CONTROL
from parity.gate.measure.lockstep import BASE, HEAD, Design, Lockstep

ROOT = Path(__file__).parent.parent.parent
TIMED = "bench/gate/timed.py"

DOSES = (0.02, 0.05, 0.1, 0.2)
EVERY = 5  # trials, of which one has more work, in a benchmark for each dose

#: What a trial is of: all that measures. Verdicts follow from it: `report.verdicts_of`.
FROZEN = (
    "parity/gate/measure/arm.py",
    "parity/gate/measure/lockstep.py",
    "parity/gate/judge/timing.py",
    TIMED,
)

Trial = dict[str, Any]


def dosed(number: int) -> bool:
    return number % EVERY == EVERY - 1


def doses_of(number: int, names: list[str]) -> dict[str, float]:
    """Which benchmarks have more work in a trial: none in most."""
    if not dosed(number):
        return {}
    single = [name for name in names if name.endswith(("forward", "backward", "step"))]
    return dict(zip(random.Random(number).sample(single, len(DOSES)), DOSES, strict=True))


def version() -> str:
    """Of a trial's results: those of another are not counted."""
    facts = environment("cpu")
    return f"{code(*FROZEN)} {facts['torch']} {facts['processor']}"


def read(file: Path) -> list[Trial]:
    """The trials that are kept; a line that was cut off is none."""
    found = []
    for line in file.read_text().splitlines() if file.exists() else []:
        with contextlib.suppress(ValueError):
            found.append(json.loads(line))
    return found


def run(
    count: int, file: Path, design: Design | None = None, progress: Callable[[], object] = int
) -> list[Trial]:
    """Trials 0 to `count`, those that are kept among them; each is kept as it is done.

    Raises:
        RuntimeError: what is kept is of other code, or another machine: it is not mixed.
    """
    found = read(file)
    if others := {trial["version"] for trial in found} - {version()}:
        raise RuntimeError(
            f"{file} has trials of {others.pop()}, and this is {version()}: move it away"
        )
    with trees.temporary() as folder:
        both = {
            name: trees.export(ROOT, git_head(), Path(folder, name), name) for name in (BASE, HEAD)
        }
        for number in range(count):
            if all(trial["number"] != number for trial in found):
                found.append(_trial(number, both, design))
                found.sort(key=lambda trial: int(trial["number"]))
                write(file, "".join(json.dumps(trial) + "\n" for trial in found))
                progress()
    return found


def git_head() -> str:
    return trees.git(ROOT, "rev-parse", "HEAD")


def _trial(number: int, both: dict[str, Path], design: Design | None) -> Trial:
    start, date = time.perf_counter(), datetime.now(timezone.utc)
    trial: Trial = {
        "number": number, "version": version(), "commit": git_head()[:12],
        "date": f"{date:%Y-%m-%d %H:%M:%S} UTC",
    }  # fmt: skip
    try:
        trial |= _measured(number, both, design)
    except Broken as broken:  # a red pull request as any other, and no reason to try again
        trial |= {"broken": str(broken), "doses": {}, "extended": [], "verdicts": {}}
    return {**trial, "seconds": round(time.perf_counter() - start, 1)}


def _measured(number: int, both: dict[str, Path], design: Design | None) -> Trial:
    timed = both[HEAD] / TIMED
    names = [name for name in Lockstep(both, timed, design).offer().names if name != CONTROL]
    doses = doses_of(number, names)
    result = timing.compared(Lockstep(both, timed, design, doses), Rule())
    return {
        "doses": doses,
        "units": result.offer.units,
        "control": round(result.control.ratio, 4),
        "extended": result.extended,
        "verdicts": {one.name: one.verdict for one in result.speeds},
        "log ratios": {
            name: [round(x, 5) for x in ratios] for name, ratios in medians(result.raws).items()
        },
    }
