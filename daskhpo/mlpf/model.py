"""MLPF: one network that turns detector elements into particles, element by element.

    elements (M, F) -> encode, normalise -> H0 (M, d) -> n_glayers_id graph layers  -> H_id
                                                      -> n_glayers_reg graph layers -> H_reg
    H_id               -> class (M, 6), charge (M, 3), correction of (eta, sin phi, cos phi)
    H_id, H_reg, class -> correction of (log pt, log energy)

Both stacks start from H0 and update additively, H <- H + layer(H), so a depth of 0 is legal.
Every momentum is predicted as a correction of the element's own, hence training starts from the
detector's measurement rather than from nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from daskhpo.exceptions import SpaceError
from daskhpo.mlpf.events import Element, ParticleClass, Tower
from daskhpo.mlpf.layers import (
    CombinedGraphLayer,
    Dropout,
    GraphSettings,
    RaggedLayout,
    complete_rows,
    feed_forward,
    initialise,
)

__all__ = ["ALIASES", "MLPF", "MLPFConfig", "MLPFOutput", "resolve_aliases"]

N_CLASSES = len(ParticleClass)
ELEMENT_TYPES = tuple(Element)
# The first columns of X mean the same for towers and tracks; the later ones do not.
PT, ETA, COS, ENERGY = Tower.ET, Tower.ETA, Tower.COS_PHI, Tower.ENERGY
SMALLEST = 1e-6  # GeV; floor below which a logarithm is not taken

# The names that the papers and the upstream code gave to the same hyperparameter.
ALIASES = {
    "num_graph_layers_common": "n_glayers_id",
    "num_graph_layers_energy": "n_glayers_reg",
    "num_graph_layers_id": "n_glayers_id",
    "num_graph_layers_reg": "n_glayers_reg",
}


def resolve_aliases(params: Mapping[str, Any]) -> dict[str, Any]:
    """Give every hyperparameter its one name, refusing two names for the same one.

    Examples
    --------
    >>> resolve_aliases({"num_graph_layers_common": 3, "lr": 1e-3})
    {'n_glayers_id': 3, 'lr': 0.001}
    """
    resolved: dict[str, Any] = {}
    for name, value in params.items():
        proper = ALIASES.get(name, name)
        if proper in resolved:
            raise SpaceError(
                f"{name}={value!r} sets {proper}, which is already {resolved[proper]!r}: "
                f"give it once, as {proper} or one of "
                f"{sorted(a for a, p in ALIASES.items() if p == proper)}"
            )
        resolved[proper] = value
    return resolved


def _number(default: float, low: float, high: float = float("inf")) -> Any:
    """Declare a field with its allowed range [low, high]."""
    return field(default=default, metadata={"low": low, "high": high})


@dataclass(frozen=True, slots=True, kw_only=True)
class MLPFConfig:
    """The network's hyperparameters under the papers' names; the defaults train on a laptop.

    Use `MLPFConfig.delphes()` for the size that the papers trained on GPUs and `from_params` for
    a trial's parameters. `n_glayers_id` and `n_glayers_reg` are also known as
    `num_graph_layers_common` and `num_graph_layers_energy` (and `num_graph_layers_id`, `_reg`).

    Parameters
    ----------
    input_dim : int
        Columns F of X: 12 in the Delphes data set.
    output_dim : int
        Width d of the node features.
    n_glayers_id, n_glayers_reg : int
        Depth of the classification and of the regression stack; 0 is legal.
    bin_size : int
        Elements that see one another in a graph layer.
    distance_dim : int
        Width of the embedding that is hashed and whose distances weigh the edges; at least 2.
    ffn_dist_hidden_dim, ffn_dist_num_layers : int
        The perceptron that makes the embedding.
    dist_mult, clip_value_low : float
        Edge weight max(exp(-dist_mult * distance), clip_value_low).
    num_node_messages : int
        Graph convolutions per layer on the same edges.
    dropout : float
        As in the papers' code: this value in the decoders, half of it in the graph layers.
    layernorm, normalize_degrees : bool
        Normalise the features before, and the edge weights in, a graph layer. Sums over
        neighbours tell more than means on our events, so degrees are not normalised by default
        (the papers: yes for Delphes, no for CLIC).
    node_encoding_hidden_dim, out_hidden_dim, out_num_layers : int
        The perceptrons before the stacks and after them.

    Raises
    ------
    SpaceError
        If a value is of the wrong kind or out of its range.

    Examples
    --------
    >>> MLPFConfig(output_dim=32).graph.output_dim
    32
    """

    input_dim: int = _number(12, ENERGY + 1)
    output_dim: int = _number(32, 2)
    n_glayers_id: int = _number(2, 0)
    n_glayers_reg: int = _number(2, 0)
    bin_size: int = _number(32, 1)
    distance_dim: int = _number(16, 2)
    ffn_dist_hidden_dim: int = _number(32, 2)
    ffn_dist_num_layers: int = _number(1, 0)
    dist_mult: float = _number(1.0, 0.0)
    clip_value_low: float = _number(0.0, 0.0, 1.0)
    num_node_messages: int = _number(1, 1)
    dropout: float = _number(0.0, 0.0, 0.99)
    layernorm: bool = True
    normalize_degrees: bool = False
    node_encoding_hidden_dim: int = _number(64, 2)
    out_hidden_dim: int = _number(64, 2)
    out_num_layers: int = _number(1, 0)

    def __post_init__(self) -> None:
        """Refuse what is not allowed."""
        for entry in fields(self):
            value = getattr(self, entry.name)
            if not entry.metadata:
                if not isinstance(value, bool):
                    raise SpaceError(f"{entry.name}={value!r} must be True or False")
                continue
            low, high = entry.metadata["low"], entry.metadata["high"]
            kinds = (int,) if entry.type == "int" else (int, float)
            if isinstance(value, bool) or not isinstance(value, kinds):
                raise SpaceError(f"{entry.name}={value!r} must be of type {entry.type}")
            if not low <= value <= high:
                raise SpaceError(f"{entry.name}={value!r} must lie in [{low}, {high}]")

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> MLPFConfig:
        """Take the network's hyperparameters out of a trial's parameters, aliases included.

        Parameters
        ----------
        params : mapping of str to value
            Names that are not the network's (lr, data, ...) are left to the training.
        """
        names = {entry.name for entry in fields(cls)}
        return cls(**{k: v for k, v in resolve_aliases(params).items() if k in names})

    @classmethod
    def delphes(cls) -> MLPFConfig:
        """Build the papers' network for Delphes events with 200 pile-up collisions."""
        return cls(
            output_dim=512,
            n_glayers_id=3,
            n_glayers_reg=3,
            bin_size=640,
            distance_dim=128,
            ffn_dist_hidden_dim=128,
            dist_mult=0.1,
            layernorm=False,
            normalize_degrees=True,
            node_encoding_hidden_dim=512,
            out_hidden_dim=256,
            out_num_layers=3,
        )

    @property
    def graph(self) -> GraphSettings:
        """The settings of each graph layer; dropout is half of that of the decoders."""
        names = {entry.name for entry in fields(GraphSettings)}
        shared = {name: getattr(self, name) for name in names}
        return GraphSettings(**{**shared, "dropout": self.dropout / 2})


