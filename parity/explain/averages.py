"""What people get wrong where pixels are averaged or repeated: AvgPool2d, AdaptiveAvgPool2d,
Upsample."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from parity.catalogue.values import Tensors
from parity.explain.convolution import placed
from parity.explain.mistakes import Mistake, Mistakes
from parity.explain.windows import of_sizes, pair


def of_average_pool(made: Mistakes, module: nn.AvgPool2d, inputs: Tensors, oracle: Tensors) -> None:
    """Other divisors than the due ones, and gradients at other places than a window's."""
    x, dy = inputs["x"], inputs["dy"]
    if not x.numel():
        return
    kernel, stride, padding = (pair(n) for n in (module.kernel_size, module.stride, module.padding))
    area, step = kernel[0] * kernel[1], stride[0] * stride[1]
    own: Any = {"stride": stride, "padding": padding, "ceil_mode": module.ceil_mode}
    counted = {"count_include_pad": module.count_include_pad}
    given = {"divisor_override": module.divisor_override}

    def pooled(z: Tensor = x, **other: Any) -> Tensor:
        return functional.avg_pool2d(z, kernel, **own | counted | given | other)

    def back(of: Tensor, over: str = "") -> Tensor:
        """The gradient of the input, of which each window's entries get so much."""
        share = of[:, :, None, None].expand(-1, -1, *kernel, -1, -1)
        return placed(share, x.shape[-2:], stride, (1, 1), padding, over)

    summed = pooled(divisor_override=1)
    ones = torch.ones_like(x[:1, :1])
    divisor = 1 / (pooled(ones) / pooled(ones, divisor_override=1))  # of each window
    inside = pooled(ones, divisor_override=1)  # the entries that are not padding
    counts = {
        padding: _counted(pooled, ones, padding)
        for padding in (module.count_include_pad, True, False)
    }
    own_count = counts[module.count_include_pad]
    divisors: dict[str, float | Tensor] = {
        "is not divided by the number of the window's entries": 1,
        "is divided by the stride, not by the number of entries": step,
        "is divided by the kernel's height alone": kernel[0],
        "is divided by the kernel's width alone": kernel[1],
        "is divided by the kernel's whole size, where a window has fewer entries": area,
        "is divided by the number of the output's pixels": summed.shape[-2:].numel(),
    }
    if module.divisor_override is None:
        divisors |= {
            "counts the padding among the entries": counts[True],
            "leaves the padding out of the entries that it divides by": counts[False],
        }
    else:
        divisors["ignores divisor_override"] = own_count
        text = "is divided by the number of the window's entries as well as by divisor_override"
        divisors[text] = divisor * own_count
    for text, other in divisors.items():
        made["output"].append(Mistake("divisor", text, summed / other))
        made["input_grad"].append(Mistake("divisor", text, back(dy / other)))
    share = dy / divisor
    largest = functional.max_pool2d(x, kernel, stride, padding, 1, module.ceil_mode)
    if largest.shape == summed.shape:
        made["output"].append(Mistake("largest", "is the largest of the window, not the mean",
                                      largest))  # fmt: skip
    first = torch.zeros(1, 1, *kernel, 1, 1, dtype=x.dtype)
    for name, entry, text in (
        ("first entry", (0, 0), "goes to the first entry of each window, not to all of them"),
        ("last entry", (-1, -1), "goes to the last entry of each window, not to all of them"),
    ):
        one = first.clone()
        one[0, 0, entry[0], entry[1]] = 1
        for of in (dy, share):
            value = placed(of[:, :, None, None] * one, x.shape[-2:], stride, (1, 1), padding)
            made["input_grad"].append(Mistake(name, text, value))
    leaf = x.detach().requires_grad_()
    best = functional.max_pool2d(leaf, kernel, stride, padding, 1, module.ceil_mode)
    if best.shape == dy.shape:
        text = "goes to the largest entry of each window, not to all of them"
        for of in (dy, share):
            (value,) = torch.autograd.grad(best, leaf, of, retain_graph=True)
            made["input_grad"].append(Mistake("largest", text, value))
    if bool((inside > 0).all()):
        for name, over in (("overwritten", "last"), ("kept", "first")):
            text = "is overwritten where windows overlap, and must add up"
            value = back(share, over)
            if not torch.allclose(value, oracle["input_grad"]):
                made["input_grad"].append(Mistake(name, text, value))
    text = "ignores the incoming gradient"
    made["input_grad"].append(Mistake("not multiplied", text, back(1 / divisor.expand_as(dy))))
    of_sizes(made, module, x, oracle["output"])


def _counted(pooled: Any, ones: Tensor, padding: bool) -> Tensor:
    """What windows are divided by, if the padding is counted, or not."""
    other = {"count_include_pad": padding, "divisor_override": None}
    divisor: Tensor = pooled(ones, divisor_override=1) / pooled(ones, **other)
    return divisor


