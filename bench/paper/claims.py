"""What the reports say besides their tables and figures, each put to the test."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bench.paper import a_table_1, statistics
from bench.paper.a_table_2 import CROSS_ENTROPY, CROSS_ENTROPY_DROPOUT, MSE_DROPOUT
from bench.paper.b_table_1 import RUNS
from bench.paper.cells import Scale, many
from bench.paper.protocol import Protocol
from bench.paper.section import Found, Section, Verdict, table
from bench.paper.statistics import Array
from bench.paper.training import Task
from bench.table import PUBLISHED

TITLE = "What else the reports say"


def _with(activation: str) -> Protocol:
    return replace(a_table_1.STATED, hidden=(activation,) * 3)


TANH = _with("tanh")
#: Where, what is said, and two protocols of which the first is said to be better.
BETTER = [
    ("A, III", "Sigmoid is better than ReLU", _with("sigmoid"), _with("relu")),
    ("A, III", "LeakyReLU is better than ELU", _with("leaky_relu"), _with("elu")),
    ("A, III", "Tanh is better than ELU", TANH, _with("elu")),
    ("A, IV", "Adam (at a rate of 1e-3, which is ours) gives better results than SGD",
     replace(TANH, optimizer="adam", rate=1e-3), TANH),
]  # fmt: skip
#: The same, but the first is said to be no improvement.
NO_BETTER = [
    ("A, IV", "cross-entropy does not improve on squared error", CROSS_ENTROPY, TANH),
    ("A, IV", "dropout does not improve squared error", MSE_DROPOUT, TANH),
    ("A, IV", "dropout does not improve cross-entropy", CROSS_ENTROPY_DROPOUT, CROSS_ENTROPY),
]
#: The same, but the first is said to be as good to within a point.
CLOSE = [
    ("A, IV", "with dropout results stay close, squared error", MSE_DROPOUT, TANH),
    ("A, IV", "with dropout results stay close, cross-entropy", CROSS_ENTROPY_DROPOUT, TANH),
]
#: The same, of several protocols of which the first is said to be the best.
BEST = [
    ("A, III", "a slope of 3 is the best for Sigmoid", {
        "3": _with("sigmoid"), **{str(s): _with(f"sigmoid of slope {s}") for s in (1, 2, 5)},
    }),
    ("A, III", "an alpha of 0.01 is the best for ELU", {
        "0.01": _with("elu"), **{f"{a:g}": _with(f"elu of alpha {a:g}") for a in (0.1, 1.0)},
    }),
]  # fmt: skip


def tasks(scale: Scale) -> list[Task]:
    """Every protocol that is compared, with the settings that the report leaves open as stated."""
    protocols = [one for *_, better, worse in BETTER + NO_BETTER for one in (better, worse)]
    protocols += [one for *_, each in BEST for one in each.values()]
    return [many(one, scale) for one in protocols]


def section(scale: Scale, found: Found) -> Section:
    """A row for each."""

    def errors(protocol: Protocol) -> Array:
        return np.array(found(many(protocol, scale))["errors"][protocol.evaluation]["test"])

    verdicts = []
    for where, what, better, worse in BETTER:
        mean, half = statistics.paired_difference(errors(worse), errors(better))
        holds = "reproduced" if mean > half else "not reproduced" if mean < -half else "not shown"
        verdicts.append(_verdict(where, what, errors(better), errors(worse), mean, half, holds))
    for where, what, new, old in NO_BETTER:
        mean, half = statistics.paired_difference(errors(old), errors(new))
        holds = "not reproduced" if mean > half else "reproduced" if mean < -half else "not shown"
        verdicts.append(_verdict(where, what, errors(new), errors(old), mean, half, holds))
    for where, what, new, old in CLOSE:
        mean, half = statistics.paired_difference(errors(old), errors(new))
        holds = "reproduced" if abs(mean) + half < statistics.MARGIN else "not shown"
        if abs(mean) - half > statistics.MARGIN:
            holds = "not reproduced"
        verdicts.append(_verdict(where, what, errors(new), errors(old), mean, half, holds))
    for where, what, each in BEST:
        means = {name: float(errors(one).mean()) for name, one in each.items()}
        claimed, best = next(iter(means)), min(means, key=lambda name: means[name])
        ours = ", ".join(f"{name}: {mean:.2f}" for name, mean in sorted(means.items()))
        mean, half = statistics.paired_difference(errors(each[claimed]), errors(each[best]))
        holds = "not reproduced" if mean > half else "not shown"
        if claimed == best:
            holds = "reproduced"
        verdicts.append(Verdict(where, what, "said", f"error in percent, {ours}", f"**{holds}**"))
    verdicts += [_combination(), _smooth(), _close()]
    rows = [{"where": v.where, "what": v.what, "ours": v.ours, "verdict": v.verdict}
            for v in verdicts]  # fmt: skip
    text = (
        "Compared run by run on the same data, by the protocols as stated above, also where a "
        "table's row does not agree with them; in brackets, how much lower the error is, in "
        "points, with its 95 % interval.\n\n"
    )
    return Section(TITLE, text + table(rows), verdicts)


def _verdict(
    where: str, what: str, first: Array, second: Array, mean: float, half: float, holds: str
) -> Verdict:
    ours = (
        f"error {first.mean():.2f} against {second.mean():.2f} % "
        f"[{mean - half:+.2f}, {mean + half:+.2f}]"
    )
    return Verdict(where, what, "said", ours, f"**{holds}**")


def _combination() -> Verdict:
    """By least squares."""
    x = np.linspace(-4, 4, 2001)
    worst = {}
    for slope in (1, 2):
        basis = np.stack([1 / (1 + np.exp(-slope * x)), np.ones_like(x)], 1)
        weights = np.linalg.lstsq(basis, np.tanh(x), rcond=None)[0]
        worst[slope] = float(np.abs(basis @ weights - np.tanh(x)).max())
    return Verdict(
        "A, III", "Tanh is a linear combination of a Sigmoid of slope 1", "said",
        f"the best from -4 to 4 is off by {worst[1]:.2f}; of slope 2, by {worst[2]:.0e}",
        "**not reproduced**" if worst[1] > 1e-6 else "**reproduced**",
    )  # fmt: skip


def _smooth(alpha: float = 0.01, step: float = 1e-6) -> Verdict:
    """By finite differences."""
    left, right = -alpha * np.expm1(-step) / step, 1.0
    return Verdict(
        "A, III", "ELU (alpha 0.01) is smooth at 0", "said",
        f"its slope jumps there from {left:.2f} to {right:.2f}",
        "**not reproduced**" if abs(left - right) > 1e-3 else "**reproduced**",
    )  # fmt: skip


def _close() -> Verdict:
    """Whether report B's own numbers show what it says of them."""
    said = []
    for rows in PUBLISHED["rows"].values():
        mine, torchs = rows["scratch"], rows["torch"]
        error = np.hypot(mine["std"], torchs["std"]) / np.sqrt(RUNS)
        half = 1.96 * float(error)
        said.append((100 * (mine["accuracy"] - torchs["accuracy"]), 100 * half))
    shown = all(abs(mean) + half < statistics.MARGIN for mean, half in said)
    ours = "; ".join(f"{mean:+.1f} ± {half:.1f} points" for mean, half in said)
    return Verdict(
        "B, IX", "both implementations are close: by its own ten runs", "said",
        f"Models 1 and 2, by its own means and spreads: {ours}",
        "**reproduced**" if shown else "**not shown** by these",
    )  # fmt: skip
