"""Training: the mini-batch loop, accuracy, and learning curves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from scratch import engines
from scratch.engines import Job
from scratch.engines.eager import input_dims, predict, step, target_dims
from scratch.losses import Loss
from scratch.module import Module, describe
from scratch.optimizer import Optimizer
from scratch.philox import Draws

__all__ = ["Curves", "accuracy", "fit", "learning_curves", "predict", "step"]


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
    engine: str = "eager",
    on_epoch: Callable[[int], None] | None = None,
) -> None:
    """Trains a model in place by mini-batches, in a new order each epoch.

    What it draws is a function of the seed, the epoch, the step and the layer (`philox.py`), the
    same in every engine, and for run i of R as for run i alone.

    Args:
        x, t: inputs `[N, features]` and targets `[N, …]`; for a stacked model, the same for
            all runs, or with a leading R. A model that cannot be stacked, such as one with
            `Conv2d`, takes inputs of more axes: `[N, …]`. Its targets may be class indices
            `[N, T]`, T for each sample; the model then returns `[B * T, classes]`.
        epochs: how often the data is gone through, at least 1.
        batch_size: samples in a step, at least 1; the last batch of an epoch may be smaller.
        seed: of the orders, and of the masks of each Dropout without a generator of its own;
            one for each run of a stacked model. Default: drawn from torch's global generator.
        engine: how it is executed, which is for speed alone: "eager" (default), the layers as
            they are written; "fused", one function for all of it, on the CPU or CUDA; "auto",
            fused if it takes the training, else eager, with a warning that says why.
        on_epoch: called after each epoch with its number, from 1.

    Raises:
        ValueError: epochs or batch_size below 1; x and t of different lengths, or none;
            seeds or leading axes that do not fit the runs; an optimizer of another model;
            an unknown engine.
        engines.Unsupported: the engine does not take a part of this training, which it names.
    """
    _check(model, optimizer, x, t, epochs, batch_size)
    seeds = _seeds(model.runs, seed)
    draws = Draws(seeds[0] if model.runs is None else seeds, x.device)
    job = Job(model, criterion, optimizer, x, t, batch_size, draws)
    train = engines.engine(engine, job)
    if on_epoch is None:
        train(job, 1, epochs)
        return
    for epoch in range(1, epochs + 1):
        train(job, epoch, epoch)
        on_epoch(epoch)


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
    engine: str = "eager",
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
        epochs=epochs, batch_size=batch_size, seed=seed, engine=engine, on_epoch=measure,
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
    for name, data, dims in (("x", x, input_dims(model, x)), ("t", t, target_dims(t, model))):
        leads = data.dim() == dims + 1 and data.shape[0] == model.runs
        if data.dim() == dims or leads:
            continue
        takes = "[N, features]" if dims == 2 else "[N]"
        if model.runs is not None:
            takes += f", or that with a leading {model.runs}"
        elif data.dim() == dims + 1:
            takes += "; a leading axis of runs is for a model that runs.stack built"
        raise ValueError(f"fit got {name} {describe(data)}, takes {takes}")
    samples, targets = x.shape[-input_dims(model, x)], t.shape[-target_dims(t, model)]
    if samples < 1 or targets != samples:
        raise ValueError(f"fit takes as many targets as samples, got {targets} and {samples}")


def _seeds(runs: int | None, seed: int | Sequence[int] | None) -> list[int]:
    """A seed for each run."""
    if seed is None:
        return [int(one) for one in torch.randint(2**63 - 1, (runs or 1,))]
    if runs is None and not isinstance(seed, Sequence):
        return [seed]
    if runs is not None and isinstance(seed, Sequence) and len(seed) == runs:
        return list(seed)
    takes = "one seed" if runs is None else f"{runs} seeds, one for each run"
    raise ValueError(f"fit takes {takes} here, not {seed!r}")
