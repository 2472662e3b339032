"""What people get wrong in Adadelta, Adamax, NAdam and RAdam: their steps with one thing wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

State = dict[str, Any]
Rule = Callable[[Tensor, Tensor, State, int], Tensor]
Rules = list[tuple[str, str, Rule]]


def of_adadelta(o: dict[str, Any]) -> Rules:
    """Zeiler (2012), algorithm 1."""
    rho, eps = o["rho"], o["eps"]

    def adadelta(*, outside: bool = False, early: bool = False, forgets: bool = False) -> Rule:
        def rule(p: Tensor, g: Tensor, state: State, t: int) -> Tensor:
            g = g + o["weight_decay"] * p
            v = state["v"] = rho * state.get("v", 0 * p) + (1 - rho) * g * g
            u = 0 * p if forgets else state.get("u", 0 * p)

            def step(u: Tensor) -> Tensor:
                if outside:
                    return (u.sqrt() + eps) / (v.sqrt() + eps) * g
                return (u + eps).sqrt() / (v + eps).sqrt() * g

            d = step(u)
            state["u"] = rho * u + (1 - rho) * d * d
            return p - o["lr"] * (step(state["u"]) if early else d)

        return rule

    return [
        ("eps outside", "adds eps outside of the square roots", adadelta(outside=True)),
        ("early", "takes the average of the steps with this step in it", adadelta(early=True)),
        ("forgets", "keeps no average of the steps", adadelta(forgets=True)),
    ]


def of_adamax(o: dict[str, Any]) -> Rules:
    """Kingma and Ba (2015), algorithm 2."""
    (beta1, beta2), eps = o["betas"], o["eps"]

    def adamax(*, corrected: bool = True, averaged: bool = False, forgets: bool = False) -> Rule:
        def rule(p: Tensor, g: Tensor, state: State, t: int) -> Tensor:
            g = g + o["weight_decay"] * p
            m = state["m"] = beta1 * state.get("m", 0 * p) + (1 - beta1) * g
            before, now = state.get("u", 0 * p), g.abs() + eps
            if averaged:
                u = beta2 * before + (1 - beta2) * now
            else:
                u = now if forgets else torch.maximum(beta2 * before, now)
            state["u"] = u
            return p - o["lr"] / (1 - beta1**t if corrected else 1) * m / u

        return rule

    return [
        ("not corrected", "does not correct the first moment", adamax(corrected=False)),
        ("averaged", "averages the sizes of the gradients, and takes no largest",
         adamax(averaged=True)),
        ("forgets", "takes the size of the last gradient, and not the largest so far",
         adamax(forgets=True)),
    ]  # fmt: skip


def of_nadam(o: dict[str, Any]) -> Rules:
    """Dozat (2016), algorithm 8, with the momentum's schedule that torch has."""
    (beta1, beta2), eps, decay = o["betas"], o["eps"], o["momentum_decay"]

    def nadam(*, scheduled: bool = True, ahead: bool = True, corrected: bool = True) -> Rule:
        def share(t: int) -> float:
            return beta1 * (1 - 0.5 * 0.96 ** (t * decay)) if scheduled else beta1

        def rule(p: Tensor, g: Tensor, state: State, t: int) -> Tensor:
            if o["weight_decay"] and not o["decoupled_weight_decay"]:
                g = g + o["weight_decay"] * p
            elif o["weight_decay"]:
                p = p * (1 - o["lr"] * o["weight_decay"])
            mu, following = share(t), share(t + 1)
            product = state["product"] = state.get("product", 1.0) * mu
            m = state["m"] = beta1 * state.get("m", 0 * p) + (1 - beta1) * g
            v = state["v"] = beta2 * state.get("v", 0 * p) + (1 - beta2) * g * g
            size = (v / (1 - beta2**t) if corrected else v).sqrt() + eps
            if not ahead:
                return p - o["lr"] * m / (1 - beta1**t) / size
            now = (1 - mu) / (1 - product) * g
            later = following / (1 - product * following) * m
            return p - o["lr"] * (now + later) / size

        return rule

    return [
        ("constant momentum", "has a constant momentum, and torch's grows step by step",
         nadam(scheduled=False)),
        ("no look ahead", "is Adam: it does not look ahead", nadam(ahead=False)),
        ("not corrected", "does not correct the second moment", nadam(corrected=False)),
    ]  # fmt: skip


def of_radam(o: dict[str, Any]) -> Rules:
    """Liu et al. (2020), algorithm 2."""
    (beta1, beta2), eps = o["betas"], o["eps"]
    most = 2 / (1 - beta2) - 1

    def radam(*, rectified: bool = True, waits: bool = False, least: float = 5.0) -> Rule:
        def rule(p: Tensor, g: Tensor, state: State, t: int) -> Tensor:
            if o["weight_decay"] and not o["decoupled_weight_decay"]:
                g = g + o["weight_decay"] * p
            elif o["weight_decay"]:
                p = p * (1 - o["lr"] * o["weight_decay"])
            m = state["m"] = beta1 * state.get("m", 0 * p) + (1 - beta1) * g
            v = state["v"] = beta2 * state.get("v", 0 * p) + (1 - beta2) * g * g
            m, length = m / (1 - beta1**t), most - 2 * t * beta2**t / (1 - beta2**t)
            if length <= least:
                return p if waits else p - o["lr"] * m
            r = ((length - 4) * (length - 2) * most / ((most - 4) * (most - 2) * length)) ** 0.5
            step = m * (1 - beta2**t) ** 0.5 / (v.sqrt() + eps)
            return p - o["lr"] * step * (r if rectified else 1.0)

        return rule

    return [
        ("not rectified", "leaves the rectification out", radam(rectified=False)),
        ("waits", "takes no step while the variance is not known", radam(waits=True)),
        ("from 4 on", "rectifies from a length of 4 on, as the paper; torch does from 5 on",
         radam(least=4.0)),
    ]  # fmt: skip
