"""A campaign in this very process: budgets, resuming, and what a debugger sees."""

from __future__ import annotations

import math

import objectives
import pytest

from daskhpo import ASHA, Fifo, Float, Int, Median, Space, Tuner
from daskhpo.exceptions import CampaignError, LockedError, StoreError
from daskhpo.store.journal import JournalReader
from daskhpo.testing import standing
from daskhpo.tuner.driver import Driver


def all_trained(tuner):
    """{number: the steps that it has really trained, in order}"""
    path = tuner.directory.path
    return {n: [step for _, step in objectives.trained(path, n)] for n in tuner.study.trials}


def test_a_campaign_ends_with_one_trial_complete_and_everything_on_disk(tuner_of):
    tuner = tuner_of(objectives.noted)
    tuner.debug(trials=9)
    assert len(tuner.trials) == 9
    assert tuner.best.state == "completed"
    assert tuner.best.best_value == min(
        (x - 0.3) ** 2 + 1 / 9 for x in tuner.trials.query("state == 'completed'").param_x
    )
    assert tuner.curves.loss.notnull().sum() == tuner.study.reports
    assert tuner.curves.attrs["journal_seq"] == len(list(tuner.directory.facts()))


@pytest.mark.parametrize(
    "scheduler", [ASHA(9, eta=3), ASHA(9, eta=3, mode="stop"), Fifo(4), Median(9)]
)
@pytest.mark.parametrize("sampler", ["random", "bayes", "sobol"])
def test_every_sampler_goes_with_every_scheduler(tuner_of, scheduler, sampler):
    tuner = tuner_of(objectives.quick, scheduler=scheduler, sampler=sampler)
    tuner.debug(trials=8)
    assert len(tuner.trials) == 8
    assert (tuner.trials.state == "completed").any()


def test_a_second_run_goes_on_where_the_first_ended(tuner_of):
    tuner_of(objectives.noted).debug(trials=4)
    second = tuner_of(objectives.noted)
    before = all_trained(second)
    second.debug(trials=9)
    assert len(second.trials) == 9
    after = all_trained(second)
    for number, steps in after.items():
        assert steps[: len(before.get(number, []))] == before.get(number, [])
        assert len(set(steps)) == len(steps), "a step was trained twice"
    # One run of nine would have tried the same.
    sampler = second.campaign.study().sampler
    assert list(second.trials.param_x) == [sampler.suggest(n)["x"] for n in range(9)]


def test_a_run_that_changes_nothing_changes_nothing(tuner_of):
    tuner = tuner_of(objectives.quick)
    tuner.debug(trials=5)
    before = standing(tuner.study)
    tuner.debug(trials=5)
    assert standing(tuner.study) == before


@pytest.mark.parametrize(
    ("budget", "reason"),
    [
        ({"steps": 7}, "the budget of 7 steps is spent"),
        ({"hours": 1e-9}, "the budget of 1e-09 hours is spent"),
        ({"device_hours": 1e-9}, "the budget of 1e-09 device-hours is spent"),
    ],
)
def test_a_spent_budget_closes_the_study_and_the_next_run_opens_it_again(tuner_of, budget, reason):
    tuner = tuner_of(objectives.noted, scheduler=Fifo(5))
    tuner.debug(**budget)
    assert tuner.study.closed == reason
    assert not tuner.study.running
    tuner.debug(trials=3)
    assert tuner.study.closed is None
    states = [trial.state.value for trial in tuner.study.trials.values()]
    assert len(states) >= 3
    assert set(states) == {"completed"}


def test_a_budget_of_steps_is_kept_to_the_step(tuner_of):
    tuner = tuner_of(objectives.noted, scheduler=Fifo(5))
    tuner.debug(steps=7)
    assert tuner.study.steps in (7, 8)  # the report that spends it, or one more that was under way


@pytest.mark.parametrize(
    ("budget", "words"),
    [({}, "none given"), ({"trails": 3}, "trails.*allowed: trials"), ({"trials": 0}, "trials=0")],
)
def test_a_budget_that_is_none_is_refused_before_anything_is_written(tuner_of, budget, words):
    tuner = tuner_of(objectives.quick)
    with pytest.raises(CampaignError, match=words):
        tuner.debug(**budget)
    assert not tuner.directory.path.exists()


def test_an_exception_is_raised_where_it_happens_and_its_trial_waits(tuner_of):
    tuner = tuner_of(objectives.raises, scheduler=Fifo(9))
    with pytest.raises(RuntimeError, match="on purpose, at step 1"):
        tuner.debug(trials=3)
    assert [str(trial.state) for trial in tuner.study.trials.values()] == ["waiting"]
    assert not tuner.directory.lock_path.exists()


def test_caught_exceptions_are_failed_trials_with_their_traceback(tuner_of):
    tuner = tuner_of(objectives.raises_in_some)
    tuner.debug(trials=9, catch=True)
    failed = [t for t in tuner.study.trials.values() if t.state == "failed"]
    assert failed
    for trial in failed:
        assert trial.params["x"] > 0.5
        assert trial.failures == 2
        assert "in raises_in_some" in trial.error


