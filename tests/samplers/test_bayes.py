"""Bayesian optimisation: it learns, keeps clear of what runs, and survives what goes wrong."""

from __future__ import annotations

import json
import math
import threading
import warnings

import numpy as np
import pytest

from daskhpo.samplers import Bayes, Sobol
from daskhpo.samplers import bayes as module
from daskhpo.samplers.surrogates import GaussianProcess
from daskhpo.schedulers import ASHA
from daskhpo.space import Choice, Float, Int, Space
from daskhpo.study import Study
from daskhpo.testing import SPACES, SamplerSuite
from daskhpo.trial import Answer, Decision, Outcome, TrialState

PLANE = Space(x=Float(0.0, 1.0), y=Float(0.0, 1.0))


def bowl(params):
    return (params["x"] - 0.3) ** 2 + (params["y"] - 0.7) ** 2


def run(sampler, objective, trials, first=0):
    """Run trials one after another and return their values."""
    values = []
    for number in range(first, first + trials):
        params = sampler.suggest(number)
        sampler.pend(number, params)
        values.append(objective(params))
        sampler.tell(number, 1, values[-1])
    return values


class TestGaussianProcess(SamplerSuite):
    trials = 14

    def make(self, space, seed):
        return Bayes(space, seed=seed, startup=6)


class TestExtraTrees(SamplerSuite):
    trials = 10

    def make(self, space, seed):
        return Bayes(space, seed=seed, startup=6, surrogate="et")


class TestLowerBound(SamplerSuite):
    trials = 10

    def make(self, space, seed):
        return Bayes(space, seed=seed, startup=6, acquisition="lcb")


class TestLearning:
    def test_starts_by_covering_the_space(self):
        sampler, sobol = Bayes(PLANE, seed=3, startup=8), Sobol(PLANE, seed=3)
        assert [sampler.suggest(n) for n in range(8)] == [sobol.suggest(n) for n in range(8)]

    @pytest.mark.parametrize("surrogate", ["gp", "et"])
    def test_asks_mostly_where_it_is_good(self, surrogate):
        values = run(Bayes(PLANE, seed=1, surrogate=surrogate), bowl, 30)
        assert np.median(values[20:]) < 0.4 * np.median(values[:10])
        assert surrogate == "et" or min(values) < 1e-3

    def test_does_not_care_for_scale_shift_or_one_huge_loss(self):
        def steep(params):
            return 1e30 if params["x"] > 0.9 else 1e5 + 1e3 * bowl(params)

        assert min(run(Bayes(PLANE, seed=1), steep, 30)) < 1e5 + 5

    def test_learns_which_choice_is_best(self):
        space = Space(kind=Choice(list("abcdefgh")), x=Float(0.0, 1.0))
        sampler = Bayes(space, seed=2)
        run(sampler, lambda p: (p["kind"] != "f") + (p["x"] - 0.5) ** 2, 40)
        later = [sampler.suggest(number)["kind"] for number in range(40, 44)]
        assert later.count("f") >= 3

    def test_learns_where_a_condition_holds(self):
        space = Space(opt=["adam", "sgd"], m=Float(0.0, 1.0, when={"opt": "sgd"}))
        values = run(Bayes(space, seed=2), lambda p: abs(p.get("m", 9.0) - 0.8), 30)
        assert min(values) < 0.01

    def test_compares_results_of_different_steps(self):
        # Losses fall with the step, so the raw ones would prefer whatever trained longest.
        sampler, later = Bayes(Space(x=Float(0.0, 1.0)), seed=4, startup=10), []
        for number in range(20):
            params = sampler.suggest(number)
            sampler.pend(number, params)
            for step in (1, 81) if params["x"] > 0.5 and number < 10 else (1,):
                sampler.tell(number, step, (params["x"] - 0.2) ** 2 + 3 / step)
            later += [params["x"]] if number >= 10 else []
        assert np.median(np.abs(np.array(later) - 0.2)) < 0.1

    def test_learns_from_trials_that_were_stopped_or_paused(self):
        space = Space(x=Float(0.0, 1.0))
        study = Study(space, ASHA(max_step=81, eta=3), Bayes(space, seed=4, startup=8), metric="a")
        while len(study.trials) < 12:
            job = study.ask()
            states = [trial.state for trial in study.trials.values()]
            assert TrialState.COMPLETED not in states
            step, answer = job.start, Answer(Decision.CONTINUE, job.stop)
            while answer.decision is Decision.CONTINUE:
                step += 1
                loss = (job.params["x"] - 0.2) ** 2 + 1 / step
                answer = study.report(job.number, job.attempt, step, {"a": loss})
            study.tell(job.number, job.attempt, Outcome.PAUSED)
        later = [study.trials[number].params["x"] for number in (8, 10, 11)]  # 9 covers the space
        assert np.abs(np.array(later) - 0.2).max() < 0.1


