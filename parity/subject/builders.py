"""Matches torch's options with those that a subject's builder takes, by position or by name."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable
from types import MappingProxyType
from typing import Any

from torch import Tensor, nn

from parity.catalogue.entry import Entry, Options

PLACES = ("device", "dtype")
"""Options that say where and in what, which the settings of a run do."""


def without(builder: Callable[..., Any], names: tuple[str, ...]) -> Callable[..., Any]:
    """A builder that takes options of these names, and leaves them out: it has them fixed."""

    @functools.wraps(builder)
    def made(*args: Any, **options: Any) -> Any:
        return builder(*args, **{k: v for k, v in options.items() if k not in names})

    try:
        own = list(inspect.signature(builder).parameters.values())
    except (ValueError, TypeError):
        own = []
    last = [p for p in own if p.kind is p.VAR_KEYWORD]
    more = [inspect.Parameter(n, inspect.Parameter.KEYWORD_ONLY, default=None) for n in names]
    parameters = [*(p for p in own if p not in last and p.name not in names), *more, *last]
    made.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return made


def untouched_options(builder: Callable[..., Any], entry: Entry) -> tuple[str, ...]:
    """The options that a builder takes, and that no variant of its entry gives it."""
    try:
        takes = list(inspect.signature(builder).parameters.values())
    except (ValueError, TypeError):
        return ()
    given = {name for options in entry.variants.values() for name in options}
    given |= {own for name in given for own in ALIASES.get(name, ())}
    given |= {own for two in BETAS for own in two if "betas" in given}
    first = entry.of_parameters + sum(name in given for name in entry.positional)
    optional = [p for p in takes[first:] if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    return tuple(p.name for p in optional if p.name not in given and p.name not in PLACES)


def bound(builder: Callable[..., Any], entry: Entry, options: Options) -> tuple[Any, Any] | str:
    """How to call a subject's builder: positional and named arguments; or why it cannot be.

    An option that the builder has not is left out if its value is torch's default.
    """
    try:
        takes = inspect.signature(builder).parameters
    except (ValueError, TypeError):
        takes = MappingProxyType({})
    if getattr(builder, "__init__", None) is nn.Module.__init__:
        takes = MappingProxyType({})  # its `*args, **kwargs` are there to be refused
    open_ended = any(p.kind is p.VAR_KEYWORD for p in takes.values())
    needs = [p.name for p in takes.values() if p.default is p.empty]
    args = [options[name] for name in entry.positional if name in options]
    room = [p for p in takes.values() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    taken = {p.name for p in room[: len(args) + entry.of_parameters]}
    defaults, named = entry.defaults(), {}
    named_so = {own: name for name, others in ALIASES.items() for own in others}
    for name, value in options.items():
        if name in entry.positional or name in taken:
            continue
        if own := next((n for n in (name, *ALIASES.get(name, ())) if n in takes), ""):
            named[own] = value
        elif name == "betas" and (two := next((p for p in BETAS if {*p} <= takes.keys()), None)):
            named |= dict(zip(two, value, strict=True))
        elif open_ended:
            named[name] = value
        elif (name, value) == ("dim", -1):
            continue  # a softmax without the option is over the features
        elif isinstance(value, Tensor):
            return f"takes no {name}"
        elif name not in defaults or defaults[name] != value:
            return f"takes no {name}={value}"
    stride = takes.get("stride", takes.get("strides"))
    untold = "kernel_size" in options and "stride" not in {*options, *taken}
    if stride and untold and defaults.get("stride", 1) is None and stride.default is not None:
        # Torch's own is that of the window, and what the builder says may be another.
        named[stride.name] = options["kernel_size"]
    # What the builder cannot do without is torch's default, where torch has one.
    there = taken | options.keys() | named.keys()
    torchs = {n: n if n in defaults else named_so.get(n, n) for n in needs if n not in there}
    filled = {n: defaults[name] for n, name in torchs.items() if name in defaults}
    known = taken | filled.keys() | named.keys()
    meant = {n: _meant(n, entry, options) for n in needs if n not in known}
    filled |= {name: value for name, value in meant.items() if value}
    return args, filled | named


ALIASES = {
    "base": ("theta", "rope_theta"),
    "bias": ("use_bias", "has_bias", "with_bias"),
    "dim": ("axis",),
    "eps": ("epsilon",),
    "label_smoothing": ("smoothing",),
    "negative_slope": ("alpha", "slope", "leak"),
    "padding": ("pad",),
    "stride": ("strides",),
    "weight_decay": ("wd",),
}
"""What an option of torch's side may be called."""
BETAS = (("beta1", "beta2"), ("beta_1", "beta_2"), ("b1", "b2"))
"""What the two of an optimizer may be called that takes each by itself."""

LONGEST = 128
"""How long sequences are at most that a layer is told of when it is made."""


def _meant(name: str, entry: Entry, options: Options) -> int:
    """What an argument of that name means that a layer over a sequence cannot be made without: the
    width of its input, or how long a sequence is at most; 0 if it is not clear."""
    if not entry.sequence:
        return 0
    if re.search("len|pos|context|max", name):
        return LONGEST
    variant = next(n for n, own in entry.variants.items() if own.keys() <= options.keys())
    width = entry.shape_of(variant)[-1]
    return width if re.search("dim|width|size|features|embd|^d$|^d_", name) else 0
