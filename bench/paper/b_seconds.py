"""Report B, Table I: the seconds, as a ratio of its framework's to torch's."""

from __future__ import annotations

import functools
from collections.abc import Callable

from bench import measure
from bench import table as measured_table
from bench.environment import caption
from bench.paper.b_table_1 import SECONDS
from bench.paper.cells import QUICK, Scale
from bench.paper.section import Section, Verdict, table
from bench.storage import RESULTS
from bench.table import TITLES, Protocol, Results

TITLE = "Report B, Table I: seconds"


@functools.cache
def protocol(scale: Scale) -> Protocol:
    """What is timed: run by run, the sides in turn."""
    return Protocol(runs=2, epochs=2) if scale == QUICK else Protocol()


def measured(scale: Scale, progress: Callable[[str], object]) -> Results:
    """The times: those that are stored, if code and machine are the same, or measured now."""
    one = protocol(scale)
    kept = measured_table.resumed(one, RESULTS / f"{one.name}.json")
    if len(kept.runs) == one.runs * len(one.sides) * len(TITLES):
        return kept
    return measured_table.results(one, progress)


def section(scale: Scale, kept: Results) -> Section:
    """Ratios beside the report's."""
    rows, verdicts = [], []
    for model, title in TITLES.items():
        ours, theirs = ([run.seconds for run in kept.of(model, s)] for s in ("scratch", "torch"))
        ratio = measure.median([a / b for a, b in zip(ours, theirs, strict=True)])
        mine, torchs = SECONDS[model]
        fused = [run.seconds for run in kept.of(model, "fused")]
        rows.append(
            {
                "model": title,
                "published: mine, torch": f"{mine:.2f} s, {torchs:.2f} s",
                "published ratio": f"{mine / torchs:.2f}",
                "scratch, median": f"{measure.median(ours).median:.3g} s",
                "torch.nn, median": f"{measure.median(theirs).median:.3g} s",
                "ratio [95 %]": str(ratio),
                "ten at once, fused": f"{measure.median(fused).median:.3g} s" if fused else "-",
            }
        )
        slower = ratio.low > 1
        verdicts.append(
            Verdict(
                "B, Table I", f"{title}: the hand-written framework takes longer",
                f"{mine / torchs:.2f} times torch's time", f"{ratio} times",
                "**reproduced**" if slower else "**not reproduced**: it need not",
            )
        )  # fmt: skip
    settings = f"{kept.protocol.runs} runs of {kept.protocol.epochs} epochs"
    text = (
        f"Seconds of a run, {settings} at batch size {kept.protocol.batch_size}, sides in turn, on "
        f"{caption(kept.environment)}. The report's are of another machine, and it does not say "
        f"of what batch size: only ratios can be compared.\n\n{table(rows)}"
    )
    return Section(TITLE, text, verdicts)
