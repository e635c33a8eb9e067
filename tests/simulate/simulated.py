"""Doubles for simulations: rows in their order, a scheduler with a barrier, one that breeds."""

from __future__ import annotations

import numpy as np

from daskhpo.schedulers.base import Promotion
from daskhpo.simulate import Problem, Rows
from daskhpo.trial import Answer, Decision


def problem(curves, **settings):
    """A problem with one parameter ``x`` that is the number of the row."""
    params = [{"x": row} for row in range(len(curves))]
    return Problem("made up", "loss", params, np.array(curves, float), **settings)


def random_problem(rows=12, steps=9, seed=0, direction="min"):
    """Curves that fall on average and cross."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(0, 0.3, (rows, steps)).cumsum(axis=1)
    return problem(rng.random((rows, 1)) + 1 / np.arange(1, steps + 1) + noise, direction=direction)


class InOrder(Rows):
    """Stored rows as they come, so that a test knows which trial is which."""

    def stream(self, seed):
        rows = super().stream(seed)
        rows.suggest = lambda number: {"row": number % len(self.problem)}
        return rows


class Barrier:
    """Rounds of ``size``: all train to step 1; once all are there the best goes to the end."""

    several = False

    def __init__(self, max_step, size):
        self.max_step = max_step
        self.size = size
        self.waiting = {}  # {number: value} of the open round
        self.begun = 0
        self.failed = set()
        self.ready = None  # the winner that nobody has taken yet

    def begin(self, number):
        self.begun += 1
        return Promotion(number, 0, 1)

    def admits(self):
        return self.begun < self.size

    def promote(self, *, drained):
        if drained and self.waiting and self.ready is None:
            self._close()  # nobody comes any more
        if self.ready is None:
            return None
        number, self.ready = self.ready, None
        return Promotion(number, 1, self.max_step)

    def report(self, number, step, value):
        if step >= self.max_step:
            return Answer(Decision.STOP, step, {"rung": 1})
        if step > 1:
            return Answer(Decision.CONTINUE, self.max_step)
        self.waiting[number] = value
        if len(self.waiting) + len(self.failed) >= self.size:
            self._close()
        return Answer(Decision.PAUSE, 1, {"rung": 0})

    def _close(self):
        self.ready = min(self.waiting, key=self.waiting.get)
        self.waiting, self.begun, self.failed = {}, 0, set()

    def fail(self, number):
        if number in self.waiting:
            del self.waiting[number]
        self.failed.add(number)

    def table(self):
        return ()

    def settings(self):
        return {"type": "barrier", "max_step": self.max_step, "size": self.size}


class Breeding(Barrier):
    """A scheduler that makes trials out of others."""

    def check(self, space):
        pass

    def breed(self, number, space, params):
        return None
