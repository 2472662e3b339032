"""The protocol between judge and subject: what is sent arrives, and whatever else comes is told."""

from __future__ import annotations

import contextlib
import math
import os
import struct
import threading
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from parity.play import remote
from parity.play.broken import Broken
from parity.play.line import Ended, Late, Line
from parity.play.message import Unreadable, Unsendable, packed, unpacked

DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.int64, torch.bool]
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(DTYPES)
)
TENSORS = st.builds(
    lambda dtype, shape, seed: (
        torch.randn(shape, generator=torch.Generator().manual_seed(seed)).mul(9).to(dtype)
    ),
    st.sampled_from(DTYPES),
    st.lists(st.integers(0, 4), max_size=4),
    st.integers(0, 99),
)
KEYS = st.text() | st.integers() | st.tuples(st.text(), st.integers())
VALUES = st.recursive(
    SCALARS | TENSORS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(KEYS, inner, max_size=4)
    ),
    max_leaves=20,
)

KINDS = (type(None), bool, int, float, str, list, tuple, dict, torch.dtype, torch.Tensor)
PLENTY = settings(
    max_examples=300,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)


def same(x: Any, y: Any) -> bool:
    if type(x) is not type(y):
        return False
    if isinstance(x, torch.Tensor):
        return x.dtype == y.dtype and x.shape == y.shape and packed(x) == packed(y)
    if isinstance(x, dict):
        return list(x) == list(y) and all(same(x[key], y[key]) for key in x)
    if isinstance(x, (list, tuple)):
        return len(x) == len(y) and all(map(same, x, y))
    return bool(x == y) or (isinstance(x, float) and math.isnan(x) and math.isnan(y))


def is_data(value: Any) -> bool:
    """Whether it is made of what messages are made of, and of nothing else."""
    if isinstance(value, dict):
        return all(is_data(key) and is_data(one) for key, one in value.items())
    if isinstance(value, (list, tuple)):
        return all(map(is_data, value))
    return type(value) in KINDS


@PLENTY
@given(VALUES)
def test_what_is_sent_arrives(value: Any) -> None:
    assert same(unpacked(packed(value)), value)


@PLENTY
@given(st.binary(max_size=200))
def test_bytes_are_data_or_no_message(content: bytes) -> None:
    with contextlib.suppress(Unreadable):
        assert is_data(unpacked(content))


@PLENTY
@given(VALUES, st.data())
def test_a_message_that_was_changed_is_data_or_none(value: Any, data: st.DataObject) -> None:
    content = bytearray(packed(value))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        match data.draw(st.sampled_from(["change", "remove", "double", "cut"])):
            case "change":
                content[place] = data.draw(st.integers(0, 255))
            case "remove":
                del content[place]
            case "double":
                content[place:place] = content[place : place + 9]
            case "cut":
                del content[place:]
        if not content:
            return
    with contextlib.suppress(Unreadable):
        assert is_data(unpacked(bytes(content)))


KINDS_IN_A_HEADER = st.sampled_from(["tuple", "names", "dict", "dtype", "tensor", "float32", "x"])
HEADERS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(KINDS_IN_A_HEADER, inner, max_size=2)
    ),
    max_leaves=15,
)


@PLENTY
@given(HEADERS)
def test_a_header_of_any_kind_is_data_or_none(header: Any) -> None:
    import json

    text = json.dumps(header).encode()
    with contextlib.suppress(Unreadable):
        assert is_data(unpacked(struct.pack("<I", len(text)) + text + bytes(40)))


@settings(
    max_examples=100,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
@given(st.lists(st.binary(max_size=60), max_size=4))
def test_a_line_that_gets_anything_ends_in_time(pieces: list[bytes]) -> None:
    pipe, other = os.pipe(), os.pipe()
    line = Line(pipe[0], other[1])
    try:
        for piece in pieces:
            os.write(pipe[1], piece)
        for _ in range(4):
            with contextlib.suppress(Unreadable):
                assert is_data(line.receive(0.01))
    except (Late, Ended):
        pass
    finally:
        for descriptor in (*pipe, *other):
            os.close(descriptor)


class _Kept:
    """A process that cannot end, for it is none."""

    def ended(self, seconds: float) -> dict[str, Any]:
        return {}

    def printed(self) -> bool:
        return False

    kept = True

    def end(self) -> None:
        pass


@PLENTY
@given(VALUES | st.tuples(st.just(1), st.sampled_from(["value", "error", "x"]), VALUES, VALUES))
def test_an_answer_of_any_kind_is_a_value_or_told(answer: Any) -> None:
    one = remote.Remote.__new__(remote.Remote)
    one.known, one.broken, one.process, one.until = {}, {}, _Kept(), math.inf  # type: ignore[assignment]
    one.number, one.owner, one.played = 1, os.getpid(), set()

    class Heard:
        def receive(self, seconds: float) -> Any:
            return unpacked(packed(answer))

    one.line = Heard()  # type: ignore[assignment]
    try:
        said = ""
        assert is_data(one._answer("case", 1.0, "in forward"))
    except Broken as broken:
        said = str(broken)
    assert len(said) < 2000
    assert not said or said.isprintable()


class Evil(str):
    __slots__ = ()

    def __reduce__(self) -> Any:
        raise AssertionError("it is asked how to be made again")

    def __str__(self) -> str:
        raise AssertionError("it is asked what it says")


def test_of_a_subclass_of_str_the_text_is_sent() -> None:
    assert same(unpacked(packed({"name": Evil("evil")})), {"name": "evil"})


@pytest.mark.parametrize(
    "value",
    [object(), {1, 2}, b"bytes", 1j, torch.nn.Linear(1, 1), torch.eye(2).to_sparse(), int,
     10**5000, torch.eye(2).as_subclass(torch.nn.Parameter)],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_what_is_no_data_is_not_sent(value: Any) -> None:
    with pytest.raises(Unsendable):
        packed([value])


def test_a_circle_is_not_sent() -> None:
    circle: list[Any] = []
    circle.append(circle)
    with pytest.raises(Unsendable):
        packed(circle)


def test_a_message_of_many_pieces_arrives_while_it_is_written() -> None:
    """Larger than what a pipe holds."""
    pipe = os.pipe()
    ends = Line(pipe[0], pipe[1])
    value = torch.randn(1 << 19)
    writer = threading.Thread(target=ends.send, args=(value, 20))
    writer.start()
    got = ends.receive(20)
    writer.join()
    assert torch.equal(got, value)
    for descriptor in pipe:
        os.close(descriptor)
