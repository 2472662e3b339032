"""The rows of losses."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from parity.catalogue.entry import Entry, Variants, reductions

#: A weight for each of five classes, or entries: of few digits, and so the same in every dtype.
WEIGHTS = torch.tensor([0.5, 1.5, 1.0, 2.0, 0.25], dtype=torch.float64)

_LOSS = reductions(**{"": {}})
_WEIGHTED = reductions(**{"": {}, "weight": {"weight": WEIGHTS}})
_LOGITS = reductions(
    **{"": {}, "weight": {"weight": WEIGHTS}, "pos_weight": {"pos_weight": WEIGHTS}}
)
_HUBER = reductions(**{"": {}, "delta=0.5": {"delta": 0.5}, "delta=2": {"delta": 2.0}})
_SMOOTH = reductions(**{"": {}, "beta=0.5": {"beta": 0.5}, "beta=2": {"beta": 2.0}})
_INDICES: Variants = {
    "index": {},
    "index_weight": {"weight": WEIGHTS},
    "index_ignore_index=1": {"ignore_index": 1},
    "index_ignore_index=-1": {"ignore_index": -1},
}
_CROSS_ENTROPY = reductions(
    **_INDICES,
    **{"index_label_smoothing=0.1": {"label_smoothing": 0.1}},
    one_hot={},
    distribution={},
    **{"distribution_label_smoothing=0.1": {"label_smoothing": 0.1}},
)
#: What two options do together shows where the mean is taken.
_CROSS_ENTROPY |= {
    f"index_{name},label_smoothing=0.1_mean": {
        **option, "label_smoothing": 0.1, "reduction": "mean",
    }
    for name, option in (("weight", {"weight": WEIGHTS}), ("ignore_index=1", {"ignore_index": 1}))
}  # fmt: skip
_DIVERGENCE = reductions("batchmean", **{"": {}, "log_target": {"log_target": True}})
_CLASSES = ("index", "one_hot", "distribution")
_CLASS = {name: next(kind for kind in _CLASSES if name.startswith(kind)) for name in _CROSS_ENTROPY}


class KLDivLoss(nn.KLDivLoss):
    """torch.nn.KLDivLoss written out: torch's own warns of its mean, and is slow under vmap."""

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        if self.log_target:
            entries = target.exp() * (target - prediction)
        else:
            entries = torch.xlogy(target, target) - target * prediction
        match self.reduction:
            case "none":
                return entries
            case "mean":
                return entries.mean()
        return entries.sum() / (len(entries) if self.reduction == "batchmean" else 1)


class CategoricalCrossEntropy(nn.Module):
    """Cross-entropy of probabilities, as behind a softmax of its own: -sum(t log p) of a sample.

    Args:
        reduction: "mean" over the samples (default), "sum", or "none".

    The prediction is `[B, C]`, above 0; the target `[B]` of classes, or `[B, C]` of weights. It is
    `torch.nn.NLLLoss` of log p, or `CrossEntropyLoss` of log p where a row of p sums to 1: the
    derivative is -t / p. It has no name in torch; Keras and others call it by this one.
    """

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__()
        self.reduction = reduction

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        if not target.is_floating_point():
            return nn.functional.nll_loss(prediction.log(), target, reduction=self.reduction)
        samples = -torch.xlogy(target, prediction).sum(-1)
        if self.reduction == "none":
            return samples
        return samples.mean() if self.reduction == "mean" else samples.sum()


ROWS: tuple[Entry, ...] = (
    Entry(nn.MSELoss, "loss", _LOSS),
    Entry(nn.L1Loss, "loss", _LOSS),
    Entry(nn.HuberLoss, "loss", _HUBER),
    Entry(nn.SmoothL1Loss, "loss", _SMOOTH),
    Entry(nn.BCELoss, "loss", _WEIGHTED, domain="probability", target="probability"),
    Entry(nn.BCEWithLogitsLoss, "loss", _LOGITS, target="probability"),
    Entry(nn.CrossEntropyLoss, "loss", _CROSS_ENTROPY, target=_CLASS),
    Entry(
        CategoricalCrossEntropy,
        "loss",
        reductions(index={}, one_hot={}, distribution={}),
        domain="probability",
        target=_CLASS,
    ),
    Entry(nn.NLLLoss, "loss", reductions(**_INDICES), target="index"),
    Entry(KLDivLoss, "loss", _DIVERGENCE, target="probability", stands_for=nn.KLDivLoss),
)
