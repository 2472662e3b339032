"""Where a result is wrong that no known mistake makes: which entries, and what they have in common.

The entries that are wrong are held against what divides a tensor in two: a row, a column, the rows
of one class, the sign of an input or its size. Only what all of the wrong ones are, and none of the
right ones, is said.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

SHOWN = 3
"""How many entries of a wrong result are shown."""


def somewhere(got: Tensor, right: Tensor, inputs: Mapping[str, Tensor], tolerance: float) -> str:
    """Where a result is wrong, and by what factor there, to follow its name in a sentence; empty if
    it is so everywhere, or nowhere in particular.

    Args:
        got, right: of one shape, finite.
        inputs: at which they were computed: `x` and `dy`, or `prediction` and `target`.
        tolerance: how far from right an entry counts as wrong, as a share of the largest.
    """
    wrong = (got - right).abs() > tolerance * right.abs().max()
    if not bool(wrong.any()) or bool(wrong.all()):
        return ""
    there = _there(got[wrong], right[wrong])
    for text, entries in _divisions(wrong, inputs):
        if torch.equal(entries, wrong):
            return f"is wrong {text} alone{there}"
    for text, entries in _divisions(wrong, inputs):
        inside = bool((wrong <= entries).all()) and int(entries.sum()) < entries.numel()
        if inside and 2 * int(wrong.sum()) >= int(entries.sum()):
            return f"is wrong {text} alone, in {int(wrong.sum())} of {int(entries.sum())} entries"
    return f"is wrong in {int(wrong.sum())} of {wrong.numel()} entries{there}"


def worst_entries(
    got: Tensor | None, right: Tensor | None, inputs: Mapping[str, Tensor]
) -> tuple[str, ...]:
    """The entries that are farthest off, each with what it is, what is due, and the inputs there:
    those of its shape."""
    if got is None or right is None or got.shape != right.shape or not got.numel():
        return ()
    off = (got.double() - right).abs().nan_to_num(nan=torch.inf).flatten()
    given = {name: value.flatten() for name, value in inputs.items() if value.shape == right.shape}
    lines = []
    for place in off.topk(min(SHOWN, off.numel())).indices:
        if not off[place]:
            continue
        where = [int(i) for i in torch.unravel_index(place, right.shape)]
        at = ", ".join(f"{name} {float(value[place]):.6g}" for name, value in given.items())
        due = f"{where}: {float(got.flatten()[place]):.6g}, due {float(right.flatten()[place]):.6g}"
        lines.append(f"{due}, at {at}" if at else due)
    return tuple(lines)


def factor(ratio: float) -> str:
    """A factor that is not 1, in digits that show it."""
    return f"{ratio:.3g}" if abs(abs(ratio) - 1) > 5e-3 else f"{ratio:.6g}"


def _there(got: Tensor, right: Tensor) -> str:
    """By what factor the wrong entries are off, if by one."""
    if not bool(got.any()):
        return ", and zero there"
    ratios = got / right
    ratio = float(ratios.median())
    if not bool(((ratios - ratio).abs() <= 1e-3 * abs(ratio)).all()):
        return ""
    return (
        ", and the opposite there" if abs(ratio + 1) < 1e-3 else f", by a factor of {factor(ratio)}"
    )


def _divisions(wrong: Tensor, inputs: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """What divides a result's entries in two, in words, and as those that are in it; of rows and
    columns those alone in which all of the wrong ones are."""
    if wrong.dim() == 2:
        yield from _lines(wrong)
    classes = _classes(inputs.get("target"))
    if classes is not None and wrong.shape[:1] == classes.shape:
        for k in range(int(classes.max()) + 1):
            rows = (classes == k).reshape(-1, *[1] * (wrong.dim() - 1))
            yield f"in the rows of class {k}", rows.expand(wrong.shape)
    values = [(name, value) for name, value in _values(inputs) if value.shape == wrong.shape]
    for name, value in values:
        yield f"where {name} is 0", value == 0
    for name, value in values:
        yield f"where {name} is negative", value < 0
        yield f"where {name} is positive", value > 0
        for bound in (0.5, 1.0, 2.0):
            yield f"where {name} is above {bound:g} in size", value.abs() > bound
            yield f"where {name} is below {bound:g} in size", value.abs() < bound
            yield f"where {name} is above {bound:g}", value > bound
            yield f"where {name} is below -{bound:g}", value < -bound


def _classes(target: Tensor | None) -> Tensor | None:
    """The class of each sample, if targets are classes: `[B]`."""
    if target is None or not target.numel():
        return None
    if target.dim() == 1 and not target.is_floating_point():
        return target
    one_hot = target.dim() == 2 and bool(((target == 0) | (target == 1)).all())
    return target.argmax(-1) if one_hot and bool((target.sum(-1) == 1).all()) else None


def _lines(wrong: Tensor) -> Iterator[tuple[str, Tensor]]:
    """The fewest rows and columns, first, last or a single one, that all of the wrong are in."""
    for axis, name in enumerate(("row", "column")):
        count = wrong.shape[axis]
        hit = wrong.any(1 - axis).nonzero()
        least, most = int(hit.min()), int(hit.max())
        place = torch.arange(count).unsqueeze(1 - axis).expand(wrong.shape)
        found = [(count - least, "last", place >= least), (most + 1, "first", place <= most)]
        if least == most and 0 < least < count - 1:
            yield f"in {name} {least}", place == least
        for rows, side, entries in sorted(found, key=lambda one: one[0]):
            if rows == 1:
                yield f"in the {side} {name}", entries
            elif rows < count - 1:
                yield f"in the {side} {rows} {name}s", entries


def _values(inputs: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """What an entry may depend on, in words."""
    if "x" in inputs:
        yield "the input", inputs["x"]
        yield "the incoming gradient", inputs["dy"]
    prediction, target = inputs.get("prediction"), inputs.get("target")
    if prediction is not None and target is not None:
        if target.shape == prediction.shape:
            yield "prediction - target", prediction - target
            yield "the target", target
        yield "the prediction", prediction
