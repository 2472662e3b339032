"""What people get wrong in the layers of `more_by_loops`: each mistake by itself, in one table.

As in `wrong_layers`, of which some mistakes are made here again.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np

from tests.subjects import wrong_layers as earlier
from tests.subjects.layers_by_loops import Array
from tests.subjects.more_by_loops import (
    AdaptiveAvgPool2d,
    AvgPool2d,
    Conv1d,
    ConvTranspose2d,
    GroupNorm,
    PReLU,
    Upsample,
)
from tests.subjects.wrong_layers import Class, Wrong, instead

WRONG: list[Wrong] = []


def wrong(mistake: str, result: str, *layers: type[Any]) -> Callable[[Class], Class]:
    """Puts a class into this table; a mistake that several layers have, once for each of them."""

    def register(cls: Class) -> Class:
        for layer in layers:
            name = cls.__name__ if issubclass(cls, layer) else f"{cls.__name__}Of{layer.__name__}"
            own = cls if issubclass(cls, layer) else type(name, (cls, layer), {})
            WRONG.append(Wrong(own, layer.__name__, mistake, result))
        return cls

    return register


def again(layer: type[Any], *mistakes: type[Any]) -> None:
    """Makes mistakes of `wrong_layers` in another layer too."""
    for cls in mistakes:
        first = next(one for one in earlier.WRONG if issubclass(one.cls, cls))
        wrong(first.mistake, first.result, layer)(cls)


again(
    Conv1d,
    earlier.ConvWithoutBias,
    earlier.OutputSizeWithoutPadding,
    earlier.ConvWithoutDilation,
    earlier.FirstGroupForAll,
    earlier.GroupsInterleaved,
    earlier.GroupsOfOutputsInterleaved,
    earlier.InputGradientWithoutStride,
    earlier.InputGradientWithoutDilation,
    earlier.PaddingLeftOn,
    earlier.WeightTransposedIfItFits,
    earlier.InputGradientToFirstGroup,
    earlier.WeightGradientOfLastSample,
    earlier.WeightGradientAveraged,
    earlier.WeightGradientWithoutStride,
    earlier.WeightGradientWithoutDilation,
    earlier.WeightGradientOfFirstGroup,
)
wrong("dbias is summed over the length alone: the last sample", "bias.param_grad", Conv1d)(
    earlier.BiasGradientOfLastSample
)


@wrong("the kernel is flipped", "output", Conv1d)
class FlippedKernel1d(Conv1d):
    def forward(self, x: Array) -> Array:
        with instead(self, weight=self.weight[:, :, ::-1]):
            return super().forward(x)


@wrong("all of the padding is at the left", "output", Conv1d)
class PaddingOnTheLeft(Conv1d):
    def padded(self, x: Array) -> Array:
        return np.roll(super().padded(x), self.padding[0], 2)

    def unpadded(self, dx: Array) -> Array:
        return dx[:, :, 2 * self.padding[0] :]


@wrong("pads with the first and the last entry, not with zeros", "output", Conv1d)
class PaddingRepeatsTheEnds(Conv1d):
    def padded(self, x: Array) -> Array:
        p = self.padding[0]
        return np.pad(x, ((0, 0), (0, 0), (p, p)), mode="edge")


@wrong("dx correlates with the kernel where it should convolve", "input_grad", Conv1d)
class FlippedInInputGradient1d(Conv1d):
    def input_gradient(self, dy: Array) -> Array:
        with instead(self, weight=self.weight[:, :, ::-1]):
            return super().input_gradient(dy)


@wrong("windows that overlap overwrite each other in dx", "input_grad", Conv1d)
class OverlapOverwritten1d(Conv1d):
    def input_gradient(self, dy: Array) -> Array:
        dx = np.zeros_like(self.x)
        for i in range(dy.shape[2]):
            window = np.zeros_like(dx[:, :, self.span(i)])
            for o in range(self.out_channels):
                window[:, self.inputs_of(o)] += dy[:, o, i].reshape(-1, 1, 1) * self.weight[o]
            dx[:, :, self.span(i)] = window
        return self.unpadded(dx)


@wrong("a padding of 0 slices dx to nothing", "input_grad", Conv1d)
class PaddingOfZeroSlicesAll1d(Conv1d):
    def unpadded(self, dx: Array) -> Array:
        p = self.padding[0]
        return dx[:, :, p:-p]


@wrong("dx ends with the last window, and lacks the stride's remainder", "input_grad", Conv1d)
class RemainderMissing1d(Conv1d):
    def input_gradient(self, dy: Array) -> Array:
        size = (dy.shape[2] - 1) * self.stride[0] + self.reach(0) - 2 * self.padding[0]
        return super().input_gradient(dy)[:, :, : max(size, 0)]


@wrong("dx reads the weight as [in, out]", "input_grad", Conv1d)
class WeightReadAsInOut1d(Conv1d):
    def input_gradient(self, dy: Array) -> Array:
        out, inputs, kernel = self.weight.shape
        with instead(self, weight=self.weight.reshape(inputs, out, kernel).swapaxes(0, 1)):
            return super().input_gradient(dy)


@wrong("dweight is flipped", "weight.param_grad", Conv1d)
class WeightGradientFlipped1d(Conv1d):
    def weight_gradient(self, dy: Array) -> Array:
        return super().weight_gradient(dy)[:, :, ::-1]


@wrong("dweight ignores the padding", "weight.param_grad", Conv1d)
class WeightGradientWithoutPadding1d(Conv1d):
    def weight_gradient(self, dy: Array) -> Array:
        with instead(self, x=np.roll(self.x, -self.padding[0], 2)):
            return super().weight_gradient(dy)


@wrong("dbias is summed over the batch alone: the last entry", "bias.param_grad", Conv1d)
class BiasGradientOfLastEntry(Conv1d):
    def bias_gradient(self, dy: Array) -> Array:
        return dy.sum(0)[:, -1]


@wrong("dbias is averaged over the length", "bias.param_grad", Conv1d)
class BiasGradientAveraged1d(Conv1d):
    def bias_gradient(self, dy: Array) -> Array:
        return super().bias_gradient(dy) / dy.shape[2]


@wrong("dbias is one sum for all channels", "bias.param_grad", Conv1d)
class BiasGradientOfAll1d(Conv1d):
    def bias_gradient(self, dy: Array) -> Array:
        return np.full_like(self.bias, dy.sum())


again(
    ConvTranspose2d,
    earlier.FlippedKernel,
    earlier.ConvWithoutBias,
    earlier.ConvWithoutDilation,
    earlier.HeightsStrideForWidth,
    earlier.HeightsPaddingForWidth,
    earlier.WeightGradientOfLastSample,
    earlier.WeightGradientAveraged,
    earlier.WeightGradientWithoutStride,
    earlier.WeightGradientWithoutDilation,
    earlier.WeightGradientFlipped,
    earlier.InputGradientWithoutStride,
    earlier.InputGradientWithoutDilation,
    earlier.BiasGradientOfLastColumn,
    earlier.BiasGradientOfOnePixel,
    earlier.BiasGradientOfLastSample,
    earlier.BiasGradientAveraged,
)
wrong("dx is by the flipped kernel", "input_grad", ConvTranspose2d)(earlier.FlippedInInputGradient)
wrong("dx reads the weight as [out, in]", "input_grad", ConvTranspose2d)(earlier.WeightReadAsInOut)
wrong("dx has in and out swapped, where there are as many of both", "input_grad", ConvTranspose2d)(
    earlier.WeightTransposedIfItFits
)


@wrong("windows that overlap overwrite each other", "output", ConvTranspose2d)
class OverlapOverwrittenInOutput(ConvTranspose2d):
    def placed(self, x: Array) -> Array:
        wide = np.zeros_like(super().placed(x))
        for i, j in product(range(x.shape[2]), range(x.shape[3])):
            window = np.zeros_like(wide[self.window(i, j)])
            for c in range(self.in_channels):
                pixel = x[:, c, i, j].reshape(-1, 1, 1, 1)
                window[:, self.outputs_of(c)] += pixel * self.weight[c]
            wide[self.window(i, j)] = window
        return wide


@wrong("reads the weight as [out, in], as Conv2d's", "output", ConvTranspose2d)
class WeightReadAsOutIn(ConvTranspose2d):
    def forward(self, x: Array) -> Array:
        inputs, out = self.weight.shape[:2]
        with instead(self, weight=self.weight.reshape(out, inputs, *self.kernel).swapaxes(0, 1)):
            return super().forward(x)


@wrong("in and out are swapped, where there are as many of both", "output", ConvTranspose2d)
class InAndOutSwappedIfItFits(ConvTranspose2d):
    def forward(self, x: Array) -> Array:
        turned = self.weight.swapaxes(0, 1)
        fits = turned.shape == self.weight.shape
        with instead(self, weight=turned if fits else self.weight):
            return super().forward(x)


@wrong("the padding is not cut off", "output", ConvTranspose2d)
class PaddingNotCutOff(ConvTranspose2d):
    def padded(self, x: Array) -> Array:
        return x

    def unpadded(self, dx: Array) -> Array:
        return dx


@wrong("all of the padding is cut off at the top and the left", "output", ConvTranspose2d)
class PaddingCutOffOneSide(ConvTranspose2d):
    def padded(self, x: Array) -> Array:
        return np.roll(super().padded(x), self.padding, (2, 3))

    def unpadded(self, dx: Array) -> Array:
        return dx[:, :, 2 * self.padding[0] :, 2 * self.padding[1] :]


@wrong("the output_padding is ignored", "output", ConvTranspose2d)
class OutputPaddingIgnored(ConvTranspose2d):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.output_padding = (0, 0)


@wrong("the output_padding is zeros, without kernel or bias", "output", ConvTranspose2d)
class OutputPaddingOfZeros(ConvTranspose2d):
    def forward(self, x: Array) -> Array:
        y, (rows, columns) = super().forward(x), self.output_padding
        y[:, :, y.shape[2] - rows :] = 0
        y[:, :, :, y.shape[3] - columns :] = 0
        return y


@wrong("the output_padding is at the top and the left", "output", ConvTranspose2d)
class OutputPaddingAtTheTop(ConvTranspose2d):
    def placed(self, x: Array) -> Array:
        return np.roll(super().placed(x), self.output_padding, (2, 3))

    def padded(self, x: Array) -> Array:
        rows, columns = self.output_padding
        return np.roll(super().padded(x), (-rows, -columns), (2, 3))


@wrong("every group adds to the outputs of the first", "output", ConvTranspose2d)
class OutputsOfFirstGroup(ConvTranspose2d):
    def outputs_of(self, c: int) -> slice:
        return super().outputs_of(0)


@wrong("the groups take the outputs in turn, not in blocks", "output", ConvTranspose2d)
class OutputsInterleaved(ConvTranspose2d):
    def outputs_of(self, c: int) -> slice:
        return slice(c // (self.in_channels // self.groups), None, self.groups)


@wrong("input channels are dealt out to the groups in turn", "output", ConvTranspose2d)
class InputsInterleaved(ConvTranspose2d):
    def outputs_of(self, c: int) -> slice:
        group = c % self.groups
        return super().outputs_of(group * (self.in_channels // self.groups))


@wrong("dx ignores the padding", "input_grad", ConvTranspose2d)
class InputGradientWithoutPadding(ConvTranspose2d):
    def input_gradient(self, dy: Array) -> Array:
        p, q = self.padding
        wide = np.roll(self.padded(dy), (-p, -q), (2, 3))
        with instead(self, padded=lambda dy: wide):
            return super().input_gradient(dy)


@wrong("dx of every group is by the outputs of the first", "input_grad", ConvTranspose2d)
class InputGradientOfFirstGroup(ConvTranspose2d):
    def input_gradient(self, dy: Array) -> Array:
        outputs = self.outputs_of(0)
        with instead(self, outputs_of=lambda c: outputs):
            return super().input_gradient(dy)


@wrong("dweight ignores the padding", "weight.param_grad", ConvTranspose2d)
class WeightGradientWithoutPadding(ConvTranspose2d):
    def weight_gradient(self, dy: Array) -> Array:
        p, q = self.padding
        wide = np.roll(self.padded(dy), (-p, -q), (2, 3))
        with instead(self, padded=lambda dy: wide):
            return super().weight_gradient(dy)


@wrong("dweight of every group is by the first's outputs", "weight.param_grad", ConvTranspose2d)
class WeightGradientOfFirstOutputs(ConvTranspose2d):
    def weight_gradient(self, dy: Array) -> Array:
        outputs = self.outputs_of(0)
        with instead(self, outputs_of=lambda c: outputs):
            return super().weight_gradient(dy)


@wrong("dbias is one sum for all channels", "bias.param_grad", ConvTranspose2d)
class BiasGradientOfAll(ConvTranspose2d):
    def bias_gradient(self, dy: Array) -> Array:
        return np.full_like(self.bias, dy.sum())


@wrong("dbias leaves out the output_padding", "bias.param_grad", ConvTranspose2d)
class BiasGradientWithoutOutputPadding(ConvTranspose2d):
    def bias_gradient(self, dy: Array) -> Array:
        rows, columns = self.output_padding
        return super().bias_gradient(dy[:, :, : dy.shape[2] - rows, : dy.shape[3] - columns])


again(
    AvgPool2d,
    earlier.CeilModeIgnored,
    earlier.AlwaysCeilMode,
    earlier.StrideOfOneByDefault,
    earlier.KernelHeightForWidth,
    earlier.PoolRemainderMissing,
)
wrong("dx is not divided", "input_grad", AvgPool2d)(earlier.GradientToAllEntries)


@wrong("the sum in place of the average", "output", AvgPool2d)
class SumOfWindow(AvgPool2d):
    def divisor(self, i: int, j: int) -> int:
        return 1


@wrong("the largest in place of the average", "output", AvgPool2d)
class LargestOfWindow(AvgPool2d):
    def forward(self, x: Array) -> Array:
        y = super().forward(x)
        for i, j in product(range(y.shape[2]), range(y.shape[3])):
            y[:, :, i, j] = np.max([x[:, :, row, col] for row, col in self.entries(i, j)], 0)
        return y


@wrong("divided by the stride, not by the kernel", "output", AvgPool2d)
class DividedByStride(AvgPool2d):
    def divisor(self, i: int, j: int) -> int:
        return self.stride[0] * self.stride[1]


@wrong("divided by the kernel's height alone", "output", AvgPool2d)
class DividedByKernelHeight(AvgPool2d):
    def divisor(self, i: int, j: int) -> int:
        return self.kernel[0]


@wrong("the padding counts, whatever count_include_pad is", "output", AvgPool2d)
class PaddingAlwaysCounts(AvgPool2d):
    def divisor(self, i: int, j: int) -> int:
        with instead(self, count_include_pad=True):
            return super().divisor(i, j)


@wrong("the padding never counts, whatever count_include_pad is", "output", AvgPool2d)
class PaddingNeverCounts(AvgPool2d):
    def divisor(self, i: int, j: int) -> int:
        with instead(self, count_include_pad=False):
            return super().divisor(i, j)


@wrong("count_include_pad is taken the wrong way round", "output", AvgPool2d)
class PaddingCountsTheWrongWayRound(AvgPool2d):
    def divisor(self, i: int, j: int) -> int:
        with instead(self, count_include_pad=not self.count_include_pad):
            return super().divisor(i, j)


@wrong("what lies behind the padding counts, with ceil_mode", "output", AvgPool2d)
class OutsideCounts(AvgPool2d):
    def extent(self, n: int, axis: int) -> int:
        return self.kernel[axis]


@wrong("the divisor_override is ignored", "output", AvgPool2d)
class DivisorIgnored(AvgPool2d):
    def divisor(self, i: int, j: int) -> int:
        with instead(self, divisor_override=None):
            return super().divisor(i, j)


@wrong("divided by the window as well as by divisor_override", "output", AvgPool2d)
class DividedTwice(AvgPool2d):
    def divisor(self, i: int, j: int) -> int:
        with instead(self, divisor_override=None):
            return super().divisor(i, j) * (self.divisor_override or 1)


class OwnShare(AvgPool2d):
    """A backward that divides by something else than forward does."""

    def dividend(self, i: int, j: int) -> int:
        raise NotImplementedError

    def backward(self, dy: Array) -> Array:
        with instead(self, divisor=self.dividend):
            return super().backward(dy)


@wrong("dx is divided by the stride", "input_grad", AvgPool2d)
class GradientDividedByStride(OwnShare):
    def dividend(self, i: int, j: int) -> int:
        return self.stride[0] * self.stride[1]


@wrong("dx is divided by the whole kernel, whatever lies in the image", "input_grad", AvgPool2d)
class GradientDividedByKernel(OwnShare):
    def dividend(self, i: int, j: int) -> int:
        return self.divisor_override or self.kernel[0] * self.kernel[1]


@wrong("dx ignores the divisor_override", "input_grad", AvgPool2d)
class GradientIgnoresDivisor(OwnShare):
    def dividend(self, i: int, j: int) -> int:
        with instead(self, divisor_override=None):
            return AvgPool2d.divisor(self, i, j)


@wrong("windows that overlap overwrite each other", "input_grad", AvgPool2d)
class AverageOverlapOverwritten(AvgPool2d):
    def backward(self, dy: Array) -> Array:
        dx = np.zeros(self.shape, dy.dtype)
        for i, j in product(range(dy.shape[2]), range(dy.shape[3])):
            for row, column in self.entries(i, j):
                dx[:, :, row, column] = dy[:, :, i, j] / self.divisor(i, j)
        return dx


@wrong("the first entry of each window gets the gradient", "input_grad", AvgPool2d)
class AveragesGradientToFirstEntry(AvgPool2d):
    def backward(self, dy: Array) -> Array:
        dx = np.zeros(self.shape, dy.dtype)
        for i, j in product(range(dy.shape[2]), range(dy.shape[3])):
            row, column = self.entries(i, j)[0]
            dx[:, :, row, column] += dy[:, :, i, j]
        return dx


@wrong("the largest entry of each window gets the gradient", "input_grad", AvgPool2d)
class AveragesGradientToLargest(AvgPool2d):
    def forward(self, x: Array) -> Array:
        self.x = x.copy()
        return super().forward(x)

    def backward(self, dy: Array) -> Array:
        dx = np.zeros(self.shape, dy.dtype)
        for n, c, i, j in np.ndindex(dy.shape):
            row, column = max(self.entries(i, j), key=lambda at: self.x[n, c, at[0], at[1]])
            dx[n, c, row, column] += dy[n, c, i, j]
        return dx


@wrong("the sum in place of the average", "output", AdaptiveAvgPool2d)
class SumOfImage(AdaptiveAvgPool2d):
    def forward(self, x: Array) -> Array:
        return super().forward(x) * (x.shape[2] * x.shape[3])

    def backward(self, dy: Array) -> Array:
        return super().backward(dy * (self.shape[2] * self.shape[3]))


@wrong("the largest in place of the average", "output", AdaptiveAvgPool2d)
class LargestOfImage(AdaptiveAvgPool2d):
    def forward(self, x: Array) -> Array:
        self.shape = x.shape
        return x.max((2, 3), keepdims=True)


@wrong("averaged over the height alone", "output", AdaptiveAvgPool2d)
class OverHeight(AdaptiveAvgPool2d):
    def forward(self, x: Array) -> Array:
        self.shape = x.shape
        return x.mean(2, keepdims=True)

    def backward(self, dy: Array) -> Array:
        return np.repeat(dy / self.shape[2], self.shape[2], 2)


@wrong("averaged over the channels too", "output", AdaptiveAvgPool2d)
class OverChannelsToo(AdaptiveAvgPool2d):
    def forward(self, x: Array) -> Array:
        y = super().forward(x)
        y[...] = y.mean(1, keepdims=True)
        return y


@wrong("height and width are left out of the output: [N, C]", "output", AdaptiveAvgPool2d)
class FlattenedToChannels(AdaptiveAvgPool2d):
    def forward(self, x: Array) -> Array:
        return super().forward(x)[:, :, 0, 0]

    def backward(self, dy: Array) -> Array:
        return super().backward(dy.reshape(*self.shape[:2], 1, 1))


@wrong("divided by the batch too", "output", AdaptiveAvgPool2d)
class DividedByBatch(AdaptiveAvgPool2d):
    def forward(self, x: Array) -> Array:
        return super().forward(x) / max(len(x), 1)

    def backward(self, dy: Array) -> Array:
        return super().backward(dy) / max(len(dy), 1)


@wrong("dx is not divided", "input_grad", AdaptiveAvgPool2d)
class GradientNotDivided(AdaptiveAvgPool2d):
    def backward(self, dy: Array) -> Array:
        return super().backward(dy * (self.shape[2] * self.shape[3]))


@wrong("dx is divided by the height alone", "input_grad", AdaptiveAvgPool2d)
class GradientDividedByHeight(AdaptiveAvgPool2d):
    def backward(self, dy: Array) -> Array:
        return super().backward(dy * self.shape[3])


@wrong("dx is divided by the batch too", "input_grad", AdaptiveAvgPool2d)
class GradientDividedByBatch(AdaptiveAvgPool2d):
    def backward(self, dy: Array) -> Array:
        return super().backward(dy) / max(len(dy), 1)


@wrong("the first pixel gets the gradient", "input_grad", AdaptiveAvgPool2d)
class GradientToFirstPixel(AdaptiveAvgPool2d):
    def backward(self, dy: Array) -> Array:
        dx = np.zeros(self.shape, dy.dtype)
        dx[:, :, :1, :1] = dy
        return dx


def summed_tiles(dy: Array, down: int, across: int) -> Array:
    """The sum of an image's tiles."""
    H, W = dy.shape[2] // down, dy.shape[3] // across
    tiles = product(range(down), range(across))
    return np.sum([dy[:, :, a * H : a * H + H, b * W : b * W + W] for a, b in tiles], 0)


