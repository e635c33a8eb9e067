"""What training minimises: errors in class, charge and momentum of each element's particle.

    total  = w_cls cls + w_charge charge + w_reg reg
    cls    = 1/M sum_i  L_cls(logits_i, class_i)                           over all M elements
    charge = 1/M sum_i  cross-entropy(charge logits_i, charge_i)           over all M elements
    reg    = 1/N sum_i  sum_k Huber_k(regression_ik - target_ik)           over the N particles

M and N are those of the *global* batch: then the loss does not depend on padding, nor on how a
batch is split over ranks. The papers' TensorFlow code divides all three by events x elements of
the longest event (`Norm.of(..., "padded")`), so its values depend on padding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from daskhpo.mlpf.decoder import SMALLEST, MLPFOutput
from daskhpo.mlpf.schema import Target

__all__ = [
    "CLS_LOSSES",
    "LOSS_NORMS",
    "LossParts",
    "LossSettings",
    "Norm",
    "focal_loss",
    "particle_flow_loss",
    "regression_loss",
    "sigmoid_focal_loss",
]

LOSS_NORMS = ("real", "padded")

# Where the quadratic part of the Huber loss ends: log pt, eta, sin phi, cos phi, log energy.
HUBER_DELTA = (1.0, 0.1, 0.1, 0.1, 1.0)


@dataclass(frozen=True, slots=True)
class LossSettings:
    """Which classification loss, and what its parts weigh.

    Parameters
    ----------
    cls : {"focal", "sigmoid_focal", "cross_entropy"}
        See `focal_loss` and `sigmoid_focal_loss`.
    cls_weight, charge_weight, reg_weight : float
        Of the three parts in the total. Upstream: 1, 1, 1 for Delphes; 200, 1, 10 for CLIC.
    pt_power : float
        Each element's class and momentum count (measured pT / GeV) to this power. Jets are made
        of hard particles, which are few: with 0, as in the papers, most of the loss is about soft
        ones. (Upstream's later PyTorch code: 0.5 on pT and energy.)
    """

    cls: str = "focal"
    cls_weight: float = 1.0
    charge_weight: float = 1.0
    reg_weight: float = 1.0
    pt_power: float = 0.0


class Norm(NamedTuple):
    """What sums over a batch are divided by.

    On one of n ranks whose gradients are averaged, use a n-th of the numbers of the global batch.
    """

    elements: float  # for class and charge
    particles: float  # for the momentum

    @classmethod
    def of(cls, counts: Tensor, particles: Tensor, kind: str = "real", *, ranks: int = 1) -> Norm:
        """Give the numbers of a global batch.

        Parameters
        ----------
        counts, particles : Tensor of int64, shape (E,)
            Elements and true particles of each event.
        kind : {"real", "padded"}
            "real": all elements, all particles. "padded": events x elements of the longest one,
            for both, as upstream, whose batches are padded to their longest event.
        ranks : int
            Of how many ranks the gradients are averaged.

        Examples
        --------
        >>> counts, particles = torch.tensor([2, 6]), torch.tensor([1, 4])
        >>> Norm.of(counts, particles), Norm.of(counts, particles, "padded")
        (Norm(elements=8.0, particles=5.0), Norm(elements=12.0, particles=12.0))
        """
        if kind == "padded":
            padded = max(1, len(counts) * int(counts.max())) if len(counts) else 1
            return cls(padded / ranks, padded / ranks)
        return cls(max(1, int(counts.sum())) / ranks, max(1, int(particles.sum())) / ranks)


SOFTEST = 0.1  # GeV; softer elements do not count less


class LossParts(NamedTuple):
    """The weighted total and its parts before they are weighted, each a scalar tensor."""

    total: Tensor
    cls: Tensor
    charge: Tensor
    reg: Tensor


def focal_loss(logits: Tensor, classes: Tensor, *, gamma: float = 2.0) -> Tensor:
    """Softmax focal loss -(1 - p_t)^gamma log p_t of each element (Lin et al. 2017, eq. 4).

    Elements that are already classified well count for little, so that tracks, which are easy,
    do not drown the rare classes. This is the form of upstream's PyTorch code: unlike those of
    `sigmoid_focal_loss` its probabilities add up to one, and it has one constant less.

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
    # 1 - p_t rounds to 0 for the surest; there the power has no finite slope if gamma < 1
    doubt = (-torch.expm1(log_p)).clamp(min=torch.finfo(log_p.dtype).tiny)
    return -(doubt**gamma) * log_p


def sigmoid_focal_loss(
    logits: Tensor, classes: Tensor, *, gamma: float = 2.0, alpha: float = 0.25
) -> Tensor:
    """Focal loss of the papers, each class on its own (Lin et al. 2017, eq. 5), for each element.

        sum_c -alpha_c (1 - p_c)^gamma log p_c
        p_c = sigmoid(+-logit_c), alpha_c = alpha or 1 - alpha: + and alpha for the true class

    Use it to follow the papers' TensorFlow code (Keras' `SigmoidFocalCrossEntropy`).

    Parameters
    ----------
    logits : Tensor, shape (M, C)
    classes : Tensor of int64, shape (M,)
    gamma, alpha : float

    Returns
    -------
    Tensor, shape (M,)

    Examples
    --------
    >>> sigmoid_focal_loss(torch.zeros(1, 2), torch.tensor([1]), gamma=0.0)
    tensor([0.6931])
    """
    true = functional.one_hot(classes, logits.shape[1]).to(logits.dtype)  # (M, C)
    signed = (2 * true - 1) * logits
    doubt = (gamma * functional.logsigmoid(-signed)).exp()  # (1 - p)^gamma, smooth down to 0
    alphas = alpha * true + (1 - alpha) * (1 - true)
    return -(alphas * doubt * functional.logsigmoid(signed)).sum(1)


def regression_loss(regression: Tensor, target: Tensor) -> Tensor:
    """Huber loss of each element's momentum, summed over its five components.

        Huber_k(e) = e^2 / 2                       where |e| <= delta_k
                     delta_k (|e| - delta_k / 2)   beyond

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
        0 where there is no particle (class 0), whatever is predicted there.
    """
    momentum = target[:, [Target.PT, Target.ENERGY]].clamp(min=SMALLEST).log()
    truth = torch.cat(
        [momentum[:, :1], target[:, Target.ETA : Target.ENERGY], momentum[:, 1:]], dim=1
    )  # (M, 5)
    delta = torch.tensor(HUBER_DELTA, dtype=truth.dtype, device=truth.device)
    # chosen before anything else, not multiplied by 0 in the end: 0 x nan is nan, in gradients too
    exists = (target[:, Target.CLASS] != 0)[:, None]
    error = torch.where(exists, regression - truth, 0.0).abs()
    near = error.clamp(max=delta)
    return (near * (error - 0.5 * near)).sum(1)


def _cross_entropy(logits: Tensor, classes: Tensor) -> Tensor:
    return functional.cross_entropy(logits, classes, reduction="none")


_CLS_LOSS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "focal": focal_loss,
    "sigmoid_focal": sigmoid_focal_loss,
    "cross_entropy": _cross_entropy,
}
CLS_LOSSES = tuple(_CLS_LOSS)


