"""A failed comparison as a clue: whose result it is, what there is to say of it, what it tells."""

from __future__ import annotations

import re

from parity.explain.circumstances import circumstance, plainly
from parity.judge.comparison import MISSING, Comparison
from parity.judge.outcome import Outcome

#: The checks that say of each result whether it is right, as such: those that tell most first.
CORE = ("forward", "value", "twenty_steps", "input_grad", "param_grad", "gradient", "first_step",
        "step")  # fmt: skip
WHOLE = ("network", "model")
CANCEL = "parts"
"""The name of the comparison that says that errors cancel."""
WRITTEN = "was modified"
"""What a comparison says of an array that was written into."""
OWN_CHECK = "its own check"
"""How the reason begins where a check of the adapter's own falls over."""
RUN = "run"
"""The name of the comparison that says that it did something else than answer."""
UNWRITTEN = ("raises NotImplementedError", "has no attribute 'backward'")
"""Words of what a class says whose backward is to be written."""


def told(outcome: Outcome, clue: Comparison) -> tuple[str, str, str]:
    """Whose result a clue is of, what there is to say of it, and when that is so."""
    when = circumstance(outcome.kind, outcome.cls, outcome.check, clue.name)
    if clue.diagnosis:
        halves = _WHOSE.match(clue.diagnosis)
        name, text = (halves[1], halves[2]) if halves else ("", clue.diagnosis)
        said = not name or outcome.kind in WHOLE or outcome.check in ("accumulation", "kink")
        said = said or not when or when in text or "NaN or infinite" in text or " alone" in text
        return name, text, "" if said else f", {when}"
    if clue.name == RUN:  # it did something else than answer
        if any(word in clue.reason for word in UNWRITTEN):
            return outcome.cls, f"is not written yet: it {clue.reason}", ""
        return f"{outcome.cls}:", clue.reason, ""
    if clue.reason:
        return f"{outcome.cls} {plainly(clue.name)}", _clause(clue.reason), f", {when}" * bool(when)
    if when:
        return f"{outcome.cls} {plainly(clue.name)}", "is wrong", f" {when}"
    what = "is wrong, and the evidence singles out no known mistake"
    return f"{outcome.cls}: {plainly(clue.name)}", what, ""


def mistake(diagnosis: str) -> str:
    """What a diagnosis says, without the result that it says it of."""
    halves = _WHOSE.match(diagnosis)
    return halves[2] if halves else diagnosis


_WHOSE = re.compile(
    r"(.*?(?: output| input gradient|\.\S+ gradient| gradient| value)) "
    r"((?:is|has|lacks|takes|uses|ignores|drops|leaves|rounds|adds|counts|passes|does|fits|keeps|"
    r"begins|goes|deals|ends|loses|updates|repeats|still|starts|lets|hides|reads)\b.*)"
)


def _clause(reason: str) -> str:
    """A comparison's reason as the rest of a sentence."""
    if reason.startswith(("NaN or", "shape ", "dtype ")):
        return f"{'is' if reason.startswith('NaN') else 'has'} {reason}"
    return "is not there" if reason == MISSING else reason


def like(first: str, others: list[str]) -> str:
    """The other results that the same is said of, to follow the first."""
    if not others:
        return ""
    if first.endswith(" gradient") and "." in first:
        whose = others[0].split()[-2] if len(others) == 1 else f"{len(others)} others"
        return f", like that of {whose},"
    return f", like its {' and '.join(dict.fromkeys(map(_own, others)))},"


def _own(name: str) -> str:
    """`input gradient` of `Dropout input gradient`."""
    return "input gradient" if name.endswith(" input gradient") else name.split(maxsplit=1)[-1]


def capital(text: str) -> str:
    """A sentence's beginning, but for a name that is written small."""
    return text if "_" in text.partition(" ")[0] else text[:1].upper() + text[1:]


def rank(outcome: Outcome) -> tuple[int, bool, bool]:
    """Those that tell most first: of values, named."""
    place = CORE.index(outcome.check) if outcome.check in CORE else len(CORE)
    whole = outcome.check in ("eval_mode", "training")
    return place, whole, not any(failure.named for failure in outcome.failures)


def is_value(result: str) -> bool:
    """Whether a result is what a layer or a loss computes, and not a gradient."""
    return result in ("output", "loss") or result.endswith(".output")


def tells_most(clue: Comparison) -> tuple[bool, bool]:
    return not is_value(result_of(clue)), not clue.diagnosis


def of_value(outcome: Outcome) -> bool:
    """Whether a check is of what a layer puts out, under another name, or of its derivative."""
    return outcome.check == "differences" or (outcome.check, outcome.kind) == ("rate", "layer")


def result_of(comparison: Comparison) -> str:
    """`input_grad` for `large: input_grad`; what an optimizer moves is one result, whichever."""
    if comparison.name.startswith("step ") and comparison.reason != WRITTEN:
        return "parameters"
    name = re.sub(r", of its \w+$| of run \d+$| after zero_grad$", "", comparison.name)
    return name.split(": ")[-1]


def whose(name: str) -> tuple[str, str]:
    """The class and the result of `layer 2 (Tanh): input_grad, of its input`."""
    whose, _, result = re.sub(r", of its \w+$", "", name).rpartition(": ")
    return re.sub(r"^layer \d+ \((\w+)\)$", r"\1", whose), result
