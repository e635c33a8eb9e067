"""What a run says it found, and how good that is among what it drew."""

from __future__ import annotations

import numpy as np
import pytest
from simulated import InOrder, problem, random_problem

from daskhpo.simulate import Costs, Rows, simulate
from daskhpo.simulate.spread import QUANTITIES, spread

CROSSING = [[1.0, 5.0], [2.0, 4.0], [3.0, 3.0], [4.0, 0.0]]  # the best start ends worst


def crossing(sign=1, **settings):
    """A run that is misled: the two that start best are complete, 5 and 4."""
    made = problem(sign * np.array(CROSSING), direction="min" if sign > 0 else "max")
    given = {"workers": 4, "speeds": 0.0, "costs": Costs.free()} | settings
    return simulate(InOrder(made), "asha(eta=2)", **given)


@pytest.mark.parametrize("sign", [1, -1])
def test_rank_and_regret_count_what_was_drawn_and_ends_better(sign):
    run = crossing(sign)
    assert (run.found, run.found_value, run.rank, run.regret) == (1, sign * 4.0, 2, 4.0)
    assert run.params == {"x": 1}


def test_a_configuration_that_is_drawn_twice_counts_once():
    run = crossing(trials=8)
    assert run.begun == 8
    better = {trial.params["row"] for trial in run.study.trials.values()} - {0, 1}
    assert run.rank <= len(better) == 2


def test_what_was_not_drawn_does_not_count():
    run = crossing(trials=2)
    assert (run.found_value, run.rank, run.regret) == (5.0, 1, 1.0)


def test_without_a_complete_trial_the_incumbent_is_what_was_found():
    made = problem([[3.0, 2.0, 9.0]])
    run = simulate(InOrder(made), "fifo(max_step=2)", workers=1)
    assert run.found_value == 9.0  # the end of the stored curve, though the campaign ended at 2


def test_the_history_has_a_row_for_each_beginning_and_each_incumbent():
    run = crossing(workers=1)
    history = run.history
    assert history.begun.tolist() == sorted(history.begun)
    assert (np.diff(history.time) >= 0).all()
    assert (np.diff(history.trained) >= 0).all()
    assert history.begun[-1] == run.begun
    assert len(history) <= run.begun + run.trained
    # Trial 0 is the first to report, and nobody reports less; it ends at 5.
    assert history.begun.tolist() == [1, 2, 3, 4]
    assert history.value.tolist() == pytest.approx([np.nan, 5.0, 5.0, 5.0], nan_ok=True)


def test_workers_that_begin_at_the_same_moment_share_a_row():
    run = crossing(workers=4)
    assert (run.history.time[0], run.history.begun[0]) == (0.0, 4)


def test_reached_is_when_the_incumbent_was_first_that_good():
    run = simulate(
        InOrder(problem([[5.0, 4.0], [3.0, 2.0]])),
        "fifo",
        workers=1,
        speeds=0.0,
        costs=Costs.free(),
    )
    assert [run.reached(value) for value in (4.0, 2.0, 1.0)] == [1.0, 3.0, np.inf]


def test_share_is_of_training_everybody_in_full():
    assert crossing().share == pytest.approx(6 / 8)


def test_a_spread_has_median_and_quantiles_of_every_quantity():
    runs = [simulate(Rows(random_problem()), "asha(eta=2)", seed=seed) for seed in range(5)]
    found = spread(runs)
    assert list(found) == list(QUANTITIES)
    steps = sorted(run.trained for run in runs)
    assert found["steps"]["median"] == steps[2]
    assert steps[0] <= found["steps"]["low"] <= found["steps"]["high"] <= steps[-1]
