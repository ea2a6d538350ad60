"""Canonical bytes: the same state is the same bytes, and comes back as it was."""

from __future__ import annotations

import hashlib
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from engine.events import Alert, BookMarked, Side, Signal
from engine.state import Digest, from_bytes, to_bytes

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**62), 2**62)
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(VALUES)
def test_plain_values_round_trip(value) -> None:
    """What a snapshot holds is what a restart gets."""
    assert from_bytes(to_bytes(value)) == value


@given(
    hnp.arrays(st.sampled_from([np.float64, np.int64, np.bool_]), hnp.array_shapes(max_dims=3, max_side=5))
)
def test_arrays_round_trip_bit_for_bit(array) -> None:
    """NaN payloads and the sign of zero survive: equality of floats would not notice."""
    back = from_bytes(to_bytes({"a": array}))["a"]
    assert back.dtype == array.dtype
    assert back.shape == array.shape
    assert back.tobytes() == array.tobytes()
    back[...] = 0  # restored state must be writable


def test_order_of_keys_does_not_matter() -> None:
    """Two dictionaries that are equal have the same bytes."""
    assert to_bytes({"a": 1, "b": np.ones(2)}) == to_bytes({"b": np.ones(2), "a": 1})


@pytest.mark.parametrize(
    "value", [np.float64(1.0), np.array(["x"], dtype=object), object(), {1, 2}.__iter__()]
)
def test_what_has_no_canonical_form_is_refused(value) -> None:
    """Better no snapshot than one that restores to something else."""
    with pytest.raises(TypeError):
        to_bytes({"a": value})


def test_digest_is_sha256_of_the_encoded_decisions() -> None:
    """An independent encoder gives the same digest: tag, fields in order, floats as big-endian binary64."""
    digest = Digest()
    digest.add([Alert(1, "info", "x", "not a decision"), BookMarked(1, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0)])
    floats = b"".join(b"\xcb" + struct.pack(">d", value) for value in (2.0, 3.0, 4.0, 5.0, 6.0, 7.0))
    expected = b"\x98" + b"\xaaBookMarked" + b"\x01" + floats
    assert digest.hexdigest() == hashlib.sha256(expected).hexdigest()


def test_digest_does_not_depend_on_block_size() -> None:
    """Gathering is an optimisation, not a format."""
    signal = Signal(1, "s", "A/B", Side.LONG, -2.5, 1.1, 0.001)
    one, many = Digest(), Digest()
    one.add([signal] * 3_000)
    for _ in range(3_000):
        many.add([signal])
        many.hexdigest()
    assert one.hexdigest() == many.hexdigest()
