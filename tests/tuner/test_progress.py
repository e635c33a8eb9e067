"""Progress is one line that refreshes itself on a terminal, and a few lines in a log."""

from __future__ import annotations

import io
import logging
from types import SimpleNamespace

import pytest

from daskhpo.samplers import Random
from daskhpo.schedulers import ASHA
from daskhpo.space import Float, Space
from daskhpo.study import Study
from daskhpo.tuner.progress import Progress


class Terminal(io.StringIO):
    """A stream that says it is one."""

    def isatty(self):
        return True


class Run:
    """A run whose clock and trials a test moves on."""

    def __init__(self, stream):
        space = Space(x=Float(0, 1))
        self.study = Study(space, ASHA(9, eta=3), Random(space, seed=0), metric="loss")
        self.driver = SimpleNamespace(study=self.study, seconds=0.0)
        self.stream = stream
        self.progress = Progress("epoch", stream=stream, clock=lambda: self.driver.seconds)

    def look(self, *, after=1.0, slots=2):
        """Let time pass, call the watch, and return what it wrote."""
        self.driver.seconds += after
        before = len(self.stream.getvalue())
        self.progress(self.driver, 0, slots)
        return self.stream.getvalue()[before:]

    def train(self, value):
        """One free worker takes a job to its milestone."""
        job = self.study.ask()
        decision = self.study.report(job.number, job.attempt, job.stop, {"loss": value}).decision
        ended = {"pause": "paused", "stop": "stopped", "continue": "interrupted"}[decision]
        self.study.tell(job.number, job.attempt, ended)


@pytest.fixture
def terminal():
    return Run(Terminal())


@pytest.fixture
def log():
    return Run(io.StringIO())


def test_a_terminal_shows_counts_steps_and_the_incumbent_in_one_line(terminal):
    terminal.look()
    terminal.train(0.25)
    line = terminal.look()
    assert "\n" not in line
    assert line.startswith("\r")
    assert "1 trials: 0 running, 1 paused, 0 done" in line
    assert "| best 0.25 | 1 epoch" in line
    assert "failed" not in line


def test_failures_are_counted_in_words(terminal):
    terminal.look()
    job = terminal.study.ask()
    terminal.study.tell(job.number, job.attempt, "failed", error="broken", retry=False)
    assert "1 failed" in terminal.look()


def test_a_terminal_is_not_written_to_more_often_than_eyes_can_read(terminal):
    assert terminal.look(after=1.0)
    assert terminal.look(after=0.1) == ""


def test_the_line_never_wraps(terminal, monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    assert len(terminal.look().replace("\r\x1b[K", "")) < 20


def test_what_is_left_is_foretold_from_the_trials_that_were_judged(terminal):
    terminal.study.set_limit(10)
    assert "left" not in terminal.look()
    for value in (0.5, 0.6, 0.7, 0.8):
        terminal.train(value)
    terminal.train(0.4)  # the best goes on to epoch 3
    # One of them went on in place: four have begun, and been judged, in 80 seconds.
    assert len(terminal.study.trials) == 4
    assert "01:20, 2 min left | 4/10 trials" in terminal.look(after=79.0)


def test_a_cluster_without_workers_is_said_to_be_waited_for(terminal):
    assert "waiting for workers" in terminal.look(slots=0)


def test_log_records_do_not_tear_the_line(terminal):
    logger = logging.getLogger("daskhpo.test-progress")
    logger.addHandler(terminal.progress.handler)
    terminal.look()
    logger.warning("trial %d is failed", 3)
    assert terminal.stream.getvalue().endswith("\r\x1b[Ktrial 3 is failed\n")


def test_leaving_takes_the_line_away(terminal):
    with terminal.progress:
        terminal.look()
    assert terminal.stream.getvalue().endswith("\r\x1b[K")


def test_a_log_is_quiet_while_nothing_is_new(log):
    assert log.look() == ""
    log.train(0.5)
    assert log.look().endswith("\n")
    log.train(0.6)
    assert log.look() == ""


def test_a_log_tells_of_the_first_trial_at_a_rung_and_beyond_it(log):
    log.look()
    log.train(0.5)
    assert "first trial at epoch 1; best loss 0.5 (trial 0)" in log.look()
    for value in (0.6, 0.7, 0.3):
        log.train(value)
    line = log.look()
    assert "first trial at epoch 3" in line
    assert "first trial beyond epoch 1" in line
    assert line.count("\n") == 1


def test_a_log_tells_of_a_new_incumbent_every_ten_seconds_at_most(log):
    log.look()
    log.train(0.5)
    log.look()
    log.train(0.4)
    assert log.look(after=5.0) == ""
    assert "best loss 0.4" in log.look(after=6.0)


def test_a_resumed_run_does_not_tell_old_news(log):
    log.train(0.5)
    assert "first trial" not in log.look()


def test_a_log_has_no_control_characters(log):
    log.look()
    log.train(0.5)
    log.look()
    assert "\x1b" not in log.stream.getvalue()
    assert "\r" not in log.stream.getvalue()
