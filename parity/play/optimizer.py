"""Plays an optimizer by itself, on gradients that no layer has computed.

A gradient that is wrong, or zero, would hide what an optimizer does with it. So the judge says what
the gradients are. Where the subject's convention allows it, the parameters are arrays of parity's
own, of any shape; else they are those of the subject's Linear layers.
"""

from __future__ import annotations

import contextlib
import copy
import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from parity.catalogue.entry import Options
from parity.catalogue.values import Tensors
from parity.play.arrays import real, tensor, write
from parity.play.broken import Broken, Misfit, Setting, Unoffered
from parity.play.calls import assembled, construct, unfit
from parity.play.instance import Instance, placed
from parity.play.layer import Layer
from parity.play.parameters import held, own_parameters, paired
from parity.subject.hooks import STEPS
from parity.subject.subject import Subject

RATES = ("lr", "learning_rate", "eta", "rate", "step_size")
"""What the learning rate may be called, as an attribute of an optimizer."""

STATES = (
    ("state_dict", "load_state_dict"),
    ("get_state", "set_state"),
    ("get_state", "load_state"),
    ("state", "load_state"),
    ("state", "load"),
)
"""What may give an optimizer's state, and take it."""

Given = dict[str, Any]
"""What happens at a step: `gradients`, by parameter, None where there is none; `rate`, a new one;
`resume`, whether a new optimizer goes on with the state of the one before."""

Linear = Callable[[Options], Any]


def _nothing() -> None:
    """In the place of a step that there is not."""


class Optimizer(Instance):
    """A subject's optimizer.

    Args:
        name, options: of it.
        linear: makes a Linear layer of the subject's from its options.
    """

    def __init__(
        self,
        subject: Subject,
        dtype: torch.dtype,
        name: str,
        options: Options,
        linear: Linear,
        poison: bool = False,
    ) -> None:
        super().__init__(subject, dtype, poison)
        self.name, self.options, self.linear = name, options, linear
        self.optimizer: Any = None
        self.rate = options.get("lr")

    def start(self, values: Tensors) -> list[str]:
        """Builds the optimizer over parameters of these values.

        Args:
            values: by name; those of Linear layers are `0.weight`, `0.bias`, `1.weight`, …

        Returns: the names of those that it is over, for not every subject takes all of them.
        """
        self._put_over(values)
        self.optimizer = self._built()
        return list(self.over.parameters())

    def _put_over(self, values: Tensors) -> None:
        free = self.subject.optimizer == "parameters" and self.subject.parameters != "objects"
        self.over: _Arrays | _Layers
        if free:
            self.over = _Arrays(self, values)
        else:
            layers = {name: v for name, v in values.items() if name.partition(".")[2]}
            self.over = _Layers(self, layers)

    def places(self) -> list[tuple[str, str]]:
        """Where its step is."""
        self.start(
            {"0.weight": torch.ones(3, 4).to(self.dtype), "0.bias": torch.ones(3).to(self.dtype)}
        )
        return placed(self.optimizer)

    def starts_without(self) -> bool:
        """Whether a gradient is None before there is one."""
        return None in self.over.gradients().values()

    def steps(self, program: list[Given]) -> list[tuple[Given, Given, Tensors]]:
        """Steps, one after another: the gradients before each and after it, and the parameters.

        All of them are one call, for they may be many.

        Raises:
            Unoffered: the optimizer has no way to change its rate, or to be resumed.
        """
        made = []
        for given in program:
            if "rate" in given:
                self._set_rate(given["rate"])
            if given.get("resume"):
                self._resume()
            self.over.put(given["gradients"])
            before = self.over.gradients()
            self._step(before)
            made.append((before, self.over.gradients(), self.over.parameters()))
        return made

    def _built(self) -> Any:
        with self.guard():
            made = construct(self.subject, self.name, self.options, self.over.target)
        if not self.subject.step:
            name = next((one for one in STEPS if callable(getattr(made, one, None))), "step")
            if takes := unfit(getattr(made, name, _nothing)):
                raise Setting(f"its {name}() takes ({takes}): step=lambda optimizer: …")
            if name != "step":
                raise Setting(f"its step is {name}(): step=lambda optimizer: optimizer.{name}()")
        return made

    def _step(self, gradients: Given) -> None:
        for name, p in self.over.parameters().items():
            gradient = gradients[name]
            if gradient is None and not self.over.objects:
                raise Misfit(f"{name} has no gradient to step by")
            if gradient is not None and (gradient.shape, gradient.dtype) != (p.shape, p.dtype):
                got, due = (f"{list(x.shape)} {x.dtype}" for x in (gradient, p))
                raise Misfit(f"the gradient of {name} is {got}, where the parameter is {due}")
        with self.guard():
            if self.subject.step:
                self.subject.step(self.optimizer)
            else:
                self.optimizer.step()

    def _set_rate(self, rate: float) -> None:
        own, groups = self.optimizer, getattr(self.optimizer, "param_groups", None)
        with self.guard():
            if self.subject.rate:
                self.subject.rate(own, rate)
                return
            if isinstance(groups, list) and groups and all("lr" in group for group in groups):
                for group in groups:
                    group["lr"] = rate
                return
            for name in RATES:
                now = getattr(own, name, None)
                if isinstance(now, (int, float)) and now == self.rate:
                    setattr(own, name, rate)
                    self.rate = rate
                    return
        raise Unoffered(f"its rate has no name such as {RATES[0]}: rate=lambda optimizer, rate: …")

    def _resume(self) -> None:
        own = self.optimizer
        ways: list[Any] = [[getattr(type(own), name, None) for name in one] for one in STATES]
        found = [way for way in ways if all(map(callable, way))]
        hook = self.subject.state
        if not (hook or found):
            raise Unoffered("it has no state_dict and load_state_dict: state=(save, load)")
        save, load = hook or found[0]
        new = self._built()
        try:
            with self.guard():
                load(new, copy.deepcopy(save(own)))
        except Broken:
            if hook or save is ways[0][0]:
                raise
            raise Unoffered("what it has of a state is not for this: state=(save, load)") from None
        self.optimizer = new


