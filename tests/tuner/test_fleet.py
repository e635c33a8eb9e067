"""Which workers a job gets: all of those it needs, and none that ends before it."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from daskhpo.tuner.fleet import Fleet


def fleet_of(*names, nodes=1, threads=1, resources=None, ends=None):
    fleet = Fleet(nodes, resources or {}, lambda name: name.rpartition("-")[0])
    fleet.update({f"tcp://{name}": [name, threads, {"gpu": 2.0}] for name in names})
    for name, end in (ends or {}).items():
        fleet.set_end(name, end)
    return fleet


def names(workers):
    return [worker.name for worker in workers]


def test_the_worker_that_ends_first_is_taken_if_the_job_fits():
    fleet = fleet_of("1-0", "2-0", "3-0", ends={"1": 50.0, "2": 500.0, "3": 200.0})
    assert names(fleet.choose(100.0, now=0.0)) == ["3-0"]
    assert names(fleet.choose(40.0, now=0.0)) == ["1-0"]
    assert names(fleet.choose(40.0, now=30.0)) == ["3-0"]


def test_a_rung_that_fits_nowhere_is_not_begun_unless_it_would_not_fit_a_fresh_worker_either():
    fleet = fleet_of("1-0", "2-0", ends={"1": 50.0, "2": 90.0})
    assert fleet.choose(100.0, now=0.0, fresh=600.0) == []
    assert names(fleet.choose(1000.0, now=0.0, fresh=600.0)) == ["2-0"]


def test_a_trial_over_several_nodes_gets_all_of_them_or_none():
    fleet = fleet_of("1-0", "2-0", "3-0", nodes=2, threads=8)
    assert fleet.slots == 1, "each of its workers has room for one such trial"
    crew = fleet.choose(0.0, now=0.0)
    assert len(set(names(crew))) == 2
    for worker in crew:
        worker.busy += 1
    assert fleet.choose(0.0, now=0.0) == []


def test_one_short_life_keeps_a_trial_over_two_nodes_from_beginning():
    fleet = fleet_of("1-0", "2-0", nodes=2, ends={"1": 50.0, "2": 900.0})
    assert fleet.choose(100.0, now=0.0, fresh=1000.0) == []
    assert len(fleet.choose(40.0, now=0.0, fresh=1000.0)) == 2


def test_threads_and_resources_are_room():
    assert fleet_of("1-0", threads=4).slots == 4
    assert fleet_of("1-0", threads=4, resources={"gpu": 1.0}).slots == 2
    assert fleet_of("1-0", threads=4, resources={"tpu": 1.0}).slots == 0


def test_who_leaves_gets_nothing_more_but_is_counted_while_it_trains():
    fleet = fleet_of("1-0", threads=2)
    (worker,) = fleet.workers.values()
    worker.busy, worker.leaving = 1, True
    assert fleet.choose(0.0, now=0.0) == []
    assert fleet.slots == 1


def test_a_ghost_is_sent_away_whenever_it_comes_back():
    fleet = fleet_of("17-0", "18-0")
    assert names(fleet.ban("17")) == ["17-0"]
    assert fleet.update({"tcp://17-1": ["17-1", 1, {}], "tcp://18-0": ["18-0", 1, {}]}) == [
        "tcp://17-1"
    ]
    assert names(fleet.workers.values()) == ["18-0"]


def test_workers_that_are_no_batch_jobs_are_never_ghosts():
    fleet = Fleet(1, {}, lambda name: "")
    fleet.update({"tcp://a": ["a", 1, {}]})
    assert fleet.ban("") == []
    assert fleet.update({"tcp://a": ["a", 1, {}]}) == []


def test_what_was_known_of_a_worker_stays_when_others_come():
    fleet = fleet_of("1-0", ends={"1": 70.0})
    (worker,) = fleet.workers.values()
    worker.busy = 1
    fleet.update({"tcp://1-0": ["1-0", 1, {}], "tcp://2-0": ["2-0", 1, {}]})
    assert (worker.busy, worker.ends, fleet.slots) == (1, 70.0, 2)
    assert fleet.set_end("1", 70.0) == []
    assert fleet.set_end("1", 80.0) == [worker]


@given(
    st.lists(st.floats(1.0, 1e4), min_size=1, max_size=8),
    st.floats(0.0, 1e4),
    st.integers(1, 3),
    st.one_of(st.just(math.inf), st.floats(1.0, 1e4)),
)
def test_nobody_is_chosen_who_ends_too_early_while_a_fresh_worker_would_do(
    lives, seconds, nodes, fresh
):
    fleet = fleet_of(*(f"{i}-0" for i in range(len(lives))), nodes=nodes)
    for i, life in enumerate(lives):
        fleet.set_end(str(i), life)
    crew = fleet.choose(seconds, now=0.0, fresh=fresh)
    assert len(crew) in (0, nodes)
    assert len(set(names(crew))) == len(crew)
    if crew and seconds <= fresh:
        assert all(worker.ends >= seconds for worker in crew)
    if not crew and len(lives) >= nodes:
        assert seconds <= fresh
        assert sum(life >= seconds for life in lives) < nodes
