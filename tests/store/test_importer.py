"""Tables from elsewhere become curves of ours, or the error names the cell."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
import pytest

from daskhpo.exceptions import DataError, StoreError
from daskhpo.predictors.cleaning import clean, restarts
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


# ------------------------------------------------------------------ cleaning

FALLING = [10.0, 6.0, 4.0, 3.0, 2.5, 2.2, 2.1, 2.0]


def resumed_at(step):
    """A training that began again from scratch at ``step``."""
    return FALLING[: step - 1] + FALLING


@pytest.mark.parametrize("step", range(6, 9))
def test_a_restart_is_found_where_it_happened(step):
    assert restarts(resumed_at(step)) == [step]


def test_every_restart_is_found_also_one_at_the_very_end():
    assert restarts(FALLING[:5] + FALLING[:6] + FALLING) == [6, 12]
    assert restarts([*FALLING, 9.9]) == [9]


@pytest.mark.parametrize(
    "curve",
    [
        FALLING,
        [10.0, 6.0, 10.0, 6.0, 4.0, 3.0],  # too early: at step 3
        [*FALLING, 10.0, 2.0, 2.0, 2.0],  # one bad value, not a new beginning
        [*FALLING, 7.0, 6.0, 4.0, 3.0],  # back, but not to where it began
        [*FALLING, 4.0, 6.0, 8.0, 10.0],  # back slowly
        [5.0] * 9,
        [1.0, 2.0, 3.0, 4.0, 5.0],  # never below its first value
        [],
    ],
)
def test_what_is_no_restart_is_left_alone(curve):
    assert restarts(curve) == []


def test_each_row_goes_for_one_reason_and_the_first_clean_one_stays():
    whole, broken, gap = FALLING + FALLING[-1:] * 5, resumed_at(6), FALLING + [np.nan] * 5
    points = {"lr": [1, 1, 1, 2, 2, True], "opt": ["a", "a", "a", "a", None, "a"]}
    found = clean(points, [broken, whole, whole, gap, whole, whole], sign=1)
    assert found.keep == [1, 4, 5]
    assert found.dropped == {"incomplete": 1, "restarted": 1, "repeated": 1}


def test_a_restart_of_a_metric_that_rises_is_a_fall(table):
    rows = [
        [1 - value / 10 for value in curve] for curve in (resumed_at(8), [*FALLING, *[1.9] * 7])
    ]
    head = ",".join(f"acc_{step}" for step in range(15))
    text = "lr," + head + "".join(f"\n{i}," + ",".join(map(str, row)) for i, row in enumerate(rows))
    settings = {"metric": "acc_{step}", "params": ["lr"], "clean": True}
    curves = table(text, mode="max", **settings)
    assert curves.param_lr.values.tolist() == [1.0]
    assert curves.attrs["dropped"] == {"incomplete": 0, "restarted": 1, "repeated": 0}


def test_without_cleaning_every_row_stays(table):
    curves = table("lr,loss_0,loss_1\n1,3,2\n1,3,\n1,3,2\n", params=["lr"])
    assert curves.sizes["trial"] == 3
    assert "dropped" not in curves.attrs


def test_a_table_of_which_nothing_is_left_is_refused(table):
    with pytest.raises(DataError, match=r"no row is left .*\(2 incomplete, 0 restarted, 0 rep"):
        table("lr,loss_0,loss_1\n1,3,\n2,,1\n", params=["lr"], clean=True)


def test_136_distinct_clean_curves_are_left_of_the_published_mlpf_set(tmp_path):
    source = SHARED / "curves" / "mlpf_delphes.csv"
    if not source.exists():
        pytest.skip(f"{source} is missing (set DASKHPO_SHARED)")
    names = ["bin_size", "dropout", "lr", "n_glayers_id", "n_glayers_reg", "output_dim"]
    names.append("weight_decay")
    out = tmp_path / "c"
    import_table(source, params=names, metric="loss_{step}", out=out, clean=True)
    curves = open_curves(out)
    assert curves.sizes["trial"] == 136
    assert curves.attrs["dropped"] == {"incomplete": 0, "restarted": 84, "repeated": 76}
    points = list(zip(*(curves[f"param_{name}"].values for name in names), strict=True))
    assert len(set(points)) == 136
