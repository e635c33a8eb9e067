"""A campaign's account for people and for other programs: text, JSON, CSV."""

from __future__ import annotations

import csv
import math
import os
import textwrap
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from daskhpo.analysis.accounting_parts import IDLE, Accounts, BatchAccount, Part, Stay
from daskhpo.analysis.accounting_sweep import Amount
from daskhpo.analysis.endings import fate_word
from daskhpo.cluster.batch import Phase
from daskhpo.store.disk import disk_error
from daskhpo.wording import clock, count

__all__ = ["short_lines", "to_csv", "to_dict", "to_text", "totals"]

_WIDTH = 100  # columns of a screen
_SHOWN = 10  # trials and interruptions that are shown unless all are asked for
_UNITS = {"gpu": "GPU-hours", "core": "core-hours", "worker": "worker-hours"}


def to_text(account: Accounts, *, name: str, step: str, full: bool = False) -> str:
    """Write an account for a terminal; fits in 100 columns.

    Parameters
    ----------
    account : Accounts
        Of the campaign.
    name, step : str
        Of the campaign, and what it calls a step.
    full : bool
        Show all trials and interruptions.
    """
    page = _Page(account)
    many = len(account.stays) if full else _SHOWN
    lines = [f"{name}: {page.unit}", "", *page.totals()]
    rungs = [_rung_name(part, account, step) for part in account.rungs]
    lines += page.table(rungs, account.rungs, head="rung", idle=account.allocated is not None)
    lines += page.table([str(p.key) for p in account.outcomes], account.outcomes, head="outcome")
    names = [f"trial {part.key}" for part in account.trials[:many]]
    lines += page.table(names, account.trials[:many], head=page.dearest(many))
    lines += page.batch_lines()
    lines += page.interruption_lines(many)
    return "\n".join(lines)


def short_lines(account: Accounts) -> list[str]:
    """Two lines for a summary; none where there are no batch jobs.

    Examples
    --------
    >>> from daskhpo.analysis.accounting import accounts
    >>> short_lines(accounts([]))
    []
    """
    held = account.allocated
    if held is None:
        return []
    page, broken = _Page(account), account.interruptions
    running = sum(each.job.phase is Phase.RUNNING for each in account.batches)
    waiting = sum(each.job.phase is Phase.PENDING for each in account.batches)
    more = [f"{running} running"] * bool(running) + [f"{waiting} waiting"] * bool(waiting)
    jobs = count(len(account.batches), "batch job") + (f" ({', '.join(more)})" if more else "")
    lines = [f"batch     {jobs} held {page.hours(held)} {page.unit}"]
    lines[0] += f": {page.share(account.used)} used, {page.share(account.idle)} idle"
    if broken:
        cost = f"{page.hours(account.wasted)} {page.unit} came to nothing"
        lines.append(f"          {count(len(broken), 'interruption')}; {cost}")
    return lines


def to_dict(account: Accounts) -> dict[str, Any]:
    """Give plain JSON data, all of it in seconds; what has no value is None.

    Of each amount: ``gpu``, ``core`` and ``worker`` seconds.

    Examples
    --------
    >>> from daskhpo.analysis.accounting import accounts
    >>> found = to_dict(accounts([]))
    >>> found["unit"], found["allocated"], found["stays"]
    ('worker', None, [])
    """
    return totals(account) | {
        "began": _finite(account.began),
        "now": _finite(account.now),
        "idle_by_kind": {k.value: asdict(v) for k, v in account.idle_by_kind.items()},
        "outside": asdict(account.outside),
        "rungs": [
            asdict(part) | {"milestone": account.milestones.get(_index(part))}
            for part in account.rungs
        ],
        "outcomes": [asdict(part) for part in account.outcomes],
        "trials": [asdict(part) for part in account.trials],
        "batches": [_batch_dict(each) for each in account.batches],
        "stays": [_stay_dict(stay) for stay in account.stays],
    }


