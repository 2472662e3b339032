"""Mistakes of a layer as those of another that it equals, once its tensors have another shape."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from parity.catalogue.values import Tensors
from parity.explain.convolution import FLIPPED, OF_GROUPS, of_bias, of_convolution
from parity.explain.mistakes import Mistake, Mistakes, simple
from parity.explain.normalization import Norm, of_training
from parity.explain.windows import pair, put_sizes

_CONV = ("kernel_size", "stride", "padding", "dilation")
_OF_IMAGES = re.compile(r"height|width|high|wide|\brow|column")


def of_sequence(made: Mistakes, module: nn.Conv1d, inputs: Tensors, oracle: Tensors) -> None:
    """Of a Conv1d: those of a Conv2d at a height of 1."""
    options = {name: (int(name != "padding"), getattr(module, name)[0]) for name in _CONV}
    image: Any = SimpleNamespace(groups=module.groups, **options)

    def lift(tensors: Tensors) -> Tensors:
        return {name: x.unsqueeze(-2) if x.dim() == 3 else x for name, x in tensors.items()}

    found: Mistakes = {name: [] for name in oracle}
    of_convolution(found, image, lift(inputs), lift(oracle))
    for name, mistakes in found.items():
        for one in mistakes:
            text = one.sentence.replace("pixel", "place").replace("last row first", "last first")
            shape = (*one.shape[:-2], *one.shape[-1:])
            value = one.value
            if value is not None and value.dim() > 2 and value.shape[-2] == 1:
                value = value.squeeze(-2)
            right = value is not None and same(value, oracle[name])
            if not right and not _OF_IMAGES.search(text):
                made[name].append(replace(one, sentence=text, value=value, shape=shape))


def same(value: Tensor, right: Tensor) -> bool:
    """Whether a value is no mistake at these inputs."""
    return value.shape == right.shape and bool(torch.allclose(value, right, 1e-9, 1e-12))


_AFTER, _BEFORE = (
    f"has all of the padding {where} the input, where half of it belongs on each side"
    for where in ("after", "before")
)
_OUTPUTS = "takes the first group's outputs for every group"
_OF_TRANSPOSED = {
    "output": {
        "is by the kernel the wrong way round: what forward correlates with, backward turns":
            "has the kernel flipped",
        "begins late: what the stride leaves over is at its beginning, not at its end":
            "has what output_padding adds at its beginning, not at its end",
        "ends with the last window, and lacks what the stride leaves over":
            "lacks what output_padding adds",
        "still has the padding": "ignores the padding",
        _AFTER: "has all of the padding cut off at its end, where half of it is at each side",
        _BEFORE: "has all of the padding cut off at its beginning, where half of it is at each "
                 "side",
    },
    "input_grad": {
        FLIPPED: "is by the kernel flipped",
        _AFTER: "ignores the padding",
    },
}  # fmt: skip
"""What is said of a convolution's gradient or output, as it is said of its transpose."""
_OF_GROUPS = {
    "takes the first group's channels for every group": _OUTPUTS,
    OF_GROUPS["channels in turn"]: OF_GROUPS["outputs in turn"],
    OF_GROUPS["outputs in turn"]: OF_GROUPS["channels in turn"],
}


