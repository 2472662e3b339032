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
from parity.subject.hooks import (
    BACKWARD,
    FORWARD,
    RATES,
    STEPS,
    of_layers,
    of_losses,
    of_optimizers,
    unbuilt,
    way_back,
)
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

OUTPUTS = ("out", "output", "n_out", "out_features", "output_size", "output_dim", "out_dim",
           "units", "neurons", "n_neurons", "n_outputs", "fan_out", "outputs")  # fmt: skip
PAIRS = (
    (("W", "w", "weight", "weights", "kernel"),
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
    pairs = {} if found else _functions(source)
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
    helpers, others, settings = _settings(found, names, numpy)
    rows = []
    for name, one in sorted(found.items(), key=lambda pair: NAMES.index(pair[0])):
        made = f"{names[one.module.name]}.{one.node.name}"
        helper, builder = _row(name, made, one.node)
        helpers += helper
        rows.append(f"{_owner(name)}.{name}: {others.get(name, builder)},")
    if numpy and (
        any(not pair.parameters for pair in pairs.values()) or any("np.zeros" in r for r in rows)
    ):
        helpers = ["import numpy as np", "", *helpers]
    for name, pair in pairs.items():
        if pair.parameters:
            both = [f"{names[pair.module.name]}.{pair.stem}_{way}" for way in WAYS]
            rows.append(f"{_owner(name)}.{name}: parity.functions(")
            rows += [f"    {', '.join(both)},", f"    parameters={pair.parameters!r},", "),"]
            continue
        helpers += _class_of(name, names[pair.module.name], pair, numpy)
        rows.append(f"{_owner(name)}.{name}: {name},")
    rows += [f"# {names[module.name]}.{cls}: which torch class?" for module, cls in unknown]
    lines += helpers
    lines += ["subject = parity.Subject(", "    {", *(f"        {row}" for row in rows), "    },"]
    if "Linear" in pairs or any(pair.parameters for pair in pairs.values()):
        lines += ['    gradients="overwritten",', '    weight="in_out",  # a guess']
    lines += [f"    {line}" for line in settings]
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
            if name == "Sequential" and not (_contains(node) and _passes(node)):
                name = None
            if name == "Linear" and unbuilt(node, ("in_features",)):
                continue  # the identity, as the activation of a layer
            sizes = () if name in (None, "Sequential", "Dropout") else by_name(str(name)).positional
            if name is not None and _owner(name) != "torch.optim" and unbuilt(node, sizes):
                name = None
            if name in SEQUENCES and _is_cell(node):
                name = f"{name}Cell"
            if name is not None and (name not in found or _better(node, found[name].node)):
                found[name] = Found(module, node)
            elif name is None and {"forward", "backward"} <= set(methods(node)):
                unknown.append((module, node.name))
    return found, [(module, name) for module, name in unknown if name not in bases]


WAYS = ("forward", "backward")
SEQUENCES = ("RNN", "GRU", "LSTM")


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


def _passes(node: ast.ClassDef) -> bool:
    """Whether a class goes through its layers, both ways, and does not train them alone."""
    return all(set(ways) & set(methods(node)) for ways in (FORWARD, BACKWARD))


@dataclass(frozen=True)
class Pair:
    """Two functions of the framework, `relu_forward(x)` and `relu_backward(dy, cache)`.

    Args:
        cache: whether the first returns what the second takes beside the gradient.
        parameters: torch's names of what the first takes after its inputs.
    """

    module: Module
    stem: str
    cache: bool
    parameters: tuple[str, ...] = ()


def _functions(source: Source) -> dict[str, Pair]:
    """Pairs of functions by the names of the layers that they are."""
    found: dict[str, Pair] = {}
    for module in source.modules:
        own = {node.name: node for node in module.tree.body if isinstance(node, ast.FunctionDef)}
        for name, node in own.items():
            stem = name.removesuffix("_forward")
            known = torch_name(stem) if f"{stem}_backward" in own and stem != name else None
            if known in (None, "Sequential") or by_name(str(known)).kind != "layer":
                continue
            returned = [one.value for one in ast.walk(node) if isinstance(one, ast.Return)]
            cache = any(isinstance(one, ast.Tuple) and len(one.elts) == 2 for one in returned)
            if known is not None and (parameters := _of_recurrence(known, len(node.args.args))):
                found.setdefault(known, Pair(module, stem, True, parameters))
            if len(node.args.args) == (3 if known == "Linear" else 1):
                found.setdefault(str(known), Pair(module, stem, cache))
    return found


def _of_recurrence(known: str, count: int) -> tuple[str, ...]:
    """The parameters of a recurrent layer's forward of so many arguments: x, a state or two, and
    these, with one bias or with two; () if it is none."""
    if known.removesuffix("Cell") not in SEQUENCES:
        return ()
    layer = "" if known.endswith("Cell") else "_l0"
    states = {"LSTMCell": (2,), "LSTM": (1, 2)}.get(known, (1,))
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    for size in (3, 4):
        if count - 1 - size in states:
            return tuple(f"{name}{layer}" for name in names[:size])
    return ()


def _class_of(name: str, module: str, pair: Pair, numpy: bool) -> Iterator[str]:
    """A class that calls two functions."""
    zeros = "np.zeros" if numpy else "torch.zeros"
    linear = name == "Linear"
    given = "x, self.w, self.b" if linear else "x"
    call = f"{module}.{pair.stem}_forward({given})"
    passed = "dy, self.cache" if pair.cache else "dy, *self.cache"
    back = f"{module}.{pair.stem}_backward({passed})"
    yield from ("", f"class {name}:")
    if linear:
        yield from (
            "    def __init__(self, n_in, n_out):",
            f"        self.w, self.b = {zeros}((n_in, n_out)), {zeros}(n_out)",
            f"        self.dw, self.db = {zeros}((n_in, n_out)), {zeros}(n_out)",
            "",
            "    def param(self):",
            "        return [(self.w, self.dw), (self.b, self.db)]",
            "",
        )
    yield "    def forward(self, x):"
    if pair.cache:
        yield from (f"        y, self.cache = {call}", "        return y", "")
    else:
        yield from (f"        self.cache = ({given},)", f"        return {call}", "")
    yield "    def backward(self, dy):"
    if linear:
        yield from (f"        dx, self.dw[...], self.db[...] = {back}", "        return dx", "", "")
    else:
        yield from (f"        return {back}", "", "")


TAKEN = ("nn", "torch", "parity", "sys", "Path", "importlib", "subject", "numpy", "np", "loaded",
         "sequential", "linear", "forward", "step", "told")  # fmt: skip
"""Names that an adapter gives to something else."""


def _aliases(names: dict[str, None]) -> dict[str, str]:
    """What each module is called in the adapter: its last name, unless that is taken."""
    found: dict[str, str] = {}
    for name in names:
        own = _identifier(name.rpartition(".")[2])
        if own in TAKEN:
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


def _row(name: str, made: str, node: ast.ClassDef) -> tuple[list[str], str]:
    """What builds a class, and lines before the subject that it takes, if any."""
    helper: list[str] = []
    builder = made
    needed, names = arguments(methods(node).get("__init__"))
    if name == "Sequential":
        helper, builder = _container(made, node)
    elif name == "Linear" and len(needed) == 1 and needed[0] in OUTPUTS:
        helper, builder = _lazy(made, node)
    elif _owner(name) != "torch.optim":
        builder = _builder(name, made, node, needed, names)
    return helper, builder


def _lazy(made: str, node: ast.ClassDef) -> tuple[list[str], str]:
    """A Linear that is told of its inputs later: when it is built, or when it gets some."""
    build = next((one for one in ("build", "initialize", "init") if one in methods(node)), "")
    if len(arguments(methods(node).get(build))[0]) != 1:
        return [], f"lambda n_in, n_out: {made}(n_out)"
    lines = [
        "", "def linear(n_in, n_out):", f"    layer = {made}(n_out)",
        f"    layer.{build}(n_in)", "    return layer", "", "",
    ]  # fmt: skip
    return lines, "linear"


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


def _builder(name: str, made: str, node: ast.ClassDef, needed: list[str], names: list[str]) -> str:
    """A class itself, or a function where it cannot do without what torch's has not."""
    entry = by_name(name)
    if name in ARRAYS and needed and needed[0].strip("_") in PAIRS[0][0]:
        return ARRAYS[name](made, node, len(needed))
    if name == "Linear":
        turned = (
            bool(needed) and len(needed) > 1 and needed[0] in OUTPUTS and needed[1] not in OUTPUTS
        )
        rest = [_guess(one) for one in needed[2:]]
        bias = next((one for one in ("bias", "use_bias", "has_bias") if one in names[2:]), "")
        if not turned and not rest and bias in ("", "bias"):
            return made
        given = ["n_out", "n_in"] if turned else ["n_in", "n_out"]
        takes = "n_in, n_out" + (", bias=True" if bias and bias not in needed else "")
        given += [*rest, *([f"{bias}=bias"] if bias and bias not in needed else [])]
        return f"lambda {takes}: {made}({', '.join(given)})"
    first = entry.positional
    if first and len(needed) > 1 and len(needed) >= len(first) and name != "Dropout":
        if needed[0] in OUTPUTS and needed[1] not in OUTPUTS:
            return f"lambda {', '.join(first[:2])}: {made}({first[1]}, {first[0]})"
        rest = [_guess(one) for one in needed[len(first) :] if one not in entry.defaults()]
        if not rest:
            return made  # these come by position, whatever they are called
        return f"lambda {', '.join(first)}: {made}({', '.join([*first, *rest])})"
    if len(first) == len(needed) == 1:
        return made
    known = {*entry.defaults(), *entry.positional, "dim", "reduction"}
    missing = [one for one in needed if one not in known]
    if not missing or name == "Dropout":
        return made
    return f"lambda: {made}({', '.join(map(_guess, needed))})"


def _of_arrays(made: str, node: ast.ClassDef, count: int) -> str:
    """A Linear that is given its arrays."""
    forward = next((methods(node)[one] for one in FORWARD if one in methods(node)), node)
    turned = re.search(r"[wW]\w*\.(T\b|t\(|mT\b|transpose)", ast.unparse(forward))
    shape = "n_out, n_in" if turned else "n_in, n_out"
    bias = ", np.zeros(n_out)" if count > 1 else ""
    return f"lambda n_in, n_out: {made}(np.zeros(({shape})){bias})"


def _of_a_table(made: str, node: ast.ClassDef, count: int) -> str:
    """An Embedding that is given its weight."""
    return f"lambda n, size: {made}(np.zeros((n, size)))"


ARRAYS = {"Linear": _of_arrays, "Embedding": _of_a_table}
"""Layers that may be given their parameters, and how such a one is built."""


def _guess(argument: str) -> str:
    """A value for an argument that torch's class has not, by its name."""
    if argument in ("axis", "dim"):
        return "-1"
    if argument == "name":
        return '"name"'
    return "0.0" if argument in RATES else "None"


def _settings(
    found: dict[str, Found], names: dict[str, str], numpy: bool
) -> tuple[list[str], dict[str, str], list[str]]:
    """Lines before the subject, rows that take the place of others, and settings."""
    nodes = {name: one.node for name, one in found.items()}
    modules = {id(one.node): names[one.module.name] for one in found.values()}

    def named(node: ast.ClassDef) -> str:
        return f"{modules[id(node)]}.{node.name}"

    lines: list[str] = []
    rows: dict[str, str] = {}
    settings = ['array="numpy",', 'dtypes=("float64",),'] if numpy else []
    linear = nodes.get("Linear")
    layers = [node for name, node in nodes.items() if name != "Sequential"
              and by_name(name).kind == "layer" and not by_name(name).several]  # fmt: skip
    if linear is not None:
        source = ast.unparse(methods(linear).get(way_back(linear), linear))
        adds = "+=" in source or ".add_(" in source or ".addmm_(" in source
        settings.append(f'gradients="{"accumulated" if adds else "overwritten"}",  # a guess')
        settings += _parameters(linear)
    if layers:
        more, ways = of_layers(layers, linear, named)
        lines, settings = lines + more, settings + ways
    losses = [node for name, node in nodes.items() if name.endswith("Loss")]
    if losses:
        settings += of_losses(losses)
    moved = {name: node for name, node in nodes.items() if _owner(name) == "torch.optim"}
    if moved:
        more, rows, ways = of_optimizers(moved, named)
        lines, settings = lines + more, settings + ways
    return lines, rows, settings


def _parameters(linear: ast.ClassDef) -> Iterator[str]:
    """How its parameters are found, where no method of the usual name gives them."""
    own = attributes(linear)
    listed = [methods(linear).get(name) for name in ("param", "params", "parameters")]
    if any(one is not None and not one.decorator_list for one in listed):
        return  # a property may raise before there are gradients
    for params, grads in (
        ("params", "grads"),
        ("parameters", "gradients"),
        ("params", "gradients"),
    ):
        pairs = list(zip(keys_of(linear, params), keys_of(linear, grads), strict=False))
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
    if named and all(gradient for _, gradient in named):
        taken = ", ".join(f'(layer.{p}, getattr(layer, "{g}", None))' for p, g in named)
        yield f'parameters=lambda layer: [{taken}] if hasattr(layer, "{named[0][0]}") else [],'
