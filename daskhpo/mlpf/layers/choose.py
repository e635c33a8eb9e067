"""Which layers a model is made of."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from torch import nn

from daskhpo.mlpf.config import ATTENTION, GNN, GRAVNET, KERNEL, MLPFConfig
from daskhpo.mlpf.layers.attention import AttentionLayer, AttentionSettings
from daskhpo.mlpf.layers.graph import CombinedGraphLayer, GraphSettings
from daskhpo.mlpf.layers.gravnet import GravNetLayer, GravNetSettings
from daskhpo.mlpf.layers.kernel_attention import KernelAttentionLayer, KernelSettings
from daskhpo.mlpf.layers.stack import Additive

__all__ = ["chunk_size", "make_layers"]

CHUNK = 64  # elements that kernel attention sums at once


def chunk_size(config: MLPFConfig) -> int:
    """How many elements the model's layers take together: those of an LSH bin, or of a chunk."""
    return config.bin_size if config.model == GNN else CHUNK


def make_layers(
    config: MLPFConfig, d_in: int, depth: int, *, decodes: bool = False
) -> list[nn.Module]:
    """Build `depth` layers of the kind that `config.model` names.

    Parameters
    ----------
    config : MLPFConfig
    d_in : int
        Width of what goes into the first; all give `config.output_dim`. Only graph layers can
        change the width.
    depth : int
    decodes : bool
        Whether they are one of the two stacks that are decoded: the first layer of such a stack
        of kernel attention asks with a learned query.

    Returns
    -------
    list of modules, each a `Layer`
        Dropout in them is half of that of the decoders.

    Examples
    --------
    >>> config = MLPFConfig(model="gravnet", output_dim=16)
    >>> [type(layer).__name__ for layer in make_layers(config, 16, depth=2)]
    ['GravNetLayer', 'GravNetLayer']
    """
    widths = [d_in if i == 0 else config.output_dim for i in range(depth)]
    return [
        _make_layer(config, width, learned_query=decodes and i == 0)
        for i, width in enumerate(widths)
    ]


def _make_layer(config: MLPFConfig, d_in: int, *, learned_query: bool) -> nn.Module:
    if config.model == GRAVNET:
        return GravNetLayer(GravNetSettings(**_shared(config, GravNetSettings)))
    if config.model == KERNEL:
        settings = KernelSettings(**_shared(config, KernelSettings))
        return KernelAttentionLayer(settings, learned_query=learned_query)
    if config.model == ATTENTION:
        return AttentionLayer(AttentionSettings(**_shared(config, AttentionSettings)))
    layer = CombinedGraphLayer(d_in, GraphSettings(**_shared(config, GraphSettings)))
    return Additive(layer) if config.node_update_mode == "additive" else layer


def _shared(config: MLPFConfig, settings: Any) -> dict[str, Any]:
    """Give the settings of a layer from those of the network of the same names."""
    values = {entry.name: getattr(config, entry.name) for entry in fields(settings)}
    return {**values, "dropout": config.dropout / 2}
