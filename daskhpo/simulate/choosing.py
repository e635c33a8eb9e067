"""Sources, speeds and advisers from settings, as command lines and files give them."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from daskhpo import advice as advising
from daskhpo.advice import Adviser
from daskhpo.exceptions import CampaignError
from daskhpo.naming import parse_settings
from daskhpo.scalars import nearest
from daskhpo.simulate.problem import Problem
from daskhpo.simulate.sources import Nearest, Rows, Source
from daskhpo.simulate.speeds import BySize, Lognormal, Pace

__all__ = ["make_adviser", "make_source", "make_speeds"]

_SOURCES: dict[str, tuple[str, ...]] = {  # {type: its settings}
    "rows": (),
    "nearest": (),
    "surrogate": ("trees", "leaf", "noise", "seed"),
}
_EXAMPLES = {"predictor": "'svr(C=1.75)'", "advice": "'obey(delta=0.2)'"}


def make_source(settings: str | Mapping[str, Any], problem: Problem) -> Source:
    """Make a source from ``"rows"``, ``"nearest"`` or ``"surrogate(noise=1)"``.

    Parameters
    ----------
    settings : str or mapping
        ``type`` and, for the surrogate, its arguments.
    problem : Problem
        The stored curves.

    Raises
    ------
    CampaignError
        If the type or an argument is unknown, naming the nearest one, or not allowed.
    DataError
        If the problem's parameters do not make a space and the source needs one.

    Examples
    --------
    >>> make_source("rows", Problem("one", "loss", [{"x": 1}], [[3.0, 2.0]]))
    Rows(<Problem 'one': 1 curves of 'loss' (min) x 2 epochs>)
    """
    given = _read(settings)
    kind = given.pop("type", "rows")
    if kind not in _SOURCES:
        raise CampaignError(f"source={kind!r}: {nearest(kind, _SOURCES)}")
    _refuse_unknown("source", kind, given, _SOURCES[kind])
    if kind == "surrogate":
        from daskhpo.simulate.surrogate import Surrogate

        return Surrogate(problem, **given)
    return Rows(problem) if kind == "rows" else Nearest(problem)


def make_speeds(settings: float | str | Mapping[str, Any], problem: Problem, *, seed: int) -> Pace:
    """Make speeds from a sigma, or from ``"size(parameter=width, power=2)"``.

    Parameters
    ----------
    settings : float, str or mapping
        Sigma of a lognormal; or the ``parameter`` and the ``power`` of it that steps take.
    problem : Problem
        The stored configurations.
    seed : int
        Draws a lognormal.

    Raises
    ------
    CampaignError
        If what is given is neither, or the problem has no such parameter.

    Examples
    --------
    >>> problem = Problem("two", "loss", [{"x": 1}, {"x": 4}], [[3.0, 2.0], [3.0, 1.0]])
    >>> make_speeds("size(parameter=x)", problem, seed=0)({"x": 5}, 0)
    2.0
    >>> make_speeds("0", problem, seed=0)({"x": 5}, 0)
    1.0
    """
    if isinstance(settings, str):
        with contextlib.suppress(ValueError):
            settings = float(settings)
    if not isinstance(settings, str | Mapping):
        return Lognormal(settings, seed=seed)
    given = _read(settings)
    kind = given.pop("type", "size")
    if kind != "size":
        raise CampaignError(f"speeds={kind!r}: must be a sigma, or size(parameter=..., power=...)")
    _refuse_unknown("speeds", kind, given, ("parameter", "power"))
    if "parameter" not in given:
        raise CampaignError("speeds: size needs the parameter that they follow")
    return BySize(problem, given["parameter"], power=given.get("power", 1.0))


def make_adviser(
    predictor: str | Mapping[str, Any] | None,
    advice: str | Mapping[str, Any] | None = None,
    *,
    seed: int,
) -> Adviser | None:
    """Make an adviser from ``"svr(C=1.75)"`` and ``"obey(delta=0.2, looks=1)"``.

    Parameters
    ----------
    predictor : str or mapping, optional
        See :func:`~daskhpo.predictors.make_predictor`.
    advice : str or mapping, optional
        ``log`` or ``obey``, with arguments of :class:`~daskhpo.advice.Adviser` where it has any;
        or these, ``mode`` among them.
    seed : int
        Draws the audits.

    Returns
    -------
    Adviser or None
        A new one: none is for two campaigns. None where neither is given.

    Raises
    ------
    CampaignError, SchedulerError
        If a key is unknown, naming the nearest one, or a value is not allowed.

    Examples
    --------
    >>> adviser = make_adviser("last_drop", "obey(delta=0.2, looks=1)", seed=0)
    >>> adviser.mode, adviser.delta, adviser.looks
    ('obey', 0.2, 1)
    >>> make_adviser(None, seed=0) is None
    True
    """
    for name, given in (("predictor", predictor), ("advice", advice)):
        if given is not None and not isinstance(given, str | Mapping):
            raise CampaignError(f"{name}={given!r}: must be settings such as {_EXAMPLES[name]}")
    if isinstance(advice, str):
        arguments = parse_settings(advice)
        if "mode" in arguments:
            raise CampaignError(f"advice={advice!r}: the mode stands before the parentheses")
        advice = {"mode": arguments.pop("type"), **arguments}
    return advising.make_adviser(predictor, advice, seed=seed)


def _read(settings: str | Mapping[str, Any]) -> dict[str, Any]:
    return parse_settings(settings) if isinstance(settings, str) else dict(settings)


def _refuse_unknown(
    where: str, kind: str, given: Mapping[str, Any], known: tuple[str, ...]
) -> None:
    for key in given:
        if key not in known:
            raise CampaignError(f"{where} {kind!r} has no setting {key!r}; {nearest(key, known)}")
