"""The campaign directory: what lies where, how it comes to be, who may write.

::

    runs/first/  campaign.yaml   what was asked; its presence makes the directory a campaign
                 journal.jsonl   every fact (journal.torn: bytes of torn last lines, if any)
                 curves.zarr/    derived from the journal
                 trials/00012/   a<attempt>/: logs and checkpoints
                 lock            held by the one writer
                 pool/           batch jobs: where the scheduler is, keys, scripts and logs
                 daskhpo.log     the driver's log
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from daskhpo.exceptions import LockedError, StoreError
from daskhpo.store.disk import PARTIAL, disk_error, sync_directory, write_atomic
from daskhpo.store.journal import Journal, JournalReader, read
from daskhpo.store.lock import Lock
from daskhpo.trial import Fact

__all__ = ["SCHEMA_VERSION", "CampaignDirectory", "CampaignWriter"]

SCHEMA_VERSION = 1  # of the directory: layout, campaign.yaml and the meaning of the facts

# What an interrupted creation may leave, and what may be there before it.
_HARMLESS = re.compile(r"lock(\..*)?|\.campaign\.yaml\..*|daskhpo\.log|pool")


class CampaignDirectory:
    """A campaign on disk. Making this object touches nothing.

    Parameters
    ----------
    path : path
        The directory, such as ``runs/first``.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     campaign = CampaignDirectory(pathlib.Path(folder, "first"))
    ...     campaign.create({"metric": "loss"})
    ...     with campaign.writer() as writer:
    ...         _ = writer.journal.append({"kind": "closed"})
    ...     campaign.config(), [fact["kind"] for fact in campaign.facts()]
    ({'metric': 'loss'}, ['closed'])
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.config_path = self.path / "campaign.yaml"
        self.journal_path = self.path / "journal.jsonl"
        self.curves_path = self.path / "curves.zarr"
        self.trials_path = self.path / "trials"
        self.lock_path = self.path / "lock"
        self.log_path = self.path / "daskhpo.log"

    def __repr__(self) -> str:
        return f"<CampaignDirectory {self.path}>"

    def trial_path(self, number: int) -> Path:
        """Where the attempts of a trial lie; not made here.

        Examples
        --------
        >>> CampaignDirectory("first").trial_path(12).as_posix()
        'first/trials/00012'
        """
        return self.trials_path / f"{number:05d}"

    def attempt_path(self, number: int, attempt: int) -> Path:
        """Where the log and the checkpoint of one job lie; not made here.

        Examples
        --------
        >>> CampaignDirectory("first").attempt_path(12, 1).as_posix()
        'first/trials/00012/a1'
        """
        return self.trial_path(number) / f"a{attempt}"

    def exists(self) -> bool:
        """Whether a campaign was created here, of whatever version."""
        return self.config_path.is_file()

    def create(self, config: Mapping[str, Any]) -> None:
        """Make the directory of a new campaign.

        ``campaign.yaml`` appears whole and last: without it there is no campaign, and creating
        can be tried again.

        Parameters
        ----------
        config : mapping
            What was asked, as plain YAML data; ``schema_version`` is added.

        Raises
        ------
        StoreError
            If the path holds anything else or another campaign (nothing is written then), if the
            configuration is no plain data, or if the disk refuses.
        LockedError
            If somebody else is creating it right now.
        """
        self.check_free()
        try:
            text = yaml.safe_dump(
                {"schema_version": SCHEMA_VERSION, **config}, sort_keys=False, allow_unicode=True
            )
        except yaml.YAMLError as error:
            raise StoreError(f"config holds what is no plain YAML data: {error}") from error
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with Lock(self.lock_path):
                self.check_free()
                self.trials_path.mkdir(exist_ok=True)
                self.journal_path.touch()
                write_atomic(self.config_path, text)
            sync_directory(self.path.parent)
        except OSError as error:
            raise disk_error("create", self.path, error) from error

    def config(self) -> dict[str, Any]:
        """Read what was asked, as it was given to :meth:`create`.

        Raises
        ------
        StoreError
            If there is no campaign, or one of a version that this daskhpo does not read.
        """
        if not self.exists():
            raise StoreError(self._why_none())
        try:
            config = yaml.safe_load(self.config_path.read_text(encoding="utf-8"))
        except OSError as error:
            raise disk_error("read", self.config_path, error) from error
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise StoreError(f"{self.config_path} is damaged: {error}") from error
        if not isinstance(config, dict) or "schema_version" not in config:
            raise StoreError(
                f"{self.config_path} has no schema_version: it was not written by daskhpo; "
                "give the directory of a campaign"
            )
        version = config.pop("schema_version")
        if version != SCHEMA_VERSION:
            raise StoreError(
                f"{self.path} has schema_version {version!r}, this daskhpo reads "
                f"{SCHEMA_VERSION}: use the version of daskhpo that made it"
            )
        return config

    def reader(self) -> JournalReader:
        """Give a reader that can follow the journal while it is written.

        Raises
        ------
        StoreError
            As :meth:`config`.
        """
        self.config()
        return JournalReader(self.journal_path)

    def facts(self) -> Iterator[Fact]:
        """Read all facts once (:func:`daskhpo.store.journal.read`)."""
        self.config()
        return read(self.journal_path)

    def writer(
        self,
        *,
        sync_every: float = 1.0,
        stale_after: float = 60.0,
        now: Callable[[], float] = time.time,
    ) -> CampaignWriter:
        """Take the lock and open the journal.

        Parameters
        ----------
        sync_every, now
            As for :class:`daskhpo.store.journal.Journal`.
        stale_after : float
            As for :class:`daskhpo.store.lock.Lock`.

        Returns
        -------
        CampaignWriter
            To be closed, or used as a context.

        Raises
        ------
        LockedError
            If another process writes to this campaign.
        StoreError
            If it is no campaign of this version, or the end of its journal is damaged.
        """
        self.config()
        return CampaignWriter(self, sync_every=sync_every, stale_after=stale_after, now=now)

    def check_free(self) -> None:
        """Make sure that a campaign can be created here; touches nothing.

        Raises
        ------
        StoreError
            If the path holds anything else or another campaign.
        """
        if self.path.is_symlink() and not self.path.exists():
            raise StoreError(f"{self.path} is a link to nowhere: choose another path")
        if not self.path.exists():
            return
        if not self.path.is_dir():
            raise StoreError(f"{self.path} is a file: choose a path for a new directory")
        if self.exists():
            raise StoreError(f"{self.path} holds a campaign: resume it or choose another path")
        if foreign := self._foreign():
            raise StoreError(
                f"{self.path} holds other things ({', '.join(foreign[:5])}): choose an empty or a "
                "new directory"
            )

    def _foreign(self) -> list[str]:
        """Names that do not come from an interrupted creation."""
        return [
            path.name
            for path in sorted(self.path.iterdir())
            if not (_HARMLESS.fullmatch(path.name) or self._untouched(path))
        ]

    def _untouched(self, path: Path) -> bool:
        """Whether it is a part of a campaign in which nothing has happened yet."""
        if path == self.trials_path:
            return path.is_dir() and not any(path.iterdir())
        return path == self.journal_path and path.is_file() and path.stat().st_size == 0

    def _why_none(self) -> str:
        if not self.path.exists():
            return f"there is no campaign at {self.path}: check the path"
        if self.path.is_dir() and os.listdir(self.path) and not self._foreign():
            return f"the creation of {self.path} was interrupted: create the campaign again"
        return f"{self.path} is no campaign (it has no campaign.yaml): check the path"


