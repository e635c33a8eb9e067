"""The names of a plan: schedulers, samplers, and the ladders that are tried in hindsight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from daskhpo.advice import Adviser
from daskhpo.exceptions import CampaignError
from daskhpo.naming import describe, parse_settings
from daskhpo.scalars import nearest
from daskhpo.simulate.choosing import make_adviser

__all__ = [
    "Entry",
    "Hindsight",
    "check_names",
    "check_texts",
    "integers",
    "listed",
    "refuse_unknown",
]


_FORECASTING = ("fast_hyperband", "swift_hyperband")  # types with a predictor of their own


@dataclass(frozen=True, slots=True)
class Entry:
    """A scheduler or sampler, and its name in tables and figures.

    The settings of a scheduler may hold ``predictor`` and ``advice`` beside its own, see
    :func:`daskhpo.simulate.choosing.make_adviser`; the ``predictor`` of a scheduler that has one
    itself remains with that.
    """

    name: str
    settings: Mapping[str, Any]

    @property
    def alone(self) -> dict[str, Any]:
        """The settings of the scheduler, without those of its adviser."""
        return {key: value for key, value in self.settings.items() if key not in self._advice}

    def adviser(self, seed: int) -> Adviser | None:
        """A new adviser, if the settings ask for one.

        Examples
        --------
        >>> entry = Entry.parse("schedulers", "asha(eta=4, predictor=last_drop, advice=obey)")
        >>> entry.alone, entry.adviser(seed=0).mode
        ({'type': 'asha', 'eta': 4}, 'obey')
        """
        given = {key: self.settings.get(key) for key in self._advice}
        return make_adviser(given.get("predictor"), given["advice"], seed=seed)

    @property
    def _advice(self) -> tuple[str, ...]:
        """The keys that are the adviser's."""
        own = self.settings.get("type") in _FORECASTING
        return ("advice",) if own else ("predictor", "advice")

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
