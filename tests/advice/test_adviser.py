"""When a trial is looked at, what it is told, and whether that was right."""

from __future__ import annotations

import math

import numpy as np
import pytest

from daskhpo.advice import Adviser, Forecast, Forecasts
from daskhpo.exceptions import PredictorError, SchedulerError
from daskhpo.predictors import LastDrop
from daskhpo.samplers import Random
from daskhpo.schedulers import ASHA, SHA, Fifo, Hyperband, Median
from daskhpo.schedulers.base import Bar
from daskhpo.space import Float, Space
from daskhpo.study import Study
from daskhpo.trial import Decision, Outcome, TrialState

LINE = Space(x=Float(0.0, 1.0))


class Says:
    """A forecaster that says the same of everybody, and remembers who asked what."""

    def __init__(self, value=0.9, *, margin=0.1, worst=1.0, error=0.0):
        self.value, self.margin, self.worst, self.error = value, margin, worst, error
        self.asked = []  # (number, step, target)
        self.seen = []  # (number, step, value)

    def begin(self, number, static):
        pass

    def observe(self, number, step, value):
        self.seen.append((number, step, value))

    def forecast(self, number, step, *, target, since, delta):
        self.asked.append((number, step, target))
        if self.value is None:
            return None
        wrong = {"margin": self.margin, "worst": self.worst, "error": self.error}
        return Forecast(step, target, self.value, 1.0, **wrong, labels=20, baseline=1.0)


def new(says=None, **settings):
    adviser = Adviser(
        "last_drop", **{"mode": "obey", "audit": 0.0, "looks": 3, "confirm": 1} | settings
    )
    adviser.forecaster = says or Says()
    return adviser


def advise(adviser, number, bar, *, step=None):
    step = bar.since + 1 if step is None else step
    wish = {"target": bar.milestone, "since": bar.since, "delta": 0.1}
    return adviser.advise(number, Forecasts(adviser.forecaster.forecast(number, step, **wish)), bar)


# ---------------------------------------------------------------------- decision points


def looks(adviser, since, milestone, *, steps=None):
    """The decision points that a trial uses which reports at ``steps`` on its way."""
    bar, points = Bar(since, milestone, 0.5), []
    for step in steps or range(since + 1, milestone):
        said = adviser.forecasts(0, step, bar, 100)
        if said is not None:
            points.append((step, said.next.step))
            adviser.advise(0, said, bar)
    return points


@pytest.mark.parametrize(
    ("looked", "since", "milestone", "points"),
    [
        (1, 8, 16, [12]),
        (3, 8, 16, [10, 12, 14]),
        (3, 0, 100, [25, 50, 75]),
        (2, 4, 8, [6, 7]),
        (3, 2, 4, [3]),
        (9, 4, 8, [5, 6, 7]),
        (3, 0, 1, []),
        (3, 7, 8, []),
    ],
)
def test_decision_points_are_spread_evenly_over_a_stretch(looked, since, milestone, points):
    adviser = new(Says(0.1), looks=looked)
    assert looks(adviser, since, milestone) == [(point, point) for point in points]


def test_who_reports_rarely_is_judged_by_the_curve_up_to_the_decision_point():
    adviser = new(Says(0.1))
    assert looks(adviser, 8, 16, steps=[9, 12, 15]) == [(12, 12), (15, 14)]
    assert looks(new(Says(0.1)), 8, 16, steps=[15]) == [(15, 14)]


def test_there_is_no_advice_in_the_grace_period():
    assert looks(new(Says(0.1), grace=13), 8, 16) == [(14, 14)]
    assert looks(new(Says(0.1), grace=15), 8, 16) == []


def test_a_point_for_which_there_was_no_forecast_yet_is_used_when_there_is_one():
    adviser, bar = new(Says(None)), Bar(8, 16, 0.5)
    assert adviser.forecasts(0, 12, bar, 100) is None
    adviser.forecaster.value = 0.1
    assert adviser.forecasts(0, 13, bar, 100).next.step == 12


def test_the_end_is_forecast_as_well_where_it_is_not_the_next_milestone():
    adviser = new()
    said = adviser.forecasts(0, 12, Bar(8, 16, 0.5), 64)
    assert (said.next.target, said.end.target) == (16, 64)
    assert adviser.forecasts(1, 12, Bar(8, 16, 0.5), 16).end is None


# ---------------------------------------------------------------------- what is said


