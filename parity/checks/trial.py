"""What a check is given: one case, in one dtype, from one seed, and the subject to play it on."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from parity.catalogue import ctc
from parity.catalogue.case import REDUCTIONS, Case
from parity.catalogue.values import Tensors, normal, weights_of
from parity.explain import layers, losses, mistakes
from parity.explain.diagnosis import judge
from parity.explain.mistakes import Masks, Mistakes, simple
from parity.judge import evaluate
from parity.judge.comparison import EDGE, Comparison
from parity.judge.evaluate import dropping
from parity.judge.once import once
from parity.judge.truth import DRAWS, Truth, truth
from parity.play.arrays import same_bits
from parity.play.broken import Broken

NEAREST = 0.05
"""How near a real target comes to a prediction, in steps of which a difference is taken."""


def weights(inputs: Tensors) -> Tensors:
    """The parameters among a layer's inputs."""
    return {n: v for n, v in inputs.items() if n != "x" and n != "dy" and not _beside(n)}


def beside(inputs: Tensors) -> tuple[Tensors, Tensors]:
    """The inputs that come after the first, and the gradients of such outputs, by name."""
    given = {n.removesuffix(".x"): v for n, v in inputs.items() if n.endswith(".x")}
    return given, {n.removesuffix(".dy"): v for n, v in inputs.items() if n.endswith(".dy")}


def arguments(inputs: Tensors, lies: tuple[str, str] = ("", "")) -> tuple[Any, ...]:
    """What a loss's forward is given, and how prediction and target lie in memory."""
    lengths = {name: x for name, x in inputs.items() if name.endswith("_lengths")}
    given = inputs["prediction"], inputs["target"], *lies
    return (*given, lengths) if lengths else given


def _beside(name: str) -> bool:
    return name.endswith((".x", ".dy")) or name.startswith("x ")


