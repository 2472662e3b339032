"""Runs the gate's layers, and makes one result of them."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from parity.gate.data import baseline, machine
from parity.gate.data.baseline import Baseline, Manifest
from parity.gate.data.broken import Broken
from parity.gate.data.names import CALLED, LAYERS
from parity.gate.data.plan import Gate, loaded, plan_of
from parity.gate.data.progress import Progress, silent
from parity.gate.judge import accuracy, numerics, speed
from parity.gate.judge.result import BROKEN, NOTE, Result, Row, Section
from parity.gate.judge.verdicts import FAIL, INCONCLUSIVE
from parity.gate.measure import jobs, trees
from parity.gate.measure.jobs import Job
from parity.gate.measure.lockstep import Design
from parity.judge.outcome import Outcome

PAIRS, RUNS = 10, 500
"""Seeds of a training beside torch, and of the project alone."""

LAYER_KINDS = {
    "numerics": ("checks", "waived", "trajectories", "counts"),
    "timing": ("timed", "against_torch"),
    "accuracy": ("pairs", "runs"),
}
"""What each layer is of, as the manifest calls it."""


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
        strict: whether what is inconclusive fails.
    """

    root: Path
    base: str | None = None
    day: date = field(default_factory=date.today)
    layers: Sequence[str] = LAYERS
    workers: int | None = None
    design: Design = field(default_factory=Design)
    strict: bool = False


def seeds_of(day: date) -> dict[str, list[int]]:
    """The seeds of a day's trainings: no two days share one."""
    first = day.toordinal() * 1000
    return {"pairs": [*range(first, first + PAIRS)], "runs": [*range(first, first + RUNS)]}


def judged(wanted: Wanted, progress: Progress = silent) -> Result:
    """Runs every layer that is asked for. What breaks the gate is a verdict, and ends it."""
    start, run = time.perf_counter(), _Run(wanted, progress)
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
    took = time.perf_counter() - start
    timed = sum(section.seconds for section in run.sections)
    run.facts["took"] = f"{took:.0f} s, of it {timed:.0f} s of timing"
    return Result(run.sections, run.facts, run.data, wanted.strict, _again(run))


