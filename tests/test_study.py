"""The state machine, one sentence at a time."""

from __future__ import annotations

import math

import pytest

from daskhpo.exceptions import ReplayError, SpaceError
from daskhpo.samplers import Grid, Random
from daskhpo.schedulers import ASHA, Fifo
from daskhpo.space import Choice, Float, Space
from daskhpo.study import MAX_LOSSES, Study
from daskhpo.trial import Decision, Outcome, TrialState

SPACE = Space(x=Float(0.0, 1.0))


class Listener(Random):
    """A random sampler that remembers what it was told."""

    def __init__(self) -> None:
        super().__init__(SPACE, seed=0)
        self.told = []

    def tell(self, number, step, value) -> None:
        self.told.append((number, step, value))


def study_of(scheduler=None, *, sampler=None, **settings):
    """A study that keeps its facts in ``study.facts``."""
    facts = []
    scheduler = scheduler if scheduler is not None else ASHA(max_step=9, eta=3)
    sampler = sampler if sampler is not None else Listener()
    study = Study(SPACE, scheduler, sampler, metric="loss", emit=facts.append, **settings)
    study.facts = facts
    return study


def pause(study, job, loss):
    """Report the job's stop and leave."""
    answer = study.report(job.number, job.attempt, job.stop, {"loss": loss})
    assert answer.decision is Decision.PAUSE
    return study.tell(job.number, job.attempt, Outcome.PAUSED)


def test_a_repeated_step_is_not_counted_twice() -> None:
    study = study_of(Fifo(9))
    job = study.ask()
    study.report(0, 0, 1, {"loss": 0.5})
    facts = len(study.facts)
    assert study.report(0, 0, 1, {"loss": 0.1}).decision is Decision.CONTINUE
    assert study.trials[0].value == 0.5
    assert study.reports == study.steps == 1
    assert len(study.facts) == facts
    assert job.number == 0


def test_an_older_attempt_is_fenced_out() -> None:
    study = study_of(Fifo(9))
    study.ask()
    study.tell(0, 0, Outcome.LOST)
    assert study.ask().attempt == 1
    assert study.report(0, 0, 1, {"loss": 0.0}).decision is not Decision.CONTINUE
    assert study.trials[0].step == 0
    assert study.tell(0, 0, Outcome.FAILED) is TrialState.RUNNING


def test_a_retry_gets_the_standing_decision_for_what_it_repeats() -> None:
    study = study_of()
    job = study.ask()
    study.report(0, 0, job.stop, {"loss": 0.5})
    study.tell(0, 0, Outcome.FAILED, error="the checkpoint could not be written")
    assert study.ask().attempt == 1
    assert study.report(0, 1, 1, {"loss": 0.5}).decision is Decision.PAUSE
    assert study.tell(0, 1, Outcome.PAUSED) is TrialState.PAUSED


@pytest.mark.parametrize("metrics", [{"loss": math.nan}, {"loss": math.inf}, {"other": 1.0}])
def test_a_value_that_is_no_number_fails_the_trial_and_never_reaches_the_sampler(metrics) -> None:
    study = study_of()
    study.ask()
    assert study.report(0, 0, 1, metrics).decision is Decision.STOP
    assert study.tell(0, 0, Outcome.STOPPED) is TrialState.FAILED
    assert study.sampler.told == [(0, 1, math.inf)]
    assert study.best is None
    assert "loss" in study.trials[0].error


def test_lost_workers_are_free_until_nothing_moves_any_more() -> None:
    study = study_of(Fifo(99), retries=0)
    for attempt in range(2 * MAX_LOSSES):
        assert study.ask().attempt == attempt
        study.report(0, attempt, attempt + 1, {"loss": 1.0})
        assert study.tell(0, attempt, Outcome.LOST) is TrialState.WAITING
    for _ in range(MAX_LOSSES - 1):
        job = study.ask()
        state = study.tell(0, job.attempt, Outcome.LOST)
    assert state is TrialState.FAILED


def test_own_faults_are_counted() -> None:
    study = study_of(retries=1)
    study.ask()
    assert study.tell(0, 0, Outcome.FAILED, error="first") is TrialState.WAITING
    assert study.ask().attempt == 1
    assert study.tell(0, 1, Outcome.FAILED, error="second") is TrialState.FAILED
    assert study.trials[0].error == "second"


def test_a_fault_that_would_only_repeat_itself_is_not_retried() -> None:
    study = study_of(retries=5)
    study.ask()
    assert study.tell(0, 0, Outcome.FAILED, error="memory", retry=False) is TrialState.FAILED


