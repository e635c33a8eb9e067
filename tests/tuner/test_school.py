"""Predictors are fitted beside the loop: trials wait for none, and nothing they do harms them."""

from __future__ import annotations

import queue
import threading

import cloudpickle
import numpy as np
import pytest
from distributed import KilledWorker
from pupils import Pupil

from daskhpo.advice import Adviser, Lesson
from daskhpo.predictors import LastDrop, make_predictor
from daskhpo.samplers.random import Random
from daskhpo.schedulers import ASHA
from daskhpo.space import Float, Space
from daskhpo.store.lines import decode_line, encode_line
from daskhpo.study import Study
from daskhpo.trial import Decision
from daskhpo.tuner.lessons import attend, backends
from daskhpo.tuner.school import School, learn_at_once
from daskhpo.worker.switchboard import place_of

LINE = Space(x=Float(0.0, 1.0))
TOKEN = "DEV-" + "0123456789abcdef" * 3  # of the form of a real one
STAFF = {"tcp://login": ["login", 1, {"qpu": 1.0}], "tcp://node": ["node", 4, {"GPU": 4.0}]}


class Client:
    """Notes what is submitted."""

    def __init__(self):
        self.submitted = []
        self.futures = []

    def submit(self, *arguments, **options):
        self.submitted.append((arguments, options))
        self.futures.append(Future())
        return self.futures[-1]


class Future:
    """A task that ends when a test says so."""

    cancelled = False

    def add_done_callback(self, callback):
        self.callback = callback

    def cancel(self):
        self.cancelled = True

    def result(self):
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome

    def end(self, outcome):
        self.outcome = outcome
        self.callback(self)


class Class:
    """A study, its school, and what is told to the loop."""

    def __init__(self, predictor, **advice):
        self.facts = []
        self.told = queue.SimpleQueue()
        self.client = Client()
        self.adviser = Adviser(
            predictor,
            **{"mode": "obey", "labels": 4, "delta": 0.2, "looks": 3, "confirm": 1} | advice,
        )
        scheduler = ASHA(max_step=16, min_step=4, eta=2, mode="stop")
        self.study = Study(
            LINE,
            scheduler,
            Random(LINE),
            metric="loss",
            adviser=self.adviser,
            emit=self.facts.append,
        )
        self.school = School(self.study, self.told.put, client=self.client, campaign="abc")

    def train(self, trials, height=0.0):
        """Let trials train to step 3 or, if they may, to 4."""
        for _ in range(trials):
            job = self.study.ask()
            for step in range(1, 5):
                loss = height + 1 / step + 0.01 * job.number
                answer = self.study.report(job.number, job.attempt, step, {"loss": loss})
                if answer.decision is not Decision.CONTINUE:
                    break

    def hear(self):
        """Take what comes next."""
        kind, *content = self.told.get(timeout=60)
        assert kind == "learned"
        self.school.take(*content)

    @property
    def lessons(self):
        return [fact for fact in self.facts if fact["kind"] == "noted" and fact["of"] == "lesson"]

    @property
    def forecast(self):
        """What is forecast of trial 0 for its first milestone."""
        return self.adviser.forecaster.forecast(0, 2, target=4, since=0, delta=0.2)


@pytest.fixture
def class_of():
    return Class


@pytest.fixture
def no_account(tmp_path, monkeypatch):
    """A token in the environment, which is the only trace of an account here."""
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_CONFIG_DIRS"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("DWAVE_API_TOKEN", TOKEN)


def test_what_was_learned_forecasts_and_is_noted(class_of):
    room = class_of("last_drop")
    room.train(5)
    room.school.tick()
    assert room.forecast is None, "nobody has waited"
    room.hear()
    assert room.forecast is None or room.forecast.labels == 5
    for _ in range(2):
        room.school.tick()
        room.hear()
    assert room.forecast.labels == 5
    assert [(fact["step"], fact["target"]) for fact in room.lessons] == [(1, 4), (2, 4), (3, 4)]
    for fact in room.lessons:
        assert fact["labels"] == 5
        assert fact["error"] <= fact["baseline"] + 1e-12
        assert fact["seconds"] >= 0
        assert "failed" not in fact


def test_advice_follows_once_there_is_a_model(class_of):
    room = class_of("last_drop", audit=0.0)
    room.train(6)
    learn_at_once(room.study)
    room.train(1, height=5.0)
    last = room.facts[-1]
    assert (last["step"], last["decision"], last["advice"]["heard"]) == (1, "stop", "obeyed")


def test_without_an_adviser_nothing_is_learned():
    study = Study(LINE, ASHA(16), Random(LINE), metric="loss")
    school = School(study, None, client=None, campaign="abc")
    school.tick()
    school.close()
    learn_at_once(study)


