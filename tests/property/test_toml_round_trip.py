"""Whatever is written reads back equal, and every key of it is found."""

import tomllib
from collections.abc import Iterator
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.app.config.toml_text import places, write

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
SCALARS = st.one_of(st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), TEXTS)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
TABLES = st.dictionaries(TEXTS, VALUES, max_size=4)
DOCUMENTS = st.dictionaries(TEXTS, TABLES | st.lists(TABLES, min_size=1, max_size=3), max_size=4)


def paths(node: Any, base: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    pairs = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in pairs:
        yield (*base, key), value
        yield from paths(value, (*base, key))


@settings(max_examples=150, deadline=None)
@given(DOCUMENTS)
def test_written_documents_read_back_equal_and_every_path_has_its_place(document: dict[str, Any]) -> None:
    """A run's config.toml repeats it, and any fault in it can be pointed at."""
    text = write(document)
    assert tomllib.loads(text) == document
    found = places(text)
    for path, value in paths(document):
        assert path in found
        if not isinstance(value, dict | list):
            place = found[path]
            assert tomllib.loads(f"x = {text[place.value : place.value_end]}")["x"] == value
