"""Places in TOML text, and text that reads back equal."""

import tomllib

import pytest

from engine.app.config.toml_text import parse_key, places, write, write_value

TEXT = '''# comment with [brackets] and key = 1
top = 1
[feed]          # a table
path = "a # b = c"
tz.name = 'x]'
[[strategy]]
pairs = [  # over several lines
  "JPM/C",
  "GS/MS",
]
noise = {delta = 1e-4, "odd key" = [1, {deep = 2}]}
[strategy.extra]
note = """
[not.a.table]
key = 3
"""
[[strategy]]
pairs = []
when = 2026-01-05 10:00:00
[book.positions]
"BRK.B" = 10
'''


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("top",), "1"),
        (("feed", "path"), '"a # b = c"'),
        (("feed", "tz", "name"), "'x]'"),
        (("strategy", 0, "pairs", 1), '"GS/MS"'),
        (("strategy", 0, "noise", "delta"), "1e-4"),
        (("strategy", 0, "noise", "odd key", 1, "deep"), "2"),
        (("strategy", 0, "extra", "note"), '"""\n[not.a.table]\nkey = 3\n"""'),
        (("strategy", 1, "pairs"), "[]"),
        (("strategy", 1, "when"), "2026-01-05 10:00:00"),
        (("book", "positions", "BRK.B"), "10"),
        (("strategy", 1), "[[strategy]]"),
        (("book", "positions"), "[book.positions]"),
    ],
)
def test_finds_the_value_of_a_path(path: tuple[str | int, ...], value: str) -> None:
    """A caret under the wrong line sends the user the wrong way."""
    place = places(TEXT)[path]
    assert TEXT[place.value : place.value_end] == value


def test_keys_that_only_look_like_keys_are_not_found() -> None:
    """Comments and texts hold no keys."""
    found = places(TEXT)
    assert ("key",) not in found
    assert ("not", "a", "table") not in found
    assert sum(path[-1] == "key" for path in found) == 0


def test_keys_are_split_as_toml_does() -> None:
    """--set book.positions."BRK.B"=10 must reach one symbol, not two tables."""
    assert parse_key('a."b.c".0') == ("a", "b.c", "0")


@pytest.mark.parametrize(
    "value", [True, -3, 0.1, 1e-12, 1e300, float("inf"), 'q"\\\n\x7f\x01é', [1, [2]], {"a b": {"c": 1}}, []]
)
def test_a_value_reads_back_equal(value: object) -> None:
    """The resolved configuration repeats a run bit for bit only if every value survives."""
    assert tomllib.loads(f"x = {write_value(value)}")["x"] == value


def test_absent_values_are_left_out() -> None:
    """TOML has no null: an absent key means the default again."""
    assert write({"a": {"x": None, "y": {"z": None}}}) == "[a]\ny = {}\n"
