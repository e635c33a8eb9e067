"""One fact as one line of a journal, and back.

A line is ``{"crc":"xxxxxxxx","seq":N,"t":seconds,"kind":...,...}`` and ends in a newline. ``crc``
is the CRC-32, as eight hexadecimal digits, of the bytes between the comma after it and the
newline; ``seq`` counts from 1 without gaps, so it is also the line number; ``t`` is the unix time.

JSON knows no infinities. In the four places of a fact where measured numbers stand (``metrics``,
``value``, ``evidence`` and ``advice``, at any depth) the floats nan, inf and -inf are written as
the strings ``"NaN"``, ``"Infinity"`` and ``"-Infinity"`` and read back as floats; these three
words are therefore no texts there. Anywhere else a float that is not finite is refused.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Callable
from typing import Any

from daskhpo.exceptions import StoreError
from daskhpo.trial import Fact

__all__ = ["BadLineError", "decode_line", "encode_line"]

_RESERVED = ("crc", "seq", "t")
_MEASURED = ("metrics", "value", "evidence", "advice")
_WORDS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_HEAD = b'{"crc":"'
_BODY = len(_HEAD) + 10  # where the checked bytes begin: after the digits, a quote and a comma


class BadLineError(Exception):
    """A line is not what a writer wrote; tolerated when it is the last of a journal."""


def encode_line(fact: Fact, *, seq: int, t: float) -> bytes:
    """Write a fact as a line, with its newline.

    Parameters
    ----------
    fact : dict
        JSON data with a ``kind`` (a text).
    seq : int
        Its sequence number.
    t : float
        Unix time in seconds, kept to the microsecond.

    Returns
    -------
    bytes
        ASCII.

    Raises
    ------
    StoreError
        If the fact has no kind, uses a name that belongs to the journal or holds what JSON cannot.

    Examples
    --------
    >>> encode_line({"kind": "closed"}, seq=1, t=2.5).decode().rstrip()
    '{"crc":"f40b7fa6","seq":1,"t":2.500000,"kind":"closed"}'
    """
    body = f'"seq":{seq},"t":{t:.6f},{_encode_fact(fact)[1:]}'.encode("ascii")
    return b'%s%08x",%s\n' % (_HEAD, zlib.crc32(body), body)


def decode_line(line: bytes) -> Fact:
    """Read the fact in a line, given without its newline.

    Raises
    ------
    BadLineError
        If the line does not match its checksum.

    Examples
    --------
    >>> decode_line(b'{"crc":"f40b7fa6","seq":1,"t":2.500000,"kind":"closed"}')
    {'seq': 1, 't': 2.5, 'kind': 'closed'}
    """
    if not line.startswith(_HEAD) or line[8:16] != b"%08x" % zlib.crc32(line[_BODY:]):
        raise BadLineError("its checksum does not match its text")
    try:
        fact: Fact = _decode(line.decode("ascii"))[0]
        del fact["crc"]
    except (ValueError, KeyError) as error:
        raise BadLineError(f"it is no fact ({error})") from error
    if b'"NaN"' in line or b'Infinity"' in line:
        return _measured(fact, _unspell)
    return fact


def _plain(value: Any) -> Any:
    """What the JSON encoder does not know: numpy scalars become Python numbers."""
    item = getattr(value, "item", None)
    if callable(item) and getattr(value, "ndim", 1) == 0:
        return item()
    raise TypeError(f"{value!r} ({type(value).__name__}) has no place in a journal")


_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False, default=_plain).encode
_decode = json.JSONDecoder().raw_decode


def _spell(value: Any) -> Any:
    """Replace the floats that JSON does not know by their words, at any depth."""
    if isinstance(value, dict):
        return {key: _spell(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_spell(item) for item in value]
    if not isinstance(value, str | int | float | None):
        value = _plain(value)
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def _unspell(value: Any) -> Any:
    """Replace the words of :func:`_spell` by floats, at any depth."""
    if isinstance(value, dict):
        return {key: _unspell(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_unspell(item) for item in value]
    return _WORDS.get(value, value) if isinstance(value, str) else value


def _measured(fact: Fact, change: Callable[[Any], Any]) -> Fact:
    """The fact with ``change`` applied to the places where measured numbers stand."""
    return {key: change(item) if key in _MEASURED else item for key, item in fact.items()}


def _encode_fact(fact: Fact) -> str:
    """The fact as JSON.

    Raises
    ------
    StoreError
        If it has no kind, uses a name that belongs to the journal or holds what JSON cannot.
    """
    if not isinstance(fact.get("kind"), str):
        raise StoreError(f"a fact needs a kind (a text); given: {fact!r:.200}")
    for name in _RESERVED:
        if name in fact:
            raise StoreError(f"{name!r} belongs to the journal; given in a {fact['kind']!r} fact")
    try:
        try:
            return _encode(fact)
        except ValueError:
            return _encode(_measured(fact, _spell))
    except (ValueError, RecursionError) as error:
        raise StoreError(
            f"a {fact['kind']!r} fact holds nan, inf or a loop; not-finite numbers are allowed "
            f"in {', '.join(_MEASURED)} only; given: {fact!r:.200}"
        ) from error
    except TypeError as error:
        raise StoreError(f"a {fact['kind']!r} fact: {error}") from error
