"""Gradient clipping: right functions in several styles, and each known mistake by its name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.utils import clip_grad_norm_, clip_grad_value_

import parity
import scratch
from parity import cli
from tests.subjects.layers_by_loops import Array

Clip = Callable[..., Any]


def total(gradients: Any, norm_type: float = 2.0) -> float:
    if norm_type == np.inf:
        return float(np.max([np.abs(g).max() for g in gradients]))
    powers = sum(float((np.abs(g).astype(np.float64) ** norm_type).sum()) for g in gradients)
    return float(powers ** (1 / norm_type))


def clip(gradients: list[Array], max_norm: float, norm_type: float = 2.0) -> float:
    norm = total(gradients, norm_type)
    scale = max_norm / (norm + 1e-6)
    if not scale >= 1:
        for g in gradients:
            g *= scale
    return norm


def clip_pairs(pairs: Any, max_norm: float) -> None:
    clip([g for _, g in pairs], max_norm)


def clip_anew(grads: list[Array], max_norm: float) -> list[Array]:
    scale = np.minimum(1.0, max_norm / (total(grads) + 1e-6))
    return [(g * scale).astype(g.dtype) for g in grads]


def clip_values(gradients: list[Array], clip_value: float) -> None:
    for g in gradients:
        np.clip(g, -clip_value, clip_value, out=g)


RIGHT: dict[str, Clip] = {"list": clip, "pairs": clip_pairs, "anew": clip_anew}


def each(gradients: list[Array], max_norm: float) -> None:
    for g in gradients:
        clip([g], max_norm)


def always(gradients: list[Array], max_norm: float) -> None:
    scale = max_norm / (total(gradients) + 1e-6)
    for g in gradients:
        g *= scale


def twice(gradients: list[Array], max_norm: float) -> None:
    scale = min(1.0, max_norm / (total(gradients) + 1e-6))
    for g in gradients:
        g *= scale * scale


def entries(gradients: list[Array], max_norm: float) -> None:
    clip_values(gradients, max_norm)


def to_one(gradients: list[Array], max_norm: float) -> None:
    norm = total(gradients)
    for g in gradients if norm > max_norm else []:
        g /= norm + 1e-6


def without_root(gradients: list[Array], max_norm: float) -> None:
    scale = min(1.0, max_norm / (total(gradients) ** 2 + 1e-6))
    for g in gradients:
        g *= scale


def nothing(gradients: list[Array], max_norm: float) -> None:
    for g in gradients:
        g = g * min(1.0, max_norm / (total(gradients) + 1e-6))


def two(gradients: list[Array], max_norm: float, norm_type: float = 2.0) -> None:
    clip(gradients, max_norm)


def squared(gradients: list[Array], max_norm: float) -> float:
    return clip(gradients, max_norm) ** 2


WRONG: dict[str, tuple[Clip, str]] = {
    "each": (each, "clips each tensor by its own norm, not by that of all of them together"),
    "always": (always, "scales gradients whose norm is below max_norm too"),
    "twice": (twice, "scales twice"),
    "entries": (entries, "clips the entries, and not the norm"),
    "to one": (to_one, "divides by the norm, and does not multiply by max_norm"),
    "without root": (without_root, "takes the sum of the squares for the norm, without the root"),
    "nothing": (nothing, "leaves the gradients as they are"),
    "two": (two, "takes norm_type to be 2, whatever it is"),
    "squared": (squared, "is the square of the norm"),
}


def without_eps(gradients: list[Array], max_norm: float) -> None:
    norm = total(gradients)
    for g in gradients if norm > max_norm else []:
        g *= max_norm / norm


def after(gradients: list[Array], max_norm: float) -> float:
    clip(gradients, max_norm)
    return total(gradients)


def factor(gradients: list[Array], max_norm: float) -> float:
    return min(1.0, max_norm / (clip(gradients, max_norm) + 1e-6))


REMARKS: dict[str, tuple[Clip, str, str]] = {
    "without eps": (without_eps, "torch adds 1e-6 to the norm that it divides by", "digits"),
    "after": (after, "is the norm after clipping; torch returns that before", "convention"),
    "factor": (factor, "is the factor that gradients are multiplied by", "convention"),
}


def above_alone(gradients: list[Array], clip_value: float) -> None:
    for g in gradients:
        np.minimum(g, clip_value, out=g)


def below_alone(gradients: list[Array], clip_value: float) -> None:
    for g in gradients:
        np.maximum(g, -clip_value, out=g)


def sign_lost(gradients: list[Array], clip_value: float) -> None:
    for g in gradients:
        g[...] = np.minimum(np.abs(g), clip_value)


def to_zero(gradients: list[Array], clip_value: float) -> None:
    for g in gradients:
        g[np.abs(g) > clip_value] = 0


WRONG_VALUES: dict[str, tuple[Clip, str]] = {
    "above": (above_alone, "clips large entries alone, and no negative ones"),
    "below": (below_alone, "clips negative entries alone, and no large ones"),
    "norm": (lambda gradients, value: clip(gradients, value),
             "clips the norm, and not the entries"),
    "sign": (sign_lost, "clips to clip_value, and loses the sign"),
    "zero": (to_zero, "sets to zero what it should clip"),
}  # fmt: skip


def check(key: Any, made: Clip, **options: Any) -> parity.Report:
    with np.errstate(all="ignore"):
        return parity.check(parity.Subject({key: made}, array="numpy", name="clipping"), **options)


def grave(report: parity.Report) -> list[Any]:
    """The findings but those of infinities."""
    return [one for one in report.findings if one.severity != "edge"]


@pytest.mark.parametrize("style", RIGHT)
def test_what_is_right_passes(style: str) -> None:
    for seed in range(5):
        report = check(clip_grad_norm_, RIGHT[style], strict=True, seed=seed)
        assert report.passed, [str(one) for one in report.findings]
        assert report.count("passed") >= 24
    assert any("returns no norm" in gap for gap in report.gaps) == (style != "list")


def test_clipping_by_value_passes() -> None:
    report = check(clip_grad_value_, clip_values, strict=True)
    assert report.passed, [str(one) for one in report.findings]
    assert report.count("passed") == 24


def test_torchs_own_and_functions_of_torch_pass() -> None:
    def clip(pairs: Any, max_norm: float, norm_type: float = 2.0) -> Any:
        own = [p.detach().clone() for p, _ in pairs]
        for p, (_, g) in zip(own, pairs, strict=True):
            p.grad = g
        return clip_grad_norm_(own, max_norm, norm_type)

    subject = parity.Subject({torch.nn.Linear: scratch.Linear, clip_grad_norm_: clip})
    report = parity.check(subject, strict=True, only="clip_grad_norm_*")
    assert report.passed, [str(one) for one in report.findings]


@pytest.mark.parametrize("name", WRONG)
def test_each_mistake_is_named_and_is_one_finding(name: str) -> None:
    made, says = WRONG[name]
    (finding,) = grave(check(clip_grad_norm_, made))
    assert says in str(finding)
    assert finding.severity == "wrong"
    assert "test_clipping.py" in finding.where
    if name != "squared":
        assert finding.due.startswith("g = g * min(1, max_norm")


@pytest.mark.parametrize("name", WRONG_VALUES)
def test_each_mistake_of_values_is_named(name: str) -> None:
    made, says = WRONG_VALUES[name]
    (finding,) = grave(check(clip_grad_value_, made))
    assert says in str(finding)
    assert finding.severity == "wrong"


@pytest.mark.parametrize("name", REMARKS)
def test_what_differs_by_choice_or_in_digits_is_a_remark(name: str) -> None:
    made, says, severity = REMARKS[name]
    report = check(clip_grad_norm_, made)
    (finding,) = grave(report)
    assert says in str(finding)
    assert finding.severity == severity
    assert report.passed


def test_parameters_that_are_moved_are_noticed() -> None:
    def moves(pairs: Any, max_norm: float) -> None:
        clip_pairs(pairs, max_norm)
        for p, _ in pairs:
            p *= 2

    report = check(clip_grad_norm_, moves)
    assert [one.check for one in report.outcomes if one.verdict != "passed"] != []
    assert not report.passed


FUNCTIONS = """
import numpy as np

