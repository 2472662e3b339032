"""The row of Embedding: indices that come several times, and one that never does."""

from __future__ import annotations

from torch import nn

from parity.catalogue.entry import Entry

_SIZES = {"num_embeddings": 11, "embedding_dim": 3}

ROWS: tuple[Entry, ...] = (
    Entry(
        nn.Embedding,
        "layer",
        {"": _SIZES} | {f"padding_idx={n}": _SIZES | {"padding_idx": n} for n in (0, 2)},
        domain="index",
        positional=("num_embeddings", "embedding_dim"),
    ),
)
