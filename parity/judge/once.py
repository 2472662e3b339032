"""What torch says at given inputs, evaluated once for all the checks that ask for it."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

import torch
from torch import Tensor

from parity.catalogue.values import Tensors

KEPT = 1024
"""How many results are kept, the latest: some kilobytes each, of an optimizer up to a hundred."""

T = TypeVar("T")
_kept: OrderedDict[Hashable, Any] = OrderedDict()


def once(what: Hashable, tensors: Tensors, make: Callable[[], T]) -> T:
    """What `make` returns, or has returned for the same `what` and the same tensors, bit for bit.

    Args:
        what: all that the result depends on beside the tensors. The result belongs to everybody:
            it is not to be modified.
    """
    key = (what, *((name, *_content(x)) for name, x in tensors.items()))
    if key in _kept:
        _kept.move_to_end(key)
    else:
        _kept[key] = make()
        while len(_kept) > KEPT:
            _kept.popitem(last=False)
    made: T = _kept[key]
    return made


def _content(x: Tensor) -> tuple[torch.dtype, torch.Size, bytes]:
    """What stands for a tensor: of its numbers a digest, for they may be many."""
    plain = x.cpu().clone(memory_format=torch.contiguous_format)
    numbers = plain.view(-1).view(torch.uint8).numpy()
    return x.dtype, x.shape, hashlib.blake2b(numbers.data, digest_size=16).digest()
