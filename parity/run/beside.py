"""Checks that are run beside the subject, in its process, since they need code of the adapter's.

That is so where an `Entry`'s or a `Network`'s torch side is a class of the adapter's, and of the
checks that an adapter brings. The judge asks by `session.beside`, and gets data.
"""

from __future__ import annotations

import functools
from dataclasses import fields
from typing import Any

import torch

from parity.catalogue.case import Case
from parity.catalogue.network import Network
from parity.checks.kinds import Check, checks_of
from parity.checks.trial import Trial, fact
from parity.judge.comparison import Comparison
from parity.judge.truth import HALF, Refused
from parity.play.broken import Broken, Own, Stopped, Unoffered, legible
from parity.play.guard import randomness_kept, said

LONGEST = 2000
"""How many characters of a text are taken over, which parity itself has made of the subject's."""


def named(session: Any, kind: str, name: str, dtype: torch.dtype, quick: bool) -> list[str]:
    """The checks of a case in a dtype, by name, of parity's and of the adapter's own."""
    case = _case(session, kind, name)
    return [*checks_of(case, dtype, quick=quick), *own_of(session, kind, dtype)]


def own_of(session: Any, kind: str, dtype: torch.dtype) -> dict[str, Check]:
    """The checks that the adapter brings: none in half precision."""
    if dtype in HALF:
        return {}
    return {legible(str(name)): check for name, check in session.own_checks(kind).items()}


def parts(session: Any, kind: str, name: str) -> list[str]:
    """The classes that a network is made of."""
    return list(parts_of(_case(session, kind, name)))


@functools.lru_cache(maxsize=256)
def parts_of(case: Case) -> tuple[str, ...]:
    """The classes that a network is made of."""
    if not isinstance(case.entry, Network):
        return ()
    network = case.entry
    layers = [type(layer).__name__ for layer in network.make()]
    moved = [network.optimizer[0]] if network.optimizer else []
    return tuple(dict.fromkeys([*layers, network.loss[0], *moved]))


def compared(
    session: Any, kind: str, name: str, dtype: torch.dtype, check: str, device: str, seed: int
) -> list[dict[str, Any]]:
    """What a check compares, as plain values: `from_data` reads them."""
    case = _case(session, kind, name)
    trial = Trial(session, case, dtype, device, seed)
    own = own_of(session, kind, dtype)
    try:
        with randomness_kept():
            if check in own:
                found = of_own(own[check], trial)
            else:
                found = checks_of(case, dtype)[check](trial)
    except Refused as refused:
        raise Unoffered(str(refused)) from None
    return [vars(one) for one in found]


def of_own(check: Check, trial: Trial) -> list[Comparison]:
    """What a check of the adapter's own compares; that it falls over itself is a failure."""
    try:
        return check(trial)
    except (Broken, Own, Refused, Stopped, Unoffered):
        raise
    except Exception as error:
        return [fact("run", False, f"its own check {said(error)}")]


def from_data(data: Any) -> list[Comparison]:
    """What `compared` has sent.

    Raises:
        Exception: of any kind, where it has not.
    """
    kinds = {field.name: field.type for field in fields(Comparison)}
    return [Comparison(**{k: _value(v, str(kinds[k])) for k, v in one.items()}) for one in data]


def _value(value: Any, kind: str) -> Any:
    match kind:
        case "float":
            return float(value)
        case "bool":
            return bool(value)
        case "str" if isinstance(value, str):
            return legible(value, LONGEST)
        case "tuple[str, ...]":
            return tuple(_value(one, "str") for one in value)
        case "tuple[tuple[str, str], ...]":
            return tuple((_value(text, "str"), _value(of, "str")) for text, of in value)
    raise TypeError(f"{value!r} is no {kind}")


def _case(session: Any, kind: str, name: str) -> Case:
    cases: list[Case] = session.description.cases
    return next(case for case in cases if (case.kind, str(case)) == (kind, name))
