"""Does a published figure agree with our runs? Intervals for new runs, and tests of sameness.

A report publishes a mean and a standard deviation of n runs. What n more runs of a protocol
would publish is simulated: n runs are drawn from ours, again and again, each time from our runs
drawn anew, so that what our own number of them leaves open counts too. No distribution is
assumed: with ReLU, runs either learn or do not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Array = NDArray[np.float64]
Errors = Sequence[float] | Array  # of runs

DRAWS = 4000
LEVEL = 0.05
REFUTED = 3.0  # standard errors, from which on few runs are enough to refute
MARGIN = 1.0  # percentage points, within which two implementations count as the same


@dataclass(frozen=True)
class Simulated:
    """What n new runs would publish, simulated.

    Args:
        draws: of each figure, "test", "std" and "train", `[DRAWS]`.
        mean: of our runs, of each figure.
    """

    draws: Mapping[str, Array]
    mean: Mapping[str, float]

    def interval(self, figure: str, among: int = 1) -> tuple[float, float]:
        """The 95 % prediction interval of a figure, or of so many figures at once (Bonferroni)."""
        outside = LEVEL / among / 2
        low, high = np.quantile(self.draws[figure], [outside, 1 - outside])
        return float(low), float(high)

    def refuted(self, published: Mapping[str, float], runs: int, n: int) -> bool:
        """Whether the published mean of n runs is clearly not of this protocol, by a few runs.

        By the larger of both spreads: a few runs may all have been spared what happens seldom.
        """
        spread = max(self.mean["std"], published["std"])
        error = spread * float(np.sqrt(1 / runs + 1 / n))
        return abs(self.mean["test"] - published["test"]) > REFUTED * max(error, 1e-9)

    def p_values(self, published: Mapping[str, float]) -> dict[str, float]:
        """How often a figure would lie as far out, or farther, on either side."""
        return {
            figure: float(tail(np.sort(self.draws[figure]), np.array([value]))[0])
            for figure, value in published.items()
        }

    def p(self, published: Mapping[str, float]) -> float:
        """Of all figures of a cell at once, by Bonferroni."""
        return float(min(1.0, len(published) * min(self.p_values(published).values())))

    def rank(self, published: Mapping[str, float]) -> tuple[float, float]:
        """The nearer to what is published, the smaller: by p, then by distance."""
        return -self.p(published), self.distance(published)

    def distance(self, published: Mapping[str, float]) -> float:
        """How far the published figures are, in standard deviations of new ones."""
        each = [
            (value - np.mean(self.draws[figure])) / max(float(np.std(self.draws[figure])), 1e-9)
            for figure, value in published.items()
        ]
        return float(np.sqrt(np.mean(np.square(each))))


def simulated(test: Errors, train: Errors, n: int, seed: int = 0) -> Simulated:
    """What n new runs would publish, by our runs' errors on test and training points.

    Raises:
        ValueError: fewer than two runs, here or there.
    """
    if min(len(test), n) < 2:
        raise ValueError("a spread needs two runs")
    random = np.random.default_rng(seed)
    ours = np.array([test, train])  # [2, runs]
    again = random.integers(ours.shape[1], size=(DRAWS, ours.shape[1]))
    chosen = np.take_along_axis(again, random.integers(ours.shape[1], size=(DRAWS, n)), 1)
    new_test, new_train = ours[0][chosen], ours[1][chosen]  # [DRAWS, n]
    draws = {
        "test": new_test.mean(1), "std": new_test.std(1, ddof=1), "train": new_train.mean(1),
    }  # fmt: skip
    mean = {
        "test": float(ours[0].mean()),
        "std": float(ours[0].std(ddof=1)),
        "train": float(ours[1].mean()),
    }
    return Simulated(draws, mean)


def tail(ordered: Array, values: Array) -> Array:
    """The two-sided tail probability of values among sorted draws; never 0."""
    count = len(ordered)
    below = np.searchsorted(ordered, values, "right")  # draws at or below
    above = count - np.searchsorted(ordered, values, "left")
    return np.minimum(1.0, 2 * (np.minimum(below, above) + 1) / (count + 1))


def wrongly_needed(
    without: Sequence[Simulated], having: Sequence[Simulated], figures: Sequence[str]
) -> float:
    """How often a setting would be found to be needed, though it was not there.

    Results of protocols without it are simulated; of each, all protocols are tried, as of what was
    published. The verdict is wrong where one that has the setting agrees and none without it does.
    """
    if not without or not having:
        return 0.0
    each = max(1, 3000 // len(without))  # results of each
    results = {f: np.concatenate([one.draws[f][:each] for one in without]) for f in figures}

    def agrees(protocols: Sequence[Simulated]) -> NDArray[np.bool_]:
        found = np.zeros(len(without) * each, dtype=bool)
        for one in protocols:
            worst = np.min([tail(np.sort(one.draws[f]), results[f]) for f in figures], axis=0)
            found |= len(figures) * worst >= LEVEL
        return found

    return float((agrees(having) & ~agrees(without)).mean())


@dataclass(frozen=True)
class Equivalence:
    """Two one-sided tests of paired differences.

    Args:
        mean: of the differences, in percentage points; low, high: their 90 % interval, which
            lies within ±margin exactly where both tests reject at 5 %.
        p: the larger of the two p-values. pairs: how many.
    """

    mean: float
    low: float
    high: float
    p: float
    pairs: int

    @property
    def shown(self) -> bool:
        return self.p < LEVEL


def equivalence(ours: Errors, theirs: Errors, margin: float = MARGIN) -> Equivalence:
    """Whether paired results differ by less than the margin on average (Schuirmann 1987).

    Raises:
        ValueError: fewer than two pairs, or of different lengths.
    """
    if len(ours) != len(theirs) or len(ours) < 2:
        raise ValueError(f"pairs of two or more, not {len(ours)} and {len(theirs)}")
    differences = np.subtract(ours, theirs)
    mean, error = float(differences.mean()), float(stats.sem(differences))
    if error == 0:
        return Equivalence(mean, mean, mean, float(abs(mean) >= margin), len(ours))
    freedom = len(ours) - 1
    p = max(
        float(stats.t.sf((mean + margin) / error, freedom)),
        float(stats.t.sf((margin - mean) / error, freedom)),
    )
    half = float(stats.t.ppf(1 - LEVEL, freedom)) * error
    return Equivalence(mean, mean - half, mean + half, p, len(ours))


def paired_difference(ours: Errors, theirs: Errors) -> tuple[float, float]:
    """The mean of paired differences, and half the width of its 95 % interval."""
    differences = np.subtract(ours, theirs)
    half = stats.t.ppf(1 - LEVEL / 2, len(differences) - 1) * stats.sem(differences)
    return float(differences.mean()), float(half)


def said(p: float, equals: str = "") -> str:
    """A p-value for people: none is known to be smaller than what was simulated."""
    return f"{equals}{p:.2g}" if p >= 0.002 else "< 0.002"


def signed(points: float) -> str:
    """A difference in percentage points; what rounds to nothing has no sign."""
    return f"{points:+.2f}" if abs(points) >= 0.005 else "0.00"


def share(count: int, of: int) -> tuple[float, float]:
    """The 95 % interval of a share (Clopper and Pearson 1934)."""
    interval = stats.binomtest(count, of).proportion_ci(1 - LEVEL)
    return float(interval.low), float(interval.high)


def share_of_new(count: int, of: int, new: int) -> tuple[int, int]:
    """The 95 % prediction interval of a count among new runs (beta-binomial, Jeffreys' prior)."""
    law = stats.betabinom(new, count + 0.5, of - count + 0.5)
    return int(law.ppf(LEVEL / 2)), int(law.ppf(1 - LEVEL / 2))
