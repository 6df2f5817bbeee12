"""Any bytes at all in place of a run's files: only the documented errors, and nothing runs or is written elsewhere.

A million inputs guided by coverage are `benchmarks/faults/fuzz.py`; these are a sample for every day.
"""

import json

import pytest
from fuzz_readers import KINDS, WHICH, Readers
from hypothesis import given, settings
from hypothesis import strategies as st

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def readers(tmp_path_factory):
    found = Readers(tmp_path_factory.mktemp("fuzz"))
    found.watch()
    return found


def test_the_untouched_files_are_read(readers):
    # So that a refusal of everything could not pass for robustness.
    outcomes = {readers.read(seed) for seed in readers.seeds()}
    assert {f"{kind}: read" for kind in KINDS if kind != "forged manifest"} <= outcomes
    assert readers.breaches == []


@settings(max_examples=150)
@given(kind=st.integers(0, len(WHICH) - 1), data=st.binary(max_size=300))
def test_any_bytes(readers, kind, data):
    readers.read(bytes([kind]) + data)
    assert readers.breaches == []


@settings(max_examples=300)
@given(data=st.data())
def test_damaged_files(readers, data):
    seed = bytearray(data.draw(st.sampled_from(readers.seeds())))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(1, len(seed)))
        piece = data.draw(st.binary(max_size=4) | st.sampled_from([b"-1", b"9" * 30, b"{", b"[", b"null", b"1e999"]))
        seed[at : at + data.draw(st.integers(0, 6))] = piece
    readers.read(bytes(seed))
    assert readers.breaches == []


@settings(max_examples=300)
@given(data=st.data())
def test_json_with_other_values(readers, data):
    text = data.draw(
        st.sampled_from([s for s in readers.seeds() if b"{" in s[:3] and KINDS[WHICH[s[0]]] != "tensor file"])
    )
    content = json.loads(text[1:].splitlines()[0] if KINDS[WHICH[text[0]]] in ("records", "doctor") else text[1:])
    target = content
    while True:
        name = data.draw(st.sampled_from(sorted(target)))
        if isinstance(target[name], dict) and target[name] and data.draw(st.booleans()):
            target = target[name]
            continue
        target[name] = data.draw(json_values)
        break
    readers.read(text[:1] + json.dumps(content).encode() + b"\n")
    assert readers.breaches == []
