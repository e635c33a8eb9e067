"""A child begins from its parent's checkpoint, whatever has become of the parent since."""

from __future__ import annotations

import errno
import json
import logging
import os

import numpy as np
import pytest
import torch
import worker_objectives

from daskhpo.trial import Decision, Job, Outcome
from daskhpo.worker.checkpoint import Checkpoint, Checkpoints
from daskhpo.worker.inheritance import bequeath, inherit
from daskhpo.worker.perform import perform
from daskhpo.worker.ranks import perform_in_ranks
from daskhpo.worker.session import Session

CONTINUE, PAUSE, STOP = Decision


@pytest.fixture
def parent(tmp_path):
    return tmp_path / "trials" / "00000"


@pytest.fixture
def child(tmp_path):
    return tmp_path / "trials" / "00007"


def save(path, step, *, attempt=0, **states):
    Checkpoints(path, attempt=attempt).save(Checkpoint(step, ((step, {"loss": 1.0}),), states, ()))


def files(path):
    return sorted(str(file.relative_to(path)) for file in path.rglob("*") if file.is_file())


def lay(path, *steps):
    """Make several checkpoints stay in one trial's directory, as races leave them."""
    for attempt, step in enumerate(steps):
        elsewhere = path / "elsewhere"
        save(elsewhere, step, attempt=attempt, at=[step])
        (elsewhere / f"a{attempt}").rename(path / f"a{attempt}")


# ---------------------------------------------------------------------- which one, and keeping it


@pytest.mark.parametrize(
    ("steps", "taken"), [((10,), 10), ((4, 8, 12), 8), ((12, 14), 12), ((10, 11), 10)]
)
def test_the_newest_up_to_the_step_is_taken_or_else_the_next(parent, child, steps, taken):
    lay(parent, *steps)
    assert inherit(parent, child, 10, below=20).step == taken
    assert bequeath(parent, child, 10)
    assert files(child) == [f"inherited/step-{taken:06d}.ckpt"]


def test_what_was_given_stays_whatever_the_parent_does(parent, child):
    save(parent, 10, weights=[1.0])
    bequeath(parent, child, 10)
    save(parent, 20, weights=[2.0])  # supersedes the one at 10
    assert inherit(parent, child, 10, below=30).states == {"weights": [1.0]}
    Checkpoints(parent, attempt=0).clear()  # the parent is stopped
    assert files(parent) == []
    assert inherit(parent, child, 10, below=30).states == {"weights": [1.0]}


def test_it_costs_no_second_copy(parent, child):
    save(parent, 10)
    bequeath(parent, child, 10)
    assert (child / "inherited" / "step-000010.ckpt").stat().st_nlink == 2


@pytest.mark.parametrize("error", [errno.EPERM, errno.EXDEV, errno.EMLINK])
def test_where_links_are_not_possible_it_is_copied(parent, child, monkeypatch, error):
    def refuse(*paths):
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(os, "link", refuse)
    save(parent, 10, weights=[1.0])
    assert bequeath(parent, child, 10)
    Checkpoints(parent, attempt=0).clear()
    assert inherit(parent, child, 10, below=30).states == {"weights": [1.0]}
    assert files(child) == ["inherited/step-000010.ckpt"]


def test_given_again_the_new_one_counts(parent, child):
    save(parent, 10)
    bequeath(parent, child, 10)
    other = parent.with_name("00003")
    save(other, 20)
    bequeath(other, child, 20)  # a driver that died before it had written the first down
    assert files(child) == ["inherited/step-000020.ckpt"]


def test_a_parent_without_a_checkpoint_gives_none(parent, child):
    assert not bequeath(parent, child, 10)
    assert inherit(parent, child, 10, below=20) is None
    assert not (child / "inherited").exists()


def test_a_disk_that_refuses_is_no_reason_to_end_the_campaign(parent, child, caplog):
    save(parent, 10)
    child.parent.mkdir(exist_ok=True)
    child.write_text("a file where the directory should be")
    assert not bequeath(parent, child, 10)
    assert "cannot be given to 00007" in caplog.text


def test_a_damaged_one_is_passed_over(parent, child, caplog):
    save(parent, 10)
    bequeath(parent, child, 10)
    (child / "inherited" / "step-000010.ckpt").unlink()
    (child / "inherited" / "step-000010.ckpt").write_bytes(b"daskhpo-checkpoint 1 0 3\nxyz")
    assert inherit(parent, child, 10, below=20).step == 10
    assert "does not match its checksum" in caplog.text


def test_one_that_leaves_nothing_to_train_is_not_taken(parent, child):
    save(parent, 20)
    assert inherit(parent, child, 10, below=20) is None


