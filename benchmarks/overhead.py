"""What tuning costs: trials that cost nothing, under daskhpo, under Optuna and under nothing.

All variants run the same 500 trials of 20 steps on two worker processes of one thread, each in an
interpreter of its own, one after the other and round after round, so that other work on the
machine meets all alike. CPU time decides, for it depends least on that other work.
"""

from __future__ import annotations

import importlib.util
import statistics
from pathlib import Path

from processes import Cost, measure
from row import Row

__all__ = ["rows"]

HERE = Path(__file__).parent
FLOOR = "bare client.submit loop, no reports"
VARIANTS = {  # {name: script and arguments}
    FLOOR: ["peers/bare.py"],
    "daskhpo, random, no stopping": ["ours.py"],
    "daskhpo, random, ASHA (promotion)": ["ours.py", "--scheduler", "promote"],
    "daskhpo, random, ASHA (stopping)": ["ours.py", "--scheduler", "stop"],
    "Optuna DaskStorage, random, no pruner": ["peers/optuna_dask.py"],
    "Optuna DaskStorage, random, ASHA pruner": ["peers/optuna_dask.py", "--pruner", "asha"],
}
SUSTAINED = {
    "daskhpo": ["ours.py"],
    "Optuna DaskStorage": ["peers/optuna_dask.py"],
}
MAX_RATIO = 1.5  # of CPU time to the floor's
MAX_ASHA = 18.0  # CPU seconds
MAX_PSS = 250.0  # MB
MIN_RATE = 2_000  # reports a second


def rows(*, quick: bool) -> list[Row]:
    """Measure all variants."""
    size = ["--trials", "60" if quick else "500", "--steps", "20"]
    costs = _run(VARIANTS, size, rounds=1 if quick else 3)
    found = [_row(name, costs[name], costs[FLOOR]) for name in costs]
    return found + _sustained(quick=quick)


def _run(variants: dict[str, list[str]], size: list[str], *, rounds: int) -> dict[str, list[Cost]]:
    costs: dict[str, list[Cost]] = {}
    for _ in range(rounds):
        for name, (script, *arguments) in variants.items():
            if "Optuna" in name and importlib.util.find_spec("optuna_integration") is None:
                continue
            costs.setdefault(name, []).append(measure(str(HERE / script), *arguments, *size))
    return costs


def _row(name: str, costs: list[Cost], floor: list[Cost]) -> Row:
    cpu = statistics.median(cost.cpu for cost in costs)
    ratio = statistics.median(mine.cpu / its.cpu for mine, its in zip(costs, floor, strict=True))
    pss = max(cost.pss for cost in costs)
    wall = statistics.median(cost.answer["seconds"] for cost in costs)
    answer = costs[0].answer
    text = f"{cpu:.1f} s CPU ({ratio:.2f} x bare), {wall:.1f} s wall, {pss:.0f} MB PSS"
    if answer["reports"]:
        text += f", {answer['reports']:,} reports"
    what = f"{answer['trials']} trials x 20: {name}"
    if not name.startswith("daskhpo"):
        return Row(what, text)
    if "ASHA" in name:
        target, good = f"<= {MAX_ASHA:.0f} s CPU, < {MAX_PSS:.0f} MB", cpu <= MAX_ASHA
    else:
        target, good = f"<= {MAX_RATIO} x bare, < {MAX_PSS:.0f} MB", ratio <= MAX_RATIO
    return Row(what, text, target, good and pss < MAX_PSS)


def _sustained(*, quick: bool) -> list[Row]:
    """Few long trials: what a cluster's streams carry once everything runs."""
    size = ["--trials", "10" if quick else "20", "--steps", "1000"]
    costs = _run(SUSTAINED, size, rounds=1 if quick else 3)
    rates = {
        name: statistics.median(cost.answer["reports"] / cost.answer["seconds"] for cost in found)
        for name, found in costs.items()
    }
    mine = rates["daskhpo"]
    return [
        Row(
            f"reports/s, trials of 1,000 steps: {name}",
            f"{rate:,.0f} /s",
            f">= {MIN_RATE:,} /s, ahead of peers" if name == "daskhpo" else "",
            mine >= max(MIN_RATE, *rates.values()) if name == "daskhpo" else None,
        )
        for name, rate in rates.items()
    ]


if __name__ == "__main__":
    for row in rows(quick=True):
        print(row.what, row.measured, row.target, row.verdict, sep=" | ")
