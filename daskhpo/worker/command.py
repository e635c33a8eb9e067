"""Tune a script that cannot be edited: any command that writes its metrics somewhere."""

from __future__ import annotations

import json
import logging
import math
import os
import select
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from daskhpo.exceptions import ObjectiveError
from daskhpo.trial import Decision
from daskhpo.worker.session import Session

__all__ = ["CommandObjective"]

logger = logging.getLogger(__name__)

POLL = 0.2  # seconds between two looks at a metrics file, or at the clock
MERCY = 10.0  # seconds between SIGTERM and SIGKILL

# The shell gets SIGTERM too. With this it stays until what it runs at the time has ended; without,
# it would be gone at once, and mercy with it.
_STAY = "trap 'exit 143' TERM\n"


class CommandObjective:
    """An objective that runs a shell command and reads its metrics as JSON lines.

    The command is a template: ``{lr}`` is replaced by the trial's ``lr``, quoted for the shell;
    ``{max_step}``, ``{number}``, ``{seed}`` and ``{dir}`` (the trial's own directory, which
    outlives its jobs) are known too, and ``{parent_dir}``, the directory of the trial whose place
    in training this one is to take over (population based training), empty for all others. Write
    them without quotes of your own. The same is in the environment as ``DASKHPO_PARAMS`` (JSON),
    ``DASKHPO_MAX_STEP``, ``DASKHPO_NUMBER``, ``DASKHPO_SEED``, ``DASKHPO_DIR`` and
    ``DASKHPO_PARENT_DIR``.

    Metrics are lines such as ``{"step": 3, "val_loss": 0.2}``, written to the file descriptor in
    ``DASKHPO_METRICS_FD`` or, if ``metrics`` is given, appended to that file. Lines that are no
    JSON object with a step are passed over. At a milestone the command is halted (SIGSTOP) until
    the decision is there; to pause or stop it gets SIGTERM, and SIGKILL ten seconds later. A
    command that keeps checkpoints in ``{dir}`` and looks for them when it starts resumes; any
    other starts again, and steps that were reported before are not counted twice.

    In a batch job the command finds in ``DASKHPO_ENDS`` when that is killed, in seconds since
    1970. It gets SIGTERM before: as soon as it has reported and would not come to another report
    in time, going by how long it took for those so far, or in the middle of a step when only the
    margin is left. The trial is then retried elsewhere, where the command finds its own
    checkpoint in ``{dir}``.

    Parameters
    ----------
    command : str
        The shell command.
    metrics : str, optional
        A file to read metrics from instead of the descriptor, a template too, such as
        ``"{dir}/metrics.jsonl"``.

    Examples
    --------
    >>> objective = CommandObjective("python train.py --lr {lr} --epochs {max_step}")
    >>> objective.fill(objective.command, {"lr": 0.1, "max_step": 9})
    'python train.py --lr 0.1 --epochs 9'
    """

    def __init__(self, command: str, *, metrics: str | None = None) -> None:
        self.command = command
        self.metrics = metrics

    def fill(self, template: str, values: dict[str, Any]) -> str:
        """Replace ``{name}`` by the shell-quoted value of that name.

        Raises
        ------
        ObjectiveError
            If a name is unknown.
        """
        return _fill(template, {name: shlex.quote(str(value)) for name, value in values.items()})

    def __call__(self, trial: Session) -> None:
        """Run the command as one job of ``trial``."""
        values = {
            **trial.params,
            "max_step": trial.max_step,
            "number": trial.number,
            "seed": trial.seed,
            "dir": str(trial.folder()),
            "parent_dir": _parent_folder(trial),
        }
        command = self.fill(self.command, values)
        tail = Path(_fill(self.metrics, values)) if self.metrics else None
        log = trial.folder() / f"command-a{trial.attempt}.log"
        with open(log, "wb") as output:
            process, pipe = _start(command, trial, output)
            try:
                lines = _follow(tail, process) if tail else _read(pipe)
                ended_by_us = _watch(trial, process, lines)
                code = process.wait()
            finally:
                _end(process)
                pipe.close()
        if code != 0 and not ended_by_us:
            raise RuntimeError(f"the command ended with code {code}: {_tail(log)}")


def _fill(template: str, values: dict[str, Any]) -> str:
    try:
        return template.format_map(values)
    except (KeyError, IndexError, ValueError) as error:
        known = ", ".join(sorted(values))
        raise ObjectiveError(f"command {template!r}: {error} is unknown; known: {known}") from error