class Affine:
    def __init__(self, W, b):
        self.params = [W, b]
        self.grads = [np.zeros_like(W), np.zeros_like(b)]

    def forward(self, x):
        self.x = x
        return x @ self.params[0] + self.params[1]

    def backward(self, dout):
        self.grads[0][...] = self.x.T @ dout
        self.grads[1][...] = dout.sum(0)
        return dout @ self.params[0].T

def clip_grads(grads, max_norm):
    rate = max_norm / (np.sqrt(sum(np.sum(grad ** 2) for grad in grads)) + 1e-6)
    if not rate >= 1:
        for grad in grads:
            grad *= rate

def clip_gradients_by_value(grads, limit):
    for grad in grads:
        grad[...] = np.clip(grad, -limit, limit)

def clip_text(text, length):
    return text[:length]
"""


def test_new_finds_functions_that_clip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "affine.py").write_text(FUNCTIONS)
    assert cli.main(["new", "affine.py", "-o", "adapter.py"]) == 0
    written = (tmp_path / "adapter.py").read_text()
    assert "    torch.nn.utils.clip_grad_norm_: affine.clip_grads,\n" in written
    assert "    torch.nn.utils.clip_grad_value_: affine.clip_gradients_by_value,\n" in written
    assert "clip_text" not in written
    assert cli.main(["check", "adapter.py", "--quick", "--only", "clip*"]) == 0
    (tmp_path / "affine.py").write_text(FUNCTIONS.replace("np.sqrt(sum", "(sum"))
    assert cli.main(["check", "adapter.py", "--quick", "--only", "clip*"]) == 1
    assert "\n1. [wrong] clip_grad_norm_ " in capsys.readouterr().out
