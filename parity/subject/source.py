"""A look at a framework's source: its modules, and the classes that torch has too. Nothing of it is
imported."""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from parity.catalogue.table import CATALOGUE
from parity.subject.error import AdapterError

NAMES = ["Sequential", *(entry.name for entry in CATALOGUE.values())]

#: Names that frameworks give to what torch calls otherwise: in lower case, without what they have
#: around them, such as `Layer`, `Loss`, `Optimizer`.
ALIASES = {
    "fullyconnected": "Linear", "dense": "Linear", "fc": "Linear", "affine": "Linear",
    "lrelu": "LeakyReLU", "leaky": "LeakyReLU", "swish": "SiLU", "logistic": "Sigmoid",
    "hyperbolictangent": "Tanh",
    "conv": "Conv2d", "convolution": "Conv2d", "convolutional": "Conv2d", "conv2": "Conv2d",
    "convolution2d": "Conv2d", "convolutional2d": "Conv2d", "maxpool": "MaxPool2d",
    "maxpooling": "MaxPool2d", "maxpooling2d": "MaxPool2d", "flattening": "Flatten",
    "convolution1d": "Conv1d", "convolutional1d": "Conv1d",
    "deconv": "ConvTranspose2d", "deconv2d": "ConvTranspose2d", "deconvolution": "ConvTranspose2d",
    "convtranspose": "ConvTranspose2d", "conv2dtranspose": "ConvTranspose2d",
    "transposedconv2d": "ConvTranspose2d", "transposedconv": "ConvTranspose2d",
    "transposeconv2d": "ConvTranspose2d", "convtransposed2d": "ConvTranspose2d",
    "avgpool": "AvgPool2d", "averagepool": "AvgPool2d", "averagepooling": "AvgPool2d",
    "avgpooling": "AvgPool2d", "meanpool": "AvgPool2d", "meanpool2d": "AvgPool2d",
    "averagepool2d": "AvgPool2d", "averagepooling2d": "AvgPool2d", "avgpooling2d": "AvgPool2d",
    "spatialgroupnorm": "GroupNorm", "multicrossentropy": "CrossEntropyLoss",
    "globalaveragepool": "AdaptiveAvgPool2d", "globalavgpool": "AdaptiveAvgPool2d",
    "globalavgpool2d": "AdaptiveAvgPool2d", "globalaveragepooling": "AdaptiveAvgPool2d",
    "globalaveragepooling2d": "AdaptiveAvgPool2d", "globalaveragepool2d": "AdaptiveAvgPool2d",
    "upsampling": "Upsample", "upsampling2d": "Upsample", "upsamplenearest": "Upsample",
    "nearestupsample": "Upsample", "nearestupsampling": "Upsample",
    "groupnormalization": "GroupNorm", "instancenorm": "InstanceNorm2d",
    "instancenormalization": "InstanceNorm2d", "instancenormalization2d": "InstanceNorm2d",
    "smoothl1": "SmoothL1Loss", "parametricrelu": "PReLU",
    "batchnorm": "BatchNorm1d", "batchnormalization": "BatchNorm1d",
    "batchnormalization1d": "BatchNorm1d", "batchnormalization2d": "BatchNorm2d",
    "spatialbatchnorm": "BatchNorm2d", "layernormalization": "LayerNorm",
    "rnnstep": "RNNCell", "elmanrnn": "RNN", "vanillarnn": "RNN", "simplernn": "RNN",
    "recurrent": "RNN", "timernn": "RNN", "timelstm": "LSTM", "timegru": "GRU",
    "grustep": "GRUCell", "lstmstep": "LSTMCell", "rnnunit": "RNNCell", "gruunit": "GRUCell",
    "lstmunit": "LSTMCell", "gatedrecurrentunit": "GRU", "longshorttermmemory": "LSTM",
    "multiheadselfattention": "MultiheadAttention", "selfattention": "MultiheadAttention",
    "mha": "MultiheadAttention", "causalselfattention": "MultiheadAttention",
    "multiheadedattention": "MultiheadAttention", "mhsa": "MultiheadAttention",
    "attention": "ScaledDotProductAttention", "dotproductattention": "ScaledDotProductAttention",
    "scaleddotproduct": "ScaledDotProductAttention", "sdpa": "ScaledDotProductAttention",
    "rotaryembedding": "RoPE", "rotarypositionembedding": "RoPE", "rotary": "RoPE",
    "rotarypositionalembedding": "RoPE", "swiglumlp": "SwiGLU", "swiglufeedforward": "SwiGLU",
    "geglufeedforward": "GeGLU", "geglumlp": "GeGLU",
    "rmsnormalization": "RMSNorm", "embeddings": "Embedding", "embed": "Embedding",
    "tokenembedding": "Embedding", "wordembedding": "Embedding",
    "mse": "MSELoss", "meansquarederror": "MSELoss", "meansquared": "MSELoss",
    "squarederror": "MSELoss", "l2": "MSELoss", "quadratic": "MSELoss",
    "mae": "L1Loss", "meanabsoluteerror": "L1Loss", "meanabsolute": "L1Loss", "l1": "L1Loss",
    "crossentropy": "CrossEntropyLoss", "categoricalcrossentropy": "CrossEntropyLoss",
    "softmaxcrossentropy": "CrossEntropyLoss", "crossentropywithsoftmax": "CrossEntropyLoss",
    "softmaxwith": "CrossEntropyLoss", "softmaxcrossentropywithlogits": "CrossEntropyLoss",
    "crossentropywithlogits": "CrossEntropyLoss",
    "binarycrossentropy": "BCELoss", "bce": "BCELoss",
    "bcewithlogits": "BCEWithLogitsLoss", "binarycrossentropywithlogits": "BCEWithLogitsLoss",
    "sigmoidcrossentropy": "BCEWithLogitsLoss", "sigmoidbce": "BCEWithLogitsLoss",
    "ctc": "CTCLoss", "nll": "NLLLoss", "negativeloglikelihood": "NLLLoss", "huber": "HuberLoss",
    "gradientdescent": "SGD", "stochasticgradientdescent": "SGD", "momentum": "SGD",
    "sgdmomentum": "SGD", "sgdwithmomentum": "SGD",
    "sequence": "Sequential", "net": "Sequential", "mlp": "Sequential",
    "network": "Sequential", "neuralnetwork": "Sequential", "neuralnet": "Sequential",
    "nn": "Sequential", "model": "Sequential",
}  # fmt: skip
AROUND = ("layer", "activation", "function", "loss", "cost", "optimizer", "optimiser", "module")

