"""What earlier campaigns know of a problem: their trials, as a new campaign can learn from them."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from daskhpo.domains import Choice, Constant, Domain
from daskhpo.exceptions import CampaignError, SpaceError, StoreError
from daskhpo.goal import Goal
from daskhpo.intervals import Int
from daskhpo.scalars import nearest
from daskhpo.space import Space
from daskhpo.store.directory import CampaignDirectory
from daskhpo.trial import Direction, Params, ParamValue
from daskhpo.wording import count

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["Earlier", "Known", "read_earlier"]

Floats = npt.NDArray[np.float64]

MOST = 5_000  # trials that a campaign learns from: what its journal then begins with
STEPS = 12  # steps that are kept of a curve, beside the milestones


@dataclass(frozen=True, slots=True)
class Known:
    """A trial of an earlier campaign: the arguments of :meth:`daskhpo.study.Study.learn`.

    ``params`` is a point of the present space, ``steps`` rise, and ``metrics`` holds what was
    reported at each, as it was reported.
    """

    params: Params
    steps: Sequence[int]
    metrics: Sequence[Mapping[str, float]]

    @property
    def key(self) -> str:
        """The same for trials that teach the same."""
        return json.dumps([dict(self.params), list(self.steps), list(self.metrics)], sort_keys=True)


@dataclass(frozen=True, slots=True)
class Earlier:
    """What one store has to teach.

    Parameters
    ----------
    path : str
        The store, as it was given.
    trials : int
        How many trials have begun in it.
    known : tuple of Known
        Those that the present campaign can learn from, in the order of their numbers.
    left_out : mapping
        Why the others cannot be used: ``{reason: how many}``.

    Examples
    --------
    >>> print(Earlier("runs/first", 3, (Known({"lr": 0.1}, [1], [{"loss": 0.5}]),),
    ...               {"outside lr": 2}))
    taken 1 of 3 trials of runs/first: 2 outside lr
    """

    path: str
    trials: int
    known: tuple[Known, ...]
    left_out: Mapping[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        reasons = ", ".join(f"{n:,} {reason}" for reason, n in self.left_out.items())
        taken = f"taken {len(self.known):,} of {count(self.trials, 'trial')} of {self.path}"
        return f"{taken}: {reasons}" if reasons else taken


def read_earlier(
    paths: Sequence[str | os.PathLike[str]],
    space: Space,
    goal: Goal,
    *,
    milestones: Collection[int] = (),
) -> tuple[Earlier, ...]:
    """Read what earlier campaigns know of the present problem.

    A trial is taken if it has reported finite values of all metrics of ``goal`` at some step, and
    its configuration is a point of ``space``. A parameter that the space does not have is dropped
    where it had one value all along; one that the store does not have is filled in where the
    space allows one value only.

    Parameters
    ----------
    paths : sequence of path
        Campaign directories, or curve stores (``curves.zarr``).
    space : Space
        The present one.
    goal : Goal
        What the present campaign is after.
    milestones : collection of int
        Steps that are kept of every curve, with some that rise geometrically and the last one.

    Returns
    -------
    tuple of Earlier
        One for each path. Of more than 5,000 trials the most recent ones are kept: those with
        the highest numbers, of the stores that are given last.

    Raises
    ------
    CampaignError
        If a path does not exist or holds no curves, a store lacks a metric or has it in the other
        direction, or none of its trials can be used.

    Examples
    --------
    >>> read_earlier(["runs/nowhere"], Space(lr=[0.1, 0.2]), Goal("loss"))
    Traceback (most recent call last):
    daskhpo.exceptions.CampaignError: warm_start: runs/nowhere does not exist: give the directory \
