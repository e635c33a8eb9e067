"""Run an objective once, and say in the study's words how that ended."""

from __future__ import annotations

import os
import traceback
from dataclasses import dataclass

from daskhpo.exceptions import ObjectiveError
from daskhpo.trial import Outcome
from daskhpo.worker.session import Session
from daskhpo.worker.work import Objective

__all__ = ["Ending", "perform"]

ERROR_CHARACTERS = 4000  # of a traceback's end: what goes into the journal


@dataclass(frozen=True, slots=True)
class Ending:
    """How a job ended: :meth:`daskhpo.study.Study.tell`'s arguments."""

    outcome: Outcome
    seconds: float
    error: str = ""
    retry: bool = True


def perform(objective: Objective, session: Session) -> Ending:
    """Call ``objective(session)``; whatever it raises becomes an :class:`Ending`.

    A child that the objective forked and that falls out of it ends here: it must not go on as a
    second worker.
    """
    owner = os.getpid()
    try:
        try:
            outcome = session.finish(objective(session))
        finally:
            if os.getpid() != owner:
                os._exit(1)
    except MemoryError:
        return _failed(session, "out of memory", retry=False)
    except ObjectiveError as error:
        return _failed(session, str(error), retry=False)
    except BaseException as error:  # noqa: BLE001 (SystemExit and KeyboardInterrupt are its fault too)
        if "out of memory" in str(error).lower():
            return _failed(session, f"out of memory: {error}", retry=False)
        return _failed(session, traceback.format_exc()[-ERROR_CHARACTERS:], retry=True)
    return Ending(outcome, session.seconds)


def _failed(session: Session, error: str, *, retry: bool) -> Ending:
    return Ending(Outcome.FAILED, session.seconds, error, retry)
