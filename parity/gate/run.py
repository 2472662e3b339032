"""Runs the gate's layers, and makes one result of them."""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from parity.gate import accuracy, baseline, jobs, machine, numerics, timing, trees
from parity.gate.arm import CONTROL
from parity.gate.baseline import Baseline, Manifest
from parity.gate.broken import Broken
from parity.gate.command import LAYERS
from parity.gate.jobs import Job
from parity.gate.lockstep import BASE, HEAD, Design, Lockstep
from parity.gate.plan import Gate, loaded, plan_of
from parity.gate.result import BROKEN, FASTER, NOTE, Result, Row, Section
from parity.gate.verdicts import FAIL, INCONCLUSIVE, PASS, Rule, Speed
from parity.outcome import Outcome

PAIRS, RUNS = 10, 500
"""Seeds of a training beside torch, and of the project alone."""

TORCH_MOVES = 1.5
"""By how much the ratio to torch's time may grow: it moves when torch moves."""


@dataclass(frozen=True)
class Wanted:
    """What the gate is asked for.

    Args:
        root: the project's folder.
        base: a branch or commit to compare with; None: the usual one.
        day: whose seeds the trainings have.
        layers: which are run; integrity always is.
        workers: processes at a time; None: one for each processor.
        design: how much is timed.
    """

    root: Path
    base: str | None = None
    day: date = field(default_factory=date.today)
    layers: Sequence[str] = LAYERS
    workers: int | None = None
    design: Design = field(default_factory=Design)


#: Called with what is being done, how much of it is done, and how much there is.
Progress = Callable[[str, int, int], object]


def silent(what: str, done: int, of: int) -> None:
    """Shows nothing."""


def seeds_of(day: date) -> dict[str, list[int]]:
    """The seeds of a day's trainings: no two days share one."""
    first = day.toordinal() * 1000
    return {"pairs": [*range(first, first + PAIRS)], "runs": [*range(first, first + RUNS)]}


def judged(wanted: Wanted, progress: Progress = silent) -> Result:
    """Runs every layer that is asked for. What breaks the gate is a verdict, and ends it."""
    run = _Run(wanted, progress)
    with run.breaking("integrity"):
        run.prepare()
        run.work()
        run.integrity()
        if "numerics" in wanted.layers:
            run.numerics()
        if "timing" in wanted.layers:
            with run.breaking("timing"):
                run.timing()
        if "accuracy" in wanted.layers:
            with run.breaking("accuracy"):
                run.accuracy()
    return Result(run.sections, run.facts, run.data)


