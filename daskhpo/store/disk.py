"""How bytes reach a disk whole or not at all, and what to say when they do not."""

from __future__ import annotations

import errno
import os
import uuid
from pathlib import Path

from daskhpo.exceptions import StoreError

__all__ = ["disk_error", "sync_directory", "write_atomic"]

PARTIAL = ".partial"  # ending of files that are not finished; safe to delete when no one writes

_CURES = {
    errno.ENOSPC: "the file system is full: free some space (or inodes) and try again",
    errno.EDQUOT: "your quota is used up: free some space or ask for more, and try again",
    errno.EROFS: "the file system is mounted read-only: choose a path that can be written",
    errno.EACCES: "you lack the permission: check owner and mode of the directory",
    errno.EPERM: "you lack the permission: check owner and mode of the directory",
    errno.EIO: "the file system reports a hardware or network fault: try again once it is mended",
    errno.ESTALE: "the network file system lost the file: check that it is mounted, and try again",
    errno.ENOENT: "the directory is not there (any more): check the path",
    errno.ENOTDIR: "a part of the path is a file: check the path",
}


def disk_error(doing: str, path: str | os.PathLike[str], error: OSError) -> StoreError:
    """Turn a failed system call into an error that says what to do.

    Parameters
    ----------
    doing : str
        What was tried, as a verb: ``"write"``, ``"open"``.
    path : path
        What it was tried on.
    error : OSError
        What the system answered.

    Returns
    -------
    StoreError
        To be raised ``from error``.

    Examples
    --------
    >>> import errno
    >>> print(disk_error("write", "runs/a/journal.jsonl", OSError(errno.EROFS, "Read-only")))
    cannot write runs/a/journal.jsonl (Read-only): the file system is mounted read-only: choose \
a path that can be written
    """
    reason = error.strerror or str(error)
    cure = _CURES.get(error.errno or 0, "check the path and the file system")
    return StoreError(f"cannot {doing} {os.fspath(path)} ({reason}): {cure}")


def sync_directory(path: str | os.PathLike[str]) -> None:
    """Make the names in a directory (new files, renames) survive a power failure.

    Examples
    --------
    >>> sync_directory(".")
    """
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    except OSError as error:
        # Some network file systems know no fsync of directories; their renames are durable.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)


def write_atomic(path: str | os.PathLike[str], text: str) -> None:
    """Write a text file so that readers see the old content or the new one, never half.

    The text goes to a hidden neighbour that ends in ``.partial``, is fsynced and renamed.

    Parameters
    ----------
    path : path
        The file; its directory must exist.
    text : str
        The content, written as UTF-8.

    Raises
    ------
    StoreError
        If the disk refuses; the old content is then untouched.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_atomic(pathlib.Path(folder, "note.txt"), "hello")
    ...     pathlib.Path(folder, "note.txt").read_text()
    'hello'
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}{PARTIAL}")
    try:
        try:
            with open(partial, "x", encoding="utf-8", newline="") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        sync_directory(path.parent)
    except OSError as error:
        raise disk_error("write", path, error) from error
