"""Where a trial finds the answers to its reports."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable

from daskhpo.trial import Answer, Decision

__all__ = ["Mailbox"]


class Mailbox:
    """The receiving half of a channel: one thread delivers, the trial waits or looks.

    Only the newest answer counts: it says what to do after every step up to its ``stop``.

    Examples
    --------
    >>> mailbox = Mailbox()
    >>> mailbox.deliver(Answer(Decision.CONTINUE, 9))
    >>> mailbox.wait(3).stop
    9
    """

    def __init__(self) -> None:
        self.interrupted = False
        self.aborted = False  # another worker of the trial has failed: nothing can be saved
        self.ends = math.inf  # seconds since 1970: when this worker's batch job is killed
        self._endpoint = ""
        self._news = threading.Condition()
        self._answer: Answer | None = None
        self._listener: Callable[[Answer], None] | None = None

    def wait(self, step: int) -> Answer:
        """Block until there is an answer that says what to do after ``step``."""
        with self._news:
            while True:
                answer = self._answer
                if self.interrupted:
                    return _LEAVE
                if answer and (answer.decision is not Decision.CONTINUE or answer.stop > step):
                    return answer
                self._news.wait()

    def poll(self) -> Answer | None:
        """The newest answer, if there is one."""
        return self._answer

    def deliver(self, answer: Answer) -> None:
        """An answer has come."""
        with self._news:
            self._answer = answer
            self._tell(answer)

    def interrupt(self) -> None:
        """The trial has to leave its worker soon, whatever was decided."""
        with self._news:
            self.interrupted = True
            self._tell(_LEAVE)

    def abort(self) -> None:
        """Another worker of the trial has failed: leave at once, without saving."""
        with self._news:
            self.aborted = True
        self.interrupt()

    def introduce(self, endpoint: str) -> None:
        """The trial's ranks meet at ``endpoint`` (``"host:port"``)."""
        with self._news:
            self._endpoint = endpoint
            self._news.notify_all()

    def meet(self, timeout: float) -> str:
        """Wait for the endpoint at which the trial's ranks meet; empty if it never comes."""
        with self._news:
            self._news.wait_for(lambda: self._endpoint or self.aborted, timeout)
            return self._endpoint

    def listen(self, listener: Callable[[Answer], None]) -> None:
        """Call ``listener`` with every answer from now on, and with the newest so far."""
        with self._news:
            self._listener = listener
            if self.interrupted:
                listener(_LEAVE)
            elif self._answer is not None:
                listener(self._answer)

    def _tell(self, answer: Answer) -> None:
        self._news.notify_all()
        if self._listener is not None:
            self._listener(answer)


_LEAVE = Answer(Decision.PAUSE, 0)
