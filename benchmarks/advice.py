"""What advice costs: a look at a trial, a fit beside the campaign, and a report with an adviser.

``python benchmarks/advice.py`` prints the table: 60 curves of 50 steps, forecast for step 64.
"""

from __future__ import annotations

import argparse
from functools import partial

import numpy as np
from qubo import seconds
from row import Row, table

from daskhpo.advice import Adviser, Forecast, Forecaster, Lesson, learn
from daskhpo.predictors import make_predictor
from daskhpo.samplers.random import Random
from daskhpo.schedulers import ASHA
from daskhpo.space import Float, Space
from daskhpo.study import Study

__all__ = ["rows"]

CURVES, SINCE, STEP, TARGET = 60, 32, 48, 64


def rows(*, quick: bool) -> list[Row]:
    """Time looks and fits of several predictors, and reports without any."""
    times = 20 if quick else 200
    found = []
    for name in ("last_drop", "svr", "auto", "qubo_svr"):
        forecaster, lesson = taught(name)
        look = seconds(partial(asked, forecaster), times)
        fit = seconds(partial(learn, lesson), 2 if quick else 10)
        found.append(Row(f"advice by {name}", f"{1e3 * look:.2f} ms", "< 1 ms", look < 1e-3))
        found.append(Row(f"fit of {name}, with its errors out of fold", f"{1e3 * fit:.0f} ms"))
    plain, advised = report(None, times), report(Adviser("last_drop"), times)
    text = f"{1e6 * advised:.1f} us, {1e6 * plain:.1f} us without an adviser"
    return [*found, Row("report between two decision points", text)]


def taught(name: str) -> tuple[Forecaster, Lesson]:
    """A forecaster that has learned from power laws, and the lesson."""
    rng = np.random.default_rng(1)
    plateau, drop, power = rng.uniform(0.5, 2.0, (3, CURVES, 1))
    curves = plateau + drop * np.arange(1, TARGET + 1) ** -power
    forecaster = Forecaster(make_predictor(name))
    for number, curve in enumerate(curves.tolist()):
        for step, value in enumerate(curve, start=1):
            forecaster.observe(number, step, value)
    asked(forecaster)
    (lesson,) = forecaster.due()
    forecaster.take(learn(lesson))
    return forecaster, lesson


def asked(forecaster: Forecaster) -> Forecast | None:
    """What it says of the first curve."""
    return forecaster.forecast(0, STEP, target=TARGET, since=SINCE, delta=0.1)


def report(adviser: Adviser | None, times: int) -> float:
    """Seconds of one report of a trial that is far from any decision point."""
    space = Space(x=Float(0.0, 1.0))
    scheduler = ASHA(1_000_000, min_step=500_000, eta=2)
    study = Study(space, scheduler, Random(space, seed=1), metric="loss", adviser=adviser)
    job = study.ask()
    assert job is not None
    steps = iter(range(1, 100 * times + 200))

    def hundred() -> None:
        for _ in range(100):
            study.report(job.number, job.attempt, next(steps), {"loss": 0.5})

    return seconds(hundred, times) / 100


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few runs of each")
    print(table(rows(quick=parser.parse_args().quick)))
