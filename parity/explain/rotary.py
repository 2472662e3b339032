"""What people get wrong in rotary embeddings."""

from __future__ import annotations

import torch
from torch import Tensor

from parity.catalogue.attention import RoPE
from parity.catalogue.values import Tensors
from parity.explain.mistakes import Mistakes
from parity.explain.taps import Slip, Taps, keeping, put


def of_rope(made: Mistakes, module: RoPE, inputs: Tensors, oracle: Tensors) -> None:
    """Of a rotary embedding."""

    def formula(inputs: Tensors, tap: Taps) -> Tensors:
        x = inputs["x"]
        length, half = x.shape[-2], x.shape[-1] // 2
        places = tap("places", torch.arange(length, dtype=x.dtype), x)
        powers = tap("powers", torch.arange(half, dtype=x.dtype) / half, half)
        angles = places[..., None] * module.base**-powers
        angles = tap("angles", angles)
        cos, sin = tap("turn", (angles.cos(), angles.sin()))
        interleaved = tap("interleaved", module.interleaved)
        a, b = (x[..., 0::2], x[..., 1::2]) if interleaved else (x[..., :half], x[..., half:])
        turned = tap("turned", (a * cos - b * sin, a * sin + b * cos), a, b, cos, sin)
        whole = torch.stack(turned, -1).flatten(-2) if interleaved else torch.cat(turned, -1)
        return {"output": whole}

    put(made, formula, _OF_ROPE, inputs)


def _by_neighbours(a: Tensor, b: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    (c1, c2), (s1, s2) = (one.repeat_interleave(2, -1).chunk(2, -1) for one in (cos, sin))
    return a * c1 - b * s1, b * c2 + a * s2


_OF_ROPE = [
    Slip("is turned forward once more, not back", {
        "turned": lambda y, a, b, cos, sin: (
            keeping(y[0], a * cos + b * sin), keeping(y[1], b * cos - a * sin))}),
    Slip("has the cosines alone", {
        "turned": lambda y, a, b, cos, sin: (keeping(y[0], a * cos), keeping(y[1], b * cos))}),
    Slip("has pairs of neighbours, where they are halves", {"interleaved": lambda y: True}),
    Slip("has pairs of halves, where they are neighbours", {"interleaved": lambda y: False}),
    Slip("begins its places with 1, not 0", {"places": lambda places, x: places + 1}),
    Slip("takes the sample for the place", {
        "places": lambda places, x: torch.arange(len(x), dtype=x.dtype).view(
            -1, *([1] * (x.dim() - 2)))}),
    Slip("has the exponent -i / D, not -2 i / D", {"powers": lambda p, half: p / 2}),
    Slip("has the exponent -4 i / D, not -2 i / D", {"powers": lambda p, half: p * 2}),
    Slip("begins the i of the exponent with 1, not 0", {"powers": lambda p, half: p + 1 / half}),
    Slip("has the exponent's sign the other way", {"powers": lambda p, half: -p}),
    Slip("has all pairs turned as fast as the first", {"powers": lambda p, half: 0 * p}),
    Slip("has the angle's sign the other way", {"angles": lambda angles: -angles}),
    Slip("lacks the minus of the rotation", {
        "turned": lambda y, a, b, cos, sin: (a * cos + b * sin, y[1])}),
    Slip("has the first half alone turned: the second stays as it is", {
        "turned": lambda y, a, b, cos, sin: (y[0], b)}),
    Slip("has the angles repeated for neighbours, where the pairs are of halves", {
        "turned": lambda y, a, b, cos, sin: _by_neighbours(a, b, cos, sin)}),
    Slip("has sine and cosine swapped", {"turn": lambda both: both[::-1]}),
]  # fmt: skip