class CampaignWriter:
    """The right to write to a campaign, with its open journal.

    Made by :meth:`CampaignDirectory.writer`. Call ``lock.refresh()`` every ten seconds or so.

    Attributes
    ----------
    directory : CampaignDirectory
        Whose writer this is.
    lock : Lock
        Held until :meth:`close`.
    journal : Journal
        Open for appending.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     campaign = CampaignDirectory(pathlib.Path(folder, "first"))
    ...     campaign.create({})
    ...     with campaign.writer() as writer:
    ...         writer.lock.refresh()
    ...         writer.journal.append({"kind": "closed"})
    1
    """

    def __init__(
        self,
        directory: CampaignDirectory,
        *,
        sync_every: float,
        stale_after: float,
        now: Callable[[], float],
    ) -> None:
        self.directory = directory
        self.lock = Lock(directory.lock_path, stale_after=stale_after)
        self.lock.acquire()
        try:
            if not directory.journal_path.is_file():
                raise StoreError(
                    f"{directory.journal_path} is missing: restore it from a backup; a campaign "
                    "without its journal cannot go on"
                )
            self._sweep()
            self.journal = Journal(directory.journal_path, sync_every=sync_every, now=now)
        except BaseException:
            self.lock.release()
            raise

    def close(self) -> None:
        """Commit what is pending and give the lock back.

        Raises
        ------
        StoreError
            If the disk refuses; the writer then stays open and can be closed again.
        LockedError
            If the lock was lost: what is pending is then dropped, for the journal is another's.
        """
        if self.journal.closed:
            return
        try:
            self.lock.held()
        except LockedError:
            self.journal.discard()
            raise
        self.journal.close()
        self.lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _sweep(self) -> None:
        """Remove what writers left that were killed; we hold the lock, so none is at work."""
        try:
            for path in self.directory.path.glob(f"*{PARTIAL}"):
                if path.is_dir():
                    shutil.rmtree(path)
                elif not path.name.startswith("lock."):  # others may measure a lock's age now
                    path.unlink(missing_ok=True)
        except OSError as error:
            raise disk_error("sweep", self.directory.path, error) from error
