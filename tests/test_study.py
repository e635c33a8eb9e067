"""What the study decides, fact by fact."""

from __future__ import annotations

import math

import pytest

from daskhpo.exceptions import ReplayError, SpaceError
from daskhpo.samplers.grid import Grid
from daskhpo.samplers.random import Random
from daskhpo.schedulers import ASHA, Fifo, Median
from daskhpo.settling import MAX_LOSSES
from daskhpo.space import Choice, Float, Space
from daskhpo.study import Study
from daskhpo.testing import standing
from daskhpo.trial import Decision, Job, Outcome, TrialState

LINE = Space(x=Float(0.0, 1.0))


class Ear:
    """A sampler that remembers what it is told."""

    slow = False

    def __init__(self):
        self.told = []

    def suggest(self, number):
        return {"x": 0.5}

    def pend(self, number, params):
        pass

    def tell(self, number, step, value):
        self.told.append((number, step, value))


@pytest.fixture
def facts():
    return []


@pytest.fixture
def make(facts):
    def make(scheduler=None, sampler=None, **settings):
        return Study(
            LINE,
            scheduler or ASHA(max_step=9, eta=3),
            sampler or Random(LINE),
            **{"metric": "loss", "emit": facts.append} | settings,
        )

    return make


def loss(value):
    return {"loss": value}


def pause(study, value):
    """Begin a trial and bring it to its first milestone, where it pauses."""
    job = study.ask()
    assert study.report(job.number, job.attempt, job.stop, loss(value)).decision is Decision.PAUSE
    assert study.tell(job.number, job.attempt, Outcome.PAUSED) is TrialState.PAUSED
    return job.number


def fail(study, job, **how):
    return study.tell(job.number, job.attempt, Outcome.FAILED, error="oh", **how)


# ---------------------------------------------------------------------- reports


def test_a_repeated_report_is_answered_alike_and_recorded_once(make, facts):
    study = make()
    job = study.ask()
    first = study.report(0, 0, 1, loss(0.5))
    before, length = standing(study), len(facts)
    again = study.report(0, 0, 1, loss(0.4))
    assert again.decision is first.decision is Decision.PAUSE
    assert standing(study) == before
    assert len(facts) == length
    assert job.stop == 1


def test_a_report_beyond_a_pause_gets_the_pause_and_is_not_recorded(make):
    study = make()
    study.ask()
    study.report(0, 0, 1, loss(0.5))
    assert study.report(0, 0, 2, loss(0.1)).decision is Decision.PAUSE
    assert study.trials[0].step == 1
    assert study.trials[0].value == 0.5


def test_a_report_of_an_older_attempt_leaves_no_trace_and_pauses_the_one_who_sent_it(make):
    study = make()
    study.ask()
    study.tell(0, 0, Outcome.LOST)
    assert study.report(0, 0, 1, loss(0.1)).decision is Decision.PAUSE  # waiting for its retry
    job = study.ask()
    assert (job.number, job.attempt) == (0, 1)
    before = standing(study)
    assert study.report(0, 0, 1, loss(0.1)).decision is Decision.PAUSE
    assert study.tell(0, 0, Outcome.COMPLETED) is TrialState.RUNNING
    assert standing(study) == before


def test_a_report_of_a_trial_that_is_over_or_unknown_is_told_to_stop(make):
    study = make(Fifo(1))
    study.ask()
    study.report(0, 0, 1, loss(0.1))
    study.tell(0, 0, Outcome.COMPLETED)
    for number in (0, 17):
        assert study.report(number, 0, 2, loss(0.1)).decision is Decision.STOP
    assert study.reports == 1


def test_a_trial_that_trains_again_towards_its_pause_is_not_paused_before(make):
    study = make(ASHA(max_step=27, eta=3, min_step=3))
    job = study.ask()
    for step in (1, 2, 3):
        answer = study.report(0, 0, step, loss(0.5))
    assert answer.decision is Decision.PAUSE
    fail(study, job)  # while it saved its checkpoint
    job = study.ask()
    assert (job.attempt, job.start, job.stop) == (1, 3, 3)
    answers = [study.report(0, 1, step, loss(0.5)) for step in (1, 2, 3)]
    assert [answer.decision.value for answer in answers] == ["continue", "continue", "pause"]
    assert [answer.stop for answer in answers[:2]] == [3, 3]
    assert study.tell(0, 1, Outcome.PAUSED) is TrialState.PAUSED


