"""Graph layers: right against a naive oracle, and blind to the events beside."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from daskhpo.mlpf.layers.common import Dropout, complete_rows, feed_forward, initialise
from daskhpo.mlpf.layers.graph import (
    CombinedGraphLayer,
    GraphSettings,
    distance_kernel,
    lsh,
    normalise_degrees,
)
from daskhpo.mlpf.layers.layout import MAX_ROTATIONS, RaggedLayout

WIDTH = 6
SMALL = GraphSettings(output_dim=WIDTH, distance_dim=4, ffn_dist_hidden_dim=5)
BIN_SIZES = [1, 5, 8, 16, 32, 64, 128]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Bitwise equality is promised for one thread: threads cut vectors at other places."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def make_layer(choice: GraphSettings = SMALL, seed: int = 0) -> CombinedGraphLayer:
    layer = CombinedGraphLayer(WIDTH, choice).double()
    initialise(layer, torch.Generator().manual_seed(seed))
    return layer


def elements(n: int, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, WIDTH, dtype=torch.float64, generator=generator)


def apply(layer: CombinedGraphLayer, x: Tensor, counts: list[int], bin_size: int) -> Tensor:
    """The layer as the model calls it: rows completed before, cut after."""
    rows, completed = complete_rows(x, torch.tensor(counts, dtype=torch.int64))
    layout = RaggedLayout.of(completed, bin_size=bin_size, position=place(rows))
    out: Tensor = layer(rows, layout)
    return out[: len(x)]


def place(x: Tensor) -> Tensor:
    """Positions (M, 3) for elements: what they are does not matter here."""
    return x[:, :3].tanh()


def naive_event(layer: CombinedGraphLayer, x: Tensor, bin_size: int) -> Tensor:
    """One event, element by element, as the papers write it."""
    s = layer.settings
    position = place(x)
    x = layer.norm(x)
    z = layer.ffn_dist(x)
    if s.position_scale:
        z = torch.cat([z, s.position_scale * position], dim=1)
    n = len(x)
    rotations = max(1, math.ceil(n / bin_size) // 2)
    projection = z.float() @ layer.codebook[:, :rotations].float()
    hashes = torch.cat([projection, -projection], dim=1).argmax(1).tolist()
    order = sorted(range(n), key=lambda i: hashes[i])
    for message in layer.messages:
        theta, w_h, w_t = message.theta_het_gate.chunk(3)  # type: ignore[operator]
        out = torch.empty(n, s.output_dim, dtype=x.dtype)
        for start in range(0, n, bin_size):
            mates = order[start : start + bin_size]
            weights = {
                (i, j): torch.exp(-s.dist_mult * (z[i] - z[j]).square().sum().clamp(1e-6).sqrt())
                for i in mates
                for j in mates
            }
            weights = {pair: w.clamp(min=s.clip_value_low) for pair, w in weights.items()}
            degree = {i: sum(weights[i, j] for j in mates) + 1e-6 for i in mates}
            for i in mates:
                hom = torch.zeros(s.output_dim, dtype=x.dtype)
                for j in mates:
                    norm = (degree[i] * degree[j]) ** -0.5 if s.normalize_degrees else 1.0
                    hom = hom + norm * weights[i, j] * (theta @ x[j])
                gate = torch.sigmoid(w_t @ x[i] + message.gate_bias)  # type: ignore[operator]
                out[i] = torch.nn.functional.elu(gate * hom + (1 - gate) * (w_h @ x[i]))
        x = out
    return x


@pytest.mark.parametrize("bin_size", [1, 5, 8, 64])
@pytest.mark.parametrize(
    "choice",
    [
        SMALL,
        replace(SMALL, normalize_degrees=True, num_node_messages=2, dist_mult=0.5),
        replace(SMALL, layernorm=False, ffn_dist_num_layers=0, clip_value_low=0.3),
        replace(SMALL, ffn_dist_num_layers=2, output_dim=3),
        replace(SMALL, position_scale=2.5, dist_mult=0.4),
    ],
)
def test_a_layer_does_what_the_papers_write(choice: GraphSettings, bin_size: int) -> None:
    layer, counts = make_layer(choice), [23, 1, 7]
    x = elements(sum(counts))
    expected = torch.cat([naive_event(layer, part, bin_size) for part in torch.split(x, counts)])
    torch.testing.assert_close(apply(layer, x, counts, bin_size), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("bin_size", BIN_SIZES)
@given(
    counts=st.lists(st.integers(0, 200), min_size=1, max_size=6),
    seed=st.integers(0, 1000),
    normalize=st.booleans(),
    dtype=st.sampled_from([torch.float64, torch.float32]),
)
@settings(max_examples=10, deadline=None)
def test_an_event_gets_the_same_bits_alone_and_among_others(
    bin_size: int, counts: list[int], seed: int, normalize: bool, dtype: torch.dtype
) -> None:
    choice = replace(SMALL, normalize_degrees=normalize, num_node_messages=2, position_scale=40.0)
    layer = make_layer(choice, seed).to(dtype)
    x = elements(sum(counts), seed).to(dtype)
    together = torch.split(apply(layer, x, counts, bin_size), counts)
    for part, own in zip(torch.split(x, counts), together, strict=True):
        assert torch.equal(apply(layer, part, [len(part)], bin_size), own)


def test_gradients_of_an_event_do_not_depend_on_its_batch() -> None:
    layer, counts = make_layer(), [40, 3, 100]
    x = elements(sum(counts)).requires_grad_()
    apply(layer, x, counts, 16).square().sum().backward()  # type: ignore[no-untyped-call]
    alone = x.detach()[43:].clone().requires_grad_()
    apply(layer, alone, [100], 16).square().sum().backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None
    torch.testing.assert_close(x.grad[43:], alone.grad, rtol=1e-12, atol=1e-14)


def test_gradients_agree_with_finite_differences() -> None:
    layer = make_layer(replace(SMALL, num_node_messages=2, normalize_degrees=True))
    layout = RaggedLayout.of(torch.tensor([3, 7, 1]), bin_size=4)
    x = elements(11).requires_grad_()
    assert torch.autograd.gradcheck(lambda rows: layer(rows, layout), (x,))


def test_collecting_and_releasing_rows_undo_each_other_and_differentiate_twice() -> None:
    layout = RaggedLayout.of(torch.tensor([3, 7, 1]), bin_size=4)
    bins = layout.bins(torch.arange(11) % 2)
    x = elements(11).requires_grad_()
    assert torch.equal(bins.release(bins.collect(x)), x)
    assert torch.autograd.gradgradcheck(lambda rows: bins.collect(rows).square(), (x,))
    assert torch.autograd.gradgradcheck(lambda rows: bins.release(bins.collect(rows)) ** 3, (x,))


def test_elements_that_share_a_bin_are_of_one_event_and_vacant_slots_are_zero() -> None:
    counts = torch.tensor([9, 0, 2, 17])
    layout = RaggedLayout.of(counts, bin_size=4)
    bins = layout.bins(torch.randint(2, (28,), generator=torch.Generator().manual_seed(0)))
    event = bins.collect((layout.event + 1.0)[:, None])[:, :, 0]
    assert torch.equal(event != 0, layout.occupied[:, :, 0] != 0)
    for row in event:
        assert len(set(row[row != 0].tolist())) == 1
    assert [len(event)] == [3 + 0 + 1 + 5]


@given(st.lists(st.integers(0, 50), min_size=1, max_size=8), st.integers(1, 20))
@settings(deadline=None)
def test_no_event_is_padded_by_a_whole_bin(counts: list[int], bin_size: int) -> None:
    layout = RaggedLayout.of(torch.tensor(counts), bin_size=bin_size)
    assert len(layout.occupied) == sum(math.ceil(n / bin_size) for n in counts)
    assert int(layout.occupied.sum()) == sum(counts)


def test_elements_of_equal_hash_keep_their_order() -> None:
    layout = RaggedLayout.of(torch.tensor([6]), bin_size=6)
    bins = layout.bins(torch.tensor([1, 0, 1, 0, 1, 0]))
    assert bins.source.tolist() == [1, 3, 5, 0, 2, 4]


def test_each_event_uses_only_its_own_number_of_rotations() -> None:
    layout = RaggedLayout.of(torch.tensor([80, 8]), bin_size=4)  # 20 bins and 2 bins
    z = torch.randn(88, 4, generator=torch.Generator().manual_seed(0))
    codebook = torch.randn(4, MAX_ROTATIONS, generator=torch.Generator().manual_seed(1))
    hashes = lsh(z, codebook, layout)
    assert layout.max_rotations == 10
    assert len(set((hashes[:80] % 10).tolist())) > 3
    assert set((hashes[80:] % 10).tolist()) == {0}


def test_an_event_of_very_many_bins_uses_the_whole_codebook_and_no_more() -> None:
    layout = RaggedLayout.of(torch.tensor([1000]), bin_size=1)
    layer = make_layer()
    assert layout.max_rotations == MAX_ROTATIONS
    assert torch.isfinite(layer(elements(1000), layout)).all()


def test_in_a_single_bin_the_order_of_elements_does_not_matter() -> None:
    layer, x = make_layer(), elements(20)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(0))
    shuffled = apply(layer, x[order], [20], 32)
    torch.testing.assert_close(shuffled, apply(layer, x, [20], 32)[order])


def test_near_elements_have_heavier_edges_down_to_the_floor() -> None:
    z = torch.tensor([[[0.0, 0.0], [1.0, 0.0], [100.0, 0.0]]])
    kernel = distance_kernel(z, dist_mult=0.5, clip_value_low=0.01)[0]
    assert torch.equal(kernel, kernel.T)
    torch.testing.assert_close(kernel[0, 1:], torch.tensor([math.exp(-0.5), 0.01]))
    torch.testing.assert_close(kernel.diagonal(), torch.ones(3), rtol=1e-3, atol=0)


def test_degrees_count_occupied_neighbours_only() -> None:
    kernel, occupied = torch.ones(1, 3, 3), torch.tensor([[[1.0], [1.0], [0.0]]])
    normalised = normalise_degrees(kernel, occupied)
    torch.testing.assert_close(normalised[0, :2, :2], torch.full((2, 2), 0.5))


def test_every_parameter_gets_a_gradient_and_the_codebook_is_none() -> None:
    layer = make_layer(replace(SMALL, num_node_messages=2))
    apply(layer, elements(30), [30], 8).square().sum().backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is not None and bool(p.grad.any()) for p in layer.parameters())
    assert "codebook" in layer.state_dict()
    assert "codebook" not in dict(layer.named_parameters())


def test_dropout_draws_from_its_own_generator_and_only_in_training() -> None:
    dropout, x = Dropout(0.25), torch.ones(100, 100)
    dropout.generator = torch.Generator().manual_seed(3)
    before = torch.get_rng_state()
    first = dropout(x)
    dropout.generator = torch.Generator().manual_seed(3)
    assert torch.equal(dropout(x), first)
    assert torch.equal(torch.get_rng_state(), before)
    assert abs(float(first.mean()) - 1) < 0.05
    assert first.unique().tolist() == pytest.approx([0.0, 4 / 3])
    assert dropout.eval()(x) is x


def test_dropout_reaches_embedding_and_messages() -> None:
    network = feed_forward((3, 4, 2), layers=2, dropout=0.5)
    assert [m.p for m in network if isinstance(m, Dropout)] == [0.5, 0.5]
    layer = make_layer(replace(SMALL, dropout=0.5))
    x = elements(10)
    assert not torch.equal(apply(layer, x, [10], 4), apply(layer, x, [10], 4))


@given(st.integers(0, 300))
def test_rows_are_completed_to_whole_registers(n: int) -> None:
    x, counts = complete_rows(torch.ones(n, 2), torch.tensor([n]))
    assert len(x) % 96 == 0
    assert len(x) - n < 96
    assert counts.tolist() == [n, len(x) - n]
    assert not x[n:].any()
