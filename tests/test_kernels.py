"""Kernels: bugs that public ones had are found and named; right ones pass; the shell, pytest
and Python say the same."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import parity
from parity.judge.comparison import DIGITS, EDGE, MEMORY
from parity.judge.outcome import FAILED, MISTRUSTED
from parity.kernels.cases import pairwise
from parity.kernels.layouts import LAYOUTS, laid, plain_strides, read_by
from parity.kernels.report import SweepReport
from parity.kernels.spec import sweep_of
from parity.subject.error import AdapterError
from tests import warm
from tests.kernels import compared, norms
from tests.kernels.faults import FAMILIES, Family, bugs

BY_NAME = {family.name: family for family in FAMILIES}
SMALL = {"M": [1, 7], "N": [8, 33]}
ROOT = Path(__file__).parent.parent


def checked(family: Family, bug: str = "", **settings: Any) -> SweepReport:
    spec = {**(family.spec_of(bug) if bug else family.spec), **settings}
    return parity.check_function(family.make(bug), family.reference, **spec)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda one: one.name)
def test_right_kernels_pass_in_every_dtype(family: Family) -> None:
    report = checked(family, dtypes=["float32", "bfloat16", "float16", "float64"])
    assert report.passed, report
    assert all(one.severity == EDGE for one in report.findings), report
    assert len(report.outcomes) > 90
    assert {one.dtype for one in report.outcomes} == {"float32", "bfloat16", "float16", "float64"}


@pytest.mark.parametrize(("family", "bug"), list(bugs()), ids=lambda one: getattr(one, "name", one))
def test_bugs_of_public_kernels_are_found_and_told(family: Family, bug: str) -> None:
    half = {} if "half precision" in bug else {"dtypes": "float32"}
    report = checked(family, bug, **half)
    assert not report.passed
    graver = [one for one in report.findings if one.severity != EDGE]
    assert len(graver) <= 2, report
    says = family.bugs[bug]
    assert any(says in one.sentence for one in graver), report
    if says:
        assert len(says) > 5
    told = {outcome.id for one in report.findings for outcome in one.outcomes}
    assert told >= {one.id for one in report.outcomes if one.verdict == FAILED}


def test_there_are_as_many_bugs_as_were_seen_in_public() -> None:
    assert len(list(bugs())) >= 28
    named = [bug for family, bug in bugs() if family.bugs[bug]]
    assert len(named) >= 0.8 * len(list(bugs()))


def test_the_cases_cover_every_pair_of_values() -> None:
    axes = {("a", ""): (0, 1, 2), ("b", ""): "xyz", ("c", ""): (True, False), ("d", ""): (5, 6)}
    rows = list(pairwise(axes))
    names = list(axes)
    for i, one in enumerate(names):
        for other in names[i + 1 :]:
            j = names.index(other)
            assert {(row[i], row[j]) for row in rows} == {
                (a, b) for a in axes[one] for b in axes[other]
            }
    assert len(rows) < 3 * 3 * 2 * 2
    assert list(pairwise({("a", ""): (1, 2)})) == [(1,), (2,)]


def test_the_default_sweep_of_a_norm_is_small_and_says_what_each_case_is() -> None:
    sweep = sweep_of(norms.rms_reference, {"x": "M N", "weight": "N"})
    names = [str(case) for case in sweep.axes.cases()]
    assert 40 < len(set(names)) <= 200
    assert any("bf16" in name and "dy:transposed" in name for name in names)
    assert "M=7,N=5-f32-rank:3" in names
    assert sweep.axes.count() > 10_000
    assert {f"M={m},N={n}" for m in (7, 1, 63, 65) for n in (5, 1, 63, 65)} <= {
        name.partition("-")[0] for name in names
    }


@pytest.mark.parametrize("how", LAYOUTS)
@pytest.mark.parametrize("shape", [(3, 5), (2, 3, 4, 5), (7,), (4, 1), (1, 6)])
def test_a_layout_changes_where_numbers_lie_and_no_number(how: str, shape: tuple[int, ...]) -> None:
    x = torch.randn(shape)
    given = laid(x, how)
    due = x[:1].expand(shape) if how == "expanded" else x
    assert torch.equal(given, due)
    read = read_by(given, plain_strides(shape))
    if how in ("strided", "sliced", "transposed") and min(shape) > 1 and len(shape) > 1:
        assert read is not None
        assert not torch.equal(read, x)
    if how in ("", "offset", "channels_last") and len(shape) < 4:
        assert read is None


def test_user_mistakes_certify_a_sweep() -> None:
    def without_second_term(x: Tensor, weight: Tensor) -> Tensor:
        return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + norms.EPS).detach() * weight

    family = BY_NAME["rms_norm"]
    spec: dict[str, Any] = {"sizes": SMALL, "dtypes": "float32"}
    seen = checked(family, mistakes={"no second term": without_second_term}, **spec)
    assert seen.passed, seen
    hidden = {"nothing at all": family.reference}
    report = checked(family, mistakes=hidden, **spec)
    assert not report.passed
    assert [one.verdict for one in report.outcomes].count(MISTRUSTED) == 1
    assert "no case shows the mistake 'nothing at all'" in str(report)
    wrong = parity.check_function(
        without_second_term, family.reference, family.inputs,
        mistakes={"no second term": without_second_term}, **spec,
    )  # fmt: skip
    assert "is that of the mistake 'no second term'" in str(wrong)


def test_pairs_and_modules_are_checked_like_functions() -> None:
    def forward(x: Tensor, w: Tensor) -> tuple[Tensor, Any]:
        return x @ w, (x, w)

    def backward(dy: Tensor, kept: Any) -> dict[str, Tensor]:
        x, w = kept
        rows, drows = x.flatten(0, -2), dy.flatten(0, -2)
        return {"w": rows.mT @ drows, "x": dy @ w.mT}

    def averaged(dy: Tensor, x: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
        return dy @ w.mT, x.mT @ dy / len(x)

    right = parity.check_pair(forward, backward, torch.matmul, x="M K", w="K N")
    assert right.passed, right
    wrong = parity.check_pair(torch.matmul, averaged, torch.matmul, x="M K", w="K N")
    assert "w_grad is 0.143 times what it should be: 1 / 7, 7 is M" in str(wrong)

    class Norm(nn.LayerNorm):
        def forward(self, x: Tensor) -> Tensor:
            centred = x - x.mean(-1, keepdim=True)
            rest = x.shape[-1] - 1 if self.elementwise_affine else x.shape[-1]
            variance = (centred * centred).sum(-1, keepdim=True) / max(rest, 1)
            return centred * torch.rsqrt(variance + self.eps) * self.weight + self.bias

    same = parity.check_module(nn.LayerNorm(12), nn.LayerNorm(12), x="M 12")
    assert same.passed, same
    unbiased = parity.check_module(lambda N: Norm(N), lambda N: nn.LayerNorm(N), x="M N")
    assert not unbiased.passed
    assert "output" in unbiased.findings[0].sentence
    other = parity.check_module(nn.RMSNorm(12), nn.LayerNorm(12), x="M 12")
    assert "has the parameters weight [12], where torch's has" in str(other)


def square(x: Tensor) -> Tensor:
    return x * x


def cube_apart_from(change: Callable[[Any, Tensor], Tensor]) -> Callable[..., Any]:
    """x^2 as a Function whose backward returns what `change` makes of it."""

    class Square(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        def backward(ctx: Any, *dys: Tensor) -> Any:
            return change(ctx, 2 * ctx.saved_tensors[0] * dys[0])

    return Square.apply


def test_what_a_function_does_beside_its_numbers_is_told() -> None:
    kept = []

    def keeps(x: Tensor) -> Tensor:
        y = x * x
        kept.append(y)
        return y

    def on_and_on(ctx: Any, dx: Tensor) -> Tensor:
        ctx.saved_tensors[0].detach().mul_(1.5)
        return dx

    count = iter(range(1_000_000))
    spec: dict[str, Any] = {"x": "M N", "sizes": SMALL, "dtypes": "float32"}
    for subject, says in (
        (keeps, "in memory after the backward"),
        (cube_apart_from(on_and_on), "writes into x"),
        (cube_apart_from(lambda ctx, dx: dx.half()), "has lost digits"),
        (lambda x: x * x + 0.1 * (next(count) % 2), "is another at the second call"),
        (lambda x: (x * x).double(), "is float64, where torch's is float32"),
        (lambda x: (x * x).sum(-1), "has the shape [7], where [7, 8] is due"),
        (lambda x: [x * x, x], "returns 2 results, where the reference returns 1"),
        (lambda x: "nothing", "returns str as its output"),
        (lambda x: x.numpy(), "raises RuntimeError: Can't call numpy()"),
    ):
        report = parity.check_function(subject, square, **spec)
        assert not report.passed
        assert says in str(report)


def test_one_that_may_write_into_an_input_and_one_that_has_other_bits() -> None:
    family = BY_NAME["rope"]
    told = checked(family, "rotation in place")
    assert [one.severity for one in told.findings] == [MEMORY], told
    assert checked(family, "rotation in place", writes=("x",)).passed

    spec: dict[str, Any] = {"x": "M N", "sizes": SMALL, "dtypes": "float32"}
    generator = torch.Generator().manual_seed(0)

    def noisy(x: Tensor) -> Tensor:
        return x * x * (1 + 1e-7 * torch.randint(2, x.shape, generator=generator))

    noted = parity.check_function(noisy, square, **spec)
    assert noted.passed, noted
    assert "has other bits" in noted.habits[0]
    assert not parity.check_function(noisy, square, deterministic=True, **spec).passed


def test_second_derivatives_compilation_options_and_empty_batches() -> None:
    spec: dict[str, Any] = {"x": "M N", "sizes": SMALL, "dtypes": "float32"}
    assert parity.check_function(square, square, double=True, compiles=True, **spec).passed
    once = cube_apart_from(lambda ctx, dx: dx.detach())
    report = parity.check_function(once, square, double=True, **spec)
    assert "a second derivative is asked for" in str(report)

    def refuses(x: Tensor) -> Tensor:
        if x.dim() != 2:
            raise ValueError("takes a matrix")
        return x * x

    meant = parity.check_function(refuses, square, **spec)
    assert meant.passed, meant
    assert any("takes a matrix" in gap for gap in meant.gaps)

    def not_empty(x: Tensor) -> Tensor:
        x.max()
        return x * x

    edge = parity.check_function(not_empty, square, **spec)
    assert edge.passed
    assert [one.severity for one in edge.findings] == [EDGE]
    assert "the batch is empty" in str(edge)
    assert not parity.check_function(not_empty, square, strict=True, **spec).passed


def test_digits_that_are_lost_fail() -> None:
    def coarse(x: Tensor) -> Tensor:
        return (x * x * (1 + 3e-6)).to(x.dtype)

    report = parity.check_function(coarse, square, x="M N", sizes=SMALL, dtypes="float32")
    assert not report.passed
    assert {one.severity for one in report.findings} == {DIGITS}


@pytest.mark.parametrize(
    ("inputs", "settings", "says"),
    [
        ({}, {}, "there is no input of real numbers"),
        ({"x": "M-N"}, {}, "'M-N' names dimensions"),
        ({"x": "M N"}, {"sizes": {"K": [1]}}, "no input has a dimension 'K'; there are M, N"),
        ({"x": "M N"}, {"sizes": {"M": [0]}}, "M takes whole numbers above 0, not [0]"),
        ({"x": "M N"}, {"dtypes": "int8"}, "takes float64, float32"),
        ({"x": "M N"}, {"half": "twice"}, "takes 'every_operation' or 'float32_inside'"),
        ({"x": "M N"}, {"blocks": {"K": 4}}, "blocks: K=[4] are no sizes of a dimension (M, N)"),
        ({"x": "M N"}, {"mistakes": {"m": 3}}, "'m' is a function like the reference, not 3"),
        ({"x": "M N", "p": []}, {}, "p=[]: an option takes the values"),
        ({"x": "M N", "y": "M N"}, {}, "the reference of square does not take its inputs"),
        ({"x": parity.drawn("M N", lambda s, g: torch.zeros(3))}, {}, "is drawn with the shape"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(
    inputs: dict[str, Any], settings: dict[str, Any], says: str
) -> None:
    with pytest.raises(AdapterError, match=re.escape(says)):
        parity.check_function(square, square, inputs, **{"name": "square", **settings})


SWEEP = """
import os, time
import torch
import parity
from tests.kernels import compared, norms

