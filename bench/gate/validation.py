"""Does the gate keep what it promises? Measured, kept, and told: `python -m bench validate_gate`.

Trials of its timing (`trials.py`), every fault that it must see, and how long it takes. What is
kept is not measured again, as long as the code that it is of is the same.
"""

from __future__ import annotations

import io
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from scipy import stats
from tabulate import tabulate

from bench.environment import code, environment
from bench.gate import trials
from bench.gate.trials import DOSES, ROOT, Trial
from bench.storage import RESULTS, write
from parity.gate.verdicts import FAIL, INCONCLUSIVE, Rule, judged

FOLDER = Path(__file__).with_name("validation")
QUICK = RESULTS / "validate-gate-quick"

#: What the faults are of.
FAULTS_OF = (
    "scratch", "reference", "parity", "bench/own", "bench/gate", "tests/faults",
    "tests/gate_broken.py", "tests/gate_faults.py", "tests/toy.py",
)  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """How much is measured.

    Args:
        trials: of the timing; of five, one has more work in four benchmarks.
        faults: how many of scratch's, and of the gate's own; None: all.
        folder: of what is kept.
    """

    trials: int = 375
    faults: int | None = None
    folder: Path = FOLDER


#: Called with what is being done, and how much of how much is done.
Progress = Callable[[str, int, int], object]


def measured(plan: Plan, progress: Progress) -> dict[str, Any]:
    """All that is measured; what is kept is not measured again."""
    plan.folder.mkdir(parents=True, exist_ok=True)
    found = _faults(plan, progress)
    seconds = _seconds(plan, progress)
    file = plan.folder / "trials.jsonl"
    done = len(trials.read(file))

    def on_trial() -> None:
        nonlocal done
        done += 1
        progress("trials", done, plan.trials)

    return {
        "faults": found,
        "seconds": seconds,
        "trials": trials.run(plan.trials, file, progress=on_trial)[: plan.trials],
    }


def kept(plan: Plan) -> dict[str, Any]:
    """What was measured, whatever the code is now: for the report."""
    return {
        "faults": _lines(plan.folder / "faults.jsonl"),
        "seconds": json.loads((plan.folder / "seconds.json").read_text()),
        "trials": _lines(plan.folder / "trials.jsonl"),
    }


