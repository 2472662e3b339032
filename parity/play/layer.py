"""Plays a subject's layer, or layers in a row, by its conventions. Runs beside it.

Everything that goes in and comes out is a torch tensor, batch first, with torch's names and
layouts for parameters, and so can cross to another process.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from parity.catalogue.entry import Entry
from parity.catalogue.values import Tensors
from parity.play.arrays import CONVOLVING, Layout, flattened, is_tensor, real, write
from parity.play.broken import Misfit, Unoffered
from parity.play.calls import Chain, backward, forward, unfit
from parity.play.guard import seed_all, seed_own
from parity.play.instance import Instance
from parity.play.parameters import (
    Order,
    Parameters,
    Parts,
    apart,
    by_attributes,
    is_weight,
    mode_told,
    own_parameters,
    parameter_pairs,
    parts_of,
    switch,
    zero_grad,
)
from parity.play.several import Several, flat, grouped, needed
from parity.play.traced import Traced, traces
from parity.subject.subject import Subject


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
        self.training = True
        self.table = False
        """Whether its weight lies everywhere as torch's: a table that is looked up, a norm's."""
        self.returned: list[Any] = []
        """What its last backward returned after the input's gradient."""
        self.again: Callable[[], Any] | None = None
        """Makes another of its kind."""
        self.entry: Entry | None = None
        self.several: Several | None = None
        self.order = Order()

    def play(self, entry: Entry) -> None:
        """Takes on the adapter's conventions for layers of a catalogue entry."""
        subject, self.entry = self.subject, entry
        self.layout = Layout(
            subject.array,
            subject.batch,
            subject.kernel_of(entry.reference),
            channels_last=subject.channels == "last" and entry.images,
            sequence=subject.axes_of(entry),
            steps=subject.sequences == "steps" and entry.sequence,
        )
        self.table = entry.domain == "index" or "Norm" in entry.name
        self.order = Order(entry.blocks, subject.gates_of(entry))
        if entry.several:
            attends = "qkv" in entry.blocks.values()
            states = {} if attends else entry.states
            before = subject.states == "before" and entry.recurrent
            self.several = Several(entry.results, attends, states, subject.masks, before)

    def assume(self, settings: dict[str, Any]) -> None:
        super().assume(settings)
        assert self.entry is not None
        self.play(self.entry)

    def arrays(self) -> list[str]:
        if self.subject.tensor:
            return []
        own = [parameter for parameter, _ in self._found() if not isinstance(parameter, list)]
        kinds = {"torch": Tensor, "numpy": np.ndarray}
        found = [name for one in own for name, kind in kinds.items() if type(one) is kind]
        return found if len(found) == len(own) else []

    def gives(self, x: Tensor) -> str:
        """Of which kind of arrays its output is, "torch" or "numpy"."""
        with self.guard():
            y = forward(self.subject, self.made, self.give(x), training=self.training)
        return "torch" if is_tensor(y) else "numpy"

    def lacks(self) -> dict[str, str]:
        """What its forward cannot do without, and does not get, by name: what may be given for it,
        such as the places of a sequence."""
        if self._called is None or self.several is not None:
            return {}
        module = "np" if self.subject.array == "numpy" else "torch"
        names = needed(self.made, "forward")[1:]
        return {n: f"{module}.arange(x.shape[-2])" if "pos" in n else n for n in names}

    def resets(self) -> str:
        """How the state that it keeps may be set back, as of a `layer`: by a method, or by what its
        attributes are at first; "" if neither is there."""
        for name in dir(self.made):
            known = RESETTING.search(name) and not name.startswith("__")
            if known and callable(getattr(self.made, name)) and not needed(self.made, name):
                return f"layer.{name}()"
        states = {n: getattr(self.made, n) for n in dir(self.made) if STATE.fullmatch(n)}
        first = [
            f"{n}=None" if value is None else f"{n}=0 * layer.{n}"
            for n, value in states.items()
            if value is None or isinstance(value, (Tensor, np.ndarray))
        ]
        return f"layer.__dict__.update({', '.join(first)})" if first else ""

    def set_beside(self, inputs: Tensors, gradients: Tensors) -> None:
        """What comes in after the first input, and after the first output's gradient, from now
        on."""
        assert self.several is not None
        self.several.inputs, self.several.gradients = inputs, gradients

    def forward(self, x: Tensor, lies: str = "") -> Tensor:
        """The output, or the first of them: `outputs` has the others."""
        given = self.watch.keep("x", self.give(x, lies))
        self.indexed, self.shape = not x.is_floating_point(), x.shape
        if self.subject.reset and self.entry is not None and self.entry.recurrent:
            with self.guard():
                self.subject.reset(self.made)
        if self.several is None:
            with self.guard():
                found = forward(self.subject, self.made, given, training=self.training)
            y = self._whole("output", found)
        else:
            beside = self.several.with_states(self._called, x)
            others = [
                self.watch.keep(name, self.give(one, lies if one.is_floating_point() else ""))
                for name, one in beside.items()
            ]
            with self.guard():
                before = self.several.before
                ordered = grouped(self._called, "forward", given, others, before)
                found = forward(self.subject, self.made, *ordered, training=self.training)
            y = self.several.took(self._whole("output", found), self._taken)
        return self._taken(self.watch.keep("output", y))

    def _taken(self, y: Any) -> Tensor:
        """A result as torch has it."""
        return self._narrow(self.layout.take(y))

    def _narrow(self, x: Tensor) -> Tensor:
        """A result in the dtype that is asked for. Of numpy, which goes over to float64 by itself,
        that is what a subject means whose adapter says that it is of less digits."""
        wide = x.dtype == torch.float64 and "float64" not in self.subject.dtypes
        return x.to(self.dtype) if wide and self.subject.array == "numpy" else x

    @property
    def _called(self) -> Any:
        """The layer, if its methods are called as they are; None if the adapter calls them."""
        return None if self.subject.forward or self.subject.backward else self.made

    def backward(self, dy: Tensor, lies: str = "") -> Tensor | None:
        """The input's gradient, or the first's: `results` has the others'; None of an input of
        indices, which has none, and of a backward that returns nothing."""
        given = self.watch.keep("dy", self.give(dy, lies))
        gradients = [given]
        if self.several is not None:
            others = [self.give(one, lies) for one in self.several.gradients.values()]
            gradients = grouped(self._called, "backward", given, others)
        with self.guard():
            dx = backward(self.subject, self.made, *gradients)
        self._by_step((self.made, self.give(dy, lies)))
        dx = self._whole("input_grad", dx)
        if self.several is not None:
            dx = self.several.returned(dx, self._taken, self.shape)
        elif isinstance(dx, (tuple, list)) and len(dx) > 1:
            dx, *returned = dx
            self._keep([one for one in flat(returned) if np.size(one)])
        if self.indexed or dx is None:
            return None
        self.watch.keep("input_grad", dx)
        dx = self._taken(dx)
        if (
            self.layout.single
            and dx.dim() == len(self.shape) + 1
            and dx.numel() == math.prod(self.shape)
        ):
            return dx.reshape(self.shape)  # of one sample, in a row of its own
        return dx

    def _by_step(self, *backwards: tuple[Any, Any]) -> None:
        """Takes the gradients of parameters from how far a step moves them, if a backward moves
        them and keeps none. The rate is so large that nothing is lost of a gradient beside its
        parameter, and a power of 2.

        Args:
            backwards: each layer that passes something back, and the gradient that came in.
        """
        if self.subject.step_in_backward is None:
            return
        earlier, self.returned = self.returned, []
        pairs = self._found()
        self.returned = earlier
        if not pairs or any(gradient is not None for _, gradient in pairs):
            return
        before = [real(parameter).clone() for parameter, _ in pairs]
        rate = 2.0 ** (4 if self.dtype == torch.float16 else 40)
        with self.guard():
            for made, dy in backwards:
                self.subject.step_in_backward(made, dy, rate)
        gradients = []
        for old, (parameter, _) in zip(before, self._found(), strict=True):
            gradients.append((old.double() - real(parameter).double()).to(old.dtype) / rate)
            write(parameter, old)
        self._keep(gradients)

    def _keep(self, gradients: list[Any]) -> None:
        """Keeps the gradients of parameters for a layer that has none itself: added to what there
        is since `zero_grad`, unless the adapter has it otherwise."""
        shapes = [[np.shape(one) for one in them] for them in (self.returned, gradients)]
        if self.subject.gradients == "accumulated" and shapes[0] == shapes[1]:
            gradients = [old + new for old, new in zip(self.returned, gradients, strict=True)]
        self.returned = gradients

    def _whole(self, name: str, found: Any) -> Any:
        """What a method returned, in which a list of steps, each of which is watched, is one
        array."""
        if not self.layout.steps:
            return found
        return self.layout.joined(self.watch.keep(name, found), self.shape[1])

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
        """`weight.param_grad`, …; one that is None is left out. Where the subject's layers take the
        mean over the batch, they are those of the sum."""
        times = max(self.shape[0], 1) if self.subject.mean == "layers" and self.shape else 1
        return {
            f"{name}.param_grad": times * self._read(name, gradient)
            for name, (_, gradient) in self.pairs().items()
            if all(one is not None for one in parts_of(gradient))
        }

    def shapes(self, due: Tensors) -> list[tuple[int, ...]]:
        """Those of its parameters, where torch's are `due`: of the first, a weight, as the adapter
        says that it lies."""
        self.due = {name: value.shape for name, value in due.items()}
        found = [tuple(getattr(parameter, "shape", ())) for parameter, _ in self._found()]
        if found and len(found[0]) in CONVOLVING:
            torchs, own = self.layout.axes(len(found[0]))
            found[0] = tuple(found[0][own.index(axis)] for axis in torchs)
        elif found and self.subject.weight == "in_out" and not self.table:
            found[0] = found[0][::-1]
        return found

    def arrays_of(self, due: list[tuple[int, ...]]) -> list[str]:
        """Its attributes that are arrays of these shapes, turned or not."""
        plain = [[n for n in shape if n != 1] for shape in due]
        own = getattr(self.made, "__dict__", {}).items()
        shapes = {name: _sizes(x) for name, x in own if isinstance(x, (Tensor, np.ndarray))}
        return [name for name, one in shapes.items() if one in plain or one[::-1] in plain]

    def computes_with(self) -> str:
        """What a framework that differentiates by itself calls its tensors, of which this layer's
        parameters are; "" if they are none, or if the adapter says so."""
        if self.subject.tensor or callable(getattr(self.made, "backward", None)):
            return ""
        own = [*getattr(self.made, "__dict__", {}).values()]
        kinds = [c for one in own if traces(one) for c in type(one).mro() if "backward" in vars(c)]
        return f"{kinds[-1].__module__}.{kinds[-1].__qualname__}" if kinds else ""

    def unlike(self) -> dict[str, str]:
        """What its forward and its backward take, where they cannot be called with one array; of
        one that is not there, nothing is said but of a forward. Nothing is called."""
        if self._called is None or isinstance(self.made, Traced):
            return {}
        forward = getattr(self.made, "forward", self.made)
        if not callable(forward):
            return {"forward": "it has no forward, and is not callable"}
        found = {"forward": unfit(forward, (None,), mode_told(self.made, True))}
        if not self.subject.step_in_backward and hasattr(self.made, "backward"):
            found["backward"] = unfit(self.made.backward, (None,))
        return {way: f"it takes ({takes})" for way, takes in found.items() if takes}

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
        self.returned = []
        with self.guard():
            if hasattr(self.made, "zero_grad") and not self.subject.zero_grad:
                self.made.zero_grad()
            else:
                for part in self.parts:
                    zero_grad(self.subject, part)

    def train(self, mode: bool) -> str:
        """Sets training or evaluation mode; returns "" or that there is no such thing."""
        parts = [part for part in self.parts if part is not self.made]
        self.training = mode
        told = [part for part in (self.made, *parts) if mode_told(part, mode)]
        with self.guard():
            if self.subject.train:
                own = [] if isinstance(self.made, Chain) else [self.made]
                for one in own + parts:
                    self.subject.train(one, mode)
            elif (
                not switch(self.made, mode) and not [p for p in parts if switch(p, mode)]
            ) and not told:
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
            return dict(zip(self.names, self._in_order(found), strict=True))
        if self.order.blocks and len(found) > len(self.names):
            return self._parted(found)
        due = f"{len(self.names)} ({', '.join(self.names)})" if self.names else "none"
        how = "" if callable(self.subject.parameters) else f" as {self.subject.parameters!r}"
        raise Misfit(f"it has {len(found)} parameters{how}, where torch has {due}")

    def _parted(self, found: list[tuple[Any, Any]]) -> Parameters:
        """Parameters of which the subject has each part by itself: the next of its shape."""
        left, pairs = list(found), Parameters()
        for name in self.names:
            counts = self._counts(name)
            fit = (self._fitting(name, count, left) for count in counts)
            fitting = next((f for f, n in zip(fit, counts, strict=True) if len(f) == n), None)
            if fitting is None:
                due = self._due_of_part(name, counts[0])
                has = len(self._fitting(name, counts[0], left))
                raise Misfit(f"{name}: it has {has} parts of {due}, where {counts[0]} are due")
            left = [one for one in left if not any(one is taken for taken in fitting)]
            both = zip(*fitting, strict=True)
            pairs[name] = (Parts(next(both)), Parts(next(both)))
        if left:
            shapes = ", ".join(str(list(np.shape(one[0]))) for one in left)
            raise Misfit(f"it has parameters of {shapes} too, which torch has not")
        return pairs

    def _counts(self, name: str) -> list[int]:
        """Of how many parts a parameter may be made: of its blocks, or of some of each block, as
        one for each head."""
        count, rows = self.order.count(name), self.due[name][0]
        return [n for n in range(count, rows) if n % count == rows % n == 0] or [count]

    def _due_of_part(self, name: str, count: int) -> list[int]:
        return _sizes(self.turned(name, torch.empty(self.due[name]).chunk(count)[0]))

    def _fitting(self, name: str, count: int, left: list[tuple[Any, Any]]) -> list[Any]:
        """The first so many that have the shape of such a part."""
        due = self._due_of_part(name, count)
        return [one for one in left if _sizes(one[0]) == due][:count]

    def _in_order(self, found: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
        """Parameters in torch's order, for each the next of its shape; as they come, where their
        shapes are not those that are due."""
        left, ordered = list(found), []
        for name in self.names:
            due = _sizes(self.turned(name, torch.empty(self.due[name])))
            one = next((pair for pair in left if _sizes(pair[0]) == due), None)
            if one is None:
                return found
            left = [pair for pair in left if pair is not one]
            ordered.append(one)
        return ordered

    def _found(self) -> list[tuple[Any, Any]]:
        with self.guard():
            pairs = [pair for part in self.parts for pair in parameter_pairs(self.subject, part)]
            says = callable(self.subject.parameters) or self.subject.parameters == "pairs"
            if not pairs and self.due and says:
                shapes = self._shapes_due()
                pairs = [pair for part in self.parts for pair in by_attributes(part, shapes)]
        if self.order.blocks:
            pairs = [part for pair in pairs for part in apart(pair)]
        pairs = [pair for pair in pairs if pair[0] is not None]  # (None, None): it has no bias
        if len(self.returned) == len(pairs) and all(gradient is None for _, gradient in pairs):
            return [(own, new) for (own, _), new in zip(pairs, self.returned, strict=True)]
        return pairs

    def _shapes_due(self) -> list[tuple[int, ...]]:
        """Of its parameters, and of the parts that they may be in; without axes of one entry."""
        shapes = []
        for name, shape in self.due.items():
            for count in (1, *self._counts(name)):
                own = shape[0] // count, *shape[1:]
                shapes += [tuple(n for n in one if n != 1) for one in (own, *flattened(own))]
        return shapes

    def turned(self, name: str, value: Tensor) -> Tensor:
        """A parameter's value from torch's layout to the subject's."""
        if name.endswith("weight") and value.dim() in CONVOLVING:
            torchs, own = self.layout.axes(value.dim())
            return value.permute([torchs.index(axis) for axis in own])
        turned = self.subject.weight == "in_out" and value.dim() == 2 and is_weight(name)
        return value.mT if turned and not self.table else value

    def _back(self, name: str, value: Tensor) -> Tensor:
        """The same from the subject's layout to torch's."""
        due = self.turned(name, torch.empty(self.due.get(name, ()))).shape
        value = value.reshape(due) if tuple(value.shape) in flattened(due) else value
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
        return self._narrow(self.order.torchs(name, x).contiguous())


def _sizes(array: Any) -> list[int]:
    """The sizes of an array's axes, but for those of one entry."""
    return [n for n in np.shape(array) if n != 1]


RESETTING = re.compile(
    "(reset|clear|flush|init|zero)_?(all_)?(hidden|state|cell|memory|h$)|^reset$"
)
"""What a method may be called that sets a layer's state back."""
STATE = re.compile("_?(prev_|last_)?(h|c|a|hidden|cell|state|hidden_state|cell_state)(_prev|_t)?")
"""What an attribute may be called that is a layer's state."""


@contextlib.contextmanager
def _naming(name: str) -> Iterator[None]:
    try:
        yield
    except Misfit as misfit:
        raise Misfit(f"{name}: {misfit}; is `weight` declared as it is?") from None
