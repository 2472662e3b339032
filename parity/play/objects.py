"""Plays a subject: builds its layers, and calls them by its conventions. Runs beside it.

Everything that goes in and comes out is a torch tensor, batch first, with torch's names and
layouts for parameters, and so can cross to another process.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from parity.catalogue.entry import Options
from parity.catalogue.values import Tensors
from parity.play.arrays import Layout, Watch, real, tensor, write
from parity.play.broken import Broken, Misfit
from parity.play.guard import guarded, seed_all
from parity.play.parameters import Parameters, held, parameter_pairs, switch, zero_grad
from parity.subject.builders import bound
from parity.subject.subject import Subject


class Instance:
    """One object of the subject, in one dtype: what layers, losses and models have in common."""

    device = "cpu"

    def __init__(self, subject: Subject, dtype: torch.dtype, poison: bool = False) -> None:
        self.subject, self.dtype, self.poison = subject, dtype, poison
        self.layout = Layout(subject.array, subject.batch)
        self.watch = Watch()

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


class Layer(Instance):
    """A layer, or a container of layers (`parts`), with torch's names for its parameters."""

    def __init__(
        self,
        subject: Subject,
        dtype: torch.dtype,
        made: Any,
        poison: bool = False,
        parts: list[Any] | None = None,
    ) -> None:
        super().__init__(subject, dtype, poison)
        self.made = made
        self.parts = [made] if parts is None else parts
        self.names: list[str] = []

    def forward(self, x: Tensor, lies: str = "") -> Tensor:
        given = self.watch.keep("x", self.give(x, lies))
        with self.guard():
            y = self.watch.keep("output", forward(self.subject, self.made, given))
        return self.layout.take(y)

    def backward(self, dy: Tensor, lies: str = "") -> Tensor:
        given = self.watch.keep("dy", self.give(dy, lies))
        with self.guard():
            dx = backward(self.subject, self.made, given)
        if dx is None:
            raise Misfit("its backward returned nothing, where the input's gradient is due")
        self.watch.keep("input_grad", dx)
        return self.layout.take(dx)

    def parameters(self) -> Tensors:
        """By torch's names and in its layout."""
        return {k: self._read(k, p) for k, (p, _) in self._pairs().items()}

    def gradients(self) -> Tensors:
        """`weight.param_grad`, …; one that is None is left out."""
        return {
            f"{name}.param_grad": self._read(name, gradient)
            for name, (_, gradient) in self._pairs().items()
            if gradient is not None
        }

    def set_parameters(self, values: Tensors) -> None:
        """Writes parameters, in place.

        Raises:
            Misfit: they are not as many or not shaped as torch's, or writing has no effect.
        """
        self.names = list(values)
        for name, (parameter, _) in self._pairs().items():
            value = self._turned(name, values[name])
            with _naming(name):
                write(parameter, value)
        for name, (parameter, _) in self._pairs().items():
            kept = self._read(name, parameter)
            if kept.dtype != values[name].dtype:
                kind, given = (str(t.dtype).removeprefix("torch.") for t in (kept, values[name]))
                raise Misfit(
                    f"{name} is {kind} where {given} is asked for: if it cannot be built in "
                    f"{given}, the adapter says dtypes=({kind!r},)"
                )
            if not torch.equal(kept, values[name]):
                raise Misfit(
                    f"{name} cannot be written: what the adapter's `parameters` gives is a copy"
                )

    def zero_grad(self) -> None:
        """Starts accumulating anew; a subject that overwrites its gradients needs none."""
        if self.subject.gradients == "overwritten":
            return
        with self.guard():
            if hasattr(self.made, "zero_grad") and not self.subject.zero_grad:
                self.made.zero_grad()
            else:
                for part in self.parts:
                    zero_grad(self.subject, part)

    def train(self, mode: bool) -> str:
        """Sets training or evaluation mode; returns "" or that there is no such thing."""
        parts = [part for part in self.parts if part is not self.made]
        with self.guard():
            if self.subject.train:
                own = [] if isinstance(self.made, Chain) else [self.made]
                for one in own + parts:
                    self.subject.train(one, mode)
            elif not switch(self.made, mode) and not [p for p in parts if switch(p, mode)]:
                return f"it has no {'train' if mode else 'eval'}()"
        return ""

    def seed(self, seed: int) -> None:
        seed_all(seed)

    def _pairs(self) -> Parameters:
        found = self._found()
        if len(found) != len(self.names):
            due = f"{len(self.names)} ({', '.join(self.names)})" if self.names else "none"
            how = "" if callable(self.subject.parameters) else f" as {self.subject.parameters!r}"
            raise Misfit(f"it has {len(found)} parameters{how}, where torch has {due}")
        return dict(zip(self.names, found, strict=True))

    def _found(self) -> list[tuple[Any, Any]]:
        with self.guard():
            return [pair for part in self.parts for pair in parameter_pairs(self.subject, part)]

    def _turned(self, name: str, value: Tensor) -> Tensor:
        turned = self.subject.weight == "in_out" and value.dim() == 2 and name.endswith("weight")
        return value.mT if turned else value

    def _read(self, name: str, array: Any) -> Tensor:
        try:
            x = real(array)
        except Misfit as misfit:
            raise Misfit(f"{name}, or its gradient: {misfit}") from None
        if not name.endswith("weight"):
            x = x.reshape([n for n in x.shape if n != 1] or [1])
        return self._turned(name, x).contiguous()


