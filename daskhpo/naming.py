"""Settings on one line: ``asha(min_step=2, eta=4)``, for command lines, plan files and tables."""

from __future__ import annotations

import ast
import keyword
import re
from collections.abc import Mapping
from typing import Any

from daskhpo.exceptions import SchedulerError

__all__ = ["describe", "parse_settings"]

_FORM = re.compile(r"\s*([A-Za-z_][\w-]*)\s*(?:\((.*)\))?\s*", re.DOTALL)
_WORDS: dict[str, Any] = {"true": True, "false": False, "none": None, "null": None}
_EXAMPLE = "write a name, or name(key=value, ...) such as asha(min_step=2, eta=4)"


def parse_settings(text: str) -> dict[str, Any]:
    """Read settings from one line, as plain data; nothing in it is executed.

    Parameters
    ----------
    text : str
        A type, with arguments in parentheses where it has any. Values are numbers, texts (quotes
        may be left out around a single word), ``true``, ``false``, ``none``, lists and mappings
        of these.

    Returns
    -------
    dict
        ``{"type": ..., key: value, ...}``, as campaign files have it.

    Raises
    ------
    SchedulerError
        If the text is none of this.

    Examples
    --------
    >>> parse_settings("asha(min_step=2, mode=stop)")
    {'type': 'asha', 'min_step': 2, 'mode': 'stop'}
    >>> parse_settings("random")
    {'type': 'random'}
    """
    match = _FORM.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise SchedulerError(f"settings {text!r}: {_EXAMPLE}")
    try:
        call = ast.parse(f"f({match[2] or ''}\n)", mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise SchedulerError(f"settings {text!r} cannot be read ({error}): {_EXAMPLE}") from None
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.args:
        raise SchedulerError(f"settings {text!r}: every argument needs its name; {_EXAMPLE}")
    settings: dict[str, Any] = {"type": match[1]}
    for argument in call.keywords:
        if argument.arg is None or argument.arg in settings:
            raise SchedulerError(f"settings {text!r}: an argument has no name of its own")
        settings[argument.arg] = _value(argument.value, text)
    return settings


def describe(settings: Mapping[str, Any]) -> str:
    """Write settings on one line; the inverse of :func:`parse_settings`.

    Examples
    --------
    >>> describe({"type": "asha", "min_step": 2, "mode": "stop"})
    'asha(min_step=2, mode=stop)'
    """
    arguments = ", ".join(f"{k}={_text(v)}" for k, v in settings.items() if k != "type")
    return f"{settings['type']}({arguments})" if arguments else str(settings["type"])


def _value(node: ast.expr, text: str) -> Any:
    match node:
        case ast.Constant(value=bool() | int() | float() | str() | None as value):
            return value
        case ast.Name(id=word):
            return _WORDS.get(word.lower(), word)
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
            return -value
        case ast.List(elts=items) | ast.Tuple(elts=items):
            return [_value(item, text) for item in items]
        case ast.Dict(keys=keys, values=values) if None not in keys:
            return {
                _value(key, text): _value(value, text)
                for key, value in zip(keys, values, strict=True)
                if key is not None
            }
    raise SchedulerError(
        f"settings {text!r}: {ast.unparse(node)!r} is no number, text, true, false, none, list "
        "or mapping"
    )


def _text(value: Any) -> str:
    if isinstance(value, str):
        bare = value.isascii() and value.isidentifier() and not keyword.iskeyword(value)
        return value if bare and value.lower() not in _WORDS else repr(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_text, value))}]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_text(k)}: {_text(v)}" for k, v in value.items()) + "}"
    return str(value).lower() if value is None or isinstance(value, bool) else repr(value)
