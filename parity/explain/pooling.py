"""What people get wrong in pooling, and in Flatten, which follows it."""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from parity.catalogue.values import Tensors
from parity.explain.mistakes import Mistake, Mistakes
from parity.explain.windows import of_sizes, pair, window_places


def of_max_pool(made: Mistakes, module: nn.MaxPool2d, inputs: Tensors, oracle: Tensors) -> None:
    x, dy = inputs["x"], inputs["dy"]
    options: Any = {
        name: getattr(module, name)
        for name in ("kernel_size", "stride", "padding", "dilation", "ceil_mode")
    }
    of = made["output"]
    of.append(Mistake("minimum", "is the smallest of the window, not the largest",
                      -functional.max_pool2d(-x, **options)))  # fmt: skip
    others = {k: v for k, v in options.items() if k != "dilation"}
    if module.dilation in (1, (1, 1)):
        mean = functional.avg_pool2d(x, **others)
        of.append(Mistake("mean", "is the mean of the window, not the largest", mean))
        text = "is spread over the window, where the largest alone has it"
        leaf = x.detach().requires_grad_()
        spread = torch.autograd.grad(functional.avg_pool2d(leaf, **others), leaf, dy)[0]
        made["input_grad"].append(Mistake("spread", text, spread))
    if options["padding"]:
        height, width = pair(options["padding"])
        padded = functional.pad(x, (width, width, height, height))
        text = "counts the padding as 0, where it must never be the largest"
        zeros = functional.max_pool2d(padded, **options | {"padding": 0})
        of.append(Mistake("padding of 0", text, zeros, hidden=True))
    if not x.numel():
        return
    _of_places(made, x, dy, options)
    of_sizes(made, module, x, oracle["output"])


def _of_places(made: Mistakes, x: Tensor, dy: Tensor, options: Any) -> None:
    """Gradients that go to other entries than the largest of each window, or not all of them."""
    windows, places = _windows(x, options)  # [B, C, windows, entries of one]
    most = windows == windows.amax(-1, keepdim=True)
    of_window = dy.flatten(2).unsqueeze(-1)

    def back(shares: Tensor, overwrite: bool = False) -> Tensor:
        dx = torch.zeros_like(x).flatten(2)
        where = places.expand(windows.shape).flatten(2)
        there = torch.cat([dx, dx.new_zeros(*dx.shape[:2], 1)], -1)  # the last for the padding
        if overwrite:
            for n in range(windows.shape[2]):
                take = shares[:, :, n] != 0
                slot = torch.where(take, places[n], there.shape[-1] - 1)
                there.scatter_(2, slot, shares[:, :, n])
        else:
            there.scatter_add_(2, where, shares.expand(windows.shape).flatten(2))
        return there[..., :-1].reshape(x.shape)

    first = most & (most.cumsum(-1) == 1)
    last = most.flip(-1) & (most.flip(-1).cumsum(-1) == 1)
    corner = torch.zeros_like(most)
    corner[..., 0] = True
    for name, sentence, value in (
        ("overwritten", "is overwritten where windows overlap, and must add up",
         back(first * of_window, overwrite=True)),
        ("all of a tie", "goes to all that are equally large, and belongs to the first of them",
         back(most * of_window)),
        ("shared", "is shared by all that are equally large, and belongs to the first of them",
         back(most * of_window / most.sum(-1, keepdim=True))),
        ("last of a tie", "goes to the last of those that are equally large, not to the first",
         back(last.flip(-1) * of_window)),
        ("first entry", "goes to the first entry of each window, not to the largest",
         back(corner * of_window)),
        ("every entry", "goes to every entry of a window, and belongs to the largest",
         back(torch.ones_like(windows) * of_window)),
        ("first channel", "goes where the first channel's largest entries are",
         back(first[:, :1].expand(windows.shape) * of_window)),
        ("not multiplied", "ignores the incoming gradient", back(first.to(x))),
    ):  # fmt: skip
        made["input_grad"].append(Mistake(name, sentence, value))


def _windows(x: Tensor, options: Any) -> tuple[Tensor, Tensor]:
    """The entries of each window, `[B, C, windows, entries]`, -inf where it reaches beyond the
    input, and their places in a channel, `[windows, entries]`; of what is beyond, the number of
    entries."""
    kernel, padding, stride, dilation = (
        pair(options[name]) for name in ("kernel_size", "padding", "stride", "dilation")
    )
    size = functional.max_pool2d(x[:1, :1], **options).shape[-2:]
    places = window_places(size, kernel, x.shape[-2:], stride, dilation, padding)
    places = places.permute(2, 3, 0, 1).reshape(size.numel(), -1)
    flat = torch.cat([x.flatten(2), x.new_full((*x.shape[:2], 1), -torch.inf)], -1)
    return flat[..., places], places


def of_flatten(made: Mistakes, module: nn.Flatten, inputs: Tensors, oracle: Tensors) -> None:
    x, dy = inputs["x"], inputs["dy"]
    made["output"] += [
        Mistake("batch too", "flattens the batch too", x.flatten()),
        Mistake("columns", "is turned: a column for each sample", x.flatten(1).mT),
    ]
    text = "is flat still, where the input's shape is due"
    made["input_grad"].append(Mistake("still flat", text, dy))
    text = "takes the axes in another order"
    for order in itertools.permutations(range(1, x.dim())):
        turned = x.permute(0, *order)
        back = dy.reshape(turned.shape).permute(0, *(order.index(n) + 1 for n in range(1, x.dim())))
        made["output"].append(Mistake("axes", text, turned.flatten(1)))
        made["input_grad"].append(Mistake("axes", text, back))


def of_padding(made: Mistakes, module: nn.ZeroPad2d, inputs: Tensors, oracle: Tensors) -> None:
    """Of zeros around an image: `padding` is left, right, top, bottom."""
    x, dy = inputs["x"], inputs["dy"]
    left, right, top, bottom = module.padding
    turned = {
        "has height for width: its padding is of the other axis": (top, bottom, left, right),
        "has left for right and top for bottom": (right, left, bottom, top),
        "is padded before alone": (left + right, 0, top + bottom, 0),
        "is padded after alone": (0, left + right, 0, top + bottom),
    }
    for text, sides in turned.items():
        y = functional.pad(x, sides)
        shape = tuple(y.shape)
        if shape != oracle["output"].shape:
            made["output"].append(Mistake(text, text, shape=shape))
            continue
        a, _, b, _ = sides
        dx = dy[..., b : b + x.shape[-2], a : a + x.shape[-1]]
        for result, value in (("output", y), ("input_grad", dx)):
            if not torch.allclose(value, oracle[result]):
                made[result].append(Mistake(text, text, value))
    text = "still has the padding"
    made["input_grad"].append(Mistake("padding left on", text, shape=tuple(dy.shape)))
    text = "is padded with the border's entries, not with zeros"
    made["output"].append(Mistake("edge", text, functional.pad(x, module.padding, "replicate")))
