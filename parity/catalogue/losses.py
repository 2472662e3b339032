"""The rows of losses."""

from __future__ import annotations

from torch import nn

from parity.catalogue.entry import Entry, reductions

_LOSS = reductions(**{"": {}})
_CROSS_ENTROPY = reductions(index={}, one_hot={}, distribution={})
_CLASS = {name: name.rsplit("_", 1)[0] for name in _CROSS_ENTROPY}

ROWS: tuple[Entry, ...] = (
    Entry(nn.MSELoss, "loss", _LOSS),
    Entry(nn.L1Loss, "loss", _LOSS),
    Entry(nn.HuberLoss, "loss", reductions(**{"": {}, "delta=0.5": {"delta": 0.5}})),
    Entry(nn.BCELoss, "loss", _LOSS, domain="probability", target="probability"),
    Entry(nn.BCEWithLogitsLoss, "loss", _LOSS, target="probability"),
    Entry(nn.CrossEntropyLoss, "loss", _CROSS_ENTROPY, target=_CLASS),
    Entry(nn.NLLLoss, "loss", reductions(index={}), target="index"),
)
