"""Writes the beginning of an adapter, from a look at a framework's source; nothing is imported.

What it reads are names and signatures. What it guesses from them is a beginning: `parity check`
says what does not hold.
"""

from __future__ import annotations

import ast
import importlib.util
import keyword
import os
import re
from collections.abc import Iterator
from pathlib import Path

from parity.catalogue.table import CATALOGUE
from parity.subject.error import AdapterError

#: Names that frameworks give to what torch calls otherwise, in lower case.
ALIASES = {
    "fullyconnected": "Linear",
    "dense": "Linear",
    "fc": "Linear",
    "leakyrelu": "LeakyReLU",
    "lossmse": "MSELoss",
    "mse": "MSELoss",
    "meansquarederror": "MSELoss",
    "squarederror": "MSELoss",
    "crossentropy": "CrossEntropyLoss",
    "losscrossentropy": "CrossEntropyLoss",
    "binarycrossentropy": "BCELoss",
    "bce": "BCELoss",
    "mae": "L1Loss",
    "swish": "SiLU",
    "sequence": "Sequential",
    "net": "Sequential",
    "mlp": "Sequential",
}
NAMES = ["Sequential", *(entry.name for entry in CATALOGUE.values())]


def skeleton(module: str, folder: Path) -> str:
    """The text of an adapter for a Python file, a folder of them, or a module by its name.

    Args:
        module: the framework.
        folder: where the adapter will be.

    Raises:
        AdapterError: there is no such module, it does not parse, or it has no class that looks
            like a layer.
    """
    files = _files(module)
    found: dict[str, tuple[str, ast.ClassDef]] = {}
    unknown: list[tuple[str, str]] = []
    bases: set[str] = set()
    numpy = torch = False
    for file in files:
        tree = _parsed(file)
        imported = {name.split(".")[0] for name in _imported(tree)}
        numpy, torch = numpy or "numpy" in imported, torch or "torch" in imported
        for node in tree.body:
            if not isinstance(node, ast.ClassDef):
                continue
            bases |= {ast.unparse(base).split(".")[-1] for base in node.bases}
            name = _torch_name(node.name)
            if name is not None and name not in found:
                found[name] = (file.stem, node)
            elif {"forward", "backward"} <= set(_methods(node)):
                unknown.append((file.stem, node.name))
    if not found:
        raise AdapterError(
            f"{module}: no class in it looks like a layer of torch.nn by its name; an adapter "
            "is `subject = parity.Subject({nn.Linear: …})`"
        )
    rows = [
        _row(name, _identifier(stem), node)
        for name, (stem, node) in sorted(found.items(), key=lambda one: NAMES.index(one[0]))
    ]
    unknown = [(stem, name) for stem, name in unknown if name not in bases]
    rows += [f"    # {_identifier(stem)}.{name}: which torch class?" for stem, name in unknown]
    settings = _settings({name: node for name, (_, node) in found.items()}, numpy and not torch)
    stems = sorted({stem for stem, _ in found.values()} | {stem for stem, _ in unknown})
    where = files[0].parent.resolve()
    package = _package(module)
    # An adapter's own folder is searched anyway, and so is what has been installed.
    beside = where == folder.resolve() or bool(package)
    way = Path(os.path.relpath(where, folder.resolve())).as_posix()
    path = [
        "import sys",
        "from pathlib import Path",
        "",
        f"sys.path.insert(0, str(Path(__file__).parent / {way!r}))",
        "",
    ]
    return "\n".join(
        [
            f"# The adapter of {module!r}, as `parity check` takes it.",
            "",
            *([] if beside else path),
            *_imports(stems, package),
            "import torch",
            "from torch import nn",
            "",
            "import parity",
            "",
            "subject = parity.Subject(",
            "    {",
            *("    " + row for row in rows),
            "    },",
            *settings,
            ")",
            "",
        ]
    )


def _files(module: str) -> list[Path]:
    path = Path(module)
    if path.is_dir():
        files = sorted(path.glob("*.py"))
    elif path.suffix == ".py":
        files = [path]
    else:
        files = _of_module(module)
    if not files or not all(file.is_file() for file in files):
        raise AdapterError(f"there is no Python file, folder or module {module!r}")
    return files


