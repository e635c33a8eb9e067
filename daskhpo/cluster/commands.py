"""Commands of batch systems: run with a time limit, their answers as text."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from daskhpo.cluster.batch import Unreachable

__all__ = ["Answer", "Ask", "answered", "ask_shell"]

SECONDS = 60.0  # longer than any of them takes while its server lives


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command wrote, and its exit code.

    Parameters
    ----------
    command : sequence of str
        With its arguments.
    code : int
        0 if all was well.
    out, err : str
        Standard output and error.
    """

    command: Sequence[str]
    code: int
    out: str
    err: str = ""

    @property
    def said(self) -> str:
        """The last lines that it wrote, most likely about what is wrong."""
        lines = (self.err.strip() or self.out.strip()).splitlines()
        return " / ".join(line.strip() for line in lines[-3:] if line.strip())


Ask = Callable[[Sequence[str]], Answer]


def ask_shell(
    command: Sequence[str], *, stdin: str = "", environment: Mapping[str, str] | None = None
) -> Answer:
    """Run a command to its end.

    Parameters
    ----------
    command : sequence of str
        Without a shell.
    stdin : str
        What it reads.
    environment : mapping, optional
        Beyond this process's.

    Raises
    ------
    Unreachable
        If there is no such command here, or it does not end.

    Examples
    --------
    >>> ask_shell(["cat"], stdin="17").out
    '17'
    """
    try:
        done = subprocess.run(
            list(command),
            input=stdin,
            env={**os.environ, **(environment or {})},
            capture_output=True,
            text=True,
            errors="replace",
            timeout=SECONDS,
            check=False,
        )
    except OSError as error:
        raise Unreachable(
            f"{command[0]} cannot be run on this machine: {error.strerror}"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise Unreachable(f"{command[0]} has not answered for {SECONDS:.0f} s") from error
    return Answer(tuple(command), done.returncode, done.stdout, done.stderr)


def answered(answer: Answer, *, unless: re.Pattern[str] | None = None) -> Answer:
    """The same answer, if the command succeeded, or complained only of what does not matter.

    Raises
    ------
    Unreachable
        With what it said.

    Examples
    --------
    >>> answered(Answer(["qstat", "7"], 153, "", "qstat: Unknown Job Id 7.pbs\\n"),
    ...          unless=re.compile("Unknown Job")).out
    ''
    """
    lines = [line for line in answer.err.splitlines() if line.strip()]
    if answer.code == 0 or (unless and lines and all(map(unless.search, lines))):
        return answer
    raise Unreachable(f"{answer.command[0]} says: {answer.said or f'exit code {answer.code}'}")
