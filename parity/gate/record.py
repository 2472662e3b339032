"""Records a baseline: what there is to judge, and its values on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

from parity.gate.data import baseline
from parity.gate.data.broken import Broken
from parity.gate.data.plan import Gate
from parity.gate.data.progress import Progress, silent
from parity.gate.judge import accuracy, numerics
from parity.gate.judge.result import BROKEN, Row
from parity.gate.judge.verdicts import FAIL, INCONCLUSIVE
from parity.gate.measure import jobs
from parity.gate.measure.jobs import Job
from parity.gate.run import PAIRS, RUNS
from parity.judge.outcome import Outcome

CHECK_SEEDS = 4
"""Seeds at which the error ratios are taken, of which the largest counts."""

WIDEST = 2.0
"""Percentage points that a margin may have: what is noisier says nothing."""

MORE_PAIRS, MORE_RUNS = 20, 2000
"""Of what is recorded: more than a day's, which are held against it."""


def update(
    plan: Path,
    gate: Gate,
    reason: str,
    workers: int | None = None,
    progress: Progress = silent,
) -> list[Path]:
    """Measures all that is recorded, and writes it; the files.

    Raises:
        Broken: something of it is wrong, and nothing is written.
    """
    seeds = {"pairs": [*range(MORE_PAIRS)], "runs": [*range(MORE_RUNS)]}
    todo = jobs.jobs_of(gate, seeds)
    for seed in range(1, CHECK_SEEDS):
        todo += [
            ("checks", f"{name}, seed {seed}", (given[0], seed))
            for kind, name, given in todo
            if kind == "checks" and given[1] == 0
        ]
    done = 0

    def on_job(job: Job) -> None:
        nonlocal done
        done += 1
        progress(f"{job[0]} {job[1]}", done, len(todo))

    results = jobs.performed(plan, todo, on_job, workers)
    timed: list[Job] = [("against_torch", name, None) for name in gate.against_torch]
    ratios = jobs.performed(plan, timed, workers=1)
    by_seed = [_outcomes(results, seed) for seed in range(CHECK_SEEDS)]
    values: dict[str, Any] = {
        "bounds": numerics.bounds(by_seed),
        "counts": {name: value for (kind, name), value in results.items() if kind == "counts"},
        "against_torch": {name: ratio for (_, name), ratio in ratios.items()},
        "pairs": {
            name: accuracy.recorded_pairs(value[0], value[1], PAIRS)
            for (kind, name), value in results.items()
            if kind == "pairs"
        },
        "runs": {
            name: accuracy.recorded_runs(value, RUNS)
            for (kind, name), value in results.items()
            if kind == "runs"
        },
    }
    _refuse(results, by_seed, values)
    plain = {
        key: value
        for key, value in results.items()
        if key[0] != "checks" or ", seed " not in key[1]
    }
    plain |= ratios
    why = {"reason": reason, "date": f"{date.today()}"}
    return baseline.record(baseline.folder_of(plan), jobs.offered(gate, plain), values, why)


def _outcomes(results: dict[tuple[str, str], Any], seed: int) -> list[Outcome]:
    of = f", seed {seed}" if seed else ""
    return [
        one
        for (kind, name), outcomes in results.items()
        if kind == "checks" and name.endswith(of) and (seed or "seed" not in name)
        for one in outcomes
    ]


def _refuse(
    results: dict[tuple[str, str], Any], by_seed: Sequence[Sequence[Outcome]], values: Any
) -> None:
    """Raises Broken for a run that fails: it is no baseline."""
    rows = [row for outcomes in by_seed for row in numerics.suite(outcomes, {})]
    rows += numerics.trajectories(
        {name: value for (kind, name), value in results.items() if kind == "trajectories"}
    )
    rows += [
        accuracy.against_torch(name, value, values["pairs"][name])
        for (kind, name), value in results.items()
        if kind == "pairs"
    ]
    rows += [
        Row(f"{name} ({kind})", FAIL, f"its margin would be {of['margin']:.2f} points: too wide")
        for kind in ("pairs", "runs")
        for name, of in values[kind].items()
        if not of["margin"] <= WIDEST
    ]
    wrong = [row for row in rows if row.verdict in (BROKEN, FAIL, INCONCLUSIVE)]
    if not by_seed[0]:
        raise Broken("nothing was checked: the collection is empty")
    if wrong:
        failing = sum(row.verdict == FAIL for row in wrong)
        raise Broken(
            f"a failing run is not recorded: {len(wrong)} rows do not pass, {failing} of them "
            f"fail; the first: {wrong[0].name}: {wrong[0].says}"
        )
