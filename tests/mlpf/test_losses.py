"""Losses: their formulas, and that neither padding nor splitting a batch changes them."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from daskhpo.mlpf.decoder import MLPFOutput
from daskhpo.mlpf.losses import (
    CLS_LOSSES,
    HUBER_DELTA,
    LossSettings,
    Norm,
    focal_loss,
    particle_flow_loss,
    regression_loss,
    sigmoid_focal_loss,
)


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


def test_the_focal_loss_of_an_example_by_hand() -> None:
    # probabilities 3/4 and 1/4: (1 - 3/4)^2 log 4/3 for the true first class
    logits = torch.tensor([[math.log(3.0), 0.0]])
    expected = 0.25**2 * math.log(4 / 3)
    assert float(focal_loss(logits, torch.tensor([0]))) == pytest.approx(expected)


def test_the_sigmoid_focal_loss_of_an_example_by_hand() -> None:
    # sigmoid(log 3) = 3/4 for the true class, sigmoid(0) = 1/2 for the other
    logits = torch.tensor([[math.log(3.0), 0.0]])
    true = 0.25 * (1 / 4) ** 2 * -math.log(3 / 4)
    other = 0.75 * (1 / 2) ** 2 * -math.log(1 / 2)
    assert float(sigmoid_focal_loss(logits, torch.tensor([0]))) == pytest.approx(true + other)


@given(st.integers(0, 100), st.floats(0.0, 5.0), st.floats(0.0, 1.0))
def test_the_sigmoid_focal_loss_is_the_weighted_cross_entropy_of_each_class(
    seed: int, gamma: float, alpha: float
) -> None:
    output, target = draw(12, seed)
    classes = target[:, 0].long()
    true = functional.one_hot(classes, 6).double()
    p = torch.sigmoid(output.logits)
    p_true = torch.where(true == 1, p, 1 - p)
    weight = torch.where(true == 1, alpha, 1 - alpha) * (1 - p_true) ** gamma
    entropy = functional.binary_cross_entropy(p, true, reduction="none")
    torch.testing.assert_close(
        sigmoid_focal_loss(output.logits, classes, gamma=gamma, alpha=alpha),
        (weight * entropy).sum(1),
    )


@pytest.mark.parametrize("loss", [focal_loss, sigmoid_focal_loss])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("size", [0.0, 50.0, 1e4])
def test_the_surest_and_the_most_mistaken_elements_have_finite_slopes(
    loss: Any, gamma: float, size: float
) -> None:
    logits = torch.tensor([[size, -size], [-size, size]], requires_grad=True)
    value = loss(logits, torch.tensor([0, 0]), gamma=gamma).sum()
    value.backward()
    assert torch.isfinite(value)
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


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


def test_nan_where_there_is_no_particle_spoils_neither_the_momentum_loss_nor_its_slopes() -> None:
    output, target = draw(30)
    regression = output.regression.clone()
    regression[target[:, 0] == 0] = math.nan
    regression.requires_grad_()
    loss = regression_loss(regression, target)
    torch.testing.assert_close(loss, regression_loss(output.regression, target))
    loss.sum().backward()  # type: ignore[no-untyped-call]
    assert regression.grad is not None
    assert torch.isfinite(regression.grad).all()


def test_nan_where_there_is_a_particle_is_seen() -> None:
    output, target = draw(30)
    output.regression[1] = math.nan  # of class 1
    assert torch.isnan(particle_flow_loss(output, target).total)


def test_the_total_is_the_sum_of_its_parts() -> None:
    loss = particle_flow_loss(*draw(30))
    torch.testing.assert_close(loss.total, loss.cls + loss.charge + loss.reg)


def test_weights_weigh_the_parts_in_the_total_and_leave_them_as_they_are() -> None:
    plain = particle_flow_loss(*draw(30))
    loss = particle_flow_loss(*draw(30), settings=LossSettings("focal", 200.0, 1.5, 10.0))
    assert loss[1:] == plain[1:]
    torch.testing.assert_close(loss.total, 200 * loss.cls + 1.5 * loss.charge + 10 * loss.reg)


def test_each_classification_loss_is_the_mean_over_elements_of_its_own_formula() -> None:
    output, target = draw(30)
    classes = target[:, 0].long()
    expected = {
        "focal": focal_loss(output.logits, classes).mean(),
        "sigmoid_focal": sigmoid_focal_loss(output.logits, classes).mean(),
        "cross_entropy": functional.cross_entropy(output.logits, classes),
    }
    assert set(expected) == set(CLS_LOSSES)
    for name, value in expected.items():
        loss = particle_flow_loss(output, target, settings=LossSettings(name))
        torch.testing.assert_close(loss.cls, value)


def test_the_padded_norm_divides_by_events_times_the_longest() -> None:
    counts, particles = torch.tensor([3, 0, 7]), torch.tensor([2, 0, 4])
    assert Norm.of(counts, particles) == (10, 6)
    assert Norm.of(counts, particles, "padded") == (21, 21)
    assert Norm.of(counts, particles, "padded", ranks=2) == (10.5, 10.5)
    nothing = torch.zeros(0, dtype=torch.int64)
    for kind in ("real", "padded"):
        assert Norm.of(nothing, nothing, kind) == (1, 1)
        assert Norm.of(torch.zeros(2, dtype=torch.int64), nothing, kind) == (1, 1)


def test_the_padded_norm_gives_the_mean_over_padded_elements() -> None:
    output, target = draw(10)
    norm = Norm.of(torch.tensor([3, 7]), torch.tensor([2, 4]), "padded")
    loss = particle_flow_loss(output, target, norm=norm)
    padded = torch.zeros(14, dtype=torch.float64)  # upstream: padding has a loss of 0
    padded[:10] = focal_loss(output.logits, target[:, 0].long())
    torch.testing.assert_close(loss.cls, padded.mean())
    padded[:10] = regression_loss(output.regression, target)
    torch.testing.assert_close(loss.reg, padded.mean())


def test_parts_of_a_batch_add_up_to_the_batch_given_its_numbers() -> None:
    output, target = draw(31)
    whole = particle_flow_loss(output, target)
    particles = int((target[:, 0] != 0).sum())
    parts = [
        particle_flow_loss(
            MLPFOutput(*(rows[part] for rows in output)),
            target[part],
            norm=Norm(31, particles),
        )
        for part in (slice(0, 4), slice(4, 4), slice(4, 31))
    ]
    for name in whole._fields:
        together = torch.stack([getattr(part, name) for part in parts]).sum()
        torch.testing.assert_close(together, getattr(whole, name))


@pytest.mark.parametrize("cls", CLS_LOSSES)
def test_no_elements_and_no_particles_give_a_finite_loss_with_gradients(cls: str) -> None:
    for n in (0, 1):  # one element: of class 0
        output, target = draw(n)
        output = MLPFOutput(*(rows.requires_grad_() for rows in output))
        loss = particle_flow_loss(output, target, settings=LossSettings(cls)).total
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


def test_hard_elements_count_their_pt_to_the_chosen_power() -> None:
    target = torch.tensor([[1.0, 0, 4, 0, 0, 1, 4], [2.0, 0, 9, 0, 0, 1, 9]])
    output = MLPFOutput(torch.zeros(2, 6), torch.zeros(2, 3), torch.zeros(2, 5))
    settings = LossSettings(cls="cross_entropy", pt_power=0.5)
    parts = particle_flow_loss(output, target, settings=settings, pt=target[:, 2])
    assert float(parts.cls) == pytest.approx((2 + 3) * math.log(6) / 2, rel=1e-6)
    alone = [
        particle_flow_loss(MLPFOutput(*(rows[:1] for rows in output)), row[None]).reg
        for row in target
    ]
    assert float(parts.reg) == pytest.approx(float(2 * alone[0] + 3 * alone[1]) / 2, rel=1e-6)
    with pytest.raises(ValueError, match="pt_power=0.5 needs"):
        particle_flow_loss(output, target, settings=settings)