def _again(run: _Run) -> str:
    """The command that shows again what does not pass."""
    for verdict in (FAIL, INCONCLUSIVE):
        layers = [one.title for one in run.sections if one.of(verdict) and one.title in LAYERS]
        if not layers:
            continue
        if layers == ["timing"] and not run.base.commit:
            return ""
        base = f" --base {run.base.commit[:12]}" if "timing" in layers and run.base.commit else ""
        day = f" --date {run.wanted.day}" if "accuracy" in layers else ""
        return f"{CALLED} --layers {' '.join(layers)}{base}{day}"
    return ""


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
        }
        if len(wanted.layers) < len(LAYERS):
            self.facts["layers"] = ", ".join(wanted.layers)

    @contextlib.contextmanager
    def breaking(self, title: str) -> Iterator[None]:
        """What breaks the gate within it becomes a row of a section."""
        try:
            yield
        except Broken as broken:
            self._broken(title, str(broken))
        except Exception as error:  # whatever it is, it is no regression
            self._broken(title, f"{type(error).__name__}: {error}")

    def _broken(self, title: str, says: str) -> None:
        row = Row("the gate is broken", BROKEN, says)
        self.sections.append(Section(title, "the gate is broken", [row]))

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
        self.manifest_of_base = baseline.listed(self._file_of_base(self.folder / "manifest.json"))
        self.facts["head"] = head[:12] + (" and changes" if trees.changed(self.wanted.root) else "")

    def work(self) -> None:
        """Everything that is not timed, by all processors."""
        seeds = seeds_of(self.wanted.day)
        kinds = {kind for layer in self.wanted.layers for kind in LAYER_KINDS[layer]}
        todo = [job for job in jobs.jobs_of(self.gate, seeds) if job[0] in kinds]
        if any(kind in ("pairs", "runs") for kind, _, _ in todo):
            first, last = seeds["runs"][0], seeds["runs"][-1]
            self.facts["seeds"] = f"{first} to {last}, those of {self.wanted.day}"
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
        kinds = [
            kind
            for layer in self.wanted.layers
            for kind in LAYER_KINDS[layer]
            if kind != "against_torch"  # which is measured, and looked for, among the times
        ]
        rows = self._absent({kind: offered.get(kind, {}) for kind in kinds})
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
            for name in baseline.removed(self.manifest_of_base, self.baseline.manifest)
        ]
        if looser := baseline.loosened(self._file_of_base(self.baseline.file), self.values):
            more = f" and {len(looser) - 3} more" if len(looser) > 3 else ""
            says = f"{', '.join(looser[:3])}{more}; reason: {self.values['reason']}"
            rows.append(Row("looser than in the base's baseline", NOTE, says))
        self.sections.append(Section("integrity", what, rows))

    def _absent(self, offered: Manifest) -> list[Row]:
        """What of some kinds is not as the manifest has it."""
        wanted = {kind: self.baseline.manifest.get(kind, {}) for kind in offered}
        return [
            Row(name, BROKEN, f"{says}; if that is meant, {baseline.UPDATE}")
            for name, says in baseline.differences(wanted, offered)
        ]

    def _file_of_base(self, file: Path) -> str:
        """A file of the baseline as the base has it; nothing, where it has none."""
        if not self.base.commit:
            return ""
        path = file.resolve().relative_to(self.wanted.root.resolve())
        where = f"{self.base.commit}:./{path.as_posix()}"
        return trees.git(self.wanted.root, "show", where, check=False)

    def numerics(self) -> None:
        outcomes = self.outcomes()
        ratios, counts = self._of("trajectories"), self._of("counts")
        rows = numerics.suite(outcomes, self.values["bounds"])
        rows += numerics.trajectories(ratios) + numerics.counts(counts, self.values["counts"])
        worst = max((one.ratio for one in outcomes), default=0.0)
        self.data["error ratios"] = {one.id: one.ratio for one in outcomes}
        self.data["trajectories"], self.data["counts"] = ratios, counts
        summary = f"{len(outcomes)} checks, the worst error {worst:.3g} of what is allowed"
        if ratios:
            summary += f"; {len(ratios)} trajectories, the worst {max(ratios.values()):.3g}"
        if counts:
            summary += f"; exact counts of {len(counts)} networks"
        self.sections.append(Section("numerics", summary, rows))

    def timing(self) -> None:
        rows: list[Row] = []
        summary = "nothing is timed"
        start = time.perf_counter()
        if self.gate.timed is not None:
            rows, summary, self.data["timing"] = speed.compared(
                self.wanted.root, self.gate, self.base, self.baseline.manifest,
                self.manifest_of_base, self.wanted.design, self.progress,
            )  # fmt: skip
        todo: list[Job] = [("against_torch", name, None) for name in self.gate.against_torch]
        ratios = jobs.performed(self.plan, todo, workers=1)
        offered = jobs.offered(self.gate, ratios)
        rows += self._absent({"against_torch": offered.get("against_torch", {})})
        for (_, name), ratio in sorted(ratios.items()):
            rows.append(speed.beside_torch(name, ratio, self._recorded("against_torch", name)))
        self.data["against torch"] = {name: ratio for (_, name), ratio in ratios.items()}
        seconds = time.perf_counter() - start
        self.sections.append(Section("timing", summary, rows, seconds, judged=bool(rows)))

    def accuracy(self) -> None:
        rows = [
            accuracy.against_torch(name, both, self._recorded("pairs", name))
            for name, both in sorted(self._of("pairs").items())
        ]
        rows += [
            accuracy.against_record(name, runs, self._recorded("runs", name))
            for name, runs in sorted(self._of("runs").items())
        ]
        self.data["accuracy"] = {kind: self._of(kind) for kind in ("pairs", "runs")}
        ran = [f"{PAIRS} pairs"] * bool(self.gate.pairs) + [f"{RUNS} runs"] * bool(self.gate.runs)
        summary = f"{' and '.join(ran)} of each network, seeds of {self.wanted.day}"
        if not rows:
            summary = "the plan has no pairs and no runs: of this nothing is said"
        self.sections.append(Section("accuracy", summary, rows, judged=bool(rows)))