class Clipping(Optimizer):
    """A subject's function that clips gradients."""

    def clip(
        self, values: Tensors, gradients: Given
    ) -> tuple[Given, Given, Tensors, Tensor | None]:
        """The gradients before and after, the parameters then, and the number that is returned.

        What is clipped lies where it was, or is returned.
        """
        self._put_over(values)
        names = list(self.over.parameters())
        self.over.put({name: gradients[name] for name in names})
        before = self.over.gradients()
        target = self.over.own_gradients() if self._takes_gradients() else self.over.target
        with self.guard():
            found = construct(self.subject, self.name, self.options, target)
        after, parameters = self.over.gradients(), self.over.parameters()
        norm = None
        for part in (found, *(found if isinstance(found, (tuple, list)) else ())):
            if isinstance(part, (tuple, list)) and len(part) == len(names) > 1:
                after = {name: real(one) for name, one in zip(names, part, strict=True)}
            elif part is not None and norm is None and not isinstance(part, (tuple, list)):
                number = tensor(part)
                norm = number.double() if number.numel() == 1 else None
        return before, after, parameters, norm

    def places(self) -> list[tuple[str, str]]:
        """Where the function is."""
        return [("step", place) for _, place in placed(self._function())]

    def _function(self) -> Any:
        return self.subject.entries()[self.name][1]

    def _takes_gradients(self) -> bool:
        """Whether its first argument is called gradients."""
        try:
            first = next(iter(inspect.signature(self._function()).parameters), "")
        except (TypeError, ValueError):
            return False
        return first.lower().startswith(("grad", "dparam")) or first in ("g", "gs")


