"""What the objective sees: its trial, alive on a worker."""

from __future__ import annotations

import logging
import math
import numbers
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from daskhpo.exceptions import CheckpointError, ObjectiveError
from daskhpo.trial import Answer, Decision, Job, Outcome
from daskhpo.worker.checkpoint import (
    Checkpoint,
    Checkpoints,
    capture,
    capture_rng,
    restore,
    restore_rng,
)
from daskhpo.worker.devices import pick_device
from daskhpo.worker.inheritance import inherit
from daskhpo.worker.work import Work

__all__ = ["Alone", "Channel", "Ranks", "Session"]

logger = logging.getLogger(__name__)


class Channel(Protocol):
    """The way from a trial to its tuner and back."""

    def send(self, step: int, metrics: dict[str, float], *, urgent: bool) -> None:
        """Send one report and return at once; ``urgent`` ones are not held back for company."""

    def wait(self, step: int) -> Answer:
        """Block until there is an answer that says what to do after ``step``."""

    def poll(self) -> Answer | None:
        """The newest answer, if one has come unasked."""

    @property
    def interrupted(self) -> bool:
        """Whether the worker has to go: the trial is to pause though nobody decided so."""


class Ranks(Protocol):
    """The processes that train one trial together."""

    rank: int
    size: int

    def agree(self, code: int) -> int:
        """Rank 0's ``code``, on every rank."""

    def gather(self, thing: Any) -> list[Any]:
        """Every rank's ``thing``, in order, on rank 0 (elsewhere the list may be empty)."""


class Alone:
    """One process: nothing to agree on."""

    rank = 0
    size = 1

    def agree(self, code: int) -> int:
        """The code itself."""
        return code

    def gather(self, thing: Any) -> list[Any]:
        """The thing itself, in a list."""
        return [thing]


