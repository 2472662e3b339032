"""The readable engine: layer after layer, one operation on tensors after another."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor

from scratch.dropout import Dropout
from scratch.engines.job import Job
from scratch.losses import Loss
from scratch.module import Module
from scratch.optimizer import Optimizer
from scratch.philox import MaskStream


def step(model: Module, criterion: Loss, optimizer: Optimizer, x: Tensor, t: Tensor) -> Tensor:
    """One training step on one batch; returns the loss before it."""
    optimizer.zero_grad()
    loss = criterion(model(x), t)
    model.backward_param(criterion.backward())
    optimizer.step()
    return loss


def train(job: Job, first: int, last: int) -> None:
    """Trains in epochs `first` to `last`; see `scratch.engines`."""
    model, dims = job.model.train(), input_dims(job.model, job.x)
    samples, target = job.x.shape[-dims], target_dims(job.t, job.model)
    several = target > 1 and not job.t.is_floating_point()  # class indices [B, T] for a sample
    with streams(job) as masks:
        for epoch in range(first, last + 1):
            for mask in masks:
                mask.begin(epoch, steps=-(-samples // job.batch_size))
            order = job.draws.order(epoch, samples)
            batches = zip(
                _in_order(job.x, order, dims).split(job.batch_size, dim=order.dim() - 1),
                _in_order(job.t, order, target).split(job.batch_size, dim=order.dim() - 1),
                strict=True,
            )
            with torch.inference_mode():  # autograd is not used; this spares its bookkeeping
                for x_batch, t_batch in batches:
                    t_step = t_batch.flatten() if several else t_batch
                    step(model, job.criterion, job.optimizer, x_batch, t_step)


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


@contextlib.contextmanager
def streams(job: Job) -> Iterator[list[MaskStream]]:
    """While it is open, Dropouts without a generator of their own draw from the job's seeds."""
    dropouts = [module for module in job.model.modules() if isinstance(module, Dropout)]
    drawing = {place: one for place, one in enumerate(dropouts) if one.generator is None}
    given = [MaskStream(job.draws, place, job.batch_size) for place in drawing]
    try:
        for dropout, stream in zip(drawing.values(), given, strict=True):
            dropout._stream = stream
        yield given
    finally:
        for dropout in drawing.values():
            dropout._stream = None


def input_dims(model: Module, x: Tensor) -> int:
    """The axes of one run's inputs: two, or all that there are if the model cannot be stacked."""
    return 2 if _stackable(model) else max(2, x.dim())


def target_dims(t: Tensor, model: Module | None = None) -> int:
    """The axes of one run's targets: class indices have no features.

    For a model that cannot be stacked, class indices may be `[N, T]`, T for each sample.
    """
    if t.is_floating_point():
        return 2
    return 1 if model is None or _stackable(model) else max(1, t.dim())


def _stackable(model: Module) -> bool:
    return all(module.stackable for module in model.modules())


def _in_order(data: Tensor, order: Tensor, dims: int) -> Tensor:
    """Data `[N, …]` of so many axes, or `[R, N, …]`, in the order of one run or of each run."""
    if order.dim() == 1 or data.dim() == dims:
        return data[order]
    return data[torch.arange(len(data), device=data.device).unsqueeze(-1), order]
