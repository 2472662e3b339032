"""The fused engine: what it computes, layer by layer and in trainings, and what it refuses."""

from __future__ import annotations

import ctypes
import itertools
import os
import re
import subprocess
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import parity
import reference.train
import scratch
from bench.lockstep import fitted
from parity.catalogue.values import weights_of
from parity.judge.outcome import FAILED
from parity.plugin import CheckTest
from parity.run.plan import planned
from reference import pairs
from scratch import data, models, runs
from scratch.engines import Unsupported, cpu, fused
from tests import fused as adapter
from tests.faults.fused import FAULTS

try:
    cpu.library()
except Unsupported as error:
    if os.environ.get("PARITY_COMPILER") == "required":
        raise
    pytest.skip(f"no C++ compiler: {error}", allow_module_level=True)

X, LABELS = data.disk(40, seed=0)
T = data.one_hot(LABELS)


@parity.parametrize(adapter.SUBJECT)
def test_layers(check: CheckTest) -> None:
    """Every check of parity, of each layer and loss."""
    check()


#: Of one run and of 64, one of each kind, and in float64 what has constants of its own there; the
#: slow tier has all of them.
DOUBLES = (
    *adapter.KINDS,
    "elu",
    "selu_own",
    "sigmoid",
    "log_softmax",
    "bce_logits",
    "adamw_amsgrad",
)


def is_slow(name: str, count: int, dtype: torch.dtype) -> bool:
    return name not in (
        DOUBLES if dtype == torch.float64 else adapter.KINDS if count != 7 else [name]
    )


@pytest.mark.parametrize(
    ("name", "count", "dtype"),
    [
        pytest.param(*one, marks=pytest.mark.slow if is_slow(*one) else ())
        for one in itertools.chain(
            itertools.product(adapter.TRAININGS, (1, 7, 64), [torch.float32]),
            itertools.product(adapter.TRAININGS, [7], [torch.float64]),
        )
    ],
    ids=str,
)
def test_trainings(name: str, count: int, dtype: torch.dtype) -> None:
    """Weights, gradients and the optimizer's state are where eager leaves them, with dropout, by
    the oracle rule: eager in float64 is the oracle."""
    wrong = [c for c in adapter.training(name, count, dtype).judged() if not c.passed]
    assert not wrong, "\n".join(map(str, wrong))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("pair", pairs.MODELS, ids=str)
def test_networks_train_as_torchs(pair: pairs.ModelPair, dtype: str) -> None:
    """The reports' networks, against torch on the same batches with the same masks."""
    case = next(case for case in pairs.cases("network") if case.entry.name == pair.name)
    trial = parity.Trial(parity.Local(pairs.subject), case, getattr(torch, dtype))
    model = pair.scratch(generator=torch.Generator().manual_seed(0)).to(trial.dtype)
    wrong = [c for c in fitted("fused", trial, model, pair, 2, 30, 100) if not c.passed]
    assert not wrong, "\n".join(map(str, wrong))


@pytest.mark.parametrize("engine", ["eager", "fused"])
@pytest.mark.parametrize("name", ["model_1", "model_2"])
def test_a_trajectory_stays_among_those_of_rounding(name: str, engine: str) -> None:
    """After each of 30 epochs the weights are no farther from torch's than those of torch runs
    are that an ulp, up or down, moved every weight of before the epoch."""
    pair = next(pair for pair in pairs.MODELS if pair.name == name)
    start = pair.scratch(generator=torch.Generator().manual_seed(0)).state_dict()
    x, labels = data.disk(100, seed=0)
    t = pair.targets(labels)

    def flat(model: Any) -> Tensor:
        return torch.cat([value.double().reshape(-1) for value in model.state_dict().values()])

    def by_torch(moved: torch.Generator | None) -> Tensor:
        twin, weights = pair.reference(), []
        twin.load_state_dict(start)

        @torch.no_grad()
        def move() -> None:
            for p in twin.parameters() if moved else ():
                up = torch.rand(p.shape, generator=moved) < 0.5
                p.copy_(torch.nextafter(p, torch.where(up, torch.inf, -torch.inf)))

        def note(_: int) -> None:
            weights.append(flat(twin))
            move()

        move()
        reference.train.fit(
            twin, pair.loss[1](), pair.optimizer[1](twin.parameters()), x, t,
            epochs=30, batch_size=10, draws=scratch.Draws(3), masks=True, on_epoch=note,
        )  # fmt: skip
        return torch.stack(weights)

    model, weights = pair.scratch(), []
    model.load_state_dict(start)
    scratch.fit(
        model, pair.loss[0](), pair.optimizer[0](model.param()), x, t, epochs=30, batch_size=10,
        seed=3, engine=engine, on_epoch=lambda _: weights.append(flat(model)),
    )  # fmt: skip
    plain = by_torch(None)
    others = [by_torch(torch.Generator().manual_seed(seed)) for seed in range(4)]
    # Where one run crosses a kink and others do not, no one of them is the middle.
    nearest = torch.stack([(torch.stack(weights) - run).norm(dim=-1) for run in (plain, *others)])
    spread = torch.stack([(run - plain).norm(dim=-1) for run in others])
    assert (nearest.amin(0) <= spread.amax(0)).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("pair", pairs.MODELS, ids=str)
