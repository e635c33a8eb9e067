"""The public names: adding or removing one is a decision, not an accident."""

from __future__ import annotations

import subprocess
import sys

import daskhpo

NAMES = [
    *("ASHA", "Budget", "Campaign", "Choice", "CommandObjective", "Constant", "Decision"),
    *("Direction", "FastHyperband", "Fifo", "Float", "Hyperband", "Int", "Job", "Median"),
    *("OneCut", "Outcome", "PBT", "SHA", "Space", "Study", "SwiftHyperband", "Trial"),
    *("TrialState", "Tuner", "Workers", "async_hyperband", "attach"),
]


def test_the_public_names_are_these():
    assert sorted(daskhpo.__all__) == NAMES
    assert set(NAMES) <= set(dir(daskhpo))


def test_every_public_name_can_be_had_and_is_documented():
    for name in NAMES:
        assert getattr(daskhpo, name).__doc__


def test_importing_the_package_loads_nothing_heavy():
    code = (
        "import sys, daskhpo\n"
        "heavy = {'dask', 'distributed', 'zarr', 'xarray', 'torch', 'pandas', 'skopt', 'sklearn'}\n"
        "sys.exit(', '.join(sorted(heavy & set(sys.modules))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.strip() == ""
