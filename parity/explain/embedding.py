"""What people get wrong in an embedding: indices that come twice, and the one that pads."""

from __future__ import annotations

import torch
from torch import nn

from parity.catalogue.values import Tensors
from parity.explain.mistakes import Mistake, Mistakes


def of_embedding(made: Mistakes, module: nn.Embedding, inputs: Tensors, oracle: Tensors) -> None:
    x, dy, weight = inputs["x"].flatten(), inputs["dy"], inputs["weight"]
    rows = dy.reshape(-1, weight.shape[-1])
    of = made["weight.param_grad"]
    whole = torch.zeros_like(weight).index_add(0, x, rows)
    pads = module.padding_idx
    kept = torch.ones(len(weight), 1, dtype=weight.dtype)
    if pads is not None:
        kept[pads] = 0
        text = "has a gradient at padding_idx, where torch has none"
        of.append(Mistake("padding row", text, whole))
        text = "is 0 at padding_idx, whatever that row is"
        zeroed = (weight * kept)[inputs["x"]]
        made["output"].append(Mistake("zero at padding_idx", text, zeroed))
    last, first = torch.zeros_like(weight), torch.zeros_like(weight)
    for place in range(len(x)):
        last[x[place]] = rows[place]
        first[x[-1 - place]] = rows[-1 - place]
    times = torch.bincount(x, minlength=len(weight)).clamp_min(1).unsqueeze(-1).to(weight)
    for name, sentence, value in (
        ("overwritten", "keeps the last of an index that comes several times: they add up", last),
        ("first kept", "keeps the first of an index that comes several times: they add up", first),
        ("mean", "is divided by how often the index comes", whole / times),
        ("multiplied", "is multiplied by how often the index comes", whole * times),
        ("counts", "ignores the incoming gradient", torch.zeros_like(weight).index_add(
            0, x, torch.ones_like(rows))),
    ):  # fmt: skip
        of.append(Mistake(name, sentence, value * kept))
    count = len(weight)
    for name, step in (("the next row", 1), ("the row before", -1)):
        text = f"takes {name}: an index is off by one"
        moved = (x + step) % count
        made["output"].append(Mistake(name, text, weight[moved].reshape(dy.shape)))
        wrong = torch.zeros_like(weight).index_add(0, moved, rows) * kept
        of.append(Mistake(name, text, wrong))
