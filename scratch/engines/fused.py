"""The engine of one function for whole trainings: C++ on the CPU, a Triton kernel on CUDA.

It takes a chain of scratch's own layers, up to 128 wide, in float32 or float64. What a device
has its own way for is in `cpu.py` and `cuda.py`: `lanes`, `train` and `trace`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType

import torch
from torch import Tensor

from scratch import losses, optim
from scratch.dropout import Dropout
from scratch.engines import cpu
from scratch.engines.eager import predict, target_dims
from scratch.engines.job import Job, Unsupported
from scratch.engines.layout import (
    CRITERIA,
    KINDS,
    RULES,
    SLOTS,
    WIDEST,
    Layout,
    Refused,
    chain,
)  # fmt: skip
from scratch.linear import Linear
from scratch.module import Module


def check(job: Job) -> None:
    """Raises Unsupported if the engine does not take the job, or cannot be built here."""
    _check_model(job.model, job.x, min(job.batch_size, job.x.shape[-2]))
    if type(job.criterion) not in CRITERIA:
        raise Unsupported(f"engine 'fused' takes no loss {_named(job.criterion)}")
    _check_classes(job.criterion, job.t)
    if type(job.optimizer) not in RULES:
        raise Unsupported(f"engine 'fused' takes no optimizer {_named(job.optimizer)}")
    own = {id(parameter) for parameter, _ in job.model.param()}
    if own != {id(parameter) for parameter, _ in job.optimizer.pairs}:
        raise Unsupported(
            "engine 'fused' takes an optimizer of all the model's parameters and no others; "
            f"{job.optimizer} has {len(job.optimizer.pairs)} parameters, the model {len(own)}"
        )


def _check_classes(criterion: losses.Loss, t: Tensor) -> None:
    """Raises Unsupported for a cross-entropy in which not all classes and samples count alike."""
    if not isinstance(criterion, losses.CrossEntropyLoss):
        return
    ignores = not t.is_floating_point() and bool((t == criterion.ignore_index).any())
    if criterion.weight is not None or criterion.label_smoothing or ignores:
        raise Unsupported(
            "engine 'fused' takes a CrossEntropyLoss without weight, label_smoothing and targets "
            f"that are ignored, not {criterion}"
        )


def backend(device: torch.device) -> ModuleType:
    """What executes it on a device, built if it is not yet.

    Raises:
        Unsupported: there is nothing for that device, or no compiler, or no Triton.
    """
    if device.type == "cpu":
        cpu.library()
        return cpu
    if device.type != "cuda":
        raise Unsupported(f"engine 'fused' is for the CPU and CUDA, and x is on {device}")
    try:
        from scratch.engines import cuda
    except ImportError as error:
        raise Unsupported(
            f"engine 'fused' needs Triton on CUDA, pip install triton: {error}"
        ) from error
    return cuda


def train(job: Job, first: int, last: int) -> None:
    """Trains in epochs `first` to `last`; see `scratch.engines`.

    Interrupted, or refusing a prediction, it leaves model and optimizer as they were.
    """
    y = predict(job.model, job.x[..., :1, :])  # refuses what eager refuses; [R, 1, outputs]
    engine, optimizer, samples = backend(job.x.device), job.optimizer, job.x.shape[-2]
    layout = Layout(job.model, job.x, engine.lanes(job.x.dtype))
    lead = () if job.t.dim() > target_dims(job.t) else y.shape[:-2]
    prediction = torch.zeros_like(y).expand(*y.shape[:-2], samples, y.shape[-1])
    job.criterion.check(prediction, job.t.expand(*lead, *job.t.shape))

    training = layout.training(job.x, job.t, job.criterion, job.draws.seeds)
    training.batch = min(job.batch_size, samples)
    training.rule, training.maximize = RULES[type(optimizer)], optimizer.maximize
    for name in ("lr", "momentum", "dampening", "nesterov", "amsgrad", "weight_decay"):
        setattr(training, name, float(getattr(optimizer, name, 0)))  # it may be a tensor
    if isinstance(optimizer, optim.Adam):
        training.beta1, training.beta2 = map(float, optimizer.betas)
        training.adam_eps = float(optimizer.eps)
    kept = optimizer.kept()
    training.steps, training.started, training.base = optimizer.steps, bool(kept), first

    parameters, gradients = (list(tensors) for tensors in zip(*job.model.param(), strict=True))
    buffers = {"p": layout.packed(parameters), "g": layout.packed(gradients)}
    place = {id(parameter): index for index, (parameter, _) in enumerate(optimizer.pairs)}
    for slot in optimizer.slots:
        before = [kept[slot][place[id(p)]] for p in parameters] if slot in kept else []
        buffers[SLOTS[slot]] = layout.packed(before)
    training.buffers = buffers
    with _refusing(job.criterion):
        engine.train(training, layout, first, last)

    for tensors, name in ((parameters, "p"), (gradients, "g")):
        for tensor, view in zip(tensors, layout.views(buffers[name]), strict=True):
            tensor.copy_(view)
    left = {}
    for slot in optimizer.slots:
        views = layout.views(buffers[SLOTS[slot]])
        own = {id(p): view for p, view in zip(parameters, views, strict=True)}
        left[slot] = [own[id(parameter)] for parameter, _ in optimizer.pairs]
    optimizer.go_on((last - first + 1) * -(-samples // job.batch_size), left)
    job.model.train()


@dataclass(frozen=True)
class Pass:
    """One pass, taken apart: tensors `[B, features]`."""

    outputs: list[Tensor]  # of each layer
    dys: list[Tensor]  # d loss / d each of them
    dx: Tensor
    gradients: list[Tensor]  # of the parameters, like `model.param()`


def trace(
    model: Module,
    x: Tensor,
    *,
    dy: Tensor | None = None,
    criterion: losses.Loss | None = None,
    t: Tensor | None = None,
    seed: int = 0,
) -> Pass:
    """What the engine computes of one batch, forward and back, before any update: to debug it.

    Args:
        model: as for `train`, not stacked; it is left as it is.
        x: `[B, features]`.
        dy: d loss / d output, where no criterion and t are given to compute it from. Default: 0.
        seed: of the masks, which are those of the first step of the first epoch.

    Raises:
        Unsupported: the engine does not take the model.
    """
    _check_model(model, x, len(x))
    y = predict(model, x)  # refuses what eager refuses
    engine = backend(x.device)
    layout = Layout(model, x, engine.lanes(x.dtype))
    if criterion is not None and t is not None:
        criterion.check(y, t)
        _check_classes(criterion, t)
    elif dy is None:
        dy = torch.zeros_like(y)
    training = layout.training(x, t, criterion, torch.tensor([seed], device=x.device))
    training.buffers = {
        "p": layout.packed([parameter for parameter, _ in model.param()]),
        "g": layout.packed([]),
    }
    with _refusing(criterion):
        ys, dys = engine.trace(training, layout, dy)
    widths = [x.shape[-1], *layout.widths]
    outputs, (dx, *dys) = (
        [
            plane[: len(x) * layout.padded(width)].view(len(x), layout.padded(width))[:, :width]
            for plane, width in zip(planes, widths, strict=True)
        ]
        for planes in (ys, dys)
    )
    return Pass(outputs[1:], dys, dx, list(layout.views(training.buffers["g"])))


def _check_model(model: Module, x: Tensor, batch: int) -> None:
    """Raises Unsupported for the first part that is not taken."""
    for layer in chain(model):
        if type(layer) not in KINDS:
            raise Unsupported(f"engine 'fused' takes no {_named(layer)} in a model")
        if isinstance(layer, Dropout) and layer.generator is not None:
            raise Unsupported(
                f"engine 'fused' takes no {layer} with a generator of its own; without one, its "
                "masks are drawn from fit's seed"
            )
        if isinstance(layer, Linear) and max(layer.in_features, layer.out_features) > WIDEST:
            raise Unsupported(f"engine 'fused' takes widths up to {WIDEST}, not {layer}")
    if x.dtype not in (torch.float32, torch.float64):
        raise Unsupported(f"engine 'fused' takes float32 and float64, not {x.dtype}")
    longest = backend(x.device).LONGEST
    for layer in chain(model):
        if getattr(layer, "dim", -1) == -2 and batch > longest:
            raise Unsupported(
                f"engine 'fused' takes {layer}, over the batch, for up to {longest} samples on "
                f"{x.device}, not {batch}"
            )


@contextlib.contextmanager
def _refusing(criterion: losses.Loss | None) -> Iterator[None]:
    """Refuses a prediction in the words of the loss."""
    try:
        yield
    except Refused as refused:
        assert isinstance(criterion, losses.BCELoss)
        criterion.check_range(refused.low, refused.high)


def _named(part: object) -> str:
    """A part by its class, with its module where that is not scratch's."""
    kind = type(part)
    own = kind.__module__.startswith("scratch.")
    return kind.__name__ if own else f"{kind.__module__}.{kind.__name__}"
