"""The plot of paired ratios: for each benchmark a point for each restart."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence

from parity.gate.judge.verdicts import FAIL, PASS, Rule, Speed

COLOURS = {FAIL: "#b2182b", PASS: "#1a5276"}


def ratios(speeds: Sequence[Speed], medians: Mapping[str, Sequence[float]], rule: Rule) -> bytes:
    """An SVG: the worst benchmark on top, its restarts, its interval, the margin and the limit."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({"svg.hashsalt": "parity gate", "svg.fonttype": "none", "font.size": 8}):
        figure = Figure(figsize=(7, 0.7 + 0.17 * len(speeds)), layout="constrained")
        axes = figure.subplots()
        for place, one in enumerate(reversed(speeds)):
            colour = COLOURS.get(one.verdict, "#b9770e")
            points = [100 * math.expm1(x) for x in medians[one.name]]
            axes.plot(points, [place] * len(points), ".", ms=3, color=colour, alpha=0.35)
            axes.plot([100 * (one.low - 1), 100 * (one.high - 1)], [place] * 2, color=colour, lw=2)
        axes.axvline(0, color="#888888", lw=0.8)
        axes.axvline(100 * rule.margin, color="#888888", lw=0.8, ls=":")
        axes.axvline(100 * rule.limit, color="#b2182b", lw=0.8, ls=":")
        axes.set_yticks(range(len(speeds)), [one.name for one in reversed(speeds)])
        axes.set_ylim(-0.7, len(speeds) - 0.3)
        axes.set_xlabel("slower than the base, % (dotted: margin, and limit)")
        axes.spines[["top", "right"]].set_visible(False)
        file = io.BytesIO()
        figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()
