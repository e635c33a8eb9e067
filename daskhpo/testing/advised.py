"""What every scheduler that takes advice must do, however good or bad the advice is."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from daskhpo.advice import Adviser, Forecast, Forecaster
from daskhpo.predictors import LastDrop
from daskhpo.schedulers.base import Advised
from daskhpo.study import Study
from daskhpo.testing.rehearsal import standing
from daskhpo.testing.schedulers import SchedulerSuite
from daskhpo.trial import Decision, Fact

__all__ = ["AdvisedSuite", "Guesses"]

SHARES = (0.02, 0.88, 0.1)  # of guesses without a margin, with one, and with an infinite one


class Guesses(Forecaster):
    """Forecasts that are drawn at random: a function of trial, step and target alone.

    Those of one trial are alike. Some are missing, some have an infinite margin and a few none, of
    some the gate is closed. As studies with the same guesses are told the same, they can be
    compared.

    Parameters
    ----------
    largest : float
        Values are drawn between 0 and this, which is below 0 where a metric is maximised.
    seed : int
        Draws everything.

    Examples
    --------
    >>> guesses = Guesses(seed=1)
    >>> wish = {"target": 4, "since": 2, "delta": 0.2}
    >>> guesses.forecast(0, 3, **wish) == Guesses(seed=1).forecast(0, 3, **wish)
    True
    """

    def __init__(self, *, largest: float = 2.0, seed: int = 0) -> None:
        super().__init__(LastDrop())
        self.largest = largest
        self.seed = seed

    def forecast(
        self, number: int, step: int, *, target: int, since: int, delta: float
    ) -> Forecast | None:
        """Guess what a trial will have reached at ``target``, or nothing."""
        rng = np.random.default_rng([self.seed, number, step, target])
        if rng.random() < 0.2:
            return None
        near, simple = rng.random(2).tolist()
        value = 0.9 * float(np.random.default_rng([self.seed, number]).random()) + 0.1 * near
        margin = float(rng.choice([0.0, rng.uniform(0.05, 0.25), math.inf], p=SHARES))
        worst = margin * float(rng.uniform(1, 2))
        error, baseline = float(rng.uniform(0, 1.25)), 1.0
        labels = int(rng.integers(4, 60))
        value, simple = self.largest * value, self.largest * simple
        margin, worst = abs(self.largest) * margin, abs(self.largest) * worst
        return Forecast(step, target, value, simple, margin, worst, labels, error, baseline)


class AdvisedSuite(SchedulerSuite):
    """What every scheduler that takes advice must do: all of that, with an adviser who guesses.

    Examples
    --------
    In a test module of your own:

    >>> from daskhpo.schedulers import Fifo
    >>> class TestFifo(AdvisedSuite):
    ...     def make(self):
    ...         return Fifo(max_step=9)
    >>> TestFifo().test_a_replay_asks_no_model()
    """

    def adviser(self) -> Adviser:
        """Return the adviser of a study, new."""
        adviser = Adviser("last_drop", mode="obey", audit=0.25, looks=3, confirm=1)
        adviser.forecaster = Guesses()
        return adviser

    def test_takes_advice(self) -> None:
        """It has the methods of the protocol."""
        assert isinstance(self.make(), Advised)

    def test_the_bar_of_a_new_trial_is_where_it_waits_first(self) -> None:
        """It begins at step 0 and is compared at the step that it was admitted up to."""
        scheduler = self.make()
        assert isinstance(scheduler, Advised)
        stop = scheduler.begin(0).stop
        bar = scheduler.bar(0)
        assert (bar.since, bar.milestone) == (0, stop)
        assert bar.after is None or stop < bar.after <= scheduler.max_step

    def test_who_is_cut_leaves_before_the_milestone_and_others_do_not(self) -> None:
        """Advice that is obeyed comes with a decision; advice that is not changes nothing."""
        heard = set()
        for seed in range(20):
            for fact in self.rehearse(seed)[1]:
                advice = fact.get("advice", {})
                heard.add(advice.get("heard"))
                if advice.get("heard") == "obeyed":
                    assert fact["decision"] in (Decision.STOP.value, Decision.PAUSE.value)
                    assert advice["step"] <= fact["step"] < advice["target"]
                elif advice.get("heard") in ("", "doubted", "audited"):
                    closed = fact.get("evidence", {}).get("why") is not None
                    assert closed or "decision" not in fact
        assert {"", "obeyed", "audited"} <= heard, f"only {heard} in all executions"

    def test_a_replay_asks_no_model(self) -> None:
        """Forecasts come with the facts: it leads to the same study where no model is there."""
        for seed in range(20):
            study, facts = self.rehearse(seed)
            again = self.study()
            assert again.adviser is not None
            again.adviser.forecaster = _Mute(LastDrop())
            assert standing(again.replay(facts)) == standing(study), f"seed {seed}"

    def study(self, emit: Callable[[Fact], object] | None = None) -> Study:
        """Return a new study with a new scheduler and a new adviser."""
        plain = super().study(emit)
        return Study(
            plain.space,
            plain.scheduler,
            plain.sampler,
            metric=plain.metric,
            adviser=self.adviser(),
            emit=emit,
        )


class _Mute(Forecaster):
    """Must not be asked."""

    def forecast(
        self, number: int, step: int, *, target: int, since: int, delta: float
    ) -> Forecast | None:
        raise AssertionError("a replay asked for a forecast")