@pytest.mark.parametrize(
    ("value", "margin", "error", "heard"),
    [
        (0.9, 0.1, 0.0, "obeyed"),
        (0.9, 0.5, 0.0, ""),  # it may still reach 0.4
        (0.9, math.inf, 0.0, ""),
        (0.9, 0.1, 1.0, "obeyed"),  # as good as the baseline
        (0.9, 0.1, 1.1, ""),  # the gate is closed
        (0.5, 0.0, 0.0, ""),  # just so
    ],
)
def test_the_advice_is_to_stop_who_even_at_best_stays_above_the_bar(value, margin, error, heard):
    adviser = new(Says(value, margin=margin, error=error))
    advice = advise(adviser, 0, Bar(8, 16, 0.5))
    assert (advice.heard, advice.bar, advice.delta) == (heard, 0.5, 0.1)
    assert adviser.tally.obeyed == (heard == "obeyed")


def test_nobody_is_stopped_where_everybody_goes_on():
    assert advise(new(Says(1e300)), 0, Bar(8, 16, math.inf)).heard == ""


# ---------------------------------------------------------------------- audits


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_the_share_that_was_asked_for_is_spared(share):
    adviser = new(audit=share)
    heard = [advise(adviser, number, Bar(8, 16, 0.5)).heard for number in range(2000)]
    spared = heard.count("audited") / len(heard)
    assert abs(spared - share) < 4 * math.sqrt(share * (1 - share) / len(heard))
    assert heard.count("obeyed") == adviser.tally.obeyed == 2000 - heard.count("audited")
    assert len(adviser.tally.open) == heard.count("audited")


def test_nobody_or_everybody_is_spared_if_one_asks_for_it():
    assert advise(new(audit=0.0), 0, Bar(8, 16, 0.5)).heard == "obeyed"
    assert {advise(new(audit=1.0), n, Bar(8, 16, 0.5)).heard for n in range(50)} == {"audited"}


def test_who_is_spared_depends_on_seed_trial_and_milestone_alone():
    def spared(seed, milestone):
        adviser, bar = new(audit=0.5, seed=seed), Bar(8, milestone, 0.5)
        return [advise(adviser, number, bar).heard for number in range(50)]

    assert spared(1, 16) == spared(1, 16)
    assert spared(1, 16) != spared(2, 16)
    assert spared(1, 16) != spared(1, 32)


def test_who_is_spared_on_a_stretch_stays_so_and_counts_once():
    adviser, bar = new(audit=1.0), Bar(8, 16, 0.5)
    assert [advise(adviser, 0, bar, step=step).heard for step in (10, 12, 14)] == ["audited"] * 3
    log = new(mode="log")
    assert [advise(log, 0, bar, step=step).heard for step in (10, 12, 14)] == ["logged"] * 3
    assert log.tally.logged == 1
    adviser.settle(0, 15, 0.9, bar)
    assert adviser.tally.audits == 0
    adviser.settle(0, 16, 0.9, bar)
    adviser.settle(0, 17, 0.1, bar)
    assert (adviser.tally.audits, adviser.tally.wrong) == (1, 0)


@pytest.mark.parametrize(("value", "wrong"), [(0.6, 0), (0.5, 1), (0.4, 1)])
@pytest.mark.parametrize("mode", ["obey", "log"])
def test_advice_was_wrong_if_the_trial_is_not_above_the_bar_when_it_arrives(mode, value, wrong):
    adviser = new(audit=1.0, mode=mode)
    advise(adviser, 0, Bar(8, 16, 0.2))
    adviser.settle(0, 18, value, Bar(8, 16, 0.5))
    assert (adviser.tally.audits, adviser.tally.wrong) == (1, wrong)


def test_a_trial_that_is_over_shows_nothing():
    adviser = new(audit=1.0)
    advise(adviser, 0, Bar(8, 16, 0.5))
    adviser.forget(0)
    adviser.forget(1)
    adviser.settle(0, 16, 0.1, Bar(8, 16, 0.5))
    assert adviser.tally.audits == 0


@pytest.mark.parametrize("delta", [0.05, 0.2, 0.5])
def test_the_error_rate_in_force_falls_where_stops_are_wrong_and_never_exceeds_what_was_asked(
    delta,
):
    adviser = new(audit=1.0, delta=delta)
    rng = np.random.default_rng(1)
    for number in range(200):
        assert advise(adviser, number, Bar(8, 16, 0.5)).heard == "audited"
    for number in range(200):
        before = adviser.delta_now
        assert 0 < before <= delta
        wrong = bool(rng.random() < 0.6)
        adviser.settle(number, 16, 0.4 if wrong else 0.6, Bar(8, 16, 0.5))
        assert adviser.delta_now < before if wrong else adviser.delta_now >= before
    assert adviser.delta_now == pytest.approx(delta**2 / 0.6, rel=0.2)


