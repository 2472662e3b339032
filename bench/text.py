"""A text that comes with every Python, the Zen of Python, as windows of characters."""

from __future__ import annotations

import codecs
import contextlib
import functools
import io

import torch
from torch import Tensor

LENGTH = 32
"""Characters in a window."""

IGNORED = -100
"""The target where a window has no character: torch's default `ignore_index`."""


@functools.cache
def zen() -> str:
    """The Zen of Python by Tim Peters (PEP 20), from the module `this`, which prints it."""
    with contextlib.redirect_stdout(io.StringIO()):
        import this
    return codecs.decode(this.s, "rot13") + "\n"


def vocabulary() -> str:
    """Each character of the text, in order: a token is its place here."""
    return "".join(sorted(set(zen())))


def windows(length: int = LENGTH) -> tuple[Tensor, Tensor]:
    """The text, line by line, each line cut into windows that follow one another.

    Returns:
        x and t `[N, length]`, int64: the tokens, and for each the one that comes next. After the
        end of a line t is `IGNORED` and x is 0.

    Raises:
        ValueError: a length below 1.
    """
    if length < 1:
        raise ValueError(f"windows takes a length of at least 1, not {length!r}")
    places = {character: place for place, character in enumerate(vocabulary())}
    lines = [[places[one] for one in line] for line in zen().splitlines(keepends=True)]
    cut = [line[at : at + length + 1] for line in lines for at in range(0, len(line) - 1, length)]
    x = torch.zeros(len(cut), length, dtype=torch.int64)
    t = torch.full_like(x, IGNORED)
    for row, window in enumerate(cut):
        x[row, : len(window) - 1] = torch.tensor(window[:-1])
        t[row, : len(window) - 1] = torch.tensor(window[1:])
    return x, t