LEFT_OUT = {"tests", "test", "examples", "example", "docs", "doc", "venv", "env", "build", "dist",
            "site-packages", "notebooks", "benchmarks", "setup.py", "conftest.py"}  # fmt: skip
"""Folders and files in which there is no framework."""
MOST = 400
"""How many files of a folder are looked at."""


@dataclass(frozen=True)
class Module:
    """A module of the framework.

    Args:
        file: where it is.
        name: that it is imported by, from `Source.base`.
        tree: what is in it.
        by_file: whether another module has its name, so that it is loaded by its file.
    """

    file: Path
    name: str
    tree: ast.Module
    by_file: bool = False


@dataclass(frozen=True)
class Source:
    """A framework's modules.

    Args:
        base: the folder that they are imported from; None if it is one of the interpreter's own.
        modules: those that parse.
        broken: those that do not, each with why.
    """

    base: Path | None
    modules: list[Module]
    broken: list[str] = field(default_factory=list)

    def imports(self, name: str) -> bool:
        """Whether one of the modules imports a package of that name."""
        return any(name in _imported(module.tree) for module in self.modules)


def source_of(given: str) -> Source:
    """A framework: a Python file, a folder of them, or a module by its name.

    Raises:
        AdapterError: there is no such thing, or nothing of it parses.
    """
    path, base = Path(given), None
    if path.is_dir():
        files = list(_below(path))
    elif path.suffix == ".py":
        files = [path]
    else:
        files, base = _of_module(given)
    if not files or not all(file.is_file() for file in files):
        raise AdapterError(f"there is no Python file, folder or module {given!r}")
    trees: dict[Path, ast.Module] = {}
    broken = []
    for file in files:
        try:
            trees[file] = ast.parse(file.read_bytes(), file.name)
        except (SyntaxError, ValueError, RecursionError, OSError) as error:
            broken.append(f"{file} does not parse: {error}")
    if not trees:
        raise AdapterError(broken[0])
    if base is None:
        folder = (path if path.is_dir() else path.parent).resolve()
        loose = any(
            _relative(tree) and not (file.resolve().parent / "__init__.py").is_file()
            for file, tree in trees.items()
        )
        base = own = _base(folder, loose)
    else:
        own = None
    _inherit(list(trees.values()))
    modules = [_module(file.resolve(), base, tree) for file, tree in trees.items()]
    return Source(own, modules, broken)


def _below(folder: Path) -> Iterator[Path]:
    """The Python files of a folder and of those in it."""
    found = 0
    for file in sorted(folder.rglob("*.py"), key=lambda one: (len(one.parts), one)):
        parts = file.relative_to(folder).parts
        odd = any(part in LEFT_OUT or part.startswith((".", "test_", "__pyc")) for part in parts)
        if not odd and found < MOST:
            found += 1
            yield file


def _of_module(name: str) -> tuple[list[Path], Path | None]:
    """The files of a module, and where it is imported from; of those above it in a package, too,
    none is imported."""
    top, *below = name.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return [], None
    if spec is None:
        return [], None
    for folder in spec.submodule_search_locations or []:
        place, base = Path(folder, *below), Path(folder).resolve().parent
        if place.is_dir():
            return list(_below(place)), base
        if place.with_suffix(".py").is_file():
            return [place.with_suffix(".py")], base
    if spec.origin and not below:
        return [Path(spec.origin)], Path(spec.origin).resolve().parent
    return [], None