# ---------------------------------------------------------------------- in a study


def study(adviser, scheduler=None, facts=None, **settings):
    scheduler = scheduler or ASHA(max_step=16, min_step=4, eta=2, mode="stop")
    emit = None if facts is None else facts.append
    return Study(
        LINE, scheduler, Random(LINE), metric="loss", adviser=adviser, emit=emit, **settings
    )


def train(study, values):
    """Begin a trial and report ``{step: value}``; returns its number and the last answer."""
    job = study.ask()
    for step, value in values.items():
        answer = study.report(job.number, job.attempt, step, {"loss": value})
    return job.number, answer


def test_who_is_cut_is_over_at_once_and_its_forecast_stands_on_the_rung():
    facts = []
    told = study(new(Says(0.9)), facts=facts)
    train(told, {4: 0.1})
    train(told, {4: 0.2})
    number, answer = train(told, {1: 0.8})
    assert (answer.decision, answer.stop) == (Decision.STOP, 1)
    assert facts[-1]["decision"] == "stop"
    assert facts[-1]["advice"]["heard"] == "obeyed"
    assert facts[-1]["evidence"]["forecast"] == facts[-1]["advice"]["value"] == 0.9
    assert told.tell(number, 0, Outcome.STOPPED) is TrialState.STOPPED
    assert [row.recorded for row in told.scheduler.table()] == [3, 0, 0]


@pytest.mark.parametrize(("value", "wrong"), [(0.25, 1), (0.35, 0)])
def test_who_was_spared_is_compared_with_the_bar_of_its_arrival(value, wrong):
    adviser = new(audit=1.0)
    told = study(adviser)
    train(told, {4: 0.1})
    train(told, {4: 0.2})
    spared, _ = train(told, {1: 0.8})  # the bar is 0.2 now
    train(told, {4: 0.3})
    train(told, {4: 0.4})
    assert adviser.tally.audits == 0
    told.report(spared, 0, 4, {"loss": value})  # and 0.3 by now
    assert (adviser.tally.audits, adviser.tally.wrong) == (1, wrong)


def test_reports_that_come_after_the_cut_are_told_to_stop_and_leave_no_trace():
    facts = []
    told = study(new(Says(0.9)), facts=facts)
    train(told, {4: 0.1})
    train(told, {4: 0.2})
    number, _ = train(told, {1: 0.8})
    length = len(facts)
    for step in (1, 2, 4):
        assert told.report(number, 0, step, {"loss": 0.0}).decision is Decision.STOP
    assert len(facts) == length
    assert told.trials[number].step == 1


def test_a_trial_that_fails_or_ends_by_itself_leaves_no_open_case():
    for outcome in (Outcome.FAILED, Outcome.COMPLETED):
        adviser = new(audit=1.0)
        told = study(adviser, retries=0)
        train(told, {4: 0.1})
        train(told, {4: 0.2})
        number, _ = train(told, {1: 0.8})
        assert adviser.tally.open == {number: 4}
        told.tell(number, 0, outcome)
        assert adviser.tally.open == {}
        assert adviser.tally.audits == 0


def test_a_trial_that_trains_again_after_a_failure_is_not_looked_at_twice():
    says = Says(0.1)
    told = study(new(says, looks=1), retries=1)
    number, _ = train(told, {1: 0.8, 2: 0.7})
    told.tell(number, 0, Outcome.FAILED)
    job = told.ask()
    assert job.number == number
    asked = len(says.asked)
    for step in (1, 2, 3):
        told.report(number, job.attempt, step, {"loss": 0.5})
    assert len(says.asked) == asked
    assert [step for n, step, _ in says.seen if n == number] == [1, 2, 3]


def test_what_is_maximised_is_forecast_as_its_negative():
    says = Says(-0.1)
    told = study(new(says), direction="max")
    train(told, {4: 0.9})
    train(told, {4: 0.8})
    _, answer = train(told, {1: 0.3})
    assert says.seen[-1][2] == -0.3
    assert answer.decision is Decision.STOP  # it is forecast to reach 0.1, and 0.2 at best


def test_a_forecast_of_the_way_beyond_moves_a_trial_among_those_that_wait():
    says, facts = Says(0.4), []
    adviser = new(says, order="forecast")
    told = study(adviser, ASHA(max_step=16, min_step=4, eta=2), facts)
    train(told, {4: 0.5})
    assert facts[-1]["advice"]["heard"] == "ranked"
    assert says.asked == [(0, 4, 8)]
    assert facts[-1]["evidence"]["shift"] == pytest.approx(0.4 - 1.0)
    assert told.scheduler._ladders.standing(0).ranking == [(pytest.approx(-0.1), 0)]