@wrong("the whole image is repeated, not each pixel", "output", Upsample)
class Tiled(Upsample):
    def forward(self, x: Array) -> Array:
        return np.tile(x, self.scale)

    def backward(self, dy: Array) -> Array:
        return summed_tiles(dy, *self.scale)


@wrong("zeros between the pixels", "output", Upsample)
class ZerosBetween(Upsample):
    def copies(self) -> list[tuple[slice, ...]]:
        return super().copies()[:1]


@wrong("the scales of height and width are exchanged", "output", Upsample)
class ScalesExchanged(Upsample):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.scale = (self.scale[1], self.scale[0])


@wrong("the scale of the height is used for the width", "output", Upsample)
class HeightsScaleForWidth(Upsample):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.scale = (self.scale[0], self.scale[0])


@wrong("the height alone is scaled", "output", Upsample)
class HeightAloneScaled(Upsample):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.scale = (self.scale[0], 1)


@wrong("the gradient is averaged over the copies, not summed", "input_grad", Upsample)
class GradientAveraged(Upsample):
    def backward(self, dy: Array) -> Array:
        return super().backward(dy) / len(self.copies())


@wrong("the gradient is that of the first copy", "input_grad", Upsample)
class GradientOfFirstCopy(Upsample):
    def backward(self, dy: Array) -> Array:
        copies = self.copies()[:1]
        with instead(self, copies=lambda: copies):
            return super().backward(dy)


