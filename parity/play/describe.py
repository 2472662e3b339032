"""Lists the cases of a subject: what there is to check of it, and what it does not offer."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from parity.catalogue import activations
from parity.catalogue.case import Case
from parity.catalogue.entry import Entry
from parity.catalogue.network import Network
from parity.catalogue.table import CATALOGUE, by_name
from parity.play.broken import legible
from parity.play.guard import said
from parity.subject.builders import bound, untouched_options
from parity.subject.subject import SEVERAL, Subject

CLASSES = ("index", "one_hot", "distribution")
WIDTH = 25


@dataclass(frozen=True)
class Description:
    """A subject as the judge knows it: data alone, which can come from another process.

    Args:
        name: the subject's.
        cases: what can be checked, and what is not offered, with the reason.
        dtypes: in which.
        waivers: reasons by pattern.
        own: the names of the subject's own checks, by the kind of case that they are of.
        preset: what the adapter's `conventions` have set, in words.
        untouched: options that a class takes and no case gives it, by class.
    """

    name: str
    cases: list[Case]
    dtypes: tuple[str, ...]
    waivers: dict[str, str] = field(default_factory=dict)
    own: dict[str, tuple[str, ...]] = field(default_factory=dict)
    preset: str = ""
    untouched: dict[str, tuple[str, ...]] = field(default_factory=dict)


#: What is sent of an entry that is not of the catalogue, and of a network.
_ROW = ("kind", "variants", "shape", "domain", "target", "positional", "mixes", "images",
        "sequence", "beside", "results", "blocks", "chained", "ranges", "optional",
        "name")  # fmt: skip
_NETWORK = (*_ROW, "loss", "optimizer", "parts")


def as_data(description: Description) -> dict[str, Any]:
    """A description as plain values, which can be sent; `from_data` reads it.

    A reference that is not torch's own is not sent: whoever reads would have to import it, and has
    it judged by who made it.
    """
    entries: list[Entry] = []
    cases = []
    for case in description.cases:
        if case.entry not in entries:
            entries.append(case.entry)
        row = (entries.index(case.entry), case.variant, case.reduction, case.accumulates)
        conventions = case.single, case.objects, case.moves, case.biased, case.one_bias
        cases.append((*row, conventions, case.missing))
    return {
        "name": description.name, "cases": cases, "dtypes": tuple(description.dtypes),
        "waivers": description.waivers, "own": description.own, "preset": description.preset,
        "untouched": description.untouched,
        "entries": [_entry_as_data(one) for one in entries],
    }  # fmt: skip


def from_data(data: dict[str, Any]) -> Description:
    """What `as_data` has made.

    Raises:
        Exception: of any kind, where it has not.
    """
    entries = [_entry_of(one) for one in data["entries"]]
    cases = []
    for place, variant, reduction, accumulates, conventions, missing in data["cases"]:
        entry, elsewhere = entries[place]
        own, how, why = _text(variant), _text(reduction), _text(missing)
        single, objects, moves, biased, one_bias = map(bool, conventions)
        flags = bool(accumulates), single, objects, moves
        cases.append(Case(entry, own, how, *flags, why, biased, one_bias, elsewhere))
    waivers = {_text(k): _text(v) for k, v in data["waivers"].items()}
    dtypes = tuple(name for name in data["dtypes"] if name in SEVERAL["dtypes"])
    checks = {
        _text(kind): tuple(legible(_text(name)) for name in names)
        for kind, names in data["own"].items()
    }
    untouched = {
        legible(_text(name)): tuple(legible(_text(option)) for option in options)
        for name, options in data["untouched"].items()
    }
    name, preset = legible(_text(data["name"])), legible(_text(data["preset"]))
    return Description(name, cases, dtypes, waivers, checks, preset, untouched)


def _entry_as_data(entry: Entry) -> Any:
    known = next((one.name for one in CATALOGUE.values() if one is entry), None)
    if known is not None:
        return known
    if isinstance(entry, Network):
        return {"network": _row(entry, _NETWORK)}
    made = entry.reference
    module = getattr(made, "__module__", None)
    place = (module, getattr(made, "__qualname__", "")) if isinstance(module, str) else None
    return {"entry": _row(entry, _ROW), "reference": place}


def _row(entry: Entry, names: tuple[str, ...]) -> dict[str, Any]:
    values = {name: getattr(entry, name) for name in names}
    return {k: _plain(v) for k, v in values.items()}


def _plain(value: Any) -> Any:
    return {k: _plain(v) for k, v in value.items()} if isinstance(value, Mapping) else value


def _entry_of(data: Any) -> tuple[Entry, bool]:
    """An entry, and whether its torch side is to be had in the subject's process alone."""
    if isinstance(data, str):
        return by_name(data), False
    if "network" in data:
        made = Network(**data["network"])
        return made, not made.parts
    row = data["entry"]
    _text(row["name"])
    found = _of_torch(*(data["reference"] or ("", "")))
    return Entry(found or _Elsewhere, **row), found is None


