"""The campaigns of a comparison: which there are, and how they are run on several processes."""

from __future__ import annotations

import math
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from daskhpo.analysis.compare_entries import Entry
from daskhpo.analysis.compare_plan import Plan
from daskhpo.samplers import make_sampler
from daskhpo.samplers.base import Sampler
from daskhpo.simulate.choosing import make_source, make_speeds
from daskhpo.simulate.problem import Problem
from daskhpo.simulate.run import History, Run
from daskhpo.simulate.simulation import simulate
from daskhpo.simulate.sources import Source

__all__ = ["Bench", "Record", "Role", "Task", "run_tasks", "tasks_of"]

Array = npt.NDArray[np.float64]
Role = Literal["table", "hindsight", "scaling", "samples"]

RANDOM = 1000  # configurations that samplers are measured against
GOOD = 0.01  # share of the configurations that count as good enough to look for


@dataclass(frozen=True, slots=True)
class Task:
    """All seeds of one kind of campaign; what one process does at a time.

    ``problem`` is the place of its set. ``role`` says what it is for: the tables, the ladders in
    hindsight, what the scaling figure or the figure over samples drawn needs beyond them.
    """

    role: Role
    problem: int
    scheduler: Entry
    sampler: Entry | None
    workers: int
    trials: int


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """One simulated campaign, in numbers. Times are in units of one median step.

    Parameters
    ----------
    task, seed
        Which one.
    trained : int
        Steps trained.
    share : float
        Of training every trial that began to its end.
    rank, regret
        Of the configuration found, among those that it is measured against: how many end better,
        and by how much the best of them does. With stored rows these are all that were drawn, by
        whichever scheduler; else 1,000 random ones, the same for every sampler.
    value : float
        Its final value, as reported; nan if there is none.
    reached : float
        Since when the incumbent has been as good as the best 1 % of these (at least the best
        one), to the end: a trial that leads by chance and is overtaken does not count. Inf for
        never.
    spent : float
        Steps trained until then; inf for never.
    makespan, busy, overhead, idle, checkpoints, begun, stopped, wrong
        As in :class:`~daskhpo.simulate.run.Run`.
    best : float
        The best final value of those that it is measured against, as reported.
    history : History or None
        The way there; kept for the tables' campaigns.
    """

    task: Task
    seed: int
    trained: int
    share: float
    rank: int
    regret: float
    value: float
    reached: float
    spent: float
    makespan: float
    busy: float
    overhead: float
    idle: float
    checkpoints: int
    begun: int
    best: float
    history: History | None = field(repr=False, default=None)
    stopped: int | None = None
    wrong: int | None = None


class Bench:
    """The sets of curves and the plan: what campaigns are simulated on.

    Parameters
    ----------
    problems : sequence of Problem
        The sets.
    plan : Plan
        How they are used.

    Examples
    --------
    >>> curves = np.linspace(1.0, 0.1, 9) + np.arange(20)[:, None] / 20
    >>> problem = Problem("made up", "loss", [{"x": i / 20} for i in range(20)], curves)
    >>> bench = Bench([problem], Plan.from_mapping({"schedulers": "fifo", "seeds": 2}))
    >>> task = Task("table", 0, bench.plan.schedulers[0], None, workers=4, trials=20)
    >>> [(record.trained, record.rank) for record in bench.run(task)]
    [(180, 0), (180, 0)]
    """

    def __init__(self, problems: Sequence[Problem], plan: Plan) -> None:
        self.problems = problems
        self.plan = plan
        self._sources: dict[int, Source] = {}  # {place of the set: source}; made when first used
        self._random: dict[int, Array] = {}  # {place of the set: values of random configurations}

    def __reduce__(self) -> tuple[type[Bench], tuple[Sequence[Problem], Plan]]:
        return Bench, (self.problems, self.plan)  # sources are made anew in another process

    def source(self, place: int) -> Source:
        """Where the curves of a set come from."""
        if place not in self._sources:
            self._sources[place] = make_source(self.plan.source, self.problems[place])
        return self._sources[place]

    def run(self, task: Task) -> list[Record]:
        """One campaign per seed."""
        return [self._campaign(task, seed) for seed in range(self.plan.seeds)]

    def _campaign(self, task: Task, seed: int) -> Record:
        plan, source = self.plan, self.source(task.problem)
        run = simulate(
            source,
            task.scheduler.alone,
            sampler=None if task.sampler is None else task.sampler.settings,
            workers=task.workers,
            trials=task.trials,
            seed=seed,
            costs=plan.costs,
            speeds=make_speeds(plan.speeds, source.problem, seed=seed),
            failures=plan.failures,
            walltime=plan.walltime,
            adviser=task.scheduler.adviser(seed),
        )
        record = _record(task, seed, run, self._known(task, seed))
        return replace(record, history=run.history) if task.role == "table" else record

    def _known(self, task: Task, seed: int) -> Array:
        """Signed final values that campaigns are measured against, sorted."""
        source = self.source(task.problem)
        stream = source.stream(seed)
        if stream is not None:
            return _finals(source, stream, task.trials)
        if task.problem not in self._random:
            random = make_sampler({"type": "random"}, source.space, 0)
            self._random[task.problem] = _finals(source, random, RANDOM)
        return self._random[task.problem]