@wrong("the gradients of the copies overwrite each other", "input_grad", Upsample)
class GradientOfLastCopy(Upsample):
    def backward(self, dy: Array) -> Array:
        copies = self.copies()[-1:]
        with instead(self, copies=lambda: copies):
            return super().backward(dy)


@wrong("the gradient is summed down alone, not across", "input_grad", Upsample)
class GradientSummedDown(Upsample):
    def backward(self, dy: Array) -> Array:
        copies = self.copies()[:: self.scale[1]]
        with instead(self, copies=lambda: copies):
            return super().backward(dy)


@wrong("the gradient is summed as if the image had been tiled", "input_grad", Upsample)
class GradientOfTiles(Upsample):
    def backward(self, dy: Array) -> Array:
        return summed_tiles(dy, *self.scale)


again(
    GroupNorm,
    earlier.EpsOutside,
    earlier.EpsForgotten,
    earlier.EpsFixed,
    earlier.VarianceForDeviation,
    earlier.StatisticsConstant,
    earlier.MeanLeftOut,
    earlier.ProductLeftOut,
    earlier.SumsForMeans,
    earlier.ProductAdded,
    earlier.WeightForgotten,
    earlier.WeightGradientByInput,
    earlier.OnePass,
)


@wrong("normalised over all channels, whatever num_groups is", "output", GroupNorm)
class OverAllChannels(GroupNorm):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.num_groups = 1


