"""Whole trainings by every contender, in one process, in turn: `python -m bench speed`."""

from __future__ import annotations

import ctypes
import io
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from tabulate import tabulate

import parity
from bench import measure, targets
from bench.environment import caption, environment
from bench.peers import CONTENDERS, Contender
from bench.problem import POINTS
from bench.setting import Prepared, Setting, setting
from bench.storage import RESULTS
from bench.storage import write as written
from bench.table import TITLES
from parity import Tensors
from reference import pairs
from scratch.engines import Unsupported, cpu

LONG = "more than the"
SHORT = 0.3  # seconds, from which on a training is timed once in a round
FIRST, FUSED = CONTENDERS[0].name, CONTENDERS[-1].name  # what ratios are to, and the quickest


@dataclass(frozen=True)
class Plan:
    """What is measured.

    Args:
        runs: how many at once; the first is measured at every batch size, all at the first one.
        rounds: how often each contender trains, of the first number of runs; of others, once.
        limit: seconds that one training may take; a contender that would take more, going by
            fewer runs, is left out.
    """

    runs: tuple[int, ...] = (10, 1, 100, 1000)
    batches: tuple[int, ...] = (10, 100)
    epochs: int = 30
    rounds: int = 3
    limit: float = 30.0
    threads: int = 1
    device: str = "cpu"

    def cells(self) -> Iterator[tuple[str, int, int]]:
        """Model, batch size and runs."""
        for model in TITLES:
            for batch in self.batches:
                yield model, batch, self.runs[0]
        for runs in self.runs[1:]:
            for model in TITLES:
                yield model, self.batches[0], runs


@dataclass
class Row:
    """A contender in a cell: the seconds of each training; none where it is left out."""

    model: str
    batch_size: int
    runs: int
    contender: str
    seconds: list[float]
    compile_seconds: float = 0.0
    why: str = ""


@dataclass
class Results:
    """All that was measured.

    Args:
        parity: by model and contender, the worst error of a weight over what is allowed.
        peak: multiply-adds a second of one core, as fast as it can.
    """

    plan: Plan
    environment: dict[str, Any]
    rows: list[Row] = field(default_factory=list)
    parity: dict[str, float] = field(default_factory=dict)
    peak: float = math.nan
    targets: targets.Samples = field(default_factory=dict)

    def of(self, model: str, batch: int, runs: int) -> list[Row]:
        return [r for r in self.rows if (r.model, r.batch_size, r.runs) == (model, batch, runs)]


def measured(plan: Plan, progress: Callable[[str], None] = lambda done: None) -> Results:
    """Every contender in every cell."""
    torch.set_num_threads(plan.threads)
    results = Results(plan, environment(plan.device))
    results.peak = peak()
    missing = {one.name: one.missing(plan.device) for one in CONTENDERS}
    present = [one for one in CONTENDERS if not missing[one.name]]
    compiled: dict[tuple[str, str], float] = {}
    for model in TITLES:
        judged = verdicts(present, model, plan.batches[0], plan.device)
        for one, (ratio, seconds) in zip(present, judged, strict=True):
            results.parity[f"{model} {one.name}"] = ratio
            compiled[model, one.name] = seconds  # later ones find it in a cache
            progress(f"{TITLES[model]} parity: {one.name}")
    known: dict[tuple[str, str, int], float] = {}  # seconds of a run
    for model, batch, runs in plan.cells():
        rows, prepared = {}, dict[str, Prepared]()
        given = setting(model, runs, plan.epochs, batch, device=plan.device)
        for one in CONTENDERS:
            due = known.get((one.name, model, batch), 0.0) * runs
            why = missing[one.name]
            if not why and due > plan.limit:
                why = f"some {due:.0f} s, {LONG} {plan.limit:g} s that one may take"
            rows[one.name] = Row(model, batch, runs, one.name, [], why=why)
            if not why:
                prepared[one.name] = one.prepare(given)
                rows[one.name].compile_seconds = max(
                    prepared[one.name].compile_seconds, compiled[model, one.name]
                )
        for number in range(plan.rounds if runs == plan.runs[0] else 1):
            names = list(prepared)
            for name in names if number % 2 == 0 else reversed(names):
                rows[name].seconds.append(_seconds(prepared[name], plan.device))
                progress(f"{TITLES[model]}, batch {batch}, {runs} runs: {name}")
        for name in prepared:
            known[name, model, batch] = measure.median(rows[name].seconds).median / runs
        results.rows += rows.values()
    results.targets = _against(results)
    if plan.device == "cpu":
        results.targets |= targets.measured(plan.epochs, progress)
    return results


