"""The parity verdict that stands beside every time: both sides trained in lockstep."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

import parity
import scratch
from parity import Comparison, Local, Tensors, Trial
from parity.checks import networks
from reference import pairs
from scratch import data
from scratch.philox import FIRST_DROPOUT, ORDER, words

#: What a verdict in a table means.
PARITY = (
    "Parity: the largest error of a weight in 100 training steps in lockstep with torch, over "
    "what is allowed; 1 or less is right. The fused engine is judged by where they lead."
)


def verdict(
    pair: pairs.ModelPair, batch_size: int, device: str, engine: str = "eager"
) -> Comparison:
    """The worst comparison of a hundred steps in float32: by its error over what is allowed."""
    case = next(case for case in pairs.cases("network") if case.entry.name == pair.name)
    trial = Trial(Local(pairs.subject), case, torch.float32, device)
    if engine == "eager":
        compared = networks.in_training(trial, batch_size)
    else:
        model = pair.scratch(generator=torch.Generator().manual_seed(0)).to(device)
        compared = fitted(engine, trial, model, pair, 2, batch_size, 50 * batch_size)
    return max(compared, key=lambda comparison: comparison.ratio)


def fitted(
    engine: str,
    trial: Trial,
    model: scratch.Sequential,
    pair: pairs.ModelPair,
    epochs: int,
    size: int,
    samples: int,
) -> list[Comparison]:
    """The weights that `fit` leaves, against those that torch reaches from the same draws: on
    the same batches, with the same masks."""
    seed = 7
    x, labels = data.disk(samples, seed=trial.seed, dtype=trial.dtype, device=trial.device)
    t = pair.targets(labels, trial.dtype)
    before = model.state_dict()
    optimizer, loss = pair.optimizer[0](model.param()), pair.loss[0]()
    scratch.fit(
        model, loss, optimizer, x, t, epochs=epochs, batch_size=size, seed=seed, engine=engine
    )
    twin = pair.reference().to(trial.device)
    inputs: Tensors = dict(before)
    masks: list[list[Tensor | None]] = []
    for x_step, t_step, dropped in batches(seed, twin, x, t, epochs, size):
        masks.append(dropped)
        inputs |= {f"x {len(masks)}": x_step, f"t {len(masks)}": t_step}
    evaluate = parity.evaluate.training(twin, pair.loss[1](), pair.optimizer[1], masks)
    results = {f"step {len(masks)}: {name}": value for name, value in model.state_dict().items()}
    return parity.compare(results, parity.truth(evaluate, inputs).only(results))


def batches(
    seed: int, twin: nn.Sequential, x: Tensor, t: Tensor, epochs: int, size: int
) -> Iterator[tuple[Tensor, Tensor, list[Tensor | None]]]:
    """Each step's batch, and of each Dropout of torch's model what it keeps: what the words of
    the seed say, by themselves."""
    dropouts, y = [], x[:1]
    for layer in twin.to(x.dtype):
        y = layer(y)
        if isinstance(layer, nn.Dropout):
            dropouts.append((layer.p, y.shape[-1]))
    drawn = torch.tensor(seed, device=x.device)
    for epoch in range(1, epochs + 1):
        order = words(drawn, len(x), 0, epoch, ORDER).argsort(stable=True, dim=-1)
        for step, chosen in enumerate(order.split(size)):
            masks: list[Tensor | None] = []
            for place, (p, width) in enumerate(dropouts):
                mask = words(drawn, size * width, step, epoch, FIRST_DROPOUT + place)
                masks.append(mask.view(size, width)[: len(chosen)] < round((1 - p) * 2**32))
            yield x[chosen], t[chosen], masks
