"""Report B, Table I: the seconds, as a ratio of its framework's to torch's."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch

from bench import measure
from bench import table as measured_table
from bench.environment import caption
from bench.paper.cells import QUICK, Scale
from bench.paper.section import Section, Verdict, table
from bench.storage import RESULTS
from bench.table import PUBLISHED, TITLES, Protocol, Results

TITLE = "Report B, Table I: seconds"


@functools.cache
def protocol(scale: Scale) -> Protocol:
    """What is timed: run by run, the sides in turn."""
    return Protocol(runs=2, epochs=2) if scale == QUICK else Protocol()


def missing(scale: Scale) -> int:
    """How many steps of `measured` are still to be done; it reports each."""
    one = protocol(scale)
    if _stored(scale) is not None:
        return 0
    runs = len(TITLES) * one.runs * len(one.sides) - measured_table.kept_runs(one)
    return runs + len(TITLES) * len(measured_table.engines(one))


def measured(scale: Scale, progress: Callable[[str], object]) -> Results:
    """The times: those that are stored, if code and machine are the same, or measured now."""
    return _stored(scale) or measured_table.results(protocol(scale), progress)


def _stored(scale: Scale) -> Results | None:
    one = protocol(scale)
    torch.set_num_threads(one.threads)  # a result says by how many it was measured
    kept = measured_table.resumed(one, RESULTS / f"{one.name}.json")
    return kept if len(kept.runs) == one.runs * len(one.sides) * len(TITLES) else None


def section(scale: Scale, kept: Results) -> Section:
    """Ratios beside the report's."""
    rows, verdicts, said = [], [], []
    for model, title in TITLES.items():
        ours, theirs = ([run.seconds for run in kept.of(model, s)] for s in ("scratch", "torch"))
        ratio = measure.median([a / b for a, b in zip(ours, theirs, strict=True)])
        mine, torchs = (PUBLISHED["rows"][model][side]["seconds"] for side in ("scratch", "torch"))
        said.append((mine / torchs, mine - torchs))
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
        slower = "so for scratch" if ratio.low > 1 else "open for scratch"
        if ratio.high < 1:
            slower = "not so for scratch"
        verdicts.append(
            Verdict(
                "B, Table I", f"{title}: written by hand it takes longer than torch",
                f"{mine / torchs:.2f} times torch's time", f"scratch: {ratio} times",
                f"**{slower}**",
            )
        )  # fmt: skip
    (ratio_1, more_1), (ratio_2, more_2) = said
    verdicts.append(
        Verdict(
            "B, IX", "it takes more time, 'especially in Model 2'", "said",
            f"by its own seconds {more_1:+.2f} in Model 1 and {more_2:+.2f} in Model 2, which is "
            f"{ratio_1:.2f} and {ratio_2:.2f} times torch's",
            f"**{'so' if more_2 > more_1 else 'not so'} in seconds, "
            f"{'so' if ratio_2 > ratio_1 else 'not so'} in ratio**",
        )
    )  # fmt: skip
    settings = f"{kept.protocol.runs} runs of {kept.protocol.epochs} epochs"
    text = (
        f"Seconds of a run, {settings} at batch size {kept.protocol.batch_size}, sides in turn, on "
        f"{caption(kept.environment)}. The report's are of another machine, and it does not say "
        f"of what batch size: only ratios can be compared, and scratch is another framework than "
        f"the report's, written to be fast.\n\n{table(rows)}"
    )
    return Section(TITLE, text, verdicts)
