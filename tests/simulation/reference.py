"""What must be true: the log as it is on disk, and a loop that takes it without interruption.

The reference is the product's own core, watched from beside it: every promise about trading is judged on it,
and everything a process did, said or recovered is compared with it, bit for bit.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from engine import legs
from engine.commands import read_body
from engine.events import (
    OPEN,
    BarRejected,
    BarSlice,
    BookMarked,
    Command,
    CommandJudged,
    Event,
    Filled,
    FloatArray,
    HaltRequested,
    Record,
    RiskMeasured,
    SliceClosed,
    TargetApproved,
    TargetRefused,
    Tick,
    TradingState,
    TradingStateChanged,
)
from engine.journal_format import SUFFIX, decode_record
from engine.loop import Loop
from engine.ports import Effect
from engine.sinks.messages import KINDS
from tests.simulation.engine import build
from tests.simulation.plan import Plan
from tests.support.bad_disk import BadDisk, Inode
from tests.support.live import is_accounted

JOURNAL: Final = Path("state/journal")
ACTIVE, REDUCING, HALTED = TradingState.ACTIVE, TradingState.REDUCING, TradingState.HALTED
_FRAME = struct.Struct("<4sIIQ")
_ENTRY = struct.Struct("<II")
_CENT_USD: Final = 0.01
_SHARES: Final = 1e-6
_FRESH_MIN: Final = 3
encode_events = msgspec.msgpack.Encoder().encode

#: Says what is wrong; the first word names the promise.
Accuse = Callable[[str], None]


class DurableLog:
    """The records that would survive a loss of power now, read from the disk without the product's reader."""

    def __init__(self) -> None:
        self.records: list[bytes] = []
        self.position = ""
        self._known: set[bytes] = set()
        self._name = ""
        self._offset = 0

    def look(self, disk: BadDisk) -> None:
        """Take in what became durable since the last look."""
        names = disk._durable.get(JOURNAL, {})
        for name in sorted(names):
            if name >= self._name and name.endswith(SUFFIX):
                if name > self._name:
                    self._name, self._offset = name, 0
                self._read(names[name])

    def _read(self, inode: Inode) -> None:
        data, at = inode.durable, self._offset
        while at + _FRAME.size <= len(data):
            magic, length, crc, seq = _FRAME.unpack_from(data, at)
            end = at + _FRAME.size + length
            if magic != b"\xffAJ2" or end > len(data) or seq > len(self.records) + 1:
                break
            if zlib.crc32(data[at + _FRAME.size : end], zlib.crc32(struct.pack("<IQ", length, seq))) != crc:
                break
            if seq == len(self.records) + 1:
                self._take(data[at + _FRAME.size : end])
            at = self._offset = end

    def _take(self, body: bytes) -> None:
        at = 0
        while at < len(body):
            length, position_length = _ENTRY.unpack_from(body, at)
            at += _ENTRY.size
            if position_length:
                self.position = body[at : at + position_length].decode()
            raw = body[at + position_length : at + position_length + length]
            self.records.append(raw)
            self._known.add(raw)
            at += position_length + length

    def has(self, raw: bytes) -> bool:
        """Whether a record with these bytes is durable."""
        return raw in self._known