def test_a_trial_that_is_past_the_way_beyond_is_not_moved_by_it():
    says, facts = Says(0.4), []
    told = study(new(says, order="forecast"), ASHA(max_step=16, min_step=4, eta=2), facts)
    train(told, {9: 0.5})
    assert says.asked == []
    assert "shift" not in facts[-1]["evidence"]


# ---------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("argument", "given", "allowed"),
    [
        ("mode", "listen", "'log' or 'obey'"),
        ("order", "loss", "'value' or 'forecast'"),
        ("delta", 0, "give a share"),
        ("delta", 0.6, "between 0 and 0.5"),
        ("delta", -0.1, "between 0 and 0.5"),
        ("delta", True, "between 0 and 0.5"),
        ("delta", math.nan, "between 0 and 0.5"),
        ("delta", "0.1", "between 0 and 0.5"),
        ("audit", 1.1, "between 0 and 1"),
        ("audit", None, "between 0 and 1"),
        ("looks", 0, "at least 1"),
        ("looks", 1.5, "at least 1"),
        ("confirm", 0, "at least 1"),
        ("confirm", None, "at least 1"),
        ("labels", 3, "at least 4"),
        ("grace", -1, "at least 0"),
        ("seed", -1, "at least 0"),
        ("seed", "one", "at least 0"),
    ],
)
def test_an_argument_that_is_not_allowed_is_named(argument, given, allowed):
    with pytest.raises(
        SchedulerError, match=f"^{argument}={given!r}.*{allowed}|^{argument}=.*give"
    ):
        Adviser("last_drop", **{argument: given})


@pytest.mark.parametrize("predictor", [LastDrop, 5, object()])
def test_what_cannot_forecast_is_refused(predictor):
    with pytest.raises(SchedulerError, match="^predictor=.*fit and predict"):
        Adviser(predictor)
    with pytest.raises(PredictorError, match="last_drop"):
        Adviser("last_drops")


@pytest.mark.parametrize("scheduler", [Hyperband(9), SHA(9, trials=9), Median(9)])
def test_a_scheduler_that_takes_no_advice_is_refused_where_it_should_obey(scheduler):
    with pytest.raises(SchedulerError, match=r"mode='obey': .* does not take advice; ASHA"):
        study(Adviser("last_drop", mode="obey"), scheduler)


@pytest.mark.parametrize(
    "scheduler", [ASHA(max_step=9), ASHA(max_step=9, eta=3, mode="stop"), Fifo(9), Hyperband(9)]
)
def test_only_ranks_by_last_values_can_be_moved(scheduler):
    with pytest.raises(SchedulerError, match=r"order='forecast': .* with a fixed eta"):
        study(Adviser("last_drop", order="forecast"), scheduler)


def test_several_metrics_are_refused():
    with pytest.raises(SchedulerError, match="forecasts one metric"):
        study(Adviser("last_drop"), also={"memory": "min"})


def test_its_settings_make_it_again():
    adviser = Adviser("svr(C=1.75)", mode="obey", delta=0.2, audit=0.3, looks=2, labels=9, seed=4)
    again = Adviser(**adviser.settings())
    assert again.settings() == adviser.settings()
    assert repr(again) == repr(adviser)
    assert adviser.settings()["predictor"] == "svr(C=1.75)"


# ---------------------------------------------------------------------- looks in a row


def hear(adviser, *values, bar):
    """What looks come to at which such values are forecast, one after another."""
    heard = []
    for step, value in enumerate(values, start=1):
        adviser.forecaster = Says(value)
        heard.append(advise(adviser, 0, bar, step=step).heard)
    return heard


@pytest.mark.parametrize(
    ("values", "heard"),
    [
        ((0.9, 0.9), ["doubted", "obeyed"]),
        ((0.9, 0.1, 0.9, 0.9), ["doubted", "", "doubted", "obeyed"]),
        ((0.1, 0.9, 0.1), ["", "doubted", ""]),
    ],
)
def test_a_stop_takes_two_looks_in_a_row(values, heard):
    adviser = new(looks=15, confirm=2)
    assert hear(adviser, *values, bar=Bar(0, 16, 0.5)) == heard


def test_a_doubt_does_not_outlive_its_milestone():
    adviser = new(looks=15, confirm=2)
    assert hear(adviser, 0.9, bar=Bar(0, 16, 0.5)) == ["doubted"]
    assert hear(adviser, 0.9, bar=Bar(16, 32, 0.5)) == ["doubted"]


