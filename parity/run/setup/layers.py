"""Looks at linear layers, convolutions, and layers of images."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from torch import Tensor

from parity.checks.trial import Trial, weights
from parity.judge import evaluate
from parity.play.broken import Broken
from parity.run.setup.tries import near


def _fixed(trial: Trial, shapes: list[tuple[int, ...]]) -> Iterator[str]:
    """Of a layer that has a weight alone where torch's has a bias, or kernels of one size, and no
    option for that."""
    entry, options = trial.case.entry, trial.case.options
    own = [case for case in trial.session.description.cases
           if case.entry.name == entry.name and not case.missing]  # fmt: skip
    given = inspect.signature(entry.reference).parameters
    what: list[str] = []
    fixed: dict[str, Any] = {}
    if len(shapes) == 1 and "bias" in given and all("bias" not in case.options for case in own):
        what.append("no bias")
        fixed["bias"] = False
    size = options.get("kernel_size")
    other = next((c for c in own if isinstance(size, int) and c.options["kernel_size"] != size
                  and not c.optional), None)  # fmt: skip
    if other is not None and shapes:
        module = {name: p.detach() for name, p in other.module().named_parameters()}
        there = Trial(trial.session, other, trial.dtype).build().shapes(module)
        unlike = not there or sorted(module["weight"].shape) != sorted(there[0])
        if unlike and [n for n in shapes[0] if n == size][1:]:
            what.append(f"kernels of {size} alone")
            fixed["kernel_size"] = size
    if fixed:
        said = f"fixed={{nn.{entry.name}: {fixed}}}".replace("'", '"')
        yield f"its {entry.name} has {' and '.join(what)}: {said}"


def of_linear(trial: Trial) -> Iterator[str]:
    inputs = trial.inputs()
    layer = trial.build()
    shapes, due = layer.shapes(weights(inputs)), tuple(inputs["weight"].shape)
    if missing := list(_fixed(trial, shapes)):
        yield from missing
        return
    if len(shapes) == len(inputs) - 2 and tuple(shapes[0]) == due[::-1] != due:
        yield 'its Linear has weights [in, out]: weight="in_out"'
        return
    try:
        layer.set_parameters(weights(inputs))
    except Broken:
        own = [] if shapes else layer.arrays_of([tuple(p.shape) for p in weights(inputs).values()])
        if not own:
            raise
        named = ", ".join(f"(layer.{name}, …)" for name in own)
        yield (
            "its Linear does not list its parameters and their gradients: "
            f"parameters=lambda layer: [{named}] if isinstance(layer, …) else []"
        )
        return
    right = evaluate.layer(trial.case.module())(inputs)["output"]

    def gives(x: Tensor, due: Tensor) -> bool:
        refused, y = layer.attempt("forward", x)
        return not refused and near(y, due)

    if trial.case.single or gives(inputs["x"], right):
        return
    if gives(inputs["x"].mT.contiguous(), right.mT):
        layer.forward(inputs["x"].mT.contiguous())
        several = layer.attempt("backward", inputs["dy"].mT.contiguous())[0]
        one = 'batch="column"' if several else 'batch="columns"'
        yield f"its Linear takes features first: {one}"
    elif gives(inputs["x"][0], right[0]):
        yield 'its Linear takes one sample at a time: batch="vector"'


def of_conv(trial: Trial) -> Iterator[str]:
    inputs = trial.inputs()
    layer = trial.build()
    shapes, due = layer.shapes(weights(inputs)), tuple(inputs["weight"].shape)
    name = trial.case.entry.name
    if missing := list(_fixed(trial, shapes)):
        yield from missing
        return
    if shapes and len(shapes[0]) == 2 < len(due):
        yield from _of_matrix(trial, shapes[0])
        return
    layer = trial.build()  # the one before is gone, if another has been built
    layer.shapes(weights(inputs))
    if len(shapes) == len(inputs) - 2 and tuple(shapes[0]) != due and len(shapes[0]) == len(due):
        axes = dict(zip("oihw" if len(due) == 4 else "oiw", due, strict=True))
        fit = [
            k for k in KERNELS
            if tuple(axes[axis] for axis in k if axis in axes) == tuple(shapes[0])
        ]  # fmt: skip
        if fit:
            one = f"{{nn.{name}: {fit[0]!r}}}" if name == "ConvTranspose2d" else repr(fit[0])
            yield f"its {name} has weights {list(shapes[0])}: kernel={one}"
            return
    right = evaluate.layer(trial.case.module())(inputs)["output"]
    for kernel in KERNELS if len(due) == 4 else KERNELS[:1]:
        # The axes may be as long as each other: then only values show how they lie.
        order = ["oihw".index(axis) for axis in kernel] if len(due) == 4 else [0, 1, 2]
        turned = inputs["weight"].permute(order)
        if turned.shape != inputs["weight"].shape:
            continue
        own = {n: p for n, p in weights(inputs).items() if n != "weight"}
        layer.set_parameters({"weight": turned.contiguous(), **own})
        found = _lying(trial, layer, inputs["x"], right)
        if found is not None:
            if kernel != KERNELS[0]:
                yield f"its {name} has weights {list(shapes[0])}: kernel={kernel!r}"
            yield from found
            return


def _of_matrix(trial: Trial, shape: tuple[int, ...]) -> Iterator[str]:
    """Of a convolution whose kernel is kept as a matrix: in which order its axes are joined."""
    inputs, name = trial.inputs(), trial.case.entry.name
    right = evaluate.layer(trial.case.module())(inputs)["output"]
    for kernel in ("", *KERNELS):  # as it is declared, first
        try:
            layer = trial.layer(inputs, {"kernel": kernel} if kernel else None)
        except Broken:
            continue
        found = _lying(trial, layer, inputs["x"], right)
        if found is not None:
            if kernel:
                yield f"its {name} has weights {list(shape)}: kernel={kernel!r}"
            yield from found
            return


def of_images(trial: Trial) -> Iterator[str]:
    """Of a layer of images without parameters."""
    for one in filter(None, (trial, fitted(trial))):
        inputs = one.inputs()
        right = evaluate.layer(one.case.module())(inputs)["output"]
        found = _lying(one, one.build(), inputs["x"], right)
        if found is not None:
            yield from found
            return


def fitted(trial: Trial) -> Trial | None:
    """The trial at images of which no stride leaves a remainder, if its own are not such."""
    if not trial.case.entry.images:
        return None
    case = replace(trial.case, refuses="a remainder")
    return None if case.shape == trial.case.shape else replace(trial, case=case)


def refusal(trial: Trial) -> str:
    """The exception by which a layer refuses its first forward pass, one that it means, or of a
    reshape; "" if there is none."""
    inputs = trial.inputs()
    try:
        trial.layer(inputs).forward(inputs["x"])
    except Broken as broken:
        return str(broken) if broken.meant or _UNSHAPED.search(str(broken)) else ""
    return ""


_UNSHAPED = re.compile(r"^raises \w+: .*(cannot reshape array|is invalid for input of size)")


def _lying(trial: Trial, layer: Any, x: Tensor, right: Tensor) -> list[str] | None:
    """How a layer takes images: their channels last, one at a time, or both; None where it gives
    what is due in none of these ways."""

    def last(x: Tensor) -> Tensor:
        return x.movedim(-3 if right.dim() == 4 else -2, -1).contiguous()

    def gives(given: Tensor, due: Tensor) -> bool:
        refused, y = layer.attempt("forward", given)
        return not refused and near(y, due)

    name, single = trial.case.entry.name, trial.case.single
    images = right.dim() == 4
    one = f'its {name} takes one at a time: batch="vector"'
    if gives(x, right):
        return []
    if gives(last(x), last(right)):
        what = "images [B, H, W, C]" if images else "sequences [B, L, C]"
        return [f'its {name} takes {what}: channels="last"']
    if not single and gives(x[0], right[0]):
        return [one]
    if not single and gives(last(x[0]), last(right[0])):
        what = "[H, W, C]" if images else "[L, C]"
        return [f'its {name} takes {what}: channels="last"', one]
    return None


KERNELS = ("oihw", "hwio", "iohw", "hwoi", "ohwi", "ihwo")
"""How a convolution's weight may lie, the usual ones first."""