def test_a_trial_that_skips_milestones_is_compared_at_the_last_one_and_waits_at_the_next(make):
    study = make(ASHA(max_step=27, eta=3))
    answers = []
    for number, value in enumerate([0.3, 0.2, 0.1]):
        study.ask()
        answers.append(study.report(number, 0, 10, loss(value)))
    assert [answer.evidence["milestone"] for answer in answers] == [9, 9, 9]
    assert answers[2].decision is Decision.CONTINUE
    assert answers[2].stop == 27
    study.tell(0, 0, Outcome.PAUSED)
    study.tell(1, 0, Outcome.PAUSED)
    assert study.report(2, 0, 20, loss(0.1)).stop == 27


@pytest.mark.parametrize("metrics", [loss(math.nan), loss(math.inf), loss(-math.inf), {"lo": 1}])
@pytest.mark.parametrize("direction", ["min", "max"])
def test_a_metric_that_is_no_finite_number_fails_the_trial_and_never_reaches_the_sampler(
    make, metrics, direction
):
    ear = Ear()
    study = make(sampler=ear, direction=direction)
    study.ask()
    answer = study.report(0, 0, 1, metrics)
    assert answer.decision is Decision.STOP
    assert answer.evidence["why"] == "diverged"
    assert study.tell(0, 0, Outcome.STOPPED) is TrialState.FAILED
    assert "loss" in study.trials[0].error
    assert study.best is None
    assert ear.told == [(0, 1, math.inf)]
    assert study.scheduler.table()[0].best == math.inf


def test_the_sampler_is_told_what_is_smaller_is_better(make):
    ear = Ear()
    study = make(sampler=ear, direction="max")
    study.ask()
    study.report(0, 0, 1, loss(0.75))
    assert ear.told == [(0, 1, -0.75)]
    assert study.trials[0].value == 0.75


# ---------------------------------------------------------------------- how jobs end


def test_a_lost_worker_is_free_until_nothing_moves_any_more(make):
    study = make(Fifo(9), retries=0)
    study.ask()
    for attempt in range(2 * MAX_LOSSES):  # with a new step each time
        study.report(0, attempt, attempt + 1, loss(0.5))
        assert study.tell(0, attempt, Outcome.LOST) is TrialState.WAITING
        assert study.ask() == Job(0, attempt + 1, 0, attempt + 1, 9, study.trials[0].params)
    for attempt in range(2 * MAX_LOSSES, 3 * MAX_LOSSES - 1):
        assert study.tell(0, attempt, Outcome.LOST, error="killed") in (
            TrialState.WAITING,
            TrialState.FAILED,
        )
        if study.trials[0].state is TrialState.FAILED:
            break
        study.ask()
    assert study.trials[0].state is TrialState.FAILED
    assert study.trials[0].losses == MAX_LOSSES
    assert "3 times without a new step: killed" in study.trials[0].error


def test_a_fault_of_its_own_is_retried_as_often_as_was_said(make):
    study = make(retries=2)
    job = study.ask()
    for _ in range(2):
        assert fail(study, job) is TrialState.WAITING
        job = study.ask()
    assert fail(study, job) is TrialState.FAILED
    assert study.trials[0].failures == 3
    assert study.trials[0].error == "oh"
    assert study.ask().number == 1


def test_a_fault_that_would_only_repeat_itself_is_not_retried(make):
    study = make(retries=5)
    assert fail(study, study.ask(), retry=False) is TrialState.FAILED


def test_an_interruption_costs_nothing_and_is_first_in_line(make):
    study = make(Fifo(9))
    first, second = study.ask(), study.ask()
    for job in (second, first):
        assert study.tell(job.number, 0, Outcome.INTERRUPTED) is TrialState.WAITING
    assert [study.ask().number for _ in range(3)] == [1, 0, 2]
    assert study.trials[0].failures == study.trials[0].losses == 0