@pytest.mark.parametrize("objective", [objectives.never_reports, objectives.misnames])
def test_a_campaign_in_which_nothing_works_gives_up_early(tuner_of, objective):
    tuner = tuner_of(objective)
    tuner.debug(trials=50, catch=True)
    assert len(tuner.trials) == 5
    assert tuner.study.closed == "the first 5 trials failed and none ever reported"


def test_nan_fails_the_trial_and_is_in_the_journal_and_not_in_the_best(tuner_of):
    tuner = tuner_of(objectives.diverges)
    tuner.debug(trials=9)
    reported = [f for f in tuner.directory.facts() if f["kind"] == "reported"]
    assert any(math.isnan(fact["metrics"]["loss"]) for fact in reported)
    assert tuner.best.params["x"] <= 0.5
    assert {str(t.state) for t in tuner.study.trials.values() if t.params["x"] > 0.5} == {"failed"}


def test_an_objective_that_reports_rarely_neither_hangs_nor_undoes_the_stopping(tuner_of):
    tuner = tuner_of(objectives.sparse, scheduler=ASHA(27, eta=3))
    tuner.debug(trials=9)
    states = tuner.trials.state.value_counts()
    assert states["completed"] == 3  # one in eta at the only milestone that is ever compared
    assert states["paused"] == 6


def test_a_returned_value_is_enough(tuner_of):
    tuner = tuner_of(lambda trial: trial.params["x"], scheduler=Fifo(1))
    tuner.debug(trials=4)
    assert tuner.best.best_value == min(tuner.trials.param_x)


def test_points_of_the_user_come_first(tuner_of):
    tuner = tuner_of(objectives.quick, points=[{"x": 0.25}, {"x": 0.75}])
    tuner.debug(trials=3)
    assert list(tuner.trials.param_x)[:2] == [0.25, 0.75]


def test_max_is_the_mirror_of_min(tuner_of, tmp_path):
    def mirrored(trial):
        for step in trial.steps():
            trial.report(loss=-objectives.loss_of(trial, step))

    tuner_of(objectives.quick, path=tmp_path / "min").debug(trials=9)
    tuner_of(mirrored, path=tmp_path / "max", mode="max").debug(trials=9)
    low = tuner_of(objectives.quick, path=tmp_path / "min").study
    high = tuner_of(mirrored, path=tmp_path / "max", mode="max").study
    assert low.best.number == high.best.number
    assert low.best.best_value == -high.best.best_value
    assert [str(t.state) for t in low.trials.values()] == [
        str(t.state) for t in high.trials.values()
    ]


def test_other_settings_on_the_same_directory_are_refused_by_name(tuner_of):
    tuner_of(objectives.quick).debug(trials=2)
    with pytest.raises(CampaignError, match=r"scheduler.*choose another path"):
        tuner_of(objectives.quick, scheduler=Fifo(3))
    with pytest.raises(CampaignError, match="space"):
        Tuner(
            objectives.quick,
            Space(x=Int(0, 1)),
            metric="loss",
            sampler="random",
            scheduler=ASHA(9, eta=3),
            path=tuner_of(objectives.quick).directory.path,
        )


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"objective": 3}, "objective=3"),
        ({"mode": "down"}, "mode='down'"),
        ({"sampler": "bays"}, "bays.*bayes"),
        ({"retires": 3}, "'retires'.*did you mean 'retries'"),
        ({"points": [{"x": 7.0}]}, "x"),
        ({"workers": {"count": 0}}, "workers.count=0"),
    ],
)
def test_bad_settings_fail_before_anything_is_written(tmp_path, settings, words):
    arguments = {
        "objective": objectives.quick,
        "space": Space(x=Float(0, 1)),
        "metric": "loss",
        "scheduler": ASHA(9),
        "path": tmp_path / "new",
    }
    with pytest.raises(ValueError, match=words):
        Tuner(**arguments | settings)
    assert not (tmp_path / "new").exists()


def test_a_journal_of_other_decisions_is_refused_and_the_lock_given_back(tuner_of):
    tuner = tuner_of(objectives.quick)
    tuner.debug(trials=3)
    facts = list(JournalReader(tuner.directory.journal_path))
    with tuner.directory.writer() as writer:
        writer.journal.append({"kind": "asked", "number": 0, "attempt": 7, "rung": 0, "start": 0})
    with pytest.raises(StoreError, match=rf"fact {len(facts) + 1} \(asked, trial 0\)"):
        tuner.debug(trials=5)
    assert not tuner.directory.lock_path.exists()


def test_two_drivers_do_not_write_to_one_campaign(tuner_of):
    tuner = tuner_of(objectives.quick)
    tuner.debug(trials=1)
    from daskhpo.campaign import Budget

    driver = Driver(tuner.campaign, tuner.directory, Budget(trials=1))
    with pytest.raises(LockedError, match="is being written by"):
        tuner.debug(trials=2)
    driver.close()
    tuner.debug(trials=2)


def test_the_representation_says_where_things_stand(tuner_of):
    tuner = tuner_of(objectives.quick)
    assert "not begun" in repr(tuner)
    tuner.debug(trials=3)
    assert "3 trials" in repr(tuner)
    assert "Incumbent" in tuner._repr_html_()
