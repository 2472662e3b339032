"""What is raised where the gate itself cannot judge: exit code 2, never a pass."""

from __future__ import annotations

GATE_BROKEN = 2
"""The exit code."""


class Broken(Exception):
    """Says what is wrong with the gate, and what would be right."""
