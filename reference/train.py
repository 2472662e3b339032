"""Training with autograd and torch.optim: `scratch/train.py`, name for name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

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


def fit(
    model: nn.Module,
    criterion: nn.Module,
    optimizer: torch.optim.Optimizer,
    x: Tensor,
    t: Tensor,
    *,
    epochs: int,
    batch_size: int,
    seed: int | None = None,
    on_epoch: Callable[[int], None] | None = None,
) -> None:
    """Trains as `scratch.train.fit` trains one run: with the same seed, on the same batches."""
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    for epoch in range(1, epochs + 1):
        model.train()  # in each epoch: `on_epoch` may have set evaluation
        order = torch.randperm(len(x), generator=generator).to(x.device)
        batches = zip(x[order].split(batch_size), t[order].split(batch_size), strict=True)
        for x_batch, t_batch in batches:
            step(model, criterion, optimizer, x_batch, t_batch)
        if on_epoch is not None:
            on_epoch(epoch)


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
    seed: int | None = None,
) -> Curves:
    """Trains as `fit` does, and returns the accuracies after each epoch."""
    curves = Curves()
    x, t, labels = train

    def measure(_: int) -> None:
        curves.train.append(accuracy(model, x, labels))
        curves.test.append(accuracy(model, *test))

    fit(
        model, criterion, optimizer, x, t,
        epochs=epochs, batch_size=batch_size, seed=seed, on_epoch=measure,
    )  # fmt: skip
    return curves
