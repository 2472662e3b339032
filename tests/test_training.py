"""The loop and what surrounds it: accuracy, prediction, curves, and the torch mirror."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

import reference.models
import reference.train
import scratch
from reference import pairs
from scratch import data, models, runs, train
from scratch.dropout import _moved

TRAIN, TEST = data.disk(60, seed=0), data.disk(40, seed=1)
CHOSEN = [p for p in pairs.MODELS if p.name in ("model_1", "model_2", "model_a_tanh")]


def both(pair: pairs.ModelPair) -> tuple[Any, Any]:
    """A network and its mirror with the same weights."""
    model = pair.scratch(generator=torch.Generator().manual_seed(0))
    twin = pair.reference()
    twin.load_state_dict(model.state_dict())
    return model, twin


@pytest.mark.parametrize("pair", CHOSEN, ids=str)
def test_both_sides_train_alike(pair: pairs.ModelPair) -> None:
    model, twin = both(pair)
    x, labels = TRAIN
    options: Any = {"epochs": 3, "batch_size": 16}
    ours = train.learning_curves(
        model, pair.loss[0](), pair.optimizer[0](model.param()),
        (x, pair.targets(labels), labels), TEST, seed=5, **options,
    )  # fmt: skip
    theirs = reference.train.learning_curves(
        twin, pair.loss[1](), pair.optimizer[1](twin.parameters()),
        (x, pair.targets(labels), labels), TEST, draws=scratch.Draws(5), masks=True, **options,
    )  # fmt: skip
    assert len(ours.train) == len(ours.test) == 3
    assert torch.stack(ours.train).equal(torch.stack(theirs.train))
    assert torch.stack(ours.test).equal(torch.stack(theirs.test))
    assert ours.test[-1] == train.accuracy(model, *TEST)
    assert theirs.test[-1] == reference.train.accuracy(twin, *TEST)
    for name, parameter in model.state_dict().items():
        torch.testing.assert_close(parameter, twin.state_dict()[name])


def test_learning_curves_are_by_the_engine_that_is_asked_for() -> None:
    model, (x, labels) = models.model_1(), TRAIN
    sets: Any = (x, data.one_hot(labels), labels), TEST
    with pytest.raises(ValueError, match="there is no engine 'none'"):
        train.learning_curves(
            model, scratch.MSELoss(), scratch.SGD(model.param()), *sets,
            epochs=1, batch_size=9, engine="none",
        )  # fmt: skip


def test_training_learns() -> None:
    x, labels = data.disk(1000, seed=0)
    model = models.model_2(generator=torch.Generator().manual_seed(0))
    before = train.accuracy(model, *TEST)
    optimizer = scratch.Adam(model.param())
    train.fit(model, scratch.BCELoss(), optimizer, x, data.one_hot(labels),
              epochs=20, batch_size=10, seed=0)  # fmt: skip
    assert train.accuracy(model, *TEST) > max(0.85, float(before))


def test_accuracy_counts() -> None:
    model = scratch.Sequential(scratch.Linear(2, 2, bias=False))
    model.load_state_dict({"0.weight": torch.eye(2)})  # the class is the larger coordinate
    x = torch.tensor([[2.0, 1.0], [1.0, 2.0], [3.0, 0.0], [0.0, 3.0]])
    assert train.accuracy(model, x, torch.tensor([0, 1, 0, 1])) == 1
    assert train.accuracy(model, x, torch.tensor([0, 1, 1, 0])) == 0.5


def test_accuracy_of_one_output_is_cut_at_the_threshold() -> None:
    model = scratch.Sequential(scratch.Linear(2, 1, bias=False))
    model.load_state_dict({"0.weight": torch.tensor([[1.0, 0.0]])})
    x, labels = torch.tensor([[0.4, 0.0], [0.6, 0.0]]), torch.tensor([0, 1])
    assert train.accuracy(model, x, labels) == 1
    assert train.accuracy(model, x, labels, threshold=0.7) == 0.5


@pytest.mark.parametrize("side", [scratch, None], ids=["scratch", "torch"])
def test_predict_switches_dropout_off_and_leaves_every_mode(side: Any) -> None:
    model: Any = models.model_2() if side else reference.models.model_2()
    predict = train.predict if side else reference.train.predict
    layers = list(model)
    layers[3].training = False  # one by hand: it must stay so
    modes = [layer.training for layer in layers]
    first, second = predict(model, TEST[0]), predict(model, TEST[0])
    assert first.equal(second)
    assert [layer.training for layer in layers] == modes


def test_predict_between_forward_and_backward_changes_nothing() -> None:
    model = models.model_2(generator=torch.Generator().manual_seed(0))
    x, dy = TRAIN[0], torch.ones(60, 2)
    twin = copy.deepcopy(model)
    for one in (model, twin):
        torch.manual_seed(0)  # of the masks
        one(x)
    train.accuracy(model, *data.disk(60, seed=9))
    assert model.backward(dy).equal(twin.backward(dy))


def test_accuracy_refuses_labels_of_another_shape() -> None:
    x, labels = TRAIN
    for wrong in (labels.unsqueeze(-1), labels[:-1], data.one_hot(labels)):
        with pytest.raises(ValueError, match=r"labels \[60\].*got"):
            train.accuracy(models.model_1(), x, wrong)


def test_stacked_runs_are_measured_each() -> None:
    singles = [models.model_1(generator=torch.Generator().manual_seed(s)) for s in range(3)]
    together = train.accuracy(runs.stack(singles), *TEST)
    apart = torch.stack([train.accuracy(single, *TEST) for single in singles])
    assert together.equal(apart)
    assert len(set(apart.tolist())) > 1, "the models are too alike to tell"


def test_each_run_may_have_data_of_its_own() -> None:
    sets = [data.disk(30, seed=seed) for seed in range(2)]
    x, labels = (torch.stack(parts) for parts in zip(*sets, strict=True))
    generators = [torch.Generator().manual_seed(s) for s in range(2)]
    singles = [models.model_a(outputs=2, generator=g) for g in generators]
    stacked = runs.stack(singles)
    loss = scratch.CrossEntropyLoss()
    options: Any = {"epochs": 2, "batch_size": 7}
    train.fit(stacked, loss, scratch.SGD(stacked.param(), 0.1), x, labels, seed=[3, 4], **options)
    for run, (single, got) in enumerate(zip(singles, runs.unstack(stacked), strict=True)):
        optimizer = scratch.SGD(single.param(), 0.1)
        train.fit(single, loss, optimizer, *sets[run], seed=3 + run, **options)
        for name, parameter in single.state_dict().items():
            torch.testing.assert_close(got.state_dict()[name], parameter)


def test_curves_without_a_seed_draw_from_torchs_generator_too() -> None:
    def curves(seed: int | None, drawn: int) -> Any:
        model = models.model_1(generator=torch.Generator().manual_seed(0))
        torch.manual_seed(drawn)
        x, labels = TRAIN
        train.learning_curves(model, scratch.MSELoss(), scratch.SGD(model.param(), 0.1),
                              (x, data.one_hot(labels), labels), TEST,
                              epochs=1, batch_size=10, seed=seed)  # fmt: skip
        return model.state_dict()["0.weight"]

    assert curves(None, 1).equal(curves(None, 1))
    assert not curves(None, 1).equal(curves(None, 2))
    assert curves(5, 1).equal(curves(5, 2))


def test_fit_without_a_seed_draws_from_torchs_generator() -> None:
    def trained(seed: int) -> Any:
        model = models.model_1(generator=torch.Generator().manual_seed(0))
        torch.manual_seed(seed)
        x, labels = TRAIN
        train.fit(model, scratch.MSELoss(), scratch.SGD(model.param(), 0.1), x,
                  data.one_hot(labels), epochs=1, batch_size=10)  # fmt: skip
        return model.state_dict()["0.weight"]

    assert trained(1).equal(trained(1))
    assert not trained(1).equal(trained(2))


def test_training_goes_on_after_fit() -> None:
    """What `fit` leaves, state and all, can be stepped by hand and saved."""
    model = models.model_2()
    x, labels = TRAIN
    t = data.one_hot(labels)
    optimizer = scratch.SGD(model.param(), 0.1, momentum=0.9)
    train.fit(model, scratch.BCELoss(), optimizer, x, t, epochs=1, batch_size=10)
    loss = train.step(model, scratch.BCELoss(), optimizer, x, t)
    assert loss.isfinite()
    optimizer.load_state_dict(optimizer.state_dict())
    train.step(model, scratch.BCELoss(), optimizer, x, t)
    train.fit(model, scratch.BCELoss(), optimizer, x, t, epochs=1, batch_size=10)


def test_on_epoch_may_use_autograd() -> None:
    """`fit` sets inference mode for its own steps alone."""
    seen = []

    def callback(epoch: int) -> None:
        twin = nn.Linear(2, 1)
        twin(TEST[0]).sum().backward()
        seen.append((epoch, twin.weight.grad is not None))

    model = models.model_1()
    train.fit(model, scratch.MSELoss(), scratch.SGD(model.param()), TRAIN[0],
              data.one_hot(TRAIN[1]), epochs=2, batch_size=30, on_epoch=callback)  # fmt: skip
    assert seen == [(1, True), (2, True)]


def test_moving_a_model_in_the_middle_of_training() -> None:
    """`to` keeps the parameters' identity: the optimizer follows, its state too."""
    model = models.model_1(generator=torch.Generator().manual_seed(0))
    x, labels = TRAIN
    optimizer = scratch.Adam(model.param())
    train.fit(model, scratch.MSELoss(), optimizer, x, data.one_hot(labels),
              epochs=1, batch_size=10, seed=0)  # fmt: skip
    model.to(dtype=torch.float64)
    before = model.state_dict()
    t = data.one_hot(labels, dtype=torch.float64)
    train.fit(model, scratch.MSELoss(), optimizer, x.double(), t,
              epochs=1, batch_size=10, seed=0)  # fmt: skip
    after = model.state_dict()
    assert all(after[name].dtype == torch.float64 for name in after)
    assert all(not after[name].equal(before[name]) for name in after), "a layer is frozen"
    train.step(model, scratch.MSELoss(), optimizer, x.double(), t)  # outside of `fit` too


