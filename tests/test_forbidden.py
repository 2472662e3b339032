"""Modules that a framework may not use: each use is refused and told with its place; torch's own
use of itself, the adapter's and the judge's are none."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest
import torch

import parity
from parity import AdapterError

RULES = ("torch.nn", "torch.autograd", "torch.optim", "numpy")

ADAPTER = """
import framework
import torch
from torch import nn
import parity

subject = parity.Subject({nn.Tanh: framework.Tanh, torch.optim.SGD: framework.SGD}, name="own")
"""

FRAMEWORK = """
import torch

HEAD

class Tanh:
    def forward(self, x):
        FORWARD
        self.y = x.tanh()
        return self.y.clone()

    def backward(self, dy):
        BACKWARD
        return dy * (1 - self.y**2)

    def param(self):
        return []


class SGD:
    def __init__(self, params, lr):
        STEP
        self.params, self.lr = params, lr

    def step(self):
        for p, g in self.params:
            p -= self.lr * g
"""


def checked(folder: Path, **parts: str) -> parity.Report:
    """The report of a framework some of whose lines are other ones."""
    text = FRAMEWORK
    for name in ("head", "forward", "backward", "step"):
        own = textwrap.dedent(parts.get(name, "pass" if name != "head" else ""))
        text = text.replace(name.upper(), own)
    (folder / "framework.py").write_text(text)
    (folder / "adapter.py").write_text(ADAPTER)
    return parity.check(folder / "adapter.py", quick=True, only="float32", forbid=RULES)


def test_what_uses_none_of_it_passes(tmp_path: Path) -> None:
    allowed = "torch.set_grad_enabled(False)"
    forward = "with torch.no_grad(): torch.einsum('ij->ji', torch.ones(2, 3))"
    report = checked(tmp_path, head=allowed, forward=forward)
    assert report.passed, report
    assert (report.forbidden, report.used) == (RULES, [])


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ({"forward": "torch.nn.functional.relu(x)"}, "uses torch.nn.functional.relu"),
        ({"head": "import torch.nn.functional as F", "forward": "F.softmax(x, 1)"},
         "uses torch.nn.functional.softmax"),
        ({"head": "from torch.nn.functional import gelu", "forward": "gelu(x)"},
         "uses torch.nn.functional.gelu"),
        ({"forward": "torch.nn.Tanh()(x)"}, "uses torch.nn"),
        ({"head": "from torch import nn"}, "imports torch.nn (framework.py:4)"),
        ({"head": "from torch.nn import functional"}, "imports torch.nn (framework.py:4)"),
        ({"head": "import importlib\nnn = importlib.import_module('torch.nn')"},
         "imports torch.nn (framework.py:5)"),
        ({"head": "nn = torch.nn\n\nclass Own(nn.Module):\n    pass"},
         "derives Own from torch.nn.Module"),
        ({"forward": "x = torch.nn.Parameter(x)"}, "uses torch.nn.Parameter"),
        ({"forward": "x.clone().requires_grad_()"}, "uses Tensor.requires_grad_()"),
        ({"forward": "z = x.clone()\n        z.requires_grad = True"}, "uses requires_grad = True"),
        ({"forward": "torch.ones(3, requires_grad=True)"}, "uses requires_grad=True"),
        ({"forward": "torch.func.grad(lambda z: z.sum())(x)"}, "uses torch.func.grad"),
        ({"backward": "torch.autograd.grad([dy], [dy])"}, "uses torch.autograd.grad"),
        ({"head": "class F(torch.autograd.Function):\n    pass"},
         "derives F from torch.autograd.Function"),
        ({"step": "torch.optim.SGD([torch.ones(1)], lr=lr)"}, "uses torch.optim.SGD"),
        ({"head": "import numpy as np"}, "imports numpy (framework.py:4)"),
        ({"forward": "x.numpy()"}, "uses Tensor.numpy()"),
    ],
)  # fmt: skip
def test_each_use_is_told_with_its_place(tmp_path: Path, parts: dict[str, str], says: str) -> None:
    report = checked(tmp_path, **parts)
    assert not report.passed
    assert any(one.startswith(says) for one in report.used), (report.used, str(report))
    assert all("(framework.py:" in one for one in report.used)
    assert "Forbidden, and used all the same" in str(report)


def test_without_it_the_report_says_that_nobody_looked(tmp_path: Path) -> None:
    (tmp_path / "framework.py").write_text(
        FRAMEWORK.replace("HEAD", "").replace("FORWARD", "torch.nn.functional.relu(x)")
        .replace("BACKWARD", "pass").replace("STEP", "pass")
    )  # fmt: skip
    (tmp_path / "adapter.py").write_text(ADAPTER.replace("torch.optim.SGD: framework.SGD", ""))
    report = parity.check(tmp_path / "adapter.py")
    assert report.passed, report
    assert any("--forbid torch.nn,torch.autograd,torch.optim" in gap for gap in report.gaps)


def test_a_subject_of_this_process_cannot_be_forbidden_anything() -> None:
    with pytest.raises(AdapterError, match="takes the path of an adapter"):
        parity.check(parity.Subject({torch.nn.Tanh: torch.nn.Tanh}), forbid="torch.nn")
