"""Events as torch-geometric's graphs: its loaders batch them, and MLPF takes the batches."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from daskhpo.mlpf.config import MLPFConfig
from daskhpo.mlpf.events import Events, load_sample
from daskhpo.mlpf.graphs import GraphDataset, from_batch, to_graphs
from daskhpo.mlpf.model import MLPF

data = pytest.importorskip("torch_geometric.data")
loader = pytest.importorskip("torch_geometric.loader")


@pytest.fixture(scope="module")
def events() -> Events:
    return load_sample()[:30]


def test_a_graph_holds_the_rows_of_its_event(events: Events) -> None:
    for graph, event in zip(to_graphs(events), events, strict=True):
        assert graph.num_nodes == int(event.counts[0])
        assert np.array_equal(graph.x.numpy(), event.X)
        assert np.array_equal(graph.y.numpy(), event.ygen)
        assert np.array_equal(graph.ycand.numpy(), event.ycand)


def test_graphs_may_be_changed_without_changing_the_events(events: Events) -> None:
    before = events.X.copy()
    to_graphs(events)[0].x.zero_()
    assert np.array_equal(events.X, before)


def test_no_events_give_no_graphs_and_an_empty_event_an_empty_graph() -> None:
    assert to_graphs(Events.empty()) == []
    none = Events(np.zeros((0, 12)), np.zeros((0, 7)), np.zeros((0, 7)), np.array([0]))
    assert to_graphs(none)[0].num_nodes == 0


def test_the_loader_bounds_batches_by_elements_and_loses_no_event(events: Events) -> None:
    graphs = GraphDataset(events)
    limit = int(2.5 * events.counts.max())
    sampler = loader.DynamicBatchSampler(graphs, max_num=limit, mode="node")
    batches = loader.DataLoader(graphs, batch_sampler=sampler)
    sizes, x, y = zip(*((batch.num_nodes, batch.x, batch.y) for batch in batches), strict=True)
    assert len(sizes) > 1
    assert max(sizes) <= limit
    assert np.array_equal(torch.cat(x).numpy(), events.X)
    assert np.array_equal(torch.cat(y).numpy(), events.ygen)


def test_mlpf_predicts_the_same_from_a_batch_as_from_the_events(events: Events) -> None:
    model = MLPF(MLPFConfig(output_dim=8), seed=1).eval()
    model.fit_normalisation(torch.from_numpy(events.X))
    batch = data.Batch.from_data_list(to_graphs(events))
    with torch.no_grad():
        expected = model(torch.from_numpy(events.X), torch.from_numpy(events.counts))
        given = model(*from_batch(batch))
    for ours, theirs in zip(given, expected, strict=True):
        assert torch.equal(ours, theirs)
