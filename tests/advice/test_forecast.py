"""What is said about where a trial will be."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daskhpo.advice import Advice, Forecast, Forecasts
from daskhpo.store.lines import decode_line, encode_line

numbers = st.floats(allow_nan=False)
forecasts = st.builds(
    Forecast,
    st.integers(1, 99),
    st.integers(2, 100),
    *[numbers] * 4,
    st.integers(3, 60),
    *[numbers] * 2,
    st.dictionaries(
        st.sampled_from(["backend_used", "errors_of", "chains"]), st.text(max_size=5) | numbers
    ).filter(lambda record: not {"NaN", "Infinity", "-Infinity"} & set(record.values())),
)


def forecast(**changes):
    plain = Forecast(5, 8, 0.5, 0.4, 0.05, 0.1, labels=20, error=0.03, baseline=0.04)
    return dataclasses.replace(plain, **changes)


@settings(deadline=None)
@given(forecasts)
def test_its_plain_form_leads_back_to_it(given):
    assert Forecast.from_dict(given.to_dict()) == given


@settings(deadline=None)
@given(forecasts, st.none() | forecasts, numbers, st.floats(1.0))
def test_advice_survives_the_journal_whatever_is_infinite(coming, end, bar, caution):
    advice = Advice(coming, bar, "audited", 0.1, caution, end)
    line = encode_line({"kind": "reported", "advice": advice.to_dict()}, seq=1, t=0.0)
    read = decode_line(line[:-1])["advice"]
    assert Forecasts.from_dict(read) == Forecasts(coming, end)
    assert (read["heard"], read["delta"], read["caution"]) == ("audited", 0.1, caution)


def test_a_bar_that_everybody_passes_is_none():
    assert Advice(forecast(), math.inf, "", 0.1, 1.0).to_dict()["bar"] is None


def test_a_record_never_hides_what_was_forecast():
    odd = forecast(record={"value": 7.0, "error": "no network"})
    assert odd.to_dict() == forecast().to_dict()


@pytest.mark.parametrize(("bar", "margins"), [(0.45, 1.0), (0.4, 2.0), (0.5, 0.0), (0.6, 0.0)])
def test_how_far_it_is_above_a_bar_is_told_in_margins_or_in_worst_errors(bar, margins):
    assert forecast().above(bar) == pytest.approx(margins)
    assert forecast().above(bar, worst=True) == pytest.approx(margins / 2)


@pytest.mark.parametrize(("wrong", "worst"), [("margin", False), ("worst", True)])
def test_an_infinite_margin_is_never_exceeded_and_none_at_once(wrong, worst):
    assert forecast(**{wrong: math.inf}).above(-1e300, worst=worst) == 0.0
    assert forecast(**{wrong: 0.0}).above(0.499, worst=worst) == math.inf
    assert forecast(**{wrong: 0.0}).above(0.5, worst=worst) == 0.0
    assert forecast(**{wrong: 0.0}).above(math.inf, worst=worst) == 0.0


@pytest.mark.parametrize(("error", "is_open"), [(0.03, True), (0.04, True), (0.05, False)])
def test_the_gate_is_open_to_those_that_are_not_worse_than_the_baseline(error, is_open):
    assert forecast(error=error).open is is_open
    assert not forecast(error=math.nan).open


def test_what_a_forecast_adds_to_a_rank_grows_with_how_much_better_it_is_than_the_baseline():
    assert forecast(error=0.0).lean == pytest.approx(0.1)
    assert forecast(error=0.02).lean == pytest.approx(0.075)
    assert forecast(error=0.04).lean == 0.0
    assert forecast(error=0.05).lean == 0.0, "the gate is closed"
    assert forecast(error=0.0, baseline=0.0).lean == 0.0
    assert forecast(error=0.0, value=0.3).lean == pytest.approx(-0.1)


def test_advice_is_json_data():
    coming = forecast(record={"backend_used": None})
    form = Advice(coming, 0.4, "obeyed", 0.1, 1.0, forecast()).to_dict()
    assert json.loads(json.dumps(form)) == form
    assert form["end"] == forecast().to_dict()
