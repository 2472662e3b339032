"""Two models beyond the reports', scratch beside torch: a convolutional network, a transformer.

As in the reports' table, both sides of a run get the same data, initial weights, batches and
threads, and they are timed in turn. Nothing is evaluated while the clock runs.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from tabulate import tabulate
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import cross_entropy

import parity
import reference.models
import reference.train
import scratch
from bench import measure
from bench.digits import digits
from bench.environment import caption, environment
from bench.paper.statistics import Equivalence, equivalence
from bench.storage import RESULTS, write
from bench.text import IGNORED, vocabulary, windows
from parity import Comparison, Tensors
from parity.judge.evaluate import Over, alone
from reference.pairs import ModelPair
from scratch.sequential import Sequential

SIDES = ("scratch", "torch")
SAMPLES, STEPS = 4, 10  # of a parity verdict: a batch, and how many
Data = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Deep:
    """A model, its data, and how both sides train it.

    Args:
        title: as in the table.
        pair: the model on both sides, its loss and its optimizer.
        data: returns what is trained on and what is tested on: x and t of each.
        figure: "accuracy" on the test's data, or "loss", in nats a token, which is lower if better.
        reaches: the figure after all epochs, on average: at least, or of a loss at most.
        margin: within which two means of the figure count as the same.
        epochs, batch_size: of a run.
    """

    title: str
    pair: ModelPair
    data: Callable[[], tuple[Data, Data]]
    figure: Literal["accuracy", "loss"]
    reaches: float
    margin: float
    epochs: int
    batch_size: int

    def __str__(self) -> str:
        return self.pair.name

    def measured(self, y: Tensor, t: Tensor) -> float:
        """The figure of a prediction `[N, classes]`."""
        t = t.flatten()
        if self.figure == "accuracy":
            return float((y.argmax(-1) == t).double().mean())
        return float(cross_entropy(y.double(), t, ignore_index=IGNORED))

    def reached(self, figure: float) -> bool:
        """Whether a figure is as good as it should be."""
        return figure >= self.reaches if self.figure == "accuracy" else figure <= self.reaches


def _text() -> tuple[Data, Data]:
    """The whole text twice: what is measured is how well it is learned by heart."""
    return windows(), windows()


_ADAM = ("Adam", {"lr": 3e-3})
_CLASSES = len(vocabulary())

DEEP = [
    Deep(
        "LeNet, digits",
        ModelPair(
            "lenet", scratch.models.lenet, reference.models.lenet,
            ("CrossEntropyLoss", {}), _ADAM, "index",
        ),
        digits, "accuracy", reaches=0.95, margin=0.01, epochs=6, batch_size=32,
    ),
    Deep(
        "Transformer, text",
        ModelPair(
            "transformer",
            partial(scratch.models.transformer, _CLASSES),
            partial(reference.models.transformer, _CLASSES),
            ("CrossEntropyLoss", {"ignore_index": IGNORED}), _ADAM, "index",
        ),
        _text, "loss", reaches=0.5, margin=0.05, epochs=30, batch_size=8,
    ),
]  # fmt: skip


@dataclass
class Run:
    """One training by one side; `figure` is its accuracy or its loss."""

    model: str
    side: str
    seed: int
    seconds: float
    figure: float


@dataclass
class Results:
    """All runs, and for each model how long one is and the comparison that decides its parity."""

    epochs: dict[str, int]
    environment: dict[str, Any]
    runs: list[Run] = field(default_factory=list)
    parity: dict[str, dict[str, Any]] = field(default_factory=dict)

    def of(self, deep: Deep, side: str) -> list[Run]:
        chosen = [run for run in self.runs if (run.model, run.side) == (str(deep), side)]
        return sorted(chosen, key=lambda run: run.seed)

    def mean(self, deep: Deep, side: str) -> float:
        """A side's figure, over all runs."""
        return float(np.mean([run.figure for run in self.of(deep, side)]))


def results(
    runs: int = 10,
    epochs: int = 30,
    device: str = "cpu",
    progress: Callable[[str], object] = lambda done: None,
) -> Results:
    """Measures every model, and writes the results.

    Args:
        runs: of each model and side.
        epochs: of a run, at most: a model takes no more than its own.
        progress: called after each run and each verdict, with what was done.
    """
    lengths = {str(deep): min(deep.epochs, epochs) for deep in DEEP}
    kept = Results(lengths, environment(device))
    for deep in DEEP:
        for side in SIDES:
            train(deep, side, 0, 1, device)  # to warm up
        for seed in range(runs):
            for side in SIDES if seed % 2 == 0 else SIDES[::-1]:
                kept.runs.append(train(deep, side, seed, lengths[str(deep)], device))
                progress(f"{deep.title} {side}")
        kept.parity[str(deep)] = asdict(verdict(deep, device))
        progress(f"{deep.title} parity")
    file = RESULTS / name(runs, epochs, device)
    write(file.with_suffix(".json"), json.dumps(asdict(kept), indent=1) + "\n")
    write(file.with_suffix(".md"), text(kept, "github") + "\n")
    return kept


