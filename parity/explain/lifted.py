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
from parity.explain.convolution import OF_GROUPS, of_bias, of_convolution
from parity.explain.mistakes import Mistake, Mistakes
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


_OF_TRANSPOSED = {
    "uses the kernel flipped: a convolution as it is in signal processing, not in torch":
    "is by the kernel flipped",
    "is by the kernel the wrong way round: what forward correlates with, backward turns":
    "has the kernel flipped",
    "begins late: what the stride leaves over is at its beginning, not at its end":
    "has what output_padding adds at its beginning, not at its end",
    "ends with the last window, and lacks what the stride leaves over":
    "lacks what output_padding adds",
    "still has the padding": "still has what padding cuts off",
}  # fmt: skip
"""What is said of a convolution's gradient or output, as it is said of its transpose."""


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
            text = _OF_TRANSPOSED.get(one.sentence, one.sentence)
            value = one.value
            if own == "output" and value is not None:
                value = value + column
            if one.name not in OF_GROUPS:
                made[own].append(replace(one, sentence=text, value=value, severity=""))
    if bias is not None:
        made["output"] += [
            Mistake("no bias", "lacks the bias", without),
            Mistake("minus bias", "has the bias subtracted", without - column),
        ]
        of_bias(made, dy)
    _of_output_padding(made, module, without, column)
    if module.groups > 1:
        _of_transposed_groups(made, module, inputs, column)


def _of_output_padding(
    made: Mistakes, module: nn.ConvTranspose2d, without: Tensor, column: Tensor
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


def _of_transposed_groups(
    made: Mistakes, module: nn.ConvTranspose2d, inputs: Tensors, column: Tensor
) -> None:
    groups, x, dy, weight = module.groups, inputs["x"], inputs["dy"], inputs["weight"]

    def transposed(z: Tensor, w: Tensor) -> Tensor:
        return functional.conv_transpose2d(
            z, w, None, module.stride, module.padding, module.output_padding, groups,  # type: ignore[arg-type]
            module.dilation,
        )  # fmt: skip

    def dealt(z: Tensor) -> Tensor:
        return z.unflatten(1, (-1, groups)).transpose(1, 2).flatten(1, 2)

    def first(z: Tensor, w: Tensor) -> Tensor:
        return transposed(z[:, : z.shape[1] // groups].repeat(1, groups, 1, 1), w)

    def in_turn(z: Tensor, w: Tensor) -> Tensor:
        return transposed(dealt(z), w)

    def outputs_in_turn(z: Tensor, w: Tensor) -> Tensor:
        return dealt(transposed(z, w))

    for name, function in (
        ("first group", first), ("channels in turn", in_turn), ("outputs in turn", outputs_in_turn),
    ):  # fmt: skip
        leaves = x.detach().requires_grad_(), weight.detach().requires_grad_()
        y = function(*leaves)
        dx, dw = torch.autograd.grad(y, leaves, dy)
        for result, value in (
            ("output", y.detach() + column), ("input_grad", dx), ("weight.param_grad", dw),
        ):  # fmt: skip
            made[result].append(Mistake(name, OF_GROUPS[name], value))


def of_groups(made: Mistakes, module: nn.GroupNorm, inputs: Tensors, oracle: Tensors) -> None:
    """Of a GroupNorm: those of a norm over the last two axes of `[B, groups, channels, places]`."""
    x, groups = inputs["x"], module.num_groups
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
    axes = {name: own for name, own in axes.items() if norm.x.shape[own[-1]] > 1}
    found: Mistakes = {name: list(mistakes) for name, mistakes in made.items()}
    of_training(found, norm, axes, inputs.keys())
    for name, mistakes in found.items():
        right = oracle[name]
        for one in mistakes[len(made[name]) :]:
            value = one.value
            if value is not None and value.numel() == right.numel():
                value = value.reshape(right.shape)
            says = one.says and _regrouped(one.says, norm, right)
            if value is None or not same(value, right):
                made[name].append(replace(one, value=value, says=says))
    order = torch.arange(groups * channels).view(channels, groups).mT.flatten()
    text = "deals the channels out to the groups in turn, not in blocks"
    turned = norm_of(x[:, order], inputs["dy"][:, order], order)
    for name, value in (("output", turned.over(turned.root)), ("input_grad", turned.back())):
        back = value.reshape(x[:, order].shape)[:, order.argsort()]
        if not same(back, oracle[name]):
            made[name].append(Mistake("channels in turn", text, back))


def _regrouped(says: Callable[[Tensor], str], norm: Norm, right: Tensor) -> Callable[[Tensor], str]:
    """What is said of a result, given as the layer has it."""

    def of(got: Tensor) -> str:
        fits = got.shape == right.shape and got.numel() == norm.x.numel()
        return says(got.reshape(norm.x.shape)) if fits else ""

    return of
