"""Writes the beginning of an adapter, from a look at a framework's source; nothing is imported.

What it reads are names and signatures. What it guesses from them is a beginning: `parity check`
says what does not hold.
"""

from __future__ import annotations

import ast
import keyword
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from parity.catalogue.table import CATALOGUE, by_name
from parity.subject.error import AdapterError
from parity.subject.made import RATES, builder
from parity.subject.pairs import SEQUENCES, lines_of, pairs_of
from parity.subject.source import (
    NAMES,
    Module,
    Source,
    arguments,
    attributes,
    keys_of,
    methods,
    source_of,
    torch_name,
)

FORWARD = ("forward", "__call__", "forward_pass", "forward_propagation", "feedforward", "fwd")
BACKWARD = ("backward", "backward_pass", "backward_propagation", "backprop", "bwd", "gradient",
            "grad", "derivative", "prime")  # fmt: skip
"""What a layer's or a loss's two ways may be called."""
STEPS = ("step", "update", "apply")
TARGETS = ("target", "targets", "t", "true", "y_true", "ytrue", "label", "labels", "y")
PREDICTIONS = ("prediction", "predictions", "pred", "y_pred", "ypred", "y_hat", "yhat", "output",
               "p", "logits")  # fmt: skip
MODELS = ("model", "net", "network", "layers", "module")
PAIRS = (
    (("W", "w", "weight", "weights", "kernel", "kernels", "filters"),
     ("d{}", "d_{}", "grad_{}", "{}_grad", "{}_gradient", "{}_grads", "grad_{}s", "g{}", "delta_{}",
      "dL_d{}", "dLd{}", "grad{}", "{}_g")),
    (("b", "B", "bias", "biases"),
     ("d{}", "d_{}", "grad_{}", "{}_grad", "{}_gradient", "{}_grads", "g{}", "delta_{}", "dL_d{}",
      "dLd{}", "grad{}", "{}_g")),
)  # fmt: skip
"""What a layer's weight and bias may be called, and their gradients."""


@dataclass(frozen=True)
class Found:
    """A class of the framework that torch has too."""

    module: Module
    node: ast.ClassDef


def skeleton(given: str, folder: Path) -> str:
    """The text of an adapter for a Python file, a folder of them, or a module by its name.

    Args:
        given: the framework.
        folder: where the adapter will be.

    Raises:
        AdapterError: there is no such module, it does not parse, or it has no class that looks
            like a layer.
    """
    source = source_of(given)
    found, unknown = _classes(source)
    pairs, left = ({}, []) if found else pairs_of(source)
    if not found and not pairs:
        raise AdapterError(
            f"{given}: no class in it looks like a layer of torch.nn by its name; an adapter "
            "is `subject = parity.Subject({nn.Linear: …})`"
        )
    used = [one.module for one in found.values()] + [one for one, _ in unknown]
    used += [pair.module for pair in pairs.values()]
    names = _aliases(dict.fromkeys(module.name for module in used))
    modules = {module.name: module for module in used}
    numpy = source.imports("numpy") and not source.imports("torch")
    lines = [f"# The adapter of {given!r}, as `parity check` takes it."]
    lines += [f"# {text}" for text in source.broken]
    lines += ["", *_imports(modules, names, source.base, folder), ""]
    helpers, rows = [], []
    for name, one in sorted(found.items(), key=lambda pair: NAMES.index(pair[0])):
        made = f"{names[one.module.name]}.{one.node.name}"
        helper, row = _row(name, made, one, f"{'np' if numpy else 'torch'}.zeros")
        helpers += helper
        rows.append(row)
    if any("np.zeros" in row for row in rows):
        lines.insert(lines.index("import torch"), "import numpy as np")
    for name, pair in pairs.items():
        key = f"{_owner(name)}.{name}"
        before, own = lines_of(name, key, names[pair.module.name], pair)
        helpers += before
        rows += own
    rows += [f"# {names[module.name]}.{cls}: which torch class?" for module, cls in unknown]
    rows += [f"# {one}: not taken up" for one in left]
    lines += helpers
    lines += ["subject = parity.Subject(", "    {", *(f"        {row}" for row in rows), "    },"]
    if any(pair.parameters for pair in pairs.values()):
        lines += ['    gradients="overwritten",', '    weight="in_out",  # a guess']
        normed = any("BatchNorm" in name for name in pairs)
        lines += ['    running_variance="biased",  # a guess'] * normed
        lines += [f'    kernel="{pair.kernel}",' for pair in pairs.values() if pair.kernel]
    lines += [f"    {line}" for line in _settings(found, names, numpy)]
    return "\n".join([*lines, ")", ""])


