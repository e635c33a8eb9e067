"""First come, first served, to the end."""

from __future__ import annotations

import pytest

from daskhpo.exceptions import SchedulerError
from daskhpo.schedulers import Fifo
from daskhpo.testing import SchedulerSuite
from daskhpo.trial import Decision


class TestFifo(SchedulerSuite):
    def make(self):
        return Fifo(max_step=9)


def test_everybody_trains_to_the_end_however_bad():
    scheduler = Fifo(3)
    assert scheduler.begin(0).stop == 3
    answers = [scheduler.report(0, step, 1e9).decision for step in (1, 2, 3)]
    assert answers == [Decision.CONTINUE, Decision.CONTINUE, Decision.STOP]
    assert scheduler.promote(drained=True) is None


@pytest.mark.parametrize("max_step", [0, -1, 1.5, True, "9"])
def test_a_max_step_that_cannot_work_is_named(max_step):
    with pytest.raises(SchedulerError, match=f"max_step={max_step!r}"):
        Fifo(max_step)
