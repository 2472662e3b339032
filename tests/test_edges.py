"""Edges of scratch that mutation found untested: refusals to the word, placement, old states."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, NoReturn

import pytest
import torch

import scratch
from scratch import models, runs, train


def test_linear_refuses_a_gradient_of_another_batch() -> None:
    layer = scratch.Linear(2, 3)
    layer(torch.ones(4, 2))
    with pytest.raises(ValueError, match=r"backward got float32 \[5, 3\].*takes float32 \[B, 3\]"):
        layer.backward(torch.ones(5, 3))


def test_linear_names_where_and_what_on_another_device() -> None:
    layer = scratch.Linear(2, 3)
    words = r"Linear\(2, 3\): {} got float32 \[4, {}\] on meta, takes float32 \[B, {}\] on cpu$"
    with pytest.raises(ValueError, match=words.format("forward", 2, 2)):
        layer(torch.ones(4, 2, device="meta"))
    with pytest.raises(ValueError, match=words.format("forward", 5, 2)):
        layer(torch.ones(4, 5, device="meta"))
    layer(torch.ones(4, 2))
    with pytest.raises(ValueError, match=words.format("backward", 3, 3)):
        layer.backward(torch.ones(4, 3, device="meta"))


def test_linear_gives_a_hint_where_one_is_due_alone() -> None:
    single, stacked = scratch.Linear(2, 3), runs.stack([scratch.Linear(2, 3)])
    cases: list[tuple[scratch.Module, tuple[int, ...], str]] = [
        (single, (4, 5), r"forward got .* on cpu, takes float32 \[B, 2\] on cpu$"),
        (single, (1, 4, 2), r"on cpu; three dimensions are for a model that runs.stack built$"),
        (stacked, (1, 4, 5), r"takes float32 \[1, B, 2\] on cpu$"),
        (stacked, (4, 2), r"on cpu; this model is stacked: each run takes a batch of its own$"),
    ]
    for layer, shape, words in cases:
        with pytest.raises(ValueError, match=words):
            layer(torch.ones(shape))


@pytest.mark.parametrize("method", ["forward", "backward"])
def test_linear_passes_on_an_error_that_is_not_of_its_arguments(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: Any, **options: Any) -> NoReturn:
        raise RuntimeError("out of memory")

    layer = scratch.Linear(2, 3)
    layer(torch.ones(4, 2))
    if method == "forward":
        monkeypatch.setattr(torch, "addmm", broken)
    else:
        monkeypatch.setattr(torch.Tensor, "addmm_", broken)
    with pytest.raises(RuntimeError, match=r"^out of memory$"):
        getattr(layer, method)(torch.ones(4, 2 if method == "forward" else 3))


@pytest.mark.parametrize("name", ["in_features", "out_features"])
def test_linear_says_which_width(name: str) -> None:
    widths: dict[str, Any] = {"in_features": 2, "out_features": 3} | {name: 0}
    with pytest.raises(ValueError, match=f"positive integer as {name}, not 0"):
        scratch.Linear(**widths)


def test_a_loss_refuses_a_target_that_is_wrong_in_two_ways_or_elsewhere() -> None:
    x = torch.ones(4, 3)
    for target in (torch.ones(4, 2, dtype=torch.float64), torch.ones(4, 3, device="meta")):
        with pytest.raises(ValueError, match=r"MSELoss.*got a prediction"):
            scratch.MSELoss()(x, target)


def test_class_indices_of_stacked_runs_are_held_against_the_classes() -> None:
    loss = scratch.CrossEntropyLoss()
    with pytest.raises(ValueError, match=r"from 0 to 2.*3"):
        loss(torch.ones(2, 7, 3), torch.full((2, 7), 3))
    assert loss(torch.ones(2, 3, 7), torch.full((2, 3), 6)).shape == (2,)


@pytest.mark.parametrize("make", [scratch.SGD, scratch.Adam, scratch.AdamW])
def test_optimizers_name_themselves_and_count_by_entries(make: Any) -> None:
    pairs = scratch.Linear(1, 1).param()
    with pytest.raises(ValueError, match=f"^{make.__name__} got the same parameter"):
        make(pairs + pairs)
    with pytest.raises(ValueError, match=f"^{make.__name__} takes lr of 0 or above"):
        make(pairs, lr=-1)
    make([*pairs, (torch.ones(0), torch.ones(0)), (torch.ones(0), torch.ones(0))])


def test_accuracy_of_stacked_runs_with_one_output() -> None:
    single = scratch.Sequential(scratch.Linear(1, 1, bias=False))
    single.load_state_dict({"0.weight": torch.ones(1, 1)})
    x, labels = torch.tensor([[0.4], [0.6]]), torch.tensor([0, 1])
    assert train.accuracy(runs.stack([single, single]), x, labels).tolist() == [1, 1]


def test_accuracy_refuses_a_label_for_all() -> None:
    with pytest.raises(ValueError, match="accuracy takes labels"):
        train.accuracy(models.model_1(), torch.ones(4, 2), torch.tensor(0))


def test_seeds_are_drawn_from_torchs_generator_where_none_is_given() -> None:
    torch.manual_seed(3)
    first = train._seeds(2, None)
    assert len(set(first)) == 2
    assert train._seeds(2, None) != first
    torch.manual_seed(3)
    assert train._seeds(2, None) == first
    assert len(train._seeds(None, None)) == 1
    assert max(train._seeds(100, None)) > 2**60


def test_a_sure_prediction_that_fails_costs_100() -> None:
    loss = scratch.BCELoss(reduction="none")
    assert loss(torch.tensor([[0.0, 1.0]]), torch.tensor([[1.0, 0.0]])).tolist() == [[100, 100]]


@pytest.mark.parametrize("make", [scratch.Adam, scratch.AdamW])
def test_a_state_from_before_the_first_step_starts_anew(make: Any) -> None:
    fresh, used = (scratch.Linear(2, 3) for _ in range(2))
    used.load_state_dict(fresh.state_dict())
    optimizers = [make(fresh.param()), make(used.param(), lr=0.0)]
    for _ in range(5):
        optimizers[1].step()
    optimizers[1].load_state_dict(optimizers[0].state_dict())
    for layer, optimizer in zip((fresh, used), optimizers, strict=True):
        layer.dweight.fill_(0.5)
        optimizer.step()
    assert fresh.weight.equal(used.weight)


@pytest.mark.parametrize("make", [scratch.Adam, scratch.AdamW])
def test_a_state_of_an_older_torch_loads(make: Any) -> None:
    """Before torch 2.7 it did not say whether weight decay is decoupled."""
    optimizer = make(scratch.Linear(2, 3).param())
    state = optimizer.state_dict()
    del state["param_groups"][0]["decoupled_weight_decay"]
    optimizer.load_state_dict(state)


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (scratch.Sigmoid(), "Sigmoid()"),
        (scratch.Sigmoid(3.0), "Sigmoid(slope=3.0)"),
        (scratch.SELU(), "SELU()"),
        (scratch.SELU(1.0, 1.0), "SELU(alpha=1.0, scale=1.0)"),
        (scratch.BCELoss(), "BCELoss(reduction='mean')"),
    ],
    ids=str,
)
def test_repr_shows_what_is_not_the_default(made: object, text: str) -> None:
    assert repr(made) == text


def test_layers_are_made_and_masks_are_drawn_where_they_are_wanted() -> None:
    layer = scratch.Linear(2, 3, device="meta")
    assert {tensor.device.type for pair in layer.param() for tensor in pair} == {"meta"}
    x = torch.ones(2, 4, 3, device="meta")
    dropout = scratch.Dropout()
    assert dropout(x).is_meta
    assert dropout.mask is not None
    assert dropout.mask.is_meta


@pytest.mark.parametrize("make", [torch.Generator, lambda: [torch.Generator()]])
def test_a_mask_does_not_depend_on_the_default_dtype(make: Callable[[], Any]) -> None:
    masks = []
    for dtype in (torch.float32, torch.float64):
        before = torch.get_default_dtype()
        torch.set_default_dtype(dtype)
        try:
            dropout = scratch.Dropout(0.5, generator=make())
            dropout(torch.ones(1, 50, 20, dtype=torch.float32))
        finally:
            torch.set_default_dtype(before)
        assert dropout.mask is not None
        masks.append(dropout.mask)
    assert masks[0].equal(masks[1])


def test_dropout_keeps_its_generators_where_it_is_moved_to_the_same_place() -> None:
    one, several = torch.Generator(), [torch.Generator(), torch.Generator()]
    single, stacked = scratch.Dropout(generator=one), scratch.Dropout(generator=several)
    assert single.to("cpu").generator is one
    kept = stacked.to("cpu").generator
    assert isinstance(kept, list)
    assert [id(each) for each in kept] == [id(each) for each in several]


def test_dropout_has_no_mask_before_a_forward_in_a_copy_and_after_a_move() -> None:
    dropout = scratch.Dropout()
    assert dropout.mask is None
    dropout(torch.ones(3, 2))
    assert copy.deepcopy(dropout).mask is None
    assert dropout.to(torch.float64).mask is None