def name(runs: int, epochs: int, device: str) -> str:
    """Of the files that the results are kept in."""
    return f"deep-{device}-{runs}x{epochs}"


def train(deep: Deep, side: str, seed: int, epochs: int, device: str = "cpu") -> Run:
    """One run: its initial weights and batches depend on the seed alone."""
    (x, t), (x_test, t_test) = ([one.to(device) for one in part] for part in deep.data())
    network, twin = both(deep, seed, device)
    place = SIDES.index(side)
    model: Any = (network, twin)[place]
    parameters = network.param() if side == "scratch" else twin.parameters()
    criterion, optimizer = deep.pair.loss[place](), deep.pair.optimizer[place](parameters)
    module: Any = (scratch.train, reference.train)[place]
    given = {"seed": seed} if side == "scratch" else {"draws": scratch.Draws(seed, device)}

    def timed() -> None:
        module.fit(
            model, criterion, optimizer, x, t, epochs=epochs, batch_size=deep.batch_size, **given
        )

    elapsed = measure.seconds(timed, device)
    figure = deep.measured(module.predict(model, x_test), t_test)
    return Run(str(deep), side, seed, elapsed, figure)


def both(deep: Deep, seed: int = 0, device: str = "cpu") -> tuple[Sequential, nn.Sequential]:
    """The model on both sides, with the same initial weights."""
    model = deep.pair.scratch(generator=torch.Generator().manual_seed(seed)).to(device)
    twin = deep.pair.reference().to(device)
    twin.load_state_dict(model.state_dict())
    return model, twin


def verdict(deep: Deep, device: str = "cpu") -> Comparison:
    """The first divergence from torch in float32; if there is none, the worst comparison."""
    compared = [*one_pass(deep, device), *some_steps(deep, device)]
    first = parity.first_divergence(compared)
    return first or max(compared, key=lambda comparison: comparison.ratio)


def one_pass(deep: Deep, device: str = "cpu") -> list[Comparison]:
    """One pass from the initial weights, compared layer by layer: outputs, loss, gradients."""
    model, twin = both(deep, device=device)
    x, t = (part[:SAMPLES].to(device) for part in deep.data()[0])
    t = t.flatten()
    got = trace(model, deep.pair.loss[0](), x, t)
    evaluate = parity.evaluate.network(_judging(twin), deep.pair.loss[1]())
    return _compared(evaluate, {**dict(twin.named_parameters()), "x": x, "target": t}, got)


def trace(model: Sequential, criterion: scratch.Loss, x: Tensor, t: Tensor) -> Tensors:
    """One pass of scratch's, by the names of `parity.evaluate.network`."""
    model.zero_grad()
    y, results = x, Tensors()
    for place, layer in model.children():
        y = layer.forward(y)
        results[f"{place}.output"] = y
    results["loss"] = criterion(y, t)
    dy = results["prediction_grad"] = criterion.backward()
    for place, layer in reversed(list(model.children())):
        dy = layer.backward(dy)
        results[f"{place}.input_grad"] = dy
    if not x.is_floating_point():
        del results["0.input_grad"]
    return results | {f"{k}.param_grad": g.clone() for k, (_, g) in model.named_param().items()}


def some_steps(deep: Deep, device: str = "cpu") -> list[Comparison]:
    """Ten steps in lockstep: the weights after them, and the loss that they lead to."""
    model, twin = both(deep, device=device)
    x, t = (part.to(device) for part in deep.data()[0])
    order = torch.arange(STEPS * SAMPLES, device=device) % len(x)
    batches = [(x[chosen], t[chosen].flatten()) for chosen in order.split(SAMPLES)]
    inputs: Tensors = dict(twin.named_parameters())
    criterion, optimizer = deep.pair.loss[0](), deep.pair.optimizer[0](model.param())
    for step, (x_step, t_step) in enumerate(batches, 1):
        inputs |= {f"x {step}": x_step, f"t {step}": t_step}
        scratch.train.step(model, criterion, optimizer, x_step, t_step)
    got = {f"step {STEPS}: {name}": p for name, (p, _) in model.named_param().items()}
    got[f"loss after {STEPS} steps"] = criterion(model(batches[0][0]), batches[0][1])
    return _compared(_training(deep, _judging(twin)), inputs, got)


