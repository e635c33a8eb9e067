"""GravNet: messages from the nearest neighbours in a learned space.

Every element gets a place in a space of few dimensions, in which those are near that have to know
of one another, and hears its k nearest neighbours there, the nearer the louder. The search costs
N^2 distances, all else is linear in N.

Shapes: M elements, S = space_dimensions, P = propagate_dimensions, d node features.

References: Qasim et al., Eur. Phys. J. C 79 (2019) 608; Pata et al., Eur. Phys. J. C 81 (2021) 381.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from daskhpo.mlpf.layers.common import Dropout, Linear, initialise
from daskhpo.mlpf.layers.layout import RaggedLayout
from daskhpo.mlpf.layers.neighbours import nearest

__all__ = ["GravNetConv", "GravNetLayer", "GravNetSettings"]

SHARPNESS = 10.0  # of the decay with the squared distance


@dataclass(frozen=True, slots=True, kw_only=True)
class GravNetSettings:
    """The hyperparameters of one `GravNetLayer`, under the papers' names."""

    output_dim: int = 64
    k: int = 16
    space_dimensions: int = 4
    propagate_dimensions: int = 32
    dropout: float = 0.0


class GravNetConv(nn.Module):
    """Mean and maximum of what the neighbours send, weighted by their distance.

        s = x W_s,  h = x W_h + b_h,  w_ij = exp(-10 |s_i - s_j|^2)
        out_i = x_i W_1 + [mean_j w_ij h_j, max_j w_ij h_j] W_2 + b_2

    over the k nearest j of the same event, i included. With equal weights it gives the numbers of
    torch-geometric's `GravNetConv`, whose bias of s leaves all distances as they are and is left
    out here: it would never get a gradient. A gradient reaches W_s through the weights w_ij only;
    which elements are neighbours is not differentiable.

    Examples
    --------
    >>> conv = GravNetConv(16, GravNetSettings(output_dim=8, k=3))
    >>> layout = RaggedLayout.of(torch.tensor([7, 5]), bin_size=4)
    >>> conv(torch.randn(12, 16), layout).shape
    torch.Size([12, 8])
    """

    def __init__(self, d_in: int, settings: GravNetSettings) -> None:
        super().__init__()
        s = settings
        self.k = s.k
        self.space = Linear(d_in, s.space_dimensions, bias=False)
        self.message = Linear(d_in, s.propagate_dimensions)
        self.own = Linear(d_in, s.output_dim, bias=False)
        self.neighbourhood = Linear(2 * s.propagate_dimensions, s.output_dim)
        initialise(self)

    def forward(self, x: Tensor, layout: RaggedLayout) -> Tensor:
        """Features (M, d_in) of the events in `layout` to features (M, output_dim)."""
        with torch.autocast(x.device.type, enabled=False):  # half precision has many ties
            places = self.space(x if x.dtype == torch.float64 else x.float())  # (M, S)
        sent = self.message(x).to(places.dtype)  # (M, P)
        near = nearest(places, layout.counts, k=self.k)
        both = near.take(torch.cat([places, sent], dim=1))  # (M, k, S + P)
        theirs, heard = both[..., : places.shape[1]], both[..., places.shape[1] :]
        squares = (theirs - places[:, None]).square().sum(2, keepdim=True)  # (M, k, 1)
        heard = (-SHARPNESS * squares).exp() * heard
        summary = torch.cat([near.mean(heard), heard.amax(1)], dim=1)  # (M, 2 P)
        out: Tensor = self.own(x) + self.neighbourhood(summary)
        return out


class GravNetLayer(nn.Module):
    """x <- LayerNorm(x + Dropout(GravNetConv(x))), x of width `settings.output_dim`.

    Examples
    --------
    >>> layer = GravNetLayer(GravNetSettings(output_dim=16))
    >>> layer(torch.randn(12, 16), RaggedLayout.of(torch.tensor([7, 5]), bin_size=4)).shape
    torch.Size([12, 16])
    """

    def __init__(self, settings: GravNetSettings) -> None:
        super().__init__()
        self.conv = GravNetConv(settings.output_dim, settings)
        self.dropout = Dropout(settings.dropout)
        self.norm = nn.LayerNorm(settings.output_dim)

    def forward(self, x: Tensor, layout: RaggedLayout) -> Tensor:
        """Features (M, d) of the events in `layout` to features (M, d)."""
        out: Tensor = self.norm(x + self.dropout(self.conv(x, layout)))
        return out
