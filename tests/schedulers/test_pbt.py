"""Population based training: who is replaced, by whose child, and that it always ends."""

from __future__ import annotations

import json
from collections import Counter

import hypothesis.strategies as st
import pytest
from hypothesis import given

from daskhpo.exceptions import SchedulerError
from daskhpo.samplers import Random
from daskhpo.schedulers import PBT, make_scheduler
from daskhpo.schedulers.base import Breeder
from daskhpo.space import Choice, Constant, Float, Int, Space
from daskhpo.study import Study
from daskhpo.testing import SchedulerSuite, standing
from daskhpo.trial import Decision, Outcome, TrialState

CONTINUE, PAUSE, STOP = Decision
LEAVING = {PAUSE: Outcome.PAUSED, STOP: Outcome.STOPPED}
SPACE = Space(lr=Float(1e-4, 1.0, log=True), width=Int(8, 64))
PARAMS = {"lr": 0.1, "width": 16}


class TestPBT(SchedulerSuite):
    def make(self):
        perturb = ["lr", "width", "layers", "dropout", "momentum"]
        return PBT(12, interval=3, population=6, perturb=perturb)


class TestTwoWithAShortLastInterval(SchedulerSuite):
    def make(self):
        return PBT(7, interval=2, population=2, quantile=0.5, perturb=["lr"], seed=3)


class TestACrowd(SchedulerSuite):
    def make(self):
        return PBT(10, interval=1, population=25, quantile=0.4, perturb=["lr"], resample=1.0)


def make(**settings):
    settings = {"interval": 10, "population": 5, "perturb": ["lr"]} | settings
    return PBT(30, **settings)


def record(scheduler, values, step=10, *, first=0):
    """Begin one trial per value and report it at its first milestone."""
    answers = []
    for number, value in enumerate(values, first):
        scheduler.begin(number)
        answers.append(scheduler.report(number, step, value))
    return answers


def breed(scheduler, number, params=PARAMS):
    return scheduler.breed(number, SPACE, lambda _: params)


# ---------------------------------------------------------------------- who is replaced


def test_it_breeds():
    assert isinstance(make(), Breeder)


def test_below_its_milestone_a_member_trains_on():
    scheduler = make()
    scheduler.begin(0)
    answer = scheduler.report(0, 9, 0.5)
    assert (answer.decision, answer.stop, answer.evidence) == (CONTINUE, 10, {})


def test_the_worst_of_five_stops_and_the_others_pause():
    scheduler = make()
    answers = record(scheduler, [0.5, 0.4, 0.6, 0.1, 0.9])
    assert [answer.decision for answer in answers] == [PAUSE] * 4 + [STOP]
    assert answers[-1].evidence == {"rung": 0, "milestone": 10, "rank": 5, "of": 5, "worst": 1}


def test_nobody_is_replaced_before_there_are_enough_to_compare_with():
    scheduler = make()
    answers = record(scheduler, [0.1, 0.2, 0.3, 0.4])
    assert {answer.decision for answer in answers} == {PAUSE}
    assert breed(scheduler, 4) is None


def test_equal_values_replace_nobody():
    scheduler = make()
    answers = record(scheduler, [0.5] * 5)
    assert {answer.decision for answer in answers} == {PAUSE}


def test_who_is_always_first_is_compared_where_the_others_have_come_by_now():
    scheduler = make()
    record(scheduler, [0.9, 0.1, 0.2, 0.3, 0.4])
    assert scheduler.promote(drained=False).number == 0
    answer = scheduler.report(0, 20, 0.8)
    assert answer.decision is STOP
    assert (answer.evidence["rank"], answer.evidence["of"], answer.evidence["worst"]) == (1, 1, 0)
    assert answer.evidence["back"] == {"milestone": 10, "rank": 5, "of": 5, "worst": 1}
    assert breed(scheduler, 5).start == 10


