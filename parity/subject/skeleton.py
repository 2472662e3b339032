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
from parity.subject.derivatives import class_of, derivatives_of
from parity.subject.error import AdapterError
from parity.subject.hooks import (
    BACKWARD,
    FORWARD,
    RATES,
    STEPS,
    VALUES,
    of_layers,
    of_losses,
    of_optimizers,
    takes_a_rate,
    way_back,
)
from parity.subject.made import builder, unbuilt
from parity.subject.pairs import SEQUENCES, clippings_of, lines_of, pairs_of
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
from parity.subject.subject import written

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
    """A class of the framework that torch has too, and the framework's own among its bases."""

    module: Module
    node: ast.ClassDef
    near: list[ast.ClassDef]


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
    pairs, left = pairs_of(source)
    if found:  # how functions with parameters are called need not be how classes are
        beside = {name: pair for name, pair in pairs.items() if name not in found}
        pairs = {name: pair for name, pair in beside.items() if not pair.parameters}
        left += [f"{p.module.name}.{p.names[0]}" for name, p in beside.items() if name not in pairs]
    derived = {k: v for k, v in derivatives_of(source).items() if k not in found | pairs}
    if not found and not pairs and not derived:
        raise AdapterError(
            f"{given}: no class in it looks like a layer of torch.nn by its name{_seen(source)}. "
            "An adapter is `subject = parity.Subject({nn.Linear: …})`; of a network that cannot be "
            "taken apart, `parity.Subject(model=…)`: help(parity.Subject)"
        )
    used = [one.module for one in found.values()] + [one for one, _ in unknown]
    used += [pair.module for pair in pairs.values()]
    used += [two.module for two in derived.values()]
    clippings = clippings_of(source)
    used += [module for module, _ in clippings.values()]
    engine = _engine(source, found)
    used += [module for module, _ in engine]
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
        if _owner(name) == "torch.optim":
            made = others.get(name, made)
        else:
            zeros = f"{'np' if numpy else 'torch'}.zeros"
            before, made = builder(name, made, one.node, one.near, zeros)
            helpers += before
        rows.append(f"{_owner(name)}.{name}: {made},")
    if any("np.zeros" in row for row in rows):
        lines.insert(lines.index("import torch"), "import numpy as np")
    for name, pair in pairs.items():
        key = f"{_owner(name)}.{name}"
        before, own = lines_of(name, key, names[pair.module.name], pair)
        helpers += before
        rows += own
    like = found["Linear"].node if "Linear" in found else None
    for name, two in derived.items():
        helpers += class_of(name, names[two.module.name], two, like)
        rows.append(f"{_owner(name)}.{name}: {name},")
    rows += [f"torch.nn.utils.{name}: {names[module.name]}.{function},"
             for name, (module, function) in clippings.items()]  # fmt: skip
    rows += [f"# {names[module.name]}.{cls}: which torch class?" for module, cls in unknown]
    rows += [f"# {one}: not taken up" for one in left]
    lines += helpers
    lines += ["subject = parity.Subject(", "    {", *(f"        {row}" for row in rows), "    },"]
    if any(pair.parameters for pair in pairs.values()):
        columns = any(pair.columns for pair in pairs.values())
        lies = 'batch="columns",' if columns else 'weight="in_out",'
        lines += ['    gradients="overwritten",', f"    {lies}  # a guess"]
        normed = any("BatchNorm" in name for name in pairs)
        lines += ['    running_variance="biased",  # a guess'] * normed
        lines += [f'    kernel="{pair.kernel}",' for pair in pairs.values() if pair.kernel]
    if engine:
        settings = [one for one in settings if not one.startswith("gradients=")]
        settings += [f"tensor={names[module.name]}.{cls}," for module, cls in engine]
    lines += [f"    {line}" for line in settings]
    return re.sub(r"\n{4,}", "\n\n\n", "\n".join([*lines, ")", ""]))


