"""What the terminal says of a run as a whole: the notes at the start of a live one, and the closing block."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from engine.app.render import percent, rate, usd
from engine.app.replay.statistics import NO_CURVE
from engine.events import TradingState
from engine.sinks.unmet import NO_TARGET, NOT_MEASURED
from engine.status import Status
from engine.vocabulary import counted

_SPREADS_SHOWN: Final = 3


def opening(instance: str, option: str, started: Sequence[str], status: Status) -> list[str]:
    """Say which servers were started, how to listen, and that an earlier halt is still in force.

    Parameters
    ----------
    instance : str
        ``[operator] instance``, as in the names of channels and topics.
    option : str
        Names the configuration to other verbs, for example ``" --config desk/astra.toml"``; empty for the
        one that they find by themselves.
    started : sequence of str
        Addresses of servers that were started for this run.
    status : Status
        As recovered.
    """
    lines = []
    for address in started:
        server = urlsplit(address)
        if server.scheme == "redis":
            follow = f"redis-cli -u {address} SUBSCRIBE astra:{instance}:alerts"
        else:
            follow = f"mosquitto_sub -V 5 -h {server.hostname} -p {server.port} -v -t 'astra/{instance}/#'"
        lines.append(f"{server.scheme:<6} {address}   {follow}")
    if started:
        lines.append(f"alerts astra alerts --follow{option}")
    if status.trading_state is TradingState.HALTED:
        lines += [
            f"HALTED {status.halt_reason}, since before this start: nothing trades, positions are kept",
            f'       lift with: astra resume{option} --halt-id {status.halt_id} --reason "..."',
        ]
    return lines


def asked(state: str, option: str, pid: int, *, obeys: bool) -> list[str]:
    """Say where a live run keeps its state, how to ask it, and how to stop its trading.

    >>> asked("demo/state", " --config demo/astra.toml", 4711, obeys=False)[0]
    'state  demo/state   astra status --config demo/astra.toml'
    >>> asked("state", "", 4711, obeys=False)[1]
    'keys   none, so it obeys no command (see docs/operator.md); to halt it: kill -USR1 4711'
    """
    lines = [f"state  {state}   astra status{option}"]
    if not obeys:
        lines.append(
            f"keys   none, so it obeys no command (see docs/operator.md); to halt it: kill -USR1 {pid}"
        )
    return lines


def config_option(name: str) -> str:
    """Name a configuration to the verbs that take ``--config``; empty for the file they find by themselves.

    >>> config_option("desk/astra.toml"), config_option("astra.toml")
    (' --config desk/astra.toml', '')
    """
    return "" if name == "astra.toml" else f" --config {shlex.quote(name)}"


def closing(summary: Mapping[str, Any], folder: Path, limit_usd: float) -> str:
    """Write the closing block of a run.

    Parameters
    ----------
    summary : mapping
        As in ``summary.json``.
    folder : Path
        The run folder.
    limit_usd : float
        The limit at the end.
    """
    counts = [counted(summary[key], key[:-1]) for key in ("halts", "signals", "rebalances")]
    rejected = sum(summary.get("rejected", {}).values())
    if rejected:
        reasons = ", ".join(f"{n:,} {reason}" for reason, n in sorted(summary["rejected"].items()))
        counts.append(f"{counted(rejected, 'bar')} rejected ({reasons})")
    gain, share = (
        usd(summary["pnl_usd"], is_signed=True),
        percent(summary["total_return_frac"], is_signed=True),
    )
    costs, carry = usd(summary["costs_usd"]), usd(summary["funding_usd"], is_signed=True)
    var = f"last {usd(summary['var_last_usd'])}  peak {usd(summary['var_peak_usd'])}  of {usd(limit_usd)}"
    seconds, speed = summary["seconds"], summary["bars_per_s"]
    is_whole = summary.get("exit_reason", "completed") in {"completed", "halted"}
    ended = "finished" if is_whole else str(summary["exit_reason"]).upper()
    book = [
        f"P&L       {gain}  ({share})    costs {costs}   carry {carry}",
        *_halted(summary),
        *_by_strategy(summary.get("strategies", {})),
        f"drawdown  {percent(summary['max_drawdown_frac'])}    Sharpe  {sharpe_text(summary)}",
        f"VaR       {var}",
    ]
    none = f"book      none was kept: {NO_CURVE}, no P&L and no VaR"
    lines = [
        f"{ended} in {seconds:.1f} s ({rate(speed)} bars/s)   {', '.join(counts)}",
        *([none] if summary["sharpe_reason"] == NO_CURVE else book),
        *_noted(summary.get("notes", ())),
        f"digest    {summary['digest']}",
        f"report    {shown(folder / 'report.html')}",
    ]
    return "\n".join(lines)


def _halted(summary: Mapping[str, Any]) -> list[str]:
    """Part the P&L of a run that was halted: what a book earns unsteered is no merit of the rules."""
    halted = summary.get("halted")
    if not halted:
        return []
    before, since, idle = (
        usd(halted[f"pnl_{part}_usd"], is_signed=True) for part in ("before", "since", "halted")
    )
    held = "of what was held, nothing was decided" if idle == since else f"of it {idle} while halted"
    return [
        f"halted    first at {halted['first']}: {before} until then, {since} since ({held})",
        "          drawdown and Sharpe below are of both",
    ]


def _by_strategy(strategies: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Say what each strategy earned, where there are several."""
    if len(strategies) < 2:
        return []
    width = max(map(len, strategies))
    gains = {name: usd(one["pnl_usd"], is_signed=True) for name, one in strategies.items()}
    room = max(map(len, gains.values()))
    return [
        f"          {name:<{width}}  {gains[name]:>{room}}    costs {usd(one['costs_usd'])}   "
        f"{counted(one['trades'], 'trade')}{_won(one['win_rate'])}"
        for name, one in strategies.items()
    ]


