"""The journal keeps what it acknowledged, whatever the disk does."""

from __future__ import annotations

import errno
import logging
import os
import re
import subprocess
import sys
import threading

import pytest

from daskhpo.exceptions import StoreError
from daskhpo.store.journal import Journal, JournalReader, read


@pytest.fixture
def path(tmp_path):
    return tmp_path / "journal.jsonl"


def fill(path, count, *, start=0):
    """Append ``count`` facts that carry a counter, durably."""
    with Journal(path) as journal:
        for index in range(start, start + count):
            journal.append({"kind": "reported", "index": index})


def indices(path):
    return [fact["index"] for fact in read(path)]


class Disk:
    """Stands for the system calls of the journal and fails on demand."""

    def __init__(self, monkeypatch):
        self.failing = {}  # {call: error number}
        self.synced = 0
        self.room = None  # bytes that fit before ENOSPC; None: endless
        self._write, self._fsync, self._truncate = os.write, os.fsync, os.ftruncate
        monkeypatch.setattr("daskhpo.store.journal.os.write", self.write)
        monkeypatch.setattr("daskhpo.store.journal.os.fsync", self.fsync)
        monkeypatch.setattr("daskhpo.store.journal.os.ftruncate", self.truncate)

    def _fail(self, call):
        if call in self.failing:
            raise OSError(self.failing[call], os.strerror(self.failing[call]))

    def write(self, handle, data):
        self._fail("write")
        if self.room is None:
            return self._write(handle, data)
        if self.room == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = self._write(handle, data[: self.room])
        self.room -= written
        return written

    def fsync(self, handle):
        self._fail("fsync")
        self.synced += 1
        return self._fsync(handle)

    def truncate(self, handle, size):
        self._fail("truncate")
        return self._truncate(handle, size)


@pytest.fixture
def disk(monkeypatch):
    return Disk(monkeypatch)


def test_facts_come_back_in_order_with_number_and_time(path):
    clock = iter([0.0, 1.5, 2.5, 3.0, 4.0, 5.0])
    with Journal(path, now=lambda: next(clock)) as journal:
        assert journal.append({"kind": "asked", "number": 0}) == 1
        assert journal.append({"kind": "closed"}) == 2
    assert list(read(path)) == [
        {"seq": 1, "t": 1.5, "kind": "asked", "number": 0},
        {"seq": 2, "t": 2.5, "kind": "closed"},
    ]


def test_nothing_is_on_file_before_the_commit(path):
    journal = Journal(path)
    journal.append({"kind": "closed"})
    assert path.read_bytes() == b""
    assert journal.pending == 1
    journal.commit(durable=False)
    assert journal.pending == 0
    assert len(list(read(path))) == 1
    journal.close()


def test_a_reopened_journal_goes_on_with_the_next_number(path):
    fill(path, 3)
    with Journal(path) as journal:
        assert journal.seq == 3
        assert journal.append({"kind": "closed"}) == 4
    assert [fact["seq"] for fact in read(path)] == [1, 2, 3, 4]


def test_a_long_journal_is_reopened_from_its_tail(path):
    fill(path, 3000)
    fill(path, 3000, start=3000)
    assert path.stat().st_size > 4 * (1 << 16)
    assert indices(path) == list(range(6000))


def test_a_last_line_longer_than_the_tail_is_reopened(path):
    with Journal(path) as journal:
        journal.append({"kind": "closed"})
        journal.append({"kind": "ended", "error": "x" * 300_000})
    with Journal(path) as journal:
        assert journal.append({"kind": "closed"}) == 3
    assert len(list(read(path))) == 3


def test_a_closed_journal_refuses_commits_and_a_second_close_does_nothing(path):
    journal = Journal(path)
    journal.close()
    journal.close()
    with pytest.raises(StoreError, match="was closed"):
        journal.commit(durable=False)


def test_a_discarded_journal_writes_nothing_more(path):
    journal = Journal(path)
    journal.append({"kind": "closed"})
    journal.discard()
    assert path.read_bytes() == b""


