"""What people get wrong in the layers of `layers_by_loops`: each mistake by itself, in one table.

A wrong layer is the right one but for what it overrides. `WRONG` has them all, each with what a
teacher would say of it, and with the result that shows it first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from typing import Any, TypeVar

import numpy as np

from tests.subjects.layers_by_loops import (
    Array,
    BatchNorm,
    BatchNorm1d,
    BatchNorm2d,
    Conv2d,
    Embedding,
    Flatten,
    LayerNorm,
    MaxPool2d,
    Norm,
    RMSNorm,
)

RESULTS = (
    "output",
    "input_grad",
    "weight.param_grad",
    "bias.param_grad",
    "evaluation",
    "ties",
    "large mean",
    "small variance",
)


@dataclass(frozen=True)
class Wrong:
    """A layer with one mistake.

    Args:
        cls: the layer; its constructor is the right one's.
        layer: the name of the torch class that it is a version of.
        mistake: what is wrong, in a few words.
        result: what shows it first, of `RESULTS`. "evaluation" is any result in evaluation mode,
            after batches in training. "ties", "large mean" and "small variance" are inputs: with
            entries that are equal, shifted by 100, multiplied by 1e-3. In float64 a misplaced eps
            shows at ordinary inputs as well.
    """

    cls: type[Any]
    layer: str
    mistake: str
    result: str


WRONG: list[Wrong] = []

BATCH_NORMS = (BatchNorm1d, BatchNorm2d)
CENTRED = (*BATCH_NORMS, LayerNorm)
NORMS = (*CENTRED, RMSNorm)

Class = TypeVar("Class", bound=type[Any])


def wrong(mistake: str, result: str, *layers: type[Any]) -> Callable[[Class], Class]:
    """Puts a class into the table; a mistake that several layers have, once for each of them."""

    def register(cls: Class) -> Class:
        for layer in layers:
            name = cls.__name__ if issubclass(cls, layer) else f"{cls.__name__}Of{layer.__name__}"
            own = cls if issubclass(cls, layer) else type(name, (cls, layer), {})
            WRONG.append(Wrong(own, layer.__name__, mistake, result))
        return cls

    return register


@contextmanager
def instead(layer: Any, **attributes: Any) -> Iterator[None]:
    """The layer with other attributes, while the block lasts."""
    kept = {name: getattr(layer, name) for name in attributes}
    vars(layer).update(attributes)
    try:
        yield
    finally:
        vars(layer).update(kept)


def cut_to(y: Array, height: int, width: int) -> Array:
    """Images of another size: cut off, or with zeros at the end."""
    cut = np.zeros((*y.shape[:2], height, width), y.dtype)
    part = y[:, :, :height, :width]
    cut[:, :, : part.shape[2], : part.shape[3]] = part
    return cut


@wrong("the kernel is flipped", "output", Conv2d)
class FlippedKernel(Conv2d):
    def forward(self, x: Array) -> Array:
        with instead(self, weight=self.weight[:, :, ::-1, ::-1]):
            return super().forward(x)


@wrong("the bias is left out", "output", Conv2d)
class ConvWithoutBias(Conv2d):
    def forward(self, x: Array) -> Array:
        with instead(self, bias=None):
            return super().forward(x)


@wrong("all of the padding is at the top and the left", "output", Conv2d)
class PaddingOnOneSide(Conv2d):
    def padded(self, x: Array) -> Array:
        (p, q), wide = self.padding, super().padded(x)
        return np.roll(wide, (p, q), (2, 3))

    def unpadded(self, dx: Array) -> Array:
        return dx[:, :, 2 * self.padding[0] :, 2 * self.padding[1] :]


@wrong("all of the padding is at the bottom and the right", "output", Conv2d)
class PaddingOnOtherSide(Conv2d):
    def padded(self, x: Array) -> Array:
        (p, q), wide = self.padding, super().padded(x)
        return np.roll(wide, (-p, -q), (2, 3))

    def unpadded(self, dx: Array) -> Array:
        H, W = dx.shape[2:]
        return dx[:, :, : H - 2 * self.padding[0], : W - 2 * self.padding[1]]


@wrong("pads with the pixels at the edge, not with zeros", "output", Conv2d)
class PaddingRepeatsTheEdge(Conv2d):
    def padded(self, x: Array) -> Array:
        p, q = self.padding
        return np.pad(x, ((0, 0), (0, 0), (p, p), (q, q)), mode="edge")


@wrong("the padding of the height is used for the width", "output", Conv2d)
class HeightsPaddingForWidth(Conv2d):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.padding = (self.padding[0], self.padding[0])


@wrong("the stride of the height is used for the width", "output", Conv2d)
class HeightsStrideForWidth(Conv2d):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.stride = (self.stride[0], self.stride[0])


@wrong("the output is as wide as it is high", "output", Conv2d)
class OutputHeightForWidth(Conv2d):
    def forward(self, x: Array) -> Array:
        y = super().forward(x)
        return cut_to(y, y.shape[2], y.shape[2])


@wrong("the dilation is left out of the output's size", "output", Conv2d)
class OutputSizeWithoutDilation(Conv2d):
    def forward(self, x: Array) -> Array:
        y = super().forward(x)
        with instead(self, dilation=(1, 1)):
            return cut_to(y, *self.output_sizes(x))


@wrong("the dilation is ignored", "output", Conv2d)
class ConvWithoutDilation(Conv2d):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.dilation = (1, 1)


@wrong("the padding is left out of the output's size", "output", Conv2d)
class OutputSizeWithoutPadding(Conv2d):
    def output_size(self, size: int, axis: int) -> int:
        return super().output_size(size - 2 * self.padding[axis], axis)


@wrong("every group sees the channels of the first", "output", Conv2d)
class FirstGroupForAll(Conv2d):
    def inputs_of(self, o: int) -> slice:
        return super().inputs_of(0)


@wrong("the channels of all groups are added up", "output", Conv2d)
class GroupsAddedUp(Conv2d):
    def forward(self, x: Array) -> Array:
        wide = np.tile(self.weight, (1, self.groups, 1, 1))
        with instead(self, weight=wide, inputs_of=lambda o: slice(None)):
            return super().forward(x)


@wrong("the groups take the channels in turn, not in blocks", "output", Conv2d)
class GroupsInterleaved(Conv2d):
    def inputs_of(self, o: int) -> slice:
        return slice(o // (self.out_channels // self.groups), None, self.groups)


@wrong("output channels are dealt out to the groups in turn", "output", Conv2d)
class GroupsOfOutputsInterleaved(Conv2d):
    def inputs_of(self, o: int) -> slice:
        width = self.in_channels // self.groups
        group = o % self.groups
        return slice(group * width, (group + 1) * width)


@wrong("dx correlates with the kernel where it should convolve", "input_grad", Conv2d)
class FlippedInInputGradient(Conv2d):
    def input_gradient(self, dy: Array) -> Array:
        with instead(self, weight=self.weight[:, :, ::-1, ::-1]):
            return super().input_gradient(dy)


@wrong("a padding of 0 slices dx to nothing", "input_grad", Conv2d)
class PaddingOfZeroSlicesAll(Conv2d):
    def unpadded(self, dx: Array) -> Array:
        p, q = self.padding
        return dx[:, :, p:-p, q:-q]


@wrong("dx has the padding still on", "input_grad", Conv2d)
class PaddingLeftOn(Conv2d):
    def unpadded(self, dx: Array) -> Array:
        return dx


@wrong("dx ends with the last window, and lacks the stride's remainder", "input_grad", Conv2d)
class RemainderMissing(Conv2d):
    def input_gradient(self, dy: Array) -> Array:
        sizes = [
            (n - 1) * self.stride[axis] + self.reach(axis) - 2 * self.padding[axis]
            for axis, n in enumerate(dy.shape[2:])
        ]
        return super().input_gradient(dy)[:, :, : max(sizes[0], 0), : max(sizes[1], 0)]


@wrong("the stride's remainder is at the beginning of dx, not at its end", "input_grad", Conv2d)
class RemainderAtTheBeginning(Conv2d):
    def unpadded(self, dx: Array) -> Array:
        rest = [
            (n - self.reach(axis)) % self.stride[axis] for axis, n in enumerate(self.x.shape[2:])
        ]
        return super().unpadded(np.roll(dx, rest, (2, 3)))


@wrong("windows that reach over the lower or right edge give dx nothing", "input_grad", Conv2d)
class LastWindowsLeftOut(Conv2d):
    def input_gradient(self, dy: Array) -> Array:
        rows, columns = (
            max((n - p - self.reach(axis)) // self.stride[axis] + 1, 0)
            for axis, (n, p) in enumerate(zip(self.x.shape[2:], self.padding, strict=True))
        )
        return super().input_gradient(dy[:, :, :rows, :columns])


@wrong("dx ignores the stride", "input_grad", Conv2d)
class InputGradientWithoutStride(Conv2d):
    def input_gradient(self, dy: Array) -> Array:
        with instead(self, stride=(1, 1)):
            return super().input_gradient(dy)


@wrong("dx ignores the dilation", "input_grad", Conv2d)
class InputGradientWithoutDilation(Conv2d):
    def input_gradient(self, dy: Array) -> Array:
        with instead(self, dilation=(1, 1)):
            return super().input_gradient(dy)


@wrong("windows that overlap overwrite each other in dx", "input_grad", Conv2d)
class ConvOverlapOverwritten(Conv2d):
    def input_gradient(self, dy: Array) -> Array:
        dx = np.zeros_like(self.x)
        for i, j in product(range(dy.shape[2]), range(dy.shape[3])):
            window = np.zeros_like(dx[self.window(i, j)])
            for o in range(self.out_channels):
                d = dy[:, o, i, j].reshape(-1, 1, 1, 1)
                window[:, self.inputs_of(o)] += d * self.weight[o]
            dx[self.window(i, j)] = window
        return self.unpadded(dx)


@wrong("dx reads the weight as [in, out]", "input_grad", Conv2d)
class WeightReadAsInOut(Conv2d):
    def input_gradient(self, dy: Array) -> Array:
        out, inputs = self.weight.shape[:2]
        turned = self.weight.reshape(inputs, out, *self.kernel).swapaxes(0, 1)
        with instead(self, weight=turned):
            return super().input_gradient(dy)


@wrong("dx has in and out swapped, where there are as many of both", "input_grad", Conv2d)
class WeightTransposedIfItFits(Conv2d):
    def input_gradient(self, dy: Array) -> Array:
        turned = self.weight.swapaxes(0, 1)
        fits = turned.shape == self.weight.shape
        with instead(self, weight=turned if fits else self.weight):
            return super().input_gradient(dy)


@wrong("dx has the kernel's height and width swapped, where they are alike", "input_grad", Conv2d)
class KernelTransposedInInputGradient(Conv2d):
    def input_gradient(self, dy: Array) -> Array:
        turned = self.weight.swapaxes(2, 3)
        fits = turned.shape == self.weight.shape
        with instead(self, weight=turned if fits else self.weight):
            return super().input_gradient(dy)


@wrong("dx of every group goes to the first", "input_grad", Conv2d)
class InputGradientToFirstGroup(Conv2d):
    def input_gradient(self, dy: Array) -> Array:
        inputs = self.inputs_of(0)
        with instead(self, inputs_of=lambda o: inputs):
            return super().input_gradient(dy)


@wrong("dweight is that of the last sample", "weight.param_grad", Conv2d)
class WeightGradientOfLastSample(Conv2d):
    def weight_gradient(self, dy: Array) -> Array:
        with instead(self, x=self.x[-1:]):
            return super().weight_gradient(dy[-1:])


@wrong("dweight is averaged over the batch", "weight.param_grad", Conv2d)
class WeightGradientAveraged(Conv2d):
    def weight_gradient(self, dy: Array) -> Array:
        return super().weight_gradient(dy) / max(len(dy), 1)


@wrong("dweight ignores the stride", "weight.param_grad", Conv2d)
class WeightGradientWithoutStride(Conv2d):
    def weight_gradient(self, dy: Array) -> Array:
        with instead(self, stride=(1, 1)):
            return super().weight_gradient(dy)


@wrong("dweight ignores the dilation", "weight.param_grad", Conv2d)
class WeightGradientWithoutDilation(Conv2d):
    def weight_gradient(self, dy: Array) -> Array:
        with instead(self, dilation=(1, 1)):
            return super().weight_gradient(dy)


@wrong("dweight is flipped", "weight.param_grad", Conv2d)
class WeightGradientFlipped(Conv2d):
    def weight_gradient(self, dy: Array) -> Array:
        return super().weight_gradient(dy)[:, :, ::-1, ::-1]


@wrong("dweight leaves out the windows that reach into the padding", "weight.param_grad", Conv2d)
class WeightGradientOfInnerWindows(Conv2d):
    def weight_gradient(self, dy: Array) -> Array:
        inner = np.zeros_like(dy)
        for i, j in product(range(dy.shape[2]), range(dy.shape[3])):
            _, _, rows, columns = self.window(i, j)
            (p, q), (H, W) = self.padding, self.x.shape[2:]
            if rows.start >= p and rows.stop <= H - p and columns.start >= q:
                inner[:, :, i, j] = dy[:, :, i, j] if columns.stop <= W - q else 0
        return super().weight_gradient(inner)


@wrong("dweight of every group is by the channels of the first", "weight.param_grad", Conv2d)
class WeightGradientOfFirstGroup(Conv2d):
    def weight_gradient(self, dy: Array) -> Array:
        inputs = self.inputs_of(0)
        with instead(self, inputs_of=lambda o: inputs):
            return super().weight_gradient(dy)


@wrong("dbias is summed over batch and height alone: the last column", "bias.param_grad", Conv2d)
class BiasGradientOfLastColumn(Conv2d):
    def bias_gradient(self, dy: Array) -> Array:
        return dy.sum((0, 2))[:, -1]


@wrong("dbias is summed over the batch alone: the first pixel", "bias.param_grad", Conv2d)
class BiasGradientOfOnePixel(Conv2d):
    def bias_gradient(self, dy: Array) -> Array:
        return dy[:, :, 0, 0].sum(0)


@wrong("dbias is summed over the pixels alone: the last sample", "bias.param_grad", Conv2d)
class BiasGradientOfLastSample(Conv2d):
    def bias_gradient(self, dy: Array) -> Array:
        return super().bias_gradient(dy[-1:])


@wrong("dbias is averaged over the pixels", "bias.param_grad", Conv2d)
class BiasGradientAveraged(Conv2d):
    def bias_gradient(self, dy: Array) -> Array:
        return super().bias_gradient(dy) / (dy.shape[2] * dy.shape[3])


@wrong("the average instead of the largest", "output", MaxPool2d)
class AverageForLargest(MaxPool2d):
    def forward(self, x: Array) -> Array:
        y = super().forward(x)
        for i, j in product(range(y.shape[2]), range(y.shape[3])):
            entries = self.entries(i, j)
            y[:, :, i, j] = sum(x[:, :, row, column] for row, column in entries) / len(entries)
        return y

    def backward(self, dy: Array) -> Array:
        dx = np.zeros(self.shape, dy.dtype)
        for i, j in product(range(dy.shape[2]), range(dy.shape[3])):
            entries = self.entries(i, j)
            for row, column in entries:
                dx[:, :, row, column] += dy[:, :, i, j] / len(entries)
        return dx


@wrong("the padding is 0 and takes part", "output", MaxPool2d)
class PaddingTakesPart(MaxPool2d):
    def forward(self, x: Array) -> Array:
        y = super().forward(x)
        self.won = np.zeros(y.shape, bool)  # by the padding
        for i, j in product(range(y.shape[2]), range(y.shape[3])):
            if len(self.entries(i, j)) < self.kernel[0] * self.kernel[1]:
                self.won[:, :, i, j] = y[:, :, i, j] < 0
        return np.where(self.won, np.zeros_like(y), y)

    def backward(self, dy: Array) -> Array:
        return super().backward(np.where(self.won, np.zeros_like(dy), dy))


@wrong("the search for the largest begins at 0", "output", MaxPool2d)
class SearchBeginsAtZero(MaxPool2d):
    def forward(self, x: Array) -> Array:
        return np.maximum(super().forward(x), 0)


@wrong("ceil_mode is ignored", "output", MaxPool2d)
class CeilModeIgnored(MaxPool2d):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.ceil_mode = False


@wrong("always rounds up, as if ceil_mode were set", "output", MaxPool2d)
class AlwaysCeilMode(MaxPool2d):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.ceil_mode = True


@wrong("the stride is 1 by default, not the kernel's size", "output", MaxPool2d)
class StrideOfOneByDefault(MaxPool2d):
    def __init__(self, kernel_size: Any, stride: Any = 1, *args: Any, **options: Any) -> None:
        super().__init__(kernel_size, stride, *args, **options)


@wrong("the dilation is ignored", "output", MaxPool2d)
class PoolWithoutDilation(MaxPool2d):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.dilation = (1, 1)


@wrong("the kernel's height is used for its width", "output", MaxPool2d)
class KernelHeightForWidth(MaxPool2d):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.kernel = (self.kernel[0], self.kernel[0])


@wrong("windows that overlap overwrite each other", "input_grad", MaxPool2d)
class PoolOverlapOverwritten(MaxPool2d):
    def backward(self, dy: Array) -> Array:
        dx = np.zeros(self.shape, dy.dtype)
        for n, c, i, j in np.ndindex(dy.shape):
            dx[n, c, self.row[n, c, i, j], self.column[n, c, i, j]] = dy[n, c, i, j]
        return dx


@wrong("the first entry of each window gets the gradient", "input_grad", MaxPool2d)
class GradientToFirstEntry(MaxPool2d):
    def backward(self, dy: Array) -> Array:
        for i, j in product(range(dy.shape[2]), range(dy.shape[3])):
            self.row[:, :, i, j], self.column[:, :, i, j] = self.entries(i, j)[0]
        return super().backward(dy)


@wrong("every entry of a window gets the gradient", "input_grad", MaxPool2d)
class GradientToAllEntries(MaxPool2d):
    def backward(self, dy: Array) -> Array:
        dx = np.zeros(self.shape, dy.dtype)
        for i, j in product(range(dy.shape[2]), range(dy.shape[3])):
            for row, column in self.entries(i, j):
                dx[:, :, row, column] += dy[:, :, i, j]
        return dx


@wrong("the places of the first channel are used for all", "input_grad", MaxPool2d)
class PlacesOfFirstChannel(MaxPool2d):
    def backward(self, dy: Array) -> Array:
        channels = self.shape[1]
        self.row = np.repeat(self.row[:, :1], channels, 1)
        self.column = np.repeat(self.column[:, :1], channels, 1)
        return super().backward(dy)


@wrong("dx ends with the last window, and lacks the stride's remainder", "input_grad", MaxPool2d)
class PoolRemainderMissing(MaxPool2d):
    def backward(self, dy: Array) -> Array:
        height, width = (
            (n - 1) * self.stride[axis] + self.reach(axis) - self.padding[axis]
            for axis, n in enumerate(dy.shape[2:])
        )
        return super().backward(dy)[:, :, :height, :width]


class TiesSeen(MaxPool2d):
    """Keeps the input, and can tell which entries of a window are as large as the largest."""

    def forward(self, x: Array) -> Array:
        self.x, self.y = x.copy(), super().forward(x)
        return self.y.copy()

    def ties(self, i: int, j: int) -> Array:
        """For each entry of a window whether it is as large, `[entries, N, C]`."""
        largest = self.y[:, :, i, j]
        return np.stack(
            [self.x[:, :, row, column] == largest for row, column in self.entries(i, j)]
        )

    def share(self, ties: Array) -> Any:
        """What each of them gets of the gradient."""
        raise NotImplementedError

    def backward(self, dy: Array) -> Array:
        dx = np.zeros(self.shape, dy.dtype)
        for i, j in product(range(dy.shape[2]), range(dy.shape[3])):
            share = self.share(self.ties(i, j))
            for part, (row, column) in zip(share, self.entries(i, j), strict=True):
                dx[:, :, row, column] += part.astype(dy.dtype) * dy[:, :, i, j]
        return dx


@wrong("every entry of a tie gets the whole gradient", "ties", MaxPool2d)
class TieGetsAll(TiesSeen):
    def share(self, ties: Array) -> Any:
        return ties


@wrong("a tie divides the gradient among its entries", "ties", MaxPool2d)
class TieDivided(TiesSeen):
    def share(self, ties: Array) -> Any:
        return ties / np.maximum(ties.sum(0), 1)


@wrong("the last entry of a tie gets the gradient, not the first", "ties", MaxPool2d)
class TieToTheLast(TiesSeen):
    def share(self, ties: Array) -> Any:
        return ties & (ties[::-1].cumsum(0)[::-1] == 1)


@wrong("flattens the batch as well", "output", Flatten)
class BatchFlattened(Flatten):
    def forward(self, x: Array) -> Array:
        return super().forward(x).reshape(-1)


@wrong("the channels come last", "output", Flatten)
class ChannelsLast(Flatten):
    def forward(self, x: Array) -> Array:
        y = super().forward(np.moveaxis(x, 1, -1))
        self.shape = x.shape
        return y


@wrong("the batch comes last", "output", Flatten)
class BatchLast(Flatten):
    def forward(self, x: Array) -> Array:
        return super().forward(x).T.copy()

    def backward(self, dy: Array) -> Array:
        return super().backward(dy.T)


@wrong("backward puts the first axis fastest", "input_grad", Flatten)
class BackwardInWrongOrder(Flatten):
    def backward(self, dy: Array) -> Array:
        return dy.reshape(self.shape, order="F")


@wrong("backward turns height and width round", "input_grad", Flatten)
class BackwardTransposed(Flatten):
    def backward(self, dy: Array) -> Array:
        turned = dy.reshape(*self.shape[:-2], self.shape[-1], self.shape[-2])
        return turned.swapaxes(-1, -2) if len(self.shape) > 3 else super().backward(dy)


@wrong("backward leaves the gradient flat", "input_grad", Flatten)
class BackwardStaysFlat(Flatten):
    def backward(self, dy: Array) -> Array:
        return dy.copy()


@wrong("eps is added outside of the root", "small variance", *NORMS)
class EpsOutside(Norm):
    def root(self, var: Array) -> Array:
        eps = np.finfo(var.dtype).eps if self.eps is None else self.eps
        return np.sqrt(var) + var.dtype.type(eps)


@wrong("eps is forgotten", "small variance", *NORMS)
class EpsForgotten(Norm):
    def root(self, var: Array) -> Array:
        return np.sqrt(var)


@wrong("eps is always 1e-5", "output", *NORMS)
class EpsFixed(Norm):
    def root(self, var: Array) -> Array:
        with instead(self, eps=1e-5):
            return super().root(var)


@wrong("divides by the variance, not by its root", "output", *NORMS)
class VarianceForDeviation(Norm):
    def root(self, var: Array) -> Array:
        return super().root(var) ** 2


@wrong("the statistics are taken for constants", "input_grad", *CENTRED)
class StatisticsConstant(Norm):
    def through(self, dxhat: Array, xhat: Array) -> Array:
        return dxhat


@wrong("the term xhat mean(dy xhat) is left out", "input_grad", RMSNorm)
class SecondTermLeftOut(RMSNorm):
    def through(self, dxhat: Array, xhat: Array) -> Array:
        return dxhat


class Terms(Norm):
    """A backward with terms of its own, where the statistics are of the input."""

    def terms(self, dxhat: Array, xhat: Array) -> Array:
        raise NotImplementedError

    def through(self, dxhat: Array, xhat: Array) -> Array:
        return self.terms(dxhat, xhat) if getattr(self, "of_batch", True) else dxhat


@wrong("mean(dy) is left out", "input_grad", *CENTRED)
class MeanLeftOut(Terms):
    def terms(self, dxhat: Array, xhat: Array) -> Array:
        return dxhat - xhat * (dxhat * xhat).mean()


@wrong("mean(dy xhat) is left out", "input_grad", *CENTRED)
class ProductLeftOut(Terms):
    def terms(self, dxhat: Array, xhat: Array) -> Array:
        return dxhat - dxhat.mean()


@wrong("sums where means belong", "input_grad", *CENTRED)
class SumsForMeans(Terms):
    def terms(self, dxhat: Array, xhat: Array) -> Array:
        return dxhat - dxhat.sum() - xhat * (dxhat * xhat).sum()


@wrong("the term xhat mean(dy xhat) is added, not taken off", "input_grad", LayerNorm, RMSNorm)
class ProductAdded(Norm):
    def through(self, dxhat: Array, xhat: Array) -> Array:
        return super().through(dxhat, xhat) + 2 * xhat * (dxhat * xhat).mean()


@wrong("the weight is forgotten in dx", "input_grad", *NORMS)
class WeightForgotten(Norm):
    def input_gradient(self, dy: Array) -> Array:
        with instead(self, weight=None):
            return super().input_gradient(dy)


class InputKept(Norm):
    """Keeps its input as well."""

    def normalised(self, x: Array, mean: Array, var: Array) -> Array:
        self.x = x.copy()
        return super().normalised(x, mean, var)


@wrong("dweight is by x, not by xhat", "weight.param_grad", *NORMS)
class WeightGradientByInput(InputKept):
    def weight_gradient(self, dy: Array) -> Array:
        return self.summed(dy * self.x)


@wrong("the variance is E[x²] - E[x]², which loses digits", "large mean", *CENTRED)
class OnePass(Norm):
    def moments(self, group: Array) -> tuple[Any, Any]:
        mean = group.mean()
        return mean, np.maximum((group**2).mean() - mean**2, 0)


@wrong("the weight is multiplied before the normalisation", "output", LayerNorm, RMSNorm)
class WeightBefore(LayerNorm):
    def forward(self, x: Array) -> Array:
        if self.weight is None:
            return super().forward(x)
        scaled = (x * self.weight).astype(x.dtype)
        with instead(self, weight=None):
            return super().forward(scaled)


class StatisticsOver(BatchNorm):
    """Takes its mean and variance over other axes: each channel has several of them."""

    def axes(self, x: Array) -> tuple[int, ...]:
        raise NotImplementedError

    def statistics(self, x: Array) -> tuple[Array, Array]:
        moments = x.mean(self.axes(x), keepdims=True), x.var(self.axes(x), keepdims=True)
        mean, var = (moment.swapaxes(0, 1) for moment in moments)  # [C, N or 1, …]
        return mean, var

    def update(self, mean: Array, var: Array, n: int) -> None:
        rest = tuple(range(1, mean.ndim))
        super().update(mean.mean(rest), var.mean(rest), n)

    def normalised(self, x: Array, mean: Array, var: Array) -> Array:
        if mean.ndim == x.ndim and mean.shape[0] == 1:  # all channels have the same
            mean, var = (np.repeat(moment, x.shape[1], 0) for moment in (mean, var))
        return super().normalised(x, mean, var)


@wrong("each sample is normalised by itself, over height and width", "output", BatchNorm2d)
class OverPixels(StatisticsOver):
    def axes(self, x: Array) -> tuple[int, ...]:
        return tuple(range(2, x.ndim))


@wrong("each pixel is normalised by itself, over the batch", "output", BatchNorm2d)
@wrong("each place is normalised by itself, over the batch", "output", BatchNorm1d)
class OverBatch(StatisticsOver):
    def axes(self, x: Array) -> tuple[int, ...]:
        return (0,)


@wrong("each sample is normalised over its channels, as by LayerNorm", "output", BatchNorm2d)
class OverSamples(StatisticsOver):
    def axes(self, x: Array) -> tuple[int, ...]:
        return tuple(range(1, x.ndim))


@wrong("all channels share a mean and a variance", "output", *BATCH_NORMS)
class OverAll(StatisticsOver):
    def axes(self, x: Array) -> tuple[int, ...]:
        return tuple(range(x.ndim))


@wrong("normalises by the unbiased variance", "output", *BATCH_NORMS)
class UnbiasedInBatch(BatchNorm):
    def statistics(self, x: Array) -> tuple[Array, Array]:
        n = x.size // x.shape[1]
        mean, var = super().statistics(x)
        return mean, var * n / (n - 1)

    def update(self, mean: Array, var: Array, n: int) -> None:
        super().update(mean, var * (n - 1) / n, n)


@wrong(
    "the means in dx are divided by the batch alone, not by the pixels", "input_grad", BatchNorm2d
)
class MeansOverBatch(Terms, BatchNorm2d):
    def terms(self, dxhat: Array, xhat: Array) -> Array:
        n = max(len(dxhat), 1)
        return dxhat - dxhat.sum() / n - xhat * (dxhat * xhat).sum() / n


@wrong("dweight is that of the first pixel", "weight.param_grad", BatchNorm2d)
class WeightGradientOfOnePixel(BatchNorm2d):
    def weight_gradient(self, dy: Array) -> Array:
        return (dy * self.xhat)[:, :, 0, 0].sum(0)


@wrong("dbias is that of the first pixel", "bias.param_grad", BatchNorm2d)
class NormsBiasGradientOfOnePixel(BatchNorm2d):
    def bias_gradient(self, dy: Array) -> Array:
        return dy[:, :, 0, 0].sum(0)


@wrong("the running variance is biased", "evaluation", *BATCH_NORMS)
class RunningVarianceBiased(BatchNorm):
    def update(self, mean: Array, var: Array, n: int) -> None:
        super().update(mean, var * (n - 1) / n, n)


@wrong("the momentum is that of the old value", "evaluation", *BATCH_NORMS)
class MomentumSwapped(BatchNorm):
    def update(self, mean: Array, var: Array, n: int) -> None:
        with instead(self, momentum=None if self.momentum is None else 1 - self.momentum):
            super().update(mean, var, n)


@wrong("the momentum is always 0.1", "evaluation", BatchNorm2d)
class MomentumFixed(BatchNorm2d):
    def update(self, mean: Array, var: Array, n: int) -> None:
        with instead(self, momentum=0.1):
            super().update(mean, var, n)


@wrong("evaluation takes the batch's own statistics", "evaluation", *BATCH_NORMS)
class BatchInEvaluation(BatchNorm):
    def forward(self, x: Array) -> Array:
        kept = self.running_mean.copy(), self.running_var.copy(), self.num_batches_tracked
        training = self.training
        with instead(self, training=True):
            y = super().forward(x)
        if not training:
            self.running_mean[...], self.running_var[...], self.num_batches_tracked = kept
        return y


@wrong("the running statistics are never updated", "evaluation", *BATCH_NORMS)
class NeverUpdated(BatchNorm):
    def update(self, mean: Array, var: Array, n: int) -> None:
        pass


@wrong("evaluation updates the running statistics too", "evaluation", BatchNorm2d)
class UpdatedInEvaluation(BatchNorm2d):
    def forward(self, x: Array) -> Array:
        if not self.training and x.size > x.shape[1]:
            self.num_batches_tracked += 1
            self.update(*self.statistics(x), x.size // x.shape[1])
        return super().forward(x)


@wrong("the running statistics are those of the last batch", "evaluation", BatchNorm2d)
class LastBatchAlone(BatchNorm2d):
    def update(self, mean: Array, var: Array, n: int) -> None:
        with instead(self, momentum=1):
            super().update(mean, var, n)


@wrong("the running variance keeps the deviation", "evaluation", *BATCH_NORMS)
class DeviationKept(BatchNorm):
    def update(self, mean: Array, var: Array, n: int) -> None:
        super().update(mean, np.sqrt(var), n)


@wrong("the running variance keeps 1 / the deviation", "evaluation", *BATCH_NORMS)
class InverseKept(BatchNorm):
    def update(self, mean: Array, var: Array, n: int) -> None:
        super().update(mean, 1 / self.root(var), n)


@wrong("backward in evaluation is that of training", "evaluation", *BATCH_NORMS)
class TrainingsBackward(BatchNorm):
    def backward(self, dy: Array) -> Array:
        with instead(self, of_batch=dy.size > 0):
            return super().backward(dy)


@wrong("weight and bias are left out in evaluation", "evaluation", BatchNorm2d)
class EvaluationWithoutWeight(BatchNorm2d):
    def forward(self, x: Array) -> Array:
        if self.training:
            return super().forward(x)
        with instead(self, weight=None, bias=None):
            return super().forward(x)


class RowStatistics(LayerNorm):
    """Mean and variance over other axes: one for each row, or several."""

    def axes(self, x: Array) -> tuple[int, ...]:
        raise NotImplementedError

    def statistics(self, x: Array) -> tuple[Array, Array]:
        mean, var = x.mean(self.axes(x), keepdims=True), x.var(self.axes(x), keepdims=True)
        rows = [row for _, row in self.groups(x)]
        wide = (np.broadcast_to(moment, x.shape) for moment in (mean, var))
        mean, var = (np.array([moment[row] for row in rows], x.dtype) for moment in wide)
        return mean, var


@wrong("normalised over the batch, as by BatchNorm", "output", LayerNorm)
class OverLeadingAxes(RowStatistics):
    def axes(self, x: Array) -> tuple[int, ...]:
        return tuple(range(x.ndim - len(self.shape)))


@wrong("all samples share a mean and a variance", "output", LayerNorm)
class OverAllSamples(RowStatistics):
    def axes(self, x: Array) -> tuple[int, ...]:
        return tuple(range(x.ndim))


@wrong("normalised over all axes but the first", "output", LayerNorm)
class OverAllButTheFirst(RowStatistics):
    def axes(self, x: Array) -> tuple[int, ...]:
        return tuple(range(1, x.ndim)) or (0,)


@wrong("normalised over the last axis alone", "output", LayerNorm)
class OverLastAxis(RowStatistics):
    def axes(self, x: Array) -> tuple[int, ...]:
        return (-1,)


@wrong("normalises by the unbiased variance", "output", LayerNorm)
class UnbiasedInSample(LayerNorm):
    def moments(self, group: Array) -> tuple[Any, Any]:
        mean, var = super().moments(group)
        return mean, var * group.size / max(group.size - 1, 1)


@wrong("dweight is that of the last place of each sample", "weight.param_grad", LayerNorm, RMSNorm)
class WeightGradientOfLastPlace(LayerNorm):
    def weight_gradient(self, dy: Array) -> Array:
        terms: Any = dy * self.xhat
        for _ in range(dy.ndim - len(self.shape) - 1):
            terms = terms[:, -1]
        return self.summed(terms)


@wrong("dweight is averaged over the samples", "weight.param_grad", LayerNorm, RMSNorm)
class NormsWeightGradientAveraged(LayerNorm):
    def weight_gradient(self, dy: Array) -> Array:
        return super().weight_gradient(dy) / max(len(self.groups(dy)), 1)


@wrong("dbias is that of the last sample", "bias.param_grad", LayerNorm)
class NormsBiasGradientOfLastSample(LayerNorm):
    def bias_gradient(self, dy: Array) -> Array:
        return super().bias_gradient(dy[-1:]) if dy.ndim > len(self.shape) else dy


@wrong("dbias is multiplied by the weight", "bias.param_grad", LayerNorm)
class BiasGradientWeighted(LayerNorm):
    def bias_gradient(self, dy: Array) -> Array:
        return super().bias_gradient(dy) * self.weight


@wrong("the mean is taken off, as by LayerNorm", "output", RMSNorm)
class MeanTakenOff(RMSNorm):
    def moments(self, group: Array) -> tuple[Any, Any]:
        return LayerNorm.moments(self, group)


@wrong("divides by the norm: a sum where the mean belongs", "output", RMSNorm)
class NormForRoot(RMSNorm):
    def moments(self, group: Array) -> tuple[Any, Any]:
        return 0, (group**2).sum()


@wrong("mean(dy) is taken off in dx, as by LayerNorm", "input_grad", RMSNorm)
class MeanOfGradientTakenOff(RMSNorm):
    def through(self, dxhat: Array, xhat: Array) -> Array:
        return super().through(dxhat, xhat) - dxhat.mean()


@wrong("the term of the root is by x, not by xhat", "input_grad", RMSNorm)
class SecondTermByInput(InputKept, RMSNorm):
    def input_gradient(self, dy: Array) -> Array:
        with instead(self, xhat=self.x):
            return super().input_gradient(dy)


@wrong("the weight is left out of the mean in dx", "input_grad", RMSNorm, LayerNorm)
class WeightMultipliedLast(LayerNorm):
    def input_gradient(self, dy: Array) -> Array:
        with instead(self, weight=None):
            dx = super().input_gradient(dy)
        return dx if self.weight is None else dx * self.weight


@wrong("each index takes the row before its own", "output", Embedding)
class OffByOne(Embedding):
    def forward(self, x: Array) -> Array:
        y = super().forward(x)
        for place in np.ndindex(x.shape):
            y[place] = self.weight[x[place] - 1]
        return y


@wrong("the output at padding_idx is 0, whatever its row is", "output", Embedding)
class PaddingReadAsZero(Embedding):
    def forward(self, x: Array) -> Array:
        y = super().forward(x)
        if self.padding_idx is not None:
            y[x == self.padding_idx] = 0
        return y


@wrong("an index that comes twice overwrites: dweight[x] = dy", "weight.param_grad", Embedding)
class DuplicatesOverwrite(Embedding):
    def backward(self, dy: Array) -> None:
        dweight = np.zeros_like(self.weight)
        for place in np.ndindex(self.x.shape):
            if self.x[place] != self.padding_idx:
                dweight[self.x[place]] = dy[place]
        self.dweight += dweight


@wrong("an index that comes twice is added once: dweight[x] += dy", "weight.param_grad", Embedding)
class DuplicatesAddedOnce(Embedding):
    def backward(self, dy: Array) -> None:
        used: Any = self.x != self.padding_idx
        self.dweight[self.x[used]] += dy[used]


@wrong("the row of padding_idx learns as well", "weight.param_grad", Embedding)
class PaddingLearns(Embedding):
    def backward(self, dy: Array) -> None:
        with instead(self, padding_idx=None):
            super().backward(dy)


@wrong("a padding_idx of 0 is taken for none", "weight.param_grad", Embedding)
class PaddingOfZeroIgnored(Embedding):
    def backward(self, dy: Array) -> None:
        with instead(self, padding_idx=self.padding_idx or None):
            super().backward(dy)


@wrong("row 0 never learns, whatever padding_idx is", "weight.param_grad", Embedding)
class RowZeroNeverLearns(Embedding):
    def backward(self, dy: Array) -> None:
        super().backward(np.where((self.x == 0)[..., None], np.zeros_like(dy), dy))


@wrong("the gradient is divided by how often an index comes", "weight.param_grad", Embedding)
class DividedByFrequency(Embedding):
    def backward(self, dy: Array) -> None:
        counts = np.bincount(self.x.ravel(), minlength=len(self.weight))
        super().backward(dy / counts[self.x][..., None].astype(dy.dtype))


@wrong("the gradient is averaged over the batch", "weight.param_grad", Embedding)
class EmbeddingAveraged(Embedding):
    def backward(self, dy: Array) -> None:
        super().backward(dy / max(self.x.size, 1))


@wrong("dweight is off by one row", "weight.param_grad", Embedding)
class GradientOffByOne(Embedding):
    def backward(self, dy: Array) -> None:
        kept, self.x = self.x, (self.x - 1) % len(self.weight)
        super().backward(dy)
        self.x = kept
