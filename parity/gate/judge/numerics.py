"""The gate's second layer: what is computed, held against torch and against what it was.

Nothing here is measured: the same code gives the same numbers on the same machine.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from parity.explain.causes import findings
from parity.gate.data.baseline import UPDATE
from parity.gate.judge.result import BROKEN, NOTE, Row
from parity.gate.judge.verdicts import FAIL
from parity.judge.outcome import ERROR, PASSED, WAIVED, Outcome

ROOM, LEAST = 2.5, 0.2
"""How much larger a ratio may be than the largest at the seeds it was recorded at, and the least
that is allowed: what rounds otherwise, and no worse, is to pass.

It was chosen by rewrites that are equal in exact arithmetic: those that lose no digits made a ratio
up to 2.1 times as large; `y - y^2` for `y (1 - y)`, which loses some, 3 times.
"""


def bounds(seeds: Iterable[Sequence[Outcome]]) -> dict[str, float]:
    """The bound on each check's error ratio, by its ratios at several seeds."""
    worst: dict[str, float] = {}
    for outcomes in seeds:
        for one in outcomes:
            worst[one.id] = max(worst.get(one.id, 0.0), one.ratio)
    return {name: min(1.0, max(LEAST, ROOM * ratio)) for name, ratio in worst.items()}


def suite(outcomes: Sequence[Outcome], recorded: Mapping[str, float]) -> list[Row]:
    """What is wrong by the checks, a row for a fault; and what is right, but less than it was."""
    rows = []
    for finding in findings(outcomes):
        first, others = finding.outcomes[0], len(finding.outcomes) - 1
        more = f", and {others} more checks" if others else ""
        rows.append(Row(first.id + more, FAIL, finding.sentence))
    for one in outcomes:
        if one.verdict == ERROR:
            why = one.why.splitlines()[0]
            rows.append(Row(one.id, BROKEN, f"an error of parity's own: {why}"))
        elif one.verdict == WAIVED:
            rows.append(Row(one.id, NOTE, f"waived, by {one.waiver}: {one.diagnosis}"))
        elif one.verdict == PASSED and not math.isfinite(one.ratio):
            rows.append(Row(one.id, BROKEN, f"its error ratio is {one.ratio}"))
        elif one.verdict == PASSED and one.id in recorded and one.ratio > recorded[one.id]:
            grown = (
                f"the error has grown: {one.ratio:.3g} of what is allowed, and the bound recorded "
                f"is {recorded[one.id]:.3g}; if that is meant, {UPDATE}"
            )
            rows.append(Row(one.id, FAIL, grown))
    return rows


def trajectories(ratios: Mapping[str, float]) -> list[Row]:
    """Trainings whose losses leave torch's."""
    rows = []
    for name, ratio in sorted(ratios.items()):
        if math.isnan(ratio):
            rows.append(Row(name, BROKEN, "its error ratio is NaN"))
        elif ratio > 1:
            rows.append(
                Row(name, FAIL, f"the losses leave torch's: {ratio:.3g} times the error allowed")
            )
    return rows


def counts(
    measured: Mapping[str, Mapping[str, int]], recorded: Mapping[str, Mapping[str, int]]
) -> list[Row]:
    """Counts that are not those recorded: more of anything fails, and fewer parameters; less of
    the others is told."""
    rows, meant = [], f"if that is meant, {UPDATE}"
    for name, there in sorted(measured.items()):
        for what, count in there.items():
            before = recorded.get(name, {}).get(what, count)
            if count != before:
                verdict = FAIL if count > before or what == "parameters" else NOTE
                rows.append(Row(f"{name}: {what}", verdict, f"{count}, recorded {before}; {meant}"))
    return rows