def test_a_decision_stands_however_the_job_ended(make):
    study = make(Median(max_step=9, min_trials=1))
    for value in (0.1, 0.9):
        job = study.ask()
        answer = study.report(job.number, 0, 1, loss(value))
    assert answer.decision is Decision.STOP
    assert study.tell(1, 0, Outcome.LOST) is TrialState.STOPPED
    paused = make()
    paused.ask()
    paused.report(0, 0, 1, loss(0.5))
    assert paused.tell(0, 0, Outcome.LOST) is TrialState.PAUSED


def test_a_failure_while_pausing_is_a_failure_for_it_left_no_checkpoint(make):
    study = make()
    job = study.ask()
    study.report(0, 0, 1, loss(0.5))
    assert fail(study, job) is TrialState.WAITING


def test_a_trial_that_never_reports_has_failed(make):
    study = make()
    study.ask()
    assert study.tell(0, 0, Outcome.COMPLETED) is TrialState.FAILED
    assert "ever reporting 'loss'" in study.trials[0].error


def test_a_trial_that_ends_by_itself_is_complete_and_nobody_is_sent_after_it(make):
    study = make(ASHA(max_step=27, eta=3))
    study.set_limit(2)
    pause(study, 0.5)
    pause(study, 0.1)
    job = study.ask()  # the best of the highest rung
    assert (job.number, job.stop) == (1, 3)
    study.report(1, 1, 2, loss(0.1))
    assert study.tell(1, 1, Outcome.COMPLETED) is TrialState.COMPLETED
    assert study.ask() is None


def test_seconds_add_up_over_attempts(make):
    study = make()
    study.ask()
    study.tell(0, 0, Outcome.LOST, seconds=2.0)
    study.ask()
    study.tell(0, 1, Outcome.INTERRUPTED, seconds=3.0)
    assert study.trials[0].seconds == study.seconds == 5.0


# ---------------------------------------------------------------------- asking


def test_nothing_starts_beyond_the_limit_and_it_can_be_lifted(make):
    study = make(Fifo(1))
    study.set_limit(1)
    assert study.wanted == 1
    assert study.ask().number == 0
    assert study.ask() is None
    assert study.wanted == 0
    study.set_limit(None)
    assert study.wanted is None
    assert study.ask().number == 1


def test_promotions_go_on_when_the_limit_is_reached_and_the_tail_ends_with_one_complete(make):
    study = make()
    study.set_limit(2)
    pause(study, 0.2)
    pause(study, 0.1)
    job = study.ask()
    assert (job.number, job.attempt, job.start, job.stop) == (1, 1, 1, 3)
    study.report(1, 1, 3, loss(0.1))
    study.tell(1, 1, Outcome.PAUSED)
    job = study.ask()
    assert (job.number, job.stop) == (1, 9)
    assert study.report(1, 2, 9, loss(0.1)).decision is Decision.STOP
    assert study.tell(1, 2, Outcome.COMPLETED) is TrialState.COMPLETED
    assert study.ask() is None


def test_a_trial_that_is_still_saving_its_checkpoint_is_promoted_but_starts_only_when_it_has_left(
    make, facts
):
    study = make()
    study.ask()
    study.report(0, 0, 1, loss(0.1))  # told to pause; its checkpoint takes a while
    pause(study, 0.2)
    pause(study, 0.3)  # the best of three is promoted now
    job = study.ask()
    assert job.number == 3, "a second job began while the first was on its worker"
    promoted = next(fact for fact in facts if fact["kind"] == "promoted")
    assert (promoted["number"], promoted["stop"]) == (0, 3)
    assert study.tell(0, 0, Outcome.PAUSED) is TrialState.WAITING
    job = study.ask()
    assert (job.number, job.attempt, job.start, job.stop) == (0, 1, 1, 3)


