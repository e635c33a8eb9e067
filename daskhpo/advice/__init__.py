"""Advice: predictors in a running campaign, gated, calibrated and audited.

A :class:`Forecaster` keeps curves and models, an :class:`Adviser` weighs what they say against
what a trial has to reach; a :class:`~daskhpo.advice.dialogue.Dialogue` introduces them to the
scheduler of a :class:`~daskhpo.study.Study`.
"""

from __future__ import annotations

from daskhpo.advice.adviser import Advice, Adviser, Forecasts
from daskhpo.advice.choosing import make_adviser
from daskhpo.advice.forecast import Forecast
from daskhpo.advice.forecaster import Forecaster
from daskhpo.advice.lessons import Learned, Lesson, learn

__all__ = [
    "Advice",
    "Adviser",
    "Forecast",
    "Forecaster",
    "Forecasts",
    "Learned",
    "Lesson",
    "learn",
    "make_adviser",
]