def test_one_pass_layer_by_layer(pair: pairs.ModelPair, dtype: torch.dtype) -> None:
    """What `trace` reports of every layer of a network is what torch has there."""
    twin = pair.reference()
    for layer in twin:
        if isinstance(layer, torch.nn.Dropout):
            layer.p = 0.0  # masks are judged in training
    x, t = X.to(dtype), pair.targets(LABELS, dtype)
    weights = weights_of(twin, torch.Generator().manual_seed(0), dtype)
    model = pair.scratch().to(dtype)
    for part in model:
        if isinstance(part, scratch.Dropout):
            part.p = 0.0
    model.load_state_dict(weights)
    truth = parity.truth(
        parity.evaluate.network(twin, pair.loss[1]()), {"x": x, "target": t, **weights}
    )
    traced = fused.trace(model, x, criterion=pair.loss[0](), t=t)
    names = [f"{name}.param_grad" for name in model.named_param()]
    results = dict(zip(names, traced.gradients, strict=True))
    results |= {f"{place}.output": y for place, y in enumerate(traced.outputs)}
    results |= {f"{place + 1}.input_grad": dy for place, dy in enumerate(traced.dys[:-1])}
    results |= {"prediction_grad": traced.dys[-1], "0.input_grad": traced.dx}
    wrong = [c for c in parity.compare(results, truth.only(results)) if not c.passed]
    assert not wrong, "\n".join(map(str, wrong))
    assert len(results) == len(names) + 2 * len(model) + 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("layer", [scratch.Tanh(), scratch.ELU(), scratch.SELU()], ids=str)
def test_small_arguments_keep_their_digits(layer: scratch.Module, dtype: torch.dtype) -> None:
    """`e^x - 1` by itself would lose those of x: half of them at 1e-4."""
    x = -torch.logspace(-30, 1, 400, dtype=torch.float64).to(dtype).unsqueeze(0)
    (y,) = fused.trace(layer, x).outputs
    right = layer(x.double())
    error = ((y.double() - right) / right).abs().max()
    assert error <= (4 if dtype == torch.float32 else 8) * torch.finfo(dtype).eps


def trained(
    engine: str, *, seeds: Any = range(3), epochs: tuple[int, ...] = (2,), **options: Any
) -> tuple[Any, Any]:
    """Three runs of Model 2 after some calls of `fit`, and their optimizer."""
    made = [models.model_2(generator=torch.Generator().manual_seed(run)) for run in range(3)]
    model = runs.stack(made)
    optimizer = scratch.Adam(model.param(), 0.01)
    for count in epochs:
        scratch.fit(model, scratch.BCELoss(), optimizer, X, T, epochs=count, batch_size=7,
                    seed=seeds, engine=engine, **options)  # fmt: skip
    return model, optimizer


def same(a: Any, b: Any) -> bool:
    """Whether two models are the same to the last bit."""
    return all(p.equal(q) for (p, _), (q, _) in zip(a.param(), b.param(), strict=True))


def test_runs_do_not_depend_on_their_company() -> None:
    together, _ = trained("fused")
    for run, single in enumerate(runs.unstack(together)):
        alone = models.model_2(generator=torch.Generator().manual_seed(run))
        optimizer = scratch.Adam(alone.param(), 0.01)
        scratch.fit(alone, scratch.BCELoss(), optimizer, X, T, epochs=2, batch_size=7, seed=run,
                    engine="fused")  # fmt: skip
        assert same(alone, single)


def test_portions_and_threads_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    model, _ = trained("fused")
    monkeypatch.setattr(cpu, "PORTION", 1.0)
    assert same(trained("fused")[0], model)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert same(trained("fused")[0], model)


def test_a_callback_after_each_epoch_makes_no_difference() -> None:
    seen: list[tuple[int, Tensor]] = []
    model, _ = trained("fused")
    called, _ = trained("fused", on_epoch=lambda epoch: seen.append((epoch, torch.rand(()))))
    assert same(model, called)
    assert [epoch for epoch, _ in seen] == [1, 2]


