"""The journal: every fact of a campaign, one checked line each, in order, never changed.

The format of a line is described in :mod:`daskhpo.store.lines`; reading is
:mod:`daskhpo.store.reader`, whose names are also importable from here.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from daskhpo.exceptions import StoreError
from daskhpo.store.disk import disk_error, sync_directory
from daskhpo.store.lines import encode_line
from daskhpo.store.reader import JournalReader, TornLine, read
from daskhpo.trial import Fact

__all__ = ["Journal", "JournalReader", "TornLine", "read"]

logger = logging.getLogger(__name__)

_UNSYNCED_LINES = 1 << 16  # more lines than this are not kept waiting for an fsync


class Journal:
    """Append facts to a journal; one writer at a time (see :class:`daskhpo.store.lock.Lock`).

    :meth:`append` costs microseconds and only remembers; :meth:`commit` writes everything
    remembered in one go. A fact counts as acknowledged when the commit after it has returned.
    Appending never waits for the disk, also while another thread commits.

    Parameters
    ----------
    path : path
        The file; made if it is missing. If its last line is torn, the bytes of that line are moved
        to a neighbour (``journal.torn``) and the journal goes on behind the last whole one.
    sync_every : float
        Seconds: a commit fsyncs when the last fsync is longer ago than this.
    now : callable
        The clock for ``t`` and for ``sync_every``, in seconds.

    Raises
    ------
    StoreError
        If the file cannot be opened, or its end is damaged by more than a torn line.

    Notes
    -----
    When a write fails nothing is forgotten: the facts stay in memory, what reached the file of
    the failed write is cut off, and the next commit writes them again. A failed *fsync* leaves
    unknown what the disk holds (the kernel may have dropped the pages), so the lines since the
    last good one are kept until an fsync succeeds and are then written anew.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with Journal(pathlib.Path(folder, "journal.jsonl")) as journal:
    ...         seq = journal.append({"kind": "asked", "number": 0, "attempt": 0})
    ...         waiting = journal.pending
    ...         journal.commit(durable=True)
    ...         seq, waiting, journal.pending
    (1, 1, 0)
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        sync_every: float = 1.0,
        now: Callable[[], float] = time.time,
    ) -> None:
        if not sync_every >= 0:
            raise StoreError(f"sync_every must be 0 or more seconds; given: {sync_every!r}")
        self.path = Path(path)
        self._sync_every = sync_every
        self._now = now
        self._lock = threading.Lock()  # guards the two lists; held for microseconds
        self._disk = threading.Lock()  # guards the file; held while the disk works
        self._pending: list[bytes] = []  # lines that are in no file yet
        self._unsynced: list[bytes] = []  # lines that are written but may not survive power loss
        self._damaged = False  # the file may hold something else than _unsynced behind _synced
        try:
            self._handle = self._open()
        except OSError as error:
            raise disk_error("open", self.path, error) from error
        self._synced_at = now()

    @property
    def seq(self) -> int:
        """Sequence number of the newest fact, 0 in an empty journal."""
        with self._lock:
            return self._newest()

    @property
    def closed(self) -> bool:
        """Whether the file was closed; nothing can be committed then."""
        return self._handle < 0

    @property
    def pending(self) -> int:
        """Facts that the next commit has to write."""
        return len(self._pending)

    def append(self, fact: Fact) -> int:
        """Remember a fact for the next commit.

        Parameters
        ----------
        fact : dict
            JSON data with a ``kind``; ``crc``, ``seq`` and ``t`` are added here. Numpy scalars
            become Python numbers, tuples are read back as lists.

        Returns
        -------
        int
            The sequence number.

        Raises
        ------
        StoreError
            If the fact cannot be written as JSON; nothing is remembered then.
        """
        with self._lock:
            seq = self._newest() + 1
            self._pending.append(encode_line(fact, seq=seq, t=self._now()))
        return seq

    def commit(self, *, durable: bool) -> None:
        """Write every pending fact; on return they are acknowledged.

        Parameters
        ----------
        durable : bool
            True where something irrevocable rests on the facts: they then survive the loss of
            the machine. False: they survive the loss of this process, and of the machine within
            ``sync_every`` seconds.

        Raises
        ------
        StoreError
            If the disk refuses. Nothing is lost: call again when it has been mended.
        """
        with self._disk:
            if self.closed:
                raise StoreError(f"{self.path} was closed: open the journal again to write to it")
            try:
                if self._damaged:
                    self._start_again()
                self._write()
                if self._unsynced and (durable or self._overdue()):
                    self._sync()
            except OSError as error:
                raise disk_error("write", self.path, error) from error

    def close(self) -> None:
        """Commit what is pending, durably, and close the file.

        Raises
        ------
        StoreError
            If the disk refuses; the journal then stays open and can be closed again.
        """
        if not self.closed:
            self.commit(durable=True)
            self.discard()

    def discard(self) -> None:
        """Close the file without writing what is pending: for a writer that lost its right."""
        with self._disk:
            if not self.closed:
                os.close(self._handle)
                self._handle = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Journal {self.path}: {self.seq} facts, {self.pending} pending>"

    def _newest(self) -> int:
        # One truth: an interrupt can never leave a number without its line or twice the same.
        return self._synced_seq + len(self._unsynced) + len(self._pending)

    def _open(self) -> int:
        handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        try:
            sync_directory(self.path.parent)
            tail = JournalReader.at_tail(self.path)
            try:
                for _ in tail:
                    pass
            except StoreError:
                for _ in JournalReader(self.path):  # from the start: it knows the line number
                    pass
                raise
            self._synced_seq, self._size = tail.seq, tail.offset
            if tail.torn:
                self._set_aside(handle, tail.torn)
            # What an earlier writer left may not be on the disk yet; from here on it is.
            os.fsync(handle)
        except BaseException:
            os.close(handle)
            raise
        self._synced = self._size
        return handle

    def _set_aside(self, handle: int, torn: TornLine) -> None:
        keep = self.path.with_suffix(".torn")
        with open(keep, "ab") as file:
            file.write(os.pread(handle, torn.size, torn.offset))
            file.flush()
            os.fsync(file.fileno())
        os.ftruncate(handle, torn.offset)
        logger.warning(
            "%s: line %d was not written to its end (%s); its bytes are kept in %s",
            *(self.path, torn.number, torn.why, keep),
        )

    def _overdue(self) -> bool:
        age = self._now() - self._synced_at
        in_time = 0 <= age < self._sync_every  # a clock that was set back counts as overdue
        return not in_time or len(self._unsynced) >= _UNSYNCED_LINES

    def _start_again(self) -> None:
        """Cut the file to what is certain to be on disk, and write all the rest again."""
        os.ftruncate(self._handle, self._synced)
        with self._lock:
            self._pending, self._unsynced = self._unsynced + self._pending, []
        self._size = self._synced
        self._damaged = False

    def _write(self) -> None:
        with self._lock:
            lines = self._pending.copy()
        if not lines:
            return
        self._check_alone()
        data = b"".join(lines)
        view = memoryview(data)
        self._damaged = True  # until the books below are right again
        try:
            while view:
                view = view[os.write(self._handle, view) :]
        except BaseException:
            self._cut_back()
            raise
        with self._lock:
            self._unsynced, self._pending = self._unsynced + lines, self._pending[len(lines) :]
        self._size += len(data)
        self._damaged = False

    def _cut_back(self) -> None:
        """Take the partial lines of a failed write out of the readers' sight."""
        try:
            os.ftruncate(self._handle, self._size)
            self._damaged = False
        except OSError:
            logger.warning("%s: a partial line could not be cut off yet", self.path)

    def _check_alone(self) -> None:
        status = os.fstat(self._handle)
        if status.st_size != self._size or status.st_nlink == 0:
            what = "removed" if status.st_nlink == 0 else "changed by another process"
            raise StoreError(
                f"{self.path} was {what} while this process wrote to it: stop the other writer "
                "or restore the file, then resume the campaign"
            )

    def _sync(self) -> None:
        try:
            os.fsync(self._handle)
        except OSError:
            self._damaged = True
            raise
        with self._lock:
            self._synced_seq, self._unsynced = self._synced_seq + len(self._unsynced), []
        self._synced = self._size
        self._synced_at = self._now()
