"""The report of a run in the format of HEP-workloads, which hep-score reads.

`<results>/mlpf/run<i>/mlpf_summary.json` holds `run_info` (how it was run), `report` (its scores)
and `app` (what was run).
"""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from daskhpo.mlpf.hepscore.workload import Timing, Workload
from daskhpo.store.disk import disk_error, write_atomic

__all__ = ["NAME", "containment", "summarise", "summary_path", "write_summary"]

NAME = "mlpf"  # of the workload and of its one throughput


def summarise(
    workload: Workload,
    timings: Sequence[Timing],
    *,
    data_checksum: str,
    containment: str = "none",
) -> dict[str, Any]:
    """Report one run.

    Parameters
    ----------
    workload : Workload
    timings : sequence of Timing
        One for each copy.
    data_checksum : str
        Of the events.
    containment : str
        What runs it: see `containment`.

    Returns
    -------
    dict
        JSON data. The score is the sum over copies of their mean throughputs, in events per
        second; `wl-stats` tells how the copies differ.

    Examples
    --------
    >>> timing = Timing(events=100, epoch_times=(9.0, 4.0, 5.0), start=0.0, stop=18.0)
    >>> made = summarise(Workload(events=100, epochs=3), [timing, timing], data_checksum="")
    >>> made["report"]["wl-scores"]
    {'mlpf': 45.0}
    """
    scores = [timing.mean_throughput for timing in timings]
    return {
        "run_info": {
            "copies": len(timings),
            "threads_per_copy": workload.threads,
            "events_per_thread": workload.events * workload.epochs // workload.threads,
            "extra_arguments": f"--events {workload.events} --epochs {workload.epochs} "
            f"--device {workload.device}",
        },
        "report": {
            "wl-scores": {NAME: round(sum(scores), 2)},
            "wl-stats": {
                NAME: {
                    "avg": statistics.fmean(scores),
                    "median": statistics.median(scores),
                    "min": min(scores),
                    "max": max(scores),
                    "count": len(scores),
                }
            },
            "log": "ok",
        },
        "app": {
            "version": f"v{metadata.version('daskhpo')}",
            "description": "Training of MLPF on Delphes-like events: events per second",
            "cvmfs_checksum": "",
            "bmkdata_checksum": data_checksum,
            "bmk_checksum": "",
            "containment": containment,
        },
    }


def containment(
    environment: Mapping[str, str] = os.environ, docker_mark: Path = Path("/.dockerenv")
) -> str:
    """Say in what this process runs: "singularity" (Apptainer too), "docker" or "none".

    Examples
    --------
    >>> containment({"APPTAINER_CONTAINER": "/images/hepscore.sif"})
    'singularity'
    """
    if any(f"{name}_CONTAINER" in environment for name in ("APPTAINER", "SINGULARITY")):
        return "singularity"
    return "docker" if docker_mark.exists() else "none"


def summary_path(out: Path, run: int) -> Path:
    """Where hep-score looks for the report of a repetition.

    Examples
    --------
    >>> summary_path(Path("results"), 0).as_posix()
    'results/mlpf/run0/mlpf_summary.json'
    """
    return out / NAME / f"run{run}" / f"{NAME}_summary.json"


def write_summary(
    out: Path, run: int, summary: Mapping[str, Any], copies: Sequence[Timing]
) -> Path:
    """Write the report of a repetition, and beside it `copy<k>.json` with the epochs of each copy.

    Raises
    ------
    StoreError
        If the disk refuses.
    """
    path = summary_path(out, run)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise disk_error("write", path.parent, error) from error
    for number, timing in enumerate(copies):
        _write(path.with_name(f"copy{number}.json"), timing.to_dict())
    _write(path, summary)
    return path


def _write(path: Path, content: Mapping[str, Any]) -> None:
    write_atomic(path, json.dumps(content, indent=2, allow_nan=False) + "\n")
