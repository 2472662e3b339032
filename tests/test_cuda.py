"""The fused engine's Triton kernel: on a GPU where there is one, else by Triton's interpreter."""
# ruff: noqa: E402

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
if not importlib.util.find_spec("triton") and os.environ.get("PARITY_TRITON") != "required":
    pytest.skip("Triton is not installed: pip install triton", allow_module_level=True)
if DEVICE == "cpu":
    os.environ["TRITON_INTERPRET"] = "1"  # before Triton is imported

import parity
import scratch
from parity.judge.outcome import FAILED
from parity.plugin import CheckTest
from parity.run.plan import planned
from scratch import data, models, runs
from scratch.engines import Unsupported, cuda, fused, kernel
from scratch.philox import Draws
from tests import fused as adapter
from tests.faults.kernel import FAULTS

#: Triton 3.3's interpreter takes a scalar from an array in a way that NumPy 1.25 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:Conversion of an array:DeprecationWarning")

ROOT = Path(__file__).parent.parent
X, LABELS = (tensor.to(DEVICE) for tensor in data.disk(40, seed=0))
T = data.one_hot(LABELS)
#: Interpreted, a step takes some 50 ms, and what is not of the kernel is tested in test_fused.py.
CHECKS = ("forward", "input_grad", "param_grad", "-gradient", "kink", "extremes", "empty_batch")


@pytest.fixture(autouse=True)
def on_cuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The engine is CUDA's, interpreted or not."""
    monkeypatch.setattr(fused, "backend", lambda device: cuda)
    with np.errstate(all="ignore"):  # NumPy interprets, and the processor warns of no overflow
        yield


def training(name: str, **changes: Any) -> adapter.Training:
    """One that is small enough to be interpreted: two steps an epoch, the last one smaller."""
    small = replace(adapter.TRAININGS[name], samples=9, device=DEVICE)
    return replace(small, **changes)


@parity.parametrize(adapter.SUBJECT, only=() if DEVICE == "cuda" else CHECKS, device=DEVICE)
def test_layers(check: CheckTest) -> None:
    check()


#: In float32 one of each kind, and in the slow tier all; in float64 only what has constants of its
#: own there, and one of each kind.
TRAININGS = [
    pytest.param(name, torch.float32, marks=() if name in adapter.KINDS else pytest.mark.slow)
    for name in adapter.TRAININGS
]
TRAININGS += [
    pytest.param(name, torch.float64) for name in ("elu", "tanh", "bce", "momentum", "adam")
]


@pytest.mark.parametrize(("name", "dtype"), TRAININGS, ids=str)
def test_trainings(name: str, dtype: torch.dtype) -> None:
    """As in test_fused.py."""
    count = 2 if dtype == torch.float32 else None
    wrong = [c for c in training(name, runs=count, dtype=dtype).judged() if not c.passed]
    assert not wrong, "\n".join(map(str, wrong))


@pytest.mark.parametrize(
    "changes",
    [{"runs": 7}, {"runs": 64, "epochs": 1, "samples": 5}, {"samples": 40, "batch_size": 37}],
    ids=str,
)
def test_many_runs_and_batches_of_several_tiles(changes: dict[str, Any]) -> None:
    wrong = [c for c in training("adam", **changes).judged() if not c.passed]
    assert not wrong, "\n".join(map(str, wrong))


