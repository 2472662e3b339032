"""Sweeps a function over its cases, and reports what was found."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from parity.kernels.cases import Case
from parity.kernels.judging import Tried, mistrusted_of, tried
from parity.kernels.memory import beside_torch
from parity.kernels.player import Pair
from parity.kernels.report import SweepReport, findings_of, proving_too_little, with_the_rest
from parity.kernels.spec import Sweep, sweep_of
from parity.run.plan import matches
from parity.subject.error import AdapterError


def check_function(
    subject: Any,
    reference: Any,
    inputs: Mapping[str, Any] | Sequence[Any] = (),
    *,
    full: bool = False,
    only: str | Sequence[str] = (),
    strict: bool = False,
    **spec: Any,
) -> SweepReport:
    """Checks a function that autograd can go back through against torch's, over a sweep of cases.

        parity.check_function(my_rms_norm, torch_rms_norm, {"x": "M N", "weight": "N"},
                              sizes={"M": [1, 7, 1027], "N": [8, 33, 1023]})

    Args:
        subject: a function, such as the `apply` of a `torch.autograd.Function`, a custom operator
            or what torch.compile returns; it is called as the reference is, by position.
        reference: torch's function of the same arguments, differentiable; in float64 it is also
            what errors are measured against.
        inputs: each argument by name, in order: its dimensions, `"M N"`; an input such as
            `parity.indices("M", of="V")`; a tensor; a list of the values of an option; or
            anything else, which is passed on as it is. They may be given by keyword too.
        full: tries every choice, and not only every pair of choices.
        only: tries the results and cases alone whose id has one of these in it.
        strict: remarks fail it too.
        spec: dimensions as inputs by keyword, and what `parity.sweep` takes.

    Returns: the report; `report.passed`, `report.findings`, `print(report)`.

    Raises:
        AdapterError: the inputs make no sense, or the reference does not take them.
    """
    sweep = specified(reference, inputs, spec, name=name_of(subject))
    return run(sweep, subject, full=full, only=only, strict=strict)


def check_pair(
    forward: Callable[..., Any],
    backward: Callable[..., Any],
    reference: Callable[..., Any],
    inputs: Mapping[str, Any] | Sequence[Any] = (),
    **spec: Any,
) -> SweepReport:
    """Checks a forward and a backward that know nothing of autograd; the rest as `check_function`.

    Args:
        forward: takes the inputs; returns the outputs, and, if it likes, one thing more, which
            backward is given.
        backward: takes the gradients of the outputs, and then what forward has kept; without
            that, the inputs. It returns the gradients of the inputs that have one, in their order,
            or a dict of them by name.
    """
    return check_function(Pair(forward, backward), reference, inputs, **spec)


def check_module(
    subject: nn.Module | Callable[..., nn.Module],
    reference: nn.Module | Callable[..., nn.Module],
    inputs: Mapping[str, Any] | Sequence[Any] = (),
    **spec: Any,
) -> SweepReport:
    """Checks a module against torch's, which has the same parameters; the rest as `check_function`.

        parity.check_module(lambda N: MyNorm(N), lambda N: nn.LayerNorm(N), x="M N")

    Args:
        subject, reference: modules; or functions that make them of sizes, by the names of
            dimensions.
    """
    return check_function(subject, reference, inputs, modules=True, **spec)


SETTINGS = ("sizes", "blocks", "dtypes", "numbers", "name", "mistakes", "half", "deterministic",
            "compiles", "double", "writes", "device", "seed", "modules")  # fmt: skip


def specified(reference: Any, inputs: Any, spec: Mapping[str, Any], *, name: str = "") -> Sweep:
    """A sweep of inputs, settings, and inputs that are given among them by keyword."""
    settings = {key: value for key, value in spec.items() if key in SETTINGS}
    named = {key: value for key, value in spec.items() if key not in SETTINGS}
    if named and not isinstance(inputs, Mapping) and len(inputs):
        raise AdapterError(f"the inputs are given in order; {', '.join(named)} has no place there")
    if isinstance(inputs, Mapping) or named or not len(inputs):
        inputs = {**dict(inputs), **named}
    settings.setdefault("name", name)
    return sweep_of(reference, inputs, **settings)


def run(
    sweep: Sweep,
    subject: Any,
    *,
    full: bool = False,
    only: str | Sequence[str] = (),
    strict: bool = False,
) -> SweepReport:
    """Tries every case of a sweep, or those alone whose id has one of `only` in it."""
    patterns = (only,) if isinstance(only, str) else tuple(only)
    kept: dict[Case, Tried] = {}

    def again(case: Case) -> Tried:
        if case not in kept:
            kept[case] = tried(sweep, subject, case)
        return kept[case]

    tries = [again(case) for case in chosen(sweep, full=full, only=patterns)]
    found = findings_of(sweep, tries, again, place=place_of(subject))
    outcomes = [outcome for one in tries for outcome in one.outcomes]
    found = with_the_rest(sweep.name, outcomes, found)
    shown = {name for one in tries for name in one.shown}
    own = [] if patterns else mistrusted_of(sweep.name, sweep.mistakes, shown)
    gaps, habits = gaps_and_habits(sweep.device, tries, [str(one.case) for one in tries])
    memory = beside_torch(sweep, subject)
    return SweepReport(
        sweep.name, [*outcomes, *own], habits=habits, gaps=gaps, strict=strict,
        settings={"memory": memory} if memory else {},
        found=[*found, *proving_too_little(sweep.name, own)],
    )  # fmt: skip


def chosen(sweep: Sweep, *, full: bool = False, only: Sequence[str] = ()) -> list[Case]:
    """The cases of a sweep, each once; of those, where ids are named, the ones that have such.

    Raises:
        AdapterError: there is none.
    """
    cases = {str(case): case for case in sweep.axes.cases(full=full)}
    if only:
        results = ["run", *sweep.outputs, *(f"{name}_grad" for name in sweep.wanted)]
        kept = {
            name: case for name, case in cases.items()
            if any(matches(f"{result}-{name}", tuple(only)) for result in results)
        }  # fmt: skip
        if not kept:
            raise AdapterError(f"{sweep.name}: no case has {' or '.join(only)} in its id")
        cases = kept
    return list(cases.values())


def gaps_and_habits(
    device: str, tries: Sequence[Tried], names: Sequence[str]
) -> tuple[list[str], list[str]]:
    """What was not checked, and what is worth knowing of what was."""
    unchecked: dict[str, list[str]] = {}
    for name, one in zip(names, tries, strict=True):
        if one.why:
            unchecked.setdefault(one.why, []).append(name)
    gaps = [f"{cases[0]}{_more(cases)}: {why}" for why, cases in unchecked.items()]
    gaps += [NOT_SEEN] if device == "cpu" else []
    habits = []
    if moved := list(dict.fromkeys(name for one in tries for name in one.moved)):
        habits.append(
            f"has other bits at a second call with the same inputs, in {', '.join(moved)}"
        )
    excused = max((one.excused for one in tries), default=0.0)
    if excused:
        habits.append(f"is held against a torch that is itself off by {excused:.0f} roundings and "
                      "more in places, where that excuses nothing")  # fmt: skip
    return gaps, habits


NOT_SEEN = (
    "what shows on a GPU alone: races between blocks, autotuned configurations, atomics, offsets "
    "beyond 2^31"
)


def _more(names: list[str]) -> str:
    return f" and {len(names) - 1} more" if len(names) > 1 else ""


def name_of(subject: Any) -> str:
    """What a subject is called."""
    subject = subject.forward if isinstance(subject, Pair) else subject
    owner = getattr(subject, "__self__", None)  # of the `apply` of a Function
    if isinstance(owner, type) and getattr(subject, "__name__", "") == "apply":
        return owner.__name__
    name = getattr(subject, "__name__", "") or type(subject).__name__
    return "the function" if name == "<lambda>" else str(name)


def place_of(subject: Any) -> str:
    """Where a subject stands, such as `norm.py:12`; "" where that cannot be said."""
    subject = subject.backward if isinstance(subject, Pair) else subject
    owner = getattr(subject, "__self__", None)
    subject = owner if isinstance(owner, type) else subject
    subject = type(subject) if isinstance(subject, nn.Module) else subject
    try:
        file = inspect.getsourcefile(subject)
        _, line = inspect.getsourcelines(subject)
    except (TypeError, OSError):
        return ""
    return f"{getattr(subject, '__name__', '')} ({Path(file).name}:{line})" if file else ""
