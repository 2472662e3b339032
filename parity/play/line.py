"""The line between the judge and the subject's process: whole messages over two pipes.

Every wait has an end: neither a process that does not read, nor one that sends half a message,
holds up the other side for longer than it was given.
"""

from __future__ import annotations

import os
import select
import struct
import time
from typing import Any

from parity.play.message import LARGEST, Unreadable, packed, unpacked

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
        """Sends a message.

        Raises:
            Unsendable: it is none; nothing has been sent.
            Late, Ended: it could not be delivered; the line is of no more use.
        """
        content = packed(message)
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
            Late, Ended, Unreadable: there is none; the line is of no more use.
        """
        until = _until(seconds)
        (length,) = _LENGTH.unpack(self._bytes(_LENGTH.size, until))
        if length > 2 * LARGEST:
            raise Unreadable(f"a message of {length} bytes")
        return unpacked(self._bytes(length, until))

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
