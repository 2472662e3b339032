"""What recorded numbers depend on beside the code."""

from __future__ import annotations

import platform
import re
from pathlib import Path

import torch


def processor() -> str:
    """The processor's name, as far as the system tells."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def fingerprint() -> dict[str, str]:
    """Where rounding is the same: processor, what torch uses of it, and versions."""
    return {
        "processor": processor(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
        "python": ".".join(platform.python_version_tuple()[:2]),
    }


def slug(facts: dict[str, str]) -> str:
    """A fingerprint as a file's name."""
    text = "{processor} {instructions} torch {torch} python {python}".format(**facts)
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-")
