"""Messages between the judge and the subject's process, as bytes: data, and nothing that runs.

A message is a header in JSON, and behind it the bytes of its tensors. What it may be made of: None,
bool, int, float, str, list, tuple, dict, a torch dtype, and dense tensors. Whoever reads it builds
these and nothing else, whatever the other side has sent.
"""

from __future__ import annotations

import json
import math
import struct
from typing import Any

import torch
from torch import Tensor

LARGEST = 1 << 28
"""How many bytes a message may have."""

_LENGTH = struct.Struct("<I")
_AS_THEY_ARE = (type(None), bool, int, float, str)
_DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex64,
        torch.complex128, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8,
        torch.bool,
    )
}  # fmt: skip
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}


class Unsendable(Exception):
    """A value that no message can hold."""


class Unreadable(Exception):
    """Bytes that are no message."""


def packed(value: Any) -> bytes:
    """A value as a message.

    Raises:
        Unsendable: it is of another kind than messages are made of, or too large.
    """
    blobs: list[bytes] = []
    try:
        header = json.dumps(_plain(value, blobs)).encode()
    except (ValueError, RecursionError) as error:  # an integer of too many digits, a circle
        raise Unsendable(f"{type(error).__name__}: {error}") from None
    if len(header) + sum(map(len, blobs)) > LARGEST:
        raise Unsendable(f"it takes more than {LARGEST >> 20} MiB")
    return b"".join((_LENGTH.pack(len(header)), header, *blobs))


def unpacked(content: bytes) -> Any:
    """The value that a message holds.

    Raises:
        Unreadable: it is no message.
    """
    try:
        (length,) = _LENGTH.unpack_from(content)
        end = _LENGTH.size + length
        if end > len(content):
            raise ValueError("cut off")
        return _Reader(memoryview(content)[end:]).value(json.loads(content[_LENGTH.size : end]))
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, struct.error,
            RecursionError, OverflowError, RuntimeError) as error:  # fmt: skip
        raise Unreadable(f"{type(error).__name__}: {error}") from None


def _plain(value: Any, blobs: list[bytes]) -> Any:
    """A value as JSON has it; the bytes of tensors are added to `blobs`."""
    kind = type(value)
    if kind in _AS_THEY_ARE:
        return value
    if kind is Tensor and value.dtype in _NAMES and value.layout == torch.strided:
        blobs.append(_content(value.detach()))
        return {"tensor": [_NAMES[value.dtype], list(value.shape)]}
    if kind is list:
        return [_plain(one, blobs) for one in value]
    if kind is tuple:
        return {"tuple": [_plain(one, blobs) for one in value]}
    if isinstance(value, dict):
        items = dict.items(value)
        if all(type(key) is str for key in value):
            return {"names": {key: _plain(one, blobs) for key, one in items}}
        return {"dict": [[_plain(key, blobs), _plain(one, blobs)] for key, one in items]}
    if isinstance(value, str):
        return str.__str__(value)  # of a subclass what it holds, not what it says
    if kind is torch.dtype and value in _NAMES:
        return {"dtype": _NAMES[value]}
    raise Unsendable(f"it is {kind.__name__}")


def _content(tensor: Tensor) -> bytes:
    """A tensor's numbers, one after another."""
    if tensor.dtype in (torch.float32, torch.float64) and tensor.device.type == "cpu":
        return tensor.resolve_neg().numpy().tobytes()  # nearly all are so, and this is fast
    dense = tensor.cpu().resolve_conj().resolve_neg().contiguous()
    return dense.reshape(-1).view(torch.uint8).numpy().tobytes()


class _Reader:
    """Reads a header, and the tensors that it names one after another."""

    def __init__(self, blobs: memoryview) -> None:
        self.blobs = blobs
        self.place = 0

    def value(self, plain: Any) -> Any:
        if type(plain) in _AS_THEY_ARE:
            return plain
        if type(plain) is list:
            return [self.value(one) for one in plain]
        ((kind, content),) = plain.items()
        match kind:
            case "tensor":
                return self.tensor(*content)
            case "tuple":
                return tuple([self.value(one) for one in content])
            case "names":
                return {key: self.value(one) for key, one in content.items()}
            case "dict":
                return {self.value(key): self.value(one) for key, one in content}
            case "dtype":
                return _DTYPES[content]
        raise ValueError(f"{kind!r} is no kind of value")

    def tensor(self, name: str, shape: list[int]) -> Tensor:
        dtype = _DTYPES[name]
        if not all(type(n) is int and n >= 0 for n in shape):
            raise ValueError(f"{shape} is no shape")
        count = math.prod(shape) * dtype.itemsize
        piece = self.blobs[self.place : self.place + count]
        if len(piece) != count:
            raise ValueError("a tensor is cut off")
        self.place += count
        if not count:
            return torch.empty(shape, dtype=dtype)
        return torch.frombuffer(bytearray(piece), dtype=dtype).reshape(shape)
