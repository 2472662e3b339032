"""Of several mistakes that make the same of one input, the one that other inputs tell.

An average that is divided by the stride equals one that is divided by the kernel's size where the
two are alike; at another option they are not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import torch

from parity.explain.clues import mistake, result_of
from parity.explain.mistakes import simple
from parity.judge.comparison import Comparison
from parity.judge.outcome import FAILED, Outcome

OF_ANY = {one.sentence for one in simple(torch.zeros(()))}
"""What can be wrong with any result, whatever is right of another."""
Texts = dict[str, str]  # what it may be, with its class


def settled(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """The outcomes, in which a failed comparison that may be several mistakes is one of them: one
    that no pass of this result rules out, and of these the one that explains most of all that
    fails of the class. Where two explain as much, one that a pass of another result rules out
    steps back; else it stays open."""
    failed = [one for one in outcomes if one.verdict == FAILED]
    if not any(clue.candidates for one in failed for clue in one.failures):
        return list(outcomes)
    by_result: dict[tuple[str, str], dict[tuple[int, int], Texts]] = {}
    refuted: dict[tuple[str, str], set[str]] = {}
    for number, outcome in enumerate(outcomes):
        for place, clue in enumerate(outcome.comparisons):
            of = outcome.cls, result_of(clue)
            refuted.setdefault(of, set()).update(clue.refuted)
            if outcome.verdict == FAILED and (texts := _texts(clue)):
                by_result.setdefault(of, {})[number, place] = texts
    elsewhere: dict[str, set[str]] = {}
    for (cls, _), out in refuted.items():
        elsewhere.setdefault(cls, set()).update(out - OF_ANY)
    for of, clues in by_result.items():
        for texts in clues.values():
            _drop(texts, {one for one in texts if any(map(one.endswith, refuted[of]))})
    shared = Counter(
        (of[0], mistake(one))
        for of, clues in by_result.items()
        for texts in clues.values()
        for one in texts
    )
    found: dict[tuple[int, int], tuple[str, str]] = {}
    for of, clues in by_result.items():
        for texts in clues.values():
            count = {one: shared[of[0], mistake(one)] for one in texts}
            _drop(texts, {one for one in texts if count[one] < max(count.values())})
            _drop(texts, {one for one in texts if any(map(one.endswith, elsewhere[of[0]]))})
        found |= _settled(clues)
    return [
        replace(outcome, comparisons=[
            _as(clue, found.get((number, place))) for place, clue in enumerate(outcome.comparisons)
        ])
        for number, outcome in enumerate(outcomes)
    ]  # fmt: skip


def _drop(texts: Texts, out: set[str]) -> None:
    """Leaves these out, if others are left then."""
    if len(out) < len(texts):
        for one in out:
            del texts[one]


def _texts(clue: Comparison) -> Texts:
    if clue.passed or clue.inherited:
        return {}
    return dict(clue.candidates) or ({clue.diagnosis: clue.severity} if clue.named else {})


def _settled(clues: dict[tuple[int, int], Texts]) -> dict[tuple[int, int], tuple[str, str]]:
    """Which text each clue is, of those that have one: the text of most clues first."""
    covers: dict[str, set[tuple[int, int]]] = {}
    for place, texts in clues.items():
        for text in texts:
            covers.setdefault(text, set()).add(place)
    found: dict[tuple[int, int], tuple[str, str]] = {}
    left = set(clues)
    while left:
        text = max(covers, key=lambda one: len(covers[one] & left))
        explained = covers[text] & left
        if not explained:
            break
        left -= explained
        if any(one != text and covers[one] >= explained for one in covers):
            continue
        for place in explained:
            found[place] = text, clues[place][text]
    return found


def _as(clue: Comparison, told: tuple[str, str] | None) -> Comparison:
    if told is None or not clue.candidates:
        return clue
    return replace(clue, diagnosis=told[0], severity=told[1], named=True, candidates=())
