"""What a replay says on the terminal: header, event lines, progress, closing block.

On a terminal a bar shows progress; elsewhere every event is one plain line. Long replays stay readable and
fast: ordinary lines (signals, rebalances, refusals, warnings) are shown up to ``LINES_A_SESSION`` a session
and ``LINES_A_RUN`` a run, the rest is counted; changes of the trading state and critical alerts are always
shown. Nothing is lost by this: the run folder holds every event.
"""

from __future__ import annotations

import contextlib
import math
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO
from zoneinfo import ZoneInfo

from engine.app.config.plugins import z_unit
from engine.app.render import percent, rate, usd
from engine.app.terminal_text import closing, shown
from engine.events import (
    SECOND_NS,
    Alert,
    AllocationDone,
    CommandJudged,
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
from engine.vocabulary import counted

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from engine.app.config.load import Config

LINES_A_SESSION = 12
SIGNALS_A_SESSION = 4
LINES_A_RUN = 300
_STATE_MARK = {TradingState.HALTED: "HALT", TradingState.REDUCING: "REDUCE", TradingState.ACTIVE: "ACTIVE"}
#: A rebalance that trades less changes nothing that a person would see.
_TURNOVER_MIN_FRAC = 0.0005
_NAMES_MAX = 2
_INDENT = " " * 13
#: Alerts that only repeat a change of the trading state, which has its own line.
_STATE_ALERTS = frozenset({"halted", "reducing", "active"})
_SHORT_ZONE = {"America/New_York": "ET", "Europe/London": "UK", "UTC": "UTC"}


class Silent:
    """Says nothing: for ``--json`` and ``--quiet``."""

    def on_start(self, config: Config, run_name: str, n_symbols: int, n_sessions: int, n_bars: int) -> None:
        """Ignore the start."""

    def on_notes(self, lines: Sequence[str]) -> None:
        """Ignore notes."""

    def on_effects(self, effects: Sequence[Effect]) -> None:
        """Ignore effects."""

    def on_progress(
        self, bars_done: int, bars_total: int | None, ts_ns: int, bars_per_s: float, var_usd: float
    ) -> None:
        """Ignore progress."""

    def on_done(self, summary: Mapping[str, Any], folder: Path) -> None:
        """Ignore the end."""

    def close(self) -> None:
        """Do nothing: there is nothing to give back."""


class Terminal:
    """Prints a replay as it goes; the listener of ``engine.app.replay.run``.

    Parameters
    ----------
    version : str
    stream : TextIO
        Where to print; a progress bar appears when it is a terminal.
    verb : str
        ``replay``, whose lines are limited, or ``run``, which goes on for weeks and shows them all.
    """

    def __init__(self, version: str, stream: TextIO | None = None, verb: str = "replay") -> None:
        self._version = version
        self._is_limited = verb == "replay"
        self._title = "replay  run " if self._is_limited else f"{verb}  "
        self._stream = stream or sys.stdout
        self._zone: tzinfo = ZoneInfo("UTC")
        self._zone_name = "UTC"
        self._limit_usd = math.nan
        self._var_usd = math.nan
        self._measured_ns = -1
        self._calendar = ""
        self._z_units: dict[str, str] = {}
        self._day = ""
        self._lines_session = 0
        self._lines_run = 0
        self._signals_session = 0
        self._hidden: Counter[str] = Counter()
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        self._printers: dict[type, Callable[[Any], None]] = {
            Signal: self._signal,
            AllocationDone: self._rebalance,
            TargetRefused: self._refused,
            Filled: self._fill,
            RiskMeasured: self._measured,
            TradingStateChanged: self._state,
            LimitChanged: self._limit,
            CommandJudged: self._command,
            Alert: self._alert,
        }

    def on_start(self, config: Config, run_name: str, n_symbols: int, n_sessions: int, n_bars: int) -> None:
        """Print the header: what runs, on which data, under which limit."""
        risk = config.risk
        self._limit_usd = risk.var_limit_usd
        self._calendar = config.universe.calendar
        self._z_units = {table.name: z_unit(table.kind) for table in config.strategy}
        self._zone, self._zone_name = exchange_zone(self._calendar)
        options = config.allocator.options
        words = [
            f"limit  VaR({risk.confidence * 100:g}%, {risk.horizon_days:g}d) {usd(risk.var_limit_usd)}",
            _option(options, "gross_max_frac", "leverage {:.2f}x"),
            _option(options, "risk_aversion", "gamma {:g}"),
            _option(options, "trade_aversion", "tau {:g}"),
            "" if options is not None else "signals only",
        ]
        data = shown(getattr(config.feed.options, "path", config.feed.kind))
        bars = counted(n_bars, "bar") if n_bars else "bars as they come"
        self._write(
            f"astra {self._version}  {self._title}{run_name}   PAPER{_option(risk, 'seed', '  seed {:d}')}"
        )
        sessions = f"{counted(n_sessions, 'session')} " if n_sessions else ""
        self._write(f"data   {data}  {counted(n_symbols, 'symbol')}  {sessions}{self._calendar}  {bars}")
        self._write("   ".join(word for word in words if word))
        self._write("")
        if self._stream.isatty() and self._is_limited:
            self._start_bar(n_bars)

    def on_notes(self, lines: Sequence[str]) -> None:
        """Print what a live run begins with, below the header."""
        for line in lines:
            self._write(line)
        if lines:
            self._write("")

    def on_effects(self, effects: Sequence[Effect]) -> None:
        """Print what a person wants to see of a batch."""
        printers = self._printers
        for effect in effects:
            printer = printers.get(type(effect.event))
            if printer is not None:
                printer(effect.event)

    def on_progress(
        self, bars_done: int, bars_total: int | None, ts_ns: int, bars_per_s: float, var_usd: float
    ) -> None:
        """Move the bar; the caller decides how often (about ten times a second is enough)."""
        if self._progress is None or self._task is None:
            return
        left = (bars_total - bars_done) / bars_per_s if bars_total and bars_per_s > 0 else math.nan
        eta = "" if math.isnan(left) else f"ETA {int(left // 60)}:{int(left % 60):02d}"
        total = f"/{bars_total:,}" if bars_total else ""
        used = _share(var_usd, self._limit_usd)
        text = f"{bars_done:,}{total} bars  {rate(bars_per_s)} bars/s  VaR {used}  {eta}"
        day = _day(self._local(ts_ns))
        self._progress.update(self._task, completed=bars_done, total=bars_total, text=text, day=day)
        self._progress.refresh()

    def on_done(self, summary: Mapping[str, Any], folder: Path) -> None:
        """Take the bar away and print the closing block."""
        self._close_session()
        self.close()
        self._write("")
        self._write(closing(summary, folder, self._limit_usd))

    def close(self) -> None:
        """Take the bar away and give the cursor back, however the run ended."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    # ------------------------------------------------------------------------------------ event lines

    def _signal(self, event: Signal) -> None:
        side = "flat" if event.side is Side.FLAT else f"{event.side.value.lower()} spread"
        z = f"{event.z:+.2f} {self._z_units.get(event.strategy, '')}".rstrip()
        self._line(event.ts_ns, "SIGNAL", f"{event.spread:<9} z {z}  beta {event.beta:.3f}  {side}")

    def _rebalance(self, event: AllocationDone) -> None:
        if event.status == "optimal":
            if event.turnover_frac < _TURNOVER_MIN_FRAC:
                return
            binding = f" (binding: {_few(event.binding)})" if event.binding else ""
            text = (
                f"gross {event.gross_frac:.2f}x  net {percent(event.net_frac, 1)}  "
                f"turnover {percent(event.turnover_frac, 1)}  optimal{binding}"
            )
        else:
            why = f" ({_few(event.binding)})" if event.binding else ""
            text = f"{event.status}{why}: the book is held"
        self._line(event.ts_ns, "REBAL", text)

    def _refused(self, event: TargetRefused) -> None:
        self._line(event.ts_ns, "REFUSED", event.reason)

    def _measured(self, event: RiskMeasured) -> None:
        self._var_usd = event.var_usd
        self._measured_ns = event.ts_ns

    def _state(self, event: TradingStateChanged) -> None:
        # A command changes the state between two measures; an older VaR would be a false witness.
        is_fresh = event.ts_ns == self._measured_ns
        self._risk_line(event.ts_ns, _STATE_MARK[event.state], "" if is_fresh else event.reason)
        if event.state is TradingState.HALTED:
            lift = f"; lift with: astra resume --halt-id {event.halt_id} ..." if event.halt_id else ""
            self._write(f"{_INDENT}{event.reason}: trading stopped, positions kept{lift}")
        elif event.reason:
            self._write(f"{_INDENT}{event.reason}")

    def _risk_line(self, ts_ns: int, mark: str, text: str = "") -> None:
        self._line(ts_ns, "RISK", f"{text or self._var_text():<44}{mark}", is_always=True)

    def _var_text(self) -> str:
        if not math.isfinite(self._var_usd):
            return "VaR unknown"
        return f"VaR {usd(self._var_usd)}   {_share(self._var_usd, self._limit_usd)} of limit"

    def _limit(self, event: LimitChanged) -> None:
        if event.name == "var_limit_usd":
            self._limit_usd = event.value
        text = f"{event.name} {event.previous:,.0f} -> {event.value:,.0f} by {event.principal}"
        self._line(event.ts_ns, "LIMIT", text, is_always=True)

    def _command(self, event: CommandJudged) -> None:
        reason = f" ({event.reason})" if event.reason else ""
        text = f"{event.kind} by {event.principal}: {event.verdict}{reason}"
        self._line(event.ts_ns, "COMMAND", text, is_always=True)

    def _alert(self, event: Alert) -> None:
        if event.kind == "var_near_limit":
            self._risk_line(event.ts_ns, "WARN")
        elif event.severity != "info" and event.kind not in _STATE_ALERTS:
            mark = "WARN" if event.severity == "warning" else "ALERT"
            self._line(event.ts_ns, mark, event.text, is_always=event.severity == "critical")

    def _fill(self, event: Filled) -> None:
        side = "buy " if event.quantity > 0.0 else "sell"
        text = f"{event.symbol:<6} {side} {abs(event.quantity):,.1f} at {event.price_usd:,.2f}"
        self._line(event.ts_ns, "FILL", text)

    # ---------------------------------------------------------------------------------------- drawing

    def _line(self, ts_ns: int, word: str, text: str, *, is_always: bool = False) -> None:
        local = self._local(ts_ns)
        day = _day(local)
        if day != self._day:
            self._close_session()
            self._day = day
        is_full = self._lines_session >= LINES_A_SESSION or self._lines_run >= LINES_A_RUN
        if word == "SIGNAL":  # they come in crowds, and would hide what was done about them
            is_full = is_full or self._signals_session >= SIGNALS_A_SESSION
            self._signals_session += 1
        if is_full and self._is_limited and not is_always:
            self._hidden[word] += 1
            return
        if self._lines_session == 0:
            self._write(f"  {day} {local:%Y}")
        self._lines_session += 1
        self._lines_run += 1
        self._write(f"  {local:%H:%M} {self._zone_name}  {word:<8}{text}".rstrip())

    def _close_session(self) -> None:
        if self._hidden and self._lines_session:
            counts = ", ".join(f"{count:,} {word}" for word, count in sorted(self._hidden.items()))
            self._write(f"{_INDENT}and {counts} in this session; all are in the run folder")
        if self._lines_run >= LINES_A_RUN > self._lines_run - self._lines_session:
            self._write("  further sessions: only changes of the trading state are shown")
        self._hidden.clear()
        self._lines_session = self._signals_session = 0

    def _local(self, ts_ns: int) -> datetime:
        return datetime.fromtimestamp(ts_ns // SECOND_NS, self._zone)

    def _write(self, text: str) -> None:
        if self._progress is not None:
            self._progress.console.print(text, markup=False, highlight=False, soft_wrap=True)
            return
        # A reader who leaves (head, less) must not stop the run.
        with contextlib.suppress(BrokenPipeError):
            self._stream.write(f"{text}\n")
            if not self._is_limited:
                self._stream.flush()

    def _start_bar(self, n_bars: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        columns = (
            TextColumn(" {task.fields[day]}"),
            BarColumn(30),
            TextColumn("{task.percentage:>3.0f}%  {task.fields[text]}"),
        )
        console = Console(file=self._stream)
        self._progress = Progress(*columns, console=console, auto_refresh=False, transient=True)
        self._task = self._progress.add_task("", total=n_bars or None, text="", day="")
        self._progress.start()


def exchange_zone(calendar: str) -> tuple[tzinfo, str]:
    """Return the local time of an exchange and its short name, as people there write it."""
    from feeds.calendars import zone_of

    zone = ZoneInfo(zone_of(calendar))
    return zone, _SHORT_ZONE.get(zone.key, zone.key.rpartition("/")[2])


def _few(names: Sequence[str]) -> str:
    """Name the first of them: a line is to be read, and the journal has them all."""
    more = len(names) - _NAMES_MAX
    return ", ".join(names[:_NAMES_MAX]) + (f" and {more} more" if more > 0 else "")


def _share(var_usd: float, limit_usd: float) -> str:
    """Never round up to the limit: 99.9% of it is not all of it."""
    return f"{math.floor(100 * var_usd / limit_usd)}%" if math.isfinite(var_usd) else "unknown"


def _option(options: object, key: str, form: str) -> str:
    value = getattr(options, key, None)
    return form.format(value) if isinstance(value, int | float) else ""


def _day(local: datetime) -> str:
    return f"{local:%a} {local.day} {local:%b}"
