"""What parity knows, in Markdown: each class, at which options and shapes it is checked, and the
mistakes of it that have a name."""

from __future__ import annotations

import re

import torch
from torch import nn

from parity.catalogue.case import Case
from parity.catalogue.entry import Entry
from parity.catalogue.table import CATALOGUE
from parity.catalogue.values import Tensors
from parity.checks.life import BATCHES
from parity.checks.trial import Trial, in_double
from parity.explain import clipping, layers, losses, optimizers
from parity.explain.circumstances import plainly
from parity.explain.mistakes import Mistakes
from parity.explain.statistics import of_statistics
from parity.judge import evaluate
from parity.play.describe import describe
from parity.subject.subject import Subject

HEAD = """# What parity knows

The classes of torch that an adapter may name, at which options and shapes each is checked, and the
mistakes that are known by name. A mistake is no pattern in the source: it is the result that one
would get, computed at the inputs of the check. What is wrong and equals none of them is described:
where, by what factor, at which inputs. Any layer, besides, may be zero, have the wrong sign, be off
by a factor, ignore the incoming gradient, or take one sample for the batch.

`python -m tests.catalogue` writes this page; `parity list Conv2d` prints what it says of a class.
"""
KINDS = {"layer": "Layers", "loss": "Losses", "optimizer": "Optimizers",
         "clipping": "Gradient clipping"}  # fmt: skip
COMMON = ("zero", "sign", "identity", "last sample", "first sample", "all but last",
          "all but first", "not multiplied", "absolute")  # fmt: skip
"""The mistakes that any layer may have."""


def page() -> str:
    """All classes, by kind."""
    parts = [HEAD]
    for kind, title in KINDS.items():
        parts.append(f"## {title}\n")
        parts += [section(entry) for entry in CATALOGUE.values() if entry.kind == kind]
    return "\n".join(parts)


def section(entry: Entry) -> str:
    """One class."""
    lines = [f"### {entry.name}\n", f"Checked at {_options(entry)}."]
    if not entry.of_parameters:
        shapes = dict.fromkeys(str(list(entry.shape_of(name))) for name in entry.variants)
        what = "Its input is" if entry.kind == "layer" else "Its prediction is"
        lines.append(f"{what} {' or '.join(shapes)}, and what the axes `sizes` and `rank` add.")
    lines += _named(entry)
    if entry.ranges:
        scales = ", ".join(
            f"multiplied by {scale:g}" if scale != 1 else f"with {shift:g} added"
            for scale, shift in entry.ranges.values()
        )
        lines.append(f"It is tried at inputs {scales} too.")
    told = _sentences(entry)
    if told:
        lines.append("\nMistakes with a name, and the results that show them:\n")
        for sentence, results in told.items():
            shown = [*results][:MOST] + ["…"] * (len(results) > MOST)
            whose = f" ({', '.join(shown)})" if any(results) else ""
            lines.append(f"- {sentence}{whose}")
    return "\n".join([*lines, ""])


MOST = 4
"""How many results of a mistake are listed."""


def _named(entry: Entry) -> list[str]:
    """What else a layer takes and returns, and what a subject calls it."""
    lines = []
    if entry.beside:
        shapes: dict[str, dict[str, None]] = {}
        for given in entry.beside.values():
            for name, shape in given.items():
                shapes.setdefault(name, {})[str(list(shape))] = None
        inputs = ", ".join(f"`{name}` {' or '.join(one)}" for name, one in shapes.items())
        when = "" if entry.beside.keys() == entry.variants.keys() else ", at some options"
        lines.append(f"After it, it takes {inputs}{when}.")
    if entry.results:
        lines.append(f"After its output it returns {', '.join(f'`{n}`' for n in entry.results)}.")
    if entry.stands_for is None and entry.reference.__module__.startswith("parity."):
        what = (entry.reference.__doc__ or "").strip().splitlines()[0]
        lines.append(f"Torch has no such class: an adapter names it `parity.{entry.name}`. {what}")
    return lines


def _options(entry: Entry) -> str:
    if entry.kind == "optimizer":
        values: dict[str, dict[str, None]] = {}
        for options in entry.variants.values():
            for name, value in options.items():
                values.setdefault(name, {})[repr(value)] = None
        several = [f"`{k}` {' or '.join(v)}" for k, v in values.items() if len(v) > 1]
        return f"combinations of {', '.join(several)}"
    named = [f"`{name}`" for name in entry.variants if name]
    first = "its defaults" if "" in entry.variants else ""
    return ", ".join([first] * bool(first) + named) or "its defaults"


def _sentences(entry: Entry) -> dict[str, dict[str, None]]:
    """What is said of each mistake, and of which results."""
    subject = Subject({entry: entry.reference}, targets=("index", "one_hot", "distribution"))
    found: dict[str, dict[str, None]] = {}
    for case in describe(subject).cases:
        if entry.kind == "clipping":
            gradients = {"p": torch.linspace(-3, 3, 7, dtype=torch.float64)}
            found |= {says: {"": None} for says, _ in clipping.known(case, gradients)}
            continue
        if entry.kind == "optimizer":
            found |= {_general(one.sentence): {"": None} for one in _of_optimizer(case)}
            continue
        for name, mistakes in _of(case).items():
            for one in mistakes:
                if one.sentence and one.name not in COMMON:
                    found.setdefault(_general(one.sentence), {})[plainly(name)] = None
    return found


def _general(sentence: str) -> str:
    """Without the numbers of one case."""
    sentence = re.sub(r"(?<= to be ).*(?=: if that is meant)", "another's default", sentence)
    sentence = re.sub(r",? (here|not) -?\d[\d.e+-]*", "", sentence)
    return re.sub(
        r"\b(0\.0+1|1e-\d+)(?= inside| before the bias)|(?<=eps to be )\S+",
        "another number",
        sentence,
    )


def _of(case: Case) -> Mistakes:
    trial = Trial(None, case, torch.float64)
    if case.kind == "loss":
        inputs = trial.loss_inputs()
        return losses.of_loss(case, inputs, evaluate.loss(case.reference())(inputs))
    inputs = trial.inputs()
    module = case.module().train()
    masks = [inputs["x"] > 0] if isinstance(module, nn.Dropout) else []
    oracle = evaluate.layer(module)(inputs)
    made = layers.of_layer(case, module, inputs, oracle, list(masks))
    for name, ones in _kept(case, trial, inputs).items():
        made[name] = made[name] + ones
    return made


def _kept(case: Case, trial: Trial, inputs: Tensors) -> Mistakes:
    """Those of what a layer keeps of its batches."""
    module = case.module()
    if not module.state_dict().keys() - dict(module.named_parameters()).keys():
        return {}
    batches = {f"x {n}": inputs["x"] * n for n in range(1, BATCHES + 1)}
    given = in_double(inputs | batches)
    oracle = evaluate.statistics(module, BATCHES)(given)
    return of_statistics(module, given, oracle, BATCHES)


def _of_optimizer(case: Case) -> list[optimizers.Trajectory]:
    generator = torch.Generator().manual_seed(0)
    draw = [torch.randn(3, 2, generator=generator, dtype=torch.float64) for _ in range(4)]
    inputs = {"p0": draw[0]} | {f"step {n}: p0": draw[n] for n in range(1, 4)}
    return optimizers.simulated(case, inputs, 3)
