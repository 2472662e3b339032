"""Training: the mini-batch loop, accuracy, and learning curves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from scratch.losses import Loss
from scratch.module import Module, describe
from scratch.optimizer import Optimizer


def step(model: Module, criterion: Loss, optimizer: Optimizer, x: Tensor, t: Tensor) -> Tensor:
    """One training step on one batch; returns the loss before it."""
    optimizer.zero_grad()
    loss = criterion(model(x), t)
    model.backward_param(criterion.backward())
    optimizer.step()
    return loss


def fit(
    model: Module,
    criterion: Loss,
    optimizer: Optimizer,
    x: Tensor,
    t: Tensor,
    *,
    epochs: int,
    batch_size: int,
    seed: int | Sequence[int] | None = None,
    on_epoch: Callable[[int], None] | None = None,
) -> None:
    """Trains a model in place by mini-batches, in a new order each epoch.

    Args:
        x, t: inputs `[N, features]` and targets `[N, …]`; for a stacked model, the same for
            all runs, or with a leading R.
        epochs: how often the data is gone through, at least 1.
        batch_size: samples in a step, at least 1; the last batch of an epoch may be smaller.
        seed: of the order; one for each run of a stacked model, where run i then sees the
            batches that it would see alone. Default: orders from torch's global generator.
        on_epoch: called after each epoch with its number, from 1.

    Raises:
        ValueError: epochs or batch_size below 1; x and t of different lengths, or none;
            seeds or leading axes that do not fit the runs; an optimizer of another model.
    """
    _check(model, optimizer, x, t, epochs, batch_size)
    orders = _orders(model.runs, x.shape[-2], seed)
    t_dims = _target_dims(t)
    for epoch in range(1, epochs + 1):
        model.train()  # in each epoch: `on_epoch` may have set evaluation
        order = next(orders).to(x.device)
        batches = zip(
            _in_order(x, order, 2).split(batch_size, dim=order.dim() - 1),
            _in_order(t, order, t_dims).split(batch_size, dim=order.dim() - 1),
            strict=True,
        )
        with torch.inference_mode():  # autograd is not used; this spares its bookkeeping
            for x_batch, t_batch in batches:
                step(model, criterion, optimizer, x_batch, t_batch)
        if on_epoch is not None:
            on_epoch(epoch)


def predict(model: Module, x: Tensor) -> Tensor:
    """The model's output in evaluation mode: x `[N, features]`, for a stacked model too.

    The model is left as it was: its mode, and what a forward kept for its backward.
    """
    before = [(module, dict(vars(module))) for module in model.modules()]
    if model.runs is not None and x.dim() == 2:
        x = x.expand(model.runs, *x.shape)  # [R, N, features]
    try:
        with torch.inference_mode():
            return model.eval()(x)
    finally:
        for module, state in before:
            vars(module).update(state)


def accuracy(model: Module, x: Tensor, labels: Tensor, *, threshold: float = 0.5) -> Tensor:
    """The share of points that the model, in evaluation mode, puts in the right class.

    Several outputs: the largest is the class. One output: above `threshold` is class 1.

    Args:
        x: `[N, features]`, for a stacked model too, or `[R, N, features]`.
        labels: class indices `[N]`, or `[R, N]`.

    Returns:
        A tensor without axes; `[R]` for a stacked model.

    Raises:
        ValueError: labels of another shape.
    """
    y = predict(model, x)  # [R, N, outputs]
    classes = y.argmax(-1) if y.shape[-1] > 1 else (y[..., 0] > threshold).long()
    if labels.shape not in (classes.shape, classes.shape[-1:]):
        raise ValueError(
            f"accuracy takes labels {list(classes.shape)}, a class index for each point, "
            f"and got {describe(labels)}"
        )
    return (classes == labels).double().mean(-1)


@dataclass
class Curves:
    """Accuracy after each epoch: lists of `epochs` tensors, without axes or `[R]`."""

    train: list[Tensor] = field(default_factory=list)
    test: list[Tensor] = field(default_factory=list)


def learning_curves(
    model: Module,
    criterion: Loss,
    optimizer: Optimizer,
    train: tuple[Tensor, Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    *,
    epochs: int,
    batch_size: int,
    seed: int | Sequence[int] | None = None,
) -> Curves:
    """Trains as `fit` does, and returns the accuracies after each epoch.

    Args:
        train: inputs, targets and labels. test: inputs and labels.
    """
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


def _check(
    model: Module, optimizer: Optimizer, x: Tensor, t: Tensor, epochs: int, batch_size: int
) -> None:
    if epochs < 1:
        raise ValueError(f"fit takes at least 1 epoch, not {epochs!r}")
    if batch_size < 1:
        raise ValueError(f"fit takes a batch_size of at least 1, not {batch_size!r}")
    if not optimizer.moves(model):
        raise ValueError(
            f"{optimizer} moves no parameter of this model: make it from model.param(), and for "
            "a stacked model from that of the stacked one"
        )
    for name, data, dims in (("x", x, 2), ("t", t, _target_dims(t))):
        leads = data.dim() == dims + 1 and data.shape[0] == model.runs
        if data.dim() == dims or leads:
            continue
        takes = "[N, features]" if dims == 2 else "[N]"
        if model.runs is not None:
            takes += f", or that with a leading {model.runs}"
        elif data.dim() == dims + 1:
            takes += "; a leading axis of runs is for a model that runs.stack built"
        raise ValueError(f"fit got {name} {describe(data)}, takes {takes}")
    samples, targets = x.shape[-2], t.shape[-_target_dims(t)]
    if samples < 1 or targets != samples:
        raise ValueError(f"fit takes as many targets as samples, got {targets} and {samples}")


def _target_dims(t: Tensor) -> int:
    """The axes of one run's targets: class indices have no features."""
    return 2 if t.is_floating_point() else 1


def _orders(runs: int | None, samples: int, seed: int | Sequence[int] | None) -> Iterator[Tensor]:
    """Epoch after epoch, the order of the samples: `[N]`, or `[R, N]`."""
    generators = [_generator(one) for one in _seeds(runs, seed)]
    while True:
        orders = [torch.randperm(samples, generator=generator) for generator in generators]
        yield orders[0] if runs is None else torch.stack(orders)


def _seeds(runs: int | None, seed: int | Sequence[int] | None) -> list[int | None]:
    """A seed for each run, or None for each."""
    if seed is None:
        return [None] * (runs or 1)
    if runs is None and not isinstance(seed, Sequence):
        return [seed]
    if runs is not None and isinstance(seed, Sequence) and len(seed) == runs:
        return list(seed)
    takes = "one seed" if runs is None else f"{runs} seeds, one for each run"
    raise ValueError(f"fit takes {takes} here, not {seed!r}")


def _generator(seed: int | None) -> torch.Generator | None:
    return None if seed is None else torch.Generator().manual_seed(seed)


def _in_order(data: Tensor, order: Tensor, dims: int) -> Tensor:
    """Data `[N, …]` of so many axes, or `[R, N, …]`, in the order of one run or of each run."""
    if order.dim() == 1 or data.dim() == dims:
        return data[order]
    return data[torch.arange(len(data), device=data.device).unsqueeze(-1), order]