@dataclass(frozen=True)
class Trial:
    """A case to be checked.

    Args:
        session: plays the subject, here or in a process of its own.
        case: what is checked.
        dtype, device: in which, and where.
        seed: of all that is random.
        assumed: settings beside the adapter's, of a layer or a loss.
    """

    session: Any
    case: Case
    dtype: torch.dtype = torch.float32
    device: str = "cpu"
    seed: int = 0
    assumed: dict[str, str] = field(default_factory=dict, compare=False)

    def generator(self) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed)

    def random(self, *shape: int, generator: torch.Generator) -> Tensor:
        """Normal numbers in the dtype, none near a kink at 0."""
        return normal(*shape, generator=generator, dtype=self.dtype)

    def build(self, *, poison: bool = False) -> Any:
        """The subject's own object for this case."""
        made = self.session.new(self.case, self.dtype, self.device, self.seed, poison)
        if self.assumed and self.case.kind in ("layer", "loss"):
            made.assume(self.assumed)
        return made

    def refused(self) -> bool:
        """Whether the subject refuses this variant, which is not its entry's first, by an exception
        that it means: when it is made, or at the first pass."""
        case = self.case
        if case.variant == next(iter(case.entry.variants)):
            return False
        try:
            made = self.build()
            if case.kind == "layer":
                inputs = self.inputs()
                self.layer(inputs).forward(inputs["x"])
            elif case.kind == "loss":
                made.forward(*arguments(self.loss_inputs()))
        except Broken as broken:
            return broken.meant
        return False

    def layer(
        self, inputs: Tensors, settings: dict[str, str] | None = None, *, poison: bool = False
    ) -> Any:
        """The subject's layer, with the parameters among `inputs`, and the inputs that come after
        the first; by these settings beside the adapter's."""
        layer = self.build(poison=poison)
        if settings:
            layer.assume(settings)
        layer.set_parameters(weights(inputs))
        if self.case.entry.several:
            layer.set_beside(*beside(inputs))
        return layer

    def inputs(self, rows: int | None = None) -> Tensors:
        """Random `x` and `dy` of a layer, and its parameters; and those inputs and gradients of
        outputs that come after the first, as `h.x` and `c.dy`."""
        generator = self.generator()
        module = self.case.module()
        rows = self.case.rows if rows is None else rows
        shape = self.case.shape[1:]
        parameters = weights_of(module, generator, self.dtype)
        first, *others = self.outputs(*shape)
        inputs = {
            "x": self.x(rows, *shape, generator=generator),
            "dy": self.random(rows, *first, generator=generator),
            **parameters,
            **self.case.inputs_beside(rows, generator, self.dtype),
        }
        for name, output in zip(self.case.entry.results, others, strict=True):
            inputs[f"{name}.dy"] = self.random(rows, *output, generator=generator)
        return inputs

    def x(self, *shape: int, generator: torch.Generator) -> Tensor:
        """A random input of the kind that the layer takes."""
        return self.case.input(*shape, generator=generator, dtype=self.dtype)

    def takes(self, *shape: int) -> bool:
        """Whether torch takes an input of that shape, in training."""
        kind = torch.int64 if self.case.indexed else torch.float32
        try:
            with torch.no_grad():
                given = self._zeros(shape[0])
                self.case.module().train()(torch.zeros(shape, dtype=kind), *given)
        except (RuntimeError, ValueError, IndexError):
            return False
        return True

    def outputs(self, *shape: int) -> list[tuple[int, ...]]:
        """The shapes of the outputs of a sample, `[B, …]` of which the input is."""
        x = torch.zeros(2, *shape, dtype=torch.int64 if self.case.indexed else torch.float32)
        with torch.no_grad():
            found = self.case.module().eval()(x, *self._zeros(2))
        return [tuple(y.shape[1:]) for y in ([found] if isinstance(found, Tensor) else found)]

    def _zeros(self, rows: int) -> list[Tensor]:
        """Inputs that come after the first, of zeros."""
        kinds = {"mask": torch.bool}
        given = self.case.beside.items()
        return [torch.zeros(rows, *shape, dtype=kinds.get(name)) for name, shape in given]

    def loss_inputs(self, rows: int | None = None, columns: int | None = None) -> Tensors:
        """A random prediction and target of the kinds that the loss takes; among the targets some
        that it is to ignore."""
        generator, case = self.generator(), self.case
        rows = case.rows if rows is None else rows
        features = case.shape[-1] if columns is None else columns
        if case.target == "labels":
            what = rows, case.shape, case.variant, case.options
            return ctc.drawn(*what, generator, self.dtype)
        prediction = self.random(rows, features, generator=generator)
        if case.entry.name == "CategoricalCrossEntropy":
            prediction = torch.softmax(prediction, -1)
        elif case.entry.domain == "probability":
            prediction = torch.sigmoid(prediction)
        if case.entry.name in ("NLLLoss", "KLDivLoss"):
            prediction = torch.log_softmax(prediction, -1)
        target = self.random(rows, features, generator=generator)
        if case.target == "real":  # none near a kink where the two are the same
            apart = prediction - target
            target = torch.where(apart.abs() < NEAREST, prediction + NEAREST, target)
        match case.target:
            case "probability":
                target = torch.sigmoid(target)
                target = target.log() if case.options.get("log_target") else target
            case "distribution":  # weights, which need not sum to 1
                scale = torch.linspace(0.5, 2, max(rows, 1), dtype=self.dtype)[:rows, None]
                target = torch.softmax(target, -1) * scale
            case "index":
                target = target.argmax(-1)
                if (ignored := case.options.get("ignore_index")) is not None:
                    target[target == ignored] = (ignored + 1) % features  # also in a batch of one
                    target[1::3] = ignored
            case "one_hot":
                hot = nn.functional.one_hot(target.argmax(-1), features)
                target = hot.to(self.dtype)
        return {"prediction": prediction, "target": target}

    def judge_layer(
        self,
        inputs: Tensors,
        results: Tensors,
        *,
        training: bool = True,
        **options: Any,
    ) -> list[Comparison]:
        """Results of a layer's pass against torch's; options as for `judge_layer`."""
        options["training"] = training
        return _once_of(judge_layer, self.case, inputs, results, options)

    def judge_loss(self, inputs: Tensors, results: Tensors, **options: Any) -> list[Comparison]:
        """Results of a loss against torch's; its gradient as the derivative of what its own
        forward computes, be that reduced as declared or not; options as for `judge_loss`."""
        verdicts = _once_of(judge_loss, self.case, inputs, results, options)
        if self.case.target == "labels" and not verdicts[-1].passed:
            verdicts = self._by_log_probabilities(verdicts, inputs, results, **options)
        if (
            all(not one.passed for one in verdicts)
            and len(verdicts) == 2
            and self.case.how != "none"
        ):
            for how in REDUCTIONS:
                other = replace(self.case, reduction=how)
                value, gradient = judge_loss(other, inputs, results, **options)
                if value.passed:
                    return [verdicts[0], gradient]
        return verdicts

    def _by_log_probabilities(
        self, verdicts: list[Comparison], inputs: Tensors, results: Tensors, **options: Any
    ) -> list[Comparison]:
        """The verdicts on a CTCLoss whose gradient is -gamma, the derivative by log-probabilities,
        where torch's is that by the logits before them. It is right if forward takes these as
        they are: larger ones make a smaller loss. One that takes a softmax first sees none."""
        other = judge_loss(self.case, inputs, results, by_logits=False, **options)
        if not other[-1].passed or other[-1].name != "prediction_grad":
            return verdicts
        larger = inputs | {"prediction": inputs["prediction"] + 1}
        values = [self.build().forward(*arguments(one)) for one in (inputs, larger)]
        return other if bool((values[0] - values[1] > 1e-3).any()) else verdicts


