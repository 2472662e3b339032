"""Many runs at once: R models of one architecture as one model with a leading axis of runs."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, TypeVar

import torch

from scratch.dropout import Dropout
from scratch.module import Module

M = TypeVar("M", bound=Module)


def stack(models: Sequence[M]) -> M:
    """One model that trains R models at once; each parameter is `[R, …]`.

    Run i of it computes what `models[i]` computes, up to rounding, and draws the same dropout
    masks if the Dropout layers of each model have a generator of its own. The models are
    copied: they stay as they are.

    Raises:
        ValueError: no models, models that differ in more than their parameters' values, a
            model that is stacked already, a layer that has no axis of runs (such as `Conv2d`),
            or one generator for several models.
    """
    if not models:
        raise ValueError("stack takes at least one model")
    for index, model in enumerate(models):
        stacked_parts = [module for module in model.modules() if module.runs is not None]
        if stacked_parts:
            raise ValueError(f"model {index} is stacked already: {stacked_parts[0]}")
        for module in model.modules():
            if not module.stackable:
                raise ValueError(
                    f"model {index} holds {module}, which cannot be stacked: it has no axis of "
                    "runs; train these models one by one"
                )
        if _architecture(model) != _architecture(models[0]):
            raise ValueError(
                f"stack takes models of one architecture; model {index} is {model}, "
                f"and model 0 is {models[0]}"
            )
    _refuse_shared_generators(models)
    tensors: dict[int, Any] = {}  # what stands for each tensor of the first model in the copy
    for pairs in zip(*(model.param() for model in models), strict=True):
        for kind, tensor in enumerate(pairs[0]):  # the parameter, then its gradient
            tensors[id(tensor)] = torch.stack([pair[kind] for pair in pairs])  # [R, …]
    stacked = copy.deepcopy(models[0], tensors)
    clones: dict[int, Any] = {}  # of generators: two layers that share one go on sharing
    for layer, *singles in zip(stacked.modules(), *(m.modules() for m in models), strict=True):
        layer.runs = len(models)
        if isinstance(layer, Dropout) and layer.generator is not None:
            layer.generator = [copy.deepcopy(single.generator, clones) for single in singles]
    return stacked


def unstack(model: M) -> list[M]:
    """The R models that a stacked model stands for: the inverse of `stack`, copies again.

    Raises:
        ValueError: the model is not stacked.
    """
    if model.runs is None:
        raise ValueError("unstack takes a model that runs.stack built")
    return [_single(model, run) for run in range(model.runs)]


def _single(model: M, run: int) -> M:
    tensors = [tensor for pair in model.param() for tensor in pair]
    memo: dict[int, Any] = {id(tensor): tensor[run].clone() for tensor in tensors}
    single = copy.deepcopy(model, memo)
    for layer in single.modules():
        layer.runs = None
        if isinstance(layer, Dropout) and isinstance(layer.generator, Sequence):
            layer.generator = layer.generator[run]
    return single


def _architecture(model: Module) -> list[object]:
    """What models must share to be stacked: all but the values of their parameters."""
    parts: list[object] = []
    for name, (p, _) in model.named_param().items():
        parts.append((name, p.shape, p.dtype, p.device))
    for module in model.modules():
        plain = {k: v for k, v in vars(module).items() if isinstance(v, (int, float, str))}
        drawing = isinstance(module, Dropout) and module.generator is not None
        parts.append((type(module), plain, drawing))
    return parts


def _refuse_shared_generators(models: Sequence[Module]) -> None:
    owners: dict[int, int] = {}
    for index, model in enumerate(models):
        for layer in model.modules():
            generator = layer.generator if isinstance(layer, Dropout) else None
            if generator is None:
                continue
            owner = owners.setdefault(id(generator), index)
            if owner != index:
                raise ValueError(
                    f"models {owner} and {index} share a generator; each run needs its own"
                )
