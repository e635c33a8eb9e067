"""What a batch job has written, for the message about its death."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["log_tail"]

LINES, BYTES = 20, 4096  # of each log, from its end


def log_tail(directory: Path, batch: str, name: str = "") -> str:
    """The ends of the logs of a batch job; empty if it has written nothing.

    Batch systems have their own ways to name logs; all put the number of the batch job into it.

    Parameters
    ----------
    directory : path
        Where the logs of the campaign lie.
    batch : str
        The id of the batch job.
    name : str
        Of all batch jobs of the campaign; digits in it are no ids.

    Returns
    -------
    str
        The last lines of each, under its path.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "hpo-a1b2-17.err").write_text("no module named model")
    ...     log_tail(Path(folder), "17", "hpo-a1b2").endswith("17.err:\\nno module named model")
    True
    """
    number = re.search(r"\d+(?:\.\d+)?", batch)  # the steps of an allocation have two
    if number is None:
        return ""
    named = re.compile(rf"(?<!\d){re.escape(number[0])}(?!\d)")
    try:
        found = sorted(
            path for path in directory.iterdir() if named.search(path.name.replace(name, ""))
        )
        tails = [(path, _tail(path)) for path in found]
    except OSError:
        return ""
    return "\n".join(f"{path}:\n{tail}" for path, tail in tails if tail)


def _tail(path: Path) -> str:
    with open(path, "rb") as file:
        file.seek(max(0, path.stat().st_size - BYTES))
        lines = file.read().decode("utf-8", "replace").strip().splitlines()
    return "\n".join(lines[-LINES:])
