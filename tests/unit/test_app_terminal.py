"""What a replay prints: golden text when it is no terminal, and bounds on how much."""

import io
from pathlib import Path
from typing import Any

import pytest

from engine.app.config.load import Config, parse
from engine.app.config.plugins import registry, z_unit
from engine.app.replay.statistics import NO_CURVE
from engine.app.terminal import (
    LINES_A_RUN,
    LINES_A_SESSION,
    SIGNALS_A_SESSION,
    Terminal,
    exchange_zone,
)
from engine.app.terminal_text import closing, opening, shown
from engine.events import (
    DAY_NS,
    MINUTE_NS,
    Alert,
    AllocationDone,
    BookMarked,
    CommandJudged,
    Event,
    Filled,
    LimitChanged,
    RiskMeasured,
    Side,
    Signal,
    TargetRefused,
    TradingState,
    TradingStateChanged,
)
from engine.ports import Effect
from engine.status import Status
from tests.support.app import GOLDENS

pytestmark = pytest.mark.usefixtures("kinds")

#: 2026-01-05 09:30 in New York.
OPEN_NS = 1_767_623_400_000_000_000
SUMMARY: dict[str, Any] = {
    "bars": 11_700,
    "rejected": {"DUPLICATE": 2, "LATE": 1},
    "sessions": 5,
    "signals": 37,
    "rebalances": 22,
    "halts": 1,
    "pnl_usd": 8_412.4,
    "total_return_frac": 0.0084124,
    "costs_usd": 1_930.0,
    "funding_usd": -204.0,
    "max_drawdown_frac": -0.0031,
    "sharpe": None,
    "sharpe_reason": "5 sessions (needs 20)",
    "var_last_usd": 118_902.0,
    "var_peak_usd": 151_204.0,
    "seconds": 0.41,
    "bars_per_s": 28_600.0,
    "digest": "ab" * 32,
}


@pytest.fixture
def config() -> Config:
    text = '[feed]\npath = "data/sample.csv.gz"\n[[strategy]]\nkind = "kalman_pairs"\npairs = ["JPM/C"]\n'
    return parse(text, Path.cwd())


def printed(config: Config, events: list[Event], summary: dict[str, Any] | None = None) -> str:
    stream = io.StringIO()
    listener = Terminal("0.1.0", stream)
    listener.on_start(config, "20261121T110203Z-demo", 6, 5, 11_700)
    for seq, event in enumerate(events):
        listener.on_effects([Effect(seq, 0, event)])
    listener.on_progress(8_931, 11_700, OPEN_NS, 41_000.0, 100_000.0)
    listener.on_done(summary or SUMMARY, Path.cwd() / "runs" / "20261121T110203Z-demo")
    return stream.getvalue()


def signal(ts_ns: int, side: Side = Side.LONG) -> Signal:
    return Signal(ts_ns, "kalman_pairs", "JPM/C", side, -2.314, 2.6468, 1e-4)


def measured(ts_ns: int, var_usd: float) -> RiskMeasured:
    return RiskMeasured(ts_ns, var_usd, var_usd, var_usd, var_usd, var_usd)


def test_a_replay_reads_like_the_documentation(config: Config) -> None:
    """The whole text of a replay with a warning, a halt and a command is one golden."""
    halted = TradingStateChanged(
        OPEN_NS + 335 * MINUTE_NS,
        TradingState.HALTED,
        TradingState.ACTIVE,
        "VAR_LIMIT",
        "halt-20260105T200500Z-1",
    )
    events: list[Event] = [
        signal(OPEN_NS + 17 * MINUTE_NS),
        AllocationDone(OPEN_NS + 30 * MINUTE_NS, "optimal", 1.86, 0.049, 0.124, ("net",), "CLARABEL"),
        AllocationDone(OPEN_NS + 60 * MINUTE_NS, "infeasible", 0.0, 0.0, 0.0, (), ""),
        TargetRefused(OPEN_NS + 90 * MINUTE_NS, "risk_warming_up"),
        signal(OPEN_NS + 100 * MINUTE_NS, Side.FLAT),
        measured(OPEN_NS + 282 * MINUTE_NS, 121_380.0),
        Alert(OPEN_NS + 282 * MINUTE_NS, "warning", "var_near_limit", "VaR is near"),
        measured(OPEN_NS + 335 * MINUTE_NS, 151_204.0),
        halted,
        Alert(OPEN_NS + 335 * MINUTE_NS, "critical", "halted", "said by the line above"),
        CommandJudged(OPEN_NS + 340 * MINUTE_NS, "limits", "eve", "accepted", ""),
        LimitChanged(OPEN_NS + 340 * MINUTE_NS, "var_limit_usd", 200_000.0, 150_000.0, 0, "eve"),
        BookMarked(OPEN_NS + 341 * MINUTE_NS, 1e6, 1e6, 0.0, 0.0, 0.0, 0.0),
    ]
    text = printed(config, events)
    assert text == (GOLDENS.parent / "terminal.txt").read_text(encoding="utf-8")
    assert "PAPER" in text


