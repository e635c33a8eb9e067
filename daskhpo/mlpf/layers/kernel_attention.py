"""Attention by kernel features: all elements of an event meet, at a cost linear in their number.

Softmax attention weighs the pairs of elements by exp(q_i k_j). With positive features phi for which
phi(q) phi(k) stands for that weight, the sum over j can be taken first, once for all i:

    A_i = phi(q_i) (sum_j phi(k_j) v_j^T) / (phi(q_i) sum_j phi(k_j))

which costs N R D per head instead of N^2 D. Elements of an event are summed in chunks, and the
chunks one after the other: keys of other events and vacant slots never enter a sum.

Shapes: M elements, E events, K chunks of b elements, H heads of width D = d / H, R random features.

References: Katharopoulos et al., ICML 2020 (elu); Choromanski et al., Rethinking attention with
performers, ICLR 2021 (FAVOR+); Pata et al., Commun. Phys. 7 (2024) 124 (in MLPF).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from daskhpo.mlpf.layers.common import INNER, Linear, feed_forward, initialise, linear
from daskhpo.mlpf.layers.groups import Groups
from daskhpo.mlpf.layers.layout import RaggedLayout

__all__ = [
    "KernelAttention",
    "KernelAttentionLayer",
    "KernelSettings",
    "attend",
    "elu_features",
    "favor_features",
    "orthogonal_features",
]

SMALLEST = 1e-6  # keeps the weights of a query finite to which no key answers


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelSettings:
    """The hyperparameters of one `KernelAttentionLayer`; `num_heads` divides `output_dim`."""

    output_dim: int = 64
    num_heads: int = 4
    num_random_features: int = 32
    feature_transform: str = "elu"
    dropout: float = 0.0


def orthogonal_features(n: int, width: int, *, generator: torch.Generator | None = None) -> Tensor:
    """Draw n directions of `width` dimensions, orthogonal within each block of `width`.

    Each by itself is a normal random vector; that they are orthogonal makes the estimate of the
    softmax kernel more precise (Choromanski et al. 2021, section 2.4).

    Returns
    -------
    Tensor, shape (n, width)
    """
    blocks = -(-n // width)
    q, r = torch.linalg.qr(torch.randn(blocks, width, width, generator=generator))
    # the signs that LAPACK chooses depend on the matrix; with these, directions are uniform
    q = q * r.diagonal(dim1=1, dim2=2).sign()[:, None]
    lengths = torch.randn(n, width, generator=generator).norm(dim=1, keepdim=True)
    directions: Tensor = lengths * q.mT.reshape(-1, width)[:n]
    return directions


def elu_features(
    query: Tensor, key: Tensor, directions: Tensor, layout: RaggedLayout
) -> tuple[Tensor, Tensor]:
    """Features (elu(x P^T) + 1) / sqrt(R) of queries and keys (M, H, D), each (M, H, R)."""
    scale = len(directions) ** -0.5
    return (
        (functional.elu(_project(query, directions)) + 1) * scale,
        (functional.elu(_project(key, directions)) + 1) * scale,
    )


def favor_features(
    query: Tensor, key: Tensor, directions: Tensor, layout: RaggedLayout
) -> tuple[Tensor, Tensor]:
    """Features of FAVOR+, exp(x P^T - |x|^2 / 2), of queries and keys (M, H, D), each (M, H, R).

    Their product estimates exp(q k) without bias. A factor of one query, and factors of one
    feature that cancel between the keys of an event and its queries, leave attention as it is:
    they are chosen so that the largest key of every feature and the largest feature of every
    query are 1. Nothing then overflows, and no denominator is below 1.
    """
    log_query = _project(query, directions)
    log_key = _project(key, directions) - key.square().sum(2, keepdim=True) / 2
    with torch.no_grad():
        sizes = layout.counts.to(key.device)
        loudest = torch.segment_reduce(log_key, "max", lengths=sizes, unsafe=True)  # (E, H, R)
        loudest = loudest.index_select(0, layout.event)  # (M, H, R)
    log_query = log_query + loudest
    log_query = log_query - log_query.detach().amax(2, keepdim=True)
    return log_query.exp(), (log_key - loudest).exp()


def _project(x: Tensor, directions: Tensor) -> Tensor:
    """Components (M, H, R) of rows (M, H, D) along directions (R, D)."""
    return linear(x.flatten(0, 1), directions).view(*x.shape[:2], len(directions))


FEATURES = {"elu": (elu_features, SMALLEST), "favor": (favor_features, 0.0)}


def attend(
    query: Tensor, key: Tensor, value: Tensor, layout: RaggedLayout, *, smallest: float = 0.0
) -> Tensor:
    """Mean of the values of each event, weighted by the products of features.

    Parameters
    ----------
    query, key : Tensor, shape (M, H, R)
        Positive features.
    value : Tensor, shape (M, H, D)
    layout : RaggedLayout
        Its bins are the chunks.
    smallest : float
        Added to every denominator.

    Returns
    -------
    Tensor, shape (M, H, D)
    """
    bins = layout.bins(torch.zeros_like(layout.event))  # in the order of the elements
    events, width = _events_of_chunks(layout), value.shape[2]

    def chunks(x: Tensor) -> Tensor:
        """Rows (M, H, F) as chunks (K, H, b, F'), F' the next multiple of 8, zero where vacant."""
        # matrices of whole registers begin on their boundaries: rounding stays put
        x = functional.pad(x, (0, -x.shape[2] % INNER))
        return bins.collect(x.flatten(1)).view(-1, layout.size, *x.shape[1:]).transpose(1, 2)

    # a column of ones gives the denominators along with the numerators
    sums = chunks(key).mT @ chunks(functional.pad(value, (0, 1), value=1.0))  # (K, H, R', D')
    sums = events.take(events.add(sums))  # of the whole event, at each of its chunks
    attended = chunks(query) @ sums  # (K, H, b, D')
    rows = bins.release(attended.transpose(1, 2).flatten(2))  # (M, H D')
    rows = rows.view(len(query), query.shape[1], sums.shape[3])
    mean: Tensor = rows[..., :width] / (rows[..., width : width + 1] + smallest)
    return mean


def _events_of_chunks(layout: RaggedLayout) -> Groups:
    """Group the K chunks by their events."""
    n_chunks = (layout.counts + layout.size - 1) // layout.size  # (E,)
    event = torch.arange(len(n_chunks)).repeat_interleave(n_chunks)  # (K,)
    return Groups.of(event.to(layout.event.device), len(n_chunks))


class KernelAttention(nn.Module):
    """Multi-head attention with random positive features in place of the softmax.

    The random directions are a buffer, drawn once with the weights. Queries and keys are scaled
    by D^(-1/4) each. The sums are taken in at least float32.
    """

    directions: Tensor

    def __init__(self, settings: KernelSettings) -> None:
        super().__init__()
        d, self.num_heads = settings.output_dim, settings.num_heads
        self.features, self.smallest = FEATURES[settings.feature_transform]
        self.query, self.key_value, self.out = Linear(d, d), Linear(d, 2 * d), Linear(d, d)
        shape = (settings.num_random_features, d // settings.num_heads)
        self.register_buffer("directions", torch.empty(shape))

    def draw(self, generator: torch.Generator | None) -> None:
        """Draw the directions of the features."""
        self.directions.copy_(orthogonal_features(*self.directions.shape, generator=generator))

    def forward(self, asking: Tensor, x: Tensor, layout: RaggedLayout) -> Tensor:
        """Answer what rows `asking` (M, d) ask of the features x (M, d) of their events: (M, d)."""
        query = self.query(asking).unflatten(1, (self.num_heads, -1))  # (M, H, D)
        key, value = self.key_value(x).unflatten(1, (2, self.num_heads, -1)).unbind(1)
        with torch.autocast(x.device.type, enabled=False):
            dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
            query, key, value = query.to(dtype), key.to(dtype), value.to(dtype)
            scale = query.shape[-1] ** -0.25
            directions = self.directions.to(dtype)
            phi_q, phi_k = self.features(query * scale, key * scale, directions, layout)
            attended = attend(phi_q, phi_k, value, layout, smallest=self.smallest)
        out: Tensor = self.out(attended.flatten(1))
        return out


class KernelAttentionLayer(nn.Module):
    """Block x <- LN(x), x <- FFN(LN(x + A(q, x))), as upstream without a residual after the FFN.

    The query is x itself or, with `learned_query`, one learned vector for all elements: what all
    of an event hear is then the same, and x tells them apart. Upstream's decoders begin so.
    (Its self-attention asks with x before LN, and a head of its is as wide as the block.)

    Examples
    --------
    >>> layer = KernelAttentionLayer(KernelSettings(output_dim=16), learned_query=True)
    >>> layer(torch.randn(12, 16), RaggedLayout.of(torch.tensor([7, 5]), bin_size=4)).shape
    torch.Size([12, 16])
    """

    def __init__(self, settings: KernelSettings, *, learned_query: bool = False) -> None:
        super().__init__()
        d = settings.output_dim
        self.norm, self.norm_attended = nn.LayerNorm(d), nn.LayerNorm(d)
        self.attention = KernelAttention(settings)
        self.feed_forward = feed_forward((d, d, d), layers=1, dropout=settings.dropout)
        self.learned_query = nn.Parameter(torch.empty(d)) if learned_query else None
        initialise(self)

    def draw(self, generator: torch.Generator | None) -> None:
        """Draw the learned query, if there is one."""
        if self.learned_query is not None:
            self.learned_query.normal_(0.0, 0.05, generator=generator)

    def forward(self, x: Tensor, layout: RaggedLayout) -> Tensor:
        """Features (M, d) of the events in `layout` to features (M, d)."""
        x = self.norm(x)
        asking = x if self.learned_query is None else self.learned_query.expand_as(x)
        out: Tensor = self.feed_forward(self.norm_attended(x + self.attention(asking, x, layout)))
        return out
