"""How the methods of a framework are called, in an adapter that is being written: a forward, a
backward, a loss or a step that has another name than torch's, or takes more; nothing is
imported."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator

from parity.catalogue.entry import Entry
from parity.catalogue.table import by_name
from parity.subject.source import arguments, methods

FORWARD = ("forward", "__call__", "forward_pass", "forward_propagation", "feedforward", "fwd")
BACKWARD = ("backward", "backward_pass", "backward_propagation", "backprop", "bwd", "gradient",
            "grad", "derivative", "prime")  # fmt: skip
"""What a layer's or a loss's two ways may be called."""
VALUES = ("loss", "calculate", "compute", "value", "calc", "compute_loss", "apply")
"""What else a loss's value may be called."""
STEPS = ("step", "update", "update_params", "apply", "optimize")
"""What makes an optimizer's step."""
AROUND_A_STEP = ("pre_update_params", "post_update_params")
TARGETS = ("target", "targets", "t", "true", "y_true", "ytrue", "label", "labels", "y")
PREDICTIONS = ("prediction", "predictions", "pred", "y_pred", "ypred", "y_hat", "yhat", "output",
               "p", "logits")  # fmt: skip
INPUTS = ("x", "X", "z", "Z", "input", "inputs", "input_", "inp", "input_data")
"""What the argument may be called that a layer's forward takes."""
MODES = ("train", "training", "is_training", "is_train", "train_flg", "train_flag", "train_mode",
         "trainable")  # fmt: skip
"""What an argument of a forward may be called that says whether it is training."""
MODELS = ("model", "net", "network", "layers", "module")
RATES = ("lr", "learning_rate", "rate", "eta", "step_size", "learn_rate")
OF_LAYERS = ("update", "weights", "biases", "W", "dW", "dweights", "grad_weights", "weights_grad")
"""What an optimizer uses of what it is over, where these are layers."""

Named = Callable[[ast.ClassDef], str]
"""What the adapter calls a class."""


def way_back(node: ast.ClassDef) -> str:
    """What a class calls its backward."""
    return next((name for name in BACKWARD if name in methods(node)), "backward")


def takes_a_rate(node: ast.ClassDef, backward: str) -> bool:
    """Whether a layer's backward takes a rate, and so moves its parameters."""
    needed, _ = arguments(methods(node).get(backward))
    return len(needed) > 1 and needed[1] in RATES


def of_layers(
    layers: list[ast.ClassDef], linear: ast.ClassDef | None, named: Named
) -> tuple[list[str], list[str]]:
    """Lines before the subject, and settings: a forward or a backward of another name, or that
    takes more than its array, and a mode, which is told by itself."""
    first = linear if linear is not None else layers[0]
    name = next((name for name in FORWARD if name in methods(first)), "forward")
    kept, settings = _backward(layers, linear, first, named)
    needed, _ = arguments(methods(first).get(name))
    if not kept and name in ("forward", "__call__") and {*needed[1:]} <= {*MODES}:
        return [], settings
    call, others = _forward(first, name), dict[str, list[str]]()
    for one in layers:
        if (other := _forward(one, name)) != call:
            others.setdefault(other, []).append(named(one))
    if any(TOLD in one for one in (call, *others)):
        settings = ['train=lambda layer, mode: setattr(layer, "training", mode),', *settings]
    if not kept and not others:
        return [], [f"forward=lambda layer, x: {call},", *settings]
    lines = ["", "def forward(layer, x):"]
    if kept:  # its backward is given the input again
        lines.append("    layer.given = x")
    for other, those in others.items():
        lines.append(f"    if isinstance(layer, ({', '.join(those)},)):")
        lines.append(f"        return {other}")
    return [*lines, f"    return {call}", "", ""], ["forward=forward,", *settings]


FLAGGED = re.compile("is_|use_|with_|do_|save|store|keep|cache|remember|retain|grad|record")
"""What an argument of a forward may be called that is a flag, to be on."""
TOLD = 'getattr(layer, "training", True)'