def _parent_folder(trial: Session) -> str:
    return "" if trial.parent is None else str(trial.path.with_name(f"{trial.parent:05d}"))


def _start(
    command: str, trial: Session, output: IO[bytes]
) -> tuple[subprocess.Popen[bytes], IO[bytes]]:
    reading, writing = os.pipe()
    environment = {name: value for name, value in os.environ.items() if name != "DASKHPO_ENDS"}
    environment |= {
        "DASKHPO_PARAMS": json.dumps(trial.params),
        "DASKHPO_MAX_STEP": str(trial.max_step),
        "DASKHPO_NUMBER": str(trial.number),
        "DASKHPO_SEED": str(trial.seed),
        "DASKHPO_DIR": str(trial.path),
        "DASKHPO_PARENT_DIR": _parent_folder(trial),
        "DASKHPO_METRICS_FD": str(writing),
    }
    if trial.ends < math.inf:
        environment["DASKHPO_ENDS"] = f"{trial.ends:.0f}"
    process = subprocess.Popen(
        _STAY + command,
        shell=True,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        pass_fds=(writing,),
        env=environment,
        start_new_session=True,
    )
    os.close(writing)
    return process, open(reading, "rb", buffering=0)


def _watch(trial: Session, process: subprocess.Popen[bytes], lines: Iterator[bytes]) -> bool:
    """Report line after line; True when the command was told to end."""
    seen = 0
    for line in lines:
        parsed = _parse(line)
        if parsed is None or parsed[0] <= seen:
            if _is_over(trial, seen):
                _end(process)
                return True
            continue
        seen, metrics = parsed
        if trial.milestone(seen):
            _signal(process, signal.SIGSTOP)
        decision = trial.report_step(seen, metrics)
        _signal(process, signal.SIGCONT)
        if decision is not Decision.CONTINUE and seen < trial.max_step:
            _end(process)
            return True
    return False


def _is_over(trial: Session, seen: int) -> bool:
    """Whether a command in the middle of a step has to end, because its batch job does.

    Not where it is one of several ranks: they can only leave together, after a step.
    """
    if trial.seconds_left > 0 or trial.world_size > 1:
        return False
    if not seen:
        logger.warning(
            "trial %d: its command has reported nothing for %.0f s, until its batch job ended: "
            "unless it keeps checkpoints between its reports, it needs a longer walltime",
            *(trial.number, trial.seconds),
        )
    trial.leave()
    return True


def _parse(line: bytes) -> tuple[int, dict[str, float]] | None:
    try:
        content = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(content, dict) or not isinstance(content.get("step"), int):
        return None
    step = content.pop("step")
    numbers = {name: _number(value) for name, value in content.items()}
    return step, {name: value for name, value in numbers.items() if value is not None}


def _number(value: object) -> float | None:
    try:
        return float(value) if isinstance(value, int | float) else None
    except OverflowError:  # an integer beyond all floats
        return None


def _read(pipe: IO[bytes]) -> Iterator[bytes]:
    """Lines as they come, and an empty one whenever none has come for a while."""
    poller, rest = select.poll(), b""
    poller.register(pipe, select.POLLIN)
    while True:
        if not poller.poll(1000 * POLL):  # milliseconds
            yield b""
            continue
        content = pipe.read(65536)
        if not content:
            yield rest
            return
        *whole, rest = (rest + content).split(b"\n")
        yield from whole


def _follow(path: Path, process: subprocess.Popen[bytes]) -> Iterator[bytes]:
    """Whole lines of a growing file, until its writer has ended, and empty ones meanwhile."""
    position, rest = 0, b""
    while True:
        ended = process.poll() is not None
        if path.exists():
            with open(path, "rb") as file:
                file.seek(position)
                content = file.read()
            position += len(content)
            *whole, rest = (rest + content).split(b"\n")
            yield from whole
        if ended:
            yield rest
            return
        yield b""
        time.sleep(POLL)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        _signal(process, signal.SIGTERM)
        _signal(process, signal.SIGCONT)
        try:
            process.wait(MERCY)
        except subprocess.TimeoutExpired:
            pass
    _signal(process, signal.SIGKILL)
    process.wait()


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    try:
        os.killpg(process.pid, number)
    except (ProcessLookupError, PermissionError):
        pass


def _tail(log: Path) -> str:
    return log.read_bytes()[-2000:].decode(errors="replace").strip()
