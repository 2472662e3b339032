"""What people get wrong in Dropout: its scale, and its mask."""

from __future__ import annotations

from torch import Tensor

from parity.catalogue.case import Case
from parity.explain.mistakes import Masks, Mistake, Mistakes

UNSCALED = "lacks the factor 1 / (1 - p)"
MULTIPLIED = "multiplied by 1 - p in evaluation"


def classic(training: str, evaluation: str) -> str:
    """What two mistakes come to that make each other good; "" if these are not the two."""
    if UNSCALED not in training or MULTIPLIED not in evaluation:
        return ""
    return f"is the classic dropout, not the inverted one: not scaled in training, and {MULTIPLIED}"


def of_dropout(made: Mistakes, case: Case, x: Tensor, dy: Tensor, masks: Masks) -> None:
    """In training; in evaluation there are no masks."""
    p = case.options["p"]
    if not masks:
        _in_evaluation(made, p, x, dy)
        return
    (mask,) = masks
    if mask is None or p == 0:
        return
    keep = "takes p for the probability to keep, where it is that to drop"
    if p == 1:
        made["output"] = [Mistake("keep", keep, x)]
        return
    scale = f"{UNSCALED}, here {1 / (1 - p):.3g}"
    made["output"] += [
        Mistake("no scale", scale, x * mask),
        Mistake("multiplied", "is multiplied by 1 - p, where 1 / (1 - p) belongs",
                x * mask * (1 - p)),
    ]  # fmt: skip
    if p != 0.5:
        made["output"].append(Mistake("keep", keep, x * mask / p))
        made["input_grad"].append(Mistake("keep", keep, dy * mask / p))

    def drops_others(dx: Tensor) -> str:
        others = bool(((dx != 0) != mask).any()) and bool((dx == 0).any())
        return "drops other entries than forward did: backward draws a mask of its own" * others

    made["input_grad"] += [
        Mistake("no scale", scale, dy * mask),
        Mistake("no mask", "is scaled, but the mask is not applied", dy / (1 - p)),
        Mistake("multiplied", "is multiplied by 1 - p, where 1 / (1 - p) belongs",
                dy * mask * (1 - p)),
        Mistake("another mask", "", says=drops_others),
    ]  # fmt: skip


def _in_evaluation(made: Mistakes, p: float, x: Tensor, dy: Tensor) -> None:
    """Nothing is to be dropped, and nothing scaled. Where all would be dropped, the one cannot be
    told from the other."""
    multiplied = f"is {MULTIPLIED}"
    for name, whole in (("output", x), ("input_grad", dy)):

        def drops(got: Tensor, whole: Tensor = whole) -> str:
            text = "drops entries in evaluation too"
            return text * bool(((got == 0) & (whole != 0)).any())

        made[name] = []
        if 0 < p < 1:
            made[name].append(Mistake("drops", "", says=drops))
            made[name].append(Mistake("classic", multiplied, whole * (1 - p)))
