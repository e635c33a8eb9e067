"""What people ask of a driver that runs elsewhere: a file in the campaign directory, no network.

::

    runs/first/pool/stop    why the campaign is to end; the driver looks for it every few seconds
"""

from __future__ import annotations

import os
from pathlib import Path

from daskhpo.store.disk import disk_error, write_atomic

__all__ = ["clear_stop", "request_stop", "stop_requested"]

STOP = "pool/stop"  # within the campaign directory


def request_stop(directory: str | os.PathLike[str], reason: str = "asked to stop") -> None:
    """Ask the driver of a campaign, on whatever host it runs, to end.

    Trials then pause with a checkpoint and every worker is let go. The request stays until
    somebody wants the campaign to go on (:func:`clear_stop`): drivers that still wait in a queue
    find it too.

    Parameters
    ----------
    directory : path
        The campaign's.
    reason : str
        Goes into the journal as the reason of the end; one line.

    Raises
    ------
    StoreError
        If it cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     request_stop(folder, "asked to stop by ada")
    ...     stop_requested(folder)
    'asked to stop by ada'
    """
    path = Path(directory, STOP)
    try:
        path.parent.mkdir(exist_ok=True)
    except OSError as error:
        raise disk_error("create", path.parent, error) from error
    write_atomic(path, " ".join(reason.split()) + "\n")


def stop_requested(directory: str | os.PathLike[str]) -> str:
    """Why the campaign is to end; empty if nobody asked for that.

    Never raises: where the file system does not answer there is no request yet, and whoever asks
    every few seconds sees it later.

    Parameters
    ----------
    directory : path
        The campaign's.

    Examples
    --------
    >>> stop_requested("nowhere")
    ''
    """
    try:
        text = Path(directory, STOP).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return text.strip() or "asked to stop"


def clear_stop(directory: str | os.PathLike[str]) -> None:
    """Forget the request: before a campaign is started or resumed because somebody wants that.

    Parameters
    ----------
    directory : path
        The campaign's.

    Raises
    ------
    StoreError
        If it cannot be removed.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     request_stop(folder)
    ...     clear_stop(folder)
    ...     stop_requested(folder)
    ''
    """
    path = Path(directory, STOP)
    try:
        path.unlink(missing_ok=True)
    except NotADirectoryError:
        return
    except OSError as error:
        raise disk_error("remove", path, error) from error
