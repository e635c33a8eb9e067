"""Ragged events: where they lie in bins, and how rows go there and back.

Events differ in length, so they are laid out *ragged*: one after the other in one (M, d) tensor,
each padded only to a multiple of the bin size, and only for the products inside bins. All dense
algebra runs on the M real elements.

Shapes: M elements, E events, K_e = ceil(n_e / b) bins of event e, K = sum K_e, b = bin_size,
P = K * b slots of which P - M are vacant, d node features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

__all__ = ["MAX_ROTATIONS", "Bins", "RaggedLayout"]

MAX_ROTATIONS = 100  # columns of the LSH codebook: events of more than 200 bins share buckets


class _Rearrange(torch.autograd.Function):
    """Rows in another order with zeros in vacant rows; the adjoint is the way back.

    Both directions are gathers by precomputed indices: no scatter_add, no atomics, so gradients
    are deterministic on every device.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, there: Tensor, back: Tensor, vacant: Tensor, vacant_back: Tensor
    ) -> Tensor:
        ctx.save_for_backward(there, back, vacant, vacant_back)
        return x.index_select(0, there).index_fill_(0, vacant, 0.0)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None, None]:
        there, back, vacant, vacant_back = ctx.saved_tensors
        return _rearrange(grads[0], back, there, vacant_back, vacant), None, None, None, None


def _rearrange(x: Tensor, there: Tensor, back: Tensor, vacant: Tensor, vacant_back: Tensor) -> Any:
    """Give x[there] with zeros in rows `vacant`; `back` and `vacant_back` undo it."""
    return _Rearrange.apply(x, there, back, vacant, vacant_back)  # type: ignore[no-untyped-call]


@dataclass(frozen=True, slots=True)
class Bins:
    """One assignment of elements to bins: collects rows into bins and releases them again."""

    slot: Tensor  # (M,) int64: the slot of each element
    source: Tensor  # (P,) int64: the element in each slot; 0 in vacant ones
    vacant: Tensor  # (P - M,) int64: slots without an element
    size: int  # b

    def collect(self, x: Tensor) -> Tensor:
        """Rows (M, d) as bins (K, b, d), zero where no element is."""
        rows: Tensor = _rearrange(x, self.source, self.slot, self.vacant, self.vacant.new_empty(0))
        return rows.view(-1, self.size, x.shape[-1])

    def release(self, y: Tensor) -> Tensor:
        """Bins (K, b, d) as rows (M, d) in the order of the elements."""
        flat = y.reshape(-1, y.shape[-1])
        rows: Tensor = _rearrange(
            flat, self.slot, self.source, self.vacant.new_empty(0), self.vacant
        )
        return rows


@dataclass(frozen=True, slots=True)
class RaggedLayout:
    """Where events lie once each is padded to whole bins; shared by all layers of a model.

    Examples
    --------
    >>> layout = RaggedLayout.of(torch.tensor([3, 5]), bin_size=4)
    >>> layout.occupied[:, :, 0].int()
    tensor([[1, 1, 1, 0],
            [1, 1, 1, 1],
            [1, 0, 0, 0]], dtype=torch.int32)
    """

    counts: Tensor  # (E,) int64 on the CPU: elements of each event
    size: int  # b
    event: Tensor  # (M,) int64: event of each element
    rotations: Tensor  # (M,) int64: LSH rotations max(1, K_e // 2) of the element's event
    max_rotations: int  # the largest of them
    place: Tensor  # (M,) int64: slot of the i-th element in (event, hash) order
    vacant: Tensor  # (P - M,) int64
    occupied: Tensor  # (K, b, 1) float32: 1 where an element is
    position: Tensor | None = None  # (M, 3): eta, sin phi, cos phi at the calorimeter

    @classmethod
    def of(
        cls,
        counts: Tensor,
        *,
        bin_size: int,
        device: torch.device | str = "cpu",
        position: Tensor | None = None,
    ) -> RaggedLayout:
        """Lay out events of `counts` elements (int64, on the CPU, so that nothing waits).

        `position` (M, 3) tells layers that ask for it where the elements are.
        """
        bins = (counts + bin_size - 1) // bin_size  # (E,) K_e
        padding = bins * bin_size - counts  # (E,)
        rotations = (bins // 2).clamp(1, MAX_ROTATIONS)
        n_elements, n_vacant = int(counts.sum()), int(padding.sum())
        # the i-th element of the sorted order has the padding of earlier events before it,
        # the i-th vacant slot all elements up to and with its own event
        place = torch.arange(n_elements) + (padding.cumsum(0) - padding).repeat_interleave(counts)
        vacant = torch.arange(n_vacant) + counts.cumsum(0).repeat_interleave(padding)
        occupied = torch.ones(n_elements + n_vacant).index_fill_(0, vacant, 0.0)
        return cls(
            counts=counts,
            size=bin_size,
            event=torch.arange(len(counts)).repeat_interleave(counts).to(device),
            rotations=rotations.repeat_interleave(counts).to(device),
            max_rotations=int(rotations.max()) if len(counts) else 1,
            place=place.to(device),
            vacant=vacant.to(device),
            occupied=occupied.view(-1, bin_size, 1).to(device),
            position=position,
        )

    def bins(self, hashes: Tensor) -> Bins:
        """Sort each event by `hashes` (M,), ties by input order, and cut it into bins."""
        key = self.event * (2 * self.max_rotations) + hashes
        order = torch.argsort(key, stable=True)  # (M,) element at each sorted position
        slot = torch.empty_like(order)
        slot[order] = self.place
        source = order.new_zeros(self.occupied.shape[0] * self.size)
        source[self.place] = order
        return Bins(slot=slot, source=source, vacant=self.vacant, size=self.size)
