"""Models are fitted ever more rarely, and to a bounded number of results."""

from __future__ import annotations

import numpy as np

from daskhpo.samplers.refits import patience, subset


def test_fits_see_a_bounded_number_of_results():
    scores = np.arange(1000.0)[::-1]
    rows = subset(scores, 200, np.random.default_rng(0))
    assert len(set(rows)) == 200
    assert {999, 951} <= set(rows)  # the best here are also the latest
    few = subset(scores[:20], 200, np.random.default_rng(0))
    assert few.tolist() == list(range(20))


def test_the_best_and_the_latest_are_always_seen():
    rows = subset(np.arange(1000.0), 100, np.random.default_rng(0))
    assert set(range(25)) <= set(rows)
    assert set(range(975, 1000)) <= set(rows)


def test_fits_become_rarer():
    assert [patience(n) for n in (2, 10, 40, 200, 1000)] == [1, 2, 10, 25, 50]
