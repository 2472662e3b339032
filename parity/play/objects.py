"""Plays a subject: builds its layers, and calls them by its conventions. Runs beside it.

Everything that goes in and comes out is a torch tensor, batch first, with torch's names and
layouts for parameters, and so can cross to another process.
"""

from __future__ import annotations

import contextlib
import inspect
import math
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from parity.catalogue.entry import Options
from parity.catalogue.values import Tensors
from parity.play.arrays import Layout, Watch, real, tensor, write
from parity.play.broken import Broken, Misfit, Setting, Unoffered, legible
from parity.play.guard import guarded, seed_all, seed_own
from parity.play.parameters import (
    Order,
    Parameters,
    Parts,
    by_attributes,
    is_weight,
    own_parameters,
    parameter_pairs,
    parts_of,
    switch,
    zero_grad,
)
from parity.play.several import Several, grouped
from parity.subject.builders import bound
from parity.subject.functions import FunctionLayer
from parity.subject.subject import Subject


class Instance:
    """One object of the subject, in one dtype: what layers, losses and models have in common."""

    device = "cpu"

    def __init__(self, subject: Subject, dtype: torch.dtype, poison: bool = False) -> None:
        self.subject, self.dtype, self.poison = subject, dtype, poison
        self.layout = Layout(subject.array, subject.batch, subject.kernel_of(nn.Conv2d))
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

    def places(self) -> list[tuple[str, str]]:
        """Where the subject's own code is, by what it does: `("backward", "Tanh.backward
        (course.py:57)")`."""
        return placed(getattr(self, "made", None))


