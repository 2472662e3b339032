"""What the objects of a subject have in common, and where their code is."""

from __future__ import annotations

import contextlib
import inspect
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from parity.play.arrays import Layout, Watch
from parity.play.broken import Broken, legible
from parity.play.guard import guarded
from parity.play.traced import Traced
from parity.subject.functions import FunctionLayer, FunctionLoss, FunctionOptimizer
from parity.subject.hooks import STEPS
from parity.subject.subject import Subject


class Instance:
    """One object of the subject, in one dtype: what layers, losses and models have in common."""

    device = "cpu"

    def __init__(self, subject: Subject, dtype: torch.dtype, poison: bool = False) -> None:
        self.subject, self.dtype, self.poison = subject, dtype, poison
        self.layout = Layout(subject.array, subject.batch, subject.kernel_of(nn.Conv2d))
        self.watch = Watch()

    def assume(self, settings: dict[str, Any]) -> None:
        """Plays by other settings than the adapter's, to find out whether they fit."""
        self.subject = replace(self.subject, **settings)
        self.layout = replace(self.layout, array=self.subject.array)

    def arrays(self) -> list[str]:
        """Of which kinds of arrays its parameters are: "torch", "numpy"."""
        return []

    def imports(self) -> tuple[str, list[str]]:
        """Of which kind of arrays the adapter says that it is, "torch" or "numpy", and which of
        these its own module has."""
        module = sys.modules.get(type(getattr(self, "made", None)).__module__)
        values = getattr(module, "__dict__", {}).values()
        own = [one.__name__ for one in values if inspect.ismodule(one)]
        return self.subject.array, [name for name in ("torch", "numpy") if name in own]

    def attempt(self, method: str, *args: Any) -> tuple[bool, Any]:
        """Calls a method of this object: whether it was refused, and the result if not."""
        try:
            return False, getattr(self, method)(*args)
        except Broken:
            return True, None

    def guard(self) -> contextlib.AbstractContextManager[None]:
        return guarded(self.dtype, self.poison, self.device)

    def give(self, x: Tensor, lies: str = "") -> Any:
        """A copy of `x` as the subject takes it, where it lives."""
        return self.layout.give(x.to(self.device), lies)

    def modified(self) -> list[str]:
        """What has been modified that should not: inputs, outputs, incoming gradients."""
        return self.watch.modified()

    def scribble(self) -> None:
        """Overwrites every array that was handed over or came back."""
        self.watch.scribble()

    def places(self) -> list[tuple[str, str]]:
        """Where the subject's own code is, by what it does: `("backward", "Tanh.backward
        (course.py:57)")`."""
        return placed(getattr(self, "made", None))


def placed(made: Any) -> list[tuple[str, str]]:
    """Where an object's methods are, by what they do; or a function itself."""
    if isinstance(made, Traced):
        return [one for one in placed(made.own) if one[0] == "forward"]
    if isinstance(made, FunctionLayer):
        both = {"forward": made.own.forward, "backward": made.own.backward}
        return [(does, place) for does, f in both.items() for _, place in placed(f)]
    if isinstance(made, (FunctionLoss, FunctionOptimizer)):
        return [(does, place) for does in WAYS for _, place in placed(made.own)]
    if type(made).__module__.startswith("parity."):
        return []  # such as layers in a row
    found = []
    passes = any(hasattr(type(made), name) for name in ("forward", "backward"))
    for does, names in (
        ("forward", ("forward", "__call__")), ("backward", ("backward",)), ("step", STEPS),
    ):  # fmt: skip
        if does == "step" and passes:
            continue  # a layer's `update_params` is no place of its gradients
        own = next((getattr(type(made), n) for n in names if hasattr(type(made), n)), None)
        own = made if does == "forward" and inspect.isfunction(made) else own
        code = getattr(inspect.unwrap(own), "__code__", None) if own is not None else None
        if code is not None:
            file = legible(Path(code.co_filename).name)
            name = legible(getattr(own, "__qualname__", does).rpartition("<locals>.")[2])
            found.append((does, f"{name} ({file}:{code.co_firstlineno})"))
    return found


WAYS = ("forward", "backward", "step")
