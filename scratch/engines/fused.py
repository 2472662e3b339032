"""The engine of one C++ function: whole trainings in a call, the runs spread over the threads.

`fused.cpp` is compiled at the first use on a machine, and kept in a folder of the user's cache.
It takes a chain of scratch's own layers, up to 128 wide, on the CPU, in float32 or float64.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from scratch import activations as act
from scratch import losses, optim
from scratch.dropout import Dropout
from scratch.engines.eager import predict, target_dims
from scratch.engines.job import Job, Unsupported
from scratch.linear import Linear
from scratch.module import Module
from scratch.optimizer import Optimizer
from scratch.philox import FIRST_DROPOUT
from scratch.sequential import Sequential

SOURCE = Path(__file__).with_suffix(".cpp")
FLAGS = (
    "-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast",
)  # fmt: skip
WIDEST = 128
#: Multiply-adds in one call of the library, some tenths of a second: then Ctrl-C is heard.
PORTION = 4e9
TYPES = {torch.float32: "float", torch.float64: "double"}

# The numbers are those of the enumerations in fused.cpp.
KINDS: dict[type[Module], int] = {
    Linear: 0, act.ReLU: 1, act.LeakyReLU: 2, act.ELU: 3, act.SELU: 3, act.Sigmoid: 4,
    act.Tanh: 5, act.Softmax: 6, act.LogSoftmax: 7, Dropout: 8,
}  # fmt: skip
CRITERIA: dict[type[losses.Loss], int] = {
    losses.MSELoss: 0, losses.L1Loss: 1, losses.BCELoss: 2, losses.BCEWithLogitsLoss: 3,
    losses.CrossEntropyLoss: 4,
}  # fmt: skip
CROSS_ENTROPY_INDEX = 5
RULES: dict[type[Optimizer], int] = {optim.SGD: 0, optim.Adam: 1, optim.AdamW: 2}
#: What an optimizer keeps for each parameter, and the buffer that it is in.
SLOTS = {
    "momentum_buffer": "first",
    "exp_avg": "first",
    "exp_avg_sq": "second",
    "max_exp_avg_sq": "largest",
}


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

    def point(self, **tensors: Tensor) -> None:
        """Sets pointers to tensors, and keeps these for as long as itself lives."""
        for name, tensor in tensors.items():
            setattr(self, name, tensor.data_ptr())
        self.kept = [*getattr(self, "kept", ()), *tensors.values()]


def check(job: Job) -> None:
    """Raises Unsupported if the engine does not take the job, or cannot be built here."""
    _check_model(job.model, job.x)
    if type(job.criterion) not in CRITERIA:
        raise Unsupported(f"engine 'fused' takes no loss {_named(job.criterion)}")
    if type(job.optimizer) not in RULES:
        raise Unsupported(f"engine 'fused' takes no optimizer {_named(job.optimizer)}")
    own = {id(parameter) for parameter, _ in job.model.param()}
    if own != {id(parameter) for parameter, _ in job.optimizer.pairs}:
        raise Unsupported(
            "engine 'fused' takes an optimizer of all the model's parameters and no others; "
            f"{job.optimizer} has {len(job.optimizer.pairs)} parameters, the model {len(own)}"
        )
    library()


def train(job: Job, first: int, last: int) -> None:
    """Trains in epochs `first` to `last`; see `scratch.engines`.

    Interrupted, or refusing a prediction, it leaves model and optimizer as they were.
    """
    y = predict(job.model, job.x[..., :1, :])  # refuses what eager refuses; [R, 1, outputs]
    layout, optimizer, samples = Layout(job.model, job.x), job.optimizer, job.x.shape[-2]
    lead = () if job.t.dim() > target_dims(job.t) else y.shape[:-2]
    prediction = torch.zeros_like(y).expand(*y.shape[:-2], samples, y.shape[-1])
    job.criterion.check(prediction, job.t.expand(*lead, *job.t.shape))

    training = _described(layout, job.x, job.t, job.criterion, job.draws.seeds)
    training.batch = min(job.batch_size, samples)
    training.rule, training.maximize = RULES[type(optimizer)], optimizer.maximize
    for name in ("lr", "momentum", "dampening", "nesterov", "amsgrad", "weight_decay"):
        setattr(training, name, getattr(optimizer, name, 0))
    if isinstance(optimizer, optim.Adam):
        (training.beta1, training.beta2), training.adam_eps = optimizer.betas, optimizer.eps
    kept = optimizer.kept()
    training.steps, training.started, training.base = optimizer.steps, bool(kept), first

    parameters, gradients = (list(tensors) for tensors in zip(*job.model.param(), strict=True))
    buffers = {"p": layout.packed(parameters), "g": layout.packed(gradients)}
    place = {id(parameter): index for index, (parameter, _) in enumerate(optimizer.pairs)}
    for slot in optimizer.slots:
        before = [kept[slot][place[id(p)]] for p in parameters] if slot in kept else []
        buffers[SLOTS[slot]] = layout.packed(before)
    training.point(**buffers)
    _call(training, job, layout, first, last)

    for tensors, name in ((parameters, "p"), (gradients, "g")):
        for tensor, view in zip(tensors, layout.views(buffers[name]), strict=True):
            tensor.copy_(view)
    left = {}
    for slot in optimizer.slots:
        views = layout.views(buffers[SLOTS[slot]])
        own = {id(p): view for p, view in zip(parameters, views, strict=True)}
        left[slot] = [own[id(parameter)] for parameter, _ in optimizer.pairs]
    optimizer.go_on((last - first + 1) * -(-samples // job.batch_size), left)
    job.model.train()


@dataclass(frozen=True)
class Pass:
    """One pass, taken apart: tensors `[B, features]`."""

    outputs: list[Tensor]  # of each layer
    dys: list[Tensor]  # d loss / d each of them
    dx: Tensor
    gradients: list[Tensor]  # of the parameters, like `model.param()`


def trace(
    model: Module,
    x: Tensor,
    *,
    dy: Tensor | None = None,
    criterion: losses.Loss | None = None,
    t: Tensor | None = None,
    seed: int = 0,
) -> Pass:
    """What the engine computes of one batch, forward and back, before any update: to debug it.

    Args:
        model: as for `train`, not stacked; it is left as it is.
        x: `[B, features]`.
        dy: d loss / d output, where no criterion and t are given to compute it from. Default: 0.
        seed: of the masks, which are those of the first step of the first epoch.

    Raises:
        Unsupported: the engine does not take the model.
    """
    _check_model(model, x)
    y = predict(model, x)  # refuses what eager refuses
    layout = Layout(model, x)
    if criterion is not None and t is not None:
        criterion.check(y, t)
    elif dy is None:
        dy = torch.zeros_like(y)
    training = _described(layout, x, t, criterion, torch.tensor(seed))
    rows, (width, *widths) = len(x), [layout.padded(w) for w in (x.shape[-1], *layout.widths)]
    given = None
    if dy is not None:
        given = x.new_zeros(rows, widths[-1])
        given[:, : y.shape[-1]] = dy
    dx = x.new_zeros(rows, width)
    traced = x.new_zeros(len(widths), 2, rows * layout.padded(layout.widest))
    gradients = layout.packed([])
    training.point(
        trace=traced, g=gradients, p=layout.packed([parameter for parameter, _ in model.param()])
    )
    run = getattr(library(), f"scratch_pass_{TYPES[x.dtype]}")
    if run(ctypes.byref(training), _address(given), _address(dx)):
        _refuse_range(criterion, training)
    planes = [
        [plane[: rows * padded].view(rows, padded)[:, :columns] for plane in both]
        for both, padded, columns in zip(traced, widths, layout.widths, strict=True)
    ]
    return Pass(
        [y for y, _ in planes], [dy for _, dy in planes], dx[:, : x.shape[-1]],
        list(layout.views(gradients)),
    )  # fmt: skip


class Layout:
    """A model as the library takes it: its layers in a row, its parameters in one buffer."""

    def __init__(self, model: Module, x: Tensor) -> None:
        self.runs, self.dtype = model.runs, x.dtype
        self.lanes: int = getattr(library(), f"scratch_lanes_{TYPES[x.dtype]}")()
        self.layers: list[_Layer] = []
        self.size = 0  # of one run's parameters
        width, dropouts = x.shape[-1], 0
        for layer in chain(model):
            made = _Layer(kind=KINDS[type(layer)], inputs=width, outputs=width)
            match layer:
                case Linear():
                    width = made.outputs = layer.out_features
                    made.bias, made.offset = layer.bias is not None, self.size
                    self.size += (made.inputs + made.bias) * self.padded(width)
                case Dropout():
                    made.stream = FIRST_DROPOUT + dropouts
                    made.alpha, made.scale = round((1 - layer.p) * 2**32), 1 - layer.p
                    dropouts += 1
                case act.LeakyReLU():
                    made.alpha = layer.negative_slope
                case act.ELU():
                    made.alpha, made.scale = layer.alpha, getattr(layer, "scale", 1.0)
                case act.Sigmoid():
                    made.scale = layer.slope
                case act.Softmax() | act.LogSoftmax():
                    made.over_batch = layer.dim == -2
            self.layers.append(made)
        self.widths = [made.outputs for made in self.layers]
        self.widest = max(max(made.inputs, made.outputs) for made in self.layers)

    def padded(self, width: int) -> int:
        """A width, up to whole vectors of the processor."""
        return -(-width // self.lanes) * self.lanes

    def packed(self, tensors: Sequence[Tensor]) -> Tensor:
        """Tensors like the parameters, as the library has them: `[R, size]`; zeros for none."""
        buffer = torch.zeros(self.runs or 1, self.size, dtype=self.dtype)
        for view, tensor in zip(self.views(buffer), tensors, strict=False):
            view.copy_(tensor)
        return buffer

    def views(self, buffer: Tensor) -> Iterator[Tensor]:
        """Of a packed buffer, each parameter in its own shape, in the model's order."""
        for made in self.layers:
            if made.kind == KINDS[Linear]:
                rows, width = made.inputs + made.bias, self.padded(made.outputs)
                part = buffer[:, made.offset : made.offset + rows * width]
                own = part.unflatten(1, (rows, width))[..., : made.outputs]
                if self.runs is None:
                    own = own[0]
                yield own[..., : made.inputs, :].mT  # [R, out, in]
                if made.bias:
                    yield own[..., made.inputs, :]  # [R, out]


