"""Who may import whom, and that no public class goes without a pair: read from the sources."""

from __future__ import annotations

import ast
import graphlib
import inspect
import subprocess
import sys
from collections.abc import Iterator, Mapping
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
STAGES = {
    "parity": (
        "catalogue", "judge", "explain", "subject", "play", "checks", "run", "show",
        "console", "kernels", "classroom", "demo", "gate", "library", "plugin", "cli",
        "__main__", "__init__",
    ),
    "parity.gate": (
        "data", "measure", "judge", "show", "run", "record", "calibration", "main", "command",
        "__init__",
    ),
}  # fmt: skip
"""The packages and modules of each, in order: one imports only from those before it, and itself."""

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
    data = ROOT / "parity" / "demo" / "files"  # is copied, and never imported
    found = sorted(one for one in (ROOT / package).rglob("*.py") if one.parent != data)
    assert found, f"{package} has no files"
    return found


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_package_imports_only_what_it_may(package: str) -> None:
    for file in files(package):
        tops = {name.split(".")[0] for name in imported(file)} & OURS
        assert tops <= MAY_IMPORT[package] | {package}, f"{file} imports {sorted(tops)}"


def module_of(file: Path) -> str:
    """A file's dotted name; of an `__init__.py`, its package's."""
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def run_time_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """All of a module but what `if TYPE_CHECKING` holds."""
    if isinstance(tree, ast.If) and ast.unparse(tree.test).endswith("TYPE_CHECKING"):
        children: list[ast.AST] = [*tree.orelse]
    else:
        yield tree
        children = list(ast.iter_child_nodes(tree))
    for child in children:
        yield from run_time_nodes(child)


def imported_modules(source: str, modules: set[str]) -> set[str]:
    """Those of `modules` that a source imports, at its top or in a function."""
    found = set()
    for node in run_time_nodes(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in modules else str(node.module) for name in names}
    return found & modules


def all_imports() -> dict[str, set[str]]:
    """What each module of the project imports of it."""
    sources = {module_of(f): f.read_text() for package in sorted(OURS) for f in files(package)}
    return {name: imported_modules(text, set(sources)) for name, text in sources.items()}


def circle(imports: Mapping[str, set[str]]) -> str:
    """Modules that import each other, `a imports b imports a`; empty if there are none."""
    try:
        graphlib.TopologicalSorter(imports).prepare()
    except graphlib.CycleError as error:
        return " imports ".join(reversed(error.args[1]))
    return ""


def against_the_order(imports: Mapping[str, set[str]], package: str) -> list[str]:
    """Imports from a later stage of a package, or from its door."""
    stages = STAGES[package]

    def stage_of(module: str) -> str:
        return module.removeprefix(f"{package}.").split(".")[0] if module != package else "__init__"

    inside = [name for name in imports if f"{name}.".startswith(f"{package}.")]
    unknown = sorted({stage_of(name) for name in inside} - set(stages))
    found = [f"{package}.{stage} has no place in STAGES" for stage in unknown]
    for name in inside if not unknown else []:
        for other in sorted(imports[name] & set(inside)):
            if stages.index(stage_of(other)) > stages.index(stage_of(name)):
                found.append(f"{name} imports {other}, which comes after it")
    return found


def test_no_modules_import_each_other_in_a_circle() -> None:
    found = circle(all_imports())
    assert not found, found


@pytest.mark.parametrize("package", STAGES)
def test_each_stage_imports_only_from_those_before_it(package: str) -> None:
    found = against_the_order(all_imports(), package)
    assert not found, "\n".join(found)


def test_a_circle_and_an_import_of_a_later_stage_are_found_and_named() -> None:
    modules = {"parity", "parity.judge.truth", "parity.checks.trial", "parity.play.worker"}
    late = "def f():\n    from parity.checks import trial"
    typed = "if TYPE_CHECKING:\n    import parity.checks.trial\nelse:\n    import parity"
    assert imported_modules(late, modules) == {"parity.checks.trial"}
    assert imported_modules("from parity.judge.truth import Truth", modules) == {
        "parity.judge.truth"
    }
    assert imported_modules(typed, modules) == {"parity"}
    imports = {
        "parity.judge.truth": {"parity.checks.trial"},
        "parity.checks.trial": {"parity.play.worker"},
        "parity.play.worker": {"parity.judge.truth", "parity"},
        "parity": set[str](),
    }
    assert circle(imports).count(" imports ") == 3
    assert "parity.judge.truth imports parity.checks.trial" in circle(imports) * 2
    assert against_the_order(imports, "parity") == [
        "parity.judge.truth imports parity.checks.trial, which comes after it",
        "parity.play.worker imports parity, which comes after it",
    ]
    assert against_the_order({"parity.new.thing": set()}, "parity") == [
        "parity.new has no place in STAGES"
    ]


@pytest.mark.parametrize("package", STAGES)
def test_a_stage_says_what_it_is_for_and_exports_nothing(package: str) -> None:
    folder = ROOT.joinpath(*package.split("."))
    rooms = [folder / stage for stage in STAGES[package] if (folder / stage).is_dir()]
    assert len(rooms) >= 4
    for room in rooms:
        if module_of(room / "__init__.py") not in STAGES:  # which are doors
            (only,) = ast.parse((room / "__init__.py").read_text()).body
            assert isinstance(only, ast.Expr), f"{room} has more than a docstring"


def test_parity_and_its_help_import_no_torch() -> None:
    script = (
        "import sys, parity, parity.cli\n"
        "try:\n    parity.cli.main(['gate', '--help'])\n"
        "except SystemExit:\n    print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.endswith("False\n"), done.stdout


def test_parity_has_all_its_public_names() -> None:
    import parity

    for name in parity.__all__:
        assert name in dir(parity)
        assert getattr(parity, name) is not None
    assert set(vars(parity)["_PLACES"]) == set(parity.__all__)
    with pytest.raises(AttributeError, match="no attribute 'compere'"):
        parity.compere  # type: ignore[attr-defined]  # noqa: B018


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