def _seen(source: Source) -> str:
    """The classes and functions that there are, the first of them."""
    kinds = ast.ClassDef, ast.FunctionDef
    found = [one.name for module in source.modules for one in module.tree.body
             if isinstance(one, kinds) and not one.name.startswith("_")]  # fmt: skip
    more = ", …" if len(found) > MOST_SEEN else ""
    return f"; it has {', '.join(found[:MOST_SEEN])}{more}" if found else ""


MOST_SEEN = 12
"""How many names are listed."""


def _engine(source: Source, found: dict[str, Found]) -> list[tuple[Module, str]]:
    """The class of a framework's tensors, if its layers leave it to them to differentiate."""
    layers = [one for name, one in found.items()
              if name != "Sequential" and by_name(name).kind == "layer"]  # fmt: skip
    if not layers or any(_ways(node) for one in layers for node in (one.node, *one.near)):
        return []
    tensors = [
        (module, node.name)
        for module in source.modules
        for node in module.tree.body
        if isinstance(node, ast.ClassDef) and {"backward", "__add__"} <= set(methods(node))
    ]
    return tensors[:1]


def _classes(source: Source) -> tuple[dict[str, Found], list[tuple[Module, str]]]:
    """The framework's classes by torch's names, and others that look like layers."""
    found: dict[str, Found] = {}
    unknown = []
    bases: set[str] = set()
    nodes = [(module, node) for module in source.modules for node in module.tree.body
             if isinstance(node, ast.ClassDef)]  # fmt: skip
    for module, node in nodes:
        own = {ast.unparse(base) for base in node.bases}
        bases |= {base.split(".")[-1] for base in own}
        if own & {"nn.Module", "torch.nn.Module", "Function", "torch.autograd.Function"}:
            continue  # its gradients are autograd's
        near = _near(module, node, nodes)
        name = _name_of(node)
        if name is not None and unbuilt(name, node, near):
            if name == "Linear":
                continue  # the identity, as the activation of a layer
            name = None
        if name is not None and (name not in found or _better(node, found[name].node)):
            found[name] = Found(module, node, near)
        elif name is None and _works(node):
            unknown.append((module, node.name))
    return found, [(module, name) for module, name in unknown if name not in bases]


def _works(node: ast.ClassDef) -> bool:
    """Whether a class looks like a layer or a loss, or like an optimizer: it has the two ways, or a
    step and a rate."""
    own = set(methods(node))
    ways = own & {*FORWARD, *VALUES} and own & {*BACKWARD}
    made = arguments(methods(node).get("__init__"))[1]
    return bool(ways or (own & {*STEPS} and {*made} & {*RATES}))


def _near(
    module: Module, node: ast.ClassDef, nodes: list[tuple[Module, ast.ClassDef]]
) -> list[ast.ClassDef]:
    """The framework's own classes among the bases of one; those of its module come first."""
    known = {one.name: one for _, one in nodes}
    known |= {one.name: one for its, one in nodes if its is module}
    names = [ast.unparse(base).rpartition(".")[2] for base in node.bases]
    return [known[name] for name in names if name in known and known[name] is not node]


def _name_of(node: ast.ClassDef) -> str | None:
    """What torch calls a class, by its name and its code; None if nothing."""
    name = torch_name(node.name)
    if name == "Sequential" and not (_contains(node) and _passes(node)):
        return None
    if name in SEQUENCES and _is_cell(node):
        return f"{name}Cell"
    return _by_its_code(name, node)


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


def _passes(node: ast.ClassDef) -> bool:
    """Whether a class goes through its layers, both ways, and does not train them alone."""
    return all(set(ways) & set(methods(node)) for ways in (FORWARD, BACKWARD))


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
    return "nn" if known is None else written(known.key).rpartition(".")[0]