def of_transposed(
    made: Mistakes, module: nn.ConvTranspose2d, inputs: Tensors, oracle: Tensors
) -> None:
    """Of a ConvTranspose2d: it is the input's gradient of a convolution, and that is its own."""
    x, dy, bias = inputs["x"], inputs["dy"], inputs.get("bias")
    column = x.new_zeros(()) if bias is None else bias.view(-1, 1, 1)
    without = oracle["output"] - column
    twin = {"output": "input_grad", "input_grad": "output"}
    found: Mistakes = {twin.get(name, name): [] for name in oracle if name != "bias.param_grad"}
    of_convolution(
        found,
        module,  # type: ignore[arg-type]
        {"x": dy, "dy": x, "weight": inputs["weight"]},
        {twin.get(name, name): value for name, value in (oracle | {"output": without}).items()},
    )
    for name, mistakes in found.items():
        own = twin.get(name, name)
        for one in mistakes:
            texts = _OF_TRANSPOSED.get(own, {}) | _OF_GROUPS
            text = texts.get(one.sentence, one.sentence)
            value = one.value
            if own == "output" and value is not None:
                value = value + column
            made[own].append(replace(one, sentence=text, value=value, severity=""))
    if bias is not None:
        made["output"] += [
            Mistake("no bias", "lacks the bias", without),
            Mistake("minus bias", "has the bias subtracted", without - column),
        ]
        of_bias(made, dy)
    _of_output_padding(made, module, dy, without, column)
    if module.groups > 1:
        _of_first_group(made, module, inputs, column)


def _of_output_padding(
    made: Mistakes, module: nn.ConvTranspose2d, dy: Tensor, without: Tensor, column: Tensor
) -> None:
    """Wrong values, or none, where `output_padding` makes the output larger; and other sizes."""
    more = pair(module.output_padding)
    added = torch.zeros_like(without, dtype=torch.bool)
    for axis, count in zip((-2, -1), more, strict=True):
        added.narrow(axis, added.shape[axis] - count, count).fill_(True)
    if any(more):
        text = "is {} in what output_padding adds, where kernels reach too"
        alone = without.masked_fill(added, 0) + column
        zero = (without + column).masked_fill(added, 0)
        made["output"] += [
            Mistake("padded by 0", text.format("0"), zero),
            Mistake("padded by the bias", text.format("the bias alone"), alone),
        ]
        if "bias.param_grad" in made:
            text = "leaves out what output_padding adds"
            rest = dy.masked_fill(added, 0).sum((0, 2, 3))
            made["bias.param_grad"].append(Mistake("not the padding", text, rest))
    stride, padding, dilation, kernel = (
        pair(getattr(module, name)) for name in ("stride", "padding", "dilation", "kernel_size")
    )
    size = without.shape[-2:]

    def sized(stride: Any = stride, padding: Any = padding, dilation: Any = dilation) -> Any:
        axes = zip(size, more, own_stride, own_padding, own_dilation, kernel, strict=True)
        counts = [
            (n - m + 2 * p - d * (k - 1) - 1) // s + 1 for n, m, s, p, d, k in axes
        ]  # what the input has
        return tuple(
            (count - 1) * stride[a] - 2 * padding[a] + dilation[a] * (kernel[a] - 1) + more[a] + 1
            for a, count in enumerate(counts)
        )

    own_stride, own_padding, own_dilation = stride, padding, dilation
    listed = [
        ("has the size that it has at stride 1", sized(stride=(1, 1))),
        ("has the size that it has without dilation", sized(dilation=(1, 1))),
        ("takes the height's stride for the width too", sized(stride=(stride[0],) * 2)),
        ("takes the height's padding for the width too", sized(padding=(padding[0],) * 2)),
    ]
    put_sizes(made, "output", listed, without.shape)