def _once_of(
    judged: Callable[..., list[Comparison]],
    case: Case,
    inputs: Tensors,
    results: Tensors,
    options: dict[str, Any],
) -> list[Comparison]:
    """Verdicts, once for results that are the same bit for bit, as those of arrays that lie
    otherwise in memory."""
    if "more" in options:
        return judged(case, inputs, results, **options)
    what = judged.__name__, case, tuple(options.items())
    given = inputs | {f"its {name}": result for name, result in results.items()}
    return [*once(what, given, lambda: judged(case, inputs, results, **options))]


def judge_loss(
    case: Case,
    inputs: Tensors,
    results: Tensors,
    *,
    deep: bool = False,
    draws: int = DRAWS,
    least: float = 0.0,
    terms: int = 1,
    ending: str = "",
    by_logits: bool = True,
) -> list[Comparison]:
    """Value and gradient of a loss against torch's, reduced as the case says; options as for
    `judge_layer` and `truth`. `by_logits`: whether a CTCLoss's gradient is torch's."""
    what = (case, draws, by_logits)

    def evaluated() -> Truth:
        criterion = case.reference()
        for module in criterion.modules():
            if isinstance(module, ctc.CTCLoss):
                module.by_logits = by_logits
        return truth(evaluate.loss(criterion), inputs, draws=draws, pure=case.pure)

    right = once(("truth", what), inputs, evaluated)
    right = _at_least(right, least, terms)
    oracle = right.oracle
    right = right.only(name for name in oracle if name.endswith(ending))
    one = right.oracle["loss"]
    if results["loss"].numel() == one.numel() == 1:  # a number is a number, in [] or in [1, 1]
        results = results | {"loss": results["loss"].reshape(one.shape)}
    known = partial(losses.of_loss, case, in_double(inputs), oracle)
    return _judged(
        lambda: once(("mistakes", what), inputs, known),
        results,
        right,
        constants=mistakes.constants(case, inputs),
        label=case.entry.name,
        strict=deep,
        averages=case.how.endswith("mean"),
        inputs=inputs,
    )


def _judged(
    make: Callable[[], Mistakes], results: Tensors, right: Truth, *, strict: bool, **options: Any
) -> list[Comparison]:
    """The verdicts, certified against every known mistake if that is asked for, else against the
    simplest; and what is wrong explained by all of them."""
    known = make() if strict else {name: simple(y) for name, y in right.oracle.items()}
    verdicts = judge(results, right, known, strict=strict, **options)
    if strict or all(verdict.passed for verdict in verdicts):
        return verdicts
    return judge(results, right, make(), strict=False, **options)


