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


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)