@wrong("each channel is normalised by itself, whatever num_groups is", "output", GroupNorm)
class OverEachChannel(GroupNorm):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.num_groups = self.shape[0]


@wrong("num_groups is taken for the channels of a group", "output", GroupNorm)
class GroupsForChannels(GroupNorm):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.num_groups = self.shape[0] // self.num_groups


@wrong("normalised over the batch too", "output", GroupNorm)
class OverBatchToo(GroupNorm):
    def groups(self, x: Array) -> list[tuple[Any, Any]]:
        return [(group, (slice(None), self.channels(group))) for group in range(self.num_groups)]


@wrong("the groups take the channels in turn, not in blocks", "output", GroupNorm)
class ChannelsInTurn(GroupNorm):
    def channels(self, group: int) -> slice:
        return slice(group, None, self.num_groups)


@wrong("normalises by the unbiased variance", "output", GroupNorm)
class UnbiasedInGroup(GroupNorm):
    def moments(self, group: Array) -> tuple[Any, Any]:
        mean, var = super().moments(group)
        return mean, var * group.size / max(group.size - 1, 1)


@wrong("the bias is left out", "output", GroupNorm)
class BiasLeftOut(GroupNorm):
    def normalised(self, x: Array, mean: Array, var: Array) -> Array:
        with instead(self, bias=None):
            return super().normalised(x, mean, var)


