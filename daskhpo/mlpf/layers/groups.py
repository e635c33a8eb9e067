"""Sums over groups of rows and the way back, deterministic on every device.

Edges of a graph end at elements, chunks belong to events. Both ask for the row of a group at each
of its members, and for the sum of the members' rows; each is the gradient of the other. PyTorch's
own gradient of a gather adds with atomics on a GPU, in whatever order; here both are a gather and
a reduction of contiguous segments, which always adds in the order of the rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

__all__ = ["Groups"]


class _Take(torch.autograd.Function):
    """Row of its group for each member."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: Tensor, order: Tensor, sizes: Tensor) -> Tensor:
        ctx.save_for_backward(group, order, sizes)
        return x.index_select(0, group)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        return _Add.apply(grads[0], *ctx.saved_tensors), None, None, None  # type: ignore[no-untyped-call]


class _Add(torch.autograd.Function):
    """Sum of its members' rows for each group."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, group: Tensor, order: Tensor, sizes: Tensor) -> Tensor:
        ctx.save_for_backward(group, order, sizes)
        # unsafe: no check of the sizes, for which the host would wait for the device
        return torch.segment_reduce(y.index_select(0, order), "sum", lengths=sizes, unsafe=True)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        return _Take.apply(grads[0], *ctx.saved_tensors), None, None, None  # type: ignore[no-untyped-call]


@dataclass(frozen=True, slots=True)
class Groups:
    """Which of G groups each of N rows belongs to.

    Examples
    --------
    >>> groups = Groups.of(torch.tensor([2, 0, 2]), 3)
    >>> groups.add(torch.tensor([[1.0], [2.0], [4.0]])).flatten()
    tensor([2., 0., 5.])
    """

    group: Tensor  # (N,) int64
    order: Tensor  # (N,) int64: the rows by group, in each by row
    sizes: Tensor  # (G,) int64: rows of each group

    @classmethod
    def of(cls, group: Tensor, n_groups: int) -> Groups:
        """Sort rows by their group (N,), from 0 up to `n_groups`; a group may be empty."""
        ordered, order = torch.sort(group, stable=True)
        bounds = torch.arange(n_groups + 1, device=group.device)
        return cls(group, order, torch.searchsorted(ordered, bounds).diff())

    def take(self, x: Tensor) -> Tensor:
        """Rows of groups (G, ...) to rows of their members (N, ...)."""
        rows: Tensor = _Take.apply(x, self.group, self.order, self.sizes)  # type: ignore[no-untyped-call]
        return rows

    def add(self, y: Tensor) -> Tensor:
        """Rows of members (N, ...) to their sums in each group (G, ...), zero where it is empty."""
        rows: Tensor = _Add.apply(y, self.group, self.order, self.sizes)  # type: ignore[no-untyped-call]
        return rows
