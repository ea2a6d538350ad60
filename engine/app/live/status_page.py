"""The status document as a page for people: dense, plain, and honest about its age."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from engine.app.live.health_view import Phase
from engine.app.render import percent, usd
from engine.clock import instant
from engine.events import SECOND_NS, Nanos
from engine.vocabulary import counted

#: A document older than this says what was, not what is.
STALE_S: Final = 15.0
_POSITIONS_SHOWN: Final = 12
_UNKNOWN: Final = "unknown"
_CONTROLS: Final = dict.fromkeys((*range(32), *range(127, 160)))


def page(document: Mapping[str, Any], wall_ns: Nanos) -> str:
    """Return the lines to print.

    Parameters
    ----------
    document : mapping
        As ``engine.app.live.status_document.document`` makes it.
    wall_ns : int
        The wall clock of who reads.
    """
    lines = [
        ("astra", _heading(document)),
        *_time(document, wall_ns),
        ("state", document["trading_state"] + (" when it stopped" if _is_stopped(document) else "")),
        *_halt(document),
        ("feed", _feed(document)),
        ("VaR", _var(document)),
        ("equity", _equity(document)),
        *_positions(document),
        *_limits(document),
        ("so far", _counts(document)),
        ("pending", _pending(document)),
        *_verdict(document),
    ]
    # The document came from somewhere: nothing in it may drive the terminal.
    return "\n".join(f"{name:<10} {text}".translate(_CONTROLS) for name, text in lines)


def _heading(document: Mapping[str, Any]) -> str:
    words = (
        document["instance"],
        document["mode"],
        document["phase"],
        document["version"],
        f"epoch {document['epoch']}",
    )
    return "  ".join(str(word) for word in words)


def _is_stopped(document: Mapping[str, Any]) -> bool:
    return bool(document["phase"] == Phase.STOPPED)


def _time(document: Mapping[str, Any], wall_ns: Nanos) -> list[tuple[str, str]]:
    """Tell of which time the figures are; of an engine that has ended, before all else that it has."""
    age_s = (wall_ns - document["written_ns"]) / SECOND_NS
    if not _is_stopped(document):
        return [("as of", _as_of(document, age_s))]
    lines = [("STOPPED", f"{duration(age_s)} ago, in good order; astra run goes on from there")]
    last_ns = document.get("last_minute_ns") or 0
    return [*lines, ("as of", f"{_to_second(last_ns)}, its last minute")] if last_ns else lines


def _as_of(document: Mapping[str, Any], age_s: float) -> str:
    text = f"{_to_second(document['now_ns'])}  written {duration(age_s)} ago"
    if document["speed"] != 1.0:
        text += f"  speed {document['speed']:g}x"
    if age_s > STALE_S:
        text += "  STALE: the engine is stopped, stuck or cut off"
    return text


def _halt(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    if not document["halt_id"]:
        return []
    lift = f'lift with: astra resume --halt-id {document["halt_id"]} --reason "..."'
    return [("halt", f"{document['halt_id']}  {document['halt_reason']}"), ("", lift)]


def _feed(document: Mapping[str, Any]) -> str:
    bars = counted(document["bars"]["accepted"], "bar")
    bars += f", {sum(document['bars']['rejected'].values()):,} rejected"
    if _is_stopped(document):
        return bars
    feed = document["feed"]
    state = {True: "connected", False: "NOT CONNECTED"}.get(feed.get("is_connected"), "connection unknown")
    age_s = document["last_bar_age_s"]
    last = f"last bar {duration(age_s)} old" if age_s is not None else "no bar yet"
    return f"{state}  {last}  {bars}"


def _var(document: Mapping[str, Any]) -> str:
    limit_usd, var_usd = document["var_limit_usd"], document["var_usd"]
    limit = f"limit {usd(limit_usd)}" if limit_usd is not None else "no limit: nothing trades in this run"
    if var_usd is None:
        reason = f" ({document['var_reason']})" if document["var_reason"] else ""
        return f"{_UNKNOWN}{reason}  {limit}"
    used = f"  {percent(document['var_used_frac'])} of " if document["var_used_frac"] is not None else "  "
    upper_usd, es_usd = document["var_upper_usd"], document["es_usd"]
    upper = f"  upper {usd(upper_usd)}" if upper_usd is not None else ""
    shortfall = f"  ES {usd(es_usd)}" if es_usd is not None else ""
    return f"{usd(var_usd)}{used}{limit}{upper}{shortfall}"


def _equity(document: Mapping[str, Any]) -> str:
    if document["equity_usd"] is None:
        return _UNKNOWN
    gross, net = document["gross_frac"], document["net_frac"]
    shares = f"  gross {gross:z.2f}x  net {percent(net, 1)}" if gross is not None and net is not None else ""
    return f"{usd(document['equity_usd'])}{shares}  costs {usd(document['costs_usd'])}"


def _positions(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    held: Mapping[str, float] = document["positions"]
    if not held:
        return [("holds", "nothing")]
    shown = [f"{symbol} {quantity:z,.1f}" for symbol, quantity in list(held.items())[:_POSITIONS_SHOWN]]
    more = len(held) - len(shown)
    return [("holds", "  ".join(shown) + (f"  and {more} more" if more else ""))]


def _limits(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Name the numbers an operator may change; those that return by themselves have a line of their own."""
    standing, lent = [], []
    for name, limit in document["limits"].items():
        text = f"{name} {limit['value']:,.10g}"
        if limit["revert_ns"]:
            lent.append(f"{text} until {_to_second(limit['revert_ns'])}, then {limit['standing']:,.10g}")
        else:
            standing.append(text)
    lines = [*(["  ".join(standing)] if standing else []), *lent]
    return [("limits" if k == 0 else "", text) for k, text in enumerate(lines)]


def _counts(document: Mapping[str, Any]) -> str:
    return "  ".join(counted(count, name.removesuffix("s")) for name, count in document["counts"].items())


def _pending(document: Mapping[str, Any]) -> str:
    waiting = [f"{name} {count:,}" for name, count in document["outbox"].items() if count]
    behind = document["seq"] - document["durable_seq"]
    parts = [*waiting, *([f"{counted(behind, 'record')} not on disk yet"] if behind else [])]
    if dropped := document["commands_dropped"]:
        parts.append(f"{counted(dropped, 'message')} dropped: no signed commands")
    return "  ".join(parts) or "nothing"


def _verdict(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    if not document["verdicts"]:
        return []
    last = document["verdicts"][-1]
    why = f": {last['reason']}" if last["reason"] else ""
    who = last["principal"] or "nobody"
    said = f"{_to_second(last['ts_ns'])}  {last['kind']} by {who} {last['verdict']}{why}"
    return [("command", said)]


def _to_second(ts_ns: Nanos) -> str:
    return instant(ts_ns // SECOND_NS * SECOND_NS)


def duration(seconds: float) -> str:
    """Write a duration in its two largest units.

    Examples
    --------
    >>> duration(0.26), duration(75.0), duration(7_260.0), duration(200_000.0)
    ('0.3 s', '1 min 15 s', '2 h 1 min', '2 d 7 h')
    """
    if seconds < 60.0:
        return f"{max(seconds, 0.0):.1f} s"
    whole = int(seconds)
    for size, name, part, part_name in (
        (86_400, "d", 3_600, "h"),
        (3_600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if whole >= size:
            rest = whole % size // part
            return f"{whole // size} {name}" + (f" {rest} {part_name}" if rest else "")
    return f"{whole} s"
