"""The fused engine: what it computes, layer by layer and in trainings, and what it refuses."""

from __future__ import annotations

import parity
from parity.plugin import CheckTest
from tests import fused as adapter


@parity.parametrize(adapter.SUBJECT)
def test_layers(check: CheckTest) -> None:
    """Every check of parity, of each layer and loss."""
    check()
