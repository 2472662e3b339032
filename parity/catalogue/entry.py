"""What is checked of each torch class: at which options, on which inputs.

A row is an `Entry`; a subject says which classes it has its own version of. The shapes are
such that no two of their numbers are alike: a factor that a gradient is off by tells where it
comes from.
"""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar

KINDS = ("layer", "loss", "optimizer", "clipping", "network", "model")
DOMAINS = ("real", "probability", "apart", "index")

LARGEST = 1 << 20
"""How many numbers an input may have: what is checked is evaluated some hundred times."""

Options = dict[str, Any]
Variants = dict[str, Options]


@dataclass(frozen=True, eq=False)
class Entry:
    """One torch class, and the settings at which a subject's version of it is compared.

    Args:
        reference: makes the torch side from the options of a variant. An optimizer's takes its
            parameters first.
        kind: "layer", "loss", "optimizer", "clipping" of gradients, or "network", a whole model:
            see `checks.networks`.
        variants: options by a name that reads well in a test's id.
        shape: of a layer's input or a loss's prediction: `(batch, features)`, `(batch, channels,
            height, width)`, …; by the variant's name where it differs.
        domain: of that input: "real", "probability", "apart" (real numbers of which no two are near
            each other, for what picks the largest), "index" (int64, from 0 to the first option
            that is positional).
        images: whether the second axis of the input is of channels, which others have last.
        sequence: whether the second axis of the input is of time, which others have first; of a
            loss, which torch has first.
        beside: the inputs of a layer that come after the first, or those of a loss after the
            target, by the variant's name: the shape of each by its name, its first axis the
            batch's. One called "mask" is of truth values,
            and has no gradient.
        results: the names of the outputs of a layer that come after the first.
        blocks: of which blocks parameters are made, one below the other, by the beginning of a
            name: gates, as "ifgo" of an LSTM, or "qkv". Others have them in another order, or
            each by itself.
        chained: whether products follow one another in it: then rounding leaves little of a
            gradient in half precision, and an infinity leaves hardly a number.
        stands_for: the torch class that a subject names it by, where that is not `reference`.
        ranges: other inputs that it is tried at, by name: what those above are multiplied by, and
            what is added to them then.
        target: of a loss: "real", "probability" (for each entry), or one of a class, "index"
            (int64, one for each sample), "one_hot", "distribution" (a weight for each class,
            which need not sum to 1); by the variant's name where it differs. Of CTCLoss "labels",
            a sequence of them for each sample.
        positional: options that are handed over by position, since frameworks name them in
            their own ways: the widths of a layer, an optimizer's rate.
        mixes: whether samples of a batch see each other, as in `Softmax(dim=0)`; by variant.
        optional: variants that a subject may refuse by whatever exception, such as a kernel that is
            no square: they are listed as not checked then. By one that it means, `raise` or
            `assert`, it may refuse all but the first, when it is made or goes forward.
        name: default: the name of the torch class.

    Raises:
        ValueError: a setting that there is not.
    """

    reference: Callable[..., Any]
    kind: str
    variants: Variants = field(default_factory=lambda: {"": {}})
    shape: tuple[int, ...] | Mapping[str, tuple[int, ...]] = (7, 5)
    domain: str = "real"
    target: str | dict[str, str] = "real"
    positional: tuple[str, ...] = ()
    mixes: tuple[str, ...] = ()
    images: bool = False
    sequence: bool = False
    beside: Mapping[str, Mapping[str, tuple[int, ...]]] = field(
        default_factory=lambda: MappingProxyType({})
    )
    results: tuple[str, ...] = ()
    blocks: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    chained: bool = False
    stands_for: type | None = None
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=lambda: MappingProxyType({}))
    optional: tuple[str, ...] = ()
    name: str = ""

    TARGETS: ClassVar[tuple[str, ...]] = (
        "real", "probability", "index", "one_hot", "distribution", "labels",
    )  # fmt: skip

    def __post_init__(self) -> None:
        if not callable(self.reference):
            raise ValueError(f"a reference makes the torch side; {self.reference!r} makes nothing")
        if not self.name:
            object.__setattr__(self, "name", getattr(self.reference, "__name__", ""))
        targets = [self.target] if isinstance(self.target, str) else self.target.values()
        for setting, values, choices in (
            ("kind", [self.kind], KINDS),
            ("domain", [self.domain], DOMAINS),
            ("target", targets, self.TARGETS),
            ("mixes", self.mixes, self.variants),
            ("optional", self.optional, self.variants),
            ("beside", self.beside, self.variants),
        ):
            for value in values:
                if value not in choices:
                    either = ", ".join(map(repr, choices))
                    raise ValueError(f"{self.name} has {setting} {value!r}, and it is of {either}")
        if not self.variants or not all(isinstance(one, dict) for one in self.variants.values()):
            raise ValueError(f"{self.name} has variants that are not options: {self.variants!r}")
        if isinstance(self.shape, Mapping) and self.variants.keys() - self.shape.keys():
            raise ValueError(f"{self.name} has no shape of each variant: {self.shape!r}")
        for shape in map(self.shape_of, self.variants):
            if len(shape) < 2 or not all(isinstance(n, int) and n > 0 for n in shape):
                raise ValueError(f"{self.name} has shape {shape!r}, and it is (batch, features)")
            if math.prod(shape) > LARGEST:
                most = f"{LARGEST:,} numbers at most"
                raise ValueError(f"{self.name} has shape {shape!r}, and inputs are of {most}")

    def shape_of(self, variant: str) -> tuple[int, ...]:
        return self.shape[variant] if isinstance(self.shape, Mapping) else self.shape

    @property
    def key(self) -> Any:
        """What a subject names it by: the torch class that it stands for."""
        return self.stands_for or self.reference

    @property
    def of_parameters(self) -> bool:
        """Whether a subject's version gets parameters as its first argument."""
        return self.kind in ("optimizer", "clipping")

    @property
    def several(self) -> bool:
        """Whether it is of a kind of layer that takes or returns several arrays."""
        return bool(self.beside or self.results)

    @property
    def states(self) -> dict[str, tuple[int, ...]]:
        """What a layer takes after its first input at some variant, without the batch's axis."""
        given = [pair for one in self.beside.values() for pair in one.items()]
        return {name: shape[1:] for name, shape in given if name != "mask"}

    @property
    def recurrent(self) -> bool:
        """Whether a layer takes states, or carries some from place to place."""
        return "h" in self.states

    def target_of(self, variant: str) -> str:
        return self.target if isinstance(self.target, str) else self.target[variant]

    def defaults(self) -> Options:
        """The torch side's own defaults of its options."""
        parameters = inspect.signature(self.reference).parameters.values()
        return {p.name: p.default for p in parameters if p.default is not p.empty}


