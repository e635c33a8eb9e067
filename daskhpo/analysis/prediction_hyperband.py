"""Swift- and Fast-Hyperband with different predictors: what they save, and whom they lose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from daskhpo.analysis.prediction import Protocol
from daskhpo.analysis.prediction_models import (
    MANNERS,
    Manners,
    feasible,
    lines_of,
    named,
    usual_splits,
)
from daskhpo.analysis.prediction_pool import Watch, each
from daskhpo.exceptions import CampaignError
from daskhpo.naming import describe
from daskhpo.predictors import make_predictor
from daskhpo.scalars import nearest
from daskhpo.schedulers import make_scheduler
from daskhpo.schedulers.brackets import brackets
from daskhpo.simulate.costs import Costs
from daskhpo.simulate.problem import Array, Problem
from daskhpo.simulate.simulation import simulate
from daskhpo.simulate.sources import Rows

__all__ = ["Campaigns", "Contender", "Outcome", "contenders", "run_campaigns", "stops"]

DEFAULTS = {
    Protocol.HONEST: "last_drop,svr,nu_svr,qubo_svr",
    Protocol.PAPER: "nu_svr,qubo_svr,last_drop",
}
# What the authors of Swift-Hyperband set: curve values alone, everything between 0 and 1.
_AUTHORS = {"features": ["prefix"], "target": "value", "mend": False, "scaling": "minmax"}
_MANNERS = {
    Protocol.HONEST: MANNERS[Protocol.HONEST],
    Protocol.PAPER: Manners(hidden={"": {**_AUTHORS, "fallback": False}}),
}
ALGORITHMS = ("swift", "fast")
ETA = 2  # of the papers' Hyperband
_SPREAD = 0.3  # of the time of a step over trials, as everywhere
_SLOWER = 20  # one seed for so many of a slow predictor's usual splits, but no fewer than
_FEWEST = 3


@dataclass(frozen=True, slots=True)
class Contender:
    """An algorithm with a predictor, or Hyperband without one.

    Parameters
    ----------
    algorithm : str
        ``"hyperband"``, ``"swift"`` or ``"fast"``.
    predictor : str
        Its name; empty without one.
    settings : mapping
        Of the scheduler, without ``max_step``.
    seeds : int
        Campaigns, with seeds 0, 1, 2, ...
    protocol : Protocol
        Whether predictors are as the papers' authors had them.
    """

    algorithm: str
    predictor: str
    settings: Mapping[str, Any]
    seeds: int
    protocol: Protocol = Protocol.HONEST

    @property
    def name(self) -> str:
        """In tables and figures."""
        return f"{self.algorithm}: {self.predictor}" if self.predictor else self.algorithm


@dataclass(frozen=True, slots=True)
class Outcome:
    """One simulated campaign.

    Parameters
    ----------
    seed : int
        Draws configurations and speeds.
    trained : int
        Steps.
    rank : int
        How many of the configurations begun end better than the one found.
    regret, value : float
        By how much the best of them does; and the final value found, as reported.
    makespan : float
        In median steps.
    stops, wrong : int
        Trials that a forecast stopped, and how many of them would have gone on.
    """

    seed: int
    trained: int
    rank: int
    regret: float
    value: float
    makespan: float
    stops: int
    wrong: int


@dataclass(frozen=True, slots=True)
class Campaigns:
    """All campaigns of a contender on the set at place ``problem``."""

    problem: int
    contender: Contender
    outcomes: tuple[Outcome, ...]


def contenders(
    text: str | None = None,
    algorithms: Sequence[str] = ALGORITHMS,
    *,
    protocol: Protocol = Protocol.HONEST,
    seeds: int = 10,
) -> tuple[Contender, ...]:
    """Hyperband, then each algorithm with each predictor.

    Parameters
    ----------
    text : str, optional
        Predictors, separated by commas; ``*3`` after one: it has 3 seeds. Slow ones have fewer
        than ``seeds`` otherwise. An annealed one is not tried in Fast-Hyperband, which would
        train it thousands of times: why Swift-Hyperband was made.
    algorithms : sequence of str
        Of ``"swift"`` and ``"fast"``.
    protocol : Protocol
        The paper's has predictors see and scale curves as those of its authors do.
    seeds : int
        Campaigns of each.

    Raises
    ------
    CampaignError
        If an algorithm is unknown, or a predictor is named twice.
    SchedulerError
        If there is no such predictor; the nearest one is named.

    Examples
    --------
    >>> [contender.name for contender in contenders("last_drop,last_value*2", ["swift"])]
    ['hyperband', 'swift: last_drop', 'swift: last_value']
    """
    for algorithm in algorithms:
        if algorithm not in ALGORITHMS:
            raise CampaignError(f"algorithms: {algorithm!r}: {nearest(algorithm, ALGORITHMS)}")
    found: dict[str, Contender] = {}
    given = feasible(DEFAULTS[protocol]) if text is None else text
    lines = [named(line, _MANNERS[protocol]) for line in lines_of(given)]
    if not lines:
        raise CampaignError("models: none given; name at least one, such as 'last_drop'")
    for algorithm in algorithms:
        for predictor, settings, asked in lines:
            usual = usual_splits(make_predictor(settings))
            if algorithm == "fast" and "qubo_svr" in predictor:
                continue
            number = asked.get("splits", min(seeds, max(_FEWEST, usual // _SLOWER)))
            scheduler = {"type": f"{algorithm}_hyperband", "eta": ETA}
            scheduler["predictor"] = describe(settings)
            new = Contender(algorithm, predictor, scheduler, number, protocol)
            if new.name in found:
                raise CampaignError(f"models: {predictor!r} is named twice")
            found[new.name] = new
    most = max([seeds, *(contender.seeds for contender in found.values())])
    plain = Contender("hyperband", "", {"type": "hyperband", "eta": ETA}, most, protocol)
    return (plain, *found.values())


def run_campaigns(
    problems: Sequence[Problem],
    chosen: Sequence[Contender],
    *,
    workers: int = 8,
    jobs: int = 1,
    watch: Watch | None = None,
) -> list[Campaigns]:
    """Simulate every contender on every set, each with as many trials as Hyperband draws.

    At the same seed all see the same configurations. Start-ups and checkpoints cost nothing, as
    in the papers.

    Parameters
    ----------
    problems : sequence of Problem
        The sets.
    chosen : sequence of Contender
        See :func:`contenders`.
    workers : int
        Of a campaign.
    jobs : int
        Processes; the result does not depend on it.
    watch : callable, optional
        Told how far it is.

    Raises
    ------
    SchedulerError
        If a scheduler cannot be made for the length of the curves.

    Examples
    --------
    >>> curves = np.linspace(1.0, 0.1, 9) + np.arange(20)[:, None] / 20
    >>> problem = Problem("made up", "loss", [{"x": i / 20} for i in range(20)], curves)
    >>> [campaigns] = run_campaigns([problem], contenders("last_drop", ["swift"], seeds=1)[:1])
    >>> campaigns.outcomes[0].trained, campaigns.outcomes[0].rank
    (106, 0)
    """
    for problem in problems:
        for contender in chosen:
            make_scheduler({"max_step": problem.max_step, **contender.settings})
    tasks = [
        (place, kind, seed)
        for place in range(len(problems))
        for kind, contender in enumerate(chosen)
        for seed in range(contender.seeds)
    ]
    run = _Runner(problems, chosen, workers)
    found: dict[tuple[int, int], list[Outcome]] = {}
    for (place, kind, _), outcome in zip(
        tasks, each(run, tasks, jobs=jobs, watch=watch), strict=True
    ):
        found.setdefault((place, kind), []).append(outcome)
    return [
        Campaigns(place, chosen[kind], tuple(outcomes)) for (place, kind), outcomes in found.items()
    ]


@dataclass(frozen=True, slots=True)
class _Runner:
    """Simulates one campaign."""

    problems: Sequence[Problem]
    contenders: Sequence[Contender]
    workers: int

    def __call__(self, task: tuple[int, int, int]) -> Outcome:
        place, kind, seed = task
        problem, source = self.problems[place], Rows(self.problems[place])
        plan = list(brackets(problem.max_step, ETA))
        run = simulate(
            source,
            self.contenders[kind].settings,
            workers=self.workers,
            trials=sum(rungs[0][1] for _, rungs in plan),
            seed=seed,
            costs=Costs.free(),
            speeds=_SPREAD,
        )
        trials = [run.study.trials[number] for number in range(run.begun)]
        curves = problem.sign * np.array([source.curve(t.params, t.number) for t in trials])
        stopped, wrong = stops([trial.step for trial in trials], curves, ETA)
        assert run.rank is not None  # nothing fails, so something is found
        return Outcome(
            seed=seed,
            trained=run.trained,
            rank=run.rank,
            regret=run.regret,
            value=run.found_value,
            makespan=run.makespan,
            stops=stopped,
            wrong=wrong,
        )


def stops(steps: Sequence[int], curves: Array, eta: int) -> tuple[int, int]:
    """Count the trials that Hyperband's rungs did not see, and those of them that they had kept.

    Parameters
    ----------
    steps : sequence of int
        Where each trial ended, in the order in which they began: as many as Hyperband draws.
    curves : array (n, R)
        What they would have shown to the end; minimised.
    eta : int
        Of Hyperband.

    Returns
    -------
    stopped, wrong : int
        Who ended between two milestones; and who of those would have been, at the next one,
        among the best that went on (in the last round: the best), had nobody been stopped.

    Examples
    --------
    Two trials to step 1 and the best of them to step 2; then two to step 2, one stopped at 1:

    >>> curves = np.array([[2.0, 2.0], [3.0, 3.0], [4.0, 1.0], [5.0, 5.0]])
    >>> stops([2, 1, 1, 2], curves, eta=2), stops([2, 1, 2, 1], curves, eta=2)
    ((1, 1), (1, 0))
    """
    stopped = wrong = first = 0
    for _, rungs in brackets(curves.shape[1], eta):
        last = first + rungs[0][1]
        here = np.arange(first, min(last, len(steps)))
        before = 0
        for rung, (milestone, _) in enumerate(rungs):
            here = here[np.asarray(steps)[here] > before]
            goes_on = rungs[rung + 1][1] if rung + 1 < len(rungs) else 1
            best = here[np.argsort(curves[here, milestone - 1], kind="stable")[:goes_on]]
            short = here[np.asarray(steps)[here] < milestone]
            stopped += len(short)
            wrong += len(np.intersect1d(short, best))
            before = milestone
        first = last
    return stopped, wrong