def _classes(source: Source) -> tuple[dict[str, Found], list[tuple[Module, str]]]:
    """The framework's classes by torch's names, and others that look like layers."""
    found: dict[str, Found] = {}
    unknown = []
    bases: set[str] = set()
    for module in source.modules:
        for node in module.tree.body:
            if not isinstance(node, ast.ClassDef):
                continue
            own = {ast.unparse(base) for base in node.bases}
            bases |= {base.split(".")[-1] for base in own}
            if own & {"nn.Module", "torch.nn.Module", "Function", "torch.autograd.Function"}:
                continue  # its gradients are autograd's
            name = torch_name(node.name)
            if name == "Sequential" and not _contains(node):
                name = None
            if name in SEQUENCES and _is_cell(node):
                name = f"{name}Cell"
            name = _by_its_code(name, node)
            if name is not None and (name not in found or _better(node, found[name].node)):
                found[name] = Found(module, node)
            elif name is None and {"forward", "backward"} <= set(methods(node)):
                unknown.append((module, node.name))
    return found, [(module, name) for module, name in unknown if name not in bases]


def _by_its_code(name: str | None, node: ast.ClassDef) -> str | None:
    """What a class of a name that says less is: a pool of maxima or means, a norm of images."""
    source = ast.unparse(node)
    if name is None and node.name.lower() in (
        "pooling",
        "pool",
        "pool2d",
        "pooling2d",
        "poollayer",
    ):
        return "MaxPool2d" if re.search(r"max\(", source) else "AvgPool2d"
    images = re.search(r"\w+, \w+, \w+, \w+\)? = \w+\.shape", source)
    if name == "BatchNorm1d" and "1" not in node.name and images and "ndim" not in source:
        return "BatchNorm2d"
    return name


def _is_cell(node: ast.ClassDef) -> bool:
    """Whether a recurrent class makes one step: it takes a state, and goes through no sequence."""
    forward = next((methods(node)[name] for name in FORWARD if name in methods(node)), None)
    loops = any(isinstance(one, (ast.For, ast.While, ast.comprehension)) for one in ast.walk(node))
    return len(arguments(forward)[0]) > 1 and not loops


def _better(node: ast.ClassDef, other: ast.ClassDef) -> bool:
    """Whether a class has what the one of the same name before it has not: a way back."""
    return not _ways(other) and _ways(node)


def _ways(node: ast.ClassDef) -> bool:
    return bool({*BACKWARD, *STEPS} & set(methods(node)))


def _contains(node: ast.ClassDef) -> bool:
    """Whether a class takes layers: as arguments, in a list, or one by one."""
    init = methods(node).get("__init__")
    needed, names = arguments(init)
    taken = init is not None and (init.args.vararg is not None or len(needed) == 1)
    added = bool({"add", "append", "add_layer"} & set(methods(node))) and not needed
    by_name = node.name.lower() in ("sequential", "sequence")
    return added or (
        taken and (by_name or bool({"layers", "modules", "args"} & {*names} or not names))
    )


def _aliases(names: dict[str, None]) -> dict[str, str]:
    """What each module is called in the adapter: its last name, unless that is taken."""
    found: dict[str, str] = {}
    for name in names:
        own = _identifier(name.rpartition(".")[2])
        if own in ("nn", "torch", "parity", "sys", "Path", "importlib", "subject", "numpy"):
            own = f"own_{own}"
        if own in found.values():
            own = _identifier(name.replace(".", "_"))
        found[name] = own
    return found


def _imports(
    modules: dict[str, Module], names: dict[str, str], base: Path | None, folder: Path
) -> Iterator[str]:
    """The lines that import the framework, and torch."""
    by_file = [module for module in modules.values() if module.by_file and base is not None]
    odd = [name for name in modules if any(_identifier(p) != p for p in name.split("."))]
    way = "" if base is None else Path(os.path.relpath(base, folder.resolve())).as_posix()
    # An adapter's own folder is searched anyway.
    searched = base is not None and base != folder.resolve() and len(by_file) < len(modules)
    if odd:
        yield "import importlib"
    if by_file:
        yield "import importlib.util"
    if searched or by_file:
        yield from ("import sys", "from pathlib import Path", "")
    if searched:
        yield from (f"sys.path.insert(0, str(Path(__file__).parent / {way!r}))", "")
    if by_file:  # its name is that of another module
        yield from (
            "",
            "def loaded(name, file):",
            "    spec = importlib.util.spec_from_file_location(name, Path(__file__).parent / file)",
            "    module = importlib.util.module_from_spec(spec)",
            "    spec.loader.exec_module(module)",
            "    return module",
            "",
            "",
        )
    for name, module in modules.items():
        alias, (package, _, last) = names[name], name.rpartition(".")
        if module in by_file:
            file = Path(os.path.relpath(module.file, folder.resolve())).as_posix()
            yield f"{alias} = loaded({alias!r}, {file!r})"
        elif name in odd:
            yield f"{alias} = importlib.import_module({name!r})"
        else:
            called = "" if alias == last else f" as {alias}"
            yield f"from {package} import {last}{called}" if package else f"import {last}{called}"
    yield from ("import torch", "from torch import nn", "", "import parity")


