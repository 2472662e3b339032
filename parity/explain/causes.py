"""From failed checks to findings: one cause shows in many checks, and is told once.

Each failed comparison is a clue: whose result it is, and what mistake it fits. The checks of values
and gradients say what is wrong of a class; another check is a finding of its own only where it
fails on a result that those found right. A network is judged layer by layer, so what fails in it is
one of its parts, how they are joined, or nothing that is known.
"""

from __future__ import annotations

import math
import re
from collections.abc import Hashable, Iterable

from parity.explain import dropout
from parity.explain.clues import (
    CANCEL,
    CORE,
    OWN_CHECK,
    RUN,
    WHOLE,
    capital,
    is_value,
    of_value,
    rank,
    result_of,
    tells_most,
    told,
    whose,
)  # fmt: skip
from parity.explain.finding import Finding, merged, unproven, without_small_signs
from parity.judge.comparison import CONVENTION, DIGITS, EDGE, MEMORY, WRONG, Comparison
from parity.judge.outcome import FAILED, MISTRUSTED, SEVERITIES, Outcome


def findings(outcomes: Iterable[Outcome]) -> list[Finding]:
    """What is wrong, the gravest class first."""
    outcomes = list(outcomes)
    failed = [one for one in outcomes if one.verdict == FAILED]
    causes = _Causes(outcomes)
    for outcome in sorted((one for one in failed if one.kind not in WHOLE), key=rank):
        causes.of_part(outcome)
    for outcome in sorted((one for one in failed if one.kind in WHOLE), key=rank):
        causes.of_whole(outcome)
    found = list(causes.found.values())
    no_loss = all(one.kind != "loss" for one in outcomes)
    for finding in found:
        finding.notes += _of_one_case(finding, outcomes)
        if no_loss and _MEAN.search(finding.sentence) and ".param_grad" in finding.evidence.name:
            finding.notes.append(MAYBE_IN_LAYERS)
    found += [unproven(one) for one in outcomes if one.verdict == MISTRUSTED]
    found = without_small_signs(found)
    return sorted(merged(found), key=lambda one: SEVERITIES.index(one.severity))


def _of_one_case(finding: Finding, outcomes: list[Outcome]) -> list[str]:
    """Says so of a finding that one case of its class shows alone, if its sentence does not."""
    cases = {one.case for one in outcomes if one.cls == finding.cls}
    own = {one.case for one in finding.outcomes if one.cls == finding.cls}
    case = next(iter(own), "")
    variant = case.removeprefix(finding.cls).removeprefix("-")
    if len(own) != 1 or len(cases) == 1 or not variant or variant in finding.sentence:
        return []
    return [f"It is so at {variant} alone: the other cases of {finding.cls} do not show it"]


def _lost(value: Comparison, gradient: Comparison) -> bool:
    """Whether both are no numbers, where torch's are."""
    lost = value.reason.startswith("NaN or infinite")
    return lost and (math.isnan(gradient.ratio) or gradient.reason.startswith("NaN or infinite"))


def _apart(reason: str) -> str:
    """What a subject did instead of answering, without the call in which it hung, or ended the
    process: a network's call is another than its layer's."""
    return re.sub(r"^(hangs|ended|crashed)\b(.*?),? (in|when) .*", r"\1\2", reason)


