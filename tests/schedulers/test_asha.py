"""ASHA: the paper's promotions, the stopping form, brackets, the tail rule."""

from __future__ import annotations

import numpy as np
import pytest

from daskhpo.exceptions import SchedulerError
from daskhpo.schedulers import ASHA
from daskhpo.trial import Decision


def reported(scheduler, losses, step=1, first=0):
    """Begin a trial per loss and report it; the answers."""
    answers = []
    for number, loss in enumerate(losses, start=first):
        scheduler.begin(number)
        answers.append(scheduler.report(number, step, loss))
    return answers


def test_nobody_goes_on_before_one_in_eta_can() -> None:
    scheduler = ASHA(max_step=9, eta=3)
    answers = reported(scheduler, [0.1, 0.2])
    assert [a.decision for a in answers] == [Decision.PAUSE, Decision.PAUSE]
    assert scheduler.promote(drained=False) is None


def test_the_best_trial_continues_in_place_with_nothing_saved() -> None:
    scheduler = ASHA(max_step=9, eta=3)
    answers = reported(scheduler, [0.5, 0.6, 0.1])
    assert answers[2].decision is Decision.CONTINUE
    assert answers[2].stop == 3
    assert answers[2].evidence["rank"] == 1
    assert scheduler.promote(drained=False) is None


def test_a_better_paused_trial_is_preferred_to_the_one_that_reports() -> None:
    scheduler = ASHA(max_step=9, eta=3)
    answers = reported(scheduler, [0.1, 0.2, 0.9])
    assert answers[2].decision is Decision.PAUSE
    assert scheduler.promote(drained=False).number == 0


def test_higher_rungs_are_served_first() -> None:
    scheduler = ASHA(max_step=27, eta=2)
    reported(scheduler, [0.1 + 0.01 * n for n in range(8)])
    for _ in range(2):
        promotion = scheduler.promote(drained=False)
        scheduler.report(promotion.number, 2, 0.05 + 0.01 * promotion.number)
    # Rung 1 now has one of two to promote, rung 0 still has candidates.
    assert scheduler.promote(drained=False).rung == 2


def test_reports_between_milestones_change_nothing() -> None:
    scheduler = ASHA(max_step=27, min_step=3, eta=3)
    scheduler.begin(0)
    assert scheduler.report(0, 1, 0.1).decision is Decision.CONTINUE
    assert scheduler.table()[0].recorded == 0
    assert scheduler.report(0, 3, 0.1).decision is Decision.PAUSE
    assert scheduler.table()[0].recorded == 1


def test_the_last_step_completes() -> None:
    scheduler = ASHA(max_step=3, min_step=3)
    assert reported(scheduler, [0.4], step=3)[0].decision is Decision.STOP


def test_the_tail_rule_brings_one_trial_to_the_end_when_eta_exceeds_the_number_of_trials() -> None:
    scheduler = ASHA(max_step=100, eta=10)
    reported(scheduler, [0.3, 0.2, 0.4])
    assert scheduler.promote(drained=False) is None
    for step in (10, 100):
        promotion = scheduler.promote(drained=True)
        assert promotion.number == 1
        assert promotion.stop == step
        scheduler.report(1, step, 0.1)
    assert scheduler.promote(drained=True) is None


def test_a_failed_trial_ranks_last_and_stays_where_it_is() -> None:
    scheduler = ASHA(max_step=9, eta=2)
    reported(scheduler, [0.3, 0.2])
    scheduler.begin(2)
    scheduler.fail(2)
    scheduler.fail(1)
    assert scheduler.table()[0].recorded == 3
    assert scheduler.promote(drained=False) is None
    assert scheduler.promote(drained=True).number == 0


def test_the_stopping_form_lets_the_first_pass_and_ends_the_worse() -> None:
    scheduler = ASHA(max_step=9, eta=3, mode="stop")
    answers = reported(scheduler, [0.5, 0.6, 0.4, 0.7])
    kept = [a.decision is Decision.CONTINUE for a in answers]
    assert kept == [True, False, True, False]
    assert answers[3].evidence["threshold"] == pytest.approx(
        np.quantile([0.4, 0.5, 0.6, 0.7], 1 / 3)
    )
    assert scheduler.promote(drained=True) is None


def test_brackets_start_higher_and_their_shares_follow_hyperband() -> None:
    scheduler = ASHA(max_step=81, eta=3, brackets=3, seed=1)
    starts = [scheduler.begin(number).stop for number in range(4000)]
    weights = np.array([1, 5 / 4 / 3, 5 / 3 / 9])
    expected = 4000 * weights / weights.sum()
    counts = [starts.count(step) for step in (1, 3, 9)]
    assert np.allclose(counts, expected, rtol=0.1)
    again = ASHA(max_step=81, eta=3, brackets=3, seed=1)
    assert [again.begin(number).stop for number in range(4000)] == starts


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"max_step": 0}, "max_step=0"),
        ({"max_step": 9, "mode": "both"}, "mode='both'"),
        ({"max_step": 9, "eta": 3, "brackets": 4}, "brackets=4"),
        ({"max_step": 9, "brackets": 0}, "brackets=0"),
        ({"max_step": 9, "seed": -1}, "seed=-1"),
    ],
)
def test_settings_that_cannot_work_are_refused_by_name(settings, named) -> None:
    with pytest.raises(SchedulerError, match=named):
        ASHA(**settings)
