"""How a class of a framework is built, in an adapter that is being written: by torch's arguments,
by others, or of arrays that it is given; nothing is imported."""

from __future__ import annotations

import ast
import re

from parity.catalogue.table import by_name
from parity.subject.hooks import FORWARD, RATES
from parity.subject.source import arguments, methods

OUTPUTS = ("out", "output", "n_out", "out_features", "output_size", "output_dim", "out_dim",
           "units", "neurons", "n_neurons", "n_outputs", "fan_out", "outputs")  # fmt: skip
GATES = {"RNN": 1, "RNNCell": 1, "GRU": 3, "GRUCell": 3, "LSTM": 4, "LSTMCell": 4}


def builder(
    name: str, made: str, node: ast.ClassDef, near: list[ast.ClassDef], zeros: str
) -> tuple[list[str], str]:
    """A class itself, or a function where it cannot do without what torch's has not; and lines
    before the subject that this takes, if any.

    Args:
        name: torch's.
        made: how the adapter names the class.
        near: the framework's own classes among its bases.
        zeros: what makes an array.
    """
    if name == "Sequential":
        return _container(made, node)
    if elsewhere(node, near):
        return [], made
    needed, _ = arguments(methods(node).get("__init__"))
    if name == "Linear" and len(needed) == 1 and needed[0] in OUTPUTS:
        return _lazy(made, node)
    return [], _called(name, made, node, "\n".join(map(ast.unparse, (node, *near))), zeros)


def elsewhere(node: ast.ClassDef, near: list[ast.ClassDef]) -> bool:
    """Whether a class has what it takes of a base that is not the framework's."""
    return "__init__" not in methods(node) and len(near) < len(node.bases)


def unbuilt(name: str, node: ast.ClassDef, near: list[ast.ClassDef]) -> bool:
    """Whether a class whose torch counterpart has parameters takes nothing that says their
    sizes."""
    if name == "Sequential" or elsewhere(node, near):
        return False
    entry, init = by_name(name), methods(node).get("__init__")
    open_ended = init is not None and (init.args.vararg or init.args.kwarg or init.args.kwonlyargs)
    if entry.kind != "layer" or not entry.positional or open_ended or arguments(init)[1]:
        return False
    module = entry.reference(**next(iter(entry.variants.values())))
    return any(True for _ in module.parameters())


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


def _lazy(made: str, node: ast.ClassDef) -> tuple[list[str], str]:
    """A Linear that is told of its inputs later: when it is built, or when it gets some."""
    build = next((one for one in ("build", "initialize", "init") if one in methods(node)), "")
    if len(arguments(methods(node).get(build))[0]) != 1:
        return [], f"lambda n_in, n_out: {made}(n_out)"
    told = arguments(methods(node)[build])[0][0]
    whole = f"{told}[1]" in ast.unparse(node)  # with a batch of any size
    given = ("(None, n_in)" if whole else "(n_in,)") if "shape" in told else "n_in"
    lines = [
        "", "def linear(n_in, n_out):", f"    layer = {made}(n_out)",
        f"    layer.{build}({given})", "    return layer", "", "",
    ]  # fmt: skip
    return lines, "linear"


def _called(name: str, made: str, node: ast.ClassDef, whole: str, zeros: str) -> str:
    """How a class is called, if its source and that of its bases is `whole`."""
    needed, names = arguments(methods(node).get("__init__"))
    if of_arrays := _of_arrays(name, made, node, whole, zeros):
        return of_arrays
    if "Pool2d" in name and len(needed) > 1 and _two_sides(needed):
        return _pool(made, names)
    if name.startswith("BatchNorm") and "momentum" in names and _keeps_the_old(whole):
        return _batch_norm(made, names[:1], names)
    if name == "Dropout" and names and _KEEPS.fullmatch(names[0].lower()):
        return f"lambda p: {made}(1 - p)"
    return _by_torchs(name, made, needed, names)


_KEEPS = re.compile(r"(p_?)?keep(_?p|_?prob(ability)?|_?rate)?|retain\w*")
"""What the probability to keep an entry may be called."""


def _of_arrays(name: str, made: str, node: ast.ClassDef, whole: str, zeros: str) -> str:
    """Of a class that is given its parameters, as `Affine(W, b)`; "" of another."""
    needed, names = arguments(methods(node).get("__init__"))
    lower = [one.lower().replace("_", "") for one in needed]
    if not lower or lower[0] not in (
        "w", "weight", "weights", "kernel", "filters", "gamma", "wx", "wih",
    ):  # fmt: skip
        return ""
    shapes = _shapes(name, node)
    count = sum(one in _ARRAYS for one in lower)
    if not 0 < count <= len(shapes):
        return ""
    given = [f"{zeros}({shape})" for shape in shapes[:count]]
    takes = list(by_name(name).positional)
    for one in names[count:]:
        if one in ("stride", "strides") and name.startswith("Conv"):
            takes.append("stride=1")
            given.append(f"{one}=stride")
        elif one in ("pad", "padding") and '"valid"' in ast.unparse(node).replace("'", '"'):
            given.append(f'{one}="valid"')
        elif one in ("pad", "padding") and name.startswith("Conv"):
            takes.append("padding=0")
            given.append(f"{one}=padding")
        elif one == "momentum":
            takes.append("momentum=0.1")
            given.append(f"{one}={'1 - momentum' if _keeps_the_old(whole) else 'momentum'}")
        elif one in needed:
            given.append(f"{one}={guess(one)}")
    return f"lambda {', '.join(takes)}: {made}({', '.join(given)})"