class _Causes:
    """What is known so far.

    Attributes:
        found: each finding, by what makes it one.
        known: the finding that a wrong result belongs to, by case, dtype and result.
        alike: the finding, by its name, of a check of a class on a result, in whichever case.
        many: the classes with more results than a layer's and its weight's and bias's gradients.
            There a mistake on the way spoils many of them.
        derived: the results, by case, that are the derivative of what the subject itself computes,
            right or wrong as that may be.
    """

    def __init__(self, outcomes: list[Outcome]) -> None:
        self.found: dict[Hashable, Finding] = {}
        self.known: dict[tuple[str, str, str], Finding] = {}
        self.alike: dict[tuple[str, str, str, str], Finding] = {}
        self.many = {
            one.cls
            for one in outcomes
            if one.kind == "layer" and one.check in CORE
            for comparison in one.comparisons
            if result_of(comparison) not in FEW
        }
        self.derived = {
            (one.case, result_of(comparison))
            for one in outcomes
            if one.check == "differences"
            for comparison in one.comparisons
            if comparison.passed
        }

    def of_part(self, outcome: Outcome) -> None:
        """A failed check of a layer, a loss or an optimizer."""
        core = outcome.check in CORE

        def place(result: str) -> tuple[str, str, str]:
            return outcome.case, outcome.dtype, result

        value = next(
            (
                finding
                for (case, dtype, result), finding in self.known.items()
                if (case, dtype) == (outcome.case, outcome.dtype) and is_value(result)
            ),
            None,
        )
        here: Finding | None = None  # of a value that is wrong in this very check
        for clue in sorted(outcome.failures, key=tells_most):
            result = result_of(clue)
            finding = self.known.get(place(result))
            raised = clue.name == RUN  # which no wrong value explains
            if here is not None and not clue.named and not is_value(result) and not raised:
                finding = finding or here
            judged = not is_value(result) and not raised and (of_value(outcome) or core)
            if value is not None and judged:
                if value.severity == WRONG:
                    follows = of_value(outcome) or self._follows(outcome, clue, result)
                else:  # a remark excuses its own derivative, and nothing else
                    follows = (outcome.case, result) in self.derived or _lost(value.evidence, clue)
                    lost = value.severity == DIGITS and _of_digits(clue)
                    new = of_value(outcome) and not clue.named and not lost
                    finding = None if new else finding
                finding = value if follows else finding
            if finding is not None and finding.severity == DIGITS and not _of_digits(clue):
                finding = None  # a remark hides nothing that is wrong
                if here is not None and here.severity != DIGITS and not clue.named:
                    finding = here if not is_value(result) else None
            if finding is None and not clue.named:
                finding = self._unnamed(outcome, clue, result)
            if finding is None:
                finding = self._finding(outcome, clue)
            elif clue.named and not core:
                self._also(finding, outcome, clue)
            if clue.named:
                self.alike.setdefault((outcome.cls, outcome.check, outcome.dtype, result), finding)
            finding.shows_in(outcome)
            if is_value(result) and (here is None or here.severity == DIGITS):
                here = finding
            if core:
                self.known.setdefault(place(result), finding)

    def _follows(self, outcome: Outcome, clue: Comparison, result: str) -> bool:
        """Whether a wrong gradient is due to the wrong value beside it: it is the derivative of
        what the subject computes, or it is nothing that has a name."""
        of_layer = outcome.kind in ("layer", "loss")
        return of_layer and ((outcome.case, result) in self.derived or not clue.named)

    def _unnamed(self, outcome: Outcome, clue: Comparison, result: str) -> Finding | None:
        """The finding, by its name, of which a clue without one tells more: of the same result in
        another case or check; where a check is at an edge, or the adapter's own, of that case."""
        same = self.alike.get((outcome.cls, outcome.check, outcome.dtype, result))
        if same is not None or outcome.check in CORE:
            found = same or self._of_class(outcome, result)
            chosen = found is not None and found.severity == CONVENTION
            told = outcome.check in CORE or not is_value(result)
            return None if chosen and told else found
        severity = outcome.severity_of(clue)
        for (cls, _, dtype, own), finding in self.alike.items():
            as_grave = SEVERITIES.index(finding.severity) <= SEVERITIES.index(severity)
            as_grave = as_grave and (finding.severity != DIGITS or _of_digits(clue))
            elsewhere = all(outcome.case != one.case for one in finding.outcomes)
            chosen = finding.severity == CONVENTION and not is_value(result)
            as_grave = as_grave and not (chosen and elsewhere)
            if (cls, dtype, own) == (outcome.cls, outcome.dtype, result) and as_grave:
                return finding
        if (value := self._value_at_other_sizes(outcome, result)) is not None:
            return value
        for graver in SEVERITIES[: SEVERITIES.index(severity)]:
            if (found := self.found.get(self._key(outcome, result, graver))) is not None:
                return found
        if severity == EDGE or clue.reason.startswith(OWN_CHECK):
            for (case, dtype, own), finding in self.known.items():
                here = (case, dtype) == (outcome.case, outcome.dtype) and finding.severity == WRONG
                if here and (clue.name == RUN or own == result):
                    return finding
        return None

    def _value_at_other_sizes(self, outcome: Outcome, result: str) -> Finding | None:
        """The finding of a value at other sizes of the input, of which a gradient is due to it that
        is the derivative of what the subject computes."""
        if is_value(result) or (outcome.case, result) not in self.derived:
            return None
        return next(
            (
                finding
                for (cls, check, dtype, own), finding in self.alike.items()
                if (cls, check, dtype) == (outcome.cls, "ranges", outcome.dtype) and is_value(own)
            ),
            None,
        )

    def _also(self, finding: Finding, outcome: Outcome, clue: Comparison) -> None:
        """What another check has to say of a finding; together they may come to a choice."""
        name, text, _ = told(outcome, clue)
        if choice := dropout.classic(finding.sentence, text):
            finding.said, finding.severity = {outcome.cls: choice}, CONVENTION
        elif outcome.check == "eval_mode" and text not in finding.said.values():
            finding.notes.append(capital(f"{name} {text}".strip()))

    def _of_class(self, outcome: Outcome, result: str) -> Finding | None:
        """What is known, by its name, to be wrong with the same result in another case."""
        for (_, dtype, own), finding in self.known.items():
            same = (finding.cls, own) == (outcome.cls, result) and finding.evidence.named
            if same and (finding.severity != DIGITS or dtype == outcome.dtype):
                return finding
        return None

    def of_whole(self, outcome: Outcome) -> None:
        """A failed check of a network, or of a model that cannot be taken apart."""
        blamed: dict[int, Finding] = {}
        for clue in outcome.failures:
            if clue.name == CANCEL:
                continue
            for finding in self._blamed(outcome, clue) or [self._finding(outcome, clue)]:
                finding.shows_in(outcome)
                blamed[id(finding)] = finding
        for clue in outcome.failures:
            if clue.name == CANCEL:
                for finding in blamed.values():
                    finding.notes.append(capital(clue.diagnosis))
                if _averages_in_layers([*blamed.values()]):
                    for finding in blamed.values():
                        finding.notes.append(IN_LAYERS)

    def _blamed(self, outcome: Outcome, clue: Comparison) -> list[Finding]:
        """The findings that explain what is wrong with a whole."""
        parts = [one for one in self.found.values() if one.cls in outcome.parts]
        if clue.name == RUN:
            return [
                one
                for one in parts
                if one.evidence.name == RUN and _apart(one.evidence.reason) == _apart(clue.reason)
            ]
        if clue.name.endswith(" untouched"):
            return [one for one in parts if one.severity == MEMORY]
        if outcome.check == "eval_mode":
            outputs = [one for one in parts if one.severity not in (EDGE, MEMORY)]
            return _gravest([one for one in outputs if result_of(one.evidence) == "output"])
        if outcome.kind == "model":
            return self._of_training(outcome, clue) or self._of_model(outcome, clue)
        if outcome.check == "training":
            return self._of_training(outcome, clue)
        cls, result = whose(clue.name)
        found = {
            id(one): one
            for (_, dtype, own), one in self.known.items()
            if (one.cls, own, dtype) == (cls, result, outcome.dtype)
        }
        shared = self.alike.get((cls, "instances", outcome.dtype, result))
        return list(found.values()) or ([] if shared is None else [shared])

    def _of_training(self, outcome: Outcome, clue: Comparison) -> list[Finding]:
        """All that a training goes wrong by: what is wrong of its parts, or how they are joined."""
        known = {id(one) for one in self.known.values()}
        found = [
            one
            for one in self.found.values()
            if one.severity not in (EDGE, MEMORY)
            and (one.severity != DIGITS or _of_digits(clue))
            and (
                (one.cls in outcome.parts and id(one) in known)
                or (
                    outcome.check == "training"
                    and any(o.case == outcome.case and o.check != "training" for o in one.outcomes)
                )
            )
        ]
        if clue.name.endswith(" moves"):
            return [one for one in found if any(word in one.sentence for word in STILL)]
        return _gravest(found)

    def _of_model(self, outcome: Outcome, clue: Comparison) -> list[Finding]:
        """What is known of a model that cannot be taken apart, where a clue has no name: one
        mistake spoils most of its gradients, in each check."""
        if clue.named or clue.name == RUN:
            return []
        result, severity = result_of(clue), outcome.severity_of(clue)
        return [
            one
            for one in self.found.values()
            if one.severity == severity
            and one.evidence.name != RUN
            and any(own.case == outcome.case for own in one.outcomes)
            and (not one.evidence.named or result_of(one.evidence) == result)
        ][:1]

    def _finding(self, outcome: Outcome, clue: Comparison) -> Finding:
        """The finding of a clue that none of those before explains."""
        cls = "network" if outcome.kind in WHOLE else outcome.cls
        severity = outcome.severity_of(clue)
        name, text, when = told(outcome, clue)
        result = result_of(clue)
        key: Hashable = cls, re.sub(r"-?\d[\d.e-]*", "#", text)
        if clue.name == RUN and clue.reason.startswith("not run: an earlier"):
            for one in self.found.values():
                if any(o.case == outcome.case for o in one.outcomes):
                    return one
        if severity == DIGITS:
            key = cls, DIGITS
        elif severity == EDGE and not clue.named:
            key = cls, EDGE, outcome.check if outcome.check in ("kink", "empty_batch") else "size"
        elif outcome.kind in WHOLE and clue.diagnosis:
            key = cls, text
        elif clue.name != RUN and not clue.named:
            key = self._key(outcome, result, severity)
        finding = self.found.get(key) or self._of_another_shape(cls, name, text)
        if finding is None:
            finding = self.found[key] = Finding(cls, [outcome], clue, severity)
        if SEVERITIES.index(severity) < SEVERITIES.index(finding.severity):
            finding.severity = severity
        if clue.diagnosis and not finding.evidence.diagnosis:  # it tells more than the first
            finding.said = {}
            finding.rests_on(outcome, clue)
        if clue.diagnosis or not finding.said:
            finding.said.setdefault(name, f"{text}{when}")
        return finding

    def _key(self, outcome: Outcome, result: str, severity: str) -> Hashable:
        """What makes a finding without a name one: its class and result, or, where there are many,
        that they are gradients; of a whole, its check."""
        if outcome.kind in WHOLE:
            return "network", outcome.check, severity
        core = outcome.check in CORE
        if outcome.cls in self.many and not is_value(result):
            return outcome.cls, "gradients", core, severity
        return outcome.cls, result if core else result.rpartition(".")[2], core, severity

    def _of_another_shape(self, cls: str, name: str, text: str) -> Finding | None:
        """What is said of the same result at inputs of more or fewer dimensions, where a mean
        divides by another number."""
        plain = _averaged(text)
        same = (one for one in self.found.values() if one.cls == cls and name in one.said)
        return next((one for one in same if plain and _averaged(one.said[name])), None)