class _Elsewhere:
    """In the place of a reference that only the adapter has."""


def _of_torch(module: str, name: str) -> type | None:
    """A layer, loss or optimizer of torch's, or of the catalogue's own, by its place; None for
    whatever else has a place in torch's modules, of which much runs what it is given."""
    if not module.startswith(("torch.nn.", "torch.optim.", "parity.catalogue.")):
        return None
    found = getattr(sys.modules.get(module), name, None)
    known = isinstance(found, type) and issubclass(found, (nn.Module, torch.optim.Optimizer))
    return found if known and found.__module__ == module else None


LONGEST_TEXT = 2000
"""How long a name, a pattern or a reason may be."""


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > LONGEST_TEXT:
        raise TypeError("it is no text, or a very long one")
    return value


def describe(subject: Subject) -> Description:
    """Every case of the subject, those that it does not offer among them."""
    cases: list[Case] = []
    for entry, builder in subject.entries().values():
        cases += _cases(subject, entry, builder)
    networks = [key for key in subject.layers if isinstance(key, Network)]
    if not networks:
        networks = _assembled(subject, cases)
    cases += [_case(subject, network) for network in networks]
    if subject.model is not None:
        how = subject.reduction_of(CATALOGUE[subject.model_loss])
        cases += [_case(subject, network, reduction=how) for network in _models(subject)]
    own = {str(kind): tuple(map(str, checks)) for kind, checks in subject.checks.items()}
    untouched = {
        entry.name: left
        for entry, builder in subject.entries().values()
        if (left := untouched_options(builder, entry))
    }
    waivers = dict(subject.waivers)
    preset = subject.preset
    return Description(subject.name, cases, subject.dtypes, waivers, own, preset, untouched)


def _case(subject: Subject, entry: Any, variant: str = "", **more: Any) -> Case:
    return Case(
        entry,
        variant,
        accumulates=subject.gradients == "accumulated",
        single=subject.batch in ("vector", "column"),
        objects=subject.parameters == "objects",
        moves=subject.step_in_backward is not None,
        biased=subject.running_variance == "biased",
        one_bias=subject.biases == "one",
        **more,
    )


def _cases(subject: Subject, entry: Entry, builder: Any) -> list[Case]:
    found = []
    for variant, options in entry.variants.items():
        target = entry.target_of(variant) if entry.kind == "loss" else ""
        if target in CLASSES and target not in subject.targets:
            continue
        reduction = ""
        if entry.kind == "loss" and isinstance(bound(builder, entry, {"reduction": "sum"}), str):
            if options.get("reduction", "mean") != "mean":
                continue
            reduction = subject.reduction_of(entry)
        call = bound(builder, entry, options)
        missing = call if isinstance(call, str) else _no_module(entry, options)
        found.append(_case(subject, entry, variant, reduction=reduction, missing=missing))
    return found


def _no_module(entry: Entry, options: Any) -> str:
    """Why nothing can be held against an entry's torch side, if that is so."""
    reference = entry.reference
    known = isinstance(reference, type) and reference in CATALOGUE
    if known or entry.kind not in ("layer", "loss"):
        return ""
    try:
        made = reference(**options)
    except Exception as error:
        return f"its reference cannot be made: {said(error)}"
    return "" if isinstance(made, nn.Module) else "its reference makes no torch.nn.Module"


