"""From node features to particles: one perceptron for each property of an element's particle."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from daskhpo.mlpf.config import MLPFConfig
from daskhpo.mlpf.layers.common import feed_forward
from daskhpo.mlpf.schema import Measured, ParticleClass

__all__ = ["N_CLASSES", "SMALLEST", "Decoder", "MLPFOutput", "measured"]

N_CLASSES = len(ParticleClass)
WIDTHS = {"classes": N_CLASSES, "charge": 3, "pt": 1, "eta": 1, "phi": 2, "energy": 1}
CORRECTIONS = ("pt", "eta", "phi", "energy")
SMALLEST = 1e-6  # GeV; floor below which a logarithm is not taken


class MLPFOutput(NamedTuple):
    """What the network says about each of the M elements."""

    logits: Tensor  # (M, 6) classes
    charge: Tensor  # (M, 3) logits of charge -1, 0, +1
    regression: Tensor  # (M, 5) log pt, eta, sin phi, cos phi, log energy; pt, energy in GeV

    def classes(self) -> Tensor:
        """Say the class of each element, (M,) int64.

        None, if that is more likely than all kinds of particle together; else the likeliest kind.
        (The papers take the likeliest of all six, which calls an element none as soon as two
        kinds of particle compete for it.)
        """
        logits = self.logits.float()
        particle = logits[:, 1:].logsumexp(1) > logits[:, 0]  # more likely than none
        return (logits[:, 1:].argmax(1) + 1) * particle

    def particles(self) -> Tensor:
        """Particles in the columns of ygen, (M, 7): class, charge, pt, eta, sin, cos, energy.

        Rows of class 0 (no particle) are zero.
        """
        classes = self.classes()[:, None]  # (M, 1)
        charge = self.charge.argmax(1, keepdim=True) - 1
        log_pt, eta, sin_phi, cos_phi, log_energy = self.regression.T[:, :, None]
        columns = [classes, charge, log_pt.exp(), eta, sin_phi, cos_phi, log_energy.exp()]
        return torch.cat(columns, dim=1) * (classes != 0)


class Decoder(nn.Module):
    """The papers' output decoding, with momenta as corrections of what was measured.

        class, charge, eta, phi <- H_id           (the last two also see the class logits)
        pt, energy              <- H_id, H_reg, class logits

    Only pt and energy see the regression stack, which upstream therefore once called "energy". No
    gradient of the momenta flows back through the class logits. Differences from upstream's 1.5:
    pt and energy are corrected as logarithms (there pt <- |a pt + b|, E <- |E + c|; its later
    PyTorch code has logarithms, too), and eta and phi are not clipped.

    Parameters
    ----------
    config : MLPFConfig
    d_id, d_reg : int
        Widths of the features that the two stacks give.
    """

    def __init__(self, config: MLPFConfig, d_id: int, d_reg: int) -> None:
        super().__init__()
        c = config
        self.norm_id = nn.LayerNorm(d_id) if c.layernorm else nn.Identity()
        self.norm_reg = nn.LayerNorm(d_reg) if c.layernorm else nn.Identity()
        seen = {"classes": d_id, "charge": d_id, "eta": d_id + N_CLASSES, "phi": d_id + N_CLASSES}
        self.heads = nn.ModuleDict(
            {
                name: feed_forward(
                    (seen.get(name, d_id + d_reg + N_CLASSES), c.out_hidden_dim, width),
                    layers=c.depths[name],
                    dropout=c.dropout,
                    halving=c.out_dim_decrease,
                )
                for name, width in WIDTHS.items()
            }
        )

    def zero_corrections(self) -> None:
        """Let the momenta be those that were measured: training starts from there."""
        for name in CORRECTIONS:
            last = self.heads[name][-1]  # type: ignore[index]
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def forward(self, x: Tensor, h_id: Tensor, h_reg: Tensor) -> MLPFOutput:
        """Elements (M, F) and the stacks' features (M, d_id), (M, d_reg) to predictions."""
        h_id, h_reg = self.norm_id(h_id), self.norm_reg(h_reg)
        logits: Tensor = self.heads["classes"](h_id)
        seen = torch.cat([h_id, logits.detach().to(h_id.dtype)], dim=1)
        both = torch.cat([seen, h_reg], dim=1)
        inputs = {"pt": both, "eta": seen, "phi": seen, "energy": both}
        correction = torch.cat([self.heads[name](inputs[name]) for name in CORRECTIONS], dim=1)
        return MLPFOutput(logits, self.heads["charge"](h_id), measured(x) + correction)


def measured(x: Tensor) -> Tensor:
    """Give what is measured of each element: log pt, eta, sin phi, cos phi, log energy.

    Parameters
    ----------
    x : Tensor, shape (M, F)
        Elements, in the columns of any `Schema`.

    Returns
    -------
    Tensor, shape (M, 5)
    """
    momentum = x[:, [Measured.PT, Measured.ENERGY]].clamp(min=SMALLEST).log()
    angles = x[:, Measured.ETA : Measured.COS_PHI + 1]
    return torch.cat([momentum[:, :1], angles, momentum[:, 1:]], dim=1)
