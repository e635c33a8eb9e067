"""One rank of a worker's trials: ``python -m daskhpo.worker.rank FD``, started by its supervisor.

Protocol over the inherited socket, as pickled tuples. From the supervisor: ``("work", bytes)``
once; then for every job ``("job", Place, Job)``, ``("store", "host:port")``, ``("answer",
decision, stop)``, ``("ends", time)``, ``("leave",)``, and ``("rest",)`` when the job is over and
the rank is to stay. To it: ``("store", port)`` and ``("report", step, metrics, urgent)`` from rank
0, ``("ended", when, Ending)`` and, after a rest, ``("ready", what was left over)`` from every rank.

SIGTERM (batch systems send it to every process of a job that has to go) lets the trial leave at
its next step, with a checkpoint, even if the supervisor is gone by then; a second one kills.
"""

from __future__ import annotations

import contextlib
import math
import os
import queue
import signal
import sys
import threading
import time
from multiprocessing.connection import Connection
from typing import Any

import cloudpickle

from daskhpo.trial import Answer, Decision, Job, Outcome
from daskhpo.worker.group import Group, Place
from daskhpo.worker.mailbox import Mailbox
from daskhpo.worker.perform import Ending, perform
from daskhpo.worker.session import Alone, Session
from daskhpo.worker.surroundings import Surroundings
from daskhpo.worker.work import Work

__all__ = ["main"]

PULSE = 2.0  # seconds between two looks at whether the supervisor lives
MOMENT = 1.0  # seconds in which SIGTERM may turn out to be what ended the supervisor
GRACE = 60.0  # seconds that a rank which got SIGTERM outlives its supervisor at most


class _Post(Mailbox):
    """The channel of one job: a :class:`daskhpo.worker.session.Channel` over the socket."""

    def __init__(self, pipe: _Pipe, ends: float) -> None:
        super().__init__()
        self.ends = ends
        self.others = math.inf  # when the first of the trial's other workers is killed
        self._pipe = pipe

    def send(self, step: int, metrics: dict[str, float], *, urgent: bool) -> None:
        self._pipe.put("report", step, metrics, urgent)

    def announce(self, port: int) -> None:
        self._pipe.put("store", port)

    def endpoint(self, timeout: float) -> str:
        endpoint = self.meet(timeout)
        if not endpoint:
            raise RuntimeError(f"rank 0 did not say within {timeout:g} s where to meet")
        return endpoint


class _Pipe:
    """The rank's end of the socket."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.inbox: queue.SimpleQueue[tuple[Any, ...]] = queue.SimpleQueue()
        self.post: _Post | None = None  # of the job that is being done
        self.warned: queue.SimpleQueue[None] = queue.SimpleQueue()  # one entry: SIGTERM
        self.leaving = threading.Event()  # since SIGTERM
        self._sending = threading.Lock()
        self._supervisor = os.getppid()
        for work in (self._read, self._leave_when_warned):
            threading.Thread(target=work, daemon=True).start()

    def put(self, *message: Any) -> None:
        try:
            with self._sending:
                self.connection.send(message)
        except OSError:
            if message[0] != "report":  # the checkpoint will have it
                self._orphaned()

    def _read(self) -> None:
        while True:
            try:
                if self.connection.poll(PULSE):
                    self._take(*self.connection.recv())
                elif os.getppid() != self._supervisor:  # a child of it may hold the socket open
                    self._orphaned()
            except (EOFError, OSError):
                self._orphaned()

    def _take(self, kind: str, *content: Any) -> None:
        post = self.post
        if kind == "job":
            place, job = content
            self.post = _Post(self, place.ends)
            if self.leaving.is_set():
                self.post.interrupt()
            self.inbox.put((kind, place, job, self.post))
        elif kind in ("work", "rest"):
            self.inbox.put((kind, *content))
        elif post is None:
            return
        elif kind == "answer":
            decision, stop = content
            post.deliver(Answer(Decision(decision), stop))
        elif kind == "leave":
            post.interrupt()
        elif kind == "store":
            post.introduce(*content)
        elif kind == "ends":
            post.ends = min(*content, post.others)

    def _leave_when_warned(self) -> None:
        # Not in the signal's handler: it may have come between this very trial's look at its
        # mailbox and its going to sleep.
        self.warned.get()
        if self.post is not None:
            self.post.interrupt()

    def _orphaned(self) -> None:
        """The supervisor is gone, and with it everybody who would listen."""
        aside = threading.current_thread() is not threading.main_thread()
        if aside and self.leaving.wait(MOMENT):
            time.sleep(GRACE)  # the main thread saves, finds nobody to tell, and ends this
        # A rank leads a session of its own: this ends it with all that it forked. Not so the
        # kernel's PR_SET_PDEATHSIG, which would also come before the checkpoint.
        os.killpg(0, signal.SIGKILL)


class _Manners:
    """What the rank does about SIGTERM."""

    def __init__(self, pipe: _Pipe) -> None:
        self.busy = True
        self._pipe = pipe
        signal.signal(signal.SIGTERM, self._warn)

    def _warn(self, number: int, frame: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if not self.busy:
            os.killpg(0, signal.SIGKILL)
        self._pipe.leaving.set()
        self._pipe.warned.put(None)


def main(descriptor: int) -> None:
    """Do one job after the other, until one fails or the supervisor ends it."""
    pipe = _Pipe(Connection(descriptor))
    manners = _Manners(pipe)
    work = cloudpickle.loads(pipe.inbox.get()[1])
    message = pipe.inbox.get()
    surroundings = Surroundings()
    while True:
        _, place, job, post = message
        group, ending = _do(work, job, place, post)
        pipe.put("ended", time.monotonic(), ending)
        if ending.error or pipe.leaving.is_set():
            return
        pipe.inbox.get()  # all ranks are done, and this one is to stay
        pipe.post = None
        if group is not None:
            group.close()
        del group, post, job, message, ending
        manners.busy = False
        if pipe.leaving.is_set():
            return
        pipe.put("ready", surroundings.restore())
        message = pipe.inbox.get()
        manners.busy = True


def _do(work: Work, job: Job, place: Place, post: _Post) -> tuple[Group | None, Ending]:
    """Train, and say how it ended."""
    _redirect(place.log)
    began = time.monotonic()
    group = None
    try:
        group = Group(place, post) if place.size > 1 else None
    except (RuntimeError, OSError) as error:
        text = f"the ranks of the trial did not find together: {error}"
        ending = Ending(Outcome.LOST, time.monotonic() - began, text)
    else:
        ranks = group if group is not None else Alone()
        ending = perform(work.objective, Session(work, job, post, ranks))
    _flush()
    return group, ending


def _redirect(log: str) -> None:
    """Let whatever is printed from now on, by whomever, go to ``log``."""
    _flush()
    with open(log, "ab") as file:
        for descriptor in (1, 2):
            os.dup2(file.fileno(), descriptor)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError, OSError):  # closed, or no stream
            stream.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]))
    # Nothing that an objective left behind, thread or child, must keep the worker waiting.
    os.killpg(0, signal.SIGKILL)