def test_the_widest() -> None:
    generator = torch.Generator().manual_seed(0)
    model = scratch.Linear(128, 127, generator=generator)
    x, dy = torch.randn(40, 128), torch.randn(40, 127)
    traced = fused.trace(model.to(DEVICE), x.to(DEVICE), dy=dy.to(DEVICE))
    weight = model.param()[0][0].cpu().double()
    for got, right in (
        (traced.dx, dy.double() @ weight),
        (traced.gradients[0], dy.double().T @ x.double()),
    ):
        torch.testing.assert_close(got.cpu().double(), right, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_masks_are_those_of_draws(p: float) -> None:
    x = torch.ones(5, 7, device=DEVICE)
    mask = fused.trace(scratch.Dropout(p), x, seed=2**40 + 5).outputs[0]
    right = Draws(2**40 + 5).masks(p, 1, range(1), 0, (5, 7))[0]
    torch.testing.assert_close(mask.cpu(), right, rtol=1e-6, atol=0)


def fitted(**options: Any) -> tuple[scratch.Module, scratch.Optimizer]:
    """Model 2 after two epochs."""
    model = models.model_2(generator=torch.Generator().manual_seed(0)).to(DEVICE)
    optimizer = scratch.Adam(model.param(), 0.01)
    scratch.fit(model, scratch.BCELoss(), optimizer, X, T, epochs=2, batch_size=30, seed=0,
                engine="fused", **options)  # fmt: skip
    return model, optimizer


def test_launches_and_callbacks_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, optimizer = fitted()
    called, _ = fitted(on_epoch=lambda epoch: None)
    monkeypatch.setattr(cuda, "PORTION", 1)
    parts, _ = fitted()
    assert optimizer.steps == 4
    for (p, _), (q, _), (r, _) in zip(whole.param(), called.param(), parts.param(), strict=True):
        assert p.equal(q)
        assert p.equal(r)


def test_runs_do_not_depend_on_their_company() -> None:
    single = [models.model_1(generator=torch.Generator().manual_seed(run)) for run in range(2)]
    together = runs.stack([model.to(DEVICE) for model in single])
    alone = models.model_1(generator=torch.Generator().manual_seed(1)).to(DEVICE)
    for model, seed in ((together, (0, 1)), (alone, 1)):
        scratch.fit(model, scratch.MSELoss(), scratch.SGD(model.param(), 0.1), X, T, epochs=1,
                    batch_size=30, seed=seed, engine="fused")  # fmt: skip
    for (p, _), (q, _) in zip(runs.unstack(together)[1].param(), alone.param(), strict=True):
        assert p.equal(q)


def test_what_bce_refuses_is_refused_and_nothing_moved() -> None:
    model = models.model_1(generator=torch.Generator().manual_seed(0)).to(DEVICE)
    before = model.state_dict()
    optimizer = scratch.SGD(model.param(), 0.1)
    with pytest.raises(ValueError, match=r"probabilities.*got values from -0\.\d+ to 0\.\d+"):
        scratch.fit(model, scratch.BCELoss(), optimizer, X, T, epochs=1, batch_size=30, seed=0,
                    engine="fused")  # fmt: skip
    assert all(before[name].equal(p) for name, p in model.state_dict().items())
    assert optimizer.steps == 0


def test_a_softmax_over_more_than_a_tile_is_refused() -> None:
    model = scratch.Sequential(scratch.Linear(2, 2), scratch.Softmax(0)).to(DEVICE)
    with pytest.raises(Unsupported, match=r"Softmax\(dim=-2\), over the batch, for up to 32"):
        scratch.fit(model, scratch.MSELoss(), scratch.SGD(model.param()), X, T, epochs=1,
                    batch_size=33, engine="fused")  # fmt: skip


def test_without_triton_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # the backend is looked for as ever
    monkeypatch.delitem(sys.modules, "scratch.engines.cuda")
    monkeypatch.delattr("scratch.engines.cuda")
    monkeypatch.setitem(sys.modules, "triton", None)
    with pytest.raises(Unsupported, match="needs Triton on CUDA, pip install triton"):
        fused.backend(torch.device("cuda"))
    with pytest.raises(Unsupported, match="for the CPU and CUDA, and x is on meta"):
        fused.backend(torch.device("meta"))


def test_it_compiles_for_a_gpu() -> None:
    """For an H200, with no GPU at hand."""
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.compiled"],
        capture_output=True, text=True, cwd=ROOT, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("bytes") == 2


def planted(right: str, wrong: str, path: Path) -> ModuleType:
    """The kernel with a fault, from a file, which Triton reads its source from."""
    source = Path(kernel.__file__).read_text()
    assert right in source, "the source has changed: plant it anew"
    path.write_text(source.replace(right, wrong))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_in_the_kernel_is_caught(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right, wrong, where = FAULTS[name]
    monkeypatch.setattr(cuda, "kernel", planted(right, wrong, tmp_path / "planted.py"))
    if where in adapter.TRAININGS:
        judged = training(where, runs=2, epochs=2).judged()
        assert any(not comparison.passed for comparison in judged)
        return
    local = parity.Local(adapter.SUBJECT)
    checks = {str(check): check for check in planned(local, only=where, device=DEVICE)}
    assert checks[where].run().verdict == FAILED
