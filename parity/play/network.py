"""A whole model of a subject: what each of its layers took and gave, and how it trains."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from parity.catalogue.entry import Options
from parity.catalogue.values import Tensors
from parity.play.arrays import same_bits, tensor
from parity.play.broken import Misfit
from parity.play.calls import Chain, backward, construct
from parity.play.layer import Layer
from parity.play.loss import Loss
from parity.play.parameters import held
from parity.subject import hooks
from parity.subject.subject import Subject

FORWARD = ("forward", "__call__", "forward_pass", "fwd")
BACKWARD = ("backward", "__backward__", "backward_pass", "bwd")
OTHERS = {"forward": hooks.FORWARD, "backward": hooks.BACKWARD}
"""What the two ways may be called where a layer has none of these."""


class Recorder:
    """Listens to one layer: the argument and the result of every forward and backward.

    Attributes:
        calls: what was heard: "forward" or "backward", what was given, and the result.
        deaf: whether calls may go unheard.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[str, Tensor, Tensor | None]] = []
        self.busy = self.deaf = False

    def attach(self, layer: Any) -> None:
        """Has the layer's own methods tell of their calls, whoever calls them."""
        own = type(layer)
        named = {
            way: _callable(own, names) or _callable(own, OTHERS[way])[:1]
            for way, names in (("forward", FORWARD), ("backward", BACKWARD))
        }
        members = {
            name: self.listening(getattr(own, name), way)
            for way, names in named.items()
            for name in names
        }
        self.deaf = not all(named.values())  # its methods have names of their own
        try:  # without slots of its own, a class with slots can take the other's place
            layer.__class__ = type(own.__name__, (own,), {"__slots__": (), **members})
        except TypeError:
            self.deaf = True

    def listening(self, method: Callable[..., Any], way: str) -> Callable[..., Any]:
        """The function of a layer and more arguments, with its calls kept."""

        def called(layer: Any, *args: Any, **options: Any) -> Any:
            if self.busy:  # `__call__` within `forward`, or the other way round
                return method(layer, *args, **options)
            before = self._given(way, [*args, *options.values()])
            self.busy = True
            try:
                result = method(layer, *args, **options)
            finally:
                self.busy = False
            heard = _heard(result[0] if isinstance(result, tuple) and result else result)
            if before is not None:
                self.calls.append((way, before, heard))
            if way == "forward" and heard is None:  # it leaves its output somewhere
                self.deaf = True
            return result

        return called

    def _given(self, way: str, args: list[Any]) -> Tensor | None:
        """The array that is passed on; some backwards take the input again before it."""
        arrays = [y for y in map(_heard, args) if y is not None and y.dim()]
        inputs = [given for heard, given, _ in self.calls if heard == "forward"]
        if way == "backward" and len(arrays) > 1 and inputs and same_bits(arrays[0], inputs[-1]):
            arrays = arrays[1:]
        return arrays[0] if arrays else None


def _callable(own: type, names: tuple[str, ...]) -> list[str]:
    return [name for name in names if callable(getattr(own, name, None))]


def _heard(value: Any) -> Tensor | None:
    """A copy of an array that went in or came out; None for anything else."""
    try:
        return tensor(value)
    except Misfit:
        return None


