"""What torch is taken to be like after its import is what it is like."""

from __future__ import annotations

import os
import subprocess
import sys

LIST = """
import daskhpo.worker.surroundings as surroundings
import torch
for setting in surroundings._torch(torch):
    print(setting.name, setting.get() == setting.pristine)
"""


def test_the_defaults_of_torch_are_known():
    environ = os.environ | {"OMP_NUM_THREADS": "2"}
    listing = subprocess.run(
        [sys.executable, "-c", LIST], env=environ, check=True, capture_output=True, text=True
    ).stdout
    assert listing.count("True") >= 10
    assert [line for line in listing.splitlines() if not line.endswith(" True")] == []