def test_at_the_last_milestone_everybody_is_complete_and_a_parent_no_more():
    scheduler = make(population=2, quantile=0.5)
    record(scheduler, [0.1, 0.2])
    child = breed(scheduler, 2)
    for step in (20, 30):
        assert scheduler.promote(drained=False).number == 0
        answer = scheduler.report(0, step, 0.1)
    assert (answer.decision, answer.evidence["milestone"]) == (STOP, 30)
    assert scheduler.report(2, child.stop, 0.9).decision is PAUSE  # nobody is left to copy
    assert scheduler.promote(drained=False).number == 2
    assert scheduler.report(2, 30, 0.9).decision is STOP
    assert breed(scheduler, 3) is None


# ---------------------------------------------------------------------- by whose child


def test_a_child_begins_where_one_of_the_best_was_seen_last():
    scheduler = make()
    record(scheduler, [0.5, 0.4, 0.6, 0.1, 0.9])
    child = breed(scheduler, 5)
    assert (child.parent, child.rung, child.start, child.stop) == (3, 1, 10, 20)
    expected = {"replaces": 4, "why": "stopped", "rank": 1, "of": 5, "milestone": 10}
    assert child.evidence == expected
    assert child.params["lr"] != 0.1
    assert child.params["width"] == 16
    assert breed(scheduler, 6) is None  # one place, one child


def test_a_parent_that_skipped_steps_gives_its_checkpoint_of_the_step_it_reported():
    scheduler = make()
    record(scheduler, [0.5, 0.4, 0.6, 0.1, 0.9], step=13)
    child = breed(scheduler, 5)
    assert (child.start, child.stop) == (13, 20)


def test_a_parent_that_has_gone_on_gives_its_newest_checkpoint():
    scheduler = make()
    record(scheduler, [0.5, 0.4, 0.6, 0.1])
    scheduler.begin(4)  # the last one to come: the others may go on
    for _ in range(4):
        promotion = scheduler.promote(drained=False)
        scheduler.report(promotion.number, 20, 0.1 * (promotion.number != 3))
    assert scheduler.report(4, 10, 0.9).decision is STOP
    child = breed(scheduler, 5)
    assert (child.parent, child.start, child.stop) == (3, 20, 30)


@given(
    values=st.lists(st.integers(0, 12), min_size=4, max_size=40),
    quantile=st.floats(0.25, 0.5),
    seed=st.integers(0, 99),
)
def test_only_the_worst_share_is_replaced_and_only_by_children_of_the_best(values, quantile, seed):
    scheduler = make(population=len(values), quantile=quantile, seed=seed)
    for number, value in enumerate(values):
        scheduler.begin(number)
        answer = scheduler.report(number, 10, value)
        ranking = sorted(zip(values[: number + 1], range(number + 1), strict=True))
        share = int(quantile * len(ranking) + 1e-9)
        worst = {other for _, other in ranking[len(ranking) - share :]}
        assert answer.decision is (
            STOP if number in worst and value > min(values[:number]) else PAUSE
        )
    stopped = [n for n in range(len(values)) if n not in {q[2] for q in scheduler._queue}]
    best = sorted(zip(values, range(len(values)), strict=True))[
        : int(quantile * len(values) + 1e-9)
    ]
    for number, old in enumerate(stopped, len(values)):
        child = breed(scheduler, number)
        assert child.evidence["replaces"] == old
        assert values[child.parent] < values[old]
        assert (values[child.parent], child.parent) in best or child.evidence["rank"] > len(best)
        SPACE.validate(child.params)
    assert breed(scheduler, 99) is None


def test_children_are_a_function_of_the_seed_and_their_number():
    def child(seed, number):
        scheduler = make(quantile=0.4, seed=seed, resample=1.0)
        record(scheduler, [0.1, 0.2, 0.3, 0.4, 0.5])
        return breed(scheduler, number)

    assert child(7, 5) == child(7, 5)
    assert len({child(seed, 5).params["lr"] for seed in range(8)}) == 8
    assert len({child(7, number).params["lr"] for number in range(5, 13)}) == 8
    assert {child(seed, 5).parent for seed in range(8)} == {0, 1}


