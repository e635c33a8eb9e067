"""Losses: their formulas, and that neither padding nor splitting a batch changes them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from daskhpo.mlpf.losses import HUBER_DELTA, focal_loss, particle_flow_loss, regression_loss
from daskhpo.mlpf.model import MLPFOutput


def draw(n: int, seed: int = 0) -> tuple[MLPFOutput, Tensor]:
    """Random predictions and targets of n elements, every third without a particle."""
    g = torch.Generator().manual_seed(seed)
    kind = torch.arange(n) % 3
    charge = torch.randint(-1, 2, (n,), generator=g) * (kind != 0)
    momentum = torch.rand(n, 5, generator=g, dtype=torch.float64) + 0.1
    target = torch.cat([kind[:, None], charge[:, None], momentum * (kind != 0)[:, None]], dim=1)
    shapes = (n, 6), (n, 3), (n, 5)
    return MLPFOutput(*(torch.randn(s, generator=g, dtype=torch.float64) for s in shapes)), target


def test_the_focal_loss_without_focus_is_the_cross_entropy() -> None:
    output, target = draw(30)
    classes = target[:, 0].long()
    torch.testing.assert_close(
        focal_loss(output.logits, classes, gamma=0.0),
        functional.cross_entropy(output.logits, classes, reduction="none"),
    )


def test_the_focal_loss_counts_what_is_well_classified_less() -> None:
    sure, unsure = torch.tensor([[4.0, 0.0]]), torch.tensor([[0.0, 0.0]])
    right = torch.tensor([0])

    def discount(logits: Tensor) -> float:
        return float(focal_loss(logits, right) / focal_loss(logits, right, gamma=0.0))

    assert discount(unsure) == pytest.approx(0.25)
    assert discount(sure) < 0.001


@pytest.mark.parametrize("column", range(5))
def test_each_momentum_component_has_the_huber_loss_of_its_own_delta(column: int) -> None:
    target = torch.tensor([[1.0, 1.0, 2.0, 0.3, 0.6, 0.8, 5.0]], dtype=torch.float64)
    truth = torch.tensor([2.0, 0.3, 0.6, 0.8, 5.0], dtype=torch.float64)
    truth[[0, 4]] = truth[[0, 4]].log()
    for error in (0.0, 0.05, -0.5, 3.0):
        guess = truth.clone()
        guess[column] += error
        expected = functional.huber_loss(guess, truth, reduction="sum", delta=HUBER_DELTA[column])
        assert float(regression_loss(guess[None], target)) == pytest.approx(float(expected))


def test_elements_without_a_particle_have_no_momentum_to_learn() -> None:
    output, target = draw(30)
    loss = regression_loss(output.regression, target)
    assert torch.equal(loss == 0, target[:, 0] == 0)


def test_the_total_is_the_sum_of_its_parts() -> None:
    loss = particle_flow_loss(*draw(30))
    torch.testing.assert_close(loss.total, loss.cls + loss.charge + loss.reg)


def test_parts_of_a_batch_add_up_to_the_batch_given_its_numbers() -> None:
    output, target = draw(31)
    whole = particle_flow_loss(output, target)
    particles = int((target[:, 0] != 0).sum())
    parts = [
        particle_flow_loss(
            MLPFOutput(*(rows[part] for rows in output)),
            target[part],
            elements=31,
            particles=particles,
        )
        for part in (slice(0, 4), slice(4, 4), slice(4, 31))
    ]
    for name in whole._fields:
        together = torch.stack([getattr(part, name) for part in parts]).sum()
        torch.testing.assert_close(together, getattr(whole, name))


def test_no_elements_and_no_particles_give_a_finite_loss_with_gradients() -> None:
    for n in (0, 1):  # one element: of class 0
        output, target = draw(n)
        output = MLPFOutput(*(rows.requires_grad_() for rows in output))
        loss = particle_flow_loss(output, target).total
        loss.backward()  # type: ignore[no-untyped-call]
        assert torch.isfinite(loss)
        assert all(torch.isfinite(rows.grad).all() for rows in output if rows.grad is not None)


def test_perfect_predictions_cost_nothing() -> None:
    _, target = draw(30)
    momentum = target[:, 2:].clone()
    momentum[:, [0, 4]] = momentum[:, [0, 4]].clamp(min=1e-6).log()
    logits = 100 * functional.one_hot(target[:, 0].long(), 6).double()
    charge = 100 * functional.one_hot(target[:, 1].long() + 1, 3).double()
    loss = particle_flow_loss(MLPFOutput(logits, charge, momentum), target)
    assert float(loss.total) == pytest.approx(0.0, abs=1e-12)
