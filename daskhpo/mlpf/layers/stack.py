"""Layers one after the other, and what of their outputs is decoded."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import torch
from torch import Tensor, nn

from daskhpo.mlpf.layers.layout import RaggedLayout

__all__ = ["Additive", "Layer", "Stack"]


class Layer(Protocol):
    """What every layer of MLPF does, whether graph or attention.

    A layer sees the elements of one event only together: nothing that it gives an event may
    depend on the other events of the batch, bitwise on one CPU thread.
    """

    def __call__(self, x: Tensor, layout: RaggedLayout) -> Tensor:
        """Features (M, d_in) of the events in `layout` to features (M, d_out)."""


class Additive(nn.Module):
    """H <- H + layer(H): the additive update of node features."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor, layout: RaggedLayout) -> Tensor:
        """Features (M, d) to features (M, d)."""
        update: Tensor = self.layer(x, layout)
        return x + update


class Stack(nn.Module):
    """Layers in a row; gives the last features, or those of all layers side by side.

    Parameters
    ----------
    layers : iterable of modules, each a `Layer`
        None at all is legal: the features go through as they are.
    concat : bool
        Give what all layers gave, (M, sum of widths), instead of what the last one gave.
    skip : bool
        With `concat`: begin with what went into the first layer.
    """

    def __init__(
        self, layers: Iterable[nn.Module], *, concat: bool = False, skip: bool = False
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.concat, self.skip = concat, skip

    def forward(self, x: Tensor, layout: RaggedLayout) -> Tensor:
        """Features (M, d_in) to what is decoded."""
        seen = [x] if self.skip else []
        for layer in self.layers:
            x = layer(x, layout)
            seen.append(x)
        return torch.cat(seen, dim=1) if self.concat else x