def of_global_average(
    made: Mistakes, module: nn.AdaptiveAvgPool2d, inputs: Tensors, oracle: Tensors
) -> None:
    """Sums for means, other axes, and a result without the axes of one pixel."""
    if pair(module.output_size) != (1, 1):
        return
    x, dy = inputs["x"], inputs["dy"]
    samples, channels, height, width = x.shape
    pixels = height * width
    y = oracle["output"]
    for name, text, value in (
        ("sum", "is not divided by the number of pixels", y * pixels),
        ("batch size", "is divided by the batch size too", y / samples),
        ("largest", "is the largest of the pixels, not their mean", x.amax((2, 3), keepdim=True)),
        ("height", "is the mean over the height alone", x.mean(2, keepdim=True)),
        ("width", "is the mean over the width alone", x.mean(3, keepdim=True)),
        ("batch", "is the mean over the batch too", x.mean((0, 2, 3), keepdim=True).expand_as(y)),
        ("channels", "is the mean over the channels too",
         x.mean((1, 2, 3), keepdim=True).expand_as(y)),
        ("by height", "is divided by the height alone", y * width),
        ("by width", "is divided by the width alone", y * height),
    ):  # fmt: skip
        made["output"].append(Mistake(name, text, value))
    text = "has not the two axes of one pixel: [B, C, 1, 1] is due"
    made["output"].append(Mistake("flat", text, shape=(samples, channels)))
    text = "is not spread over the pixels: the input's shape is due"
    made["input_grad"].append(Mistake("not spread", text, shape=tuple(dy.shape)))
    whole = dy.expand_as(x)
    one = torch.zeros_like(x)
    one[..., 0, 0] = dy[..., 0, 0]
    largest = x == x.amax((2, 3), keepdim=True)
    for name, text, value in (
        ("not divided", "is not divided by the number of pixels", whole),
        ("by height", "is divided by the height alone", whole / height),
        ("by width", "is divided by the width alone", whole / width),
        ("batch", "is divided by the batch size too", whole / pixels / samples),
        ("channels", "is divided by the number of channels too", whole / pixels / channels),
        ("first", "goes to the first pixel alone", one),
        ("first, divided", "goes to the first pixel alone", one / pixels),
        ("largest", "goes to the largest pixel alone", whole * largest),
        ("not multiplied", "ignores the incoming gradient", torch.ones_like(x) / pixels),
    ):
        made["input_grad"].append(Mistake(name, text, value))


def of_upsample(made: Mistakes, module: nn.Upsample, inputs: Tensors, oracle: Tensors) -> None:
    """Pixels that are repeated elsewhere, or not, and gradients that are not added up."""
    x, dy = inputs["x"], inputs["dy"]
    if not x.numel() or module.mode != "nearest" or module.scale_factor is None:
        return
    factor: Any = module.scale_factor
    if any(n != int(n) for n in (factor if isinstance(factor, tuple) else (factor,))):
        return
    s, t = (int(n) for n in (factor if isinstance(factor, tuple) else (factor, factor)))
    y = oracle["output"]
    blocks = dy.unflatten(3, (-1, t)).unflatten(2, (-1, s))  # [B, C, H, s, W, t]
    corner = torch.zeros_like(y)
    corner[..., ::s, ::t] = x
    smooth = functional.interpolate(x, scale_factor=(s, t), mode="bilinear")
    aligned = functional.interpolate(x, scale_factor=(s, t), mode="bilinear", align_corners=True)
    tiled = x.repeat(1, 1, s, t)
    outputs = [
        ("tiled", "repeats the whole image beside itself, and not each pixel", tiled),
        ("zeros", "takes the first copy of each pixel alone: between them are zeros", corner),
        ("bilinear", "is interpolated between the pixels, where the nearest is due", smooth),
        ("bilinear", "is interpolated between the pixels, where the nearest is due", aligned),
        ("divided", "is divided by the number of copies", y / (s * t)),
    ]
    leaf = x.detach().requires_grad_()
    (between,) = torch.autograd.grad(
        functional.interpolate(leaf, scale_factor=(s, t), mode="bilinear"), leaf, dy
    )
    whole = dy.unflatten(3, (t, -1)).unflatten(2, (s, -1)).sum((2, 4))
    gradients = [
        ("mean", "is the mean over a pixel's copies, and their sum is due", blocks.mean((3, 5))),
        ("first", "takes the first copy of each pixel alone: between them are zeros",
         blocks[:, :, :, 0, :, 0]),
        ("last", "is that of the last copy of each pixel alone", blocks[:, :, :, -1, :, -1]),
        ("rows", "is summed over the copies below each other alone", blocks[..., 0].sum(3)),
        ("columns", "is summed over the copies beside each other alone",
         blocks[:, :, :, 0].sum(4)),
        ("middle", "is that of the middle copy of each pixel alone",
         blocks[:, :, :, s // 2, :, t // 2]),
        ("largest", "is the largest over a pixel's copies", blocks.amax((3, 5))),
        ("tiled", "repeats the whole image beside itself, and not each pixel", whole),
        ("bilinear", "is that of an interpolation between the pixels", between),
    ]  # fmt: skip
    for result, listed in (("output", outputs), ("input_grad", gradients)):
        for name, text, value in listed:
            if not torch.allclose(value, oracle[result]):
                made[result].append(Mistake(name, text, value))
    samples, channels, height, width = x.shape
    sizes = [
        ("has the height's factor for the width too", (height * s, width * s)),
        ("has the width's factor for the height too", (height * t, width * t)),
        ("has the factors of height and width exchanged", (height * t, width * s)),
        ("is larger in height alone", (height * s, width)),
        ("is larger in width alone", (height, width * t)),
        ("is as large as the input", (height, width)),
    ]
    for text, size in sizes:
        if size != tuple(y.shape[2:]):
            made["output"].append(Mistake("size", text, shape=(samples, channels, *size)))
    text = "is as large as the output: the input's shape is due"
    made["input_grad"].append(Mistake("size", text, shape=tuple(y.shape)))