def chain(model: Module) -> Iterator[Module]:
    """The layers of a Sequential, and of those within it, in their order."""
    if type(model) is Sequential:
        for module in model:
            yield from chain(module)
    else:
        yield model


def _check_model(model: Module, x: Tensor) -> None:
    """Raises Unsupported for the first part that is not taken."""
    for layer in chain(model):
        if type(layer) not in KINDS:
            raise Unsupported(f"engine 'fused' takes no {_named(layer)} in a model")
        if isinstance(layer, Dropout) and layer.generator is not None:
            raise Unsupported(
                f"engine 'fused' takes no {layer} with a generator of its own; without one, its "
                "masks are drawn from fit's seed"
            )
        if isinstance(layer, Linear) and max(layer.in_features, layer.out_features) > WIDEST:
            raise Unsupported(f"engine 'fused' takes widths up to {WIDEST}, not {layer}")
    if x.dtype not in TYPES:
        raise Unsupported(f"engine 'fused' takes float32 and float64, not {x.dtype}")
    if x.device.type != "cpu":
        raise Unsupported(f"engine 'fused' runs on the CPU, and x is on {x.device}")


def _described(
    layout: Layout, x: Tensor, t: Tensor | None, criterion: losses.Loss | None, seeds: Tensor
) -> _Training:
    """Everything of a training but its optimizer and its parameters."""
    training = _Training(
        layers=(_Layer * len(layout.layers))(*layout.layers), count=len(layout.layers),
        parameters=layout.size, outputs=layout.widths[-1],
        samples=x.shape[-2], batch=x.shape[-2], features=x.shape[-1],
        x_stride=x[0].numel() if x.dim() > 2 else 0,
    )  # fmt: skip
    training.point(x=x.contiguous(), seeds=seeds.contiguous())
    if criterion is not None and t is not None:
        indices = isinstance(criterion, losses.CrossEntropyLoss) and not t.is_floating_point()
        training.criterion = CROSS_ENTROPY_INDEX if indices else CRITERIA[type(criterion)]
        training.mean, training.eps = criterion.reduction == "mean", getattr(criterion, "eps", 0)
        training.t_stride = t[0].numel() if t.dim() > target_dims(t) else 0
        training.point(t=t.contiguous())
    return training


