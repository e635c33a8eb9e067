"""Accuracies that do not depend on how the elements were cut into batches."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from daskhpo.mlpf.metrics import accuracy, balanced_accuracy, confusion_matrix

pairs = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=60)


def matrix(labels: list[tuple[int, int]]) -> torch.Tensor:
    both = torch.tensor(labels, dtype=torch.int64).view(-1, 2)
    return confusion_matrix(both[:, 0], both[:, 1], n_classes=6)


def test_balanced_accuracy_is_the_mean_recall_of_the_classes_present() -> None:
    # nine of ten charged hadrons and one of two muons are right; no other class occurs
    labels = [(1, 1)] * 9 + [(0, 1), (5, 5), (2, 5)]
    assert balanced_accuracy(matrix(labels)) == pytest.approx((0.9 + 0.5) / 2)
    assert accuracy(matrix(labels)) == pytest.approx(10 / 12)


def test_saying_always_the_same_scores_one_over_the_number_of_classes() -> None:
    assert balanced_accuracy(matrix([(1, true) for true in range(6)] + [(1, 1)] * 50)) == (
        pytest.approx(1 / 6)
    )


@given(pairs, pairs)
def test_matrices_of_parts_add_up_to_the_matrix_of_the_whole(
    a: list[tuple[int, int]], b: list[tuple[int, int]]
) -> None:
    assert torch.equal(matrix(a) + matrix(b), matrix(a + b))


@given(pairs)
def test_balanced_accuracy_agrees_with_its_definition(labels: list[tuple[int, int]]) -> None:
    recalls = []
    for kind in {true for _, true in labels}:
        answers = [predicted for predicted, true in labels if true == kind]
        recalls.append(answers.count(kind) / len(answers))
    expected = sum(recalls) / len(recalls) if recalls else 0.0
    assert balanced_accuracy(matrix(labels)) == pytest.approx(expected)


def test_nothing_at_all_scores_zero() -> None:
    assert balanced_accuracy(matrix([])) == 0.0
    assert accuracy(matrix([])) == 0.0


def test_rows_are_true_classes() -> None:
    assert matrix([(2, 4)])[4, 2] == 1
