"""The curves can always be made anew from the journal, and are checked against it."""

from __future__ import annotations

import re
import shutil

import numpy as np
import pytest
import xarray as xr

from daskhpo.exceptions import LockedError, StoreError
from daskhpo.store import rebuild as rebuild_module
from daskhpo.store.curves import CurveWriter, apply_fact, open_curves
from daskhpo.store.directory import CampaignDirectory
from daskhpo.store.rebuild import rebuild, verify


def story(trials, steps, *, seed=0):
    """Facts of a campaign in which some trials are paused, go on, diverge and fail."""
    rng = np.random.default_rng(seed)
    for number in range(trials):
        params = {"lr": float(rng.random()), "opt": str(rng.choice(["adam", "sgd"]))}
        if number % 3 == 0:
            params["depth"] = int(rng.integers(5))
        yield {"kind": "offered", "number": number, "params": params, "origin": "sampler"}
    for attempt in range(2):
        for number in range(attempt, trials, attempt + 1):
            job = {"number": number, "attempt": attempt}
            yield {"kind": "asked", **job, "rung": attempt, "start": 0, "stop": steps}
            for step in range(attempt * steps + 1, (attempt + 1) * steps + 1):
                loss = float("nan") if step == number else float(rng.normal())
                yield {"kind": "reported", **job, "step": step, "metrics": {"loss": loss}}
            state = str(rng.choice(["paused", "stopped", "failed"]))
            yield {"kind": "ended", **job, "outcome": "paused", "seconds": 1.5, "state": state}


@pytest.fixture
def campaign(tmp_path):
    """A finished campaign whose curves were written along the way."""
    campaign = CampaignDirectory(tmp_path / "first")
    config = {"metric": "loss", "mode": "min", "unit": "epoch", "scheduler": {"max_step": 4}}
    campaign.create(config)
    with campaign.writer() as writer:
        curves = CurveWriter(campaign.curves_path, metric="loss", max_step=4)
        for fact in story(30, 5):
            seq = writer.journal.append(fact)
            apply_fact(curves, fact)
            if seq % 37 == 0:
                writer.journal.commit(durable=True)
                curves.flush(seq)
        writer.journal.commit(durable=True)
        curves.flush(seq)
    return campaign


def test_rebuilt_curves_are_those_that_were_written_along_the_way(campaign):
    before = open_curves(campaign.curves_path)
    shutil.rmtree(campaign.curves_path)
    assert rebuild(campaign) == campaign.curves_path
    xr.testing.assert_identical(open_curves(campaign.curves_path), before)


def test_damaged_curves_are_replaced_and_nothing_is_left_behind(campaign):
    before = sorted(path.name for path in campaign.path.iterdir())
    (campaign.curves_path / "zarr.json").write_text("")
    assert verify(campaign).curves == "damaged"
    rebuild(campaign)
    assert verify(campaign).ok
    assert sorted(path.name for path in campaign.path.iterdir()) == before


def test_many_small_batches_make_the_same_curves(campaign, monkeypatch):
    before = open_curves(campaign.curves_path)
    monkeypatch.setattr(rebuild_module, "_BATCH", 10)
    rebuild(campaign)
    xr.testing.assert_identical(open_curves(campaign.curves_path), before)


def test_an_interrupted_rebuild_leaves_the_old_curves_and_is_swept_later(campaign, monkeypatch):
    def fails(writer, fact):
        if fact["seq"] == 20:
            raise KeyboardInterrupt
        apply_fact(writer, fact)

    with monkeypatch.context() as patch:
        patch.setattr(rebuild_module, "_BATCH", 10)
        patch.setattr(rebuild_module, "apply_fact", fails)
        with pytest.raises(KeyboardInterrupt):
            rebuild(campaign)
    assert list(campaign.path.glob("*.partial"))
    assert verify(campaign).ok
    with campaign.writer():
        assert not list(campaign.path.glob("*.partial"))


def test_a_campaign_that_is_being_written_is_not_rebuilt_but_can_be_verified(campaign):
    with campaign.writer():
        with pytest.raises(LockedError):
            rebuild(campaign)
        assert verify(campaign).ok


def test_a_damaged_journal_is_not_rebuilt_from_and_the_curves_stay(campaign):
    data = bytearray(campaign.journal_path.read_bytes())
    data[data.index(b"\n") + 40] ^= 1
    campaign.journal_path.write_bytes(data)
    with pytest.raises(StoreError, match="line 2: "):
        rebuild(campaign)
    report = verify(campaign)
    assert not report.ok
    assert "line 2: " in report.damage
    assert open_curves(campaign.curves_path).sizes["trial"] == 30


def test_the_report_counts_facts_by_kind(campaign):
    report = verify(campaign)
    assert report.ok
    assert report.curves == "equal"
    assert report.kinds == {"offered": 30, "asked": 45, "reported": 225, "ended": 45}
    assert report.facts == report.curves_seq == 345
    assert str(report).startswith("journal: 345 facts (30 offered, 45 asked")


def test_a_torn_last_line_is_reported_and_needs_no_mending(campaign, caplog):
    with campaign.writer() as writer:
        writer.journal.append({"kind": "closed", "reason": "done"})
    with open(campaign.journal_path, "r+b") as file:
        file.truncate(campaign.journal_path.stat().st_size - 4)
    report = verify(campaign)
    assert report.ok
    assert report.torn.startswith("line 346: ")
    assert "torn last line" in str(report)


def test_curves_that_lag_behind_the_journal_are_equal_as_far_as_they_go(campaign):
    with campaign.writer() as writer:
        writer.journal.append(
            {"kind": "reported", "number": 0, "attempt": 1, "step": 9, "metrics": {"loss": 1.0}}
        )
    report = verify(campaign)
    assert report.curves == "equal"
    assert (report.curves_seq, report.facts) == (345, 346)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.put(3, 2, {"loss": 123.0}), r"loss\[trial 3, step 2\] is 123\.0"),
        (lambda w: w.put_trial(4, state="waiting"), r"state\[trial 4\] is waiting, the journal"),
        (lambda w: w.put_trial(5, {"opt": "lion"}), r"param_opt\[trial 5\] is lion"),
        (lambda w: w.put(6, 1, {"accuracy": 1.0}), "accuracy is unknown to the journal"),
        (lambda w: w.put(40, 1, {"loss": 1.0}), "loss has 41 trials, the journal 30"),
        (lambda w: w.put(7, 50, {"loss": 1.0}), r"loss\[trial 7, step 50\] is 1\.0"),
    ],
)
def test_every_cell_that_differs_from_the_journal_is_named(campaign, change, message):
    writer = CurveWriter(campaign.curves_path, metric="loss", max_step=4)
    change(writer)
    writer.flush(345)
    report = verify(campaign)
    assert report.curves == "different"
    assert not report.ok
    assert any(re.match(message, difference) for difference in report.differences)
    rebuild(campaign)
    assert verify(campaign).ok


def test_curves_that_know_more_than_the_journal_are_reported(campaign):
    CurveWriter(campaign.curves_path, metric="loss", max_step=4).flush(400)
    report = verify(campaign)
    assert report.differences == ("the curves know fact 400, the journal ends at 345",)


def test_a_campaign_without_curves_is_whole(tmp_path):
    campaign = CampaignDirectory(tmp_path / "first")
    campaign.create({})
    report = verify(campaign)
    assert report.ok
    assert report.curves == "absent"
    assert rebuild(campaign).exists()
