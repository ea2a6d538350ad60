"""Presets of costs: they fill what was left out, show what they filled, and move nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.app.config.load import Config, parse
from engine.app.config.origin import annotated_toml
from engine.app.config.presets import PRESETS, fill_in
from engine.app.config.resolved import config_hash, resolved_toml
from engine.app.wiring import build_loop
from engine.commands import Keys
from engine.errors import Errors

STRATEGY = '[feed]\nkind = "simulated"\n[[strategy]]\nkind = "zscore_pairs"\npairs = ["A/B"]\n'


def config_of(text: str, *overrides: str) -> Config:
    return parse(text + STRATEGY, Path(), overrides=overrides)


@pytest.mark.parametrize(
    ("preset", "trade_bps", "long_frac", "short_frac"),
    [("retail", 7.5, 0.10, -0.0165), ("institutional", 1.5, 0.04, 0.0235)],
)
def test_a_preset_fills_costs_and_funding(
    preset: str, trade_bps: float, long_frac: float, short_frac: float
) -> None:
    """A trade costs 5-10 bp or 1-2 bp; a margin loan 8-12% or 3-5%; a borrow 5% or 1% at least."""
    config = config_of(f'[costs]\npreset = "{preset}"\n')
    costs, funding = config.costs, config.funding
    assert costs.half_spread_bps + costs.fee_bps == trade_bps
    assert funding.rate_frac + funding.long_spread_bps / 1e4 == pytest.approx(long_frac)
    received = funding.rate_frac - (funding.short_spread_bps + funding.borrow_bps) / 1e4
    assert received == pytest.approx(short_frac)
    assert costs.impact_bps == 10.0  # size decides that, not who trades


def test_what_is_given_wins() -> None:
    """Whoever knows a fee keeps it: in the file, or with --set."""
    text = '[costs]\npreset = "retail"\nfee_bps = 0.0\n[funding]\nborrow_bps = 25\n'
    config = config_of(text, "costs.half_spread_bps=3.0")
    assert (config.costs.fee_bps, config.costs.half_spread_bps) == (0.0, 3.0)
    assert (config.funding.borrow_bps, config.funding.long_spread_bps) == (25.0, 640.0)
    assert config_of("", "costs.preset=retail").costs.fee_bps == 2.5


def test_the_resolved_configuration_shows_the_figures_and_repeats_them() -> None:
    """A run folder must say what was charged, and say it even when a later version changes the preset."""
    config = config_of('[costs]\npreset = "retail"\n')
    text = resolved_toml(config)
    assert "long_spread_bps = 640.0" in text
    assert "long_spread_bps = 640.0" in annotated_toml(config).replace("  ", "")
    assert "# preset retail" in annotated_toml(config)
    again = parse(text, Path())
    assert config_hash(again) == config_hash(config)
    assert (again.costs, again.funding) == (config.costs, config.funding)


def test_without_a_preset_nothing_changes() -> None:
    """Runs of today must keep their figures and their hash."""
    plain = config_of("")
    assert (plain.costs.half_spread_bps, plain.costs.fee_bps, plain.funding.borrow_bps) == (1.0, 0.2, 40.0)
    assert fill_in({"costs": {"preset": "wholesale"}, "funding": 3}) == {}
    assert fill_in({"costs": 3}) == {}
    assert set(PRESETS) == {"retail", "institutional"}


@pytest.mark.parametrize(
    ("universe", "half_life_sessions"),
    [
        ("bar_min = 1440", 60.0),
        ("bar_min = 390", 60.0),
        ('bar_min = 1440\ncalendar = "24/7"', 60.0),
        ("bar_min = 60", 5.0),
        ('bar_min = 390\ncalendar = "24/7"', 5.0),
    ],
)
def test_daily_bars_have_a_longer_memory(universe: str, half_life_sessions: float) -> None:
    """Five sessions are 2,000 minutes but five daily bars: a matrix of ten names would be mostly noise."""
    config = config_of(f"[universe]\n{universe}\n")
    assert config.risk.half_life_sessions == half_life_sessions
    assert ("# daily bars" in annotated_toml(config)) is (half_life_sessions == 60.0)
    given = config_of(f"[universe]\n{universe}\n[risk]\nhalf_life_sessions = 7.0\n")
    assert given.risk.half_life_sessions == 7.0


def test_the_size_of_bars_is_judged_by_the_tables_check() -> None:
    """A wrong calendar or a text for a number is told as a fault of its key, not here."""
    wrong: list[object] = [3, {"bar_min": "1440"}, {"bar_min": 1440, "calendar": "XXXX"}, {"bar_min": True}]
    for universe in wrong:
        assert fill_in({"universe": universe}) == {}
    assert fill_in({"universe": {"bar_min": 1440}, "risk": 3}) == {}


def test_an_unknown_preset_is_refused() -> None:
    """A mistyped preset must not leave the defaults in force."""
    with pytest.raises(Errors) as caught:
        config_of('[costs]\npreset = "retial"\n')
    [error] = caught.value.errors
    assert error.code == "C005"
    assert "retail" in error.detail


def test_an_engine_charges_what_the_preset_says() -> None:
    """The figures are of no use unless they reach the fills."""
    desk = build_loop(config_of('[costs]\npreset = "retail"\n'), None, Keys(), lambda *_: None).bus.desk
    assert desk is not None
    assert desk.costs.linear_bps == 7.5
