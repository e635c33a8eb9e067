"""Objectives that tell what they find in their rank, and leave things behind."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import threading
import time
import warnings

import numpy as np


def pids(trial):
    """Reports which process trains; the others write it down."""
    note(trial, "pid", os.getpid())
    print(f"trial {trial.number} speaks")
    for step in trial.steps():
        trial.report(loss=1 / step, pid=os.getpid())


def sums(trial):
    """As :func:`pids`, for ranks that have to find each other."""
    import torch
    import torch.distributed as dist

    note(trial, "pid", os.getpid())
    for _ in trial.steps():
        total = torch.ones(1) * trial.number
        dist.all_reduce(total)
        trial.report(loss=total.item())


def looks_around(trial):
    import torch

    found = {
        "cwd": os.getcwd(),
        "environment": dict(os.environ),
        "dtype": str(torch.get_default_dtype()),
        "device": str(torch.get_default_device()),
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "cudnn": torch.backends.cudnn.benchmark,
        "gradients": torch.is_grad_enabled(),
        "handler": str(signal.getsignal(signal.SIGALRM)),
        "warnings": ("ignore", None, Warning, None, 0) in warnings.filters,
        "umask": os.umask(0o22),
    }
    note(trial, "found", json.dumps(found))
    note(trial, "pid", os.getpid())
    numbers = [random.random(), np.random.rand(), torch.rand(1).item()]  # noqa: NPY002
    note(trial, "numbers", json.dumps(numbers))
    for _ in trial.steps():
        trial.report(loss=1.0)
    makes_a_mess(trial)


def makes_a_mess(trial):
    import torch

    os.chdir(trial.folder())
    os.environ["A_TRIAL_WAS_HERE"] = "1"
    del os.environ["PYTHONPATH"]
    os.umask(0o77)
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    torch.set_num_threads(3)
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = True
    torch.set_grad_enabled(False)
    for seed in (torch.manual_seed, np.random.seed, random.seed):
        seed(1)
    signal.signal(signal.SIGALRM, lambda *_: None)
    warnings.simplefilter("ignore")


def leaves(trial):
    """Something that no tidying up can take away, as ``trial.params`` says."""
    note(trial, "pid", os.getpid())
    for _ in trial.steps():
        trial.report(loss=1.0)
    left = trial.params.get("left")
    if left == "thread":
        threading.Thread(target=time.sleep, args=(600,), daemon=True, name="busy").start()
    elif left == "child":
        subprocess.Popen(["sleep", "600"])
    elif left == "limit":
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_STACK, (1 << 22, 1 << 22))
    elif left == "error":
        raise ValueError("on purpose")


def tells_where(trial):
    """What libraries for several ranks look for, and what the session says of it."""
    names = ["RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "NODE_RANK"]
    names += ["MASTER_ADDR", "MASTER_PORT", "CUDA_VISIBLE_DEVICES", "SLURM_PROCID", "SLURM_JOB_ID"]
    found = {name: os.environ.get(name) for name in names}
    found |= {"rank": trial.rank, "local_rank": trial.local_rank, "device": trial.device}
    found |= {"ends": trial._channel.ends}
    note(trial, f"where{trial.rank}", json.dumps(found))
    sums(trial) if trial.world_size > 1 else pids(trial)


def is_terminated(trial):
    """The rank that ``trial.params`` names gets SIGTERM in its second step."""
    for step in trial.steps(kept={}):
        trial.report(loss=1 / step)
        if step == 2 and trial.rank == trial.params["who"]:
            warn_myself(trial)


def warn_myself(trial):
    os.kill(os.getpid(), signal.SIGTERM)
    while not trial._channel.interrupted:
        time.sleep(0.01)


def is_killed_by_a_second_one(trial):
    for step in trial.steps(kept={}):
        trial.report(loss=1 / step)
        warn_myself(trial)
        os.kill(os.getpid(), signal.SIGTERM)


def cannot_react(trial):
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGTERM)


def outlives_its_supervisor(trial):
    """Both get SIGTERM; the supervisor does not wait."""
    note(trial, "rank", os.getpid())
    supervisor = os.getppid()
    for step in trial.steps(kept={}):
        if step == 2:
            warn_myself(trial)
            os.kill(supervisor, signal.SIGKILL)
            while os.getppid() == supervisor:
                time.sleep(0.01)
        trial.report(loss=1 / step)


def note(trial, name, text):
    (trial.folder() / f"{name}{trial.rank if name == 'pid' else ''}").write_text(str(text))


def meets_a_broken_gpu(trial):
    raise RuntimeError("CUDA error: unspecified launch failure")