class TestSeveralMetrics:
    def test_the_front_is_found_along_its_length(self):
        space = Space(x=Float(0.0, 1.0), y=Float(0.0, 1.0))
        sampler = Bayes(space, seed=1)
        tried = []
        for number in range(40):
            params = sampler.suggest(number)
            x, y = params.values()
            tried.append((x, y))
            sampler.pend(number, params)
            # The front is y = 0.5, 0.2 < x < 0.8; the second metric is in bytes, say.
            bend = (y - 0.5) ** 2
            sampler.tell(number, 1, ((x - 0.2) ** 2 + bend, 1e9 * ((x - 0.8) ** 2 + bend)))
        later = np.array(tried[12:])
        assert np.median(np.abs(later[:, 1] - 0.5)) < 0.05
        thirds = np.histogram(later[:, 0], [0.15, 0.4, 0.6, 0.85])[0]
        assert (thirds >= 3).all()

    def test_they_are_weighed_anew_for_each_of_a_batch(self):
        sampler, sobol = Bayes(PLANE, seed=1), Sobol(PLANE, seed=3)
        for number in range(20):
            params = sobol.suggest(number)
            sampler.pend(number, params)
            sampler.tell(number, 1, ((params["x"] - 0.1) ** 2, (params["x"] - 0.9) ** 2))
        batch = np.array([sampler.suggest(number)["x"] for number in range(20, 30)])
        assert batch.min() < 0.35
        assert batch.max() > 0.65
        first, second = [sampler._shelf for number in (30, 31) if sampler.suggest(number)]
        assert first is not second


class TestEarlierCampaigns:
    def test_begins_where_they_ended(self):
        sampler = Bayes(PLANE, seed=2)
        sobol = Sobol(PLANE, seed=9)
        for number in range(30):
            params = sobol.suggest(number)
            sampler.learn(params, 1, bowl(params))
        values = run(sampler, bowl, 4)
        assert np.median(values) < 0.02  # a point anywhere has 0.2

    def test_they_are_never_pending(self):
        sampler = Bayes(PLANE, seed=2)
        sampler.learn({"x": 0.5, "y": 0.5}, 3, 1.0)
        sampler.learn({"x": 0.2, "y": 0.5}, 3, math.inf)
        results = sampler._notes.results()
        assert len(results.pending) == 0
        assert results.fine.tolist() == [False, True]


