"""Benchmarks run; what they measure is not looked at here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

TABLE = Path(__file__).parents[1] / "benchmarks" / "table.py"


def test_the_benchmarks_of_one_process_run_in_small():
    command = [sys.executable, TABLE, "--quick", "core", "qubo", "advice"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    assert "| advice by svr" in run.stdout