def test_training_goes_on_under_another_engine() -> None:
    for first, second in (("eager", "fused"), ("fused", "eager")):
        model, optimizer = trained(first)
        scratch.fit(model, scratch.BCELoss(), optimizer, X, T, epochs=2, batch_size=7,
                    seed=range(3), engine=second)  # fmt: skip
        right, other = trained("eager", epochs=(2, 2))
        assert optimizer.steps == other.steps == 24
        assert all(layer.training for layer in model.modules())
        for (p, g), (q, h) in zip(model.param(), right.param(), strict=True):
            torch.testing.assert_close(p, q, rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(g, h, rtol=1e-3, atol=1e-5)
        assert optimizer.state_dict()["state"].keys() == other.state_dict()["state"].keys()


def test_an_optimizer_may_have_its_parameters_in_another_order() -> None:
    results = []
    for engine in ("eager", "fused"):
        model = models.model_1(generator=torch.Generator().manual_seed(0))
        optimizer = scratch.SGD(model.param()[::-1], 0.01, momentum=0.9)
        for _ in range(2):
            scratch.fit(model, scratch.MSELoss(), optimizer, X, T, epochs=1, batch_size=9, seed=1,
                        engine=engine)  # fmt: skip
        results.append((model.state_dict(), optimizer.state_dict()["state"][7]["momentum_buffer"]))
    (eager, first), (other, second) = results
    torch.testing.assert_close(eager, other)
    torch.testing.assert_close(first, second)
    assert first.shape == (25, 2)


class Odd(scratch.ReLU):
    pass


class OddLoss(scratch.MSELoss):
    pass


class OddSGD(scratch.SGD):
    pass


def job(**changes: Any) -> dict[str, Any]:
    seeded = torch.Generator().manual_seed(0)
    model = changes.pop("model", None) or models.model_1(generator=seeded)
    make = changes.pop("make", scratch.SGD)
    options = {"criterion": scratch.MSELoss(), "x": X, "t": T, "epochs": 1, "batch_size": 10}
    return {"model": model, "optimizer": make(model.param())} | options | changes


def chain(*layers: scratch.Module) -> scratch.Sequential:
    return scratch.Sequential(scratch.Linear(2, 3), *layers, scratch.Linear(3, 2))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: job(model=chain(Odd())), r"takes no tests\.test_fused\.Odd in a model"),
        (lambda: job(criterion=OddLoss()), r"takes no loss tests\.test_fused\.OddLoss"),
        (lambda: job(make=OddSGD), r"takes no optimizer tests\.test_fused\.OddSGD"),
        (lambda: job(model=chain(scratch.Dropout(generator=torch.Generator()))),
         r"no Dropout\(p=0.5\) with a generator of its own"),
        (lambda: job(model=scratch.Sequential(scratch.Linear(2, 129), scratch.Linear(129, 2))),
         r"widths up to 128, not Linear\(2, 129\)"),
        (lambda: job(make=lambda p: scratch.SGD(p[:2])), "all the model's parameters"),
        (lambda: job(model=models.model_1().to(torch.bfloat16), x=X.bfloat16(), t=T.bfloat16()),
         "takes float32 and float64, not torch.bfloat16"),
    ],
)  # fmt: skip
def test_what_is_not_taken_is_named_and_auto_trains_it_in_eager(make: Any, says: str) -> None:
    with pytest.raises(Unsupported, match=says):
        scratch.fit(**make(), engine="fused")
    with pytest.warns(UserWarning, match=f"engine 'auto' trains in eager: .*{says}"):
        scratch.fit(**make(), engine="auto")


def test_auto_takes_the_fused_engine_where_it_can(monkeypatch: pytest.MonkeyPatch) -> None:
    called = []
    monkeypatch.setattr(fused, "train", lambda *arguments: called.append(arguments))
    scratch.fit(**job(), engine="auto")
    assert len(called) == 1


def test_an_engine_that_there_is_not_is_refused() -> None:
    with pytest.raises(ValueError, match="there are eager, fused and auto"):
        scratch.fit(**job(), engine="quick")


