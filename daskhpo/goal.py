"""What a campaign is after: which metrics are to be small or large, and which trials lead."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from daskhpo.exceptions import CampaignError
from daskhpo.trial import Direction, Trial, TrialState, Value

__all__ = ["Goal", "dominates"]


@dataclass(frozen=True, slots=True)
class Goal:
    """One metric to minimise or maximise, and others to be traded off against it.

    Schedulers and samplers always minimise: :meth:`signed` is the only place where a direction
    turns into a sign.

    Parameters
    ----------
    metric : str
        The metric that decides; with others beside it, the one that names the incumbent.
    direction : Direction or str
        ``"min"`` or ``"max"``.
    also : mapping
        ``{metric: direction}`` of further objectives, such as inference time or GPU memory.

    Raises
    ------
    CampaignError
        If a direction is unknown or a metric is named twice.

    Examples
    --------
    >>> Goal("accuracy", "max").signed({"accuracy": 0.9})
    -0.9
    >>> Goal("loss", "min", {"memory": "min"}).signed({"loss": 0.5, "memory": 3.0})
    (0.5, 3.0)
    """

    metric: str
    direction: Direction | str = Direction.MIN
    also: Mapping[str, Direction | str] = field(default_factory=dict)
    sign: float = field(init=False, repr=False)  # +1 to minimise the metric, -1 to maximise it
    _others: tuple[tuple[str, float], ...] = field(init=False, repr=False)  # (metric, sign)

    def __post_init__(self) -> None:
        object.__setattr__(self, "direction", _direction(self.metric, self.direction))
        if not isinstance(self.also, Mapping):
            raise CampaignError(f"also={self.also!r}: must map metrics to 'min' or 'max'")
        if bad := [name for name in self.also if not isinstance(name, str) or not name]:
            raise CampaignError(f"also: {bad[0]!r} is no name of a metric")
        if self.metric in self.also:
            raise CampaignError(f"also: {self.metric!r} is the metric that decides already")
        others = {name: _direction(name, mode) for name, mode in self.also.items()}
        object.__setattr__(self, "also", others)
        signs = tuple((name, direction.sign) for name, direction in others.items())
        object.__setattr__(self, "sign", Direction(self.direction).sign)
        object.__setattr__(self, "_others", signs)

    @property
    def single(self) -> bool:
        """Whether one metric decides alone."""
        return not self.also

    def signed(self, metrics: Mapping[str, float]) -> Value | None:
        """What schedulers and samplers see: smaller is better.

        Returns
        -------
        float, tuple of float or None
            A tuple, the deciding metric first, where there are several; None where a metric is
            missing or not finite.
        """
        value = metrics.get(self.metric)
        if value is None or not math.isfinite(value):
            return None
        if not self._others:
            return self.sign * value
        values = [self.sign * value]
        for name, sign in self._others:
            other = metrics.get(name)
            if other is None or not math.isfinite(other):
                return None
            values.append(sign * other)
        return tuple(values)

    def curve(
        self, steps: Sequence[int], metrics: Sequence[Mapping[str, float]]
    ) -> tuple[list[int], list[Value]]:
        """What schedulers and samplers see of a curve: steps and values.

        Examples
        --------
        >>> Goal("accuracy", "max").curve([1, 2, 3], [{"accuracy": 0.5}, {}, {"accuracy": 0.7}])
        ([1, 3], [-0.5, -0.7])
        """
        signed = [self.signed(reported) for reported in metrics]
        seen = [(step, v) for step, v in zip(steps, signed, strict=True) if v is not None]
        return [step for step, _ in seen], [value for _, value in seen]

    def fault(self, metrics: Mapping[str, float]) -> str:
        """Say what is wrong with metrics that :meth:`signed` gives None for."""
        for name in (self.metric, *self.also):
            value = metrics.get(name)
            if value is None:
                return f"{name} is missing from the report"
            if not math.isfinite(value):
                return f"{name} is {value}"
        return ""

    def front(self, trials: Iterable[Trial]) -> list[Trial]:
        """The trials that no other one beats in every metric, by what each reported last.

        A trial that has failed does not count. With a single metric that is everyone who shares
        the smallest last value.
        """
        seen: list[tuple[tuple[float, ...], Trial]] = []
        for trial in trials:
            failed = trial.error or trial.state is TrialState.FAILED
            value = None if failed else self.signed(trial.metrics)
            if value is not None:
                seen.append((value if isinstance(value, tuple) else (value,), trial))
        leading: list[tuple[float, ...]] = []  # in lexicographic order nobody beats an earlier one
        for value in sorted({value for value, _ in seen}):
            if not any(dominates(other, value) for other in leading):
                leading.append(value)
        best = set(leading)
        return [trial for value, trial in seen if value in best]

    def leads(self, trial: Trial, other: Trial | None) -> bool:
        """Whether the best value of a trial is better than that of another, or the only one."""
        return other is None or self.sign * trial.best_value < self.sign * other.best_value

    def leader(self, trials: Iterable[Trial]) -> Trial | None:
        """The trial with the best value at any step, of those that have not failed.

        Examples
        --------
        >>> trials = [Trial(n, {}, best_value=v, best_step=1) for n, v in enumerate([0.5, 0.3])]
        >>> Goal("loss").leader(trials).number
        1
        """
        failed = TrialState.FAILED
        alive = (t for t in trials if t.best_step and not t.error and t.state is not failed)
        return min(alive, key=lambda t: (self.sign * t.best_value, t.number), default=None)


def dominates(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    """Whether ``one`` is nowhere worse and somewhere better than ``other`` (both minimised).

    Examples
    --------
    >>> dominates((1.0, 2.0), (1.0, 3.0)), dominates((1.0, 4.0), (1.0, 3.0))
    (True, False)
    """
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))


def _direction(metric: str, given: object) -> Direction:
    try:
        return Direction(given)  # type: ignore[arg-type]
    except ValueError:
        raise CampaignError(
            f"direction of {metric!r} is {given!r}: must be 'min' or 'max'"
        ) from None