def _against(results: Results) -> targets.Samples:
    """Of the targets, those that the contenders' times show."""
    there = (targets.TORCH, targets.JAX, targets.SHARE, targets.WHOLE, targets.MORE)
    found: targets.Samples = {goal: {} for goal in there}
    few = results.plan.runs[0]
    for model in TITLES:

        def times(name: str, batch: int = targets.BATCH, runs: int = few, of: str = model) -> Any:
            rows = [row for row in results.of(of, batch, runs) if row.contender == name]
            return rows[0].seconds if rows else []

        own = times(FUSED)
        for goal, peer in ((targets.TORCH, FIRST), (targets.JAX, "JAX")):
            found[goal][model] = [a / b for a, b in zip(times(peer), own, strict=False)]
        work = multiply_adds(model, results.plan.epochs, few) / results.peak
        found[targets.SHARE][model] = [work / seconds for seconds in times(FUSED, 100)]
        found[targets.WHOLE][model] = own
        found[targets.MORE][model] = [
            many / seconds for many in times(FUSED, runs=targets.MANY) for seconds in own
        ]
    return found


def _seconds(prepared: Prepared, device: str) -> float:
    """Of a training; of a short one the median of several."""
    times: list[float] = []
    while not times or (sum(times) < SHORT and len(times) < 9):
        prepared.reset()
        times.append(measure.seconds(prepared.train, device))
    return measure.median(times).median


def verdicts(
    contenders: list[Contender], model: str, batch_size: int, device: str = "cpu"
) -> Iterator[tuple[float, float]]:
    """Where 100 steps without dropout lead each contender, against torch's: the worst weight of
    two runs, over what is allowed; and the seconds that went before, to compile."""
    given = setting(model, 2, 2, batch_size, 50 * batch_size, dropout=False, device=device)
    truths = [_truth(given, run) for run in range(given.runs)]
    for contender in contenders:
        prepared = contender.prepare(given)
        prepared.reset()
        prepared.train()
        judged = [
            comparison
            for truth, weights in zip(truths, prepared.weights(), strict=True)
            for comparison in parity.compare(weights, truth)
        ]
        yield max(comparison.ratio for comparison in judged), prepared.compile_seconds


def _truth(given: Setting, run: int) -> parity.Truth:
    """The weights that a run leads to."""
    inputs: Tensors = dict(given.weights[run])
    chosen = [batch for order in given.orders()[:, run] for batch in order.split(given.batch_size)]
    for step, batch in enumerate(chosen, 1):
        inputs |= {f"x {step}": given.x[run, batch], f"t {step}": given.t[run, batch]}
    twin = given.twin()
    dropouts = sum(isinstance(layer, torch.nn.Dropout) for layer in twin)
    evaluate = parity.evaluate.training(
        twin, given.pair.loss[1](), given.pair.optimizer[1], [[None] * dropouts] * len(chosen)
    )

    def last(inputs: Tensors, over: Any = parity.evaluate.alone) -> Tensors:
        every = evaluate(inputs, over)
        return {name: every[f"step {len(chosen)}: {name}"] for name in given.weights[run]}

    return parity.truth(last, inputs)


def peak() -> float:
    """Multiply-adds a second, in float32, of one core; NaN without a compiler."""
    try:
        built = cpu.build(Path(__file__).with_name("peak.cpp").read_text(), cpu.cache())
    except Unsupported:
        return math.nan
    library = ctypes.CDLL(str(built))
    library.multiply_adds_a_second.restype = ctypes.c_double
    return max(float(library.multiply_adds_a_second()) for _ in range(3))


def multiply_adds(model: str, epochs: int, runs: int) -> float:
    """Of whole trainings: each Linear forward, its weight's gradient, and its input's but for the
    first; what padding adds is not counted."""
    pair = next(pair for pair in pairs.MODELS if pair.name == model)
    sizes = [p.numel() for p, _ in pair.scratch().param() if p.dim() == 2]
    return float((3 * sum(sizes) - sizes[0]) * POINTS * epochs * runs)


