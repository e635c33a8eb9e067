"""A fact goes into a line and comes out the same."""

from __future__ import annotations

import json
import math
import zlib

import numpy as np
import pytest

from daskhpo.exceptions import StoreError
from daskhpo.store.lines import BadLineError, decode_line, encode_line


def through(fact):
    """The fact after writing and reading, without what the journal adds."""
    decoded = decode_line(encode_line(fact, seq=7, t=1.5).rstrip(b"\n"))
    assert (decoded.pop("seq"), decoded.pop("t")) == (7, 1.5)
    return decoded


def test_a_line_is_json_whose_checksum_covers_everything_after_itself():
    line = encode_line({"kind": "asked", "number": 3}, seq=1, t=0.25)
    whole = json.loads(line)
    assert list(whole) == ["crc", "seq", "t", "kind", "number"]
    assert line.endswith(b"\n")
    body = line.rstrip(b"\n").split(b",", 1)[1]
    assert whole["crc"] == f"{zlib.crc32(body):08x}"


def test_numbers_that_json_does_not_know_survive_where_measurements_stand():
    fact = {
        "kind": "reported",
        "metrics": {"loss": math.inf, "gain": -math.inf, "acc": 0.5},
        "value": math.nan,
        "evidence": {"rung": 1, "best": [math.nan, 1.0], "why": "median"},
        "advice": {"value": 0.5, "margin": math.inf, "end": {"margin": math.inf}},
    }
    decoded = through(fact)
    assert decoded["metrics"] == fact["metrics"]
    assert math.isnan(decoded["value"])
    assert math.isnan(decoded["evidence"]["best"][0])
    assert decoded["evidence"]["why"] == "median"
    assert decoded["advice"] == fact["advice"]


def test_a_choice_called_nan_stays_a_text():
    fact = {"kind": "offered", "params": {"fill": "NaN", "value": "Infinity"}}
    assert through(fact) == fact


def test_a_number_that_is_not_finite_is_refused_elsewhere():
    with pytest.raises(StoreError, match=r"'asked'.*metrics, value, evidence, advice only"):
        encode_line({"kind": "asked", "start": math.nan}, seq=1, t=0.0)


def test_numpy_scalars_become_python_numbers():
    fact = {
        "kind": "reported",
        "number": np.int64(3),
        "metrics": {"loss": np.float32(0.5), "worst": np.float32("nan"), "ok": np.bool_(True)},
    }
    decoded = through(fact)
    assert decoded["number"] == 3
    assert decoded["metrics"]["loss"] == 0.5
    assert math.isnan(decoded["metrics"]["worst"])
    assert decoded["metrics"]["ok"] is True


@pytest.mark.parametrize("alien", [np.zeros(3), object(), {1, 2}, b"bytes"])
def test_what_json_cannot_hold_is_named(alien):
    with pytest.raises(StoreError, match="has no place in a journal"):
        encode_line({"kind": "offered", "params": {"x": alien}}, seq=1, t=0.0)


@pytest.mark.parametrize("name", ["crc", "seq", "t"])
def test_the_journals_own_names_are_refused_in_a_fact(name):
    with pytest.raises(StoreError, match=f"'{name}' belongs to the journal"):
        encode_line({"kind": "asked", name: 1}, seq=1, t=0.0)


@pytest.mark.parametrize("fact", [{}, {"kind": None}, {"kind": 3}])
def test_a_fact_without_a_kind_is_refused(fact):
    with pytest.raises(StoreError, match="needs a kind"):
        encode_line(fact, seq=1, t=0.0)


def test_texts_of_every_language_and_newlines_stay_on_one_ascii_line():
    fact = {"kind": "ended", "error": "naïve 粒子\nTraceback \U0001f4a5 \u2028 \ud800"}
    line = encode_line(fact, seq=1, t=0.0)
    assert line.isascii()
    assert line.count(b"\n") == 1
    assert through(fact) == fact


def test_every_flipped_bit_of_a_line_is_noticed():
    line = encode_line({"kind": "reported", "metrics": {"loss": 0.25}}, seq=1, t=0.0)[:-1]
    for index in range(len(line)):
        for bit in range(8):
            flipped = bytearray(line)
            flipped[index] ^= 1 << bit
            with pytest.raises(BadLineError):
                decode_line(bytes(flipped))
