"""Faults of optimizers."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

import scratch
from tests.faults import Planting, fault, swap


@fault("momentum is ignored", "optimizer.twenty_steps", "SGD-momentum=0.9", "ignores momentum=0.9")
def _() -> Planting:
    return swap(scratch.SGD, _update=lambda self, p, g: p.add_(g, alpha=-self.lr))


@fault(
    "the first step is dampened",
    "optimizer.twenty_steps",
    "SGD-momentum=0.9,dampening=0.5",
    "dampens the first step too; torch starts the",
)
def _() -> Planting:
    def update(self: Any, p: Tensor, g: Tensor) -> None:
        b = self._slot("momentum_buffer")
        b.mul_(self.momentum).add_(g, alpha=1 - self.dampening)
        p.add_(b, alpha=-self.lr)

    return swap(scratch.SGD, _update=update)


@fault(
    "nesterov is plain momentum",
    "optimizer.twenty_steps",
    "SGD-momentum=0.9,nesterov",
    "ignores nesterov=True",
)
def _() -> Planting:
    right = scratch.SGD._update

    def update(self: Any, p: Tensor, g: Tensor) -> None:
        self.nesterov, nesterov = False, self.nesterov
        right(self, p, g)
        self.nesterov = nesterov

    return swap(scratch.SGD, _update=update)


@fault(
    "weight decay enters after the momentum",
    "optimizer.twenty_steps",
    "SGD-momentum=0.9",
    "decouples the weight decay",
)
def _() -> Planting:
    right = scratch.SGD._update

    def update(self: Any, p: Tensor, g: Tensor) -> None:
        p.mul_(1 - self.lr * self.weight_decay)
        self.weight_decay, decay = 0, self.weight_decay
        right(self, p, g)
        self.weight_decay = decay

    return swap(scratch.SGD, _update=update)


@fault("maximize is ignored", "optimizer.twenty_steps", "SGD-maximize", "ignores maximize=True")
def _() -> Planting:
    return swap(scratch.SGD, _update=lambda self, p, g: p.add_(g, alpha=self.lr))


def _adam(denominator: Any, steps: Any = lambda self: self._steps) -> Planting:
    """Adam with another denominator, made from v and its bias correction, or another t."""

    def adapt(self: Any, p: Tensor, g: Tensor) -> None:
        beta1, beta2 = self.betas
        m, v = self._slot("exp_avg"), self._slot("exp_avg_sq")
        m.lerp_(g, 1 - beta1)
        v.lerp_(g * g, 1 - beta2)
        t = steps(self)
        divisor = denominator(self, v, 1 - beta2**t)
        p.addcdiv_(m, divisor, value=-self.lr / (1 - beta1**t))

    return swap(scratch.Adam, _adapt=adapt)


def _right(self: Any, v: Tensor, correction: float) -> Tensor:
    return (v / correction).sqrt() + self.eps


@fault(
    "bias correction has no t",
    "optimizer.twenty_steps",
    "Adam",
    "divides by 1 - beta at every step, not by 1",
)
def _() -> Planting:
    return _adam(_right, steps=lambda self: 1)


@fault(
    "bias correction lags by one step",
    "optimizer.twenty_steps",
    "Adam",
    "corrects the bias by the number of the step",
)
def _() -> Planting:
    return _adam(_right, steps=lambda self: max(self._steps - 1, 1))


@fault("no bias correction", "optimizer.twenty_steps", "Adam", "has no bias correction")
def _() -> Planting:
    return _adam(_right, steps=lambda self: math.inf)


@fault(
    "eps is inside the square root",
    "optimizer.twenty_steps",
    "Adam-eps=0.01",
    "adds eps inside the square root",
)
def _() -> Planting:
    return _adam(lambda self, v, correction: (v / correction + self.eps).sqrt())


@fault("eps is not scaled with the correction", "optimizer.twenty_steps", "Adam")
def _() -> Planting:
    return _adam(lambda self, v, correction: (v.sqrt() + self.eps) / math.sqrt(correction))


@fault(
    "one second moment for a whole weight",
    "optimizer.twenty_steps",
    "Adam",
    "keeps one second moment for a whole tensor",
)
def _() -> Planting:
    def whole(self: Any, v: Tensor, correction: float) -> Tensor:
        norms = [piece.sum().expand(piece.shape).reshape(-1) for piece in self._unpacked(v)]
        return _right(self, torch.cat(norms), correction)

    return _adam(whole)


@fault(
    "amsgrad forgets the largest",
    "optimizer.twenty_steps",
    "Adam-betas=(0.5,0.9),amsgrad",
    "ignores amsgrad=True",
)
def _() -> Planting:
    right = scratch.Adam._adapt

    def adapt(self: Any, p: Tensor, g: Tensor) -> None:
        self._state.pop("max_exp_avg_sq", None)
        right(self, p, g)

    return swap(scratch.Adam, _adapt=adapt)


@fault(
    "weight decay is coupled",
    "optimizer.twenty_steps",
    "AdamW",
    "couples the weight decay into the gradient,",
)
def _() -> Planting:
    return swap(scratch.AdamW, _update=scratch.Adam._update)


@fault("weight decay comes after the step", "optimizer.twenty_steps", "AdamW")
def _() -> Planting:
    def update(self: Any, p: Tensor, g: Tensor) -> None:
        self._adapt(p, g)
        p.mul_(1 - self.lr * self.weight_decay)

    return swap(scratch.AdamW, _update=update)


@fault("a loaded state starts at step 0", "optimizer.handover", "Adam")
def _() -> Planting:
    right = scratch.Optimizer.load_state_dict

    def load_state_dict(self: Any, state_dict: Any) -> None:
        right(self, state_dict)
        self._steps = 0

    return swap(scratch.Optimizer, load_state_dict=load_state_dict)


@fault("loading restores the rate alone", "optimizer.handover", "SGD-momentum=0.9")
def _() -> Planting:
    def load_state_dict(self: Any, state_dict: Any) -> None:
        self.lr = state_dict["param_groups"][0]["lr"]

    return swap(scratch.Optimizer, load_state_dict=load_state_dict)


@fault("a loaded state never turns back", "optimizer.handover", "Adam")
def _() -> Planting:
    right = scratch.Optimizer.load_state_dict

    def load_state_dict(self: Any, state_dict: Any) -> None:
        steps = self._steps
        right(self, state_dict)
        self._steps = max(steps, self._steps)

    return swap(scratch.Optimizer, load_state_dict=load_state_dict)


@fault("only the first tensor's place is watched", "optimizer.packing", "SGD")
def _() -> Planting:
    return swap(scratch.Optimizer, _where=lambda self: [self._tensors[0].data_ptr()])


@fault("a saved state is not a copy", "optimizer.states", "SGD-momentum=0.9")
def _() -> Planting:
    def unpacked(self: Any, flat: Tensor) -> list[Tensor]:
        pieces = flat.split([parameter.numel() for parameter, _ in self._pairs])
        return [p.view(pair[0].shape) for p, pair in zip(pieces, self._pairs, strict=True)]

    return swap(scratch.Optimizer, _unpacked=unpacked)


@fault("moved parameters are lost", "optimizer.packing", "SGD")
def _() -> Planting:
    return swap(scratch.Optimizer, _pack_if_moved=lambda self: None)


@fault("the step consumes the gradient", "optimizer.packing", "SGD-weight_decay=0.1")
def _() -> Planting:
    def update(self: Any, p: Tensor, g: Tensor) -> None:
        p.add_(g.add_(p, alpha=self.weight_decay), alpha=-self.lr)

    return swap(scratch.SGD, _update=update)


@fault(
    "another eps by default", "optimizer.defaults", "AdamW-",
    "default of AdamW's eps is 1e-07; torch's is 1e-08", subtle="where eps is given",
)  # fmt: skip
def _() -> Planting:
    return swap(scratch.AdamW.__init__, __defaults__=(1e-3, (0.9, 0.999), 1e-7, 1e-2, False))


@fault(
    "another eps by default", "optimizer.defaults", "Adam-",
    "default of Adam's eps is 1e-07; torch's is 1e-08", subtle="where eps is given",
)  # fmt: skip
def _() -> Planting:
    return swap(scratch.Adam.__init__, __defaults__=(1e-3, (0.9, 0.999), 1e-7, 0, False))


@fault(
    "weight decay is added to the gradient itself",
    "optimizer.no_mutation",
    "SGD-weight_decay=0.1",
    "SGD writes into the gradients that it steps by",
    subtle="where gradients are set to zero before the next backward",
)
def _() -> Planting:
    right = scratch.SGD._update

    def update(self: Any, p: Tensor, g: Tensor) -> None:
        right(self, p, g)
        self._gradients.add_(self._parameters, alpha=self.weight_decay)

    return swap(scratch.SGD, _update=update)


@fault(
    "steps are counted in half precision",
    "optimizer.long_run",
    "Adam",
    subtle="for 256 steps",
)
def _() -> Planting:
    right = scratch.Adam._update

    def update(self: Any, p: Tensor, g: Tensor) -> None:
        self._steps, steps = min(self._steps, 256), self._steps
        right(self, p, g)
        self._steps = steps

    return swap(scratch.Adam, _update=update)


@fault("averages its gradients", "optimizer.twenty_steps", "SGD-momentum=0.9", "averages the")
def _() -> Planting:
    def update(self: Any, p: Tensor, g: Tensor) -> None:
        b = self._slot("momentum_buffer")
        b.mul_(self.momentum).add_(g + self.weight_decay * p, alpha=1 - self.momentum)
        p.add_(b, alpha=-self.lr)

    return swap(scratch.SGD, _update=update)


@fault("keeps no moments", "optimizer.twenty_steps", "Adam", "keeps no moments")
def _() -> Planting:
    right = scratch.Adam._adapt

    def adapt(self: Any, p: Tensor, g: Tensor) -> None:
        self._slot("exp_avg").zero_()
        self._slot("exp_avg_sq").zero_()
        right(self, p, g)

    return swap(scratch.Adam, _adapt=adapt)


@fault(
    "keeps its moment corrected", "optimizer.twenty_steps", "Adam", "the next step corrects it",
    subtle="at the first step",
)  # fmt: skip
def _() -> Planting:
    right = scratch.Adam._adapt

    def adapt(self: Any, p: Tensor, g: Tensor) -> None:
        right(self, p, g)
        self._slot("exp_avg").div_(1 - self.betas[0] ** self._steps)

    return swap(scratch.Adam, _adapt=adapt)


@fault(
    "decays after the step", "optimizer.twenty_steps", "AdamW", "decays the weights after the step",
    dtype="float64",
)  # fmt: skip
def _() -> Planting:
    def update(self: Any, p: Tensor, g: Tensor) -> None:
        self._adapt(p, g)
        p.mul_(1 - self.lr * self.weight_decay)

    return swap(scratch.AdamW, _update=update)
