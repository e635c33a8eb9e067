"""Softmax attention among all elements of an event: exact, and quadratic in their number.

It is the reference against which the layers of linear cost are measured, in physics and in time.

Shapes: M elements, n of one event, H heads of width D = d / H, d node features.

Reference: Vaswani et al., Attention is all you need, NeurIPS 2017.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from daskhpo.mlpf.layers.common import Dropout, Linear, feed_forward, initialise
from daskhpo.mlpf.layers.layout import RaggedLayout

__all__ = ["AttentionLayer", "AttentionSettings", "SoftmaxAttention"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionSettings:
    """The hyperparameters of one `AttentionLayer`; `num_heads` divides `output_dim`."""

    output_dim: int = 64
    num_heads: int = 4
    dropout: float = 0.0


class SoftmaxAttention(nn.Module):
    """Multi-head attention softmax(Q K^T / sqrt(D)) V within each event.

    One event after the other, so nothing is padded and nothing has to be masked. PyTorch chooses
    the kernel; those that never hold the n x n weights (the CPU's, and flash attention in half
    precision) need memory linear in n. On a GPU their gradients are summed by atomics and may
    differ between runs in the last digits, unless torch.use_deterministic_algorithms forbids it.
    """

    def __init__(self, settings: AttentionSettings) -> None:
        super().__init__()
        d = settings.output_dim
        self.num_heads = settings.num_heads
        self.query_key_value = Linear(d, 3 * d)
        self.out = Linear(d, d)

    def forward(self, x: Tensor, layout: RaggedLayout) -> Tensor:
        """Features (M, d) of the events in `layout` to features (M, d)."""
        packed = self.query_key_value(x).unflatten(1, (3, self.num_heads, -1))  # (M, 3, H, D)
        events = [event for event in packed.split(layout.counts.tolist()) if len(event)]
        attended = [packed[:0, 0], *map(_attend, events)]  # of no events, none
        out: Tensor = self.out(torch.cat(attended).flatten(1))
        return out


def _attend(event: Tensor) -> Tensor:
    """Queries, keys and values (n, 3, H, D) of one event to what they give (n, H, D)."""
    # a copy of its own: rounding in kernels depends on where rows lie relative to registers
    copied = event.permute(1, 2, 0, 3).clone(memory_format=torch.contiguous_format)
    query, key, value = copied[:, None]  # each (1, H, n, D)
    return functional.scaled_dot_product_attention(query, key, value)[0].transpose(0, 1)


class AttentionLayer(nn.Module):
    """Block with the normalisation first: x <- x + A(LN(x)), then x <- x + FFN(LN(x)).

    Examples
    --------
    >>> layer = AttentionLayer(AttentionSettings(output_dim=16))
    >>> layer(torch.randn(12, 16), RaggedLayout.of(torch.tensor([7, 5]), bin_size=4)).shape
    torch.Size([12, 16])
    """

    def __init__(self, settings: AttentionSettings) -> None:
        super().__init__()
        d = settings.output_dim
        self.norm_attention, self.norm_feed_forward = nn.LayerNorm(d), nn.LayerNorm(d)
        self.attention = SoftmaxAttention(settings)
        self.feed_forward = feed_forward((d, d, d), layers=1, dropout=settings.dropout)
        self.dropout = Dropout(settings.dropout)
        initialise(self)

    def forward(self, x: Tensor, layout: RaggedLayout) -> Tensor:
        """Features (M, d) of the events in `layout` to features (M, d)."""
        x = x + self.attention(self.norm_attention(x), layout)
        out: Tensor = x + self.dropout(self.feed_forward(self.norm_feed_forward(x)))
        return out
