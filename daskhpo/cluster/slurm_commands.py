"""Slurm's commands: run with a time limit, and without the options of a surrounding job."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess

from daskhpo.cluster.batch import Unreachable
from daskhpo.cluster.commands import Answer
from daskhpo.cluster.slurm_words import fields, records

__all__ = ["answered", "ask", "sacct_job", "show_job", "trouble"]

PATIENCE = 60.0  # seconds for an answer; a busy controller needs some, a dead one more than that

# A job hands its own options to whatever it starts, and users set formats for their eyes.
_FOREIGN = re.compile(r"(SLURM|SLURMD|SBATCH|SALLOC|SRUN|SQUEUE|SINFO|SCONTROL|SCANCEL|SACCT)_")

_FORGOTTEN = re.compile(r"Invalid job id|not found", re.IGNORECASE)
_SACCT = (
    "JobID,JobName,State,ExitCode,Submit,Start,End,ElapsedRaw,AllocNodes,AllocCPUS,CPUTimeRAW,"
    "AllocTRES,NodeList,Partition,Account,User"
)

_TROUBLES = (
    (
        "munge",
        "munge, with which Slurm knows its users, does not run on this machine",
    ),
    (
        "configuration source|DNS SRV|configuration file|slurm.conf|s_p_parse_file",
        "this machine knows no Slurm: is it a login node, and SLURM_CONF right?",
    ),
    (
        "contact slurm controller|Unable to contact|Connection refused|Socket timed out|"
        "Zero Bytes|connect failure|Communication connection failure|in standby mode|"
        "Transport endpoint|Connection timed out|Protocol authentication",
        "the Slurm controller does not answer",
    ),
)


def ask(*command: str, seconds: float | None = None) -> Answer:
    """Run one of Slurm's commands to its end.

    Parameters
    ----------
    *command : str
        The command and its arguments.
    seconds : float, optional
        Until it is given up, with what it started; :data:`PATIENCE` by default.

    Raises
    ------
    Unreachable
        If it is missing, or does not end.

    Examples
    --------
    >>> ask("echo", "17").out
    '17\\n'
    """
    seconds = PATIENCE if seconds is None else seconds
    try:
        # In a session of its own: Ctrl-C in the terminal is the driver's, and a site's wrapper
        # of the command can be ended together with the command.
        process = subprocess.Popen(
            command,
            env=_environment(command[0]),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
    except OSError as error:
        raise Unreachable(
            f"Slurm's {command[0]} cannot be run on this machine ({error.strerror}): "
            "is it a login node of a site with Slurm?"
        ) from error
    with process:
        try:
            out, err = process.communicate(timeout=seconds)
        except BaseException as error:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            if isinstance(error, subprocess.TimeoutExpired):
                raise _silence(command[0], seconds, process.communicate()[1]) from error
            raise
    return Answer(command, process.returncode, out, err)


def _silence(command: str, seconds: float, err: str) -> Unreachable:
    """What it complained of while it tried again and again says why it did not end."""
    silent = f"{command} has not answered for {seconds:g} s"
    why = trouble(Answer([command], 1, "", err))
    said = " / ".join(err.strip().splitlines()[-2:])
    return Unreachable(f"{why} ({silent}: {said})" if why else silent)


def _environment(command: str) -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if name == "SLURM_CONF" or not _FOREIGN.match(name)
    }
    # Local times are ambiguous in one night of the year. sbatch prints none, but would hand the
    # format on to the batch job.
    return kept if command == "sbatch" else kept | {"SLURM_TIME_FORMAT": "%s"}


def trouble(answer: Answer) -> str:
    """Why Slurm cannot be asked at all, in words; empty if that is not what a command says.

    Examples
    --------
    >>> trouble(Answer(["squeue"], 1, "", "Unable to contact slurm controller (connect failure)"))
    'the Slurm controller does not answer'
    >>> trouble(Answer(["sbatch"], 1, "", "Invalid partition name specified"))
    ''
    """
    text = answer.err + answer.out
    for words, meaning in _TROUBLES:
        if re.search(words, text, re.IGNORECASE):
            return meaning
    return ""


def answered(answer: Answer) -> Answer:
    """The same answer, if the command succeeded.

    Raises
    ------
    Unreachable
        With what is wrong, and what the command said.
    """
    if answer.code == 0:
        return answer
    said = f"{answer.command[0]} says: {answer.said or f'exit code {answer.code}'}"
    why = trouble(answer)
    raise Unreachable(f"{why} ({said})" if why else said)


def show_job(id: str) -> dict[str, str]:
    """What ``scontrol show job -d`` says of a batch job, by its own names.

    Parameters
    ----------
    id : str
        Of the batch job.

    Returns
    -------
    dict
        Such as ``{"JobState": "RUNNING", "RunTime": "00:02:10", "StartTime": "1795259170", ...}``,
        times in seconds since 1970; empty if Slurm has forgotten it, some minutes after its end.

    Raises
    ------
    Unreachable
        If Slurm does not answer.
    """
    answer = ask("scontrol", "show", "job", "-d", id)
    if answer.code and _FORGOTTEN.search(answer.err + answer.out):
        return {}
    return fields(answered(answer).out.strip().split("\n\n")[0])


def sacct_job(id: str) -> dict[str, str]:
    """What ``sacct`` says of a batch job, by its own names; empty where there is no accounting.

    Parameters
    ----------
    id : str
        Of the batch job.

    Returns
    -------
    dict
        Such as ``{"State": "TIMEOUT", "ElapsedRaw": "3600", "AllocTRES": "cpu=8,gres/gpu=4"}``.
    """
    try:
        answer = ask("sacct", "--allocations", "--parsable2", f"--jobs={id}", f"--format={_SACCT}")
    except Unreachable:
        return {}
    rows = records(answer.out) if answer.code == 0 else []
    return next((row for row in rows if row.get("JobID") == id), {})