def test_a_parent_that_has_none_of_its_own_yet_passes_on_what_it_was_given(parent, child):
    save(parent.with_name("00003"), 5, weights=[3.0])
    bequeath(parent.with_name("00003"), parent, 5)
    bequeath(parent, child, 10)
    assert inherit(parent, child, 10, below=20).states == {"weights": [3.0]}


def test_the_first_checkpoint_of_its_own_takes_the_place_of_what_was_given(parent, child):
    save(parent, 10)
    bequeath(parent, child, 10)
    assert Checkpoints(child, attempt=0).load() is None  # not its own
    save(child, 12)
    assert files(child) == ["a0/step-000012.ckpt"]
    assert not (child / "inherited").exists()
    assert files(parent) == ["a0/step-000010.ckpt"]


def test_a_child_that_is_stopped_leaves_nothing(parent, child):
    save(parent, 10)
    bequeath(parent, child, 10)
    Checkpoints(child, attempt=0).clear()
    assert files(child) == []


# ---------------------------------------------------------------------- as the objective sees it


def counting(trial):
    """Its state says how it came to be."""
    state = {"trained": []}
    for step in trial.steps(state=state):
        state["trained"].append((trial.number, step))
        trial.report(loss=1 / step, trained=float(len(state["trained"])))
    trial.folder().joinpath("trained").write_text(json.dumps(state["trained"]))


@pytest.fixture
def family(stay, tmp_path):
    """Trial 0 has paused at step 2; make jobs of trial 7, its child, from there."""
    assert perform(counting, stay(answers={2: PAUSE}, stop=2).session).outcome is Outcome.PAUSED

    def make(*, attempt=0, start=2, **settings):
        made = stay(number=7, attempt=attempt, start=start, **settings)
        job = Job(7, attempt, 1, start, made.job.stop, made.job.params, parent=0)
        made.session = Session(made.work, job, made.tape)
        return made

    return make


def trained(tmp_path, number):
    """[(who, step)] of what the state of a trial has seen."""
    text = (tmp_path / "trials" / f"{number:05d}" / "trained").read_text()
    return [tuple(entry) for entry in json.loads(text)]


def test_it_goes_on_where_its_parent_was_and_reports_only_what_it_trained(family, tmp_path):
    made = family()
    assert made.session.parent == 0
    assert perform(counting, made.session).outcome is Outcome.COMPLETED
    assert made.tape.steps == [3, 4, 5]
    assert [metrics["trained"] for metrics in made.tape.metrics] == [3, 4, 5]
    assert trained(tmp_path, 7) == [(0, 1), (0, 2), (7, 3), (7, 4), (7, 5)]


def test_it_pauses_and_comes_back_as_any_other_trial(family, tmp_path):
    perform(counting, family(stop=4, answers={4: PAUSE}).session)
    again = family(attempt=1, start=4)
    perform(counting, again.session)
    assert again.tape.steps == [5]
    assert trained(tmp_path, 7)[2:] == [(7, 3), (7, 4), (7, 5)]


def test_reports_that_nobody_has_seen_are_sent_again_but_never_its_parents(family):
    perform(counting, family(stop=4, answers={4: PAUSE}).session)
    again = family(attempt=1, start=2)  # the tuner died before it could write 3 and 4 down
    perform(counting, again.session)
    assert again.tape.steps == [3, 4, 5]


def test_its_parents_reports_are_not_sent_even_where_they_go_beyond_its_beginning(family, tmp_path):
    perform(counting, family(stop=4, answers={4: PAUSE}, start=1).session)  # 2 is its parent's
    again = family(attempt=1, start=1)
    perform(counting, again.session)
    assert again.tape.steps == [3, 4, 5]


def test_a_child_that_lost_its_first_worker_begins_from_its_parent_again(family, tmp_path):
    bequeath(tmp_path / "trials" / "00000", tmp_path / "trials" / "00007", 2)
    Checkpoints(tmp_path / "trials" / "00000", attempt=0).clear()
    made = family(attempt=1, start=4)  # it had reported 3 and 4, and left no checkpoint
    perform(counting, made.session)
    assert made.tape.steps == [3, 4, 5]
    assert trained(tmp_path, 7)[:2] == [(0, 1), (0, 2)]


def test_a_child_stopped_before_it_has_saved_leaves_its_parents_checkpoint_alone(family, tmp_path):
    bequeath(tmp_path / "trials" / "00000", tmp_path / "trials" / "00007", 2)
    made = family(stop=3, answers={3: STOP})
    assert perform(counting, made.session).outcome is Outcome.STOPPED
    left = [file for file in files(tmp_path / "trials") if file.endswith(".ckpt")]
    assert left == ["00000/a0/step-000002.ckpt"]


