"""The fused engine on the CPU: one C++ function, `cpu.cpp`, the runs spread over the threads.

It is compiled at the first use on a machine, and kept in a folder of the user's cache.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import os
import platform
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from subprocess import SubprocessError
from typing import Any

import torch
from torch import Tensor

from scratch.engines.job import Unsupported
from scratch.engines.layout import Layout, Refused, Training

SOURCE = Path(__file__).with_suffix(".cpp")
FLAGS = (
    "-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast",
)  # fmt: skip
#: Multiply-adds in one call of the library, some tenths of a second: then Ctrl-C is heard.
PORTION = 4e9
LONGEST = 2**31 - 1  # batch that a softmax runs over
OTHERS = stat.S_IWGRP | stat.S_IWOTH
TYPES = {torch.float32: "float", torch.float64: "double"}


class _Layer(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int32) for name in ("kind", "inputs", "outputs", "bias")),
        *((name, ctypes.c_int32) for name in ("over_batch", "stream")),
        ("offset", ctypes.c_int64),
        *((name, ctypes.c_double) for name in ("alpha", "scale")),
    ]


class _Training(ctypes.Structure):
    _fields_ = [
        ("layers", ctypes.POINTER(_Layer)),
        *((name, ctypes.c_int32) for name in ("count", "criterion", "mean")),
        ("eps", ctypes.c_double),
        *((name, ctypes.c_int32) for name in ("rule", "nesterov", "amsgrad", "maximize")),
        *((name, ctypes.c_double) for name in ("lr", "momentum", "dampening", "beta1", "beta2")),
        *((name, ctypes.c_double) for name in ("adam_eps", "weight_decay")),
        ("steps", ctypes.c_int64),
        *((name, ctypes.c_int32) for name in ("started", "base")),
        *((name, ctypes.c_int32) for name in ("samples", "batch", "features", "outputs")),
        *((name, ctypes.c_int64) for name in ("parameters", "x_stride", "t_stride")),
        *((name, ctypes.c_void_p) for name in ("x", "t", "p", "g", "first", "second", "largest")),
        *((name, ctypes.c_void_p) for name in ("seeds", "trace")),
        *((name, ctypes.c_double) for name in ("low", "high")),
    ]


def lanes(dtype: torch.dtype) -> int:
    """The numbers of a vector, to which rows are padded."""
    return int(getattr(library(), f"scratch_lanes_{TYPES[dtype]}")())


def train(training: Training, layout: Layout, first: int, last: int) -> None:
    """Trains the buffers in epochs `first` to `last`, in portions between which Ctrl-C is heard.

    Raises:
        Refused: BCELoss would, of a prediction.
    """
    given = _structure(training)
    run = getattr(library(), f"scratch_train_{TYPES[layout.dtype]}")
    runs, threads = layout.runs or 1, torch.get_num_threads()
    epoch = 3 * training.samples * layout.size  # multiply-adds of a run
    together = max(threads, min(runs, int(PORTION / epoch)))
    epochs = max(1, int(PORTION / (epoch * min(together, runs))))
    for start in range(0, runs, together):
        stop = min(start + together, runs)
        for begin in range(first, last + 1, epochs):
            end = min(begin + epochs - 1, last)
            _raise(run(ctypes.byref(given), start, stop, begin, end, threads), given)


def trace(training: Training, layout: Layout, dy: Tensor | None) -> tuple[Tensor, Tensor]:
    """One pass, back from `dy`, or from the loss: the batch and y of each layer, of which the
    batch may be left out, and d loss / d each of them; `[layers + 1, rows * widest]`.

    Raises:
        Refused: BCELoss would, of the prediction.
    """
    rows, outputs = training.samples, layout.padded(training.outputs)
    given, plane = _structure(training), rows * layout.padded(layout.widest)
    traced = training.x.new_zeros(len(layout.layers) + 1, 2, plane)
    given.trace = traced[1:].data_ptr()
    padded = None
    if dy is not None:
        padded = training.x.new_zeros(rows, outputs)
        padded[:, : training.outputs] = dy
    run = getattr(library(), f"scratch_pass_{TYPES[layout.dtype]}")
    address = ctypes.c_void_p(None if padded is None else padded.data_ptr())
    _raise(run(ctypes.byref(given), address, ctypes.c_void_p(traced[0, 1].data_ptr())), given)
    return traced[:, 0], traced[:, 1]


def _raise(code: int, given: _Training) -> None:
    """What the library's return says."""
    if code == 2:
        raise MemoryError("engine 'fused' has not the memory for batches of this size")
    if code:
        raise Refused(given.low, given.high)


def _structure(training: Training) -> _Training:
    """What the library takes; it lives no longer than the training's tensors."""
    count, made = len(training.layers), _Training()
    made.layers, made.count = (_Layer * count)(), count
    for index, layer in enumerate(training.layers):
        _fill(made.layers[index], vars(layer))
    _fill(made, vars(training) | training.buffers)
    return made


