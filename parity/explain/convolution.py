"""What people get wrong in a convolution."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from parity.catalogue.values import Tensors
from parity.explain.mistakes import Mistake, Mistakes
from parity.explain.windows import of_sizes, pair, window_places
from parity.judge.comparison import CONVENTION

FLIPPED = "uses the kernel flipped: a convolution as it is in signal processing, not in torch"


def of_convolution(made: Mistakes, module: nn.Conv2d, inputs: Tensors, oracle: Tensors) -> None:
    x, dy, weight = inputs["x"], inputs["dy"], inputs["weight"]
    bias = inputs.get("bias")
    y, dw = oracle["output"], oracle["weight.param_grad"]

    def conv(x: Tensor = x, w: Tensor = weight, **options: Any) -> Tensor:
        own = {name: getattr(module, name) for name in ("stride", "padding", "dilation", "groups")}
        return functional.conv2d(x, w, bias, **own | options)

    def put(result: str, name: str, sentence: str, value: Tensor, severity: str = "") -> None:
        made[result].append(Mistake(name, sentence, value, severity=severity))

    flipped = weight.flip(-1, -2)
    put("output", "flipped", FLIPPED, conv(w=flipped), CONVENTION)
    text = "is by the kernel the wrong way round: what forward correlates with, backward turns"
    put("input_grad", "flipped", text, _gradient(lambda z: conv(z, flipped), x, dy))
    put("weight.param_grad", "flipped", "is flipped: the kernel's last row first",
        dw.flip(-1, -2))  # fmt: skip
    if weight.shape[-1] == weight.shape[-2] > 1:
        turned = weight.mT
        text = "has the kernel's height and width exchanged"
        put("output", "height for width", text, conv(w=turned))
        put("input_grad", "height for width", text, _gradient(lambda z: conv(z, turned), x, dy))
        put("weight.param_grad", "height for width", text, dw.mT)
    if weight.shape[0] == weight.shape[1] > 1:
        other = weight.transpose(0, 1)
        text = "takes the output's channels for the input's"
        put("output", "in for out", text, conv(w=other))
        put("input_grad", "in for out", text, _gradient(lambda z: conv(z, other), x, dy))
        put("weight.param_grad", "in for out", text, dw.transpose(0, 1))
    column = x.new_zeros(()) if bias is None else bias.view(-1, 1, 1)
    if bias is not None:
        put("output", "no bias", "lacks the bias", y - column)
        put("output", "minus bias", "has the bias subtracted", y - 2 * column)
        of_bias(made, dy)
    _of_padding(put, conv, module, x, dy)
    _of_places(made, module, x, dy, weight, column)
    of_sizes(made, module, x, y)
    if module.groups > 1:
        _of_groups(put, conv, module.groups, x, dy, weight, bias)


def _of_groups(
    put: Callable[..., None],
    conv: Callable[..., Tensor],
    groups: int,
    x: Tensor,
    dy: Tensor,
    weight: Tensor,
    bias: Tensor | None,
) -> None:
    def first(z: Tensor, w: Tensor) -> Tensor:
        return conv(z[:, : weight.shape[1]].repeat(1, groups, 1, 1), w)

    def added(z: Tensor, w: Tensor) -> Tensor:
        return conv(z, w.repeat(1, groups, 1, 1), groups=1)

    def in_turn(z: Tensor, w: Tensor) -> Tensor:
        return conv(z.unflatten(1, (-1, groups)).transpose(1, 2).flatten(1, 2), w)

    def outputs_in_turn(z: Tensor, w: Tensor) -> Tensor:
        order = torch.arange(len(w)).unflatten(0, (-1, groups)).mT.flatten()
        shift = 0 if bias is None else (bias - bias[order.argsort()]).view(-1, 1, 1)
        return conv(z, w[order])[:, order.argsort()] + shift

    functions = (first, added, in_turn, outputs_in_turn)
    for (name, text), function in zip(OF_GROUPS.items(), functions, strict=True):
        leaves = x.detach().requires_grad_(), weight.detach().requires_grad_()
        y = function(*leaves)
        dx, dw = torch.autograd.grad(y, leaves, dy)
        put("output", name, text, y.detach())
        put("input_grad", name, text, dx)
        put("weight.param_grad", name, text, dw)


OF_GROUPS = {
    "first group": "takes the first group's channels for every group",
    "groups added": "adds up the channels of all groups",
    "channels in turn": "deals the channels out to the groups in turn, not in blocks",
    "outputs in turn": "deals the outputs out to the groups in turn, not in blocks",
}


def _of_places(
    made: Mistakes, module: nn.Conv2d, x: Tensor, dy: Tensor, weight: Tensor, column: Tensor
) -> None:
    """Gradients of the input that are put at wrong places, or over each other."""
    if not x.numel():
        return
    groups: int = module.groups
    stride: Any = module.stride
    dilation: Any = module.dilation
    share = torch.einsum(  # of each entry of a window: [B, C, kh, kw, rows, columns]
        "ngohw,gocij->ngcijhw", dy.unflatten(1, (groups, -1)), weight.unflatten(0, (groups, -1))
    ).flatten(1, 2)
    size, padding = x.shape[-2:], pair(module.padding)

    def put(name: str, sentence: str, value: Tensor) -> None:
        made["input_grad"].append(Mistake(name, sentence, value))

    def there(
        stride: Any = stride, dilation: Any = dilation, padding: Any = padding, over: str = ""
    ) -> Tensor:
        return placed(share, size, stride, dilation, padding, over)

    _of_windows(made, module, x, dy, weight, column)
    text = "is overwritten where windows overlap, and must add up"
    put("overwritten", text, there(over="last"))
    put("kept", text, there(over="first"))
    for name, (text, value) in _ignored(module).items():
        put(name, text, there(**value))
    left: list[int] = [
        (n + 2 * p - d * (k - 1) - 1) % s
        for n, p, d, k, s in zip(size, padding, dilation, module.kernel_size, stride, strict=True)
    ]
    if any(left):
        text = "begins late: what the stride leaves over is at its beginning, not at its end"
        earlier = [p - n for p, n in zip(padding, left, strict=True)]
        put("late", text, placed(share, size, stride, dilation, earlier))


def _of_windows(
    made: Mistakes, module: nn.Conv2d, x: Tensor, dy: Tensor, weight: Tensor, column: Tensor
) -> None:
    """Outputs and gradients of the weight that are by the entries of other windows."""
    groups = module.groups
    by_group = dy.unflatten(1, (groups, -1)), weight.unflatten(0, (groups, -1))
    flat = torch.cat([x.flatten(2), x.new_zeros(*x.shape[:2], 1)], -1)
    own: Any = {name: getattr(module, name) for name in ("stride", "dilation", "padding")}
    for name, (text, other) in _ignored(module).items():
        places = window_places(dy.shape[-2:], module.kernel_size, x.shape[-2:], **own | other)
        windows = flat[..., places].unflatten(1, (groups, -1))  # [B, g, C, kh, kw, rows, columns]
        dw = torch.einsum("ngohw,ngcijhw->gocij", by_group[0], windows).flatten(0, 1)
        y = torch.einsum("gocij,ngcijhw->ngohw", by_group[1], windows).flatten(1, 2)
        made["weight.param_grad"].append(Mistake(name, text, dw))
        if name != "no padding":  # which is all of it after the input
            made["output"].append(Mistake(name, text, y + column))


def _ignored(module: nn.Conv2d) -> dict[str, tuple[str, dict[str, Any]]]:
    """What windows are at other places without: what there is to say of it, and the other value."""
    found = {}
    for name, default in (("stride", 1), ("dilation", 1), ("padding", 0)):
        value = pair(getattr(module, name))
        if value != (default, default):
            found[f"no {name}"] = f"ignores the {name}", {name: (default, default)}
    return found


def placed(
    share: Tensor, size: torch.Size, stride: Any, dilation: Any, padding: Any, over: str = ""
) -> Tensor:
    """The windows' shares of an input's gradient, at their places; where they overlap, the last
    window's alone, the first's, or their sum."""
    kh, kw, rows, columns = share.shape[2:]
    height, width = size
    places = window_places((rows, columns), (kh, kw), size, stride, dilation, padding)
    dx = share.new_zeros(*share.shape[:2], height * width + 1)
    if not over:
        dx.scatter_add_(2, places.flatten().expand(*share.shape[:2], -1), share.flatten(2))
    else:
        windows = [(i, j) for i in range(rows) for j in range(columns)]
        for i, j in windows if over == "last" else reversed(windows):
            dx[..., places[:, :, i, j].flatten()] = share[..., i, j].flatten(2)
    return dx[..., :-1].unflatten(2, (height, width))


def _of_padding(
    put: Callable[..., None], conv: Callable[..., Tensor], module: nn.Conv2d, x: Tensor, dy: Tensor
) -> None:
    height, width = (int(n) for n in module.padding)
    if not height and not width:
        return
    reach = [d * (k - 1) for d, k in zip(module.dilation, module.kernel_size, strict=True)]
    if x.shape[-2] > reach[0] and x.shape[-1] > reach[1]:
        put("output", "no padding", "ignores the padding", conv(padding=0))
    for name, sides in (
        ("after", (0, 2 * width, 0, 2 * height)), ("before", (2 * width, 0, 2 * height, 0)),
    ):  # fmt: skip

        def one_sided(z: Tensor, sides: tuple[int, ...] = sides) -> Tensor:
            return conv(functional.pad(z, sides), padding=0)

        text = f"has all of the padding {name} the input, where half of it belongs on each side"
        put("output", f"padded {name}", text, one_sided(x))
        put("input_grad", f"padded {name}", text, _gradient(one_sided, x, dy))
    edges = functional.pad(x, (width, width, height, height), mode="replicate")
    put("output", "padded by copies", "is padded by the input's edge, not by zeros",
        conv(edges, padding=0))  # fmt: skip

    def whole(z: Tensor) -> Tensor:
        return conv(z, padding=0)

    padded = functional.pad(x, (width, width, height, height))
    put("input_grad", "padding kept", "still has the padding", _gradient(whole, padded, dy))


def of_bias(made: Mistakes, dy: Tensor) -> None:
    """Gradients of a bias that are summed over less than the batch and the pixels, or more."""
    of = made["bias.param_grad"]
    rest = "is summed over {} alone: the batch and all pixels are due"
    of += [
        Mistake("batch alone", rest.format("the batch"), dy.sum(0)),
        Mistake("pixels alone", rest.format("the pixels"), dy.sum((-1, -2))),
        Mistake("rows alone", rest.format("the batch and the height"), dy.sum((0, -2))),
        Mistake("columns alone", rest.format("the batch and the width"), dy.sum((0, -1))),
        Mistake("last pixel", "is that of the last pixel alone", dy[..., -1, -1].sum(0)),
        Mistake("first pixel", "is that of the first pixel alone", dy[..., 0, 0].sum(0)),
        Mistake("last column", "is that of the last column alone", dy[..., -1].sum((0, 2))),
        Mistake("last row", "is that of the last row alone", dy[..., -1, :].sum((0, 2))),
    ]
    if dy.shape[1] > 1:
        text = "is one number, the sum of the incoming gradient, where each channel has its own"
        of.append(Mistake("one sum", text, dy.sum().expand(dy.shape[1])))
        of.append(Mistake("one sum of one", text, dy.sum().reshape(1)))


def _gradient(function: Callable[[Tensor], Tensor], x: Tensor, dy: Tensor) -> Tensor:
    """That of `x`, of another function than the layer's."""
    leaf = x.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(function(leaf), leaf, dy)
    return gradient