IN_LAYERS = (
    "The loss leaves the mean over the batch to the layers, as some courses do: where that is "
    'meant, say mean="layers"'
)


MAYBE_IN_LAYERS = (
    "A mean over the batch is the loss's, as torch has it; if the layers are to take it in the "
    'loss\'s place, say mean="layers"'
)
_MEAN = re.compile(r" times what it should be: 1 / \d+, \d+ is the batch size$")


def _averages_in_layers(found: list[Finding]) -> bool:
    """Whether all that is wrong is that the loss's gradient is no mean over the batch, and that the
    gradients of parameters are."""
    of_loss = [one for one in found if one.cls.endswith("Loss")]
    of_layers = [one for one in found if one not in of_loss]
    summed = r" \d+ times what it should be: \d+ is the batch size"
    return (
        bool(of_loss and of_layers)
        and all(re.search(summed, one.sentence) for one in of_loss)
        and all(_MEAN.search(one.sentence) and ".param_grad" in one.evidence.name
                for one in of_layers)
    )  # fmt: skip


def _averaged(text: str) -> bool:
    """Whether it says that a result is a mean where a sum is due, whatever the number is."""
    return _AVERAGED.search(text) is not None


FEW = ("output", "input_grad", "weight.param_grad", "bias.param_grad")
_AVERAGED = re.compile(
    r"\S+ times what it should be: 1 / \d+, \d+ is "
    r"(the batch size|the number of (entries of a|pixels|indices).*)$"
)
"""A mean where a sum is due."""

SMALL = 1e-2
"""How far lost digits may lead; what is farther off is something else."""


STILL = ("zero", "no such result", "leaves the parameters", "skipped", "no effect")
"""Words of the findings by which a parameter does not move at all."""


def _of_digits(clue: Comparison) -> bool:
    """Whether lost digits may be all that is wrong."""
    return clue.severity == DIGITS or clue.error < SMALL


def _gravest(found: list[Finding]) -> list[Finding]:
    """Those that are wrong; if there are none, all."""
    return [one for one in found if one.severity == WRONG] or found