_CODES = (Decision.CONTINUE, Decision.PAUSE, Decision.STOP)


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
    seed : int
        A seed of the trial's own, the same at every attempt.
    rank, world_size : int
        This process among those that train the trial.
    device : str
        ``"cuda:0"`` or ``"cpu"``, where this rank should compute.
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
        self._states: dict[str, Any] = {}
        self._checkpoints = Checkpoints(self.path, attempt=job.attempt)
        self._began = time.monotonic()
        self._stepping = False
        self._saved_at = self._began
        self._owner = os.getpid()
        self._save_cost = 1.0  # seconds, until a save has been measured

    # ------------------------------------------------------------------ for the objective

    @property
    def device(self) -> str:
        """Where this rank should compute: its GPU if there is one, else ``"cpu"``."""
        return pick_device(self.rank)

    @property
    def rng(self) -> np.random.Generator:
        """A new generator, the same at every attempt and on every rank."""
        return np.random.default_rng(self.seed)

    def steps(self, **state: Any) -> Iterator[int]:
        """Loop over what is left of this trial; everything in ``state`` is kept for the next stay.

        Yields the steps to train, from 1 or from where the last checkpoint was taken (at first its
        parent's, if it has one), up to ``max_step``. After each the runtime may end the loop: the
        trial pauses (its state is saved), stops, or is complete. Code after the loop runs in
        every case.

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
        for name, thing in state.items():
            capture(name, thing)  # what cannot be kept is refused before anything is trained
        self._stepping = True
        self._states = state
        self._resume()
        while self.step < self.max_step and self.decision is Decision.CONTINUE:
            self.step += 1
            yield self.step
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

        At a milestone it blocks until the decision is there. After ``PAUSE`` or ``STOP`` the
        objective is expected to return; it keeps its own checkpoints (in :meth:`folder`).
        """
        self.step = step
        if step > self._reported:
            self._send(step, metrics)
        self._decide()
        return self.decision

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
        for name in (self._work.metric, *self._work.also):
            if name not in metrics:
                known = ", ".join(sorted(map(str, metrics))) or "nothing"
                raise ObjectiveError(
                    f"report() got {known}; the study's metric {name!r} is missing"
                )
        clean = {str(name): _number(name, value) for name, value in metrics.items()}
        self._reports.append((step, clean))
        self._channel.send(step, clean, urgent=self._must_wait)

    @property
    def _must_wait(self) -> bool:
        """Whether the newest report is one that the trial may not pass without an answer."""
        return self._stop <= self._reported < self.max_step

    def _decide(self) -> None:
        """Agree on what to do after this step; rank 0 asks, the others follow."""
        self._stay_single()
        code = 0
        if self.rank == 0:
            answer = self._channel.wait(self._reported) if self._must_wait else self._channel.poll()
            if answer is not None:
                self._stop = max(self._stop, answer.stop)
                code = _CODES.index(answer.decision)
            if self._channel.interrupted and code != _CODES.index(Decision.STOP):
                code = 3
        code = self._ranks.agree(code)
        self.interrupted = code == 3
        self.decision = Decision.PAUSE if self.interrupted else _CODES[code]

    def _resume(self) -> None:
        """Go back to the newest checkpoint, and send again what the tuner has not seen."""
        checkpoint = self._checkpoints.load() if self.attempt else None
        if checkpoint is None:
            if self.parent is not None:
                self._inherit(self.parent)
            return
        self._restore(checkpoint)
        if len(checkpoint.rng) == self.world_size:
            restore_rng(checkpoint.rng[self.rank])
        self._reports = list(checkpoint.reports)
        unseen = [(step, metrics) for step, metrics in self._reports if step > self._seen]
        if self._must_wait and not unseen:
            unseen = self._reports[-1:]  # whose answer went to an earlier attempt
        if unseen and self.rank == 0:
            for step, metrics in unseen:
                self._channel.send(step, metrics, urgent=self._must_wait)
        if self._ranks.agree(len(unseen)):
            self._decide()

    def _inherit(self, parent: int) -> None:
        """Begin at the parent's checkpoint, but with reports and random numbers of our own."""
        folder = self.path.with_name(f"{parent:05d}")
        checkpoint = inherit(folder, self.path, self._seen, below=self.max_step)
        if checkpoint is not None:
            self._restore(checkpoint)
        elif self.rank == 0:
            logger.warning(
                "trial %d finds no checkpoint of its parent, trial %d: it trains from step 1, and "
                "what it reports up to step %d does not count",
                *(self.number, parent, self._seen),
            )
        if self._ranks.agree(self.step) != self.step:
            raise CheckpointError(f"rank {self.rank} finds another checkpoint than rank 0")

    def _restore(self, checkpoint: Checkpoint) -> None:
        for name, state in checkpoint.states.items():
            if name in self._states:
                restore(name, self._states[name], state)
        self.step = checkpoint.step

    def _keep_safe(self) -> None:
        """Save at the Young/Daly interval: sqrt(2 x cost of a save x time between failures)."""
        interval = math.sqrt(2 * self._save_cost * self._work.mtbf)
        due = self.rank == 0 and time.monotonic() - self._saved_at > interval
        if self._states and self._ranks.agree(int(due)):
            self._save()

    def _leave(self) -> None:
        if self.decision is Decision.STOP and self.step < self.max_step:
            if self.rank == 0:
                self._checkpoints.clear()
        elif self._states:
            self._save()

    def _save(self) -> None:
        began = time.monotonic()
        rng = self._ranks.gather(capture_rng())
        if self.rank == 0:
            states = {name: capture(name, thing) for name, thing in self._states.items()}
            self._checkpoints.save(Checkpoint(self.step, tuple(self._reports), states, tuple(rng)))
        self._saved_at = time.monotonic()
        self._save_cost = max(self._saved_at - began, 1e-3)


def _number(name: object, value: object) -> float:
    if hasattr(value, "item"):  # numpy scalars, torch tensors of one element
        value = value.item()
    if isinstance(value, numbers.Real):
        return float(value)
    raise ObjectiveError(f"report({name}={value!r}): must be a number")
