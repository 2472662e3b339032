"""From failed checks to faults: one mistake shows in many checks, and is told once.

A class whose input gradient is wrong fails whatever looks at input gradients, and so does every
network that it is part of. The checks of values and gradients tell what is wrong; another check
is a fault of its own only where it fails on a result that those found right.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from parity.judge.comparison import Comparison
from parity.judge.outcome import FAILED, MISTRUSTED, Outcome

#: The checks that say of each result whether it is right, as such.
CORE = (
    "forward",
    "input_grad",
    "param_grad",
    "value",
    "gradient",
    "twenty_steps",
    "first_step",
    "step",
)
#: The checks at inputs that training hardly meets.
EDGES = ("empty_batch", "extremes", "kink", "nan")
WHOLE = ("layer_by_layer", "eval_mode", "training")


def faults(outcomes: Iterable[Outcome]) -> dict[str, list[Outcome]]:
    """What is wrong, by the sentence that says it, with the checks that it shows in."""
    failed = [one for one in outcomes if one.verdict == FAILED]
    found: dict[str, list[Outcome]] = {}
    known: dict[tuple[str, str], str] = {}  # by case and result: the sentence
    parts = [one for one in failed if one.kind not in ("network", "model")]
    whole = [one for one in failed if one.kind in ("network", "model")]
    for outcome in sorted(parts, key=_rank):
        sentences = {
            known[outcome.case, r] for r in _results(outcome) if (outcome.case, r) in known
        }
        follows = all((outcome.case, result) in known for result in _results(outcome))
        own = outcome.check in CORE and any(failure.diagnosis for failure in outcome.failures)
        said = sorted(sentences) if follows and sentences and not own else told(outcome)
        if outcome.check in CORE:
            for failure in outcome.failures:
                own_words = _capital(failure.diagnosis)
                sentence = own_words if own_words in said else said[0]
                known.setdefault((outcome.case, _result(failure)), sentence)
        for sentence in said:
            found.setdefault(sentence, []).append(outcome)
    guilty = {one.cls: sentence for sentence, ones in found.items() for one in reversed(ones)}
    for outcome in sorted(whole, key=_rank):
        blamed = _blamed(outcome)
        inherited = [guilty[cls] for cls in guilty if cls in blamed]
        unheard = not blamed and (outcome.check == "training" and bool(found))
        if blamed <= guilty.keys() and inherited:
            sentence = inherited[0]
        elif unheard:
            sentence = next(iter(found))
        else:
            sentence = told(outcome)[0]
        found.setdefault(sentence, []).append(outcome)
    for outcome in outcomes:
        if outcome.verdict == MISTRUSTED:
            near = outcome.nearest.nearest
            text = f"{outcome.cls} proves too little: the mistake {near!r} would hardly show"
            found.setdefault(text, []).append(outcome)
    return found


def told(outcome: Outcome) -> list[str]:
    """What there is to say of a failed check: a sentence for each mistake that it shows."""
    sentences = [_capital(failure.diagnosis) for failure in outcome.failures if failure.diagnosis]
    if sentences:
        return _joined(list(dict.fromkeys(sentences)))
    failure = outcome.failures[0]
    if failure.name == "run":  # it did something else than answer
        return [f"{outcome.cls}: {failure.reason}"]
    what = failure.reason or "is wrong, and the evidence singles out no known mistake"
    return [f"{outcome.cls}: {_plain(failure.name)} {what}"]


def evidence(sentence: str, outcome: Outcome) -> Comparison:
    """Of a check that shows a fault, the comparison that its sentence is about."""
    shown = outcome.failures or [outcome.nearest]
    return next((one for one in shown if _capital(one.diagnosis) == sentence), shown[0])


def _joined(sentences: list[str]) -> list[str]:
    """Sentences that say the same of several parameters as one."""
    whose: dict[str, list[str]] = {}
    for sentence in sentences:
        name, gradient, rest = sentence.partition(" gradient ")
        whose.setdefault(rest if gradient else sentence, []).append(name)
    joined = []
    for rest, (first, *others) in whose.items():
        like = [name.split()[-1] for name in others]
        shown = like[0] if len(like) == 1 else f"{len(like)} others"
        also = f", like that of {shown}," if like else ""
        joined.append(rest if first == rest else f"{first} gradient{also} {rest}")
    return joined


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _rank(outcome: Outcome) -> tuple[bool, bool, bool]:
    """Those that tell most first: of values, explained."""
    explained = any(failure.diagnosis for failure in outcome.failures)
    return outcome.check not in CORE, outcome.check in WHOLE, not explained


def _results(outcome: Outcome) -> set[str]:
    """The results that a check failed on, by the names that the core checks have for them."""
    return {_result(failure) for failure in outcome.failures}


def _result(comparison: Comparison) -> str:
    """`input_grad` for `large: input_grad`; what an optimizer moves is one result, whichever."""
    if comparison.name.startswith("step ") and not comparison.reason:
        return "parameters"
    return _plain(comparison.name).split(": ")[-1]


def _plain(name: str) -> str:
    return re.sub(r", of its \w+$", "", name)


def _blamed(outcome: Outcome) -> set[str]:
    """The classes that a network's check finds at fault themselves."""
    names = [failure.name for failure in outcome.failures if ": " in failure.name]
    found = {re.sub(r"^layer \d+ \((\w+)\)$", r"\1", name.split(": ")[0]) for name in names}
    return {name for name in found if not name.startswith("step ")}
