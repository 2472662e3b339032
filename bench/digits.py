"""Real handwritten digits of 8 x 8 pixels, which ship inside scikit-learn."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

TEST = 360
"""How many of the 1797 digits are for the test."""

SEED = 0
"""Of the split into training and test, which is the same for every run."""


@functools.cache
def digits() -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Images and labels, for training and for the test.

    E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998: the 1797
    digits that scikit-learn's `load_digits` returns.

    Returns:
        Twice x `[N, 1, 8, 8]`, float32, of mean 0 and standard deviation 1 over all pixels of the
        training images, and labels `[N]`, int64, from 0 to 9. N is 1437 and 360.

    Raises:
        ImportError: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError(
            "bench.digits needs scikit-learn, which has the data: pip install scikit-learn"
        ) from error
    found = load_digits()
    x = torch.tensor(found.images, dtype=torch.float64).unsqueeze(1)
    labels = torch.tensor(found.target, dtype=torch.int64)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(SEED))
    test, train = order[:TEST], order[TEST:]
    x = ((x - x[train].mean()) / x[train].std()).float()
    return (x[train], labels[train]), (x[test], labels[test])
