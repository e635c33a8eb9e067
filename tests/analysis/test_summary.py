"""A summary says how a campaign stands, in the words and with the signs of its user."""

from __future__ import annotations

import json

import hypothesis.strategies as st
import pytest
from hypothesis import given

from daskhpo.analysis.summary import summary
from daskhpo.campaign import Campaign

SETTINGS = {
    "metric": "score",
    "space": {"x": {"type": "float", "low": 0, "high": 1}},
    "scheduler": {"type": "asha", "max_step": 9, "eta": 3},
    "sampler": "random",
}


ENDED = {"pause": "paused", "stop": "stopped", "continue": "interrupted"}


def trained(values, **settings):
    """The summary after one worker has reported these values, each at the next milestone."""
    campaign = Campaign.from_mapping(SETTINGS | settings)
    study = campaign.study()
    for value in values:
        job = study.ask()
        decision = study.report(job.number, job.attempt, job.stop, {"score": value}).decision
        study.tell(job.number, job.attempt, ENDED[decision])
    return summary(study, campaign), study


def test_values_to_maximise_are_shown_as_they_were_reported(make):
    made = make(mode="max")
    made.pause_at(0.2, 0.4)
    found = summary(made.study, made.campaign)
    assert found.incumbent.value == 0.4
    assert found.rungs[0].best == 0.4
    assert "best      loss 0.4 at epoch 1 of trial 1 (paused)" in found.to_text()
    assert "maximise loss" in found.to_text()


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=20))
def test_maximising_is_minimising_the_negative(values):
    low, _ = trained(values, mode="min")
    high, _ = trained([-value for value in values], mode="max")
    assert low.incumbent.number == high.incumbent.number
    assert low.incumbent.value == -high.incumbent.value
    assert [row.promoted for row in low.rungs] == [row.promoted for row in high.rungs]
    assert low.rungs[0].best == -high.rungs[0].best


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=20))
def test_the_numbers_add_up(values):
    found, study = trained(values)
    assert sum(found.counts.values()) == found.trials == len(study.trials)
    assert found.full_steps == 9 * found.trials
    assert found.saving * found.steps == pytest.approx(found.full_steps)


def test_worker_time_counts_every_rank_and_is_projected_to_full_training(make):
    made = make(workers={"ranks": 4})
    made.pause_at(0.5, 0.6)
    found = summary(made.study, made.campaign)
    assert found.device_seconds == 2 * 2.0 * 4
    assert found.full_device_seconds == 9 * found.device_seconds


@pytest.mark.parametrize("scheduler", [{"type": "fifo", "max_step": 3}, SETTINGS["scheduler"]])
def test_a_campaign_without_reports_has_a_summary_too(make, scheduler):
    made = make(scheduler=scheduler)
    for _ in range(2):
        found = summary(made.study, made.campaign)
        assert found.incumbent is None
        assert "nothing was reported yet" in found.to_text()
        json.dumps(found.to_dict(), allow_nan=False)
        made.study.ask()
    assert found.counts["running"] == 1


def test_the_dictionary_is_json_and_complete(make):
    made = make()
    made.pause_at(0.5)
    made.study.close("the budget of 1 steps is spent")
    plain = json.loads(json.dumps(summary(made.study, made.campaign).to_dict(), allow_nan=False))
    assert plain["incumbent"]["params"] == made.study.trials[0].params
    assert plain["rungs"][1]["best"] is None
    assert plain["closed"] == "the budget of 1 steps is spent"
    assert plain["saving"] == 9.0


def test_brackets_are_told_apart(make):
    made = make(scheduler={"type": "asha", "max_step": 9, "eta": 3, "brackets": 2})
    assert "bracket" in summary(made.study, made.campaign).to_text()
    assert "bracket" not in summary(make().study, made.campaign).to_text()


def test_every_line_fits_on_a_screen(make):
    made = make(metric="validation_loss_of_everything")
    made.pause_at(0.123456789123456)
    text = summary(made.study, made.campaign).to_text()
    assert max(map(len, text.splitlines())) <= 100