def _won(win_rate: float | None) -> str:
    return "" if win_rate is None else f", {percent(win_rate, 0)} won"


def _noted(notes: Sequence[Mapping[str, Any]]) -> list[str]:
    """Count what was said of spreads: why no signals, which noise is a guess; then tell of the allocator."""
    counts = Counter(
        str(note["note"]).replace("_", " ")
        for note in notes
        if "answers" not in note and note["note"] != NOT_MEASURED
    )
    spreads = ", ".join(f"{n} {note}" for note, n in sorted(counts.items()))
    waited = [(str(note["spread"]), note["bars"]) for note in notes if note["note"] == NOT_MEASURED]
    return [
        *([f"spreads   {spreads}"] if spreads else []),
        *([f"waiting   {_waited(waited)}"] if waited else []),
        *(f"allocator {about_allocator(note)}" for note in notes if "answers" in note),
    ]


def _waited(spreads: Sequence[tuple[str, int]]) -> str:
    """Tell for how long spreads were wanted that nobody could measure, the longest first."""
    longest = sorted(spreads, key=lambda one: -one[1])
    named = ", ".join(f"{name} {counted(bars, 'bar')}" for name, bars in longest[:_SPREADS_SHOWN])
    more = f" and {len(longest) - _SPREADS_SHOWN} more" if len(longest) > _SPREADS_SHOWN else ""
    return f"{named}{more}, wanted before there were days enough to measure: see [risk] history"


def about_allocator(note: Mapping[str, Any]) -> str:
    """Write what a note says of the allocator: why it gave no target, or none that trades.

    >>> note = {"note": "allocator_bad_input", "reason": "history_return_frac", "times": 4, "answers": 9}
    >>> about_allocator(note)
    'bad_input (history_return_frac), 4 times of 9: the book was held'
    """
    if note["note"] == NO_TARGET:
        said = f"answered {note['answers']:,} times, traded none of {note['entries']:,} entries"
        if "expected_best_bps" not in note:
            return said
        expected, cost = (f"{note[key]:.1f}" for key in ("expected_best_bps", "cost_bps"))
        return (
            f"{said}: the best expected {expected} bp over horizon_min, the way in costs {cost} before impact"
        )
    status = str(note["note"]).removeprefix("allocator_")
    reason = f"{status} ({note['reason']})" if note.get("reason") else status
    return f"{reason}, {note['times']:,} times of {note['answers']:,}: the book was held"


def sharpe_text(summary: Mapping[str, Any]) -> str:
    """Write the Sharpe ratio with its standard error, or why there is none.

    Examples
    --------
    >>> sharpe_text({"sharpe": None, "sharpe_reason": "5 sessions (needs 20)"})
    'not shown: 5 sessions (needs 20)'
    >>> sharpe_text({"sharpe": 1.204, "sharpe_se": 2.0, "sessions": 63})
    '1.20 +/- 2.00 (63 sessions)'
    """
    if summary["sharpe"] is None:
        return f"not shown: {summary['sharpe_reason']}"
    sessions = counted(summary["sessions"], "session")
    return f"{summary['sharpe']:.2f} +/- {summary['sharpe_se']:.2f} ({sessions})"


def shown(path: object) -> str:
    """Write a path relative to the working folder where it lies inside."""
    try:
        return str(Path(str(path)).relative_to(Path.cwd()))
    except ValueError:
        return str(path)
