"""The status says how advice stands, worked out from the facts alone."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from daskhpo.analysis.advising import Advising, Gate, GateWatch
from daskhpo.analysis.agreement import share_of
from daskhpo.analysis.reading import Reading
from daskhpo.analysis.summary import summary
from daskhpo.cli import main

SCHEDULER = {"type": "asha", "max_step": 8, "min_step": 4, "eta": 2, "mode": "stop"}
ADVICE = {"mode": "obey", "labels": 4, "delta": 0.2, "looks": 1, "confirm": 1}
GOOD = [[start - 0.1 * step for step in range(8)] for start in (1, 2, 3, 5, 4, 0.5, 1.5)]
BAD = [4.9 - 0.1 * step for step in range(8)]
TURNING = [*BAD[:3], 0.1, *[-0.5] * 4]  # it is forecast to be bad, and gets good


def campaign(make, **advice):
    """A campaign in which four bad trials and one that turns out good are advised to stop."""
    made = make(scheduler=SCHEDULER, predictor="last_drop", advice=ADVICE | advice)
    made.train(*GOOD, *[BAD] * 4, TURNING)
    return made


def status(made, *options):
    done = CliRunner().invoke(main, ["status", str(made.path), *options])
    assert done.exit_code == 0, done.output
    return done.output


def test_what_was_not_followed_is_told_with_the_share_that_was_wrong(make):
    output = status(campaign(make, mode="log"))
    lines = output[output.index("advice ") :].splitlines()
    assert lines[0].startswith("advice    log by last_drop; 6 stops advised; wrong 1 of 6 seen")
    share = share_of(1, 6)
    interval = f"17% [{100 * share.low:.0f}, {100 * share.high:.0f}]"
    assert interval in " ".join(line.strip() for line in lines[:2])
    assert "gate open to epoch 4" in output
    assert "delta 0.2" in output
    assert "in force" not in output


def test_the_json_has_every_number(make):
    made = campaign(make, audit=1.0)
    told = json.loads(status(made, "--json"))["advice"]
    assert (told["mode"], told["predictor"]) == ("obey", "last_drop")
    assert (told["advised"], told["obeyed"], told["spared"]) == (6, 0, 6)
    assert (told["settled"], told["wrong"]) == (6, 1)
    assert told["wrong_share"]["value"] == pytest.approx(1 / 6)
    assert told["delta_now"] <= told["delta"] == 0.2
    (gate, *_) = told["gates"]
    assert (gate["target"], gate["open"], gate["failed"]) == (4, True, "")


def test_stops_that_were_obeyed_are_counted_and_a_replay_counts_the_same(make):
    made = campaign(make, audit=0.0)
    live = summary(made.study, made.campaign).advice
    assert (live.obeyed, live.spared, live.settled) == (6, 0, 0)
    assert "6 stops advised: 6 obeyed, 0 audited; none seen through yet" in status(made)
    reading = Reading(made.path).catch_up()
    assert summary(reading.study, reading.campaign).advice == live


def test_without_an_adviser_there_is_no_word_of_it(make):
    made = make()
    made.pause_at(0.5)
    assert "advice" not in status(made)
    assert "advice" not in json.loads(status(made, "--json"))


def test_where_nothing_was_learned_yet_it_says_what_it_takes(make):
    made = make(scheduler=SCHEDULER, predictor="last_drop", advice=ADVICE)
    made.train(GOOD[0])
    assert "no forecasts yet: 4 trials have to come to a milestone first" in status(made)


def test_a_scheduler_that_cannot_be_advised_is_told_so(make):
    hyperband = {"type": "hyperband", "max_step": 9, "eta": 3}
    made = make(scheduler=hyperband, predictor="last_drop", advice="log")
    assert "advice    none by last_drop: the scheduler cannot be advised" in status(made)


def lesson(target, **more):
    return {
        "kind": "noted",
        "of": "lesson",
        "step": target - 1,
        "target": target,
        "labels": 15,
        "seconds": 0.1,
        **more,
    }


def test_gates_are_those_of_the_latest_lessons():
    watch = GateWatch()
    watch.record(lesson(8, error=0.3, baseline=0.2))
    watch.record(lesson(4, error=0.1, baseline=0.2))
    watch.record(lesson(16, failed="all targets are equal"))
    watch.record(lesson(4, failed="no answer"))  # what was learned before stands
    watch.record(
        {
            "kind": "reported",
            "number": 0,
            "step": 3,
            "advice": {"step": 3, "target": 4, "labels": 15, "error": 0.9, "baseline": 0.2},
        }
    )
    assert [(gate.target, gate.open, gate.failed) for gate in watch.gates] == [
        (4, True, ""),
        (8, False, ""),
        (16, False, "all targets are equal"),
    ]
    watch.record(lesson(8, error=0.1, baseline=0.2))
    assert watch.gates[1].open


def test_without_lessons_in_the_journal_forecasts_tell_of_the_gates():
    watch = GateWatch()
    watch.record(
        {
            "kind": "reported",
            "number": 0,
            "step": 3,
            "advice": {"step": 3, "target": 4, "labels": 15, "error": 0.9, "baseline": 0.2},
        }
    )
    assert watch.gates == (Gate(4, 3, 15, 0.9, 0.2),)


def test_lines_fit_and_tell_a_smaller_delta():
    gates = tuple(Gate(2**k, 1, 15, 1.0, 0.5 + k % 2) for k in range(1, 12))
    predictor = f"ensemble(predictors=[{', '.join(['svr'] * 20)}])"
    lines = Advising("obey", predictor, 9, 5, 4, 4, 0.1, 0.034, 15, gates=gates).lines("epoch")
    assert max(map(len, lines)) <= 100
    text = " ".join(line.strip() for line in lines)
    assert (
        "14 stops advised: 9 obeyed, 5 audited; wrong 4 of 4 seen through, 100% [51, 100]" in text
    )
    assert "delta 0.1, 0.034 in force" in text
    assert "gate open to epoch 2, 8, 32, 128, 512, 2048; closed to epoch 4, 16" in text
