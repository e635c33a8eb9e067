"""What a forecast by annealing costs: building the problem of 20 curves, and a whole fit.

``python benchmarks/qubo.py`` prints the table; the papers' settings: 3 bits, 20 curves of 13
steps, 120 variables.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
from row import Row, table

from daskhpo.predictors import QUBOSVR
from daskhpo.predictors.qubo import Dual

__all__ = ["rows"]

CURVES, STEPS, FORECASTS = 20, 13, 1000


def curves(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Power laws on a plateau of their own, and their value at ten times the steps."""
    rng = np.random.default_rng(1)
    plateau, drop, power = rng.uniform(0.5, 2.0, (3, n, 1))
    found = plateau + drop * np.append(np.arange(1, STEPS + 1), 10 * STEPS) ** -power
    return found[:, :-1], found[:, -1]


def rows(*, quick: bool) -> list[Row]:
    """Time the matrix, a fit by simulated annealing and one exact, and a forecast."""
    known, targets = curves(CURVES)
    dual, annealed, exact = Dual(), QUBOSVR(), QUBOSVR(annealer="svr")
    kernel = dual.kernel(known, known)
    variables = len(dual.matrix(kernel, targets))
    build = seconds(lambda: dual.matrix(dual.kernel(known, known), targets), 20 if quick else 500)
    fit = seconds(lambda: annealed.fit(known, targets), 3 if quick else 30)
    classical = seconds(lambda: exact.fit(known, targets), 3 if quick else 100)
    one = seconds(lambda: annealed.predict(known[:1]), 20 if quick else 500)
    many, _ = curves(FORECASTS)
    all_at_once = seconds(lambda: annealed.predict(many), 3 if quick else 30)
    return [
        Row(f"QUBO of {variables} variables", f"{1e3 * build:.2f} ms", "< 5 ms", build < 5e-3),
        Row("QUBO-SVR fit, 100 reads x 100 sweeps", f"{1e3 * fit:.0f} ms", "< 1 s", fit < 1),
        Row("the same fit, exact (classical SVR)", f"{1e3 * classical:.1f} ms"),
        Row("forecast of one curve", f"{1e3 * one:.2f} ms", "< 1 ms", one < 1e-3),
        Row(f"forecast of {FORECASTS:,} curves", f"{1e3 * all_at_once:.1f} ms"),
    ]


def seconds(act: Callable[[], object], times: int) -> float:
    """Median processor time of some runs, after one to warm up."""
    found = []
    for _ in range(times + 1):
        begin = time.process_time()
        act()
        found.append(time.process_time() - begin)
    return statistics.median(found[1:])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few runs of each")
    print(table(rows(quick=parser.parse_args().quick)))
