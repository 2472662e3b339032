"""The timing of both trees as rows: what is slower, what is not, and what cannot be compared."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from parity.gate.data import baseline
from parity.gate.data.baseline import Manifest
from parity.gate.data.broken import Broken
from parity.gate.data.plan import Gate
from parity.gate.data.progress import Progress
from parity.gate.judge import timing
from parity.gate.judge.result import BROKEN, FASTER, NOTE, Row
from parity.gate.judge.timing import Timing
from parity.gate.judge.verdicts import FAIL, INCONCLUSIVE, PASS, Rule, Speed
from parity.gate.measure import jobs, trees
from parity.gate.measure.arm import CONTROL
from parity.gate.measure.lockstep import BASE, HEAD, Design, Lockstep, Offer
from parity.gate.measure.trees import Base

TORCH_MOVES = 1.5
"""By how much the ratio to torch's time may grow: it moves when torch moves."""


def compared(
    root: Path,
    gate: Gate,
    base: Base,
    manifest: Manifest,
    before: Manifest,
    design: Design,
    progress: Progress,
) -> tuple[list[Row], str, dict[str, Any]]:
    """Times the head against the base: rows, all of it in a sentence, and the data.

    Args:
        manifest: what is to be timed. before: what the base's own manifest lists.

    Raises:
        Broken: it cannot be timed.
    """
    if not base.commit:
        row = Row("all benchmarks", INCONCLUSIVE, f"not compared: {base.why}")
        return [row], "there is no base to compare with", {}
    assert gate.timed is not None
    rule = rule_of(gate, manifest)
    _refuse_other_layouts(root)
    with trees.temporary() as folder:
        both = {
            BASE: trees.export(root, base.commit, Path(folder, BASE), BASE),
            HEAD: trees.export(root, None, Path(folder, HEAD), HEAD),
        }
        lockstep = Lockstep(both, both[HEAD] / within(root, gate.timed), design)
        offer = lockstep.offer()
        rows = _not_compared(offer, gate, manifest, before)
        if len(offer.names) < 2:  # the control alone
            why = rows[0].says if rows else "there are none"
            rows = [row for row in rows if row.verdict == BROKEN]
            rows.append(Row("all benchmarks", INCONCLUSIVE, f"not compared: {why}"))
            return rows, "nothing can be compared", {}

        def on_restart(done: int, of: int) -> None:
            progress("restarts of both trees", done, of)

        found = timing.compared(lockstep, rule, offer, on_restart)
    rows += [_row(one, rule) for one in found.speeds] + [_control(found.control, rule)]
    data = {
        "raw": found.raws, "units": found.offer.units, "extended": found.extended,
        "judged": found.speeds, "control": vars(found.control),
    }  # fmt: skip
    return rows, _summary(found), data


def rule_of(gate: Gate, manifest: Manifest) -> Rule:
    """The thresholds, with the margins that benchmarks have of their own.

    Raises:
        Broken: a margin of no benchmark, or one that is none.
    """
    limit = Rule().limit
    for name, margin in gate.margins.items():
        if name not in manifest.get("timed", {}):
            raise Broken(f"margins has {name!r}, and there is no such benchmark")
        if not 0 <= margin < limit:
            raise Broken(f"the margin of {name!r} is {margin}: it takes 0 to below {limit}")
    return Rule(margins=gate.margins)


def within(root: Path, file: Path) -> Path:
    """A file's place in its project.

    Raises:
        Broken: it lies elsewhere.
    """
    try:
        return file.resolve().relative_to(root.resolve())
    except ValueError:
        raise Broken(f"{file} lies outside of {root}: what is timed is of both trees") from None


def _refuse_other_layouts(root: Path) -> None:
    """An arm imports from the top of its tree: of what lies deeper, both would have the head's."""
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if not file or "." in name or name.startswith(("parity_gate_", "__")):
            continue
        if "site-packages" in file or file.startswith(sys.prefix):
            continue
        path = Path(file).resolve()
        if path.is_relative_to(root.resolve()):
            top = path.relative_to(root.resolve()).parts[0]
            if Path(top).stem != name:
                raise Broken(
                    f"{name} is imported from {path}: the gate takes modules at the top of the "
                    f"project, as {root / name}"
                )


def _not_compared(offer: Offer, gate: Gate, manifest: Manifest, before: Manifest) -> list[Row]:
    """Benchmarks that an arm lacks, or cannot run."""
    rows = [
        Row(name, INCONCLUSIVE, f"the base has one too, but cannot run the head's: {why}")
        if name in before.get("timed", {})
        else Row(name, NOTE, f"new, and not compared: of the base, {why}")
        for name, why in offer.new.items()
    ]
    rows += [Row(name, NOTE, "the base has it, the head has not") for name in offer.gone]
    names = [name for name in (*offer.names, *offer.new) if name != CONTROL]
    there = {"timed": jobs.timed_metrics(gate, names)}
    return rows + [
        Row(name, BROKEN, f"{says} (in the head's arm)")
        for name, says in baseline.differences({"timed": manifest.get("timed", {})}, there)
    ]


def _row(one: Speed, rule: Rule) -> Row:
    verdict = FASTER if one.faster and one.verdict == PASS else one.verdict
    own = math.expm1(one.margin)
    margin = f", margin {own:+.1%}" if verdict == FAIL or own > rule.margin + 1e-9 else ""
    says = {
        FAIL: f"slower: {one.ratio - 1:+.1%}",
        INCONCLUSIVE: f"somewhere between {one.low - 1:+.1%} and {one.high - 1:+.1%}",
        FASTER: f"faster: {one.ratio - 1:+.1%}",
        PASS: f"{one.ratio - 1:+.1%}",
    }[verdict]
    return Row(one.name, verdict, says + margin, _figures(one))


def _control(one: Speed, rule: Rule) -> Row:
    """The control must fail, as any slowdown of its size."""
    name = "control: 20 % more work in the head's arm"
    if timing.seen(one):
        return Row(name, PASS, "seen", _figures(one))
    return Row(name, INCONCLUSIVE, "not surely seen: it is too noisy here", _figures(one))


def _figures(one: Speed) -> Mapping[str, str]:
    return {
        "head / base": f"{one.ratio:.3f}",
        "95 % interval": f"{one.low:.3f} to {one.high:.3f}",
        "restarts": str(one.restarts),
        "detectable": f"+{one.detectable:.1%}",
    }


def _summary(found: Timing) -> str:
    speeds = found.speeds
    counted = {v: sum(one.verdict == v for one in speeds) for v in (FAIL, INCONCLUSIVE)}
    again = sum(name != CONTROL for name in found.extended)
    extended = f", {again} of them extended" if again else ""
    return (
        f"{len(speeds)} benchmarks{extended}: {counted[FAIL]} slower, "
        f"{counted[INCONCLUSIVE]} inconclusive, {sum(one.faster for one in speeds)} faster"
    )


def beside_torch(name: str, ratio: float, recorded: float) -> Row:
    """The ratio to torch's time, within a wide limit."""
    limit = TORCH_MOVES * recorded
    says = f"{ratio:.3f} of torch's time, recorded {recorded:.3f}, limit {limit:.3f}"
    return Row(f"{name}, beside torch", PASS if ratio <= limit else FAIL, says)
