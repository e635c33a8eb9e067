"""Advisers from a campaign file or a command line."""

from __future__ import annotations

import pytest

from daskhpo.advice import make_adviser
from daskhpo.exceptions import PredictorError, SchedulerError


def test_where_nothing_is_asked_for_there_is_no_adviser():
    assert make_adviser(None) is None
    assert make_adviser(None, None, seed=3) is None


@pytest.mark.parametrize("advice", ["log", "obey"])
def test_a_word_is_the_mode(advice):
    assert make_adviser("last_drop", advice).mode == advice


def test_a_predictor_alone_is_only_logged():
    assert make_adviser("svr").mode == "log"
    assert make_adviser({"type": "svr", "C": 2.0}).settings()["predictor"] == "svr(C=2.0)"


def test_a_mapping_holds_the_arguments():
    arguments = {"mode": "obey", "delta": 0.2, "audit": 0.0, "looks": 1, "labels": 20, "grace": 5}
    settings = make_adviser("last_drop", arguments).settings()
    assert {name: settings[name] for name in arguments} == arguments


def test_the_seed_is_that_of_the_campaign_unless_it_is_given():
    assert make_adviser("last_drop", seed=3).seed == 3
    assert make_adviser("last_drop", {"seed": 4}, seed=3).seed == 4


def test_advice_without_a_predictor_has_the_one_that_chooses_by_itself():
    assert make_adviser(None, "obey").settings()["predictor"] == "auto"
    assert make_adviser(None, {}).settings()["predictor"] == "auto"


def test_an_unknown_key_is_named_and_the_nearest_one_too():
    with pytest.raises(SchedulerError, match=r"^advice: unknown key 'detla'.*'delta'"):
        make_adviser("last_drop", {"detla": 0.1})
    with pytest.raises(SchedulerError, match=r"^advice: unknown key 'predictor'"):
        make_adviser("last_drop", {"predictor": "svr"})


@pytest.mark.parametrize("advice", [5, ["obey"], True, 0, False])
def test_advice_of_another_kind_is_refused(advice):
    with pytest.raises(SchedulerError, match=r"^advice=.*: must be 'log', 'obey' or a mapping"):
        make_adviser("last_drop", advice)


def test_a_word_that_is_no_mode_is_refused():
    with pytest.raises(SchedulerError, match=r"^mode='follow': must be 'log' or 'obey'"):
        make_adviser("last_drop", "follow")


@pytest.mark.parametrize("predictor", ["svrr", {"type": "svr", "c": 1.0}, "svr(C=-1)"])
def test_a_predictor_that_cannot_be_is_refused(predictor):
    with pytest.raises(PredictorError):
        make_adviser(predictor)