def test_an_objective_that_never_reports_has_failed() -> None:
    study = study_of()
    study.ask()
    assert study.tell(0, 0, Outcome.COMPLETED) is TrialState.FAILED
    assert "without ever reporting" in study.trials[0].error


def test_an_objective_may_end_early() -> None:
    study = study_of(Fifo(9))
    study.ask()
    study.report(0, 0, 2, {"loss": 0.5})
    assert study.tell(0, 0, Outcome.COMPLETED) is TrialState.COMPLETED


def test_a_closed_study_starts_nothing_and_pauses_what_reports() -> None:
    study = study_of(Fifo(9))
    study.ask()
    study.close("the budget is spent")
    assert study.ask() is None
    answer = study.report(0, 0, 1, {"loss": 0.5})
    assert answer.decision is Decision.PAUSE
    assert answer.evidence["why"] == "the budget is spent"
    assert study.tell(0, 0, Outcome.PAUSED) is TrialState.WAITING
    study.reopen()
    job = study.ask()
    assert (job.number, job.attempt, job.start) == (0, 1, 1)


def test_the_limit_counts_trials_that_begin() -> None:
    study = study_of()
    study.set_limit(2)
    assert [study.ask().number for _ in range(2)] == [0, 1]
    assert study.ask() is None


def test_an_exhausted_sampler_ends_the_new_trials() -> None:
    space = Space(a=Choice([1, 2]))
    study = Study(space, Fifo(1), Grid(space), metric="loss")
    assert [study.ask() is not None for _ in range(3)] == [True, True, False]
    assert study.exhausted


def test_a_space_of_one_point_is_tuned_like_any_other() -> None:
    space = Space(a=Choice(["only"]))
    study = Study(space, ASHA(max_step=3, eta=3), Random(space, seed=0), metric="loss")
    study.set_limit(3)
    for loss in (0.3, 0.2):
        pause(study, study.ask(), loss)
    job = study.ask()
    assert study.report(job.number, 0, 1, {"loss": 0.1}).decision is Decision.CONTINUE
    assert job.params == {"a": "only"}


def test_the_incumbent_is_the_best_that_has_not_failed() -> None:
    study = study_of(Fifo(9))
    for loss in (0.5, 0.1):
        job = study.ask()
        study.report(job.number, 0, 1, {"loss": loss})
    assert study.best.number == 1
    study.report(1, 0, 2, {"loss": math.nan})
    study.tell(1, 0, Outcome.STOPPED)
    assert study.best.number == 0


def test_the_incumbent_of_a_metric_to_be_large_is_the_largest() -> None:
    study = study_of(direction="max")
    for value in (0.5, 0.9, 0.7):
        job = study.ask()
        study.report(job.number, 0, 1, {"loss": value})
    assert study.best.number == 1
    assert study.best.best_value == 0.9


def test_an_offer_outside_the_space_is_refused_and_leaves_no_trace() -> None:
    study = study_of()
    with pytest.raises(SpaceError, match="x"):
        study.offer({"x": 2.0})
    assert study.facts == []
    assert study.next_number == 0


def test_what_the_user_offers_is_tried_first() -> None:
    study = study_of()
    study.offer({"x": 0.25}, origin="user")
    assert study.ask().params == {"x": 0.25}


def test_a_replay_leads_to_the_same_study() -> None:
    study = study_of()
    study.set_limit(9)
    while (job := study.ask()) is not None:
        loss = abs(job.params["x"] - 0.3) + 1 / job.stop
        answer = study.report(job.number, job.attempt, job.stop, {"loss": loss})
        while answer.decision is Decision.CONTINUE:
            answer = study.report(job.number, job.attempt, answer.stop, {"loss": loss})
        study.tell(job.number, job.attempt, Outcome.PAUSED)
    again = study_of().replay(study.facts)
    assert again.trials == study.trials
    assert again.scheduler.table() == study.scheduler.table()
    assert any(trial.state is TrialState.COMPLETED for trial in again.trials.values())


def test_a_journal_that_was_changed_is_refused() -> None:
    study = study_of()
    pause(study, study.ask(), 0.5)
    facts = [dict(fact) for fact in study.facts]
    changed = next(fact for fact in facts if fact["kind"] == "reported")
    changed["decision"] = "continue"
    with pytest.raises(ReplayError, match="decision"):
        study_of().replay(facts)