def grid(**choices: list[Any]) -> Iterator[Options]:
    """Every combination of the choices."""
    for values in itertools.product(*choices.values()):
        yield dict(zip(choices, values, strict=True))


def covering(options: Iterable[Options], together: int = 3) -> list[Options]:
    """The first of the combinations, each that differs from it in one choice alone, and as many
    others as it takes for any `together` choices to occur together in one of them.

    Pairwise testing carried to `together`-tuples: D. M. Cohen et al., "The AETG system" (1997).
    Those that cover most of what is left come next, the earliest of equals.
    """
    listed = list(options)

    def tuples(one: Options) -> set[tuple[tuple[str, Any], ...]]:
        return set(itertools.combinations(one.items(), together))

    first = listed[0]
    kept = [one for one in listed if sum(one[key] != first[key] for key in one) <= 1]
    left = set().union(*map(tuples, listed)) - set().union(*map(tuples, kept))
    while left:
        kept.append(max(listed, key=lambda one: len(tuples(one) & left)))
        left -= tuples(kept[-1])
    return [one for one in listed if one in kept]


def named(options: Iterable[Options]) -> Variants:
    """Options by a name made of what differs from the first choice: `momentum=0.9,nesterov`."""
    listed = list(options)
    defaults = {key: value for one in reversed(listed) for key, value in one.items()}
    names: Variants = {}
    for one in listed:
        changed = {k: v for k, v in one.items() if v != defaults[k]}
        parts = [k if v is True else f"{k}={v}".replace(" ", "") for k, v in changed.items()]
        names[",".join(parts)] = one
    return names


def reductions(*more: str, **variants: Options) -> Variants:
    """Each variant with each reduction that every loss has, and with those of its own."""
    return {
        "_".join(part for part in (name, reduction) if part): options | {"reduction": reduction}
        for name, options in variants.items()
        for reduction in ("mean", "sum", "none", *more)
    }