@pytest.mark.parametrize(
    "make",
    [
        lambda: job(x=X.double()),
        lambda: job(x=X[:, :1]),
        lambda: job(t=T[:, :1]),
        lambda: job(t=T.double()),
        lambda: job(t=torch.full_like(T, torch.nan)),
        lambda: job(criterion=scratch.CrossEntropyLoss(), t=LABELS + 1),
        lambda: job(criterion=scratch.BCELoss()),
        lambda: job(epochs=0),
    ],
)
def test_what_eager_refuses_is_refused_in_the_same_words(make: Any) -> None:
    said = []
    for engine in ("eager", "fused"):
        given = make()
        before = given["model"].state_dict()
        with pytest.raises((ValueError, TypeError)) as refused:
            scratch.fit(**given, engine=engine, seed=0)
        # Of a batch there, and of all samples here: the sizes differ.
        words = str(refused.value).partition(", and got values")[0].split(" float")[0]
        said.append((refused.type, words))
        if engine == "fused":
            after = given["model"].state_dict()
            assert all(before[name].equal(p) for name, p in after.items())
            assert given["optimizer"].steps == 0
    assert said[0] == said[1]


def test_options_may_be_tensors() -> None:
    results = []
    makes: list[Any] = [scratch.SGD, scratch.Adam]
    for engine in ("eager", "fused"):
        for make in makes:
            model = models.model_1(generator=torch.Generator().manual_seed(0))
            optimizer = make(model.param(), torch.tensor(0.01))
            scratch.fit(model, scratch.MSELoss(), optimizer, X, T, epochs=1, batch_size=7, seed=0,
                        engine=engine)  # fmt: skip
            results.append(model.state_dict())
    torch.testing.assert_close(results[:2], results[2:])


@pytest.mark.parametrize("engine", ["eager", "fused"])
@pytest.mark.parametrize("row", [0, 3, 39])
def test_bce_refuses_a_nan_wherever_it_is(row: int, engine: str) -> None:
    x = X.clone()
    x[row] = torch.nan
    given = job(model=models.model_2(), criterion=scratch.BCELoss(), x=x, batch_size=40)
    with pytest.raises(ValueError, match="got values from nan to nan"):
        scratch.fit(**given, engine=engine)