def test_a_durable_commit_syncs_at_once_and_others_when_it_is_time(path, disk):
    clock = [100.0]
    journal = Journal(path, sync_every=1.0, now=lambda: clock[0])
    disk.synced = 0

    def commit(*, durable=False):
        journal.append({"kind": "closed"})
        journal.commit(durable=durable)
        return disk.synced

    assert commit() == 0
    assert commit(durable=True) == 1
    clock[0] = 100.9
    assert commit() == 1
    clock[0] = 101.1
    assert commit() == 2
    clock[0] = 50.0  # the clock was set back
    assert commit() == 3
    journal.commit(durable=True)  # nothing new to sync
    assert disk.synced == 3
    journal.close()


def test_short_writes_are_continued(path, monkeypatch):
    whole = os.write
    monkeypatch.setattr("daskhpo.store.journal.os.write", lambda fd, data: whole(fd, data[:7]))
    fill(path, 5)
    assert indices(path) == list(range(5))


def test_a_full_disk_loses_and_doubles_nothing(path, disk):
    journal = Journal(path)
    for index in range(3):
        journal.append({"kind": "reported", "index": index})
    journal.commit(durable=False)
    for index in range(3, 6):
        journal.append({"kind": "reported", "index": index})
    disk.room = 100
    with pytest.raises(StoreError, match=f"cannot write {path}.*free some space"):
        journal.commit(durable=True)
    assert journal.pending == 3
    assert indices(path) == [0, 1, 2]
    with pytest.raises(StoreError):
        journal.commit(durable=True)
    journal.append({"kind": "reported", "index": 6})
    disk.room = None
    journal.close()
    assert indices(path) == list(range(7))
    assert [fact["seq"] for fact in read(path)] == list(range(1, 8))


def test_a_partial_line_that_cannot_be_cut_off_is_cut_off_before_the_next_write(path, disk, caplog):
    journal = Journal(path)
    journal.append({"kind": "reported", "index": 0})
    journal.commit(durable=False)
    journal.append({"kind": "reported", "index": 1})
    disk.room, disk.failing["truncate"] = 20, errno.EIO
    with pytest.raises(StoreError, match="free some space"):
        journal.commit(durable=False)
    disk.room = None
    with pytest.raises(StoreError, match="once it is mended"):  # never behind a partial line
        journal.commit(durable=False)
    assert indices(path) == [0]  # the torn tail is tolerated
    assert "not written to its end" in caplog.text
    disk.failing.clear()
    journal.close()
    assert indices(path) == [0, 1]


def test_after_a_failed_sync_everything_since_the_last_good_one_is_written_again(path, disk):
    journal = Journal(path)
    for index in range(2):
        journal.append({"kind": "reported", "index": index})
        journal.commit(durable=index == 0)
    disk.failing["fsync"] = errno.EIO
    journal.append({"kind": "reported", "index": 2})
    with pytest.raises(StoreError):
        journal.commit(durable=True)
    os.truncate(path, path.read_bytes().index(b"\n") + 1)  # the kernel dropped the dirty pages
    disk.failing.clear()
    journal.append({"kind": "reported", "index": 3})
    journal.commit(durable=True)
    assert indices(path) == list(range(4))
    journal.close()


def test_a_journal_that_cannot_be_closed_can_be_closed_later(path, disk):
    journal = Journal(path)
    journal.append({"kind": "reported", "index": 0})
    disk.room = 0
    with pytest.raises(StoreError):
        journal.close()
    disk.room = None
    journal.close()
    assert indices(path) == [0]


def test_a_second_writer_is_noticed(path):
    journal = Journal(path)
    fill(path, 1)
    journal.append({"kind": "closed"})
    with pytest.raises(StoreError, match="changed by another process"):
        journal.commit(durable=False)
    assert indices(path) == [0]


def test_a_removed_file_is_noticed(path):
    journal = Journal(path)
    path.unlink()
    journal.append({"kind": "closed"})
    with pytest.raises(StoreError, match="was removed"):
        journal.commit(durable=False)


def test_a_refused_fact_leaves_no_gap(path):
    with Journal(path) as journal:
        journal.append({"kind": "reported", "index": 0})
        with pytest.raises(StoreError):
            journal.append({"kind": "reported", "index": object()})
        journal.append({"kind": "reported", "index": 1})
    assert [fact["seq"] for fact in read(path)] == [1, 2]


