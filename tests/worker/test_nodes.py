"""One trial on two workers: both are here, each with a channel of its own."""

from __future__ import annotations

import json
import os
import threading
import time

import pytest
import rank_objectives
import worker_objectives as objectives
from conftest import Tape
from test_ranks import ranks_left

from daskhpo.trial import Decision, Outcome
from daskhpo.worker import ranks
from daskhpo.worker.ranks import ABORTED, perform_in_ranks
from daskhpo.worker.work import Seat


class Node(Tape):
    """A worker's channel; the test is the tuner that tells each of the other."""

    def __init__(self, answers=()):
        super().__init__(dict(answers))
        self.others = []

    def publish(self, endpoint):
        for other in self.others:
            other.introduce(endpoint)


def train(stay, nodes):
    """Both workers' endings; one that failed makes the tuner abort the other."""
    endings = {}

    def work(node):
        seat = Seat(node, len(nodes), "127.0.0.1")
        endings[node] = perform_in_ranks(stay.work, stay.job, nodes[node], seat)
        if endings[node].error:
            while ranks_left():  # the others have lost it, and do not know why
                time.sleep(0.02)
            for other in nodes[node].others:
                other.abort()

    threads = [threading.Thread(target=work, args=(node,)) for node in range(len(nodes))]
    for node in nodes:
        node.others = [other for other in nodes if other is not node]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not ranks_left()
    return [endings[node] for node in range(len(nodes))]


def test_two_workers_train_one_model(stay):
    nodes = [Node(), Node()]
    endings = train(stay(objectives.descends, ranks=2, nodes=2), nodes)
    assert [how.outcome for how in endings] == [Outcome.COMPLETED] * 2, endings
    assert nodes[0].steps == [1, 2, 3, 4, 5]
    assert nodes[1].steps == []
    assert all(metrics["spread"] == 0 < metrics["noise"] for metrics in nodes[0].metrics)


def test_every_rank_knows_its_place_and_the_first_end(stay, tmp_path):
    nodes = [Node(), Node()]
    nodes[0].ends, nodes[1].ends = 4e9, 3e9
    assert not any(
        how.error for how in train(stay(rank_objectives.tells_where, ranks=4, nodes=2), nodes)
    )
    places = [json.loads((tmp_path / "trials/00000" / f"where{i}").read_text()) for i in range(4)]
    for rank, place in enumerate(places):
        assert (place["rank"], place["local_rank"], place["device"]) == (rank, rank % 2, "cpu")
        wanted = {"RANK": rank, "WORLD_SIZE": 4, "LOCAL_RANK": rank % 2, "LOCAL_WORLD_SIZE": 2}
        wanted |= {"NODE_RANK": rank // 2, "MASTER_ADDR": "127.0.0.1"}
        assert {name: place[name] for name in wanted} == {k: str(v) for k, v in wanted.items()}
        assert place["ends"] == 3e9
    assert len({place["MASTER_PORT"] for place in places}) == 1


def test_all_workers_leave_at_the_same_step(stay):
    nodes = [Node({2: Decision.STOP}), Node()]
    endings = train(stay(objectives.descends, ranks=2, nodes=2, stop=2), nodes)
    assert [how.outcome for how in endings] == [Outcome.STOPPED] * 2
    assert nodes[0].steps == [1, 2]


def test_a_worker_that_has_to_go_takes_the_trial_with_it(stay, tmp_path):
    nodes = [Node(), Node()]
    nodes[0].answers = {2: nodes[1].interrupt}
    work = stay(objectives.descends, ranks=2, nodes=2, max_step=100_000)
    endings = train(work, nodes)
    assert [how.outcome for how in endings] == [Outcome.INTERRUPTED] * 2, endings
    assert [file.stem for file in tmp_path.rglob("*.ckpt")] == [f"step-{nodes[0].steps[-1]:06d}"]


@pytest.mark.parametrize(
    ("end", "outcome", "words"),
    [("kill", Outcome.LOST, "rank 1 was killed"), ("raise", Outcome.FAILED, "on purpose")],
)
def test_the_worker_whose_rank_failed_says_so_and_the_other_blames_it(stay, end, outcome, words):
    left = stay(objectives.meets, ranks=2, nodes=2, params={"end": end})
    first, second = train(left, [Node(), Node()])
    assert (first.outcome, first.error) == (Outcome.LOST, ABORTED)
    assert second.outcome is outcome
    assert words in second.error


def test_an_abort_ends_ranks_that_wait_for_something_else(stay):
    alone = stay(rank_objectives.is_terminated, ranks=2, nodes=2, params={"who": -1})
    node = Node()
    node.publish = lambda endpoint: node.abort()
    ending = perform_in_ranks(alone.work, alone.job, node, Seat(0, 2))
    assert (ending.outcome, ending.error) == (Outcome.LOST, ABORTED)
    assert not ranks_left()


@pytest.mark.parametrize(
    ("node", "words"), [(0, "rank 1 of 2 did not come within"), (1, "did not say within")]
)
def test_a_worker_that_never_comes_ends_the_wait(stay, monkeypatch, node, words):
    monkeypatch.setattr(ranks, "RENDEZVOUS", 2.0)
    monkeypatch.setattr(ranks, "LINGER", 0.0)
    lonely = stay(objectives.meets, ranks=2, nodes=2)
    ending = perform_in_ranks(lonely.work, lonely.job, Node(), Seat(node, 2))
    assert ending.outcome is Outcome.LOST
    assert words in ending.error


def test_nothing_of_the_workers_own_place_misleads_the_ranks(stay, tmp_path, monkeypatch):
    monkeypatch.setitem(os.environ, "RANK", "7")
    monkeypatch.setitem(os.environ, "SLURM_NTASKS", "8")
    one = stay(rank_objectives.tells_where, isolate=True)
    assert perform_in_ranks(one.work, one.job, one.tape).outcome is Outcome.COMPLETED
    found = json.loads((tmp_path / "trials/00000/where0").read_text())
    assert (found["RANK"], found["WORLD_SIZE"]) == (None, None)