def _lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def _faults(plan: Plan, progress: Progress) -> list[dict[str, Any]]:
    """Each fault, and whether it was seen; by the tests' own command, which alone knows them."""
    file, version = plan.folder / "faults.jsonl", code(*FAULTS_OF)
    command = [sys.executable, "-m", "tests.gate_faults"]
    listed = subprocess.run([*command, "--list"], cwd=ROOT, capture_output=True, text=True)
    names = listed.stdout.splitlines()
    if listed.returncode or not names:
        raise RuntimeError(f"the faults cannot be listed:\n{listed.stderr}")
    if plan.faults is not None:
        names = names[: plan.faults] + names[-plan.faults :]
    found = [one for one in _lines(file) if one["version"] == version and one["name"] in names]
    missing = [name for name in names if all(one["name"] != name for one in found)]
    if not missing:
        return found
    with subprocess.Popen([*command, *missing], cwd=ROOT, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        for line in run.stdout:
            found.append(json.loads(line) | {"version": version})
            found.sort(key=lambda one: names.index(one["name"]))
            write(file, "".join(json.dumps(one) + "\n" for one in found))
            progress("faults", len(found), len(names))
    if len(found) < len(names):
        raise RuntimeError(f"the faults ended with {run.returncode}, {len(found)} of {len(names)}")
    return found


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


def _machine() -> str:
    facts = environment("cpu")
    return (
        f"{facts['processor']}, {os.cpu_count()} cores, torch {facts['torch']}, "
        f"Python {facts['python']}, {facts['system']}"
    )


def verdicts_of(trial: Trial) -> dict[str, str]:
    """The verdicts on a trial, from its log ratios: each stage sees what it saw."""
    if "broken" in trial:
        return {}
    ratios: dict[str, list[float]] = trial["log ratios"]
    several = {name: x for name, x in ratios.items() if name != "control"}
    count = min(len(x) for x in several.values())
    first = {s.name: s for s in judged({n: x[:count] for n, x in several.items()}, Rule())}
    if not trial["extended"]:
        return {name: one.verdict for name, one in first.items()}
    return {one.name: one.verdict for one in judged(several, Rule())}


def bounds(count: int, of: int) -> tuple[float, float]:
    """The 95 % interval of a share (Clopper and Pearson 1934); of 0 and of all, one-sided."""
    test = stats.binomtest(count, of)
    level = 0.90 if count in (0, of) else 0.95
    interval = test.proportion_ci(level)
    return float(interval.low), float(interval.high)


def _share(count: int, of: int) -> str:
    if not of:
        return "not measured"
    low, high = bounds(count, of)
    if count == 0:
        return f"0 of {of}: at most {high:.2%}"
    if count == of:
        return f"{of} of {of}: at least {low:.1%}"
    return f"{count} of {of}: {count / of:.1%}, {low:.1%} to {high:.1%}"


def shares(done: Iterable[Trial]) -> dict[float, tuple[int, int]]:
    """For each dose, in how many trials its benchmark failed, and of how many; for none, in how
    many trials any benchmark did."""
    found = dict.fromkeys((0.0, *DOSES), (0, 0))
    for trial in done:
        if not trial["doses"]:
            failed, of = found[0.0]
            red = "broken" in trial or FAIL in trial["verdicts"].values()
            found[0.0] = failed + red, of + 1
        for name, dose in trial["doses"].items():
            failed, of = found[dose]
            found[dose] = failed + (trial["verdicts"][name] == FAIL), of + 1
    return found


def table(results: dict[str, Any]) -> list[dict[str, str]]:
    """The promises, and what was measured of each."""
    done: list[Trial] = results["trials"]
    seen = {
        kind: [one["seen"] for one in results["faults"] if one["name"].startswith(kind)]
        for kind in ("scratch", "gate")
    }
    counted = shares(done)
    same = [trial for trial in done if not trial["doses"]]
    undecided = sum(INCONCLUSIVE in trial["verdicts"].values() for trial in same)
    stray = sum(
        any(v == FAIL and n not in trial["doses"] for n, v in trial["verdicts"].items())
        for trial in done
        if trial["doses"]
    )
    each = [trial["seconds"] for trial in done] or [math.nan]
    whole = results["seconds"]
    with_work = sum(bool(trial["doses"]) for trial in done)
    rows = [
        ("false alarms of the timing: pull requests of the same code that fail, or break the gate",
         "at most 1 %", _share(*counted[0.0])),
        ("the same, by benchmarks without more work beside some with it", "",
         _share(stray, with_work)),
        ("inconclusive pull requests of the same code", "", _share(undecided, len(same))),
        *(
            (f"power: +{dose:.0%} of work", "at least 95 %" if dose == 0.1 else "reported",
             _share(*counted[dose]))
            for dose in DOSES
        ),
        ("faults of scratch that are seen", "100 %",
         f"{sum(seen['scratch'])} of {len(seen['scratch'])}"),
        ("faults of the gate itself that are red, by name", "100 %",
         f"{sum(seen['gate'])} of {len(seen['gate'])}"),
        ("a whole gate", "at most 5 min",
         f"{whole['seconds'] / 60:.1f} min, exit code {whole['exit code']}"),
        ("of it the timing, in the trials", "",
         f"{np.median(each):.0f} s, at most {max(each):.0f} s"),
    ]  # fmt: skip
    return [dict(zip(("promise", "target", "measured"), row, strict=True)) for row in rows]


def text(results: dict[str, Any]) -> str:
    """The report, in Markdown."""
    done: list[Trial] = results["trials"]
    dates = sorted(trial["date"] for trial in done)
    missed = [one["name"] for one in results["faults"] if not one["seen"]]
    passes: dict[str, int] = {}
    for trial in done:
        for name in trial["extended"]:
            passes[name] = passes.get(name, 0) + 1
    often = "; most often " + " and ".join(sorted(passes, key=lambda n: -passes[n])[:2])
    often = often if passes else ""
    parts = [
        "# What the gate promises, and keeps",
        "Written by `python -m bench validate_gate` from the files beside it; `parity gate` is "
        "described in the README.",
        tabulate(table(results), headers="keys", tablefmt="github", disable_numparse=True),
        "A trial is what the gate's timing does for one pull request: 15 restarts, verdicts, and "
        "the extension. Of five trials four time the same commit in both arms; in the fifth the "
        "head's arm executes 2, 5, 10 and 20 % more units of work, in a benchmark each. A sample "
        "of such a benchmark has as many units as make that a whole number, up to 50, and is "
        "longer than the gate's own where a unit is long: its power is a little flattered. "
        "Shares have their 95 % intervals (Clopper and Pearson), one-sided where none or all "
        "are counted: nothing in 300 is what 1 % takes. The thresholds "
        "(`parity/gate/verdicts.py`) were committed before the first trial, and a test derives "
        "each verdict again from the log ratios that are kept.",
        "Not tried so: the accuracy's tests, which by their levels raise an alarm in 1 of 500 "
        "pull requests of the same code, and the ratio to torch.",
        "![the power of the gate](power.svg)",
        f"Extended: {sum(bool(t['extended']) for t in done)} of {len(done)} trials{often}.",
        "Not seen: " + (", ".join(missed) if missed else "nothing") + ".",
        f"Measured on {results['seconds']['caption']}; trials from {dates[0] if dates else '-'} "
        f"to {dates[-1] if dates else '-'}, while other work was done on the machine at times.",
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def figure(results: dict[str, Any]) -> bytes:
    """The power curve, as an SVG."""
    counted = {dose: pair for dose, pair in shares(results["trials"]).items() if pair[1]}
    with mpl.rc_context({"svg.hashsalt": "validate_gate", "svg.fonttype": "none", "font.size": 9}):
        drawn = Figure(figsize=(5.5, 3.2), layout="constrained")
        axes = drawn.subplots()
        doses = [100 * dose for dose in counted]
        middle = np.array([100 * k / n for k, n in counted.values()])
        ends = 100 * np.array([bounds(k, n) for k, n in counted.values()]).T
        around = np.maximum([middle - ends[0], ends[1] - middle], 0)
        axes.errorbar(doses, middle, yerr=around, fmt="o-", ms=4, lw=1, capsize=3, color="#1a5276")
        labels = [
            f"{dose:g}\nn = {of}" for dose, (_, of) in zip(doses, counted.values(), strict=True)
        ]
        axes.set_xticks(doses, labels)
        axes.axhline(95, color="#888888", lw=0.8, ls=":")
        axes.set_xlabel("more work in the head's arm, %")
        axes.set_ylabel("failed, %")
        axes.set_ylim(-4, 106)
        axes.spines[["top", "right"]].set_visible(False)
        file = io.BytesIO()
        drawn.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()


def kept_promises(results: dict[str, Any]) -> bool:
    """Whether what was measured is what is promised."""
    counted, whole = shares(results["trials"]), results["seconds"]
    alarms, tried = counted[0.0]
    failed, slowed = counted[0.1]
    return (
        bool(results["faults"])
        and all(one["seen"] for one in results["faults"])
        and alarms <= 0.01 * tried
        and failed >= 0.95 * slowed
        and whole["exit code"] in (0, 3)
        and whole["seconds"] <= 300
    )


def written(plan: Plan, results: dict[str, Any]) -> list[Path]:
    """Writes the report and its figure."""
    files = [plan.folder / "VALIDATION.md", plan.folder / "power.svg"]
    write(files[0], text(results))
    write(files[1], figure(results))
    return files
