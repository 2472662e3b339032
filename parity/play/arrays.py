"""Between torch's arrays, batch first, and a subject's: its kind, its axes, its memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from parity.play.broken import Misfit, legible

LIES = ("gaps", "transposed", "sliced")
"""How an array may lie in memory, other than one entry after another from the beginning."""


@dataclass(frozen=True)
class Layout:
    """A subject's conventions for arrays.

    Args:
        array, batch, kernel: as `Subject` has them.
        channels_last: whether images have their channels last.
        sequence: the axes of a sequence, "btf" of batch, time and features in the subject's order;
            "" of a layer that takes no sequences.
        steps: whether a sequence is a list, of an array for each time.
    """

    array: str = "torch"
    batch: str = "rows"
    kernel: str = "oihw"
    channels_last: bool = False
    sequence: str = ""
    steps: bool = False

    @property
    def single(self) -> bool:
        """Whether one sample is taken at a time."""
        return self.batch in ("vector", "column")

    def axes(self, rank: int) -> tuple[str, str]:
        """Those of a convolution's weight, torch's and the subject's; without a height in one of
        sequences."""
        both = ("oihw", self.kernel)
        return both if rank == 4 else (both[0].replace("h", ""), both[1].replace("h", ""))

    def give(self, x: Tensor, lies: str = "") -> Any:
        """A copy of `x` `[B, …]` as the subject takes it; `lies`: how in memory, one of `LIES`."""
        if self.channels_last and x.dim() > 2:
            x = x.movedim(1, -1)
        if self.single and len(x) != 1:
            raise ValueError(f"the subject takes one sample at a time, not {len(x)}")
        column = self.batch == "column" and x.dim() > 1
        x = x[0] if column or self.batch == "vector" else x
        torchs, own = self._sequence(x.dim())
        if torchs:
            x = x.permute([torchs.index(axis) for axis in own])
        elif self.batch == "columns" and x.dim() > 1:
            x = x.movedim(0, -1)
        x = x.unsqueeze(-1) if column else x
        match lies:
            case "gaps":
                given = torch.stack([x, x + 1], -1)[..., 0]
            case "transposed" if x.dim() > 1:
                given = x.transpose(0, -1).clone(memory_format=torch.contiguous_format)
                given = given.transpose(0, -1)
            case "sliced" if x.dim():
                given = torch.cat([x[:1] + 1, x])[1:]
            case _:
                given = x.clone().contiguous()
        array = given.numpy() if self.array == "numpy" else given
        return list(array) if self.steps and "t" in torchs else array

    def _sequence(self, rank: int) -> tuple[str, str]:
        """The axes of a sequence, or of a state, torch's and the subject's; "" of another rank."""
        torchs = "tf" if self.single else "btf"
        torchs = torchs if rank == len(torchs) else torchs.replace("t", "")
        if not self.sequence or rank != len(torchs):
            return "", ""
        return torchs, "".join(axis for axis in self.sequence if axis in torchs)

    def raw(self, x: Tensor) -> Any:
        """A copy of `x` in the subject's kind of array, its axes as they are."""
        x = x.clone()
        return x.numpy() if self.array == "numpy" else x

    def take(self, y: Any) -> Tensor:
        """A copy of what the subject returned, as `[B, …]` in torch.

        Raises:
            Misfit: it is no array of real numbers.
        """
        x = real(y)
        column = self.batch == "column" and x.dim() > 1 and x.shape[-1] == 1
        x = x.squeeze(-1) if column else x
        torchs, own = self._sequence(x.dim())
        if torchs:
            x = x.permute([own.index(axis) for axis in torchs])
        elif self.batch == "columns" and x.dim() > 1:
            x = x.movedim(-1, 0)
        x = x.unsqueeze(0) if column or self.batch == "vector" else x
        if self.channels_last and x.dim() > 2:
            x = x.movedim(-1, 1)
        return x.contiguous()

    def joined(self, found: Any, count: int) -> Any:
        """What a method returned, in which a list of so many steps is one array."""
        if not self.steps or not isinstance(found, (list, tuple)) or not found:
            return found
        if isinstance(found[0], (list, tuple)):
            return (self.joined(found[0], count), *found[1:])
        steps = [real(one) for one in found] if len(found) == count else []
        if not steps or any(one.shape != steps[0].shape for one in steps):
            return found
        return torch.stack(steps)


