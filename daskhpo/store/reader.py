"""How a journal is read: each line checked, a torn end tolerated, a live one followed."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from daskhpo.exceptions import StoreError
from daskhpo.store.disk import disk_error
from daskhpo.store.lines import BadLineError, decode_line
from daskhpo.trial import Fact

__all__ = ["JournalReader", "TornLine", "read"]

logger = logging.getLogger(__name__)

_READ_BYTES = 1 << 20
_TAIL_BYTES = 1 << 16  # what at_tail steps back: some hundred lines


@dataclass(frozen=True, slots=True)
class TornLine:
    """A last line that was not written to its end: never acknowledged, so no loss.

    ``number`` is its line number, ``offset`` and ``size`` count bytes, ``why`` says what is wrong.
    """

    number: int
    offset: int
    size: int
    why: str


class JournalReader:
    """Read a journal, also one that is being written.

    Iterating yields the facts from where the last iteration ended up to the end of the file, so
    iterating again and again follows a live journal. A last line that is incomplete or does not
    match its checksum is left alone and described by :attr:`torn`: in a live journal it is being
    written just now. Use :func:`read` where that deserves a warning.

    Parameters
    ----------
    path : path
        The journal.

    Attributes
    ----------
    torn : TornLine or None
        What the last complete iteration found at the end.
    seq : int
        Sequence number of the last fact that was read, 0 before the first.
    offset : int
        Bytes of the file that hold the facts read so far.

    Raises
    ------
    StoreError
        While iterating, on any other damage, with the line number.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from daskhpo.store.journal import Journal
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "journal.jsonl")
    ...     reader = JournalReader(path)
    ...     with Journal(path) as journal:
    ...         _ = journal.append({"kind": "closed"})
    ...         before = [fact["kind"] for fact in reader]
    ...         journal.commit(durable=False)
    ...         before, [fact["kind"] for fact in reader]
    ([], ['closed'])
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.torn: TornLine | None = None
        self.seq = 0
        self.offset = 0
        self._numbered = True  # False: the first line may have any number (reading a tail)

    def __iter__(self) -> Iterator[Fact]:
        try:
            with open(self.path, "rb", buffering=0) as file:
                file.seek(self.offset)
                rest = b""
                while data := file.read(_READ_BYTES):
                    lines = (rest + data).split(b"\n")
                    rest = lines.pop()
                    for index, line in enumerate(lines):
                        try:
                            fact = decode_line(line)
                        except BadLineError as bad:
                            if index + 1 < len(lines) or rest or file.read(1):
                                raise self._damage(str(bad)) from bad
                            self._tear(len(line) + 1, str(bad))
                            return
                        self._advance(fact, len(line) + 1)
                        yield fact
                self.torn = None
                if rest:
                    self._tear(len(rest), "it does not end in a newline")
        except OSError as error:
            raise disk_error("read", self.path, error) from error

    def _advance(self, fact: Fact, size: int) -> None:
        number = fact.get("seq")
        if number != self.seq + 1 and (self._numbered or not isinstance(number, int)):
            raise self._damage(f"sequence number {self.seq + 1} is due, {number} is written")
        self._numbered = True
        self.seq = number
        self.offset += size

    def _tear(self, size: int, why: str) -> None:
        self.torn = TornLine(self.seq + 1, self.offset, size, why)

    def _damage(self, why: str) -> StoreError:
        line = self.seq + 1
        return StoreError(
            f"{self.path}, line {line}: {why}. The {line - 1} facts before it are whole: restore "
            f"the file from a backup, or go on from them alone (head -n {line - 1})"
        )

    @classmethod
    def at_tail(cls, path: Path) -> JournalReader:
        """Make a reader that begins at a line some tens of kilobytes before the end.

        For writers that go on where another one ended; the line numbers of its errors are not
        the file's until it has read its first line.
        """
        reader = cls(path)
        with open(path, "rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            back = _TAIL_BYTES
            while back < size:
                file.seek(size - back)
                newline = file.read(back // 2).find(b"\n")
                if newline >= 0:
                    reader.offset = size - back + newline + 1
                    reader._numbered = False
                    break
                back *= 2
        return reader


def read(path: str | os.PathLike[str]) -> Iterator[Fact]:
    """Read every fact of a journal, checking each line.

    Parameters
    ----------
    path : path
        The journal.

    Yields
    ------
    dict
        The facts in order, each with its ``seq`` and ``t``.

    Raises
    ------
    StoreError
        If the file cannot be read or a line other than a torn last one is damaged.

    Notes
    -----
    A torn last line is left out and reported as a warning of the logger
    ``daskhpo.store.reader``. Facts are streamed: memory does not grow with the file.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from daskhpo.store.journal import Journal
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "journal.jsonl")
    ...     with Journal(path, now=lambda: 12.5) as journal:
    ...         _ = journal.append({"kind": "reported", "metrics": {"loss": float("inf")}})
    ...     list(read(path))
    [{'seq': 1, 't': 12.5, 'kind': 'reported', 'metrics': {'loss': inf}}]
    """
    reader = JournalReader(path)
    yield from reader
    if reader.torn:
        logger.warning(
            "%s: line %d was not written to its end and is left out (%s)",
            reader.path,
            reader.torn.number,
            reader.torn.why,
        )
