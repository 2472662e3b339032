"""A sweep as pytest tests: one for each case."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from parity.judge.comparison import DIGITS
from parity.judge.outcome import FAILED, FAILING
from parity.kernels.cases import Case
from parity.kernels.judging import Tried, tried
from parity.kernels.player import Pair
from parity.kernels.report import SweepFinding, findings_of
from parity.kernels.spec import Sweep
from parity.kernels.sweep import chosen, place_of, specified
from parity.show.plain import plain

MARK = "parity_sweep"
"""The attribute of a test that holds its sweep."""


@dataclass(frozen=True)
class CaseTest:
    """One case of a sweep as a test: call it with what is under test."""

    sweep: Sweep
    case: Case
    strict: bool = False

    def __call__(self, subject: Any, backward: Callable[..., Any] | None = None) -> None:
        """Fails the test with what is wrong.

        Args:
            subject: a function, or a module; or, with `backward`, a forward.
        """
        import pytest

        __tracebackhide__ = True
        subject = subject if backward is None else Pair(subject, backward)
        one = tried(self.sweep, subject, self.case)
        _seen(self.sweep).update(one.shown)
        if one.why:
            pytest.skip(plain(f"not checked: {one.why}"))
        failed = [outcome for outcome in one.outcomes if outcome.verdict == FAILED]
        if not failed:
            return
        lines = []
        for finding in self._findings(one, subject):
            lines.append(f"[{finding.severity}] {finding.sentence}")
            lines += [f"  in {finding.where}"] if finding.where else []
            lines += [f"  {clue}" for outcome in finding.outcomes[:1] for clue in outcome.failures]
        told = plain("\n".join(lines))
        grave = any(outcome.severity in (*FAILING, DIGITS) for outcome in failed)
        if grave or self.strict:
            pytest.fail(told, pytrace=False)
        pytest.xfail(f"a remark: {told}")

    def _findings(self, one: Tried, subject: Any) -> list[SweepFinding]:
        """What is wrong at this case, narrowed down."""

        try:
            again = _again(self.sweep, subject)
        except TypeError:  # one that has no hash
            again = functools.partial(tried, self.sweep, subject)
        return findings_of(self.sweep, [one], again, place=place_of(subject))


@functools.lru_cache(maxsize=16)
def _again(sweep: Sweep, subject: Any) -> Callable[[Case], Tried]:
    """Tries a case of a sweep, each once: the failing cases of a subject are narrowed down to the
    same few."""
    return functools.cache(functools.partial(tried, sweep, subject))


@dataclass(frozen=True)
class MistakesTest:
    """That each mistake which the user gives would have been seen: run it after the cases."""

    sweep: Sweep

    def __call__(self, subject: Any, backward: Callable[..., Any] | None = None) -> None:
        """Fails the test if no case shows a mistake."""
        import pytest

        __tracebackhide__ = True
        subject = subject if backward is None else Pair(subject, backward)
        seen = _seen(self.sweep)
        for case in chosen(self.sweep):
            if seen >= set(self.sweep.mistakes):
                return
            seen.update(tried(self.sweep, subject, case).shown)
        missed = [name for name in self.sweep.mistakes if name not in seen]
        if missed:
            pytest.fail(f"MISTRUSTED: no case of the sweep shows the mistake {missed[0]!r}: it "
                        "proves too little", pytrace=False)  # fmt: skip


@functools.lru_cache(maxsize=64)
def _seen_by(identity: int) -> set[str]:
    return set()


def _seen(sweep: Sweep) -> set[str]:
    """The user's mistakes that the cases so far would have shown."""
    return _seen_by(id(sweep))


def sweep(
    reference: Any,
    inputs: Mapping[str, Any] | Sequence[Any] = (),
    *,
    full: bool = False,
    strict: bool = False,
    **spec: Any,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Makes a test of each case of a sweep, with ids like `M=1027,N=33-bf16-dy:transposed`.

        @parity.sweep(torch_rms_norm, x="M N", weight="N",
                      sizes={"M": [1, 7, 1027], "N": [8, 33, 50, 1023]})
        def test_rms_norm(check):
            check(my_rms_norm)

    `check(forward, backward)` is for two functions that know nothing of autograd.

    Args:
        reference: torch's function of the same arguments, differentiable; in float64 it is also
            what errors are measured against. Or, of a module, torch's module, or a function of
            sizes that makes it, with `modules=True`.
        inputs: each argument by name, in order, as `check_function` takes them; or by keyword.
        full: a test of every choice, and not only of every pair of choices.
        strict: what is wrong at an edge alone, an empty batch, an infinity or NaN, fails too.
        spec: inputs by keyword, and of what follows what is not the default.
            sizes: of each dimension those that are tried; of one that is not said
                a small prime, 1, 63 and 65.
            blocks: the sizes of a kernel's blocks, of all dimensions or by name: one more than
                each is a size too.
            dtypes: "float32" and "bfloat16"; also "float16", "float64", and, on a GPU, "tf32".
            numbers: of "normal", "shifted", "small", "large", "ties" and "zeros" those that are
                tried: all.
            mistakes: functions like the reference that are wrong in ways one may be, by name: a
                sweep that shows none of one of them is MISTRUSTED.
            half: "every_operation": half precision rounds as torch does, after each operation; or
                "float32_inside": once at the end.
            deterministic: the same bits each time; else what differs is noted.
            compiles: torch.compile takes it whole.
            double: its gradients have gradients.
            writes: the names of the inputs that it may write into.
            device, seed: "cpu" and 0.

    Raises:
        AdapterError: the inputs make no sense, or the reference does not take them.
    """

    def decorated(test: Callable[..., Any]) -> Callable[..., Any]:
        name = test.__name__.removeprefix("test_")
        made = specified(reference, inputs, spec, name=name)
        setattr(test, MARK, made)  # `parity kernel` needs no more, and no pytest
        try:
            import pytest
        except ImportError:
            return test
        cases = [pytest.param(CaseTest(made, case, strict), id=str(case))
                 for case in chosen(made, full=full)]  # fmt: skip
        if made.mistakes:
            cases.append(pytest.param(MistakesTest(made), id="mistakes"))
        return pytest.mark.parametrize("check", cases)(test)

    return decorated
