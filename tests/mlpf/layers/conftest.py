"""What tests of layers need: one thread, rows to feed in, and a layer called as the model does."""

from __future__ import annotations

import pytest
import torch

from daskhpo.mlpf.layers.common import complete_rows
from daskhpo.mlpf.layers.layout import RaggedLayout


@pytest.fixture(autouse=True)
def one_thread():
    """Bitwise equality is promised for one thread: threads cut vectors at other places."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def rows():
    """Make n random rows of `width`, in double precision."""

    def make(n, width, seed=1):
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(n, width, dtype=torch.float64, generator=generator)

    return make


@pytest.fixture(scope="session")
def apply():
    """Call a layer as the model does: rows completed before, cut after."""

    def call(layer, x, counts, bin_size=8):
        completed, counts = complete_rows(x, torch.tensor(counts, dtype=torch.int64))
        return layer(completed, RaggedLayout.of(counts, bin_size=bin_size))[: len(x)]

    return call


@pytest.fixture(scope="session")
def assert_blind_to_others(apply):
    """Fail unless each event gets from a layer the same bits alone and among the others."""

    def check(layer, x, counts, bin_size=8):
        together = torch.split(apply(layer, x, counts, bin_size), counts)
        for part, own in zip(torch.split(x, counts), together, strict=True):
            assert torch.equal(apply(layer, part, [len(part)], bin_size), own)

    return check
