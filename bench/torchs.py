"""Torch's own layer of a case, as torch has it: what scratch's is timed beside.

Parity's torch side of a recurrent layer is a row of cells, and of attention sums and products, so
that their inner rounding can be moved. What a user of torch would take is faster.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from parity import Case


def torchs(case: Case) -> nn.Module:
    """A module that takes the inputs of a case, and returns its outputs."""
    name, options = case.entry.name, case.options
    if name in ("RNN", "GRU", "LSTM"):
        return _Sequence(getattr(nn, name)(**options, batch_first=True))
    if name == "LSTMCell":
        return _Cell(nn.LSTMCell(**options))
    if name == "ScaledDotProductAttention":
        return _Attention(**options)
    if name == "MultiheadAttention":
        return _Heads(**options)
    module = (case.entry.stands_for or case.entry.reference)(**options)
    assert isinstance(module, nn.Module)
    return module


class _Sequence(nn.Module):
    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor, *states: Tensor) -> Tensor:
        given = tuple(state.unsqueeze(0) for state in states)
        y: Tensor = self.layer(x, *([given if len(given) > 1 else given[0]] if given else []))[0]
        return y


class _Cell(nn.Module):
    def __init__(self, cell: nn.LSTMCell) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, x: Tensor, h: Tensor, c: Tensor) -> Any:
        return self.cell(x, (h, c))


class _Attention(nn.Module):
    def __init__(self, is_causal: bool = False) -> None:
        super().__init__()
        self.is_causal = is_causal

    def forward(self, query: Tensor, key: Tensor, value: Tensor, mask: Any = None) -> Tensor:
        return functional.scaled_dot_product_attention(
            query, key, value, mask, is_causal=self.is_causal
        )


class _Heads(nn.Module):
    def __init__(self, causal: bool = False, **options: Any) -> None:
        super().__init__()
        self.layer = nn.MultiheadAttention(**options, batch_first=True)
        self.causal = causal

    def forward(self, x: Tensor, memory: Tensor | None = None) -> Tensor:
        seen = x if memory is None else memory
        hidden = None
        if self.causal:
            shape = x.shape[1], seen.shape[1]
            hidden = torch.ones(shape, dtype=torch.bool, device=x.device).triu(1)
        y: Tensor = self.layer(x, seen, seen, need_weights=False, attn_mask=hidden)[0]
        return y
