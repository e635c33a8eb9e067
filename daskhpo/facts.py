"""The kinds of facts, how they are written, and what it means that a replay reproduces one.

==========  =============================================================================
kind        what the study, the tuner or a person did
==========  =============================================================================
offered     ``number, params, origin``: a configuration is there to be tried
asked       ``number, attempt, rung, start, stop, why[, evidence]``: a job left for a worker
reported    ``number, attempt, step, metrics[, decision, evidence, advice]``; no decision: CONTINUE
bred        ``number, parent, step, params, evidence``: a new trial from another's checkpoint
known       ``params, steps, metrics``: the curve of a trial of an earlier campaign
promoted    ``number, rung, stop, evidence``: a trial that is still saving may go on
ended       ``number, attempt, outcome, state, seconds[, error, retry]``: a job is over
limited     ``trials``: how many may begin
exhausted   the sampler has nothing left to propose
closed      ``reason``: nothing may start or go on; ``reopened`` undoes it
noted       ``of`` and whatever belongs to it: what happened around the study and decides nothing
            (``of: batch``: a batch job; ``of: placed``: which workers a job has got;
            ``of: lesson``: what a predictor was fitted on, and how well or why not)
==========  =============================================================================

The journal adds ``seq``, ``t`` (seconds since 1970) and ``crc`` to each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from daskhpo.advice import Advice, Forecasts
from daskhpo.exceptions import ReplayError
from daskhpo.schedulers.base import Child
from daskhpo.trial import Answer, Decision, Evidence, Fact, Job, Outcome, Trial

__all__ = [
    "asked",
    "bred",
    "compare",
    "ended",
    "ending",
    "forecasts",
    "name",
    "promoted",
    "reported",
    "retrace",
]

_REPRODUCED: dict[str, tuple[str, ...]] = {  # {kind: what a replay must reproduce}
    "asked": ("number", "attempt", "rung", "start", "stop"),
    "promoted": ("number", "rung", "stop"),
    "reported": ("number", "attempt", "step", "decision"),
    "ended": ("number", "attempt", "state"),
    "offered": ("number",),
    "bred": ("number", "parent", "step", "params"),
}


def asked(job: Job, why: str, evidence: Evidence | None = None) -> Fact:
    """A job has left for a worker.

    Examples
    --------
    >>> asked(Job(3, 0, 1, 4, 8, {}), "retry")["stop"]
    8
    """
    fact: Fact = {"kind": "asked", "number": job.number, "attempt": job.attempt}
    fact |= {"rung": job.rung, "start": job.start, "stop": job.stop, "why": why}
    return fact if evidence is None else fact | {"evidence": evidence}


def bred(number: int, child: Child) -> Fact:
    """A population has made a trial out of others."""
    fact: Fact = {"kind": "bred", "number": number, "parent": child.parent}
    return fact | {"step": child.start, "params": child.params, "evidence": child.evidence}


def promoted(trial: Trial, evidence: Evidence) -> Fact:
    """A trial that is still saving its checkpoint may go on."""
    fact: Fact = {"kind": "promoted", "number": trial.number, "rung": trial.rung}
    return fact | {"stop": trial.stop, "evidence": evidence}


def reported(
    trial: Trial, metrics: Mapping[str, float], answer: Answer, advice: Advice | None
) -> Fact:
    """A trial has come to its step.

    Examples
    --------
    >>> reported(Trial(3, {}, step=2), {"loss": 0.5}, Answer(Decision.STOP, 2), None)["decision"]
    'stop'
    """
    fact: Fact = {"kind": "reported", "number": trial.number, "attempt": trial.attempt}
    fact |= {"step": trial.step, "metrics": metrics}
    if answer.decision is not Decision.CONTINUE:
        fact["decision"] = answer.decision.value
    if answer.evidence:
        fact["evidence"] = answer.evidence
    if advice is not None:
        fact["advice"] = advice.to_dict()
    return fact


def forecasts(fact: Fact) -> Forecasts | None:
    """What the models said at a report, None for nothing: the advice that its fact has."""
    advice = fact.get("advice")
    return None if advice is None else Forecasts.from_dict(advice)


def ended(trial: Trial, outcome: Outcome, *, seconds: float, error: str, retry: bool) -> Fact:
    """A job of a trial is over, and where that leaves it."""
    fact: Fact = {"kind": "ended", "number": trial.number, "attempt": trial.attempt}
    fact |= {"outcome": outcome.value, "state": trial.state.value, "seconds": seconds}
    if error:
        fact["error"] = error
    if not retry:
        fact["retry"] = False
    return fact


def ending(fact: Fact) -> dict[str, Any]:
    """What was said of the end of a job: the arguments of :meth:`daskhpo.study.Study.tell`."""
    given = {name: fact[name] for name in ("number", "attempt", "outcome", "seconds")}
    return given | {"error": fact.get("error", ""), "retry": fact.get("retry", True)}


def retrace(
    facts: Iterable[Fact], events: Mapping[str, Callable[[Fact], Any]], emitted: list[Fact]
) -> None:
    """Let everything happen again, and see that each fact leads to itself.

    Parameters
    ----------
    facts : iterable of dict
        From the journal.
    events : mapping
        ``{kind: what makes it happen again}``.
    emitted : list of dict
        Where the facts appear that an event leads to.

    Raises
    ------
    ReplayError
        Naming the first fact that does not, or cannot be.

    Examples
    --------
    >>> emitted = []
    >>> retrace([{"kind": "exhausted"}], {"exhausted": emitted.append}, emitted)
    """
    for fact in facts:
        try:
            events.get(fact["kind"], _nothing)(fact)
        except (KeyError, TypeError, ValueError) as error:
            raise ReplayError(f"{name(fact)} cannot be: {error!r}") from error
        compare(fact, emitted)
        emitted.clear()


def _nothing(fact: Fact) -> None:
    """What a fact of an unknown kind leads to."""


def compare(fact: Fact, emitted: Sequence[Fact]) -> None:
    """Make sure that a replayed fact led to itself and to nothing else.

    Parameters
    ----------
    fact : dict
        From the journal.
    emitted : sequence of dict
        What the study emitted when the fact was applied to it.

    Raises
    ------
    ReplayError
        Naming the fact and what is different.

    Examples
    --------
    >>> compare({"kind": "limited", "trials": 9}, [{"kind": "limited", "trials": 9}])
    """
    kinds = [found["kind"] for found in emitted]
    if kinds != [fact["kind"]]:
        led = f"lead to {kinds[0]}" if kinds else "lead to nothing"
        raise ReplayError(f"{name(fact)}: the settings of the study {led} there")
    for key in _REPRODUCED.get(fact["kind"], ()):
        if emitted[0].get(key) != fact.get(key):
            raise ReplayError(
                f"{name(fact)}: the journal says {key}={fact.get(key)!r}, its settings lead to "
                f"{emitted[0].get(key)!r}"
            )


def name(fact: Fact) -> str:
    """How to speak of a fact in a message.

    Examples
    --------
    >>> name({"seq": 7, "kind": "asked", "number": 3})
    'fact 7 (asked, trial 3)'
    """
    return f"fact {fact.get('seq', '?')} ({fact.get('kind')}, trial {fact.get('number', '-')})"
