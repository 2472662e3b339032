"""Scratch with all runs at once, forward and backward of a step as one CUDA graph.

A graph replays what was launched when it was captured, with the same memory and the same numbers:
so batches and masks are copied to where it reads them, and the optimizer's update, in which Adam's
factors change from step to step, follows each replay by itself. On the CPU nothing is captured.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import scratch
from bench.setting import Prepared, Setting
from parity import Tensors


class _Masks:
    """In place of what `fit` draws masks by: a place in memory, which is filled before a step."""

    def __init__(self) -> None:
        self.mask = torch.empty(0)

    def next(self, p: float, x: Tensor) -> Tensor:
        if self.mask.shape != x.shape:
            self.mask = torch.ones_like(x)
        return self.mask


def prepare(setting: Setting) -> Prepared:
    """As `bench.peers.stacked`; the capture is made before a training, and timed apart."""
    criterion, size = setting.pair.loss[0](), setting.batch_size
    assert setting.x.shape[1] == setting.steps * size, "a last batch of its own size has no graph"
    x, t = (data[:, :size].clone() for data in (setting.x, setting.t))
    state: dict[str, Any] = {}

    def reset() -> None:
        models = [setting.model() for _ in range(setting.runs)]
        for one, weights in zip(models, setting.weights, strict=True):
            one.load_state_dict(weights)
        model = scratch.runs.stack(models)
        optimizer = setting.pair.optimizer[0](model.param())
        dropouts = [part for part in model.modules() if isinstance(part, scratch.Dropout)]
        masks: list[Any] = [_Masks() for _ in dropouts]
        for dropout, given in zip(dropouts, masks, strict=True):
            dropout._stream = given

        def pass_() -> None:
            """A step but its update, and but `Loss.forward`'s look at the value."""
            optimizer.zero_grad()
            entries, criterion._kept = criterion._entries(model(x), t)
            criterion._shape = entries.shape
            model.backward_param(criterion.backward())

        state.update(model=model, optimizer=optimizer, dropouts=dropouts, masks=masks)
        state["replay"] = _captured(pass_, setting.x.device)

    def train() -> None:
        draws = scratch.Draws(list(range(setting.runs)), setting.x.device)
        every = torch.arange(setting.runs, device=setting.x.device).unsqueeze(-1)
        replay, optimizer = state["replay"], state["optimizer"]
        places = list(zip(state["dropouts"], state["masks"], strict=True))
        for epoch in range(1, setting.epochs + 1):
            order = draws.order(epoch, setting.x.shape[1])
            drawn = [
                draws.masks(dropout.p, epoch, range(setting.steps), place, given.mask.shape[1:])
                for place, (dropout, given) in enumerate(places)
            ]
            for step, chosen in enumerate(order.split(size, dim=-1)):
                x.copy_(setting.x[every, chosen])
                t.copy_(setting.t[every, chosen])
                for (_, given), masks in zip(places, drawn, strict=True):
                    given.mask.copy_(masks[step])
                replay()
                optimizer.step()

    def weights() -> list[Tensors]:
        found = state["model"].state_dict()
        return [{k: v[run] for k, v in found.items()} for run in range(setting.runs)]

    start = time.perf_counter()
    reset()
    return Prepared(reset, train, weights, time.perf_counter() - start)


def _captured(function: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """What does the same again, by one launch on CUDA."""
    if device.type != "cuda":
        function()
        return function
    aside = torch.cuda.Stream(device)
    aside.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(aside):
        for _ in range(3):  # what allocates at first use does it before
            function()
    torch.cuda.current_stream(device).wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        function()
    return graph.replay
