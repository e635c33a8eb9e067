"""What a batch job can find out about itself, from the inside: its id, and when it ends.

It imports nothing but the standard library: it runs at the start of every batch job.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Mapping

__all__ = ["BATCH", "BEGAN", "ENDS", "batch_id", "end_of"]

BATCH = "DASKHPO_BATCH"  # environment of a worker: the id of its batch job
BEGAN = "DASKHPO_BEGAN"  # environment of the launcher: when the script began, seconds since 1970
ENDS = "DASKHPO_ENDS"  # environment of a worker: when it is killed, seconds since 1970

# Slurm, PBS, LSF, OAR, Grid Engine, and processes of one machine; HTCondor has none, its id comes
# with the arguments.
IDS = (BATCH, "SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "OAR_JOB_ID", "JOB_ID", "PROCESSES_JOB_ID")
END_TIMES = ("SLURM_JOB_END_TIME", "PROCESSES_JOB_END_TIME")  # older Slurms do not say it
PATIENCE = 10.0  # seconds; a controller that is slower is not waited for


def batch_id(environ: Mapping[str, str]) -> str:
    """The id of the batch job that this process runs in; empty if it runs in none.

    Examples
    --------
    >>> batch_id({"SLURM_JOB_ID": "17"}), batch_id({})
    ('17', '')
    """
    return next((environ[name] for name in IDS if environ.get(name)), "")


def end_of(environ: Mapping[str, str], walltime: float | None = None) -> float | None:
    """When the batch job of this process is killed, in seconds since 1970.

    Parameters
    ----------
    environ : mapping
        Of a process in the batch job.
    walltime : float, optional
        Seconds that it was granted, for where the batch system does not say when it ends.

    Returns
    -------
    float or None
        None if nobody knows.

    Examples
    --------
    >>> end_of({"SLURM_JOB_END_TIME": "1800000000"})
    1800000000.0
    >>> end_of({"PBS_JOBID": "17.pbs", "DASKHPO_BEGAN": "1800000000"}, walltime=3600)
    1800003600.0
    """
    said = next((environ[name] for name in END_TIMES if environ.get(name)), "")
    if not said and environ.get("SLURM_JOB_ID"):
        said = _ask_slurm(environ["SLURM_JOB_ID"])
    with contextlib.suppress(ValueError):  # nobody says, or it has no end
        return float(said)
    if walltime is None:
        return None
    began = environ.get(BEGAN, "")
    return (float(began) if began.isdigit() else time.time()) + walltime


def _ask_slurm(job: str) -> str:
    """Seconds since 1970 as text, or anything else."""
    command = ["squeue", "--noheader", "--jobs", job, "--format", "%e"]
    try:
        answer = subprocess.run(
            command,
            env={**os.environ, "SLURM_TIME_FORMAT": "%s"},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return answer.stdout.strip()
