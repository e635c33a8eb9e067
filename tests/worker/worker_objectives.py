"""Objectives that the ranks of a trial import."""

from __future__ import annotations

import os
import random
import resource
import signal
import subprocess
import time

import numpy as np


def descends(trial):
    """Fit a plane to noise: what it reports depends on every generator of every rank."""
    import torch
    import torch.distributed as dist

    # A new attempt seeds differently: only a checkpoint can make it go on as the last one did.
    seed = 1000 * trial.attempt + trial.rank
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    random.seed(seed)
    model = trial.ddp(torch.nn.Linear(3, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    for _ in trial.steps(model=model, optimizer=optimizer):
        scale = 0.5 + random.random() + np.random.rand()  # noqa: NPY002
        loss = (model(scale * torch.randn(8, 3)) - 1).pow(2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        weight = sum(p.detach().double().sum() for p in model.parameters())
        here = torch.stack([weight, loss.detach().double()])
        everywhere = [torch.empty_like(here) for _ in range(trial.world_size)]
        dist.all_gather(everywhere, here)
        weights, losses = torch.stack(everywhere).T.tolist()
        trial.report(
            loss=sum(losses),
            weight=weights[0],
            spread=max(weights) - min(weights),
            noise=max(losses) - min(losses),
        )


def meets(trial):
    """Ranks that wait for each other at every step, for as long as the other does not come."""
    import torch
    import torch.distributed as dist

    for step in trial.steps():
        total = torch.ones(1) * trial.number
        dist.all_reduce(total)
        trial.report(loss=total.item() / trial.world_size)
        if trial.rank == 1 and step == 2:
            yield_to(trial.params["end"])


def yield_to(end):
    if end == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif end == "raise":
        raise ValueError("on purpose")
    elif end == "exit":
        print("a last word")
        os._exit(3)


def alone(trial):
    """One isolated process that ends as it is told to."""
    for step in trial.steps(kept={}):
        if step == 2:
            yield_to(trial.params["end"])
        trial.report(loss=1 / step)


def counts(trial):
    """Reports how many steps its state has seen."""
    state = {"trained": 0}
    for step in trial.steps(state=state):
        state["trained"] += 1
        trial.report(loss=1 / step, trained=state["trained"])


def note(trial, name, pid):
    (trial.folder() / name).write_text(str(pid))


def leaves_children_and_dies(trial):
    """Both children hold the descriptors that they inherited."""
    for _ in trial.steps():
        child = os.fork()
        if child == 0:
            time.sleep(600)
        note(trial, "forked", child)
        note(trial, "started", subprocess.Popen(["sleep", "600"], close_fds=False).pid)
        os.kill(os.getpid(), signal.SIGKILL)


def forks_and_goes_on(trial):
    for step in trial.steps():
        if step == 1:
            os.fork()
        trial.report(loss=1 / step)


def sleeps_with_a_child(trial):
    for _ in trial.steps():
        note(trial, "rank", os.getpid())
        child = os.fork()
        if child == 0:
            time.sleep(600)
        note(trial, "forked", child)
        trial.report(loss=1.0)
        time.sleep(600)


def eats_memory(trial):
    resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
    for _ in trial.steps():
        trial.report(loss=float(np.ones(1 << 30)[0]))  # 8 GiB


def prints_rubbish(trial):
    for step in trial.steps():
        os.write(1, bytes(range(256)) * 300)
        os.write(2, b"\xff\x00\n")
        trial.report(loss=1 / step)
