"""Softmax attention: right against a naive oracle, and blind to the events beside."""

from __future__ import annotations

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from daskhpo.mlpf.layers.attention import AttentionLayer, AttentionSettings
from daskhpo.mlpf.layers.common import initialise
from daskhpo.mlpf.layers.layout import RaggedLayout


def make_layer(width=6, num_heads=2, dropout=0.0, seed=0):
    choice = AttentionSettings(output_dim=width, num_heads=num_heads, dropout=dropout)
    layer = AttentionLayer(choice).double()
    initialise(layer, torch.Generator().manual_seed(seed))
    return layer


def naive_event(layer, x, num_heads):
    """One event, head by head and element by element."""
    attention, n, width = layer.attention, *x.shape
    query, key, value = attention.query_key_value(layer.norm_attention(x)).chunk(3, dim=1)
    heads = []
    for h in torch.arange(width).chunk(num_heads):
        scores = torch.stack([key[:, h] @ query[i, h] for i in range(n)]) / len(h) ** 0.5
        weights = scores.exp() / scores.exp().sum(1, keepdim=True)
        heads.append(weights @ value[:, h])
    x = x + attention.out(torch.cat(heads, dim=1))
    return x + layer.feed_forward(layer.norm_feed_forward(x))


@pytest.mark.parametrize("num_heads", [1, 2, 6])
def test_a_layer_does_what_the_paper_writes(rows, apply, num_heads):
    layer, counts = make_layer(num_heads=num_heads), [23, 1, 0, 7]
    x = rows(sum(counts), 6)
    expected = [naive_event(layer, part, num_heads) for part in torch.split(x, counts) if len(part)]
    torch.testing.assert_close(apply(layer, x, counts), torch.cat(expected), rtol=1e-9, atol=1e-9)


@given(
    counts=st.lists(st.integers(0, 200), min_size=1, max_size=5),
    heads=st.sampled_from([(6, 2), (8, 8), (15, 3), (32, 4), (5, 1)]),
    dtype=st.sampled_from([torch.float64, torch.float32]),
    seed=st.integers(0, 1000),
)
# heads as wide as this begin off the registers' boundaries
@example(counts=[39, 100, 7, 66], heads=(15, 3), dtype=torch.float64, seed=0)
@settings(max_examples=40, deadline=None)
def test_an_event_gets_the_same_bits_alone_and_among_others(
    rows, assert_blind_to_others, counts, heads, dtype, seed
):
    layer = make_layer(*heads, seed=seed).to(dtype)
    assert_blind_to_others(layer, rows(sum(counts), heads[0], seed).to(dtype), counts)


def test_gradients_agree_with_finite_differences(rows):
    layer, layout = make_layer(), RaggedLayout.of(torch.tensor([3, 7, 1]), bin_size=4)
    x = rows(11, 6).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: layer(x, layout), (x,))


def test_gradients_of_an_event_do_not_depend_on_its_batch(rows, apply):
    layer, x = make_layer(), rows(60, 6).requires_grad_()
    apply(layer, x, [40, 20]).square().sum().backward()
    alone = x.detach()[40:].clone().requires_grad_()
    apply(layer, alone, [20]).square().sum().backward()
    torch.testing.assert_close(x.grad[40:], alone.grad, rtol=1e-12, atol=1e-14)


def test_every_parameter_gets_a_gradient(rows, apply):
    layer = make_layer()
    apply(layer, rows(30, 6), [10, 20]).square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in layer.parameters())


def test_the_order_of_elements_does_not_matter(rows, apply):
    layer, x = make_layer(), rows(30, 6)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(0))
    shuffled = apply(layer, x[order], [30])
    torch.testing.assert_close(shuffled, apply(layer, x, [30])[order])


def test_dropout_acts_in_training_only(rows, apply):
    layer, x = make_layer(dropout=0.5), rows(10, 6)
    assert not torch.equal(apply(layer, x, [10]), apply(layer, x, [10]))
    layer.eval()
    assert torch.equal(apply(layer, x, [10]), apply(layer, x, [10]))
