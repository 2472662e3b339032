"""Scratch under every check of parity and of its own: one test for each case, dtype and check."""

from __future__ import annotations

import parity
from bench.own import SUBJECT
from parity.plugin import CheckTest


@parity.parametrize(SUBJECT)
def test_scratch(check: CheckTest) -> None:
    check()
