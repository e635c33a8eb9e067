"""Graph layers in which elements exchange messages at a cost linear in their number.

A graph network over all pairs of N elements costs N^2. The graph layer of MLPF instead hashes a
learned embedding (locality-sensitive hashing, LSH), sorts the elements of an event by their hash,
cuts the sorted list into bins of `bin_size` elements and lets only the elements of one bin see
one another: N * bin_size pairs. What an event gets out never depends on the events beside it.

Shapes: M elements, K bins of b elements each, d node features, d_s = distance_dim.

References: Pata et al., Eur. Phys. J. C 81 (2021) 381; Pata et al., Commun. Phys. 7 (2024) 124.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from daskhpo.mlpf.layers.common import Dropout, feed_forward, initialise, linear
from daskhpo.mlpf.layers.layout import MAX_ROTATIONS, Bins, RaggedLayout

__all__ = [
    "CombinedGraphLayer",
    "GHConvDense",
    "GraphSettings",
    "distance_kernel",
    "lsh",
    "normalise_degrees",
]


@torch.no_grad()
def lsh(z: Tensor, codebook: Tensor, layout: RaggedLayout) -> Tensor:
    """Angular hash of each element: the direction among +-R_c to which it is nearest.

    An event of K_e bins uses the first max(1, K_e // 2) columns of the codebook, whatever the
    events beside it use; the others are masked. Computed in float32, outside of autograd.

    Parameters
    ----------
    z : Tensor, shape (M, d_s)
        Embedding; its length does not matter, only its direction.
    codebook : Tensor, shape (d_s, MAX_ROTATIONS)
        Random directions, fixed.
    layout : RaggedLayout

    Returns
    -------
    Tensor of int64, shape (M,)
        In [0, 2 * layout.max_rotations); ordered within an event as argmax of [z R, -z R].
    """
    width = layout.max_rotations
    columns = min(-(-width // 8) * 8, codebook.shape[1])  # whole registers: rounding stays put
    with torch.autocast(z.device.type, enabled=False):
        projection = linear(z.float(), codebook[:, :columns].float().T)[:, :width]  # (M, C)
    unused = torch.arange(width, device=z.device) >= layout.rotations[:, None]
    nearest = projection.abs().masked_fill_(unused, -1.0).argmax(1)  # (M,)
    negative = projection.gather(1, nearest[:, None])[:, 0] < 0
    return nearest + width * negative


def distance_kernel(z: Tensor, *, dist_mult: float, clip_value_low: float) -> Tensor:
    """Edge weights max(exp(-dist_mult * |z_i - z_j|), clip_value_low) inside each bin.

    The distance enters, not its square. Computed in at least float32: |z|^2 overflows half
    precision. `clip_value_low` is a floor that keeps distant pairs connected; 0 switches it off.
    `z` is (K, b, d_s), the result (K, b, b) in (0, 1).
    """
    with torch.autocast(z.device.type, enabled=False):
        z = z if z.dtype == torch.float64 else z.float()
        square = (z * z).sum(-1, keepdim=True)  # (K, b, 1)
        squares = square + square.transpose(1, 2)  # (K, b, b)
        squared_distance = torch.baddbmm(squares, z, z.transpose(1, 2), alpha=-2.0)
        # the floor 1e-6 keeps the square root differentiable on the diagonal
        kernel = (squared_distance.clamp(min=1e-6).sqrt() * -dist_mult).exp()
        return kernel.clamp(min=clip_value_low) if clip_value_low > 0 else kernel


def normalise_degrees(kernel: Tensor, occupied: Tensor) -> Tensor:
    """Normalise A symmetrically to n_i A_ij n_j, n_i = (sum_j A_ij + 1e-6)^(-1/2), j occupied.

    `kernel` is (K, b, b), `occupied` (K, b, 1) as in `RaggedLayout`; the result is (K, b, b).
    """
    with torch.autocast(kernel.device.type, enabled=False):
        degree = (kernel * occupied.to(kernel.dtype).transpose(1, 2)).sum(-1, keepdim=True)
        n = (degree + 1e-6).rsqrt()  # (K, b, 1)
        return kernel * (n * n.transpose(1, 2))


class GHConvDense(nn.Module):
    """Gated graph convolution: a learned gate mixes the neighbourhood with the element itself.

    out_i = elu(g_i * (A x Theta)_i + (1 - g_i) * x_i W_h),  g_i = sigmoid(x_i W_t + b_t)

    The adjacency arrives ready, normalised or not, because all messages of a layer share it.
    `d_in` and `d_out` are the widths of the features before and after.
    """

    def __init__(self, d_in: int, d_out: int) -> None:
        super().__init__()
        self.theta_het_gate = nn.Parameter(torch.empty(3 * d_out, d_in))  # one product for three
        self.gate_bias = nn.Parameter(torch.zeros(d_out))

    def draw(self, generator: torch.Generator | None) -> None:
        """Draw the three matrices Glorot-uniformly; the gates start half open."""
        for weight in self.theta_het_gate.chunk(3):
            nn.init.xavier_uniform_(weight, generator=generator)
        self.gate_bias.zero_()

    def forward(self, x: Tensor, adjacency: Tensor, bins: Bins) -> Tensor:
        """Features (M, d_in) and adjacency (K, b, b) to features (M, d_out)."""
        hom, het, gate = linear(x, self.theta_het_gate).chunk(3, dim=-1)
        gate = torch.sigmoid(gate + self.gate_bias.to(gate.dtype))
        binned = bins.collect(hom)  # (K, b, d); vacant rows are 0, so they send nothing
        hom = bins.release(torch.bmm(adjacency.to(binned.dtype), binned))
        return functional.elu(torch.lerp(het, hom, gate))


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphSettings:
    """The hyperparameters of one `CombinedGraphLayer`, under the papers' names."""

    output_dim: int = 64
    distance_dim: int = 32
    ffn_dist_hidden_dim: int = 64
    ffn_dist_num_layers: int = 1
    dist_mult: float = 1.0
    clip_value_low: float = 0.0
    num_node_messages: int = 1
    dropout: float = 0.0
    layernorm: bool = True
    normalize_degrees: bool = False
    position_scale: float = 0.0


class CombinedGraphLayer(nn.Module):
    """One graph layer: embed, hash into bins, weigh the pairs of each bin, pass messages.

    With `position_scale` the embedding gets three more coordinates, the element's position at the
    calorimeter times a factor that starts there and is learned: near in the embedding then means
    near in the detector from the first step on. (Ours, not the papers': without it a network has
    to find out from scratch which track points to which tower, which takes it hundreds of epochs.)

    Parameters
    ----------
    d_in : int
        Width of the incoming features.
    settings : GraphSettings

    Examples
    --------
    >>> layer = CombinedGraphLayer(16, GraphSettings(output_dim=16))
    >>> layout = RaggedLayout.of(torch.tensor([7, 5]), bin_size=4)
    >>> layer(torch.randn(12, 16), layout).shape
    torch.Size([12, 16])
    """

    codebook: Tensor

    def __init__(self, d_in: int, settings: GraphSettings) -> None:
        super().__init__()
        s = settings
        self.settings = s
        self.norm = nn.LayerNorm(d_in, eps=1e-6) if s.layernorm else nn.Identity()
        self.ffn_dist = feed_forward(
            (d_in, s.ffn_dist_hidden_dim, s.distance_dim),
            layers=s.ffn_dist_num_layers,
            dropout=s.dropout,
        )
        self.position_scale = (
            nn.Parameter(torch.tensor(s.position_scale)) if s.position_scale else None
        )
        d_s = s.distance_dim + 3 * bool(s.position_scale)
        # a buffer: no gradient reaches the hash, and DDP waits for every parameter's gradient
        self.register_buffer("codebook", torch.empty(d_s, MAX_ROTATIONS))
        widths = [d_in] + [s.output_dim] * s.num_node_messages
        self.messages = nn.ModuleList(GHConvDense(*pair) for pair in pairwise(widths))
        self.dropout = Dropout(s.dropout)
        initialise(self)

    def forward(self, x: Tensor, layout: RaggedLayout) -> Tensor:
        """Features (M, d_in) of the events in `layout` to features (M, output_dim)."""
        x = self.norm(x)
        z = self._embed(x, layout)  # (M, d_s)
        bins = layout.bins(lsh(z, self.codebook, layout))
        adjacency = self.adjacency(bins.collect(z), layout.occupied)
        for message in self.messages:
            x = self.dropout(message(x, adjacency, bins))
        return x

    def draw(self, generator: torch.Generator | None) -> None:
        """Draw the directions that the hash compares with; their length does not matter."""
        self.codebook.normal_(0.0, 0.05, generator=generator)
        if self.position_scale is not None:
            self.position_scale.fill_(self.settings.position_scale)

    def _embed(self, x: Tensor, layout: RaggedLayout) -> Tensor:
        z: Tensor = self.ffn_dist(x)
        if self.position_scale is None:
            return z
        assert layout.position is not None, "position_scale needs a layout with positions"
        with torch.autocast(z.device.type, enabled=False):
            # half precision cannot tell neighbouring cells: 0.0174 apart, on numbers up to 5
            position = layout.position * self.position_scale
            return torch.cat([z.to(position.dtype), position], dim=1)

    def adjacency(self, z: Tensor, occupied: Tensor) -> Tensor:
        """Edge weights (K, b, b) from binned embeddings (K, b, d_s), once for all messages."""
        s = self.settings
        kernel = distance_kernel(z, dist_mult=s.dist_mult, clip_value_low=s.clip_value_low)
        return normalise_degrees(kernel, occupied) if s.normalize_degrees else kernel