@wrong("the weight is left out", "output", GroupNorm)
class WeightLeftOut(GroupNorm):
    def normalised(self, x: Array, mean: Array, var: Array) -> Array:
        with instead(self, weight=None):
            return super().normalised(x, mean, var)


@wrong("each group has the weight and the bias of its first channel", "output", GroupNorm)
class WeightOfFirstChannel(GroupNorm):
    def of(self, parameter: Array, place: Any) -> Any:
        return super().of(parameter, place)[:1]


@wrong("the weight is left out of the means in dx", "input_grad", GroupNorm)
class WeightAfterTheMeans(GroupNorm):
    def input_gradient(self, dy: Array) -> Array:
        with instead(self, weight=None):
            dx = super().input_gradient(dy)
        if self.weight is not None:
            for place, where in self.groups(dy):
                dx[where] *= self.of(self.weight, place)
        return dx


@wrong("the means in dx are divided by the pixels, not by the channels", "input_grad", GroupNorm)
class MeansOverPixels(GroupNorm):
    def through(self, dxhat: Array, xhat: Array) -> Array:
        n = dxhat.size // len(dxhat)
        return dxhat - dxhat.sum() / n - xhat * (dxhat * xhat).sum() / n


@wrong("dx is not divided by the deviation", "input_grad", GroupNorm)
class NotDividedByDeviation(GroupNorm):
    def input_gradient(self, dy: Array) -> Array:
        with instead(self, std=np.ones_like(self.std)):
            return super().input_gradient(dy)


