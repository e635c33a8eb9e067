"""What a tuner writes down about its campaign, and how it knows one again."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import importlib.metadata
import logging
import os
import platform
from collections.abc import Mapping
from typing import Any

from daskhpo.campaign import Budget, Campaign
from daskhpo.exceptions import CampaignError
from daskhpo.store.directory import CampaignDirectory
from daskhpo.store.earlier import Earlier, read_earlier
from daskhpo.wording import count
from daskhpo.worker.work import Objective

__all__ = ["describe", "find_lessons", "known_as", "limits", "record"]

DENSE = 200  # steps that are kept of the curves of earlier campaigns where models learn from them

logger = logging.getLogger(__name__)


def describe(objective: Objective) -> str:
    """``"module:function"`` of an objective.

    Examples
    --------
    >>> describe(describe)
    'daskhpo.tuner.record:describe'
    """
    module = getattr(objective, "__module__", "")
    name = getattr(objective, "__qualname__", type(objective).__name__)
    return f"{module}:{name}"


def limits(own: Budget, given: Mapping[str, Any]) -> Budget:
    """A campaign's own budget, with what is given for this run in its place.

    Raises
    ------
    CampaignError
        If there is no budget at all, or one of an unknown name.

    Examples
    --------
    >>> limits(Budget(trials=9), {"hours": 2.0}).given
    {'trials': 9, 'hours': 2.0}
    """
    try:
        budget = Budget(**{**own.given, **{k: v for k, v in given.items() if v is not None}})
    except TypeError as error:
        allowed = ", ".join(Budget.__slots__)
        raise CampaignError(f"budget: {error}; allowed: {allowed}") from error
    if not budget.given:
        raise CampaignError("budget: none given; give trials, steps, hours or device_hours")
    return budget


def known_as(directory: CampaignDirectory, campaign: Campaign) -> Campaign:
    """``campaign`` under the name that the directory knows it by, if it decides the same.

    What decisions do not follow from (budget, workers) may differ between two runs.
    """
    if not directory.exists():
        return campaign
    recorded = Campaign.from_mapping(directory.config())
    for name, value in campaign.decisive.items():
        if recorded.decisive[name] != value:
            raise CampaignError(
                f"{directory.path} holds a campaign with {name}={recorded.decisive[name]!r}, not "
                f"{value!r}: choose another path, or the recorded settings"
            )
    return dataclasses.replace(campaign, token=recorded.token)


def find_lessons(campaign: Campaign, directory: CampaignDirectory) -> tuple[Earlier, ...]:
    """What a campaign has to learn from earlier ones before its first trial.

    A campaign that has begun knows what it knows. Where a driver died while it learned, the rest
    is read again; if that is gone, what was learned until then has to do.

    Raises
    ------
    CampaignError
        As :func:`daskhpo.store.earlier.read_earlier`.
    """
    if not campaign.warm_start:
        return ()
    learned = 0
    for fact in directory.facts() if directory.exists() else ():
        if fact["kind"] != "known":
            recorded = directory.config().get("warm_start", [])
            if recorded != [os.fspath(path) for path in campaign.warm_start]:
                logger.warning("%s has begun: it learns from no other campaign", directory.path)
            return ()
        learned += 1
    study = campaign.study()
    steps = {row.milestone for row in study.scheduler.table()}
    if study.adviser is not None:  # its models read curves as dense as those of this campaign
        most = study.scheduler.max_step
        steps |= set(range(1, most + 1, -(-most // DENSE)))
    try:
        return read_earlier(campaign.warm_start, campaign.space, study.goal, milestones=steps)
    except CampaignError as error:
        if not learned:
            raise
        known = count(learned, "trial")
        logger.warning("%s; the campaign goes on with the %s it knows already", error, known)
        return ()


def record(campaign: Campaign) -> dict[str, Any]:
    """What ``campaign.yaml`` says: the settings, and what they ran with."""
    versions = {"python": platform.python_version()}
    for package in ("daskhpo", "dask", "distributed", "numpy", "scikit-optimize", "torch", "zarr"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return {
        **campaign.to_mapping(),
        "fingerprint": campaign.fingerprint,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": versions,
    }