def text(results: Results, style: str = "simple") -> str:
    """The tables with their captions."""
    parts, plan = [], results.plan
    for model, batch, runs in plan.cells():
        if runs != plan.runs[0]:
            continue
        title = f"{TITLES[model]}, batch size {batch}, {runs} runs x {plan.epochs} epochs"
        parts += [title, _cell(results, results.of(model, batch, runs), style)]
    for model in TITLES:
        title = f"{TITLES[model]}, batch size {plan.batches[0]}: seconds by the number of runs"
        parts += [title, _scaling(results, model, style)]
    left = {row.contender: row.why for row in results.rows if row.why and LONG not in row.why}
    parts += [f"Left out: {name}: {why}." for name, why in left.items()]
    many = f"{plan.rounds} round{'s' * (plan.rounds > 1)}"
    parts += ["What the engines are held to", targets.table(results.targets, plan.device, style)]
    parts.append(
        "Seconds of a whole training, all contenders in turn: the median, and the interval, of "
        f"{many} for {plan.runs[0]} runs, and one round for the others, in which a training of "
        f"less than {SHORT:g} s is repeated; - is what would take more "
        f"than {plan.limit:g} s. What is compiled is compiled before, and timed apart. Same data, "
        "weights and batches; dropout masks are each contender's own. Parity: where 100 steps "
        "without dropout lead, the largest error of a weight over what is allowed; 1 or less is "
        "right. Share of peak: multiply-adds of the layers' products, without padding, over "
        f"{results.peak / 1e9:.0f} billion a second, which one core was measured to do."
    )
    parts.append(f"Measured on {caption(results.environment)}.")
    return "\n\n".join(parts)


def _cell(results: Results, rows: list[Row], style: str) -> str:
    seconds = {r.contender: measure.median(r.seconds) for r in rows if r.seconds}
    peers = [one.name for one in CONTENDERS if not one.ours and one.name in seconds]
    fastest = min(peers, key=lambda name: seconds[name].median)
    shown = []
    for row in rows:
        if not row.seconds:
            continue
        ratios = {
            name: measure.median(
                [theirs / own for own, theirs in zip(row.seconds, other.seconds, strict=True)]
            )
            for name in (FIRST, fastest)
            for other in rows
            if other.contender == name
        }
        rate = (
            multiply_adds(row.model, results.plan.epochs, row.runs) / seconds[row.contender].median
        )
        judged = results.parity[f"{row.model} {row.contender}"]
        shown.append(
            {
                "contender": row.contender,
                "seconds": _range(seconds[row.contender]),
                f"times {FIRST}": f"{ratios[FIRST].median:.3g}",
                f"times {fastest}": f"{ratios[fastest].median:.3g}",
                "compile, s": f"{row.compile_seconds:.2g}" if row.compile_seconds else "",
                "share of peak": f"{rate / results.peak:.1%}",
                "parity": f"{'ok' if judged <= 1 else 'WRONG'}, {judged:.2f}",
            }
        )
    return tabulate(shown, headers="keys", tablefmt=style, disable_numparse=True)


def _range(found: measure.Interval) -> str:
    return f"{found.median:.3g} [{found.low:.3g}, {found.high:.3g}]"


def _scaling(results: Results, model: str, style: str) -> str:
    shown = []
    for one in CONTENDERS:
        row = {"contender": one.name}
        for runs in sorted(results.plan.runs):
            found = [
                r for r in results.of(model, results.plan.batches[0], runs)
                if r.contender == one.name
            ]  # fmt: skip
            timed = found and found[0].seconds
            row[str(runs)] = f"{measure.median(found[0].seconds).median:.3g}" if timed else "-"
        if set(row.values()) != {one.name, "-"}:
            shown.append(row)
    return tabulate(shown, headers="keys", tablefmt=style, disable_numparse=True)


def write(results: Results) -> list[Path]:
    """The tables as Markdown, every sample as JSON, and a plot if matplotlib is there."""
    files = [
        RESULTS / f"speed-{results.plan.device}-threads{results.plan.threads}.{kind}"
        for kind in ("md", "json")
    ]
    written(files[0], text(results, "github") + "\n")
    written(files[1], json.dumps(asdict(results), indent=1) + "\n")
    try:
        import matplotlib as mpl
    except ImportError:
        return files
    mpl.use("agg")
    files.append(files[0].with_suffix(".svg"))
    written(files[-1], _plot(results))
    return files


def _plot(results: Results) -> str:
    """Seconds against runs, both logarithmic, as SVG; a panel for each model."""
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, len(TITLES), figsize=(10, 4), sharey=True)
    for panel, (model, title) in zip(panels, TITLES.items(), strict=True):
        for one in CONTENDERS:
            points = [
                (runs, measure.median(row.seconds).median)
                for runs in sorted(results.plan.runs)
                for row in results.of(model, results.plan.batches[0], runs)
                if row.contender == one.name and row.seconds
            ]
            if points:
                panel.loglog(
                    *zip(*points, strict=True), "o-" if one.ours else "o--", label=one.name
                )
        panel.set(title=title, xlabel="runs")
    panels[0].set_ylabel("seconds")
    panels[-1].legend(fontsize="small")
    figure.tight_layout()
    drawn = io.StringIO()
    figure.savefig(drawn, format="svg")
    pyplot.close(figure)
    return drawn.getvalue()