class Loss(Instance):
    """A loss."""

    def __init__(
        self, subject: Subject, dtype: torch.dtype, made: Any, poison: bool = False
    ) -> None:
        super().__init__(subject, dtype, poison)
        self.made = made
        self.given: tuple[Any, Any] = (None, None)

    def forward(self, prediction: Tensor, target: Tensor, lies: str = "") -> Tensor:
        """The loss, in the shape that the subject gives it."""
        self.given = (
            self.watch.keep("prediction", self.give(prediction, lies)),
            self.watch.keep("target", self.give(target, lies)),
        )
        with self.guard():
            call = self.subject.loss_forward
            if call:
                value = call(self.made, *self.given)
            else:
                value = getattr(self.made, "forward", self.made)(*self.given)
        x = tensor(value).to(self.dtype) if isinstance(value, (int, float)) else real(value)
        return x if x.numel() == 1 else self.layout.take(x)

    def backward(self) -> Tensor:
        with self.guard():
            call = self.subject.loss_backward
            dx = call(self.made, *self.given) if call else self.made.backward()
        if dx is None:
            raise Misfit("its backward returned nothing, where the prediction's gradient is due")
        self.watch.keep("prediction_grad", dx)
        return self.layout.take(dx)


class Optimizer(Layer):
    """An optimizer over a layer's parameters."""

    optimizer: Any = None

    def attach(self, name: str, options: Options) -> None:
        """Builds the subject's optimizer of that name over this layer's parameters as they are."""
        over_model = self.subject.optimizer == "model"
        with self.guard():
            target = self.made if over_model else held(self.subject, self.made, self.parts)
            self.optimizer = construct(self.subject, name, options, target)

    def steps(self, batches: list[tuple[Tensor, Tensor]]) -> list[tuple[Tensors, ...]]:
        """A step for each `(x, dy)`: the gradients before it and after it, and the parameters.

        All of them are one call, for they may be many.
        """
        made: list[tuple[Tensors, ...]] = []
        for x, dy in batches:
            self.clear()
            self.forward(x)
            self.backward(dy)
            gradients = self.gradients()
            self.step()
            made.append((gradients, self.gradients(), self.parameters()))
            self.watch.seen.clear()
        return made

    def clear(self) -> None:
        """Sets gradients to zero, by the optimizer's `zero_grad` if it has one."""
        if hasattr(self.optimizer, "zero_grad"):
            with self.guard():
                self.optimizer.zero_grad()
        else:
            self.zero_grad()

    def step(self) -> None:
        """One step.

        Raises:
            Misfit: a gradient is not of its parameter's kind: no step could be judged by it.
        """
        gradients = self.gradients()
        for name, p in self.parameters().items():
            gradient = gradients.get(f"{name}.param_grad")
            if gradient is None:
                raise Misfit(f"{name} has no gradient to step by")
            if (gradient.shape, gradient.dtype) != (p.shape, p.dtype):
                got, due = (f"{list(x.shape)} {x.dtype}" for x in (gradient, p))
                raise Misfit(f"the gradient of {name} is {got}, where the parameter is {due}")
        with self.guard():
            if self.subject.step:
                self.subject.step(self.optimizer)
            else:
                self.optimizer.step()


def build(
    subject: Subject,
    name: str,
    options: Options,
    dtype: torch.dtype,
    seed: int,
    poison: bool = False,
    device: str = "cpu",
) -> Any:
    """The subject's own layer or loss of a catalogue entry."""
    seed_all(seed)
    with guarded(dtype, poison, device):
        return construct(subject, name, options)


def construct(subject: Subject, name: str, options: Options, *first: Any) -> Any:
    """Calls the subject's builder of that name, as its signature has the options."""
    if name not in subject.entries():
        raise Misfit(f"the adapter has no {name}, which this check needs")
    entry, builder = subject.entries()[name]
    call = bound(builder, entry, options)
    if isinstance(call, str):
        raise Misfit(call)
    made = builder(*first, *call[0], **call[1])
    if made is None and entry.kind == "layer" and subject.forward is None:
        raise Misfit(f"what the adapter has for {name} returns None, and not a {name}")
    return made


def assembled(subject: Subject, parts: list[Any]) -> Any:
    """Layers in a row: in the subject's own Sequential, if it has one."""
    container = subject.container()
    return container(*parts) if container else Chain(subject, parts)


def forward(subject: Subject, made: Any, x: Any) -> Any:
    """A forward by the adapter's convention."""
    if subject.forward and not isinstance(made, Chain):
        return subject.forward(made, x)
    return made.forward(x) if hasattr(made, "forward") else made(x)


def backward(subject: Subject, made: Any, dy: Any) -> Any:
    """A backward by the adapter's convention."""
    if subject.backward and not isinstance(made, Chain):
        return subject.backward(made, dy)
    return made.backward(dy)


class Chain:
    """Layers in a row, for a subject without a container of its own."""

    def __init__(self, subject: Subject, parts: list[Any]) -> None:
        self.parts = parts
        ways = partial(forward, subject), partial(backward, subject)
        self.ways: list[tuple[Callable[..., Any], ...]] = [ways for _ in parts]

    def forward(self, x: Any) -> Any:
        for part, (run, _) in zip(self.parts, self.ways, strict=True):
            x = run(part, x)
        return x

    def backward(self, dy: Any) -> Any:
        for part, (_, run) in zip(self.parts[::-1], self.ways[::-1], strict=True):
            dy = run(part, dy)
        return dy


@contextlib.contextmanager
def _naming(name: str) -> Iterator[None]:
    try:
        yield
    except Misfit as misfit:
        raise Misfit(f"{name}: {misfit}; is `weight` declared as it is?") from None
