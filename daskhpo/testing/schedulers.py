"""What every scheduler must do, whatever happens to its trials."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np

from daskhpo.samplers.random import Random
from daskhpo.schedulers.base import Scheduler
from daskhpo.study import Study
from daskhpo.testing.rehearsal import Rehearsal, standing
from daskhpo.testing.samplers import SPACES
from daskhpo.trial import Fact, TrialState

__all__ = ["SchedulerSuite"]


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
