"""What people get wrong in attention: scores, softmax, what must not be seen, heads."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from parity.catalogue.attention import (
    MultiheadAttention,
    ScaledDotProductAttention,
)
from parity.catalogue.values import Tensors
from parity.explain.mistakes import Mistake, Mistakes
from parity.explain.taps import Slip, Taps, keeping, put
from parity.judge.comparison import CONVENTION


def of_attention(
    made: Mistakes, module: ScaledDotProductAttention, inputs: Tensors, oracle: Tensors
) -> None:
    """Of scaled dot-product attention."""
    query, key, value = inputs["x"], inputs["key.x"], inputs["value.x"]
    slips = [*_OF_SCORES, *_of_hidden(module.is_causal, "mask.x" in inputs)]
    if query.shape[-1] != value.shape[-1]:
        slips.append(_scaled("by the width of the values", lambda q, k, v: v.shape[-1] ** -0.5))
    slips.append(_scaled("by the number of keys", lambda q, k, v: k.shape[-2] ** -0.5))

    def formula(inputs: Tensors, tap: Taps) -> Tensors:
        hidden = _hidden(inputs, module.is_causal)
        return {"output": _attended(inputs["x"], inputs["key.x"], inputs["value.x"], hidden, tap)}

    put(made, formula, slips, inputs)
    if query.shape == key.shape:
        made["key.input_grad"].append(
            Mistake("by the keys", "has the keys for the queries", _by_keys(inputs, module))
        )


def _by_keys(inputs: Tensors, module: ScaledDotProductAttention) -> Tensor:
    """The gradient of the keys, by the keys where the queries are due."""
    key = inputs["key.x"].detach().requires_grad_()
    scale = key.shape[-1] ** -0.5
    given = (inputs["x"], key, inputs["value.x"])
    scores = given[0] @ key.mT * scale
    hidden = _hidden(inputs, module.is_causal)
    shown = scores if hidden is None else scores.masked_fill(hidden, -math.inf)
    (slope,) = torch.autograd.grad(shown.softmax(-1) @ given[2], scores, inputs["dy"])
    return slope.mT @ key.detach() * scale


def _hidden(inputs: Tensors, causal: bool) -> Tensor | None:
    """Where a query must not see a key."""
    hidden = ~inputs["mask.x"] if "mask.x" in inputs else None
    return _after(inputs["x"], inputs["key.x"]) if causal else hidden


def _after(query: Tensor, key: Tensor, later: int = 1) -> Tensor:
    return torch.ones(query.shape[-2], key.shape[-2], dtype=torch.bool).triu(later)


def _attended(q: Tensor, k: Tensor, v: Tensor, hidden: Tensor | None, tap: Taps) -> Tensor:
    scale = tap("scale", q.shape[-1] ** -0.5, q, k, v)
    scores = tap("scores", q @ k.mT * scale, q, k, scale)
    hidden = tap("hidden", hidden, q, k)
    shown = tap("shown", scores if hidden is None else scores.masked_fill(hidden, -math.inf),
                scores, hidden)  # fmt: skip
    weights = tap("weights", shown.softmax(-1).nan_to_num(), shown, scores, hidden, v)
    y: Tensor = tap("attended", weights @ v, weights, v, scores)
    return y


def _scaled(how: str, scale: Callable[..., float]) -> Slip:
    return Slip(f"has the scores scaled {how}",
                {"scale": lambda y, q, k, v: scale(q, k, v)})  # fmt: skip


def _softmax_by(slope: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
    """A softmax whose gradient is a function of its value and of the gradient that comes in."""

    def tap(weights: Tensor, shown: Tensor, *_: Any) -> Tensor:
        y = keeping(weights, torch.where(shown.isfinite(), shown, 0))
        if y.requires_grad:
            y.register_hook(lambda dy: slope(weights.detach(), dy))
        return y

    return tap


_OF_SCORES = [
    _scaled("by nothing: they are not divided by the root of D", lambda q, k, v: 1.0),
    _scaled("by 1 / D, not by 1 / sqrt(D)", lambda q, k, v: 1 / q.shape[-1]),
    _scaled("by sqrt(D), not by 1 / sqrt(D)", lambda q, k, v: q.shape[-1] ** 0.5),
    Slip("is by a softmax over the queries, not over the keys", {
        "weights": lambda y, shown, scores, hidden, v: shown.softmax(-2).nan_to_num(),
    }),
    Slip("is by one softmax over all queries and keys", {
        "weights": lambda y, shown, *_: shown.flatten(-2).softmax(-1).view_as(shown),
    }),
    Slip("has p (1 - p) for the derivative of the softmax: its diagonal alone", {
        "weights": _softmax_by(lambda p, dp: p * (1 - p) * dp),
    }),
    Slip("lacks the sum over the row in the derivative of the softmax", {
        "weights": _softmax_by(lambda p, dp: p * dp),
    }),
    Slip("has the sum over the queries in the derivative of the softmax, not over the keys", {
        "weights": _softmax_by(lambda p, dp: p * (dp - (p * dp).sum(-2, keepdim=True))),
    }),
    Slip("has the mean of dp, not its mean by p, in the derivative of the softmax", {
        "weights": _softmax_by(lambda p, dp: p * (dp - dp.mean(-1, keepdim=True))),
    }),
    Slip("has the derivative of the softmax left out", {"weights": _softmax_by(lambda p, dp: dp)}),
    Slip("lacks the scale in the gradients of the queries and of the keys", {
        "scores": lambda y, q, k, scale: keeping(y, q @ k.mT),
    }),
    Slip("lacks the scale in the gradient of the queries", {
        "scores": lambda y, q, k, scale: keeping(
            y, q @ k.detach().mT, q.detach() @ k.mT * scale),
    }),
    Slip("lacks the scale in the gradient of the keys", {
        "scores": lambda y, q, k, scale: keeping(
            y, q.detach() @ k.mT, q @ k.detach().mT * scale),
    }),
    Slip("is by the scores, not by the softmax of them", {
        "attended": lambda y, weights, v, scores: keeping(
            y, weights @ v.detach(), torch.nan_to_num(scores.detach(), neginf=0.0) @ v),
    }),
    Slip("is by dy summed over the queries, without the softmax", {
        "attended": lambda y, weights, v, scores: keeping(
            y, weights @ v.detach(), torch.ones_like(weights) @ v),
    }),
    Slip("has the softmax transposed", {
        "attended": lambda y, weights, v, scores: keeping(
            y, weights @ v.detach(), _turned(weights) @ v),
    }),
    Slip("has the gradient of the scores transposed", {
        "scores": lambda y, q, k, scale: keeping(
            y, _turned(q @ k.detach().mT) * scale, q.detach() @ k.mT * scale),
    }),
]  # fmt: skip


def _turned(x: Tensor) -> Tensor:
    return x.detach().mT if not x.requires_grad and _square(x) else x.mT if _square(x) else x


def _square(x: Tensor) -> bool:
    return x.shape[-1] == x.shape[-2]


def _of_hidden(causal: bool, masked: bool) -> list[Slip]:
    """What goes wrong with what must not be seen."""
    if not causal and not masked:
        return []
    what = "the mask" if masked else "is_causal"
    slips = [
        Slip(f"ignores {what}", {"hidden": lambda hidden, q, k: None}),
        Slip("has what must not be seen taken off after the softmax, whose rows then sum to less", {
            "weights": lambda y, shown, scores, hidden, v:
                scores.softmax(-1).masked_fill(hidden, 0.0),
        }),
        Slip("has the score 0, not -inf, where nothing must be seen", {
            "shown": lambda y, scores, hidden: scores.masked_fill(hidden, 0.0),
        }),
        Slip(f"ignores {what} on the way back to the scores", {
            "weights": lambda y, shown, scores, hidden, v: keeping(y, scores.softmax(-1)),
        }),
        Slip(f"ignores {what} in all of backward", {
            "weights": lambda y, shown, scores, hidden, v: keeping(y, scores.softmax(-1)),
            "attended": lambda y, weights, v, scores: keeping(
                y, weights @ v.detach(), scores.softmax(-1).detach() @ v),
        }),
    ]  # fmt: skip
    if masked:
        return [
            *slips,
            Slip("reads the mask the other way round", {"hidden": lambda hidden, q, k: ~hidden}),
            Slip("adds the mask to the scores as zeros and ones", {
                "shown": lambda y, scores, hidden: scores + (~hidden).to(scores),
            }),
        ]  # fmt: skip
    return [
        *slips,
        Slip("lets a query see one key more than it may",
             {"hidden": lambda hidden, q, k: _after(q, k, 2)}),
        Slip("hides a query's own key from it; the first sees the first", {
            "hidden": lambda hidden, q, k: _own_hidden(q, k)}),
        Slip("hides what is before a query, and lets it see what comes after it",
             {"hidden": lambda hidden, q, k: _after(q, k, 0).logical_not().logical_and(
                 ~torch.eye(q.shape[-2], k.shape[-2], dtype=torch.bool))}),
        Slip("has the causal mask aligned at the lower right, where torch's is at the upper left", {
            "hidden": lambda hidden, q, k: _after(q, k, 1 + k.shape[-2] - q.shape[-2]),
        }, CONVENTION),
    ]  # fmt: skip


def _own_hidden(q: Tensor, k: Tensor) -> Tensor:
    hidden = _after(q, k, 0)
    hidden[0, 0] = False
    return hidden


def of_heads(made: Mistakes, module: MultiheadAttention, inputs: Tensors, oracle: Tensors) -> None:
    """Of multi-head attention."""
    heads, width = module.num_heads, module.embed_dim

    def formula(inputs: Tensors, tap: Taps) -> Tensors:
        x = inputs["x"]
        memory = tap("memory", inputs.get("memory.x", x), x)
        weights = tap("in_proj", inputs["in_proj_weight"].chunk(3))
        biases = inputs.get("in_proj_bias", x.new_zeros(3 * width)).chunk(3)
        biases = tap("biases", biases)
        given = tap("given", (x, memory, memory))
        q, k, v = (
            _split(functional.linear(one, w, b), heads, tap)
            for one, w, b in zip(given, weights, biases, strict=True)
        )
        hidden = _after(q, k) if module.causal else None
        joined = _joined(_attended(q, k, v, hidden, tap), tap)
        weight = tap("out weight", inputs["out_proj.weight"])
        bias = tap("out bias", inputs.get("out_proj.bias"))
        y = functional.linear(joined, weight, bias)
        return {"output": tap("projected", y, joined, weight, bias, x)}

    slips = [*_OF_SCORES, *_of_hidden(module.causal, False), *_OF_HEADS]
    slips.append(_scaled("by embed_dim, not by the width of a head", lambda q, k, v: width**-0.5))
    if "memory.x" in inputs:
        slips += [
            Slip("ignores the memory: x attends to itself", {"memory": lambda memory, x: x}),
            Slip("has the part of the keys alone", {
                "given": lambda given: (*given[:2], given[2].detach())}, only="memory.input_grad"),
            Slip("has the part of the values alone", {
                "given": lambda given: (given[0], given[1].detach(), given[2])},
                only="memory.input_grad"),
        ]  # fmt: skip
    else:
        slips += [
            Slip(f"has the part of the {name} alone", {
                "given": lambda given, n=n: tuple(
                    one if place == n else one.detach() for place, one in enumerate(given))})
            for n, name in enumerate(("queries", "keys", "values"))
        ]  # fmt: skip
        slips += [
            Slip(f"lacks the part of the {name}", {
                "given": lambda given, n=n: tuple(
                    one.detach() if place == n else one for place, one in enumerate(given))})
            for n, name in enumerate(("queries", "keys", "values"))
        ]  # fmt: skip
    put(made, formula, [one for one in slips if _fits(one, heads)], inputs)


def _fits(slip: Slip, heads: int) -> bool:
    return heads > 1 or "heads" not in slip.sentence


def _split(x: Tensor, heads: int, tap: Taps) -> Tensor:
    right = x.unflatten(-1, (heads, -1)).transpose(-2, -3)
    split: Tensor = tap("split", right, x, heads)
    return split


def _joined(x: Tensor, tap: Taps) -> Tensor:
    joined: Tensor = tap("joined", x.transpose(-2, -3).flatten(-2), x)
    return joined


def _as(order: tuple[int, ...]) -> Callable[[Any], Any]:
    return lambda parts: tuple(parts[place] for place in order)


def _without(*places: int) -> Callable[[Any], Any]:
    return lambda parts: tuple(
        torch.zeros_like(one) if place in places else one for place, one in enumerate(parts)
    )


_OF_HEADS = [
    Slip("is by one head: the heads are not split", {
        "split": lambda y, x, heads: x.unsqueeze(-3),
        "joined": lambda y, x: x.squeeze(-3),
    }),
    Slip("has the features in turn in the heads, not in blocks", {
        "split": lambda y, x, heads: x.unflatten(-1, (-1, heads)).movedim(-1, -3),
        "joined": lambda y, x: x.movedim(-3, -1).flatten(-2),
    }),
    Slip("has the heads made by a reshape, without swapping the axes", {
        "split": lambda y, x, heads: x.reshape(len(x), heads, x.shape[1], -1),
    }),
    Slip("has the heads joined by a reshape, without swapping the axes", {
        "joined": lambda y, x: x.reshape(len(x), x.shape[-2], -1),
    }),
    Slip("has the heads made and joined by a reshape, without swapping the axes", {
        "split": lambda y, x, heads: x.reshape(len(x), heads, x.shape[1], -1),
        "joined": lambda y, x: x.reshape(len(x), x.shape[-2], -1),
    }),
    Slip("has the keys before the queries in in_proj", {
        "in_proj": _as((1, 0, 2)), "biases": _as((1, 0, 2))}),
    Slip("has the values before the keys in in_proj", {
        "in_proj": _as((0, 2, 1)), "biases": _as((0, 2, 1))}),
    Slip("lacks in_proj_bias", {"biases": _without(0, 1, 2)}),
    Slip("lacks the values' part of in_proj_bias", {"biases": _without(2)}),
    Slip("lacks the queries' part of in_proj_bias", {"biases": _without(0)}),
    Slip("lacks out_proj.bias", {"out bias": lambda bias: None}),
    Slip("lacks out_proj: it is the heads, joined", {
        "projected": lambda y, joined, weight, bias, x: joined}),
    Slip("has out_proj.weight transposed", {"out weight": lambda weight: weight.mT}),
    Slip("has out_proj.weight transposed on the way back", {
        "projected": lambda y, joined, weight, bias, x: keeping(
            y, functional.linear(joined, weight.detach().mT),
            functional.linear(joined.detach(), weight, bias)),
    }),
    Slip("is by the output, not by the heads that went in", {
        "projected": lambda y, joined, weight, bias, x: keeping(
            y, functional.linear(joined, weight.detach(), bias),
            functional.linear(y.detach(), weight)),
    }),
    Slip("is by x, not by the heads that went in", {
        "projected": lambda y, joined, weight, bias, x: keeping(
            y, functional.linear(joined, weight.detach(), bias),
            functional.linear(x.detach(), weight)),
    }),
    *(Slip(f"has the rows of the {name} alone", {
        "in_proj": lambda parts, n=n: tuple(
            one if place == n else one.detach() for place, one in enumerate(parts)),
    }) for n, name in enumerate(("queries", "keys", "values"))),
]  # fmt: skip
