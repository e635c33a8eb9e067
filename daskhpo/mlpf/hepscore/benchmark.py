"""The whole benchmark: repetitions one after the other, a report for each, the score of all."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from daskhpo.exceptions import CampaignError
from daskhpo.mlpf.hepscore.copies import run_copies
from daskhpo.mlpf.hepscore.score import hepscore, workload_score
from daskhpo.mlpf.hepscore.summary import (
    NAME,
    containment,
    summarise,
    write_summary,
)
from daskhpo.mlpf.hepscore.workload import Workload, checksum, fixed_events

__all__ = ["Outcome", "run_benchmark"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the repetitions gave.

    Examples
    --------
    >>> outcome = Outcome(copies=1, throughputs=(2.4248, 2.4916), summaries=())
    >>> outcome.score(15.4)
    0.1597
    """

    copies: int
    throughputs: tuple[float, ...]  # events per second of all copies together, by repetition
    summaries: tuple[Path, ...]

    @property
    def median(self) -> float:
        """Events per second in the median repetition."""
        return statistics.median(self.throughputs)

    def score(self, reference: float) -> float:
        """Score against a machine that trains on `reference` events per second."""
        runs = [{NAME: throughput} for throughput in self.throughputs]
        return hepscore({NAME: workload_score(runs, {NAME: reference})})

    def to_dict(self, reference: float | None) -> dict[str, Any]:
        """JSON data."""
        content: dict[str, Any] = {
            "copies": self.copies,
            "throughputs": list(self.throughputs),
            "median_throughput": self.median,
            "summaries": [str(path) for path in self.summaries],
        }
        if reference is not None:
            content |= {"reference": reference, "score": self.score(reference)}
        return content


def run_benchmark(
    workload: Workload,
    out: Path,
    *,
    copies: int,
    repetitions: int = 3,
    watch: Callable[[int, float], object] = lambda run, throughput: None,
) -> Outcome:
    """Run the benchmark and write its reports below `out`.

    Parameters
    ----------
    workload : Workload
    out : path
        A directory without results.
    copies, repetitions : int
    watch : callable
        Told the number and the throughput of each repetition that ended.

    Raises
    ------
    CampaignError
        If `out` holds results already.
    ObjectiveError
        If a copy fails; the reports of earlier repetitions stay.
    StoreError
        If `out` cannot be written.
    """
    if any(out.glob(f"{NAME}/run*")):
        raise CampaignError(
            f"{out}: holds the results of an earlier benchmark, which must not mix with new ones: "
            "choose another directory"
        )
    events = fixed_events(workload.events)
    throughputs, summaries = [], []
    with tempfile.TemporaryDirectory(prefix="daskhpo-") as scratch:
        data = Path(scratch, "events.npz")
        events.save_npz(data)
        for run in range(repetitions):
            timings = run_copies(workload, data, copies)
            summary = summarise(
                workload,
                timings,
                data_checksum=checksum(events),
                containment=containment(),
            )
            summaries.append(write_summary(out, run, summary, timings))
            throughputs.append(summary["report"]["wl-scores"][NAME])
            watch(run, throughputs[-1])
    return Outcome(copies, tuple(throughputs), tuple(summaries))
