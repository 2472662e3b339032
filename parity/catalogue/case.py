"""One thing that is checked: a catalogue entry at one variant, as one subject has it."""

from __future__ import annotations

import functools
import inspect
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from parity.catalogue.entry import Entry, Options
from parity.catalogue.network import Network
from parity.catalogue.table import CATALOGUE
from parity.catalogue.values import Tensors, apart, indices, normal


@dataclass(frozen=True)
class Case:
    """An entry at one of its variants, with the subject's conventions that its truth depends on.

    Args:
        entry, variant: what is checked.
        reduction: of a loss without such an option: as the subject declares it.
        accumulates: whether the subject's gradients add up from backward to backward.
        single: whether it takes one sample at a time.
        objects: whether its parameters are objects, with a gradient that may be None.
        moves: whether it moves its parameters in its backward, at a rate.
        missing: why it cannot be checked: an option that the subject does not offer.
        biased: whether what a BatchNorm keeps of its batches is their biased variance.
        one_bias: whether its recurrent layers have one bias, where torch's have two.
        elsewhere: whether its torch side is a class of the adapter's, which only the subject's
            process has: there it is judged.
        refuses: what the subject says of images of which a stride leaves a remainder: its own are
            of a size that leaves none then.
    """

    entry: Entry
    variant: str = ""
    reduction: str = ""
    accumulates: bool = True
    single: bool = False
    objects: bool = False
    moves: bool = False
    missing: str = ""
    biased: bool = False
    one_bias: bool = False
    elsewhere: bool = False
    refuses: str = ""

    def __str__(self) -> str:
        variant = self.variant
        if (
            self.reduction and self.kind == "loss"
        ):  # the declared one is meant, whatever the variant's name says
            variant = "_".join(p for p in (variant.rpartition("_")[0], self.reduction) if p)
        return f"{self.entry.name}-{variant}" if variant else self.entry.name

    @property
    def kind(self) -> str:
        return self.entry.kind

    @property
    def network(self) -> Network:
        """The entry of a whole model."""
        assert isinstance(self.entry, Network)
        return self.entry

    @property
    def options(self) -> Options:
        return self.entry.variants[self.variant]

    @property
    def how(self) -> str:
        """How a loss is reduced: by its option, or as the subject declares."""
        return self.reduction or str(self.options.get("reduction", "mean"))

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the input, or the prediction."""
        shape = self.entry.shape_of(self.variant)
        return without_remainder(shape, self.options) if self.refuses else shape

    @property
    def beside(self) -> dict[str, tuple[int, ...]]:
        """The shapes of a layer's inputs after the first, by name; without the batch's axis."""
        return {n: shape[1:] for n, shape in self.entry.beside.get(self.variant, {}).items()}

    @property
    def rows(self) -> int:
        return 1 if self.single else self.shape[0]

    @property
    def indexed(self) -> bool:
        """Whether its input is made of indices, of which there is no gradient."""
        return self.entry.domain == "index"

    @property
    def target(self) -> str:
        return self.entry.target_of(self.variant)

    @property
    def optional(self) -> bool:
        """Whether a subject may refuse it."""
        return self.variant in self.entry.optional

    @property
    def mixes(self) -> bool:
        """Whether samples of a batch see each other."""
        return self.variant in self.entry.mixes

    def input(self, *shape: int, generator: torch.Generator, dtype: torch.dtype) -> Tensor:
        """A random input of the kind that the layer takes; indices are int64."""
        match self.entry.domain:
            case "index":
                of = self.options[self.entry.positional[0]]
                return indices(*shape, of=of, generator=generator)
            case "apart":
                return apart(*shape, generator=generator, dtype=dtype)
            case "probability":
                return torch.sigmoid(normal(*shape, generator=generator, dtype=dtype))
        return normal(*shape, generator=generator, dtype=dtype)

    def inputs_beside(self, rows: int, generator: torch.Generator, dtype: torch.dtype) -> Tensors:
        """A layer's inputs after the first, by their names in `evaluate.layer`: `h.x`. In each
        row of a mask something may be seen."""
        found = {}
        for name, shape in self.beside.items():
            x = normal(rows, *shape, generator=generator, dtype=dtype)
            if name == "mask":
                x = (x > 0) | (torch.arange(shape[-1]) == torch.arange(shape[-2])[:, None])
            found[f"{name}.x"] = x
        return found

    @property
    def pure(self) -> bool:
        """Whether its torch side is known to give the same at the same inputs: of the catalogue
        it is, and Dropout's masks are given."""
        if isinstance(self.entry, Network):
            return bool(self.entry.parts)
        return any(self.entry is one for one in CATALOGUE.values())

    def reference(self, *args: Any) -> Any:
        """The torch side; an optimizer takes its parameters."""
        if self.reduction not in ("", "mean"):
            return Reduced(self.entry, self.options, self.reduction)
        options: Options = {"reduction": "mean"} if self.reduction else {}
        if self.one_bias and "one_bias" in self.entry.defaults():
            options = {"one_bias": True}
        return made(self.entry, *args, **self.options | options)

    def module(self) -> nn.Module:
        """The torch side of a layer, on the CPU and with the parameters that it happens to have."""
        module: nn.Module = self.reference()
        return module


