"""Who is timed: one training of the reports' networks, as each library's documentation advises.

A contender trains R runs from given initial weights, on given batches, and says where they lead.
What it compiles is compiled before the clock starts, and timed apart.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call, grad, stack_module_state, vmap

import scratch
from bench import graphs
from bench.setting import Prepared, Setting
from parity import Tensors
from scratch.engines import Unsupported, fused


def torch_nn(setting: Setting, compiled: bool = False) -> Prepared:
    """torch.nn, autograd and torch's fused optimizer; one run after another, in one model."""
    model, loss = setting.twin().train(), setting.pair.loss[1]()
    size, done = setting.batch_size, list[Tensors]()

    def loss_of(x: Tensor, t: Tensor) -> Tensor:
        value: Tensor = loss(model(x), t)
        return value

    start = time.perf_counter()
    if compiled:
        loss_of = torch.compile(loss_of, dynamic=False)
        for _ in range(2):
            loss_of(setting.x[0, :size], setting.t[0, :size]).backward()
    seconds = time.perf_counter() - start if compiled else 0.0

    def train() -> None:
        for run, weights in enumerate(setting.weights):
            model.load_state_dict(weights)
            moved = setting.pair.optimizer[1](model.parameters())
            x, t = setting.x[run], setting.t[run]
            draws = scratch.Draws(run, x.device)
            for epoch in range(1, setting.epochs + 1):
                order = draws.order(epoch, len(x))
                for xb, tb in zip(x[order].split(size), t[order].split(size), strict=True):
                    moved.zero_grad()
                    loss_of(xb, tb).backward()
                    moved.step()
            done.append({name: value.clone() for name, value in model.state_dict().items()})

    return Prepared(done.clear, train, lambda: done, seconds)


def torch_func(setting: Setting) -> Prepared:
    """torch.func: one network of all runs' weights, vmap of grad; torch's fused optimizer."""
    models = [setting.twin() for _ in range(setting.runs)]
    base, loss = setting.twin().to("meta").train(), setting.pair.loss[1]()
    orders, state = setting.orders(), dict[str, Any]()

    def loss_of(parameters: Tensors, x: Tensor, t: Tensor) -> Tensor:
        value: Tensor = loss(functional_call(base, parameters, (x,)), t)
        return value

    gradients = vmap(grad(loss_of), randomness="different")

    def reset() -> None:
        for model, weights in zip(models, setting.weights, strict=True):
            model.load_state_dict(weights)
        parameters, _ = stack_module_state(models)
        state["parameters"] = {k: v.detach().clone() for k, v in parameters.items()}
        state["moved"] = setting.pair.optimizer[1](list(state["parameters"].values()))

    def train() -> None:
        every = torch.arange(setting.runs, device=setting.x.device).unsqueeze(-1)
        parameters, moved = state["parameters"], state["moved"]
        for order in orders:
            for chosen in order.split(setting.batch_size, dim=-1):
                found = gradients(parameters, setting.x[every, chosen], setting.t[every, chosen])
                for name, parameter in parameters.items():
                    parameter.grad = found[name]
                moved.step()

    def weights() -> list[Tensors]:
        return [
            {k: v[run].clone() for k, v in state["parameters"].items()}
            for run in range(setting.runs)
        ]

    return Prepared(reset, train, weights)


def eager(setting: Setting) -> Prepared:
    """Scratch by its layers, one run after another."""
    models = [setting.model() for _ in range(setting.runs)]
    state: dict[str, list[Any]] = {}

    def reset() -> None:
        for model, weights in zip(models, setting.weights, strict=True):
            model.load_state_dict(weights)
        state["moved"] = [setting.pair.optimizer[0](model.param()) for model in models]

    def train() -> None:
        for run, (model, moved) in enumerate(zip(models, state["moved"], strict=True)):
            scratch.fit(
                model, setting.pair.loss[0](), moved, setting.x[run], setting.t[run],
                epochs=setting.epochs, batch_size=setting.batch_size, seed=run,
            )  # fmt: skip

    return Prepared(reset, train, lambda: [model.state_dict() for model in models])


def stacked(setting: Setting, engine: str = "eager") -> Prepared:
    """Scratch with all runs at once, by its layers or by an engine."""
    state: dict[str, Any] = {}

    def reset() -> None:
        models = [setting.model() for _ in range(setting.runs)]
        for model, weights in zip(models, setting.weights, strict=True):
            model.load_state_dict(weights)
        state["model"] = scratch.runs.stack(models)
        state["moved"] = setting.pair.optimizer[0](state["model"].param())

    def train(epochs: int = setting.epochs) -> None:
        scratch.fit(
            state["model"], setting.pair.loss[0](), state["moved"], setting.x, setting.t,
            epochs=epochs, batch_size=setting.batch_size, seed=range(setting.runs),
            engine=engine,
        )  # fmt: skip

    def weights() -> list[Tensors]:
        every = state["model"].state_dict()
        return [{k: v[run] for k, v in every.items()} for run in range(setting.runs)]

    seconds = 0.0
    if engine == "fused":  # which is compiled when it is first asked for, on CUDA for its sizes
        start = time.perf_counter()
        reset()
        train(epochs=1)
        seconds = time.perf_counter() - start
    return Prepared(reset, train, weights, seconds)


@dataclass(frozen=True)
class Contender:
    """A way to train, and why it cannot be measured here, if it cannot."""

    name: str
    prepare: Callable[[Setting], Prepared]
    ours: bool = False
    missing: Callable[[str], str] = field(default=lambda device: "")


def _no_jax(device: str) -> str:
    if not importlib.util.find_spec("jax"):
        return "JAX is not installed"
    return "" if device == "cpu" else "JAX is measured on the CPU alone"


def _no_engine(device: str) -> str:
    try:
        fused.backend(torch.device(device))
    except Unsupported as error:
        return str(error)
    return ""


def _no_graphs(device: str) -> str:
    return "" if device.startswith("cuda") else "it is for CUDA"


def _jax(setting: Setting) -> Prepared:
    from bench import with_jax  # which imports JAX

    return with_jax.prepare(setting)


CONTENDERS = [
    Contender("torch.nn", torch_nn),
    Contender("torch.compile", partial(torch_nn, compiled=True)),
    Contender("torch.func", torch_func),
    Contender("JAX", _jax, missing=_no_jax),
    Contender("scratch, one by one", eager, ours=True),
    Contender("scratch, stacked", stacked, ours=True),
    Contender("scratch, CUDA graphs", graphs.prepare, True, _no_graphs),
    Contender("scratch, fused", partial(stacked, engine="fused"), True, _no_engine),
]