def _identifier(stem: str) -> str:
    """A module's name as the adapter has it: `my-framework` is `my_framework` there."""
    name = re.sub(r"\W", "_", stem)
    return name if name.isidentifier() and not keyword.iskeyword(name) else f"_{name}"


def _owner(name: str) -> str:
    """Where an adapter has a class of that name from."""
    known = next((entry for entry in CATALOGUE.values() if entry.name == name), None)
    if known is None:
        return "nn"
    if known.kind == "optimizer":
        return "torch.optim"
    return "parity" if known.key.__module__.startswith("parity.") else "nn"


def _row(name: str, made: str, one: Found, zeros: str) -> tuple[list[str], str]:
    """What builds a class: lines before the subject, if any, and the subject's row."""
    helper: list[str] = []
    built = made
    if name == "Sequential":
        helper, built = _container(made, one.node)
    elif _owner(name) != "torch.optim":
        built = builder(name, made, one.node, one.module.tree, zeros)
    return helper, f"{_owner(name)}.{name}: {built},"


def _container(made: str, node: ast.ClassDef) -> tuple[list[str], str]:
    init = methods(node).get("__init__")
    if init is not None and init.args.vararg is not None:
        return [], made
    needed, names = arguments(init)
    own = next((name for name in ("add", "append", "add_layer") if name in methods(node)), "")
    if own and not needed and not {"layers", "modules"} & set(names):
        lines = [
            "", "def sequential(*parts):", f"    whole = {made}()",
            "    for part in parts:", f"        whole.{own}(part)", "    return whole", "", "",
        ]  # fmt: skip
        return lines, "sequential"
    return [], f"lambda *layers: {made}(list(layers))" if names else made


def _settings(found: dict[str, Found], names: dict[str, str], numpy: bool) -> Iterator[str]:
    nodes = {name: one.node for name, one in found.items()}
    if numpy:
        yield 'array="numpy",'
        yield 'dtypes=("float64",),'
    linear = nodes.get("Linear")
    layers = [node for name, node in nodes.items() if name != "Sequential"
              and by_name(name).kind == "layer" and not by_name(name).several]  # fmt: skip
    main = linear or nodes.get("Conv2d")
    if main is not None:
        way = next((name for name in BACKWARD if name in methods(main)), "backward")
        source = ast.unparse(methods(main).get(way, main))
        if main is linear:
            adds = "+=" in source or ".add_(" in source or ".addmm_(" in source
        else:  # its loops add up what is new
            added = re.findall(r"self\.([\w.]+)(?:\[[^\]]*\])* \+=", source)
            adds = any(not re.search(rf"self\.{name}(, .*)? = ", source) for name in added)
        yield f'gradients="{"accumulated" if adds else "overwritten"}",  # a guess'
        yield from _parameters(main)
    if layers:
        yield from _ways_of_layers(layers, linear, names, found)
    losses = {name: node for name, node in nodes.items() if name.endswith("Loss")}
    if losses:
        yield from _of_losses(list(losses.values()), found[next(iter(losses))].module.tree)
    moved = [node for name, node in nodes.items() if _owner(name) == "torch.optim"]
    if moved:
        _, own = arguments(methods(moved[0]).get("__init__"))
        if own and own[0] in MODELS:
            yield 'optimizer="model",'
        step = next((name for name in STEPS if name in methods(moved[0])), "step")
        if step != "step":
            yield f"step=lambda optimizer: optimizer.{step}(),"