def judge_layer(
    case: Case,
    inputs: Tensors,
    results: Tensors,
    *,
    training: bool = True,
    deep: bool = False,
    label: str = "",
    finite: bool = False,
    ending: str = "",
    least: float = 0.0,
    terms: int = 1,
    summed: int = 1,
    more: Mistakes | None = None,
) -> list[Comparison]:
    """Results of one pass through a layer, forward and backward, against torch's.

    Of dropout, which entries it dropped is read off its output; the rest is judged.

    Args:
        case, inputs, results: what was played, on what, and what came of it.
        training: torch's mode.
        deep: whether results are held against every known mistake, or the simplest alone.
        label: whose results, in a diagnosis. Default: the entry's name.
        finite: entries at which torch is not finite are left out.
        ending: only results are judged whose names end so.
        least: how far every entry may be off.
        terms: of how many it is a sum. A floor knows of a sum's rounding, and not of that of each
            of thousands of additions.
        summed: of how many a parameter's gradient is a sum.
        more: mistakes that the case alone does not know of.
    """
    module = case.module().train(training)
    masks = masks_of(module, inputs["x"], results) if training else []
    what = (case, training)
    given = inputs | {f"mask {n}": mask for n, mask in enumerate(masks) if mask is not None}

    def evaluated() -> Truth:
        with dropping(module, masks) if masks else contextlib.nullcontext():
            return truth(evaluate.layer(module), inputs, pure=case.pure)

    right = once(("truth", what), given, evaluated)
    oracle = right.oracle
    if ending:
        results = {name: value for name, value in results.items() if name.endswith(ending)}
        right = right.only(name for name in oracle if name.endswith(ending))
    if finite:
        results, right = _finite(results, right)
    right = _at_least(right, least, terms, summed)

    def known() -> Mistakes:
        made = once(
            ("mistakes", what),
            given,
            lambda: layers.of_layer(case, module, in_double(inputs), oracle, masks),
        )
        return {name: [*ones, *(more or {}).get(name, [])] for name, ones in made.items()}

    verdicts = _judged(
        known,
        results,
        right,
        constants=mistakes.constants(case, inputs),
        label=label or case.entry.name,
        strict=deep,
        inputs=inputs,
    )
    if isinstance(module, nn.Dropout) and module.p == 1:
        return [_all_dropped(verdict) for verdict in verdicts]
    return verdicts


def _all_dropped(verdict: Comparison) -> Comparison:
    """A scale of 1 / (1 - p) is a division by 0 where all is dropped: an edge."""
    if verdict.passed or not verdict.reason.startswith("NaN or infinite"):
        return verdict
    return replace(verdict, diagnosis=NO_SCALE, named=True, severity=EDGE)


NO_SCALE = "Dropout is NaN at p = 1, where torch's is 0: 1 / (1 - p) is a division by 0"


def _at_least(right: Truth, least: float, terms: int, summed: int = 1) -> Truth:
    """The truth with floors that are no smaller, and as large as a sum of so many terms wants,
    whatever the order in which they are added; `summed`: those of a parameter's gradient."""

    def room(name: str) -> float:
        return max(1.0, terms / 64, summed / 64 if name.endswith("param_grad") else 0)

    floors = {name: (room(name) * floor).clamp(min=least) for name, floor in right.floor.items()}
    return replace(right, floor=floors)


def _finite(results: Tensors, right: Truth) -> tuple[Tensors, Truth]:
    """Both with 0 where torch is not finite."""

    def kept(kind: Tensors) -> Tensors:
        return {
            name: torch.where(right.reference[name].isfinite(), value, 0)
            if name in right.reference and value.shape == right.reference[name].shape
            else value
            for name, value in kind.items()
        }

    judged = replace(right, reference=kept(right.reference), oracle=kept(right.oracle))
    return kept(results), judged


def masks_of(module: nn.Module, x: Tensor, results: Tensors) -> Masks:
    """What a Dropout kept: where its output is not 0, and where x is 0, its gradient is not."""
    if not isinstance(module, nn.Dropout) or "output" not in results:
        return [None for one in module.modules() if isinstance(one, nn.Dropout)]
    y, dx = results["output"], results.get("input_grad", results["output"])
    if y.shape != x.shape or dx.shape != x.shape:
        return [torch.ones_like(x, dtype=torch.bool)]
    return [torch.where(x != 0, y != 0, dx != 0)]


def in_double(inputs: Tensors) -> Tensors:
    return {k: v.double() if v.is_floating_point() else v for k, v in inputs.items()}


def fact(
    name: str, holds: bool, reason: str, diagnosis: str = "", severity: str = ""
) -> Comparison:
    """A verdict on something that is so or not so; a diagnosis of it is a known mistake's."""
    if holds:
        return Comparison(name, 0.0)
    return Comparison(
        name, math.inf, reason=reason, diagnosis=diagnosis, named=bool(diagnosis), severity=severity
    )


def equal(name: str, x: Tensor, y: Tensor) -> Comparison:
    """Whether two tensors are the same, bit for bit."""
    return fact(name, same_bits(x, y), "differs")
