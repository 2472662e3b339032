"""Who may import whom, and that no public class goes without a pair: read from the sources."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest

import scratch
from reference import pairs

ROOT = Path(__file__).parent.parent
OURS = {"scratch", "reference", "parity", "bench", "tests"}
MAY_IMPORT = {
    "scratch": set(),
    "parity": set(),
    "reference": {"scratch", "parity"},  # pairs.py alone: see below
    "bench": {"scratch", "reference", "parity"},
}
FORBIDDEN_IN_SCRATCH = ("torch.nn", "torch.autograd", "torch.optim", "torch.func")


def imported(file: Path) -> set[str]:
    """The dotted names that a file imports, `from a import b` as `a.b`."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} has a relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def files(package: str) -> list[Path]:
    found = sorted((ROOT / package).rglob("*.py"))
    assert found, f"{package} has no files"
    return found


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_package_imports_only_what_it_may(package: str) -> None:
    for file in files(package):
        tops = {name.split(".")[0] for name in imported(file)} & OURS
        assert tops <= MAY_IMPORT[package] | {package}, f"{file} imports {sorted(tops)}"


def test_only_pairs_knows_both_sides() -> None:
    knowing = [
        file.name
        for file in files("reference")
        if any(name.split(".")[0] == "scratch" for name in imported(file))
    ]
    assert knowing == ["pairs.py"]


def test_scratch_imports_no_ready_made_layers() -> None:
    for file in files("scratch"):
        for name in imported(file):
            assert not name.startswith(FORBIDDEN_IN_SCRATCH), f"{file} imports {name}"
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Attribute):
                dotted = ast.unparse(node)
                assert not dotted.startswith(FORBIDDEN_IN_SCRATCH), f"{file} uses {dotted}"
                assert node.attr != "requires_grad", f"{file} uses {dotted}"


def test_every_public_class_has_a_pair() -> None:
    public = [getattr(scratch, name) for name in scratch.__all__]
    bases = {scratch.Module, scratch.Loss, scratch.Optimizer}
    drawing = {scratch.Draws, scratch.Philox}
    classes = {thing for thing in public if inspect.isclass(thing)} - bases - drawing
    assert len(classes) >= 15
    for cls in classes - {pair.cls for pair in pairs.PAIRS}:
        pytest.fail(f"{cls.__name__} has no row in PAIRS, in reference/pairs.py")
    for cls in {pair.cls for pair in pairs.PAIRS} - classes:
        pytest.fail(f"{cls.__name__} has a row in PAIRS and is not exported by scratch")


def test_every_class_written_in_scratch_is_public() -> None:
    bases = (scratch.Module, scratch.Loss, scratch.Optimizer)
    for module in vars(scratch).values():
        if inspect.ismodule(module) and module.__name__.startswith("scratch."):
            for name, thing in vars(module).items():
                if inspect.isclass(thing) and issubclass(thing, bases) and name[0] != "_":
                    assert name in scratch.__all__, f"{name} is not exported"


@pytest.mark.parametrize("name", scratch.__all__)
def test_public_classes_and_their_methods_have_docstrings(name: str) -> None:
    thing = getattr(scratch, name)
    assert thing.__doc__, f"{name} has no docstring"
    if inspect.isclass(thing):
        for attribute, method in vars(thing).items():
            inherits = any(hasattr(base, attribute) for base in thing.__mro__[1:])
            if callable(method) and attribute[0] != "_" and not inherits:
                assert method.__doc__, f"{name}.{attribute} has no docstring"


def test_state_dict_and_pairs_agree_on_names() -> None:
    names = [str(case) for case in pairs.cases()]
    assert len(names) == len(set(names)), "two cases have one name"
