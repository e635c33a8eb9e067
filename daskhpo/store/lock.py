"""The lock: one writer per campaign directory, on any file system that many hosts share.

The lock is a file that only one process can create (``O_CREAT | O_EXCL``); it says who holds it.
Nothing depends on ``flock``, which parallel file systems are free to ignore between hosts.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import socket
import time
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from daskhpo.exceptions import LockedError, StoreError
from daskhpo.store.disk import PARTIAL, disk_error

__all__ = ["Holder", "Lock"]


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a lock.

    ``boot_id`` and ``pid_namespace`` tell whether ``pid`` means anything to the reader; a process
    number that was given anew is told by ``started`` (clock ticks since boot, None where the
    system does not say). ``since`` is unix time, for people only.
    """

    uuid: str
    host: str
    pid: int
    boot_id: str = ""
    pid_namespace: str = ""
    started: int | None = None
    user: str = ""
    since: float = 0.0

    @classmethod
    def myself(cls, *, name: str) -> Holder:
        """Describe this process; ``name`` is the identity of the lock, never used twice."""
        pid = os.getpid()
        boot_id = pid_namespace = user = ""
        with contextlib.suppress(OSError):
            boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
            pid_namespace = os.readlink("/proc/self/ns/pid")
        with contextlib.suppress(OSError, KeyError, ImportError):  # a user without a name
            user = getpass.getuser()
        started = _start_of(pid)
        host = socket.gethostname()
        return cls(name, host, pid, boot_id, pid_namespace, started, user, time.time())

    def same_machine(self, other: Holder) -> bool:
        """Whether the two share a process table, so that one can see whether the other lives."""
        mine = (self.host, self.boot_id, self.pid_namespace)
        return mine == (other.host, other.boot_id, other.pid_namespace)

    def alive(self) -> bool:
        """Whether the process lives; ask on the :meth:`same_machine` only."""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:  # somebody else's: it lives
            pass
        started = _start_of(self.pid)
        return started is None or self.started is None or started == self.started

    def __str__(self) -> str:
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.since))
        return f"process {self.pid} on {self.host} (user {self.user or 'unknown'}, since {since})"


def _start_of(pid: int) -> int | None:
    """When a process began, in clock ticks since boot; -1 for a corpse, None if unknown."""
    try:
        # The name of the program, in parentheses, may hold anything; the fields follow it.
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        return -1 if fields[0] in "ZX" else int(fields[19])
    except (OSError, IndexError, ValueError):
        return None