def test_a_parent_that_left_nothing_means_training_from_the_first_step(family, tmp_path, caplog):
    Checkpoints(tmp_path / "trials" / "00000", attempt=0).clear()
    made = family()
    with caplog.at_level(logging.WARNING):
        assert perform(counting, made.session).outcome is Outcome.COMPLETED
    assert made.tape.steps == [1, 2, 3, 4, 5]
    assert "trial 7 finds no checkpoint of its parent, trial 0" in caplog.text
    assert "up to step 2 does not count" in caplog.text


def test_it_draws_random_numbers_of_its_own(stay):
    def draws(trial):
        np.random.seed(trial.seed % 2**32)  # noqa: NPY002
        for step in trial.steps(kept={}):
            trial.report(loss=float(np.random.rand()), step=step)  # noqa: NPY002

    first = stay(draws, answers={2: PAUSE}, stop=2)
    perform(draws, first.session)
    parent, child = stay(attempt=1, start=2), stay(number=7, start=2)
    child.session = Session(child.work, Job(7, 0, 1, 2, 5, {}, parent=0), child.tape)
    perform(draws, child.session)
    perform(draws, parent.session)
    assert child.tape.steps == parent.tape.steps == [3, 4, 5]
    assert child.tape.metrics[0] != parent.tape.metrics[0]


# ---------------------------------------------------------------------- the learning rate


def descend(trial, *, inside):
    """SGD on w^2 / 2: each step multiplies w by 1 - lr, so the weights tell which lr was used."""
    weight = torch.nn.Parameter(torch.ones(1, dtype=torch.float64))
    opt = torch.optim.SGD([weight], lr=trial.params["lr"])
    for _ in trial.steps(weight=weight, opt=opt):
        for group in opt.param_groups:
            if inside:
                group["lr"] = trial.params["lr"]
        opt.zero_grad()
        (weight**2 / 2).backward()
        opt.step()
        trial.report(loss=weight.item())


@pytest.mark.parametrize(("inside", "used"), [(True, 0.5), (False, 0.1)])
def test_a_child_trains_with_its_own_learning_rate_if_it_is_set_in_the_loop(stay, inside, used):
    def train(made):
        perform(lambda trial: descend(trial, inside=inside), made.session)
        return [metrics["loss"] for metrics in made.tape.metrics]

    before = train(stay(params={"lr": 0.1}, answers={2: PAUSE}, stop=2))
    assert before == pytest.approx([0.9, 0.81])
    made = stay(number=7, start=2, params={"lr": 0.5})
    made.session = Session(made.work, Job(7, 0, 1, 2, 5, {"lr": 0.5}, parent=0), made.tape)
    weights = [0.81 * (1 - used) ** step for step in (1, 2, 3)]
    assert train(made) == pytest.approx(weights)


# ---------------------------------------------------------------------- ranks


def rank_job(stay, objective, ranks):
    made = stay(objective, number=7, start=2, max_step=4, ranks=ranks, isolate=True)
    job = Job(7, 0, 1, 2, 4, {"x": 0.5}, parent=0)
    return made.tape, perform_in_ranks(made.work, job, made.tape)


def test_an_isolated_rank_goes_on_from_its_parents_checkpoint(stay, parent):
    save(parent, 2, state={"trained": 2})
    tape, ending = rank_job(stay, worker_objectives.counts, ranks=1)
    assert ending.outcome is Outcome.COMPLETED, ending.error
    assert [(step, metrics["trained"]) for step, metrics, _ in tape.sent] == [(3, 3), (4, 4)]


def test_ranks_go_on_from_their_parents_checkpoint_together(stay, parent):
    model = torch.nn.Linear(3, 1)
    states = {f"module.{name}": value for name, value in model.state_dict().items()}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    save(parent, 2, model=states, optimizer=optimizer.state_dict())
    tape, ending = rank_job(stay, worker_objectives.descends, ranks=2)
    assert ending.outcome is Outcome.COMPLETED, ending.error
    assert tape.steps == [3, 4]
    weight = sum(value.double().sum() for value in model.state_dict().values()).item()
    assert [metrics["weight"] for metrics in tape.metrics] == [pytest.approx(weight)] * 2


def test_ranks_that_find_different_checkpoints_say_so(stay, tmp_path):
    class Second:
        rank, size = 1, 2

        def agree(self, code):
            return 4  # where rank 0 has found one

        def gather(self, thing):
            return []

    save(tmp_path / "trials" / "00000", 2)
    made = stay(number=7, start=2)
    session = Session(made.work, Job(7, 0, 1, 2, 5, {}, parent=0), made.tape, Second())
    ending = perform(counting, session)
    assert "rank 1 finds another checkpoint than rank 0" in ending.error
