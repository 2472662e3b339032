"""What people get wrong in losses."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from parity.catalogue.case import REDUCTIONS, Case, reduced
from parity.catalogue.values import Tensors
from parity.explain.ctc import of_ctc
from parity.explain.mistakes import Mistake, Mistakes, simple
from parity.judge.comparison import CONVENTION, DIGITS, EDGE


def of_loss(case: Case, inputs: Tensors, oracle: Tensors) -> Mistakes:
    """The mistakes that can be made of a loss, at `inputs` in float64."""
    if case.target == "labels":
        return of_ctc(case, inputs, oracle)
    how = case.how
    made: Mistakes = {name: simple(y) for name, y in oracle.items()}
    x, t = inputs["prediction"], inputs["target"]
    weighted = "weight" in case.options or "ignore_index" in case.options
    none = case.entry.reference(**case.options | {"reduction": "none"})
    if how != "none":
        for other in REDUCTIONS:
            value = reduced(none(x, t), len(x), other)
            if other == how or (not weighted and torch.allclose(value, oracle["loss"], 1e-12)):
                continue
            sentence = (
                f"is the {other.replace('_', ' ')}, where {how.replace('_', ' ')} is declared"
                if not (weighted and how == "mean" and other in ("mean", "batch_mean"))
                else "is divided by the number of samples, and not by their weights, which are 0 "
                "for those that are ignored"
            )
            made["loss"].append(Mistake(other, sentence, value))
    derivative = made["prediction_grad"]
    count = _ratio_of(how, x, none(x, t))
    _of_reductions(made, how, none(x, t), len(x), oracle["prediction_grad"])
    _of_float32(made, case, none, inputs, how)
    match case.entry.name:
        case "HuberLoss":
            text = "is that of SmoothL1Loss: it is divided by delta"
            twin: nn.Module = nn.SmoothL1Loss(reduction="none", beta=case.options.get("delta", 1.0))
            _of_another(made, twin, text, x, t, how)
        case "SmoothL1Loss":
            text = "is that of HuberLoss: it is multiplied by beta"
            twin = nn.HuberLoss(reduction="none", delta=case.options.get("beta", 1.0))
            _of_another(made, twin, text, x, t, how)
        case "KLDivLoss":
            _of_divergence(made, x, t, how, count, logs=case.options.get("log_target", False))
        case "BCEWithLogitsLoss":
            y = torch.sigmoid(x)
            by = count * (y - t) / (y * (1 - y))
            sentence = "is the derivative by the probability, not by the logit"
            derivative.append(Mistake("by the probability", sentence, by))
            twice = count * (y - t) * y * (1 - y)
            derivative.append(Mistake("twice", "passes through the sigmoid twice", twice))
            if "pos_weight" in case.options:
                text = "multiplies all of y - t by pos_weight where t is large, not t's part alone"
                times = 1 + (case.options["pos_weight"].to(x) - 1) * t
                derivative.append(Mistake("pos_weight", text, count * (y - t) * times))
        case "CrossEntropyLoss" if not case.options.keys() - {"reduction"}:
            p = torch.softmax(x, -1)
            one_hot = nn.functional.one_hot(t, x.shape[-1]).to(x) if t.dim() < x.dim() else t
            derivative.append(Mistake("no target", "does not subtract the target", count * p))
            d = oracle["prediction_grad"]
            twice = p * (d - (p * d).sum(-1, keepdim=True))
            derivative.append(Mistake("twice", "passes through the softmax twice", twice))
            mistaken = count * (p - one_hot)
            sentence = "takes the targets of a sample to sum to 1"
            derivative.append(Mistake("sum of targets", sentence, mistaken))
            sentence = "is the derivative by the probabilities, not by the logits"
            derivative.append(Mistake("by the probability", sentence, -count * one_hot / p))
        case "CategoricalCrossEntropy":
            _of_probabilities(made, x, t, how, count, oracle)
        case "BCELoss":
            _of_two_classes(made, x, t, how, count, oracle)
    if case.entry.name in ("BCELoss", "BCEWithLogitsLoss") and "weight" in case.options:
        _of_weighted_mean(made, none(x, t), case.options["weight"].to(x), how, oracle)
    if case.entry.name == "CrossEntropyLoss" and case.options.get("label_smoothing"):
        _of_smoothing(made, case, x, t, how)
    options = case.entry.defaults()
    for option, value in case.options.items():
        default = options.get(option)
        if option != "reduction" and (isinstance(value, Tensor) or default != value):
            criterion = case.entry.reference(
                **case.options | {option: default, "reduction": "none"}
            )
            leaf = x.detach().requires_grad_()
            if option == "ignore_index" and not 0 <= value < x.shape[-1]:
                continue  # without it there is no such class
            wrong = _scaled(criterion(leaf, t), how, len(x))
            (gradient,) = torch.autograd.grad(wrong.sum(), leaf)
            number = isinstance(value, float)
            sentence = f"takes {option} to be {default:g}, not {value:g}" if number else (
                f"ignores {option}"
            )  # fmt: skip
            made["loss"].append(Mistake(f"no {option}", sentence, wrong.detach()))
            derivative.append(Mistake(f"no {option}", sentence, gradient))
    return made


def _of_weighted_mean(
    made: Mistakes, entries: Tensor, weight: Tensor, how: str, oracle: Tensors
) -> None:
    """Weighted entries, divided by the sum of their weights."""
    if how != "mean" or not entries.numel():
        return
    share = entries.numel() / float(weight.expand_as(entries).sum())
    text = "is divided by the sum of the weights, where torch divides by the number of entries"
    for name, right in oracle.items():
        made[name].append(Mistake("weighted mean", text, share * right))


def _of_two_classes(
    made: Mistakes, p: Tensor, t: Tensor, how: str, count: float, oracle: Tensors
) -> None:
    """Of a cross-entropy of the probability of one of two classes."""
    derivative = made["prediction_grad"]
    derivative.append(Mistake("one class", "has the positive class alone", -count * t / p))
    only = _scaled(-t * p.log(), how, len(p))
    made["loss"].append(Mistake("one class", "counts the positive class alone", only))

    def by(p: Tensor, q: Tensor) -> dict[str, list[Tensor]]:
        value = _scaled(-t * p.log() - (1 - t) * q.log(), how, len(p))
        apart, joined = (1 - t) / q - t / p, (p - t) / (p * q)
        return {"loss": [value], "prediction_grad": [count * apart, count * joined]}

    _of_eps(made, oracle, lambda eps: by(p + eps, 1 - p + eps), ADDED)
    _of_eps(made, oracle, lambda eps: by(p.clamp(eps, 1 - eps), 1 - p.clamp(eps, 1 - eps)), KEPT)


def _of_probabilities(
    made: Mistakes, p: Tensor, t: Tensor, how: str, count: float, oracle: Tensors
) -> None:
    """Of a cross-entropy of probabilities."""
    t = t if t.is_floating_point() else nn.functional.one_hot(t, p.shape[-1]).to(p)
    derivative = made["prediction_grad"]
    text = "is the derivative by the logits, that of a softmax before it included"
    derivative.append(Mistake("by the logit", text, count * (p - t)))
    text = "lacks the target's class: it is -1 / p in every entry"
    derivative.append(Mistake("no target", text, -count / p))
    text = "is not divided by the probability: it is the target's negative"
    derivative.append(Mistake("not divided", text, -count * t))
    text = "takes the prediction for logits, not for probabilities: it has a softmax of its own"
    again = -(t * torch.log_softmax(p, -1)).sum(-1)
    by_softmax = count * (torch.softmax(p, -1) * t.sum(-1, keepdim=True) - t)
    made["loss"].append(Mistake("a softmax", text, _scaled(again, how, len(p))))
    derivative.append(Mistake("a softmax", text, by_softmax))
    text = "counts all classes as of two each: it adds (1 - t) log(1 - p)"
    every = -(t * p.log() + (1 - t) * (1 - p).log()).sum(-1)
    made["loss"].append(Mistake("of two each", text, _scaled(every, how, len(p))))
    derivative.append(Mistake("of two each", text, count * ((1 - t) / (1 - p) - t / p)))
    text = "divides the probabilities by their sum first"
    shares = count * (t.sum(-1, keepdim=True) / p.sum(-1, keepdim=True) - t / p)
    whole = -(t * (p / p.sum(-1, keepdim=True)).log()).sum(-1)
    for name, value in (("loss", _scaled(whole, how, len(p))), ("prediction_grad", shares)):
        made[name].append(Mistake("shares", text, value, severity=CONVENTION, hidden=True))

    def by(p: Tensor) -> dict[str, list[Tensor]]:
        value = _scaled(-(t * p.log()).sum(-1), how, len(p))
        return {"loss": [value], "prediction_grad": [-count * t / p]}

    _of_eps(made, oracle, lambda eps: by(p + eps), ADDED)
    _of_eps(made, oracle, lambda eps: by(p.clamp(eps, 1 - eps)), KEPT)


def _of_another(
    made: Mistakes, criterion: nn.Module, text: str, x: Tensor, t: Tensor, how: str
) -> None:
    """Another loss in its place."""
    leaf = x.detach().requires_grad_()
    value = _scaled(criterion(leaf, t), how, len(x))
    (gradient,) = torch.autograd.grad(value.sum(), leaf)
    made["loss"].append(Mistake("another", text, value.detach()))
    made["prediction_grad"].append(Mistake("another", text, gradient))


def _of_divergence(
    made: Mistakes, x: Tensor, t: Tensor, how: str, count: float, *, logs: bool
) -> None:
    """Of KLDivLoss; `logs`: the target is of logarithms too."""
    given = t
    t, log_t = (t.exp(), t) if logs else (t, t.log())
    for text, entries in (
        ("lacks the target's own part, t log t: it is a cross-entropy", -t * x),
        ("takes the prediction for a probability, not for its logarithm", t * (log_t - x.exp())),
        ("has the two distributions swapped", x.exp() * (x - log_t)),
        *([("multiplies by the logarithm of the target, not by the target", given * (given - x))]
          if logs else []),
    ):  # fmt: skip
        made["loss"].append(Mistake(text, text, _scaled(entries, how, len(x))))
    derivative = made["prediction_grad"]
    text = "is that of a softmax before it: p - t"
    derivative.append(Mistake("by the logit", text, count * (x.exp() - t)))
    text = "is the derivative by the probability, not by its logarithm"
    derivative.append(Mistake("by the probability", text, -count * t / x.exp()))


def _of_smoothing(made: Mistakes, case: Case, x: Tensor, t: Tensor, how: str) -> None:
    """Smoothed targets that do not sum to 1."""
    if t.is_floating_point() or case.options.keys() & {"weight", "ignore_index"}:
        return
    features, eps = x.shape[-1], case.options["label_smoothing"]
    hot = nn.functional.one_hot(t, features).to(x)
    for name, sentence, target in (
        ("share kept", "takes 1 - label_smoothing / classes of the target, where it is "
         "1 - label_smoothing", hot * (1 - eps / features) + eps / features),
        ("whole", "adds label_smoothing to every class, where each has its share",
         hot * (1 - eps) + eps),
        ("to others", "gives label_smoothing to the other classes alone",
         hot * (1 - eps) + (1 - hot) * eps / (features - 1)),
    ):  # fmt: skip
        leaf = x.detach().requires_grad_()
        value = -(target * torch.log_softmax(leaf, -1)).sum(-1)
        value = value if how == "none" else value.sum() if how == "sum" else value.mean()
        (gradient,) = torch.autograd.grad(value.sum(), leaf)
        made["loss"].append(Mistake(name, sentence, value.detach()))
        made["prediction_grad"].append(Mistake(name, sentence, gradient))
        by_softmax = torch.softmax(x, -1) - target  # right where a target sums to 1
        by_softmax = by_softmax / len(x) if how == "mean" else by_softmax
        made["prediction_grad"].append(Mistake(name, sentence, by_softmax))


def _of_reductions(
    made: Mistakes, how: str, entries: Tensor, batch: int, derivative: Tensor
) -> None:
    """The derivative of half of what another reduction makes; what those make themselves is some
    number times the right one, which is named."""
    if how == "none" or not entries.numel():
        return
    ones = torch.ones_like(entries)
    counts = {float(n) for n in (1, 2, batch, entries.numel(), entries.numel() // batch)}
    for other in REDUCTIONS:
        if other.startswith("half") and not how.startswith("half"):
            ratio = float(reduced(ones, batch, other) / reduced(ones, batch, how))
            if not {ratio, 1 / ratio} & counts:  # those have names of their own
                text = f"is that of the {other.replace('_', ' ')}, where the value is the {how}"
                made["prediction_grad"].append(Mistake(other, text, ratio * derivative))


def _of_float32(
    made: Mistakes, case: Case, none: Callable[..., Tensor], inputs: Tensors, how: str
) -> None:
    """A prediction or a target that goes through float32."""
    for name in ("prediction", "target"):
        if not inputs[name].is_floating_point():
            continue
        given = inputs | {name: inputs[name].float().double()}
        leaf = given["prediction"].clone().requires_grad_()
        value = _scaled(none(leaf, given["target"]), how, len(leaf))
        (gradient,) = torch.autograd.grad(value.sum(), leaf)
        text = f"rounds the {name} to float32"
        for result, wrong in (("loss", value.detach()), ("prediction_grad", gradient)):

            def says(got: Tensor, wrong: Tensor = wrong, text: str = text) -> str:
                same = torch.allclose(got, wrong, rtol=1e-12, atol=1e-14)
                return text if got.shape == wrong.shape and same else ""

            if not torch.equal(given[name], inputs[name]):
                made[result].append(Mistake("float32", "", says=says, severity=DIGITS))


ADDED = "has {:g} added to the probabilities"
KEPT = "keeps the probabilities {:g} away from 0 and 1"


def _of_eps(
    made: Mistakes, oracle: Tensors, at: Callable[[float], dict[str, list[Tensor]]], sentence: str
) -> None:
    """A small number that keeps logarithms of probabilities finite; near 0 it is no mistake of
    its own, so that it says nothing of what a pass is worth. `at`: the results with such a
    number."""
    without = at(0.0)

    def same(value: Tensor, name: str, sentence: str) -> Callable[[Tensor], str]:
        def says(got: Tensor) -> str:
            if got.shape != value.shape or not bool(got.isfinite().all()):
                return ""
            others = [(got - one).abs().max() for one in (oracle[name], without[name][0])]
            near = (got - value).abs().max() <= 0.02 * min(others)
            return sentence if near and torch.allclose(got, value, 1e-4) else ""

        return says

    for eps in (10.0**-power for power in range(1, 17)):
        text = sentence.format(eps)
        severity = EDGE if eps < 1e-5 else ""
        for name, values in at(eps).items():
            for value in values:
                says = same(value, name, text)
                made[name].append(Mistake("eps", "", says=says, severity=severity))


def _scaled(entries: Tensor, how: str, batch: int) -> Tensor:
    return entries if how == "none" else reduced(entries, batch, how)


def _ratio_of(how: str, x: Tensor, entries: Tensor) -> float:
    """What the reduction multiplies each entry of a loss by."""
    if how == "none" or not entries.numel():
        return 1.0
    return float(_scaled(torch.ones_like(entries), how, len(x)) / entries.numel())
