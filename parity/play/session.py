"""A subject in this process: makes its objects for the checks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from parity.catalogue.case import Case
from parity.catalogue.entry import Options
from parity.catalogue.network import Network
from parity.play import guard
from parity.play.calls import assembled, build, construct
from parity.play.describe import describe
from parity.play.instance import Instance
from parity.play.layer import Layer
from parity.play.loss import Loss
from parity.play.network import Model, Whole
from parity.play.optimizer import Clipping, Optimizer
from parity.subject.subject import Subject


class Local:
    """A subject in this process, in which nothing can be forbidden it."""

    used: Mapping[str, None] = {}

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.description = describe(subject)

    def new(
        self, case: Case, dtype: torch.dtype, device: str, seed: int, poison: bool = False
    ) -> Any:
        """The subject's own object for a case: a `Layer`, a `Loss`, a `Whole`, …"""
        subject = self.subject
        made: Instance
        match case.kind:
            case "network":
                made = _whole(subject, case.network, dtype, device, seed)
            case "model":
                made = _model(subject, case.network, dtype, device, seed)
            case "optimizer" | "clipping":

                def linear(options: Options) -> Any:
                    return build(subject, "Linear", options, dtype, seed, poison, device)

                name, options = case.entry.name, case.options
                kind = Optimizer if case.kind == "optimizer" else Clipping
                made = kind(subject, dtype, name, options, linear, poison)
            case kind:
                name, options = case.entry.name, case.options
                own = build(subject, name, options, dtype, seed, poison, device)
                if kind == "loss":
                    made = Loss(subject, dtype, own, poison)
                    made.averages = "mean" in case.how
                    if case.entry.sequence:
                        batch = "vector" if made.layout.single else "rows"
                        made.layout = replace(made.layout, batch=batch, sequence="tbf")
                else:
                    made = Layer(subject, dtype, own, poison)
                    made.play(case.entry)
                    made.again = partial(build, subject, name, options, dtype, seed, poison, device)
        made.device = device
        return made

    def own_checks(self, kind: str) -> dict[str, Any]:
        """The checks that the subject brings, of that kind of case."""
        return dict(self.subject.checks.get(kind, {}))

    def beside(self, function: Callable[..., Any], kind: str, case: str, *what: Any) -> Any:
        """What a function of parity's returns of this session and a case, as plain values."""
        return function(self, kind, case, *what)

    def habits(self) -> list[str]:
        """What the subject has done to the state of the process that is everybody's."""
        return list(guard.habits)

    def close(self) -> None:
        """Nothing to end: the subject is this process's own."""


def _whole(subject: Subject, network: Network, dtype: torch.dtype, device: str, seed: int) -> Whole:
    guard.seed_all(seed)
    with guard.guarded(dtype, device=device):
        if network in subject.layers:
            made = subject.layers[network]()
            parts = subject.children(made)
        else:
            parts = [construct(subject, name, options) for name, options in network.parts]
            made = assembled(subject, parts)
        loss = Loss(subject, dtype, construct(subject, *network.loss))
    loss.device = device
    return Whole(subject, dtype, made, parts, loss)


def _model(subject: Subject, network: Network, dtype: torch.dtype, device: str, seed: int) -> Model:
    assert subject.model is not None
    widths = [options["in_features"] for name, options in network.parts if name == "Linear"]
    widths.append(network.parts[-1 if network.parts[-1][1] else -2][1]["out_features"])
    activation = network.name.removeprefix("model-")
    guard.seed_all(seed)
    with guard.guarded(dtype, device=device):
        return Model(subject, dtype, subject.model(widths, activation))
