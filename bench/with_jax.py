"""JAX as a contender: jit of vmap of scan, a step of it in plain functions."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch

import scratch
from bench.setting import Prepared, Setting
from parity import Tensors

ACTIVATIONS: dict[type[scratch.Module], Callable[[Any], Any]] = {
    scratch.ReLU: jax.nn.relu,
    scratch.Tanh: jnp.tanh,
    scratch.SELU: jax.nn.selu,
    scratch.Softmax: jax.nn.softmax,
}


def prepare(setting: Setting) -> Prepared:
    """Compiles a whole training of all runs, which takes weights, data, orders and keys."""
    layers = list(setting.model())
    name, options = setting.pair.moved
    rule = partial({"SGD": _sgd, "Adam": _adam}[name], options["lr"])
    size, steps = setting.batch_size, setting.steps
    assert setting.x.shape[1] == steps * size, "a last batch of its own size is not compiled"

    def loss_of(parameters: Any, x: Any, t: Any, key: Any) -> Any:
        for place, layer in enumerate(layers):
            if isinstance(layer, scratch.Linear):
                x = x @ parameters[f"{place}.weight"].T + parameters[f"{place}.bias"]
            elif isinstance(layer, scratch.Dropout):
                kept = jax.random.bernoulli(jax.random.fold_in(key, place), 1 - layer.p, x.shape)
                x = jnp.where(kept, x / (1 - layer.p), 0) if layer.p else x
            else:
                x = ACTIVATIONS[type(layer)](x)
        return _loss(setting.pair.criterion, x, t)

    def run(parameters: Any, x: Any, t: Any, orders: Any, key: Any) -> Any:
        def step(carry: Any, chosen: Any) -> Any:
            parameters, state, count = carry
            batch = x[chosen], t[chosen]
            found = jax.grad(loss_of)(parameters, *batch, jax.random.fold_in(key, count))
            parameters, state = rule(parameters, found, state, count + 1)
            return (parameters, state, count + 1), None

        zeros = jax.tree.map(jnp.zeros_like, parameters)
        (parameters, _, _), _ = jax.lax.scan(step, (parameters, (zeros, zeros), 0), orders)
        return parameters

    orders = setting.orders().permute(1, 0, 2)  # [R, epochs, N]
    given = (
        {
            name: jnp.asarray(np.stack([weights[name].numpy() for weights in setting.weights]))
            for name in setting.weights[0]
        },
        jnp.asarray(setting.x.numpy()),
        jnp.asarray(setting.t.numpy()),
        jnp.asarray(orders.reshape(setting.runs, -1, size).to(torch.int32).numpy()),
        jax.random.split(jax.random.key(0), setting.runs),
    )
    start = time.perf_counter()
    compiled = jax.jit(jax.vmap(run)).lower(*given).compile()
    seconds = time.perf_counter() - start
    state: dict[str, Any] = {}

    def train() -> None:
        state["weights"] = jax.block_until_ready(compiled(*given))

    def weights() -> list[Tensors]:
        every = {k: torch.tensor(np.asarray(v)) for k, v in state["weights"].items()}
        return [{k: v[run] for k, v in every.items()} for run in range(setting.runs)]

    return Prepared(lambda: None, train, weights, seconds)


def _loss(criterion: tuple[str, Any], y: Any, t: Any) -> Any:
    match criterion:
        case ("MSELoss", {"reduction": "sum"}):
            return ((y - t) ** 2).sum()
        case ("BCELoss", {"reduction": "mean"}):
            one, zero = jnp.maximum(jnp.log(y), -100), jnp.maximum(jnp.log1p(-y), -100)
            return -(t * one + (1 - t) * zero).mean()
    raise NotImplementedError(f"JAX has no {criterion} here")


def _sgd(lr: float, parameters: Any, found: Any, state: Any, _: Any) -> Any:
    return jax.tree.map(lambda p, g: p - lr * g, parameters, found), state


def _adam(lr: float, parameters: Any, found: Any, state: Any, count: Any) -> Any:
    first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, state[0], found)
    second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, state[1], found)
    # 1 - 0.9^t, of which float32 would lose digits
    one, two = -jnp.expm1(count * np.log(0.9)), -jnp.expm1(count * np.log(0.999))
    moved = jax.tree.map(
        lambda p, m, v: p - lr * (m / one) / (jnp.sqrt(v / two) + 1e-8), parameters, first, second
    )
    return moved, (first, second)
