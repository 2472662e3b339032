"""The line between the judge and the subject's process: whole messages over two pipes.

Every wait has an end: neither a process that does not read, nor one that sends half a message,
holds up the other side for longer than it was given.
"""

from __future__ import annotations

import io
import os
import pickle
import select
import struct
import time
from typing import Any

import torch
from torch import Tensor

_LENGTH = struct.Struct("<Q")
_PIECE = 1 << 20


class Late(Exception):
    """The other side has not answered, or not read, in time."""


class Ended(Exception):
    """The other side has closed its end."""


class Line:
    """Messages in both directions, over two file descriptors, which stay their owner's."""

    def __init__(self, incoming: int, outgoing: int) -> None:
        self.incoming, self.outgoing = incoming, outgoing
        self.read = bytearray()
        for descriptor in (incoming, outgoing):
            os.set_blocking(descriptor, False)

    def send(self, message: Any, seconds: float | None = None) -> None:
        """Sends a message; of tensors their bytes.

        Raises:
            Late, Ended: it could not be delivered; the line is of no more use.
        """
        content = _packed(message)
        rest = memoryview(_LENGTH.pack(len(content)) + content)
        until = _until(seconds)
        while rest:
            _ready(self.outgoing, select.POLLOUT, until)
            try:
                rest = rest[os.write(self.outgoing, rest[:_PIECE]) :]
            except BlockingIOError:
                continue
            except OSError:
                raise Ended from None

    def receive(self, seconds: float | None = None) -> Any:
        """The next message.

        Raises:
            Late, Ended: there is none; the line is of no more use.
            Exception: what came cannot be read.
        """
        until = _until(seconds)
        (length,) = _LENGTH.unpack(self._bytes(_LENGTH.size, until))
        return pickle.loads(self._bytes(length, until))

    def _bytes(self, count: int, until: float | None) -> bytes:
        while len(self.read) < count:
            _ready(self.incoming, select.POLLIN, until)
            try:
                piece = os.read(self.incoming, _PIECE)
            except BlockingIOError:
                continue
            if not piece:
                raise Ended
            self.read += piece
        taken = bytes(self.read[:count])
        del self.read[:count]
        return taken


def _until(seconds: float | None) -> float | None:
    return None if seconds is None else time.monotonic() + seconds


def _ready(descriptor: int, event: int, until: float | None) -> None:
    """Waits until a descriptor can be read or written, or is closed at its other end."""
    poll = select.poll()
    poll.register(descriptor, event)
    left = None if until is None else 1000 * (until - time.monotonic())
    if (left is not None and left <= 0) or not poll.poll(left):
        raise Late


class _Pickler(pickle.Pickler):
    """Tensors as their bytes: ten times as fast as what torch stores in files."""

    def reducer_override(self, value: Any) -> Any:
        if type(value) is not Tensor or value.layout != torch.strided:
            return NotImplemented
        content = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        return _tensor, (value.dtype, tuple(value.shape), content.tobytes())


def _packed(message: Any) -> bytes:
    stream = io.BytesIO()
    _Pickler(stream, pickle.HIGHEST_PROTOCOL).dump(message)
    return stream.getvalue()


def _tensor(dtype: torch.dtype, shape: tuple[int, ...], content: bytes) -> Tensor:
    if not content:
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(bytearray(content), dtype=dtype).reshape(shape)
