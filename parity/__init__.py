"""The harness: is an implementation as close to the truth as torch is, and where does it part?"""

from parity.comparison import Comparison, compare, first_divergence
from parity.differences import compare_with_differences
from parity.evaluate import layer, loss, network, optimizer, training
from parity.truth import Tensors, Truth, truth

__all__ = [
    "Comparison",
    "Tensors",
    "Truth",
    "compare",
    "compare_with_differences",
    "first_divergence",
    "layer",
    "loss",
    "network",
    "optimizer",
    "training",
    "truth",
]
