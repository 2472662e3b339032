"""Layers of another framework than scratch, in numpy and by loops: no finding where they are right,
and what is wrong where one thing is."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from torch import Tensor, nn

import parity
import scratch
from parity.judge.outcome import PASSED
from parity.run.plan import Planned, planned
from parity.show.catalogue import page
from reference import pairs
from tests.catalogue import PAGE
from tests.subjects import layers_by_loops, more_by_loops, sequences_by_loops
from tests.subjects.wrong_layers import Wrong
from tests.wrongs import BY_LOOPS, WRONG, subject, told

OPTIONAL = [
    one
    for one in planned(parity.Local(pairs.subject), quick=True)
    if one.case.optional and one.dtype == "float32" and one.name in ("forward", "input_grad")
]


@pytest.mark.parametrize("check", OPTIONAL, ids=str)
def test_scratch_refuses_nothing_that_others_may_refuse(check: Planned) -> None:
    """Of another framework a refusal is no fault, and here it would be a test that is skipped."""
    assert check.run().verdict == PASSED


@pytest.mark.parametrize("name", BY_LOOPS)
def test_a_right_layer_passes(name: str) -> None:
    only = subject(name, BY_LOOPS[name], dtypes=("float32",))
    quick = name.startswith("Conv") or hasattr(sequences_by_loops, name)
    report = parity.check(only, strict=True, quick=quick)
    assert report.passed, [str(one) for one in report.findings] + [e.why for e in report.errors]
    assert report.count("passed") >= 15


@pytest.mark.slow
@pytest.mark.parametrize("name", list(BY_LOOPS)[::2])
def test_a_right_layer_passes_every_check_whatever_the_inputs(name: str) -> None:
    quick = hasattr(sequences_by_loops, name)  # they take longest; `test_scratch` has all of them
    report = parity.check(subject(name, BY_LOOPS[name]), strict=True, seed=1, quick=quick)
    assert report.passed, [str(one) for one in report.findings] + [e.why for e in report.errors]


TOGETHER = pytest.mark.xdist_group("wrong layers")
"""What is told of one is kept for all, in one process."""
TESTED = WRONG[::8]
"""Every eighth of them, to save time: `python -m tests.wrongs` tries all."""


def wrongs() -> list[Any]:
    """Every third of those that are tested is of the fast tier."""
    return [
        pytest.param(one, id=f"{one.layer}: {one.mistake}".replace(" ", "_"),
                     marks=() if number % 3 == 0 else (pytest.mark.slow, TOGETHER))
        for number, one in enumerate(TESTED)
    ]  # fmt: skip


@pytest.mark.parametrize("wrong", wrongs())
def test_a_wrong_layer_is_found_and_no_other_result_blamed(wrong: Wrong) -> None:
    found = told(wrong).findings
    assert found, wrong.mistake
    assert {one.cls for one in found} == {wrong.layer}
    if wrong.result.endswith("grad"):
        results = {comparison.name.split(": ")[-1] for one in found
                   for outcome in one.outcomes for comparison in outcome.failures}  # fmt: skip
        assert wrong.result in results
        assert "output" not in results


LAYERS = ("Conv2d", "ReLU", "BatchNorm2d", "MaxPool2d", "Flatten", "Linear", "MSELoss")
OWN = {getattr(nn, name): getattr(scratch, name) for name in LAYERS}


class Halves(scratch.Sequential):
    """Passes half of the gradient on to what stands before a MaxPool2d."""

    def backward(self, dy: Tensor) -> Tensor:
        for layer in reversed(list(self)):
            dy = layer.backward(dy)
            if isinstance(layer, scratch.MaxPool2d):
                dy = dy / 2
        return dy


def test_layers_of_images_are_judged_in_a_network_too() -> None:
    right = parity.check(parity.Subject({**OWN, nn.Sequential: scratch.Sequential}), only="images")
    assert right.passed
    assert {one.id for one in right.outcomes} == {
        "images-float32-layer_by_layer", "images-float64-layer_by_layer",
    }  # fmt: skip
    wrong = parity.check(parity.Subject({**OWN, nn.Sequential: Halves}), only="images")
    (found,) = wrong.findings
    assert "ayer 2 is given something else than layer 3 returned" in str(found)


class Last:
    """Images with their channels last."""

    def forward(self: Any, x: Any) -> Any:
        return np.moveaxis(super().forward(np.moveaxis(x, -1, 1)), 1, -1)  # type: ignore[misc]

    def backward(self: Any, dy: Any) -> Any:
        return np.moveaxis(super().backward(np.moveaxis(dy, -1, 1)), 1, -1)  # type: ignore[misc]


class LastConv(Last, layers_by_loops.Conv2d):
    pass


class LastPool(Last, layers_by_loops.MaxPool2d):
    pass


class Hwio(layers_by_loops.Conv2d):
    """Weights `[height, width, in, out]`."""

    def param(self) -> Any:
        return [
            tuple(one.transpose(2, 3, 1, 0) if one.ndim == 4 else one for one in pair)
            for pair in super().param()
        ]


class Wio(more_by_loops.Conv1d):
    """Weights `[length, in, out]`."""

    def param(self) -> Any:
        return [
            tuple(one.transpose(2, 1, 0) if one.ndim == 3 else one for one in pair)
            for pair in super().param()
        ]


class OutFirst(more_by_loops.ConvTranspose2d):
    """Weights `[out, in, height, width]`, as of the other convolutions."""

    def param(self) -> Any:
        return [
            tuple(one.transpose(1, 0, 2, 3) if one.ndim == 4 else one for one in pair)
            for pair in super().param()
        ]


class LastSequence(Last, more_by_loops.Conv1d):
    pass


class LastGroups(Last, more_by_loops.GroupNorm):
    pass


class OwnEps(layers_by_loops.LayerNorm):
    def __init__(self, features: Any, *, bias: bool = True) -> None:
        super().__init__(features, 1e-8, bias=bias)


NUMPY: dict[str, Any] = {"array": "numpy", "dtypes": ("float32",)}


@pytest.mark.parametrize(
    ("layers", "setting", "says"),
    [
        ({nn.Conv2d: LastConv, nn.MaxPool2d: LastPool}, {"channels": "last"}, "[B, H, W, C]"),
        ({nn.Conv2d: Hwio}, {"kernel": "hwio"}, "[3, 3, 3, 4]"),
        ({nn.Conv1d: Wio}, {"kernel": "hwio"}, "[3, 3, 4]"),
        ({nn.Conv1d: LastSequence, nn.GroupNorm: LastGroups}, {"channels": "last"}, "[B, L, C]"),
    ],
)
def test_how_images_and_kernels_lie_is_found_and_can_be_said(
    layers: Any, setting: Any, says: str
) -> None:
    ((name, value),) = setting.items()
    with pytest.raises(parity.AdapterError, match=f"SETUP.*{name}=.{value}") as told:
        parity.check(parity.Subject(layers, **NUMPY))
    assert says in str(told.value)
    assert parity.check(parity.Subject(layers, **NUMPY, **setting), quick=True).passed


def test_kernels_may_lie_otherwise_in_each_class() -> None:
    layers = {nn.Conv2d: layers_by_loops.Conv2d, nn.ConvTranspose2d: OutFirst}
    with pytest.raises(parity.AdapterError, match="SETUP") as told:
        parity.check(parity.Subject(layers, **NUMPY))
    assert "its ConvTranspose2d has weights [4, 3, 3, 3]" in str(told.value)
    assert "kernel={nn.ConvTranspose2d: 'iohw'}" in str(told.value)
    kernel = {nn.ConvTranspose2d: "iohw"}
    subject = parity.Subject(layers, kernel=kernel, **NUMPY)
    assert parity.check(subject, quick=True).passed
    with pytest.raises(parity.AdapterError, match=r"kernel has nn\.Conv1d"):
        parity.Subject(layers, kernel={nn.Conv1d: "iohw"})
    with pytest.raises(parity.AdapterError, match="Subject takes kernel='oihw'"):
        parity.Subject(layers, kernel={nn.Conv2d: "abcd"})


def test_an_eps_of_its_own_is_a_convention_and_can_be_said() -> None:
    report = parity.check(parity.Subject({nn.LayerNorm: OwnEps}, array="numpy"))
    (found,) = report.findings
    assert "LayerNorm output takes eps to be 1e-08, not 1e-05" in str(found)
    assert found.severity == "convention"
    assert report.passed
    said: dict[Any, Any] = {nn.LayerNorm: {"eps": 1e-8}}
    assert parity.check(parity.Subject({nn.LayerNorm: OwnEps}, fixed=said, **NUMPY)).findings == []


class OwnEpsAndConstants(OwnEps):
    """Takes what it normalises by for constants, beside."""

    def through(self, dxhat: Any, xhat: Any) -> Any:
        return dxhat


def test_an_eps_of_its_own_hides_no_wrong_gradient() -> None:
    report = parity.check(parity.Subject({nn.LayerNorm: OwnEpsAndConstants}, array="numpy"))
    wrong, eps = report.findings
    assert "input gradient takes the mean and the variance for constants" in str(wrong)
    assert (wrong.severity, eps.severity) == ("wrong", "convention")
    assert "takes eps to be 1e-08" in str(eps)


CS231N = Path(__file__).parent / "subjects" / "wrong_cs231n_adapter.py"


def test_functions_under_a_courses_conventions_are_judged_as_layers() -> None:
    only = ("Conv2d-padding=1-float32-", "BatchNorm1d-float32-")
    report = parity.check(CS231N, only=only)
    told = {str(one): one.where for one in report.findings}
    assert told == {
        "Conv2d input gradient is overwritten where windows overlap, and must add up":
            "conv_backward (wrong_cs231n.py:12)",
        "BatchNorm1d input gradient takes the mean and the variance for constants, and they depend "
        "on the input": "batchnorm_backward (wrong_cs231n.py:25)",
    }  # fmt: skip
    assert report.settings["conventions"].startswith("cs231n: array='numpy', weight='in_out'")


def test_conventions_excuse_nothing_that_they_do_not_name() -> None:
    """The unbiased variance is wrong where the course's biased one is declared, and the reverse."""

    class Unbiased(layers_by_loops.BatchNorm1d):
        pass

    settings: dict[str, Any] = {"conventions": "cs231n", "gradients": "accumulated"}
    subject = parity.Subject({nn.BatchNorm1d: Unbiased}, **settings)
    assert subject.gradients == "accumulated"
    assert subject.array == "numpy"
    (found,) = parity.check(subject, only="BatchNorm1d-float64-statistics").findings
    assert "keeps the unbiased variance, where the adapter says that it is the biased" in str(found)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: parity.functions(cast(Any, 3)), "takes a function as forward"),
        (lambda: parity.functions(abs, abs, parameters="weight"), "takes as parameters torch's"),
        (lambda: parity.Subject({nn.ReLU: parity.functions(abs)}).entries(), "its backward"),
        (lambda: parity.Subject({nn.ReLU: abs}, conventions="cs224n"), "'cs231n' or"),
    ],
)
def test_what_functions_and_conventions_do_not_take(make: Any, says: str) -> None:
    with pytest.raises(parity.AdapterError, match=says):
        make()


