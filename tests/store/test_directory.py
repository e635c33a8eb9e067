"""A campaign directory is made whole, recognised, and written by one process."""

from __future__ import annotations

import pytest
import yaml

from daskhpo.exceptions import LockedError, StoreError
from daskhpo.store import directory as directory_module
from daskhpo.store.directory import CampaignDirectory
from daskhpo.store.disk import write_atomic


@pytest.fixture
def campaign(tmp_path):
    made = CampaignDirectory(tmp_path / "runs" / "first")
    made.create({"metric": "loss", "space": {"lr": [1e-5, 0.1]}})
    return made


def test_a_created_campaign_gives_its_configuration_back(campaign):
    assert campaign.exists()
    assert campaign.config() == {"metric": "loss", "space": {"lr": [1e-5, 0.1]}}
    assert list(campaign.facts()) == []
    assert sorted(path.name for path in campaign.path.iterdir()) == [
        "campaign.yaml",
        "journal.jsonl",
        "trials",
    ]


def test_an_existing_campaign_is_not_created_again(campaign):
    with pytest.raises(StoreError, match="holds a campaign: resume it or choose another path"):
        campaign.create({})
    assert campaign.config()["metric"] == "loss"


def test_a_directory_with_other_things_is_left_as_it_is(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(StoreError, match=r"other things \(thesis\.tex\)"):
        CampaignDirectory(tmp_path).create({})
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_and_a_broken_link_are_refused(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(StoreError, match="is a file"):
        CampaignDirectory(tmp_path / "file").create({})
    with pytest.raises(StoreError, match="link to nowhere"):
        CampaignDirectory(tmp_path / "link").create({})


def test_a_configuration_that_is_no_plain_data_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(StoreError, match="no plain YAML data"):
        CampaignDirectory(tmp_path / "first").create({"objective": object()})
    assert not (tmp_path / "first").exists()


def test_an_interrupted_creation_is_recognised_and_can_be_repeated(tmp_path, monkeypatch):
    campaign = CampaignDirectory(tmp_path / "first")

    def interrupted(path, text):
        path.with_name(".campaign.yaml.0123.partial").write_text(text[:10])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(directory_module, "write_atomic", interrupted)
        with pytest.raises(KeyboardInterrupt):
            campaign.create({})
    assert not campaign.exists()
    with pytest.raises(StoreError, match=r"creation of .* was interrupted: create"):
        campaign.writer()
    campaign.create({"metric": "loss"})
    with campaign.writer():
        assert not list(campaign.path.glob("*.partial"))
    assert campaign.config() == {"metric": "loss"}


def test_a_creation_in_progress_is_not_disturbed(tmp_path):
    campaign = CampaignDirectory(tmp_path)
    with directory_module.Lock(campaign.lock_path), pytest.raises(LockedError):
        campaign.create({})


def test_what_is_no_campaign_is_not_opened(tmp_path):
    with pytest.raises(StoreError, match="there is no campaign at"):
        CampaignDirectory(tmp_path / "nowhere").facts()
    with pytest.raises(StoreError, match="is no campaign"):
        CampaignDirectory(tmp_path).reader()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("schema_version: 99\n", "schema_version 99, this daskhpo reads 1"),
        ("metric: loss\n", "has no schema_version"),
        ("- a\n- b\n", "has no schema_version"),
        ("a: [1\n", "is damaged"),
    ],
)
def test_a_campaign_of_another_version_is_refused(campaign, text, message):
    campaign.config_path.write_text(text)
    with pytest.raises(StoreError, match=message):
        campaign.writer()
    assert not campaign.lock_path.exists()


def test_there_is_one_writer_and_any_number_of_readers(campaign):
    with campaign.writer() as writer:
        reader = campaign.reader()
        with pytest.raises(LockedError):
            campaign.writer()
        writer.journal.append({"kind": "opened"})
        writer.journal.commit(durable=False)
        assert [fact["kind"] for fact in reader] == ["opened"]
        writer.journal.append({"kind": "closed"})
    assert [fact["kind"] for fact in reader] == ["closed"]
    assert not campaign.lock_path.exists()


def test_a_writer_that_lost_its_lock_writes_no_more(campaign):
    writer = campaign.writer()
    writer.journal.append({"kind": "closed"})
    campaign.lock_path.unlink()
    with pytest.raises(LockedError, match="was removed"):
        writer.close()
    assert campaign.journal_path.read_bytes() == b""
    writer.close()


def test_a_lost_journal_is_not_begun_anew(campaign):
    campaign.journal_path.unlink()
    with pytest.raises(StoreError, match="is missing: restore it"):
        campaign.writer()
    assert not campaign.lock_path.exists()
    assert not campaign.journal_path.exists()


def test_writing_atomically_replaces_the_whole_text(tmp_path):
    path = tmp_path / "notes.yaml"
    write_atomic(path, "a: 1\r\n")
    write_atomic(path, "b: µ\n")
    assert path.read_bytes() == "b: µ\n".encode()
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_atomic_write_keeps_the_old_text(tmp_path, monkeypatch):
    path = tmp_path / "notes.yaml"
    write_atomic(path, "old")

    def fails(handle):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("daskhpo.store.disk.os.fsync", fails)
        with pytest.raises(StoreError, match="free some space"):
            write_atomic(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_campaign_yaml_opens_with_its_version(campaign):
    text = campaign.config_path.read_text()
    assert text.startswith("schema_version: 1\n")
    assert yaml.safe_load(text)["metric"] == "loss"
