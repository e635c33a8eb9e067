"""A campaign's settings are checked when they are given, and come back as they were."""

from __future__ import annotations

import json

import hypothesis.strategies as st
import pytest
import yaml
from hypothesis import given

from daskhpo.campaign import Budget, Campaign, Workers
from daskhpo.exceptions import CampaignError, DaskhpoError

SETTINGS = {
    "name": "first",
    "objective": "training:objective",
    "metric": "loss",
    "space": {"lr": {"type": "float", "low": 1e-4, "high": 0.1, "log": True}, "layers": [1, 2]},
    "scheduler": {"type": "asha", "max_step": 9, "eta": 3},
    "sampler": {"type": "random"},
    "budget": {"trials": 30},
    "workers": {"count": 4},
}


def campaign(**settings):
    return Campaign.from_mapping(SETTINGS | settings)


def test_what_is_written_down_is_read_back_the_same():
    first = campaign(
        points=[{"lr": 0.01, "layers": 1}],
        mode="max",
        seed=3,
        also={"time": "min"},
        warm_start=["runs/first"],
    )
    text = yaml.safe_dump(first.to_mapping(), sort_keys=False)  # the order of a space matters
    again = Campaign.from_mapping(yaml.safe_load(text))
    assert again.to_mapping() == first.to_mapping()
    assert again.fingerprint == first.fingerprint
    assert again.token == first.token


def test_defaults_are_resolved_where_they_are_recorded():
    plain = Campaign.from_mapping(
        {"metric": "loss", "space": {"x": [1]}, "scheduler": {"type": "fifo", "max_step": 3}}
    ).to_mapping()
    assert plain["mode"] == "min"
    assert plain["sampler"] == {"type": "bayes"}
    assert plain["workers"]["count"] == 2
    assert plain["retries"] == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"metrik": "loss"}, "unknown key 'metrik'; did you mean 'metric'"),
        ({"budget": {"trails": 3}}, "budget: unknown key 'trails'; did you mean 'trials'"),
        ({"workers": {"cuont": 3}}, "workers: unknown key 'cuont'; did you mean 'count'"),
        ({"scheduler": {"type": "asha", "max_step": 9, "etta": 3}}, "did you mean 'eta'"),
        ({"scheduler": {"type": "ahsa", "max_step": 9}}, "did you mean 'asha'"),
        ({"scheduler": {"type": "asha"}}, "max_step"),
        ({"scheduler": 9}, "scheduler=9"),
        ({"sampler": "bayse"}, "did you mean 'bayes'"),
        ({"sampler": {"type": "random", "sede": 1}}, "sede"),
        ({"space": {"lr": {"type": "flaot", "low": 0, "high": 1}}}, "did you mean 'float'"),
        ({"space": {"lr": {"type": "float", "low": "1e-5", "high": 1}}}, "1.0e-5"),
        ({"space": [1]}, "space"),
        ({"mode": "minimise"}, "mode='minimise': must be 'min' or 'max'"),
        ({"metric": ""}, "metric='': must be a name"),
        ({"seed": -1}, "seed=-1: must be an integer of at least 0"),
        ({"seed": True}, "seed=True"),
        ({"retries": 0.5}, "retries=0.5"),
        ({"budget": {"trials": 0}}, "budget.trials=0: must be an integer of at least 1"),
        ({"budget": {"trials": 2.5}}, "budget.trials=2.5"),
        ({"budget": {"hours": -1}}, "budget.hours=-1: must be a number above 0"),
        ({"budget": {"hours": "1h"}}, "budget.hours='1h'"),
        ({"budget": 30}, "budget=30: must be a mapping"),
        ({"workers": {"count": 0}}, "workers.count=0"),
        ({"workers": {"ranks": None}}, "workers.ranks=None"),
        ({"workers": {"isolate": "yes"}}, "workers.isolate='yes': must be true or false"),
        ({"workers": {"timeout": 0}}, "workers.timeout=0"),
        ({"workers": {"resources": ["GPU"]}}, "workers.resources="),
        ({"command": "python train.py"}, "objective and command are both given"),
        ({"also": {"loss": "max"}}, "also: 'loss' is the metric that decides already"),
        ({"also": {"time": "low"}}, "direction of 'time' is 'low': must be 'min' or 'max'"),
        ({"also": {"": "min"}}, "also: '' is no name of a metric"),
        ({"also": ["time"]}, "also=['time']: must map metrics to 'min' or 'max'"),
        ({"also": None}, "also=None"),
        ({"also": {"time": "min"}, "scheduler": {"type": "median", "max_step": 9}}, "'time'"),
        ({"warm_start": "runs/first"}, "warm_start='runs/first': must be a list of directories"),
        ({"warm_start": [3]}, "warm_start=[3]: must be a list of directories"),
        ({"warm_start": [""]}, "must be a list of directories"),
        ({"points": [{"lr": 7.0, "layers": 1}]}, "'lr' is 7.0"),
    ],
)
def test_what_is_wrong_is_named_with_its_value_and_what_is_allowed(settings, message):
    with pytest.raises(DaskhpoError) as caught:
        campaign(**settings)
    assert message in str(caught.value)


@pytest.mark.parametrize("missing", ["metric", "space", "scheduler"])
def test_what_cannot_be_guessed_must_be_given(missing):
    with pytest.raises(CampaignError, match=f"{missing}: missing"):
        Campaign.from_mapping({k: v for k, v in SETTINGS.items() if k != missing})