@pytest.mark.parametrize("looks", [1, 2, 15])
def test_by_default_it_takes_two_doubts_however_many_looks_there_are(looks):
    adviser = Adviser("last_drop", mode="obey", audit=0.0, looks=looks)
    assert adviser.confirm == 2
    assert hear(adviser, *[0.9] * looks, bar=Bar(0, 16, 0.5))[:2] == ["doubted", "obeyed"][:looks]


@pytest.mark.parametrize(("confirm", "asked"), [(1, 0.1), (2, 0.2), (9, 0.5)])
def test_each_of_several_looks_may_be_wrong_as_many_times_more_often(confirm, asked):
    adviser = new(looks=9, confirm=confirm)
    adviser.forecaster = listens = Listens()
    adviser.forecasts(0, 1, Bar(0, 10, 0.5), 100)
    assert {wish["delta"] for wish in listens.wishes} == {asked}


class Listens(Says):
    """Remembers all that it is asked."""

    def __init__(self):
        super().__init__()
        self.wishes = []

    def forecast(self, number, step, **wish):
        self.wishes.append(wish)
        return super().forecast(number, step, **wish)


def test_whoever_is_asked_is_told_where_the_trial_comes_from():
    adviser = new(listens := Listens())
    adviser.forecasts(0, 12, Bar(8, 16, 0.5), 64)
    adviser.outlook(1, 16, Bar(8, 16, 0.5, 32))
    asked = [(wish["since"], wish["target"]) for wish in listens.wishes]
    assert asked == [(8, 16), (8, 64), (16, 32)]


# ---------------------------------------------------------------------- the stop rule


@pytest.mark.parametrize(
    ("worst", "heard"), [(0.3, ["obeyed"]), (0.5, ["doubted", "obeyed"]), (math.inf, ["doubted"])]
)
def test_one_look_is_enough_beyond_the_worst_error(worst, heard):
    adviser = new(Says(0.9, worst=worst), confirm=2)
    for step, word in enumerate(heard, start=9):
        assert advise(adviser, 0, Bar(8, 16, 0.5), step=step).heard == word


def test_with_one_look_only_the_worst_error_stops_anybody():
    assert advise(new(Says(0.9, worst=0.3), looks=1, confirm=2), 0, Bar(8, 16, 0.5)).heard
    doubted = new(Says(0.9, worst=0.5), looks=1, confirm=2)
    assert advise(doubted, 0, Bar(8, 16, 0.5)).heard == "doubted"
    assert doubted.tally.obeyed == 0


def led(adviser, nearest, *, milestone=16):
    """Somebody leads who was above the bar by so many margins."""
    adviser.leaders.look(99, milestone, nearest)
    adviser.leaders.arrive(99, milestone, 0.1)
    return adviser


@pytest.mark.parametrize(
    ("margin", "worst", "heard"),
    [
        (0.25, 0.25, ""),  # 0.4 above the bar, but not two margins
        (0.15, 0.25, "doubted"),  # two margins, but not two worst errors
        (0.15, 0.15, "obeyed"),
    ],
)
def test_who_leads_widens_the_margin_and_the_worst_error(margin, worst, heard):
    assert advise(new(Says(margin=margin, worst=worst), confirm=2), 0, Bar(8, 16, 0.5)).heard
    adviser = led(new(Says(margin=margin, worst=worst), confirm=2), 0.5)
    advice = advise(adviser, 0, Bar(8, 16, 0.5))
    assert (advice.heard, advice.caution) == (heard, 2.0)


def test_where_one_that_leads_would_have_been_stopped_for_sure_nobody_is():
    adviser = led(new(Says(1e300, margin=0.0, worst=0.0)), math.inf)
    advice = advise(adviser, 0, Bar(8, 16, 0.5))
    assert (advice.heard, advice.caution) == ("", math.inf)
    assert advise(adviser, 0, Bar(16, 32, 0.5)).heard == "obeyed", "that is another stretch"


def test_looks_of_those_that_come_to_lead_are_what_counts():
    adviser, bar = new(Says(0.6, margin=0.2)), Bar(8, 16, 0.5)
    assert advise(adviser, 0, bar).caution == 1.0
    adviser.settle(0, 15, 0.1, bar)
    assert advise(adviser, 1, bar).caution == 1.0, "it has not come to its milestone as yet"
    adviser.settle(0, 16, 0.1, bar)
    assert advise(adviser, 1, bar).caution == pytest.approx(2.0)  # half a margin above the bar
    adviser.settle(2, 17, 0.05, bar)
    adviser.settle(1, 16, 0.2, bar)
    assert advise(adviser, 3, bar).caution == pytest.approx(2.0)
