"""Checks of what scratch has and a subject need not have: many runs at once, its own training
loop, weights and state that cross to torch. They join parity's own in `SUBJECT`.
"""

from __future__ import annotations

import dataclasses

from bench.own import layers, losses, models, optimizers
from reference import pairs

SUBJECT = dataclasses.replace(
    pairs.subject,
    checks={
        "layer": layers.CHECKS,
        "loss": losses.CHECKS,
        "network": models.CHECKS,
        "optimizer": optimizers.CHECKS,
    },
)
