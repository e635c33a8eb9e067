"""Every target of the design in one table, measured here and now.

``python benchmarks/table.py`` takes some minutes; ``--quick`` a minute, on smaller sizes, to see
that everything runs. Give names (overhead, core, ask, idle, mlpf, simulator, qubo, advice,
warm, crowd, scale, replacing) to measure only those; the last two need the test Slurm.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import importlib.util
import math
import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path

import advice
import core
import crowd
import first_report
import idle
import numpy as np
import overhead
import qubo
import replacing
import simulator
import warm
from row import Row, table

import daskhpo

PACKAGES = (
    *(
        "dask",
        "distributed",
        "dask-jobqueue",
        "numpy",
        "zarr",
        "xarray",
        "scikit-optimize",
        "torch",
    ),
    *("optuna", "optuna-integration"),
)


def asking(*, quick: bool) -> list[Row]:
    """How long a free worker waits for a suggestion of the Bayesian sampler made ahead."""
    from ask import MIXED, prefetched, training

    from daskhpo.samplers import Bayes, Random

    results, pending, asks = (100, 8, 20) if quick else (1000, 64, 200)
    sampler, source = Bayes(MIXED, seed=1), Random(MIXED, seed=2)
    for number in range(results + pending):
        params = source.suggest(number) or {}
        sampler.pend(number, params)
        if number < results:
            sampler.tell(number, 1, training(params))
    waits = prefetched(sampler, results, results + pending, asks)
    median, tail = np.percentile(waits, [50, 99]) * 1e3
    what = f"ask of a free worker, Bayes, n={results:,}, {pending} pending"
    text = f"{tail:.2f} ms p99, {median:.2f} ms median, 20 asks a second"
    return [Row(what, text, "< 10 ms p99", tail < 10)]


def modelling(*, quick: bool) -> list[Row]:
    """The graph layer of MLPF: growth with the event, and what raggedness saves."""
    if importlib.util.find_spec("torch") is None:
        return [Row("MLPF layer", "torch is not installed")]
    import torch
    from mlpf_layer import RAGGED_EVENTS, cpu_seconds, padded_step, ragged_step

    torch.set_num_threads(1)
    events = RAGGED_EVENTS
    shape = {"width": 64 if quick else 128, "bin_size": 128}
    small, large = (cpu_seconds(ragged_step([n] * 4, **shape)) for n in (1024, 5120))
    exponent = math.log(large / small) / math.log(5)
    gain = cpu_seconds(padded_step(events, **shape)) / cpu_seconds(ragged_step(events, **shape))
    fill = sum(events) / (len(events) * max(events))
    growth = f"exponent {exponent:.2f} ({1e3 * small:.0f} ms, {1e3 * large:.0f} ms)"
    return [
        Row("MLPF layer, 1,024 to 5,120 elements", growth, "<= 1.15", exponent <= 1.15),
        Row(f"MLPF layer, ragged, {fill:.0%} fill", f"{gain:.1f} x padded", ">= 2 x", gain >= 2),
    ]


QUESTIONS: dict[str, Callable[..., list[Row]]] = {
    "overhead": overhead.rows,
    "core": core.rows,
    "ask": asking,
    "idle": idle.rows,
    "mlpf": modelling,
    "simulator": simulator.rows,
    "qubo": qubo.rows,
    "advice": advice.rows,
    "warm": warm.rows,
    "crowd": crowd.rows,
    "scale": first_report.rows,
    "replacing": replacing.rows,
}


def surroundings() -> str:
    """The machine and what is installed on it."""
    versions = [f"daskhpo {daskhpo.__version__}"]
    for package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions.append(f"{package} {importlib.metadata.version(package)}")
    processor = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line for line in cpuinfo.read_text().splitlines() if "model name" in line]
        processor = names[0].split(": ")[1] if names else processor
    return (
        f"{processor}, {os.cpu_count()} cores, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}\n{', '.join(versions)}"
    )


def main() -> int:
    """Print the table; 1 if a target was missed at full size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes: does everything run?")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(QUESTIONS)}")
    options = parser.parse_args()
    if unknown := set(options.names) - set(QUESTIONS):
        parser.error(f"no such question: {', '.join(sorted(unknown))}; {', '.join(QUESTIONS)}")
    found: list[Row] = []
    before = os.getloadavg()[0]
    for name in options.names or QUESTIONS:
        print(f"{name} ...", file=sys.stderr, flush=True)
        found += QUESTIONS[name](quick=options.quick)
    print(surroundings())
    print(f"load average {before:.1f} before, {os.getloadavg()[0]:.1f} after\n")
    print(table(found))
    return int(not options.quick and any(row.met is False for row in found))


if __name__ == "__main__":
    sys.exit(main())
