"""Training with autograd and torch.optim: `scratch/train.py`, name for name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor, nn


def step(
    model: nn.Module, criterion: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, t: Tensor
) -> Tensor:
    """One training step on one batch; returns the loss before it."""
    optimizer.zero_grad()
    loss: Tensor = criterion(model(x), t)
    loss.backward()
    optimizer.step()
    return loss.detach()


#: Steps whose masks are drawn at once.
TOGETHER = 100


class Draws(Protocol):
    """What a training draws, as `scratch.Draws` gives it."""

    def order(self, epoch: int, samples: int) -> Tensor:
        """The samples in the order of an epoch, `[N]`."""

    def masks(
        self,
        p: float,
        epoch: int,
        steps: range,
        dropout: int,
        shape: tuple[int, int],
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        """The masks of a model's n-th Dropout, `[steps, B, features]`."""


def fit(
    model: nn.Module,
    criterion: nn.Module,
    optimizer: torch.optim.Optimizer,
    x: Tensor,
    t: Tensor,
    *,
    epochs: int,
    batch_size: int,
    draws: Draws | None = None,
    masks: bool = False,
    on_epoch: Callable[[int], None] | None = None,
) -> None:
    """Trains as `scratch.train.fit` trains one run, on class indices `[N, T]` too.

    Args:
        draws: of the orders: `scratch.Draws(seed)` for those of `scratch.fit(…, seed=seed)`.
            Default: from torch's global generator.
        masks: whether it is of the masks too, in place of torch's own. Default: no.
    """
    dropouts = [module for module in model.modules() if isinstance(module, nn.Dropout)]
    given = [_Masks(draws, n, batch_size) for n in range(len(dropouts)) if draws and masks]
    hooks = [
        layer.register_forward_hook(mask) for layer, mask in zip(dropouts, given, strict=False)
    ]
    try:
        for epoch in range(1, epochs + 1):
            model.train()  # in each epoch: `on_epoch` may have set evaluation
            order = (draws.order(epoch, len(x)) if draws else torch.randperm(len(x))).to(x.device)
            batches = zip(x[order].split(batch_size), t[order].split(batch_size), strict=True)
            for number, (x_batch, t_batch) in enumerate(batches):
                for mask in given:
                    mask.at = epoch, number
                t_step = t_batch if t.is_floating_point() else t_batch.flatten()  # [B, T]
                step(model, criterion, optimizer, x_batch, t_step)
            if on_epoch is not None:
                on_epoch(epoch)
    finally:
        for hook in hooks:
            hook.remove()


class _Masks:
    """A hook that gives one Dropout its masks: what torch drew is not used."""

    def __init__(self, draws: Draws, place: int, batch_size: int) -> None:
        self.draws, self.place, self.batch_size = draws, place, batch_size
        self.at = 1, 0
        self.drawn, self.drawn_at = torch.empty(0), (0, 0)

    def __call__(self, layer: nn.Module, given: tuple[Tensor, ...], y: Tensor) -> Tensor:
        (x,), (epoch, number) = given, self.at
        if not layer.training:
            return y
        assert isinstance(layer, nn.Dropout)
        first = number - number % TOGETHER
        if self.drawn_at != (epoch, first):
            steps, shape = range(first, first + TOGETHER), (self.batch_size, x.shape[-1])
            self.drawn = self.draws.masks(layer.p, epoch, steps, self.place, shape, x.dtype)
            self.drawn_at = epoch, first
        return x * self.drawn[number - first, : len(x)]


@torch.no_grad()
def predict(model: nn.Module, x: Tensor) -> Tensor:
    """The model's output in evaluation mode; the model is left in the mode that it was in."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        y: Tensor = model.eval()(x)
        return y
    finally:
        for module, training in modes:
            module.training = training


def accuracy(model: nn.Module, x: Tensor, labels: Tensor, *, threshold: float = 0.5) -> Tensor:
    """The share of points in the right class, as `scratch.train.accuracy` has it."""
    y = predict(model, x)  # [N, outputs]
    classes = y.argmax(-1) if y.shape[-1] > 1 else (y[..., 0] > threshold).long()
    if labels.shape != classes.shape:
        raise ValueError(f"accuracy takes labels {list(classes.shape)}, got {list(labels.shape)}")
    return (classes == labels).double().mean()


@dataclass
class Curves:
    """Accuracy after each epoch: lists of `epochs` tensors without axes."""

    train: list[Tensor] = field(default_factory=list)
    test: list[Tensor] = field(default_factory=list)


def learning_curves(
    model: nn.Module,
    criterion: nn.Module,
    optimizer: torch.optim.Optimizer,
    train: tuple[Tensor, Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    *,
    epochs: int,
    batch_size: int,
    draws: Draws | None = None,
    masks: bool = False,
) -> Curves:
    """Trains as `fit` does, and returns the accuracies after each epoch."""
    curves = Curves()
    x, t, labels = train

    def measure(_: int) -> None:
        curves.train.append(accuracy(model, x, labels))
        curves.test.append(accuracy(model, *test))

    fit(
        model, criterion, optimizer, x, t,
        epochs=epochs, batch_size=batch_size, draws=draws, masks=masks, on_epoch=measure,
    )  # fmt: skip
    return curves
