"""A campaign in files that other programs open."""

from __future__ import annotations

import csv
import os
from pathlib import Path

from daskhpo.analysis.reading import Reading
from daskhpo.exceptions import CampaignError
from daskhpo.store.disk import disk_error
from daskhpo.trial import Fact

__all__ = ["FORMATS", "export"]

FORMATS = ("csv", "zarr")


def export(
    campaign: str | os.PathLike[str], out: str | os.PathLike[str], *, format: str = "csv"
) -> list[Path]:
    """Write a campaign's trials and curves where other programs can read them.

    Everything comes from the journal, so it works on a copy of a campaign directory, on a
    machine that has neither the objective's code nor torch, and while the campaign runs.

    Parameters
    ----------
    campaign : path
        The campaign directory.
    out : path
        A new or empty directory for ``csv``, a new path for ``zarr``.
    format : {"csv", "zarr"}
        ``csv``: ``trials.csv``, a row per trial, and ``curves.csv``, a row per trial, step and
        metric. ``zarr``: one store, which :func:`daskhpo.store.curves.open_curves` and
        ``xarray.open_zarr`` open.

    Returns
    -------
    list of Path
        What was written.

    Raises
    ------
    CampaignError
        If ``out`` holds something already, or the format is unknown.
    StoreError
        If ``out`` cannot be written, or the campaign cannot be read.

    Examples
    --------
    >>> export("runs/first", "first", format="parquet")
    Traceback (most recent call last):
    daskhpo.exceptions.CampaignError: format='parquet': must be 'csv' or 'zarr'
    """
    if format not in FORMATS:
        raise CampaignError(f"format={format!r}: must be 'csv' or 'zarr'")
    target = Path(out)
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise CampaignError(f"out={str(target)!r}: exists already; choose a new path")
    reading = Reading(campaign)
    try:
        return _to_zarr(reading, target) if format == "zarr" else _to_csv(reading, target)
    except OSError as error:
        raise disk_error("write", target, error) from error


def _to_csv(reading: Reading, target: Path) -> list[Path]:
    from daskhpo.store.frames import trials_frame

    target.mkdir(parents=True, exist_ok=True)
    trials, curves = target / "trials.csv", target / "curves.csv"
    with open(curves, "w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["number", "step", "metric", "value"])
        for fact in reading.facts():
            rows.writerows(_cells(fact))
    trials_frame(reading.study).to_csv(trials)
    return [trials, curves]


def _cells(fact: Fact) -> list[tuple[int, int, str, float]]:
    if fact["kind"] != "reported":
        return []
    number, step = fact["number"], fact["step"]
    return [(number, step, name, value) for name, value in fact["metrics"].items()]


def _to_zarr(reading: Reading, target: Path) -> list[Path]:
    from daskhpo.store.curves import CurveWriter, apply_fact

    campaign = reading.campaign
    target.parent.mkdir(parents=True, exist_ok=True)
    writer = CurveWriter(
        target,
        metric=campaign.metric,
        direction=campaign.mode,
        unit=campaign.unit,
        max_step=reading.study.scheduler.max_step,
        attrs={"also": dict(campaign.also)} if campaign.also else None,
    )
    last = 0
    for fact in reading.facts():
        apply_fact(writer, fact)
        last = fact["seq"]
    writer.flush(last)
    return [target]
