"""Does the gate keep what it promises? Measured and kept: `python -m bench validate_gate`.

Trials of its timing (`trials.py`), every fault that it must see and rewrite that it must not, many
accuracies, and how long it takes. What is kept is not measured again, as long as the code that it
is of is the same. `report.py` tells it.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.environment import code, environment
from bench.gate import trials
from bench.gate.accuracies import of_runs
from bench.gate.plan import REPORTED
from bench.gate.trials import ROOT
from bench.storage import RESULTS, write
from parity.gate.data import baseline
from parity.gate.data.plan import plan_of

FOLDER = Path(__file__).with_name("validation")
QUICK = RESULTS / "validate-gate-quick"

_JUDGED = (
    "scratch", "reference", "parity", "bench/own", "bench/lockstep.py", "bench/problem.py",
    "bench/gate/plan.py", "bench/gate/trajectories.py", "tests/gate_faults.py",
)  # fmt: skip

#: What is tried, by its kind, and what it is of.
TRIED_OF = {
    "scratch": (*_JUDGED, "tests/faults"),
    "harmless": (*_JUDGED, "tests/gate_rewrites.py"),
    "loses digits": (*_JUDGED, "tests/gate_rewrites.py"),
    "gate": ("parity", "tests/gate_faults.py", "tests/gate_broken.py", "tests/toy.py"),
}

#: What the accuracies are of.
ACCURACIES_OF = ("scratch", "reference/pairs.py", "bench/problem.py", "bench/gate/accuracies.py")

FIRST_SEED, TOGETHER = 10**6, 2000
"""Of the accuracies that are kept: none is of the record, which begins at 0, nor of a day."""


@dataclass(frozen=True)
class Plan:
    """How much is measured.

    Args:
        trials: of the timing; of five, one has more work in four benchmarks.
        faults: how many of a kind; None: all.
        runs: of each network, for their accuracies.
        folder: of what is kept.
    """

    trials: int = 375
    faults: int | None = None
    runs: int = 20_000
    folder: Path = FOLDER


#: Called with what is being done, and how much of how much is done.
Progress = Callable[[str, int, int], object]


def measured(plan: Plan, progress: Progress) -> dict[str, Any]:
    """All that is measured; what is kept is not measured again."""
    plan.folder.mkdir(parents=True, exist_ok=True)
    found = _faults(plan, progress)
    seconds = _seconds(plan, progress)
    runs = _accuracies(plan, progress)
    file = plan.folder / "trials.jsonl"
    done = len(trials.read(file))

    def on_trial() -> None:
        nonlocal done
        done += 1
        progress("trials", done, plan.trials)

    return {
        "faults": found,
        "seconds": seconds,
        "accuracies": runs,
        "trials": trials.run(plan.trials, file, progress=on_trial),
    }


def kept(plan: Plan) -> dict[str, Any]:
    """What was measured, whatever the code is now: for the report."""
    return {
        "faults": _lines(plan.folder / "faults.jsonl"),
        "seconds": json.loads((plan.folder / "seconds.json").read_text()),
        "accuracies": json.loads((plan.folder / "accuracies.json").read_text()),
        "trials": _lines(plan.folder / "trials.jsonl"),
    }


def _lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def _recorded() -> Mapping[str, Any]:
    """The baseline's values for this machine."""
    folder = baseline.folder_of(plan_of(ROOT))
    if (values := baseline.read(folder).values) is None:
        raise RuntimeError(baseline.strange(folder))
    return values


def _faults(plan: Plan, progress: Progress) -> list[dict[str, Any]]:
    """Each fault and rewrite, and whether it was seen; by the tests' own command, which alone
    knows them."""
    file = plan.folder / "faults.jsonl"
    bounds = hashlib.sha256(json.dumps(_recorded()["bounds"]).encode()).hexdigest()[:16]
    version = {kind: f"{code(*parts)} {bounds}" for kind, parts in TRIED_OF.items()}
    command = [sys.executable, "-m", "tests.gate_faults"]
    listed = subprocess.run([*command, "--list"], cwd=ROOT, capture_output=True, text=True)
    names = listed.stdout.splitlines()
    if listed.returncode or not names:
        raise RuntimeError(f"the faults cannot be listed:\n{listed.stderr}")
    if plan.faults is not None:
        names = [
            name
            for kind in TRIED_OF
            for name in [one for one in names if _kind(one) == kind][: plan.faults]
        ]
    found = [
        one
        for one in _lines(file)
        if one["name"] in names and one["version"] == version[_kind(one["name"])]
    ]

    def keep() -> None:
        found.sort(key=lambda one: names.index(one["name"]))
        write(file, "".join(json.dumps(one) + "\n" for one in found))

    keep()  # nothing of other code
    missing = [name for name in names if all(one["name"] != name for one in found)]
    if not missing:
        return found
    with subprocess.Popen([*command, *missing], cwd=ROOT, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        for line in run.stdout:
            one = json.loads(line)
            found.append(one | {"version": version[_kind(one["name"])]})
            keep()
            progress("faults", len(found), len(names))
    if len(found) < len(names):
        raise RuntimeError(f"the faults ended with {run.returncode}, {len(found)} of {len(names)}")
    return found


def _kind(name: str) -> str:
    return name.partition(":")[0]


def _seconds(plan: Plan, progress: Progress) -> dict[str, Any]:
    """How long a whole gate takes here, and how it ends."""
    file, version = plan.folder / "seconds.json", code("parity", "bench/gate", "bench/own")
    if file.exists() and (before := json.loads(file.read_text()))["version"] == version:
        return dict(before)
    progress("a whole gate", 0, 1)
    start = time.perf_counter()
    command = [sys.executable, "-m", "parity.cli", "gate"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    facts = {
        "version": version, "seconds": round(time.perf_counter() - start, 1),
        "exit code": done.returncode, "caption": _machine(),
    }  # fmt: skip
    if done.returncode not in (0, 1, 3):
        raise RuntimeError(f"the gate ends with {done.returncode}:\n{done.stdout}{done.stderr}")
    write(file, json.dumps(facts) + "\n")
    return facts


def _accuracies(plan: Plan, progress: Progress) -> dict[str, Any]:
    """How often each accuracy came out, in per cent; and what is recorded of this machine."""
    facts = environment("cpu")
    file = plan.folder / "accuracies.json"
    version = f"{code(*ACCURACIES_OF)} {facts['torch']} {facts['processor']}"
    found = json.loads(file.read_text()) if file.exists() else {}
    if found.get("version") != version:
        found = {"version": version, "runs": {}}
    found["recorded"] = _recorded()["runs"]
    for pair in REPORTED:
        counted = Counter(found["runs"].get(str(pair), {}))
        while (done := sum(counted.values())) < plan.runs:
            progress(f"accuracies of {pair}", done, plan.runs)
            first, count = FIRST_SEED + done, min(TOGETHER, plan.runs - done)
            accuracies = of_runs(pair, range(first, first + count))
            counted.update(f"{x:.1f}" for x in accuracies)  # exact, of a thousand points
            found["runs"][str(pair)] = dict(sorted(counted.items(), key=lambda one: float(one[0])))
            write(file, json.dumps(found) + "\n")
    write(file, json.dumps(found) + "\n")
    return found


def _machine() -> str:
    facts = environment("cpu")
    return (
        f"{facts['processor']}, {os.cpu_count()} cores, torch {facts['torch']}, "
        f"Python {facts['python']}, {facts['system']}"
    )