def _call(training: _Training, job: Job, layout: Layout, first: int, last: int) -> None:
    """The library, in portions between which an interrupt is heard."""
    run = getattr(library(), f"scratch_train_{TYPES[job.x.dtype]}")
    runs, threads = layout.runs or 1, torch.get_num_threads()
    epoch = 3 * training.samples * layout.size  # multiply-adds of a run
    together = max(threads, min(runs, int(PORTION / epoch)))
    epochs = max(1, int(PORTION / (epoch * min(together, runs))))
    for start in range(0, runs, together):
        stop = min(start + together, runs)
        for begin in range(first, last + 1, epochs):
            end = min(begin + epochs - 1, last)
            if run(ctypes.byref(training), start, stop, begin, end, threads):
                _refuse_range(job.criterion, training)


def _refuse_range(criterion: losses.Loss | None, training: _Training) -> None:
    assert isinstance(criterion, losses.BCELoss)
    criterion.check_range(training.low, training.high)


def _address(tensor: Tensor | None) -> ctypes.c_void_p:
    return ctypes.c_void_p(None if tensor is None else tensor.data_ptr())


def _named(part: object) -> str:
    """A part by its class, with its module where that is not scratch's."""
    kind = type(part)
    own = kind.__module__.startswith("scratch.")
    return kind.__name__ if own else f"{kind.__module__}.{kind.__name__}"


