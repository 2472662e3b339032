"""The harness: is an implementation as close to the truth as torch is; and if not, what is wrong?

parity check ADAPTER.py             every check of a framework, layer by layer
@parity.parametrize(subject)        the same as pytest tests
parity.check(subject)               the same as data
"""

from parity.catalogue.case import Case
from parity.catalogue.entry import Entry
from parity.catalogue.network import Network
from parity.catalogue.table import CATALOGUE
from parity.catalogue.values import Tensors
from parity.checks.trial import Trial
from parity.judge import evaluate
from parity.judge.comparison import Comparison, compare, first_divergence
from parity.judge.differences import compare_with_differences
from parity.judge.truth import Truth, truth
from parity.play.remote import Remote
from parity.play.session import Local
from parity.plugin import parametrize
from parity.run.report import Report
from parity.run.run import check
from parity.subject.subject import AdapterError, Subject

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
