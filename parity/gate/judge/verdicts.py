"""What may be said of a benchmark, by the log ratios of head to base of its restarts.

One number stands for a restart, the median of its pairs. By Wilcoxon's signed-rank test, one-sided
and exact, a benchmark has slowed down if its restarts lie above the margin; it has not, if they lie
below the limit. What is neither is inconclusive, and measured once more by as many restarts: both
looks share the chance of a false alarm, and so do all benchmarks (Bonferroni).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from parity.gate.data.broken import Broken
from parity.gate.measure.lockstep import Raw

FAIL, PASS, INCONCLUSIVE = "FAIL", "PASS", "INCONCLUSIVE"


@dataclass(frozen=True)
class Rule:
    """The thresholds.

    Args:
        margin: a slowdown that nobody minds, as a share.
        margins: others, by benchmark.
        limit: the slowdown that a pass rules out.
        alarms: the chance that any benchmark fails which is no slower than its margin.
        looks: how often it is looked: at first, and after the extension.
        missed: the chance that a benchmark passes which is slower than the limit, at each look.
    """

    margin: float = 0.02
    margins: Mapping[str, float] | None = None
    limit: float = 0.10
    alarms: float = 0.01
    looks: int = 2
    missed: float = 0.01

    def margin_of(self, name: str) -> float:
        return (self.margins or {}).get(name, self.margin)

    def level(self, benchmarks: int) -> float:
        """Of one test."""
        return self.alarms / self.looks / benchmarks


@dataclass(frozen=True)
class Speed:
    """The verdict on one benchmark.

    Args:
        ratio: of the head's time to the base's. low, high: its 95 % interval.
        restarts: how many it is of.
        detectable: the least slowdown that would be failed 95 times in 100, at this spread.
        p: that it is no slower than its margin.
        verdict: FAIL, PASS or INCONCLUSIVE.
        faster: whether it is surely faster, by the same test.
    """

    name: str
    ratio: float
    low: float
    high: float
    restarts: int
    detectable: float
    p: float
    margin: float
    verdict: str
    faster: bool


def medians(raws: Sequence[Raw]) -> dict[str, list[float]]:
    """The median log ratio of each restart, by benchmark.

    Raises:
        Broken: no restart, no pair, or a time that is none.
    """
    if not raws:
        raise Broken("zero pairs: no restart was measured")
    found: dict[str, list[float]] = {name: [] for name in raws[0]}
    for raw in raws:
        for name, pairs in raw.items():
            times = np.asarray(pairs, dtype=float)
            if not times.size:
                raise Broken(f"{name}: zero pairs")
            if not (np.isfinite(times) & (times > 0)).all():
                raise Broken(f"{name}: a time is NaN, infinite or not above 0")
            found[name].append(float(np.median(np.log(times[:, 1] / times[:, 0]))))
    return found


def judged(ratios: Mapping[str, Sequence[float]], rule: Rule) -> list[Speed]:
    """The verdict on each benchmark, by its restarts' log ratios; the worst first."""
    found = [_judged(name, np.asarray(x), rule, len(ratios)) for name, x in ratios.items()]
    order = (FAIL, INCONCLUSIVE, PASS)
    return sorted(found, key=lambda one: (order.index(one.verdict), -one.ratio))


def _judged(name: str, x: np.ndarray, rule: Rule, benchmarks: int) -> Speed:
    margin, level = math.log1p(rule.margin_of(name)), rule.level(benchmarks)
    p = p_above(x, margin)
    verdict = INCONCLUSIVE
    if p <= level:
        verdict = FAIL
    elif p_above(-x, -math.log1p(rule.limit)) <= rule.missed:
        verdict = PASS
    middle, low, high = (math.exp(value) for value in interval(x))
    detectable = math.expm1(margin + reach(len(x), level) * float(np.std(x, ddof=1)))
    faster = p_above(-x, margin) <= level
    return Speed(name, middle, low, high, len(x), detectable, p, margin, verdict, faster)


def p_above(x: np.ndarray, bound: float) -> float:
    """The p-value of values that lie about the bound or below, against above."""
    return float(stats.wilcoxon(x - bound, alternative="greater", method="exact").pvalue)


def interval(x: np.ndarray, confidence: float = 0.95) -> tuple[float, float, float]:
    """The centre of values (Hodges and Lehmann 1963), and its interval: what Wilcoxon's test does
    not reject. Of too few values for it, from the smallest to the largest."""
    walsh = averages(x)
    outside = max(critical(len(x), (1 - confidence) / 2), 0)
    return float(np.median(walsh)), float(walsh[outside]), float(walsh[-1 - outside])


def averages(x: np.ndarray) -> np.ndarray:
    """The averages of all pairs of values, each with itself among them, in order (Walsh 1949):
    `[…, n (n + 1) / 2]` of `[…, n]`. As many of them are below 0 as the ranks of negative values
    sum up to."""
    first, second = np.triu_indices(x.shape[-1])
    return np.sort((x[..., first] + x[..., second]) / 2)


@functools.cache
def critical(count: int, level: float) -> int:
    """The largest sum of the negative values' ranks that is rejected at a level; -1 if none is."""
    chances = np.ones(1)
    for rank in range(1, count + 1):  # each rank is of a negative value in one case of two
        chances = (np.pad(chances, (0, rank)) + np.pad(chances, (rank, 0))) / 2
    return int(np.searchsorted(np.cumsum(chances), level * (1 + 1e-9), "right")) - 1


@functools.cache
def reach(count: int, level: float, power: float = 0.95) -> float:
    """How far from the margin normal values must lie to be told from it that often, in their
    standard deviations: by 2,000 samples, each of which says what it would take."""
    outside = critical(count, level)
    if outside < 0:
        return math.inf
    samples = np.random.default_rng(0).normal(size=(2000, count))
    return float(np.quantile(-averages(samples)[:, outside], power))