class Whole(Layer):
    """A subject's model, with its loss and its optimizer."""

    optimizer: Any = None

    def __init__(
        self, subject: Subject, dtype: torch.dtype, made: Any, parts: list[Any], loss: Loss
    ) -> None:
        super().__init__(subject, dtype, made, poison=False, parts=parts)
        self.loss = loss
        self.recorders = [Recorder() for _ in parts]
        for place, (recorder, part) in enumerate(zip(self.recorders, parts, strict=True)):
            if isinstance(made, Chain):  # parity's own calls, whatever their methods' names
                ways = zip(made.ways[place], ("forward", "backward"), strict=True)
                made.ways[place] = tuple(recorder.listening(*way) for way in ways)
            else:
                recorder.attach(part)

    def backward(self, dy: Tensor, lies: str = "") -> Tensor | None:
        """The gradient of the input; None where the container returns nothing, as many do."""
        given = self.watch.keep("dy", self.give(dy, lies))
        with self.guard():
            dx = backward(self.subject, self.made, given)
        self._by_step(*self._passed_back(dy))
        return None if dx is None else self.layout.take(dx)

    def _passed_back(self, dy: Tensor) -> list[tuple[Any, Any]]:
        """Each part that has passed something back, with what came in; or the whole, if it is a
        container of the subject's own."""
        if not isinstance(self.made, Chain):
            return [(self.made, self.give(dy))]
        both = zip(self.parts, self.recorders, strict=True)
        heard = [(part, call) for part, one in both for call in one.calls if call[0] == "backward"]
        return [(part, self.layout.raw(given)) for part, (_, given, _) in heard]

    def shared(self) -> list[int]:
        """The places of one instance that stands at several."""
        places = [[n for n, other in enumerate(self.parts) if other is one] for one in self.parts]
        return next((found for found in places if len(found) > 1), [])

    def trace(self, x: Tensor, target: Tensor) -> Tensors:
        """One pass by the names of `evaluate.network`, and for each layer, by its place, what it
        was given: `0.input`, `0.dy`. What was not called is not among them; nothing of any layer
        is if one of them cannot be listened to."""
        self._forget()
        self.zero_grad()
        results = {"output": self.forward(x)}
        loss = self.loss.forward(results["output"], target)
        results["loss"] = loss.reshape(()) if loss.numel() == 1 else loss
        results["prediction_grad"] = self.loss.backward()
        dx = self.backward(results["prediction_grad"])
        if dx is not None:
            results["input_grad"] = dx
        deaf = any(recorder.deaf for recorder in self.recorders) or bool(self.shared())
        for place, recorder in enumerate([] if deaf else self.recorders):
            for way, given, result in recorder.calls:
                names = ("input", "output") if way == "forward" else ("dy", "input_grad")
                results[f"{place}.{names[0]}"] = self.layout.take(given)
                if result is not None:
                    results[f"{place}.{names[1]}"] = self.layout.take(result)
        return results | self.gradients()

    def attach(self, name: str, options: Options) -> None:
        """Builds the subject's optimizer of that name over the model's parameters as they are."""
        with self.guard():
            target = held(self.subject, self.made, self.parts)
            self.optimizer = construct(self.subject, name, options, target)

    def train_step(self, x: Tensor, target: Tensor) -> Tensors:
        """One step of training; the parameters after it, and what Dropout layers took and gave."""
        self._forget()
        if hasattr(self.optimizer, "zero_grad"):
            with self.guard():
                self.optimizer.zero_grad()
        else:
            self.zero_grad()
        prediction = self.forward(x)
        self.loss.forward(prediction, target)
        dy = self.loss.backward()
        self.backward(dy * len(x) if self.subject.mean == "layers" else dy)
        with self.guard():
            if self.subject.step:
                self.subject.step(self.optimizer)
            else:
                self.optimizer.step()
        results = self.parameters()
        self.watch.seen.clear()
        self.loss.watch.seen.clear()
        for place, recorder in enumerate(self.recorders):
            for way, given, result in recorder.calls:
                if way == "forward" and result is not None:
                    results[f"{place}.input"] = self.layout.take(given)
                    results[f"{place}.output"] = self.layout.take(result)
        return results

    def _forget(self) -> None:
        for recorder in self.recorders:
            recorder.calls.clear()


class Model(Layer):
    """A subject that cannot be taken apart: its step alone is known."""

    def step(self, x: Tensor, target: Tensor, names: list[str]) -> Tensors:
        """Output, loss, parameters and gradients by torch's names."""
        given = self.watch.keep("x", self.give(x)), self.watch.keep("target", self.give(target))
        with self.guard():
            output, loss, parameters, gradients = self.made(*given)
        if not len(parameters) == len(gradients) == len(names):
            raise Misfit(
                f"step returned {len(parameters)} parameters and {len(gradients)} gradients, "
                f"where torch has {len(names)} ({', '.join(names)})"
            )
        results = {"output": self.layout.take(output), "loss": tensor(loss).to(self.dtype)}
        results["loss"] = results["loss"].reshape(())
        for name, parameter, gradient in zip(names, parameters, gradients, strict=True):
            results[name] = self._read(name, parameter)
            results[f"{name}.param_grad"] = self._read(name, gradient)
        return results