class MLPFOutput(NamedTuple):
    """What the network says about each of the M elements."""

    logits: Tensor  # (M, 6) classes
    charge: Tensor  # (M, 3) logits of charge -1, 0, +1
    regression: Tensor  # (M, 5) log pt, eta, sin phi, cos phi, log energy; pt, energy in GeV

    def particles(self) -> Tensor:
        """Particles in the columns of ygen, (M, 7): class, charge, pt, eta, sin, cos, energy.

        Rows of class 0 (no particle) are zero.
        """
        classes = self.logits.argmax(1, keepdim=True)  # (M, 1)
        charge = self.charge.argmax(1, keepdim=True) - 1
        log_pt, eta, sin_phi, cos_phi, log_energy = self.regression.T[:, :, None]
        columns = [classes, charge, log_pt.exp(), eta, sin_phi, cos_phi, log_energy.exp()]
        return torch.cat(columns, dim=1) * (classes != 0)


class MLPF(nn.Module):
    """Machine-learned particle flow on ragged batches of events.

    Build it, call `fit_normalisation` on the training elements, then train. The result of an
    event does not depend on the other events of its batch (bitwise, on one CPU thread).

    Parameters
    ----------
    config : MLPFConfig
    seed : int
        Of the initial weights and the LSH codebooks; torch's global state is left alone.

    Examples
    --------
    >>> model = MLPF(MLPFConfig(output_dim=8), seed=1)
    >>> x = torch.rand(30, 12); x[:, 0] = 1
    >>> model(x, torch.tensor([10, 20])).logits.shape
    torch.Size([30, 6])
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, config: MLPFConfig, *, seed: int = 0) -> None:
        super().__init__()
        self.config = c = config
        d, h = c.output_dim, c.out_hidden_dim
        encoded = 2 * c.input_dim - 2 - ENERGY  # width of `_features`
        for name in ("mean", "scale"):  # of the features, for each element type
            self.register_buffer(name, torch.zeros(len(ELEMENT_TYPES), encoded))
        nn.init.ones_(self.scale)
        with torch.random.fork_rng(devices=[]):  # torch draws weights that are replaced below
            widths = (len(ELEMENT_TYPES) + encoded, c.node_encoding_hidden_dim, d)
            self.encoder = nn.Sequential(
                feed_forward(widths, layers=1, dropout=c.dropout / 2), nn.GELU()
            )
            self.id_stack = nn.ModuleList(
                CombinedGraphLayer(d, c.graph) for _ in range(c.n_glayers_id)
            )
            self.reg_stack = nn.ModuleList(
                CombinedGraphLayer(d, c.graph) for _ in range(c.n_glayers_reg)
            )
            self.norm_id = nn.LayerNorm(d) if c.layernorm else nn.Identity()
            self.norm_reg = nn.LayerNorm(d) if c.layernorm else nn.Identity()
            outputs = {"classes": (d, N_CLASSES), "charge": (d, 3), "direction": (d, 3)}
            outputs["momentum"] = (2 * d + N_CLASSES, 2)
            self.heads = nn.ModuleDict(
                {
                    name: feed_forward((a, h, b), layers=c.out_num_layers, dropout=c.dropout)
                    for name, (a, b) in outputs.items()
                }
            )
        initialise(self, torch.Generator().manual_seed(seed))
        for name in ("direction", "momentum"):  # no correction at first
            last = self.heads[name][-1]  # type: ignore[index]
            nn.init.zeros_(last.weight)

    def seed_dropout(self, seed: int) -> None:
        """Let all dropout of this model draw from one generator of its own, seeded here."""
        generator = torch.Generator(self.mean.device).manual_seed(seed)
        for part in self.modules():
            if isinstance(part, Dropout):
                part.generator = generator

    @torch.no_grad()
    def fit_normalisation(self, x: Tensor) -> None:
        """Set mean and scale of each feature, for each element type, from elements (M, F)."""
        features = self._features(x.to(self.mean.dtype))
        for row, kind in enumerate(ELEMENT_TYPES):
            of_kind = features[x[:, 0] == kind].double()
            if len(of_kind) > 1:
                spread = of_kind.std(0)
                self.mean[row] = of_kind.mean(0)
                # a feature that is constant in training is not blown up when it first moves
                self.scale[row] = torch.where(spread > 1e-4, 1 / spread.clamp(min=1e-4), 1.0)

    def forward(self, x: Tensor, counts: Tensor) -> MLPFOutput:
        """Elements (M, F) of events with `counts` (E,) elements each, to predictions.

        `counts` is an int64 tensor on the CPU, whatever the device of `x`.
        """
        n_elements = len(x)
        counts = counts.cpu()  # DistributedDataParallel moves every tensor to its device
        x, counts = complete_rows(x.to(self.mean.dtype), counts)
        layout = RaggedLayout.of(counts, bin_size=self.config.bin_size, device=x.device)
        nodes: Tensor = self.encoder(self._encode(x))  # (M', d)
        h_id, h_reg = nodes, nodes
        for layer in self.id_stack:
            h_id = h_id + layer(h_id, layout)
        for layer in self.reg_stack:
            h_reg = h_reg + layer(h_reg, layout)
        output = self._decode(x, self.norm_id(h_id), self.norm_reg(h_reg))
        return MLPFOutput(*(rows[:n_elements] for rows in output))

    def _decode(self, x: Tensor, h_id: Tensor, h_reg: Tensor) -> MLPFOutput:
        logits: Tensor = self.heads["classes"](h_id)
        charge: Tensor = self.heads["charge"](h_id)
        direction: Tensor = self.heads["direction"](h_id)
        both = torch.cat([h_id, h_reg, logits.detach().to(h_id.dtype)], dim=1)
        momentum: Tensor = self.heads["momentum"](both)
        correction = torch.cat([momentum[:, :1], direction, momentum[:, 1:]], dim=1)
        return MLPFOutput(logits, charge, _measured(x) + correction)

    def _encode(self, x: Tensor) -> Tensor:
        """Elements (M, F) as [one-hot type, normalised features]; zero elements give zeros."""
        kinds = torch.tensor(ELEMENT_TYPES, dtype=x.dtype, device=x.device)
        one_hot = (x[:, :1] == kinds).to(x.dtype)  # (M, 2)
        mean, scale = one_hot @ self.mean, one_hot @ self.scale
        return torch.cat([one_hot, (self._features(x) - mean) * scale], dim=1)

    @staticmethod
    def _features(x: Tensor) -> Tensor:
        """Columns of X with pt and energy as logarithms; the later ones also as signed logs.

        Energies of sub-detectors span four decades while angles beside them do not, and which
        is which differs between element types: both forms of a column are offered.
        """
        rest = x[:, ENERGY + 1 :]
        return torch.cat([_measured(x), rest, rest.sign() * rest.abs().log1p()], dim=1)


def _measured(x: Tensor) -> Tensor:
    """Give what is measured of each element: log pt, eta, sin phi, cos phi, log energy."""
    momentum = x[:, [PT, ENERGY]].clamp(min=SMALLEST).log()
    return torch.cat([momentum[:, :1], x[:, ETA : COS + 1], momentum[:, 1:]], dim=1)
