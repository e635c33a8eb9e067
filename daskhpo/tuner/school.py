"""Where predictors are fitted: beside the loop, so that no trial ever waits for a model.

One lesson is under way at a time, in a thread of this process. If its predictor asks a machine
elsewhere, and a worker offers the Dask resource ``qpu``, it is a task for that worker, which has
the network and the access that are needed. What came of it travels through the loop's queue::

    School.tick ─lesson─► thread, or task with resources={"qpu": 1} ─["learned", ...]─► School.take

A lesson that fails, loses its worker or, where a machine elsewhere is asked, is late, is noted and
changes nothing else: what was learned before stands, the next lesson begins, and it is due again
when more curves have come. A fit that asks nobody is only slow: it has all the time it takes, as
a second one beside it would make both slower.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dask.config

from daskhpo.advice import Learned, Lesson
from daskhpo.cluster.pool import Tell
from daskhpo.predictors.annealers import Backend
from daskhpo.study import Study
from daskhpo.tuner.lessons import attend, attend_aside, backends, failed
from daskhpo.worker.desk import PLUGIN

if TYPE_CHECKING:
    from distributed import Client, Future

__all__ = ["School", "learn_at_once"]

logger = logging.getLogger(__name__)

QPU = "qpu"  # the Dask resource of workers that can ask
AFAR = frozenset({Backend.QPU, Backend.HYBRID, Backend.MOCK})  # a mock tests the way there
FIRST = 1_000_000  # priority: a lesson gives its thread back at once


@dataclass(slots=True, eq=False)
class _Sitting:
    """A lesson that is under way, since ``began``; ``future`` if it is a task."""

    lesson: Lesson
    began: float
    future: Future[Any] | None = None


class School:
    """Hands out the lessons of a study, one at a time, and takes what was learned.

    Use it from the thread that owns the study; without an adviser it does nothing.

    Parameters
    ----------
    study : Study
        Its adviser's forecaster says what is due.
    tell : callable
        Takes the item ``["learned", ...]`` from any thread; its content is for :meth:`take`.
    client : distributed.Client
        For the tasks of workers that can ask a QPU.
    campaign : str
        The campaign's token on the cluster.
    """

    def __init__(self, study: Study, tell: Tell, *, client: Client, campaign: str) -> None:
        self._study = study
        self._forecaster = None if study.adviser is None else study.adviser.forecaster
        asked = set() if self._forecaster is None else backends(self._forecaster.predictor)
        self._afar = bool(asked & AFAR)
        self._tell = tell
        self._client = client
        self._campaign = campaign
        self._backlog: dict[tuple[int, int], Lesson] = {}  # {(step, target): the newest}
        self._sitting: _Sitting | None = None
        self._staffed = False  # whether there has been a worker that can ask

    def staff(self, workers: Mapping[str, Sequence[Any]]) -> None:
        """Note who is there: ``{address: [name, threads, resources]}``.

        Once a worker could ask, nobody else does: the next one may be on its way, and a fit that
        has ended its worker is not to end this process too.
        """
        self._staffed |= any(resources.get(QPU, 0) >= 1 for _, _, resources in workers.values())

    def tick(self) -> None:
        """Give up what is late, and hand out the next lesson if none is under way."""
        if self._sitting is not None and self._afar:
            self._give_up_if_late(self._sitting)
        if self._forecaster is None or self._study.closed is not None:
            return
        self._backlog |= {(each.step, each.target): each for each in self._forecaster.due()}
        if self._sitting is None and self._backlog:
            self._begin(self._backlog.pop(next(iter(self._backlog))))

    def take(self, sitting: _Sitting, learned: Learned, seconds: float) -> None:
        """Swap in what was learned, unless nobody waits for it any longer."""
        if sitting is self._sitting:
            self._end(sitting, learned, seconds)

    def close(self) -> None:
        """Let go of what is under way."""
        sitting, self._sitting = self._sitting, None
        if sitting is not None and sitting.future is not None:
            sitting.future.cancel()

    def _give_up_if_late(self, sitting: _Sitting) -> None:
        """End the wait for a machine elsewhere; a thread that waits for it is left behind."""
        patience = float(dask.config.get("daskhpo.lesson-patience", 600.0))
        if time.monotonic() - sitting.began > patience:
            if sitting.future is not None:
                sitting.future.cancel()
            late = f"nothing came within {patience:g} seconds (daskhpo.lesson-patience)"
            self._end(sitting, failed(sitting.lesson, late))

    def _begin(self, lesson: Lesson) -> None:
        sitting = self._sitting = _Sitting(lesson, time.monotonic())
        if self._afar and self._staffed:
            self._send(sitting)
            return
        # A daemon: a process can end though a fit does not.
        threading.Thread(
            target=lambda: self._tell(["learned", sitting, *attend(lesson)]),
            name="daskhpo-lesson",
            daemon=True,
        ).start()

    def _send(self, sitting: _Sitting) -> None:
        """Hand a lesson to a worker that can ask.

        By its key the switchboard knows the task for one of the campaign's, which Dask must not
        run again when their worker dies: this one may have been the reason.
        """
        sitting.future = self._client.submit(
            attend_aside,
            sitting.lesson,
            key=f"lesson-{uuid.uuid4().hex}-{PLUGIN}-{self._campaign}",
            pure=False,
            retries=0,
            resources={QPU: 1},
            priority=FIRST,
        )
        sitting.future.add_done_callback(
            lambda done: self._tell(["learned", sitting, *_outcome(done, sitting)])
        )

    def _end(self, sitting: _Sitting, learned: Learned, seconds: float | None = None) -> None:
        self._sitting = None
        waited = time.monotonic() - sitting.began
        _take(self._study, learned, waited if seconds is None else seconds)


def learn_at_once(study: Study) -> None:
    """Learn whatever is due, here and now: where one trial trains at a time, nobody waits."""
    if study.adviser is not None:
        for lesson in study.adviser.forecaster.due():
            _take(study, *attend(lesson))


def _take(study: Study, learned: Learned, seconds: float) -> None:
    """Note how a lesson went; a model, if there is one, forecasts from now on."""
    assert study.adviser is not None  # whose lesson it was
    forecaster = study.adviser.forecaster
    told: dict[str, Any] = {
        "step": learned.step,
        "target": learned.target,
        "labels": learned.labels,
    }
    about = f"forecasts of step {learned.target} at step {learned.step}"
    if learned.model is None:
        asked = ", ".join(sorted(backends(forecaster.predictor)))
        told |= {"backend_requested": asked, "backend_used": None} if asked else {}
        logger.warning("%s are not renewed: %s", about, learned.record.get("failed"))
    else:
        told |= {"error": learned.error, "baseline": learned.baseline}
        logger.info("%s are learned from %d curves", about, learned.labels)
    forecaster.take(learned)
    study.note("lesson", **{**learned.record, **told, "seconds": seconds})


def _outcome(done: Future[Any], sitting: _Sitting) -> tuple[Learned, float]:
    """What became of a task; called in a thread of Dask's."""
    from distributed import KilledWorker

    try:
        learned, seconds = done.result()
        return learned, seconds
    except KilledWorker:
        reason = "its worker died"
    except BaseException as error:  # noqa: BLE001  cancelled, or it could not travel
        reason = f"its task came to nothing: {type(error).__name__}"
    return failed(sitting.lesson, reason), time.monotonic() - sitting.began
