"""What the regression gate times in both trees: one sample is so many units of work.

Every layer, loss and optimizer of the table of pairs, with its first options, the reports'
networks, and two beyond them. Loaded by path into the arms, from the head's tree for both of them:
it takes from the project what both are likely to have.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

import scratch
from parity import Case
from parity.play.several import flat
from reference import pairs
from reference.pairs import ModelPair
from scratch import data, runs, train

Sample = Callable[[], Callable[[], object]]
BATCH, RUNS = 10, 10
TOKENS, LENGTH = 50, 32


def benchmarks() -> dict[str, Callable[[int], Sample]]:
    """Each takes the units of a sample, and gives what prepares one: a function, which is timed."""
    found: dict[str, Callable[[int], Sample]] = {}
    for case in pairs.cases("layer"):
        found.setdefault(f"{case.entry.name} forward", partial(_layer, case, False))
        found.setdefault(f"{case.entry.name} backward", partial(_layer, case, True))
    for case in pairs.cases("loss"):
        found.setdefault(f"{case.entry.name} forward", partial(_loss, case, False))
        found.setdefault(f"{case.entry.name} backward", partial(_loss, case, True))
    for case in pairs.cases("optimizer"):
        found.setdefault(f"{case.entry.name} step", partial(_optimizer, case))
    by_name = {pair.name: pair for pair in pairs.MODELS}
    for name in ("model_1", "model_2", "model_a_cross_entropy_dropout"):
        found[f"{name} step"] = partial(_step, by_name[name], None)
    for name in ("lenet", "transformer"):
        found[f"{name} step"] = partial(_deep_step, name)
    for name in ("model_1", "model_2"):
        found[f"{name} step, {RUNS} runs"] = partial(_step, by_name[name], RUNS)
        found[f"{name} training, {RUNS} runs, fused"] = partial(
            _fit, by_name[name], RUNS, "fused", 20
        )
    found["model_1 training, eager"] = partial(_fit, by_name["model_1"], None, "eager", 5)
    return found


def _layer(case: Case, back: bool, units: int) -> Sample:
    """A backward uses up its forward: so many instances, each of which has one."""
    generator = torch.Generator().manual_seed(0)
    x = case.input(*case.shape, generator=generator, dtype=torch.float32)
    beside = case.inputs_beside(len(x), generator, torch.float32)
    inputs = (x, *beside.values())
    layers = [pairs.build(case) for _ in range(units if back else 1)]
    dys = [torch.ones_like(y) for y in flat(layers[0](*inputs))]

    def forward() -> None:
        layer = layers[0]
        for _ in range(units):
            layer(*inputs)

    def backward() -> None:
        for layer in layers:
            layer.backward(*dys)

    def prepared() -> Callable[[], None]:
        for layer in layers:
            layer(*inputs)
        return backward

    return prepared if back else lambda: forward


def _loss(case: Case, back: bool, units: int) -> Sample:
    generator = torch.Generator().manual_seed(0)
    prediction = torch.rand(case.shape, generator=generator)
    target = torch.rand(case.shape, generator=generator)
    if case.target == "index":
        target = target.argmax(-1)
    losses = [pairs.build(case) for _ in range(units if back else 1)]

    def forward() -> None:
        criterion = losses[0]
        for _ in range(units):
            criterion(prediction, target)

    def backward() -> None:
        for criterion in losses:
            criterion.backward()

    def prepared() -> Callable[[], None]:
        for criterion in losses:
            criterion(prediction, target)
        return backward

    return prepared if back else lambda: forward


def _optimizer(case: Case, units: int) -> Sample:
    """Steps on the parameters of Model 1, whose gradients are zero."""
    model = pairs.MODELS[0].scratch(generator=torch.Generator().manual_seed(0))
    optimizer = pairs.build(case, model.param())

    def steps() -> None:
        for _ in range(units):
            optimizer.step()

    return lambda: steps


def _model(pair: ModelPair, count: int | None) -> Any:
    singles = [
        pair.scratch(generator=torch.Generator().manual_seed(seed)) for seed in range(count or 1)
    ]
    return runs.stack(singles) if count else singles[0]


def _step(pair: ModelPair, count: int | None, units: int) -> Sample:
    x, labels = data.disk(BATCH, seed=0)
    t, model = pair.targets(labels), _model(pair, count)
    if count:
        x, t = x.expand(count, *x.shape), t.expand(count, *t.shape)
    optimizer, criterion = pair.optimizer[0](model.param()), pair.loss[0]()

    def steps() -> None:
        for _ in range(units):
            train.step(model, criterion, optimizer, x, t)

    return lambda: steps


def _deep_step(name: str, units: int) -> Sample:
    """Of the convolutional network, on images of noise, or of the transformer, on tokens."""
    generator = torch.Generator().manual_seed(0)
    if name == "lenet":
        model = scratch.models.lenet(generator=generator)
        x = torch.randn(BATCH, 1, 8, 8, generator=generator)
        t = torch.randint(10, (BATCH,), generator=generator)
    else:
        model = scratch.models.transformer(TOKENS, generator=generator)
        x = torch.randint(TOKENS, (BATCH, LENGTH), generator=generator)
        t = torch.randint(TOKENS, (BATCH * LENGTH,), generator=generator)
    optimizer, criterion = scratch.Adam(model.param()), scratch.CrossEntropyLoss()

    def steps() -> None:
        for _ in range(units):
            train.step(model, criterion, optimizer, x, t)

    return lambda: steps


def _fit(pair: ModelPair, count: int | None, engine: str, steps: int, units: int) -> Sample:
    """Trainings of so many steps, as `fit` runs them."""
    x, labels = data.disk(steps * BATCH, seed=0)
    t, model = pair.targets(labels), _model(pair, count)
    optimizer, criterion = pair.optimizer[0](model.param()), pair.loss[0]()
    seed = list(range(count)) if count else 0

    def trainings() -> None:
        for _ in range(units):
            scratch.fit(
                model, criterion, optimizer, x, t,
                epochs=1, batch_size=BATCH, seed=seed, engine=engine,
            )  # fmt: skip

    return lambda: trainings
