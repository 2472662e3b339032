"""The convolutional network and the transformer: both sides alike, their data, and their table."""

from __future__ import annotations

import codecs
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import reference.models
import reference.train
import scratch
from bench import deep, digits, text
from bench.deep import DEEP, Deep
from reference.layers import RotaryAttention
from scratch import models

LENET, TRANSFORMER = DEEP
CLOSE: Any = {"rtol": 1e-9, "atol": 1e-12}


@pytest.fixture
def loaded() -> None:
    pytest.importorskip("sklearn", reason="the digits are in scikit-learn, which is not installed")


def batch(one: Deep, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Ten samples in float64, without scikit-learn: normal numbers for images."""
    generator = torch.Generator().manual_seed(seed)
    if one is TRANSFORMER:
        x, t = text.windows()
        chosen = torch.randperm(len(x), generator=generator)[:10]
        return x[chosen], t[chosen].flatten()
    x = torch.randn(10, 1, 8, 8, generator=generator, dtype=torch.float64)
    return x, torch.randint(10, (10,), generator=generator)


def both(one: Deep) -> tuple[Any, nn.Sequential]:
    """The model on both sides in float64, with the same weights."""
    model, twin = deep.both(one)
    return model.to(torch.float64), twin.double()


@pytest.mark.parametrize("one", DEEP, ids=str)
def test_weights_go_there_and_back(one: Deep) -> None:
    model, twin = deep.both(one)
    ours, theirs = model.state_dict(), twin.state_dict()
    assert list(ours) == list(theirs)
    assert all(ours[name].equal(theirs[name]) for name in ours)
    other = one.pair.scratch()
    other.load_state_dict(theirs)
    assert all(other.state_dict()[name].equal(ours[name]) for name in ours)


@pytest.mark.parametrize("one", DEEP, ids=str)
def test_one_pass_is_torchs(one: Deep) -> None:
    model, twin = both(one)
    x, t = batch(one)
    got = deep.trace(model, one.pair.loss[0](), x, t)
    leaf = x.clone().requires_grad_() if x.is_floating_point() else x
    y = leaf
    for place, layer in twin.named_children():
        y = layer(y)
        torch.testing.assert_close(got[f"{place}.output"], y.detach(), **CLOSE)
    loss = one.pair.loss[1]()(y, t)
    loss.backward()
    torch.testing.assert_close(got["loss"], loss.detach(), **CLOSE)
    if leaf.requires_grad:
        torch.testing.assert_close(got["0.input_grad"], leaf.grad, **CLOSE)
    for name, parameter in twin.named_parameters():
        torch.testing.assert_close(got[f"{name}.param_grad"], parameter.grad, **CLOSE)
    for name, buffer in twin.named_buffers():
        torch.testing.assert_close(model.state_dict()[name], buffer, **CLOSE)


@pytest.mark.parametrize("one", DEEP, ids=str)
def test_ten_steps_are_torchs(one: Deep) -> None:
    """Weights, and the running statistics of batch norm; and the output in evaluation."""
    model, twin = both(one)
    criteria: Any = [make() for make in one.pair.loss]
    ours = one.pair.optimizer[0](model.param())
    theirs = one.pair.optimizer[1](twin.parameters())
    for step in range(10):
        x, t = batch(one, step)
        loss = scratch.train.step(model, criteria[0], ours, x, t)
        right = reference.train.step(twin, criteria[1], theirs, x, t)
        torch.testing.assert_close(loss, right, **CLOSE)
    for name, value in twin.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], value, **CLOSE)
    y = scratch.train.predict(model, x)
    torch.testing.assert_close(y, reference.train.predict(twin, x), **CLOSE)


def test_fit_takes_windows_and_their_targets() -> None:
    """Targets `[N, T]`, in the same batches on both sides."""
    model, twin = both(TRANSFORMER)
    (x, t), _ = TRANSFORMER.data()
    before = model.state_dict()
    options: Any = {"epochs": 2, "batch_size": 8}
    pair = TRANSFORMER.pair
    scratch.fit(model, pair.loss[0](), pair.optimizer[0](model.param()), x, t, seed=3, **options)
    theirs = pair.optimizer[1](twin.parameters())
    reference.train.fit(twin, pair.loss[1](), theirs, x, t, draws=scratch.Draws(3), **options)
    for name, value in twin.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], value, **CLOSE)
        assert not before[name].equal(value), f"{name} is frozen"
    with pytest.raises(ValueError, match="as many targets as samples"):
        scratch.fit(model, pair.loss[0](), pair.optimizer[0](model.param()), x, t[1:], **options)


def test_a_model_that_can_be_stacked_takes_no_windows() -> None:
    model = models.model_a(outputs=2)
    x, t = torch.ones(6, 2), torch.zeros(6, 2, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"fit got t int64 \[6, 2\].*takes \[N\]"):
        scratch.fit(model, scratch.CrossEntropyLoss(), scratch.SGD(model.param()), x, t,
                    epochs=1, batch_size=3)  # fmt: skip


def test_the_transformer_sees_nothing_of_what_comes_later() -> None:
    model = TRANSFORMER.pair.scratch()
    x = text.windows()[0][:1]
    changed = x.clone()
    changed[:, 20:] = (x[:, 20:] + 1) % 9
    y, other = model(x), model(changed)
    assert y[:20].equal(other[:20])
    assert not y[20:].isclose(other[20:]).all(-1).any()


def test_ignored_targets_have_no_gradient() -> None:
    model = TRANSFORMER.pair.scratch()
    x, t = text.windows()
    ignored = (t == text.IGNORED).flatten()
    assert ignored.any()
    criterion = TRANSFORMER.pair.loss[0]()
    criterion(model(x), t.flatten())
    dy = criterion.backward()
    assert not dy[ignored].any()
    assert dy[~ignored].any(-1).all()


@pytest.mark.parametrize("causal", [False, True], ids=["", "causal"])
@pytest.mark.parametrize("bias", [False, True], ids=["no_bias", "bias"])
@pytest.mark.parametrize("length", [None, 7], ids=["itself", "memory"])
def test_rotary_attention_is_torchs(causal: bool, bias: bool, length: int | None) -> None:
    generator = torch.Generator().manual_seed(0)
    layer = scratch.MultiheadAttention(
        8, 2, bias, causal, rotary=True, generator=generator, dtype=torch.float64
    )
    for parameter, _ in layer.param():
        parameter.normal_(generator=generator)  # no bias is 0
    twin = RotaryAttention(8, 2, bias, causal).double()
    twin.load_state_dict(layer.state_dict())
    sizes = [5] if length is None else [5, length]
    inputs = [torch.randn(3, size, 8, generator=generator, dtype=torch.float64) for size in sizes]
    leaves = [one.clone().requires_grad_() for one in inputs]
    y, right = layer(*inputs), twin(*leaves)
    torch.testing.assert_close(y, right.detach(), **CLOSE)
    dy = torch.randn(y.shape, generator=generator, dtype=torch.float64)
    right.backward(dy)
    found = layer.backward(dy)
    for dx, leaf in zip([found] if length is None else found, leaves, strict=True):
        torch.testing.assert_close(dx, leaf.grad, **CLOSE)
    for (_, gradient), parameter in zip(layer.param(), twin.parameters(), strict=True):
        torch.testing.assert_close(gradient, parameter.grad, **CLOSE)


def test_rotary_attention_is_off_unless_asked_for_and_wants_even_heads() -> None:
    assert scratch.MultiheadAttention(6, 2).rope_query is None
    assert "rotary=True" in repr(scratch.MultiheadAttention(8, 2, rotary=True))
    with pytest.raises(ValueError, match="heads of an even width, not 3"):
        scratch.MultiheadAttention(6, 2, rotary=True)


def test_the_text_is_cut_into_windows() -> None:
    x, t = text.windows(32)
    letters = text.vocabulary()
    assert x.shape == t.shape == (34, 32)
    assert int(x.max()) == int(t.max()) == len(letters) - 1
    for row, targets in zip(x, t, strict=True):
        count = int((targets != text.IGNORED).sum())
        assert count
        assert row[1:count].equal(targets[: count - 1]), "a target is not what comes next"
        assert not row[count:].any()
        assert targets[count:].eq(text.IGNORED).all()
    read = "".join(letters[n] for n in t.flatten() if n >= 0)
    lines = text.zen().splitlines(keepends=True)
    assert read == "".join(line[1:] for line in lines)
    assert text.windows(100)[0].shape[0] == sum(len(line) > 1 for line in lines)
    with pytest.raises(ValueError, match="a length of at least 1, not 0"):
        text.windows(0)


def test_the_text_is_the_zen_of_python_and_is_not_printed() -> None:
    script = "from bench import text; text.zen()"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=Path(__file__).parent.parent,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == ""
    assert text.zen().startswith("The Zen of Python, by Tim Peters\n\nBeautiful is better")
    assert codecs.encode(text.zen(), "rot13").startswith("Gur Mra bs Clguba")


@pytest.mark.usefixtures("loaded")
def test_the_digits_are_split_once_and_standardised() -> None:
    (x, labels), (x_test, labels_test) = digits.digits()
    assert x.shape == (1437, 1, 8, 8)
    assert x_test.shape == (360, 1, 8, 8)
    assert x.dtype == torch.float32
    assert labels.dtype == torch.int64
    assert set(labels.tolist()) == set(labels_test.tolist()) == set(range(10))
    assert abs(float(x.mean())) < 1e-5
    assert abs(float(x.std()) - 1) < 1e-5
    again = digits.digits.__wrapped__()
    assert again[1][0].equal(x_test)
    everything = torch.cat([x, x_test]).flatten(1)
    assert len(everything.unique(dim=0)) == 1797, "a sample is in both"


@pytest.mark.usefixtures("loaded")
@pytest.mark.parametrize("side", deep.SIDES)
def test_lenet_learns(side: str) -> None:
    assert deep.train(LENET, side, 0, epochs=2).figure > 0.9


@pytest.mark.parametrize("side", deep.SIDES)
def test_the_transformer_learns(side: str) -> None:
    """To less than half of what it starts from, ln 45 = 3.8."""
    assert deep.train(TRANSFORMER, side, 0, epochs=15).figure < 1.9


def without_turning_back(layer: Any, dy: Tensor) -> Tensor:
    layer._recall(dy)
    return dy


def without_means(layer: Any, dy: Tensor) -> Tensor:
    xhat, scale, _ = layer._recall(dy)
    layer.dweight.add_((dy * xhat).sum((0, 2, 3)))
    layer.dbias.add_(dy.sum((0, 2, 3)))
    return dy * scale * layer.weight.view(scale.shape)


@pytest.mark.usefixtures("loaded")
@pytest.mark.parametrize(
    ("one", "layer", "wrong", "first"),
    [
        (LENET, scratch.BatchNorm2d, without_means, "5.input_grad"),
        (TRANSFORMER, scratch.RoPE, without_turning_back, "3.0.weight.param_grad"),
    ],
    ids=["lenet", "transformer"],
)
def test_the_verdict_names_the_first_divergence(
    one: Deep,
    layer: type,
    wrong: Callable[..., Tensor],
    first: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(deep, "some_steps", lambda *_: [])  # one pass shows it
    right = deep.verdict(one)
    assert right.ratio <= 1, str(right)
    monkeypatch.setattr(layer, "backward", wrong)
    judged = deep.verdict(one)
    assert judged.ratio > 100
    assert judged.name == first


@pytest.mark.usefixtures("loaded")
def test_steps_of_a_wrong_optimizer_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    right = deep.some_steps(LENET)
    assert all(comparison.passed for comparison in right)
    assert right[-1].name == "loss after 10 steps"
    monkeypatch.setattr(scratch.Adam, "step", lambda optimizer: None)
    assert not any(comparison.passed for comparison in deep.some_steps(LENET))


@pytest.mark.usefixtures("loaded")
def test_the_table_is_measured_and_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deep, "RESULTS", tmp_path)
    done: list[str] = []
    kept = deep.results(runs=2, epochs=1, progress=done.append)
    assert len(done) == 10, "eight runs, and the parity of two models"
    assert [row["model"] for row in deep.rows(kept)] == [
        "LeNet, digits (scratch)",
        "LeNet, digits (torch)",
        "Transformer, text (scratch)",
        "Transformer, text (torch)",
    ]
    assert all(row["parity"].startswith("ok") for row in deep.rows(kept)[::2])
    for one in DEEP:
        same = deep.sameness(kept, one)
        assert same is not None
        assert same.shown, str(same)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "deep-cpu-2x1.json",
        "deep-cpu-2x1.md",
    ]
    assert "| LeNet, digits (scratch)" in (tmp_path / "deep-cpu-2x1.md").read_text()
    assert "2 runs x 1 epochs of 34 samples [32]" in deep.text(kept)
