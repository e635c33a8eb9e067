"""A trial finds the answer to its report, whoever comes first."""

from __future__ import annotations

import threading

import pytest

from daskhpo.trial import Answer, Decision
from daskhpo.worker.mailbox import Mailbox

CONTINUE, PAUSE, STOP = Decision


class Observed(Mailbox):
    """A mailbox that says when its trial has looked and found nothing to go on with."""

    def __init__(self):
        super().__init__()
        self.asleep = threading.Semaphore(0)
        wait = self._news.wait

        def sleep():
            self.asleep.release()
            return wait()

        self._news.wait = sleep


@pytest.fixture
def waiting():
    """Start a trial that waits for what to do after a step: (mailbox, what it will have got)."""
    threads = []

    def start(step):
        mailbox, got = Observed(), []
        thread = threading.Thread(target=lambda: got.append(mailbox.wait(step)))
        threads.append(thread)
        thread.start()
        assert mailbox.asleep.acquire(timeout=20)

        def result():
            thread.join(timeout=20)
            assert not thread.is_alive(), "it waits on"
            return got[0]

        return mailbox, result

    yield start
    for thread in threads:
        thread.join(timeout=20)


def test_nobody_has_written_yet():
    mailbox = Mailbox()
    assert mailbox.poll() is None
    assert not mailbox.interrupted


@pytest.mark.parametrize(
    "answer", [Answer(CONTINUE, 4), Answer(CONTINUE, 9), Answer(PAUSE, 3), Answer(STOP, 3)]
)
def test_an_answer_is_found_whether_it_comes_before_or_after_the_question(waiting, answer):
    early = Mailbox()
    early.deliver(answer)
    assert early.wait(3) is answer
    late, result = waiting(3)
    late.deliver(answer)
    assert result() is answer


@pytest.mark.parametrize("stop", [1, 3])
def test_an_answer_to_an_earlier_report_does_not_let_a_trial_go(waiting, stop):
    mailbox, result = waiting(3)
    mailbox.deliver(Answer(CONTINUE, stop))
    assert mailbox.asleep.acquire(timeout=20), "it should have gone back to sleep"
    mailbox.deliver(Answer(CONTINUE, 9))
    assert result().stop == 9


def test_only_the_newest_answer_counts():
    mailbox = Mailbox()
    mailbox.deliver(Answer(CONTINUE, 9))
    mailbox.deliver(Answer(STOP, 3))
    assert mailbox.poll().decision is STOP
    assert mailbox.wait(1).decision is STOP


def test_an_interruption_wakes_whoever_waits_and_tells_it_to_pause(waiting):
    mailbox, result = waiting(3)
    mailbox.interrupt()
    assert result().decision is PAUSE
    assert mailbox.interrupted


def test_an_interruption_comes_before_any_answer():
    mailbox = Mailbox()
    mailbox.deliver(Answer(CONTINUE, 9))
    mailbox.interrupt()
    assert mailbox.wait(3).decision is PAUSE
    mailbox.deliver(Answer(CONTINUE, 99))
    assert mailbox.wait(3).decision is PAUSE


def test_a_listener_hears_the_newest_answer_and_all_that_follow():
    mailbox, heard = Mailbox(), []
    for stop in (3, 9):
        mailbox.deliver(Answer(CONTINUE, stop))
    mailbox.listen(heard.append)
    mailbox.deliver(Answer(PAUSE, 9))
    mailbox.interrupt()
    assert [(answer.decision, answer.stop) for answer in heard] == [
        (CONTINUE, 9),
        (PAUSE, 9),
        (PAUSE, 0),
    ]


def test_a_listener_that_comes_after_the_interruption_hears_of_it():
    mailbox, heard = Mailbox(), []
    mailbox.deliver(Answer(CONTINUE, 9))
    mailbox.interrupt()
    mailbox.listen(heard.append)
    assert [answer.decision for answer in heard] == [PAUSE]


def test_a_new_listener_takes_the_place_of_the_old_one():
    mailbox, old, new = Mailbox(), [], []
    mailbox.listen(old.append)
    mailbox.listen(new.append)
    mailbox.deliver(Answer(STOP, 3))
    assert (len(old), len(new)) == (0, 1)


def test_no_answer_is_missed_when_a_thousand_come_and_go():
    mailbox, steps = Mailbox(), range(1, 1001)
    asked = threading.Semaphore(0)

    def tuner():
        for step in steps:
            asked.acquire()
            mailbox.deliver(Answer(CONTINUE, step + 1))

    thread = threading.Thread(target=tuner)
    thread.start()
    got = []
    for step in steps:
        asked.release()
        got.append(mailbox.wait(step).stop)
    thread.join()
    assert got == [step + 1 for step in steps]