def is_tensor(y: Any) -> bool:
    """Whether it is one, whatever it says its class is."""
    return issubclass(type(y), Tensor)


def tensor(y: Any) -> Tensor:
    """A copy of an array of whatever kind as a torch tensor.

    Raises:
        Misfit: it is no array of numbers that are there.
    """
    if is_tensor(y) and y.layout == torch.strided and not (y.is_quantized or y.is_meta):
        copy: Tensor = y.detach().to("cpu", copy=True).as_subclass(Tensor)
        return copy
    if np.ma.is_masked(y):
        raise Misfit("it gives a masked array, of which some entries are not there")
    if isinstance(y, (np.ndarray, np.generic, int, float, list, tuple)) and not _ragged(y):
        array = np.array(y)
        if array.dtype.kind in "biuf" and array.dtype.itemsize <= 8:
            return torch.from_numpy(array.astype(array.dtype.newbyteorder("="), copy=False))
    kind = f" of {y.dtype}" if hasattr(y, "dtype") else ""
    kind += f" on {y.device} ({y.layout})" if is_tensor(y) else ""
    raise Misfit(f"it gives {legible(type(y).__name__, 60)}{kind}, where an array is due")


def real(y: Any) -> Tensor:
    """A copy of an array of floating-point numbers as a torch tensor.

    Raises:
        Misfit: it is none.
    """
    x = tensor(y)
    if not x.is_floating_point():
        raise Misfit(f"it gives {x.dtype}, where real numbers are due")
    return x


def _ragged(y: Any) -> bool:
    return isinstance(y, (list, tuple)) and not all(isinstance(v, (int, float)) for v in y)


def flattened(shape: Sequence[int]) -> list[tuple[int, int]]:
    """The shapes of a kernel, its axes in the subject's order, that is kept as a matrix: of a row
    or of a column for each output. None of what is no kernel."""
    if len(shape) not in CONVOLVING:
        return []
    return [(shape[0], math.prod(shape[1:])), (math.prod(shape[:-1]), shape[-1])]


CONVOLVING = (3, 4)
"""How many axes the weights of convolutions have."""


def write(array: Any, value: Tensor) -> None:
    """Writes into a subject's array, in place.

    Raises:
        Misfit: it is not shaped so, or cannot be written.
    """
    shape = tuple(getattr(array, "shape", ()))
    if shape in flattened(value.shape):
        value = value.reshape(shape)
    if [n for n in shape if n != 1] != [n for n in value.shape if n != 1]:
        raise Misfit(f"it is {list(shape)}, where torch's is {list(value.shape)}")
    value = value.reshape(shape)
    try:
        if is_tensor(array):
            with torch.no_grad():
                array.copy_(value)
        else:
            array[...] = value.numpy()
    except (RuntimeError, ValueError, TypeError) as error:
        raise Misfit(f"it cannot be written: {error}") from None


def same_bits(x: Tensor, y: Tensor) -> bool:
    """Whether two tensors have the same shape and entries, a NaN being a NaN."""
    return x.shape == y.shape and bool(((x == y) | ((x != x) & (y != y))).all())


@dataclass
class Watch:
    """Arrays that nobody may modify: what was handed over, and what came back."""

    seen: list[tuple[str, Any, Tensor]] = field(default_factory=list)

    def keep(self, name: str, array: Any, deep: int = 2) -> Any:
        """Remembers an array as it is now, or each of a list, and returns it. Of lists in lists it
        looks into so many: one may be in itself."""
        if isinstance(array, (list, tuple)) and deep:
            for one in array:
                self.keep(name, one, deep - 1)
        if isinstance(array, (Tensor, np.ndarray)):
            self.seen.append((name, array, tensor(array)))
        return array

    def modified(self) -> list[str]:
        """The names of those that are not as they were; each is named once."""
        changed = [entry for entry in self.seen if not same_bits(tensor(entry[1]), entry[2])]
        self.seen = [entry for entry in self.seen if not any(entry is one for one in changed)]
        return list(dict.fromkeys(name for name, _, _ in changed))

    def scribble(self) -> None:
        """Overwrites all of them: who still reads them gives himself away."""
        for _, array, _ in self.seen:
            if is_tensor(array):
                with torch.no_grad():
                    array.fill_(123.0 if array.is_floating_point() else 0)
            elif array.flags.writeable:
                array[...] = 123
        self.seen.clear()
