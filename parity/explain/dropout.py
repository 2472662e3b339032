"""What people get wrong in Dropout: its scale, and its mask."""

from __future__ import annotations

from torch import Tensor

from parity.catalogue.case import Case
from parity.explain.mistakes import Masks, Mistake, Mistakes


def of_dropout(made: Mistakes, case: Case, x: Tensor, dy: Tensor, masks: Masks) -> None:
    (mask,) = masks
    if mask is None or not 0 < (p := case.options["p"]) < 1:
        return
    made["output"].append(
        Mistake("no scale", f"lacks the factor 1 / (1 - p), here {1 / (1 - p):.3g}", x * mask)
    )

    def drops_others(dx: Tensor) -> bool:
        return bool(((dx != 0) != mask).any()) and bool((dx == 0).any())

    made["input_grad"] += [
        Mistake("no scale", f"lacks the factor 1 / (1 - p), here {1 / (1 - p):.3g}", dy * mask),
        Mistake("no mask", "is scaled, but the mask is not applied", dy / (1 - p)),
        Mistake(
            "another mask",
            "drops other entries than forward did: backward draws a mask of its own",
            matches=drops_others,
        ),
    ]
