"""How well elements are classified: counts that add up over batches and ranks, and their figures.

A confusion matrix is the whole state: matrices of batches and of ranks are summed, and every
figure is read from the sum, so it does not depend on how the data were cut.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["accuracy", "balanced_accuracy", "confusion_matrix"]


def confusion_matrix(predicted: Tensor, true: Tensor, *, n_classes: int) -> Tensor:
    """Count elements by true class (row) and predicted class (column).

    Parameters
    ----------
    predicted, true : Tensor of integers, shape (M,)
    n_classes : int

    Returns
    -------
    Tensor of float64, shape (n_classes, n_classes)
        Float, so that it can be reduced together with sums of losses; exact up to 2^53.

    Examples
    --------
    >>> confusion_matrix(torch.tensor([0, 1, 1]), torch.tensor([0, 0, 1]), n_classes=2)
    tensor([[1., 1.],
            [0., 1.]], dtype=torch.float64)
    """
    cell = true.long() * n_classes + predicted.long()
    return torch.bincount(cell, minlength=n_classes**2).double().view(n_classes, n_classes)


def balanced_accuracy(confusion: Tensor) -> float:
    """Mean recall over the classes that are present; 0 if none is.

    The classes of particle flow are very unequal (electrons and muons are one in a hundred), and
    this is the "weighted accuracy" of the papers, where an element weighs 1 / (number of elements
    of its class). The papers' code averages over batches and counts padding as class 0; here it
    is computed once from all real elements.

    Examples
    --------
    >>> balanced_accuracy(torch.tensor([[3.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 0.0]]))
    0.625
    """
    per_class = confusion.sum(1)
    present = per_class > 0
    if not bool(present.any()):
        return 0.0
    return float((confusion.diagonal()[present] / per_class[present]).mean())


def accuracy(confusion: Tensor) -> float:
    """Fraction of elements with the right class; 0 if there are none.

    Examples
    --------
    >>> accuracy(torch.tensor([[8.0, 2.0], [1.0, 1.0]]))
    0.75
    """
    return float(confusion.trace() / confusion.sum().clamp(min=1.0))
