"""Guards a call of the subject: turns what it raises into `Broken`, and puts global state back."""

from __future__ import annotations

import contextlib
import functools
import random
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from parity.play.broken import Broken, Own, Unoffered, legible, place, raised_by_us, trace_of
from parity.subject.error import AdapterError


def seed_all(seed: int) -> None:
    """Seeds whatever a subject may draw from.

    `torch.manual_seed` also keeps a copy of the stack for each kind of device that is not in use:
    a millisecond a call, most of a check.
    """
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)
    np.random.seed(seed)  # noqa: NPY002 - the subject's choice
    random.seed(seed)


def seed_own(made: Any, seed: int) -> None:
    """Seeds the generators that an object has as attributes, and those of its class's module."""
    module = sys.modules.get(type(made).__module__)
    for holder in (made, module):
        for own in list(getattr(holder, "__dict__", {}).values()):
            if (again := _seeding(type(own))) is not None:  # type: ignore[arg-type]
                again(own, seed)


@functools.lru_cache(maxsize=1024)
def _seeding(kind: type) -> Callable[[Any, int], object] | None:
    """What seeds an object of that class, if it is a generator."""
    if issubclass(kind, torch.Generator):
        return lambda own, seed: own.manual_seed(seed)
    if issubclass(kind, np.random.Generator):
        return _seed_numpy
    if issubclass(kind, (np.random.RandomState, random.Random)):
        return lambda own, seed: own.seed(seed)
    return None


def _seed_numpy(own: np.random.Generator, seed: int) -> None:
    own.bit_generator.state = type(own.bit_generator)(seed).state


@contextlib.contextmanager
def randomness_kept() -> Iterator[None]:
    """Leaves the global generators as they were, whatever is seeded and drawn within."""
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    try:
        yield
    finally:
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        random.setstate(states[2])


#: What a subject does to the state of the process that is everybody's; in order of discovery.
habits: dict[str, None] = {}


@contextlib.contextmanager
def guarded(dtype: torch.dtype, poison: bool = False, device: str = "cpu") -> Iterator[None]:
    """A call of the subject: from torch's usual state, which is put back as it was.

    With `poison`, memory that nobody has initialised is full of NaN.

    Raises:
        Broken: the subject raised an exception, or called sys.exit.
        Own: parity itself raised one.
    """
    before = torch.get_default_dtype(), torch.is_grad_enabled()
    # A default device, once set, slows every call of torch: on the CPU there is none.
    place = contextlib.nullcontext() if device == "cpu" else torch.device(device)
    strict = torch.get_deterministic_debug_mode()
    empty, seed = (np.empty, np.empty_like), torch.initial_seed()
    torch.set_default_dtype(dtype)
    torch.set_grad_enabled(True)
    if poison:
        # As `use_deterministic_algorithms(True, warn_only=True)`, which takes seconds to import.
        torch.set_deterministic_debug_mode("warn")
        _set_numpy(_nan(empty[0]), _nan(empty[1]))
    try:
        with place, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they are the subject's, and no errors of its results
            yield
    except (Broken, Own, Unoffered):
        raise
    except AdapterError as error:
        raise Broken(str(error)) from None
    except SystemExit as exit_:
        raise Broken(f"calls sys.exit({exit_.code!r})") from None
    except Exception as error:
        if raised_by_us(error):
            raise Own("".join(traceback.format_exception(error))) from None
        raise Broken(said(error), trace_of(error)) from error
    finally:
        _note_habits(dtype, seed)
        torch.set_default_dtype(before[0])
        torch.set_grad_enabled(before[1])
        if poison:
            torch.set_deterministic_debug_mode(strict)
            _set_numpy(*empty)


def _note_habits(dtype: torch.dtype, seed: int) -> None:
    if not torch.is_grad_enabled():
        habits["switches torch's grad mode off"] = None
    if torch.get_default_dtype() != dtype:
        habits["changes torch's default dtype"] = None
    if torch.initial_seed() != seed:
        habits["seeds torch's global generator"] = None
    if torch.get_default_device().type != "cpu":
        habits["changes torch's default device"] = None
        torch.set_default_device(None)


def said(error: BaseException) -> str:
    """An exception as a report has it: what was raised, and where."""
    text = _text(error)
    if isinstance(error, MemoryError) or "can't allocate memory" in text:
        return f"asks for more memory than there is: {_raised(error, text)}"
    return f"raises {_raised(error, text)}"


def _raised(error: BaseException, text: str) -> str:
    first = text.strip().partition("\n")[0]
    kind, says = legible(type(error).__name__), legible(first)
    return f"{kind}: {says}{place(error)}" if says else f"{kind}{place(error)}"


def _text(error: BaseException) -> str:
    """What an exception says, or that it cannot even say that."""
    try:
        return str.__str__(str(error))[:10_000]
    except Exception as another:
        return f"its text cannot be had: {type(another).__name__}"


def _set_numpy(empty: Any, empty_like: Any) -> None:
    setattr(np, "empty", empty)  # noqa: B010 - numpy's stubs have it final
    setattr(np, "empty_like", empty_like)  # noqa: B010


def _nan(make: Any) -> Any:
    def filled(*args: Any, **options: Any) -> Any:
        array = make(*args, **options)
        if np.issubdtype(array.dtype, np.floating):
            array.fill(np.nan)
        return array

    return filled