class TestPending:
    @pytest.mark.parametrize("surrogate", ["gp", "et"])
    def test_keeps_clear_of_what_runs(self, surrogate):
        def next_after(pending):
            sampler = Bayes(PLANE, seed=1, surrogate=surrogate)
            for number in range(12):
                params = Sobol(PLANE, seed=8).suggest(number)
                sampler.pend(number, params)
                sampler.tell(number, 1, bowl(params) + 0.3 * math.sin(9 * params["x"]))
            for number in range(12, 12 + pending):
                sampler.pend(number, favourite)
            return sampler.suggest(20)

        favourite = {"x": 0.0, "y": 0.0}
        favourite = next_after(0)
        other = next_after(1)
        assert math.dist(favourite.values(), other.values()) > 0.02

    def test_a_batch_spreads(self):
        sampler = Bayes(PLANE, seed=1, startup=6)
        run(sampler, bowl, 6)
        points = np.array([list(sampler.suggest(number).values()) for number in range(6, 22)])
        apart = np.linalg.norm(points[:, None] - points, axis=2)[np.triu_indices(16, 1)]
        assert apart.min() > 0
        assert np.median(apart) > 0.1

    def test_asked_again_it_gives_the_same(self):
        sampler = Bayes(PLANE, seed=1)
        run(sampler, bowl, 12)
        assert sampler.suggest(12) == sampler.suggest(12)

    def test_a_foreign_configuration_may_take_the_number_of_a_suggestion(self):
        space = Space(n=Int(1, 3))
        sampler = Bayes(space, seed=1, startup=2)
        first = sampler.suggest(0)
        mine = {"n": first["n"] % 3 + 1}
        sampler.pend(0, mine)
        rest = [sampler.suggest(1), sampler.suggest(2)]
        assert {params["n"] for params in [mine, *rest]} == {1, 2, 3}

    def test_results_without_a_configuration_wait_for_it(self):
        sampler = Bayes(PLANE, seed=1, startup=4)
        for number in range(8):
            sampler.tell(number, 1, float(number))
        assert PLANE.contains(sampler.suggest(8))


class TestFailures:
    @pytest.mark.parametrize("bad", [math.inf, math.nan, -math.inf])
    def test_keeps_away_from_where_trials_fail(self, bad):
        sampler = Bayes(PLANE, seed=5)
        run(sampler, lambda p: bad if p["x"] < 0.5 else bowl(p), 30)
        later = [sampler.suggest(number)["x"] for number in range(30, 38)]
        assert sum(x < 0.45 for x in later) <= 2

    def test_failed_trials_never_enter_a_fit(self, monkeypatch):
        seen = []
        fit = GaussianProcess.fit
        monkeypatch.setattr(
            GaussianProcess,
            "fit",
            lambda self, rows, scores, rng: (seen.append(rows), fit(self, rows, scores, rng)),
        )
        sampler = Bayes(PLANE, seed=5, startup=6)
        run(sampler, lambda p: math.inf if p["x"] < 0.5 else bowl(p), 12)
        assert seen
        assert all((rows[:, 0] >= 0.5).all() for rows in seen)

    def test_covers_the_space_while_everything_fails(self):
        sampler = Bayes(PLANE, seed=5, startup=4)
        run(sampler, lambda p: math.inf, 20)
        assert sampler.suggest(20) == Sobol(PLANE, seed=5).suggest(20)

    def test_equal_values_are_no_trouble(self):
        run(Bayes(PLANE, seed=5, startup=4), lambda p: 1.0, 12)

    def test_values_at_the_ends_of_the_number_range_are_no_trouble(self):
        run(Bayes(PLANE, seed=5, startup=4), lambda p: (p["x"] - 0.5) * 3e308, 12)


class TestFiniteSpaces:
    @pytest.mark.parametrize("surrogate", ["gp", "et"])
    def test_nothing_repeats_before_everything_was_tried(self, surrogate):
        space = Space(a=Int(1, 4), b=["x", "y"], c=Int(1, 2, when={"b": "y"}))
        sampler = Bayes(space, seed=1, startup=4, surrogate=surrogate)
        seen = []
        for number in range(12):
            params = sampler.suggest(number)
            sampler.pend(number, params)
            sampler.tell(number, 1, float(params["a"]))
            seen.append(json.dumps(params))
        assert len(set(seen)) == space.size == 12
        assert space.contains(sampler.suggest(12))

    def test_rare_values_are_found_when_only_they_are_left(self):
        space = Space(n=Int(1, 2000, log=True))
        sampler = Bayes(space, seed=1, startup=4)
        for number in range(1999):
            sampler.pend(number, {"n": number + 1})
        assert sampler.suggest(1999) == {"n": 2000}