def _forward(node: ast.ClassDef, name: str) -> str:
    """How a layer's forward is called: it is told its mode, if it has an argument for that."""
    own = methods(node)
    name = name if name in own else next((other for other in FORWARD if other in own), name)
    needed, names = arguments(own.get(name))
    given = {one: TOLD if one in MODES else "True" for one in names[1:]
             if one in MODES or (one in needed and FLAGGED.match(one))}  # fmt: skip
    called = "layer" if name == "__call__" else f"layer.{name}"
    return f"{called}({', '.join(['x', *(f'{one}={value}' for one, value in given.items())])})"


def _backward(
    layers: list[ast.ClassDef], linear: ast.ClassDef | None, first: ast.ClassDef, named: Named
) -> tuple[bool, list[str]]:
    """Whether a backward takes the forward's input, and the setting that says how it is called."""
    name = way_back(first)
    needed, _ = arguments(methods(first).get(name))
    if rated := [one for one in layers if takes_a_rate(one, name)]:
        call = f"layer.{name}(dy, rate)"
        if len(rated) < len(layers):
            made = ", ".join(map(named, rated))
            call += f" if isinstance(layer, ({made},)) else layer.{name}(dy)"
        return False, [f"step_in_backward=lambda layer, dy, rate: {call},"]
    if len(needed) == 2 and needed[0] in INPUTS:
        return True, [f"backward=lambda layer, dy: layer.{name}(layer.given, dy),"]
    factors = [one for one in layers if one is not linear and _is_derivative(one)]
    if factors:
        others = f"layer.{name}(dy)"
        called = way_back(factors[0])
        made = ", ".join(named(one) for one in factors)
        multiplied = f"dy * layer.{called}(layer.given)"
        if len(factors) < len(layers):
            multiplied += f" if isinstance(layer, ({made},)) else {others}"
        return True, [f"backward=lambda layer, dy: {multiplied},"]
    return False, [f"backward=lambda layer, dy: layer.{name}(dy),"] * (name != "backward")


def _is_derivative(node: ast.ClassDef) -> bool:
    """Whether a method in the place of a backward is given x, and knows nothing of a forward: it
    is the derivative alone, which whoever calls it multiplies."""
    own = methods(node)
    back = own.get(way_back(node))
    needed, _ = arguments(back)
    if back is None or len(needed) != 1 or needed[0] not in INPUTS:
        return False
    kept = {
        part.attr
        for name, method in own.items()
        if name != "__init__"
        for part in ast.walk(method)
        if isinstance(part, ast.Attribute) and isinstance(part.ctx, ast.Store)
    }
    read = {part.attr for part in ast.walk(back) if isinstance(part, ast.Attribute)}
    return not kept & read


def target_first(names: list[str]) -> bool:
    """Whether a function of two arguments takes the target before the prediction: what `y` is, the
    other name says."""
    first, second = (name.lower() for name in names[:2])
    return first in TARGETS and (first != "y" or second in PREDICTIONS)


def of_losses(losses: list[ast.ClassDef], tree: ast.Module) -> Iterator[str]:
    """Settings: what a loss's value and gradient are called, and in which order it takes what.

    Args:
        losses: of which the first says it.
        tree: the module that this one is in.
    """
    first = methods(losses[0])
    names = [name for name in (*FORWARD, *VALUES) if name in first]
    # What calls another of these is of all samples, and the other of each.
    whole = [n for n in names if n in VALUES and f"self.{names[0]}(" in ast.unparse(first[n])]
    forward = next(iter([*whole, *names]), "forward")
    source = ast.unparse(first.get(forward, losses[0]))
    source += "".join(ast.unparse(one) for one in tree.body
                      if isinstance(one, ast.FunctionDef) and f"{one.name}(" in source)  # fmt: skip
    divided = re.search(r"mean|/ \(?(\w+\.)?(batch_?size|shape\[0\]|size|len\(|[Nnm]\b)", source)
    yield f'reduction="{"mean" if divided else "sum"}",  # a guess'
    given, _ = arguments(first.get(forward))
    turned = len(given) > 1 and target_first(given)
    if turned or forward not in ("forward", "__call__"):
        order = "target, prediction" if turned else "prediction, target"
        yield "loss_forward=lambda loss, prediction, target:"
        yield f"    loss.{forward}({order}),"
    backward = way_back(losses[0])
    needed, _ = arguments(first.get(backward))
    if len(needed) == 2:
        order = "target, prediction" if target_first(needed) else "prediction, target"
        yield "loss_backward=lambda loss, prediction, target:"
        yield f"    loss.{backward}({order}),"
    elif backward != "backward":
        yield f"loss_backward=lambda loss, prediction, target: loss.{backward}(),"


