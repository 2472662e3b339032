"""Passes through a layer that the checks share, and what they say of arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from parity.catalogue.values import Tensors
from parity.checks.trial import Trial, beside, fact
from parity.judge.comparison import MEMORY, Comparison
from parity.play.arrays import LIES


def passed(
    layer: Any,
    inputs: Tensors,
    *,
    seed: int = 0,
    lie: tuple[str, str] = ("", ""),
    fresh: bool = False,
) -> Tensors:
    """One forward and backward of the subject's layer, by the names of `evaluate.layer`.

    Args:
        lie: how x and dy lie in memory.
        fresh: gradients are as the layer began with them: they are not set to zero.
    """
    if not fresh:
        layer.zero_grad()
    layer.seed(seed)
    given, gradients = beside(inputs)
    if given or gradients:
        layer.set_beside(given, gradients)
    y = layer.forward(inputs["x"], lie[0])
    dx = layer.backward(inputs["dy"], lie[1])
    return of_pass(y, dx, layer.results())


def of_pass(y: Tensor, dx: Tensor | None, results: Tensors) -> Tensors:
    """The results of a pass by their names; `dx` is None where the input is made of indices."""
    return {"output": y, **({} if dx is None else {"input_grad": dx}), **results}


def outputs(trial: Trial, layer: Any, x: Tensor, lies: str = "") -> Tensors:
    """What a forward returns."""
    y = layer.forward(x, lies)
    return {"output": y, **(layer.outputs() if trial.case.entry.results else {})}


def taken(trial: Trial) -> None:
    """Sees that the layer takes ordinary inputs: only then a refusal of others says something.

    Raises:
        Broken: it does not.
    """
    inputs = trial.inputs()
    trial.layer(inputs).forward(inputs["x"])


def rows_of(inputs: Tensors, rows: slice) -> Tensors:
    """Some samples of a batch, and what comes in with them and comes back for them."""
    parts = {n: v for n, v in inputs.items() if n in ("x", "dy") or n.endswith((".x", ".dy"))}
    return {name: value[rows] for name, value in parts.items()}


def another(x: Tensor) -> Tensor:
    """An input like `x`, of the same kind, whose samples are others."""
    return -x.flip(0) if x.is_floating_point() else x.flip(0)


def one_pass(
    trial: Trial,
    change: Callable[[Tensors], Tensors] = lambda inputs: inputs,
    *,
    rows: int | None = None,
    training: bool = True,
    lie: tuple[str, str] = ("", ""),
    poison: bool = False,
    deep: bool = False,
    ending: str = "",
    terms: int = 1,
    summed: int = 1,
) -> list[Comparison]:
    """The same inputs through the subject's layer and torch's; results compared whose names end
    so, by default all."""
    inputs = change(trial.inputs(rows))
    layer = trial.layer(inputs, poison=poison)
    if not training:
        layer.train(False)
    if ending == "output":  # of a layer without a backward, forward is judged all the same
        layer.seed(trial.seed)
        results = outputs(trial, layer, inputs["x"], lie[0])
    else:
        results = passed(layer, inputs, seed=trial.seed, lie=lie, fresh=poison)
    return trial.judge_layer(
        inputs, results, training=training, deep=deep, ending=ending, terms=terms, summed=summed
    )


WRITTEN = {
    "x": "its input",
    "dy": "the incoming gradient",
    "output": "the output that it had returned",
    "input_grad": "the input gradient that it had returned",
    "prediction": "the prediction",
    "target": "the target",
    "prediction_grad": "the gradient that it had returned",
}


def untouched(player: Any, label: str) -> list[Comparison]:
    """A verdict for each array that the subject modified and should not have."""
    return [written(name, label) for name in player.modified()]


def written(name: str, label: str, holds: bool = False) -> Comparison:
    """The verdict on one array that is not to be modified."""
    text = f"{label} writes into {WRITTEN.get(name, name)}"
    return fact(f"{name} untouched", holds, "was modified in place", text, MEMORY)


LAID = (*((one, one) for one in LIES), ("gaps", ""), ("", "transposed"))
"""How two arrays lie in memory: both of them oddly, and each alone."""


def laid(lie: tuple[str, str], whose: tuple[str, str]) -> str:
    """How two arrays lie, in words: `x and dy gaps`."""
    named = [name for name, how in zip(whose, lie, strict=True) if how]
    return f"{' and '.join(named)} {lie[0] or lie[1]}"
