"""The test Slurm for the time of a measurement, and what a campaign's journal says meanwhile."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import yaml

from daskhpo.store.journal import JournalReader

__all__ = ["SITE", "facts_of", "missing", "site_options", "slurm", "test_slurm", "wait_for"]

HERE = Path(__file__).parent
SCRIPTS = HERE.parent / "jobqueue"
SITE = "test-slurm"
GPUS = 4  # of a node
LIMIT = 180.0  # seconds after which a measurement is given up
_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"

T = TypeVar("T")


def missing() -> str:
    """Why there can be no test Slurm here; empty if there can."""
    commands = ("slurmctld", "slurmd", "squeue", "munged")
    lacking = [each for each in commands if shutil.which(each, path=_PATH) is None]
    if lacking:
        return f"{', '.join(lacking)} not installed"
    return "" if os.geteuid() == 0 else "the test Slurm needs root"


@contextlib.contextmanager
def test_slurm() -> Iterator[Path]:
    """Four nodes of four fake GPUs; yields a folder for campaigns.

    Batch jobs import what objectives need from here, as this becomes the working directory.
    """
    root = tempfile.mkdtemp(prefix="daskhpo-slurm-")  # short: sockets lie below it
    # Every user has compiled modules at hand; without them each worker would compile them anew.
    changed = ("SLURM_CONF", "PATH", "PYTHONDONTWRITEBYTECODE")
    before = {name: os.environ.pop(name, None) for name in changed}
    os.environ |= {"SLURM_CONF": f"{root}/etc/slurm.conf", "PATH": _PATH}
    try:
        with contextlib.chdir(HERE), tempfile.TemporaryDirectory() as folder:
            _script("slurm-up.sh", root, "4", str(GPUS), "8")
            yield Path(folder)
    finally:
        _script("slurm-down.sh", root)
        shutil.rmtree(root, ignore_errors=True)
        for name, value in before.items():
            os.environ.pop(name, None)
            os.environ.update({name: value} if value is not None else {})


def _script(name: str, *arguments: str) -> None:
    done = subprocess.run(
        [SCRIPTS / name, *arguments], capture_output=True, text=True, timeout=120, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{name}: {done.stderr}")


def slurm(*command: str) -> str:
    """What a command of that Slurm prints."""
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def site_options() -> dict[str, Any]:
    """The test site's options of dask-jobqueue, with the GPUs that a campaign asks for there."""
    content = yaml.safe_load((SCRIPTS / f"{SITE}.yaml").read_text(encoding="utf-8"))
    options: dict[str, Any] = content["jobqueue"][SITE]
    return options | {"job-extra-directives": [f"--gpus-per-node={GPUS}"]}


def facts_of(campaign: Path) -> list[dict[str, Any]]:
    """What the journal says so far; it may be written right now."""
    path = campaign / "journal.jsonl"
    return [dict(fact) for fact in JournalReader(path)] if path.exists() else []


def wait_for(look: Callable[[], T | None]) -> T:
    """Wait until there is something to be seen, and give it."""
    deadline = time.monotonic() + LIMIT
    while (found := look()) is None:
        if time.monotonic() > deadline:
            raise RuntimeError(f"nothing has come within {LIMIT:g} s")
        time.sleep(0.1)
    return found
