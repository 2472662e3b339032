"""Stacked runs beyond single layers: generators, gradients, targets, what may be stacked."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

import scratch
from scratch import data, models, runs, train

RUNS = 3
X, LABELS = data.disk(40, seed=0)


def singles(make: Any = models.model_2) -> list[Any]:
    return [make(generator=torch.Generator().manual_seed(seed)) for seed in range(RUNS)]


def drawing(*, generator: torch.Generator) -> scratch.Sequential:
    """A network whose Dropouts share a generator of their own."""
    return scratch.Sequential(
        scratch.Linear(2, 8, generator=generator), scratch.Dropout(generator=generator),
        scratch.ReLU(), scratch.Dropout(generator=generator),
        scratch.Linear(8, 2, generator=generator),
    )  # fmt: skip


def masks(model: Any) -> list[Tensor]:
    return [
        m.mask for m in model.modules() if isinstance(m, scratch.Dropout) and m.mask is not None
    ]


def test_dropout_without_generators_draws_for_each_run() -> None:
    layer = runs.stack([scratch.Dropout() for _ in range(RUNS)])
    layer(torch.ones(RUNS, 50, 4))
    (mask,) = masks(layer)
    assert not mask[0].equal(mask[1])
    assert not mask[1].equal(mask[2])


def test_masks_go_on_as_they_would_alone_through_stack_and_unstack() -> None:
    alone, stacked = singles(drawing), runs.stack(singles(drawing))
    for model in alone:
        model(X)
    stacked(X.expand(RUNS, -1, -1))
    for run, (model, single) in enumerate(zip(alone, runs.unstack(stacked), strict=True)):
        assert single.runs is None
        assert all(mask[run].equal(m) for mask, m in zip(masks(stacked), masks(model), strict=True))
        assert model(X).shape == single(X).shape
        assert all(a.equal(b) for a, b in zip(masks(model), masks(single), strict=True))


def test_stacking_leaves_the_models_and_their_generators_alone() -> None:
    models_before = singles(drawing)
    states = [copy.deepcopy(model.state_dict()) for model in models_before]
    stacked = runs.stack(models_before)
    stacked(X.expand(RUNS, -1, -1))
    fresh = singles(drawing)
    for model, twin, state in zip(models_before, fresh, states, strict=True):
        assert all(state[name].equal(p) for name, p in model.state_dict().items())
        assert model(X).equal(twin(X))


def test_layers_that_share_a_generator_go_on_sharing_it() -> None:
    stacked = runs.stack(singles(drawing))
    first, second = (m for m in stacked.modules() if isinstance(m, scratch.Dropout))
    assert isinstance(first.generator, list)
    assert isinstance(second.generator, list)
    assert all(a is b for a, b in zip(first.generator, second.generator, strict=True))


def test_gradients_are_stacked_and_unstacked() -> None:
    made = singles(models.model_1)
    for model in made:
        model.backward(torch.ones_like(model(X)))
    stacked = runs.stack(made)
    again = runs.unstack(stacked)
    for run, model in enumerate(made):
        for (_, g), (_, stacked_g), (_, again_g) in zip(
            model.param(), stacked.param(), again[run].param(), strict=True
        ):
            assert g.any()
            assert g.equal(stacked_g[run])
            assert g.equal(again_g)


def test_an_unstacked_model_is_a_model_again() -> None:
    (first, *_) = again = runs.unstack(runs.stack(singles()))
    assert train.predict(first, X).shape == (40, 2)
    assert runs.stack(again).runs == RUNS


def test_stacked_runs_are_measured_without_dropout_and_by_labels_of_their_own() -> None:
    made = singles()
    stacked = runs.stack(made)
    labels = torch.stack([LABELS, 1 - LABELS, LABELS.roll(1)])
    together = train.accuracy(stacked, X, labels)
    alone = [train.accuracy(model, X, own) for model, own in zip(made, labels, strict=True)]
    assert together.equal(torch.stack(alone))
    assert together[1] == 1 - train.accuracy(made[1], X, LABELS)


def test_each_run_may_have_float_targets_of_its_own() -> None:
    made = singles(models.model_1)
    stacked = runs.stack(made)
    t = torch.stack([data.one_hot(LABELS), data.one_hot(1 - LABELS), torch.rand(40, 2)])
    options: Any = {"epochs": 2, "batch_size": 15}
    loss = scratch.MSELoss("sum")
    train.fit(stacked, loss, scratch.SGD(stacked.param()), X, t, seed=range(RUNS), **options)
    for run, model in enumerate(made):
        train.fit(model, loss, scratch.SGD(model.param()), X, t[run], seed=run, **options)
        for name, parameter in model.state_dict().items():
            torch.testing.assert_close(stacked.state_dict()[name][run], parameter)


def test_stack_sees_what_repr_does_not_show() -> None:
    class Scale(scratch.Module):
        def __init__(self, factor: float) -> None:
            super().__init__()
            self.factor = factor

    with pytest.raises(ValueError, match="one architecture"):
        runs.stack([Scale(1.0), Scale(5.0)])
    with pytest.raises(ValueError, match="one architecture"):
        runs.stack([scratch.Dropout(), scratch.Dropout(generator=torch.Generator())])
    with pytest.raises(ValueError, match="stacked already"):
        runs.stack([scratch.Sequential(runs.stack([scratch.Linear(2, 2)]))] * 1)


def test_an_optimizer_of_the_single_models_is_refused() -> None:
    made = singles(models.model_1)
    optimizer = scratch.SGD(made[0].param())
    with pytest.raises(ValueError, match="moves no parameter of this model"):
        train.fit(runs.stack(made), scratch.MSELoss(), optimizer, X, data.one_hot(LABELS),
                  epochs=1, batch_size=10)  # fmt: skip


@pytest.mark.parametrize(
    ("x", "t", "words"),
    [
        (torch.ones(2, 40, 2), torch.ones(40, 2), r"fit got x float32 \[2, 40, 2\].*leading 3"),
        (torch.ones(40, 2), torch.ones(2, 40, 2), r"fit got t float32 \[2, 40, 2\].*leading 3"),
        (torch.ones(40, 2), torch.ones(40), r"fit got t float32 \[40\]"),
        (torch.ones(40, 2), torch.ones(40, 1, dtype=torch.int64), r"fit got t int64 \[40, 1\]"),
    ],
)
def test_leading_axes_must_fit_the_runs(x: Tensor, t: Tensor, words: str) -> None:
    stacked = runs.stack(singles(models.model_1))
    optimizer = scratch.SGD(stacked.param())
    with pytest.raises(ValueError, match=words):
        train.fit(stacked, scratch.MSELoss(), optimizer, x, t, epochs=1, batch_size=10)


@pytest.mark.parametrize(
    "other",
    [
        lambda: scratch.Sequential(scratch.Linear(2, 2), scratch.Tanh()),
        lambda: scratch.Sequential(scratch.Linear(2, 2), scratch.ReLU()).to(torch.float64),
        lambda: scratch.Sequential(scratch.Linear(2, 2, bias=False), scratch.ReLU()),
    ],
    ids=["another layer", "another dtype", "another parameter"],
)
def test_models_that_differ_are_not_stacked(other: Any) -> None:
    model = scratch.Sequential(scratch.Linear(2, 2), scratch.ReLU())
    with pytest.raises(ValueError, match="models of one architecture"):
        runs.stack([model, other()])


def test_networks_that_share_a_generator_are_not_stacked() -> None:
    generator = torch.Generator()
    with pytest.raises(ValueError, match="models 0 and 1 share a generator"):
        runs.stack([drawing(generator=generator) for _ in range(2)])
