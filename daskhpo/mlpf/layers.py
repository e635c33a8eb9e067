"""Graph layers in which elements exchange messages at a cost linear in their number.

A graph network over all pairs of N elements costs N^2. The graph layer of MLPF instead hashes a
learned embedding (locality-sensitive hashing, LSH), sorts the elements of an event by their hash,
cuts the sorted list into bins of `bin_size` elements and lets only the elements of one bin see
one another: N * bin_size pairs.

Events differ in length, so they are laid out *ragged*: one after the other in one (M, d) tensor,
each padded only to a multiple of the bin size, and only for the b x b products. All dense algebra
runs on the M real elements. What an event gets out never depends on the events beside it.

Shapes: M elements, E events, K_e = ceil(n_e / b) bins of event e, K = sum K_e, b = bin_size,
P = K * b slots of which P - M are vacant, d node features, d_s = distance_dim.

References: Pata et al., Eur. Phys. J. C 81 (2021) 381; Pata et al., Commun. Phys. 7 (2024) 124.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = [
    "Bins",
    "CombinedGraphLayer",
    "Dropout",
    "GHConvDense",
    "GraphSettings",
    "RaggedLayout",
    "complete_rows",
    "distance_kernel",
    "feed_forward",
    "initialise",
    "lsh",
    "normalise_degrees",
]

# Libraries treat what is left over after whole vector registers by other kernels, which round
# differently. With rows in multiples of 96 (whole registers for any width and any of the tile
# heights in use: 2, 3, 4, 6, 8, 12, 16, 24) and inner dimensions in multiples of 8 nothing is left
# over, so no row's rounding depends on where it lies or how many rows follow.
ROWS = 96
INNER = 8
MAX_ROTATIONS = 100  # columns of the LSH codebook: events of more than 200 bins share buckets


def complete_rows(x: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """Append one event of zero elements, so that the rows are a multiple of 96.

    Use it before the first matrix product of a batch and drop the last rows after the last one;
    it is what makes the result of an event bitwise independent of its batch.

    Parameters
    ----------
    x : Tensor, shape (M, F)
        Elements of all events, one event after the other.
    counts : Tensor of int64 on the CPU, shape (E,)
        Elements per event.
        The results have M' rows, the next multiple of 96, and E + 1 counts.

    Examples
    --------
    >>> x, counts = complete_rows(torch.ones(50, 3), torch.tensor([20, 30]))
    >>> x.shape, counts
    (torch.Size([96, 3]), tensor([20, 30, 46]))
    """
    missing = -len(x) % ROWS
    return functional.pad(x, (0, 0, 0, missing)), functional.pad(counts, (0, 1), value=missing)


class Linear(nn.Linear):
    """`torch.nn.Linear` whose result for a row does not depend on the rows around it."""

    def forward(self, x: Tensor) -> Tensor:
        """Map rows (M, d_in), M a multiple of 96, to rows (M, d_out)."""
        return _linear(x, self.weight, self.bias)


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    missing = -x.shape[-1] % INNER
    if missing:
        x, weight = functional.pad(x, (0, missing)), functional.pad(weight, (0, missing))
    return functional.linear(x, weight, bias)


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

    size: int  # b
    event: Tensor  # (M,) int64: event of each element
    rotations: Tensor  # (M,) int64: LSH rotations max(1, K_e // 2) of the element's event
    max_rotations: int  # the largest of them
    place: Tensor  # (M,) int64: slot of the i-th element in (event, hash) order
    vacant: Tensor  # (P - M,) int64
    occupied: Tensor  # (K, b, 1) float32: 1 where an element is

    @classmethod
    def of(
        cls, counts: Tensor, *, bin_size: int, device: torch.device | str = "cpu"
    ) -> RaggedLayout:
        """Lay out events of `counts` elements (int64, on the CPU, so that nothing waits)."""
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
            size=bin_size,
            event=torch.arange(len(counts)).repeat_interleave(counts).to(device),
            rotations=rotations.repeat_interleave(counts).to(device),
            max_rotations=int(rotations.max()) if len(counts) else 1,
            place=place.to(device),
            vacant=vacant.to(device),
            occupied=occupied.view(-1, bin_size, 1).to(device),
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
        projection = _linear(z.float(), codebook[:, :columns].float().T)[:, :width]  # (M, C)
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


class Dropout(nn.Module):
    """Dropout that can draw from a generator of its own instead of the global one.

    Trials that share a process then do not disturb one another, and a resumed epoch draws what
    the undisturbed one would have drawn. Without a generator it draws from torch's global state.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p
        self.generator: torch.Generator | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Zero elements with probability p and scale the rest by 1 / (1 - p), when training."""
        if not self.training or self.p == 0:
            return x
        # on a CPU comparing uniform numbers is three times faster than bernoulli_
        keep = torch.rand(x.shape, generator=self.generator, device=x.device) >= self.p
        return (x * keep) * (1 / (1 - self.p))


def feed_forward(
    widths: tuple[int, int, int], *, layers: int, dropout: float = 0.0
) -> nn.Sequential:
    """Perceptron of `layers` hidden layers [Linear, ELU, Dropout] and a linear output.

    Parameters
    ----------
    widths : (input, hidden, output)
    layers : int, hidden; 0 gives one linear map

    Examples
    --------
    >>> feed_forward((14, 32, 6), layers=1)(torch.zeros(5, 14)).shape
    torch.Size([5, 6])
    """
    d_in, hidden, d_out = widths
    modules: list[nn.Module] = []
    for _ in range(layers):
        modules += [Linear(d_in, hidden), nn.ELU(), Dropout(dropout)]
        d_in = hidden
    return nn.Sequential(*modules, Linear(d_in, d_out))


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

    def forward(self, x: Tensor, adjacency: Tensor, bins: Bins) -> Tensor:
        """Features (M, d_in) and adjacency (K, b, b) to features (M, d_out)."""
        hom, het, gate = _linear(x, self.theta_het_gate).chunk(3, dim=-1)
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


class CombinedGraphLayer(nn.Module):
    """One graph layer: embed, hash into bins, weigh the pairs of each bin, pass messages.

    `d_in` is the width of the incoming features.

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
        # a buffer: no gradient reaches the hash, and DDP waits for every parameter's gradient
        self.register_buffer("codebook", torch.empty(s.distance_dim, MAX_ROTATIONS))
        widths = [d_in] + [s.output_dim] * s.num_node_messages
        self.messages = nn.ModuleList(GHConvDense(*pair) for pair in pairwise(widths))
        self.dropout = Dropout(s.dropout)
        initialise(self)

    def forward(self, x: Tensor, layout: RaggedLayout) -> Tensor:
        """Features (M, d_in) of the events in `layout` to features (M, output_dim)."""
        x = self.norm(x)
        z: Tensor = self.ffn_dist(x)  # (M, d_s)
        bins = layout.bins(lsh(z, self.codebook, layout))
        adjacency = self.adjacency(bins.collect(z), layout.occupied)
        for message in self.messages:
            x = self.dropout(message(x, adjacency, bins))
        return x

    def adjacency(self, z: Tensor, occupied: Tensor) -> Tensor:
        """Edge weights (K, b, b) from binned embeddings (K, b, d_s), once for all messages."""
        s = self.settings
        kernel = distance_kernel(z, dist_mult=s.dist_mult, clip_value_low=s.clip_value_low)
        return normalise_degrees(kernel, occupied) if s.normalize_degrees else kernel


def initialise(module: nn.Module, generator: torch.Generator | None = None) -> None:
    """Set Glorot-uniform weights, zero biases and random LSH codebooks in all of `module`.

    They are drawn from `generator` (on the CPU), or from torch's global state without one.
    """
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, nn.Linear):
                nn.init.xavier_uniform_(part.weight, generator=generator)
                part.bias.zero_()
            elif isinstance(part, GHConvDense):
                for weight in part.theta_het_gate.chunk(3):
                    nn.init.xavier_uniform_(weight, generator=generator)
                part.gate_bias.zero_()
            elif isinstance(part, CombinedGraphLayer):
                part.codebook.normal_(0.0, 0.05, generator=generator)