def _of_module(name: str) -> list[Path]:
    """The files of a module; of those above it in a package, too, none is imported."""
    top, *below = name.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return []
    if spec is None:
        return []
    places = [Path(folder, *below) for folder in spec.submodule_search_locations or []]
    for place in places:
        if place.is_dir():
            return sorted(place.glob("*.py"))
        if place.with_suffix(".py").is_file():
            return [place.with_suffix(".py")]
    return [Path(spec.origin)] if spec.origin and not below else []


def _package(module: str) -> str:
    """The package that a module's files are imported from; "" for a file, a folder, or a module
    that is of none."""
    if Path(module).is_dir() or module.endswith(".py"):
        return ""
    one_file = len(_files(module)) == 1 and _files(module)[0].stem == module.rpartition(".")[2]
    return module.rpartition(".")[0] if one_file else module


def _imports(stems: list[str], package: str) -> Iterator[str]:
    """A line for each module; one whose name is no identifier is imported by a function."""
    odd = [stem for stem in stems if _identifier(stem) != stem]
    if odd:
        yield "import importlib"
    for stem in stems:
        if stem in odd:
            name = ".".join(filter(None, (package, stem)))
            yield f"{_identifier(stem)} = importlib.import_module({name!r})"
        else:
            yield f"from {package} import {stem}" if package else f"import {stem}"


def _identifier(stem: str) -> str:
    """A module's name as the adapter has it: `my-framework` is `my_framework` there."""
    name = re.sub(r"\W", "_", stem)
    return name if name.isidentifier() and not keyword.iskeyword(name) else f"_{name}"


def _parsed(file: Path) -> ast.Module:
    try:
        return ast.parse(file.read_bytes())
    except (SyntaxError, ValueError, RecursionError, OSError) as error:
        raise AdapterError(f"{file} does not parse: {error}") from None


def _imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def _torch_name(name: str) -> str | None:
    plain = name.lower().replace("_", "").removesuffix("layer").removesuffix("activation")
    known = {entry.name.lower(): entry.name for entry in CATALOGUE.values()}
    known["sequential"] = "Sequential"
    return known.get(plain) or ALIASES.get(plain) or known.get(f"{plain}loss")


def _methods(node: ast.ClassDef) -> dict[str, ast.FunctionDef]:
    return {part.name: part for part in node.body if isinstance(part, ast.FunctionDef)}


def _arguments(node: ast.ClassDef, method: str) -> list[str]:
    function = _methods(node).get(method)
    return [argument.arg for argument in function.args.args[1:]] if function else []


def _row(name: str, stem: str, node: ast.ClassDef) -> str:
    owner = "torch.optim" if name in ("SGD", "Adam", "AdamW", "RMSprop", "Adagrad") else "nn"
    return f"    {owner}.{name}: {_builder(name, f'{stem}.{node.name}', node)},"


def _builder(name: str, made: str, node: ast.ClassDef) -> str:
    if name != "Sequential":
        return made
    init = _methods(node).get("__init__")
    if init is not None and init.args.vararg is None and len(init.args.args) == 2:
        return f"lambda *layers: {made}(list(layers))"
    return made


def _settings(nodes: dict[str, ast.ClassDef], numpy: bool) -> Iterator[str]:
    if numpy:
        yield '    array="numpy",'
        yield '    dtypes=("float64",),'
    linear = nodes.get("Linear")
    if linear is not None:
        source = ast.unparse(_methods(linear).get("backward", linear))
        adds = "+=" in source or ".add_(" in source or ".addmm_(" in source
        yield f'    gradients="{"accumulated" if adds else "overwritten"}",  # a guess'
        yield '    # weight="in_out",  # if weight is [in, out]'
        yield '    # parameters="flat",  # or "lists", "objects": what param() gives, if not pairs'
    losses = [node for name, node in nodes.items() if name.endswith("Loss")]
    if losses:
        source = ast.unparse(_methods(losses[0]).get("forward", losses[0]))
        yield f'    reduction="{"mean" if "mean" in source else "sum"}",  # a guess'
        if len(_arguments(losses[0], "backward")) == 2:
            yield "    loss_backward=lambda loss, prediction, target:"
            yield "        loss.backward(prediction, target),"
    moved = [node for name, node in nodes.items() if name in ("SGD", "Adam", "AdamW")]
    if moved and (_arguments(moved[0], "__init__") or [""])[0] in ("model", "net", "network"):
        yield '    optimizer="model",'