@wrong("dweight is summed over the batch alone: the first pixel", "weight.param_grad", GroupNorm)
class WeightGradientOfFirstPixel(GroupNorm):
    def weight_gradient(self, dy: Array) -> Array:
        terms = dy * self.xhat
        return terms.reshape(*dy.shape[:2], -1)[:, :, 0].sum(0)


@wrong("dweight is that of the last sample", "weight.param_grad", GroupNorm)
class GroupsWeightGradientOfLastSample(GroupNorm):
    def weight_gradient(self, dy: Array) -> Array:
        return self.summed((dy * self.xhat)[-1:])


@wrong("dweight is averaged over the batch", "weight.param_grad", GroupNorm)
class GroupsWeightGradientAveraged(GroupNorm):
    def weight_gradient(self, dy: Array) -> Array:
        return super().weight_gradient(dy) / max(len(dy), 1)


@wrong("dbias is summed over the batch alone: the first pixel", "bias.param_grad", GroupNorm)
class GroupsBiasGradientOfFirstPixel(GroupNorm):
    def bias_gradient(self, dy: Array) -> Array:
        return dy.reshape(*dy.shape[:2], -1)[:, :, 0].sum(0)


@wrong("dbias is that of the last sample", "bias.param_grad", GroupNorm)
class GroupsBiasGradientOfLastSample(GroupNorm):
    def bias_gradient(self, dy: Array) -> Array:
        return super().bias_gradient(dy[-1:])