# ---------------------------------------------------------------------- whose turn it is


def test_nobody_goes_on_before_all_have_begun():
    scheduler = make()
    record(scheduler, [0.1, 0.2, 0.3])
    assert scheduler.promote(drained=False) is None
    assert scheduler.admits()
    record(scheduler, [0.4, 0.5], first=3)
    assert not scheduler.admits()
    assert scheduler.promote(drained=False).number == 0


def test_where_no_more_will_come_those_who_are_there_go_on():
    scheduler = make()
    record(scheduler, [0.1, 0.2])
    assert scheduler.promote(drained=True).number == 0
    assert scheduler.promote(drained=False).number == 1


def test_being_asked_while_nobody_waits_changes_nothing():
    scheduler = make()
    assert scheduler.promote(drained=True) is None  # leaves no fact, so it must leave no trace
    record(scheduler, [0.1, 0.2])
    assert scheduler.promote(drained=False) is None


def test_those_that_are_furthest_behind_go_first():
    scheduler = make(population=3, quantile=0.34)
    record(scheduler, [0.1, 0.2, 0.3])
    assert scheduler.promote(drained=False).number == 0
    scheduler.report(0, 20, 0.05)  # waits for its second turn
    promotion = scheduler.promote(drained=False)
    assert (promotion.number, promotion.rung, promotion.stop) == (1, 1, 20)
    assert scheduler.promote(drained=False).number == 0


# ---------------------------------------------------------------------- failures


def test_a_member_that_fails_is_replaced_and_ranks_last():
    scheduler = make()
    record(scheduler, [0.5, 0.4, 0.6, 0.1])
    scheduler.begin(4)
    scheduler.fail(4)
    assert scheduler.table()[0].recorded == 5
    child = breed(scheduler, 5)
    assert (child.parent, child.evidence["replaces"], child.evidence["why"]) == (3, 4, "failed")


def test_one_that_fails_while_it_waits_does_not_go_on():
    scheduler = make(population=3, quantile=0.34)
    record(scheduler, [0.1, 0.2, 0.3])
    scheduler.fail(0)  # it could not save its checkpoint
    assert scheduler.table()[0].recorded == 3
    assert scheduler.promote(drained=False).number == 1
    assert breed(scheduler, 3).parent == 1


def test_a_place_stays_free_until_there_is_somebody_to_copy():
    scheduler = make(population=2, quantile=0.5)
    scheduler.begin(0)
    scheduler.fail(0)
    scheduler.begin(1)
    assert breed(scheduler, 2) is None
    scheduler.report(1, 10, 0.5)
    assert breed(scheduler, 2).parent == 1


def test_a_child_that_fails_before_it_was_ever_compared_is_not_replaced():
    scheduler = make()
    record(scheduler, [0.5, 0.4, 0.6, 0.1, 0.9])
    assert breed(scheduler, 5) is not None
    scheduler.fail(5)
    assert breed(scheduler, 6) is None


def test_a_child_that_fails_later_is_replaced():
    scheduler = make()
    record(scheduler, [0.5, 0.4, 0.6, 0.1, 0.9])
    breed(scheduler, 5)
    scheduler.report(5, 20, 0.3)
    scheduler.fail(5)
    child = breed(scheduler, 6)
    assert child is None  # nobody else has come to epoch 20
    while (promotion := scheduler.promote(drained=False)) is not None:
        scheduler.report(promotion.number, 20, 0.5) if promotion.stop == 20 else None
    assert breed(scheduler, 6).evidence["replaces"] == 5


# ---------------------------------------------------------------------- the study's part