def _settings(
    found: dict[str, Found], names: dict[str, str], numpy: bool
) -> tuple[list[str], dict[str, str], list[str]]:
    """Lines before the subject, what builds an optimizer if not its class, and settings."""
    nodes = {name: one.node for name, one in found.items()}
    modules = {id(one.node): names[one.module.name] for one in found.values()}

    def named(node: ast.ClassDef) -> str:
        return f"{modules[id(node)]}.{node.name}"

    lines: list[str] = []
    built: dict[str, str] = {}
    settings = ['array="numpy",', 'dtypes=("float64",),'] if numpy else []
    linear = nodes.get("Linear")
    layers = [node for name, node in nodes.items() if name != "Sequential"
              and by_name(name).kind == "layer" and not by_name(name).several]  # fmt: skip
    moved = {name: node for name, node in nodes.items() if _owner(name) == "torch.optim"}
    main = linear or nodes.get("Conv2d")
    if main is not None:
        adds = _accumulates(main, is_linear=main is linear)
        settings.append(f'gradients="{"accumulated" if adds else "overwritten"}",  # a guess')
        settings += _parameters(main, listed=bool(moved))
    if layers:
        whole = [nodes["Sequential"]] if "Sequential" in nodes else []
        lines, ways = of_layers([*layers, *whole], linear, named)
        settings += ways
    losses = {name: node for name, node in nodes.items() if name.endswith("Loss")}
    if losses:
        settings += of_losses(list(losses.values()), found[next(iter(losses))].module.tree)
    if moved:
        more, built, ways = of_optimizers(moved, named)
        lines, settings = lines + more, settings + ways
    return lines, built, settings


def _accumulates(node: ast.ClassDef, *, is_linear: bool) -> bool:
    """Whether a layer's backward adds to the gradients that there are."""
    source = ast.unparse(methods(node).get(way_back(node), node))
    if is_linear and (".add_(" in source or ".addmm_(" in source):
        return True
    # A convolution's loops add up what is new, and a penalty is added to what was assigned.
    added = re.findall(r"(self\.([\w.]+)(?:\[[^\]]*\])*) \+=", source)
    return any(
        f"{whole} = " not in source and not re.search(rf"self\.{name}(, .*)? = ", source)
        for whole, name in added
    )


def _parameters(linear: ast.ClassDef, *, listed: bool) -> Iterator[str]:
    """How its parameters are found, where no method of the usual name gives them; `listed`: even
    if a layer shows by itself what they are, for an optimizer is over what the adapter gives."""
    own = attributes(linear)
    given = [methods(linear).get(name) for name in ("param", "params", "parameters")]
    if any(one is not None and not one.decorator_list for one in given):
        return  # a property may raise before there are gradients
    for params, grads in (
        ("params", "grads"),
        ("parameters", "gradients"),
        ("params", "gradients"),
    ):
        keys, others = keys_of(linear, params), keys_of(linear, grads)
        same = [next((g for g in (key, f"d{key}") if g in others), None) for key in keys]
        pairs = list(zip(keys, others, strict=False))
        if None not in same:
            pairs = [(key, gradient) for key, gradient in zip(keys, same, strict=True) if gradient]
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
    back = way_back(linear)
    if named and not any(gradient for _, gradient in named) and takes_a_rate(linear, back):
        taken = ", ".join(f"(layer.{p}, None)" for p, _ in named)
        yield f'parameters=lambda layer: [{taken}] if hasattr(layer, "{named[0][0]}") else [],'
        return
    made = ast.unparse(methods(linear).get("__init__", linear))
    plain = all(g in (f"d{p}", f"d_{p}", f"{p}_grad", f"grad_{p}", f"dL_d{p}", f"dLd{p}")
                and f"self.{g} = " in made for p, g in named)  # fmt: skip
    if named and all(gradient for _, gradient in named) and (listed or not plain):
        taken = ", ".join(f'(layer.{p}, getattr(layer, "{g}", None))' for p, g in named)
        yield f'parameters=lambda layer: [{taken}] if hasattr(layer, "{named[0][0]}") else [],'
