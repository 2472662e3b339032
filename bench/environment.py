"""What a number was measured on."""

from __future__ import annotations

import functools
import hashlib
import platform
from pathlib import Path
from typing import Any

import torch

from parity.gate.data.machine import processor as processor


def environment(device: str) -> dict[str, Any]:
    """Versions, processor, threads and device: what stands beside every measured number."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "processor": processor(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if device.startswith("cuda") else "cpu",
        "code": code(),
        "system": f"{platform.system()} {platform.machine()}",
    }


@functools.cache
def code(*parts: str) -> str:
    """A fingerprint of sources, files or packages of the project.

    Default: of all that is measured, and of all that measures.
    """
    root = Path(__file__).parent.parent
    digest = hashlib.sha256()
    for part in parts or ("scratch", "reference", "parity", "bench"):
        for file in [root / part] if part.endswith(".py") else sorted((root / part).rglob("*")):
            if file.suffix in (".py", ".cpp"):
                digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def caption(facts: dict[str, Any]) -> str:
    """An environment in one line."""
    threads = f"{facts['threads']} thread" + ("s" if facts["threads"] > 1 else "")
    accelerator = "" if facts["device"] == "cpu" else f"{facts['device']}, "
    return (
        f"{accelerator}{facts['processor']}, {threads}, torch {facts['torch']}, "
        f"Python {facts['python']}, {facts['system']}"
    )
