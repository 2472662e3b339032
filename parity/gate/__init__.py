"""The regression gate: `parity gate`."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from parity.gate.data.broken import Broken
    from parity.gate.data.plan import Gate
else:
    _PLACES = {"Broken": "broken", "Gate": "plan"}

    def __getattr__(name: str) -> Any:
        """Imports a name at its first use: the command's options need no torch."""
        if name not in _PLACES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"parity.gate.data.{_PLACES[name]}"), name)


__all__ = ["Broken", "Gate"]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
