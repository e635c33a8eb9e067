"""The table: model beside rule-based flow, with uncertainties and a verdict."""

from __future__ import annotations

import json

import numpy as np
import pytest

from daskhpo.exceptions import DataError
from daskhpo.mlpf.events import load_sample
from daskhpo.mlpf.physics.jets import EE_GENKT
from daskhpo.mlpf.physics.report import evaluate, format_table
from daskhpo.mlpf.schema import Target


@pytest.fixture(scope="module")
def events():
    return load_sample()[:60]


def judged(events, predicted, **settings):
    return evaluate(events, predicted, rng=np.random.default_rng(1), resamples=40, **settings)


def rows_of(found):
    return {(row.group, row.name): row for row in found.rows}


@pytest.fixture(scope="module")
def perfect(events):
    return judged(events, events.ygen)


def test_a_perfect_prediction_reaches_every_ideal(perfect):
    for row in perfect.rows:
        assert row.model.value == pytest.approx(row.ideal, abs=1e-12), (row.group, row.name)
        assert row.model.error == pytest.approx(0, abs=1e-12), (row.group, row.name)


def test_a_perfect_prediction_is_better_where_the_rules_are_not_perfect(perfect):
    rows = rows_of(perfect)
    for of in (
        ("jets", "response width"),
        ("jets", "matched fraction"),
        ("MET", "response IQR"),
        ("charged hadron", "pT resolution"),
        ("photon", "fake rate"),
    ):
        assert rows[of].verdict == "better", of
        assert rows[of].gain.value > 0
    assert rows["muon", "efficiency"].verdict == "no difference seen"  # 1 in both


def test_the_rules_themselves_do_not_differ_from_the_rules(events):
    for row in judged(events, events.ycand).rows:
        assert row.model == row.rule_based
        assert row.gain.value == row.gain.error == 0
        assert row.verdict == "no difference seen"


def test_a_worse_prediction_is_called_worse(events):
    predicted = events.ycand.copy()
    predicted[np.random.default_rng(2).random(len(predicted)) < 0.3] = 0
    rows = rows_of(judged(events, predicted))
    assert rows["charged hadron", "efficiency"].verdict == "worse"
    assert rows["jets", "matched fraction"].verdict == "worse"


def test_pairing_sees_what_the_two_uncertainties_alone_would_not(events):
    """A response 2 % lower everywhere: the same jets, so the difference is nearly exact."""
    predicted = events.ycand.copy()
    predicted[:, [Target.PT, Target.ENERGY]] *= 0.98
    row = rows_of(judged(events, predicted))["jets", "response median"]
    assert row.gain.error < 0.5 * np.hypot(row.model.error, row.rule_based.error)


def test_predicting_nothing_gives_a_table_without_numbers(events):
    found = judged(events, np.zeros_like(events.ygen))
    rows = rows_of(found)
    assert rows["jets", "matched fraction"].model.value == 0
    assert np.isnan(rows["jets", "response median"].model.value)
    assert rows["jets", "response median"].verdict == "no difference seen"
    assert " -  " in format_table(found)


def test_events_in_another_order_give_the_same_values(events):
    order = np.random.default_rng(3).permutation(len(events))
    one, other = judged(events, events.ycand), judged(events[order], events[order].ycand)
    for a, b in zip(one.rows, other.rows, strict=True):
        assert a.model.value == pytest.approx(b.model.value, rel=1e-9)


def test_the_table_names_groups_values_and_units(events, perfect):
    table = format_table(perfect)
    assert table.startswith("60 events, jets: anti-kT R=0.4, pT > 5 GeV")
    for group in ("jets", "MET", "charged hadron", "neutral hadron", "photon", "electron", "muon"):
        assert f"\n{group}\n" in table
    assert "pT distance [GeV]" in table
    assert " ± " in table
    assert "40 resamples" in table


def test_json_has_every_row_and_no_nan(events):
    data = judged(events, np.zeros_like(events.ygen)).to_dict()
    read = json.loads(json.dumps(data, allow_nan=False))
    first = read["rows"][0]
    assert (first["group"], first["name"], first["ideal"]) == ("jets", "matched fraction", 1.0)
    assert set(first["model"]) == {"value", "error"}
    assert np.sum(read["confusion"]["model"]) == len(events.X)
    curve = read["curves"]["rule_based"]["jets"]["jet response width"]
    assert len(curve["edges"]) == len(curve["value"]) + 1


def test_other_jets_can_be_asked_for(events):
    found = judged(events, events.ycand, definition=EE_GENKT)
    assert found.jets == EE_GENKT
    assert len(found.truth.jets) != len(judged(events, events.ycand).truth.jets)


def test_one_event_is_not_enough_and_wrong_shapes_are_refused(events):
    with pytest.raises(DataError, match="events is 1"):
        judged(events[:1], events[:1].ycand)
    with pytest.raises(DataError, match="particles have shape"):
        judged(events, events.ycand[:-1])
