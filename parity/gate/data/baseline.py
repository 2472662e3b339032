"""The baseline: what there is to judge, and the values recorded of it; two kinds of JSON files.

`manifest.json` lists every check and benchmark with its metrics. A file for each machine, named by
processor and versions, has the values. Each carries a digest of itself: a value is changed by
recording it, with a reason, and not by hand.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parity.gate.data import machine
from parity.gate.data.broken import Broken
from parity.gate.data.names import CALLED
from parity.show.files import write

FORMAT = 1
UPDATE = f'record it: {CALLED} --update-baseline --reason "…"'

#: Names, and the metrics of each, by kind.
Manifest = dict[str, dict[str, list[str]]]


@dataclass(frozen=True)
class Baseline:
    """What is recorded.

    Args:
        manifest: what there is to judge.
        values: on this machine, by kind and name; None where none are recorded.
        file: of the values.
    """

    manifest: Manifest
    values: dict[str, Any] | None
    file: Path


def folder_of(plan: Path) -> Path:
    return plan.parent / "baseline"


def read(folder: Path) -> Baseline:
    """The manifest, and the values of this machine.

    Raises:
        Broken: there is no manifest; a file is corrupt, or not of this manifest.
    """
    manifest = _read(folder / "manifest.json")
    if manifest is None:
        raise Broken(f"there is no baseline in {folder}: {UPDATE}")
    file = folder / f"{machine.slug(machine.fingerprint())}.json"
    values = _read(file)
    if values is not None and values["manifest"] != manifest["digest"]:
        raise Broken(f"the baseline of this machine is stale: it is of another manifest; {UPDATE}")
    return Baseline(manifest["entries"], values, file)


def strange(folder: Path) -> str:
    """Which machine this is, and which there are baselines of."""
    known = sorted(path.stem for path in folder.glob("*.json") if path.stem != "manifest")
    return (
        f"there is no baseline of {machine.slug(machine.fingerprint())}, only of "
        f"{', '.join(known) or 'none'}: use that processor and those versions, or {UPDATE}"
    )


def record(
    folder: Path, manifest: Manifest, values: Mapping[str, Any], why: Mapping[str, str]
) -> list[Path]:
    """Writes both files: sorted, rounded, each whole or not at all. Values of other machines stay,
    and count as long as the manifest is the same."""
    listed = {"format": FORMAT, "entries": manifest}
    listed["digest"] = _digest(listed)
    facts = machine.fingerprint()
    measured: dict[str, Any] = {
        "format": FORMAT, "environment": facts, **why, "manifest": listed["digest"],
        **_rounded(dict(values)),
    }  # fmt: skip
    measured["digest"] = _digest(measured)
    written = []
    folder.mkdir(parents=True, exist_ok=True)
    for path, content in (
        (folder / f"{machine.slug(facts)}.json", measured),
        (folder / "manifest.json", listed),
    ):
        write(path, json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
        written.append(path)
    return written


def differences(manifest: Manifest, offered: Manifest) -> list[tuple[str, str]]:
    """What the manifest has and is not offered, and the other way round: name and words."""
    found: list[tuple[str, str]] = []
    for kind in sorted(manifest.keys() | offered.keys()):
        listed, there = manifest.get(kind, {}), offered.get(kind, {})
        if listed and not there:
            found.append((kind, f"not one of the {len(listed)} in the manifest was collected"))
            continue
        extra = sorted(there.keys() - listed.keys())
        for name in sorted(listed.keys() - there.keys()):
            near = difflib.get_close_matches(name, extra, 1)
            hint = f"renamed to {near[0]!r}" if near else "deleted, renamed, skipped or deselected"
            found.append((f"{kind}: {name}", f"missing: it is in the manifest; {hint}?"))
        for name in extra:
            found.append((f"{kind}: {name}", "extra: it is not in the manifest"))
        for name in sorted(listed.keys() & there.keys()):
            if listed[name] != there[name]:
                both = f"{', '.join(there[name])} in place of {', '.join(listed[name])}"
                found.append((f"{kind}: {name}", f"other metrics than in the manifest: {both}"))
    return found


def listed(text: str) -> Manifest:
    """What a manifest's file lists; nothing, if it is none."""
    try:
        entries: Manifest = json.loads(text)["entries"]
    except (ValueError, KeyError, TypeError):
        return {}
    return entries


def removed(before: Manifest, manifest: Manifest) -> list[str]:
    """What an earlier manifest lists and this one does not."""
    return [
        f"{kind}: {name}"
        for kind, names in sorted(before.items())
        for name in sorted(names.keys() - manifest.get(kind, {}).keys())
    ]


def loosened(before: str, values: Mapping[str, Any]) -> list[str]:
    """What this machine's values allow, and did not in an earlier file of them."""
    try:
        earlier = json.loads(before)
    except ValueError:
        return []
    found = []
    for kind, pick in _ALLOWS.items():
        for name, value in sorted(values.get(kind, {}).items()):
            was = earlier.get(kind, {}).get(name)
            if was is not None and any(now > then for now, then in pick(value, was)):
                found.append(name)
    return found


def _each(now: Any, then: Any) -> list[tuple[float, float]]:
    """The values under the names that both have."""
    return [(now[name], then[name]) for name in now.keys() & then.keys()]


#: By kind, what is looser where it is larger, now and then.
_ALLOWS: dict[str, Callable[[Any, Any], list[tuple[float, float]]]] = {
    "bounds": lambda now, then: [(now, then)],
    "against_torch": lambda now, then: [(now, 1.1 * then)],
    "counts": _each,
    "pairs": lambda now, then: [(now["margin"], then["margin"])],
    "runs": lambda now, then: [(now["margin"] - now["mean"], then["margin"] - then["mean"])],
}


def _read(path: Path) -> dict[str, Any] | None:
    """A file's content; None if there is none.

    Raises:
        Broken: it is no whole file of ours.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise Broken(f"the baseline {path} is corrupt ({error}): restore it from git") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise Broken(f"the baseline {path} is not of format {FORMAT}: {UPDATE}")
    if content.get("digest") != _digest(content):
        raise Broken(
            f"the baseline {path} is corrupt, or was changed by hand: restore it from git, or "
            f"{UPDATE}"
        )
    return content


def _digest(content: Mapping[str, Any]) -> str:
    bare = {key: value for key, value in content.items() if key != "digest"}
    text = json.dumps(bare, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _rounded(value: Any) -> Any:
    """Numbers to four significant digits."""
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    if isinstance(value, float) and math.isfinite(value):
        return float(f"{value:.4g}")
    return value