def test_a_campaign_must_be_a_mapping():
    with pytest.raises(CampaignError, match="must be a mapping, got list"):
        Campaign.from_mapping(["metric"])


def test_names_stand_for_schedulers_and_samplers_without_arguments():
    assert campaign(sampler="sobol").sampler == {"type": "sobol"}


def test_the_fingerprint_follows_decisions_and_nothing_else():
    first = campaign()
    for same in ({"name": "second"}, {"budget": {"hours": 1}}, {"workers": {"count": 9}}):
        assert campaign(**same).fingerprint == first.fingerprint
    assert campaign(warm_start=["runs/first"]).fingerprint == first.fingerprint
    assert campaign(also={"time": "min"}).fingerprint != first.fingerprint
    for other in ({"seed": 1}, {"mode": "max"}, {"retries": 0}, {"sampler": "sobol"}):
        assert campaign(**other).fingerprint != first.fingerprint
    assert campaign().token != first.token


def test_what_a_recorded_campaign_adds_is_passed_over():
    recorded = campaign().to_mapping() | {"fingerprint": "0", "versions": {}, "created": "today"}
    assert Campaign.from_mapping(recorded).metric == "loss"


def test_a_fresh_study_follows_the_settings():
    facts = []
    study = campaign(mode="max", retries=2).study(facts.append)
    assert (study.metric, study.direction.value, study.retries) == ("loss", "max", 2)
    study.ask()
    assert [fact["kind"] for fact in facts] == ["offered", "asked"]


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "trials": st.integers(1, 10**6),
            "steps": st.integers(1, 10**9),
            "hours": st.floats(1e-3, 1e4),
            "device_hours": st.floats(1e-3, 1e6),
        },
    )
)
def test_a_budget_keeps_what_was_given(limits):
    assert Budget(**limits).given == limits
    assert campaign(budget=limits).to_mapping()["budget"] == limits


def test_the_record_is_plain_json():
    workers = {"resources": {"GPU": 1}, "timeout": 60.0, "memory": "4 GiB"}
    plain = campaign(workers=workers).to_mapping()
    assert json.loads(json.dumps(plain)) == plain
    assert Workers(**plain["workers"]) == Workers(**workers)


# ---------------------------------------------------------------------- predictor and advice


def test_an_adviser_is_recorded_with_its_defaults_and_is_read_back_the_same():
    first = campaign(predictor={"type": "svr", "C": 2.5}, advice="obey", seed=3)
    plain = json.loads(json.dumps(first.to_mapping()))
    assert plain["predictor"] == "svr(C=2.5)"
    assert plain["advice"]["mode"] == "obey"
    assert plain["advice"]["seed"] == 3, "the campaign's own"
    again = Campaign.from_mapping(plain)
    assert again.to_mapping() == first.to_mapping()
    assert again.study().adviser.settings() == first.study().adviser.settings()


@pytest.mark.parametrize(
    ("settings", "predictor", "mode"),
    [
        ({"predictor": "last_drop"}, "last_drop", "log"),
        ({"advice": "obey"}, "auto", "obey"),
        ({"predictor": "last_drop", "advice": {"mode": "obey", "audit": 0}}, "last_drop", "obey"),
    ],
)
def test_what_is_not_given_of_an_adviser_has_a_default(settings, predictor, mode):
    adviser = campaign(**settings).study().adviser
    assert (adviser.settings()["predictor"], adviser.mode) == (predictor, mode)


def test_without_a_predictor_there_is_no_adviser_and_the_fingerprint_is_as_it_was():
    first = campaign()
    assert first.study().adviser is None
    assert first.to_mapping()["predictor"] is None
    assert campaign(predictor=None, advice=None).fingerprint == first.fingerprint
    given = [{"predictor": "svr"}, {"predictor": "last_drop"}, {"advice": "obey"}]
    given += [{"predictor": "svr", "advice": {"delta": 0.2}}]
    prints = [campaign(**settings).fingerprint for settings in given]
    assert len({first.fingerprint, *prints}) == 5


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"predictor": "svrr"}, "predictor='svrr': did you mean 'svr'"),
        ({"predictor": "svr(Z=1)"}, "predictor 'svr': unknown key 'Z'"),
        ({"predictor": "svr("}, "predictor: settings 'svr('"),
        ({"predictor": 3}, "predictor=3: must be a name or a mapping"),
        ({"predictor": "svr(C=-1)"}, "predictor: C=-1"),
        ({"advice": "listen"}, "advice: mode='listen': must be 'log' or 'obey'"),
        ({"advice": False}, "advice=False: must be a name or a mapping"),
        ({"advice": {"detla": 0.2}}, "advice: unknown key 'detla'; did you mean 'delta'"),
        ({"advice": {"delta": 0}}, "advice: delta=0"),
        (
            {"advice": "obey", "scheduler": {"type": "median", "max_step": 9}},
            "advice mode='obey': Median",
        ),
        (
            {"predictor": "svr", "also": {"time": "min"}},
            "predictor='svr' forecasts one metric; 'time' is traded off",
        ),
    ],
)
def test_what_is_wrong_with_an_adviser_is_named(settings, message):
    with pytest.raises(DaskhpoError) as caught:
        campaign(**settings)
    assert message in str(caught.value)
