"""What the objective sees: its trial, alive on a worker."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from daskhpo.exceptions import ObjectiveError
from daskhpo.trial import Decision, Job, Outcome
from daskhpo.worker.channel import Alone, Channel, Ranks
from daskhpo.worker.checkpoint import Checkpoints
from daskhpo.worker.curfew import Curfew
from daskhpo.worker.luggage import Luggage
from daskhpo.worker.reports import clean_metrics
from daskhpo.worker.work import Work

__all__ = ["Alone", "Channel", "Ranks", "Session"]

_CODES = (Decision.CONTINUE, Decision.PAUSE, Decision.STOP)
_LEAVE = len(_CODES)  # pause, though nobody has decided so
_BASE = _LEAVE + 1


class Session:
    """One trial as its objective sees it.

    Parameters
    ----------
    work : Work
        What the campaign asks of a worker.
    job : Job
        The stay that this session is.
    channel : Channel
        Where reports go (used by rank 0 only).
    ranks : Ranks
        The trial's processes; :class:`Alone` for one.

    Attributes
    ----------
    params : dict
        The configuration to train.
    number, attempt : int
        The trial, and how many jobs it had before this one.
    step : int
        The step that is being trained, or was trained last.
    max_step : int
        The step at which the trial is complete: learning-rate schedules end here.
    stop : int
        The step after which the trial waits for a decision, and may end: schedules that anneal
        for every rung end here.
    seed : int
        A seed of the trial's own, the same at every attempt.
    rank, world_size : int
        This process among those that train the trial.
    local_rank : int
        This process among those of them on the same node.
    device : str
        ``"cuda:0"`` or ``"cpu"``, where this rank should compute.
    ends, seconds_left : float
        When the batch job around the trial is killed, in seconds since 1970, and how long the
        trial may stay; inf where nobody says. :meth:`steps` ends in time by itself.
    path : Path
        A directory of the trial's own that outlives its jobs; made when :meth:`folder` is called.
    parent : int or None
        The trial from whose checkpoint this one began (population based training). What
        :meth:`steps` restores is then the parent's, the optimiser's learning rate included: set
        what ``params`` says inside the loop.

    Examples
    --------
    Any training loop becomes an objective by looping over ``trial.steps``:

    >>> def objective(trial):
    ...     weights = {"w": 0.0}
    ...     for epoch in trial.steps(weights=weights):
    ...         weights["w"] += trial.params["lr"]
    ...         trial.report(loss=1 - weights["w"])

    One that has an expensive extra may leave it out when time is short:

    >>> def objective(trial):
    ...     for epoch in trial.steps(weights={}):
    ...         if trial.seconds_left > 600:
    ...             ...  # draw the figures
    ...         trial.report(loss=1.0)
    """

    def __init__(self, work: Work, job: Job, channel: Channel, ranks: Ranks | None = None) -> None:
        ranks = ranks if ranks is not None else Alone()
        self.params: dict[str, Any] = dict(job.params)
        self.number = job.number
        self.attempt = job.attempt
        self.parent = job.parent
        self.step = 0
        self.max_step = work.max_step
        self.rank = ranks.rank
        self.world_size = ranks.size
        self.path = Path(work.path) / "trials" / f"{job.number:05d}"
        self.seed = int(np.random.SeedSequence([work.seed, job.number]).generate_state(1)[0])
        self.decision = Decision.CONTINUE
        self.interrupted = False
        self._work = work
        self._seen = job.start  # the tuner knows every report up to here
        self._stop = job.stop  # after reporting this step, wait for an answer
        self._channel = channel
        self._ranks = ranks
        self._reports: list[tuple[int, dict[str, float]]] = []
        self._checkpoints = Checkpoints(self.path, attempt=job.attempt)
        self._luggage = Luggage(self._checkpoints, ranks, {})
        self._curfew = Curfew(job.number, work.margin, channel, ranks)
        self._began = time.monotonic()
        self._stepping = False
        self._saved_at = self._began
        self._owner = os.getpid()

    # ------------------------------------------------------------------ for the objective

    @property
    def local_rank(self) -> int:
        """This process among those of the trial on the same node."""
        return self._ranks.local_rank

    @property
    def device(self) -> str:
        """Where this rank should compute: its GPU if there is one, else ``"cpu"``."""
        return self._ranks.device

    @property
    def ends(self) -> float:
        """When the batch job is killed, in seconds since 1970; inf if it is not known.

        Where a trial has several batch jobs, it is the first of them to end.
        """
        return self._curfew.ends

    @property
    def seconds_left(self) -> float:
        """How long the trial may stay: until its batch job ends, less the margin for leaving.

        Not below 0; inf if the end is not known. Every rank looks at a clock of its own: what all
        of them have to do, or none, is for rank 0 to decide.
        """
        return self._curfew.seconds_left

    @property
    def stop(self) -> int:
        """The next step after which the trial waits for a decision, the same on every rank.

        Not beyond ``max_step``. It moves as decisions come, between two steps.
        """
        return min(self._stop, self.max_step)

    @property
    def rng(self) -> np.random.Generator:
        """A new generator, the same at every attempt and on every rank."""
        return np.random.default_rng(self.seed)

    def steps(self, **state: Any) -> Iterator[int]:
        """Loop over what is left of this trial; everything in ``state`` is kept for the next stay.

        Yields the steps to train, from 1 or from where the last checkpoint was taken (at first its
        parent's, if it has one), up to ``max_step``. After each the runtime may end the loop: the
        trial pauses (its state is saved), stops, or is complete. It also pauses when another step
        and a checkpoint would not fit into what is left of its batch job, to go on elsewhere; if
        that is so from the start, there is no step at all. Code after the loop runs in every case.

        Parameters
        ----------
        **state
            Objects that make up the training: model, optimiser, schedules, samplers, counters.
            They are restored in place. See :func:`daskhpo.worker.checkpoint.capture`.

        Raises
        ------
        ObjectiveError
            If it is called twice.
        CheckpointError
            If the state cannot be saved, or a checkpoint does not fit the objects.
        """
        if self._stepping:
            raise ObjectiveError("trial.steps() was called twice: one loop trains one trial")
        self._luggage = Luggage(self._checkpoints, self._ranks, state)
        self._stepping = True
        self._resume()
        while self.step < self.max_step and self.decision is Decision.CONTINUE:
            self.step += 1
            self._curfew.begin_step()
            yield self.step
            self._curfew.end_step()
            self._decide()
            if self.decision is Decision.CONTINUE and self.step < self.max_step:
                self._keep_safe()
        self._leave()

    def report(self, **metrics: float) -> None:
        """Report what the step that is being trained has reached; returns at once.

        Call it once per step, on every rank or on rank 0 alone; only rank 0's values count.
        Steps may be left out: the next report then stands in at a milestone.

        Raises
        ------
        ObjectiveError
            If the study's metric is missing, a value is not a number, or the step was already
            reported.
        """
        if self.rank == 0:
            step = self.step if self._stepping else self._reported + 1
            self._send(step, metrics)

    def report_step(self, step: int, metrics: Mapping[str, float]) -> Decision:
        """Report ``step`` and get the standing decision: for code that owns its own loop.

        At a milestone it blocks until the decision is there. After ``PAUSE`` (also because
        another step would not fit into what is left of the batch job) or ``STOP`` the objective is
        expected to return; it keeps its own checkpoints (in :meth:`folder`).
        """
        self.step = step
        if step > self._reported:
            self._send(step, metrics)
        self._curfew.end_step()
        self._decide()
        self._curfew.begin_step()
        return self.decision

    def leave(self) -> None:
        """Leave in the middle of a step: for code that owns its own loop and has no time left.

        The trial will go on elsewhere, from a checkpoint that the code keeps itself. All ranks
        have to call it, if any.
        """
        self._settle(_LEAVE)

    def milestone(self, step: int) -> bool:
        """Whether :meth:`report_step` of ``step`` will wait for a decision."""
        return self._stop <= step < self.max_step

    def ddp(self, module: Any) -> Any:
        """Wrap a torch module for data-parallel training; one rank needs no wrapping."""
        if self.world_size == 1:
            return module
        from torch.nn.parallel import DistributedDataParallel

        device_ids = [self.device] if self.device.startswith("cuda") else None
        return DistributedDataParallel(module, device_ids=device_ids)

    def folder(self) -> Path:
        """The trial's own directory, made if need be."""
        self.path.mkdir(parents=True, exist_ok=True)
        return self.path

    def __repr__(self) -> str:
        return f"<Session trial {self.number}, attempt {self.attempt}, step {self.step}>"

    # ------------------------------------------------------------------ for the runtime

    @property
    def seconds(self) -> float:
        """How long this stay has lasted."""
        return time.monotonic() - self._began

    def finish(self, result: object) -> Outcome:
        """What the end of the objective means; a returned value counts if nothing was reported.

        Raises
        ------
        ObjectiveError
            If the returned value is neither None, a number nor a mapping of numbers.
        """
        if result is not None and not self._stepping and self._reported == 0 and self.rank == 0:
            metrics = result if isinstance(result, Mapping) else {self._work.metric: result}
            self.step = self.max_step
            self._send(self.max_step, metrics)
        if self.decision is Decision.PAUSE:
            return Outcome.INTERRUPTED if self.interrupted else Outcome.PAUSED
        if self.decision is Decision.STOP and self.step < self.max_step:
            return Outcome.STOPPED
        return Outcome.COMPLETED

    @property
    def _reported(self) -> int:
        return self._reports[-1][0] if self._reports else 0

    def _stay_single(self) -> None:
        """End a child that the objective forked and that goes on training: it must not speak."""
        if os.getpid() != self._owner:
            os._exit(1)

    def _send(self, step: int, metrics: Mapping[str, object]) -> None:
        self._stay_single()
        if step <= self._reported:
            raise ObjectiveError(
                f"step {step} was reported already: pass all metrics of a step in one report()"
            )
        clean = clean_metrics(metrics, (self._work.metric, *self._work.also))
        self._reports.append((step, clean))
        self._channel.send(step, clean, urgent=self._must_wait)

    @property
    def _must_wait(self) -> bool:
        """Whether the newest report is one that the trial may not pass without an answer."""
        return self._stop <= self._reported < self.max_step

    def _decide(self) -> None:
        """Agree on what to do after this step; rank 0 asks, the others follow."""
        self._stay_single()
        self._curfew.meet()
        code = 0
        if self.rank == 0:
            answer = self._channel.wait(self._reported) if self._must_wait else self._channel.poll()
            if answer is not None:
                self._stop = max(self._stop, answer.stop)
                code = _CODES.index(answer.decision)
            undecided = code == 0 and self.step < self.max_step
            leaves = self._channel.interrupted and _CODES[code] is not Decision.STOP
            if leaves or (undecided and self._curfew.is_near()):
                code = _LEAVE
        # one message for both: the other ranks hear no answer
        stop, code = divmod(self._ranks.agree(self._stop * _BASE + code), _BASE)
        self._stop = max(self._stop, stop)
        self._settle(code)

    def _settle(self, code: int) -> None:
        self.interrupted = code == _LEAVE
        self.decision = Decision.PAUSE if self.interrupted else _CODES[code]

    def _resume(self) -> None:
        """Go back to the newest checkpoint, and ask whether there is anything to train here."""
        checkpoint = self._luggage.unpack() if self.attempt else None
        if checkpoint is not None:
            self._reports = list(checkpoint.reports)
            self._send_again()
        elif self.parent is not None:
            checkpoint = self._luggage.inherit(self.parent, self._seen, below=self.max_step)
        if checkpoint is not None:
            self.step = checkpoint.step
            self._curfew.deadline.recall(checkpoint.pace)
        self._decide()

    def _send_again(self) -> None:
        """Send what the tuner has not seen, or what it has to answer once more."""
        unseen = [(step, metrics) for step, metrics in self._reports if step > self._seen]
        if self._must_wait and not unseen:
            unseen = self._reports[-1:]  # whose answer went to an earlier attempt
        if self.rank == 0:
            for step, metrics in unseen:
                self._channel.send(step, metrics, urgent=self._must_wait)

    def _keep_safe(self) -> None:
        """Save at the Young/Daly interval: sqrt(2 x cost of a save x time between failures)."""
        interval = math.sqrt(2 * self._curfew.deadline.save * self._work.mtbf)
        due = self.rank == 0 and time.monotonic() - self._saved_at > interval
        if self._luggage and self._ranks.agree(int(due)):
            self._save()

    def _leave(self) -> None:
        if self.decision is Decision.STOP and self.step < self.max_step:
            self._luggage.clear()
        elif self._luggage and not (self.interrupted and self._curfew.deadline.fresh):
            self._save()  # unless nothing was trained: an earlier checkpoint says as much

    def _save(self) -> None:
        pace = self._curfew.deadline.pace
        self._curfew.deadline.save = self._luggage.pack(self.step, self._reports, pace)
        self._saved_at = time.monotonic()
