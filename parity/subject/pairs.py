"""Functions of a framework in an adapter that is being written: `conv_forward_naive(x, w, b,
conv_param)` and its backward, and losses that return their gradient; nothing is imported."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

from parity.catalogue.table import by_name
from parity.subject.made import kernel_last
from parity.subject.source import Module, Source, torch_name

SEQUENCES = ("RNN", "GRU", "LSTM")
WEIGHTS = ("w", "weight", "weights", "kernel", "kernels", "filters", "gamma", "scale")
BIASES = ("b", "bias", "biases", "beta", "shift")
"""What a function may call its parameters, in lower case."""
_TOLD = re.compile(r"param|param(eter)?s|config|conf|options|opts")


@dataclass(frozen=True)
class Pair:
    """Two functions of the framework, `relu_forward(x)` and `relu_backward(dy, cache)`, or one, a
    loss that returns its gradient.

    Args:
        names: of the functions.
        cache: whether the first returns what the second takes beside the gradient.
        parameters: torch's names of what the first takes after its inputs.
        options: the function that makes of torch's options what it takes last; "" if nothing.
        axes: how many axes the bias has, if it is taken to have more than one; of a norm, the
            weight too.
        kernel: how a convolution's weight lies, where that shows.
        columns: whether a linear layer multiplies its input from the left.
    """

    module: Module
    names: tuple[str, ...]
    cache: bool = True
    parameters: tuple[str, ...] = ()
    options: str = ""
    axes: int = 1
    kernel: str = ""
    columns: bool = False


def pairs_of(source: Source) -> tuple[dict[str, Pair], list[str]]:
    """Functions by the names of the layers that they are, and what is left of such."""
    found: dict[str, Pair] = {}
    left = []
    for module in source.modules:
        own = {node.name: node for node in module.tree.body if isinstance(node, ast.FunctionDef)}
        for name, node in own.items():
            parts = re.fullmatch(r"(\w+?)_forward(_\w+)?", name)
            if parts is None and returns(node, 2) and f"{name}_backward" in own:
                parts = re.fullmatch(r"(\w+)()", name)
            back = own.get(f"{parts[1]}_backward{parts[2] or ''}") if parts else None
            if back is None or parts is None:
                if _is_loss(node) and torch_name(name) in ("CrossEntropyLoss", "Softmax"):
                    found.setdefault("CrossEntropyLoss", Pair(module, (name,)))
                continue
            pair = _pair(module, parts[1], node, back)
            if pair is None or pair[0] in found:
                left.append(f"{module.name}.{name}")
            else:
                found[pair[0]] = pair[1]
    return found, left


_CLIPS = re.compile(r"(grad(ient)?s?_?)?clip(ping|_by)?_?(all_?)?(grad(ient)?s?)?_?(by_?)?"
                    r"((global_?)?norm|value)?_?")  # fmt: skip
"""What a function may be called that clips gradients, in lower case."""


def clippings_of(source: Source) -> dict[str, tuple[Module, str]]:
    """Functions that clip gradients, by torch's: by their norm, if they compute one."""
    found: dict[str, tuple[Module, str]] = {}
    for module in source.modules:
        for node in (one for one in module.tree.body if isinstance(one, ast.FunctionDef)):
            name = node.name.lower()
            if "grad" not in name or not _CLIPS.fullmatch(name) or len(node.args.args) != 2:
                continue
            by_norm = re.search(r"norm|sqrt|\*\* *0\.5", ast.unparse(node).lower())
            found.setdefault(f"clip_grad_{'norm' if by_norm else 'value'}_", (module, node.name))
    return found


def _is_loss(node: ast.FunctionDef) -> bool:
    return len(node.args.args) == 2 and node.name.endswith("loss") and returns(node, 2)


def returns(node: ast.FunctionDef, count: int) -> bool:
    """Whether a function returns so many values at some place."""
    returned = [one.value for one in ast.walk(node) if isinstance(one, ast.Return)]
    return any(isinstance(one, ast.Tuple) and len(one.elts) == count for one in returned)


def _pair(
    module: Module, stem: str, node: ast.FunctionDef, back: ast.FunctionDef
) -> tuple[str, Pair] | None:
    """The layer that two functions are, and how they are called; None if that cannot be said."""
    known = _known(stem, node)
    if known in (None, "Sequential") or by_name(str(known)).kind != "layer":
        return None
    names = (node.name, back.name)
    args = [one.arg for one in node.args.args]
    if parameters := _of_recurrence(str(known), len(args)):
        return str(known), Pair(module, names, True, parameters)
    given = args[1 : len(args) - len(node.args.defaults)]
    own = [one for one in given if one.lower() in (*WEIGHTS, *BIASES)]
    rest = [one for one in given if one not in own]
    called = [one for one in module.tree.body if isinstance(one, ast.FunctionDef)
              and f"{one.name}(" in ast.unparse(node) + ast.unparse(back)]  # fmt: skip
    options = _options(str(known), rest, node, back, *called)
    if len(own) not in (0, 2) or given != [*own, *rest] or options is None:
        return None
    parameters = ("weight", "bias") if own else ()
    cache = returns(node, 2)
    if not cache and (own or rest):
        return None
    wide = "Norm" in str(known) and "(1, C, 1, 1)" in ast.unparse(node) + ast.unparse(back)
    axes = 4 if wide else _axes(node, own)
    kernel = "hwio" if str(known) == "Conv2d" and kernel_last(node) else ""
    product = (
        rf"{args[1]}\.dot\({args[0]}\)|dot\({args[1]}, {args[0]}\)|{args[1]} @ {args[0]}"
        if own
        else ""
    )
    columns = str(known) == "Linear" and bool(re.search(product, ast.unparse(node)))
    return str(known), Pair(module, names, cache, parameters, options, axes, kernel, columns)


