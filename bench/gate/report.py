"""What the trials, the faults and the rest say: the report of `python -m bench validate_gate`."""

from __future__ import annotations

import io
import math
import random
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from scipy import stats
from tabulate import tabulate

from bench.gate.trials import DOSES, Trial, dosed
from bench.storage import write
from parity.gate.judge import accuracy
from parity.gate.judge.verdicts import FAIL, INCONCLUSIVE, Rule, judged
from parity.gate.run import RUNS

DRAWN = 1000
"""Pull requests whose runs are drawn from those that are kept."""

LOSSES = (0.5, 1.0, 2.0)
"""Percentage points that an accuracy is lower by, to see whether it is seen."""


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
    many trials any benchmark did, or the gate broke. One with doses that broke is of neither."""
    found = dict.fromkeys((0.0, *DOSES), (0, 0))
    for trial in done:
        if not dosed(trial["number"]):
            failed, of = found[0.0]
            red = "broken" in trial or FAIL in trial["verdicts"].values()
            found[0.0] = failed + red, of + 1
        for name, dose in trial["doses"].items():
            failed, of = found[dose]
            found[dose] = failed + (trial["verdicts"][name] == FAIL), of + 1
    return found


def drawn(
    accuracies: Mapping[str, Any], loss: float = 0.0, count: int = DRAWN
) -> dict[str, list[str]]:
    """The gate's verdicts on each network's accuracies, of pull requests whose runs are drawn from
    those that are kept, lower by so many points."""
    found, generator = {}, random.Random(0)
    for name, often in accuracies["runs"].items():
        kept = [float(value) - loss for value, times in often.items() for _ in range(times)]
        found[name] = [
            accuracy.against_record(
                name, generator.choices(kept, k=RUNS), accuracies["recorded"][name]
            ).verdict
            for _ in range(count)
        ]
    return found


def _lower(accuracies: Mapping[str, Any], loss: float) -> str:
    """How often each network's lower accuracy fails."""
    shares = [
        f"{name}: {ones.count(FAIL) / len(ones):.0%}"
        for name, ones in drawn(accuracies, loss, DRAWN // 5).items()
    ]
    return ", ".join(shares)


def table(results: dict[str, Any]) -> list[dict[str, str]]:
    """The promises, and what was measured of each."""
    done: list[Trial] = results["trials"]
    scratch, harmless, digits, gate = (
        [one["seen"] for one in of_kind(results, kind)]
        for kind in ("scratch", "harmless", "loses digits", "gate")
    )
    pulls = [*zip(*drawn(results["accuracies"]).values(), strict=True)]
    counted = shares(done)
    same = [trial for trial in done if not dosed(trial["number"])]
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
        ("false alarms of the accuracy beside the record: runs drawn from those kept",
         "at most 1 %", f"{sum(FAIL in ones for ones in pulls)} of {len(pulls)} draws, "
         f"{sum(INCONCLUSIVE in ones for ones in pulls)} inconclusive"),
        ("rewrites of scratch that lose no digits, and exceed a bound on errors", "none",
         _share(sum(harmless), len(harmless))),
        ("inconclusive pull requests of the same code", "", _share(undecided, len(same))),
        *(
            (f"power: +{dose:.0%} of work", "at least 95 %" if dose == 0.1 else "reported",
             _share(*counted[dose]))
            for dose in DOSES
        ),
        *(
            (f"power: accuracy lower by {loss:g} points", "reported",
             _lower(results["accuracies"], loss))
            for loss in LOSSES
        ),
        ("faults of scratch that are seen", "100 %", f"{sum(scratch)} of {len(scratch)}"),
        ("rewrites of scratch that lose digits, and exceed a bound", "reported",
         f"{sum(digits)} of {len(digits)}"),
        ("faults of the gate itself that are red, by name", "100 %",
         f"{sum(gate)} of {len(gate)}"),
        ("a whole gate", "at most 5 min",
         f"{whole['seconds'] / 60:.1f} min, exit code {whole['exit code']}"),
        ("of it the timing, in the trials", "",
         f"{np.median(each):.0f} s, at most {max(each):.0f} s"),
        ("whole gates, with each trial's timing in place of its own", "at most 5 min",
         f"{sum(whole['seconds'] + one - np.median(each) <= 300 for one in each)} of {len(each)}"),
    ]  # fmt: skip
    return [dict(zip(("promise", "target", "measured"), row, strict=True)) for row in rows]


def of_kind(results: Mapping[str, Any], kind: str) -> list[dict[str, Any]]:
    """What was tried of a kind: faults of scratch, harmless rewrites, …"""
    return [one for one in results["faults"] if one["name"].startswith(f"{kind}: ")]


