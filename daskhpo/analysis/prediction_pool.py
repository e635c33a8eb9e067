"""The same work on many tasks, in this process or in several."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any, TypeVar

__all__ = ["Watch", "each"]

Task = TypeVar("Task")
Found = TypeVar("Found")
Watch = Callable[[int, int], object]  # told how many tasks are done, and of how many

_work: Callable[[Any], Any] | None = None  # of a process of the pool: travels there once


def each(
    work: Callable[[Task], Found],
    tasks: Sequence[Task],
    *,
    jobs: int = 1,
    watch: Watch | None = None,
) -> Iterator[Found]:
    """Yield what comes of each task, in their order, whatever ``jobs`` is.

    Parameters
    ----------
    work : callable
        What to do with a task; it, tasks and results can be pickled.
    tasks : sequence
        What is to be done.
    jobs : int
        Processes; 1 for none besides this one.
    watch : callable, optional
        Told after each task.

    Examples
    --------
    >>> list(each(abs, [-1, 2]))
    [1, 2]
    """
    for done, found in enumerate(_each(work, tasks, jobs), 1):
        if watch is not None:
            watch(done, len(tasks))
        yield found


def _each(work: Callable[[Task], Found], tasks: Sequence[Task], jobs: int) -> Iterator[Found]:
    jobs = min(jobs, len(tasks))
    if jobs <= 1:
        yield from map(work, tasks)
        return
    pool = ProcessPoolExecutor(
        max_workers=jobs,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_install,
        initargs=(work,),
    )
    try:
        yield from pool.map(_run, tasks)
    finally:
        pool.shutdown(cancel_futures=True)


def _install(work: Callable[[Any], Any]) -> None:
    global _work
    _work = work


def _run(task: Any) -> Any:
    assert _work is not None
    return _work(task)
