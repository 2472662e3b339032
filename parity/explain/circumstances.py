"""When a result is wrong that is right at ordinary inputs: what each check does, in words."""

from __future__ import annotations

import re

_WHEN = {
    ("layer", "eval_mode"): "in evaluation",
    ("layer", "batch_of_one"): "for a batch of one sample",
    ("layer", "empty_batch"): "for an empty batch",
    ("layer", "samples"): "when the samples of a batch come one by one",
    ("layer", "accumulation"): "after two backwards",
    ("layer", "aliasing"): "once its inputs and results have been written to",
    ("layer", "repeated"): "after another batch",
    ("layer", "second_backward"): "in a second backward after one forward",
    ("layer", "uninitialised"): "where memory is not zero at first",
    ("layer", "kink"): "at 0",
    ("layer", "statistics"): "in evaluation after three batches in training",
    ("layer", "magnitudes"): "at some size of its input",
    ("loss", "batch_of_one"): "for a batch of one sample",
    ("loss", "empty_batch"): "for an empty batch",
    ("loss", "half"): "for a thousand samples in half precision",
    ("loss", "magnitudes"): "at some size of the prediction",
    ("loss", "repeated"): "after another batch",
    ("loss", "uninitialised"): "where memory is not zero at first",
    ("loss", "kink"): "where the prediction equals the target",
    ("model", "batch_of_one"): "for a batch of one sample",
    ("model", "repeated"): "after another batch",
    ("network", "eval_mode"): "in evaluation",
    ("network", "training"): "in training",
}  # fmt: skip


_RANGES = {
    "small": "of the size 0.01", "tiny": "of the size 0.001", "shifted": "about 3",
    "far": "about 100",
}  # fmt: skip


def circumstance(kind: str, cls: str, check: str, name: str) -> str:
    """When a comparison of that name was made, to end a sentence; "" if as always.

    A check of several circumstances says which in the comparison's name: `[65, 5]: output`.
    """
    which = name.rpartition(": ")[0]
    match check:
        case "noncontiguous" if which:
            whose, _, how = which.rpartition(" ")
            lies = {"gaps": "with gaps", "transposed": "transposed", "sliced": "as a slice"}
            lie = "lie" if " and " in whose else "lies"
            return f"where {whose} {lie} {lies.get(how, how)} in memory"
        case "sizes" if which and kind != "optimizer":
            return f"for inputs of {which}" if "rows" in which else f"for inputs of shape {which}"
        case "ranges" if which:
            return f"at inputs {_RANGES.get(which, which)}"
        case "magnitudes" if which and kind == "loss":
            return f"at predictions of {which} in size"
        case "extremes" if kind == "loss":
            known = {
                "BCELoss": "probabilities of exactly 0 and 1",
                "CategoricalCrossEntropy": "probabilities of 1e-6 to 1",
                "NLLLoss": "-1e4 and 0",
                "CTCLoss": "-1e4 and 0",
                "KLDivLoss": "±1e4, and targets of exactly 0 and 1",
            }
            return f"at predictions of {known.get(cls, '±1e4')}"
        case "extremes" if which:
            at = {"large": "as large as 1e4", "subnormal": "as small as 1e-39"}
            return f"at inputs {at.get(which, which)}" if which != "infinite" else "at ±inf"
    return _WHEN.get((kind, check), "")


def plainly(name: str) -> str:
    """A comparison's result as a sentence has it: `input gradient` for `large: input_grad`."""
    own = re.sub(r", of its \w+$", "", name).rpartition(": ")[2]
    if own.endswith(".param_grad"):
        return f"{own.removesuffix('.param_grad')} gradient"
    if own.endswith((".input_grad", ".output")):
        return own.replace(".input_grad", " gradient").replace(".", " ")
    known = {"input_grad": "input gradient", "prediction_grad": "gradient", "loss": "value"}
    return known.get(own, own.replace("_", " "))
