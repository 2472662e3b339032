"""What the reports say besides their numbers, where it can be settled by arithmetic."""

from __future__ import annotations

import numpy as np

from bench.paper.section import Section, Verdict

TITLE = "A claim in passing"


def section() -> Section:
    """Is Tanh a linear combination of a Sigmoid of slope 1?"""
    x = np.linspace(-4, 4, 2001)
    worst = {}
    for slope in (1, 2):
        basis = np.stack([1 / (1 + np.exp(-slope * x)), np.ones_like(x)], 1)
        weights = np.linalg.lstsq(basis, np.tanh(x), rcond=None)[0]
        worst[slope] = float(np.abs(basis @ weights - np.tanh(x)).max())
    text = (
        "Report A says that Tanh is a linear combination of a Sigmoid of slope 1. The best such "
        f"combination, by least squares from -4 to 4, is off by up to {worst[1]:.2f}; of a Sigmoid "
        f"of slope 2 by {worst[2]:.1g}: tanh(x) = 2 s(2x) - 1."
    )
    verdict = Verdict(
        "A, III", "Tanh is a linear combination of a Sigmoid of slope 1", "said",
        f"off by {worst[1]:.2f}; of slope 2, by {worst[2]:.1g}",
        "**not reproduced**" if worst[1] > 1e-6 else "**reproduced**",
    )  # fmt: skip
    return Section(TITLE, text, [verdict])
