"""Activations, losses and optimizers that the reports have not: edges, errors, engines, stacking.

Values, gradients and steps are under parity's checks, in `test_scratch.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import scratch
from scratch import runs
from scratch.engines import Unsupported

WEIGHT = torch.tensor([0.5, 1.5, 1.0])
LOGITS = torch.tensor([[0.3, -1.2, 2.0], [0.1, 0.4, -0.7], [1.5, 0.2, 0.9], [-0.3, 0.8, 0.1]])
INDICES = torch.tensor([2, 1, 0, 1])


def backward(criterion: Any, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    loss = criterion(x, t)
    return loss, criterion.backward()


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize(
    "options", [{}, {"weight": WEIGHT}, {"ignore_index": 1}, {"weight": WEIGHT, "ignore_index": 0}]
)
@pytest.mark.parametrize("name", ["CrossEntropyLoss", "NLLLoss"])
def test_stacked_runs_have_each_their_own_mean(
    name: str, options: dict[str, Any], reduction: str
) -> None:
    """The weights that it divides by are another number in each run."""
    made = getattr(scratch, name)(reduction=reduction, **options)
    x, t = torch.stack([LOGITS, 2 * LOGITS]), torch.stack([INDICES, INDICES.roll(1).clamp_max(1)])
    losses, dx = backward(made, x, t)
    for run in range(2):
        leaf = x[run].clone().requires_grad_()
        due = getattr(nn, name)(reduction=reduction, **options)(leaf, t[run])
        due.sum().backward()
        torch.testing.assert_close(losses[run], due.detach())
        assert leaf.grad is not None
        torch.testing.assert_close(dx[run], leaf.grad)


def test_where_all_are_ignored_the_mean_is_none() -> None:
    criterion = scratch.CrossEntropyLoss(ignore_index=1)
    loss, dx = backward(criterion, LOGITS, torch.ones(4, dtype=torch.int64))
    assert math.isnan(loss)
    assert bool(dx.isnan().all())
    loss, dx = backward(criterion, LOGITS, INDICES)  # and it goes on
    assert math.isfinite(loss)
    assert bool((dx[1] == 0).all())


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: scratch.GELU("sigmoid"), "approximate 'none' or 'tanh', not 'sigmoid'"),
        (lambda: scratch.Softplus(beta=0), "a beta above 0, not 0"),
        (lambda: scratch.HuberLoss(delta=-1), "a delta above 0, not -1"),
        (lambda: scratch.KLDivLoss("batch_mean"), "'sum', 'none' or 'batchmean', not 'batch_mean'"),
        (lambda: scratch.NLLLoss(reduction="batchmean"), "'mean', 'sum' or 'none', not 'batchm"),
        (lambda: scratch.CrossEntropyLoss(label_smoothing=1.5), "from 0 to 1, not 1.5"),
        (lambda: scratch.NLLLoss(weight=torch.ones(2, 3)), r"\[classes\], not float32 \[2, 3\]"),
        (lambda: scratch.NLLLoss(weight=torch.ones(4))(LOGITS, INDICES), "weights of 4 classes"),
        (lambda: scratch.NLLLoss()(LOGITS, INDICES - 1), "indices from 0 to 2, and got .* -1 to 1"),
        (lambda: scratch.NLLLoss(ignore_index=-1)(LOGITS, INDICES - 2), "from -2 to 0"),
        (lambda: scratch.NLLLoss()(LOGITS, INDICES[:2]), r"and class indices int64 \[2\]"),
        (lambda: scratch.RMSprop(pairs(), alpha=-1), "alpha of 0 or above, not -1"),
        (lambda: scratch.Adagrad(pairs(), lr_decay=-1), "lr_decay of 0 or above, not -1"),
        (lambda: scratch.Residual(scratch.Linear(3, 2))(LOGITS), r"\[4, 3\] became \[4, 2\]"),
        (scratch.Residual, "Sequential takes at least one module"),
    ],
)
def test_what_is_refused(make: Callable[[], Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        make()


def test_a_target_of_another_kind_is_refused() -> None:
    with pytest.raises(TypeError, match="takes class indices as int64, not float32"):
        scratch.NLLLoss()(LOGITS, LOGITS)


def pairs() -> list[scratch.module.Pair]:
    return scratch.Linear(3, 2).param()


def chain() -> scratch.Sequential:
    generator = torch.Generator().manual_seed(0)
    return scratch.Sequential(
        scratch.Linear(3, 3, generator=generator), scratch.SiLU(),
        scratch.Residual(scratch.Linear(3, 3, generator=generator), scratch.GELU()),
    )  # fmt: skip


def test_a_residual_has_its_modules_by_their_places_and_can_be_stacked() -> None:
    model = chain()
    assert list(model.state_dict()) == ["0.weight", "0.bias", "2.0.weight", "2.0.bias"]
    assert repr(model[2]).startswith("Residual(\n  (0): Linear(")
    two = runs.stack([model, chain()])
    y = two(torch.stack([LOGITS, LOGITS]))
    torch.testing.assert_close(y[1], model(LOGITS))


@pytest.mark.parametrize(
    ("criterion", "t"),
    [
        (scratch.CrossEntropyLoss(weight=WEIGHT), INDICES),
        (scratch.CrossEntropyLoss(label_smoothing=0.1), INDICES),
        (scratch.CrossEntropyLoss(ignore_index=1), INDICES),
        (scratch.NLLLoss(), INDICES),
        (scratch.HuberLoss(), LOGITS),
        (scratch.KLDivLoss("batchmean", log_target=True), LOGITS),
    ],
    ids=str,
)
def test_the_engine_takes_none_of_these_losses_and_auto_trains(
    criterion: scratch.Loss, t: Tensor
) -> None:
    for engine in ("fused", "auto"):
        model = scratch.Sequential(scratch.Linear(3, 3), scratch.Tanh())
        adam = scratch.Adam(model.param())
        given = (model, criterion, adam, LOGITS, t)
        if engine == "fused":
            with pytest.raises(Unsupported, match=r"takes (no loss|a CrossEntropyLoss without)"):
                scratch.fit(*given, epochs=1, batch_size=2, seed=0, engine=engine)
        else:
            with pytest.warns(UserWarning, match="Loss"):
                scratch.fit(*given, epochs=1, batch_size=2, seed=0, engine=engine)
        assert adam.steps == (0 if engine == "fused" else 2)


def test_what_is_ignored_may_lie_outside_of_the_classes() -> None:
    model = scratch.Sequential(scratch.Linear(3, 3), scratch.Tanh())
    t = torch.tensor([2, -100, 0, 1])  # torch's own index of what is ignored
    with pytest.raises(Unsupported):
        scratch.fit(model, scratch.CrossEntropyLoss(), scratch.SGD(model.param()), LOGITS, t,
                    epochs=1, batch_size=2, seed=0, engine="fused")  # fmt: skip
    loss, dx = backward(scratch.CrossEntropyLoss(), LOGITS, t)
    torch.testing.assert_close(loss, nn.CrossEntropyLoss()(LOGITS, t))
    assert bool((dx[1] == 0).all())


@pytest.mark.parametrize("name", ["RMSprop", "Adagrad"])
def test_training_goes_on_from_the_state_of_torchs(name: str) -> None:
    options = {"momentum": 0.9, "centered": True} if name == "RMSprop" else {"lr_decay": 0.1}
    layer, twin = scratch.Linear(3, 2), nn.Linear(3, 2)
    twin.load_state_dict(layer.state_dict())
    mine = getattr(scratch, name)(layer.param(), **options)
    theirs = getattr(torch.optim, name)(twin.parameters(), **options)
    generator = torch.Generator().manual_seed(0)
    for step in range(6):
        if step == 3:
            mine.load_state_dict(theirs.state_dict())
        for (_, gradient), parameter in zip(layer.param(), twin.parameters(), strict=True):
            gradient.copy_(torch.randn(gradient.shape, generator=generator))
            parameter.grad = gradient.clone()
        mine.step()
        theirs.step()
    for (own, _), parameter in zip(layer.param(), twin.parameters(), strict=True):
        torch.testing.assert_close(own, parameter.detach())