def test_one_lesson_is_under_way_at_a_time_and_the_newest_of_a_kind_waits(class_of, tmp_path):
    gate = tmp_path / "gate"
    room = class_of(Pupil("waits", str(gate)))
    room.train(4)
    room.school.tick()
    room.train(4)
    room.school.tick()
    assert sum(each.name == "daskhpo-lesson" for each in threading.enumerate()) == 1
    gate.touch()
    for _ in range(4):
        room.hear()
        room.school.tick()
    found = [(fact["step"], fact["labels"]) for fact in room.lessons]
    assert found == [(1, 4), (2, 8), (3, 8), (1, 8)]
    assert room.told.empty()


def test_nothing_is_begun_once_the_campaign_is_closed(class_of):
    room = class_of(Pupil(annealer="mock"))
    room.train(5)
    room.school.staff(STAFF)
    room.study.close("enough")
    room.school.tick()
    assert not room.client.submitted


# ---------------------------------------------------------------------- failures


@pytest.mark.parametrize(
    ("pupil", "reason"),
    [
        (Pupil("refuses"), "not to its liking"),
        (Pupil("raises", "singular"), "ArithmeticError: singular"),
        (Pupil("nan"), "its forecasts are not finite"),
    ],
)
def test_a_lesson_that_fails_is_noted_with_its_reason(class_of, pupil, reason, caplog):
    room = class_of(pupil)
    room.train(5)
    learn_at_once(room.study)
    assert len(room.lessons) == 3
    for fact in room.lessons:
        assert reason in fact["failed"]
        assert (fact["backend_requested"], fact["backend_used"]) == ("svr", None)
        assert "error" not in fact
    assert room.forecast is None
    assert reason in caplog.text
    room.train(1)  # under its scheduler alone
    assert not [fact for fact in room.facts if "advice" in fact]


def test_it_is_due_again_only_when_more_curves_have_come(class_of):
    room = class_of(Pupil("refuses"))
    room.train(5)
    learn_at_once(room.study)
    room.train(1)
    learn_at_once(room.study)
    assert {fact["labels"] for fact in room.lessons} == {5}
    room.train(1)
    learn_at_once(room.study)
    assert {fact["labels"] for fact in room.lessons} == {5, 7}


def test_the_last_good_model_stands_when_the_next_lesson_fails(class_of):
    room = class_of(Pupil())
    room.train(5)
    learn_at_once(room.study)
    room.adviser.forecaster.predictor.manner = "refuses"
    room.train(5)
    learn_at_once(room.study)
    assert "failed" in room.lessons[-1]
    assert room.forecast.labels == 5


def test_no_failure_tells_a_token(class_of, no_account, caplog):
    room = class_of(Pupil("raises", f"the service says: bad token {TOKEN}"))
    room.train(5)
    learn_at_once(room.study)
    assert "bad token ***" in room.lessons[0]["failed"]
    assert TOKEN not in repr(room.facts) + caplog.text


def test_whatever_a_predictor_tells_can_be_kept(class_of):
    room = class_of(Pupil("odd"))
    room.train(6)
    learn_at_once(room.study)
    told = {"share": 0.5, "bits": [0, 1, 2], "worst": None}
    assert told.items() <= room.lessons[0].items()
    room.train(2, height=5.0)
    advised = [fact for fact in room.facts if "advice" in fact]
    assert advised[-1]["advice"]["share"] == 0.5
    for fact in room.facts:
        assert decode_line(encode_line(fact, seq=1, t=0.0).rstrip(b"\n"))["kind"] == fact["kind"]


def test_a_margin_without_end_can_be_kept(class_of):
    room = class_of("last_drop", delta=0.01)  # five curves do not bound so small an error
    room.train(5)
    learn_at_once(room.study)
    room.train(1, height=5.0)
    (fact, *_) = [fact for fact in room.facts if "advice" in fact]
    assert (fact["advice"]["margin"], fact["advice"]["heard"]) == (np.inf, "")
    assert decode_line(encode_line(fact, seq=1, t=0.0).rstrip(b"\n"))["advice"] == fact["advice"]


# ---------------------------------------------------------------------- elsewhere


@pytest.fixture
def afar(class_of):
    """A class whose predictor asks a machine elsewhere; its first task is under way."""
    room = class_of(Pupil(annealer="qpu"))
    room.train(5)
    room.school.staff(STAFF)
    room.school.tick()
    return room


def test_who_asks_a_qpu_is_sent_to_a_worker_that_can(afar):
    ((_, lesson), options) = afar.client.submitted[0]
    assert options["resources"] == {"qpu": 1}
    assert options["retries"] == 0
    afar.school.tick()
    assert len(afar.client.submitted) == 1
    afar.client.futures[0].end(attend(lesson))
    afar.hear()
    assert afar.lessons[0]["labels"] == 5
    afar.school.tick()
    assert len(afar.client.submitted) == 2


