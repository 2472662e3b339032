"""The README's code runs as it stands, from top to bottom."""

from __future__ import annotations

import re
import shutil
import textwrap
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import parity
from parity import cli
from parity.subject.adapter import load
from tests.toy import Toy

README = (Path(__file__).parent.parent / "README.md").read_text()


def test_the_readmes_code_runs_and_is_right() -> None:
    torch.manual_seed(0)
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(blocks) >= 5
    names: dict[str, Any] = {"__name__": "readme"}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
    assert (names["train"].accuracy(names["model"], names["x"], names["labels"])) > 0.9
    assert names["right"] > 0.8

    layer, inputs = names["Softplus"](), {"x": torch.randn(7, 5), "dy": torch.randn(7, 5)}
    subject = {"output": layer(inputs["x"]), "input_grad": layer.backward(inputs["dy"])}
    truth = parity.truth(parity.evaluate.layer(nn.Softplus()), inputs)
    assert parity.first_divergence(parity.compare(subject, truth)) is None


def test_the_readmes_folders_and_files_exist() -> None:
    root = Path(__file__).parent.parent
    for folder in re.findall(r"^\| `(\w+)/` \|", README, re.MULTILINE):
        assert (root / folder).is_dir()
    for file in ("CONTRIBUTING.md", "CHANGELOG.md", "LICENSE", "constraints.txt", "tox.ini"):
        assert (root / file).is_file()


def test_a_gate_is_set_up_as_the_readme_says(tmp_path: Path) -> None:
    blocks = [textwrap.dedent(b) for b in re.findall(r" *```\n(.*?)```", README, re.DOTALL)]
    files = {"plan.py": "gate = Gate(", "timed.py": "def benchmarks", "pyproject.toml": "[tool."}
    toy = Toy(tmp_path)
    for name, has in files.items():
        (block,) = (block for block in blocks if has in block)
        toy.write(name, block)
    shutil.copy(Path(__file__).with_name("subjects") / "course.py", tmp_path)
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


DOCUMENTED = Path(__file__).parent.parent / "docs" / "findings.md"


def test_the_findings_are_printed_as_the_page_shows_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(Path(__file__).with_name("subjects") / "course.py", tmp_path)
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```(?:python)?\n(.*?)```", DOCUMENTED.read_text(), re.DOTALL)
    pairs = list(zip(blocks[::2], blocks[1::2], strict=True))
    assert len(pairs) == 4
    for adapter, shown in pairs:
        name = re.findall(r"--only|check (\w+\.py)|^parity: (\w+):", shown, re.MULTILINE)
        path = next(one or f"{other}.py" for one, other in name if one or other)
        (tmp_path / path).write_text(adapter)
        code = cli.main(["check", path, "--quick"])
        printed = capsys.readouterr()
        words = " ".join((printed.out + printed.err).split())
        for line in shown.strip().splitlines():
            if "times the error allowed" not in line:  # those are another processor's
                assert " ".join(line.split()) in words
        assert code == (cli.COULD_NOT_RUN if "SETUP" in shown else cli.FAULT)


def examples(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (DOCUMENTED.parent / page).read_text(), re.DOTALL)


@pytest.mark.parametrize("adapter", examples("entries.md"))
def test_an_entry_passes_as_the_page_has_it(adapter: str, tmp_path: Path) -> None:
    assert not checked(adapter, tmp_path).missing


def test_functions_pass_as_the_page_has_them(tmp_path: Path) -> None:
    adapter, _ = examples("functions.md")
    assert checked(adapter, tmp_path).missing == [("Linear-no_bias", "takes no bias=False")]


def test_gradient_clipping_passes_as_the_page_has_it(tmp_path: Path) -> None:
    _, adapter = examples("functions.md")
    missing = {case for case, _ in checked(adapter, tmp_path).missing}
    assert missing == {"clip_grad_norm_-norm_type=1", "clip_grad_norm_-norm_type=inf"}


def test_a_cell_passes_as_the_page_has_it(tmp_path: Path) -> None:
    adapter, _ = examples("sequences.md")
    report = checked(adapter, tmp_path)
    assert {case for case, _ in report.missing} == {"LSTMCell-no_bias"}


def test_a_ctc_loss_of_probabilities_passes_as_the_page_has_it(tmp_path: Path) -> None:
    _, adapter = examples("sequences.md")
    missing = {case for case, _ in checked(adapter, tmp_path).missing}
    assert missing == {"CTCLoss-blank=4_sum", "CTCLoss-zero_infinity_sum"}


def checked(adapter: str, folder: Path) -> parity.Report:
    path = folder / "adapter.py"
    path.write_text(adapter)
    report = parity.check(load(path), quick=True)
    assert report.passed, report.findings
    return report
