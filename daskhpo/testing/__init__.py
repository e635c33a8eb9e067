"""Conformance suites for people who write samplers and schedulers.

Subclass a suite in a test module, say how to make the object, and pytest runs what every such
object must do. The suites need no pytest themselves.
"""

from __future__ import annotations

from daskhpo.testing.advised import AdvisedSuite, Guesses
from daskhpo.testing.rehearsal import Rehearsal, standing
from daskhpo.testing.samplers import SPACES, SamplerSuite
from daskhpo.testing.schedulers import SchedulerSuite

__all__ = [
    "SPACES",
    "AdvisedSuite",
    "Guesses",
    "Rehearsal",
    "SamplerSuite",
    "SchedulerSuite",
    "standing",
]
