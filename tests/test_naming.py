"""Settings on one line go back and forth, and nothing in them is executed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskhpo.exceptions import SchedulerError
from daskhpo.naming import describe, parse_settings


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("fifo", {"type": "fifo"}),
        (" asha ( ) ", {"type": "asha"}),
        ("swift-hyperband(eta=3)", {"type": "swift-hyperband", "eta": 3}),
        ("asha(min_step=2, eta=4,)", {"type": "asha", "min_step": 2, "eta": 4}),
        ("asha(mode=stop)", {"type": "asha", "mode": "stop"}),
        ("asha(mode='stop')", {"type": "asha", "mode": "stop"}),
        ("asha(min_step=auto)", {"type": "asha", "min_step": "auto"}),
        ("x(a=true, b=False, c=none, d=null)", {"type": "x", "a": True, "b": False, "c": None}),
        (
            "x(a=-1.5e-3, b=[1, two, {k: 3}])",
            {"type": "x", "a": -0.0015, "b": [1, "two", {"k": 3}]},
        ),
        ("x(\n  a=1,\n)", {"type": "x", "a": 1}),
    ],
)
def test_a_line_is_read(text, settings):
    found = parse_settings(text)
    assert {key: found[key] for key in settings} == settings


@pytest.mark.parametrize(
    "text",
    [
        "",
        "asha(",
        "asha)",
        "asha(2)",
        "asha(eta=2) + 1",
        "asha(eta=2)(x=1)",
        "asha(**{'eta': 2})",
        "asha(*[1])",
        "asha(type=fifo)",
        "asha(eta=2, eta=3)",
        "asha(eta=__import__('os').getcwd())",
        "asha(eta=1 + 1)",
        "asha(eta=x.y)",
        "asha(eta=lambda: 1)",
        "asha(eta=[i for i in x])",
        "asha(eta=1j)",
        "asha(a=b'x')",
        "asha) or f(x=1",
        "asha(a=1)\n)",
        "asha(x={**y})",
        "asha(x=" + "[" * 300 + "]" * 300 + ")",
        "4",
        "asha\x00",
    ],
)
def test_what_is_no_settings_is_refused(text):
    with pytest.raises(SchedulerError, match=r"name\(key=value|no number, text|no name of its own"):
        parse_settings(text)


def test_what_is_no_text_is_refused():
    with pytest.raises(SchedulerError, match="settings 3"):
        parse_settings(3)


names = st.from_regex(r"[a-z_][a-z0-9_]{0,5}", fullmatch=True).filter(
    lambda name: name.isidentifier() and not __import__("keyword").iskeyword(name)
)
plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(names, st.dictionaries(names.filter(lambda name: name != "type"), plain, max_size=4))
def test_describe_is_the_inverse(kind, arguments):
    settings = {"type": kind, **arguments}
    found = parse_settings(describe(settings))
    assert found == settings
    assert [type(value) for value in found.values()] == [type(v) for v in settings.values()]