class _Arrays:
    """Parameters and gradients of parity's own, in the subject's kind of list."""

    objects: tuple[Any, ...] = ()

    def __init__(self, player: Optimizer, values: Tensors) -> None:
        subject = player.subject
        self.numpy = subject.array == "numpy"
        self.device, self.layout = player.device, player.layout
        # Its scalars are no arrays any more after the first operation.
        values = {n: v for n, v in values.items() if not (self.numpy and v.dim() == 0)}
        self.names = list(values)
        ps = [self._own(v) for v in values.values()]
        gs = [self._own(torch.zeros_like(v)) for v in values.values()]
        self.how = subject.parameters if isinstance(subject.parameters, str) else "pairs"
        match self.how:
            case "flat":
                self.target: Any = ps + gs
            case "lists":
                self.target = ps, gs
            case _:
                pair = _kind_of_pair(player)
                self.target = [pair(one) for one in zip(ps, gs, strict=True)]

    def _own(self, value: Tensor) -> Any:
        return self.layout.raw(value.to(self.device))

    def put(self, gradients: Given) -> None:
        for name, (_, gradient) in zip(self.names, paired(self.how, self.target), strict=True):
            write(gradient, gradients[name])

    def gradients(self) -> Given:
        return {
            name: real(g)
            for name, (_, g) in zip(self.names, paired(self.how, self.target), strict=True)
        }

    def own_gradients(self) -> list[Any]:
        return [gradient for _, gradient in paired(self.how, self.target)]

    def parameters(self) -> Tensors:
        return {
            name: real(p)
            for name, (p, _) in zip(self.names, paired(self.how, self.target), strict=True)
        }


def _kind_of_pair(player: Optimizer) -> Callable[[Any], Any]:
    """A list, where the subject's pairs are lists: their entries may be replaced."""
    try:
        own = own_parameters(player.linear({"in_features": 2, "out_features": 2}))
        return list if isinstance(next(iter(own)), list) else tuple
    except (Broken, TypeError, StopIteration):
        return tuple


class _Layers:
    """Parameters of the subject's Linear layers, in a row."""

    def __init__(self, player: Optimizer, values: Tensors) -> None:
        subject = player.subject
        parts = [
            player.linear({"in_features": v.shape[1], "out_features": v.shape[0]})
            for name, v in values.items()
            if name.endswith("weight")
        ]
        with player.guard():
            whole = assembled(subject, parts)
        self.layer = Layer(subject, player.dtype, whole, player.poison, parts)
        self.layer.device = player.device
        self.layer.set_parameters(values)
        self.player = player
        self.width = values["0.weight"].shape
        with player.guard():
            own = held(subject, whole, parts)
        objects = subject.parameters == "objects" and subject.optimizer == "parameters"
        self.objects = tuple(own) if objects else ()
        self.target = list(self.objects) or own

    def put(self, gradients: Given) -> None:
        if self.objects:
            for one, (name, value) in zip(self.objects, gradients.items(), strict=True):
                with self.player.guard():
                    one.grad = None if value is None else self._like(one, name, value)
            return
        with contextlib.suppress(Broken):  # so that there are arrays to write to
            self.layer.zero_grad()
            y = self.layer.forward(torch.ones(1, self.width[1], dtype=self.player.dtype))
            self.layer.backward(torch.ones_like(y))
        for name, (_, gradient) in self.layer.pairs().items():
            with contextlib.suppress(Misfit):  # what is then read is what it steps by
                write(gradient, self.layer.turned(name, gradients[name]))

    def _like(self, one: Any, name: str, value: Tensor) -> Any:
        data: Any = getattr(one, "data", getattr(one, "value", None))
        x = self.layer.turned(name, value).reshape(tuple(data.shape))
        return self.player.layout.raw(x.to(self.player.device))

    def gradients(self) -> Given:
        found = self.layer.gradients()
        return {name: found.get(f"{name}.param_grad") for name in self.layer.names}

    def own_gradients(self) -> list[Any]:
        return [gradient for _, gradient in self.layer.pairs().values()]

    def parameters(self) -> Tensors:
        return self.layer.parameters()