def _of_first_group(
    made: Mistakes, module: nn.ConvTranspose2d, inputs: Tensors, column: Tensor
) -> None:
    """Every group by the input of the first."""
    groups, x = module.groups, inputs["x"].detach().requires_grad_()
    weight = inputs["weight"].detach().requires_grad_()
    options: Any = (module.stride, module.padding, module.output_padding, groups, module.dilation)
    first = x[:, : x.shape[1] // groups].repeat(1, groups, 1, 1)
    y = functional.conv_transpose2d(first, weight, None, *options)
    dx, dw = torch.autograd.grad(y, (x, weight), inputs["dy"])
    text = "takes the first group's input for every group"
    for result, value in (
        ("output", y.detach() + column), ("input_grad", dx), ("weight.param_grad", dw),
    ):  # fmt: skip
        made[result].append(Mistake("first group's input", text, value))


def of_groups(
    made: Mistakes, module: nn.GroupNorm | nn.InstanceNorm2d, inputs: Tensors, oracle: Tensors
) -> None:
    """Of a GroupNorm: those of a norm over the last two axes of `[B, groups, channels, places]`. An
    InstanceNorm2d has a group for each channel."""
    x = inputs["x"]
    groups = module.num_groups if isinstance(module, nn.GroupNorm) else x.shape[1]
    if not x.numel():
        return
    channels = x.shape[1] // groups

    def split(z: Tensor) -> Tensor:
        return z.reshape(len(z), groups, channels, -1)

    def norm_of(z: Tensor, dy: Tensor, order: Any = slice(None)) -> Norm:
        one, zero = x.new_ones(()), x.new_zeros(())
        weight, bias = (
            inputs[name][order].view(1, groups, channels, 1) if name in inputs else value
            for name, value in (("weight", one), ("bias", zero))
        )
        return Norm(split(z), split(dy), weight, bias, (2, 3), module.eps, True)

    norm = norm_of(x, inputs["dy"])
    axes = {
        "all channels of a sample": (1, 2, 3), "each channel by itself": (3,),
        "the batch too": (0, 2, 3), "the batch, each channel by itself": (0, 3),
        "the channels of a group, at each place by itself": (2,), "all axes": (0, 1, 2, 3),
    }  # fmt: skip
    shapes = {"output": norm.x.shape, "input_grad": norm.x.shape}
    found: Mistakes = {
        name: simple(right.reshape(shapes.get(name, right.shape))) for name, right in oracle.items()
    }
    of_training(found, norm, axes, inputs.keys())
    for name, mistakes in found.items():
        right = oracle[name]
        for one in mistakes[len(simple(right)) :]:
            value = one.value
            if value is not None and value.numel() == right.numel():
                value = value.reshape(right.shape)
            says = one.says and _regrouped(one.says, shapes.get(name, right.shape), right.shape)
            if value is None or not same(value, right):
                made[name].append(replace(one, value=value, says=says))
    _of_dealing(made, inputs, norm)
    order = torch.arange(groups * channels).view(channels, groups).mT.flatten()
    text = "deals the channels out to the groups in turn, not in blocks"
    turned = norm_of(x[:, order], inputs["dy"][:, order], order)
    for name, value in (("output", turned.over(turned.root)), ("input_grad", turned.back())):
        back = value.reshape(x[:, order].shape)[:, order.argsort()]
        if not same(back, oracle[name]):
            made[name].append(Mistake("channels in turn", text, back))


def _regrouped(
    says: Callable[[Tensor], str], grouped: torch.Size, own: torch.Size
) -> Callable[[Tensor], str]:
    """What is said of a result, given as the layer has it."""
    return lambda got: says(got.reshape(grouped)) if got.shape == own else ""


def _of_dealing(made: Mistakes, inputs: Tensors, norm: Norm) -> None:
    """Groups of another number, and a weight and a bias that are not each channel's own."""
    x, groups, channels = inputs["x"], norm.x.shape[1], norm.x.shape[2]
    if "weight" in inputs and channels > 1:
        text = "takes the weight and the bias of each group's first channel for all of its channels"
        first = norm.normal * norm.weight[:, :, :1] + norm.bias[:, :, :1]
        made["output"].append(Mistake("first channel's", text, first.reshape(x.shape)))
    if channels in (1, groups):
        return
    text = "takes num_groups to be the number of channels of a group"
    regrouped = x.reshape(len(x), channels, groups, -1)
    off = regrouped - regrouped.mean((2, 3), keepdim=True)
    normal = off / ((off**2).mean((2, 3), keepdim=True) + norm.eps).sqrt()
    scaled = normal.reshape(norm.x.shape) * norm.weight + norm.bias
    made["output"].append(Mistake("other groups", text, scaled.reshape(x.shape)))
