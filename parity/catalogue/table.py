"""All rows, by torch class and by name."""

from __future__ import annotations

from typing import Any

from parity.catalogue import (
    activations,
    attention,
    clipping,
    convolution,
    ctc,
    dropout,
    embedding,
    linear,
    losses,
    normalization,
    optimizers,
    pooling,
    recurrent,
)
from parity.catalogue.entry import Entry


def by_name(name: str) -> Entry:
    """The catalogue's entry of that name."""
    return next(entry for entry in CATALOGUE.values() if entry.name == name)


#: The rows, by torch class, or torch's function.
CATALOGUE: dict[Any, Entry] = {
    entry.key: entry
    for family in (
        linear,
        convolution,
        pooling,
        normalization,
        embedding,
        recurrent,
        attention,
        dropout,
        activations,
        losses,
        ctc,
        optimizers,
        clipping,
    )
    for entry in family.ROWS
}
