"""Conformance suites for people who write samplers, schedulers and stores.

Subclass a suite in a test module, say how to make the object, and pytest runs what every such
object must do. The suites need no pytest themselves.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from daskhpo.samplers.base import Learner, Sampler
from daskhpo.samplers.random import Random
from daskhpo.schedulers.base import Scheduler
from daskhpo.space import Choice, Constant, Float, Int, Space
from daskhpo.study import Study
from daskhpo.trial import Decision, Fact, Job, Outcome, TrialState

__all__ = ["SPACES", "Rehearsal", "SamplerSuite", "SchedulerSuite", "standing"]

# ---------------------------------------------------------------------------- samplers

SPACES: dict[str, Space] = {
    "one point": Space({"data": Constant("sample")}),
    "one choice": Space(opt=Choice(["adam"]), lr=Float(0.1, 0.1)),
    "choices only": Space(opt=Choice(["adam", "sgd", "lamb"]), norm=Choice([True, False, None])),
    "mixed": Space(
        lr=Float(1e-5, 1e-1, log=True),
        width=Int(16, 1024, log=True),
        layers=Int(1, 9, step=2),
        dropout=Float(0.0, 0.5, step=0.05),
        opt=Choice(["adam", "sgd"]),
        momentum=Float(0.0, 1.0, when={"opt": "sgd"}),
        seed=Constant(None),
    ),
    "forbidden": Space(
        opt=Choice(["adam", "sgd", "lamb"]),
        lr=Float(1e-5, 1e-1, log=True),
        batch=Int(16, 64, step=16),
        momentum=Float(0.0, 1.0, when={"opt": "sgd"}),
    ).forbid(
        {"opt": "sgd", "lr": {"low": 1e-3}},
        {"batch": [48, 64], "lr": {"high": 1e-4}},
        {"momentum": {"low": 0.5}, "batch": 16},
    ),
    "hardly anything": Space(x=Float(0.0, 1.0), n=Int(1, 1000)).forbid(
        {"x": {"low": 1e-3}}, {"n": {"low": 3}}
    ),
}


class SamplerSuite:
    """What every sampler must do.

    Examples
    --------
    In a test module of your own:

    >>> from daskhpo.samplers import Random
    >>> class TestRandom(SamplerSuite):
    ...     def make(self, space, seed):
    ...         return Random(space, seed=seed)
    >>> TestRandom().test_proposes_valid_points()
    """

    trials = 24

    def make(self, space: Space, seed: int) -> Sampler:
        """Return the sampler under test."""
        raise NotImplementedError(f"{type(self).__name__} must say how to make a sampler")

    def test_is_a_sampler(self) -> None:
        """It has the methods of the protocol, and says whether it is slow."""
        sampler = self.make(SPACES["mixed"], 0)
        assert isinstance(sampler, Sampler)
        assert isinstance(sampler.slow, bool)

    def test_proposes_valid_points(self) -> None:
        """Every proposal is in every kind of space, and none is forbidden."""
        for space in SPACES.values():
            for params in self.drive(self.make(space, 0)):
                space.validate(params)

    def test_proposes_native_values(self) -> None:
        """Every proposal goes through JSON unchanged: no numpy scalars."""
        for space in SPACES.values():
            for params in self.drive(self.make(space, 0)):
                assert json.loads(json.dumps(params)) == params
                assert {type(value).__module__ for value in params.values()} <= {"builtins"}

    def test_depends_on_seed_and_number_alone(self) -> None:
        """Asking a fresh sampler for trial 5 at once gives trial 5."""
        space = SPACES["mixed"]
        in_order = self.make(space, 3)
        proposals = [in_order.suggest(number) for number in range(6)]
        assert self.make(space, 3).suggest(5) == proposals[5]

    def test_same_seed_and_results_give_the_same_proposals(self) -> None:
        """Two samplers with the same history agree."""
        space = SPACES["mixed"]
        assert self.drive(self.make(space, 7)) == self.drive(self.make(space, 7))

    def test_goes_on_after_a_replay(self) -> None:
        """Pending and results of an earlier process are enough to go on."""
        space = SPACES["mixed"]
        before = self.drive(self.make(space, 1))
        sampler = self.make(space, 1)
        for number, params in enumerate(before):
            sampler.pend(number, params)
            sampler.tell(number, 1, float(number))
        proposal = sampler.suggest(len(before))
        assert proposal is None or space.contains(proposal)

    def test_survives_failed_trials(self) -> None:
        """Infinite values, some or all, do not stop it."""
        for failed in (lambda number: True, lambda number: number % 3 == 0):
            space = SPACES["mixed"]
            for proposal in self.drive(self.make(space, 0), failed=failed):
                space.validate(proposal)

    def test_takes_several_results_of_a_trial(self) -> None:
        """A later value replaces an earlier one."""
        space = SPACES["mixed"]
        sampler = self.make(space, 0)
        for number in range(self.trials):
            if (params := sampler.suggest(number)) is None:
                return
            space.validate(params)
            sampler.pend(number, params)
            for step in (1, 3, 9):
                sampler.tell(number, step, 1.0 / (number + step))

    def test_goes_on_without_results(self) -> None:
        """Many trials may be pending before the first result comes."""
        space = SPACES["mixed"]
        sampler = self.make(space, 0)
        for number in range(self.trials):
            if (params := sampler.suggest(number)) is None:
                return
            space.validate(params)
            sampler.pend(number, params)

    def test_takes_several_metrics(self) -> None:
        """Where metrics are traded off, values are tuples, and inf for a failed trial."""
        space = SPACES["mixed"]
        sampler = self.make(space, 0)
        for number in range(self.trials):
            if (params := sampler.suggest(number)) is None:
                return
            space.validate(params)
            sampler.pend(number, params)
            size = sum(map(len, map(str, params.values())))
            for step in (1, 3):
                sampler.tell(number, step, (1.0 / step + size, 1e9 * size, -float(number)))
            if number % 5 == 0:
                sampler.tell(number, 3, math.inf)

    def test_learns_from_earlier_campaigns(self) -> None:
        """It goes on with what they found, and tries it again only when nothing else is left."""
        for space in SPACES.values():
            sampler = self.make(space, 0)
            if not isinstance(sampler, Learner):
                return
            rng = np.random.default_rng(1)
            known = [space.sample(rng) for _ in range(6)]
            for index, params in enumerate(known):
                sampler.learn(params, 1 + index % 3, float(index))
            proposed = self.drive(sampler)
            for params in proposed:
                space.validate(params)
            if math.isfinite(space.size):
                left = int(space.size) - len({json.dumps(params) for params in known})
                assert not any(params in known for params in proposed[:left])

    def test_does_not_hang_in_a_space_that_is_used_up(self) -> None:
        """More trials than configurations: it repeats some, or says that it has no more."""
        for name in ("one point", "one choice", "choices only"):
            sampler = self.make(SPACES[name], 0)
            assert len(self.drive(sampler)) <= self.trials

    def drive(
        self, sampler: Sampler, *, failed: Any = lambda number: False
    ) -> list[dict[str, Any]]:
        """Run trials one after another; return what was proposed until there was no more."""
        proposed = []
        for number in range(self.trials):
            params = sampler.suggest(number)
            if params is None:
                break
            proposed.append(dict(params))
            sampler.pend(number, params)
            value = sum(map(len, map(str, params.values()))) + 0.01 * number
            sampler.tell(number, 1, math.inf if failed(number) else value)
        return proposed


# ---------------------------------------------------------------------------- schedulers


@dataclass(slots=True)
class _Stay:
    """A job on a simulated worker: what it has trained, and how it will end once it has left."""

    job: Job
    step: int
    stop: int
    outcome: Outcome | None = None
    error: str = ""


class Rehearsal:
    """Run a study on simulated workers that are slow, fail, die and repeat themselves.

    Who is served next is drawn at random. Mishaps, while ``mishaps`` of them are left: the trial
    fails, is lost or interrupted, fails while it saves its checkpoint, reports NaN or nothing,
    repeats a report, an old one comes late, the study is closed. Each step's loss is a function
    of trial and step, and takes few values, so that there are ties.

    Parameters
    ----------
    study : Study
        To be run; its limit is set.
    workers : int
        How many jobs run at the same time.
    rng : numpy.random.Generator
        Draws everything.
    mishaps : int
        How many things go wrong.

    Attributes
    ----------
    begun : list of (int, int)
        (number, attempt) of every job, in order.

    Examples
    --------
    >>> from daskhpo.schedulers import ASHA
    >>> space = Space(x=Float(0.0, 1.0))
    >>> study = Study(space, ASHA(max_step=9, eta=3), Random(space), metric="loss")
    >>> Rehearsal(study, workers=3, rng=np.random.default_rng(1)).run(trials=9)
    >>> any(trial.state is TrialState.COMPLETED for trial in study.trials.values())
    True
    """

    def __init__(
        self, study: Study, *, workers: int, rng: np.random.Generator, mishaps: int = 0
    ) -> None:
        self.study = study
        self.rng = rng
        self.mishaps = mishaps
        self.begun: list[tuple[int, int]] = []
        self._idle = workers
        self._stays: list[_Stay] = []
        self._kept: dict[int, int] = {}  # {number: step of its checkpoint}
        self._said: list[tuple[int, int, int, dict[str, float]]] = []  # reports, to be repeated

    def run(self, trials: int) -> None:
        """Until nothing runs and nothing is left to start.

        Raises
        ------
        AssertionError
            If the study starts a trial that is still on a worker, or does not come to an end.
        """
        self.study.set_limit(trials)
        patience = 100 * (trials + self.mishaps + 1) * (self.study.scheduler.max_step + 5)
        while self._ask() or self._stays:
            patience -= 1
            assert patience, "the study does not come to an end"
            if self._stays:
                self._serve(self._stays[self.rng.integers(len(self._stays))])
            self._meddle()
        assert not self.study.running

    def _chance(self, odds: float) -> bool:
        """Whether one of the mishaps that are left happens now."""
        happens = self.mishaps > 0 and bool(self.rng.random() < odds)
        self.mishaps -= happens
        return happens

    def _ask(self) -> bool:
        """Give an idle worker a job; False if there is none."""
        if not self._idle or (self.rng.random() < 0.3 and self._stays):
            return bool(self._stays)
        if not self._stays and self.study.closed is not None:
            self.study.reopen()
        job = self.study.ask()
        if job is None:
            return False
        held = [stay.job.attempt for stay in self._stays if stay.job.number == job.number]
        assert not held, f"trial {job.number} starts while its attempts {held} are on a worker"
        again = self.study.trials[job.number].decision is Decision.PAUSE  # for its checkpoint
        assert job.stop > job.start or again, f"{job} has nothing to train"
        self.begun.append((job.number, job.attempt))
        self._idle -= 1
        if job.parent is not None and job.attempt == 0:
            self._kept[job.number] = self._kept.get(job.parent, 0)
        step = min(self._kept.get(job.number, 0), job.start)
        self._stays.append(_Stay(job, step, job.stop))
        return True

    def _serve(self, stay: _Stay) -> None:
        if stay.outcome is not None:
            self._leave(stay)
        elif self._chance(0.1):
            stay.outcome = list(Outcome)[self.rng.integers(3, 6)]
            stay.error = "a mishap"
        else:
            self._train(stay)

    def _train(self, stay: _Stay) -> None:
        job, limit = stay.job, self.study.scheduler.max_step
        stay.step = min(limit, stay.step + 1 + self._chance(0.1) * int(self.rng.integers(4)))
        metrics = {"loss": (hash((job.number, stay.step)) % 13) / 13 + 1 / stay.step}
        if self._chance(0.05):
            metrics = [{"loss": math.nan}, {"loss": -math.inf}, {}][self.rng.integers(3)]
        report = (job.number, job.attempt, stay.step, metrics)
        self._said.append(report)
        answer = self.study.report(*report)
        if self._chance(0.1):
            again = self.study.report(*report)
            assert again.decision is answer.decision, "a repeated report got another answer"
        if answer.decision is Decision.PAUSE:
            stay.outcome = Outcome.FAILED if self._chance(0.1) else Outcome.PAUSED
        elif answer.decision is Decision.STOP or stay.step >= limit:
            stay.outcome = Outcome.COMPLETED if stay.step >= limit else Outcome.STOPPED
        elif stay.step >= stay.stop:
            assert answer.stop > stay.step, f"a trial at {stay.step} waits for ever: {answer}"
        stay.stop = answer.stop

    def _leave(self, stay: _Stay) -> None:
        assert stay.outcome is not None
        job = stay.job
        if stay.outcome in (Outcome.PAUSED, Outcome.INTERRUPTED):
            self._kept[job.number] = stay.step
        retry = bool(self.rng.random() < 0.8)
        for _ in range(2 if self._chance(0.1) else 1):
            self.study.tell(
                job.number, job.attempt, stay.outcome, seconds=1.0, error=stay.error, retry=retry
            )
        self._stays.remove(stay)
        self._idle += 1

    def _meddle(self) -> None:
        if self._said and self._chance(0.05):
            self.study.report(*self._said[self.rng.integers(len(self._said))])
        if self._chance(0.01):
            self.study.close("a mishap")
        elif self.study.closed is not None and self.rng.random() < 0.2:
            self.study.reopen()


def standing(study: Study) -> Any:
    """All that decides what a study does next, as plain data: equal for equal studies.

    Examples
    --------
    >>> from daskhpo.schedulers import Fifo
    >>> space = Space(x=Float(0.0, 1.0))
    >>> study = Study(space, Fifo(3), Random(space), metric="loss")
    >>> standing(study)["trials"]
    []
    """
    return {
        "trials": [repr(trial) for trial in study.trials.values()],
        "rungs": list(study.scheduler.table()),
        "running": sorted(study.running),
        "offers": list(study.offers),
        "limit": study.limit,
        "closed": study.closed,
        "exhausted": study.exhausted,
        "counts": (study.reports, study.steps, study.next_number),
        "best": None if study.best is None else study.best.number,
    }


class SchedulerSuite:
    """What every scheduler must do.

    Examples
    --------
    In a test module of your own:

    >>> from daskhpo.schedulers import Fifo
    >>> class TestFifo(SchedulerSuite):
    ...     def make(self):
    ...         return Fifo(max_step=9)
    >>> TestFifo().test_every_execution_ends()
    """

    def make(self) -> Scheduler:
        """Return the scheduler under test, new."""
        raise NotImplementedError(f"{type(self).__name__} must say how to make a scheduler")

    def test_is_a_scheduler(self) -> None:
        """It has the methods of the protocol and a whole ``max_step``."""
        scheduler = self.make()
        assert isinstance(scheduler, Scheduler)
        assert isinstance(scheduler.max_step, int)
        assert scheduler.max_step >= 1

    def test_settings_make_the_same_scheduler(self) -> None:
        """Its settings are plain JSON and the same each time."""
        settings = dict(self.make().settings())
        assert json.loads(json.dumps(settings)) == settings == dict(self.make().settings())

    def test_every_execution_ends(self) -> None:
        """Any number of workers, any order, any mishaps: nothing is left running or waiting."""
        for seed in range(10):
            study, _ = self.rehearse(seed)
            left = {trial.state for trial in study.trials.values() if not trial.state.final}
            assert left <= {TrialState.PAUSED}, f"seed {seed}: {left} at the end"

    def test_a_complete_trial_has_trained_to_the_end(self) -> None:
        """Nobody completes below ``max_step``, and nobody goes beyond."""
        for seed in range(20):
            study, _ = self.rehearse(seed)
            for trial in study.trials.values():
                assert trial.step <= study.scheduler.max_step
                if trial.state is TrialState.COMPLETED:
                    assert trial.step == study.scheduler.max_step

    def test_a_replay_leads_to_the_same_study(self) -> None:
        """The facts of an execution, read back from JSON, lead a new scheduler to the same end."""
        for seed in range(20):
            study, facts = self.rehearse(seed)
            assert standing(self.study().replay(facts)) == standing(study), f"seed {seed}"

    def test_goes_on_after_a_replay(self) -> None:
        """A replayed study decides as the one that lived, also where that was asked in vain."""
        for seed in range(20):
            study, facts = self.rehearse(seed)
            again = self.study().replay(facts)
            for each in (study, again):
                rng = np.random.default_rng(seed)
                Rehearsal(each, workers=2, rng=rng, mishaps=2).run(trials=(each.limit or 0) + 5)
            assert standing(study) == standing(again), f"seed {seed}"

    def test_somebody_completes(self) -> None:
        """With one worker as with one for each trial, though all but one may fail."""
        for seed in range(10):
            for workers in (1, 40):
                study, _ = self.rehearse(seed, workers=workers, mishaps=0)
                states = {trial.state for trial in study.trials.values()}
                assert TrialState.COMPLETED in states, f"seed {seed}, {workers} workers: {states}"
                study, _ = self.rehearse(seed, workers=workers)
                states = {trial.state for trial in study.trials.values()}
                gone = {TrialState.FAILED, TrialState.STOPPED}
                assert TrialState.COMPLETED in states or states <= gone, (
                    f"seed {seed}, {workers} workers: nobody is complete, and some wait: {states}"
                )

    def test_nobody_waits_for_a_rung_that_is_never_full(self) -> None:
        """At the end it is ready for more trials, which come to their end, or nobody is paused."""
        for seed in range(10):
            study, _ = self.rehearse(seed)
            if study.scheduler.admits():
                most = (study.limit or 0) + 7
                rng = np.random.default_rng(seed)
                Rehearsal(study, workers=3, rng=rng, mishaps=3).run(trials=most)
                begun = sum(trial.parent is None for trial in study.trials.values())
                assert begun == most or not study.scheduler.admits(), f"seed {seed}: {begun}"
            else:
                states = {trial.state for trial in study.trials.values()}
                assert TrialState.PAUSED not in states, f"seed {seed}: some wait for others"

    def study(self, emit: Callable[[Fact], object] | None = None) -> Study:
        """Return a new study with a new scheduler."""
        space = SPACES["mixed"]
        return Study(space, self.make(), Random(space, seed=0), metric="loss", emit=emit)

    def rehearse(
        self, seed: int, *, workers: int | None = None, mishaps: int | None = None
    ) -> tuple[Study, list[Fact]]:
        """Return a study after an execution, and its facts; ``seed`` draws what is not given."""
        rng = np.random.default_rng(seed)
        facts: list[Fact] = []
        study = self.study(lambda fact: facts.append(json.loads(json.dumps(fact))))
        several, many, trials = (int(rng.integers(1, most)) for most in (9, 20, 30))
        workers = several if workers is None else workers
        mishaps = many if mishaps is None else mishaps
        Rehearsal(study, workers=workers, rng=rng, mishaps=mishaps).run(trials)
        return study, facts