_ARRAYS = ("w", "weight", "weights", "kernel", "filters", "b", "bias", "biases", "gamma",
           "beta", "wx", "wh", "wih", "whh", "bih", "bhh")  # fmt: skip


def _shapes(name: str, node: ast.ClassDef) -> list[str]:
    """Those of the arrays that a class may be given, in the order in which that is usual."""
    if name == "Linear":
        forward = next((methods(node)[one] for one in FORWARD if one in methods(node)), node)
        turned = re.search(r"[wW]\w*\.(T\b|t\(|mT\b|transpose)", ast.unparse(forward))
        widths = "(out_features, in_features)" if turned else "(in_features, out_features)"
        return [widths, "out_features"]
    if name == "Embedding":
        return ["(num_embeddings, embedding_dim)"]
    if name == "Conv2d":
        both = "kernel_size, kernel_size"
        last = kernel_last(node)
        return [f"({both}, in_channels, out_channels)" if last
                else f"(out_channels, in_channels, {both})", "out_channels"]  # fmt: skip
    if name in GATES:
        gates = f"{GATES[name]} * hidden_size" if GATES[name] > 1 else "hidden_size"
        return [f"(input_size, {gates})", f"(hidden_size, {gates})", gates, gates]
    first = by_name(name).positional
    return [first[0]] * 2 if len(first) == 1 and "Norm" in name else []


def kernel_last(node: ast.AST) -> bool:
    """Whether a convolution's weight has its channels last: `h, w, c, n = self.w.shape`."""
    for one in ast.walk(node):
        if isinstance(one, ast.Assign) and isinstance(one.targets[0], ast.Tuple):
            parts = [ast.unparse(part).lower() for part in one.targets[0].elts]
            of = ast.unparse(one.value).lower()
            if len(parts) == 4 and re.fullmatch(
                r"(self\.)?_?(w|weights?|kernels?|filters?)\.shape", of
            ):
                return "h" in parts[0] or parts[0] == parts[1] != "_"
    return False


def _two_sides(needed: list[str]) -> bool:
    """Whether a pool is given its height and its width."""
    first, second = needed[:2]
    sides = (("height", "width"), ("_h", "_w"), ("h_", "w_"), ("h", "w"), ("H", "W"))
    return any(first != second == first.replace(*side) for side in sides)


def _pool(made: str, names: list[str]) -> str:
    takes, given = ["kernel_size"], ["kernel_size", "kernel_size"]
    for one in names[2:]:
        if one in ("stride", "strides"):
            takes.append("stride=None")
            given.append(f"{one}=stride or kernel_size")
        elif one in ("pad", "padding"):
            takes.append("padding=0")
            given.append(f"{one}=padding")
    return f"lambda {', '.join(takes)}: {made}({', '.join(given)})"


def _keeps_the_old(source: str) -> bool:
    """Whether a momentum is the share of the old average, and not of the new value, as torch's."""
    old = r"(self\.)?_?(running|moving)\w*"
    return bool(re.search(rf"(self\.)?momentum \* {old}", source)
                or re.search(rf"{old} \* (self\.)?momentum", source))  # fmt: skip


def _batch_norm(made: str, first: list[str], names: list[str]) -> str:
    """Of a momentum that is the complement of torch's."""
    takes, given = ["num_features"], ["num_features"]
    eps = next((one for one in ("eps", "epsilon") if one in names[1:]), "")
    if eps:
        takes.append("eps=1e-5")
        given.append(f"{eps}=eps")
    if first == ["momentum"]:
        takes, given = takes[1:], given[1:]
    takes.append("momentum=0.1")
    given.append("momentum=1 - momentum")
    return f"lambda {', '.join(takes)}: {made}({', '.join(given)})"


def _by_torchs(name: str, made: str, needed: list[str], names: list[str]) -> str:
    entry = by_name(name)
    if name == "Linear":
        turned = (
            bool(needed) and len(needed) > 1 and needed[0] in OUTPUTS and needed[1] not in OUTPUTS
        )
        rest = [guess(one) for one in needed[2:]]
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
        more = needed[len(first) :]
        if all(one in entry.defaults() for one in more):
            return made  # these come by position, whatever they are called
        own = {one: entry.defaults()[one] for one in more if one in entry.defaults()}
        both = [*first, *(f"{one}={value!r}" for one, value in own.items())]
        given = [*first, *(f"{one}={one if one in own else guess(one)}" for one in more)]
        return f"lambda {', '.join(both)}: {made}({', '.join(given)})"
    if len(first) == len(needed) == 1:
        return made
    if len(names) < len(first):  # it has some of them fixed
        return f"lambda {', '.join(first)}: {made}({', '.join(first[: len(names)])})"
    known = {*entry.defaults(), *entry.positional, "dim", "reduction"}
    missing = [one for one in needed if one not in known]
    if not missing or name == "Dropout":
        return made
    takes = ", ".join(first)
    return f"lambda{' ' * bool(takes)}{takes}: {made}({', '.join(map(guess, needed))})"


def guess(argument: str) -> str:
    """A value for an argument that torch's class has not, by its name."""
    if argument in ("axis", "dim"):
        return "-1"
    if argument == "name":
        return '"name"'
    return "0.0" if argument in RATES else "None"
