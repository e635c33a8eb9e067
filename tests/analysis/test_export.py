"""An export holds everything that was reported, wherever the campaign was copied to."""

from __future__ import annotations

import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from daskhpo.analysis.export import export
from daskhpo.exceptions import CampaignError, StoreError
from daskhpo.store.curves import open_curves


@pytest.fixture
def made(make):
    made = make(objective="a_module_that_is_nowhere:objective")
    made.pause_at(0.5, 0.6, 0.7)
    made.study.ask()
    made.report(0, 2, 0.4, accuracy=0.9)
    return made


def test_tables_hold_every_trial_and_every_report(made, tmp_path):
    trials, curves = export(made.path, tmp_path / "out")
    table = pd.read_csv(trials, index_col="number")
    assert table.state.tolist() == ["running", "paused", "paused"]
    assert table.best_value.tolist() == [0.4, 0.6, 0.7]
    assert table.param_x.tolist() == [t.params["x"] for t in made.study.trials.values()]
    rows = pd.read_csv(curves)
    assert rows.columns.tolist() == ["number", "step", "metric", "value"]
    assert rows.query("metric == 'loss'").value.tolist() == [0.5, 0.6, 0.7, 0.4]
    assert rows.query("metric == 'accuracy'").values.tolist() == [[0, 2, "accuracy", 0.9]]


def test_the_zarr_store_opens_as_curves(made, tmp_path):
    (path,) = export(made.path, tmp_path / "first.zarr", format="zarr")
    curves = open_curves(path)
    assert curves.loss.values[0, :2].tolist() == [0.5, 0.4]
    assert np.isnan(curves.accuracy.values[1]).all()


def test_a_copy_is_read_without_the_lock_the_curves_or_the_objective(made, tmp_path):
    copy = tmp_path / "usb" / "copy"
    shutil.copytree(made.path, copy, ignore=shutil.ignore_patterns("lock", "curves.zarr"))
    before = sorted(copy.rglob("*"))
    assert len(export(copy, tmp_path / "out")) == 2
    assert sorted(copy.rglob("*")) == before


def test_a_running_campaign_with_a_torn_line_is_exported(made, tmp_path):
    with open(made.directory.journal_path, "ab") as journal:
        journal.write(b'{"crc":"00000000","se')
    trials, _ = export(made.path, tmp_path / "out")
    assert len(pd.read_csv(trials)) == 3


def test_nothing_is_overwritten(made, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").touch()
    for format in ("csv", "zarr"):
        with pytest.raises(CampaignError, match=r"out=.*exists already"):
            export(made.path, tmp_path / "out", format=format)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.tex"]


def test_a_place_that_cannot_be_written_is_named(made, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"cannot write .*file/out"):
        export(made.path, tmp_path / "file" / "out")


def test_reading_needs_neither_torch_nor_distributed(made):
    code = (
        "import sys; from daskhpo.analysis.explain import explain; "
        "from daskhpo.analysis.summary import summary; "
        "from daskhpo.analysis.reading import Reading; "
        "reading = Reading(sys.argv[1]).catch_up(); summary(reading.study, reading.campaign); "
        "explain(sys.argv[1], 0); "
        "print([name for name in ('torch', 'distributed', 'zarr', 'skopt') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(made.path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