def _training(deep: Deep, twin: nn.Sequential) -> Callable[..., Tensors]:
    """Torch's `some_steps`, as `parity.truth` evaluates it."""
    criterion, make = deep.pair.loss[1](), deep.pair.optimizer[1]
    trained = parity.evaluate.training(twin, criterion, make, [[]] * STEPS)
    passed = parity.evaluate.network(twin, criterion)

    def evaluate(inputs: Tensors, over: Over = alone) -> Tensors:
        moved = trained(inputs, over)
        last = {name: moved[f"step {STEPS}: {name}"] for name, _ in twin.named_parameters()}
        after = passed({**last, "x": inputs["x 1"], "target": inputs["t 1"]}, over)
        found = {f"step {STEPS}: {name}": parameter for name, parameter in last.items()}
        return {**found, f"loss after {STEPS} steps": after["loss"]}

    return evaluate


def _judging(twin: nn.Sequential) -> nn.Sequential:
    """A model in training without batch norm's running statistics, which no gradient sees."""
    for place, layer in list(twin.named_children()):
        setattr(twin, place, parity.evaluate.without_statistics(layer))
    return twin


def _compared(evaluate: Callable[..., Tensors], inputs: Tensors, got: Tensors) -> list[Comparison]:
    """Scratch's results against the truth, in the order in which they are computed."""
    inputs = {name: tensor.detach() for name, tensor in inputs.items()}
    with sdpa_kernel(SDPBackend.MATH):  # a fused operation has no inner rounding to move
        return parity.compare(got, parity.truth(evaluate, inputs))


def sameness(kept: Results, deep: Deep) -> Equivalence | None:
    """Whether both sides reach the same, by two one-sided tests; None of a single run."""
    ours, theirs = ([run.figure for run in kept.of(deep, side)] for side in SIDES)
    return equivalence(ours, theirs, deep.margin) if len(ours) > 1 else None


def rows(kept: Results) -> list[dict[str, str]]:
    """The table: a row for each model and side."""
    table = []
    for deep in DEEP:
        theirs = kept.of(deep, "torch")
        for side in SIDES:
            runs, ours = kept.of(deep, side), side == "scratch"
            figures = [run.figure for run in runs]
            ratios = [a.seconds / b.seconds for a, b in zip(runs, theirs, strict=True)]
            table.append(
                {
                    "model": f"{deep.title} ({side})",
                    "accuracy or loss": f"{deep.figure} {kept.mean(deep, side):.3f}",
                    "std": f"{np.std(figures, ddof=1):.3f}" if len(runs) > 1 else "-",
                    "seconds a run": f"{np.median([run.seconds for run in runs]):.3g}",
                    "ratio to torch [95 %]": str(measure.median(ratios)) if ours else "1",
                    "parity": _parity(kept.parity[str(deep)]) if ours else "",
                }
            )
    return table


def text(kept: Results, style: str = "simple") -> str:
    """The table with its caption, for a terminal or in Markdown (style "github")."""
    lines = [tabulate(rows(kept), headers="keys", tablefmt=style, disable_numparse=True), ""]
    lines += [f"{deep.title}: {_said(kept, deep)}" for deep in DEEP]
    lines += ["", *(_described(kept, deep) for deep in DEEP)]
    lines += [
        "Parity: scratch's float32 results beside torch's, of one pass layer by layer and of "
        f"{STEPS} training steps. The number is the largest error over what is allowed; 1 or less "
        "is right. WRONG names the first result that is not.",
        f"Measured on {caption(kept.environment)}.",
    ]
    return "\n".join(lines)


def _said(kept: Results, deep: Deep) -> str:
    same = sameness(kept, deep)
    if same is None:
        return "one run says nothing of how far scratch and torch differ."
    return (
        f"scratch less torch, same seeds, {same.mean:+.4f}, 90 % interval "
        f"[{same.low:+.4f}, {same.high:+.4f}]; {'equivalent' if same.shown else 'not shown to be'}"
        f"{'' if same.shown else ' equivalent'} within ±{deep.margin:g}."
    )


def _described(kept: Results, deep: Deep) -> str:
    (x, _), (x_test, _) = deep.data()
    runs = len(kept.of(deep, "torch"))
    tested = (
        f"accuracy on {len(x_test)} other samples" if deep.figure == "accuracy"
        else "loss on the same samples, in nats a character: how well it knows them by heart"
    )  # fmt: skip
    name, options = deep.pair.moved
    return (
        f"{deep.title}: {runs} runs x {kept.epochs[str(deep)]} epochs of {len(x)} samples "
        f"{list(x.shape[1:])}, batch size {deep.batch_size}, {name}, learning rate "
        f"{options['lr']:g}; {tested}."
    )


def _parity(judged: dict[str, Any]) -> str:
    if judged["ratio"] <= 1:
        return f"ok, {judged['ratio']:.2f}"
    return f"WRONG, {judged['ratio']:.2f} at {judged['name']}"
