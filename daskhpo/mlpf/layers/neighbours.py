"""The k nearest neighbours of every element within its own event.

All pairs of an event are compared, chunk by chunk: time grows with the square of its elements,
memory does not. torch-geometric's own search needs the extension pyg-lib, picks any of the
elements that are equally near, and finds the same ones otherwise.

Shapes: M elements, S dimensions, k neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from daskhpo.mlpf.layers.groups import Groups

__all__ = ["Neighbours", "nearest"]

# Pairs that are compared at once: on a CPU they stay in its cache, elsewhere they fill the device
# (16 bytes a pair).
PAIRS_ON_CPU, PAIRS_ON_DEVICE = 2**16, 2**24


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The neighbours of each element, nearest first; where there are fewer than k, itself."""

    index: Tensor  # (M, k) int64: rows
    found: Tensor  # (M, k, 1) bool: whether there is such a neighbour

    def take(self, x: Tensor) -> Tensor:
        """Rows (M, d) to those of the neighbours (M, k, d); its gradient is deterministic."""
        return Groups.of(self.index.flatten(), len(x)).take(x).view(*self.index.shape, x.shape[1])

    def mean(self, y: Tensor) -> Tensor:
        """Mean (M, d) over the neighbours that there are, of what each gives (M, k, d)."""
        return (y * self.found).sum(1) / self.found.sum(1)


@torch.no_grad()
def nearest(points: Tensor, counts: Tensor, *, k: int) -> Neighbours:
    """Find the k elements of the same event that are nearest to each, itself included.

    Exact: distances come from differences of coordinates, in the precision of `points`, and are
    ranked as float32; among equals the earlier element is nearer. Outside of autograd.

    Parameters
    ----------
    points : Tensor, shape (M, S)
    counts : Tensor of int64 on the CPU, shape (E,)
        Elements per event. An event of fewer than k has all its elements as neighbours.
    k : int

    Examples
    --------
    >>> nearest(torch.tensor([[0.0], [3.0], [1.0], [9.0]]), torch.tensor([3, 1]), k=2).index
    tensor([[0, 2],
            [1, 2],
            [2, 0],
            [3, 3]])
    """
    rows = torch.arange(len(points), device=points.device)[:, None]  # (M, 1)
    index, found = rows.repeat(1, k), torch.zeros_like(rows, dtype=torch.bool).repeat(1, k)
    start = 0
    for n in counts.tolist():
        event, kept = slice(start, start + n), slice(0, min(k, n))
        if n:
            index[event, kept] = start + _within(points[event], min(k, n))
            found[event, kept] = True
        start += n
    return Neighbours(index, found[:, :, None])


def _within(points: Tensor, k: int) -> Tensor:
    """Neighbours (n, k) within one event of points (n, S)."""
    n = len(points)
    pairs = PAIRS_ON_CPU if points.device.type == "cpu" else PAIRS_ON_DEVICE
    size = max(1, pairs // n)
    found = torch.empty(n, k, dtype=torch.int64, device=points.device)
    for start in range(0, n, size):  # a list of results, joined at last, would fragment memory
        found[start : start + size] = _search(points[start : start + size], points, k)
    return found


def _search(chunk: Tensor, points: Tensor, k: int) -> Tensor:
    """Neighbours (c, k) among points (n, S) of those in chunk (c, S)."""
    squares = points.new_zeros(len(chunk), len(points))  # (c, n)
    for here, there in zip(chunk.T, points.T, strict=True):
        # not |a|^2 + |b|^2 - 2 ab, which loses the distance of what is near
        difference = here[:, None] - there
        squares += difference.mul_(difference)
    # Floats that are not negative are ordered like their bits: with those above the index, no two
    # keys are equal, so every algorithm finds the same ones.
    keys = squares.float().view(torch.int32).long()
    keys <<= 32
    keys |= torch.arange(len(points), device=points.device)
    return keys.topk(k, dim=1, largest=False).values & 0xFFFFFFFF