class Lock:
    """Hold the right to write to a campaign.

    A lock that its holder left behind is taken over: at once where the holder ran on this machine
    and its process is gone, otherwise when the file was not refreshed for ``stale_after`` seconds.
    A living process on this machine is never robbed, however old its file (a suspended laptop).

    Parameters
    ----------
    path : path
        The lock file.
    stale_after : float
        Seconds without :meth:`refresh` after which a holder on another machine counts as gone.
        Refresh at least six times as often.

    Raises
    ------
    LockedError
        By :meth:`acquire` if somebody holds it, by :meth:`held` and :meth:`refresh` if it was
        lost.

    Notes
    -----
    Ages are differences of two times that the file system gave: the lock's and that of a file
    made for the comparison, so clocks that disagree between hosts do no harm. (Lustre stamps
    files with the clock of the client; there ``stale_after`` must exceed the disagreement.)

    A stale lock can only be removed by who holds a second lock, named after the uuid in the first.
    A uuid is never used twice, so when that second lock is held and the first still carries the
    uuid, nobody else can have removed or replaced it: exactly one of many thieves wins. A thief
    that dies on the way leaves a second lock that is stale by the same rules.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "lock")
    ...     with Lock(path):
    ...         try:
    ...             Lock(path).acquire()
    ...         except LockedError:
    ...             print("one writer")
    one writer
    """

    def __init__(self, path: str | os.PathLike[str], *, stale_after: float = 60.0) -> None:
        if not stale_after > 0:
            raise StoreError(f"stale_after must be more than 0 seconds; given: {stale_after!r}")
        self.path = Path(path)
        self._stale_after = stale_after
        self._mine: Holder | None = None

    def acquire(self) -> None:
        """Take the lock, at once or not at all.

        Raises
        ------
        LockedError
            If somebody holds it; names the holder and the cure.
        StoreError
            If the directory cannot be written.
        """
        me = Holder.myself(name=uuid.uuid4().hex[:16])
        try:
            while not self._create(me):
                holder = _read(self.path)
                if holder is None:  # released between the two calls
                    continue
                if not self._stale(holder, me):
                    raise LockedError(self._refusal(holder))
                self._remove(holder)
        except OSError as error:
            raise disk_error("lock", self.path, error) from error
        self._mine = me

    def release(self) -> None:
        """Give the lock back; does nothing if it is not held or was lost."""
        mine, self._mine = self._mine, None
        if mine is not None and mine.pid == os.getpid():  # a forked child holds nothing
            try:
                self._remove(mine)
            except LockedError:  # who is just taking it over will remove it
                pass
            except OSError:  # a full disk has no room for a second lock
                with contextlib.suppress(OSError):
                    holder = _read(self.path)
                    if holder is not None and holder.uuid == mine.uuid:
                        self.path.unlink()

    def held(self) -> None:
        """Make sure that the lock is still ours.

        Raises
        ------
        LockedError
            If it is not; stop writing then.
        """
        if self._mine is None:
            raise LockedError(f"{self.path} is not held: acquire it first")
        try:
            holder = _read(self.path)
        except OSError as error:
            raise disk_error("read", self.path, error) from error
        if holder is None or holder.uuid != self._mine.uuid:
            taken = "was removed" if holder is None else f"was taken over by {holder}"
            raise LockedError(
                f"{self.path} {taken}: this process stopped writing; if it was suspended or cut "
                f"off for more than {self._stale_after:g} s, resume the campaign anew"
            )

    def refresh(self) -> None:
        """Show other hosts that the holder lives; call every ten seconds or so.

        Raises
        ------
        LockedError
            If the lock was lost.
        """
        self.held()
        try:
            os.utime(self.path)
        except OSError as error:
            raise disk_error("refresh", self.path, error) from error

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()

    def __repr__(self) -> str:
        return f"<Lock {self.path}: {'held' if self._mine else 'not held'}>"

    def _create(self, me: Holder) -> bool:
        """Make the file if nobody has it."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            handle = os.open(self.path, flags, 0o644)
        except FileExistsError:
            return False
        try:
            with open(handle, "w", encoding="utf-8") as file:
                json.dump(asdict(me), file)
                file.flush()
                os.fsync(handle)
        except BaseException:
            self.path.unlink(missing_ok=True)
            raise
        # Between creating and writing we were nameless, and could be robbed by our age alone.
        now = _read(self.path)
        return now is not None and now.uuid == me.uuid

    def _stale(self, holder: Holder, me: Holder) -> bool:
        if holder.same_machine(me):
            return not holder.alive()
        return self._age() > self._stale_after

    def _age(self) -> float:
        """Seconds since the last refresh, on the file system's own clock; 0 if it has gone."""
        probe = self.path.with_name(f"{self.path.name}.{uuid.uuid4().hex[:16]}{PARTIAL}")
        try:
            with open(probe, "x") as file:
                file.write(" ")
                file.flush()
                os.fsync(file.fileno())
            return probe.stat().st_mtime - self.path.stat().st_mtime
        except FileNotFoundError:
            return 0.0
        finally:
            probe.unlink(missing_ok=True)

    def _remove(self, holder: Holder) -> None:
        """Remove the file if it is still the given holder's (see the class's notes)."""
        right = Lock(
            self.path.with_name(f"{self.path.name}.{holder.uuid}"), stale_after=self._stale_after
        )
        me = Holder.myself(name=uuid.uuid4().hex[:16])
        while not right._create(me):
            thief = _read(right.path)
            if thief is None:
                continue
            if not right._stale(thief, me):
                raise LockedError(self._refusal(thief))
            right._remove(thief)
        try:
            current = _read(self.path)
            if current is not None and current.uuid == holder.uuid:
                self.path.unlink(missing_ok=True)
        finally:
            right.path.unlink(missing_ok=True)

    def _refusal(self, holder: Holder) -> str:
        return (
            f"{self.path.parent} is being written by {holder}: wait for it to end or stop it; "
            f"if it is certain that it no longer runs, remove {self.path}"
        )


def _read(path: Path) -> Holder | None:
    """Who holds the lock file at ``path``; None if there is none.

    A file that is not (yet) complete belongs to a nameless holder on no machine, told from others
    by its inode and time: it becomes stale by age.
    """
    try:
        with open(path, encoding="utf-8") as file:
            status = os.fstat(file.fileno())
            text = file.read()
    except FileNotFoundError:
        return None
    try:
        return Holder(**json.loads(text))
    except (TypeError, ValueError):
        name = f"{status.st_ino:x}-{status.st_mtime_ns:x}"
        return Holder(name, host="an unknown host", pid=0, since=status.st_mtime)
