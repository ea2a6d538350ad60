"""The targets of the fuzzer over their kept inputs, and over some that are nearly those."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.mutations import shaped
from tests.fuzz.targets import CORPUS, TARGETS, corpus_of

#: Each of its inputs is a configuration to be checked, twice.
_SLOW = frozenset({"config"})


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_every_kept_input_holds(name: str) -> None:
    """Seeds, and whatever once broke a promise: a decoder that was mended stays mended."""
    kept = corpus_of(name)
    assert kept
    for data in kept:
        TARGETS[name](data)


@pytest.mark.parametrize("name", sorted(TARGETS.keys() - _SLOW))
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_what_is_nearly_a_kept_input_holds(name: str, data: st.DataObject) -> None:
    """Without the fuzzer some of what it would try: noise, cuts, bytes and values that were changed."""
    good = data.draw(st.sampled_from(corpus_of(name)))[:4_096]
    start, length = data.draw(st.integers(0, len(good))), data.draw(st.integers(0, 8))
    cut = good[:start] + data.draw(st.binary(max_size=8)) + good[start + length :]
    TARGETS[name](cut)
    TARGETS[name](data.draw(st.binary(max_size=40)))
    if (changed := shaped(good, data.draw(st.integers(0, 2**32)))) is not None:
        TARGETS[name](changed)


def test_every_target_has_a_corpus_and_no_corpus_is_idle() -> None:
    """A folder that was misspelt would keep inputs that nobody runs."""
    assert {path.name for path in CORPUS.iterdir()} == set(TARGETS)


def test_a_changed_document_is_one() -> None:
    """The mutation must keep the form, or it would be noise, which the fuzzer has already."""
    document = b'{"a": [1, {"b": "x"}], "c": "{\\"d\\": 1}"}'
    changed = {shaped(document, seed) for seed in range(100)} - {None, document}
    assert len(changed) > 30
    for one in changed:
        json.loads(one)
    assert shaped(b"\xc1", 1) is None
