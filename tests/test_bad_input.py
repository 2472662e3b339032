"""What does not fit gets one clear error, which says what came, where, and what would be right."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch

import scratch
from scratch import data, models, runs, train

LAYERS: list[Callable[[], scratch.Module]] = [
    lambda: scratch.Linear(2, 3),
    scratch.ReLU,
    scratch.LeakyReLU,
    scratch.ELU,
    scratch.SELU,
    scratch.Sigmoid,
    scratch.Tanh,
    scratch.Softmax,
    scratch.LogSoftmax,
    scratch.Dropout,
]
X = torch.ones(4, 2)


def refuses(error: type[Exception], words: str, action: Callable[[], Any]) -> None:
    """Demands the error, with these words in it, and one line long."""
    with pytest.raises(error, match=words) as caught:
        action()
    assert "\n" not in str(caught.value).replace(repr(scratch.Sequential), "")


@pytest.mark.parametrize("make", LAYERS)
def test_backward_before_forward(make: Callable[[], scratch.Module]) -> None:
    refuses(RuntimeError, "without a forward", lambda: make().backward(X))


@pytest.mark.parametrize("make", LAYERS)
def test_backward_twice(make: Callable[[], scratch.Module]) -> None:
    layer = make()
    y = layer(X)
    layer.backward(torch.ones_like(y))
    refuses(RuntimeError, "without a forward", lambda: layer.backward(torch.ones_like(y)))


@pytest.mark.parametrize("make", LAYERS)
@pytest.mark.parametrize("shape", [(4, 7), (4, 1), (5, 2), (4,), (1, 4, 2)])
def test_backward_of_another_shape(make: Callable[[], scratch.Module], shape: Any) -> None:
    layer = make()
    layer(X)
    before = [gradient.clone() for _, gradient in layer.param()]
    refuses(ValueError, rf"{type(layer).__name__}.*backward got float32 \[.*takes",
            lambda: layer.backward(torch.ones(shape)))  # fmt: skip
    after = [gradient for _, gradient in layer.param()]
    assert all(a.equal(b) for a, b in zip(before, after, strict=True)), "half done"


@pytest.mark.parametrize("make", LAYERS)
def test_backward_on_another_device(make: Callable[[], scratch.Module]) -> None:
    layer = make()
    y = layer(X)
    refuses(ValueError, "on meta, takes .* on cpu", lambda: layer.backward(y.to("meta")))


@pytest.mark.parametrize("make", LAYERS)
def test_backward_of_another_dtype(make: Callable[[], scratch.Module]) -> None:
    layer = make()
    y = layer(X)
    refuses(TypeError, "backward got float64", lambda: layer.backward(y.double()))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("x", "error", "words"),
    [
        (torch.ones(4, 3), ValueError, r"Linear\(2, 3.*float32 \[4, 3\] .* \[B, 2\]"),
        (torch.ones(2), ValueError, r"got float32 \[2\]"),
        (torch.ones(5, 4, 2), ValueError, "runs.stack"),
        (torch.ones(4, 2).double(), TypeError, r"float64.*takes float32"),
        (torch.ones(4, 2, dtype=torch.int64), TypeError, r"int64.*takes float32"),
        (torch.ones(4, 2, device="meta"), ValueError, "on meta, takes .* on cpu"),
    ],
)
def test_linear_refuses_an_input(x: Any, error: Any, words: str, bias: bool) -> None:
    refuses(error, words, lambda: scratch.Linear(2, 3, bias=bias)(x))


def test_stacked_linear_refuses_an_input() -> None:
    stacked = runs.stack([scratch.Linear(2, 3) for _ in range(3)])
    refuses(ValueError, r"takes float32 \[3, B, 2\].*stacked", lambda: stacked(torch.ones(4, 2)))
    refuses(ValueError, r"takes float32 \[3, B, 2\]", lambda: stacked(torch.ones(5, 4, 2)))


@pytest.mark.parametrize("p", [-0.1, 1.1, math.nan])
def test_dropout_probability(p: float) -> None:
    refuses(ValueError, r"p in \[0, 1\]", lambda: scratch.Dropout(p))


@pytest.mark.parametrize("arguments", [(0, 3), (2, -1), (2, 1.5)])
def test_linear_widths(arguments: Any) -> None:
    refuses(ValueError, "positive integer", lambda: scratch.Linear(*arguments))


def test_unknown_names() -> None:
    refuses(ValueError, "xavier_normal", lambda: scratch.Linear(2, 3, init="xavier"))
    refuses(ValueError, "'text' and 'listing'", lambda: models.model_1("figure"))
    refuses(ValueError, "leaky_relu", lambda: models.model_a("gelu"))
    refuses(ValueError, "1 or 2 outputs", lambda: models.model_a(outputs=3))
    refuses(ValueError, "'mean', 'sum' or 'none'", lambda: scratch.MSELoss("average"))
    refuses(ValueError, "dim -2, -1, 0 or 1", lambda: scratch.Softmax(2))


def test_sequential() -> None:
    shared = scratch.ReLU()
    refuses(ValueError, "at least one", lambda: scratch.Sequential())
    refuses(ValueError, "at least one", lambda: scratch.Sequential([]))
    refuses(TypeError, "place 1 is", lambda: scratch.Sequential(shared, torch.nn.ReLU()))  # type: ignore[arg-type]
    refuses(ValueError, "places 0 and 2",
            lambda: scratch.Sequential(shared, scratch.Tanh(), shared))  # fmt: skip
    refuses(ValueError, "places 0 and 1",
            lambda: scratch.Sequential(shared, scratch.Sequential(shared)))  # fmt: skip


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda state: state.pop("2.bias"), "2.bias is missing"),
        (lambda state: state.update(extra=torch.ones(1)), "extra is not a parameter"),
        (lambda state: state.update({"2.bias": torch.ones(9)}), r"2.bias is float32 \[9\]"),
        (lambda state: state.update({"2.bias": "zero"}), "2.bias is str"),
        (lambda state: state.update({"2.bias": state["2.bias"].to_sparse()}), "2.bias .*sparse"),
        (lambda state: state.update({"2.bias": state["2.bias"].to("meta")}), "2.bias .*meta"),
        (lambda state: state.update({"2.bias": state["2.bias"] * 1j}), "2.bias is complex64"),
    ],
)
def test_load_state_dict_loads_all_or_nothing(change: Any, words: str) -> None:
    model = scratch.Sequential(scratch.Linear(2, 3), scratch.ReLU(), scratch.Linear(3, 1))
    before = model.state_dict()
    state = {name: parameter + 1 for name, parameter in before.items()}
    change(state)
    refuses(ValueError, f"nothing loaded.*{words}", lambda: model.load_state_dict(state))
    assert all(value.equal(before[name]) for name, value in model.state_dict().items())


LOSSES: list[Callable[[], scratch.Loss]] = [
    scratch.MSELoss,
    scratch.L1Loss,
    scratch.BCELoss,
    lambda: scratch.BCELoss(eps=0.1),
    scratch.BCEWithLogitsLoss,
    scratch.CrossEntropyLoss,
]


@pytest.mark.parametrize("make", LOSSES)
def test_losses_refuse_a_target(make: Callable[[], scratch.Loss]) -> None:
    x = torch.full((4, 3), 0.5)
    bad = x.clone()
    bad[1, 2] = math.nan
    refuses(ValueError, "target .*4, 2", lambda: make()(x, x[:, :2]))
    refuses(ValueError, r"takes \[B, features\]", lambda: make()(x[0], x[0]))
    refuses(TypeError, "float64", lambda: make()(x, x.double()))
    refuses(ValueError, "target has NaN", lambda: make()(x, bad))
    refuses(RuntimeError, "without a forward", lambda: make().backward())
    criterion = make()
    criterion(x, x)
    criterion.backward()
    refuses(RuntimeError, "without a forward", criterion.backward)


def test_a_nan_prediction_is_no_error_of_the_caller() -> None:
    prediction = torch.full((4, 3), math.nan)
    assert scratch.MSELoss()(prediction, torch.ones(4, 3)).isnan()


@pytest.mark.parametrize("eps", [0.0, 0.1])
@pytest.mark.parametrize("value", [-0.01, 1.01, math.nan])
def test_bce_refuses_what_is_no_probability(eps: float, value: float) -> None:
    x = torch.full((4, 3), 0.5)
    x[2, 1] = value
    refuses(ValueError, r"probabilities in \[0, 1\].*BCEWithLogitsLoss",
            lambda: scratch.BCELoss(eps)(x, torch.ones(4, 3)))  # fmt: skip


def test_bce_refuses_a_negative_eps() -> None:
    refuses(ValueError, "eps of 0 or above", lambda: scratch.BCELoss(eps=-1))


@pytest.mark.parametrize("index", [-1, 3, -101])
def test_class_index_out_of_range(index: int) -> None:
    target = torch.tensor([0, 1, index, 2])
    refuses(ValueError, f"from 0 to 2.*{index}",
            lambda: scratch.CrossEntropyLoss()(torch.ones(4, 3), target))  # fmt: skip


def test_class_index_of_another_kind() -> None:
    loss = scratch.CrossEntropyLoss()
    refuses(TypeError, "int64", lambda: loss(torch.ones(4, 3), torch.ones(4, dtype=torch.int32)))
    refuses(ValueError, r"\[B, classes\] and \[B\]",
            lambda: loss(torch.ones(4, 3), torch.ones(5, dtype=torch.int64)))  # fmt: skip


@pytest.mark.parametrize("make", [scratch.SGD, scratch.Adam, scratch.AdamW])
def test_optimizers_refuse(make: Any) -> None:
    layer = scratch.Linear(2, 3)
    pairs = layer.param()
    refuses(TypeError, r"model.param\(\)", lambda: make(layer))
    refuses(ValueError, "no parameters", lambda: make([]))
    refuses(ValueError, "twice", lambda: make(pairs + pairs[:1]))
    refuses(ValueError, "twice", lambda: make([*pairs, (pairs[0][0].detach(), torch.ones(3, 2))]))
    refuses(
        ValueError,
        "one dtype",
        lambda: make(pairs + scratch.Linear(1, 1).to(dtype=torch.float64).param()),
    )
    refuses(ValueError, "lr", lambda: make(pairs, lr=-1))
    refuses(ValueError, "weight_decay", lambda: make(pairs, weight_decay=-1))


def test_optimizer_options() -> None:
    pairs = scratch.Linear(2, 3).param()
    refuses(ValueError, "momentum", lambda: scratch.SGD(pairs, momentum=-1))
    refuses(ValueError, "nesterov", lambda: scratch.SGD(pairs, nesterov=True))
    refuses(ValueError, "nesterov",
            lambda: scratch.SGD(pairs, nesterov=True, momentum=0.9, dampening=0.1))  # fmt: skip
    refuses(ValueError, "betas", lambda: scratch.Adam(pairs, betas=(0.9, 1.0)))
    refuses(ValueError, "two betas", lambda: scratch.Adam(pairs, betas=(0.9,)))  # type: ignore[arg-type]
    refuses(ValueError, "eps", lambda: scratch.Adam(pairs, eps=-1.0))


def test_optimizer_state_dict_loads_all_or_nothing() -> None:
    layer = scratch.Linear(2, 3)
    optimizer = scratch.Adam(layer.param(), lr=0.5)
    optimizer.step()
    good = optimizer.state_dict()
    other = scratch.Adam(scratch.Linear(5, 3).param())
    before = other.state_dict()
    fewer = scratch.Adam(layer.param()[:1])
    cases: list[tuple[Any, Any, str]] = [
        (other, good, r"exp_avg.* is .*\[3, 2\].*, not \[3, 5\]"),
        (fewer, good, "one group of 1"),
        (scratch.SGD(layer.param()), good, "has no momentum"),
        (scratch.AdamW(layer.param()), good, "weight decay is coupled"),
        (optimizer, {}, "keys 'state' and 'param_groups'"),
        (optimizer, good | {"state": {0: good["state"][0]}}, r"parameters \[0\], not for all 2"),
        (optimizer, good | {"state": {0: {"moment": X}, 1: {}}}, r"\['moment'\], not"),
        (optimizer, good | {"param_groups": [good["param_groups"][0] | {"lr": -5}]}, "lr of 0"),
    ]
    uneven = {k: dict(v) for k, v in good["state"].items()}
    uneven[1]["step"] = torch.tensor(7.0)
    cases.append((optimizer, good | {"state": uneven}, "different steps"))
    for target, state, words in cases:
        refuses(ValueError, words, partial(target.load_state_dict, state))
    assert optimizer.lr == 0.5
    assert other.state_dict() == before
    assert other.lr == 1e-3


def test_stack_and_unstack_refuse() -> None:
    linear = scratch.Linear(2, 3)
    shared = torch.Generator()
    refuses(ValueError, "at least one", lambda: runs.stack([]))
    refuses(ValueError, "one architecture", lambda: runs.stack([linear, scratch.Linear(2, 4)]))
    refuses(ValueError, "one architecture",
            lambda: runs.stack([scratch.ELU(), scratch.ELU(0.5)]))  # fmt: skip
    refuses(ValueError, "stacked already", lambda: runs.stack([runs.stack([linear])]))
    refuses(ValueError, "share a generator",
            lambda: runs.stack([scratch.Dropout(generator=shared) for _ in range(2)]))  # fmt: skip
    refuses(ValueError, "runs.stack built", lambda: runs.unstack(linear))


def test_dropout_generators_fit_the_runs() -> None:
    generators = [torch.Generator() for _ in range(3)]
    layer = scratch.Dropout(generator=generators)
    refuses(ValueError, "3 runs", lambda: layer(torch.ones(4, 2)))
    refuses(ValueError, "3 runs", lambda: layer(torch.ones(2, 4, 2)))


def _fit(**changes: Any) -> None:
    x, labels = data.disk(20, seed=0)
    model = changes.pop("model", None) or models.model_1()
    options: dict[str, Any] = {"x": x, "t": data.one_hot(labels), "epochs": 1, "batch_size": 5}
    train.fit(model, scratch.MSELoss(), scratch.SGD(model.param()), **(options | changes))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"epochs": 0}, "at least 1 epoch"),
        ({"batch_size": 0}, "batch_size of at least 1"),
        ({"batch_size": -5}, "batch_size of at least 1"),
        ({"t": torch.ones(19, 2)}, "19 and 20"),
        ({"x": torch.ones(0, 2), "t": torch.ones(0, 2)}, "got 0 and 0"),
        ({"x": torch.ones(3, 20, 2)}, "runs.stack"),
        ({"seed": [1, 2]}, "one seed"),
    ],
)
def test_fit_refuses(changes: Any, words: str) -> None:
    refuses(ValueError, words, lambda: _fit(**changes))


def test_fit_of_stacked_runs_refuses_seeds() -> None:
    model = runs.stack([models.model_1() for _ in range(3)])
    refuses(ValueError, "3 seeds", lambda: _fit(model=model, seed=0))
    refuses(ValueError, "3 seeds", lambda: _fit(model=model, seed=[1, 2]))


@pytest.mark.parametrize("make", [scratch.Softmax, scratch.LogSoftmax])
def test_softmax_takes_runs_only_when_stacked(make: Any) -> None:
    refuses(ValueError, r"takes \[B, features\]", lambda: make()(torch.ones(3, 4, 2)))
    refuses(ValueError, r"takes \[2, B, features\]", lambda: runs.stack([make(), make()])(X))


def test_a_loss_that_refused_keeps_nothing() -> None:
    loss = scratch.MSELoss()
    refuses(ValueError, "NaN", lambda: loss(X, X * math.nan))
    refuses(RuntimeError, "without a forward", loss.backward)


def test_disk_refuses() -> None:
    refuses(ValueError, "at least 1 point", lambda: data.disk(0))
    refuses(ValueError, "not both", lambda: data.disk(5, seed=1, generator=torch.Generator()))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_cuda_without_cuda() -> None:
    words = "'cuda' cannot be used: this torch sees no CUDA device"
    refuses(ValueError, words, lambda: scratch.Linear(2, 3, device="cuda"))
    refuses(ValueError, words, lambda: models.model_1().to("cuda"))
    refuses(ValueError, words, lambda: data.disk(10, device="cuda"))


def test_to_refuses() -> None:
    refuses(ValueError, "floating-point", lambda: models.model_1().to(dtype=torch.int64))
    refuses(ValueError, "'gpu' cannot be used", lambda: models.model_1().to("gpu"))
