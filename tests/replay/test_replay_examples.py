"""The configurations that ship, replayed as they are but for their length: each shows what it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.daily_bars import Run, run_file

CONFIG = Path(__file__).resolve().parents[2] / "config"


def play(name: str, folder: Path, *changes: str) -> Run:
    folder.mkdir(exist_ok=True)
    return run_file(CONFIG / f"{name}.toml", folder, *changes)


def noted(run: Run) -> set[str]:
    return {note["note"] for note in run.summary["notes"]}


@pytest.mark.parametrize("name", ["pairs", "no_trade_buffer"])
def test_minute_pairs_are_traded(name: str, tmp_path: Path) -> None:
    """An example that trades nothing teaches nothing; gross stays under its cap."""
    run = play(name, tmp_path, "feed.sessions=5")
    assert run.summary["rebalances"] >= 2
    assert run.summary["fills"] > 0
    assert {"calibrated"} <= noted(run)
    book = run.table("book")
    assert (book["gross_usd"] / book["equity_usd"]).max() < 2.05


def test_z_scores_trade_their_transitions(tmp_path: Path) -> None:
    """With ``direct`` every entry that can be filled is held, half of the unit in each leg."""
    run = play("zscore", tmp_path, "feed.sessions=6")
    assert run.summary["fills"] > 10
    assert "admission_off" in noted(run)
    assert run.table("trades")["gross_usd"].median() == pytest.approx(100_000.0, rel=0.05)


def test_fatter_tails_lose_more_beyond_var(tmp_path: Path) -> None:
    """The example is of a limit that expects them: by the normal law the losses beyond VaR are 1.15 of it."""
    run = play("risk_models", tmp_path)
    risk = run.table("risk").query("var_usd > 0")
    assert run.summary["fills"] > 0
    assert (risk["es_usd"] / risk["var_usd"]).median() > 1.2


def test_a_plan_of_four_hours_enters_what_one_hour_does_not_pay_for(tmp_path: Path) -> None:
    """An example of planning that trades as one without a plan does would show nothing."""
    text = (CONFIG / "multi_period.toml").read_text()
    (tmp_path / "plan.toml").write_text(text)
    own = ("steps", "forecast_half_life_min", "ends_flat")
    lines = [line for line in text.splitlines() if not line.startswith(own)]
    single = "\n".join(lines).replace('kind = "multi_period"', 'kind = "mean_variance"')
    (tmp_path / "single.toml").write_text(single)
    plan, hour = (run_file(tmp_path / f"{name}.toml", tmp_path / name) for name in ("plan", "single"))
    assert plan.summary["signals"] == hour.summary["signals"]
    traded = [
        float((fills["quantity"] * fills["price_usd"]).abs().sum())
        for fills in (plan.table("fills"), hour.table("fills"))
    ]
    assert traded[0] > 1.2 * traded[1] > 0.0


def test_signals_alone_make_no_book(tmp_path: Path) -> None:
    """Signals, and neither a target nor a figure of a book."""
    run = play("signals_only", tmp_path, "feed.sessions=5")
    assert run.summary["signals"] > 20
    assert run.summary["fills"] == run.summary["rebalances"] == 0
    assert len(run.table("book")) == 0


def test_a_limit_on_the_worst_days_waits_for_them_and_then_trades(tmp_path: Path) -> None:
    """What was wanted before there were days enough is told by spread, and so is how often nothing came."""
    run = play("downside", tmp_path, "feed.sessions=10")
    waiting = {
        note["spread"]: note["bars"] for note in run.summary["notes"] if note["note"] == "not_measured"
    }
    assert waiting.keys() <= {"JPM/C", "GS/MS", "KO/PEP"}
    assert min(waiting.values()) > 0
    [refused] = [note for note in run.summary["notes"] if note["note"] == "allocator_bad_input"]
    assert 0 < refused["times"] < refused["answers"]
    assert run.summary["fills"] > 0


def test_the_first_basis_waits_until_it_can_be_measured(tmp_path: Path) -> None:
    """The largest mispricings, of 8 and 16 January, come before the twenty bars that risk needs."""
    run = play("basis", tmp_path)
    [note] = [note for note in run.summary["notes"] if note["note"] == "not_measured"]
    signals = run.table("signals")
    sides = signals[signals["spread"] == note["spread"]].set_index("ts")["side"]
    first_fill = run.table("fills")["ts"].min()
    assert note["spread"] == "SPY/ESH6"
    assert note["bars"] == 11  # 2 sessions to 12 January, and 9 from the 16th on
    assert (sides[sides.index < first_fill] != "FLAT").sum() >= 2


def test_a_basis_over_an_hour_never_pays_and_says_so(tmp_path: Path) -> None:
    """Daily bars and the default allocator: signals and never a target must not pass without a word."""
    text = (CONFIG / "basis.toml").read_text().replace('kind = "direct"', 'kind = "mean_variance"')
    text = text.replace("unit_usd = 7_000_000\n", "").replace("../examples", str(CONFIG.parent / "examples"))
    path = tmp_path / "basis.toml"
    path.write_text(text)
    hour = run_file(path, tmp_path / "hour")
    [note] = [note for note in hour.summary["notes"] if note["note"] == "allocator_no_target"]
    entries = (hour.table("signals")["side"] != "FLAT").sum()
    assert (note["entries"], note["answers"]) == (entries, 150)
    assert note["cost_bps"] == pytest.approx(0.6)
    assert 0.0 < note["expected_best_bps"] < 1.0
    ten_bars = run_file(path, tmp_path / "ten", "allocator.horizon_min=3900")
    assert "allocator_no_target" not in noted(ten_bars)
    assert ten_bars.summary["pnl_usd"] > 50_000.0