def damaged_cut(file: Path) -> None:
    whole = file.read_bytes()
    file.unlink()  # what was compiled is loaded too: its own bytes must stay
    file.write_bytes(whole[: len(whole) // 2])  # to load it is a bus error


def damaged_by_another(file: Path) -> None:
    file.unlink()
    file.write_bytes(b"a library of somebody else's")


def damaged_open_to_all(file: Path) -> None:
    file.chmod(0o666)
    file.parent.chmod(0o777)


@pytest.mark.parametrize("damaged", [damaged_cut, damaged_by_another, damaged_open_to_all])
def test_a_damaged_library_is_built_again(
    damaged: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "cache"
    monkeypatch.setattr(cpu, "cache", lambda: folder)
    source = 'extern "C" int scratch_lanes_float() { return 7; }'
    monkeypatch.setattr(cpu, "SOURCE", tmp_path / "cpu.cpp")
    cpu.SOURCE.write_text(source)
    right = cpu.build(source, folder)
    before = right.stat().st_ino
    damaged(right)
    assert cpu.library.__wrapped__().scratch_lanes_float() == 7
    assert right.stat().st_ino != before
    assert not folder.stat().st_mode & 0o022
    assert not right.stat().st_mode & 0o022


#: What is not there, or not as it should be, and what is said of it.
MACHINES = {
    "a folder that is a file": "cannot be kept in .*: ",
    "a compiler that fails": "could not be compiled by /bin/false",
    "no compiler": "there is no 'no-such-compiler' here",
    "no home": "there is no home",
    "a folder of another user's": "another user owns it",
}


@pytest.mark.parametrize("what", MACHINES)
def test_auto_trains_in_eager_where_nothing_can_be_compiled(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpu, "library", cpu.library.__wrapped__)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    match what:
        case "a folder that is a file":
            (tmp_path / "torch-parity").touch()
        case "a compiler that fails":
            monkeypatch.setenv("CXX", "/bin/false")
        case "no compiler":
            monkeypatch.setenv("CXX", "no-such-compiler")
        case "no home":
            monkeypatch.delenv("XDG_CACHE_HOME")
            monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("none")))
        case "a folder of another user's":
            (tmp_path / "torch-parity").mkdir()
            if os.getuid() == 0:
                os.chown(tmp_path / "torch-parity", 12345, -1)
            else:
                monkeypatch.setattr(os, "getuid", lambda: os.geteuid() + 1)
    with pytest.raises(Unsupported, match=MACHINES[what]):
        scratch.fit(**job(), engine="fused")
    given = job()
    with pytest.warns(UserWarning, match="engine 'auto' trains in eager"):
        scratch.fit(**given, engine="auto")
    assert given["optimizer"].steps == 4


def test_without_memory_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        scratch_lanes_float = cpu.library().scratch_lanes_float

        @staticmethod
        def scratch_train_float(*_: Any) -> int:
            return 2

    monkeypatch.setattr(cpu, "library", lambda: Full)
    with pytest.raises(MemoryError, match="has not the memory"):
        scratch.fit(**job(), engine="fused")


def test_auto_goes_back_to_eager_where_a_device_refuses_the_launch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refused(*_: Any) -> None:
        raise Unsupported("it does not fit")

    monkeypatch.setattr(cpu, "train", refused)
    given = job()
    with pytest.warns(UserWarning, match="engine 'auto' trains in eager: it does not fit"):
        scratch.fit(**given, engine="auto")
    assert given["optimizer"].steps == 4


def test_interrupted_it_leaves_all_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    model, optimizer = trained("fused")
    before, steps = model.state_dict(), optimizer.steps
    library, calls = cpu.library(), []

    class Interrupted:
        scratch_lanes_float = library.scratch_lanes_float

        @staticmethod
        def scratch_train_float(*arguments: Any) -> int:
            calls.append(arguments)
            if len(calls) == 2:
                raise KeyboardInterrupt
            return int(library.scratch_train_float(*arguments))

    monkeypatch.setattr(cpu, "library", lambda: Interrupted)
    monkeypatch.setattr(cpu, "PORTION", 1.0)
    with pytest.raises(KeyboardInterrupt):
        scratch.fit(model, scratch.BCELoss(), optimizer, X, T, epochs=3, batch_size=7,
                    seed=range(3), engine="fused")  # fmt: skip
    assert len(calls) == 2
    assert all(before[name].equal(p) for name, p in model.state_dict().items())
    assert optimizer.steps == steps


def test_without_a_compiler_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(Unsupported, match="no 'no-such-compiler' here; install g\\+\\+ or clang"):
        cpu.build(cpu.SOURCE.read_text(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_does_not_compile_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(
        Unsupported, match=r"could not be compiled by .*: .*cpu.cpp:1:.* error: "
    ) as e:
        cpu.build("this is no C++", tmp_path)
    assert "\n" not in str(e.value)
    assert list(tmp_path.iterdir()) == []


def test_it_is_built_once_for_a_source_and_by_several_at_once(tmp_path: Path) -> None:
    source = 'extern "C" int answer() { return 42; }'
    built: list[Path] = []
    threads = [
        threading.Thread(target=lambda: built.append(cpu.build(source, tmp_path))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert built[0] == built[1]
    assert list(tmp_path.iterdir()) == built[:1]
    assert ctypes.CDLL(str(built[0])).answer() == 42
    before = built[0].stat().st_mtime_ns
    assert cpu.build(source, tmp_path) == built[0]
    assert built[0].stat().st_mtime_ns == before
    assert cpu.build(source + " ", tmp_path) != built[0]


def compiled(*files: object) -> None:
    """Files by the compiler alone, without optimization: in a third of the time of a build."""
    command = [os.environ.get("CXX", "c++"), "-std=c++20", "-O0", "-march=native", "-fPIC"]
    done = subprocess.run([*command, *map(str, files)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="session")
def headers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the source includes: read once for all faults, it is half of a compilation."""
    file = tmp_path_factory.mktemp("headers") / "all.hpp"
    file.write_text("\n".join(re.findall("^#include .*$", cpu.SOURCE.read_text(), re.M)))
    compiled("-x", "c++-header", file, "-o", f"{file}.gch")
    return file


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_in_the_source_is_caught(
    name: str, headers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right, wrong, where = FAULTS[name]
    source = cpu.SOURCE.read_text()
    assert right in source, "the source has changed: plant it anew"
    other = "EXPORTED(float)" if "float64" in where else "EXPORTED(double)"
    assert source.count(f"\n{other}\n") == 1
    planted = tmp_path / "cpu.cpp"
    planted.write_text(source.replace(right, wrong).replace(f"\n{other}\n", "\n"))
    compiled("-shared", "-pthread", "-include", headers, planted, "-o", tmp_path / "planted.so")
    library = ctypes.CDLL(str(tmp_path / "planted.so"))
    monkeypatch.setattr(cpu, "library", lambda: library)
    if where in adapter.TRAININGS:
        judged = replace(adapter.TRAININGS[where], runs=2, samples=26).judged()
        assert any(not comparison.passed for comparison in judged)
        return
    checks = {str(check): check for check in planned(parity.Local(adapter.SUBJECT), only=where)}
    assert checks[where].run().verdict == FAILED