of an earlier campaign, or its curves.zarr
    """
    seen: set[str] = set()
    found = [_read(os.fspath(path), space, goal, frozenset(milestones), seen) for path in paths]
    excess = sum(len(earlier.known) for earlier in found) - MOST
    for index, earlier in enumerate(found):
        if (over := min(excess, len(earlier.known))) > 0:
            left_out = {**earlier.left_out, f"older than the {MOST:,} most recent": over}
            found[index] = replace(earlier, known=earlier.known[over:], left_out=left_out)
            excess -= over
    return tuple(found)


class _UnfitError(Exception):
    """A trial cannot be used; the text goes after a number of trials."""


def _read(
    path: str, space: Space, goal: Goal, milestones: Collection[int], seen: set[str]
) -> Earlier:
    """Read one store; ``seen`` are the keys of what is known from those before it."""
    curves = _open(path)
    values = _values(path, curves, goal)
    finite: npt.NDArray[np.bool_] = np.asarray(np.isfinite(values).all(axis=0))  # (trial, step)
    known: list[Known] = []
    left_out: Counter[str] = Counter()
    begun, configurations = np.flatnonzero(curves["state"].values != ""), _Configurations(curves)
    for trial in begun.tolist():
        try:
            if not finite[trial].any():
                raise _UnfitError(f"without a finite {' and '.join((goal.metric, *goal.also))}")
            params = configurations.fitted(trial, space)
            steps = _thinned(np.flatnonzero(finite[trial]) + 1, milestones)
            reported = values[:, trial, [step - 1 for step in steps]].T.tolist()
            names = (goal.metric, *goal.also)
            found = Known(params, steps, [dict(zip(names, r, strict=True)) for r in reported])
            if found.key in seen:
                raise _UnfitError("known twice")
        except _UnfitError as why:
            left_out[str(why)] += 1
            continue
        seen.add(found.key)
        known.append(found)
    earlier = Earlier(path, len(begun), tuple(known), dict(left_out.most_common()))
    if not known and not left_out["known twice"]:
        raise CampaignError(f"warm_start: there is nothing to learn; {earlier}")
    return earlier


def _open(path: str) -> xr.Dataset:
    place = Path(path)
    if not place.exists():
        raise CampaignError(
            f"warm_start: {path} does not exist: give the directory of an earlier campaign, or "
            "its curves.zarr"
        )
    # Not at the top: workers import the tuner with the user's script, and have no use for zarr.
    from daskhpo.store.curves import open_curves

    directory = CampaignDirectory(place)
    try:
        return open_curves(directory.curves_path if directory.exists() else place)
    except StoreError as error:
        raise CampaignError(f"warm_start: {error}") from error


def _values(path: str, curves: xr.Dataset, goal: Goal) -> Floats:
    """The metrics of the goal, of shape (metric, trial, step)."""
    theirs = {curves.attrs["metric"]: curves.attrs["direction"], **curves.attrs.get("also", {})}
    names: list[str] = curves.attrs["metrics"]
    variables = list(curves.data_vars)  # they begin with the metrics, in the order of their names
    content = []
    for name, mode in {goal.metric: goal.direction, **goal.also}.items():
        if name not in names:
            raise CampaignError(
                f"warm_start: {path} has no metric {name!r}; {nearest(name, names)}"
            )
        if theirs.get(name, mode) != mode:
            raise CampaignError(
                f"warm_start: the direction of {name!r} is {theirs[name]} in {path}, here it is "
                f"{Direction(mode)}"
            )
        content.append(curves[variables[names.index(name)]].values)
    return np.stack(content)


def _thinned(seen: npt.NDArray[np.intp], milestones: Collection[int]) -> list[int]:
    """Of the steps of a curve those at milestones, some that rise geometrically, and the last.

    Examples
    --------
    >>> _thinned(np.arange(1, 1001), (9, 81))
    [1, 3, 6, 9, 12, 23, 43, 81, 151, 284, 533, 1000]
    """
    wanted = np.geomspace(seen[0], seen[-1], STEPS)
    places = np.searchsorted(seen, wanted * (1 + 1e-9), side="right") - 1
    kept = {*seen[places].tolist(), int(seen[-1])}
    return sorted(kept | {step for step in seen.tolist() if step in milestones})


class _Configurations:
    """What the trials of a store were run with."""

    def __init__(self, curves: xr.Dataset) -> None:
        names: list[str] = curves.attrs["params"]
        self._columns = {name: curves[f"param_{name}"].values.tolist() for name in names}
        self._vary: set[str] = set()  # parameters with more than one value
        for name, column in self._columns.items():
            given = {(isinstance(value, bool), value) for value in column if not _inactive(value)}
            if len(given) > 1:
                self._vary.add(name)

    def fitted(self, trial: int, space: Space) -> dict[str, ParamValue]:
        """The configuration of a trial as a point of the space."""
        given = {name: column[trial] for name, column in self._columns.items()}
        given = {name: value for name, value in given.items() if not _inactive(value)}
        for name in given:
            if name not in space and name in self._vary:
                raise _UnfitError(f"with {name}, which varies there and is unknown here")
        params: dict[str, ParamValue] = {}
        for name in (name for group in space.groups for name in group):  # parents first
            if space.active(name, params):
                params[name] = _value(name, space[name], given)
            elif name in given:
                raise _UnfitError(f"with {name} where it is inactive here")
        try:
            return space.validate(params)
        except SpaceError:
            raise _UnfitError("of a forbidden combination") from None


def _value(name: str, domain: Domain, given: Mapping[str, ParamValue]) -> ParamValue:
    """The value of an active parameter, as its domain writes it."""
    if name not in given:
        if domain.contains(None):  # a store has no other word for it
            return None
        if domain.size == 1:
            return domain.decode(0.5)
        raise _UnfitError(f"without {name}")
    value = given[name]
    if isinstance(domain, Int) and isinstance(value, float) and value.is_integer():
        value = int(value)  # a store keeps numbers as floats
    if not domain.contains(value):
        raise _UnfitError(f"outside {name}")
    if isinstance(domain, Choice | Constant):
        return domain.decode(domain.encode(value))
    return value


def _inactive(value: object) -> bool:
    return value is None or value != value