def _base(folder: Path, loose: bool) -> Path:
    """The folder that the modules of another are imported from: outside of a package that it is
    part of, which it is too if one of its files imports by `from . import …`, and says no more."""
    base = folder
    if loose and not (folder / "__init__.py").is_file():
        base = folder.parent
    while (base / "__init__.py").is_file() and base.name.isidentifier():
        base = base.parent
    return base


def _module(file: Path, base: Path, tree: ast.Module) -> Module:
    parts = list(file.relative_to(base).with_suffix("").parts)
    if parts[-1] == "__init__" and len(parts) > 1:
        parts.pop()
    taken = {*sys.stdlib_module_names, "torch", "numpy", "parity", "pytest"}
    return Module(file, ".".join(parts), tree, by_file=parts[0] in taken)


def _relative(tree: ast.Module) -> bool:
    return any(isinstance(node, ast.ImportFrom) and node.level for node in ast.walk(tree))


def _imported(tree: ast.Module) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


def _inherit(trees: list[ast.Module]) -> None:
    """Gives each class the methods that it has from the framework's other classes."""
    classes = [
        (tree, node) for tree in trees for node in tree.body if isinstance(node, ast.ClassDef)
    ]
    done: set[int] = set()

    def complete(tree: ast.Module, node: ast.ClassDef) -> None:
        if id(node) in done:
            return
        done.add(id(node))
        for base in node.bases:
            name = ast.unparse(base).rpartition(".")[2]
            named = [one for one in classes if one[1].name == name and one[1] is not node]
            if not named:
                continue
            owner, parent = next((one for one in named if one[0] is tree), named[0])
            complete(owner, parent)
            own = methods(node)
            node.body += [
                part
                for name, part in methods(parent).items()
                if name not in own and (name == "__init__" or not _stub(part))
            ]

    for tree, node in classes:
        complete(tree, node)


def _stub(function: ast.FunctionDef) -> bool:
    """Whether a method is there to be overridden: it does nothing, or refuses."""
    body = [part for part in function.body if not isinstance(part, ast.Expr)]
    return all(
        isinstance(part, ast.Pass)
        or (isinstance(part, ast.Raise) and "NotImplemented" in ast.unparse(part))
        for part in body
    )


def torch_name(name: str) -> str | None:
    """What torch calls a class of that name, or a function `relu_forward`; None if nothing."""
    plain = re.sub(r"[\W_]", "", name).lower()
    known = {entry.lower(): entry for entry in NAMES}
    bare = {entry.lower().removesuffix("loss"): entry for entry in NAMES}
    while plain:
        found = known.get(plain) or ALIASES.get(plain) or bare.get(plain)
        if found:
            return found
        shorter = plain
        for word in AROUND:
            shorter = shorter.removesuffix(word).removeprefix(word)
        if shorter == plain:
            shorter = plain.replace("layer", "")  # in the middle of it
        if shorter == plain:
            return None
        plain = shorter
    return None


def methods(node: ast.ClassDef) -> dict[str, ast.FunctionDef]:
    """The methods that a class defines itself."""
    return {part.name: part for part in node.body if isinstance(part, ast.FunctionDef)}


def arguments(function: ast.FunctionDef | None) -> tuple[list[str], list[str]]:
    """The arguments of a method beside `self`: those that it cannot do without, and all."""
    if function is None:
        return [], []
    static = any(ast.unparse(one) == "staticmethod" for one in function.decorator_list)
    names = [one.arg for one in (*function.args.posonlyargs, *function.args.args)]
    names = names if static else names[1:]
    needed = names[: len(names) - len(function.args.defaults)] if names else []
    return needed, names


def attributes(node: ast.ClassDef) -> set[str]:
    """What is set of `self` in a class."""
    return {
        part.attr
        for part in ast.walk(node)
        if isinstance(part, ast.Attribute)
        and isinstance(part.value, ast.Name)
        and part.value.id == "self"
    }


def keys_of(node: ast.ClassDef, attribute: str) -> list[str]:
    """The keys of a dictionary that is an attribute: `W` of `self.params["W"]`."""
    found: dict[str, None] = {}
    for part in ast.walk(node):
        if (
            isinstance(part, ast.Subscript)
            and ast.unparse(part.value) == f"self.{attribute}"
            and isinstance(part.slice, ast.Constant)
            and isinstance(part.slice.value, str)
        ):
            found[part.slice.value] = None
        if not (isinstance(part, ast.Assign) and isinstance(part.value, ast.Dict)):
            continue
        if any(ast.unparse(one) == f"self.{attribute}" for one in part.targets):
            keys = [one.value for one in part.value.keys if isinstance(one, ast.Constant)]
            found |= dict.fromkeys(key for key in keys if isinstance(key, str))
    return list(found)
