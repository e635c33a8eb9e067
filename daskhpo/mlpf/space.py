"""Search spaces of MLPF: the papers' and one that a laptop can train.

All come in the form of a campaign file (one mapping of name to domain) and can be written into
one or handed to `Space`. Names are the papers'; `config.ALIASES` lists those that mean the same.

`stage1` and `stage2` are the two campaigns of Wulff et al. (2022, J. Phys.: Conf. Ser. 2438
012092): first optimiser and kernel, then, with the best of these fixed, the architecture. The best
that they found is the preset "paper-table3". The campaign files are `data/mlpf-stage1.yaml` and
`data/mlpf-stage2.yaml`.
"""

from __future__ import annotations

from typing import Any

__all__ = ["laptop", "stage1", "stage2", "table1"]


def table1() -> dict[str, dict[str, Any]]:
    """Give the space of 296 learning curves on Delphes events (Wulff et al. 2023, table 1).

    Use it on GPUs and with many events. Learning rate and weight decay are drawn uniformly in
    their logarithm; "classification" and "regression graph layers" are n_glayers_id and _reg.

    Examples
    --------
    >>> table1()["bin_size"]["choices"]
    [8, 16, 32, 64, 128]
    """
    return {
        "lr": {"type": "float", "low": 1e-6, "high": 3e-2, "log": True},
        "n_glayers_id": {"type": "int", "low": 0, "high": 4},
        "n_glayers_reg": {"type": "int", "low": 0, "high": 4},
        "dropout": {"type": "float", "low": 0.0, "high": 0.5},
        "bin_size": {"type": "choice", "choices": [8, 16, 32, 64, 128]},
        "output_dim": {"type": "choice", "choices": [8, 16, 32, 64, 128, 256]},
        "weight_decay": {"type": "float", "low": 1e-6, "high": 1e-1, "log": True},
    }


def laptop() -> dict[str, dict[str, Any]]:
    """Give the same space cut to what one CPU thread trains in about a second per epoch.

    Use it with the shipped sample for first steps. The axes are those of `table1`; widths above
    64 are left out, and the constants at the end say how many events are used.

    Examples
    --------
    >>> sorted(set(laptop()) - set(table1()))
    ['batch_size', 'events']
    """
    return table1() | {
        "output_dim": {"type": "choice", "choices": [8, 16, 32, 64]},
        "events": {"type": "constant", "value": 500},
        "batch_size": {"type": "constant", "value": 8},
    }


def stage1() -> dict[str, dict[str, Any]]:
    """Give the space of the first stage, for BOHB (Wulff et al. 2022, table 1).

    Use it for the optimiser and the kernel of any gnn_lsh network. The learning rate is drawn
    uniformly in its logarithm; dropout is that of the decoders, and half of it in the layers.

    Examples
    --------
    >>> sorted(stage1())
    ['clip_value_low', 'dist_mult', 'dropout', 'lr']
    """
    return {
        "lr": {"type": "float", "low": 1e-4, "high": 3e-2, "log": True},
        "dropout": {"type": "float", "low": 0.0, "high": 0.5},
        "clip_value_low": {"type": "float", "low": 0.0, "high": 0.2},
        "dist_mult": {"type": "float", "low": 0.01, "high": 0.2},
    }


def stage2() -> dict[str, dict[str, Any]]:
    """Give the space of the second stage, for ASHA with Bayesian search (2022, table 2).

    Use it for the architecture, with the best of `stage1` as constants beside it: 5 x 4^7
    networks.

    Examples
    --------
    >>> stage2()["bin_size"]["choices"]
    [16, 32, 40, 64, 80]
    """
    widths = {"type": "choice", "choices": [32, 64, 128, 256]}
    depths = {"type": "int", "low": 1, "high": 4}
    return {
        "bin_size": {"type": "choice", "choices": [16, 32, 40, 64, 80]},
        "distance_dim": widths,
        "ffn_dist_hidden_dim": widths,
        "ffn_dist_num_layers": depths,
        "num_graph_layers_common": depths,
        "num_graph_layers_energy": depths,
        "num_node_messages": depths,
        "output_dim": widths,
    }
