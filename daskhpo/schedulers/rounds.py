"""Synchronous rounds: nobody goes on from a rung before everybody has arrived there."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

from daskhpo.schedulers.base import Promotion, RungRow
from daskhpo.schedulers.brackets import Plan
from daskhpo.schedulers.pareto import AnyRung, enter
from daskhpo.schedulers.rungs import Rung
from daskhpo.trial import Answer, Decision, Evidence, Value

__all__ = ["Bracket", "Rounds"]


class Bracket:
    """One bracket of successive halving, with a barrier at each rung.

    Its members are the trials that train towards the current rung, or wait there. When the last
    of them has arrived or failed, the best ones become the members of the next rung, in the
    order of their rank. One that has already passed the next milestone (a trial need not report
    every step) is recorded there at once.

    Parameters
    ----------
    offset : int
        Index of the lowest rung, in the numbering that all brackets of a scheduler share.
    rungs : sequence of (int, int)
        (milestone, trials) of each, lowest first.
    eta : int
        How many go on when fewer have come than were planned: the best ``floor(n / eta)`` of n,
        and at least one.
    """

    def __init__(self, offset: int, rungs: Sequence[tuple[int, int]], eta: int) -> None:
        self.offset = offset
        self.rungs: list[AnyRung] = [Rung(step) for step, _ in rungs]
        self.round = 0  # index of the current rung
        self.members: set[int] = set()
        self.expected = rungs[0][1]  # members that the current rung waits for
        self._planned = [trials for _, trials in rungs]
        self._eta = eta
        self._seen: dict[int, int] = {}  # {number: step of its last record}
        self._values: dict[int, Value] = {}  # {number: value of its last record}
        self._ready: dict[int, Evidence] = {}  # {member that may train on: why}, best first

    @property
    def over(self) -> bool:
        """Whether nobody is left to train."""
        return self.round == len(self.rungs)

    @property
    def has_room(self) -> bool:
        """Whether new trials may still begin."""
        return self.round == 0 and len(self.members) < self.expected

    @property
    def current(self) -> AnyRung:
        """The rung that members train towards."""
        return self.rungs[self.round]

    @property
    def goes_on(self) -> int:
        """How many of the current rung will go on; in the last round, how many win: one."""
        if self.round == len(self.rungs) - 1:
            return 1
        if self.expected == self._planned[self.round]:
            return self._planned[self.round + 1]
        return max(self.expected // self._eta, 1)

    def begin(self, number: int) -> Promotion:
        """Admit a new trial."""
        self.members.add(number)
        return Promotion(number, self.offset, self.current.milestone)

    def shorten(self) -> None:
        """Wait for nobody but those who have begun."""
        self.expected = len(self.members)
        self._judge()

    def would_send(self) -> bool:
        """Whether somebody would train on if the bracket were shortened; changes nothing."""
        twin = copy.deepcopy(self)
        twin.shorten()
        return bool(twin._ready)

    def record(self, number: int, step: int, value: Value) -> dict[str, Any]:
        """Enter what a member has reached at or beyond the current milestone."""
        index, within = self.offset + self.round, self.goes_on
        self._seen[number], self._values[number] = step, value
        rank = enter(self.rungs, self.round, number, value)
        rung = self.current
        evidence = {"rung": index, "milestone": rung.milestone, "rank": rank}
        evidence |= {"of": len(rung.recorded), "within": within, "expected": self.expected}
        self._judge()
        return evidence

    def set_aside(self, number: int) -> None:
        """Count a member as the worst of the current rung, though it has not arrived there."""
        self.current.record(number, math.inf)
        self._judge()

    def fail(self, number: int) -> None:
        """Count a trial as the worst where it is, and never let it train again."""
        for rung in self.rungs:
            rung.withdrawn.add(number)
        self._ready.pop(number, None)
        if number in self.members and number not in self.current.recorded:
            self.set_aside(number)

    def pop(self) -> Promotion | None:
        """The best member that may train on and has not been sent yet."""
        return self.claim(next(iter(self._ready))) if self._ready else None

    def claim(self, number: int) -> Promotion | None:
        """Send this member on, if it may."""
        if number not in self._ready:
            return None
        evidence = self._ready.pop(number)
        return Promotion(number, self.offset + self.round, self.current.milestone, evidence)

    def _judge(self) -> None:
        """Close the current rung, and those after it that are full already."""
        while not self.over and len(self.current.recorded) >= self.expected:
            before, within = self.current, self.goes_on
            last = self.round == len(self.rungs) - 1
            chosen = [] if last else _best(before, within)
            self.round = self.round + 1 if chosen else len(self.rungs)
            self.members, self.expected = set(chosen), len(chosen)
            for rank, number in enumerate(chosen, start=1):
                if self._seen[number] >= self.current.milestone:
                    enter(self.rungs, self.round, number, self._values[number])
                    continue
                evidence = {"rung": self.offset + self.round - 1, "milestone": before.milestone}
                evidence |= {"rank": rank, "of": len(before.recorded), "within": within}
                self._ready[number] = evidence


class Rounds:
    """Brackets one after the other, over and over, for as long as trials are wanted.

    It is the part that :class:`~daskhpo.schedulers.SHA`, :class:`~daskhpo.schedulers.Hyperband`
    and those built on it share. A failed trial counts as the worst of its rung.

    Parameters
    ----------
    plans : sequence of (s, ((milestone, trials), ...))
        The brackets, see :func:`~daskhpo.schedulers.brackets.brackets`.
    eta : int
        Reduction factor, for rungs that fewer trials reach than were planned.
    overlap : bool
        Whether the next bracket may begin while the one before waits at a barrier.

    Examples
    --------
    >>> rounds = Rounds([(1, ((1, 2), (3, 1)))], eta=2)
    >>> [rounds.begin(number).stop for number in (0, 1)]
    [1, 1]
    >>> rounds.admits()
    False
    >>> rounds.report(0, 1, 0.5).decision, rounds.report(1, 1, 0.9).decision
    (<Decision.PAUSE: 'pause'>, <Decision.PAUSE: 'pause'>)
    >>> rounds.promote(drained=False).number
    0
    """

    def __init__(self, plans: Sequence[Plan], *, eta: int, overlap: bool = False) -> None:
        self._plans = plans
        self._eta = eta
        self._overlap = overlap
        self._height = max(len(rungs) for _, rungs in plans)
        self._max_step = plans[0][1][-1][0]
        self._brackets: list[Bracket] = []  # all that have begun
        self._open: list[Bracket] = []  # those that are not over, oldest first
        self._home: dict[int, Bracket] = {}  # {number: its bracket}
        self._finalists: set[int] = set()  # trials that the tail rule sent to the end
        self._complete = False  # whether a trial has reached the last step

    @property
    def latest(self) -> Bracket | None:
        """The bracket that began last, unless it is over."""
        return self._open[-1] if self._open else None

    @property
    def over(self) -> list[Bracket]:
        """The brackets in which nobody is left to train."""
        return [bracket for bracket in self._brackets if bracket.over]

    @property
    def lacks_trials(self) -> bool:
        """Whether the first rung of a bracket waits for trials that have not begun."""
        return bool(self._open) and self._open[-1].has_room

    def home(self, number: int) -> Bracket:
        """The bracket in which a trial began."""
        return self._home[number]

    def is_finalist(self, number: int) -> bool:
        """Whether the tail rule has sent the trial to the end."""
        return number in self._finalists

    def admits(self) -> bool:
        """Whether a bracket has room, or a new one may begin."""
        return not self._open or self._overlap or self._open[-1].has_room

    def begin(self, number: int) -> Promotion:
        """Admit a trial to the bracket that has room, or to the next one."""
        if not self._open or not self._open[-1].has_room:
            _, rungs = self._plans[len(self._brackets) % len(self._plans)]
            bracket = Bracket(self._height - len(rungs), rungs, self._eta)
            self._brackets.append(bracket)
            self._open.append(bracket)
        self._home[number] = self._open[-1]
        return self._open[-1].begin(number)

    def promote(self, *, drained: bool) -> Promotion | None:
        """The next member of the oldest bracket that has one; the tail when ``drained``."""
        promotion = self.next()
        if promotion is None and drained:
            # To close a rung without sending anybody would be a change that no fact tells of: a
            # replayed study, which is not asked in vain, would not know of it.
            if self.lacks_trials and self._open[-1].would_send():
                self.shorten()
            promotion = self.next() or self.finalist()
        return promotion

    def next(self) -> Promotion | None:
        """The next trial whose rung has been judged, of the oldest bracket that has one."""
        for bracket in self._open:
            promotion = bracket.pop()
            if promotion is not None:
                return promotion
        return None

    def shorten(self) -> None:
        """Judge the first rung of the latest bracket, for which no more trials will come."""
        bracket = self._open[-1]
        bracket.shorten()
        self._sweep(bracket)

    def finalist(self) -> Promotion | None:
        """Unless a trial is complete: the best one of the highest rung, to train to the end."""
        if self._complete:
            return None
        for height in range(self._height - 1, -1, -1):
            rungs = [
                bracket.rungs[height - bracket.offset]
                for bracket in self._brackets
                if height >= bracket.offset
            ]
            paused = [(entry, i) for i, rung in enumerate(rungs) if (entry := rung.best_waiting())]
            if paused:
                (_, number), i = min(paused)
                rungs[i].promoted.add(number)
                self._finalists.add(number)
                evidence = {"rung": height, "milestone": rungs[i].milestone, "tail": True}
                evidence["of"] = len(rungs[i].recorded)
                return Promotion(number, self._height - 1, self._max_step, evidence)
        return None

    def report(self, number: int, step: int, value: Value) -> Answer:
        """Judge a trial at its milestone; below it, train on."""
        if self.is_finalist(number):
            return self._report_finalist(number, step, value)
        milestone = self._home[number].current.milestone
        if step < milestone:
            return Answer(Decision.CONTINUE, milestone)
        return self.answer(number, step, self.record(number, step, value))

    def record(self, number: int, step: int, value: Value) -> dict[str, Any]:
        """Enter what a trial has reached at or beyond its milestone; returns the evidence."""
        self._complete = self._complete or step >= self._max_step
        bracket = self._home[number]
        evidence = bracket.record(number, step, value)
        self._sweep(bracket)
        return evidence

    def answer(self, number: int, step: int, evidence: Evidence) -> Answer:
        """Answer a trial that was recorded just now: if it was the last one, it may go on."""
        if step >= self._max_step:
            return Answer(Decision.STOP, step, evidence)
        promotion = self._home[number].claim(number)
        if promotion is None:
            return Answer(Decision.PAUSE, step, evidence)
        return Answer(Decision.CONTINUE, promotion.stop, promotion.evidence)

    def set_aside(self, number: int) -> None:
        """Count a trial as the worst of its rung, though it has not arrived there."""
        self._home[number].set_aside(number)
        self._sweep(self._home[number])

    def fail(self, number: int) -> None:
        """Count a trial as the worst of its rung; it never trains again."""
        self._home[number].fail(number)
        self._sweep(self._home[number])

    def rows(self) -> Sequence[RungRow]:
        """One row per s and rung, added up over all brackets of that s that have begun.

        The bracket of a row is the index of its lowest rung.
        """
        steps = {self._height - len(rungs): rungs for _, rungs in self._plans}
        rows = []
        for offset in sorted(steps):
            begun = [bracket for bracket in self._brackets if bracket.offset == offset]
            for i, (milestone, _) in enumerate(steps[offset]):
                rungs = [bracket.rungs[i] for bracket in begun]
                recorded = sum(len(rung.recorded) for rung in rungs)
                promoted = sum(len(rung.promoted) for rung in rungs)
                best = min((rung.best for rung in rungs), default=math.inf)
                rows.append(RungRow(offset, offset + i, milestone, recorded, promoted, best))
        return rows

    def _report_finalist(self, number: int, step: int, value: Value) -> Answer:
        if step < self._max_step:
            return Answer(Decision.CONTINUE, self._max_step)
        self._complete = True
        rungs = self._home[number].rungs
        if number not in rungs[-1].recorded:
            enter(rungs, len(rungs) - 1, number, value)
        return Answer(Decision.STOP, step)

    def _sweep(self, bracket: Bracket) -> None:
        """Forget a bracket that is over."""
        if bracket.over and bracket in self._open:
            self._open.remove(bracket)


def _best(rung: AnyRung, count: int) -> list[int]:
    """Promote the best ``count`` of a rung, best first; never one that has failed."""
    chosen: list[int] = []
    while len(chosen) < count:
        entry = rung.best_waiting()
        if entry is None or math.isinf(entry[0]):
            break
        rung.promoted.add(entry[1])
        chosen.append(entry[1])
    return chosen