def test_what_conventions_have_set_is_told_of_a_copy_too() -> None:
    first = parity.Subject({nn.ReLU: abs}, conventions="cs231n", array="torch")
    assert first.preset == (
        "cs231n: weight='in_out', gradients='overwritten', running_variance='biased', "
        "biases='one', gates='ifog'"
    )
    assert dataclasses.replace(first, name="it").preset == first.preset
    assert parity.Subject({nn.ReLU: abs}).preset == ""


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (lambda x: x.copy(), "its forward gives ndarray, where (y, cache) is due"),
        (lambda x: (x, x, x), "its forward gives 3 results, where (y, cache) is due"),
    ],
)
def test_a_forward_that_keeps_nothing_is_told(function: Any, says: str) -> None:
    made = parity.functions(function, lambda dy, cache: dy)
    only = parity.Subject({nn.ReLU: made}, array="numpy")
    (found,) = parity.check(only, only="ReLU-float32-forward").findings
    assert says in str(found)


def two_results(dy: Any, cache: Any) -> Any:
    return dy, dy


def test_a_backward_of_too_many_results_is_told() -> None:
    made = parity.functions(lambda x: (x.copy(), None), two_results)
    report = parity.check(
        parity.Subject({nn.ReLU: made}, array="numpy"), only="ReLU-float32-input_grad"
    )
    assert "its backward returns 2 results, due are dx" in str(report.findings[0])


def test_the_page_of_the_catalogue_is_of_this_code() -> None:
    """`python -m tests.catalogue` writes it."""
    assert PAGE.read_text() == page()


@pytest.mark.slow
@TOGETHER
def test_nearly_all_of_them_are_named_and_are_one_finding() -> None:
    all_of_them = [told(wrong) for wrong in TESTED]
    nameless = [f"{one.wrong.layer}: {one.wrong.mistake}" for one in all_of_them if not one.named]
    several = [one.wrong.mistake for one in all_of_them if len(one.findings) != 1]
    assert len(nameless) <= 0.05 * len(TESTED), nameless
    assert len(several) <= 0.05 * len(TESTED), several
