"""Kernel attention: right against a naive oracle, near softmax, blind to the events beside."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from daskhpo.mlpf.layers.common import initialise
from daskhpo.mlpf.layers.kernel_attention import (
    KernelAttentionLayer,
    KernelSettings,
    attend,
    favor_features,
    orthogonal_features,
)
from daskhpo.mlpf.layers.layout import RaggedLayout

WIDTH = 6
SMALL = KernelSettings(output_dim=WIDTH, num_heads=2, num_random_features=5)
KINDS = [
    pytest.param(transform, learned, id=transform + "-learned" * learned)
    for transform in ("elu", "favor")
    for learned in (False, True)
]


def make_layer(transform="elu", learned=False, choice=SMALL, seed=0):
    choice = replace(choice, feature_transform=transform)
    layer = KernelAttentionLayer(choice, learned_query=learned).double()
    initialise(layer, torch.Generator().manual_seed(seed))
    return layer


def naive_features(x, directions, transform):
    """Features as the papers write them: nothing is shifted, nothing cancelled."""
    projected = x @ directions.T
    if transform == "elu":
        return (functional.elu(projected) + 1) / len(directions) ** 0.5
    return torch.exp(projected - x.square().sum() / 2) / len(directions) ** 0.5


def naive_event(layer, x, transform):
    """One event, head by head and pair by pair."""
    attention = layer.attention
    x = layer.norm(x)
    asking = x if layer.learned_query is None else torch.stack([layer.learned_query] * len(x))
    query, (key, value) = attention.query(asking), attention.key_value(x).chunk(2, dim=1)
    out = torch.zeros_like(x)
    for head in torch.arange(WIDTH).chunk(attention.num_heads):
        scale = len(head) ** -0.25
        phi_q, phi_k = (
            [naive_features(row[head] * scale, attention.directions, transform) for row in what]
            for what in (query, key)
        )
        for i in range(len(x)):
            weights = torch.stack([phi_q[i] @ phi for phi in phi_k])
            smallest = 1e-6 if transform == "elu" else 0.0
            out[i, head] = weights @ value[:, head] / (weights.sum() + smallest)
    return layer.feed_forward(layer.norm_attended(x + attention.out(out)))


@pytest.mark.parametrize("chunk", [1, 5, 64])
@pytest.mark.parametrize(("transform", "learned"), KINDS)
def test_a_layer_does_what_the_papers_write(rows, apply, transform, learned, chunk):
    layer, counts = make_layer(transform, learned), [23, 1, 0, 7]
    x = rows(sum(counts), WIDTH)
    expected = [naive_event(layer, part, transform) for part in torch.split(x, counts) if len(part)]
    out = apply(layer, x, counts, chunk)
    torch.testing.assert_close(out, torch.cat(expected), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("transform", "learned"), KINDS)
@given(
    counts=st.lists(st.integers(0, 200), min_size=1, max_size=5),
    heads=st.sampled_from([(6, 2), (8, 1), (15, 3), (24, 3), (32, 4)]),
    n_features=st.sampled_from([1, 3, 8, 17, 32]),
    chunk=st.sampled_from([3, 8, 64]),
    dtype=st.sampled_from([torch.float64, torch.float32]),
    seed=st.integers(0, 1000),
)
@settings(max_examples=20, deadline=None)
def test_an_event_gets_the_same_bits_alone_and_among_others(
    rows, assert_blind_to_others, transform, learned, counts, heads, n_features, chunk, dtype, seed
):
    width, num_heads = heads
    choice = KernelSettings(output_dim=width, num_heads=num_heads, num_random_features=n_features)
    layer = make_layer(transform, learned, choice, seed).to(dtype)
    assert_blind_to_others(layer, rows(sum(counts), width, seed).to(dtype), counts, chunk)


@pytest.mark.parametrize(("transform", "learned"), KINDS)
def test_gradients_agree_with_finite_differences(rows, transform, learned):
    layer = make_layer(transform, learned)
    layout = RaggedLayout.of(torch.tensor([3, 7, 1]), bin_size=4)
    x = rows(11, WIDTH).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: layer(x, layout), (x,))


@pytest.mark.parametrize(("transform", "learned"), KINDS)
def test_gradients_of_an_event_do_not_depend_on_its_batch(rows, apply, transform, learned):
    layer, x = make_layer(transform, learned), rows(60, WIDTH).requires_grad_()
    apply(layer, x, [40, 20]).square().sum().backward()
    alone = x.detach()[40:].clone().requires_grad_()
    apply(layer, alone, [20]).square().sum().backward()
    torch.testing.assert_close(x.grad[40:], alone.grad, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(("transform", "learned"), KINDS)
def test_every_parameter_gets_a_gradient_and_the_directions_are_none(
    rows, apply, transform, learned
):
    layer = make_layer(transform, learned)
    apply(layer, rows(30, WIDTH), [10, 20]).square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in layer.parameters())
    assert "attention.directions" in layer.state_dict()
    assert "attention.directions" not in dict(layer.named_parameters())


@pytest.mark.parametrize(("transform", "learned"), KINDS)
def test_the_order_of_elements_does_not_matter(rows, apply, transform, learned):
    layer, x = make_layer(transform, learned), rows(30, WIDTH)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(0))
    shuffled = apply(layer, x[order], [30])
    torch.testing.assert_close(shuffled, apply(layer, x, [30])[order])


def test_with_many_features_favor_comes_near_softmax(rows):
    n, heads, width = 40, 2, 4
    layout = RaggedLayout.of(torch.tensor([25, 15]), bin_size=8)
    q, k, v = (0.3 * rows(n, heads * width, seed).view(n, heads, width) for seed in range(3))
    generator = torch.Generator().manual_seed(0)
    directions = orthogonal_features(20_000, width, generator=generator).double()
    estimate = attend(*favor_features(q, k, directions, layout), v, layout)
    exact = [
        functional.scaled_dot_product_attention(*(t.transpose(0, 1) for t in event), scale=1.0)
        for event in zip(*(torch.split(t, [25, 15]) for t in (q, k, v)), strict=True)
    ]
    exact = torch.cat([event.transpose(0, 1) for event in exact])
    uniform = torch.cat([event.mean(0).expand_as(event) for event in v.split([25, 15])])
    assert float((estimate - exact).norm()) < 0.1 * float((uniform - exact).norm())


def test_directions_are_orthogonal_in_blocks_and_of_the_length_of_normal_vectors():
    directions = orthogonal_features(10, 4, generator=torch.Generator().manual_seed(0))
    assert directions.shape == (10, 4)
    for block in directions.split(4):
        products = block @ block.T
        torch.testing.assert_close(products, products.diagonal().diag(), atol=1e-5, rtol=0)
    many = orthogonal_features(40_000, 4, generator=torch.Generator().manual_seed(0))
    assert abs(float(many.square().sum(1).mean()) - 4) < 0.1


def test_each_direction_by_itself_is_normal():
    """In every place of a block: what LAPACK returns without more has signs of its own."""
    directions = orthogonal_features(40_000, 4, generator=torch.Generator().manual_seed(0))
    by_place = directions.view(-1, 4, 4)
    assert float(by_place.mean(0).abs().max()) < 0.05  # five standard deviations
    assert float((by_place.var(0) - 1).abs().max()) < 0.1


def test_large_features_do_not_overflow(rows):
    layout = RaggedLayout.of(torch.tensor([20]), bin_size=8)
    q, k, v = (rows(20, 8, seed).view(20, 2, 4).float() for seed in range(3))
    directions = orthogonal_features(16, 4, generator=torch.Generator().manual_seed(0))
    out = attend(*favor_features(100 * q, 100 * k, directions, layout), v, layout)
    assert out.isfinite().all()
    assert float(out.abs().max()) <= float(v.abs().max()) * (1 + 1e-5)


def test_with_a_learned_query_all_elements_of_an_event_hear_the_same(rows, apply):
    layer, x = make_layer(learned=True), rows(30, WIDTH)

    def heard(x, layout):
        return layer.attention(layer.learned_query.expand_as(x), x, layout)

    first, second = torch.split(apply(heard, x, [10, 20]), [10, 20])
    torch.testing.assert_close(first, first[:1].expand_as(first))
    torch.testing.assert_close(second, second[:1].expand_as(second))
    assert not torch.allclose(first[0], second[0])


def test_layers_draw_their_own_directions_from_the_generator():
    first, second = make_layer(seed=0), make_layer(seed=0)
    assert torch.equal(first.attention.directions, second.attention.directions)
    assert not torch.equal(make_layer(seed=1).attention.directions, first.attention.directions)


def test_dropout_acts_in_training_only(rows, apply):
    layer, x = make_layer(choice=replace(SMALL, dropout=0.5)), rows(10, WIDTH)
    assert not torch.equal(apply(layer, x, [10]), apply(layer, x, [10]))
    layer.eval()
    assert torch.equal(apply(layer, x, [10]), apply(layer, x, [10]))
