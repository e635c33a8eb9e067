"""Tables from elsewhere become curves of ours, or the error names the cell."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
import pytest

from daskhpo.exceptions import DataError, StoreError
from daskhpo.store.curves import open_curves
from daskhpo.store.importer import import_table

SHARED = Path(os.environ.get("DASKHPO_SHARED", Path(__file__).parents[2] / ".." / "shared"))


@pytest.fixture
def table(tmp_path):
    """Write a table and import it; gives the open curves."""

    def write(text, *, metric="loss_{step}", params=(), **settings):
        path = tmp_path / "table.csv"
        path.write_text(text, encoding="utf-8")
        return open_curves(
            import_table(path, params=params, metric=metric, out=tmp_path / "out", **settings)
        )

    return write


def test_columns_are_ordered_by_their_number_and_the_lowest_is_step_1(table):
    curves = table("loss_10,lr,loss_2,loss_9\n3,0.1,1,2\n")
    assert curves.loss.values.tolist() == [[1.0, 2.0, 3.0]]
    assert curves.step.values.tolist() == [1, 2, 3]
    assert curves.attrs["steps"] == [2, 9, 10]


def test_missing_cells_stay_missing_and_a_curve_that_ends_early_ends_early(table):
    curves = table("loss_0,loss_1,loss_2\n1,2,3\n1,NaN,\n,,\n4,,6\n")
    nan = np.nan
    np.testing.assert_array_equal(
        curves.loss, [[1, 2, 3], [1, nan, nan], [nan, nan, nan], [4, nan, 6]]
    )
    assert curves.last_step.values.tolist() == [3, 1, 0, 3]
    assert curves.state.values.tolist() == ["completed", "stopped", "stopped", "completed"]


def test_parameters_are_numbers_booleans_or_texts(table):
    curves = table(
        'lr,bias,net,mixed,x_1\n0.1,True,"C(64,1), P",3,0\n,false,None,auto,0\n1e-3,,,,0\n',
        metric="x_{step}",
        params=["lr", "bias", "net", "mixed"],
    )
    np.testing.assert_array_equal(curves.param_lr, [0.1, np.nan, 1e-3])
    assert curves.param_bias.values.tolist() == [True, False, None]
    assert curves.param_net.values.tolist() == ["C(64,1), P", "None", None]
    assert curves.param_mixed.values.tolist() == ["3", "auto", None]


def test_name_mode_and_source_are_kept(table):
    curves = table("acc_1\n0.5\n", metric="acc_{step}", mode="max", name="published")
    assert curves.attrs["direction"] == "max"
    assert curves.attrs["name"] == "published"
    assert curves.attrs["source"] == "table.csv"
    assert curves.attrs["metric"] == "acc"


@pytest.mark.parametrize(
    ("text", "settings", "message"),
    [
        ("lr,loss_1\n1,2\n", {"params": ["lrr"]}, "has no column 'lrr'; there are 'lr'"),
        ("lr,loss_1\n1,2\n", {"metric": "los_{step}"}, r"like 'los_\{step\}'; there are 'loss_1'"),
        ("lr,loss_1\n1,2\n", {"metric": "loss"}, r"must contain \{step\} once"),
        ("lr,loss_1\n1,2\n1,bad\n", {}, "line 3, column 'loss_1': 'bad' is no number"),
        ("lr,loss_1\n1,2\n1\n", {}, "line 3: 1 cells, the header has 2"),
        ("loss_1,loss_1\n1,2\n", {}, "the column 'loss_1' occurs twice"),
        ("loss_1\n", {}, "a header but no rows"),
        ("", {}, "it has no header"),
        ('loss_1\n"1\n', {}, "is no comma-separated"),
    ],
)
def test_what_is_wrong_with_a_table_is_named(table, tmp_path, text, settings, message):
    with pytest.raises(DataError, match=message):
        table(text, **settings)
    assert not (tmp_path / "out").exists()


def test_nothing_is_overwritten_and_missing_files_are_named(table, tmp_path):
    table("loss_1\n1\n")
    with pytest.raises(DataError, match=r"out: .*out exists already"):
        table("loss_1\n1\n")
    with pytest.raises(StoreError, match=r"cannot read .*nowhere\.csv"):
        import_table(tmp_path / "nowhere.csv", params=[], metric="a{step}", out=tmp_path / "other")


@pytest.mark.parametrize(
    ("name", "params", "metric", "mode", "shape"),
    [
        (
            "mlpf_delphes.csv",
            "bin_size dropout lr n_glayers_id n_glayers_reg output_dim weight_decay",
            "loss_{step}",
            "min",
            (296, 100),
        ),
        ("lstm_ptb.csv", "n_layer n_inputs base_model", "ep_{step}", "min", (280, 60)),
        ("metaqnn_cifar10.csv", "num_params depth lr net", "acc_{step}", "max", (1000, 20)),
        ("mnist_cnn_4hp.csv", "filters 1st_dense lr momentum", "loss_{step}", "min", (800, 12)),
    ],
)
def test_published_curves_are_imported_cell_by_cell(tmp_path, name, params, metric, mode, shape):
    source = SHARED / "curves" / name
    if not source.exists():
        pytest.skip(f"{source} is missing (set DASKHPO_SHARED)")
    out = import_table(source, params=params.split(), metric=metric, mode=mode, out=tmp_path / "c")
    curves = open_curves(out)
    before = metric.replace("{step}", "")
    with open(source, newline="") as file:
        rows = list(csv.DictReader(file))
    expected = [[float(v) for k, v in row.items() if k.startswith(before)] for row in rows]
    values = curves[curves.attrs["metric"]].values
    assert values.shape == shape
    np.testing.assert_array_equal(values, expected)
    for param in params.split():
        column = curves[f"param_{param}"].values
        texts = [row[param] for row in rows]
        assert column.tolist() == (texts if column.dtype == object else [float(t) for t in texts])
    assert (curves.state == "completed").all()
