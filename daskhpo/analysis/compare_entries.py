"""The names of a plan: schedulers, samplers, and the ladders that are tried in hindsight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from daskhpo.exceptions import CampaignError
from daskhpo.scalars import nearest
from daskhpo.simulate.naming import describe, parse_settings

__all__ = [
    "Entry",
    "Hindsight",
    "check_names",
    "check_texts",
    "integers",
    "listed",
    "refuse_unknown",
]


@dataclass(frozen=True, slots=True)
class Entry:
    """A scheduler or sampler, and its name in tables and figures."""

    name: str
    settings: Mapping[str, Any]

    @classmethod
    def parse(cls, where: str, given: object) -> Self:
        """Read ``"asha(eta=4)"``, ``{"type": "asha", "eta": 4}`` or ``{name: either}``.

        Examples
        --------
        >>> Entry.parse("schedulers", {"wide": "asha(eta=4)"})
        Entry(name='wide', settings={'type': 'asha', 'eta': 4})
        """
        if isinstance(given, Mapping) and "type" not in given:
            if len(given) != 1:
                raise CampaignError(f"{where}: {dict(given)!r}: must be 'name: settings'")
            ((name, inner),) = given.items()
            return cls(str(name), cls.parse(where, inner).settings)
        if isinstance(given, str):
            given = parse_settings(given)
        if not isinstance(given, Mapping):
            raise CampaignError(
                f"{where}: {given!r}: must be settings such as 'asha(eta=4)', or 'name: settings'"
            )
        return cls(describe(given), dict(given))


@dataclass(frozen=True, slots=True)
class Hindsight:
    """The grid of fixed ladders among which the best is looked for afterwards.

    Parameters
    ----------
    scheduler : str
        The type that is tuned by hand.
    min_step, eta : sequence of int
        The values to try; a ``min_step`` beyond the end of a set's curves is left out there.
    like : str
        The scheduler of the plan whose median rank has to be attained; by default its first
        Hyperband.
    """

    scheduler: str = "asha"
    min_step: Sequence[int] = (1, 2, 4, 8, 16)
    eta: Sequence[int] = (2, 3, 4)
    like: str = ""

    def __post_init__(self) -> None:
        check_texts("hindsight", scheduler=self.scheduler, like=self.like)
        for name, least in (("min_step", 1), ("eta", 2)):
            object.__setattr__(
                self, name, integers(f"hindsight.{name}", getattr(self, name), least)
            )

    def entries(self, max_step: int) -> tuple[Entry, ...]:
        """The ladders that fit curves of ``max_step`` steps.

        Examples
        --------
        >>> [entry.name for entry in Hindsight(min_step=(1, 4), eta=(2,)).entries(3)]
        ['asha(min_step=1, eta=2)']
        """
        return tuple(
            Entry.parse("hindsight", {"type": self.scheduler, "min_step": step, "eta": eta})
            for eta in self.eta
            for step in self.min_step
            if step < max_step
        )


def check_names(where: str, entries: Sequence[Entry]) -> None:
    """Refuse two entries of the same name."""
    names = [entry.name for entry in entries]
    for name in names:
        if names.count(name) > 1:
            raise CampaignError(f"{where}: {name!r} is given twice; names must differ")


def check_texts(where: str, **values: object) -> None:
    """Refuse what is no text."""
    for name, value in values.items():
        if not isinstance(value, str):
            raise CampaignError(f"{where}.{name}={value!r}: must be a name")


def integers(name: str, values: Sequence[int], least: int) -> tuple[int, ...]:
    """Checked, without repetitions, in the order given."""
    for value in values:
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise CampaignError(f"{name}={value!r}: must be integers of at least {least}")
    return tuple(dict.fromkeys(values))


def listed(given: object) -> list[Any]:
    """A list, also of a single item that was given without one."""
    if given is None:
        return []
    return list(given) if isinstance(given, list | tuple) else [given]


def refuse_unknown(where: str, given: Mapping[str, Any], known: Sequence[str]) -> None:
    """Refuse a key that is not known; the nearest one is named."""
    for key in given:
        if key not in known:
            raise CampaignError(f"{where}: unknown key {key!r}; {nearest(key, known)}")
