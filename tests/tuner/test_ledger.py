"""What batch jobs cost is known to every driver of a campaign, and limits it."""

from __future__ import annotations

import dataclasses
import time

import objectives
import pytest

from daskhpo.campaign import Budget
from daskhpo.cluster.batch import BatchJob, Phase
from daskhpo.cluster.settings import PoolSettings
from daskhpo.store.requests import request_stop
from daskhpo.tuner import driver as driver_module
from daskhpo.tuner.driver import Driver
from daskhpo.tuner.ledger import Ledger


def job(id, phase=Phase.RUNNING, began=1000.0, **more):
    return BatchJob(id, phase, began=began, gpus=4, **more)


def ledger_of(*jobs):
    ledger = Ledger()
    for each in jobs:
        ledger.read({"kind": "noted", "of": "batch", "seq": 1, "t": 0.0, **each.to_fact()})
    return ledger


def test_running_and_ended_batch_jobs_cost_what_they_held():
    ended = job("1", Phase.ENDED, ended=4600.0)
    assert ledger_of(ended, job("2")).gpu_hours(now=2800.0) == 4.0 + 2.0
    assert ledger_of(BatchJob("3", Phase.PENDING)).gpu_hours(now=2800.0) == 0.0
    assert ledger_of(job("4", Phase.ENDED)).gpu_hours(now=2800.0) == 0.0, "nobody knows its end"


def test_only_the_newest_word_counts():
    ledger = ledger_of(BatchJob("1", Phase.PENDING), job("1"), job("2"))
    assert [each.id for each in ledger.alive] == ["1", "2"]
    ledger.read({"kind": "noted", "of": "batch", **job("1", Phase.ENDED, ended=1001.0).to_fact()})
    assert [each.id for each in ledger.alive] == ["2"]


def test_other_facts_are_none_of_its_business():
    ledger = ledger_of()
    for fact in ({"kind": "asked", "number": 0}, {"kind": "noted", "of": "placed"}):
        ledger.read(fact)
    assert ledger.jobs == {}


@pytest.fixture
def opened(tuner_of):
    """A driver of a campaign with at most two GPU-hours."""
    tuner = tuner_of(objectives.quick)
    tuner.debug(trials=1)
    pool = PoolSettings(kind="slurm", gpu_hours=2.0)
    campaign = dataclasses.replace(tuner.campaign, pool=pool)

    def open_driver():
        return Driver(campaign, tuner.directory, Budget(trials=9))

    return open_driver


def test_the_budget_of_gpu_hours_counts_all_runs(opened):
    now = time.time()
    driver = opened()
    driver.study.note("batch", **job("1", Phase.ENDED, now - 3600.0, ended=now - 1800.0).to_fact())
    driver.tick()
    driver.close()
    driver = opened()
    assert driver.study.closed is None
    driver.study.note("batch", **job("2", began=now - 600.0).to_fact())
    driver.tick()
    assert driver.study.closed == "the budget of 2 GPU-hours of batch jobs is spent"
    driver.close()


def test_somebody_elsewhere_can_ask_it_to_stop(opened, monkeypatch):
    monkeypatch.setattr(driver_module, "FLUSH", 0.0)
    driver = opened()
    driver.tick()
    assert driver.study.closed is None
    request_stop(driver.directory.path, "asked to stop by ada")
    driver.tick()
    assert driver.study.closed == "asked to stop by ada"
    driver.close()
