"""Plays a subject's loss."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor

from parity.catalogue.values import Tensors
from parity.play.arrays import real, tensor
from parity.play.broken import Misfit, Unoffered
from parity.play.calls import INPUT_GRADIENTS, left
from parity.play.instance import Instance
from parity.play.several import takes_lengths
from parity.subject.subject import Subject

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
        self.given: tuple[Any, ...] = (None, None)
        self.rows, self.averages = 1, True

    def forward(
        self,
        prediction: Tensor,
        target: Tensor,
        lies: str = "",
        target_lies: str = "",
        lengths: Tensors | None = None,
    ) -> Tensor:
        """The loss, in the shape that the subject gives it; `lengths`: those of the prediction's
        and the target's sequences.

        Raises:
            Unoffered: sequences are of several lengths, and the subject takes none.
        """
        given = {
            "prediction": self.give(prediction, lies),
            "target": self.give(target, target_lies),
        }
        if lengths is not None and takes_lengths(self.made, self.subject.loss_forward):
            given |= {name: self.give(value) for name, value in lengths.items()}
        elif lengths is not None:
            whole = zip(lengths.values(), (prediction.shape[1], target.shape[1]), strict=True)
            if not all(bool((own == most).all()) for own, most in whole):
                raise Unoffered("its forward takes no lengths, (…, input_lengths, target_lengths)")
        self.given = tuple(self.watch.keep(name, one) for name, one in given.items())
        self.rows = max(len(prediction), 1)
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
        dx = left(self.made, INPUT_GRADIENTS, "backward") if dx is None else dx
        if dx is None:
            raise Misfit("its backward returned nothing, where the prediction's gradient is due")
        self.watch.keep("prediction_grad", dx)
        summed = self.subject.mean == "layers" and self.averages
        return self.layout.take(dx) / self.rows if summed else self.layout.take(dx)

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
