"""What every layer is made of: rows whose rounding does not depend on their neighbours.

The result of an event must not depend on the other events of its batch, to the last bit. Libraries
treat what is left over after whole vector registers by other kernels, which round differently.
With rows in multiples of 96 (whole registers for any width and any of the tile heights in use: 2,
3, 4, 6, 8, 12, 16, 24) and inner dimensions in multiples of 8 nothing is left over, so no row's
rounding depends on where it lies or how many rows follow.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = [
    "DrawsItself",
    "Dropout",
    "Linear",
    "complete_rows",
    "feed_forward",
    "initialise",
    "linear",
]

ROWS = 96
INNER = 8


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
        return linear(x, self.weight, self.bias)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Multiply rows (M, d_in) by weight (d_out, d_in), rounding each row alike wherever it lies."""
    missing = -x.shape[-1] % INNER
    if missing:
        x, weight = functional.pad(x, (0, missing)), functional.pad(weight, (0, missing))
    return functional.linear(x, weight, bias)


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
    widths: tuple[int, int, int], *, layers: int, dropout: float = 0.0, halving: bool = False
) -> nn.Sequential:
    """Perceptron of `layers` hidden layers [Linear, ELU, Dropout] and a linear output.

    Parameters
    ----------
    widths : (input, hidden, output)
    layers : int
        Hidden layers; 0 gives one linear map.
    dropout : float
    halving : bool
        Halve the width from one hidden layer to the next.

    Examples
    --------
    >>> feed_forward((14, 32, 6), layers=1)(torch.zeros(5, 14)).shape
    torch.Size([5, 6])
    """
    d_in, hidden, d_out = widths
    modules: list[nn.Module] = []
    for depth in range(layers):
        width = max(1, hidden >> depth) if halving else hidden
        modules += [Linear(d_in, width), nn.ELU(), Dropout(dropout)]
        d_in = width
    return nn.Sequential(*modules, Linear(d_in, d_out))


@runtime_checkable
class DrawsItself(Protocol):
    """A module whose own tensors are not those of `torch.nn.Linear`."""

    def draw(self, generator: torch.Generator | None) -> None:
        """Set all of its own tensors, from `generator` or torch's global state without one."""


def initialise(module: nn.Module, generator: torch.Generator | None = None) -> None:
    """Set Glorot-uniform weights and zero biases in all of `module`, and what draws itself.

    They are drawn from `generator` (on the CPU), or from torch's global state without one.
    """
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, nn.Linear):
                nn.init.xavier_uniform_(part.weight, generator=generator)
                if part.bias is not None:
                    part.bias.zero_()
            elif isinstance(part, DrawsItself):
                part.draw(generator)
