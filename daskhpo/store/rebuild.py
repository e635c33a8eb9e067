"""Make the curves anew from the journal, and check that the two agree."""

from __future__ import annotations

import shutil
import tempfile
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from daskhpo.exceptions import StoreError
from daskhpo.store.curves import CurveWriter, apply_fact, open_curves
from daskhpo.store.directory import CampaignDirectory
from daskhpo.store.disk import PARTIAL, disk_error
from daskhpo.trial import Fact

__all__ = ["VerifyReport", "rebuild", "verify"]

_BATCH = 100_000  # facts between two flushes: what bounds the memory
_NAMED = 10  # differences that a report names


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What :func:`verify` found.

    Parameters
    ----------
    facts : int
        Whole facts in the journal.
    kinds : mapping
        How many of each kind.
    torn : str
        What is wrong with a torn last line; empty if there is none.
    damage : str
        What is wrong with the journal besides; empty if it is whole.
    curves : str
        ``"equal"`` to the journal up to ``curves_seq``, ``"absent"``, ``"unfinished"`` (a writer
        is flushing, or was killed while it did), ``"damaged"`` or ``"different"``.
    curves_seq : int
        The last fact that is in the curves.
    differences : tuple of str
        The first ones, cell by cell.

    Examples
    --------
    >>> print(VerifyReport(facts=2, kinds={"asked": 2}, curves="absent"))
    journal: 2 facts (2 asked), whole
    curves: absent
    """

    facts: int
    kinds: Mapping[str, int] = field(default_factory=dict)
    torn: str = ""
    damage: str = ""
    curves: str = "absent"
    curves_seq: int = 0
    differences: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing needs mending: a torn last line mends itself."""
        return not self.damage and self.curves in {"equal", "absent"}

    def __str__(self) -> str:
        kinds = ", ".join(f"{count} {kind}" for kind, count in self.kinds.items())
        state = self.damage or (f"torn last line: {self.torn}" if self.torn else "whole")
        curves = self.curves if self.curves == "absent" else f"{self.curves}, to {self.curves_seq}"
        lines = [f"journal: {self.facts} facts ({kinds}), {state}", f"curves: {curves}"]
        return "\n".join([*lines, *(f"  {difference}" for difference in self.differences)])


def rebuild(directory: CampaignDirectory) -> Path:
    """Make ``curves.zarr`` anew from the journal; the old one stays until the new one is whole.

    When to use it: the curves are damaged or lost, or differ from the journal after a power
    failure.

    Parameters
    ----------
    directory : CampaignDirectory
        The campaign; nobody may be writing to it.

    Returns
    -------
    Path
        Where the curves are.

    Raises
    ------
    LockedError
        If the campaign is being written.
    StoreError
        If the journal is damaged or the disk refuses; the old curves are then untouched.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     campaign = CampaignDirectory(Path(folder, "first"))
    ...     campaign.create({"metric": "loss"})
    ...     open_curves(rebuild(campaign)).sizes["trial"]
    0
    """
    with directory.writer():
        fresh = directory.path / f"curves.{uuid.uuid4().hex[:12]}{PARTIAL}"
        old = fresh.with_suffix(f".old{PARTIAL}")
        _derive(directory.facts(), fresh, directory.config())
        try:
            if directory.curves_path.exists():
                directory.curves_path.rename(old)
            fresh.rename(directory.curves_path)
            if old.exists():
                shutil.rmtree(old)
        except OSError as error:
            raise disk_error("replace", directory.curves_path, error) from error
    return directory.curves_path


def verify(directory: CampaignDirectory) -> VerifyReport:
    """Check the journal line by line, and the curves against it cell by cell.

    Changes nothing and may be used while the campaign runs. Checkpoints are not looked at.

    Parameters
    ----------
    directory : CampaignDirectory
        The campaign.

    Returns
    -------
    VerifyReport
        Damage is reported, not raised.

    Raises
    ------
    StoreError
        If there is no campaign, or its files cannot be read at all.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     campaign = CampaignDirectory(Path(folder, "first"))
    ...     campaign.create({"metric": "loss"})
    ...     verify(campaign).ok
    True
    """
    stored, state, differences = _stored(directory)
    seq = 0 if stored is None else int(stored.attrs["journal_seq"])
    reader = directory.reader()
    kinds: Counter[str] = Counter()
    damage = ""
    try:
        for fact in reader:
            kinds[fact["kind"]] += 1
    except StoreError as error:
        damage = str(error)
    if stored is not None and not damage:
        if seq > reader.seq:
            differences = (f"the curves know fact {seq}, the journal ends at {reader.seq}",)
        else:
            differences = _compare(directory, stored, seq)
        state = "different" if differences else "equal"
    torn = f"line {reader.torn.number}: {reader.torn.why}" if reader.torn else ""
    return VerifyReport(reader.seq, dict(kinds), torn, damage, state, seq, differences)


def _derive(facts: Iterable[Fact], path: Path, config: Mapping[str, Any]) -> None:
    """Write the curves of some facts to a new store."""
    writer = CurveWriter(
        path,
        metric=config.get("metric", "value"),
        direction=config.get("mode", "min"),
        unit=config.get("unit", "epoch"),
        max_step=config.get("scheduler", {}).get("max_step", 100),
        attrs={"also": config["also"]} if config.get("also") else None,
    )
    seq = 0
    for fact in facts:
        apply_fact(writer, fact)
        seq = fact["seq"]
        if seq % _BATCH == 0:
            writer.flush(seq)
    writer.flush(seq)


def _stored(directory: CampaignDirectory) -> tuple[xr.Dataset | None, str, tuple[str, ...]]:
    """The curves if they can be compared, else what keeps them from it."""
    directory.config()
    if not directory.curves_path.exists():
        return None, "absent", ()
    try:
        stored = open_curves(directory.curves_path)
        if stored.attrs["flushing"]:
            return None, "unfinished", ()
        return stored, "", ()
    except StoreError as error:
        return None, "damaged", (str(error),)


def _compare(directory: CampaignDirectory, stored: xr.Dataset, seq: int) -> tuple[str, ...]:
    """Name the first cells in which the curves are not what the first ``seq`` facts say."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "curves.zarr")
        facts = (fact for fact in directory.facts() if fact["seq"] <= seq)
        _derive(facts, path, directory.config())
        expected = open_curves(path)
    names = dict.fromkeys([*map(str, expected.data_vars), *map(str, stored.data_vars)])
    found: list[str] = []
    for name in names:
        if name not in expected or name not in stored:
            found.append(f"{name} is {'missing' if name in expected else 'unknown to the journal'}")
        else:
            found += _differences(name, stored[name].values, expected[name].values)
    return tuple(found[:_NAMED])


def _differences(name: str, stored: Any, expected: Any) -> list[str]:
    if len(stored) != len(expected):
        return [f"{name} has {len(stored)} trials, the journal {len(expected)}"]
    if stored.ndim == 2:  # a store that grew may have more steps than it needs
        steps = max(stored.shape[1], expected.shape[1])
        stored, expected = (
            np.pad(a, ((0, 0), (0, steps - a.shape[1])), constant_values=np.nan)
            for a in (stored, expected)
        )
    # nan equals nan here, and nothing else is unequal to itself
    unequal = (stored != expected) & ~((stored != stored) & (expected != expected))
    where = np.argwhere(unequal)[:_NAMED]
    return [
        f"{name}[trial {cell[0]}{f', step {cell[1] + 1}' if len(cell) > 1 else ''}] is "
        f"{stored[tuple(cell)]}, the journal says {expected[tuple(cell)]}"
        for cell in where
    ]
