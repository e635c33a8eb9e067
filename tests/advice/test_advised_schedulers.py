"""Schedulers that take advice, and what becomes of campaigns where all of it is guessed."""

from __future__ import annotations

from daskhpo.advice import Adviser
from daskhpo.schedulers import ASHA, Fifo
from daskhpo.testing import AdvisedSuite, Guesses


class TestPromotion(AdvisedSuite):
    def make(self):
        return ASHA(max_step=27, eta=3)


class TestPromotionByForecast(AdvisedSuite):
    def make(self):
        return ASHA(max_step=27, eta=3)

    def adviser(self):
        adviser = Adviser("last_drop", mode="obey", audit=0.25, order="forecast")
        adviser.forecaster = Guesses()
        return adviser


class TestStopping(AdvisedSuite):
    def make(self):
        return ASHA(max_step=27, eta=3, mode="stop")


class TestBrackets(AdvisedSuite):
    def make(self):
        return ASHA(max_step=20, min_step=2, eta=2, brackets=3, seed=4)


class TestLearned(AdvisedSuite):
    def make(self):
        return ASHA(max_step=32)


class TestAudited(AdvisedSuite):
    def make(self):
        return ASHA(max_step=16, eta=2, audit=0.2)


class TestFifo(AdvisedSuite):
    def make(self):
        return Fifo(max_step=9)
