"""Something at many seeds, in several processes; a run that is interrupted goes on where it was, as
long as the code is the same."""

from __future__ import annotations

import functools
import hashlib
import json
import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from parity.show.files import write

ROOT = Path(__file__).parent.parent


def code() -> str:
    """A fingerprint of what is tried."""
    digest = hashlib.sha256(torch.__version__.encode())
    for folder in ("scratch", "reference", "parity", "tests"):
        for file in sorted((ROOT / folder).rglob("*.py")):
            digest.update(file.read_bytes())
    return digest.hexdigest()


def kept(file: Path) -> dict[str, Any]:
    """What an interrupted run of the same code has left."""
    try:
        found: dict[str, Any] = json.loads(file.read_text())
    except (OSError, ValueError):
        found = {}
    return found if found.get("code") == code() else {"code": code(), "seeds": {}}


def over(seeds: int, processes: int, at: Callable[[int], Any], name: str) -> dict[str, Any]:
    """What `at` returns at each seed, those that were done before among them.

    Args:
        name: of what is kept in the project's folder.
    """
    file = ROOT / f".{name}.json"
    state = kept(file)
    left = [seed for seed in range(seeds) if str(seed) not in state["seeds"]]
    context = multiprocessing.get_context("spawn")
    with context.Pool(processes) as pool:
        results = pool.imap_unordered(functools.partial(_seeded, at), left)
        for done, (seed, result) in enumerate(
            tqdm(results, total=seeds, initial=seeds - len(left), unit="seed"), 1
        ):
            state["seeds"][str(seed)] = result
            if done % 10 == 0:
                write(file, json.dumps(state))
    write(file, json.dumps(state))
    return {key: value for key, value in state["seeds"].items() if int(key) < seeds}


def _seeded(at: Callable[[int], Any], seed: int) -> tuple[int, Any]:
    return seed, at(seed)