class TestHouse:
    def test_a_replayed_sampler_goes_on_sensibly(self):
        first = Bayes(PLANE, seed=1)
        run(first, bowl, 24)
        replayed = Bayes(PLANE, seed=1)
        for number in range(24):
            replayed.pend(number, first.suggest(number))
            replayed.tell(number, 1, bowl(first.suggest(number)))
        values = run(replayed, bowl, 6, first=24)
        assert np.median(values) < 0.1  # a point anywhere has 0.2

    def test_results_come_in_while_it_thinks(self, monkeypatch):
        thinking, told = threading.Event(), threading.Event()
        fit = GaussianProcess.fit

        def slow_fit(self, rows, scores, rng):
            thinking.set()
            assert told.wait(20)
            fit(self, rows, scores, rng)

        sampler = Bayes(PLANE, seed=1, startup=6)
        run(sampler, bowl, 6)
        monkeypatch.setattr(GaussianProcess, "fit", slow_fit)
        found = []
        thread = threading.Thread(target=lambda: found.append(sampler.suggest(6)))
        thread.start()
        assert thinking.wait(20)
        sampler.pend(7, {"x": 0.5, "y": 0.5})
        sampler.tell(7, 1, 0.1)  # would block for ever if a lock were held during the fit
        told.set()
        thread.join(20)
        assert PLANE.contains(found[0])

    def test_one_thread_suggests_while_another_tells(self):
        space = SPACES["mixed"]
        sampler = Bayes(space, seed=1, startup=4)
        failures = []

        def suggest():
            try:
                for number in range(0, 40, 2):
                    space.validate(sampler.suggest(number))
            except Exception as error:
                failures.append(error)

        thread = threading.Thread(target=suggest)
        thread.start()
        rng, number = np.random.default_rng(0), 1
        while thread.is_alive():
            sampler.pend(number, space.sample(rng))
            sampler.tell(number, 1, float(rng.normal()))
            number += 2
            thread.join(0.005)
        assert not failures

    def test_telling_never_fits(self, monkeypatch):
        monkeypatch.setattr(GaussianProcess, "fit", lambda *_: pytest.fail("tell fitted a model"))
        sampler = Bayes(PLANE, seed=1, startup=4)
        for number in range(50):
            sampler.pend(number, {"x": number / 50, "y": 0.5})
            sampler.tell(number, 1, float(number))

    def test_leaves_the_warnings_of_others_alone(self):
        filters = list(warnings.filters)
        run(Bayes(PLANE, seed=1, startup=4), bowl, 8)
        assert warnings.filters == filters

    def test_trees_take_over_where_the_process_gets_slow(self, monkeypatch):
        monkeypatch.setattr(module, "GP_ROWS", 12)
        sampler = Bayes(PLANE, seed=1)
        run(sampler, bowl, 16)
        assert set(sampler._models) == {"gp", "et"}


def test_every_third_suggestion_covers_the_space_while_trials_are_judged_by_beginnings():
    space = Space(x=Float(0.0, 1.0), y=Float(0.0, 1.0))

    def suggestions(steps):
        sampler = Bayes(space, seed=2, startup=4)
        for number in range(12):
            params = sampler.suggest(number)
            sampler.pend(number, params)
            sampler.tell(number, steps[number % 2], params["x"])
        return [sampler.suggest(number) for number in range(12, 18)]

    covering = Sobol(space, seed=2)
    mixed, complete = suggestions((1, 3)), suggestions((9, 9))
    assert [mixed[i] == covering.suggest(12 + i) for i in range(6)] == [True, False, False] * 2
    assert not any(complete[i] == covering.suggest(12 + i) for i in range(6))
