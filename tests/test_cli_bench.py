"""``daskhpo bench hepscore``: what it prints, where it writes, what it refuses."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from daskhpo.cli.bench import bench
from daskhpo.mlpf.hepscore import benchmark
from daskhpo.mlpf.hepscore.workload import Timing


def call(*arguments, code=0):
    """Run `bench` and insist on its exit code."""
    result = CliRunner().invoke(bench, [str(argument) for argument in arguments])
    if code == 0 and result.exception:
        raise result.exception
    assert result.exit_code == code, result.output
    return result


@pytest.fixture
def fast(monkeypatch):
    """Copies whose epochs take two seconds, and which are not run; returns what was asked for."""
    asked = []

    def run_copies(workload, data, copies):
        asked.append((workload, copies))
        epochs = (2.0,) * workload.epochs
        timing = Timing(events=workload.events, epoch_times=epochs, start=0.0, stop=8.0)
        return [timing] * copies

    monkeypatch.setattr(benchmark, "run_copies", run_copies)
    return asked


def test_it_writes_a_report_for_each_repetition_and_prints_the_score(fast, tmp_path):
    arguments = ["--device", "cpu", "--copies", 3, "--threads-per-copy", 2]
    arguments += ["--epochs", 2, "--events", 10]
    output = call(
        "hepscore", "--out", tmp_path, *arguments, "--repetitions", 2, "--reference", 30
    ).output
    assert "run1: 15.00 events/s" in output
    assert "median: 15.00 events/s, copies: 3, on cpu" in output
    assert "score: 0.5 (reference: 30 events/s)" in output
    for run in ("run0", "run1"):
        path = tmp_path / "mlpf" / run / "mlpf_summary.json"
        assert str(path) in output
        made = json.loads(path.read_text())
        assert made["run_info"]["copies"] == 3
        assert made["run_info"]["threads_per_copy"] == 2
        assert made["run_info"]["events_per_thread"] == 10


def test_json_is_all_that_stands_on_standard_output(fast, tmp_path):
    result = call("hepscore", "--out", tmp_path, "--copies", 1, "--repetitions", 1, "--json")
    content = json.loads(result.stdout)
    assert content["throughputs"] == [100.0]
    assert "score" not in content
    assert "run0: 100.00 events/s" in result.stderr


def test_by_default_copies_fill_the_machine_and_results_go_to_hepscore(fast, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(6)))
    call("hepscore", "--device", "cpu", "--repetitions", 1)
    assert fast[0][1] == 6
    assert (tmp_path / "hepscore" / "mlpf" / "run0" / "mlpf_summary.json").is_file()


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--epochs", 1),
        ("--events", 0),
        ("--copies", 0),
        ("--threads-per-copy", 0),
        ("--repetitions", 0),
        ("--reference", 0),
        ("--device", "tpu"),
    ],
)
def test_what_cannot_be_measured_is_a_wrong_call(option, value, tmp_path):
    assert option in call("hepscore", "--out", tmp_path / "out", option, value, code=2).output
    assert not (tmp_path / "out").exists()
