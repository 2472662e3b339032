"""The disk problem, initial weights, and weights that cross to torch and back."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import reference.models
import scratch
from reference import pairs
from scratch import data, models, runs
from scratch.module import constant


def test_disk_is_the_disk() -> None:
    x, labels = data.disk(20_000, seed=0)
    assert x.shape == (20_000, 2)
    assert labels.dtype == torch.int64
    assert x.min() >= 0
    assert x.max() <= 1
    assert math.isclose(math.pi * data.RADIUS**2, 0.5)
    distance = (x.double() - 0.5).square().sum(-1).sqrt()
    clear = (distance - data.RADIUS).abs() > 1e-6  # rounding may move a point over the border
    assert labels[clear].equal((distance <= data.RADIUS)[clear].long())
    share = labels.double().mean()
    assert abs(share - 0.5) < 5 * 0.5 / math.sqrt(20_000)


def test_disk_is_seeded() -> None:
    x, labels = data.disk(50, seed=3)
    again, _ = data.disk(50, generator=torch.Generator().manual_seed(3))
    double, same = data.disk(50, seed=3, dtype=torch.float64)
    other, _ = data.disk(50, seed=4)
    assert x.equal(again)
    assert x.equal(double.float())
    assert labels.equal(same)
    assert not x.equal(other)


def test_one_hot() -> None:
    labels = torch.tensor([[0, 1], [1, 1]])
    assert data.one_hot(labels).tolist() == [[[1, 0], [0, 1]], [[0, 1], [0, 1]]]
    assert data.one_hot(labels, dtype=torch.float64).dtype == torch.float64


@pytest.mark.parametrize(
    ("init", "deviation"),
    [("uniform", 1 / math.sqrt(3 * 100)), ("xavier_normal", math.sqrt(2 / 500)), ("normal", 1.0)],
)
def test_initial_weights_have_their_distribution(init: str, deviation: float) -> None:
    generator = torch.Generator().manual_seed(0)
    layer = scratch.Linear(100, 400, init=init, generator=generator)
    for values in (layer.weight, layer.bias):
        assert values is not None
        count = values.numel()
        assert abs(float(values.mean())) < 5 * deviation / math.sqrt(count)
        # The standard error of a standard deviation is below deviation / sqrt(count).
        assert abs(float(values.std()) / deviation - 1) < 5 / math.sqrt(count)
    if init == "uniform":
        assert float(layer.weight.abs().max()) <= 1 / math.sqrt(100)


def test_zeros_and_bias_init() -> None:
    assert not scratch.Linear(3, 2, init="zeros").weight.any()
    layer = scratch.Linear(3, 2, init="xavier_normal", bias_init="zeros")
    assert layer.weight.all()
    assert layer.bias is not None
    assert not layer.bias.any()


def test_the_same_seed_gives_torchs_initial_weights() -> None:
    torch.manual_seed(0)
    ours = scratch.Linear(5, 3)
    torch.manual_seed(0)
    theirs = nn.Linear(5, 3)
    torch.testing.assert_close(ours.weight, theirs.weight.detach())
    assert ours.bias is not None
    torch.testing.assert_close(ours.bias, theirs.bias.detach())


@pytest.mark.parametrize("pair", pairs.MODELS, ids=str)
def test_both_sides_draw_the_same_weights(pair: pairs.ModelPair) -> None:
    ours = pair.scratch(generator=torch.Generator().manual_seed(1)).state_dict()
    theirs = pair.reference(generator=torch.Generator().manual_seed(1)).state_dict()
    assert list(ours) == list(theirs)
    for name, parameter in ours.items():
        torch.testing.assert_close(parameter, theirs[name])


def test_models_refuse_alike() -> None:
    for side in (models, reference.models):
        with pytest.raises(ValueError, match="'text' and 'listing'"):
            side.model_1("figure")
        with pytest.raises(ValueError, match="leaky_relu"):
            side.model_a("gelu")
        with pytest.raises(ValueError, match="1 or 2 outputs"):
            side.model_a(outputs=0)


@pytest.mark.parametrize("pair", pairs.MODELS, ids=str)
def test_weights_cross_by_safetensors(pair: pairs.ModelPair, tmp_path: Path) -> None:
    """From scratch to torch and from torch to scratch, by a file, to the bit."""
    model, twin = pair.scratch(), pair.reference()
    save_file(model.state_dict(), tmp_path / "ours.safetensors")
    twin.load_state_dict(load_file(tmp_path / "ours.safetensors"))
    for name, parameter in model.state_dict().items():
        assert parameter.equal(twin.state_dict()[name])
    save_file(pair.reference().state_dict(), tmp_path / "theirs.safetensors")
    theirs = load_file(tmp_path / "theirs.safetensors")
    model.load_state_dict(theirs)
    assert all(parameter.equal(theirs[name]) for name, parameter in model.state_dict().items())


def test_a_state_dict_is_a_copy() -> None:
    layer = scratch.Linear(2, 3)
    state = layer.state_dict()
    layer.weight += 1
    assert not state["weight"].equal(layer.weight)


def test_param_keeps_its_tensors_for_life() -> None:
    """Through packing, moving, loading and training, the tensors are the same objects."""
    model = models.model_1()
    tensors = [tensor for pair in model.param() for tensor in pair]
    scratch.SGD(model.param())
    model.to(dtype=torch.float64)
    model.load_state_dict(model.state_dict())
    again = [tensor for pair in model.param() for tensor in pair]
    assert all(a is b for a, b in zip(tensors, again, strict=True))
    assert model[0].weight is tensors[0]  # type: ignore[attr-defined]


def test_repr_reads_as_torchs() -> None:
    model = scratch.Sequential(
        [scratch.Linear(2, 3), scratch.Sequential(scratch.ELU(0.5), scratch.Dropout(0.2))]
    )
    assert repr(model).splitlines() == [
        "Sequential(",
        "  (0): Linear(2, 3)",
        "  (1): Sequential(",
        "    (0): ELU(alpha=0.5)",
        "    (1): Dropout(p=0.2)",
        "  )",
        ")",
    ]
    assert repr(runs.stack([scratch.Linear(2, 3, bias=False)] * 1)) == (
        "Linear(2, 3, bias=False, runs=1)"
    )
    assert repr(scratch.BCELoss(eps=0.1)) == "BCELoss(eps=0.1, reduction='mean')"
    assert repr(scratch.SGD(model.param(), 0.5)).startswith("SGD(lr=0.5, momentum=0")


def test_a_module_of_ones_own() -> None:
    """Children and parameters of a subclass are found by themselves."""

    class Residual(scratch.Module):
        scale: torch.Tensor
        dscale: torch.Tensor

        def __init__(self) -> None:
            super().__init__()
            self.inner = scratch.Linear(2, 2)
            self.register("scale", torch.ones(2))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self._kept = x
            return x * self.scale + self.inner(x)

        def backward(self, dy: torch.Tensor) -> torch.Tensor:
            x = self._take(dy)
            self.dscale += (dy * x).sum(-2)
            return dy * self.scale + self.inner.backward(dy)

    model = scratch.Sequential(Residual(), scratch.Tanh())
    assert list(model.state_dict()) == ["0.scale", "0.inner.weight", "0.inner.bias"]
    x = torch.randn(4, 2)
    y = model(x)
    model.backward(torch.ones_like(y))
    assert all(bool(gradient.any()) for _, gradient in model.param())
    stacked = runs.stack([model, copy.deepcopy(model)])
    assert stacked.state_dict()["0.inner.weight"].shape == (2, 2, 2)


def test_dropout_masks_are_seeded_and_the_same_in_every_dtype() -> None:
    def mask(seed: int, dtype: torch.dtype) -> Any:
        layer = scratch.Dropout(0.3, generator=torch.Generator().manual_seed(seed))
        layer(torch.ones(20, 5, dtype=dtype))
        assert layer.mask is not None
        return layer.mask != 0

    assert mask(0, torch.float32).equal(mask(0, torch.float64))
    assert mask(0, torch.float32).equal(mask(0, torch.bfloat16))
    assert not mask(0, torch.float32).equal(mask(1, torch.float32))


def test_a_parameter_that_was_replaced_is_noticed() -> None:
    layer = scratch.Linear(2, 3)
    layer.weight = layer.weight * 2
    for use in (layer.param, layer.state_dict, layer.zero_grad):
        with pytest.raises(RuntimeError, match=r"Linear.weight was replaced.*weight.copy_"):
            use()


def test_modules_in_a_list_are_noticed() -> None:
    class Several(scratch.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = [scratch.Linear(2, 2)]

    with pytest.raises(TypeError, match=r"Several.layers holds modules in a list"):
        scratch.Sequential(Several(), scratch.Tanh())


def test_one_hot_refuses() -> None:
    for wrong in (torch.tensor([0, 2]), torch.tensor([-1, 0]), torch.tensor([True, False])):
        with pytest.raises(ValueError, match="int64 labels from 0 to 1"):
            data.one_hot(wrong)


def test_constants_are_made_on_the_cpu_in_any_mode() -> None:
    with torch.device("meta"), torch.inference_mode():
        made = constant(0.123456, torch.float32)
    assert made.device.type == "cpu"
    assert not made.is_inference()


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW"])
def test_an_optimizers_defaults_are_torchs(name: str) -> None:
    model, twin = scratch.Linear(2, 2), torch.nn.Linear(2, 2)
    ours = getattr(scratch, name)(model.param()).state_dict()["param_groups"][0]
    theirs = getattr(torch.optim, name)(twin.parameters()).state_dict()["param_groups"][0]
    assert ours == {option: theirs[option] for option in ours}
    assert {"lr", "weight_decay", "maximize"} <= ours.keys()


def test_normal_weights_are_standard_normal_and_from_the_generator() -> None:
    made = [
        scratch.Linear(200, 300, init="normal", generator=torch.Generator().manual_seed(5)).weight
        for _ in range(2)
    ]
    assert made[0].equal(made[1])
    assert abs(float(made[0].mean())) < 0.02
    assert abs(float(made[0].std()) - 1) < 0.02


def test_a_layer_is_made_in_the_dtype_that_is_asked_for() -> None:
    layer = scratch.Linear(2, 3, dtype=torch.float64)
    assert {tensor.dtype for pair in layer.param() for tensor in pair} == {torch.float64}


def test_adam_takes_a_beta_of_0() -> None:
    assert scratch.Adam(scratch.Linear(2, 2).param(), betas=(0.0, 0.0)).betas == (0.0, 0.0)


def test_an_optimizers_state_loads_in_the_parameters_dtype() -> None:
    model = scratch.Linear(2, 2, dtype=torch.float64)
    optimizer = scratch.SGD(model.param(), momentum=0.9)
    optimizer.step()
    state = optimizer.state_dict()
    for slots in state["state"].values():
        slots["momentum_buffer"] = slots["momentum_buffer"].float()
    optimizer.load_state_dict(state)
    loaded = optimizer.state_dict()["state"][0]["momentum_buffer"]
    assert loaded.dtype == torch.float64
