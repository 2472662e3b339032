"""The harness: is an implementation as close to the truth as torch is; and if not, what is wrong?

parity check ADAPTER.py             every check of a framework, layer by layer
@parity.parametrize(subject)        the same as pytest tests
parity.check(subject)               the same as data
@parity.sweep(torch_function, …)    a function of one's own against torch's, over sizes and layouts
parity.check_function(mine, …)      the same as data
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from parity.catalogue.attention import GeGLU, RoPE, ScaledDotProductAttention, SwiGLU
    from parity.catalogue.case import Case
    from parity.catalogue.entry import Entry
    from parity.catalogue.losses import CategoricalCrossEntropy
    from parity.catalogue.network import Network
    from parity.catalogue.table import CATALOGUE
    from parity.catalogue.values import Tensors
    from parity.checks.trial import Trial
    from parity.judge import evaluate
    from parity.judge.comparison import Comparison, compare, first_divergence
    from parity.judge.differences import compare_with_differences
    from parity.judge.truth import Truth, truth
    from parity.kernels.inputs import drawn, given, indices, mask, normal, probability
    from parity.kernels.sweep import check_function, check_module, check_pair
    from parity.kernels.testing import sweep
    from parity.library import check
    from parity.play.remote import Remote
    from parity.play.session import Local
    from parity.plugin import parametrize
    from parity.run.report import Report
    from parity.subject.error import AdapterError
    from parity.subject.functions import functions
    from parity.subject.subject import Subject

    __version__: str
else:

    def _version() -> str:
        """What is installed. Its import has many others, for which a folder of the caller's may
        have files of the same names: here it is late enough."""
        from importlib import metadata

        try:
            return metadata.version("torch-parity")
        except metadata.PackageNotFoundError:  # a checkout that nobody has installed
            return "unknown"

    #: Where each public name is, as above: `import parity` alone imports no torch.
    _PLACES = {
        "CATALOGUE": "catalogue.table",
        "AdapterError": "subject.error",
        "Case": "catalogue.case",
        "CategoricalCrossEntropy": "catalogue.losses",
        "Comparison": "judge.comparison",
        "Entry": "catalogue.entry",
        "GeGLU": "catalogue.attention",
        "Local": "play.session",
        "Network": "catalogue.network",
        "Remote": "play.remote",
        "Report": "run.report",
        "RoPE": "catalogue.attention",
        "ScaledDotProductAttention": "catalogue.attention",
        "Subject": "subject.subject",
        "SwiGLU": "catalogue.attention",
        "Tensors": "catalogue.values",
        "Trial": "checks.trial",
        "Truth": "judge.truth",
        "check": "library",
        "check_function": "kernels.sweep",
        "check_module": "kernels.sweep",
        "check_pair": "kernels.sweep",
        "compare": "judge.comparison",
        "compare_with_differences": "judge.differences",
        "drawn": "kernels.inputs",
        "evaluate": "judge.evaluate",
        "first_divergence": "judge.comparison",
        "functions": "subject.functions",
        "given": "kernels.inputs",
        "indices": "kernels.inputs",
        "mask": "kernels.inputs",
        "normal": "kernels.inputs",
        "parametrize": "plugin",
        "probability": "kernels.inputs",
        "sweep": "kernels.testing",
        "truth": "judge.truth",
    }

    def __getattr__(name: str) -> Any:
        """Imports a public name when it is first used."""
        if name == "__version__":
            return _version()
        if name not in _PLACES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        module = import_module(f"{__name__}.{_PLACES[name]}")
        found = globals()[name] = module if name == "evaluate" else getattr(module, name)
        return found


__all__ = [
    "CATALOGUE",
    "AdapterError",
    "Case",
    "CategoricalCrossEntropy",
    "Comparison",
    "Entry",
    "GeGLU",
    "Local",
    "Network",
    "Remote",
    "Report",
    "RoPE",
    "ScaledDotProductAttention",
    "Subject",
    "SwiGLU",
    "Tensors",
    "Trial",
    "Truth",
    "check",
    "check_function",
    "check_module",
    "check_pair",
    "compare",
    "compare_with_differences",
    "drawn",
    "evaluate",
    "first_divergence",
    "functions",
    "given",
    "indices",
    "mask",
    "normal",
    "parametrize",
    "probability",
    "sweep",
    "truth",
]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
