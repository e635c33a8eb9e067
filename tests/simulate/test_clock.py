"""The virtual clock: every cost is charged, every loss is trained again, nobody is forgotten."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated import Barrier, Breeding, InOrder, problem, random_problem

from daskhpo.exceptions import CampaignError, DataError, SchedulerError
from daskhpo.samplers.random import Random
from daskhpo.schedulers import ASHA, Fifo, make_scheduler
from daskhpo.simulate import Costs, Failures, Nearest, Rows, Walltime, simulate
from daskhpo.simulate.clock import Clock, Conditions
from daskhpo.simulate.mishaps import Doom
from daskhpo.simulate.speeds import Lognormal
from daskhpo.study import Study
from daskhpo.testing import standing
from daskhpo.trial import Outcome, TrialState

NEVER = 99


def alone(curves, scheduler, **settings):
    """A run on one worker with equal speeds, rows in their order."""
    return simulate(InOrder(problem(curves)), scheduler, **{"workers": 1, "speeds": 0.0} | settings)


def doomed(curves, scheduler, dooms, **settings):
    """A run whose jobs die as ``dooms`` says: {attempt: Doom}."""

    class Fixed:
        def of(self, job):
            return dooms.get(job.attempt, Doom(NEVER, 0.0, Outcome.LOST))

    source = InOrder(problem(curves))
    study = Study(source.space, scheduler, source.stream(0), metric="loss")
    study.set_limit(len(curves))
    given = {"workers": 1, "costs": Costs(), "walltime": None} | settings
    return Clock(study, source, Conditions(pace=Lognormal(0.0), dooms=Fixed(), **given)).run()


# ------------------------------------------------------------------ costs, by hand


def test_a_pause_and_a_return_are_charged():
    run = alone([[1.0, 0.5], [2.0, 1.0]], "asha(eta=2)")
    # Trial 0: start-up, a step, a checkpoint; trial 1 the same; trial 0 again: start-up, the
    # checkpoint read, the last step.
    assert run.makespan == pytest.approx((0.1 + 1 + 0.05) * 2 + 0.1 + 0.05 + 1)
    assert run.overhead == pytest.approx(3 * 0.1 + 2 * 0.05 + 0.05)
    assert (run.trained, run.checkpoints, run.found) == (3, 2, 0)


def test_continuing_in_place_is_free():
    run = alone([[2.0, 1.0], [1.0, 0.5]], "asha(eta=2)")
    assert run.makespan == pytest.approx((0.1 + 1 + 0.05) + 0.1 + 1 + 1)
    assert (run.trained, run.checkpoints, run.found) == (3, 1, 1)


def test_free_costs_leave_nothing_but_training():
    run = alone([[1.0, 0.5], [2.0, 1.0]], "asha(eta=2)", costs=Costs.free())
    assert (run.makespan, run.busy, run.overhead, run.idle) == (3.0, 3.0, 0.0, 0.0)


def test_costs_of_ones_own_are_taken():
    costs = Costs(startup=1.0, save=2.0, load=4.0)
    run = alone([[1.0, 0.5], [2.0, 1.0]], "asha(eta=2)", costs=costs)
    assert run.makespan == pytest.approx(3 * 1 + 3 + 2 * 2 + 4)


def test_steps_take_as_long_as_the_trial_is_slow():
    run = alone([[1.0, 0.5], [2.0, 1.0]], "fifo", speeds=lambda params, number: params["x"] + 2.0)
    assert run.makespan == pytest.approx(0.1 + 2 * 2 + 0.1 + 2 * 3)


# ------------------------------------------------------------------ barriers


def test_a_worker_waits_while_the_scheduler_admits_nobody():
    run = simulate(
        InOrder(problem([[1.0, 0.5], [2.0, 1.0]])),
        Barrier(2, size=2),
        workers=2,
        costs=Costs.free(),
        speeds=lambda params, number: 1.0 + 2 * number,
    )
    # Trial 0 takes 1 and waits until trial 1 has taken 3; then it goes on while a worker idles.
    assert run.makespan == 4.0
    assert run.idle == pytest.approx(2 + 1)
    assert (run.trained, run.found) == (3, 0)


def test_a_promotion_while_the_checkpoint_is_saved_waits_for_it():
    run = simulate(
        InOrder(problem([[1.0, 0.5], [2.0, 1.0]])),
        "asha(eta=2)",
        workers=2,
        costs=Costs(startup=0.0, save=10.0, load=0.0),
        speeds=lambda params, number: 1.0 + number,
    )
    # Trial 0 saves from 1 to 11; at 2 trial 1 makes it promotable; at 11 it goes on.
    assert run.makespan == pytest.approx(12.0)
    assert (run.found, run.trained, run.checkpoints) == (0, 3, 2)


# ------------------------------------------------------------------ failures


def test_a_lost_job_trains_again_what_it_had_not_saved():
    run = doomed([[3.0, 2.0, 1.0]], Fifo(3), {0: Doom(1, 0.5, Outcome.LOST)})
    assert run.makespan == pytest.approx((0.1 + 1 + 0.5) + (0.1 + 3))
    assert (run.trained, run.steps, run.checkpoints) == (4, 3, 0)
    assert run.study.trials[0].state is TrialState.COMPLETED


def test_a_lost_job_goes_on_from_its_last_pause():
    dooms = {1: Doom(0, 0.25, Outcome.LOST)}
    run = doomed([[1.0, 0.5], [2.0, 1.0]], ASHA(2, eta=2), dooms)
    first = 2 * (0.1 + 1 + 0.05)
    assert run.makespan == pytest.approx(first + (0.1 + 0.05 + 0.25) + (0.1 + 0.05 + 1))
    assert (run.trained, run.steps) == (3, 3)


def test_a_trial_that_fails_too_often_is_given_up():
    dooms = {attempt: Doom(1, 0.0, Outcome.FAILED) for attempt in range(9)}
    run = doomed([[3.0, 2.0, 1.0]], Fifo(3), dooms)
    assert run.study.trials[0].state is TrialState.FAILED
    assert (run.trained, run.steps, run.found, run.rank) == (2, 1, None, None)
    assert math.isnan(run.found_value)
    assert json.loads(json.dumps(run.to_dict(), allow_nan=False))["found_value"] is None


def test_failures_are_as_frequent_as_asked():
    source = Rows(random_problem(rows=2000, steps=10))
    run = simulate(source, "fifo", workers=9, failures=Failures(lost=0.02, failed=0.0))
    deaths = sum(trial.attempt for trial in run.study.trials.values())
    assert deaths / run.trained == pytest.approx(0.02, rel=0.2)


# ------------------------------------------------------------------ walltime


def test_a_trial_pauses_before_its_worker_ends_and_goes_on_after_the_queue():
    walltime = Walltime(3.2, queue=10.0)
    run = alone([[5.0, 4.0, 3.0, 2.0, 1.0]], "fifo", walltime=walltime)
    # Three steps and a checkpoint fit: until 3.15. The next worker comes at 13.2.
    assert run.makespan == pytest.approx(13.2 + 0.1 + 0.05 + 2)
    assert (run.trained, run.steps, run.checkpoints) == (5, 5, 1)
    assert run.idle == pytest.approx(0.05)


def test_a_worker_with_too_little_time_left_begins_nothing():
    run = alone([[1.0], [2.0]], "fifo", walltime=Walltime(2.0, queue=1.0))
    assert run.makespan == pytest.approx(3.0 + 1.1)
    assert run.idle == pytest.approx(2.0 - 1.1)


@pytest.mark.parametrize("pace", [50.0, 6.0])
def test_a_step_that_never_fits_is_an_error_that_names_the_trial(pace):
    with pytest.raises(CampaignError, match=r"walltime\.length=5\.0: too short .* trial 0"):
        alone([[2.0, 1.0]], "fifo", walltime=Walltime(5.0), speeds=lambda params, number: pace)


def test_a_walltime_that_leaves_no_room_is_refused_at_once():
    with pytest.raises(CampaignError, match=r"walltime\.length=1\.0: must leave room .*1\.2"):
        alone([[2.0, 1.0]], "fifo", walltime=Walltime(1.0))


# ------------------------------------------------------------------ same arguments, same run


@pytest.mark.parametrize("scheduler", ["asha(eta=2)", "asha(eta=2, brackets=2)", "median"])
def test_the_same_arguments_give_the_same_run(scheduler):
    def again():
        settings = {"failures": Failures(0.02, 0.01), "walltime": Walltime(9.0, 2.0)}
        return simulate(Rows(random_problem()), scheduler, workers=3, seed=5, **settings)

    assert again().to_dict() == again().to_dict()


def test_another_seed_gives_another_run():
    runs = [simulate(Rows(random_problem()), "asha(eta=2)", seed=seed) for seed in (1, 2)]
    assert runs[0].to_dict() != runs[1].to_dict()


def test_the_seed_of_the_simulation_is_that_of_the_scheduler_unless_it_has_its_own():
    source = Rows(random_problem())
    seeds = [
        simulate(source, text, seed=7).study.scheduler.settings()["seed"]
        for text in ("asha(eta=2)", "asha(eta=2, seed=3)")
    ]
    assert seeds == [7, 3]


def test_a_trial_is_as_fast_whatever_else_happens():
    numbers = [5000, 3, 1024, 3]
    assert [Lognormal(seed=1)({}, n) for n in numbers] == [
        pace({}, n) for pace in [Lognormal(seed=1)] for n in numbers
    ]
    paces = [Lognormal(0.3, seed=1)({}, n) for n in range(4000)]
    assert sorted(paces)[2000] == pytest.approx(1.0, abs=0.03)


# ------------------------------------------------------------------ whatever happens

SCHEDULERS = {
    "promote": "asha(eta=2)",
    "stop": "asha(eta=3, mode=stop)",
    "brackets": "asha(eta=2, brackets=3)",
    "median": "median(min_trials=2)",
    "fifo": "fifo(max_step=5)",
    "barrier": None,
}


@st.composite
def campaigns(draw):
    """Arguments of a simulation on a random problem."""
    kind = draw(st.sampled_from(sorted(SCHEDULERS)))
    small = st.floats(0.0, 0.5, allow_nan=False)
    return {
        "scheduler": lambda: SCHEDULERS[kind] or Barrier(9, size=3),
        "workers": draw(st.integers(1, 20)),
        "trials": draw(st.integers(1, 30)),
        "seed": draw(st.integers(0, 100)),
        "costs": Costs(draw(small), draw(small), draw(small)),
        "speeds": draw(st.sampled_from([0.0, 0.3])),
        "failures": draw(st.none() | st.builds(Failures, st.floats(0.0, 0.2), st.floats(0.0, 0.2))),
        "walltime": draw(
            st.none() | st.builds(Walltime, st.floats(5.0, 40.0), st.floats(0.0, 9.0))
        ),
    }


@settings(max_examples=150, deadline=None)
@given(campaigns())
def test_whatever_happens_every_trial_is_accounted_for(campaign):
    scheduler, facts = campaign.pop("scheduler"), []
    source = Rows(random_problem())
    run = simulate(source, scheduler(), **campaign, emit=facts.append)
    study = run.study
    assert run.begun == campaign["trials"]
    assert not study.running
    assert all(t.state.final or t.state is TrialState.PAUSED for t in study.trials.values())
    assert run.trained >= run.steps == sum(trial.step for trial in study.trials.values())
    if campaign["failures"] is None or not campaign["failures"].hazard:
        assert run.trained == run.steps
    assert run.busy == pytest.approx(sum(trial.seconds for trial in study.trials.values()))
    assert run.makespan >= run.busy / run.workers - 1e-9
    assert run.overhead <= run.busy + 1e-9
    if campaign["walltime"] is None:
        assert run.idle + run.busy == pytest.approx(run.workers * run.makespan)
    assert run.found is None or run.found in study.trials
    assert (run.found is None) == (study.best is None)
    # The facts tell the same story to a new study.
    again = simulate(source, scheduler(), **campaign)
    assert again.to_dict() == run.to_dict()
    made = scheduler()
    if isinstance(made, str):
        made = make_scheduler(study.scheduler.settings())
    fresh = Study(source.space, made, Random(source.space), metric="loss", retries=study.retries)
    assert standing(fresh.replay(facts)) == standing(study)


# ------------------------------------------------------------------ what cannot be simulated


@pytest.mark.parametrize(
    ("scheduler", "error", "message"),
    [
        ("asha(max_step=10)", DataError, r"max_step=10 of ASHA.*'made up' have 9 steps"),
        ("asah", SchedulerError, "did you mean 'asha'"),
        ("asha(eta=1)", SchedulerError, "eta=1: must be an integer of at least 2"),
        ("asha(min_step=10)", SchedulerError, "min_step=10: must not be above max_step=9"),
        ("asha(min_stp=1)", SchedulerError, "unknown key 'min_stp'; did you mean 'min_step'"),
        (Breeding(9, 2), SchedulerError, "cannot be simulated"),
    ],
)
def test_a_scheduler_that_cannot_judge_the_curves_is_refused(scheduler, error, message):
    with pytest.raises(error, match=message):
        simulate(Rows(random_problem()), scheduler)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"workers": 0}, CampaignError, "workers=0: must be an integer of at least 1"),
        ({"trials": 2.5}, CampaignError, "trials=2.5: must be"),
        ({"seed": -1}, SchedulerError, "seed of a sampler is -1"),
        ({"speeds": -1.0}, CampaignError, "speeds=-1.0"),
        ({"speeds": math.nan}, CampaignError, "speeds=nan"),
        ({"speeds": lambda params, number: 0.0}, CampaignError, "a step of trial 0 takes 0.0"),
        ({"sampler": "bayes"}, SchedulerError, "draws stored rows by itself"),
    ],
)
def test_other_arguments_are_checked_too(given, error, message):
    with pytest.raises(error, match=message):
        simulate(Rows(random_problem()), "asha(eta=2)", **given)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Costs(startup=-1), r"costs\.startup=-1: must be a number of at least 0"),
        (lambda: Costs(save=math.inf), r"costs\.save=inf"),
        (lambda: Failures(lost=0.6, failed=0.4), "together they must be below 1"),
        (lambda: Failures(lost=-0.1), r"failures\.lost=-0\.1"),
        (lambda: Failures(retries=-1), r"failures\.retries=-1"),
        (lambda: Walltime(0), r"walltime\.length=0: must be above 0"),
        (lambda: Walltime(9, queue=-1), r"walltime\.queue=-1"),
    ],
)
def test_conditions_that_make_no_sense_are_refused(make, message):
    with pytest.raises(CampaignError, match=message):
        make()


def test_a_sampler_is_one_of_the_callers_or_random_search():
    source = Nearest(random_problem())
    default = simulate(source, "fifo", seed=4)
    given = simulate(source, "fifo", sampler=Random(source.space, seed=4), seed=4)
    named = simulate(source, "fifo", sampler={"type": "random"}, seed=4)
    assert default.to_dict() == given.to_dict() == named.to_dict()
    other = simulate(source, "fifo", sampler="sobol", seed=4)
    assert {t.params["x"] for t in other.study.trials.values()} != {
        t.params["x"] for t in default.study.trials.values()
    }