class _Run:
    """One run of the gate; each method adds a section."""

    def __init__(self, wanted: Wanted, progress: Progress) -> None:
        self.wanted, self.progress = wanted, progress
        self.sections: list[Section] = []
        self.data: dict[str, Any] = {}
        self.facts = {
            "machine": "{processor}, {instructions}, torch {torch}, Python {python}".format(
                **machine.fingerprint()
            ),
            "seeds": f"of {wanted.day}",
        }
        if len(wanted.layers) < len(LAYERS):
            self.facts["layers"] = ", ".join(wanted.layers)
        self.started = time.perf_counter()

    @contextlib.contextmanager
    def breaking(self, title: str) -> Iterator[None]:
        """What breaks the gate within it becomes a row of a section."""
        try:
            yield
        except Broken as broken:
            row = Row("the gate is broken", BROKEN, str(broken))
            self.sections.append(Section(title, "the gate is broken", [row], self._seconds()))

    def _seconds(self) -> float:
        now = time.perf_counter()
        taken, self.started = now - self.started, now
        return taken

    def prepare(self) -> None:
        self.plan = plan_of(self.wanted.root)
        sys.path.insert(0, str(self.wanted.root))
        self.gate: Gate = loaded(self.plan)
        self.folder = baseline.folder_of(self.plan)
        self.baseline: Baseline = baseline.read(self.folder)
        if self.baseline.values is None:
            raise Broken(baseline.strange(self.folder))
        self.values: Mapping[str, Any] = self.baseline.values
        self.base = trees.base_of(self.wanted.root, self.wanted.base)
        self.facts["base"] = f"{self.base.commit[:12] or 'none'}: {self.base.why}"
        head = trees.git(self.wanted.root, "rev-parse", "HEAD", check=False)
        self.facts["head"] = head[:12] + (" and changes" if trees.changed(self.wanted.root) else "")

    def work(self) -> None:
        """Everything that is not timed, by all processors."""
        todo = jobs.jobs_of(self.gate, seeds_of(self.wanted.day))
        if "accuracy" not in self.wanted.layers:
            todo = [job for job in todo if job[0] not in ("pairs", "runs")]
        if "numerics" not in self.wanted.layers:
            todo = [job for job in todo if job[0] in ("pairs", "runs", "names")]
        done = 0

        def on_job(job: Job) -> None:
            nonlocal done
            done += 1
            self.progress(f"{job[0]} {job[1]}", done, len(todo))

        self.results = jobs.performed(self.plan, todo, on_job, self.wanted.workers)

    def _of(self, kind: str) -> dict[str, Any]:
        return {name: value for (k, name), value in self.results.items() if k == kind}

    def _recorded(self, kind: str, name: str) -> Any:
        try:
            return self.values[kind][name]
        except KeyError:
            raise Broken(f"nothing is recorded of {name} ({kind}): {baseline.UPDATE}") from None

    def outcomes(self) -> list[Outcome]:
        return [one for slice_ in self._of("checks").values() for one in slice_]

    def integrity(self) -> None:
        """Everything that the manifest lists was there, and nothing else."""
        offered = jobs.offered(self.gate, self.results)
        kept: Manifest = {k: v for k, v in self.baseline.manifest.items() if k in offered}
        rows = [
            Row(name, BROKEN, f"{says}. If it is meant, {baseline.UPDATE}")
            for name, says in baseline.differences(kept, offered)
        ]
        rows += [
            Row(layer, NOTE, "left out, as asked: of this nothing is said")
            for layer in LAYERS
            if layer not in self.wanted.layers
        ]
        count = sum(len(names) for names in offered.values())
        what = f"{count} checks and benchmarks, as in the manifest"
        if any(row.verdict == BROKEN for row in rows):
            what = "what there is to judge is not what the manifest says"
        rows += [
            Row(name, NOTE, f"was in the base's manifest; reason: {self.values['reason']}")
            for name in baseline.removed(self._manifest_of_base(), self.baseline.manifest)
        ]
        self.sections.append(Section("integrity", what, rows, 0.0))

    def _manifest_of_base(self) -> Manifest:
        """What the base's own manifest lists; nothing, where it has none."""
        path = (self.folder / "manifest.json").resolve().relative_to(self.wanted.root.resolve())
        where = f"{self.base.commit}:{path.as_posix()}"
        text = trees.git(self.wanted.root, "show", where, check=False) if self.base.commit else ""
        return baseline.listed(text)

    def numerics(self) -> None:
        outcomes = self.outcomes()
        ratios, counts = self._of("trajectory"), self._of("counts")
        rows = numerics.suite(outcomes, self.values["bounds"])
        rows += numerics.trajectories(ratios) + numerics.counts(counts, self.values["counts"])
        again = "parity gate --layers numerics"
        rows = [_with(row, again) for row in rows]
        worst = max((one.ratio for one in outcomes), default=0.0)
        self.data["error ratios"] = {one.id: one.ratio for one in outcomes}
        self.data["trajectories"], self.data["counts"] = ratios, counts
        summary = (
            f"{len(outcomes)} checks, the worst error {worst:.3g} of what is allowed; "
            f"{len(ratios)} trajectories, the worst {max(ratios.values(), default=0.0):.3g}; "
            f"exact counts of {len(counts)} networks"
        )
        self.sections.append(Section("numerics", summary, rows, self._seconds()))

    def timing(self) -> None:
        if self.gate.timed is None:
            return
        if not self.base.commit:
            row = Row("all benchmarks", INCONCLUSIVE, f"not compared: {self.base.why}")
            self.sections.append(Section("timing", "there is no base to compare with", [row]))
            return
        timed = self.gate.timed.resolve().relative_to(self.wanted.root.resolve())
        with trees.temporary() as folder:
            both = {
                BASE: trees.export(self.wanted.root, self.base.commit, Path(folder, BASE), BASE),
                HEAD: trees.export(self.wanted.root, None, Path(folder, HEAD), HEAD),
            }
            lockstep = Lockstep(both, both[HEAD] / timed, self.wanted.design)
            rule = Rule(margins=self.gate.margins)
            offer = lockstep.offer()
            rows = self._new(offer.new)
            there = {name: ["seconds"] for name in (*offer.names, *offer.new) if name != CONTROL}
            wanted = {"timed": self.baseline.manifest.get("timed", {})}
            rows += [
                Row(name, BROKEN, f"{says} (in the head's arm)")
                for name, says in baseline.differences(wanted, {"timed": there})
            ]
            if len(offer.names) < 2:  # the control alone
                why = rows[0].says if rows else "there are none"
                rows = [row for row in rows if row.verdict == BROKEN]
                rows.append(Row("all benchmarks", INCONCLUSIVE, f"not compared: {why}"))
                self.sections.append(Section("timing", "nothing can be compared", rows))
                return

            def on_restart(done: int, of: int) -> None:
                self.progress("restarts of both trees", done, of)

            found = timing.compared(lockstep, rule, offer, on_restart)
        again = f"parity gate --layers timing --base {self.base.commit[:12]}"
        rows += [_with(_speed(one), again) for one in [*found.speeds, found.control]]
        rows[-1] = Row("control: 20 % more work", PASS, "seen", rows[-1].figures)
        rows += self._against_torch()
        self.data["timing"] = {
            "raw": found.raws, "units": found.offer.units, "extended": found.extended,
            "judged": found.speeds, "control": vars(found.control),
        }  # fmt: skip
        speeds = found.speeds
        counted = {v: sum(one.verdict == v for one in speeds) for v in (FAIL, INCONCLUSIVE)}
        extended = f", {len(found.extended)} of them extended" if found.extended else ""
        summary = (
            f"{len(speeds)} benchmarks{extended}: {counted[FAIL]} slower, "
            f"{counted[INCONCLUSIVE]} inconclusive, {sum(one.faster for one in speeds)} faster"
        )
        self.sections.append(Section("timing", summary, rows, self._seconds()))

    def _new(self, new: Mapping[str, str]) -> list[Row]:
        """Benchmarks that the base cannot run: it did not have them, or not so."""
        before = self._manifest_of_base().get("timed", {})
        return [
            Row(name, INCONCLUSIVE, f"the base has one too, but cannot run the head's: {why}")
            if name in before
            else Row(name, NOTE, f"new, and not compared: of the base, {why}")
            for name, why in new.items()
        ]

    def _against_torch(self) -> list[Row]:
        todo: list[Job] = [("against_torch", name, None) for name in self.gate.against_torch]
        found = jobs.performed(self.plan, todo, workers=1)
        rows = []
        for (_, name), ratio in sorted(found.items()):
            before = float(self._recorded("against_torch", name))
            verdict = FAIL if ratio > TORCH_MOVES * before else PASS
            says = (
                f"{ratio:.3f} of torch's time, recorded {before:.3f}, limit "
                f"{TORCH_MOVES * before:.3f}"
            )
            rows.append(Row(f"{name}, beside torch", verdict, says))
            self.data.setdefault("against torch", {})[name] = ratio
        return rows

    def accuracy(self) -> None:
        rows = [
            accuracy.against_torch(name, both, self._recorded("pairs", name))
            for name, both in sorted(self._of("pairs").items())
        ]
        rows += [
            accuracy.against_record(name, runs, self._recorded("runs", name))
            for name, runs in sorted(self._of("runs").items())
        ]
        again = f"parity gate --layers accuracy --date {self.wanted.day}"
        rows = [_with(row, again) for row in rows]
        self.data["accuracy"] = {kind: self._of(kind) for kind in ("pairs", "runs")}
        summary = f"seeds of {self.wanted.day}: {PAIRS} pairs, {RUNS} runs of each network"
        self.sections.append(Section("accuracy", summary, rows, self._seconds()))


def _with(row: Row, command: str) -> Row:
    """A row that has failed, and how it is shown again."""
    if row.verdict not in (FAIL, INCONCLUSIVE):
        return row
    return Row(row.name, row.verdict, row.says, row.figures, command)


def _speed(one: Speed) -> Row:
    verdict = FASTER if one.faster and one.verdict == PASS else one.verdict
    figures = {
        "head / base": f"{one.ratio:.3f}",
        "95 % interval": f"{one.low:.3f} to {one.high:.3f}",
        "restarts": str(one.restarts),
        "detectable": f"+{one.detectable:.1%}",
    }
    says = {
        FAIL: f"slower: {one.ratio - 1:+.1%}, margin {math.expm1(one.margin):+.1%}",
        INCONCLUSIVE: f"somewhere between {one.low - 1:+.1%} and {one.high - 1:+.1%}",
        FASTER: f"faster: {one.ratio - 1:+.1%}",
        PASS: f"{one.ratio - 1:+.1%}",
    }[verdict]
    return Row(one.name, verdict, says, figures)
