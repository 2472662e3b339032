"""Functions of a framework with their derivatives beside them, `sigmoid` and `sigmoid_prime`, `mse`
and `mse_derivative`, in an adapter that is being written; nothing is imported."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

from parity.catalogue.table import by_name
from parity.subject.hooks import FORWARD, INPUTS, takes_a_rate, target_first, way_back
from parity.subject.pairs import returns
from parity.subject.source import Module, Source, arguments, methods, torch_name

DERIVATIVES = ("{}_prime", "{}_derivative", "{}_deriv", "{}_der", "{}_grad", "{}_gradient",
               "{}_backward", "{}_d", "d_{}", "d{}", "grad_{}", "deriv_{}", "derivative_{}",
               "{}_prim", "{}Prime", "{}Derivative", "{}_dx")  # fmt: skip
"""What the derivative of a function may be called."""


@dataclass(frozen=True)
class Derived:
    """A function, and one that is its derivative.

    Args:
        names: of the two.
        of: what the derivative of an activation is a function of, "x" or "y", its output; of a
            loss, "pt" if both take the prediction first, or "tp".
        whole: whether an activation's takes the incoming gradient too, and multiplies by it.
    """

    module: Module
    names: tuple[str, str]
    of: str
    whole: bool = False


def derivatives_of(source: Source) -> dict[str, Derived]:
    """Those that there are, by torch's names of the first."""
    found: dict[str, Derived] = {}
    for module in source.modules:
        own = {node.name: node for node in module.tree.body if isinstance(node, ast.FunctionDef)}
        for name, node in own.items():
            known = torch_name(name)
            others = (own.get(form.format(name)) for form in DERIVATIVES)
            back = next((other for other in others if other is not None), None)
            if known is None or known in found or back is None or known == "Sequential":
                continue
            if returns(node, 2):  # an output, and what its backward takes: a pair
                continue
            of, whole = _taken(by_name(known).kind, node, back)
            if of:
                found[known] = Derived(module, (name, back.name), of, whole)
    return found


def _taken(kind: str, node: ast.FunctionDef, back: ast.FunctionDef) -> tuple[str, bool]:
    """What both are functions of, and whether the second takes the incoming gradient; "" if they
    are called otherwise."""
    given, other = (
        [one.arg for one in f.args.args[: len(f.args.args) - len(f.args.defaults)]]
        for f in (node, back)
    )
    if kind == "loss" and len(given) == len(other) == 2:
        return ("tp" if target_first(given) else "pt"), False
    if kind != "layer" or len(given) != 1 or len(other) not in (1, 2):
        return "", False
    whole = len(other) == 2
    if whole and not re.match(r"d|g|up|out", other[0].lower()):
        return "", False
    return ("y" if _of_output(node, back) else "x"), whole


def _of_output(node: ast.FunctionDef, back: ast.FunctionDef) -> bool:
    """Whether a derivative has no exponential in it where the function has one: it is then of the
    output, as y * (1 - y)."""
    calls = [ast.unparse(one.func) for one in ast.walk(back) if isinstance(one, ast.Call)]
    own = node.name in calls or any(re.search(r"exp|tanh|cosh|sigmoid", one) for one in calls)
    return bool(re.search(r"exp|tanh", ast.unparse(node.args) + ast.unparse(node))) and not own


def class_of(name: str, module: str, one: Derived, like: ast.ClassDef | None) -> Iterator[str]:
    """A class that calls the two, as lines of an adapter; a layer that is called as one of the
    framework's, `like`."""
    function, derivative = (f"{module}.{own}" for own in one.names)
    yield from ("", f"class {name}:")
    if one.of in ("pt", "tp"):
        given = ", ".join(f"self.{letter}" for letter in one.of)
        yield from (
            "    def forward(self, p, t):", "        self.p, self.t = p, t",
            f"        return {function}({given})", "",
            "    def backward(self):", f"        return {derivative}({given})", "", "",
        )  # fmt: skip
        return
    by = f"{derivative}(dy, self.{one.of})" if one.whole else f"dy * {derivative}(self.{one.of})"
    forward, back, takes = "forward", "backward", "dy"
    if like is not None:
        forward = next((name for name in FORWARD if name in methods(like)), forward)
        back = way_back(like)
        needed, _ = arguments(methods(like).get(back))
        takes = "dy, *rate" if takes_a_rate(like, back) else takes
        takes = "x, dy" if len(needed) == 2 and needed[0] in INPUTS else takes
    yield from (
        f"    def {forward}(self, x):", f"        self.x, self.y = x, {function}(x)",
        "        return self.y", "",
        f"    def {back}(self, {takes}):", f"        return {by}", "", "",
    )  # fmt: skip