class Reference:
    """A loop that takes the durable records, and everything that must hold after each.

    Parameters
    ----------
    plan : Plan
    accuse : callable
    met : Counter
        What occurred.
    """

    def __init__(self, plan: Plan, accuse: Accuse, met: Counter[str]) -> None:
        self.loop: Loop = build(plan, lambda *_: None)
        self.effects: list[Effect] = []
        self.events: list[bytes] = []
        #: Nonces that an operator of this engine signed, and those that have a verdict.
        self.genuine: set[str] = set()
        self.judged: set[str] = set()
        self._accuse = accuse
        self._met = met
        self._plan = plan
        self._used: set[str] = set()
        self._closed_ns = 0
        #: Bars of the minute, and measures since the last change of state that were of newer prices.
        self._bars = self._fresh = 0
        self._may_flatten = False
        self._halt_id = ""
        #: Names that halts have had, and the causes of the one in force.
        self._halt_ids: set[str] = set()
        self._causes: set[str] = set()
        self._quantity = dict(zip(self.loop.bus.desk.book.layout.symbols, [0.0] * 4, strict=True))  # type: ignore[union-attr]
        self._marked: BookMarked | None = None
        self._cash_out = self._costs = 0.0
        if plan.knobs.holds_at_start:
            self._quantity |= {"A": 200.0, "B": -300.0}
        self._watch_fills()

    @property
    def seq(self) -> int:
        """Records taken."""
        return self.loop.seq

    def take(self, raw: bytes) -> None:
        """Take one record, and judge what follows from it."""
        record = decode_record(raw)
        state, self._halt_id = self.loop.status.trading_state, self.loop.status.halt_id
        events = self.loop.take(record)
        self.loop.bus.take_problem()
        seq = self.loop.seq
        self.events.append(encode_events(events))
        self.effects += [Effect(seq, k, event) for k, event in enumerate(events) if type(event) in KINDS]
        self._met[type(record).__name__] += 1
        if not is_accounted(self.loop):
            self._accuse(f"accounts: record {seq} leaves bars that are in no account")
        if isinstance(record, Tick):  # before the first minute it says where time stands
            self._closed_ns = self._closed_ns or record.ts_ns
        self._judge(seq, record, state, events)

    def _judge(self, seq: int, record: Record, state: TradingState, events: list[Event]) -> None:
        verdict = ""
        for event in events:
            match event:
                case TradingStateChanged():
                    self._check_move(seq, state, event, record, verdict)
                    state = event.state
                case CommandJudged():
                    verdict = event.verdict
                    self._check_command(seq, record, event)
                case TargetApproved(is_flatten=is_flatten):
                    if state is HALTED and not is_flatten:
                        self._accuse(f"halt: record {seq} approves a target while halted")
                    self._may_flatten = is_flatten
                case Filled():
                    if state is HALTED and not self._may_flatten:
                        self._accuse(f"halt: record {seq} fills while halted")
                    self._quantity[event.symbol] += event.quantity
                    self._cash_out += event.quantity * event.price_usd + event.cost_usd
                    self._costs += event.cost_usd
                case SliceClosed():
                    self._closed_ns, self._bars = event.ts_close_ns, event.accepted
                case BookMarked():
                    self._check_book(seq, event)
                case RiskMeasured():
                    is_flat = all(abs(held) < _SHARES for held in self._quantity.values())
                    self._fresh += self._bars > 0 or is_flat
                    self._check_measure(seq, event, events)
                case BarRejected(reason=reason):
                    self._met[f"reject {reason.value}"] += 1
                case TargetRefused(reason=reason):
                    self._met[f"refused {reason}"] += 1
                case _:
                    pass
        if state is not self.loop.status.trading_state:
            self._accuse(f"legality: record {seq}: the read model says {self.loop.status.trading_state}")
        self._check_halted(seq, record, state, _asked_to_halt(record, verdict))

    def _check_move(
        self, seq: int, state: TradingState, event: TradingStateChanged, record: Record, verdict: str
    ) -> None:
        self._met[f"state {event.state.value}"] += 1
        if event.state is HALTED:
            reason = event.reason.split(":")[0].split(" ")[0]
            self._met[f"halt {reason.upper()}"] += 1
        self._check_name(seq, event, _asked_to_halt(record, verdict))
        legal = {
            (HALTED, HALTED),
            (ACTIVE, REDUCING),
            (ACTIVE, HALTED),
            (REDUCING, HALTED),
            (REDUCING, ACTIVE),
            (HALTED, REDUCING),
        }
        if event.previous is not state or (state, event.state) not in legal:
            self._accuse(f"legality: record {seq} moves from {state} to {event.state} ({event.reason})")
        if event.state is ACTIVE and self._fresh < _FRESH_MIN:
            self._accuse(f"halt: record {seq} opens trading by {self._fresh} measures of newer prices")
        self._fresh = 0
        if state is HALTED and event.state is not HALTED:
            body = read_body(record.body) if isinstance(record, Command) else None
            is_lifted = body is not None and body.kind == "resume" and verdict == "accepted"
            if body is None or not is_lifted or body.halt_id != self._halt_id:
                self._accuse(f"halt: record {seq} lifts a halt that no operator has named")

    def _check_halted(self, seq: int, record: Record, state: TradingState, asked: str) -> None:
        """Whoever asks to halt is obeyed, and is heard even where trading was halted before."""
        if asked and state is not HALTED:
            self._accuse(f"halt: record {seq} asks to halt, and the state is {state}")
        if asked == "person" and self.loop.status.halt_id == self._halt_id:
            self._accuse(f"halt: record {seq}: somebody's halt takes no name of its own")
        if asked == "edge" and isinstance(record, HaltRequested) and record.reason not in self._causes:
            self._accuse(f"halt: record {seq} asks to halt for a reason that nobody has heard of")

    def _check_name(self, seq: int, event: TradingStateChanged, asked: str) -> None:
        """Every halt has a name of its own, and what lasts is told once until somebody resumes."""
        if event.state is not HALTED:
            self._causes.clear()
            return
        self._met["halt while halted"] += event.previous is HALTED
        cause = event.reason.partition(":")[0]
        if event.halt_id in self._halt_ids or (cause in self._causes and asked != "person"):
            self._accuse(f"halt: record {seq}: {event.halt_id} ({event.reason}) is told twice")
        self._halt_ids.add(event.halt_id)
        self._causes |= set() if asked == "person" else {cause}

    def _check_command(self, seq: int, record: Record, event: CommandJudged) -> None:
        self._met[f"command {event.verdict} {event.kind}"] += 1
        self.judged.add(event.nonce)
        if event.verdict != "accepted":
            self._met[f"command refused: {event.reason.split(' ')[0]}"] += 1
            return
        body = read_body(record.body) if isinstance(record, Command) else None
        if body is None or body.nonce not in self.genuine:
            self._accuse(f"command: record {seq} accepts what no operator of this engine signed")
        elif body.nonce in self._used and not (body.kind == "halt" and self._closed_ns > body.expires_ns):
            self._accuse(f"command: record {seq} accepts {body.nonce} a second time")
        else:
            # A clock that is set back behind what was closed makes no command young again, and stops no halt.
            now_ns = event.ts_ns if body.kind == "halt" else max(event.ts_ns, self._closed_ns)
            if not body.issued_ns <= now_ns <= body.expires_ns:
                self._accuse(f"command: record {seq} accepts {body.nonce} outside its time")
            self._used.add(body.nonce)

    def _check_book(self, seq: int, event: BookMarked) -> None:
        book = self.loop.bus.desk.book  # type: ignore[union-attr]
        funding_usd = event.funding_usd - (self._marked.funding_usd if self._marked else 0.0)
        if self._marked is not None and not self._plan.knobs.holds_at_start:
            cash_usd = self._marked.cash_usd - self._cash_out + funding_usd
            if (
                abs(cash_usd - event.cash_usd) > _CENT_USD
                or abs(self._marked.costs_usd + self._costs - event.costs_usd) > _CENT_USD
            ):
                self._accuse(f"money: record {seq}: cash {event.cash_usd:.2f}, by the fills {cash_usd:.2f}")
        for symbol, held, price in zip(
            book.layout.symbols, book.quantity.tolist(), book.price_usd.tolist(), strict=True
        ):
            expected = self._quantity[symbol]
            if abs(expected - held) * (price if price == price else 1.0) > _CENT_USD:  # noqa: PLR0124 - NaN
                self._accuse(f"positions: record {seq}: {symbol} {held:.4f}, by the fills {expected:.4f}")
        if abs(event.cash_usd + event.net_usd - event.equity_usd) > _CENT_USD:
            self._accuse(f"money: record {seq}: equity is not cash and positions")
        self._marked, self._cash_out, self._costs = event, 0.0, 0.0

    def _check_measure(self, seq: int, event: RiskMeasured, events: list[Event]) -> None:
        limit_usd = self.loop.bus.desk.latch.var_limit_usd  # type: ignore[union-attr]
        is_safe = event.var_usd < limit_usd and math.isfinite(event.var_upper_usd) and not event.reason
        if not is_safe and self.loop.status.trading_state is not HALTED:
            # One record may close several minutes, and be resumed in none of them.
            self._accuse(
                f"closed: record {seq} measures {event.var_usd} {event.reason!r} and goes on trading"
            )

    def _watch_fills(self) -> None:
        """Judge every fill at its prices: halted or reducing it lowers VaR, and grows no position."""
        desk: Any = self.loop.bus.desk
        fill, layout, model = desk._fill, desk.book.layout, desk.gate._model

        def upper_usd(leg_quantity: FloatArray, prices: FloatArray) -> float:
            holdings = legs.holdings_usd(leg_quantity, layout.leg_symbol, prices)
            return float(model.measure(holdings, desk.risk.market).var_upper_usd)

        def watched(approved: TargetApproved, slice_: BarSlice) -> Any:
            before, state = desk.book.leg_quantity.copy(), desk.latch.trading_state
            opens = slice_.bars[OPEN]
            prices = np.where(np.isnan(opens), desk.book.price_usd, opens)
            events = fill(approved, slice_)
            if any(isinstance(event, Filled) for event in events):
                self._met[f"filled in {state.value}"] += 1
                after = desk.book.leg_quantity.copy()
                if state is not ACTIVE or approved.is_flatten:
                    uppers = upper_usd(before, prices), upper_usd(after, prices)
                    self._check_fill(layout.net(before), layout.net(after), uppers, approved.is_flatten)
            return events

        desk._fill = watched

    def _check_fill(
        self, before: FloatArray, after: FloatArray, uppers: tuple[float, float], is_flatten: bool
    ) -> None:
        along = after * np.sign(before)
        if not bool(np.all((along >= -1e-6) & (along <= np.abs(before) + 1e-6))):
            self._accuse(f"halt: record {self.seq}: a position grows or flips while trading is not open")
        is_lower = uppers[1] < uppers[0] or (is_flatten and math.isnan(uppers[0]))
        if not is_lower:
            self._accuse(f"halt: record {self.seq}: VaR goes from {uppers[0]:.2f} to {uppers[1]:.2f}")


def _asked_to_halt(record: Record, verdict: str) -> str:
    """Return who asked for a halt with a record: a ``person``, the ``edge``, or nobody."""
    if isinstance(record, HaltRequested):
        return "person" if record.reason == "SIGNAL" else "edge"
    body = read_body(record.body) if isinstance(record, Command) and verdict == "accepted" else None
    return "person" if body is not None and body.kind == "halt" else ""