def test_fit_trains_in_training_mode_whatever_the_mode_was() -> None:
    model = models.model_2()
    dropout = next(m for m in model.modules() if isinstance(m, scratch.Dropout))
    drawn = []

    def callback(epoch: int) -> None:
        drawn.append(dropout.mask is not None)
        model.eval()

    model.eval()
    train.fit(model, scratch.BCELoss(), scratch.Adam(model.param()), TRAIN[0],
              data.one_hot(TRAIN[1]), epochs=3, batch_size=30, on_epoch=callback)  # fmt: skip
    assert drawn == [True, True, True]
    train.fit(model, scratch.BCELoss(), scratch.Adam(model.param()), TRAIN[0],
              data.one_hot(TRAIN[1]), epochs=1, batch_size=30)  # fmt: skip
    assert model.training


def test_a_step_forgets_the_gradients_before_it_and_leaves_its_own() -> None:
    model, twin = (models.model_1(generator=torch.Generator().manual_seed(0)) for _ in range(2))
    x, t = TRAIN[0], data.one_hot(TRAIN[1])
    for _, gradient in model.param():
        gradient.fill_(7)
    for one in (model, twin):
        train.step(one, scratch.MSELoss(), scratch.SGD(one.param(), 0.1), x, t)
    for (p, g), (q, h) in zip(model.param(), twin.param(), strict=True):
        assert p.equal(q)
        assert g.equal(h)
        assert g.any()