def _fill(structure: ctypes.Structure, values: Mapping[str, Any]) -> None:
    """Sets every field of a name that the values have; of a pointer, to a tensor's memory."""
    for name, kind, *_ in structure._fields_:
        value = values.get(name)
        if value is None or name == "layers":
            continue
        if kind is ctypes.c_void_p:
            value = value.data_ptr()
        else:  # an optimizer's option may be a tensor
            value = float(value) if kind is ctypes.c_double else int(value)
        setattr(structure, name, value)


@functools.cache
def library() -> ctypes.CDLL:
    """The compiled source, from the cache or built now.

    Raises:
        Unsupported: there is no compiler here, or it failed, or what it made cannot be kept
            safely; the message says which.
    """
    try:
        loaded = ctypes.CDLL(str(build(SOURCE.read_text(), cache())))
        loaded.scratch_lanes_float  # noqa: B018 - it is there
    except (OSError, AttributeError) as error:
        raise Unsupported(f"engine 'fused' was compiled and cannot be loaded: {error}") from error
    return loaded


def cache() -> Path:
    """The folder where what was compiled is kept.

    Raises:
        Unsupported: there is none.
    """
    named = os.environ.get("XDG_CACHE_HOME")
    try:
        return Path(named or Path.home() / ".cache") / "torch-parity"
    except RuntimeError:
        raise Unsupported(
            "engine 'fused' has no folder to keep what it compiles: there is no home; "
            "XDG_CACHE_HOME names one"
        ) from None


def build(source: str, folder: Path) -> Path:
    """Compiles the source, unless `folder` has it already; returns the library's path.

    Its name is a digest of the source, the flags, the compiler and the processor, and one of the
    library itself. What is damaged, or may have been written by somebody else, is built again.

    Raises:
        Unsupported: there is no compiler, it failed, or the folder is not to be used.
    """
    compiler = os.environ.get("CXX", "c++")
    parts = [source, *FLAGS, compiler, platform.platform(), _instructions()]
    name = f"fused-{_digest(chr(10).join(parts).encode())}"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _own(folder)
        with _alone(folder):  # who comes second finds it built
            return _kept(name, folder) or _compiled(source, compiler, name, folder)
    except OSError as error:
        raise Unsupported(f"engine 'fused' cannot be kept in {folder}: {error.strerror}") from error


def _kept(name: str, folder: Path) -> Path | None:
    """The library of that name, if it is there and whole; what is damaged, or somebody else's, is
    removed."""
    for file in sorted(folder.glob(f"{name}-*.so")):
        if _trusted(file) and file.stem == f"{name}-{_digest(file.read_bytes())}":
            return file
        file.unlink()
    return None


def _compiled(source: str, compiler: str, name: str, folder: Path) -> Path:
    if shutil.which(compiler) is None:
        raise Unsupported(
            f"engine 'fused' needs a C++ compiler, and there is no {compiler!r} here; install g++ "
            "or clang, or name one in CXX"
        )
    from torch.utils import cpp_extension  # not for those who find it built: half a second

    with tempfile.TemporaryDirectory(dir=folder) as work:
        file = Path(work, "cpu.cpp")
        file.write_text(source)
        try:
            cpp_extension.load(
                "fused", [str(file)], extra_cflags=list(FLAGS), build_directory=work,
                is_python_module=False,
            )  # fmt: skip
            (made,) = Path(work).glob("*.so")  # the builder numbers those of one name
        except (RuntimeError, OSError, ValueError, ImportError, SubprocessError) as error:
            raise Unsupported(
                f"engine 'fused' could not be compiled by {compiler}: {_first(str(error))}"
            ) from error
        made.chmod(0o600)
        built = folder / f"{name}-{_digest(made.read_bytes())}.so"
        made.replace(built)  # whole or not at all
    return built


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _own(folder: Path) -> None:
    """Sees to it that nobody else writes to the folder.

    Raises:
        Unsupported: it is another user's.
    """
    if not hasattr(os, "getuid"):
        return
    found = folder.stat()
    if found.st_uid not in (0, os.getuid()):
        raise Unsupported(f"engine 'fused' keeps nothing in {folder}: another user owns it")
    if found.st_mode & OTHERS:
        folder.chmod(stat.S_IMODE(found.st_mode) & ~OTHERS)


def _trusted(file: Path) -> bool:
    """Whether nobody else has written a library: whoever does runs code as its reader."""
    if not hasattr(os, "getuid"):
        return True
    found = file.stat()
    return found.st_uid in (0, os.getuid()) and not found.st_mode & OTHERS


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """No other process compiles into the folder meanwhile; where locks are refused, both do."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError, ImportError):
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _first(said: str) -> str:
    """Of all that a compiler says, its first error."""
    lines = said.splitlines()
    return next((line.strip() for line in lines if "error:" in line), (lines or ["no reason"])[0])


def _instructions() -> str:
    """What the processor can do: a library built for another one may not run."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")
