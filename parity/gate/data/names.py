"""What the gate and its layers are called, as a command and in what it says."""

from __future__ import annotations

import os

CALLED = os.environ.get("PARITY_GATE", "parity gate")
"""How the command is called, in what is said: `tox -e gate --`, where tox calls it."""

LAYERS = ("numerics", "timing", "accuracy")