def study_of(scheduler, emit=None, **settings):
    return Study(SPACE, scheduler, Random(SPACE, seed=0), metric="loss", emit=emit, **settings)


def begin(study, count):
    return [study.ask() for _ in range(count)]


def say(study, job, value, *, leave=True):
    """Report the next milestone, and leave the worker as decided."""
    answer = study.report(job.number, job.attempt, job.stop, {"loss": value})
    if leave:
        study.tell(job.number, job.attempt, LEAVING[answer.decision])
    return answer.decision


def test_a_space_that_does_not_fit_is_refused_before_anything_runs():
    with pytest.raises(SchedulerError, match=r"perturb has 'rate'.*lr, width"):
        study_of(make(perturb=["rate"]))


def test_a_child_waits_until_its_parent_has_saved_the_checkpoint():
    study = study_of(make())
    jobs = begin(study, 5)
    for job in jobs[:3]:
        say(study, job, 0.5 + 0.1 * job.number)
    say(study, jobs[3], 0.1, leave=False)  # the best: told to pause, and saving
    assert say(study, jobs[4], 0.9) is STOP
    others = begin(study, 2)
    assert [job.number for job in others] == [0, 1]  # not the child, whose checkpoint is not there
    assert study.tell(3, 0, Outcome.PAUSED) is TrialState.PAUSED
    child = study.ask()
    assert (child.number, child.parent, child.start, child.stop) == (5, 3, 10, 20)
    assert [job.number for job in begin(study, 2)] == [2, 3]


def test_a_parent_that_was_called_back_while_it_saved_goes_on_after_its_child():
    study = study_of(make())
    jobs = begin(study, 5)
    for job in jobs[:3]:
        say(study, job, 0.5 + 0.1 * job.number)
    say(study, jobs[3], 0.1, leave=False)
    assert say(study, jobs[4], 0.9) is STOP
    assert [job and job.number for job in begin(study, 4)] == [0, 1, 2, None]  # 3 is promoted early
    assert study.tell(3, 0, Outcome.PAUSED) is TrialState.WAITING
    assert [job.number for job in begin(study, 2)] == [5, 3]


def test_a_child_whose_parent_died_while_it_saved_begins_all_the_same():
    study = study_of(make(), retries=0)
    jobs = begin(study, 5)
    for job in jobs[:3]:
        say(study, job, 0.5 + 0.1 * job.number)
    say(study, jobs[3], 0.1, leave=False)
    say(study, jobs[4], 0.9)
    begin(study, 1)
    assert study.tell(3, 0, Outcome.FAILED, error="disk full") is TrialState.FAILED
    assert study.ask().parent == 3


def test_children_do_not_count_towards_the_limit_and_train_from_where_they_began():
    study = study_of(make())
    study.set_limit(5)
    for job in begin(study, 5):
        say(study, job, [0.5, 0.4, 0.6, 0.1, 0.9][job.number])
    child = study.ask()
    assert (child.number, study.trials[5].step, study.trials[5].origin) == (5, 10, 10)
    before = study.steps
    assert study.report(5, 0, 7, {"loss": 9.0}).decision is CONTINUE  # its parent's to report
    assert study.steps == before
    assert say(study, child, 0.05) is PAUSE
    assert study.steps == before + 10
    assert study.best.number == 5


def test_two_places_that_become_free_at_once_are_replayed_as_they_were_filled():
    facts = []
    study = study_of(make(population=10), lambda fact: facts.append(json.loads(json.dumps(fact))))
    for job in begin(study, 10):
        say(study, job, 0.1 * job.number)
    children = [job for job in begin(study, 10) if job and job.parent is not None]
    assert len(children) > 1
    assert Counter(fact["kind"] for fact in facts)["bred"] == len(children)
    assert standing(study_of(make(population=10)).replay(facts)) == standing(study)


