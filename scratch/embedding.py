"""The embedding: a row of a table for each index."""

from __future__ import annotations

import torch
from torch import Tensor

from scratch.init import Source, draw
from scratch.module import Module, check_sizes, checked_device


class Embedding(Module):
    """`y = weight[x]`, a row for each index: torch.nn.Embedding.

    Shapes: x of any shape, int64 or int32, y `[*, embedding_dim]`; weight
    `[num_embeddings, embedding_dim]`. It cannot be stacked.

    Args:
        num_embeddings, embedding_dim: rows and their width, at least 1.
        padding_idx: an index whose row starts at zero and gets no gradient; a negative one
            counts from the end. Default: none.
        generator: where the initial values are drawn from, as for `Linear`. They are torch's:
            N(0, 1).
        device, dtype: of the weight. Default: torch's defaults.

    Raises:
        ValueError: a size below 1, a `padding_idx` out of range, an absent device; in `forward`,
            an index out of range.
    """

    stackable = False
    weight: Tensor
    dweight: Tensor

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        *,
        generator: Source = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_sizes("Embedding", num_embeddings=num_embeddings, embedding_dim=embedding_dim)
        if padding_idx is not None:
            if not -num_embeddings <= padding_idx < num_embeddings:
                raise ValueError(
                    f"Embedding takes a padding_idx from {-num_embeddings} to "
                    f"{num_embeddings - 1}, not {padding_idx!r}"
                )
            padding_idx %= num_embeddings
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        self.padding_idx = padding_idx
        device = None if device is None else checked_device(device)
        weight = torch.empty(num_embeddings, embedding_dim, device=device, dtype=dtype)
        self.register("weight", draw(weight, "normal", (num_embeddings, embedding_dim), generator))
        if padding_idx is not None:
            weight[padding_idx].zero_()

    def forward(self, x: Tensor) -> Tensor:
        """`y = weight[x]`: x `[*]` to y `[*, embedding_dim]`."""
        if x.dtype not in (torch.int64, torch.int32) or x.device != self.weight.device:
            kind = ValueError if x.dtype in (torch.int64, torch.int32) else TypeError
            self._refuse_x(x, f"int64 or int32 of any shape on {self.weight.device}", kind)
        self._check_range(x)
        y = self.weight.index_select(0, x.flatten()).view(*x.shape, self.embedding_dim)
        self._keep(y, x)
        return y

    def backward(self, dy: Tensor) -> Tensor:
        """`dweight[i] += sum of dy where x = i`, but for `padding_idx`.

        Returns:
            Zeros shaped like x, typed like dy: there is no derivative with respect to an index.
        """
        (x,) = self._recall(dy)
        if self.padding_idx is not None:
            dy = dy.masked_fill((x == self.padding_idx).unsqueeze(-1), 0)
        self.dweight.index_add_(0, x.flatten(), dy.reshape(-1, self.embedding_dim))
        return dy.new_zeros(x.shape)

    def _check_range(self, x: Tensor) -> None:
        low, high = (int(bound) for bound in torch.aminmax(x)) if x.numel() else (0, 0)
        if low < 0 or high >= self.num_embeddings:
            raise ValueError(
                f"{self}: forward got the index {low if low < 0 else high}, takes indices from "
                f"0 to {self.num_embeddings - 1}"
            )

    def extra_repr(self) -> str:
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings}, {self.embedding_dim}{padding}"