BUG = os.environ.get("BUG", "")


def subject(x, weight):
    if BUG == "crash" and x.stride(-1) > 2:
        os.kill(os.getpid(), 11)
    if BUG == "hang" and len(x) > 60:
        time.sleep(600)
    return norms.rms_norm(BUG)(x, weight)


@parity.sweep(norms.rms_reference, x="M N", weight="N", sizes={"M": [7, 65], "N": [8]},
              dtypes=["float32"], mistakes={"no weight": lambda x, weight: x * 1})
def test_rms_norm(check):
    check(subject)
"""


def command(folder: Path, *options: str, bug: str = "") -> tuple[int, str, str]:
    """What `parity kernel` does with a file: its exit code, what it prints, and what on stderr."""
    file = folder / "test_norm.py"
    file.write_text(SWEEP)
    environment = os.environ | {"BUG": bug, "PYTHONPATH": str(ROOT), "TMPDIR": str(folder)}
    arguments = ["-m", "parity", "kernel", str(file), *options]
    done = warm.python(arguments, cwd=folder, env=environment)
    return done.returncode, done.stdout, done.stderr


def test_the_command_writes_every_report(tmp_path: Path) -> None:
    reports = ["--html", "o.html", "--json", "o.json", "--junit", "o.xml"]
    code, told, _ = command(tmp_path, *reports)
    assert code == 0, told
    assert "PASSED" in told
    code, told, _ = command(tmp_path, *reports, bug="dx lacks the weight")
    assert code == 1
    assert "rms_norm: x_grad lacks weight" in told
    assert re.search(r"^and \d+ more; -v shows all", told, re.MULTILINE)
    data = json.loads((tmp_path / "o.json").read_text())
    assert [one["class"] for one in data["findings"]] == ["wrong"]
    assert "x_grad lacks weight" in (tmp_path / "o.html").read_text()
    assert "x_grad lacks weight" in (tmp_path / "o.xml").read_text()
    again = re.search(r"--only '(.*)' -v", told)
    assert again is not None, told
    code, told, _ = command(tmp_path, "--only", again[1], "-v", bug="dx lacks the weight")
    assert code == 1
    assert "of 1 checks" not in told
    assert "x_grad lacks weight" in told


def test_a_crash_and_a_hang_are_told_with_what_their_cases_share(tmp_path: Path) -> None:
    code, told, _ = command(tmp_path, bug="crash")
    assert code == 1
    assert "crashed the interpreter: SIGSEGV, when called, where x is transposed in memory" in told
    code, told, _ = command(tmp_path, "--seconds", "3", "--only", "M=65*dy:sliced", bug="hang")
    assert code == 1, told
    assert "hangs when called: no answer within 3 seconds" in told


def test_the_command_says_what_it_cannot_run(tmp_path: Path) -> None:
    assert "there is no file" in _refused(tmp_path, "missing.py")
    (tmp_path / "empty.py").write_text("")
    assert "it has no sweep" in _refused(tmp_path, "empty.py")
    (tmp_path / "odd.py").write_text(SWEEP.replace("(check):", "(check, other):"))
    assert "takes check, other: here it can take `check` alone" in _refused(tmp_path, "odd.py")
    code, _, told = command(tmp_path, "--only", "nothing_like_it")
    assert (code, "no case has nothing_like_it in its id" in told) == (2, True)


def _refused(folder: Path, name: str) -> str:
    arguments = ["-m", "parity", "kernel", str(folder / name)]
    done = warm.python(arguments, cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    return done.stderr


def test_a_run_that_is_stopped_goes_on_where_it_was(tmp_path: Path) -> None:
    code, told, _ = command(tmp_path, "--total-seconds", "12", bug="hang")
    assert code == 2
    assert "Stopped: the time for the whole run is over" in told
    _, told, progress = command(tmp_path)  # the same file
    assert re.search(r"[1-9]\d* of them done before", progress), (progress, told)


def test_the_same_file_is_a_pytest_file(tmp_path: Path) -> None:
    (tmp_path / "test_norm.py").write_text(SWEEP)
    for bug, says in (("", "passed"), ("dx lacks the weight", "x_grad lacks weight")):
        done = warm.python(
            ["-m", "pytest", "-qx", "-p", "no:cacheprovider", "test_norm.py"],
            env=os.environ | {"BUG": bug, "PYTHONPATH": str(ROOT)}, cwd=tmp_path,
        )  # fmt: skip
        assert (done.returncode == 0) == (not bug), done.stdout
        assert says in done.stdout


def test_the_code_of_the_page_runs_and_says_what_it_says() -> None:
    page = (ROOT / "docs" / "how-to" / "kernels.md").read_text()
    names: dict[str, Any] = {"__name__": "page"}
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(blocks) == 2
    exec(compile(blocks[0].replace(", 1027", ""), "kernels.md", "exec"), names)
    exec(compile(blocks[1], "kernels.md", "exec"), names)
    assert "x_grad lacks weight: it is as if that were 1" in page
    assert "x_grad lacks weight: it is as if that were 1" in str(names["report"])


def test_the_usual_tests_pass_most_of_what_a_sweep_sees() -> None:
    family = BY_NAME["rms_norm"]
    for bug, seen in (("", False), ("dy as contiguous", False), ("weight gradient None", True)):
        assert compared.noticed(compared.usual, family, bug, summed=True) == seen
        assert compared.noticed(torch.testing.assert_close, family, bug, summed=False) == seen
    assert not compared.by_gradcheck(family, "")
    assert compared.by_gradcheck(family, "dx lacks the weight")


def test_the_memory_of_a_pass_is_told_beside_torchs() -> None:
    def wasteful(x: Tensor) -> Tensor:
        copies = [x + n for n in range(8)]
        return x * x + 0 * sum(one.detach().sum() for one in copies)

    spec: dict[str, Any] = {"x": "M N", "sizes": {"M": 64, "N": 64}, "dtypes": "float32"}
    much, same = (
        float(parity.check_function(one, square, **spec).settings["memory"].split()[0])
        for one in (wasteful, square)
    )
    assert same == 1
    assert much > 1.5


def test_attention_that_keeps_the_logsumexp_passes_where_it_sees_one_key_alone() -> None:
    """The gradient of q is exactly 0 in the first row of a causal attention, and large terms cancel
    there: torch's own flash kernel, at a width at which that shows."""

    def plain(q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Tensor:
        scores = q @ k.mT / q.shape[-1] ** 0.5
        if causal:
            seen = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
            scores = scores.masked_fill(~seen, float("-inf"))
        return scores.softmax(-1) @ v

    def flash(q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Tensor:
        return nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal)

    inputs = {"q": "2 3 T D", "k": "2 3 T D", "v": "2 3 T D", "causal": [False, True]}
    report = parity.check_function(flash, plain, inputs, sizes={"T": [7, 33], "D": [80]})
    assert [one for one in report.findings if one.severity != EDGE] == [], report


def test_sums_of_thousands_of_terms_pass_one_by_one_too() -> None:
    def gathered(places: Tensor, table: Tensor) -> Tensor:
        return nn.functional.embedding(places, table).sum(1)

    def bag(places: Tensor, table: Tensor) -> Tensor:
        return nn.functional.embedding_bag(places, table, mode="sum")

    inputs = {"places": parity.indices("B L", of="V"), "table": "V D"}
    sizes = {"B": [65], "L": [63], "V": [1, 11], "D": [3]}
    for one, other in ((gathered, bag), (bag, gathered)):
        report = parity.check_function(one, other, inputs, sizes=sizes, dtypes="float32")
        assert [one for one in report.findings if one.severity != EDGE] == [], report


def test_kinds_of_numbers_can_be_left_out() -> None:
    spec: dict[str, Any] = {"x": "M N", "sizes": SMALL, "dtypes": "float32"}

    def small_alone(x: Tensor) -> Tensor:
        return torch.where(x.abs() > 50, 0.0, x * x)

    assert not parity.check_function(small_alone, square, **spec).passed
    assert parity.check_function(small_alone, square, numbers=["normal", "ties"], **spec).passed
    with pytest.raises(AdapterError, match=r"numbers=\['huge'\]: takes normal, shifted, small"):
        parity.check_function(square, square, numbers="huge", **spec)
