"""A whole model as a row of its own: its layers, its loss, and its optimizer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from parity.catalogue.entry import Entry, Options
from parity.catalogue.table import by_name


def _no_reference() -> nn.Sequential:
    raise NotImplementedError("a network without a reference is made of its parts")


@dataclass(frozen=True, eq=False)
class Network(Entry):
    """A whole model, and how it is trained: a case of its own.

    Args:
        name: as in a test's id.
        loss: the entry's name and the options of the loss; `optimizer`, of the optimizer.
        target: "one_hot" `[N, 2]`, "label" `[N, 1]`, or "index" `[N]`, int64.
        shape: of the input; without one, points `[N, 2]`.
        parts: the layers in a row, each by its entry's name and its options.
        reference: makes the torch side. Default: from `parts`.
    """

    reference: Callable[..., Any] = _no_reference
    kind: str = "network"
    loss: tuple[str, Options] = ("MSELoss", {"reduction": "mean"})
    optimizer: tuple[str, Options] | None = None
    target: str = "one_hot"
    shape: tuple[int, ...] = (10, 2)
    parts: tuple[tuple[str, Options], ...] = ()

    TARGETS: ClassVar[tuple[str, ...]] = ("one_hot", "label", "index")

    def make(self) -> nn.Sequential:
        """The torch side."""
        if not self.parts:
            made: nn.Sequential = self.reference()
            return made
        return nn.Sequential(*(by_name(name).reference(**o) for name, o in self.parts))
