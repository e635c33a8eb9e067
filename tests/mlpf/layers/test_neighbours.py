"""Nearest neighbours: exact, within the event, in bounded memory."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from daskhpo.mlpf.layers import neighbours
from daskhpo.mlpf.layers.neighbours import nearest


def naive(points, counts, k):
    """Neighbours of each element by sorting its event by (distance, position)."""
    found, start = [], 0
    for n in counts:
        event = range(start, start + n)
        for i in event:
            squares = (points[i] - points[start : start + n]).square().sum(1).float().tolist()
            found.append(sorted(event, key=lambda j: (squares[j - start], j))[:k])
        start += n
    return found


def as_lists(near):
    return [row[ok].tolist() for row, ok in zip(near.index, near.found[:, :, 0], strict=True)]


@given(
    counts=st.lists(st.integers(0, 30), min_size=1, max_size=5),
    k=st.integers(1, 20),
    dimensions=st.integers(1, 5),
    grid=st.booleans(),
    seed=st.integers(0, 1000),
)
@settings(deadline=None)
def test_the_neighbours_are_those_of_sorting_all_of_the_event(
    rows, counts, k, dimensions, grid, seed
):
    points = rows(sum(counts), dimensions, seed)
    points = points.round() if grid else points  # on a grid many are equally near
    assert as_lists(nearest(points, torch.tensor(counts), k=k)) == naive(points, counts, k)


def test_among_equals_the_earlier_element_is_nearer():
    near = nearest(torch.zeros(4, 2), torch.tensor([4]), k=3)
    assert near.index.tolist() == [[0, 1, 2]] * 4


def test_an_event_of_fewer_than_k_elements_has_all_as_neighbours_and_repeats_the_element():
    near = nearest(torch.tensor([[0.0], [5.0], [1.0], [7.0]]), torch.tensor([3, 1]), k=4)
    assert near.index.tolist() == [[0, 2, 1, 0], [1, 2, 0, 1], [2, 0, 1, 2], [3, 3, 3, 3]]
    assert near.found[:, :, 0].sum(1).tolist() == [3, 3, 3, 1]


def test_what_is_far_from_the_origin_is_told_apart_in_single_precision(rows):
    points = 1e4 + rows(50, 3).mul(64).round().float()
    assert as_lists(nearest(points, torch.tensor([50]), k=5)) == naive(points, [50], 5)


def test_the_size_of_the_chunks_changes_nothing_but_the_memory(rows, monkeypatch):
    points, counts, sizes = rows(300, 3), torch.tensor([200, 100]), []
    expected = nearest(points, counts, k=5).index
    search = neighbours._search

    def watched(chunk, points, k):
        sizes.append(len(chunk) * len(points))
        return search(chunk, points, k)

    monkeypatch.setattr(neighbours, "_search", watched)
    monkeypatch.setattr(neighbours, "PAIRS_ON_CPU", 1000)
    assert torch.equal(nearest(points, counts, k=5).index, expected)
    assert max(sizes) <= 1000
    assert sum(sizes) == 200**2 + 100**2


def test_a_large_event_is_searched_in_chunks(rows, monkeypatch):
    sizes = []
    monkeypatch.setattr(
        neighbours, "_search", lambda c, p, k: sizes.append(len(c)) or c.new_zeros(len(c), k).long()
    )
    nearest(rows(20_000, 1), torch.tensor([20_000]), k=1)
    assert max(sizes) * 20_000 <= neighbours.PAIRS_ON_CPU


def test_the_mean_counts_only_the_neighbours_that_there_are():
    near = nearest(torch.tensor([[0.0], [1.0], [9.0]]), torch.tensor([2, 1]), k=3)
    mean = near.mean(near.take(torch.tensor([[2.0], [4.0], [7.0]])))
    assert mean.tolist() == [[3.0], [3.0], [7.0]]


def test_the_gradient_of_neighbours_rows_goes_back_to_the_neighbours(rows):
    near = nearest(rows(9, 2), torch.tensor([4, 5]), k=3)
    x = rows(9, 2, seed=2).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: near.take(x) ** 2, (x,))


def test_torch_geometric_finds_the_same_neighbours(rows):
    pytest.importorskip(
        "pyg_lib", reason="torch-geometric searches neighbours with pyg-lib, which is not here"
    )
    knn = pytest.importorskip("torch_geometric.nn").knn
    points, batch = rows(70, 3), torch.tensor([0] * 30 + [1] * 40)
    centre, neighbour = knn(points, points, 5, batch, batch)
    theirs = [set(neighbour[centre == i].tolist()) for i in range(70)]
    ours = nearest(points, torch.tensor([30, 40]), k=5).index.tolist()
    assert [set(row) for row in ours] == theirs
