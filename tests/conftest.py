"""What many tests need: a cluster, a campaign directory, a tuner in one line."""

from __future__ import annotations

import contextlib
import logging
import subprocess

import pytest

from daskhpo import ASHA, Float, Space

# They hold fixtures, no doctests, and all have the same module name.
collect_ignore_glob = ["conftest.py", "*/conftest.py"]


@pytest.fixture(scope="module")
def client():
    """Two single-threaded worker processes, shared by the tests of a module."""
    from distributed import Client, LocalCluster

    with (
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            memory_limit=None,
            dashboard_address="127.0.0.1:0",
            silence_logs=logging.CRITICAL,
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


@pytest.fixture
def tuner_of(tmp_path):
    """Make a tuner of an objective in this test's campaign directory."""
    from daskhpo import Tuner

    def make(objective, *, scheduler=None, **settings):
        settings = {"metric": "loss", "sampler": "random", "path": tmp_path / "campaign"} | settings
        scheduler = scheduler if scheduler is not None else ASHA(max_step=9, eta=3)
        return Tuner(objective, Space(x=Float(0.0, 1.0)), scheduler=scheduler, **settings)

    return make


@contextlib.contextmanager
def _mounted(path, *options):
    path.mkdir()
    command = ["mount", "-t", "tmpfs", *options, "tmpfs", str(path)]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("there is no mount command here")
    if done.returncode:
        pytest.skip(f"a tmpfs cannot be mounted here (needs root): {done.stderr.strip()}")
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of one megabyte."""
    with _mounted(tmp_path / "small", "-o", "size=1m") as path:
        yield path