def without_remainder(shape: tuple[int, ...], options: Options) -> tuple[int, ...]:
    """The next larger shape of images, `[B, C, …]`, over which windows go at their stride and leave
    nothing over; no two of its numbers are alike where those of `shape` are not."""

    def of_axis(option: str, axis: int, default: int) -> int:
        value = options.get(option, default)
        number = value[axis] if isinstance(value, tuple) else value
        return int(number)

    found = list(shape[:2])
    for axis, size in enumerate(shape[2:]):
        window = of_axis("kernel_size", axis, 1)
        stride = of_axis("stride", axis, 1 if "out_channels" in options else window)
        reach = of_axis("dilation", axis, 1) * (window - 1) + 1
        first = size + (reach - size - 2 * of_axis("padding", axis, 0)) % stride
        alike = {first} & {*found, *shape} - {size}
        found.append(first + stride if stride > 1 and alike else first)
    return tuple(found)


def made(entry: Entry, *args: Any, **options: Any) -> Any:
    """The torch side of an entry, at these options."""
    reference = entry.reference
    optimizes = isinstance(reference, type) and issubclass(reference, torch.optim.Optimizer)
    return (_uncompiled(reference) if optimizes else reference)(*args, **options)


@functools.lru_cache
def _uncompiled(optimizer: type[torch.optim.Optimizer]) -> type[torch.optim.Optimizer]:
    """An optimizer whose methods have not around them what tells torch's compiler to leave them
    alone: that imports all of it, which takes two seconds."""
    step = torch.no_grad()(inspect.unwrap(optimizer.step))
    own = {"step": step, "add_param_group": inspect.unwrap(optimizer.add_param_group)}
    return type(optimizer.__name__, (optimizer,), own)


class Reduced(nn.Module):
    """A torch loss reduced as the subject says: `sum`, `batch_mean`, or half of one."""

    def __init__(self, entry: Entry, options: Options, reduction: str) -> None:
        super().__init__()
        self.criterion = entry.reference(**options | {"reduction": "none"})
        self.how = reduction

    def forward(self, prediction: Tensor, target: Tensor, *lengths: Tensor) -> Tensor:
        return reduced(self.criterion(prediction, target, *lengths), len(prediction), self.how)


REDUCTIONS = ("mean", "sum", "batch_mean", "half_mean", "half_sum", "half_batch_mean")


def reduced(entries: Tensor, batch: int, how: str) -> Tensor:
    """Entries of a loss as one number."""
    whole = entries.mean() if how.endswith("mean") and "batch" not in how else entries.sum()
    whole = whole / batch if "batch" in how else whole
    return whole / 2 if how.startswith("half") else whole
