"""The kinds of facts, and what it means that a replay reproduces one.

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

from collections.abc import Sequence

from daskhpo.exceptions import ReplayError
from daskhpo.trial import Fact

__all__ = ["compare", "name"]

_REPRODUCED: dict[str, tuple[str, ...]] = {  # {kind: what a replay must reproduce}
    "asked": ("number", "attempt", "rung", "start", "stop"),
    "promoted": ("number", "rung", "stop"),
    "reported": ("number", "attempt", "step", "decision"),
    "ended": ("number", "attempt", "state"),
    "offered": ("number",),
    "bred": ("number", "parent", "step", "params"),
}


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
