"""MLPF: one network that turns detector elements into particles, element by element.

    elements (M, F) -> encode, normalise -> H0 (M, d) -> num_layers_encoder shared layers
                                       -> n_glayers_id layers  -> H_id
                                       -> n_glayers_reg layers -> H_reg
    H_id               -> class (M, 6), charge (M, 3), correction of eta, sin phi, cos phi
    H_id, H_reg, class -> correction of log pt, log energy

The layers are graphs in LSH bins, GravNet, kernel attention or softmax attention, as
`MLPFConfig.model` says; all take ragged events and are blind to the events beside. Both stacks
start from the same features, and a depth of 0 is legal. Every momentum is predicted as a
correction of the element's own, hence training starts from the detector's measurement rather than
from nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from daskhpo.mlpf.config import GNN, MLPFConfig
from daskhpo.mlpf.decoder import Decoder, MLPFOutput, measured
from daskhpo.mlpf.layers.choose import chunk_size, make_layers
from daskhpo.mlpf.layers.common import Dropout, complete_rows, feed_forward, initialise
from daskhpo.mlpf.layers.layout import RaggedLayout
from daskhpo.mlpf.layers.stack import Stack
from daskhpo.mlpf.schema import SCHEMAS, Measured

__all__ = ["MLPF"]

ELEMENT_TYPES = (1, 2)  # of the type column, in every schema


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
        n_features = 2 * c.input_dim - 2 - Measured.ENERGY  # width of `_features`
        encoded = len(ELEMENT_TYPES) + n_features
        for name in ("mean", "scale"):  # of the features, for each element type
            self.register_buffer(name, torch.zeros(len(ELEMENT_TYPES), n_features))
        nn.init.ones_(self.scale)
        with torch.random.fork_rng(devices=[]):  # torch draws weights that are replaced below
            self.encoder: nn.Module = nn.Identity()
            if c.do_node_encoding:
                widths = (encoded, c.node_encoding_hidden_dim, c.output_dim)
                perceptron = feed_forward(widths, layers=1, dropout=c.dropout / 2)
                self.encoder = nn.Sequential(perceptron, nn.GELU())
            d_in = c.output_dim if c.do_node_encoding else encoded
            self.shared = Stack(make_layers(c, d_in, c.num_layers_encoder))
            d_in = c.output_dim if c.num_layers_encoder else d_in
            self.id_stack = _stack(c, d_in, c.n_glayers_id)
            self.reg_stack = _stack(c, d_in, c.n_glayers_reg)
            self.decoder = Decoder(
                c, _width(c, d_in, c.n_glayers_id), _width(c, d_in, c.n_glayers_reg)
            )
        initialise(self, torch.Generator().manual_seed(seed))
        self.decoder.zero_corrections()

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
        layout = RaggedLayout.of(
            counts,
            bin_size=chunk_size(self.config),
            device=x.device,
            position=self._position(x),
        )
        nodes: Tensor = self.shared(self.encoder(self._encode(x)), layout)  # (M', d)
        h_id, h_reg = self.id_stack(nodes, layout), self.reg_stack(nodes, layout)
        output = self.decoder(x, h_id, h_reg)
        return MLPFOutput(*(rows[:n_elements] for rows in output))

    def _encode(self, x: Tensor) -> Tensor:
        """Elements (M, F) as [one-hot type, normalised features]; zero elements give zeros."""
        kinds = torch.tensor(ELEMENT_TYPES, dtype=x.dtype, device=x.device)
        one_hot = (x[:, :1] == kinds).to(x.dtype)  # (M, 2)
        mean, scale = one_hot @ self.mean, one_hot @ self.scale
        return torch.cat([one_hot, (self._features(x) - mean) * scale], dim=1)

    def _position(self, x: Tensor) -> Tensor | None:
        """Elements (M, F) to eta, sin phi, cos phi at the calorimeter, (M, 3), where asked for."""
        if self.config.model != GNN or not self.config.position_scale:
            return None
        schema = next(each for each in SCHEMAS.values() if each.width == x.shape[1])
        columns = x.new_zeros(len(x), 3)
        for kind in ELEMENT_TYPES:
            columns = torch.where(x[:, :1] == kind, x[:, schema.position(kind)], columns)
        return columns

    @staticmethod
    def _features(x: Tensor) -> Tensor:
        """Columns of X with pt and energy as logarithms; the later ones also as signed logs.

        Energies of sub-detectors span four decades while angles beside them do not, and which
        is which differs between element types: both forms of a column are offered. (Upstream's
        Delphes encoding offers the columns as they are.)
        """
        rest = x[:, Measured.ENERGY + 1 :]
        return torch.cat([measured(x), rest, rest.sign() * rest.abs().log1p()], dim=1)


def _stack(config: MLPFConfig, d_in: int, depth: int) -> Stack:
    concat = config.node_update_mode == "concat"
    layers = make_layers(config, d_in, depth, decodes=True)
    return Stack(layers, concat=concat, skip=config.skip_connection)


def _width(config: MLPFConfig, d_in: int, depth: int) -> int:
    """Width of what a stack gives to the decoder."""
    if config.node_update_mode == "concat":
        return d_in * config.skip_connection + config.output_dim * depth
    return config.output_dim if depth else d_in