def placed(made: Any) -> list[tuple[str, str]]:
    """Where an object's methods are, by what they do; or a function itself."""
    if isinstance(made, FunctionLayer):
        both = {"forward": made.own.forward, "backward": made.own.backward}
        return [(does, place) for does, f in both.items() for _, place in placed(f)]
    found = []
    for does, names in (
        ("forward", ("forward", "__call__")), ("backward", ("backward",)),
        ("step", STEPS),
    ):  # fmt: skip
        own = next((getattr(type(made), n) for n in names if hasattr(type(made), n)), None)
        own = made if does == "forward" and inspect.isfunction(made) else own
        code = getattr(inspect.unwrap(own), "__code__", None) if own is not None else None
        if code is not None:
            file = legible(Path(code.co_filename).name)
            name = legible(getattr(own, "__qualname__", does).rpartition("<locals>.")[2])
            found.append((does, f"{name} ({file}:{code.co_firstlineno})"))
    return found


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
        self.shape = torch.Size()
        self.indexed = False
        self.due: dict[str, torch.Size] = {}
        self.again: Callable[[], Any] | None = None
        """Makes another of its kind."""
        self.several: Several | None = None
        self.order = Order()
        self.table = False
        """Whether its weight is a table of rows, which has no in and out."""

    def set_beside(self, inputs: Tensors, gradients: Tensors) -> None:
        """What comes in after the first input, and after the first output's gradient, from now
        on."""
        assert self.several is not None
        self.several.inputs, self.several.gradients = inputs, gradients

    def forward(self, x: Tensor, lies: str = "") -> Tensor:
        """The output, or the first of them: `outputs` has the others."""
        given = self.watch.keep("x", self.give(x, lies))
        self.indexed, self.shape = not x.is_floating_point(), x.shape
        if self.several is None:
            with self.guard():
                y = forward(self.subject, self.made, given)
        else:
            beside = self.several.with_states(self._called, x)
            others = [
                self.watch.keep(name, self.give(one, lies if one.is_floating_point() else ""))
                for name, one in beside.items()
            ]
            with self.guard():
                found = forward(
                    self.subject, self.made, *grouped(self._called, "forward", given, others)
                )
            y = self.several.took(found, self.layout.take)
        return self.layout.take(self.watch.keep("output", y))

    @property
    def _called(self) -> Any:
        """The layer, if its methods are called as they are; None if the adapter calls them."""
        return None if self.subject.forward or self.subject.backward else self.made

    def backward(self, dy: Tensor, lies: str = "") -> Tensor | None:
        """The input's gradient, or the first's: `results` has the others'; None of an input of
        indices, which has none."""
        given = self.watch.keep("dy", self.give(dy, lies))
        gradients = [given]
        if self.several is not None:
            others = [self.give(one, lies) for one in self.several.gradients.values()]
            gradients = grouped(self._called, "backward", given, others)
        with self.guard():
            dx = backward(self.subject, self.made, *gradients)
        if self.several is not None:
            dx = self.several.returned(dx, self.layout.take)
        if self.indexed:
            return None
        if dx is None:
            raise Misfit("its backward returned nothing, where the input's gradient is due")
        self.watch.keep("input_grad", dx)
        dx = self.layout.take(dx)
        if (
            self.layout.single
            and dx.dim() == len(self.shape) + 1
            and dx.numel() == math.prod(self.shape)
        ):
            return dx.reshape(self.shape)  # of one sample, in a row of its own
        return dx

    def outputs(self) -> Tensors:
        """Those of the last forward that come after the first: `c.output`."""
        found = {} if self.several is None else self.several.outputs
        return {f"{name}.output": y for name, y in found.items()}

    def results(self) -> Tensors:
        """What a pass gives beside the first output and the first input's gradient: outputs,
        the gradients of inputs, `h.input_grad`, and those of parameters."""
        found = {} if self.several is None else self.several.input_grads
        beside = {f"{name}.input_grad": dx for name, dx in found.items()}
        return self.outputs() | beside | self.gradients()

    def backward_at(self, dy: Tensor, rate: float) -> Tensor:
        """A backward that moves the parameters, at a rate."""
        assert self.subject.step_in_backward is not None
        with self.guard():
            dx = self.subject.step_in_backward(self.made, self.give(dy), rate)
        return self.layout.take(dx)

    def parameters(self) -> Tensors:
        """By torch's names and in its layout."""
        return {k: self._read(k, p) for k, (p, _) in self.pairs().items()}

    def gradients(self) -> Tensors:
        """`weight.param_grad`, …; one that is None is left out."""
        return {
            f"{name}.param_grad": self._read(name, gradient)
            for name, (_, gradient) in self.pairs().items()
            if all(one is not None for one in parts_of(gradient))
        }

    def shapes(self) -> list[tuple[int, ...]]:
        """Those of its parameters: of the first, a weight, as the adapter says that it lies."""
        found = [tuple(getattr(parameter, "shape", ())) for parameter, _ in self._found()]
        if found and len(found[0]) in CONVOLVING:
            torchs, own = self.layout.axes(len(found[0]))
            found[0] = tuple(found[0][own.index(axis)] for axis in torchs)
        elif found and self.subject.weight == "in_out" and not self.table:
            found[0] = found[0][::-1]
        return found

    def arrays_of(self, due: list[tuple[int, ...]]) -> list[str]:
        """Its attributes that are arrays of these shapes, turned or not."""
        plain = [tuple(n for n in shape if n != 1) for shape in due]
        own = getattr(self.made, "__dict__", {}).items()
        arrays = {name: np.shape(x) for name, x in own if isinstance(x, (Tensor, np.ndarray))}
        shapes = {name: tuple(n for n in shape if n != 1) for name, shape in arrays.items()}
        return [name for name, one in shapes.items() if one in plain or one[::-1] in plain]

    def lazy(self) -> bool:
        """Whether its gradients are computed whenever they are asked for."""
        once, again = self.pairs(), self.pairs()
        return any(
            one is not other
            for name in once
            for one, other in zip(parts_of(once[name][1]), parts_of(again[name][1]), strict=True)
        )

    def set_parameters(self, values: Tensors) -> None:
        """Writes parameters, in place.

        Raises:
            Misfit: they are not as many or not shaped as torch's, or writing has no effect.
        """
        self.names = list(values)
        self.due = {name: value.shape for name, value in values.items()}
        for name, (parameter, _) in self.pairs().items():
            parts = parts_of(parameter)
            value = self.order.own(name, values[name])
            with _naming(name):
                for part, share in zip(parts, value.chunk(len(parts)), strict=True):
                    write(part, self.turned(name, share))
        for name, (parameter, _) in self.pairs().items():
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
        """Seeds whatever it may draw from, generators of its own among them."""
        seed_all(seed)
        for part in [self.made, *self.parts]:
            seed_own(part, seed)

    def tied(self, batches: list[tuple[Tensor, Tensor]]) -> Tensors:
        """The gradients of parameters that this layer shares with another of its kind, after a
        forward of each on its own `(x, dy)`, and then a backward of each.

        Raises:
            Unoffered: its parameters are not objects that are attributes of it.
        """
        assert self.again is not None
        other, parameters = self.again(), list(own_parameters(self.made))
        for name, value in getattr(self.made, "__dict__", {}).items():
            if any(value is one for one in parameters):
                setattr(other, name, value)
                parameters = [one for one in parameters if one is not value]
        if parameters:
            raise Unoffered("its parameters are no attributes of it")
        self.zero_grad()
        layers = (self.made, other)
        with self.guard():
            for layer, (x, _) in zip(layers, batches, strict=True):
                forward(self.subject, layer, self.give(x))
            for layer, (_, dy) in zip(layers, batches, strict=True):
                backward(self.subject, layer, self.give(dy))
        return self.gradients()

    def pairs(self) -> Parameters:
        """Parameters and gradients of the subject's own, by torch's names."""
        found = self._found()
        if len(found) == len(self.names):
            return dict(zip(self.names, found, strict=True))
        if len(found) == sum(self.order.count(name) for name in self.names):
            return self._parted(found)
        due = f"{len(self.names)} ({', '.join(self.names)})" if self.names else "none"
        how = "" if callable(self.subject.parameters) else f" as {self.subject.parameters!r}"
        raise Misfit(f"it has {len(found)} parameters{how}, where torch has {due}")

    def _parted(self, found: list[tuple[Any, Any]]) -> Parameters:
        """Parameters of which the subject has each part by itself: the next of its shape."""
        left, pairs = list(found), Parameters()
        for name in self.names:
            count = self.order.count(name)
            part = torch.empty(self.due[name]).chunk(count)[0]
            due = [n for n in self.turned(name, part).shape if n != 1]
            fitting = [one for one in left if [n for n in np.shape(one[0]) if n != 1] == due]
            if len(fitting) < count:
                raise Misfit(f"{name}: it has {len(fitting)} parts of {due}, where {count} are due")
            left = [one for one in left if not any(one is taken for taken in fitting[:count])]
            both = zip(*fitting[:count], strict=True)
            pairs[name] = (Parts(next(both)), Parts(next(both)))
        return pairs

    def _found(self) -> list[tuple[Any, Any]]:
        with self.guard():
            pairs = [pair for part in self.parts for pair in parameter_pairs(self.subject, part)]
            if not pairs and self.due and self.subject.parameters == "pairs":
                pairs = by_attributes(self.made, self._shapes_due())
        return [pair for pair in pairs if pair[0] is not None]  # (None, None): it has no bias

    def _shapes_due(self) -> list[tuple[int, ...]]:
        """Of its parameters, and of the parts that they may be in; without axes of one entry."""
        shapes = []
        for name, shape in self.due.items():
            count = self.order.count(name)
            for first in {shape[0], shape[0] // count}:
                shapes.append(tuple(n for n in (first, *shape[1:]) if n != 1))
        return shapes

    def turned(self, name: str, value: Tensor) -> Tensor:
        """A parameter's value from torch's layout to the subject's."""
        if name.endswith("weight") and value.dim() in CONVOLVING:
            torchs, own = self.layout.axes(value.dim())
            return value.permute([torchs.index(axis) for axis in own])
        turned = self.subject.weight == "in_out" and not self.table
        return value.mT if turned and value.dim() == 2 and is_weight(name) else value

    def _back(self, name: str, value: Tensor) -> Tensor:
        """The same from the subject's layout to torch's."""
        if name.endswith("weight") and value.dim() in CONVOLVING:
            torchs, own = self.layout.axes(value.dim())
            return value.permute([own.index(axis) for axis in torchs])
        return self.turned(name, value)

    def _read(self, name: str, array: Any) -> Tensor:
        try:
            parts = [real(part) for part in parts_of(array)]
        except Misfit as misfit:
            raise Misfit(f"{name}, or its gradient: {misfit}") from None
        due = self.due.get(name, torch.Size())
        if not is_weight(name) or len(due) == 1:
            parts = [x.reshape([n for n in x.shape if n != 1] or [1]) for x in parts]
        whole = torch.cat([self._back(name, x) for x in parts]) if len(parts) > 1 else None
        x = self._back(name, parts[0]) if whole is None else whole
        return self.order.torchs(name, x).contiguous()


CONVOLVING = (3, 4)
"""How many axes the weights of convolutions have."""

INCOMING = ("d", "dy", "dout", "dloss", "d_out", "d_loss", "g", "grad", "grad_out",
            "grad_output", "gradient", "upstream", "upstream_grad", "output_grad")  # fmt: skip
"""What the argument of a loss's backward may be called that is the gradient of the loss."""


def _nothing() -> None:
    """In the place of a backward that there is not."""


class Loss(Instance):
    """A loss."""

    def __init__(
        self, subject: Subject, dtype: torch.dtype, made: Any, poison: bool = False
    ) -> None:
        super().__init__(subject, dtype, poison)
        self.made = made
        self.given: tuple[Any, Any] = (None, None)

    def forward(
        self, prediction: Tensor, target: Tensor, lies: str = "", target_lies: str = ""
    ) -> Tensor:
        """The loss, in the shape that the subject gives it."""
        self.given = (
            self.watch.keep("prediction", self.give(prediction, lies)),
            self.watch.keep("target", self.give(target, target_lies)),
        )
        with self.guard():
            call = self.subject.loss_forward
            if call:
                value = call(self.made, *self.given)
            else:
                value = getattr(self.made, "forward", self.made)(*self.given)
        x = tensor(value).to(self.dtype) if isinstance(value, (int, float)) else real(value)
        return x if x.numel() == 1 else self.layout.take(x)

    def backward(self, dy: Tensor | None = None) -> Tensor:
        """The gradient of the prediction, by that of the loss: 1, if it is not said.

        Raises:
            Unoffered: it is said, and the subject's backward takes none.
        """
        if dy is not None:
            dx = self._backward_by(dy)
        else:
            with self.guard():
                call = self.subject.loss_backward
                dx = call(self.made, *self.given) if call else self.made.backward()
        dx = left(self.made, INPUT_GRADIENTS) if dx is None else dx
        if dx is None:
            raise Misfit("its backward returned nothing, where the prediction's gradient is due")
        self.watch.keep("prediction_grad", dx)
        return self.layout.take(dx)

    def argument_names(self) -> list[str]:
        """Those of its own forward, by position; none where the adapter calls it."""
        try:
            takes = inspect.signature(getattr(self.made, "forward", self.made)).parameters
        except (TypeError, ValueError):
            return []
        return [] if self.subject.loss_forward else list(takes)

    def _backward_by(self, dy: Tensor) -> Any:
        given = self.give(dy) if dy.dim() else self.layout.raw(dy.to(self.device))
        hook = self.subject.upstream
        if not hook:
            takes = list(inspect.signature(getattr(self.made, "backward", _nothing)).parameters)
            if len(takes) != 1 or takes[0] not in INCOMING:
                raise Unoffered(
                    "its backward takes no gradient of the loss: upstream=lambda loss, dy: …"
                )
        with self.guard():
            return hook(self.made, given) if hook else self.made.backward(given)


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
    own = {name: _array(subject, value) for name, value in options.items()}
    call = bound(builder, entry, own)
    if isinstance(call, str):
        raise Misfit(call)
    if odd := misfit(builder, *first, *call[0], **call[1]):
        given = ", ".join((*("params" for _ in first), *entry.positional[: len(call[0])], *call[1]))
        raise Setting(
            f"it cannot be built from ({given}), {odd}; say how it is built, as "
            f"{name}: lambda {given}: …"
        )
    try:
        made = builder(*first, *call[0], **call[1])
    except TypeError as error:  # behind `**options` there is one that takes less
        if "unexpected keyword argument" in str(error):
            missing = str(error).partition("unexpected keyword argument ")[2]
            raise Unoffered(f"takes no {missing}") from None
        raise
    if made is None and entry.kind == "layer" and subject.forward is None:
        raise Misfit(f"what the adapter has for {name} returns None, and not a {name}")
    return made


def misfit(function: Any, *args: Any, **options: Any) -> str:
    """Why a function does not take these arguments, by its signature; "" if it does."""
    try:
        inspect.signature(function).bind(*args, **options)
    except TypeError as error:
        return str(error)
    except ValueError:  # it has no signature
        pass
    return ""


def _array(subject: Subject, value: Any) -> Any:
    """An option as the subject takes it: a tensor as its kind of array, in the dtype at hand."""
    if not isinstance(value, Tensor):
        return value
    x = value.to(torch.get_default_device(), torch.get_default_dtype()).clone()
    return x.numpy() if subject.array == "numpy" else x


def assembled(subject: Subject, parts: list[Any]) -> Any:
    """Layers in a row: in the subject's own Sequential, if it has one."""
    container = subject.container()
    return container(*parts) if container else Chain(subject, parts)


def forward(subject: Subject, made: Any, *inputs: Any) -> Any:
    """A forward by the adapter's convention; what it leaves in the layer, if it returns nothing."""
    if subject.forward and not isinstance(made, Chain):
        y = subject.forward(made, *inputs)
    else:
        y = made.forward(*inputs) if hasattr(made, "forward") else made(*inputs)
    return left(made, OUTPUTS) if y is None else y


def backward(subject: Subject, made: Any, *gradients: Any) -> Any:
    """A backward by the adapter's convention; what it leaves in the layer, if it returns
    nothing."""
    if subject.backward and not isinstance(made, Chain):
        dx = subject.backward(made, *gradients)
    elif subject.step_in_backward and not isinstance(made, Chain):
        dx = subject.step_in_backward(made, gradients[0], 0.0)
    else:
        dx = made.backward(*gradients)
    return left(made, INPUT_GRADIENTS) if dx is None else dx


STEPS = ("step", "update", "update_params", "apply", "optimize")
"""What makes an optimizer's step."""
OUTPUTS = ("output", "outputs", "out", "y", "a")
"""Where a layer may leave what its forward does not return."""
INPUT_GRADIENTS = ("dinputs", "dinput", "d_inputs", "d_input", "dx", "dX", "grad_input",
                   "input_grad", "input_gradient", "grad_inputs")  # fmt: skip
"""Where a layer or a loss may leave what its backward does not return."""


def left(made: Any, names: tuple[str, ...]) -> Any:
    """The array that an object has in an attribute of one of these names; None without any."""
    own = (getattr(made, name, None) for name in names)
    return next((one for one in own if isinstance(one, (Tensor, np.ndarray))), None)


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
