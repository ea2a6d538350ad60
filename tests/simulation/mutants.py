"""Engines broken on purpose: an oracle that lets one pass proves nothing about the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final
from unittest import mock

import msgspec

from engine.app.live.daemon import Daemon
from engine.book import Book
from engine.commands import Verifier
from engine.events import TradingState
from engine.intake import Intake
from engine.journal import JournalWriter
from engine.sinks.courier import Courier
from engine.sinks.messages import effect_id
from engine.sinks.outbox import Outbox
from risk.gate import RiskGate
from risk.limits import HaltLatch
from tests.simulation.plan import draw
from tests.simulation.world import simulate


def _in_place(owner: type, **methods: Any) -> AbstractContextManager[Any]:
    return mock.patch.multiple(owner, **methods)


_commit, _release = Daemon._commit, Daemon._release


async def _confirms_first(daemon: Any) -> None:
    acknowledge, daemon._acknowledge = daemon._acknowledge, []
    for _, call in acknowledge:
        call()
    await _commit(daemon)


async def _publishes_first(daemon: Any) -> None:
    effects, daemon._effects = daemon._effects, []
    daemon._outbox.add(effects)
    await _commit(daemon)


def _releases_all(daemon: Any) -> None:
    durable_seq, daemon.durable_seq = daemon.durable_seq, daemon.loop.seq
    _release(daemon)
    daemon.durable_seq = durable_seq


def _never_syncs(writer: Any, data: bytes) -> None:
    writer._file.write(data)
    writer._chain.update(data)
    writer._size += len(data)


_start = JournalWriter._start


def _keeps_torn_tails(writer: Any, tail: Any) -> None:
    if tail is not None:
        tail = msgspec.structs.replace(tail, size_bytes=tail.size_bytes + tail.torn_bytes, torn_bytes=0)
    _start(writer, tail)


def _forgetting(owner: type, name: str, forgotten: dict[str, Any]) -> AbstractContextManager[Any]:
    """Let ``name``, which returns a state, return a part of it as if nothing had happened."""
    whole = getattr(owner, name)
    return _in_place(owner, **{name: lambda part: whole(part) | forgotten})


async def _delivers_late(courier: Any) -> None:
    courier._start_waiting()
    batch = courier._outbox.pending(courier.name, courier.lane, 500)
    courier._outbox.delivered(courier.name, courier.lane, effect_id(batch[-1]))
    await courier._sink.deliver(batch)
    courier._waiting_since_s = None
    courier._note_success()
    courier._on_progress()


_decide, _refusal, _restore_intake = RiskGate._decide, Verifier._refusal, Intake.restore


def _reduces_nothing(gate: Any, change: Any, state: Any, is_flatten: bool) -> Any:
    return _decide(gate, change, TradingState.ACTIVE if state is TradingState.REDUCING else state, is_flatten)


def _counts(reason: str) -> Callable[..., str]:
    def judge(verifier: Any, command: Any, body: Any, seen_ns: int) -> str:
        why = _refusal(verifier, command, body, seen_ns)
        return "" if why == reason else why

    return judge


def _forgets_waiting(intake: Any, state: Any) -> None:
    _restore_intake(intake, state | {"waiting": []})


def _forgets_costs(book: Any, leg_quantity: Any, trades: Any, price_usd: Any) -> None:
    _trade(book, leg_quantity, trades, price_usd)
    book.cash_usd += sum(cost for *_, cost in trades)


_trade = Book.trade


def _is_over(latch: Any, report: Any) -> bool:
    return bool(report.var_usd >= latch.var_limit_usd)


def _resumes_any(latch: Any, ts_ns: int, _halt_id: str) -> Any:
    return _resume(latch, ts_ns, latch.halt_id)


def _halts_once(latch: Any, ts_ns: int, reason: str, **_: Any) -> Any:
    return () if latch.trading_state is TradingState.HALTED else _halt(latch, ts_ns, reason)


_resume, _halt = HaltLatch.resume, HaltLatch.halt


@contextmanager
def _lets_nan_pass() -> Iterator[None]:
    with _in_place(HaltLatch, _is_breach=_is_over), mock.patch("risk.limits._is_unknown", return_value=False):
        yield


#: What is wrong with each, and how it is made so.
MUTANTS: Final[dict[str, Callable[[], AbstractContextManager[Any]]]] = {
    "confirms before the fsync": lambda: _in_place(Daemon, _commit=_confirms_first),
    "publishes before the fsync": lambda: _in_place(Daemon, _commit=_publishes_first),
    "a commit covers what came after it": lambda: _in_place(Daemon, _release=_releases_all),
    "never syncs": lambda: _in_place(JournalWriter, _write=_never_syncs),
    "writes on behind a torn tail": lambda: _in_place(JournalWriter, _start=_keeps_torn_tails),
    "a halt is not in the snapshot": lambda: _forgetting(
        HaltLatch, "state", {"trading_state": "ACTIVE", "halt_id": ""}
    ),
    "the outbox is not in the snapshot": lambda: _forgetting(
        Outbox, "state", {"lanes": {"urgent": b"\x90", "routine": b"\x90"}}
    ),
    "nonces are not in the snapshot": lambda: _forgetting(Verifier, "state", {"used": {}}),
    "bars that wait are not restored": lambda: _in_place(Intake, restore=_forgets_waiting),
    "the cursor moves before the delivery": lambda: _in_place(Courier, _deliver=_delivers_late),
    "REDUCING lets everything pass": lambda: _in_place(RiskGate, _decide=_reduces_nothing),
    "a VaR that is NaN is no breach": _lets_nan_pass,
    "a resume lifts any halt": lambda: _in_place(HaltLatch, resume=_resumes_any),
    "a second halt takes no name": lambda: _in_place(HaltLatch, halt=_halts_once),
    "expired commands count": lambda: _in_place(Verifier, _refusal=_counts("expired")),
    "replayed commands count": lambda: _in_place(Verifier, _refusal=_counts("replayed")),
    "forged commands count": lambda: _in_place(Verifier, _refusal=_counts("bad_signature")),
    "costs are not paid": lambda: _in_place(Book, trade=_forgets_costs),
}


@contextmanager
def broken(name: str) -> Iterator[None]:
    """Break the engine in one way."""
    with MUTANTS[name]():
        yield


def caught(name: str, seeds: Sequence[int]) -> tuple[int, str]:
    """Return how many worlds it took to catch a mutant, and what was said; 0 if none of them did."""
    with broken(name):
        for count, seed in enumerate(seeds, start=1):
            outcome = simulate(draw(seed))
            if outcome.fault:
                return count, outcome.fault
    return 0, ""
