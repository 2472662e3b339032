"""The harness: is an implementation as close to the truth as torch is; and if not, what is wrong?

parity check ADAPTER.py             every check of a framework, layer by layer
@parity.parametrize(subject)        the same as pytest tests
parity.check(subject)               the same as data
"""

from parity import evaluate
from parity.arrays import Tensors
from parity.case import Case
from parity.catalogue import CATALOGUE, Entry, Network
from parity.comparison import Comparison, compare, first_divergence
from parity.differences import compare_with_differences
from parity.plugin import parametrize
from parity.run import Report, check
from parity.session import Local
from parity.subject import AdapterError, Subject
from parity.trial import Trial
from parity.truth import Truth, truth
from parity.worker import Remote

__all__ = [
    "CATALOGUE",
    "AdapterError",
    "Case",
    "Comparison",
    "Entry",
    "Local",
    "Network",
    "Remote",
    "Report",
    "Subject",
    "Tensors",
    "Trial",
    "Truth",
    "check",
    "compare",
    "compare_with_differences",
    "evaluate",
    "first_divergence",
    "parametrize",
    "truth",
]