def _finals(source: Source, sampler: Sampler, trials: int) -> Array:
    """Signed final values of the different configurations that a sampler draws, sorted."""
    finals = {}
    for number in range(trials):
        params = sampler.suggest(number)
        if params is not None:
            finals[source.identity(params, number)] = source.curve(params, number)[-1]
    return np.sort(source.problem.sign * np.array(list(finals.values())))


def _settled(history: History, good: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """Time and steps trained from which on the incumbent has been good; inf for never."""
    bad = np.flatnonzero(~good)
    first = int(bad[-1]) + 1 if len(bad) else 0
    if first == len(good):
        return math.inf, math.inf
    return float(history.time[first]), float(history.trained[first])


def _record(task: Task, seed: int, run: Run, known: Array) -> Record:
    sign = run.problem.sign
    target = known[max(0, math.ceil(GOOD * len(known)) - 1)]
    reached, spent = _settled(run.history, sign * run.history.value <= target)  # nan is not
    # Not the rank that the run gives: a scheduler that begins fewer trials than the others has
    # not found better for that.
    found = math.inf if run.found is None else sign * run.found_value
    return Record(
        task=task,
        seed=seed,
        trained=run.trained,
        share=run.share,
        rank=int((known < found).sum()),
        regret=max(0.0, float(found - known[0])),
        value=run.found_value,
        reached=reached,
        spent=spent,
        makespan=run.makespan,
        busy=run.busy,
        overhead=run.overhead,
        idle=run.idle,
        checkpoints=run.checkpoints,
        begun=run.begun,
        best=float(sign * known[0]),
        stopped=run.stopped,
        wrong=run.wrong,
    )


def tasks_of(problems: Sequence[Problem], plan: Plan, *, figures: bool) -> list[Task]:
    """All kinds of campaigns, in the order of the plan.

    Parameters
    ----------
    problems : sequence of Problem
        The sets.
    plan : Plan
        What to compare.
    figures : bool
        Whether to include what only figures need.
    """
    found: list[Task] = []
    for place, problem in enumerate(problems):
        trials = plan.draws(problem)
        kinds = [(s, p) for s in plan.schedulers for p in plan.samplers or (None,)]
        for workers in plan.workers:
            found += [Task("table", place, s, p, workers, trials) for s, p in kinds]
            if plan.hindsight is not None:
                first = plan.samplers[0] if plan.samplers else None
                found += [
                    Task("hindsight", place, entry, first, workers, trials)
                    for entry in plan.hindsight.entries(problem.max_step)
                ]
        if not figures:
            continue
        more = [n for n in plan.scaling if n not in plan.workers]
        fewer = dict.fromkeys(max(1, trials // part) for part in (8, 4, 2))
        for s, p in kinds:
            found += [Task("scaling", place, s, p, n, trials) for n in more]
            found += [Task("samples", place, s, p, plan.workers[0], n) for n in fewer]
    return found


_bench: Bench | None = None  # of a process of the pool: sets and plan travel there once


def run_tasks(
    bench: Bench,
    tasks: Sequence[Task],
    *,
    jobs: int = 1,
    watch: Callable[[int, int], object] | None = None,
) -> list[Record]:
    """Run all campaigns; the records come in the order of the tasks, whatever ``jobs`` is.

    Parameters
    ----------
    bench : Bench
        The sets and the plan.
    tasks : sequence of Task
        What to run.
    jobs : int
        Processes; 1 for none besides this one.
    watch : callable, optional
        Told how many tasks are done, and of how many, after each.
    """
    records: list[Record] = []
    for done, found in enumerate(_each(bench, tasks, jobs), 1):
        records += found
        if watch is not None:
            watch(done, len(tasks))
    return records


def _each(bench: Bench, tasks: Sequence[Task], jobs: int) -> Iterator[list[Record]]:
    if jobs == 1:
        yield from map(bench.run, tasks)
        return
    pool = ProcessPoolExecutor(
        max_workers=min(jobs, len(tasks)),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_install,
        initargs=(bench,),
    )
    try:
        yield from pool.map(_run, tasks)
    finally:
        pool.shutdown(cancel_futures=True)


def _install(bench: Bench) -> None:
    global _bench
    _bench = bench


def _run(task: Task) -> list[Record]:
    assert _bench is not None
    return _bench.run(task)
