"""Windows of an image: where they are, and what size a result has whose windows are others."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from parity.explain.mistakes import Mistake, Mistakes


def pair(value: Any) -> tuple[int, int]:
    """An option as (height, width)."""
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[1]))


def window_places(
    windows: Any, kernel: Any, size: Any, stride: Any, dilation: Any, padding: Any
) -> Tensor:
    """Where in a channel the entries of windows are, `[kh, kw, rows, columns]`; of one that is in
    the padding, the number of entries."""
    down, along = (
        torch.arange(n).unsqueeze(0) * s + torch.arange(k).unsqueeze(1) * d - p
        for n, k, s, d, p in zip(windows, kernel, stride, dilation, padding, strict=True)
    )  # [kh, rows], [kw, columns]
    height, width = size
    inside = ((down >= 0) & (down < height))[:, None, :, None] & ((along >= 0) & (along < width))[
        None, :, None, :
    ]
    places = down[:, None, :, None] * width + along[None, :, None, :]
    return torch.where(inside, places, height * width)


def of_sizes(made: Mistakes, module: nn.Module, x: Tensor, y: Tensor) -> None:
    """Results that have not the right size, by what makes it."""
    names = {"k": "kernel_size", "s": "stride", "d": "dilation", "p": "padding"}
    own = {short: pair(getattr(module, name, 1)) for short, name in names.items()}
    rounds_up = bool(getattr(module, "ceil_mode", False))

    def size(**other: tuple[int, int]) -> tuple[int, ...]:
        parts = own | other
        return tuple(
            (n + 2 * parts["p"][a] - parts["d"][a] * (parts["k"][a] - 1) - 1) // parts["s"][a] + 1
            for a, n in enumerate(x.shape[-2:])
        )

    height, width = y.shape[-2:]
    listed = [
        ("has the size that it has without dilation", size(d=(1, 1))),
        ("has the size that it has without padding", size(p=(0, 0))),
        ("has the size that it has at stride 1", size(s=(1, 1))),
        ("takes the height's stride for the width too", size(s=(own["s"][0],) * 2)),
        ("takes the height's padding for the width too", size(p=(own["p"][0],) * 2)),
        ("takes the height's kernel for the width too", size(k=(own["k"][0],) * 2)),
        ("is as wide as it is high", (height, height)),
        ("is as high as it is wide", (width, width)),
    ]
    if rounds_up:
        listed.insert(0, ("leaves out the windows that reach beyond the input", size()))
    put_sizes(made, "output", listed, y.shape)
    covered = tuple(
        (n - 1) * own["s"][a] + own["d"][a] * (own["k"][a] - 1) + 1 - 2 * own["p"][a]
        for a, n in enumerate((height, width))
    )
    padded = tuple(n + 2 * own["p"][a] for a, n in enumerate(x.shape[-2:]))
    listed = [
        ("still has the padding", padded),
        ("is empty: a slice that takes a padding of 0 off", (0, 0)),
        ("ends with the last window, and lacks what the stride leaves over", covered),
    ]
    put_sizes(made, "input_grad", listed, x.shape)


def put_sizes(
    made: Mistakes, result: str, listed: list[tuple[str, tuple[int, ...]]], right: torch.Size
) -> None:
    """Results of another height and width than the right ones; of two that make one the first is
    told."""
    known = {tuple(right[-2:])}
    for sentence, pixels in listed:
        if pixels not in known and result in made:
            known.add(pixels)
            shape = (*right[:2], *pixels)
            made[result].append(Mistake("size", sentence, shape=shape))
