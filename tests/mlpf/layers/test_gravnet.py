"""GravNet: right against a naive oracle and torch-geometric, and blind to the events beside."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from daskhpo.mlpf.layers.common import initialise
from daskhpo.mlpf.layers.gravnet import GravNetConv, GravNetLayer, GravNetSettings
from daskhpo.mlpf.layers.layout import RaggedLayout
from daskhpo.mlpf.layers.neighbours import nearest

WIDTH = 6
SMALL = GravNetSettings(output_dim=WIDTH, k=4, space_dimensions=3, propagate_dimensions=5)


def make_layer(choice=SMALL, seed=0):
    layer = GravNetLayer(choice).double()
    initialise(layer, torch.Generator().manual_seed(seed))
    return layer


def naive_event(conv, x):
    """One event, element by element, as the paper writes it."""
    s = x @ conv.space.weight.T
    h = x @ conv.message.weight.T + conv.message.bias
    out = []
    for i in range(len(x)):
        squares = (s[i] - s).square().sum(1)
        near = sorted(range(len(x)), key=squares.tolist().__getitem__)[: conv.k]
        heard = torch.stack([torch.exp(-10 * squares[j]) * h[j] for j in near])
        summary = torch.cat([heard.sum(0) / len(near), heard.max(0).values])
        out.append(conv.own.weight @ x[i] + conv.neighbourhood(summary))
    return torch.stack(out)


@pytest.mark.parametrize("k", [1, 4, 30])
def test_a_layer_does_what_the_paper_writes(rows, apply, k):
    layer, counts = make_layer(replace(SMALL, k=k)), [23, 1, 7]
    x = rows(sum(counts), WIDTH)
    conv = torch.cat([naive_event(layer.conv, part) for part in torch.split(x, counts)])
    expected = torch.nn.functional.layer_norm(x + conv, (WIDTH,))
    torch.testing.assert_close(apply(layer, x, counts), expected, rtol=1e-9, atol=1e-9)


def torch_geometrics(conv, settings):
    """torch-geometric's convolution with the weights of ours."""
    theirs = pytest.importorskip("torch_geometric.nn").GravNetConv(
        WIDTH, WIDTH, settings.space_dimensions, settings.propagate_dimensions, settings.k
    )
    names = {"space": "lin_s", "message": "lin_h", "own": "lin_out1", "neighbourhood": "lin_out2"}
    state = {
        f"{names[module]}.{kind}": tensor
        for module, kind, tensor in (
            (*name.split("."), tensor) for name, tensor in conv.state_dict().items()
        )
    }
    state["lin_s.bias"] = torch.full((settings.space_dimensions,), 3.0)  # moves all alike
    theirs.double().load_state_dict(state)
    return theirs


def assert_same_numbers(rows):
    conv, x = make_layer().conv, rows(30, WIDTH)
    theirs = torch_geometrics(conv, SMALL)(x, torch.tensor([0] * 23 + [1] * 7))
    ours = conv(x, RaggedLayout.of(torch.tensor([23, 7]), bin_size=8))
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


def test_around_its_search_torch_geometrics_gravnet_gives_the_same_numbers(rows, monkeypatch):
    """Its extension is stood in for by our search; all the rest is its own."""
    typing = pytest.importorskip("torch_geometric.typing")

    def knn(x, y, ptr_x, ptr_y, k, cosine, num_workers):
        near = nearest(x, ptr_x.diff(), k=k)
        return torch.stack([torch.arange(len(y)).repeat_interleave(k), near.index.flatten()])

    monkeypatch.setattr(typing, "WITH_KNN", True)
    monkeypatch.setattr(torch.ops, "pyg", SimpleNamespace(knn=knn), raising=False)
    assert_same_numbers(rows)


def test_torch_geometrics_gravnet_gives_the_same_numbers(rows):
    pytest.importorskip(
        "pyg_lib", reason="torch-geometric searches neighbours with pyg-lib, which is not here"
    )
    assert_same_numbers(rows)


@given(
    counts=st.lists(st.integers(0, 200), min_size=1, max_size=5),
    k=st.sampled_from([1, 4, 16, 40]),
    propagate=st.sampled_from([1, 5, 8, 22]),
    dtype=st.sampled_from([torch.float64, torch.float32]),
    seed=st.integers(0, 1000),
)
@settings(max_examples=40, deadline=None)
def test_an_event_gets_the_same_bits_alone_and_among_others(
    rows, assert_blind_to_others, counts, k, propagate, dtype, seed
):
    layer = make_layer(replace(SMALL, k=k, propagate_dimensions=propagate), seed).to(dtype)
    assert_blind_to_others(layer, rows(sum(counts), WIDTH, seed).to(dtype), counts)


def test_gradients_agree_with_finite_differences(rows):
    layer, layout = make_layer(), RaggedLayout.of(torch.tensor([3, 7, 1]), bin_size=4)
    x = rows(11, WIDTH).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: layer(x, layout), (x,))


def test_gradients_of_an_event_do_not_depend_on_its_batch(rows, apply):
    layer, x = make_layer(), rows(60, WIDTH).requires_grad_()
    apply(layer, x, [40, 20])[:, 0].sum().backward()
    alone = x.detach()[40:].clone().requires_grad_()
    apply(layer, alone, [20])[:, 0].sum().backward()
    torch.testing.assert_close(x.grad[40:], alone.grad, rtol=1e-12, atol=1e-14)


def test_every_parameter_gets_a_gradient(rows, apply):
    layer = make_layer()
    (apply(layer, rows(30, WIDTH), [30]) ** 3).sum().backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in layer.parameters())


def test_the_order_of_elements_does_not_matter(rows, apply):
    layer, x = make_layer(), rows(30, WIDTH)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(0))
    shuffled = apply(layer, x[order], [30])
    torch.testing.assert_close(shuffled, apply(layer, x, [30])[order])


def test_elements_that_are_too_far_send_nothing_but_count(apply):
    choice = GravNetSettings(output_dim=2, k=2, space_dimensions=1, propagate_dimensions=1)
    conv = GravNetConv(1, choice)
    for name, value in [("space", 1.0), ("message", 0.0), ("own", 0.0)]:
        torch.nn.init.constant_(getattr(conv, name).weight, value)
    torch.nn.init.ones_(conv.message.bias)  # every message is 1
    conv.neighbourhood.weight.data = torch.eye(2)  # the output is [mean, max]
    near, far, alone = ([[0.0], [0.0]], [[0.0], [100.0]], [[0.0]])
    heard = [apply(conv, torch.tensor(x), [len(x)])[0].tolist() for x in (near, far, alone)]
    assert heard == [[1.0, 1.0], [0.5, 1.0], [1.0, 1.0]]


def test_dropout_acts_in_training_only(rows, apply):
    layer, x = make_layer(replace(SMALL, dropout=0.5)), rows(10, WIDTH)
    assert not torch.equal(apply(layer, x, [10]), apply(layer, x, [10]))
    layer.eval()
    assert torch.equal(apply(layer, x, [10]), apply(layer, x, [10]))