@wrong("dbias is multiplied by the weight", "bias.param_grad", GroupNorm)
class GroupsBiasGradientWeighted(GroupNorm):
    def bias_gradient(self, dy: Array) -> Array:
        return super().bias_gradient(dy) * self.weight


@wrong("the slope is on the positive side", "output", PReLU)
class SlopeOnPositiveSide(PReLU):
    def bent(self, x: Array, slope: Any) -> Any:
        return np.where(x > 0, slope * x, x)

    def to_input(self, x: Array, dy: Array, slope: Any) -> Any:
        return np.where(x > 0, slope * dy, dy)

    def to_slope(self, x: Array, dy: Array, slope: Any) -> Any:
        return np.where(x > 0, dy * x, np.zeros_like(x)).sum()


@wrong("the slope is forgotten: 0 where x is negative, as of ReLU", "output", PReLU)
class SlopeForgotten(PReLU):
    def bent(self, x: Array, slope: Any) -> Any:
        return np.maximum(x, 0)


@wrong("the slope is always 0.01, as of LeakyReLU", "output", PReLU)
class SlopeFixed(PReLU):
    def bent(self, x: Array, slope: Any) -> Any:
        return super().bent(x, x.dtype.type(0.01))


@wrong("all channels have the slope of the first", "output", PReLU)
class SlopeOfFirstChannel(PReLU):
    def bent(self, x: Array, slope: Any) -> Any:
        return super().bent(x, self.weight[0])