@functools.cache
def library() -> ctypes.CDLL:
    """The compiled source, from the cache or built now.

    Raises:
        Unsupported: there is no compiler here, or it failed; the message says which.
    """
    return ctypes.CDLL(str(build(SOURCE.read_text(), cache())))


def cache() -> Path:
    """The folder where what was compiled is kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "torch-parity"


def build(source: str, folder: Path) -> Path:
    """Compiles the source, unless `folder` has it already; returns the library's path.

    Its name is a digest of the source, the flags, the compiler and the processor.
    """
    compiler = os.environ.get("CXX", "c++")
    parts = [source, *FLAGS, compiler, platform.platform(), _instructions()]
    digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
    built = folder / f"fused-{digest}.so"
    if built.exists():
        return built
    if shutil.which(compiler) is None:
        raise Unsupported(
            f"engine 'fused' needs a C++ compiler, and there is no {compiler!r} here; install g++ "
            "or clang, or name one in CXX"
        )
    from torch.utils import cpp_extension  # not for those who find it built: half a second

    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as work:
        file = Path(work, "fused.cpp")
        file.write_text(source)
        try:
            cpp_extension.load(
                "fused", [str(file)], extra_cflags=list(FLAGS), build_directory=work,
                is_python_module=False,
            )  # fmt: skip
        except (RuntimeError, OSError) as error:
            raise Unsupported(f"engine 'fused' could not be compiled: {error}") from error
        (made,) = Path(work).glob("*.so")  # the builder numbers those of one name
        made.replace(built)  # whole or not at all
    return built


def _instructions() -> str:
    """What the processor can do: a library built for another one may not run."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")
