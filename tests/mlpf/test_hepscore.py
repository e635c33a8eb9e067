"""The benchmark: its arithmetic, its reports, and copies that really are processes."""

from __future__ import annotations

import itertools
import json
import math
import os
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskhpo.exceptions import CampaignError, DataError, ObjectiveError, StoreError
from daskhpo.mlpf.events import load_sample
from daskhpo.mlpf.hepscore import benchmark, copies, workload
from daskhpo.mlpf.hepscore.benchmark import Outcome, run_benchmark
from daskhpo.mlpf.hepscore.copies import choose_device, default_copies, run_copies
from daskhpo.mlpf.hepscore.score import hepscore, run_score, workload_score
from daskhpo.mlpf.hepscore.summary import containment, summarise, summary_path, write_summary
from daskhpo.mlpf.hepscore.workload import TimedTrial, Timing, Workload, checksum, fixed_events

TINY = Workload(events=4, epochs=2)
NUMBER, TEXT = {"type": "number"}, {"type": "string"}


def record(**properties: Any) -> dict[str, Any]:
    """An object with exactly these keys."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


COUNT = {"type": "integer", "minimum": 1}
SUMMARY = record(  # of HEP-workloads
    run_info=record(
        copies=COUNT, threads_per_copy=COUNT, events_per_thread=COUNT, extra_arguments=TEXT
    ),
    report=record(
        **{
            "wl-scores": record(mlpf={"type": "number", "exclusiveMinimum": 0}),
            "wl-stats": record(
                mlpf=record(avg=NUMBER, median=NUMBER, min=NUMBER, max=NUMBER, count=COUNT)
            ),
            "log": {"const": "ok"},
        }
    ),
    app=record(
        version={"type": "string", "pattern": "^v"},
        description=TEXT,
        cvmfs_checksum=TEXT,
        bmkdata_checksum={"type": "string", "pattern": "^[0-9a-f]{64}$"},
        bmk_checksum=TEXT,
        containment={"enum": ["none", "docker", "singularity"]},
    ),
)
SCORES = st.floats(1e-3, 1e6)


def timing(*epoch_times: float, events: int = 100) -> Timing:
    return Timing(events=events, epoch_times=epoch_times, start=50.0, stop=70.0)


# ---------------------------------------------------------------------- the formula


def test_the_worked_example_of_hep_score() -> None:
    runs = [{"atlas-gen": 2.4248}, {"atlas-gen": 2.4916}]
    reference = {"atlas-gen": 15.4}
    assert [run_score(run, reference) for run in runs] == [0.1575, 0.1618]
    score = workload_score(runs, reference)
    assert score == pytest.approx(0.15965, abs=1e-12)
    assert hepscore({"atlas-gen": score}, {"atlas-gen": 1.0}, scaling=10) == 1.5965


def test_a_run_with_several_throughputs_is_worth_their_geometric_mean() -> None:
    run = {"gen": 2.0, "reco": 8.0, "without reference": 1e9}
    assert run_score(run, {"gen": 1.0, "reco": 1.0}) == 4.0


def test_weights_act_as_repetitions_would() -> None:
    once_twice = hepscore({"a": 2.0, "b": 16.0}, {"a": 2.0, "b": 1.0})
    assert once_twice == pytest.approx((2.0 * 2.0 * 16.0) ** (1 / 3), abs=5e-5)


@given(st.lists(SCORES, min_size=1, max_size=5), st.floats(0.1, 100))
def test_a_score_grows_with_the_scaling_and_lies_among_its_parts(
    scores: list[float], scaling: float
) -> None:
    parts = {str(number): score for number, score in enumerate(scores)}
    found = hepscore(parts, scaling=scaling) / scaling
    slack = 1e-4 / scaling
    assert min(scores) * (1 - 1e-9) - slack <= found <= max(scores) * (1 + 1e-9) + slack


@given(st.lists(SCORES, min_size=1, max_size=6), SCORES)
def test_the_order_of_repetitions_does_not_matter(runs: list[float], reference: float) -> None:
    of = [{"mlpf": run} for run in runs]
    known = {"mlpf": reference}
    if min(runs) / reference < 1e-4:
        return  # rounds to 0
    assert workload_score(of, known) == workload_score(of[::-1], known)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: run_score({"a": 1.0}, {"mlpf": 1.0}), "no throughput 'mlpf'"),
        (lambda: run_score({"mlpf": math.nan}, {"mlpf": 1.0}), "throughput of mlpf=nan"),
        (lambda: run_score({"mlpf": 1.0}, {"mlpf": 0.0}), "reference of mlpf=0.0"),
        (lambda: run_score({"mlpf": 1.0}, {}), "no throughput is given"),
        (lambda: workload_score([], {"mlpf": 1.0}), "at least one run"),
        (lambda: hepscore({}), "at least one workload"),
        (lambda: hepscore({"a": 1.0}, {"b": 1.0}), r"weights of \['b'\]"),
        (lambda: hepscore({"a": 1.0}, scaling=-1.0), "scaling"),
    ],
)
def test_a_score_of_what_is_no_throughput_is_refused(call: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        call()


# ---------------------------------------------------------------------- the clock


def test_the_first_epoch_is_not_counted_and_the_mean_is_over_throughputs() -> None:
    timed = timing(1000.0, 4.0, 5.0)
    assert timed.throughputs == [0.1, 25.0, 20.0]
    assert timed.mean_throughput == 22.5  # not 100 / 4.5


def test_the_mean_throughput_has_two_digits() -> None:
    assert timing(1.0, 3.0).mean_throughput == 33.33


def test_an_epoch_lasts_from_its_beginning_to_its_report() -> None:
    ticks = iter([10.0, 13.0, 20.0, 21.5])  # begin, report, begin, report
    waited: list[str] = []
    trial = TimedTrial(
        params={},
        max_step=2,
        clock=lambda: next(ticks),
        ready=lambda: waited.append("for the others"),
    )
    for _ in trial.steps(model=object()):
        assert waited == ["for the others"]  # before the first epoch, and only then
        trial.report(val_loss=1.0)
    assert trial.epoch_times == [3.0, 1.5]


def test_a_training_that_diverges_has_no_throughput() -> None:
    trial = TimedTrial(params={}, max_step=2)
    assert next(trial.steps()) == 1
    with pytest.raises(ObjectiveError, match="val_loss=nan in epoch 1"):
        trial.report(val_loss=math.nan)


def test_a_copy_trains_the_same_objective_with_the_time_of_the_clock(tmp_path: Path) -> None:
    fixed_events(TINY.events).save_npz(tmp_path / "events.npz")
    seconds = itertools.count(100.0, 2.0)  # every epoch lasts two seconds
    began: list[bool] = []
    made = workload.train(
        TINY,
        tmp_path / "events.npz",
        ready=lambda: began.append(True),
        clock=lambda: next(seconds),
        now=iter([5.0, 11.0]).__next__,
    )
    assert made == Timing(events=4, epoch_times=(2.0, 2.0), start=5.0, stop=11.0)
    assert made.mean_throughput == 2.0
    assert began == [True]


def test_what_upstream_calls_result_json_has_its_keys_and_numbers() -> None:
    result = timing(9.0, 4.0, 5.0, events=102).to_dict()
    assert result["wl-scores"] == {"mean_throughput": 22.95, "mean_epoch_time": 4.5}
    stats = result["wl-stats"]
    assert (stats["train_set_size"], stats["num_epochs"]) == (102, 3)
    assert (stats["batch_size_total"], stats["steps_per_epoch"]) == (5, 21)
    assert stats["events_per_epoch"] == 105
    assert stats["train_time"] == 20.0
    assert stats["throughput_per_epoch"] == [102 / 9, 25.5, 20.4]


# ---------------------------------------------------------------------- the events


def test_the_events_are_those_of_the_sample_in_its_order_again_and_again() -> None:
    sample = load_sample()
    events = fixed_events(len(sample) + 1)
    assert len(events) == len(sample) + 2  # one more to validate on
    assert np.array_equal(events[: len(sample)].X, sample.X)
    assert np.array_equal(events[-2:].X, sample[:2].X)


def test_the_checksum_tells_events_apart() -> None:
    events = fixed_events(5)
    assert checksum(events) == checksum(fixed_events(5))
    assert checksum(events) != checksum(events[[1, 0, 2, 3, 4, 5]])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 1}, "epochs=1: must be at least 2"),
        ({"events": 0}, "events=0: must be at least 1"),
        ({"threads": 0}, "threads=0: must be at least 1"),
    ],
)
def test_a_workload_that_cannot_be_timed_is_refused(settings: dict[str, int], message: str) -> None:
    with pytest.raises(CampaignError, match=message):
        Workload(**settings)


# ---------------------------------------------------------------------- the report


def test_a_summary_sums_over_copies_and_is_valid() -> None:
    made = summarise(
        Workload(events=100, epochs=3, threads=2),
        [timing(9.0, 4.0, 5.0), timing(9.0, 10.0, 10.0)],
        data_checksum="0" * 64,
    )
    jsonschema.validate(made, SUMMARY)
    assert made["report"]["wl-scores"]["mlpf"] == 32.5
    assert made["report"]["wl-stats"]["mlpf"] == {
        "avg": 16.25,
        "median": 16.25,
        "min": 10.0,
        "max": 22.5,
        "count": 2,
    }
    assert made["run_info"]["copies"] == 2
    assert made["run_info"]["events_per_thread"] == 150


def test_a_summary_is_written_where_hep_score_looks_for_it(tmp_path: Path) -> None:
    path = write_summary(tmp_path, 2, {"app": {}}, [timing(9.0, 4.0)])
    assert path == tmp_path / "mlpf" / "run2" / "mlpf_summary.json"
    assert json.loads(path.read_text()) == {"app": {}}
    assert sorted(p.name for p in path.parent.iterdir()) == ["copy0.json", "mlpf_summary.json"]


def test_a_report_that_cannot_be_written_is_an_error_of_the_disk(tmp_path: Path) -> None:
    (tmp_path / "mlpf").write_text("a file in the way")
    with pytest.raises(StoreError, match="cannot write"):
        write_summary(tmp_path, 0, {}, [])


def test_the_containment_is_known_from_the_surroundings(tmp_path: Path) -> None:
    nothing = tmp_path / "no-such-file"
    assert containment({}, nothing) == "none"
    assert containment({"SINGULARITY_CONTAINER": "x"}, nothing) == "singularity"
    assert containment({}, tmp_path) == "docker"


# ---------------------------------------------------------------------- the processes


def test_two_copies_in_processes_give_a_valid_report(tmp_path: Path) -> None:
    told: list[int] = []
    outcome = run_benchmark(
        TINY, tmp_path, copies=2, repetitions=1, watch=lambda run, _: told.append(run)
    )
    made = json.loads(summary_path(tmp_path, 0).read_text())
    jsonschema.validate(made, SUMMARY)
    assert made["run_info"]["copies"] == made["report"]["wl-stats"]["mlpf"]["count"] == 2
    assert outcome.throughputs == (made["report"]["wl-scores"]["mlpf"],)
    assert told == [0]
    one, other = (
        json.loads((tmp_path / "mlpf" / "run0" / f"copy{copy}.json").read_text())["wl-stats"]
        for copy in (0, 1)
    )
    # they began together: each while the other had not ended
    assert max(one["train_start"], other["train_start"]) < min(
        one["train_stop"], other["train_stop"]
    )


def test_a_copy_that_fails_ends_all_and_says_why(tmp_path: Path) -> None:
    with pytest.raises(ObjectiveError, match=r"a copy of the benchmark failed: DataError: .*none"):
        run_copies(TINY, tmp_path / "none.npz", 2)


def test_results_are_not_mixed_with_those_of_an_earlier_run(tmp_path: Path) -> None:
    summary_path(tmp_path, 3).parent.mkdir(parents=True)
    with pytest.raises(CampaignError, match="holds the results of an earlier benchmark"):
        run_benchmark(TINY, tmp_path, copies=1, repetitions=1)


def test_repetitions_go_one_after_the_other_into_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paces = iter([4.0, 5.0, 2.0])
    monkeypatch.setattr(
        benchmark, "run_copies", lambda *_: [timing(9.0, next(paces)), timing(9.0, 4.0)]
    )
    outcome = run_benchmark(TINY, tmp_path, copies=2, repetitions=3)
    assert outcome.throughputs == (50.0, 45.0, 75.0)
    assert outcome.median == 50.0
    assert outcome.score(25.0) == 2.0
    assert [path.parent.name for path in outcome.summaries] == ["run0", "run1", "run2"]
    assert all(path.is_file() for path in outcome.summaries)


def test_an_outcome_without_a_reference_has_no_score() -> None:
    outcome = Outcome(1, (2.0,), ())
    assert "score" not in outcome.to_dict(None)
    assert outcome.to_dict(4.0)["score"] == 0.5


def test_copies_fill_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(7)))
    assert default_copies(Workload(threads=2)) == 3
    assert default_copies(Workload(threads=8)) == 1


def test_gpus_are_dealt_out_in_turn_and_not_invented(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == "cpu"
    with pytest.raises(CampaignError, match="device='cuda': PyTorch finds no GPU"):
        choose_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device("auto") == "cuda"
    assert default_copies(Workload(device="cuda")) == 2
    assert copies._deal("cuda", 3) == ["cuda:0", "cuda:1", "cuda:0"]
