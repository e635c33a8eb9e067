"""Small objectives that worker processes can import."""

from __future__ import annotations

import os
import resource
import signal
import sys
import time

import numpy as np


def loss_of(trial, step):
    """What every well-behaved objective here reports: better with time, best at x = 0.3."""
    return (trial.params["x"] - 0.3) ** 2 + 1 / step


def note(trial, step):
    """Write down that a step was trained, where every attempt can be counted afterwards."""
    with open(trial.folder() / "trained", "a") as file:
        file.write(f"{trial.attempt} {step}\n")


def trained(directory, number):
    """[(attempt, step)] of all steps that a trial has really trained, in order."""
    path = directory / "trials" / f"{number:05d}" / "trained"
    if not path.exists():
        return []
    return [tuple(map(int, line.split())) for line in path.read_text().splitlines()]


def quick(trial):
    for step in trial.steps():
        trial.report(loss=loss_of(trial, step))


def noted(trial, seconds=0.0):
    state = {"steps": 0}
    for step in trial.steps(state=state):
        note(trial, step)
        time.sleep(seconds)
        state["steps"] += 1
        assert state["steps"] == step, "the state and the step have come apart"
        trial.report(loss=loss_of(trial, step), steps=state["steps"])


def steady(trial):
    """Some 30 ms a step."""
    noted(trial, 0.03)


def slow(trial):
    """Some 200 ms a step."""
    noted(trial, 0.2)


def crawl(trial):
    """Some 8 s a step: whatever happens to it happens in the middle of one."""
    noted(trial, 8.0)


def hangs_once(trial):
    """Its first attempt is in the middle of its second step for a long time."""
    state = {"steps": 0}
    for step in trial.steps(state=state):
        note(trial, step)
        time.sleep(60.0 if (trial.attempt, step) == (0, 2) else 0.2)
        state["steps"] += 1
        trial.report(loss=loss_of(trial, step))


def devices(trial):
    """Notes which GPUs it was given."""
    for step in trial.steps(kept={}):
        time.sleep(0.2)
        with open(trial.folder() / "devices", "a") as file:
            file.write(f"{time.time()} {os.environ.get('CUDA_VISIBLE_DEVICES')}\n")
        trial.report(loss=loss_of(trial, step))


def together(trial):
    """Two ranks or more: each adds its own to what they hold together."""
    import torch
    import torch.distributed as dist

    state = {"steps": 0}
    for step in trial.steps(state=state):
        if trial.rank == 0:
            note(trial, step)
        time.sleep(0.3)
        total = torch.ones(1)
        dist.all_reduce(total)
        assert int(total) == trial.world_size
        state["steps"] += 1
        assert state["steps"] == step
        trial.report(loss=loss_of(trial, step), ranks=float(total))


def noisy(trial):
    """Training whose curve depends on every generator there is, and on its history."""
    state, rng = {"total": 0.0}, np.random.default_rng(trial.seed)
    for _ in trial.steps(state=state, rng=rng):
        state["total"] += rng.random() + np.random.rand()  # noqa: NPY002
        trial.report(loss=state["total"])


def sparse(trial):
    """Reports every tenth step only."""
    for step in trial.steps(kept={}):
        if step % 10 == 0:
            trial.report(loss=loss_of(trial, step))


def raises(trial):
    for step in trial.steps():
        trial.report(loss=1.0)
        raise RuntimeError(f"on purpose, at step {step}")


def raises_in_some(trial):
    for step in trial.steps():
        if trial.params["x"] > 0.5:
            raise RuntimeError("on purpose")
        trial.report(loss=loss_of(trial, step))


def diverges(trial):
    for step in trial.steps():
        trial.report(loss=float("nan") if trial.params["x"] > 0.5 else loss_of(trial, step))


def never_reports(trial):
    for _ in trial.steps():
        pass


def misnames(trial):
    for _ in trial.steps():
        trial.report(los=1.0)


def sleeps_in_some(trial):
    for step in trial.steps():
        if trial.params["x"] > 0.5:
            time.sleep(600)
        trial.report(loss=loss_of(trial, step))


def dies_once(trial):
    """Takes its process with it in the middle of the first attempt."""
    for step in trial.steps(kept={}):
        note(trial, step)
        if step == 5 and not (trial.folder() / "died").exists():
            (trial.folder() / "died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        trial.report(loss=loss_of(trial, step))


def dies_always(trial):
    os.kill(os.getpid(), signal.SIGKILL)


def eats_memory(trial):
    resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
    for step in trial.steps():
        hoard = np.ones(1 << 30)  # 8 GiB
        trial.report(loss=float(hoard[step]))


def prints_rubbish(trial):
    for step in trial.steps():
        os.write(1, bytes(range(256)) * 10)
        sys.stdout.flush()
        trial.report(loss=loss_of(trial, step))


def forks(trial):
    """A child that falls out of the objective must not go on as a second worker."""
    for step in trial.steps():
        if step == 1 and os.fork() == 0:
            return
        trial.report(loss=loss_of(trial, step))


def forks_and_goes_on(trial):
    """A child that goes on training must not speak for the trial."""
    for step in trial.steps():
        if step == 1:
            os.fork()
        trial.report(loss=loss_of(trial, step))


def leaves_a_child_and_dies(trial):
    """The child holds every open descriptor of the rank, and would keep a supervisor waiting."""
    for _ in trial.steps():
        if os.fork() == 0:
            time.sleep(600)
        os.kill(os.getpid(), signal.SIGKILL)


def sleeps(trial):
    (trial.folder() / "begun").touch()
    time.sleep(600)


def surrogate(trial):
    """The toy problem of population based training (1711.09846, 4.1).

    To be maximised is 1.2 - theta^2; training follows the gradient of 1.2 - h theta^2, so it gets
    nowhere with an h of (0, 1) or (1, 0). ``age`` counts the steps that these weights have seen.
    """
    theta, age = np.array([0.9, 0.8]), {"steps": 0}
    for step in trial.steps(theta=theta, age=age):
        theta -= 0.02 * theta * np.array([trial.params["h0"], trial.params["h1"]])
        age["steps"] += 1
        assert age["steps"] == step, "the weights and the step have come apart"
        q = 1.2 - float(theta @ theta)
        trial.report(q=q, age=age["steps"], theta0=theta[0], theta1=theta[1])
