"""The pages of `docs/`: their code runs, their commands print what they show, and no option,
setting or check is left out."""

from __future__ import annotations

import re
import shutil
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import parity
from parity import cli
from parity.checks.kinds import AXES, KINDS
from parity.kernels.sweep import SETTINGS
from parity.subject.adapter import load
from tests import links, reference, warm
from tests.pages import DOCS, ROOT, blocks, commands, missing, written
from tests.toy import Toy

SUBJECTS = Path(__file__).with_name("subjects")
HOW_TO, REFERENCE = DOCS / "how-to", DOCS / "reference"
CONSOLE = sorted(page for page in DOCS.rglob("*.md") if "```console" in page.read_text("utf-8"))


def played(page: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> list[int]:
    """Goes through a page: writes its files, runs its commands, and holds what they print against
    what the page shows. The codes that the commands end with."""
    codes = []
    for block in blocks(page):
        if block.how:
            written(block, folder)
        for command in commands(block) if block.language == "console" else ():
            program, *arguments = command.arguments
            assert program == "parity"
            codes.append(cli.main(arguments))
            printed = capsys.readouterr()
            assert not missing(command.shown, printed.out + printed.err), command.arguments
    return codes


@pytest.mark.parametrize("page", CONSOLE, ids=lambda page: page.stem)
def test_the_commands_of_a_page_print_what_it_shows(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    codes = played(page, tmp_path, capsys)
    assert codes == ([0, 1, 0] if page.stem == "first-check" else [0])


def test_the_ways_in_have_their_commands() -> None:
    stems = {page.stem for page in CONSOLE}
    assert {"first-check", "numpy", "columns", "model", "autograd"} <= stems


# What is generated, or complete.


@pytest.mark.parametrize("page", reference.PAGES)
def test_a_page_that_is_generated_is_of_this_code(page: str) -> None:
    again = "docs/reference is not of this code: python -m tests.reference"
    assert (REFERENCE / page).read_text("utf-8") == reference.PAGES[page](), again


def test_every_option_of_every_command_is_on_the_page() -> None:
    page = (REFERENCE / "commands.md").read_text("utf-8")
    assert "`--version`" in page
    sections = dict(
        re.findall(r"^## parity (\w+)\n(.*?)(?=^## |\Z)", page, re.DOTALL | re.MULTILINE)
    )
    assert sections.keys() == reference.parsers().keys()
    for name, parser in reference.parsers().items():
        for option in parser._option_string_actions:
            assert option in ("-h", "--help") or re.search(rf"`{option}[` ]", sections[name]), (
                option
            )


@pytest.mark.parametrize("what", ["Subject", "Entry", "Network", "sweep"])
def test_every_setting_is_on_the_page(what: str) -> None:
    page = (REFERENCE / "settings.md").read_text("utf-8")
    (section,) = re.findall(rf"^## parity\.{what}\n(.*?)(?=^## )", page, re.DOTALL | re.MULTILINE)
    cls = {"Subject": parity.Subject, "Entry": parity.Entry, "Network": parity.Network}.get(what)
    own = vars(parity.Network)["__annotations__"]
    names = [one.name for one in fields(cls)] if cls else ["reference", "inputs", "full", *SETTINGS]
    for name in names:
        if what != "Network" or name in own:
            assert f"`{name}`" in section, name


def test_every_check_is_on_the_page() -> None:
    page = (REFERENCE / "checks.md").read_text("utf-8")
    titles = {"layer": "a layer", "loss": "a loss", "optimizer": "an optimizer",
              "clipping": "gradient clipping", "network": "a network",
              "model": "a model that cannot be taken apart"}  # fmt: skip
    assert titles.keys() == KINDS.keys()
    for kind, title in titles.items():
        (section,) = re.findall(
            rf"^## Checks of {title}\n(.*?)(?=^## )", page, re.DOTALL | re.MULTILINE
        )
        rows = re.findall(r"^\| `(\w+)`( \(axis\))? \| \S.* \| \S.* \|$", section, re.MULTILINE)
        assert [name for name, _ in rows] == list(KINDS[kind].CHECKS)
        for name, axis in rows:
            assert bool(axis) == (name in AXES), (kind, name)


def test_the_site_is_built_with_the_extra_of_docs() -> None:
    project, tox = (ROOT / name for name in ("pyproject.toml", "tox.ini"))
    (extra,) = re.findall(r"^docs = \[(.*)\]$", project.read_text(), re.MULTILINE)
    (deps,) = re.findall(r"^deps = # .*`docs`.*\n((?: .*\n)+)", tox.read_text(), re.MULTILINE)
    assert sorted(deps.split()) == sorted(re.findall(r'"([^"]+)"', extra))


def test_no_relative_link_is_broken() -> None:
    assert not links.broken()


@pytest.mark.parametrize(
    ("text", "finds"),
    [
        ("[a](gone.md)", "gone.md"),
        ("# A title\n\n[a](#a-titel)", "#a-titel"),
        ("![a](../images/gone.png)", "gone.png"),
        ("[a](page.md#a-title) and [b](https://example.org/gone)", ""),
    ],
)
def test_a_broken_link_is_found(text: str, finds: str, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"# A title\n\n{text}\n")
    found = links.broken([page])
    assert len(found) == bool(finds)
    assert all(finds in one for one in found)


# Code that is no file of its own.


def test_the_code_for_scratch_runs_and_is_right() -> None:
    torch.manual_seed(0)
    page = HOW_TO / "scratch.md"
    own = [block.text for block in blocks(page) if block.language == "python"]
    assert len(own) >= 5
    names: dict[str, Any] = {"__name__": "page"}
    for text in own:
        exec(compile(text, "scratch.md", "exec"), names)
    assert (names["train"].accuracy(names["model"], names["x"], names["labels"])) > 0.9
    assert names["right"] > 0.8

    layer, inputs = names["Softplus"](), {"x": torch.randn(7, 5), "dy": torch.randn(7, 5)}
    subject = {"output": layer(inputs["x"]), "input_grad": layer.backward(inputs["dy"])}
    truth = parity.truth(parity.evaluate.layer(nn.Softplus()), inputs)
    assert parity.first_divergence(parity.compare(subject, truth)) is None


def test_a_gate_is_set_up_as_the_page_says(tmp_path: Path) -> None:
    own = [block.text for block in blocks(HOW_TO / "gate.md")]
    files = {"plan.py": "gate = Gate(", "timed.py": "def benchmarks", "pyproject.toml": "[tool."}
    toy = Toy(tmp_path)
    for name, has in files.items():
        (block,) = (block for block in own if has in block)
        toy.write(name, block)
    shutil.copy(SUBJECTS / "course.py", tmp_path)
    toy.git("init", "--quiet", "--initial-branch=main")
    recorded = toy.gate("--update-baseline", "--reason", "the first")
    assert recorded.returncode == 0, recorded.stdout + recorded.stderr
    toy.commit("first")
    tanh = "return dy * (1 - self.y**2)"
    toy.replace("course.py", tanh, f"{tanh}  # a comment")
    passed = toy.gate()
    assert passed.returncode in (0, 3)  # undecided, on a busy machine
    assert "accuracy: NOTE\n  the plan has no pairs and no runs" in passed.stdout
    toy.replace("course.py", tanh, "return dy * (1 - self.y)")
    wrong = toy.gate("--layers", "numerics")
    assert wrong.returncode == 1
    assert "Tanh" in wrong.stdout


def test_the_adapter_of_classes_is_the_file_that_the_page_names() -> None:
    shown = next(block.text for block in blocks(HOW_TO / "classes.md") if "Subject(" in block.text)
    assert shown in (SUBJECTS / "course_adapter.py").read_text("utf-8")


def test_pytest_and_python_are_used_as_the_page_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    adapter = "import course, parity\nfrom torch import nn\n\nsubject = parity.Subject("
    (tmp_path / "adapter.py").write_text(f"{adapter}{{nn.Tanh: course.Tanh}})\n")
    shutil.copy(SUBJECTS / "course.py", tmp_path)
    for block in blocks(HOW_TO / "pytest.md"):
        written(block, tmp_path)
    exec(compile((tmp_path / "checked.py").read_text(), "checked.py", "exec"), {})
    assert capsys.readouterr().out == "True 0\n"
    arguments = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "forward", "test_parity.py"]
    done = warm.python(arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout


def test_the_findings_are_printed_as_the_page_shows_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(SUBJECTS / "course.py", tmp_path)
    monkeypatch.chdir(tmp_path)
    texts = [block.text for block in blocks(REFERENCE / "findings.md")]
    pairs = list(zip(texts[::2], texts[1::2], strict=True))
    assert len(pairs) == 4
    for adapter, shown in pairs:
        name = re.findall(r"--only|check (\w+\.py)|^parity: (\w+):", shown, re.MULTILINE)
        path = next(one or f"{other}.py" for one, other in name if one or other)
        (tmp_path / path).write_text(adapter)
        code = cli.main(["check", path, "--quick"])
        printed = capsys.readouterr()
        assert not missing(shown.splitlines(), printed.out + printed.err)
        assert code == (cli.COULD_NOT_RUN if "SETUP" in shown else cli.FAULT)


def examples(page: str) -> list[str]:
    return [block.text for block in blocks(HOW_TO / page) if block.language == "python"]


@pytest.mark.parametrize("adapter", examples("entries.md"))
def test_an_entry_passes_as_the_page_has_it(adapter: str, tmp_path: Path) -> None:
    assert not checked(adapter, tmp_path).missing


def test_functions_pass_as_the_page_has_them(tmp_path: Path) -> None:
    adapter, _ = examples("functions.md")
    assert checked(adapter, tmp_path).missing == [("Linear-no_bias", "takes no bias=False")]


def test_gradient_clipping_passes_as_the_page_has_it(tmp_path: Path) -> None:
    _, adapter = examples("functions.md")
    without = {case for case, _ in checked(adapter, tmp_path).missing}
    assert without == {"clip_grad_norm_-norm_type=1", "clip_grad_norm_-norm_type=inf"}


def test_a_cell_passes_as_the_page_has_it(tmp_path: Path) -> None:
    adapter, _ = examples("sequences.md")
    report = checked(adapter, tmp_path)
    assert {case for case, _ in report.missing} == {"LSTMCell-no_bias"}


def test_a_ctc_loss_of_probabilities_passes_as_the_page_has_it(tmp_path: Path) -> None:
    _, adapter = examples("sequences.md")
    without = {case for case, _ in checked(adapter, tmp_path).missing}
    assert without == {"CTCLoss-blank=4_sum", "CTCLoss-zero_infinity_sum"}


def checked(adapter: str, folder: Path) -> parity.Report:
    path = folder / "adapter.py"
    path.write_text(adapter)
    report = parity.check(load(path), quick=True)
    assert report.passed, report.findings
    return report


def test_the_pages_name_no_file_that_is_not_there() -> None:
    for page in DOCS.rglob("*.md"):
        for path in re.findall(r"`((?:bench|tests|docs|parity|scratch|reference)/[\w./-]+\.\w+)`",
                               page.read_text("utf-8")):  # fmt: skip
            assert (ROOT / path).exists() or "results" in path, f"{page.name}: {path}"