def totals(account: Accounts) -> dict[str, Any]:
    """The head of :func:`to_dict`: what was held in all.

    Examples
    --------
    >>> from daskhpo.analysis.accounting import accounts
    >>> totals(accounts([]))["unit"]
    'worker'
    """
    held = account.allocated
    return {
        "unit": account.unit,
        "allocated": None if held is None else asdict(held),
        "used": asdict(account.used),
        "wasted": asdict(account.wasted),
        "idle": None if held is None else asdict(account.idle),
    }


def to_csv(account: Accounts, path: str | os.PathLike[str]) -> Path:
    """Write a table with a row per stay; times in seconds since 1970.

    Raises
    ------
    StoreError
        If the disk refuses.
    """
    target = Path(path)
    try:
        with open(target, "w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow([*_COLUMNS])
            for stay in account.stays:
                rows.writerow([_cell(cell(stay)) for cell in _COLUMNS.values()])
    except OSError as error:
        raise disk_error("write", target, error) from error
    return target


class _Page:
    """Writes amounts so that every figure on a page has as many places."""

    def __init__(self, account: Accounts) -> None:
        self._account = account
        self._key = account.unit
        self.unit = _UNITS[account.unit]
        whole = account.allocated
        self._whole = (account.used if whole is None else whole).of(self._key)
        # Three figures or so of the largest one.
        size = math.floor(math.log10(self._whole / 3600)) if self._whole > 0 else 0
        self._places = min(max(2 - size, 0), 6)

    def hours(self, amount: Amount) -> str:
        """In the account's unit."""
        return f"{amount.of(self._key) / 3600:,.{self._places}f}"

    def share(self, amount: Amount) -> str:
        """Of all that was held."""
        return f"{amount.of(self._key) / self._whole:.0%}" if self._whole else "0%"

    def totals(self) -> list[str]:
        """What was held and what for."""
        account, held = self._account, self._account.allocated
        if held is None:
            return [
                f"used      {self.hours(account.used)} {self.unit} in "
                f"{count(len(account.stays), 'stay')}",
                "allocated unknown: there were no batch jobs",
                *self._wasted(),
            ]
        kinds = account.idle_by_kind
        parts = [f"{self.hours(kinds[k])} {k}" for k in IDLE if kinds[k].of(self._key) > 0]
        jobs = count(len(account.batches), "batch job")
        cores = f", {held.core / 3600:,.{self._places}f} core-hours"
        lines = [
            f"allocated {self.hours(held)} {self.unit} in {jobs}"
            + (cores if self._key == "gpu" and held.core else ""),
            f"used      {self.hours(account.used)} ({self.share(account.used)})",
            *self._wasted(),
            f"idle      {self.hours(account.idle)} ({self.share(account.idle)})"
            + (f": {', '.join(parts)}" if parts else ""),
        ]
        if account.outside.worker:
            beside = f"{account.outside.worker / 3600:,.{self._places}f} worker-hours"
            lines.append(f"beside    {beside} of stays on no batch job")
        return lines

    def _wasted(self) -> list[str]:
        wasted = self._account.wasted
        if not wasted.of(self._key):
            return []
        said = f"          of it {self.hours(wasted)} ({self.share(wasted)}) came to nothing: after"
        return [f"{said} the last report of stays that broke off"]

    def table(
        self, names: Sequence[str], parts: Sequence[Part], *, head: str, idle: bool = False
    ) -> list[str]:
        """Parts of the account, a line each."""
        if not parts:
            return []
        top = f"{head:<36}{'stays':>8}{'used':>14}{'%':>6}{'to nothing':>14}"
        lines = ["", top + (f"{'idle':>14}{'%':>6}" if idle else "")]
        for name, part in zip(names, parts, strict=True):
            line = f"  {name[:33]:<34}{part.stays:>8,}{self.hours(part.used):>14}"
            line += f"{self.share(part.used):>6}{self.hours(part.wasted):>14}"
            if idle:
                line += f"{self.hours(part.idle):>14}{self.share(part.idle):>6}"
            lines.append(line)
        return lines

    def dearest(self, many: int) -> str:
        """What to call the table of trials."""
        all_of_them = len(self._account.trials)
        return "trials" if all_of_them <= many else f"the {many} dearest of {all_of_them:,} trials"

    def batch_lines(self) -> list[str]:
        """How many batch jobs ended how."""
        ends = Counter(fate_word(each.job) for each in self._account.batches)
        if not ends:
            return []
        said = ", ".join(f"{n:,} {how}" for how, n in ends.most_common())
        starts = sum(each.job.restarts for each in self._account.batches)
        said += f"; started again {count(starts, 'time')}" if starts else ""
        indent = " " * 12
        return ["", *_wrapped(f"batch jobs  {said}", indent)]

    def interruption_lines(self, many: int) -> list[str]:
        """Why stays broke off, the newest last."""
        broken = self._account.interruptions
        if not broken:
            return []
        shown = broken[-many:]
        few = "" if len(shown) == len(broken) else f", the last {len(shown)} of {len(broken):,}"
        lines = ["", f"interruptions (time since the campaign began{few})"]
        for stay in shown:
            when = clock(max(0.0, stay.ended - self._account.began))
            cost = f"; {self.hours(stay.wasted)} {self.unit} to nothing"
            said = f"  {when}  trial {stay.number}, attempt {stay.attempt + 1}{_where(stay)}: "
            said += stay.cause + (cost if stay.wasted.of(self._key) else "")
            lines += _wrapped(said, " " * 12)
        return lines


def _where(stay: Stay) -> str:
    """Where a stay was, unless its cause says so."""
    named = all(batch in stay.cause.split() for batch in stay.batches)
    if not stay.batches or named:
        return ""
    nodes = f" on {stay.nodes}" if stay.nodes else ""
    return f" in batch job {', '.join(dict.fromkeys(stay.batches))}{nodes}"


def _rung_name(part: Part, account: Accounts, step: str) -> str:
    if part.key is None:
        return "none: nothing came after it"
    milestone = account.milestones.get(_index(part))
    return f"{part.key}" + (f", towards {step} {milestone:,}" if milestone is not None else "")


def _index(part: Part) -> int:
    return part.key if isinstance(part.key, int) else -1


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, subsequent_indent=indent, replace_whitespace=False)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _batch_dict(each: BatchAccount) -> dict[str, Any]:
    job = {
        name: value for name, value in each.job.to_fact().items() if name not in ("cpus", "gpus")
    }
    return job | {
        "seconds": each.seconds,
        "cpus": each.cpus,
        "gpus": each.gpus,
        "allocated": asdict(each.allocated),
        "booked": asdict(each.booked),
        "idle": {kind.value: asdict(amount) for kind, amount in each.idle.items()},
        "stays": each.stays,
    }