def _known(stem: str, node: ast.FunctionDef) -> str | None:
    """What torch calls a layer; of `pool` its argument `mode` says it."""
    if stem in ("pool", "pooling"):
        modes = [ast.unparse(one) for one in node.args.defaults]
        return "AvgPool2d" if modes in (["'average'"], ["'avg'"]) else "MaxPool2d"
    return torch_name(stem)


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


def _options(known: str, rest: list[str], *functions: ast.FunctionDef) -> str | None:
    """What makes of torch's options the arguments after the parameters, as a function's text; ""
    if there are none, None if one of them is not known."""
    if not rest:
        return ""
    source = "\n".join(map(ast.unparse, functions))
    takes: dict[str, None] = {}
    made = []
    for one in rest:
        if _TOLD.search(one):
            keys = re.findall(rf"{one}(?:\.get\(|\[)['\"](\w+)['\"]", source)
            values = {key: _value(known, key, source) for key in dict.fromkeys(keys)}
            values = {key: value for key, value in values.items() if key not in _KEPT}
            if None in values.values():
                return None
            made.append("{" + ", ".join(f'"{k}": {v[0]}' for k, v in values.items() if v) + "}")
            takes |= dict.fromkeys(v[1] for v in values.values() if v and v[1])
        elif value := _value(known, one, source):
            made.append(value[0])
            takes |= dict.fromkeys([value[1]] if value[1] else [])
        else:
            return None
    given = sorted(takes, key=lambda one: "=" in one)
    whole = made[0] if len(made) == 1 else f"({', '.join(made)})"
    return f"lambda {', '.join(given)}: {whole}" if given else f"lambda: {whole}"


_KEPT = ("running_mean", "running_var", "seed")
"""What a dict of options has that the function itself puts there, or can do without."""


def _value(known: str, name: str, source: str) -> tuple[str, str] | None:
    """What an option of a function is in torch's, and the argument that this needs."""
    plain = name.lower().replace("_", "")
    pooling, conv = "Pool" in known, known.startswith("Conv")
    if plain in ("stride", "s"):
        return ("stride or kernel_size", "stride=None") if pooling else ("stride", "stride=1")
    if plain in ("pad", "padding", "p") and (conv or pooling):
        return "padding", "padding=0"
    if pooling and plain in ("f", "size", "kernelsize", "poolsize", "poolheight", "poolwidth",
                             "hh", "ww", "poolh", "poolw", "ksize"):  # fmt: skip
        return "kernel_size", "kernel_size"
    if plain in ("eps", "epsilon"):
        return "eps", "eps=1e-5"
    if plain == "momentum":
        kept = re.search(r"\bmomentum\b\W* \* \W*\w*(running|moving)", source)
        return ("1 - momentum" if kept else "momentum"), "momentum=0.1"
    if plain == "mode":
        return ('"train"', "") if not pooling else None
    if known == "GroupNorm" and plain in ("g", "groups", "numgroups"):
        return "num_groups", "num_groups"
    if known == "Dropout" and plain in ("p", "keepprob", "prob", "rate", "dropoutratio"):
        keeps = plain == "keepprob" or bool(re.search(r"< p\b|/ p\b|< keep", source))
        return ("1 - p" if keeps else "p"), "p"
    return None


def _axes(node: ast.FunctionDef, own: list[str]) -> int:
    """How many indices a function's bias is asked with."""
    found = [
        sum(ast.unparse(part) not in ("None", "np.newaxis") for part in one.slice.elts)
        for one in ast.walk(node)
        if isinstance(one, ast.Subscript)
        and isinstance(one.slice, ast.Tuple)
        and ast.unparse(one.value) == (own[-1] if own else "")
    ]
    return max(found, default=1)


def lines_of(name: str, key: str, module: str, pair: Pair) -> tuple[list[str], list[str]]:
    """What a pair is in an adapter: lines before the subject, and the subject's row."""
    if not pair.cache:
        return list(_class_of(name, module, pair)), [f"{key}: {name},"]
    both = [f"{module}.{one}" for one in pair.names]
    before = []
    if pair.axes > 1:
        shape = "1, -1, 1, 1" if "Norm" in name else ", ".join(["1"] * (pair.axes - 1) + ["-1"])
        weight = f"w.reshape({shape})" if "Norm" in name else "w"
        before = [
            "", f"def {pair.names[0]}(x, w, b, *options):",
            f"    return {both[0]}(x, {weight}, b.reshape({shape}), *options)", "", "",
        ]  # fmt: skip
        both[0] = pair.names[0]
    rows = [f"{key}: parity.functions(", f"    {', '.join(both)},"]
    if pair.parameters:
        rows.append(f"    parameters={pair.parameters!r},")
    if pair.options:
        rows.append(f"    options={pair.options},")
    return before, [*rows, "),"]


def _class_of(name: str, module: str, pair: Pair) -> Iterator[str]:
    """A class that calls two functions, of which the first returns no cache."""
    yield from (
        "", f"class {name}:", "    def forward(self, x):", "        self.x = x",
        f"        return {module}.{pair.names[0]}(x)", "",
        "    def backward(self, dy):",
        f"        return {module}.{pair.names[1]}(dy, self.x)", "", "",
    )  # fmt: skip
