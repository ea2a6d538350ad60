"""Errors and tables as text."""

from engine.app.render import render_error, render_table
from engine.errors import AstraError, ConfigError, DataError, Errors


def test_colours_change_nothing_but_colours() -> None:
    """A log and a screen must say the same."""
    error = ConfigError("C004", "seed must be at least 0, was -1", "astra.toml:3", "why\nwhat to do")
    plain, coloured = render_error(error), render_error(error, is_colour=True)
    assert "\x1b" not in plain
    assert coloured.replace("\x1b[1;31m", "").replace("\x1b[34m", "").replace("\x1b[0m", "") == plain


def test_several_errors_are_separate_and_the_first_decides_the_exit() -> None:
    """All faults at once, each readable by itself."""
    errors = Errors(
        [DataError("D001", "no rows"), ConfigError("C001", "unknown key"), DataError("D001", "again")]
    )
    assert errors.exit_code == 3
    assert render_error(errors) == (
        "error[D001] no rows\n\nerror[C001] unknown key\n\nerror[D001] again\n"
        "see docs/errors.md: D001, C001\n"
    )


def test_an_error_without_place_or_detail_is_one_line() -> None:
    """No empty arrows."""
    assert render_error(AstraError("S009", "no space")) == "error[S009] no space\nsee docs/errors.md: S009\n"


def test_columns_of_numbers_are_aligned_to_the_right() -> None:
    """Digits under digits is how figures are compared."""
    text = render_table(["name", "usd"], [["a", "-$5"], ["b", "1,000"], ["c", "-"]])
    assert text == "name    usd\na       -$5\nb     1,000\nc         -\n"
    assert render_table(["x"], []) == "x\n"
