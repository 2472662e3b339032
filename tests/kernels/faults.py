"""The bugs of public kernels, each with what its sweep is given and what is due to be said."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from parity.kernels.inputs import indices
from tests.kernels import norms, others

ROWS = {"M": [1, 7], "N": [8, 33]}
MANY = {"M": [7, 1027]}


@dataclass(frozen=True)
class Family:
    """A kernel.

    Args:
        make: the kernel with a bug, by its name; with "" the right one.
        reference: torch's function.
        inputs, sizes: what its sweep is given.
        bugs: by name a part of what is due to be said; "" where it has no name.
        settings: of its sweep.
        shows: the sizes that some bugs need to show, which the others do without.
    """

    name: str
    make: Callable[..., Callable[..., Any]]
    reference: Callable[..., Any]
    inputs: dict[str, Any]
    sizes: dict[str, list[int]]
    bugs: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    shows: dict[str, dict[str, list[int]]] = field(default_factory=dict)

    @property
    def spec(self) -> dict[str, Any]:
        """What its sweep is given; of sizes all that some bug needs."""
        sizes = self.sizes
        for more in self.shows.values():
            sizes = {**sizes, **more}
        return {"inputs": self.inputs, "sizes": sizes, **self.settings}

    def spec_of(self, bug: str) -> dict[str, Any]:
        """What the sweep of a bug is given."""
        return {**self.spec, "sizes": {**self.sizes, **self.shows.get(bug, {})}}


FAMILIES = [
    Family(
        "rms_norm", norms.rms_norm, norms.rms_reference, {"x": "M N", "weight": "N"}, ROWS,
        {
            "weight gradient None": "is None",
            "dy as contiguous": "reads dy as if it were contiguous",
            "x as contiguous": "reads x as if it were contiguous",
            "weight as contiguous": "reads weight as if it were contiguous",
            "stride of x used for dy": "reads dy by the strides of x",
            "upstream ignored": "ignores dy",
            "dx lacks the weight": "lacks weight",
            "last partial block left out of dw": "leaves out the last 3 of 1027 places of M",
            "dw added up in half precision": "bfloat16",
            "partial sums unwritten for few rows": "torch.empty",
            "all rows written to row 0": "M is 2 or more",
            "rows broadcast as columns": "M is 1,024 or more and N is 63 or less",
            "backward overwrites dy": "writes into the gradient that came in",
            "rank 2 alone": "the input has 3 dimensions",
            "rank 3 alone": "constants",
            "detached": "detached",
        },
        {"half": "float32_inside"},
        {
            "last partial block left out of dw": MANY,
            "dw added up in half precision": MANY,
            "rows broadcast as columns": MANY,
        },
    ),
    Family(
        "residual_rms_norm", norms.residual_rms_norm, norms.residual_reference,
        {"x": "M N", "residual": "M N", "weight": "N"}, {"M": [1, 7], "N": [8, 33]},
        {"dy of the second output added before": ""},
    ),
    Family(
        "layer_norm", norms.layer_norm, norms.layer_reference, {"x": "M N", "weight": "N"},
        ROWS,
        {"padded lanes enter the variance": "N is no power of two", "mean of dy left out": ""},
    ),
    Family(
        "attention", others.attention, others.attention_reference,
        {"q": "6 T D", "k": "H S D", "v": "H S E", "causal": [False, True]},
        {"T": [5, 9], "S": [5, 9], "D": [8, 80], "E": [7], "H": [6, 2]},
        {
            "causal ignored in backward": "causal=True",
            "causal alignment at Tq != Tk": "T is not S",
            "tail of a block of 128": "S is 129 or more",
            "value dimensions above 64 lost": "E is 65 or more",
            "heads tiled, not repeated": "H is 2",
            "scale missing in dq and dk": "the square root of D",
        },
        shows={
            "tail of a block of 128": {"S": [9, 130]},
            "value dimensions above 64 lost": {"E": [7, 80]},
        },
    ),
    Family(
        "cross_entropy", others.cross_entropy, others.entropy_reference,
        {"logits": "M V", "target": indices("M", "V", ignore=others.IGNORED),
         "reduction": ["mean", "none"]},
        {"M": [7, 33], "V": [5, 100]},
        {
            "gradient written into logits": "writes into logits",
            "reduction none takes the first entry of dy": "the first entry of dy",
            "mean over ignored entries": "not ignored",
        },
    ),
    Family(
        "rope", others.rope, others.rope_reference, {"x": "B T D"},
        {"B": [1, 3], "T": [1, 7, 65], "D": [8, 18]},
        {"rotation in place": "writes into x", "not turned back": ""},
    ),
    Family(
        "embedding", others.embedding, others.embedding_reference,
        {"places": indices("M", "V"), "weight": "V D"}, {"M": [5, 40], "V": [11], "D": [4, 33]},
        {
            "duplicates overwritten": "the last of equal places",
            "padding forgotten above 768 indices": "M is 769 or more",
        },
        shows={"padding forgotten above 768 indices": {"M": [5, 900]}},
    ),
    Family(
        "dropout", others.dropout, others.dropout_reference, {"x": "M N", "seed": [3, 4]},
        {"M": [1, 7], "N": [8, 33]}, {"backward redraws the mask": ""},
    ),
]  # fmt: skip


def bugs() -> Iterator[tuple[Family, str]]:
    """Every bug, with its family."""
    for family in FAMILIES:
        for bug in family.bugs:
            yield family, bug
