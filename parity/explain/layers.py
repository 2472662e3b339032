"""What people get wrong in layers: in any of them, and, by its family, in the one at hand."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from parity.catalogue.attention import (
    GeGLU,
    MultiheadAttention,
    RoPE,
    ScaledDotProductAttention,
    SwiGLU,
)
from parity.catalogue.case import Case
from parity.catalogue.values import Tensors
from parity.explain import (
    activations,
    attention,
    averages,
    convolution,
    dropout,
    embedding,
    gated,
    lifted,
    linear,
    normalization,
    pooling,
    recurrent,
    rotary,
)
from parity.explain.mistakes import Masks, Mistake, Mistakes, simple
from parity.judge import evaluate
from parity.judge.evaluate import dropping, without_statistics


def of_layer(
    case: Case, module: nn.Module, inputs: Tensors, oracle: Tensors, masks: Masks
) -> Mistakes:
    """The mistakes that can be made of a layer, at `inputs` in float64."""
    made: Mistakes = {name: simple(y) for name, y in oracle.items()}
    x, dy = inputs["x"], inputs["dy"]
    y = oracle["output"]
    module = without_statistics(module)

    def passed(module: nn.Module = module, rows: slice | None = None, **changed: Tensor) -> Tensors:
        given = inputs | changed
        if rows is not None:
            given = {name: v[rows] if OF_A_BATCH.search(name) else v for name, v in given.items()}
        return _both(module, given, masks)

    if x.shape == y.shape and "input_grad" in made:
        made["output"].append(Mistake("identity", "is the input itself", x))
        made["input_grad"].append(
            Mistake("identity", "is the incoming gradient itself: the derivative is left out", dy)
        )
    family = next((of for kinds, of in FAMILIES if isinstance(module, kinds)), None)
    if family is not None:
        family(made, module, inputs, oracle)
    elif isinstance(module, nn.Dropout):
        dropout.of_dropout(made, case, x, dy, masks)
    elif x.shape == y.shape and not any(True for _ in module.parameters()):
        activations.of_activation(made, case, module, passed, inputs, y)
    for name, value in oracle.items():
        square = value.dim() == 2 and value.shape[0] == value.shape[1]
        if "weight" in name.rpartition(".")[0].rpartition(".")[2] and square:
            made[name].append(Mistake("transposed", "is transposed", value.mT))
    _of_others(made, oracle)
    _of_batch(made, passed, x, dy, case)
    _of_options(made, case, passed, module.training)
    return made


FAMILIES: tuple[tuple[Any, Callable[[Mistakes, Any, Tensors, Tensors], None]], ...] = (
    (nn.Linear, linear.of_linear),
    (nn.Conv2d, convolution.of_convolution),
    (nn.Conv1d, lifted.of_sequence),
    (nn.ConvTranspose2d, lifted.of_transposed),
    (nn.MaxPool2d, pooling.of_max_pool),
    (nn.AvgPool2d, averages.of_average_pool),
    (nn.AdaptiveAvgPool2d, averages.of_global_average),
    (nn.Upsample, averages.of_upsample),
    (nn.Flatten, pooling.of_flatten),
    (normalization.NORMS, normalization.of_norm),
    ((nn.GroupNorm, nn.InstanceNorm2d), lifted.of_groups),
    (nn.PReLU, activations.of_prelu),
    (nn.Embedding, embedding.of_embedding),
    ((nn.RNNBase, nn.RNNCellBase), recurrent.of_recurrent),
    (ScaledDotProductAttention, attention.of_attention),
    (MultiheadAttention, attention.of_heads),
    ((SwiGLU, GeGLU), gated.of_gated),
    (RoPE, rotary.of_rope),
    (nn.GLU, gated.of_glu),
    (nn.ZeroPad2d, pooling.of_padding),
)
"""What is known of a family's mistakes, by the torch classes that are of it."""


OF_A_BATCH = re.compile(r"(^|\.)(x|dy)$")
"""What has an axis of samples, by its name."""


def _both(module: nn.Module, inputs: Tensors, masks: Masks) -> Tensors:
    """Forward and backward at these inputs."""
    with dropping(module, masks) if masks else contextlib.nullcontext():  # none in evaluation
        ys, wanted = evaluate.forward(module, inputs)
    results = {name: y.detach() for name, y in ys.items()}
    dys = evaluate.incoming(inputs)
    # An output of another shape than it should be has no gradient for this dy.
    if all(y.shape == dy.shape for y, dy in zip(ys.values(), dys, strict=True)):
        gradients = torch.autograd.grad(
            list(ys.values()), list(wanted.values()), dys, allow_unused=True
        )
        found = zip(wanted, gradients, strict=True)
        results |= {name: gradient for name, gradient in found if gradient is not None}
    return results


def _of_others(made: Mistakes, oracle: Tensors) -> None:
    """A gradient that is another's of the same shape."""
    gradients = {name: value for name, value in oracle.items() if name.endswith("_grad")}
    for name, own in gradients.items():
        for other, value in gradients.items():
            if other != name and value.shape == own.shape:
                whose = "the input" if other == "input_grad" else other.rpartition(".")[0]
                text = f"is that of {whose}"
                if "param_grad" not in name + other:
                    text = "is returned in the place of another"
                made[name].append(Mistake(f"of {whose}", text, value))


def _of_batch(
    made: Mistakes, passed: Callable[..., Tensors], x: Tensor, dy: Tensor, case: Case
) -> None:
    """Gradients of parameters that are reduced over the batch in a wrong way."""
    if len(x) < 2 or case.mixes:
        return
    keys = [key for key in made if key.endswith("param_grad")]
    if not keys:
        return
    one = "is that of the {} sample alone, not summed over the batch"
    for name, sentence, wrong in (
        ("last sample", one.format("last"), passed(rows=slice(-1, None))),
        ("first sample", one.format("first"), passed(rows=slice(1))),
        ("all but last", "leaves out the last sample", passed(rows=slice(-1))),
        ("all but first", "leaves out the first sample", passed(rows=slice(1, None))),
        ("not multiplied", "ignores the incoming gradient", passed(dy=torch.ones_like(dy))),
        ("absolute", "takes the absolute value of the input", passed(x=x.abs())),
    ):
        for key in keys:
            made[key].append(Mistake(name, sentence, wrong[key]))


OF_FAMILIES = ("eps", "momentum")
"""Options of which a family's own mistakes tell more."""


OF_WINDOWS = ("stride", "padding", "dilation")
"""Options whose default is to do nothing."""


def _of_options(made: Mistakes, case: Case, passed: Callable[..., Tensors], training: bool) -> None:
    """What comes out if one option is taken to be torch's default."""
    defaults = case.entry.defaults()
    for option, value in case.options.items():
        default = defaults.get(option)
        if option in case.entry.positional or default in (None, value):
            continue
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            continue
        if option in OF_FAMILIES:
            continue
        other_module = case.entry.reference(**case.options | {option: default})
        module = without_statistics(other_module.train(training))
        try:
            other = passed(module=module)
        except RuntimeError:  # its parameters are of other shapes then
            continue
        for name, wrong in other.items():
            sentence = f"takes {option} to be {default:g}, not {value:g}"
            if option in OF_WINDOWS:
                sentence = f"ignores the {option}"
            made[name].append(Mistake(f"{option}={default:g}", sentence, wrong))
