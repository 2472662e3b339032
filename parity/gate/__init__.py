"""The regression gate: `parity gate`."""

from parity.gate.broken import Broken
from parity.gate.plan import Gate

__all__ = ["Broken", "Gate"]