def test_once_a_worker_could_ask_it_is_waited_for(afar):
    afar.school.staff({})
    afar.client.futures[0].end(KilledWorker("lesson", None, 0))
    afar.hear()
    afar.school.tick()
    assert len(afar.client.submitted) == 2
    assert afar.told.empty()


def test_its_key_is_the_switchboards_but_no_jobs(afar):
    key = afar.client.submitted[0][1]["key"]
    assert key.endswith("-daskhpo-switchboard-abc")
    assert place_of(key) is None


@pytest.mark.parametrize(
    ("predictor", "workers"),
    [
        (Pupil(annealer="qpu"), {"tcp://node": ["node", 1, {"GPU": 1.0}]}),
        (Pupil(annealer="simulated"), STAFF),
        ("last_drop", STAFF),
    ],
)
def test_everything_else_is_learned_here(class_of, predictor, workers):
    room = class_of(predictor)
    room.train(5)
    room.school.staff(workers)
    room.school.tick()
    room.hear()
    assert not room.client.submitted
    assert len(room.lessons) == 1


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [
        (KilledWorker("lesson", None, 0), "its worker died"),
        (ValueError(TOKEN), "its task came to nothing: ValueError"),
    ],
)
def test_a_task_that_comes_to_nothing_is_noted(afar, outcome, reason):
    afar.client.futures[0].end(outcome)
    afar.hear()
    (fact,) = afar.lessons
    assert fact["failed"] == reason
    assert (fact["backend_requested"], fact["backend_used"]) == ("qpu", None)
    assert TOKEN not in repr(fact)


def test_who_is_late_is_given_up_and_not_heard(afar):
    import dask.config

    with dask.config.set({"daskhpo.lesson-patience": 1e-9}):
        afar.school.tick()
    (late, current) = afar.client.futures
    assert late.cancelled
    assert not current.cancelled
    assert "nothing came within 1e-09 seconds" in afar.lessons[0]["failed"]
    late.end(attend(afar.client.submitted[0][0][1]))
    afar.hear()
    assert len(afar.lessons) == 1
    assert afar.forecast is None


def test_a_thread_that_waits_for_a_machine_elsewhere_for_ever_holds_no_lesson_up(
    class_of, tmp_path
):
    import dask.config

    gate = tmp_path / "gate"
    room = class_of(Pupil("waits", str(gate), annealer="qpu"))  # nobody else can ask
    room.train(5)
    with dask.config.set({"daskhpo.lesson-patience": 1e-9}):
        for given_up in range(3):
            room.school.tick()
            assert len(room.lessons) == given_up
    assert [fact["step"] for fact in room.lessons] == [1, 2]
    assert all("nothing came within" in fact["failed"] for fact in room.lessons)
    gate.touch()
    for _ in range(3):
        room.hear()
    assert [(fact["step"], "failed" in fact) for fact in room.lessons[2:]] == [(3, False)]


def test_a_fit_that_asks_nobody_has_all_the_time_it_takes(class_of, tmp_path):
    import dask.config

    gate = tmp_path / "gate"
    room = class_of(Pupil("waits", str(gate)))
    room.train(5)
    with dask.config.set({"daskhpo.lesson-patience": 1e-9}):
        room.school.tick()
        room.school.tick()
        assert room.lessons == []
        gate.touch()
        room.hear()
    assert [(fact["step"], "failed" in fact) for fact in room.lessons] == [(1, False)]


def test_the_end_lets_go_of_what_is_under_way(afar):
    afar.school.close()
    assert afar.client.futures[0].cancelled


def test_nothing_that_is_submitted_holds_a_token(class_of, no_account):
    room = class_of("qubo_svr(annealer=qpu)")
    room.train(5)
    room.school.staff(STAFF)
    room.school.tick()
    (submitted,) = room.client.submitted
    assert TOKEN.encode() not in cloudpickle.dumps(submitted)
    assert TOKEN not in repr(submitted)


@pytest.mark.parametrize(
    ("predictor", "found"),
    [
        ("svr", set()),
        ("qubo_svr", {"qubo-sa"}),
        ("qubo_svr(annealer=svr)", {"svr"}),
        ("ensemble(predictor={type: qubo_svr, annealer: {type: hybrid}})", {"leap-hybrid"}),
        ("auto(candidates=[last_drop, 'qubo_svr(annealer=qpu)'])", {"qpu"}),
    ],
)
def test_the_annealers_that_predictors_ask_are_known(predictor, found):
    assert backends(make_predictor(predictor)) == found


def test_a_predictor_of_ones_own_asks_nobody_that_is_known():
    assert backends(object()) == set()
    assert backends(LastDrop()) == set()


def test_a_lesson_takes_its_time():
    curves = np.linspace(1, 2, 20)[:, None] * [1.0, 0.8]
    learned, seconds = attend(Lesson(2, 4, LastDrop(), curves, curves[:, 1] - 0.5))
    assert learned.model is not None
    assert seconds >= 0
