"""scratch is written by hand: it runs with torch.nn, autograd and torch.optim poisoned, on
elementary operations alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent

#: ATen's names of what `scratch` may use: arithmetic, matrix products, elementary functions,
#: comparisons, reductions, random draws, moving data about, and operations on the bits of words.
ELEMENTARY = set(
    """
    add sub rsub mul div neg abs sign square pow sqrt rsqrt exp expm1 log log1p tanh sigmoid
    erfc cos sin maximum amax aminmax argmax clamp clamp_min clamp_max where masked_fill lerp
    addcdiv addcmul
    mm bmm matmul addmm baddbmm sum mean min max eq gt lt le ge ne logical_not isnan any all
    rand uniform normal randperm eye arange gather scatter scatter_add index index_select index_add
    empty empty_like zeros zeros_like ones ones_like full new_full new_empty new_zeros zero fill
    copy clone contiguous detach cat stack split chunk unbind slice select view as_strided
    _unsafe_view reshape expand permute transpose t squeeze unsqueeze flatten unflatten
    broadcast_tensors alias lift_fresh _to_copy _local_scalar_dense is_nonzero
    unsafe_split split_with_sizes to mT set item
    promote_types __and __xor __or __lshift __rshift bitwise_and bitwise_or bitwise_xor bitwise_not
    argsort sort
    """.split()
)


def _run(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_training_runs_poisoned_and_on_elementary_operations() -> None:
    operations = {name.rstrip("_") for name in _run("-m", "tests.purity_probe").split()}
    assert {"addmm", "baddbmm", "tanh", "addcdiv"} <= operations, "the probe trained nothing"
    assert operations <= ELEMENTARY, f"not elementary: {sorted(operations - ELEMENTARY)}"


def test_importing_scratch_loads_nothing_more_of_torch() -> None:
    script = (
        "import sys, torch; before = set(sys.modules); import scratch; "
        "print(*sorted(m for m in set(sys.modules) - before if m.split('.')[0] == 'torch'))"
    )
    assert _run("-c", script).split() == []
