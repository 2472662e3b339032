"""A whole model of a subject: what each of its layers took and gave, and how it trains."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from parity.arrays import Misfit, Tensors, tensor
from parity.driver import Layer, Loss, Optimizer
from parity.subject import Subject

FORWARD = ("forward", "__call__", "forward_pass", "fwd")
BACKWARD = ("backward", "__backward__", "backward_pass", "bwd")


class Recorder:
    """Listens to one layer: the argument and the result of every forward and backward."""

    def __init__(self, layer: Any) -> None:
        self.calls: list[tuple[str, Any, Any]] = []
        self.busy = False
        own = type(layer)
        members = {
            name: self._listening(getattr(own, name), way)
            for way, names in (("forward", FORWARD), ("backward", BACKWARD))
            for name in names
            if callable(getattr(own, name, None))
        }
        try:
            layer.__class__ = type(own.__name__, (own,), members)
        except TypeError:  # a class that cannot be extended: nothing is heard of it
            return

    def _listening(self, method: Callable[..., Any], way: str) -> Callable[..., Any]:
        def called(layer: Any, *args: Any, **options: Any) -> Any:
            if self.busy or not args:  # `__call__` within `forward`, or the other way round
                return method(layer, *args, **options)
            before = _heard(args[0])
            self.busy = True
            try:
                result = method(layer, *args, **options)
            finally:
                self.busy = False
            if before is not None:
                self.calls.append((way, before, _heard(result)))
            return result

        return called


def _heard(value: Any) -> Tensor | None:
    """A copy of an array that went in or came out; None for anything else."""
    try:
        return tensor(value)
    except Misfit:
        return None


class Whole(Optimizer):
    """A subject's model, with its loss and its optimizer."""

    def __init__(
        self, subject: Subject, dtype: torch.dtype, made: Any, parts: list[Any], loss: Loss
    ) -> None:
        super().__init__(subject, dtype, made, poison=False, parts=parts)
        self.loss = loss
        self.recorders = [Recorder(part) for part in parts]

    def trace(self, x: Tensor, target: Tensor) -> Tensors:
        """One pass by the names of `evaluate.network`, and for each layer, by its place, what it
        was given: `0.input`, `0.dy`. What was not called is not among them."""
        self._forget()
        self.zero_grad()
        results = {"output": self.forward(x)}
        results["loss"] = self.loss.forward(results["output"], target)
        results["prediction_grad"] = self.loss.backward()
        results["input_grad"] = self.backward(results["prediction_grad"])
        for place, recorder in enumerate(self.recorders):
            for way, given, result in recorder.calls:
                names = ("input", "output") if way == "forward" else ("dy", "input_grad")
                results[f"{place}.{names[0]}"] = self.layout.take(given)
                if result is not None:
                    results[f"{place}.{names[1]}"] = self.layout.take(result)
        return results | self.gradients()

    def train_step(self, x: Tensor, target: Tensor) -> Tensors:
        """One step of training; the parameters after it, and what Dropout layers took and gave."""
        self._forget()
        self.clear()
        prediction = self.forward(x)
        self.loss.forward(prediction, target)
        self.backward(self.loss.backward())
        self.step()
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
