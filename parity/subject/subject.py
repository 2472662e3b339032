"""What a subject is: which layers it has, and its conventions. An adapter file defines one.

import torch
from torch import nn

import parity
import framework

subject = parity.Subject(
    {nn.Linear: framework.Linear, nn.ReLU: framework.ReLU, nn.MSELoss: framework.LossMSE,
     nn.Sequential: framework.Sequential, torch.optim.SGD: framework.SGD},
    reduction="sum",
)
"""

from __future__ import annotations

import difflib
import fnmatch
import functools
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar

from torch import nn

from parity.catalogue.case import REDUCTIONS
from parity.catalogue.entry import Entry, Options
from parity.catalogue.network import Network
from parity.catalogue.table import CATALOGUE
from parity.subject.builders import without
from parity.subject.conventions import PRESETS, told
from parity.subject.error import AdapterError
from parity.subject.functions import Functions

CHOICES = {
    "array": ("torch", "numpy"),
    "batch": ("rows", "columns", "vector", "column"),
    "weight": ("out_in", "in_out"),
    "parameters": ("pairs", "flat", "lists", "objects"),
    "gradients": ("accumulated", "overwritten"),
    "optimizer": ("parameters", "model", "layers"),
    "running_variance": ("unbiased", "biased"),
    "mean": ("loss", "layers"),
    "kernel": tuple(map("".join, itertools.permutations("oihw"))),
    "channels": ("first", "last"),
    "sequences": (
        "batch_first",
        "time_first",
        "steps",
        *map("".join, itertools.permutations("btf")),
    ),
    "states": ("after", "before"),
    "biases": ("two", "one"),
    "masks": ("keep", "hide", "additive"),
    "conventions": ("", *PRESETS),
}
SEVERAL = {
    "targets": ("index", "one_hot", "distribution"),
    "dtypes": ("float32", "float64", "bfloat16", "float16"),
}
GATES = (sorted("ifgo"), sorted("rzn"))
CALLABLE = (
    "model", "tensor", "forward", "backward", "step_in_backward", "loss_forward", "loss_backward",
    "upstream", "zero_grad", "reset", "train", "step", "rate", "children",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Subject:
    """An implementation under test.

    Args:
        layers: how the subject builds its own version of a torch class, by that class: a
            callable that takes the class's options. Widths, a dropout rate and an optimizer's
            rate come by position, other options by torch's names, and only if the callable has
            them: what it has not is listed as not offered. Keys are `torch.nn` layers and losses,
            `torch.nn.Sequential` (a container: gets layers as arguments), `torch.optim`
            optimizers, an `Entry` of one's own, or a `Network`, a whole model of one's own; and
            `torch.nn.utils.clip_grad_norm_` and `clip_grad_value_`, for functions that take what
            optimizers take, or, as their first argument's name says, a list of gradients.
        model: for a framework that cannot be taken apart: `build(widths, activation)` returns
            `step(x, t) -> (output, loss, parameters, gradients)`: a network of Linear layers of
            those widths with the activation between them; parameters as weight, bias, weight, …,
            as they were when the gradients were taken.
        name: as in reports. Default: that of the adapter's file.

        array: "torch" (default) or "numpy": what the subject takes.
        batch: how samples come: "rows" (default), `[B, features]`; "columns", `[features, B]`;
            "vector", one sample at a time, `[features]`; "column", one, `[features, 1]`.
        weight: a Linear's weight is "out_in" (default) `[out, in]`, or "in_out".
        kernel: how a convolution's weight lies: "oihw" (default) for [out, in, height, width], or
            these letters in another order, such as "hwio"; or a mapping by torch class, where they
            differ. Of a ConvTranspose2d the letters are those of the convolution that it is the
            transpose of, as in torch: "oihw" is [in, out, height, width] of its own. Of a Conv1d
            they are without the height. A kernel may be kept as a matrix too, [out, the others], or
            [the others, out] where the letters end with "o".
        channels: of images are "first" (default), `[B, C, H, W]`, or "last", `[B, H, W, C]`, for
            convolutions, pooling, Upsample, PReLU, BatchNorm2d and GroupNorm, Conv1d's sequences
            alike, and an `Entry` of one's own with `images=True`.
        sequences: of recurrent layers are "batch_first" (default), `[B, T, features]`;
            "time_first", `[T, B, features]`; "steps", a list of `[B, features]`; or lie in another
            order of the letters b, t and f: "fbt" is `[features, B, T]`, and states then are
            `[features, B]`.
        states: of recurrent layers come "after" (default) the input, `forward(x, h)`, or "before"
            it, `forward(h, x)`, and so do their gradients.
        gates: in which order the gates of an LSTM or a GRU lie in its parameters, where they are
            not torch's "ifgo" (input, forget, cell, output) and "rzn" (reset, update, new): these
            letters in another order, or a mapping by torch class. Where each gate has parameters
            of its own, that is the order in which they are given.
        biases: a recurrent layer has "two" (default), as torch, one for x and one for h; or "one".
        masks: what a mask of attention says: "keep" (default), true where a place may be seen;
            "hide", true where it must not be; "additive", what is added to the scores, 0 and -inf.
        parameters: what a layer's `param()` (or `params`, `parameters`, as a method or an
            attribute) gives: "pairs" (default), a list of (parameter, gradient); "flat", such as
            [w, b, dw, db]; "lists", (parameters, gradients); "objects" with `.data` or `.value`,
            and `.grad`; or a callable from a layer to a list of pairs.
        gradients: a backward's are "accumulated" (default) or "overwritten".
        reduction: what a loss's forward computes: "mean" (default) over all entries, "sum",
            "batch_mean" (a mean over the batch of sums), or half of one: "half_mean",
            "half_sum", "half_batch_mean". A mapping by torch class, or by `Entry`, where losses
            differ. Only for losses without a `reduction` option.
        outputs: how many columns a loss's prediction has, where it is written for a number of its
            own, such as two classes or one unit: a number, or a mapping by torch class.
        fixed: options that a class has fixed, and does not take, by torch class:
            `{nn.LeakyReLU: {"negative_slope": 0.1}}`.
        targets: what CrossEntropyLoss takes: of "index" (default), "one_hot", "distribution".
        optimizer: is built from "parameters" (default), what the layer's `param()` gives, from
            the "model", or from a list of its "layers".
        mean: who takes the mean over the batch: the "loss" (default), whose gradient is divided by
            the number of samples, or the "layers", whose gradients of parameters are, as
            deeplearning.ai has it: dW = dZ A^T / m, and the loss's gradient is of a sum.
        running_variance: which variance a BatchNorm keeps of its batches: "unbiased" (default), as
            torch, or "biased".
        conventions: of a course, by its name: "cs231n", "eecs498", "cmu11785", "ee559". They set
            what is not said here; the report says what that is. What they do not name, they do
            not excuse.
        dtypes: in which it can be built. Default: float32 and float64.

        tensor: of a framework that differentiates by itself, the class of its tensors, which has
            an array in `.data`, a gradient in `.grad`, a `backward()` and a product `*`: layers
            and losses get these, and need no backward. A container is left out.
        forward, backward: `forward(layer, x)` and `backward(layer, dy)`, where they are not
            `layer.forward(x)` (or `layer(x)`) and `layer.backward(dy)`.
        step_in_backward: `step_in_backward(layer, dy, rate)`, for a layer whose backward moves its
            parameters as it passes the gradient on. `backward` is then the same at a rate of 0.
            Where it keeps no gradient, `(parameter, None)`, that is how far a step moves them.
        loss_forward, loss_backward: `(loss, prediction, target)`, where they are not
            `loss.forward(prediction, target)` and `loss.backward()`; a CTCLoss's get
            `input_lengths` and `target_lengths` too, if they take them.
        upstream: `upstream(loss, dy)`, the gradient of a prediction where that of the loss is `dy`
            and not 1, if it is not `loss.backward(dy)`.
        zero_grad: `zero_grad(layer)`, where it is not `layer.zero_grad()`; a layer without one
            has its gradients set to zero in place.
        reset: `reset(layer)`, called before each forward of a recurrent layer: sets back the state
            that it keeps from one call to the next.
        train: `train(layer, mode)`, where it is not `layer.train()` and `layer.eval()`.
        step: `step(optimizer)`, where it is not `optimizer.step()`.
        rate: `rate(optimizer, value)` changes its learning rate, where that is neither its `lr` nor
            in `param_groups`.
        state: `(save, load)`: `save(optimizer)` gives what `load(new_optimizer, saved)` goes on
            from, where they are not `state_dict()` and `load_state_dict(saved)`.
        children: the layers of a model, for `Entry`s of kind "network".

        model_hidden: the widths of the hidden layers that `model` is checked with, between two
            inputs and two outputs: (5, 4) by default; (5,) for a network that has one.
        model_activations, model_output, model_loss: what `model` is checked with: names of
            torch.nn classes for the activation between layers (default: ReLU) and after the last
            (default: none), and the loss (default: `nn.MSELoss`).
        waivers: a reason for each finding that is to be accepted, by the check's id, in which
            `*` stands for anything: `{"ReLU-*-kink": "our convention is 1 at 0"}`. A waiver that
            nothing needs is a fault itself.
        checks: checks of the subject's own, plain functions of a `Trial`, by kind and name.

    Raises:
        AdapterError: a setting that there is not, nothing to check.
    """

    layers: Mapping[Any, Any] = field(default_factory=dict)
    model: Callable[..., Any] | None = None
    name: str = ""
    array: str = "torch"
    batch: str = "rows"
    weight: str = "out_in"
    kernel: str | Mapping[Any, str] = "oihw"
    channels: str = "first"
    sequences: str = "batch_first"
    states: str = "after"
    gates: str | Mapping[Any, str] = ""
    biases: str = "two"
    masks: str = "keep"
    parameters: str | Callable[[Any], Any] = "pairs"
    gradients: str = "accumulated"
    reduction: str | Mapping[Any, str] = "mean"
    outputs: int | Mapping[Any, int] = field(default_factory=dict)
    fixed: Mapping[Any, Options] = field(default_factory=dict)
    targets: tuple[str, ...] = ("index",)
    optimizer: str = "parameters"
    mean: str = "loss"
    running_variance: str = "unbiased"
    conventions: str = ""
    dtypes: tuple[str, ...] = ("float32", "float64")
    tensor: Callable[..., Any] | None = None
    forward: Callable[..., Any] | None = None
    backward: Callable[..., Any] | None = None
    step_in_backward: Callable[[Any, Any, float], Any] | None = None
    loss_forward: Callable[..., Any] | None = None
    loss_backward: Callable[..., Any] | None = None
    upstream: Callable[[Any, Any], Any] | None = None
    zero_grad: Callable[[Any], Any] | None = None
    reset: Callable[[Any], Any] | None = None
    train: Callable[[Any, bool], Any] | None = None
    step: Callable[[Any], Any] | None = None
    rate: Callable[[Any, float], Any] | None = None
    preset: ClassVar[str] = ""
    """What `conventions` has set, in words."""
    state: tuple[Callable[[Any], Any], Callable[[Any, Any], Any]] | None = None
    children: Callable[[Any], list[Any]] = list
    model_hidden: tuple[int, ...] = (5, 4)
    model_activations: tuple[str, ...] = ("ReLU",)
    model_output: str | None = None
    model_loss: type = nn.MSELoss
    waivers: Mapping[str, str] = field(default_factory=dict)
    checks: Mapping[str, Mapping[str, Callable[..., Any]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for setting, choices in CHOICES.items():
            stated = getattr(self, setting)
            by_class = setting == "kernel" and isinstance(stated, Mapping)
            for value in stated.values() if by_class else [stated]:
                if value not in choices and not (setting == "parameters" and callable(value)):
                    either = _either(choices[:4]) + ", …" * (len(choices) > 4)
                    raise AdapterError(f"Subject takes {setting}={either}, not {value!r}")
        orders = self.gates.values() if isinstance(self.gates, Mapping) else [self.gates]
        for value in orders:
            if value and (not isinstance(value, str) or sorted(value) not in GATES):
                raise AdapterError(
                    "Subject takes as gates the letters of torch's 'ifgo' or 'rzn' in another "
                    f"order, not {value!r}"
                )
        stated = self.reduction
        for value in [stated] if isinstance(stated, str) else stated.values():
            if value not in REDUCTIONS:
                raise AdapterError(f"Subject takes reduction={_either(REDUCTIONS)}, not {value!r}")
        for setting, choices in SEVERAL.items():
            value = getattr(self, setting)
            if isinstance(value, str) or not value or not set(value) <= set(choices):
                raise AdapterError(
                    f"Subject takes as {setting} a tuple of {', '.join(map(repr, choices))}, "
                    f"not {value!r}"
                )
        if not self.layers and self.model is None:
            raise AdapterError("Subject needs layers, by torch class, or a model; it got neither")
        for key, builder in self.layers.items():
            self.entry(key)
            if not callable(builder) and not isinstance(builder, Functions):
                raise AdapterError(
                    f"layers takes what makes the subject's own {written(key)}, a class or a "
                    f"function, not {builder!r}"
                )
        for setting in CALLABLE:
            value = getattr(self, setting)
            if value is not None and not callable(value):
                raise AdapterError(f"Subject takes a function as {setting}, not {value!r}")
        pair = self.state
        if pair is not None and not (
            isinstance(pair, tuple) and len(pair) == 2 and all(map(callable, pair))
        ):
            raise AdapterError(f"Subject takes two functions as state, (save, load), not {pair!r}")
        for setting in ("reduction", "outputs", "fixed", "kernel", "gates"):
            value = getattr(self, setting)
            if isinstance(value, Mapping) and (absent := value.keys() - self.layers.keys()):
                raise AdapterError(f"{setting} has {written(absent.pop())}, which layers has not")
        widths = self.outputs.values() if isinstance(self.outputs, Mapping) else [self.outputs]
        if not all(type(n) is int and n > 0 for n in widths):
            raise AdapterError(f"Subject takes as outputs a number above 0, not {self.outputs!r}")
        for key, options in self.fixed.items():
            entry = self.entry(key)
            known = {*entry.defaults(), *entry.positional} if entry else set()
            unknown = sorted(options.keys() - known)
            if entry is None or unknown:
                what = f"has no {unknown[0]}" if unknown else "has no options"
                raise AdapterError(f"fixed: {written(key)} {what}")
        hidden: Any = self.model_hidden
        if not isinstance(hidden, tuple) or not all(isinstance(n, int) and n > 0 for n in hidden):
            raise AdapterError(f"Subject takes model_hidden as a tuple of widths, not {hidden!r}")
        if self.model is None and (self.model_activations != ("ReLU",) or self.model_output):
            raise AdapterError("model_activations and model_output are of a model; there is none")
        if not isinstance(self.waivers, Mapping) or not all(
            isinstance(reason, str) and reason.strip() for reason in self.waivers.values()
        ):
            raise AdapterError(
                "waivers takes a reason for each pattern of ids, {'ReLU-*-kink': 'our convention'},"
                f" not {self.waivers!r}"
            )

    def entry(self, key: Any) -> Entry | None:
        """What the catalogue knows of one of `layers`' keys; None for a container or a network.

        Raises:
            AdapterError: it knows nothing of it.
        """
        if key is nn.Sequential or isinstance(key, Network):
            return None
        if isinstance(key, Entry):
            return key
        if key not in CATALOGUE:
            known = ", ".join(entry.name for entry in CATALOGUE.values())
            raise AdapterError(
                f"layers has {written(key)}, and its keys are classes of torch: parity knows "
                f"Sequential, {known}"
            )
        return CATALOGUE[key]

    def entries(self) -> dict[str, tuple[Entry, Any]]:
        """All that can be checked, by name: what the catalogue says, and the subject's builder."""
        return self._entries

    @functools.cached_property
    def _entries(self) -> dict[str, tuple[Entry, Any]]:
        found = {}
        for key, builder in self.layers.items():
            entry = self.entry(key)
            if entry is None:
                continue
            if entry.kind == "loss" and (width := self._outputs_of(key)):
                shape = entry.shape_of(next(iter(entry.variants)))
                entry = replace(entry, shape=(*shape[:-1], width))
            if isinstance(builder, Functions):
                how = self.array, self.weight, self.gradients, self.kernel_of(key)
                builder = builder.of(entry, *how, self.batch)
            if fixed := self.fixed.get(key):
                named = tuple(name for name in fixed if name not in entry.positional)
                entry, builder = _fixed(entry, fixed), without(builder, named)
            found[entry.name] = (entry, builder)
        return found

    def fixed_of(self, name: str) -> Options:
        """The options that the catalogue's entry of that name has fixed."""
        return next(
            (options for key, options in self.fixed.items()
             if getattr(key, "__name__", "") == name), {},
        )  # fmt: skip

    def _outputs_of(self, key: Any) -> int:
        return self.outputs.get(key, 0) if isinstance(self.outputs, Mapping) else self.outputs

    def container(self) -> Callable[..., Any] | None:
        """What makes the subject's Sequential from layers as arguments, if it has one."""
        return self.layers.get(nn.Sequential)

    def kernel_of(self, cls: Any) -> str:
        """How the weights of a class of convolutions lie."""
        return self.kernel if isinstance(self.kernel, str) else self.kernel.get(cls, "oihw")

    def gates_of(self, entry: Entry) -> str:
        """In which order the gates of a recurrent layer lie; "" for torch's."""
        if isinstance(self.gates, str):
            return self.gates
        return self.gates.get(entry.key, "")

    def axes_of(self, entry: Entry) -> str:
        """In which order the axes of a layer's sequences lie, as "btf"; "" if it takes none."""
        if not entry.sequence:
            return ""
        axes = {"batch_first": "btf", "time_first": "tbf", "steps": "tbf"}
        if self.sequences in axes and self.batch == "columns":
            return "tfb"
        return axes.get(self.sequences, self.sequences)

    def reduction_of(self, entry: Entry) -> str:
        """The declared reduction of a loss without such an option."""
        if isinstance(self.reduction, str):
            return self.reduction
        own = {k.name: how for k, how in self.reduction.items() if isinstance(k, Entry)}
        return own.get(entry.name) or self.reduction.get(entry.reference, "mean")


def _with_known_settings(init: Callable[..., None]) -> Callable[..., None]:
    """Says of a setting that there is not which one may be meant."""

    @functools.wraps(init)
    def checked(self: Subject, *args: Any, **settings: Any) -> None:
        known = [one.name for one in fields(Subject)]
        for name in settings.keys() - set(known):
            near = difflib.get_close_matches(name, known, 1)
            meant = f"did you mean {near[0]}?" if near else f"its settings are {', '.join(known)}"
            raise AdapterError(f"Subject has no setting {name!r}: {meant}")
        settings = PRESETS.get(settings.get("conventions", ""), {}) | settings
        object.__setattr__(self, "preset", told(settings))
        init(self, *args, **settings)

    return checked


Subject.__init__ = _with_known_settings(Subject.__init__)  # type: ignore[method-assign]


def _fixed(entry: Entry, fixed: Options) -> Entry:
    """An entry of which some options have one value: its variants that do not set these."""
    first = next(iter(entry.variants.values()))
    variants = {
        name: {**options, **fixed}
        for name, options in entry.variants.items()
        if all(options.get(key) == first.get(key) for key in fixed)
    }
    mixes, optional = (
        tuple(name for name in names if name in variants) for names in (entry.mixes, entry.optional)
    )
    beside = {name: given for name, given in entry.beside.items() if name in variants}
    return replace(entry, variants=variants, mixes=mixes, optional=optional, beside=beside)


def waiver_for(waivers: Mapping[str, str], identity: str) -> str | None:
    """The pattern of the waiver that a check's id falls under, if there is one."""
    return next((w for w in waivers if fnmatch.fnmatchcase(identity, w)), None)


def written(key: Any) -> str:
    """How an adapter writes a key of `layers`: `nn.Linear`, `torch.optim.SGD`, `parity.RoPE`."""
    if not isinstance(key, type):
        return repr(key)
    place = key.__module__
    whose = next((own for own in ("torch.optim", "parity") if place.startswith(own)), "nn")
    return f"{whose}.{key.__name__}"


def _either(choices: tuple[str, ...]) -> str:
    return " or ".join(map(repr, choices))
