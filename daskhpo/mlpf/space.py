"""Search spaces of MLPF: the papers' and one that a laptop can train.

Both come in the form of a campaign file (one mapping of name to domain) and can be written into
one or handed to `Space`.
"""

from __future__ import annotations

from typing import Any

__all__ = ["laptop", "table1"]


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
