"""The rows of gradient clipping: functions of torch, which an adapter names as it does classes."""

from __future__ import annotations

import torch

from parity.catalogue.entry import Entry

ROWS: tuple[Entry, ...] = (
    Entry(
        torch.nn.utils.clip_grad_norm_,
        "clipping",
        {
            "": {"max_norm": 1.0},
            "max_norm=0.1": {"max_norm": 0.1},
            "norm_type=1": {"max_norm": 1.0, "norm_type": 1.0},
            "norm_type=inf": {"max_norm": 1.0, "norm_type": torch.inf},
        },
        positional=("max_norm",),
    ),
    Entry(
        torch.nn.utils.clip_grad_value_,
        "clipping",
        {"": {"clip_value": 1.0}, "clip_value=0.1": {"clip_value": 0.1}},
        positional=("clip_value",),
    ),
)
