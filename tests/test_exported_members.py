"""The public names of the package, pinned."""

from __future__ import annotations

import subprocess
import sys

import daskhpo

NAMES = {
    *("ASHA", "Fifo", "Median"),
    *("Choice", "Constant", "Float", "Int", "Space"),
    *("Budget", "Campaign", "CommandObjective", "Study", "Tuner", "Workers"),
    *("Decision", "Direction", "Job", "Outcome", "Trial", "TrialState"),
}


def test_the_public_names_are_these() -> None:
    assert set(daskhpo.__all__) == NAMES
    assert all(getattr(daskhpo, name) is not None for name in NAMES)


def test_importing_the_package_is_light() -> None:
    heavy = "dask distributed torch zarr xarray pandas sklearn skopt scipy"
    code = f"import sys, daskhpo; print([m for m in {heavy.split()} if m in sys.modules])"
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert printed.stdout.strip() == "[]"
