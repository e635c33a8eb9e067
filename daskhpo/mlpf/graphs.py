"""Events as torch-geometric carries them: a graph an event, its elements the nodes.

MLPF builds its edges itself, so these graphs have none. Import this module where torch-geometric
is wanted; nothing else of the package needs it, but for batches that are bounded by elements.
"""

from __future__ import annotations

import warnings
from typing import NamedTuple

import torch
from torch import Tensor

from daskhpo.mlpf.events import Events

try:
    with warnings.catch_warnings():
        # torch-geometric compiles some of its functions in a manner that torch has given up
        warnings.simplefilter("ignore", DeprecationWarning)
        from torch_geometric.data import Batch, Data, Dataset
        from torch_geometric.loader import DynamicBatchSampler
except ImportError as error:
    raise ImportError(
        "graphs and batch_elements need torch-geometric: pip install daskhpo[mlpf]"
    ) from error

__all__ = ["GraphDataset", "from_batch", "lengths_within", "to_graphs"]


def to_graphs(events: Events) -> list[Data]:
    """Make a graph of each event, with the elements as nodes.

    Parameters
    ----------
    events : Events

    Returns
    -------
    list of torch_geometric.data.Data
        Each with `x` (n, F), `y` and `ycand` (n, 7) and `num_nodes`.

    Examples
    --------
    >>> from daskhpo.mlpf.events import load_sample
    >>> graph = to_graphs(load_sample()[:2])[0]
    >>> graph.num_nodes == len(graph.x) == len(graph.y)
    True
    """
    counts = events.counts.tolist()
    parts = (
        torch.split(torch.tensor(rows), counts) for rows in (events.X, events.ygen, events.ycand)
    )
    return [
        Data(x=x, y=y, ycand=ycand, num_nodes=len(x)) for x, y, ycand in zip(*parts, strict=True)
    ]


class GraphDataset(Dataset):  # type: ignore[misc]  # torch-geometric's loaders are untyped
    """Events as a dataset of torch-geometric: for its loaders, samplers, transforms and layers.

    Parameters
    ----------
    events : Events

    Examples
    --------
    >>> from daskhpo.mlpf.events import load_sample
    >>> from torch_geometric.loader import DataLoader, DynamicBatchSampler
    >>> graphs = GraphDataset(load_sample()[:20])
    >>> sampler = DynamicBatchSampler(graphs, max_num=2_000, mode="node")
    >>> all(batch.num_nodes <= 2_000 for batch in DataLoader(graphs, batch_sampler=sampler))
    True
    """

    def __init__(self, events: Events) -> None:
        super().__init__()
        self._graphs = to_graphs(events)

    def len(self) -> int:
        """Return the number of events."""
        return len(self._graphs)

    def get(self, idx: int) -> Data:
        """Return the graph of one event."""
        return self._graphs[idx]


def from_batch(batch: Batch) -> tuple[Tensor, Tensor]:
    """Return what `MLPF` takes: the elements (M, F) and, on the CPU, the elements of each event.

    Examples
    --------
    >>> from daskhpo.mlpf.events import load_sample
    >>> x, counts = from_batch(Batch.from_data_list(to_graphs(load_sample()[:3])))
    >>> len(x) == int(counts.sum()), counts.tolist() == load_sample()[:3].counts.tolist()
    (True, True)
    """
    return batch.x, batch.ptr.diff().cpu()


class _Size(NamedTuple):
    """As much of a graph as a sampler asks for."""

    num_nodes: int


def lengths_within(counts: Tensor, elements: int) -> list[int]:
    """Say how many events, in their order, go into each batch of at most `elements`.

    Use `daskhpo.mlpf.batches.cut`, which makes the batches.

    Parameters
    ----------
    counts : (E,) int64
        Elements of each event.
    elements : int
        What the elements of a batch may add up to. An event that is larger is alone in its batch.

    Examples
    --------
    >>> lengths_within(torch.tensor([10, 25, 5, 50, 1]), 40)
    [3, 1, 1]
    """
    sizes = [_Size(n) for n in counts.tolist()]
    return [len(batch) for batch in DynamicBatchSampler(sizes, max_num=elements, mode="node")]
