"""The gate's fourth layer: does the project still learn, as well as torch and as it did?

Against torch, the accuracies of pairs that share their draws must be equivalent: two one-sided
tests (Schuirmann 1987). Against the record, those of many runs must not be inferior. Either margin
is the least that as many runs can show, by the spread that was measured when it was recorded.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from scipy import stats

from parity.gate.data.broken import Broken
from parity.gate.judge.result import Row
from parity.gate.judge.verdicts import FAIL, INCONCLUSIVE, PASS

SHOWN, ALARM = 0.01, 0.0005
"""The level at which sameness is shown; and the chance that a difference fails that is none."""

POWER = 0.995  # of sameness to be shown, where there is no difference
LEAST = 0.2  # percentage points, below which no margin goes: two points of a thousand


def margin(spread: float, size: float) -> float:
    """The least difference that `size` values of such a spread rule out, nearly always."""
    reach = float(stats.norm.isf(SHOWN) + stats.norm.isf((1 - POWER) / 2))
    return max(LEAST, reach * spread / math.sqrt(size))


def recorded_pairs(ours: Sequence[float], theirs: Sequence[float], size: int) -> dict[str, Any]:
    """What is recorded of pairs: their spread, and the margin for so many of them.

    The spread is the upper end of its 95 % interval: of a few pairs it may have come out small.
    """
    differences = np.subtract(ours, theirs)
    freedom = len(differences) - 1
    most = float(np.std(differences, ddof=1) * math.sqrt(freedom / stats.chi2.ppf(0.05, freedom)))
    return {"pairs": len(differences), "spread": most, "margin": margin(most, size)}


def recorded_runs(accuracies: Sequence[float], size: int) -> dict[str, Any]:
    """What is recorded of runs: mean, spread, and the margin for so many new ones."""
    spread = float(np.std(accuracies, ddof=1))
    both = 1 / (1 / len(accuracies) + 1 / size)
    return {
        "runs": len(accuracies), "mean": float(np.mean(accuracies)), "std": spread,
        "margin": margin(spread, both),
    }  # fmt: skip


def against_torch(name: str, both: Sequence[Sequence[float]], recorded: Mapping[str, Any]) -> Row:
    """Whether paired accuracies are equivalent."""
    ours, theirs = (_checked(name, side) for side in both)
    if len(ours) != len(theirs) or len(ours) < 2:
        raise Broken(f"{name}: {len(ours)} and {len(theirs)} accuracies are no pairs")
    differences = np.subtract(ours, theirs)
    allowed = float(recorded["margin"])
    mean = float(differences.mean())
    if np.ptp(differences) == 0:
        shown, differs = float(abs(mean) >= allowed), float(mean == 0)
        half = 0.0
    else:
        shown = max(
            float(stats.ttest_1samp(differences, -allowed, alternative="greater").pvalue),
            float(stats.ttest_1samp(differences, allowed, alternative="less").pvalue),
        )
        differs = float(stats.ttest_1samp(differences, 0).pvalue)
        half = float(stats.sem(differences) * stats.t.isf(SHOWN, len(differences) - 1))
    return Row(
        f"{name}, beside torch",
        _verdict(shown, differs),
        f"{mean:+.2f} points on {len(differences)} pairs, 98 % interval ±{half:.2f}; "
        f"margin ±{allowed:.2f}",
    )


def against_record(name: str, accuracies: Sequence[float], recorded: Mapping[str, Any]) -> Row:
    """Whether runs are not inferior to those recorded."""
    values = np.asarray(_checked(name, accuracies))
    mean, spread, size = float(values.mean()), float(values.std(ddof=1)), len(values)
    allowed = float(recorded["margin"])

    def p(than: float, alternative: Literal["less", "greater"]) -> float:
        """Of Welch's test that the difference from the record is `than`, against less or more."""
        return float(
            stats.ttest_ind_from_stats(
                mean, max(spread, 1e-9), size,
                recorded["mean"] + than, max(recorded["std"], 1e-9), recorded["runs"],
                equal_var=False, alternative=alternative,
            ).pvalue
        )  # fmt: skip

    return Row(
        f"{name}, beside the record",
        _verdict(p(-allowed, "greater"), p(0, "less")),
        f"{mean:.2f} % on {size} runs, recorded {recorded['mean']:.2f} on {recorded['runs']}: "
        f"{mean - recorded['mean']:+.2f}, margin -{allowed:.2f}",
    )


def _verdict(shown: float, differs: float) -> str:
    if shown <= SHOWN:
        return PASS
    return FAIL if differs <= ALARM else INCONCLUSIVE


def _checked(name: str, values: Sequence[float]) -> list[float]:
    found = [float(x) for x in values]
    if len(found) < 2 or not all(math.isfinite(x) for x in found):
        raise Broken(f"{name}: accuracies are missing, or not finite")
    return found