def _stay_dict(stay: Stay) -> dict[str, Any]:
    plain = asdict(stay)
    return plain | {"ended": _finite(stay.ended), "batches": list(stay.batches)}


_COLUMNS: dict[str, Callable[[Stay], Any]] = {
    "trial": lambda stay: stay.number,
    "attempt": lambda stay: stay.attempt,
    "rung": lambda stay: stay.rung,
    "step": lambda stay: stay.step,
    "outcome": lambda stay: stay.outcome,
    "batch_jobs": lambda stay: " ".join(stay.batches),
    "nodes": lambda stay: stay.nodes,
    "workers": lambda stay: " ".join(stay.workers),
    "gpus": lambda stay: stay.gpus,
    "ranks": lambda stay: stay.ranks,
    "began": lambda stay: stay.began,
    "ended": lambda stay: stay.ended,
    "seconds": lambda stay: stay.seconds,
    "gpu_seconds": lambda stay: stay.used.gpu,
    "core_seconds": lambda stay: stay.used.core,
    "worker_seconds": lambda stay: stay.used.worker,
    "wasted_gpu_seconds": lambda stay: stay.wasted.gpu,
    "wasted_core_seconds": lambda stay: stay.wasted.core,
    "cause": lambda stay: stay.cause,
}


def _cell(value: Any) -> Any:
    return "" if isinstance(value, float) and not math.isfinite(value) else value
