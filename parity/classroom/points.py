"""What the classes of a submission are worth."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parity.classroom.result import Result
from parity.subject.error import AdapterError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

EXAMPLE = "forward = 0.5 and a table [points] with lines such as Linear = 3"


@dataclass(frozen=True)
class Points:
    """What each class is worth, and what share of that its forward earns alone."""

    of: Mapping[str, float]
    forward: float = 0.5

    def earned(self, result: Result, cls: str) -> float:
        """All of a class's points where nothing of it fails; the forward's share where its values
        are right; else none."""
        worth = self.of.get(cls, 0.0)
        if result.why or cls not in result.classes:
            return 0.0
        if not result.failed(cls):
            return worth
        return worth * self.forward if cls in result.values else 0.0

    def total(self, result: Result) -> float:
        return sum(self.earned(result, cls) for cls in self.of)


def points_of(path: str | Path) -> Points:
    """The points that a TOML file says.

        forward = 0.5

        [points]
        Linear = 3
        Tanh = 2

    Raises:
        AdapterError: there is no such file, or it says something else.
    """
    try:
        data = tomllib.loads(Path(path).read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise AdapterError(f"--points: {path} cannot be read: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise AdapterError(f"--points: {path} is no TOML ({error}); it takes {EXAMPLE}") from None
    odd = [name for name in data if name not in ("forward", "points")]
    worth, forward = data.get("points"), data.get("forward", 0.5)
    if odd or not isinstance(worth, dict) or not worth:
        what = f"has {odd[0]}" if odd else "has no table [points]"
        raise AdapterError(f"--points: {path} {what}; it takes {EXAMPLE}")
    for name, value in {**worth, "forward": forward}.items():
        if not _number(value) or (name == "forward" and value > 1):
            range_ = "from 0 to 1" if name == "forward" else "from 0 on"
            raise AdapterError(f"--points: {path}: {name} = {value!r} is no number {range_}")
    return Points(worth, forward)


def _number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and value >= 0


def said(points: float) -> str:
    """Points as a person writes them: at most two digits behind the point."""
    return f"{round(points, 2):g}"
