"""What a project gives the gate to judge: one object, in a file that `pyproject.toml` names.

    [tool.parity]
    gate = "bench/gate/plan.py"

The file defines `gate = Gate(…)`. It is loaded anew in every process that works on it.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

from parity.gate.data.broken import Broken
from parity.subject.subject import Subject

#: Accuracies, or seconds, of both sides: the project's and torch's.
Both = tuple[Sequence[float], Sequence[float]]


@dataclass(frozen=True)
class Gate:
    """What is judged. Names are those of the report and of the baseline.

    Args:
        subject: the project, as `parity check` takes it: all checks are run.
        trajectories: each returns the error of something that is trained, over what is allowed:
            above 1 it is wrong.
        counts: each returns numbers that are to stay: of parameters, operations, allocations.
        timed: the Python file of what is timed in two trees; it defines `benchmarks()`, a dict
            from names to functions of a number of units. Such a function returns `prepare`,
            which is called before each sample and returns the callable that is timed. Empty:
            nothing is timed.
        margins: slowdowns that nobody minds, as shares, where they are not 0.02, by benchmark.
        against_torch: each returns the seconds of samples of both sides, taken in turn.
        pairs: from seeds to accuracies, in per cent, of both sides trained from the same draws.
        runs: from seeds to accuracies, in per cent, of the project alone: fast, since they are
            many.
    """

    subject: Subject
    trajectories: Mapping[str, Callable[[], float]] = field(default_factory=dict)
    counts: Mapping[str, Callable[[], Mapping[str, int]]] = field(default_factory=dict)
    timed: Path | None = None
    margins: Mapping[str, float] = field(default_factory=dict)
    against_torch: Mapping[str, Callable[[], Both]] = field(default_factory=dict)
    pairs: Mapping[str, Callable[[Sequence[int]], Both]] = field(default_factory=dict)
    runs: Mapping[str, Callable[[Sequence[int]], Sequence[float]]] = field(default_factory=dict)


def plan_of(root: Path) -> Path:
    """The file that a project's `pyproject.toml` names.

    Raises:
        Broken: it names none, or one that is not there.
    """
    settings = root / "pyproject.toml"
    try:
        named = tomllib.loads(settings.read_text())["tool"]["parity"]["gate"]
    except OSError:
        raise Broken(f"there is no {settings}: start the gate in the project's folder") from None
    except tomllib.TOMLDecodeError as error:
        raise Broken(f"{settings} cannot be read: {error}") from None
    except (KeyError, TypeError):
        raise Broken(
            f'{settings} names no plan: it takes [tool.parity] and gate = "PLAN.py"'
        ) from None
    plan = root / str(named)
    if not plan.is_file():
        raise Broken(f"{settings} names {named}, which is not there")
    return plan


def loaded(plan: Path) -> Gate:
    """The `gate` of a plan; what it imports may lie in the folder that holds `pyproject.toml`.

    Raises:
        Broken: it cannot be imported, or has none.
    """
    module = imported(plan, "parity_gate_plan")
    gate = getattr(module, "gate", None)
    if not isinstance(gate, Gate):
        raise Broken(f"{plan} defines no `gate = parity.gate.Gate(…)`")
    return gate


def imported(file: Path, name: str) -> Any:
    """A Python file as a module.

    Raises:
        Broken: it cannot be imported.
    """
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise Broken(f"{file} is no Python file")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise Broken(f"{file} cannot be loaded: {type(error).__name__}: {error}") from error
    return module
