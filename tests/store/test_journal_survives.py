"""Processes are killed and disks fill up for real; acknowledged facts survive."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from daskhpo.exceptions import LockedError, StoreError
from daskhpo.store.directory import CampaignDirectory
from daskhpo.store.journal import Journal, JournalReader

WRITER = """
import os, sys
from daskhpo.store.journal import Journal
journal = Journal(sys.argv[1], sync_every=float(sys.argv[2]))
while True:
    for _ in range(1 + journal.seq % 7):
        seq = journal.append({"kind": "reported", "number": 1, "error": "x" * (journal.seq % 5000)})
    journal.commit(durable=journal.seq % 50 == 0)
    os.write(1, b"%d\\n" % seq)  # the acknowledgement
"""


@pytest.mark.parametrize("sync_every", [0.0, 1.0])
def test_what_a_killed_writer_had_acknowledged_is_there_once_and_in_order(tmp_path, sync_every):
    path = tmp_path / "journal.jsonl"
    rng = random.Random(7)
    acknowledged = 0
    for _ in range(6):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, path, str(sync_every)], stdout=subprocess.PIPE
        )
        assert writer.stdout is not None
        first = writer.stdout.readline()  # it has begun
        time.sleep(rng.uniform(0.0, 0.15))
        writer.send_signal(signal.SIGKILL)
        lines = (first + writer.stdout.read()).split(b"\n")
        writer.stdout.close()
        writer.wait()
        assert int(lines[0]) > acknowledged
        acknowledged = int(lines[-2])
        reader = JournalReader(path)
        sequence = [fact["seq"] for fact in reader]
        assert sequence == list(range(1, len(sequence) + 1))
        assert len(sequence) >= acknowledged


@contextlib.contextmanager
def mounted(path, *options):
    """A small tmpfs at ``path``; skips where mounting is not allowed."""
    path.mkdir()
    command = ["mount", "-t", "tmpfs", *options, "tmpfs", str(path)]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("there is no mount command here")
    if done.returncode:
        pytest.skip(f"a tmpfs cannot be mounted here (needs root): {done.stderr.strip()}")
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


@pytest.fixture
def small_disk(tmp_path):
    with mounted(tmp_path / "small", "-o", "size=64k") as path:
        yield path


def test_a_full_disk_keeps_the_facts_in_memory_until_there_is_room(small_disk):
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(40_000))
    path = small_disk / "journal.jsonl"
    failures = 0
    with Journal(path, sync_every=0.0) as journal:
        for index in range(600):
            journal.append({"kind": "reported", "index": index})
            if index % 10 == 0:
                with contextlib.suppress(StoreError):
                    journal.commit(durable=False)
                failures += journal.pending > 0
                assert len(list(JournalReader(path))) == index + 1 - journal.pending
        with pytest.raises(StoreError, match="free some space"):
            journal.commit(durable=False)
        assert failures > 1
        ballast.unlink()
    reader = JournalReader(path)
    assert [fact["index"] for fact in reader] == list(range(600))
    assert reader.torn is None


def test_a_campaign_is_not_half_made_on_a_full_disk(small_disk):
    (small_disk / "ballast").write_bytes(bytes(64 * 1024 - 4096))
    campaign = CampaignDirectory(small_disk / "first")
    with pytest.raises(StoreError, match="free some space"):
        campaign.create({"note": "x" * 10_000})
    assert not campaign.exists()
    (small_disk / "ballast").unlink()
    campaign.create({"note": "y"})
    assert campaign.config() == {"note": "y"}


def test_a_read_only_file_system_can_be_read_and_says_that_it_cannot_be_written(tmp_path):
    with mounted(tmp_path / "disk") as disk:
        campaign = CampaignDirectory(disk / "first")
        campaign.create({})
        with campaign.writer() as writer:
            writer.journal.append({"kind": "closed"})
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        assert [fact["kind"] for fact in campaign.facts()] == ["closed"]
        with pytest.raises(StoreError, match="mounted read-only"):
            campaign.writer()
        with pytest.raises(StoreError, match="mounted read-only"):
            Journal(campaign.journal_path)
        with pytest.raises(StoreError, match="mounted read-only"):
            CampaignDirectory(disk / "second").create({})


def test_a_campaign_goes_on_after_its_writer_was_killed(tmp_path):
    campaign = CampaignDirectory(tmp_path / "first")
    campaign.create({})
    code = (
        "import sys, time\n"
        "from daskhpo.store.directory import CampaignDirectory\n"
        "writer = CampaignDirectory(sys.argv[1]).writer()\n"
        "writer.journal.append({'kind': 'opened'})\n"
        "writer.journal.commit(durable=True)\n"
        "print('ready', flush=True)\n"
        "time.sleep(600)\n"
    )
    killed = subprocess.Popen(
        [sys.executable, "-c", code, campaign.path], stdout=subprocess.PIPE, text=True
    )
    assert killed.stdout is not None
    killed.stdout.readline()
    with pytest.raises(LockedError, match=f"process {killed.pid} on {os.uname().nodename}"):
        campaign.writer()
    killed.kill()
    killed.wait()
    killed.stdout.close()
    with campaign.writer() as writer:
        assert writer.journal.append({"kind": "closed"}) == 2
