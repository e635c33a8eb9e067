"""The keys of a campaign: made once, for its owner only, and enough for both ends."""

from __future__ import annotations

import asyncio
import datetime
import os
import stat

import pytest
from distributed import Security
from distributed.comm import connect, listen

from daskhpo.cluster import tls
from daskhpo.cluster.tls import campaign_security
from daskhpo.exceptions import CampaignError


def key_of(tmp_path):
    return tmp_path / "pool" / "tls" / "key.pem"


def test_only_the_owner_can_read_the_keys_whatever_the_umask(tmp_path):
    before = os.umask(0)
    try:
        campaign_security(tmp_path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(key_of(tmp_path).stat().st_mode) == 0o600
    assert stat.S_IMODE(key_of(tmp_path).parent.stat().st_mode) == 0o700
    assert os.listdir(tmp_path / "pool") == ["tls"]


def test_keys_are_made_once_so_that_queued_batch_jobs_can_use_them_later(tmp_path):
    campaign_security(tmp_path)
    first = key_of(tmp_path).read_bytes()
    security = campaign_security(tmp_path)
    assert key_of(tmp_path).read_bytes() == first
    assert security.tls_worker_key == str(key_of(tmp_path).resolve())


@pytest.mark.parametrize("valid", [datetime.timedelta(days=-1), datetime.timedelta(days=3)])
def test_keys_that_end_soon_are_made_anew(tmp_path, monkeypatch, valid):
    with monkeypatch.context() as patch:
        patch.setattr(tls, "VALID", valid)
        patch.setattr(tls, "SLACK", datetime.timedelta(days=10))
        campaign_security(tmp_path)
    old = key_of(tmp_path).read_bytes()
    campaign_security(tmp_path)
    assert key_of(tmp_path).read_bytes() != old


@pytest.mark.parametrize("lost", ["key.pem", "cert.pem"])
def test_half_a_pair_is_made_anew(tmp_path, lost):
    campaign_security(tmp_path)
    (tmp_path / "pool" / "tls" / lost).unlink()
    campaign_security(tmp_path)
    assert (tmp_path / "pool" / "tls" / lost).is_file()


@pytest.mark.parametrize("name", ["key.pem", "."])
def test_a_key_that_others_can_read_is_refused_with_the_cure(tmp_path, name):
    campaign_security(tmp_path)
    path = key_of(tmp_path).parent / name
    path.chmod(path.stat().st_mode | 0o040)
    with pytest.raises(CampaignError, match=r"pool\.tls: others can read .*delete .*pool/tls"):
        campaign_security(tmp_path)


def test_a_key_of_somebody_else_is_refused(tmp_path, monkeypatch):
    campaign_security(tmp_path)
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    with pytest.raises(CampaignError, match="belongs to another user"):
        campaign_security(tmp_path)


async def say_hello(server: Security, client: Security) -> str:
    async def greet(comm):
        await comm.write("hello")

    arguments = server.get_listen_args("scheduler")
    async with listen("tls://127.0.0.1:0", greet, **arguments) as listener:
        arguments = client.get_connection_args("client")
        comm = await connect(listener.contact_address, timeout=2, **arguments)
        try:
            return await comm.read()
        finally:
            await comm.close()


def test_both_ends_accept_each_other(tmp_path):
    security = campaign_security(tmp_path)
    assert asyncio.run(say_hello(security, security)) == "hello"


def test_keys_of_another_campaign_open_nothing(tmp_path):
    ours, theirs = campaign_security(tmp_path / "a"), campaign_security(tmp_path / "b")
    # Theirs trusts our certificate, but has none that we would trust.
    theirs.tls_ca_file = ours.tls_ca_file
    with pytest.raises(OSError):
        asyncio.run(say_hello(ours, theirs))