def of_optimizers(
    nodes: dict[str, ast.ClassDef], named: Named
) -> tuple[list[str], dict[str, str], list[str]]:
    """Lines before the subject, what builds each, and settings: what an optimizer is over, and
    how it makes a step."""
    first = next(iter(nodes.values()))
    name = next((name for name in STEPS if name in methods(first)), "step")
    needed, _ = arguments(methods(first).get(name))
    if not needed:
        over = _over(first)
        step = f"step=lambda optimizer: optimizer.{name}(),"
        settings = [f'optimizer="{over}",'] * (over != "parameters") + [step] * (name != "step")
        return [], {}, settings
    over = "parameters" if len(needed) > 1 else "model" if needed[0] in MODELS[:3] else "layers"
    each = needed[0] == "layer"
    given = {"parameters": "*map(list, zip(*optimizer.over))"}.get(over, "optimizer.over")
    call = f"optimizer.{name}({'layer' if each else given})"
    around = [f"    optimizer.{one}()" for one in AROUND_A_STEP if one in methods(first)]
    loop = ["    for layer in optimizer.over:", f"        {call}"] if each else [f"    {call}"]
    lines = [
        "", "def told(optimizer, over):", "    optimizer.over = over", "    return optimizer",
        "", "", "def step(optimizer):", *around[:1], *loop, *around[1:], "", "",
    ]  # fmt: skip
    rows = {one: _told(node, by_name(one), named(node)) for one, node in nodes.items()}
    return lines, rows, [f'optimizer="{over}",'] * (over != "parameters") + ["step=step,"]


def _told(node: ast.ClassDef, entry: Entry, made: str) -> str:
    """What builds an optimizer that is told at each step what it moves."""
    init = methods(node).get("__init__")
    _, names = arguments(init)
    given, takes = [], ["over"]
    if names and names[0].startswith("param"):
        given, names = ["[p for p, _ in over]"], names[1:]
    defaults = [] if init is None else [ast.unparse(one) for one in init.args.defaults]
    own = dict(zip(names[len(names) - len(defaults) :], defaults, strict=False))
    for name in names:
        if name in RATES:
            takes, given = [*takes, "lr"], [*given, f"{name}=lr" if name != names[0] else "lr"]
        elif name in own and name in entry.defaults():
            takes, given = [*takes, f"{name}={own[name]}"], [*given, f"{name}={name}"]
    return f"lambda {', '.join(takes)}: told({made}({', '.join(given)}), over)"


def _over(node: ast.ClassDef) -> str:
    """What an optimizer is built over: its parameters, the model, or layers."""
    _, names = arguments(methods(node).get("__init__"))
    if names and names[0] in MODELS:
        return "layers" if names[0] == "layers" else "model"
    looped = {
        part.target.id
        for part in ast.walk(node)
        if isinstance(part, ast.For) and isinstance(part.target, ast.Name)
    }
    used = {
        part.attr
        for part in ast.walk(node)
        if isinstance(part, ast.Attribute)
        and isinstance(part.value, ast.Name)
        and part.value.id in looped
    }
    return "layers" if used & set(OF_LAYERS) else "parameters"
