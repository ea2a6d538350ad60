"""The table of deals: what is read, what is refused, and that a run is tied to it."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from engine.app.assembly import hash_of
from engine.app.config.load import Config, parse
from engine.app.config.resolved import config_hash, resolved_toml
from engine.app.source import fingerprint_of
from engine.errors import ConfigError, Errors
from strategies.deals import day_number, read_deals

HEADER = (
    "target,acquirer,announced,expected_close,cash_usd,stock_ratio,"
    "break_price_usd,downside_frac,probability,status\n"
)
CASH = "ATVI,,2022-01-18,2023-10-13,95,,60,,0.9,\n"
STOCK = "BETA,GAMA,2022-02-01,2022-12-01,1.5,0.5,,0.2,0.8,open\n"
TOML = """
[feed]
kind = "simulated"
[[strategy]]
kind = "merger"
deals = "deals.csv"
"""


def table(folder: Path, text: str) -> Path:
    path = folder / "deals.csv"
    path.write_text(text)
    return path


def refused(folder: Path, text: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        read_deals(table(folder, text))
    return caught.value


def test_rows_of_one_deal_are_ordered_by_day(tmp_path: Path) -> None:
    """Later rows take the place of earlier ones, wherever they stand in the file."""
    later = "ATVI,,2022-03-01,2023-10-13,97,,60,,0.95,\n"
    end = "ATVI,,2023-10-12,,,,,,,closed\n"
    atvi, beta = read_deals(table(tmp_path, HEADER + end + later + STOCK + CASH))
    assert (atvi.name, atvi.target, atvi.acquirer) == ("ATVI", "ATVI", "")
    assert [row.cash_usd for row in atvi.rows] == [95.0, 97.0, 0.0]
    assert [row.status for row in atvi.rows] == ["open", "open", "closed"]
    assert atvi.known_days[0] == day_number(dt.date(2022, 1, 18)) == 19_010
    assert (beta.name, beta.rows[0].stock_ratio, beta.rows[0].downside_frac) == ("BETA/GAMA", 0.5, 0.2)


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ("ATVI,,2022-01-18,2023-10-13,95,,60,,1.2,\n", "probability"),
        ("ATVI,,18.1.2022,2023-10-13,95,,60,,0.9,\n", "announced"),
        ("ATVI,,2022-01-18,2021-10-13,95,,60,,0.9,\n", "expected_close must be after announced"),
        ("ATVI,,2022-01-18,2023-10-13,95,,60,0.3,0.9,\n", "break_price_usd or downside_frac"),
        ("ATVI,,2022-01-18,2023-10-13,95,,,,0.9,\n", "break_price_usd or downside_frac"),
        ("ATVI,,2022-01-18,2023-10-13,,,60,,0.9,\n", "cash_usd or shares"),
        ("ATVI,MSFT,2022-01-18,2023-10-13,95,,60,,0.9,\n", "belong together"),
        ("ATVI,,2022-01-18,2023-10-13,,0.5,60,,0.9,\n", "belong together"),
        ("ATVI,ATVI,2022-01-18,2023-10-13,,0.5,60,,0.9,\n", "must differ"),
        ("ATVI,,2022-01-18,,95,,60,,0.9,\n", "expected_close and probability"),
        ("ATVI,,2022-01-18,2023-10-13,95,,60,,,\n", "expected_close and probability"),
        ("ATVI,,2022-01-18,2023-10-13,95,,60,,0.9,paused\n", "status"),
        (",,2022-01-18,2023-10-13,95,,60,,0.9,\n", "target"),
        (CASH.strip() + ",what is this\n", "beyond the header"),
    ],
)
def test_a_row_that_is_half_understood_is_refused(tmp_path: Path, row: str, what: str) -> None:
    """The line is named, so that a table of hundreds can be corrected."""
    error = refused(tmp_path, HEADER + STOCK + row)
    assert error.code == "C231"
    assert what in error.what
    assert error.where.endswith("deals.csv:3")


def test_an_end_without_a_beginning_is_refused(tmp_path: Path) -> None:
    """Nothing says what was paid, so it is a mistyped name."""
    error = refused(tmp_path, HEADER + "ATVI,,2022-03-01,,,,,,,closed\n")
    assert (error.code, "closed on 2022-03-01" in error.what) == ("C231", True)


def test_two_rows_of_one_day_are_refused(tmp_path: Path) -> None:
    """Which of them stands would depend on the order of the file."""
    error = refused(tmp_path, HEADER + CASH + CASH)
    assert (error.code, error.where.endswith(":3")) == ("C232", True)


@pytest.mark.parametrize("text", ["", HEADER])
def test_a_table_without_deals_is_refused(tmp_path: Path, text: str) -> None:
    """A strategy of no spreads is a mistake."""
    assert refused(tmp_path, text).code == "C230"


def test_a_table_that_is_not_there_is_named(tmp_path: Path) -> None:
    """Where it was looked for is the first thing to know."""
    with pytest.raises(ConfigError, match="cannot use the table") as caught:
        parse(TOML, tmp_path)
    assert (caught.value.code, caught.value.where) == ("C230", str(tmp_path / "deals.csv"))


def config_in(folder: Path, text: str = HEADER + CASH + STOCK) -> Config:
    table(folder, text)
    return parse(TOML, folder)


def test_its_symbols_are_the_universe(tmp_path: Path) -> None:
    """Nobody writes the targets twice."""
    assert config_in(tmp_path).symbols == ("ATVI", "BETA", "GAMA")


def test_a_symbol_outside_the_universe_is_a_fault(tmp_path: Path) -> None:
    """A universe that is given must hold the targets."""
    table(tmp_path, HEADER + CASH)
    with pytest.raises((ConfigError, Errors), match="ATVI"):
        parse(TOML + '[universe]\nsymbols = ["BETA"]\n', tmp_path)


def test_a_run_is_tied_to_what_the_table_says(tmp_path: Path) -> None:
    """Another probability is another run; another folder is not."""
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    other.mkdir()
    before, moved = config_in(one), config_in(other)
    assert parse(resolved_toml(before), tmp_path).strategy == before.strategy
    assert config_hash(moved) == config_hash(before)
    assert (fingerprint_of(moved), hash_of(moved)) == (fingerprint_of(before), hash_of(before))
    kept = fingerprint_of(before), hash_of(before)
    changed = config_in(one, HEADER + CASH.replace("0.9", "0.8") + STOCK)
    assert fingerprint_of(changed) != kept[0]
    assert hash_of(changed) != kept[1]
