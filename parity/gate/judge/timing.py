"""The gate's third layer: is the head slower than its merge base?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from parity.gate.data.broken import Broken
from parity.gate.judge.verdicts import FAIL, INCONCLUSIVE, Rule, Speed, judged, medians
from parity.gate.measure.arm import CONTROL, CONTROL_DOSE
from parity.gate.measure.lockstep import Lockstep, Offer, Raw

#: How far the control's ratio may be off, as a share of the work that it has more.
CONTROL_OFF = 0.5
CONTROL_WITHIN = 1 + CONTROL_DOSE * (1 - CONTROL_OFF), 1 + CONTROL_DOSE * (1 + CONTROL_OFF)


@dataclass(frozen=True)
class Timing:
    """All that was measured, and what it says.

    Args:
        speeds: the verdicts, the worst first.
        control: of the benchmark whose head does more work.
        raws: every pair of every restart; in an extension, of what was inconclusive.
        offer: what there was to time.
        extended: the benchmarks that were measured again, the control among them.
    """

    speeds: list[Speed]
    control: Speed
    raws: list[Raw]
    offer: Offer
    extended: list[str]


def compared(
    lockstep: Lockstep,
    rule: Rule,
    offer: Offer | None = None,
    on_restart: Callable[[int, int], object] = lambda done, of: None,
) -> Timing:
    """Times both trees, and once more what is inconclusive.

    Args:
        offer: what to time. Default: all that both trees have.
        on_restart: called after each with how many are done, of how many.

    Raises:
        Broken: as `Lockstep`; or the control is surely not what it should be.
    """
    offer = offer or lockstep.offer()
    count = lockstep.design.restarts
    raws: list[Raw] = []
    for raw in lockstep.restarts(offer, count):
        raws.append(raw)
        on_restart(len(raws), count)
    control, speeds = _judged(raws, rule)
    again = [one.name for one in speeds if one.verdict == INCONCLUSIVE]
    if not seen(control):
        again.append(CONTROL)
    if again:
        for raw in lockstep.restarts(replace(offer, names=again), count):
            raws.append(raw)
            on_restart(len(raws), 2 * count)
        control, speeds = _judged(raws, rule)
    return Timing(speeds, control, raws, offer, again)


def seen(control: Speed) -> bool:
    """Whether a slowdown of the control's size shows here: it fails, and at about its own size."""
    least, most = CONTROL_WITHIN
    return control.verdict == FAIL and least <= control.ratio <= most


def _judged(raws: Sequence[Raw], rule: Rule) -> tuple[Speed, list[Speed]]:
    """The control, and all others.

    Raises:
        Broken: the control is surely off. What noise alone may have moved is not.
    """
    found = medians(raws)
    if CONTROL not in found:
        raise Broken("the control was not measured: nothing says that a slowdown would be seen")
    alone = judged({CONTROL: found.pop(CONTROL)}, rule)[0]
    least, most = CONTROL_WITHIN
    if alone.high < least or alone.low > most:
        raise Broken(
            f"the control has {CONTROL_DOSE:.0%} more work in the head's arm, and was measured at "
            f"{alone.ratio:.3f} times the base's: the arms are swapped, or a slowdown cannot be "
            "seen here"
        )
    return alone, judged(found, rule)