def particle_flow_loss(
    output: MLPFOutput,
    target: Tensor,
    *,
    norm: Norm | None = None,
    settings: LossSettings | None = None,
    pt: Tensor | None = None,
) -> LossParts:
    """Loss of a batch, or of a rank's share of one.

    Parameters
    ----------
    output : MLPFOutput
        Of M elements.
    target : Tensor, shape (M, 7)
        Rows of ygen: class, charge, pt, eta, sin phi, cos phi, energy.
    norm : Norm
        What the sums are divided by; by default the numbers in `target`.
    settings : LossSettings
        Default: focal loss, all weights 1.
    pt : Tensor, shape (M,)
        Measured transverse momenta in GeV, which `settings.pt_power` needs.

    Returns
    -------
    LossParts
        In the precision of the predicted momenta.

    Examples
    --------
    >>> output = MLPFOutput(torch.zeros(1, 6), torch.zeros(1, 3), torch.zeros(1, 5))
    >>> parts = particle_flow_loss(output, torch.zeros(1, 7))
    >>> round(float(parts.cls), 4), round(float(parts.charge), 4)  # (5/6)^2 log 6, log 3
    (1.2443, 1.0986)
    """
    settings = settings or LossSettings()
    target = target.to(output.regression.dtype)
    classes = target[:, Target.CLASS].long()
    if norm is None:
        norm = Norm(max(1, len(target)), max(1, int((classes != 0).sum())))
    logits = output.logits.to(target.dtype)
    weight = _weight(pt, settings.pt_power)
    cls = (weight * _CLS_LOSS[settings.cls](logits, classes)).sum()
    charge = functional.cross_entropy(
        output.charge.to(target.dtype), target[:, Target.CHARGE].long() + 1, reduction="sum"
    )
    reg = (weight * regression_loss(output.regression, target)).sum()
    cls, charge, reg = cls / norm.elements, charge / norm.elements, reg / norm.particles
    total = settings.cls_weight * cls + settings.charge_weight * charge + settings.reg_weight * reg
    return LossParts(total, cls, charge, reg)


def _weight(pt: Tensor | None, power: float) -> Tensor | float:
    if not power:
        return 1.0
    if pt is None:
        raise ValueError(f"pt_power={power} needs the elements' measured pt")
    return pt.clamp(min=SOFTEST) ** power