def _runs(accuracies: Mapping[str, Any]) -> str:
    """How many runs of each network there are, and their mean beside the record's."""
    parts = []
    for name, often in accuracies["runs"].items():
        kept = np.repeat([float(value) for value in often], [*often.values()])
        error, recorded = stats.sem(kept), accuracies["recorded"][name]
        parts.append(
            f"{len(kept):,} runs of {name} (mean {kept.mean():.2f} ± {error:.2f} %, recorded "
            f"{recorded['mean']:.2f} ± {recorded['std'] / math.sqrt(recorded['runs']):.2f})"
        )
    return " and ".join(parts)


def missed_and_stopped(results: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """The faults that are not seen; and the rewrites that fail, and should not."""
    missed = [
        one["name"]
        for kind in ("scratch", "gate")
        for one in of_kind(results, kind)
        if not one["seen"]
    ]
    return missed, [one["name"] for one in of_kind(results, "harmless") if one["seen"]]


def text(results: dict[str, Any]) -> str:
    """The report, in Markdown."""
    done: list[Trial] = results["trials"]
    dates = sorted(trial["date"] for trial in done)
    missed, stopped = missed_and_stopped(results)
    missed += [one["name"] for one in of_kind(results, "loses digits") if not one["seen"]]
    passes: dict[str, int] = {}
    for trial in done:
        for name in trial["extended"]:
            passes[name] = passes.get(name, 0) + 1
    most = "; most often " + " and ".join(sorted(passes, key=lambda n: -passes[n])[:2])
    most = most if passes else ""
    parts = [
        "# What the gate promises, and keeps",
        "Written by `python -m bench validate_gate` from the files beside it; `parity gate` is "
        "described in docs/how-to/gate.md.",
        tabulate(table(results), headers="keys", tablefmt="github", disable_numparse=True),
        "A trial is what the gate's timing does for one pull request: 15 restarts, verdicts, and "
        "the extension. Of five trials four time the same commit in both arms; in the fifth the "
        "head's arm executes 2, 5, 10 and 20 % more units of work, in a benchmark each. A sample "
        "of such a benchmark has as many units as make that a whole number, up to 50, and is "
        "longer than the gate's own where a unit is long: its power is a little flattered. "
        "Shares have their 95 % intervals (Clopper and Pearson), one-sided where none or all "
        "are counted: nothing in 300 is what 1 % takes. The thresholds "
        "(`parity/gate/judge/verdicts.py`) were committed before the first trial, and a test "
        "derives each verdict again from the log ratios that are kept.",
        f"Accuracies are those of {_runs(results['accuracies'])}. A pull request is {RUNS} of "
        f"them, drawn {DRAWN:,} times, and for the power {DRAWN // 5} times, points taken off "
        "each.",
        "Rewrites are equal to scratch in exact arithmetic (`tests/gate_rewrites.py`); the room "
        "that a bound leaves was chosen by them, so that new ones may do worse. The exact counts "
        "are another matter: more operations fail, whatever they compute, until they are recorded.",
        "Not tried: the accuracy beside torch, of pairs whose sides differ by rounding alone; and "
        "the ratio to torch, which may be 1.5 times what is recorded.",
        "![the power of the gate](power.svg)",
        f"Extended: {sum(bool(t['extended']) for t in done)} of {len(done)} trials{most}.",
        "Not seen: " + ("; ".join(missed) or "nothing") + ".",
        "Beyond a bound, though harmless: " + ("; ".join(stopped) or "nothing") + ".",
        f"Measured on {results['seconds']['caption']}; trials from {dates[0] if dates else '-'} "
        f"to {dates[-1] if dates else '-'}, while other work was done on the machine at times.",
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def figure(results: dict[str, Any]) -> bytes:
    """The power curve, as an SVG."""
    counted = {dose: pair for dose, pair in shares(results["trials"]).items() if pair[1]}
    with mpl.rc_context({"svg.hashsalt": "validate_gate", "svg.fonttype": "none", "font.size": 9}):
        drawn = Figure(figsize=(7.5, 3.2), layout="constrained")
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
    """Whether what was measured is what is promised, and is enough to say so."""
    counted, whole = shares(results["trials"]), results["seconds"]
    alarms, tried = counted[0.0]
    failed, slowed = counted[0.1]
    pulls = [*zip(*drawn(results["accuracies"]).values(), strict=True)]
    return (
        bool(results["faults"])
        and not any(missed_and_stopped(results))
        and tried > 0
        and round(bounds(alarms, tried)[1], 4) <= 0.01
        and slowed > 0
        and failed >= 0.95 * slowed
        and sum(FAIL in ones for ones in pulls) <= 0.01 * len(pulls)
        and whole["exit code"] in (0, 3)
        and whole["seconds"] <= 300
    )


def written(folder: Path, results: dict[str, Any]) -> list[Path]:
    """Writes the report and its figure."""
    contents: dict[Path, str | bytes] = {
        folder / "VALIDATION.md": text(results),
        folder / "power.svg": figure(results),
    }
    for file, content in contents.items():
        write(file, content)
    return [*contents]