def test_wherever_a_journal_ends_the_study_goes_on_to_the_same_children():
    def run(study, facts):
        """One worker, whose losses follow from the trial and the step."""
        while (job := study.ask()) is not None:
            value = ((job.number * 7) % 5 + 1) / job.stop
            say(study, job, value)
        return facts

    def fresh():
        facts = []
        study = study_of(make(), lambda fact: facts.append(json.loads(json.dumps(fact))))
        return study, facts

    study, facts = fresh()
    study.set_limit(5)
    whole = list(run(study, facts))
    assert any(fact["kind"] == "bred" for fact in whole)
    between = [
        cut for cut, fact in enumerate(whole, 1) if fact["kind"] not in ("asked", "reported")
    ]
    for cut in between:  # nothing runs there: also between the end of a trial and its child
        again, more = fresh()
        again.replay(whole[:cut])
        assert [*whole[:cut], *run(again, more)] == whole, f"after {cut} facts"


# ---------------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"interval": 0}, "interval=0: must be an integer of at least 1"),
        ({"interval": 30}, "interval=30: must be below max_step=30"),
        ({"population": 1}, "population=1: must be an integer of at least 2"),
        ({"population": 4}, "quantile=0.2: of a population of 4 that is nobody.*1/4"),
        ({"quantile": 0.6}, "quantile=0.6: must be a number between 0 and 0.5"),
        ({"quantile": "many"}, "quantile='many'"),
        ({"quantile": float("nan")}, "quantile=nan"),
        ({"seed": -1}, "seed=-1"),
        ({"perturb": []}, r"perturb=\[\]: must name at least one"),
        ({"perturb": "lr"}, "perturb='lr': must be a list"),
        ({"perturb": ["lr", "lr"]}, "names must differ"),
        ({"perturb": ["lr", 3]}, "perturb has 3"),
        ({"factors": []}, "factors=.*must be a list of numbers above 0"),
        ({"factors": [1, 1.0]}, "factors=.*not 1"),
        ({"factors": [0.8, 0]}, "factors has 0"),
        ({"factors": 1.2}, "factors=1.2"),
        ({"resample": 2}, "resample=2: must be a number between 0 and 1"),
        ({"resample": True}, "resample=True"),
    ],
)
def test_what_cannot_work_is_named(settings, words):
    with pytest.raises(SchedulerError, match=words):
        make(**settings)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("lrr", "did you mean 'lr'"),
        ("data", "perturb has 'data': it has one value only"),
        ("opt", "perturb has 'opt': 'momentum' depends on it"),
    ],
)
def test_what_cannot_change_while_a_trial_trains_is_named(name, words):
    space = Space(
        lr=Float(0.0, 1.0),
        data=Constant("sample"),
        opt=Choice(["adam", "sgd"]),
        momentum=Float(0.0, 1.0, when={"opt": "sgd"}),
    )
    make(perturb=["lr", "momentum"]).check(space)
    with pytest.raises(SchedulerError, match=words):
        make(perturb=[name]).check(space)


def test_settings_make_the_same_scheduler_again():
    scheduler = make(quantile=0.25, factors=(0.5, 2), resample=0, seed=4)
    again = make_scheduler(scheduler.settings())
    assert again.settings() == scheduler.settings()
    assert repr(again) == repr(scheduler)


def test_what_is_missing_in_a_campaign_file_is_named():
    with pytest.raises(SchedulerError, match="'pbt': interval is missing"):
        make_scheduler({"type": "pbt", "max_step": 9})


def test_the_table_has_a_row_per_milestone():
    scheduler = PBT(25, interval=10, population=5, perturb=["lr"])
    assert [row.milestone for row in scheduler.table()] == [10, 20, 25]
    record(scheduler, [0.5, 0.4, 0.6, 0.1, 0.9])
    scheduler.promote(drained=False)
    row = scheduler.table()[0]
    assert (row.bracket, row.rung, row.recorded, row.promoted, row.best) == (0, 0, 5, 1, 0.1)
