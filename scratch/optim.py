"""The optimizers: how parameters move, given their gradients. The updates are torch.optim's."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from scratch.module import Pair, constant
from scratch.optimizer import Optimizer


class SGD(Optimizer):
    """Stochastic gradient descent: torch.optim.SGD; report B, eq. (15).

        g = g + weight_decay * p
        b = momentum * b + (1 - dampening) * g     (b = g at the first step)
        g = g + momentum * b  with nesterov, else b
        p = p - lr * g

    Args:
        param: `(parameter, gradient)` pairs, as `Module.param()` returns them.
        lr, momentum, dampening, weight_decay, nesterov, maximize: as torch's, and its defaults.
    """

    _options = ("lr", "momentum", "dampening", "weight_decay", "nesterov", "maximize")

    def __init__(
        self,
        param: Iterable[Pair],
        lr: float = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        self.lr, self.momentum, self.dampening = lr, momentum, dampening
        self.weight_decay, self.nesterov, self.maximize = weight_decay, nesterov, maximize
        super().__init__(param)

    @property
    def _slots(self) -> set[str]:
        return {"momentum_buffer"} if self.momentum else set()

    def _check_options(self) -> None:
        for name in ("lr", "momentum", "weight_decay"):
            value = getattr(self, name)
            _require(value >= 0, f"SGD takes {name} of 0 or above, not {value!r}")
        _require(
            not self.nesterov or (self.momentum > 0 and self.dampening == 0),
            "SGD takes nesterov with momentum above 0 and without dampening, not with "
            f"{self.momentum!r} and {self.dampening!r}",
        )

    def _update(self, p: Tensor, g: Tensor) -> None:
        if self.weight_decay:
            g = g.add(p, alpha=self.weight_decay)
        if self.momentum:
            first = "momentum_buffer" not in self._state
            b = self._slot("momentum_buffer")
            b.mul_(self.momentum).add_(g, alpha=1 if first else 1 - self.dampening)
            g = g.add(b, alpha=self.momentum) if self.nesterov else b
        p.add_(g, alpha=-self.lr)


class Adam(Optimizer):
    """Adam: torch.optim.Adam; Kingma and Ba 2015, algorithm 1; report B, eq. (22) to (26).

        g = g + weight_decay * p
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g^2
        p = p - lr * m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps)

    and with amsgrad the largest v so far in place of v (Reddi et al. 2018, algorithm 2).

    Args:
        param: `(parameter, gradient)` pairs, as `Module.param()` returns them.
        lr, betas, eps, weight_decay, amsgrad, maximize: as torch's, and its defaults.
    """

    _options = ("lr", "betas", "eps", "weight_decay", "amsgrad", "maximize")
    _extras = frozenset({"step", "decoupled_weight_decay"})
    _decoupled = False

    def __init__(
        self,
        param: Iterable[Pair],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        self.lr, self.betas, self.eps = lr, betas, eps
        self.weight_decay, self.amsgrad, self.maximize = weight_decay, amsgrad, maximize
        super().__init__(param)

    @property
    def _slots(self) -> set[str]:
        return {"exp_avg", "exp_avg_sq"} | ({"max_exp_avg_sq"} if self.amsgrad else set())

    def _check_options(self) -> None:
        kind = type(self).__name__
        for name in ("lr", "eps", "weight_decay"):
            value = getattr(self, name)
            _require(value >= 0, f"{kind} takes {name} of 0 or above, not {value!r}")
        betas = tuple(self.betas)
        _require(
            len(betas) == 2 and all(0 <= beta < 1 for beta in betas),
            f"{kind} takes two betas in [0, 1), not {betas!r}",
        )

    def _update(self, p: Tensor, g: Tensor) -> None:
        if self.weight_decay:
            g = g.add(p, alpha=self.weight_decay)
        self._adapt(p, g)

    def _adapt(self, p: Tensor, g: Tensor) -> None:
        beta1, beta2 = self.betas
        m, v = self._slot("exp_avg"), self._slot("exp_avg_sq")
        m.lerp_(g, 1 - beta1)
        v.lerp_(torch.mul(g, g, out=self._work), 1 - beta2)
        if self.amsgrad:
            largest = self._slot("max_exp_avg_sq")
            v = torch.maximum(largest, v, out=largest)
        root = math.sqrt(1 - beta2**self._steps)
        denominator = torch.sqrt(v, out=self._work)
        torch.add(constant(self.eps, p.dtype), denominator, alpha=1 / root, out=denominator)
        p.addcdiv_(m, denominator, value=-self.lr / (1 - beta1**self._steps))


class AdamW(Adam):
    """Adam with decoupled weight decay: torch.optim.AdamW; Loshchilov and Hutter 2019.

    `p = p - lr * weight_decay * p` before each step, in place of `g + weight_decay * p`. The
    default of weight_decay is torch's, 0.01; all else is Adam's.
    """

    _decoupled = True

    def __init__(
        self,
        param: Iterable[Pair],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(param, lr, betas, eps, weight_decay, amsgrad, maximize=maximize)

    def _update(self, p: Tensor, g: Tensor) -> None:
        p.mul_(1 - self.lr * self.weight_decay)
        self._adapt(p, g)


class RMSprop(Optimizer):
    """RMSprop: torch.optim.RMSprop; Tieleman and Hinton 2012; centered as Graves 2013, eq. (40).

        g = g + weight_decay * p
        v = alpha * v + (1 - alpha) * g^2
        m = alpha * m + (1 - alpha) * g     (with centered, else 0)
        b = momentum * b + g / (sqrt(v - m^2) + eps)
        p = p - lr * b

    Args:
        param: `(parameter, gradient)` pairs, as `Module.param()` returns them.
        lr, alpha, eps, weight_decay, momentum, centered, maximize: as torch's, and its defaults.
    """

    _options = ("lr", "alpha", "eps", "weight_decay", "momentum", "centered", "maximize")
    _extras = frozenset({"step"})

    def __init__(
        self,
        param: Iterable[Pair],
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        self.lr, self.alpha, self.eps, self.weight_decay = lr, alpha, eps, weight_decay
        self.momentum, self.centered, self.maximize = momentum, centered, maximize
        super().__init__(param)

    @property
    def _slots(self) -> set[str]:
        kept = {"square_avg"} | ({"momentum_buffer"} if self.momentum else set())
        return kept | ({"grad_avg"} if self.centered else set())

    def _check_options(self) -> None:
        for name in ("lr", "alpha", "eps", "weight_decay", "momentum"):
            value = getattr(self, name)
            _require(value >= 0, f"RMSprop takes {name} of 0 or above, not {value!r}")

    def _update(self, p: Tensor, g: Tensor) -> None:
        if self.weight_decay:
            g = g.add(p, alpha=self.weight_decay)
        v = self._slot("square_avg").mul_(self.alpha).addcmul_(g, g, value=1 - self.alpha)
        if self.centered:
            m = self._slot("grad_avg").lerp_(g, 1 - self.alpha)
            root = v.addcmul(m, m, value=-1).sqrt_().add_(self.eps)
        else:
            root = torch.sqrt(v, out=self._work).add_(self.eps)
        if self.momentum:
            b = self._slot("momentum_buffer").mul_(self.momentum).addcdiv_(g, root)
            p.add_(b, alpha=-self.lr)
        else:
            p.addcdiv_(g, root, value=-self.lr)


class Adagrad(Optimizer):
    """Adagrad: torch.optim.Adagrad; Duchi et al. 2011, eq. (1), with diagonal matrices.

        g = g + weight_decay * p
        v = v + g^2     (v = initial_accumulator_value before the first step)
        p = p - lr / (1 + (t - 1) * lr_decay) * g / (sqrt(v) + eps)

    Args:
        param: `(parameter, gradient)` pairs, as `Module.param()` returns them.
        lr, lr_decay, weight_decay, initial_accumulator_value, eps, maximize: as torch's, and its
            defaults.
    """

    _options = (
        "lr", "lr_decay", "eps", "weight_decay", "initial_accumulator_value", "maximize",
    )  # fmt: skip
    _extras = frozenset({"step"})

    def __init__(
        self,
        param: Iterable[Pair],
        lr: float = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        *,
        maximize: bool = False,
    ) -> None:
        self.lr, self.lr_decay, self.weight_decay, self.eps = lr, lr_decay, weight_decay, eps
        self.initial_accumulator_value, self.maximize = initial_accumulator_value, maximize
        super().__init__(param)

    @property
    def _slots(self) -> set[str]:
        return {"sum"}

    def _check_options(self) -> None:
        for name in ("lr", "lr_decay", "weight_decay", "initial_accumulator_value", "eps"):
            value = getattr(self, name)
            _require(value >= 0, f"Adagrad takes {name} of 0 or above, not {value!r}")

    def _update(self, p: Tensor, g: Tensor) -> None:
        if self.weight_decay:
            g = g.add(p, alpha=self.weight_decay)
        first = "sum" not in self._state
        v = self._slot("sum")
        if first:
            v.fill_(self.initial_accumulator_value)
        v.addcmul_(g, g)
        rate = self.lr / (1 + (self._steps - 1) * self.lr_decay)
        p.addcdiv_(g, torch.sqrt(v, out=self._work).add_(self.eps), value=-rate)


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)