def test_options_change_between_steps() -> None:
    ours, theirs = torch.ones(3), torch.ones(3, requires_grad=True)
    gradient = torch.tensor([1.0, -2.0, 0.5])
    pair = (ours, torch.zeros(3))
    optimizer = scratch.SGD([pair], lr=0.5, momentum=0.9)
    mirror = torch.optim.SGD([theirs], lr=0.5, momentum=0.9)
    for _ in range(3):
        optimizer.zero_grad()
        pair[1].add_(gradient)
        theirs.grad = gradient.clone()
        optimizer.step()
        mirror.step()
        optimizer.lr *= 0.1
        mirror.param_groups[0]["lr"] *= 0.1
    torch.testing.assert_close(ours, theirs.detach())


@pytest.mark.parametrize("moved", [slice(1, 2), slice(2, 4)], ids=["middle", "end"])
def test_a_second_optimizer_of_some_layers_freezes_none(moved: slice) -> None:
    """Packing moves those layers' memory: the first optimizer must notice, in `fit` and after."""
    model = models.model_1(generator=torch.Generator().manual_seed(0))
    first = scratch.SGD(model.param(), 0.1)
    scratch.SGD(model.param()[moved], 0.1)
    x, t = TRAIN[0], data.one_hot(TRAIN[1])
    for trained in range(2):
        before = model.state_dict()
        if trained:
            train.step(model, scratch.MSELoss(), first, x, t)
        else:
            train.fit(model, scratch.MSELoss(), first, x, t, epochs=1, batch_size=10)
        assert all(not before[name].equal(p) for name, p in model.state_dict().items())


def test_a_model_moved_in_part_is_refused_by_its_optimizer() -> None:
    model = models.model_1()
    optimizer = scratch.SGD(model.param())
    model[0].to(torch.float64)
    with pytest.raises(ValueError, match="one dtype on one device"):
        optimizer.zero_grad()


def test_layers_that_share_a_generator_share_it_where_they_are_moved() -> None:
    """Shown on generators that pretend to live elsewhere: a real move needs a second device."""
    shared = torch.Generator().manual_seed(3)
    here, memo = torch.device("cpu"), {}  # type: ignore[var-annotated]
    assert _moved(shared, here, memo) is shared
    assert memo == {}
    if torch.cuda.is_available():
        model = models.model_2(generator=shared).to("cuda")
        first, second = (m for m in model.modules() if isinstance(m, scratch.Dropout))
        assert first.generator is second.generator


def test_a_batch_of_one_and_a_single_sample_train() -> None:
    model = models.model_1(generator=torch.Generator().manual_seed(0))
    before = model.state_dict()
    x, labels = TRAIN
    optimizer = scratch.SGD(model.param(), 0.1)
    train.fit(model, scratch.MSELoss(), optimizer, x[:1], data.one_hot(labels[:1]),
              epochs=1, batch_size=1)  # fmt: skip
    assert any(not before[name].equal(p) for name, p in model.state_dict().items())


def test_an_output_at_the_threshold_is_not_above_it() -> None:
    model = scratch.Sequential(scratch.Linear(1, 1, bias=False))
    model.load_state_dict({"0.weight": torch.ones(1, 1)})
    assert train.accuracy(model, torch.tensor([[0.5]]), torch.tensor([0])) == 1
