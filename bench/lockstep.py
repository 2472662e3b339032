"""The parity verdict that stands beside every time: both sides trained in lockstep."""

from __future__ import annotations

import torch

from parity import Comparison, Local, Trial
from parity.checks import networks
from reference import pairs

#: What a verdict in a table means.
PARITY = (
    "Parity: the largest error of a weight in 100 training steps in lockstep with torch, over "
    "what is allowed; 1 or less is right."
)


def verdict(pair: pairs.ModelPair, batch_size: int, device: str) -> Comparison:
    """The worst comparison of a hundred steps in float32: by its error over what is allowed."""
    session = Local(pairs.subject)
    case = next(case for case in pairs.cases("network") if case.entry.name == pair.name)
    trial = Trial(session, case, torch.float32, device)
    compared = networks.in_training(trial, batch_size)
    return max(compared, key=lambda comparison: comparison.ratio)
