"""Sums over groups and the way back: right, each the gradient of the other."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from daskhpo.mlpf.layers.groups import Groups


@given(st.lists(st.integers(0, 6), max_size=30))
def test_each_group_gets_the_sum_of_its_members_and_an_empty_one_zero(members):
    group = torch.tensor(members, dtype=torch.int64)
    y = torch.arange(2.0 * len(members)).view(-1, 2)
    expected = torch.zeros(7, 2).index_add_(0, group, y)
    assert torch.equal(Groups.of(group, 7).add(y), expected)


def test_members_get_the_row_of_their_group(rows):
    group, x = torch.tensor([2, 0, 2, 3]), rows(4, 3)
    assert torch.equal(Groups.of(group, 4).take(x), x[group])


def test_taking_and_adding_differentiate_twice(rows):
    groups = Groups.of(torch.tensor([2, 0, 2, 3]), 5)
    x, y = rows(5, 3).requires_grad_(), rows(4, 3).requires_grad_()
    assert torch.autograd.gradgradcheck(lambda x: groups.take(x).square(), (x,))
    assert torch.autograd.gradgradcheck(lambda y: groups.add(y) ** 3, (y,))


def test_rows_may_have_any_shape(rows):
    groups, y = Groups.of(torch.tensor([1, 1, 0]), 2), rows(3, 12).view(3, 2, 3, 2)
    assert torch.equal(groups.add(y), torch.stack([y[2], y[0] + y[1]]))
    assert torch.equal(groups.take(y[:2]), y[[1, 1, 0]])