def _assembled(subject: Subject, cases: list[Case]) -> list[Network]:
    """A network of what there is: Linear layers with each activation between two of them.

    An entry of the subject's own is left out, since a network names its parts.
    """
    known = {(entry.name, entry.reference) for entry in CATALOGUE.values()}
    offered = {
        c.entry.name: c
        for c in reversed(cases)
        if not c.missing and (c.entry.name, c.entry.reference) in known
    }
    of_classes = {"CrossEntropyLoss", "CategoricalCrossEntropy"}
    able = (n for n in LOSSES if n in offered and ENDS.get(n, "Linear") in offered)
    loss = next(able, "")
    if "Linear" not in offered or not loss:
        return []
    able_too = (c for c in cases if c.kind == "optimizer" and not c.missing)
    optimizer = next(able_too, next((c for c in cases if c.kind == "optimizer"), None))
    parts: list[tuple[str, Any]] = [("Linear", {"in_features": 2, "out_features": WIDTH})]
    for name, case in offered.items():
        plain = case.kind == "layer" and not case.entry.positional and name in ACTIVATIONS
        if plain or name == "Dropout":
            options = {"p": 0.2} if name == "Dropout" else dict(subject.fixed_of(name))
            parts.append((name, options))
            if plain:
                parts.append(("Linear", {"in_features": WIDTH, "out_features": WIDTH}))
    last = ("Linear", {"in_features": WIDTH, "out_features": 2})
    if parts[-1][0] == "Linear" and len(parts) > 1:
        parts.pop()  # one Linear between two activations, and none after another Linear
    parts.append(last)
    if loss in ENDS:
        parts.append((ENDS[loss], offered[ENDS[loss]].options))
    moved: tuple[str, Any] | None = None
    if optimizer is not None:  # its defaults are said: the subject's may be others
        name = optimizer.entry.name
        moved = name, optimizer.options | {"lr": 0.01} | subject.fixed_of(name)
    target = subject.targets[0] if loss in of_classes else "one_hot"
    judged: Any = {"loss": (loss, offered[loss].options), "target": target}
    found = [Network(name="network", optimizer=moved, parts=tuple(parts), **judged)]
    plainly = subject.batch == "rows" and subject.channels == "first"
    if plainly and {"Conv2d", "Flatten"} <= offered.keys() and loss not in ENDS:
        images = _of_images(offered, subject)
        found.append(Network(name="images", shape=IMAGES, parts=images, **judged))
    return found


LOSSES = ("MSELoss", "CrossEntropyLoss", "CategoricalCrossEntropy", "BCEWithLogitsLoss", "L1Loss",
          "BCELoss")  # fmt: skip
"""The losses that a network may end with: the first of them that a subject has."""
ENDS = {"CategoricalCrossEntropy": "Softmax", "BCELoss": "Sigmoid"}
"""What a network has before a loss of probabilities."""

IMAGES = (10, 1, 6, 8)
"""The shape of the input of a network that begins with a convolution; its pool leaves no remainder,
which some refuse."""


def _of_images(offered: dict[str, Case], subject: Subject) -> tuple[tuple[str, Any], ...]:
    """A convolution, an activation, a norm, pooling, and a Linear layer behind a Flatten: what
    there is of them. A norm that followed the convolution would leave its bias no gradient."""
    conv = {"in_channels": 1, "out_channels": 3, "kernel_size": 3}
    parts: list[tuple[str, Any]] = [("Conv2d", conv)]
    parts += [(name, dict(subject.fixed_of(name))) for name in ACTIVATIONS if name in offered][:1]
    if "BatchNorm2d" in offered:
        parts.append(("BatchNorm2d", {"num_features": 3} | subject.fixed_of("BatchNorm2d")))
    height, width = (n - 2 for n in IMAGES[2:])
    pools = [name for name in ("MaxPool2d", "AvgPool2d") if name in offered]
    if pools:
        parts.append((pools[0], {"kernel_size": 2}))
        height, width = height // 2, width // 2
    flat = 3 * height * width
    return (*parts, ("Flatten", {}), ("Linear", {"in_features": flat, "out_features": 2}))


ACTIVATIONS = tuple(entry.name for entry in activations.ROWS if "Softmax" not in entry.name)


def _models(subject: Subject) -> list[Network]:
    """The networks that a subject's `model` is checked with."""
    found = []
    for activation in subject.model_activations:
        parts: list[tuple[str, Any]] = []
        widths = (2, *subject.model_hidden, 2)  # `points` has two of each
        for width, following in itertools.pairwise(widths):
            options = {"in_features": width, "out_features": following}
            parts += [("Linear", options), (activation, {})]
        parts.pop()
        if subject.model_output:
            parts.append((subject.model_output, {}))
        loss = (subject.model_loss.__name__, {"reduction": "mean"})
        of_classes = loss[0] in ("CrossEntropyLoss", "NLLLoss") and subject.targets[0] == "index"
        found.append(
            Network(
                name=f"model-{activation}",
                kind="model",
                loss=loss,
                target="index" if of_classes else "one_hot",
                parts=tuple(parts),
            )
        )
    return found
