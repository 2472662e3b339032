"""Faults that show along one axis alone: a size, a rank, a magnitude, a dtype, a later life."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import scratch
from tests.faults import Planting, fault, swap

# ---- sizes ----

BEYOND = "up to 1,024 entries"


@fault("entries after the first 1,024 stay", "optimizer.sizes", "SGD", "wrongly", subtle=BEYOND)
def _() -> Planting:
    right = scratch.SGD._update
    return swap(scratch.SGD, _update=lambda self, p, g: right(self, p, _cut(g)))


@fault("moments of the first 1,024 entries alone", "optimizer.sizes", "Adam-", subtle=BEYOND)
def _() -> Planting:
    right = scratch.Adam._adapt
    return swap(scratch.Adam, _adapt=lambda self, p, g: right(self, p, _cut(g)))


def _cut(g: Tensor) -> Tensor:
    return torch.cat([g[:1024], torch.zeros_like(g[1024:])])


@fault("128 features make the sum", "layer.sizes", "Softmax", subtle="up to 128 features")
def _() -> Planting:
    def forward(self: Any, x: Tensor) -> Tensor:
        powers = (x - x.amax(self.dim, keepdim=True)).exp()
        first = powers.narrow(self.dim, 0, min(128, x.shape[self.dim]))
        self._kept = y = powers / first.sum(self.dim, keepdim=True)
        return y

    return swap(scratch.Softmax, forward=forward)


@fault(
    "features after the 32nd pass as they are", "layer.sizes", "Tanh", subtle="up to 32 features"
)
def _() -> Planting:
    right = scratch.Tanh.forward

    def forward(self: Any, x: Tensor) -> Tensor:
        return torch.cat([right(self, x)[..., :32], x[..., 32:]], -1)

    return swap(scratch.Tanh, forward=forward)


@fault("samples after the first 1,024 do not count", "loss.sizes", "MSELoss-sum", subtle=BEYOND)
def _() -> Planting:
    right = scratch.MSELoss._entries

    def entries(self: Any, x: Tensor, t: Tensor) -> Any:
        found, kept = right(self, x, t)
        return torch.cat([found[:1024], 0 * found[1024:]]), kept

    return swap(scratch.MSELoss, _entries=entries)


# ---- rank ----


def _in_three(cls: type, wrong: Callable[[Any, Tensor, Tensor], Tensor]) -> Planting:
    right: Any = cls.backward  # type: ignore[attr-defined]

    def backward(self: Any, dy: Tensor) -> Tensor:
        dx = right(self, dy)
        return dx if dy.dim() < 3 else wrong(self, dx, dy)

    return swap(cls, backward=backward)


IN_TWO = "in two dimensions"
WRONG = "is wrong on inputs of three dimensions, which its forward takes"


@fault("averages over the steps of a sequence", "layer.rank", "Sigmoid", WRONG, subtle=IN_TWO)
def _() -> Planting:
    return _in_three(scratch.Sigmoid, lambda self, dx, dy: dx / dy.shape[1])


@fault("takes the first step of a sequence for all", "layer.rank", "Tanh", WRONG, subtle=IN_TWO)
def _() -> Planting:
    return _in_three(scratch.Tanh, lambda self, dx, dy: dx[:, :1].expand_as(dx).clone())


@fault("forgets its derivative in three dimensions", "layer.rank", "ELU", WRONG, subtle=IN_TWO)
def _() -> Planting:
    return _in_three(scratch.ELU, lambda self, dx, dy: dy.clone())


@fault("sums over the steps of a sequence", "layer.rank", "ReLU", WRONG, subtle=IN_TWO)
def _() -> Planting:
    return _in_three(scratch.ReLU, lambda self, dx, dy: dx.sum(1, keepdim=True).expand_as(dx))


# ---- magnitudes ----


@fault("by a tanh", "layer.magnitudes", "Sigmoid", "its tail is lost", subtle="above -17")
def _() -> Planting:
    def forward(self: Any, x: Tensor) -> Tensor:
        self._kept = y = (1 + torch.tanh(self.slope * x / 2)) / 2
        return y

    return swap(scratch.Sigmoid, forward=forward)


@fault("e^x is 0 below -10", "layer.magnitudes", "ELU", "its tail is lost", subtle="above -10")
def _() -> Planting:
    right = scratch.ELU.backward

    def backward(self: Any, dy: Tensor) -> Tensor:
        return torch.where(self._kept < -10, 0.0, right(self, dy))

    return swap(scratch.ELU, backward=backward)


@fault("what is small is 0", "layer.magnitudes", "LeakyReLU", subtle="from 0.01 on")
def _() -> Planting:
    right = scratch.LeakyReLU.forward

    def forward(self: Any, x: Tensor) -> Tensor:
        return torch.where((x.abs() < 0.01) & (x != 0), 0.0, right(self, x))

    return swap(scratch.LeakyReLU, forward=forward)


@fault("between 10 and 50 it is 1", "layer.magnitudes", "SELU", subtle="elsewhere")
def _() -> Planting:
    right = scratch.SELU.forward

    def forward(self: Any, x: Tensor) -> Tensor:
        return torch.where((x > 10) & (x < 50), 1.0, right(self, x))

    return swap(scratch.SELU, forward=forward)


@fault("clips gradients at 100", "optimizer.magnitudes", "SGD", "very small, or very large",
       subtle="up to 100")  # fmt: skip
def _() -> Planting:
    right = scratch.SGD._update
    return swap(scratch.SGD, _update=lambda self, p, g: right(self, p, g.clamp(-100, 100)))


@fault("a gradient below 1e-6 is none", "optimizer.magnitudes", "Adam", subtle="above 1e-6")
def _() -> Planting:
    right = scratch.Adam._adapt

    def adapt(self: Any, p: Tensor, g: Tensor) -> None:
        right(self, p, torch.where(g.abs() < 1e-6, 0.0, g))

    return swap(scratch.Adam, _adapt=adapt)


@fault("what is near has no slope", "loss.magnitudes", "L1Loss-none", subtle="from 0.001 on")
def _() -> Planting:
    def derivative(self: Any, difference: Tensor, t: Tensor) -> Tensor:
        return torch.where(difference.abs() < 1e-3, 0.0, difference.sign())

    return swap(scratch.L1Loss, _derivative=derivative)


@fault("is sure from a logit of 5 on", "loss.magnitudes", "BCEWithLogitsLoss-none", subtle="below")
def _() -> Planting:
    right = scratch.BCEWithLogitsLoss._derivative

    def derivative(self: Any, x: Tensor, t: Tensor) -> Tensor:
        return torch.where((x > 5) & (x < 60), 1 - t, right(self, x, t))

    return swap(scratch.BCEWithLogitsLoss, _derivative=derivative)


# ---- what is no number ----


@fault("a NaN is a gradient of 0", "optimizer.nan", "SGD", "NaN or infinite", subtle="of numbers")
def _() -> Planting:
    right = scratch.SGD._update
    return swap(scratch.SGD, _update=lambda self, p, g: right(self, p, g.nan_to_num(0.0)))


@fault("skips a step with a NaN in it", "optimizer.nan", "Adam", subtle="of numbers")
def _() -> Planting:
    right = scratch.Adam._adapt

    def adapt(self: Any, p: Tensor, g: Tensor) -> None:
        if bool(g.isfinite().all()):
            right(self, p, g)

    return swap(scratch.Adam, _adapt=adapt)


@fault("leaves NaNs out of its sum", "loss.nan", "MSELoss", "makes a number of a prediction",
       subtle="of numbers")  # fmt: skip
def _() -> Planting:
    right = scratch.MSELoss._entries

    def entries(self: Any, x: Tensor, t: Tensor) -> Any:
        found, kept = right(self, x, t)
        return found.nan_to_num(0.0), kept

    return swap(scratch.MSELoss, _entries=entries)


@fault("a NaN becomes its largest value", "layer.nan", "Sigmoid", subtle="of numbers")
def _() -> Planting:
    right = scratch.Sigmoid.forward
    return swap(scratch.Sigmoid, forward=lambda self, x: right(self, x.nan_to_num(torch.inf)))


# ---- what follows a loss ----


def _following(cls: type, change: Callable[[Tensor], Tensor | None]) -> Planting:
    right: Any = scratch.Loss.backward

    def backward(self: Any, dy: Tensor | None = None) -> Tensor:
        dx: Tensor = right(self, None if dy is None else change(dy))
        return dx

    return swap(cls, backward=backward)


ONE = "where nothing follows the loss"
FOLLOWS = "does not multiply by the gradient of what follows it"


@fault("ignores what follows", "loss.upstream", "MSELoss", FOLLOWS, subtle=ONE)
def _() -> Planting:
    return _following(scratch.MSELoss, lambda dy: None)


@fault("takes that of the first entry", "loss.upstream", "L1Loss-none", FOLLOWS,
       subtle="where that is the same for all")  # fmt: skip
def _() -> Planting:
    return _following(
        scratch.L1Loss, lambda dy: dy.flatten()[:1].expand(dy.numel()).reshape(dy.shape)
    )


@fault("takes the mean of what follows", "loss.upstream", "CrossEntropyLoss-index_none", FOLLOWS,
       subtle="where that is the same for all")  # fmt: skip
def _() -> Planting:
    return _following(scratch.CrossEntropyLoss, lambda dy: dy.mean().expand(dy.shape))


@fault("knows the sign alone", "loss.upstream", "BCEWithLogitsLoss", FOLLOWS, subtle="at 1")
def _() -> Planting:
    return _following(scratch.BCEWithLogitsLoss, torch.sign)


# ---- an optimizer's life ----

LATER = "once that has changed"


@fault("its velocity holds the old rate", "optimizer.rate", "SGD-momentum=0.9", LATER,
       subtle="while the rate is the same")  # fmt: skip
def _() -> Planting:
    def update(self: Any, p: Tensor, g: Tensor) -> None:
        g = g + self.weight_decay * p
        first = "momentum_buffer" not in self._state
        b = self._slot("momentum_buffer")
        if not self.momentum:
            p.sub_(self.lr * g)
            return
        share = 1 if first else 1 - self.dampening
        b.mul_(self.momentum).add_(self.lr * share * g)
        p.sub_(self.lr * g + self.momentum * b if self.nesterov else b)

    return swap(scratch.SGD, _update=update)


@fault("keeps its first rate", "optimizer.rate", "Adam", LATER, subtle="while it is the same")
def _() -> Planting:
    right = scratch.Adam._adapt

    def adapt(self: Any, p: Tensor, g: Tensor) -> None:
        self.first = getattr(self, "first", self.lr)
        self.lr, rate = self.first, self.lr
        right(self, p, g)
        self.lr = rate

    return swap(scratch.Adam, _adapt=adapt)


@fault(
    "its decay has the first rate", "optimizer.rate", "AdamW", LATER, subtle="while it is the same"
)
def _() -> Planting:
    def update(self: Any, p: Tensor, g: Tensor) -> None:
        self.first = getattr(self, "first", self.lr)
        p.mul_(1 - self.first * self.weight_decay)
        self._adapt(p, g)

    return swap(scratch.AdamW, _update=update)


def _loaded(cls: type, spoil: Callable[[Any], object]) -> Planting:
    right: Any = cls.load_state_dict  # type: ignore[attr-defined]

    def load_state_dict(self: Any, state_dict: Any) -> None:
        right(self, state_dict)
        spoil(self)

    return swap(cls, load_state_dict=load_state_dict)


RESUMED = "does not go on as before from a state that was saved"
NEVER = "of a training that is not resumed"


@fault("the step is not loaded", "optimizer.resume", "Adam", RESUMED, subtle=NEVER)
def _() -> Planting:
    return _loaded(scratch.Adam, lambda self: setattr(self, "_steps", 0))


@fault("the velocity is not loaded", "optimizer.resume", "SGD-momentum=0.9", RESUMED, subtle=NEVER)
def _() -> Planting:
    return _loaded(scratch.SGD, lambda self: self._state.clear())


@fault("the second moment is not loaded", "optimizer.resume", "AdamW", RESUMED, subtle=NEVER)
def _() -> Planting:
    return _loaded(scratch.AdamW, lambda self: self._state["exp_avg_sq"].zero_())


@fault("loads in half precision", "optimizer.resume", "Adam-", RESUMED, subtle=NEVER)
def _() -> Planting:
    def spoil(self: Any) -> None:
        for slot in self._state.values():
            slot.copy_(slot.bfloat16())

    return _loaded(scratch.Adam, spoil)


# ---- several of a class ----

ALONE = "where there is one of them"
SHARED = "the two share what forward keeps"


def _in_the_class(cls: type) -> Planting:
    forward: Any = cls.forward  # type: ignore[attr-defined]
    backward: Any = cls.backward  # type: ignore[attr-defined]

    def forth(self: Any, x: Tensor) -> Tensor:
        y: Tensor = forward(self, x)
        _LAST[cls] = self._kept
        return y

    def back(self: Any, dy: Tensor) -> Tensor:
        self._kept = _LAST[cls]
        dx: Tensor = backward(self, dy)
        return dx

    return swap(cls, forward=forth, backward=back)


_LAST: dict[type, Tensor] = {}


@fault("keeps its output in the class", "layer.instances", "Tanh", SHARED, subtle=ALONE)
def _() -> Planting:
    return _in_the_class(scratch.Tanh)


@fault("keeps its output in the module", "layer.instances", "Sigmoid", SHARED, subtle=ALONE)
def _() -> Planting:
    return _in_the_class(scratch.Sigmoid)


@fault("keeps its input in the class", "layer.instances", "LeakyReLU", SHARED, subtle=ALONE)
def _() -> Planting:
    return _in_the_class(scratch.LeakyReLU)


@fault("all draw from one seed", "layer.instances", "Dropout", "they draw from one seed",
       subtle="of one Dropout")  # fmt: skip
def _() -> Planting:
    right = scratch.Dropout.__init__

    def init(self: Any, p: float = 0.5, *, generator: Any = None) -> None:
        right(self, p, generator=generator or torch.Generator().manual_seed(0))

    return swap(scratch.Dropout, __init__=init)


# ---- half precision ----


def _by_rows(entries: Tensor) -> Tensor:
    total = torch.zeros_like(entries[0])
    for row in entries:
        total = total + row
    return total.sum(-1)


@fault("adds up in half precision", "loss.half", "MSELoss-mean", dtype="bfloat16",
       subtle="in float32")  # fmt: skip
def _() -> Planting:
    return _summed(scratch.MSELoss)


@fault("sums its absolute values in half precision", "loss.half", "L1Loss-mean", dtype="bfloat16",
       subtle="in float32")  # fmt: skip
def _() -> Planting:
    return _summed(scratch.L1Loss)


@fault("adds up in half precision", "loss.half", "HuberLoss-mean", dtype="bfloat16",
       subtle="in float32")  # fmt: skip
def _() -> Planting:
    return _summed(scratch.HuberLoss)


def _summed(cls: type) -> Planting:
    right: Any = cls.forward  # type: ignore[attr-defined]

    def forward(self: Any, x: Tensor, t: Tensor) -> Tensor:
        loss: Tensor = right(self, x, t)
        if self.reduction != "mean" or x.dtype != torch.bfloat16:
            return loss
        entries, _ = self._entries(x, t)
        return _by_rows(entries) / entries.numel()

    return swap(cls, forward=forward)


# ---- memory that nobody has written to ----


@fault("gradients begin as whatever is there", "layer.uninitialised", "Linear",
       subtle="once they have been set to zero")  # fmt: skip
def _() -> Planting:
    right = scratch.Linear.__init__

    def init(self: Any, *args: Any, **options: Any) -> None:
        right(self, *args, **options)
        self.dweight = torch.empty_like(self.dweight)

    return swap(scratch.Linear, __init__=init)


@fault("the first state is memory as it is", "layer.uninitialised", "GRU-no_bias",
       subtle="where memory is zero at first")  # fmt: skip
def _() -> Planting:
    right = scratch.GRU._state

    def state(self: Any, name: str, given: Any, x: Tensor, *shape: int) -> Tensor:
        empty = torch.empty(shape, dtype=x.dtype)
        return empty if given is None else right(self, name, given, x, *shape)

    return swap(scratch.GRU, _state=state)


# ---- the gradients that an optimizer is given ----


def _leaving(cls: type, leave: Callable[[Tensor], object]) -> Planting:
    """What an optimizer leaves in the place of its gradients."""
    right: Any = cls._update  # type: ignore[attr-defined]

    def update(self: Any, p: Tensor, g: Tensor) -> None:
        right(self, p, g)
        leave(self._gradients)

    return swap(cls, _update=update)


@fault("squares its gradients in place", "optimizer.no_mutation", "RMSprop-",
       "RMSprop writes into the gradients that it steps by",
       subtle="where gradients are set to zero before the next backward")  # fmt: skip
def _() -> Planting:
    return _leaving(scratch.RMSprop, Tensor.square_)


@fault("divides its gradients in place", "optimizer.no_mutation", "Adagrad-",
       "Adagrad writes into the gradients that it steps by",
       subtle="where gradients are set to zero before the next backward")  # fmt: skip
def _() -> Planting:
    return _leaving(scratch.Adagrad, lambda g: g.div_(g.abs().sqrt().add_(1e-10)))


@fault("scales its gradients in place", "optimizer.no_mutation", "Adam-",
       "Adam writes into the gradients that it steps by",
       subtle="where gradients are set to zero before the next backward")  # fmt: skip
def _() -> Planting:
    return _leaving(scratch.Adam, lambda g: g.mul_(1e-3))


# ---- long runs ----


def _after(cls: type, steps: int, do: Callable[[Any], object]) -> Planting:
    """What an optimizer does before each step after so many."""
    right: Any = cls._update  # type: ignore[attr-defined]

    def update(self: Any, p: Tensor, g: Tensor) -> None:
        if self._steps > steps:
            do(self)
        right(self, p, g)

    return swap(cls, _update=update)


@fault("its average begins anew after 300 steps", "optimizer.long_run", "RMSprop",
       subtle="for 300 steps")  # fmt: skip
def _() -> Planting:
    return _after(
        scratch.RMSprop, 300, lambda own: own._steps == 301 and own._slot("square_avg").zero_()
    )


@fault("its sum grows no longer after 256 steps", "optimizer.long_run", "Adagrad",
       subtle="for 256 steps")  # fmt: skip
def _() -> Planting:
    right = scratch.Adagrad._update

    def update(self: Any, p: Tensor, g: Tensor) -> None:
        before = self._slot("sum").clone()
        right(self, p, g)
        if self._steps > 256:
            self._slot("sum").copy_(before)

    return swap(scratch.Adagrad, _update=update)


@fault("its velocity is rounded to half precision after 500 steps", "optimizer.long_run",
       "SGD-momentum=0.9", subtle="for 500 steps")  # fmt: skip
def _() -> Planting:
    def rounded(own: Any) -> None:
        own._slot("momentum_buffer").copy_(own._slot("momentum_buffer").bfloat16())

    return _after(scratch.SGD, 500, rounded)
