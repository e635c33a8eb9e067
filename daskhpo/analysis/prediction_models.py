"""Which predictors are compared: ``svr(C=1.75)``, ``ensemble@80*10``, and what they imply."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from daskhpo.analysis.prediction import Protocol
from daskhpo.exceptions import CampaignError
from daskhpo.naming import describe, parse_settings
from daskhpo.predictors import Predictor, make_predictor
from daskhpo.predictors.base import Configured

__all__ = [
    "DEFAULTS",
    "MANNERS",
    "Manners",
    "Model",
    "annealing",
    "feasible",
    "lines_of",
    "named",
    "parse_models",
    "usual_splits",
]

# What is compared unless something is asked for.
DEFAULTS: Mapping[Protocol, str] = {
    Protocol.PAPER: "svr,qubo_svr,ensemble(predictor=qubo_svr),last_value",
    Protocol.HONEST: (
        "last_value,last_drop,linear,svr,nu_svr,qubo_svr,auto,"
        "nu_svr@80,ensemble(predictor=qubo_svr)"
    ),
}


def feasible(defaults: str) -> str:
    """Leave those out of a default list that want an annealer, where none is installed.

    What is asked for by name is not left out: it says what is missing.

    Examples
    --------
    >>> feasible("svr,last_value")
    'svr,last_value'
    """
    if annealing():
        return defaults
    return ",".join(line for line in lines_of(defaults) if "qubo_svr" not in line)


def annealing() -> bool:
    """Whether dwave-samplers is installed, the package of simulated annealing."""
    try:
        return importlib.util.find_spec("dwave.samplers") is not None
    except (ImportError, ValueError):  # its parent is missing, or was barred
        return False


@dataclass(frozen=True, slots=True)
class Manners:
    """What a comparison makes of settings that are left open.

    Parameters
    ----------
    shown, hidden : mapping
        Settings by kind, and under ``""`` of every kind that has them; ``shown`` ones are part of
        a model's name.
    """

    shown: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    hidden: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


# No other machine answers in the place of an annealer.
_HONEST = {"fallback": False}
# The authors' predictors see the values of a curve and forecast one.
_PLAIN = {"features": ["prefix"], "target": "value", "mend": False, **_HONEST}
MANNERS: Mapping[Protocol, Manners] = {
    Protocol.HONEST: Manners(hidden={"": _HONEST}),
    # Curves are scaled beforehand, all of them together.
    Protocol.PAPER: Manners(
        shown={"svr": {"C": 67.61}},
        hidden={"": {**_PLAIN, "scaling": None}, "svr": {"epsilon": 0.02, "gamma": 0.1}},
    ),
}
# The most splits of what is slow, unless more are asked for.
_HARDWARE, _ANNEALED_ENSEMBLE, _SLOW = 5, 10, 100
_EXACT = "svr"  # the annealer that is none: the machine of the same bound, solved classically
_SLOW_KINDS = {"QUBOSVR", "Auto", "Boosting", "ExtraTrees", "LCPFN", "IfBO"}
_FORM = re.compile(
    r"(?P<line>.*?)\s*(?:@\s*(?P<curves>\d+))?\s*(?:\*\s*(?P<splits>\d+))?\s*", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Model:
    """A predictor of a comparison.

    Parameters
    ----------
    name : str
        In tables and figures: the settings as they were given, and more where the protocol says.
    settings : mapping
        For :func:`~daskhpo.predictors.make_predictor`.
    curves : int
        How many it learns from.
    splits : int
        How often.
    """

    name: str
    settings: Mapping[str, Any]
    curves: int
    splits: int

    def make(self) -> Predictor:
        """A new one, not fitted."""
        return make_predictor(self.settings)


def parse_models(
    text: str | None, *, protocol: Protocol, train: int = 20, splits: int = 1000
) -> tuple[Model, ...]:
    """Read what is to be compared, and put after a QUBO-SVR the classical machine of its C.

    Parameters
    ----------
    text : str, optional
        Settings of predictors, separated by commas. ``@80`` after one has it learn from 80
        curves instead of ``train``; ``*10`` has 10 splits instead of ``splits``. By default, an
        ensemble learns from four times as many curves, and what is slow has fewer splits: as in
        the paper, 100 of an annealed machine and 10 of an ensemble of them.
    protocol : Protocol
        The paper's has predictors see the values of a curve as the protocol scales them, and
        gives ``svr`` the authors' constants.
    train, splits : int
        As above.

    Raises
    ------
    CampaignError
        If a model is named twice, or a number is 0.
    SchedulerError
        If there is no such predictor (the nearest one is named), or settings cannot be read.

    Examples
    --------
    >>> [model] = parse_models("last_value@40*7", protocol=Protocol.HONEST)
    >>> model.name, model.curves, model.splits
    ('last_value@40', 40, 7)
    """
    found: dict[str, Model] = {}
    given: set[str] = set()
    for line in lines_of(feasible(DEFAULTS[protocol]) if text is None else text):
        model, *match = (_model(each, protocol, train, splits) for each in _with_match(line))
        if model.name in given:
            raise CampaignError(f"models: {model.name!r} is named twice")
        given.add(model.name)
        for one in (model, *match):
            found.setdefault(one.name, one)
    if not found:
        raise CampaignError("models: none given; name at least one, such as 'svr'")
    return tuple(found.values())


def lines_of(text: str) -> Iterator[str]:
    """Split at the commas that are in no bracket and no quotes.

    Examples
    --------
    >>> list(lines_of("svr(C=1, epsilon=0.1)*10, last_value"))
    ['svr(C=1, epsilon=0.1)*10', 'last_value']
    """
    begin, depth, quote = 0, 0, ""
    for place, letter in enumerate(text + ","):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        elif letter in "([{":
            depth += 1
        elif letter in ")]}":
            depth -= 1
        elif letter == "," and depth <= 0:
            if line := text[begin:place].strip():
                yield line
            begin = place + 1
    if line := text[begin:].strip():  # a bracket or quote is open: the parser will say so
        yield line


def named(line: str, manners: Manners) -> tuple[str, dict[str, Any], dict[str, int]]:
    """Name, settings and what stands behind them (``curves``, ``splits``) of one model.

    Examples
    --------
    >>> named("last_value@40*7", Manners())
    ('last_value', {'type': 'last_value'}, {'curves': 40, 'splits': 7})
    """
    text, asked = _parts_of(line)
    given = _settled(parse_settings(text), manners.shown)
    return describe(given), _settled(given, manners.hidden), asked


def usual_splits(predictor: Predictor) -> int:
    """The most splits of such a predictor, unless more are asked for.

    As many as in the paper of one that is annealed, and of an ensemble of those.

    Examples
    --------
    >>> usual_splits(make_predictor("qubo_svr")), usual_splits(make_predictor("last_value")) > 100
    (100, True)
    """
    parts = list(_inside(predictor))
    kinds = {type(part).__name__ for part in parts}
    annealers = [str(_arguments(part).get("annealer", _EXACT)) for part in parts]
    if all(annealer == _EXACT for annealer in annealers):
        kinds.discard("QUBOSVR")
    elif not any(annealer.startswith("simulated") for annealer in annealers):
        return _HARDWARE
    if kinds >= {"Ensemble", "QUBOSVR"}:
        return _ANNEALED_ENSEMBLE
    return _SLOW if kinds & _SLOW_KINDS else sys.maxsize


def _model(line: str, protocol: Protocol, train: int, splits: int) -> Model:
    name, settings, asked = named(line, MANNERS[protocol])
    made = make_predictor(settings)
    curves = asked.get("curves", max(train, _wanted(made)))
    shown = name if curves == train else f"{name}@{curves}"
    return Model(shown, settings, curves, asked.get("splits", min(splits, usual_splits(made))))


def _parts_of(line: str) -> tuple[str, dict[str, int]]:
    match = _FORM.fullmatch(line)
    assert match is not None  # everything but the settings is optional, and these are anything
    asked = {key: int(match[key]) for key in ("curves", "splits") if match[key] is not None}
    for key, number in asked.items():
        if number < 1:
            raise CampaignError(f"models: {line!r}: {key} must be at least 1")
    return match["line"], asked


def _with_match(line: str) -> Iterator[str]:
    """A model; after a QUBO-SVR also the same machine, solved exactly."""
    yield line
    text, asked = _parts_of(line)
    settings = parse_settings(text)
    if settings["type"] == "qubo_svr" and settings.get("annealer") != _EXACT:
        curves = f"@{asked['curves']}" if "curves" in asked else ""
        yield describe({**settings, "annealer": _EXACT}) + curves


def _settled(given: Mapping[str, Any], more: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Settings with ``more`` where they are open, also those of a predictor inside."""
    arguments = _arguments(make_predictor(given))
    wanted = {**more.get("", {}), **more.get(str(given.get("type")), {})}
    found = {**given, **{k: v for k, v in wanted.items() if k in arguments and k not in given}}
    inner = arguments.get("predictor")
    if isinstance(inner, str | Mapping):
        settings = parse_settings(inner) if isinstance(inner, str) else inner
        found["predictor"] = describe(_settled(settings, more))
    return found


def _wanted(made: Predictor) -> int:
    """Curves that fill all members of an ensemble; 0 of anything else."""
    arguments = _arguments(made)
    return int(arguments["members"] * arguments["size"]) if "members" in arguments else 0


def _inside(made: Predictor) -> Iterator[Predictor]:
    """A predictor, and those inside."""
    yield made
    inner = _arguments(made).get("predictor")
    if isinstance(inner, str | Mapping):
        yield from _inside(make_predictor(inner))


def _arguments(made: Predictor) -> dict[str, Any]:
    return made.get_params(deep=False) if isinstance(made, Configured) else {}