def test_a_long_session_is_counted_not_printed(config: Config) -> None:
    """Printing must never cost more than computing, and nobody reads a thousand lines."""
    text = printed(config, [signal(OPEN_NS + k * MINUTE_NS) for k in range(1, 300)])
    assert text.count("SIGNAL  JPM/C") == SIGNALS_A_SESSION
    assert f"and {299 - SIGNALS_A_SESSION} SIGNAL in this session" in text


def test_a_crowd_of_signals_does_not_hide_what_was_done(config: Config) -> None:
    """Fills and refusals have lines of their own in a session of a hundred signals."""
    signals = [signal(OPEN_NS + k * MINUTE_NS) for k in range(1, 100)]
    fills: list[Event] = [Filled(OPEN_NS + 120 * MINUTE_NS, "JPM", -10.0, 101.5, 0.2)] * 20
    text = printed(config, [*signals, *fills])
    assert text.count("FILL    JPM    sell 10.0 at 101.50") == LINES_A_SESSION - SIGNALS_A_SESSION


def test_a_long_run_keeps_showing_changes_of_state_only(config: Config) -> None:
    """However long the run, a halt is on the screen."""
    events: list[Event] = [
        TargetRefused(OPEN_NS + day * DAY_NS + k * MINUTE_NS, "halted")
        for day in range(40)
        for k in range(1, 20)
    ]
    at_ns = OPEN_NS + 39 * DAY_NS + 30 * MINUTE_NS
    halt = TradingStateChanged(at_ns, TradingState.HALTED, TradingState.ACTIVE, "operator", "halt-1")
    text = printed(config, [*events, halt])
    assert text.count("ET  REFUSED") == LINES_A_RUN
    assert text.count("further sessions: only changes of the trading state are shown") == 1
    assert "HALT\n" in text
    assert "astra resume --halt-id halt-1" in text


def test_a_command_shows_its_reason_not_an_old_figure(config: Config) -> None:
    """A VaR measured an hour ago beside a halt of now would be a false witness."""
    at_ns = OPEN_NS + 90 * MINUTE_NS
    halt = TradingStateChanged(at_ns, TradingState.HALTED, TradingState.ACTIVE, "operator eve: drill", "h")
    text = printed(config, [measured(OPEN_NS + MINUTE_NS, 50_000.0), halt])
    [line] = [line for line in text.splitlines() if line.endswith("HALT")]
    assert "operator eve: drill" in line
    assert "VaR" not in line


class Gone(io.StringIO):
    """A stream whose reader has left."""

    def write(self, _text: str) -> int:
        raise BrokenPipeError


def test_a_reader_who_leaves_does_not_stop_the_run(config: Config) -> None:
    """``astra replay | head`` still writes a whole run folder."""
    listener = Terminal("0.1.0", Gone())
    listener.on_start(config, "demo", 6, 5, 11_700)
    listener.on_effects([Effect(1, 0, signal(OPEN_NS + MINUTE_NS))])
    listener.on_done(SUMMARY, Path("runs/demo"))


def test_an_unknown_var_is_called_unknown(config: Config) -> None:
    """A NaN on the screen would be read as a bug, not as a halt."""
    halt = TradingStateChanged(
        OPEN_NS + MINUTE_NS, TradingState.HALTED, TradingState.ACTIVE, "COV_NOT_PSD", "h"
    )
    text = printed(
        config, [measured(OPEN_NS + MINUTE_NS, float("nan")), halt], SUMMARY | {"var_last_usd": None}
    )
    assert "VaR unknown" in text
    assert "VaR       last unknown  peak $151,204" in text
    assert "nan" not in text