def test_closing_pauses_whoever_reports_and_reopening_lets_them_go_on(make):
    study = make(Fifo(9))
    study.ask()
    study.close("the budget is spent")
    assert study.ask() is None
    assert not study.may_begin
    assert study.wanted == 0
    answer = study.report(0, 0, 1, loss(0.5))
    assert answer.decision is Decision.PAUSE
    assert answer.evidence["why"] == "the budget is spent"
    assert study.report(0, 0, 1, loss(0.5)).decision is Decision.PAUSE
    assert study.tell(0, 0, Outcome.PAUSED) is TrialState.WAITING
    assert study.ask() is None
    study.reopen()
    job = study.ask()
    assert (job.number, job.attempt, job.start, job.stop) == (0, 1, 1, 9)


def test_an_exhausted_sampler_ends_the_study(make):
    space = Space(x=Choice(["a", "b"]))
    study = Study(space, Fifo(1), Grid(space), metric="loss")
    assert {study.ask().params["x"] for _ in range(2)} == {"a", "b"}
    assert study.may_begin
    assert study.ask() is None
    assert study.exhausted
    assert not study.may_begin


def test_offers_come_before_suggestions_and_are_checked(make):
    study = make()
    assert study.offer({"x": 0.25}, origin="user") == 0
    with pytest.raises(SpaceError, match="x"):
        study.offer({"x": 2.0})
    assert study.ask().params == {"x": 0.25}
    assert study.next_number == 1


def test_a_slow_sampler_is_never_called_by_ask(make):
    study = make()
    assert study.ask(inline=False) is None
    study.offer({"x": 0.5})
    assert study.ask(inline=False).number == 0


# ---------------------------------------------------------------------- incumbent


def test_the_best_is_the_best_value_at_any_step(make):
    study = make(Fifo(9))
    study.ask(), study.ask()
    for step, value in ((1, 0.5), (2, 0.2), (3, 0.4)):
        study.report(0, 0, step, loss(value))
    study.report(1, 0, 1, loss(0.3))
    assert study.best.number == 0
    assert (study.best.best_value, study.best.best_step, study.best.value) == (0.2, 2, 0.4)


def test_for_max_the_largest_is_best(make):
    study = make(Fifo(9), direction="max")
    study.ask(), study.ask()
    study.report(0, 0, 1, loss(0.5))
    study.report(1, 0, 1, loss(0.7))
    study.report(1, 0, 2, loss(0.6))
    assert (study.best.number, study.best.best_value) == (1, 0.7)


@pytest.mark.parametrize("error", ["oh", ""])
def test_a_trial_that_fails_is_the_best_no_longer(make, error):
    study = make(Fifo(9), retries=0)
    study.ask(), study.ask()
    study.report(0, 0, 1, loss(0.1))
    study.report(1, 0, 1, loss(0.2))
    study.tell(0, 0, Outcome.FAILED, error=error)
    assert study.best.number == 1
    study.tell(1, 0, Outcome.FAILED, error=error)
    assert study.best is None


# ---------------------------------------------------------------------- replay


def test_the_error_of_a_replay_names_the_fact_and_both_sides(make, facts):
    study = make()
    pause(study, 0.5)
    numbered = [{**fact, "seq": seq} for seq, fact in enumerate(facts, 1)]
    numbered[2]["decision"] = "stop"
    expected = r"fact 3 \(reported, trial 0\): the journal says decision='stop', .* 'pause'"
    with pytest.raises(ReplayError, match=expected):
        make().replay(numbered)


@pytest.mark.parametrize(
    "fact",
    [
        {"kind": "danced"},
        {"kind": "ended", "number": 3, "attempt": 0, "outcome": "paused", "seconds": 1.0},
        {"kind": "asked", "number": 0},
        {"kind": "promoted", "number": 0, "rung": 1, "stop": 3},
        {"kind": "offered", "number": 0, "params": {"y": 1}, "origin": "user"},
        {"kind": "reported", "number": 0, "attempt": 0, "step": 1, "metrics": {}},
    ],
)
def test_a_fact_that_cannot_have_been_is_refused(make, fact):
    with pytest.raises(ReplayError, match=rf"fact \? \({fact['kind']}, trial"):
        make().replay([fact])


def test_a_replay_emits_nothing(make, facts):
    pause(make(), 0.5)
    length = len(facts)
    study = make()
    study.replay(facts[:length])
    assert len(facts) == length
    study.ask()
    assert len(facts) > length
