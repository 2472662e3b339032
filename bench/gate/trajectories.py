"""Losses on the way: of scratch, against torch's from the same weights, batches and masks."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

import parity
import scratch
from bench.deep import Deep, verdict
from bench.lockstep import batches
from parity import Tensors
from parity.judge.evaluate import dropping
from reference import train
from reference.pairs import ModelPair
from scratch import data

SEED, BATCH, SAMPLES = 7, 10, 1000
ULPS, EPS = 4, torch.finfo(torch.float32).eps


def first_steps(pair: ModelPair, steps: int = 10) -> float:
    """The losses of the first steps, each by itself: the worst error over what is allowed."""
    trained = _Trained(pair, 1, steps * BATCH, together=1)
    return trained.ratio(parity.truth(trained.evaluate, trained.weights))


def whole_run(pair: ModelPair, epochs: int = 30, near: int = 4) -> float:
    """The mean losses of the epochs of a whole run: the worst error over what is allowed.

    Of an epoch, not of a step: a step's loss is of ten points alone. Rounding grows as training
    goes on: by how much, runs of the oracle show that start nearby, within the rounding of the
    weights.
    """
    trained = _Trained(pair, epochs, SAMPLES, together=SAMPLES // BATCH)
    truth = parity.truth(trained.evaluate, trained.weights, draws=0)
    generator = torch.Generator().manual_seed(SEED)
    for _ in range(near):
        moved = {
            name: value.double() * (1 + ULPS * EPS * (2 * _uniform(value, generator) - 1))
            for name, value in trained.weights.items()
        }
        away = (trained.evaluate(moved)["loss"] - truth.oracle["loss"]).abs()
        truth.floor["loss"] = torch.maximum(truth.floor["loss"], away)
    return trained.ratio(truth)


def deep_steps(deep: Deep) -> float:
    """A pass and ten steps of a convolutional network or a transformer, layer by layer: the worst
    error over what is allowed."""
    return verdict(replace(deep, data=lambda: (inputs(deep), inputs(deep)))).ratio


def inputs(deep: Deep, samples: int = 40) -> tuple[Tensor, Tensor]:
    """What such a model may be given, without the data of its training: images of noise, or a
    text; and the classes."""
    if deep.figure == "loss":
        x, t = deep.data()[0]
        return x[:samples], t[:samples]
    generator = torch.Generator().manual_seed(SEED)
    images = torch.randn(samples, 1, 8, 8, generator=generator)
    return images, torch.randint(10, (samples,), generator=generator)


def _uniform(like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.rand(like.shape, dtype=torch.float64, generator=generator)


class _Trained:
    """A training of scratch in float32, and what torch makes of the same."""

    def __init__(self, pair: ModelPair, epochs: int, samples: int, together: int) -> None:
        x, labels = data.disk(samples, seed=SEED)
        t = pair.targets(labels, torch.float32)
        model = pair.scratch(generator=torch.Generator().manual_seed(SEED))
        self.pair, self.together, self.twin = pair, together, pair.reference()
        self.weights: Tensors = {k: value.clone() for k, value in model.state_dict().items()}
        self.losses = _of_scratch(pair, model, x, t, epochs).view(-1, together).mean(-1)
        self.steps = list(batches(SEED, self.twin, x, t, epochs, BATCH))

    def evaluate(self, inputs: Tensors) -> Tensors:
        """Torch's losses from given weights, each the mean of so many steps."""
        dtype = next(iter(inputs.values())).dtype
        twin = self.twin.to(dtype).train()
        twin.load_state_dict(inputs)
        criterion, optimizer = self.pair.loss[1](), self.pair.optimizer[1](twin.parameters())
        values = []
        for x, t, masks in self.steps:
            target = t.to(dtype) if t.is_floating_point() else t
            with dropping(twin, masks):
                values.append(train.step(twin, criterion, optimizer, x.to(dtype), target))
        return {"loss": torch.stack(values).view(-1, self.together).mean(-1)}

    def ratio(self, truth: parity.Truth) -> float:
        return max(one.ratio for one in parity.compare({"loss": self.losses}, truth))


def _of_scratch(
    pair: ModelPair, model: scratch.Sequential, x: Tensor, t: Tensor, epochs: int
) -> Tensor:
    """The loss of each step, as `fit` goes through them."""
    criterion, optimizer = pair.loss[0](), pair.optimizer[0](model.param())
    values: list[Tensor] = []
    forward = criterion.forward

    def recorded(prediction: Tensor, target: Tensor) -> Tensor:
        values.append(forward(prediction, target).clone())
        return values[-1]

    criterion.forward = recorded  # type: ignore[method-assign]
    scratch.fit(model, criterion, optimizer, x, t, epochs=epochs, batch_size=BATCH, seed=SEED)
    return torch.stack(values)