def _parameters(linear: ast.ClassDef) -> Iterator[str]:
    """How its parameters are found, where no method of the usual name gives them."""
    own = attributes(linear)
    if {"param", "params", "parameters"} & set(methods(linear)):
        return
    for params, grads in (
        ("params", "grads"),
        ("parameters", "gradients"),
        ("params", "gradients"),
    ):
        pairs = list(zip(keys_of(linear, params), keys_of(linear, grads), strict=False))
        if pairs and all(gradient in (key, f"d{key}") for key, gradient in pairs):
            return  # these are found by themselves
        if pairs:
            taken = ", ".join(
                f"(layer.{params}[{k!r}], layer.{grads}.get({g!r}))" for k, g in pairs
            )
            yield f'parameters=lambda layer: [{taken}] if getattr(layer, "{params}", None) else [],'
            return
    named: list[tuple[str, str | None]] = []
    for values, gradients in PAIRS:
        value = next((name for name in values if name in own), None)
        if value is None:
            continue
        called = (form.format(value) for form in gradients)
        named.append((value, next((name for name in called if name in own), None)))
    back = next((name for name in BACKWARD if name in methods(linear)), "")
    if named and not any(gradient for _, gradient in named) and _rated(linear, back):
        taken = ", ".join(f"(layer.{p}, None)" for p, _ in named)
        yield f'parameters=lambda layer: [{taken}] if hasattr(layer, "{named[0][0]}") else [],'
        return
    made = ast.unparse(methods(linear).get("__init__", linear))
    plain = all(g in (f"d{p}", f"d_{p}", f"{p}_grad", f"grad_{p}", f"dL_d{p}", f"dLd{p}")
                and f"self.{g} = " in made for p, g in named)  # fmt: skip
    if named and all(gradient for _, gradient in named) and not plain:
        taken = ", ".join(f'(layer.{p}, getattr(layer, "{g}", None))' for p, g in named)
        yield f'parameters=lambda layer: [{taken}] if hasattr(layer, "{named[0][0]}") else [],'


def _ways_of_layers(
    layers: list[ast.ClassDef], linear: ast.ClassDef | None, names: dict[str, str],
    found: dict[str, Found],
) -> Iterator[str]:  # fmt: skip
    """A forward or backward of another name, or that takes more than its array."""
    first = linear if linear is not None else layers[0]
    forward = next((name for name in FORWARD if name in methods(first)), "forward")
    needed, _ = arguments(methods(first).get(forward))
    modes = [one for one in needed[1:] if one in MODES]
    if forward not in ("forward", "__call__") or len(needed) > 1 + len(modes):
        told = 'getattr(layer, "training", True)'
        more = ", ".join(["x", *(told if one in MODES else "True" for one in needed[1:])])
        yield f"forward=lambda layer, x: layer.{forward}({more}),"
        if modes:
            yield 'train=lambda layer, mode: setattr(layer, "training", mode),'
    backward = next((name for name in BACKWARD if name in methods(first)), "backward")
    rated = [one for one in layers if _rated(one, backward)]
    if rated:
        call = f"layer.{backward}(dy, rate)"
        if len(rated) < len(layers):
            made = [f"{names[one.module.name]}.{one.node.name}" for one in found.values()
                    if one.node in rated]  # fmt: skip
            call += f" if isinstance(layer, ({', '.join(made)},)) else layer.{backward}(dy)"
        yield f"step_in_backward=lambda layer, dy, rate: {call},"
    elif backward != "backward":
        yield f"backward=lambda layer, dy: layer.{backward}(dy),"


MODES = ("training", "is_training", "train", "is_train", "train_flg", "train_mode")


def _rated(node: ast.ClassDef, backward: str) -> bool:
    """Whether a layer's backward takes a rate, and so moves its parameters."""
    needed, _ = arguments(methods(node).get(backward))
    return len(needed) > 1 and needed[1] in RATES


def _of_losses(losses: list[ast.ClassDef], tree: ast.Module) -> Iterator[str]:
    first = methods(losses[0])
    names = (*FORWARD, "loss", "calculate", "compute", "value", "calc")
    forward = next((name for name in names if name in first), "forward")
    source = ast.unparse(first.get(forward, losses[0]))
    source += "".join(ast.unparse(one) for one in tree.body
                      if isinstance(one, ast.FunctionDef) and f"{one.name}(" in source)  # fmt: skip
    divided = re.search(r"mean|/ \(?(\w+\.)?(batch_?size|shape\[0\]|size|len\(|[Nnm]\b)", source)
    yield f'reduction="{"mean" if divided else "sum"}",  # a guess'
    given, _ = arguments(first.get(forward))
    turned = len(given) > 1 and given[0] in TARGETS and given[1] in PREDICTIONS
    if turned or forward not in ("forward", "__call__"):
        order = "target, prediction" if turned else "prediction, target"
        yield "loss_forward=lambda loss, prediction, target:"
        yield f"    loss.{forward}({order}),"
    backward = next((name for name in BACKWARD if name in first), "backward")
    needed, _ = arguments(first.get(backward))
    if len(needed) == 2:
        order = "target, prediction" if needed[0] in TARGETS else "prediction, target"
        yield "loss_backward=lambda loss, prediction, target:"
        yield f"    loss.{backward}({order}),"
    elif backward != "backward":
        yield f"loss_backward=lambda loss, prediction, target: loss.{backward}(),"
