"""What training minimises: errors in class, charge and momentum of each element's particle.

    total = cls + charge + reg
    cls    = 1/M sum_i  focal(logits_i, class_i)                           over all M elements
    charge = 1/M sum_i  cross-entropy(charge logits_i, charge_i)           over all M elements
    reg    = 1/N sum_i  sum_k Huber_k(regression_ik - target_ik)           over the N particles

Sums are divided by numbers of elements and of true particles that the caller may give: those of
the *global* batch. Then the loss does not depend on padding, nor on how a batch is split over
ranks. (The papers' TensorFlow code divides by padded elements, so its values depend on padding.)
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from daskhpo.mlpf.events import Target
from daskhpo.mlpf.model import SMALLEST, MLPFOutput

__all__ = ["LossParts", "focal_loss", "particle_flow_loss", "regression_loss"]

# Where the quadratic part of the Huber loss ends: log pt, eta, sin phi, cos phi, log energy.
HUBER_DELTA = (1.0, 0.1, 0.1, 0.1, 1.0)


class LossParts(NamedTuple):
    """The loss and its parts, each a scalar tensor."""

    total: Tensor
    cls: Tensor
    charge: Tensor
    reg: Tensor


def focal_loss(logits: Tensor, classes: Tensor, *, gamma: float = 2.0) -> Tensor:
    """Softmax focal loss -(1 - p_t)^gamma log p_t of each element (Lin et al. 2017, eq. 4).

    Elements that are already classified well count for little, so that tracks, which are easy,
    do not drown the rare classes. The papers' TensorFlow code applies the sigmoid form with
    alpha = 0.25 to each class on its own; upstream's later PyTorch code, and this one, use the
    softmax form without alpha: its probabilities add up to one and it has one constant less.

    Parameters
    ----------
    logits : Tensor, shape (M, C)
    classes : Tensor of int64, shape (M,)
    gamma : float
        0 gives the cross-entropy.

    Returns
    -------
    Tensor, shape (M,)

    Examples
    --------
    >>> focal_loss(torch.zeros(1, 2), torch.tensor([1]), gamma=0.0)
    tensor([0.6931])
    """
    log_p = functional.log_softmax(logits, dim=1).gather(1, classes[:, None])[:, 0]  # (M,)
    return -((1 - log_p.exp()) ** gamma) * log_p


def regression_loss(regression: Tensor, target: Tensor) -> Tensor:
    """Huber loss of each element's momentum, summed over its five components.

    pt and energy are compared as logarithms, that is by their ratio: they span four decades, and
    on a linear scale a few hard particles would decide everything. (Upstream: linear scale in
    v1.4 and v1.5, logarithms of the ratio in its PyTorch code.) delta is 1 for them and 0.1 for
    eta, sin phi and cos phi, as in the papers' Delphes settings.

    Parameters
    ----------
    regression : Tensor, shape (M, 5)
        log pt, eta, sin phi, cos phi, log energy.
    target : Tensor, shape (M, 7)
        class, charge, pt, eta, sin phi, cos phi, energy.

    Returns
    -------
    Tensor, shape (M,)
        0 where there is no particle (class 0).
    """
    momentum = target[:, [Target.PT, Target.ENERGY]].clamp(min=SMALLEST).log()
    truth = torch.cat(
        [momentum[:, :1], target[:, Target.ETA : Target.ENERGY], momentum[:, 1:]], dim=1
    )  # (M, 5)
    delta = torch.tensor(HUBER_DELTA, dtype=truth.dtype, device=truth.device)
    error = (regression - truth).abs()
    near = error.clamp(max=delta)  # Huber: e^2 / 2 up to delta, then delta (e - delta / 2)
    huber = near * (error - 0.5 * near)
    return huber.sum(1) * (target[:, Target.CLASS] != 0)


def particle_flow_loss(
    output: MLPFOutput, target: Tensor, *, elements: float = 0, particles: float = 0
) -> LossParts:
    """Loss of a batch, or of a rank's share of one.

    Parameters
    ----------
    output : MLPFOutput
        Of M elements.
    target : Tensor, shape (M, 7)
        Rows of ygen: class, charge, pt, eta, sin phi, cos phi, energy.
    elements, particles : float
        What the sums are divided by; by default the numbers in `target`. On one of n ranks whose
        gradients are averaged give a n-th of the numbers of the global batch.

    Returns
    -------
    LossParts
    """
    target = target.to(output.regression.dtype)
    elements = elements or max(1, len(target))
    particles = particles or max(1, int((target[:, Target.CLASS] != 0).sum()))
    cls = (
        focal_loss(output.logits.to(target.dtype), target[:, Target.CLASS].long()).sum() / elements
    )
    charge = functional.cross_entropy(
        output.charge.to(target.dtype), target[:, Target.CHARGE].long() + 1, reduction="sum"
    )
    charge = charge / elements
    reg = regression_loss(output.regression, target).sum() / particles
    return LossParts(cls + charge + reg, cls, charge, reg)
