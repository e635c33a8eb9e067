"""Whatever is cut, whatever is written: the journal gives back what was acknowledged."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from daskhpo.exceptions import StoreError
from daskhpo.store.journal import Journal, JournalReader, read

texts = st.text(max_size=20)
numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
plain = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
# floats of every kind, and texts that are not the words for those that JSON does not know
measured = st.recursive(
    st.none() | st.floats() | st.integers() | st.sampled_from(["", "nan", "inf", "median"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
names = texts.filter(lambda name: name not in {"crc", "seq", "t", "kind"})
facts = st.builds(
    lambda kind, rest, metrics, evidence: {
        **rest,
        "kind": kind,
        "metrics": metrics,
        "evidence": evidence,
    },
    texts,
    st.dictionaries(names.filter(lambda name: name != "value"), plain, max_size=4),
    st.dictionaries(texts, st.floats(), max_size=3),
    measured,
)


def same(one, other):
    """Equality that takes nan for equal to nan and tells 1 from 1.0 and True."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float) and math.isnan(one):
        return math.isnan(other)
    return one == other


@settings(deadline=None)
@given(st.lists(facts, max_size=12), st.sets(st.integers(0, 11)))
def test_every_fact_comes_back_as_it_was(written, commits):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "journal.jsonl")
        with Journal(path) as journal:
            for index, fact in enumerate(written):
                journal.append(fact)
                if index in commits:
                    journal.commit(durable=False)
        found = list(read(path))
    assert [fact.pop("seq") for fact in found] == list(range(1, len(written) + 1))
    for fact in found:
        del fact["t"]
    assert same(found, written)


def journal_bytes(count):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "journal.jsonl")
        with Journal(path, now=lambda: 0.0) as journal:
            for index in range(count):
                journal.append({"kind": "reported", "index": index})
        return path.read_bytes()


WHOLE = journal_bytes(6)


@settings(deadline=None, max_examples=200)
@given(st.integers(0, len(WHOLE)), st.booleans())
def test_a_journal_cut_at_any_byte_keeps_its_whole_lines_and_goes_on(cut, zeros):
    kept = WHOLE[:cut].count(b"\n")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "journal.jsonl")
        path.write_bytes(WHOLE[:cut] + (bytes(len(WHOLE) - cut) if zeros else b""))
        reader = JournalReader(path)
        assert [fact["index"] for fact in reader] == list(range(kept))
        assert (reader.torn is None) == (path.stat().st_size == reader.offset)
        with Journal(path) as journal:
            for index in range(kept, 6):
                assert journal.append({"kind": "reported", "index": index}) == index + 1
        again = JournalReader(path)
        assert [fact["index"] for fact in again] == list(range(6))
        assert again.torn is None


@settings(deadline=None, max_examples=200)
@given(st.integers(0, len(WHOLE) - 1), st.integers(1, 255))
def test_a_changed_byte_never_changes_a_fact(at, mask):
    data = bytearray(WHOLE)
    data[at] ^= mask
    line = WHOLE[:at].count(b"\n") + 1
    # The last line of the changed file may pass for torn; a changed newline joins two lines and a
    # new one parts one.
    last = data.count(b"\n") + (data[-1:] != b"\n")
    found, refusal = [], ""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "journal.jsonl")
        path.write_bytes(data)
        reader = JournalReader(path)
        try:
            for fact in reader:
                found.append(fact["index"])
        except StoreError as error:
            refusal = str(error)
    assert found == list(range(line - 1))
    if line < last:
        assert f"line {line}: " in refusal
    else:
        assert reader.torn is not None
        assert reader.torn.number == line
