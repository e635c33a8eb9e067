"""The notebook: what was handed out, what came of it, and what earlier campaigns found."""

from __future__ import annotations

import math

import numpy as np
import pytest

from daskhpo.samplers.notebook import Notebook
from daskhpo.space import Float, Int, Space

LINE = Space(x=Float(0.0, 1.0))


@pytest.fixture
def notes():
    notes = Notebook(LINE, 0)
    for number in range(6):
        notes.pend(number, {"x": number / 10})
    return notes


class TestResults:
    def test_a_later_result_replaces_an_earlier_one(self, notes):
        notes.tell(2, 1, 0.5)
        notes.tell(2, 5, 0.25)
        results = notes.results()
        assert (results.steps.tolist(), results.values.tolist()) == ([5.0], [[0.25]])
        assert results.units[:, 0] == pytest.approx([0.2])
        assert len(results.pending) == 5

    def test_changes_between_steps_are_kept_for_every_metric(self, notes):
        for number in (0, 1):
            notes.tell(number, 1, (3.0, 10.0))
            notes.tell(number, 3, (2.0 - number, 10.0))
        gains = notes.results().gains[1, 3]
        assert [gain.tolist() for gain in gains] == [[-1.0, 0.0], [-2.0, 0.0]]

    def test_a_failure_is_no_change(self, notes):
        notes.tell(0, 1, 3.0)
        notes.tell(0, 3, math.nan)
        notes.tell(1, 3, math.inf)
        notes.tell(1, 9, 1.0)
        results = notes.results()
        assert results.gains == {}
        assert results.values.tolist() == [[math.inf], [1.0]]

    def test_a_failed_trial_fails_in_every_metric(self, notes):
        notes.tell(0, 1, (3.0, 10.0))
        notes.tell(1, 1, math.inf)
        notes.tell(2, 1, (1.0, math.nan))
        results = notes.results()
        assert results.values.tolist() == [[3.0, 10.0], [math.inf] * 2, [math.inf] * 2]
        assert results.fine.tolist() == [True, False, False]
        assert results.several

    def test_values_at_the_ends_of_the_number_range_are_no_trouble(self, notes):
        notes.tell(0, 1, 1.7e308)
        notes.tell(0, 3, -1.7e308)
        assert notes.results().values.tolist() == [[-1.7e308]]

    def test_scores_compare_short_trials_with_long_ones(self, notes):
        for number in range(3):
            notes.tell(number, 1, 10.0 + number)
        for number in range(3, 6):
            notes.tell(number, 1, 10.0 + number)
            notes.tell(number, 9, 5.0 + number)
        scores = notes.results().scores(np.random.default_rng(0))
        assert np.argsort(scores).tolist() == [0, 1, 2, 3, 4, 5]

    def test_changes_count_what_is_news(self, notes):
        notes.results()
        assert notes.changes == 0
        notes.pend(0, {"x": 0.0})  # known
        notes.once(6, lambda number, rng: np.array([0.9]))  # one's own
        assert notes.changes == 0
        notes.tell(0, 1, 1.0)
        notes.pend(7, {"x": 0.7})
        notes.learn({"x": 0.8}, 1, 2.0)
        assert notes.changes == 3


class TestReached:
    def test_the_largest_step_with_enough_trials_counts(self, notes):
        for number in range(6):
            notes.tell(number, 1, 10.0 + number)
        for number in (1, 3):
            notes.tell(number, 3, 5.0 + number)
        assert notes.reached(3).steps.tolist() == [1.0] * 6
        assert notes.reached(2).values.tolist() == [[6.0], [8.0]]
        assert notes.reached(7) is None

    def test_failed_trials_are_bad_at_every_step(self, notes):
        for number in range(4):
            notes.tell(number, 1, float(number))
        notes.tell(0, 3, 0.5)
        notes.tell(1, 3, 0.5)
        notes.tell(2, 3, math.inf)
        notes.tell(4, 0, math.inf)
        assert notes.reached(2).values.tolist() == [[0.5], [0.5], [math.inf], [math.inf]]
        assert notes.reached(3).steps[0] == 1
        assert notes.reached(4) is None  # four were seen at step 1, but one of them has failed

    def test_earlier_campaigns_count(self, notes):
        notes.learn({"x": 0.7}, 9, 1.0)
        notes.learn({"x": 0.8}, 9, 2.0)
        assert notes.reached(2).units[:, 0] == pytest.approx([0.8, 0.7])


class TestHandingOut:
    def test_a_point_that_rounding_made_forbidden_is_drawn_anew(self):
        space = LINE.forbid({"x": {"high": 0.5}})
        notes = Notebook(space, 0)
        params = notes.once(0, lambda number, rng: np.array([0.5]))
        assert params["x"] > 0.5

    def test_what_is_used_up_is_drawn_at_random(self):
        space = Space(n=Int(1, 3)).forbid({"n": 2})
        notes = Notebook(space, 0)
        notes.learn({"n": 1}, 1, 0.0)
        notes.pend(0, {"n": 3})
        drawn = {
            notes.once(number, lambda *_: pytest.fail("nothing is left to choose"))["n"]
            for number in range(1, 20)
        }
        assert drawn == {1, 3}

    def test_a_space_of_one_point_needs_no_choice(self):
        notes = Notebook(Space(n=3), 0)
        assert notes.once(0, lambda *_: pytest.fail("nothing to choose")) == {"n": 3}
