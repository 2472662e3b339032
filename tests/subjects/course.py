"""The framework of a course: torch tensors, batch first, `param()` gives (parameter, gradient).

Weights are [out, in], gradients add up until `zero_grad`, a Sequential takes its layers as
arguments, a loss remembers what it was given and its `backward()` takes nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor

Pairs = list[tuple[Tensor, Tensor]]


class Module:
    """Something with a forward and a backward, and perhaps parameters."""

    training = True

    def forward(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def backward(self, dy: Tensor) -> Tensor:
        raise NotImplementedError

    def param(self) -> Pairs:
        return []

    def zero_grad(self) -> None:
        for _, gradient in self.param():
            gradient.zero_()

    def train(self) -> None:
        self.training = True

    def eval(self) -> None:
        self.training = False


class Linear(Module):
    """`y = x wᵀ + b`."""

    def __init__(self, n_in: int, n_out: int, bias: bool = True) -> None:
        self.w = torch.empty(n_out, n_in).normal_(0, n_in**-0.5)
        self.b = torch.zeros(n_out) if bias else None
        self.dw = torch.zeros_like(self.w)
        self.db = torch.zeros(n_out)

    def forward(self, x: Tensor) -> Tensor:
        self.x = x
        y = x @ self.w.t()
        return y if self.b is None else y + self.b

    def backward(self, dy: Tensor) -> Tensor:
        self.dw += dy.t() @ self.x
        self.db += dy.sum(0)
        return dy @ self.w

    def param(self) -> Pairs:
        pairs = [(self.w, self.dw)]
        return pairs if self.b is None else [*pairs, (self.b, self.db)]


class ReLU(Module):
    """`y = max(x, 0)`."""

    def forward(self, x: Tensor) -> Tensor:
        self.x = x
        return x.clamp(min=0)

    def backward(self, dy: Tensor) -> Tensor:
        return torch.where(self.x > 0, dy, torch.zeros_like(dy))


class Tanh(Module):
    """`y = tanh(x)`; dy/dx = 1 - y²."""

    def forward(self, x: Tensor) -> Tensor:
        self.y = x.tanh()
        return self.y.clone()

    def backward(self, dy: Tensor) -> Tensor:
        return dy * (1 - self.y**2)


class Softmax(Module):
    """`y = exp(x) / Σ exp(x)`, over the features."""

    def forward(self, x: Tensor) -> Tensor:
        e = (x - x.amax(1, keepdim=True)).exp()
        self.y = e / e.sum(1, keepdim=True)
        return self.y.clone()

    def backward(self, dy: Tensor) -> Tensor:
        return self.y * (dy - (dy * self.y).sum(1, keepdim=True))


class Dropout(Module):
    """Zero with probability p, else x / (1 - p); in evaluation nothing."""

    def __init__(self, p: float) -> None:
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        self.factor = torch.ones_like(x)
        if self.training:
            kept = torch.rand(x.shape) >= self.p
            self.factor = kept.to(x.dtype) / (1 - self.p) if self.p < 1 else torch.zeros_like(x)
        return x * self.factor

    def backward(self, dy: Tensor) -> Tensor:
        return dy * self.factor


class Sequential(Module):
    """Layers in a row."""

    def __init__(self, *layers: Module) -> None:
        self.layers = layers

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer.forward(x)
        return x

    def backward(self, dy: Tensor) -> Tensor:
        for layer in reversed(self.layers):
            dy = layer.backward(dy)
        return dy

    def param(self) -> Pairs:
        return [pair for layer in self.layers for pair in layer.param()]

    def train(self) -> None:
        for layer in self.layers:
            layer.train()

    def eval(self) -> None:
        for layer in self.layers:
            layer.eval()


class LossMSE:
    """The mean of the squared differences of all entries."""

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        self.difference = prediction - target
        return (self.difference**2).mean()

    def backward(self) -> Tensor:
        return 2 * self.difference / self.difference.numel()


class LossCrossEntropy:
    """Minus the mean log-probability of the right class, from logits."""

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        self.log_p = prediction - prediction.logsumexp(1, keepdim=True)
        self.target = target
        return -self.log_p.gather(1, target[:, None]).mean()

    def backward(self) -> Tensor:
        one_hot = torch.zeros_like(self.log_p).scatter_(1, self.target[:, None], 1)
        return (self.log_p.exp() - one_hot) / len(one_hot)


class SGD:
    """Steps against the gradient, with momentum."""

    def __init__(self, params: Pairs, lr: float, momentum: float = 0) -> None:
        self.params, self.lr, self.momentum = params, lr, momentum
        self.velocities = [torch.zeros_like(p) for p, _ in params]

    def step(self) -> None:
        for (p, gradient), v in zip(self.params, self.velocities, strict=True):
            v.mul_(self.momentum).add_(gradient)
            p.sub_(self.lr * v)