def test_threads_may_append_while_another_commits(path):
    with Journal(path, sync_every=0.0) as journal:
        threads = [
            threading.Thread(
                target=lambda: [journal.append({"kind": "reported"}) for _ in range(500)]
            )
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            journal.commit(durable=False)
    assert [fact["seq"] for fact in read(path)] == list(range(1, 2001))


def test_a_torn_last_line_is_left_out_and_reported(path, caplog):
    fill(path, 3)
    os.truncate(path, path.stat().st_size - 5)
    reader = JournalReader(path)
    assert [fact["index"] for fact in reader] == [0, 1]
    assert reader.torn is not None
    assert reader.torn.number == 3
    assert reader.torn.offset + reader.torn.size == path.stat().st_size
    with caplog.at_level(logging.WARNING):
        assert indices(path) == [0, 1]
    assert "line 3 was not written to its end" in caplog.text


def test_a_torn_tail_is_kept_aside_when_writing_goes_on(path, caplog):
    fill(path, 3)
    whole = path.read_bytes()
    os.truncate(path, len(whole) - 5)
    fill(path, 1, start=2)
    assert indices(path) == [0, 1, 2]
    torn = path.with_suffix(".torn").read_bytes()
    assert torn
    assert whole[:-5].endswith(torn)
    assert "journal.torn" in caplog.text


def test_a_tail_of_zeros_as_a_power_failure_leaves_it_is_torn(path):
    fill(path, 2)
    with open(path, "ab") as file:
        file.write(bytes(100_000))
    fill(path, 1, start=2)
    assert indices(path) == [0, 1, 2]


@pytest.mark.parametrize("line", [1, 2, 4])
def test_a_flipped_byte_is_refused_with_its_line_number(path, line):
    fill(path, 5)
    data = bytearray(path.read_bytes())
    at = [0, *(m.end() for m in re.finditer(b"\n", data))][line - 1] + 30
    data[at] ^= 0x01
    path.write_bytes(data)
    with pytest.raises(StoreError, match=rf"line {line}: its checksum.*head -n {line - 1}\)"):
        list(read(path))
    with pytest.raises(StoreError, match=f"line {line}: "):
        Journal(path)


def test_a_damaged_line_at_the_end_of_a_block_is_not_taken_for_the_last(path, monkeypatch):
    fill(path, 4)
    data = bytearray(path.read_bytes())
    lines = data.splitlines(keepends=True)
    data[len(lines[0]) + 30] ^= 0x01
    path.write_bytes(data)
    monkeypatch.setattr("daskhpo.store.reader._READ_BYTES", len(lines[0]) + len(lines[1]))
    with pytest.raises(StoreError, match="line 2: "):
        list(read(path))


def test_a_missing_line_is_refused_even_if_the_rest_is_whole(path):
    fill(path, 4)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:2] + lines[3:]))
    with pytest.raises(StoreError, match="line 3: sequence number 3 is due, 4 is written"):
        list(read(path))


def test_a_repeated_last_line_is_not_taken_for_a_torn_one(path):
    fill(path, 2)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines, lines[-1]]))
    with pytest.raises(StoreError, match="sequence number 3 is due, 2 is written"):
        list(read(path))
    with pytest.raises(StoreError, match="sequence number 3 is due"):
        Journal(path)


def test_damage_far_from_the_end_of_a_long_journal_is_found_on_reading(path):
    fill(path, 2000)
    data = bytearray(path.read_bytes())
    data[data.index(b"\n") + 30] ^= 0x01
    path.write_bytes(data)
    with pytest.raises(StoreError, match="line 2: "):
        list(read(path))


def test_a_missing_journal_is_named():
    with pytest.raises(StoreError, match=r"cannot read nowhere/journal\.jsonl.*check the path"):
        list(read("nowhere/journal.jsonl"))


def test_a_live_journal_can_be_followed_byte_by_byte(path, caplog):
    fill(path, 5)
    data = path.read_bytes()
    growing = path.with_name("growing.jsonl")
    growing.touch()
    reader = JournalReader(growing)
    seen = []
    for index in range(len(data)):
        with open(growing, "ab") as file:
            file.write(data[index : index + 1])
        seen += [fact["index"] for fact in reader]
        assert len(seen) == data[: index + 1].count(b"\n")
    assert seen == list(range(5))
    assert reader.torn is None
    assert not caplog.records


def test_reading_a_journal_imports_no_zarr_no_xarray_and_no_pandas():
    code = (
        "import sys, daskhpo.store.journal, daskhpo.store.lock, daskhpo.store.directory\n"
        "heavy = {'zarr', 'xarray', 'pandas'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
