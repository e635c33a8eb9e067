"""The curves hold what was put, survive crashes and refusals, and open as xarray."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import xarray as xr

from daskhpo.exceptions import StoreError
from daskhpo.store.arrays import CurveArrays
from daskhpo.store.curves import CurveWriter, apply_fact, open_curves


@pytest.fixture
def path(tmp_path):
    return tmp_path / "curves.zarr"


def writer_at(path, **settings):
    return CurveWriter(path, **{"metric": "loss", "max_step": 4} | settings)


def test_what_was_put_is_read_as_one_variable_per_metric(path):
    writer = writer_at(path, direction="max", unit="batch", attrs={"name": "first"})
    writer.put(0, 1, {"loss": 0.5, "accuracy": 0.1})
    writer.put(0, 2, {"loss": 0.25})
    writer.put(2, 4, {"accuracy": 0.9})
    writer.flush(7)
    curves = open_curves(path)
    nan = np.nan
    assert curves.loss.dims == ("trial", "step")
    np.testing.assert_array_equal(curves.loss, [[0.5, 0.25, nan, nan], [nan] * 4, [nan] * 4])
    np.testing.assert_array_equal(
        curves.accuracy, [[0.1, nan, nan, nan], [nan] * 4, [nan, nan, nan, 0.9]]
    )
    assert curves.trial.values.tolist() == [0, 1, 2]
    assert curves.step.values.tolist() == [1, 2, 3, 4]
    assert curves.last_step.values.tolist() == [2, 0, 4]
    expected = {
        "schema_version": 1,
        "metrics": ["loss", "accuracy"],
        "metric": "loss",
        "direction": "max",
        "unit": "batch",
        "journal_seq": 7,
        "name": "first",
        "flushing": False,
    }
    assert expected.items() <= curves.attrs.items()


def test_parameters_come_back_as_numbers_or_as_what_was_chosen(path):
    writer = writer_at(path)
    points = [
        {"lr": 0.1, "width": 32, "opt": "adam", "bias": True, "size": 16},
        {"lr": 0.2, "opt": "sgd", "bias": False, "size": "auto", "model/depth": 3},
        {"lr": None, "width": 64, "bias": None},
    ]
    for number, point in enumerate(points):
        writer.put_trial(number, point)
    writer.flush(0)
    curves = open_curves(path)
    np.testing.assert_array_equal(curves.param_lr, [0.1, 0.2, np.nan])
    np.testing.assert_array_equal(curves.param_width, [32.0, np.nan, 64.0])
    assert curves.param_opt.values.tolist() == ["adam", "sgd", None]
    assert curves.param_bias.values.tolist() == [True, False, None]
    assert curves.param_size.values.tolist() == [16, "auto", None]
    np.testing.assert_array_equal(curves["param_model/depth"], [np.nan, 3, np.nan])


def test_a_column_of_numbers_takes_texts_later(path):
    writer = writer_at(path)
    writer.put_trial(0, {"size": 16})
    writer.put_trial(1, {"size": 0.5})
    writer.flush(0)
    writer = writer_at(path)
    writer.put_trial(2, {"size": "auto"})
    writer.put_trial(3, {"size": 16})
    writer.flush(0)
    assert open_curves(path).param_size.values.tolist() == [16, 0.5, "auto", 16]


def test_choices_are_added_when_they_appear_also_after_reopening(path):
    for number, choice in enumerate(["a", "b", True, 1, "a"]):
        writer = writer_at(path)
        writer.put_trial(number, {"opt": choice})
        writer.flush(number)
    values = open_curves(path).param_opt.values.tolist()
    assert values == ["a", "b", True, 1, "a"]
    assert isinstance(values[2], bool)


def test_states_attempts_and_seconds_are_kept_per_trial(path):
    writer = writer_at(path)
    writer.put_trial(1, state="running", attempt=0, seconds=1.5)
    writer.flush(0)
    writer.put_trial(1, state="paused")
    writer.add_seconds(1, 2.0)
    writer.flush(1)
    curves = open_curves(path)
    assert curves.state.values.tolist() == ["", "paused"]
    assert curves.attempt.values.tolist() == [-1, 0]
    assert curves.seconds.values.tolist() == [0.0, 3.5]


def test_metrics_steps_and_trials_beyond_the_first_shape_make_the_store_grow(path):
    writer = writer_at(path, max_step=3)
    writer.put(0, 1, {"loss": 1.0})
    writer.put_trial(0, {"lr": 1.0})
    writer.flush(1)
    writer.put(0, 7, {"loss": 7.0})
    writer.put(1500, 2, {"loss": 2.0, "late": 3.0})
    writer.put_trial(1500, {"lr": 2.0, "new": "x"}, state="running")
    writer.flush(2)
    writer = writer_at(path, max_step=3)
    writer.put(5000, 8, {"later": 8.0})
    writer.flush(3)
    curves = open_curves(path)
    assert dict(curves.sizes) == {"trial": 5001, "step": 9}
    assert curves.loss.values[0, [0, 6]].tolist() == [1.0, 7.0]
    assert (curves.loss.values[1500, 1], curves.late.values[1500, 1]) == (2.0, 3.0)
    assert curves.later.values[5000, 7] == 8.0
    assert curves.param_lr.values[[0, 1500]].tolist() == [1.0, 2.0]
    assert curves.param_new.values[1500] == "x"
    assert curves.state.values[1500] == "running"
    assert int(curves.loss.count() + curves.late.count() + curves.later.count()) == 5


def test_the_last_value_put_for_a_cell_counts(path):
    writer = writer_at(path)
    writer.put(0, 1, {"loss": 1.0})
    writer.put(0, 1, {"loss": 2.0})
    writer.flush(0)
    assert open_curves(path).loss.values[0, 0] == 2.0
    writer.put(0, 1, {"loss": 3.0})
    writer.flush(0)
    assert open_curves(path).loss.values[0, 0] == 3.0


def test_what_is_no_number_becomes_nan_and_infinities_stay(path):
    writer = writer_at(path)
    writer.put(0, 1, {"loss": None, "accuracy": "high", "gain": float("-inf")})
    writer.flush(0)
    curves = open_curves(path)
    assert np.isnan(curves.loss.values[0, 0])
    assert np.isnan(curves.accuracy.values[0, 0])
    assert curves.gain.values[0, 0] == -np.inf
    assert curves.last_step.values.tolist() == [1]


def test_a_metric_that_has_the_name_of_a_column_is_not_mixed_up_with_it(path):
    writer = writer_at(path)
    writer.put(0, 1, {"loss": 1.0, "seconds": 9.0, "step": 5.0, "param_lr": 4.0})
    writer.put_trial(0, {"lr": 0.1}, seconds=2.0)
    writer.flush(0)
    curves = open_curves(path)
    assert curves.seconds.values.tolist() == [2.0]
    assert curves.metric_seconds.values[0, 0] == 9.0
    assert curves.metric_step.values[0, 0] == 5.0
    assert curves.metric_param_lr.values[0, 0] == 4.0


def test_facts_are_carried_over_and_those_already_there_change_nothing(path):
    facts = [
        {"kind": "opened", "config": {}},
        {"kind": "offered", "number": 0, "params": {"lr": 0.1}, "origin": "sampler"},
        {"kind": "asked", "number": 0, "attempt": 0, "rung": 0, "start": 0, "stop": 1},
        {"kind": "reported", "number": 0, "attempt": 0, "step": 1, "metrics": {"loss": 0.5}},
        {"kind": "ended", "number": 0, "attempt": 0, "state": "paused", "seconds": 2.0},
        {"kind": "asked", "number": 0, "attempt": 1, "rung": 1, "start": 1, "stop": 3},
        {"kind": "ended", "number": 0, "attempt": 1, "state": "waiting", "seconds": 3.0},
        {"kind": "limited", "trials": 1},
        {"kind": "closed", "reason": "budget"},
    ]
    for seq, fact in enumerate(facts, 1):
        fact["seq"] = seq
    writer = writer_at(path)
    for fact in facts[:6]:
        apply_fact(writer, fact)
    writer.flush(6)
    assert open_curves(path).state.values.tolist() == ["running"]
    writer = writer_at(path)
    assert writer.journal_seq == 6
    for fact in facts:
        apply_fact(writer, fact)
    writer.flush(9)
    curves = open_curves(path)
    assert curves.state.values.tolist() == ["waiting"]
    assert curves.attempt.values.tolist() == [1]
    assert curves.seconds.values.tolist() == [5.0]
    assert curves.last_step.values.tolist() == [1]
    assert curves.loss.values[0, 0] == 0.5


def test_after_an_interrupted_flush_everything_is_applied_again(path, monkeypatch):
    ended = {"kind": "ended", "seq": 1, "number": 0, "attempt": 0, "seconds": 2.0}
    writer = writer_at(path)
    apply_fact(writer, ended)
    with monkeypatch.context() as patch:
        patch.setattr(CurveWriter, "_described", lambda self, seq: os.kill(os.getpid(), 2))
        with pytest.raises(KeyboardInterrupt):
            writer.flush(1)  # seconds are in their chunk, the sequence number is not
    with pytest.raises(StoreError, match="there are no curves"):
        open_curves(path)
    writer = writer_at(path)
    assert writer.journal_seq == 0
    apply_fact(writer, ended)
    writer.flush(1)
    assert open_curves(path).seconds.values.tolist() == [2.0]


def test_a_disk_that_refuses_is_named_and_nothing_put_is_forgotten(path, monkeypatch):
    writer = writer_at(path)
    writer.put(0, 1, {"loss": 1.0})
    writer.flush(1)
    writer.put(0, 2, {"loss": 2.0})
    writer.put(1, 1, {"accuracy": 3.0})
    whole = CurveArrays.write_cells

    def fails(self, cells):
        whole(self, {cell: value for cell, value in cells.items() if cell[1] == 0})
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(CurveArrays, "write_cells", fails)
        for _ in range(2):
            with pytest.raises(StoreError, match=f"cannot write {path}.*free some space"):
                writer.flush(2)
    assert writer.journal_seq == 1
    assert open_curves(path).attrs["journal_seq"] == 1
    writer.flush(2)
    curves = open_curves(path)
    assert curves.loss.values[0, :2].tolist() == [1.0, 2.0]
    assert curves.accuracy.values[1, 0] == 3.0


def test_leftovers_of_killed_writers_are_swept(path):
    writer_at(path).flush(0)
    leftover = path / "curves" / "c.0123.partial"
    leftover.touch()
    writer_at(path)
    assert not leftover.exists()


KILLED = """
import os, sys
from daskhpo.store.curves import CurveWriter
writer = CurveWriter(sys.argv[1], metric="loss", max_step=50)
seq = 0
while True:
    for _ in range(20):
        seq += 1
        writer.put(seq % 300, 1 + seq // 300 % 50, {"loss": float(seq), "accuracy": -float(seq)})
    writer.flush(seq)
    os.write(1, b"%d\\n" % seq)
"""


def test_what_a_killed_writer_had_flushed_is_there(path):
    for delay in (0.0, 0.05, 0.2):
        shutil.rmtree(path, ignore_errors=True)
        writer = subprocess.Popen([sys.executable, "-c", KILLED, path], stdout=subprocess.PIPE)
        lines = [writer.stdout.readline()]
        time.sleep(delay)
        writer.send_signal(signal.SIGKILL)
        lines += writer.stdout.readlines()
        writer.stdout.close()
        writer.wait()
        flushed = int(lines[-1])
        curves = open_curves(path)
        assert curves.attrs["journal_seq"] >= flushed
        for seq in range(1, flushed + 1):
            trial, step = seq % 300, seq // 300 % 50
            assert curves.loss.values[trial, step] == seq
            assert curves.accuracy.values[trial, step] == -seq
        writer_at(path)


def test_a_store_can_be_read_while_it_is_written(path):
    writer_at(path).flush(0)
    writer = subprocess.Popen([sys.executable, "-c", KILLED, path], stdout=subprocess.PIPE)
    try:
        writer.stdout.readline()
        for _ in range(15):
            curves = open_curves(path)
            written = curves.loss.values
            assert ((written > 0) | np.isnan(written)).all()
            assert curves.last_step.max() <= curves.sizes["step"]
    finally:
        writer.kill()
        writer.wait()
        writer.stdout.close()


def test_trials_that_were_bred_come_with_parameters_and_parent(path):
    writer = writer_at(path)
    facts = [
        {"kind": "offered", "number": 0, "params": {"lr": 0.1}},
        {"kind": "bred", "number": 1, "parent": 0, "step": 2, "params": {"lr": 0.08}},
        {"kind": "reported", "number": 1, "step": 3, "metrics": {"loss": 0.5}},
    ]
    for seq, fact in enumerate(facts, 1):
        apply_fact(writer, {"seq": seq, **fact})
    writer.flush(3)
    curves = open_curves(path)
    assert curves.parent.values.tolist() == [-1, 0]
    assert curves.param_lr.values.tolist() == [0.1, 0.08]
    assert curves.loss.values[1, 2] == 0.5
    again = writer_at(path)
    again.put_trial(2000, {"lr": 0.2})  # beyond the first shape: every column grows
    again.flush(4)
    assert open_curves(path).parent.values[[0, 1, 2000]].tolist() == [-1, 0, -1]


def test_without_such_trials_there_is_no_parent(path):
    writer = writer_at(path)
    writer.put_trial(0, {"lr": 0.1})
    writer.flush(1)
    assert "parent" not in open_curves(path)


def test_xarray_itself_opens_the_store_without_a_warning(path):
    writer = writer_at(path)
    writer.put(0, 1, {"loss": 1.0})
    writer.put_trial(0, {"opt": "adam"}, state="running")
    writer.flush(0)
    with xr.open_zarr(path, chunks=None, consolidated=False) as raw:
        assert raw.curves.dims == ("metric", "trial", "step")
        assert float(raw.curves[0, 0, 0]) == 1.0


def test_damage_is_named_with_its_cure(path):
    writer = writer_at(path)
    writer.put(0, 1, {"loss": 1.0})
    writer.flush(0)
    [chunk] = [p for p in (path / "curves" / "c").rglob("*") if p.is_file()]
    data = bytearray(chunk.read_bytes())
    data[len(data) // 2] ^= 0xFF
    chunk.write_bytes(data)
    with pytest.raises(StoreError, match=r"is damaged .*daskhpo rebuild"):
        open_curves(path)
    shutil.rmtree(path / "curves")
    with pytest.raises(StoreError, match=r"is damaged .*daskhpo rebuild"):
        open_curves(path)
    (path / "zarr.json").write_text('{"zarr_')
    for use in (open_curves, writer_at):
        with pytest.raises(StoreError, match=r"is damaged .*daskhpo rebuild"):
            use(path)


def test_another_version_is_refused(path):
    writer_at(path).flush(0)
    text = (path / "zarr.json").read_text()
    (path / "zarr.json").write_text(text.replace('"schema_version": 1', '"schema_version": 9'))
    for use in (open_curves, writer_at):
        with pytest.raises(StoreError, match="schema_version 9, this daskhpo reads 1"):
            use(path)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda w: w.put(3, 0, {}), "steps count from 1; trial 3 reported step 0"),
        (lambda w: w.put_trial(0, state="asleep"), "state must be one of running"),
    ],
)
def test_what_cannot_be_is_refused(path, call, message):
    with pytest.raises(StoreError, match=message):
        call(writer_at(path))


@pytest.mark.parametrize("settings", [{"max_step": 0}, {"direction": "up"}])
def test_settings_that_cannot_be_are_refused(path, settings):
    with pytest.raises(StoreError, match=next(iter(settings))):
        writer_at(path, **settings)
