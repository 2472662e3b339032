"""The conventions of courses, by name: what their frameworks have in common."""

from __future__ import annotations

from typing import Any

PRESETS: dict[str, dict[str, Any]] = {
    "cs231n": {
        "array": "numpy", "weight": "in_out", "gradients": "overwritten",
        "running_variance": "biased", "biases": "one", "gates": "ifog",
    },
    "eecs498": {
        "array": "torch", "weight": "in_out", "gradients": "overwritten",
        "running_variance": "biased", "biases": "one", "gates": "ifog",
    },
    "cmu11785": {
        "array": "numpy", "gradients": "overwritten", "targets": ("one_hot",),
        "parameters": lambda layer: _dl(layer), "running_variance": "biased",
    },
    "ee559": {"array": "torch", "parameters": "pairs", "gradients": "accumulated"},
}  # fmt: skip
"""What the courses of that name have in common, as settings of a `Subject`."""


def _dl(layer: Any) -> list[tuple[Any, Any]]:
    """Parameters in attributes `W` and `b`, or `BW` and `Bb`, with gradients `dLdW`, `dLdb`, …; of
    a recurrent cell, `W_ih` and `dW_ih`, `Wrx` and `dWrx`, …"""
    names = [name for name in ("W", "b", "BW", "Bb") if hasattr(layer, name)]
    if not names:
        own = getattr(layer, "__dict__", {})
        return [(value, own[f"d{name}"]) for name, value in own.items() if f"d{name}" in own]
    return [(getattr(layer, name), getattr(layer, f"dLd{name}", None)) for name in names]


def told(settings: dict[str, Any]) -> str:
    """What conventions have set, but for what the adapter says otherwise; "" without any.

    Args:
        settings: all that the subject has in the end, its `conventions` among them.
    """
    name = settings.get("conventions", "")
    parts = [
        DOTTED if callable(value) else f"{key}={value!r}"
        for key, value in PRESETS.get(name, {}).items()
        if settings.get(key) is value or settings.get(key) == value
    ]
    return f"{name}: {', '.join(parts)}" if parts else name


DOTTED = "parameters in W and b, gradients in dLdW and dLdb"