@wrong("dx forgets the slope: 0 where x is negative", "input_grad", PReLU)
class SlopeForgottenInInputGradient(PReLU):
    def to_input(self, x: Array, dy: Array, slope: Any) -> Any:
        return np.where(x > 0, dy, np.zeros_like(dy))


@wrong("dx is dy everywhere", "input_grad", PReLU)
class InputGradientIsGradient(PReLU):
    def to_input(self, x: Array, dy: Array, slope: Any) -> Any:
        return dy


@wrong("dx is by the slope everywhere", "input_grad", PReLU)
class SlopeEverywhere(PReLU):
    def to_input(self, x: Array, dy: Array, slope: Any) -> Any:
        return slope * dy


@wrong("dx has the slope on the positive side", "input_grad", PReLU)
class SidesExchangedInInputGradient(PReLU):
    def to_input(self, x: Array, dy: Array, slope: Any) -> Any:
        return np.where(x > 0, slope * dy, dy)


@wrong("dx is the derivative alone, without dy", "input_grad", PReLU)
class DerivativeAlone(PReLU):
    def to_input(self, x: Array, dy: Array, slope: Any) -> Any:
        return super().to_input(x, np.ones_like(dy), slope)


@wrong("dx asks for the sign of dy, not of x", "input_grad", PReLU)
class SignOfGradient(PReLU):
    def to_input(self, x: Array, dy: Array, slope: Any) -> Any:
        return super().to_input(dy, dy, slope)


@wrong("dweight is over all entries, not the negative alone", "weight.param_grad", PReLU)
class OverAllEntries(PReLU):
    def to_slope(self, x: Array, dy: Array, slope: Any) -> Any:
        return (dy * x).sum()


@wrong("dweight is over the positive entries", "weight.param_grad", PReLU)
class OverPositiveEntries(PReLU):
    def to_slope(self, x: Array, dy: Array, slope: Any) -> Any:
        return super().to_slope(-x, -dy, slope)


@wrong("dweight is not times x", "weight.param_grad", PReLU)
class SlopesGradientWithoutInput(PReLU):
    def to_slope(self, x: Array, dy: Array, slope: Any) -> Any:
        return np.where(x > 0, np.zeros_like(dy), dy).sum()


@wrong("dweight is by the size of x, without its sign", "weight.param_grad", PReLU)
class SlopesGradientWithoutSign(PReLU):
    def to_slope(self, x: Array, dy: Array, slope: Any) -> Any:
        return -super().to_slope(x, dy, slope)


@wrong("dweight is the sum of x, without dy", "weight.param_grad", PReLU)
class SlopesGradientWithoutGradient(PReLU):
    def to_slope(self, x: Array, dy: Array, slope: Any) -> Any:
        return super().to_slope(x, np.ones_like(dy), slope)


@wrong("dweight is times the slope: by the output, not by x", "weight.param_grad", PReLU)
class SlopesGradientByOutput(PReLU):
    def to_slope(self, x: Array, dy: Array, slope: Any) -> Any:
        return super().to_slope(x, dy, slope) * slope


@wrong("dweight is averaged, not summed", "weight.param_grad", PReLU)
class SlopesGradientAveraged(PReLU):
    def to_slope(self, x: Array, dy: Array, slope: Any) -> Any:
        return super().to_slope(x, dy, slope) / max(x.size, 1)


@wrong("dweight is averaged over the batch", "weight.param_grad", PReLU)
class SlopesGradientAveragedOverBatch(PReLU):
    def to_slope(self, x: Array, dy: Array, slope: Any) -> Any:
        return super().to_slope(x, dy, slope) / max(len(x), 1)


@wrong("dweight is that of the last sample", "weight.param_grad", PReLU)
class SlopesGradientOfLastSample(PReLU):
    def to_slope(self, x: Array, dy: Array, slope: Any) -> Any:
        return super().to_slope(x[-1:], dy[-1:], slope)


@wrong("dweight is one sum for all channels", "weight.param_grad", PReLU)
class SlopesGradientOfAllChannels(PReLU):
    def to_slope(self, x: Array, dy: Array, slope: Any) -> Any:
        return super().to_slope(self.x, self.dy, slope)

    def backward(self, dy: Array) -> Array:
        self.dy = dy
        return super().backward(dy)
