"""Keys that are valid one by one and cannot be meant together: a check minds them, or they are refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from engine.app.checks.contradictions import limit_beyond_equity, puts_that_are_over, thin_tail
from engine.app.config.load import parse
from engine.app.main import run
from engine.errors import Errors
from strategies.convertible import ConvertibleOptions
from strategies.deals import day_number

#: A fund and its future on two SYNTHETIC sessions; the future expires after the first.
DESK = """\
[feed]
kind = "simulated"
sessions = 2
start = 2026-03-20
pairs = ["SPY/ESH6"]

[[strategy]]
kind = "basis"
pairs = ["SPY/ESH6"]
quote_ratio = 0.47
rate_frac = 0.04

[book]
positions = {ESH6 = 100}

[instruments.ESH6]
kind = "future"
expiry = 2026-03-20
"""


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("astra.toml").write_text(DESK)


def test_a_future_beyond_its_expiry_is_minded_and_halts(capsys: pytest.CaptureFixture[str]) -> None:
    """A dead contract must not live on in the book: its price is that of its last day, and it halts."""
    assert run(["check"]) == 0
    assert "ESH6 has bars until 2026-03-23, after its expiry (2026-03-20)" in capsys.readouterr().out
    assert run(["replay", "--out", "one", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["state"] == "HALTED"
    risk = pq.read_table("one/risk.parquet").to_pylist()
    book = pq.read_table("one/book.parquet").to_pylist()
    assert "STALE" in json.dumps(risk, default=str) or "STALE" in Path("one/alerts.jsonl").read_text()
    equity = [row["equity_usd"] for row in book if row["ts"].date().isoformat() == "2026-03-23"]
    assert len(set(equity)) == 1


@pytest.mark.parametrize(("ratio", "is_minded"), [("0.47", False), ("4.7", True), ("0.047", True)])
def test_a_quote_ratio_that_the_closes_know_nothing_of(
    ratio: str, *, is_minded: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ten times off, nothing would ever be entered: a check says so before a month is lost."""
    assert run(["check", "--set", f"strategy.0.quote_ratio={ratio}"]) == 0
    assert (f"quote_ratio {ratio}, its closes one of 0.4" in capsys.readouterr().out) == is_minded


def test_a_limit_that_never_binds() -> None:
    """A limit beyond ten equities is no limit; ten are somebody's choice."""
    assert not list(limit_beyond_equity(1e7, 1e6))
    assert len(list(limit_beyond_equity(1.01e7, 1e6))) == 1


def test_a_tail_thinner_than_normal() -> None:
    """Student t at 95% is below the normal law, at 99% above: a limit should know which."""

    def risk_of(confidence: float, model: str = "student_t") -> list[str]:
        text = f'{DESK}\n[risk]\nmodel = "{model}"\nconfidence = {confidence}\n'
        return [one.text for one in thin_tail(parse(text, Path()).risk)]

    assert risk_of(0.99) == risk_of(0.95, "gaussian") == []
    (said,) = risk_of(0.95)
    assert "5.1% below the normal law" in said  # 1.5608 and 1.6449


def test_puts_of_before_the_tape() -> None:
    """A put is one day: one of before the first bar is over, one on it is not."""
    bond = {
        "symbol": "CB",
        "stock": "S",
        "conversion_ratio": 10,
        "maturity": "2030-01-01",
        "puts": [{"date": "2026-03-19", "price": 100}, {"date": "2026-03-20", "price": 100}],
    }
    options = ConvertibleOptions.model_validate({"bonds": [bond], "rate_frac": 0.02})
    first_day = day_number(np.datetime64("2026-03-20").item())
    (said,) = puts_that_are_over("convertible", options, first_day)
    assert "CB 2026-03-19 is before the first bar (2026-03-20)" in said.text


@pytest.mark.parametrize("symbol", ["EURUSD", "USDEUR"])
def test_a_rate_is_not_quoted_in_its_own_currency(symbol: str) -> None:
    """EURUSD times EURUSD is no price."""
    text = DESK.replace("SPY", symbol) + f'\n[instruments.{symbol}]\ncurrency = "EUR"\n'
    with pytest.raises(Errors, match=f'instruments.{symbol}.currency must be USD, was "EUR"'):
        parse(text, Path())


def test_a_currency_without_a_rate_is_at_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    """The place of a fault is a file and a line."""
    basis = 'kind = "basis"\npairs = ["SPY/ESH6"]\nquote_ratio = 0.47\nrate_frac = 0.04\n'
    pair = DESK.replace(basis, 'kind = "kalman_pairs"\npairs = ["SPY/ESH6"]\n')
    Path("astra.toml").write_text(f'{pair}currency = "EUR"\n')
    assert run(["check"]) == 2
    assert "--> astra.toml:17   instruments.ESH6.currency" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("instruments.ESH6.currency=eur", 'must be three capital letters, like "EUR", was "eur"'),
        ("strategy.0.pairs=[]", "must have at least 1 item, was []"),
    ],
)
def test_faults_are_said_in_words(override: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A pattern or "after validation" is the language of a library."""
    assert run(["check", "--set", override]) == 2
    assert said in capsys.readouterr().err
