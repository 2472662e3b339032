"""What a machine can see: the head timed against itself, and what that says of the thresholds."""

from __future__ import annotations

import bisect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tabulate import tabulate

from parity.gate.data.broken import Broken
from parity.gate.data.plan import Gate
from parity.gate.data.progress import Progress, silent
from parity.gate.judge.speed import within
from parity.gate.judge.verdicts import Rule, interval, medians, reach
from parity.gate.measure import trees
from parity.gate.measure.arm import CONTROL
from parity.gate.measure.lockstep import BASE, HEAD, Design, Lockstep

STAGES = 3
"""How many times a gate's restarts are measured."""

POWER = 0.95

MOST = 60  # restarts that are thought of


@dataclass(frozen=True)
class Calibrated:
    """What was found of one benchmark.

    Args:
        spread: of a restart's median log ratio.
        restarts: that the promised power at the limit takes; 0: more than 60.
        margin: the least that would be kept here: the gate's own, or what the interval of the
            head against itself reaches.
    """

    name: str
    spread: float
    restarts: int
    margin: float


def calibrated(root: Path, gate: Gate, progress: Progress = silent) -> list[Calibrated]:
    """Times the head against itself, three times as long as a gate does.

    Raises:
        Broken: nothing is timed, or it cannot be.
    """
    if gate.timed is None:
        raise Broken("the plan times nothing")
    timed = within(root, gate.timed)
    with trees.temporary() as folder:
        both = {name: trees.export(root, None, Path(folder, name), name) for name in (BASE, HEAD)}
        lockstep = Lockstep(both, both[HEAD] / timed)
        count, raws = STAGES * lockstep.design.restarts, []
        for raw in lockstep.restarts(lockstep.offer(), count):
            raws.append(raw)
            progress("restarts of the head against itself", len(raws), count)
    return of_ratios(medians(raws), Rule(margins=gate.margins))


def of_ratios(ratios: Mapping[str, Sequence[float]], rule: Rule) -> list[Calibrated]:
    """What log ratios of the same code say; the most demanding benchmark first."""
    found = []
    names = [name for name in ratios if name != CONTROL]
    for name in names:
        x = np.asarray(ratios[name])
        spread = float(np.std(x, ddof=1))
        own = rule.margin_of(name)
        reached = max(abs(bound) for bound in interval(x, 0.99)[1:])
        margin = max(own, math.ceil(1000 * math.expm1(reached)) / 1000)
        found.append(Calibrated(name, spread, _restarts(spread, margin, rule, len(names)), margin))
    return sorted(found, key=lambda one: (one.restarts == 0, one.restarts), reverse=True)


def _restarts(spread: float, margin: float, rule: Rule, benchmarks: int) -> int:
    """The least number that fails the limit as often as promised (as `verdicts.Speed`)."""
    level = rule.level(benchmarks)
    room = math.log1p(rule.limit) - math.log1p(margin)
    numbers = range(1, MOST + 1)
    least = bisect.bisect_left(
        numbers, True, key=lambda count: reach(count, level, POWER) * spread <= room
    )
    return numbers[least] if least < MOST else 0


def text(found: Sequence[Calibrated]) -> str:
    """A table, and what follows from it."""
    design, rule = Design(), Rule()
    rows = [
        {
            "benchmark": one.name,
            "spread of a restart": f"{one.spread:.2%}",
            f"restarts for +{rule.limit:.0%}": one.restarts or f"more than {MOST}",
            "margin": f"{one.margin:.1%}",
        }
        for one in found
    ]
    most = max((one.restarts or math.inf for one in found), default=0)
    over = [one for one in found if one.margin > rule.margin]
    number = f"{most:g}" if most <= MOST else f"more than {MOST}"
    says = [
        f"{number} restarts see +{rule.limit:.0%} in every benchmark with {POWER:.0%} power, and "
        f"raise {rule.alarms:.0%} false alarms at most; the gate has {design.restarts}, and as "
        "many again where it is undecided."
    ]
    says += [
        f"{one.name} wants a margin of its own here: margins={{{one.name!r}: {one.margin:.3f}}}"
        for one in over
    ]
    table = tabulate(rows, headers="keys", disable_numparse=True)
    return "\n\n".join([table, *says])
