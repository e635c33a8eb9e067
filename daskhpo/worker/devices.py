"""Which device a rank computes on."""

from __future__ import annotations

import sys

__all__ = ["backend", "pick_device"]


def pick_device(rank: int) -> str:
    """``"cuda:<i>"`` for the i-th visible GPU (ranks share when there are fewer), else ``"cpu"``.

    torch is not imported for the question: without it in the process there is nothing to place.

    Examples
    --------
    >>> pick_device(0) in ("cpu", "cuda:0")
    True
    """
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return "cpu"
    return f"cuda:{rank % torch.cuda.device_count()}"


def backend(ranks: int) -> str:
    """``"nccl"`` when every rank has a GPU of its own, else ``"gloo"``."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.device_count() >= ranks:
        return "nccl"
    return "gloo"