def test_a_terminal_shows_a_bar_and_takes_it_away(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bar is for eyes; what stays on the screen is the same text as in a file."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: True)
    listener = Terminal("0.1.0", stream)
    listener.on_start(config, "demo", 6, 5, 11_700)
    listener.on_effects([Effect(1, 0, signal(OPEN_NS + 17 * MINUTE_NS))])
    listener.on_progress(8_931, 11_700, OPEN_NS, 41_000.0, 75_000.0)
    listener.on_done(SUMMARY, Path("runs/demo"))
    text = stream.getvalue()
    assert "8,931/11,700 bars  41k bars/s  VaR 50%  ETA 0:00" in text
    assert "Mon 5 Jan" in text
    assert "SIGNAL  JPM/C" in text
    assert text.index("ETA") < text.index("finished in")


def test_an_interrupted_run_gives_the_cursor_back(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal without a cursor is what users remember of a crash."""
    monkeypatch.setenv("TERM", "xterm")
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: True)
    listener = Terminal("0.1.0", stream)
    listener.on_start(config, "demo", 6, 5, 11_700)
    listener.close()
    assert stream.getvalue().rindex("\x1b[?25h") > stream.getvalue().rindex("\x1b[?25l")
    listener.close()


def test_a_sharpe_ratio_comes_with_its_standard_error() -> None:
    """A ratio without its error is how five days become a fortune."""
    shown = SUMMARY | {"sessions": 63, "sharpe": 1.2, "sharpe_se": 2.0, "rejected": {}}
    assert "Sharpe  1.20 +/- 2.00 (63 sessions)" in closing(shown, Path("runs/x"), 150_000.0)
    unknown = SUMMARY | {"sessions": 63, "sharpe_reason": "equity_unknown"}
    assert "Sharpe  not shown: equity_unknown" in closing(unknown, Path("runs/x"), 150_000.0)


def test_signals_alone_have_no_profit_to_show() -> None:
    """A P&L of $0 would be a result; there was no book to have one."""
    text = closing(SUMMARY | {"sharpe_reason": NO_CURVE}, Path("runs/x"), 150_000.0)
    assert "book      none was kept" in text
    assert "P&L  " not in text


def test_the_local_time_is_that_of_the_exchange() -> None:
    """A trader reads the exchange's clock, not UTC."""
    assert exchange_zone("XNYS")[1] == "ET"
    assert exchange_zone("24/7")[1] == "UTC"
    assert shown(Path.cwd() / "runs" / "a") == "runs/a"


def test_a_live_run_says_which_servers_it_started_and_how_to_listen() -> None:
    """Their ports are free ones: whoever does not see them cannot connect."""
    started = ("redis://127.0.0.1:6400", "mqtt://127.0.0.1:1900")
    assert opening("desk", " --config desk.toml", started, Status()) == [
        "redis  redis://127.0.0.1:6400   redis-cli -u redis://127.0.0.1:6400 SUBSCRIBE astra:desk:alerts",
        "mqtt   mqtt://127.0.0.1:1900   mosquitto_sub -V 5 -h 127.0.0.1 -p 1900 -v -t 'astra/desk/#'",
        "alerts astra alerts --follow --config desk.toml",
    ]


def test_a_halt_from_before_the_start_is_shown(config: Config) -> None:
    """An engine that starts halted does nothing, and looks like one that is broken."""
    status = Status()
    status.trading_state, status.halt_reason, status.halt_id = TradingState.HALTED, "OPERATOR", "12-0"
    lines = opening("desk", "", (), status)
    stream = io.StringIO()
    listener = Terminal("0.1.0", stream, verb="run")
    listener.on_start(config, "desk/e", 6, 0, 0)
    listener.on_notes(lines)
    assert "HALTED OPERATOR, since before this start: nothing trades" in stream.getvalue()
    assert 'astra resume --halt-id 12-0 --reason "..."' in stream.getvalue()
    assert opening("desk", "", (), Status()) == []


def test_an_allocator_that_gave_no_target_is_said_with_its_reason(config: Config) -> None:
    """A run held back by a short history must not look like one that had nothing to trade."""
    refused = AllocationDone(OPEN_NS, "bad_input", 0.0, 0.0, 0.0, ("history_return_frac",), "")
    note = {"strategy": "", "spread": "", "note": "allocator_bad_input", "reason": "history_return_frac"}
    notes = [{"note": "calibrated", "strategy": "k", "spread": "A/B"}, note | {"times": 104, "answers": 182}]
    text = printed(config, [refused], SUMMARY | {"notes": notes})
    assert "REBAL   bad_input (history_return_frac): the book is held" in text
    assert "spreads   1 calibrated\n" in text
    assert "allocator bad_input (history_return_frac), 104 times of 182: the book was held" in text


def test_what_was_wanted_in_vain_is_said(config: Config) -> None:
    """Signals without a trade must not pass without a word: who waited for days, and what never paid."""
    waiting = [
        {"strategy": "k", "spread": f"A/{x}", "note": "not_measured", "bars": bars}
        for x, bars in (("B", 1), ("C", 9), ("D", 4), ("E", 5))
    ]
    never = {
        "strategy": "",
        "spread": "",
        "note": "allocator_no_target",
        "entries": 8,
        "times": 9,
        "answers": 9,
    }
    figures = {"expected_best_bps": 0.44, "cost_bps": 1.2}
    text = printed(config, [], SUMMARY | {"notes": [*waiting, never | figures]})
    assert "waiting   A/C 9 bars, A/E 5 bars, A/D 4 bars and 1 more, wanted before" in text
    assert "spreads " not in text
    assert "allocator answered 9 times, traded none of 8 entries: the best expected 0.4 bp" in text
    assert "the way in costs 1.2 before impact" in text
    assert "traded none of 8 entries\n" in printed(config, [], SUMMARY | {"notes": [never]})


def test_z_is_printed_with_the_unit_of_its_strategy(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mispricing of 37 basis points is no event of 37 standard deviations."""
    assert "z -2.31  beta" in printed(config, [signal(OPEN_NS)])
    monkeypatch.setattr("engine.app.terminal.z_unit", {"kalman_pairs": "bp"}.__getitem__)
    assert "z -2.31 bp  beta" in printed(config, [signal(OPEN_NS)])


def test_every_strategy_that_is_no_filter_names_the_unit_of_its_z() -> None:
    """What is not in standard deviations is not to be read as if it were."""
    units = {kind: z_unit(kind) for kind in registry("strategies")}
    assert {kind for kind, unit in units.items() if not unit} == {"kalman_pairs", "zscore_pairs"}
    assert (units["basis"], z_unit("of nobody")) == ("bp", "")
