"""Every message of the engine: frozen, typed, with units in the names.

*Records* enter through the log: bars and ticks (live), whole slices (columnar feeds), operator commands, and
the allocator's answers. *Events* are what the core says about them. Structs are ``array_like`` and tagged:
their MessagePack encoding is the canonical encoding that journal and digest use, so the order of fields is
part of the format.
"""

from __future__ import annotations

from typing import Final, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.vocabulary import SIDES as SIDES  # noqa: PLC0414 - part of every message
from engine.vocabulary import Reject as Reject  # noqa: PLC0414
from engine.vocabulary import Side as Side  # noqa: PLC0414
from engine.vocabulary import TradingState as TradingState  # noqa: PLC0414

Nanos: TypeAlias = int
FloatArray: TypeAlias = NDArray[np.float64]
IntArray: TypeAlias = NDArray[np.int64]
BoolArray: TypeAlias = NDArray[np.bool_]

#: Rows of ``BarSlice.bars``.
OPEN: Final = 0
HIGH: Final = 1
LOW: Final = 2
CLOSE: Final = 3
VOLUME: Final = 4

SECOND_NS: Final = 1_000_000_000
MINUTE_NS: Final = 60_000_000_000
DAY_NS: Final = 86_400_000_000_000


class _Message(msgspec.Struct, frozen=True, array_like=True, tag=True, gc=False):
    """Common options of every message; carries no field and no behaviour."""


# ---------------------------------------------------------------------------------------------- records


class Bar(_Message, frozen=True):
    """One bar of one symbol, as a feed delivered it; ``ts_close_ns`` is the END of its minute, UTC."""

    ts_close_ns: Nanos
    symbol: str
    open: float
    high: float
    low: float
    close: float
    volume: float


class Tick(_Message, frozen=True):
    """The watermark: no bar that closed at or before ``ts_ns`` is awaited any longer."""

    ts_ns: Nanos


class BarSlice(msgspec.Struct, frozen=True, gc=False):
    """All symbols of one minute of a session.

    Parameters
    ----------
    ts_close_ns : int
        End of the minute, nanoseconds UTC.
    session : int
        Date of the session as days since 1970-01-01.
    minute : int
        1 for the first minute of the session.
    bars : FloatArray, shape (5, n_symbols)
        Rows OPEN, HIGH, LOW, CLOSE (USD) and VOLUME (shares), columns in universe order; a column is NaN
        where the symbol has no accepted bar. Read-only by contract.
    suspect : tuple of int
        Symbols whose bar is held for confirmation; their columns are NaN.
    accepted : int
        Bars accepted into this slice.
    """

    ts_close_ns: Nanos
    session: int
    minute: int
    bars: FloatArray
    suspect: tuple[int, ...] = ()
    accepted: int = 0


class HaltRequested(_Message, frozen=True):
    """The edge saw something that must stop trading: a clock that jumped, a silent feed, a signal.

    ``reason`` is one of the typed reasons of docs/halts.md, ``detail`` what a person should know.
    """

    ts_ns: Nanos
    reason: str
    detail: str = ""


class Command(_Message, frozen=True):
    """A signed operator command, exactly as received; ``engine/commands.py`` verifies it.

    ``body`` is the exact JSON text that was signed, ``signature`` its HMAC-SHA256 in hexadecimal.
    ``signed_by`` is what the edge found when it came in: ``operator``, ``halt`` or ``nobody``. Keys change,
    the log does not, so what was found then counts; empty means that nobody has looked yet.
    """

    ts_ns: Nanos
    body: str
    signature: str
    signed_by: str = ""


class NoncesUsed(_Message, frozen=True):
    """Nonces of earlier epochs, and when they expire; no command issued before ``since_ns`` counts."""

    ts_ns: Nanos
    used: tuple[tuple[str, Nanos], ...]
    since_ns: Nanos = 0


class LimitsDue(_Message, frozen=True):
    """So late it is by the clock of commands: numbers whose time has come return."""

    ts_ns: Nanos


class TargetsProposed(_Message, frozen=True):
    """An allocator's answer to the slice that closed at ``ts_ns``.

    Parameters
    ----------
    state_version : int
        Sequence number of that slice's record; an answer to any other than the last is late.
    status : str
        ``optimal``, or why there is nothing to trade (``infeasible``, ``solver_failed``, ...).
    leg_frac : tuple of float
        Target weight of every leg of the layout, fraction of equity; empty unless ``optimal``.
    binding : tuple of str
        Constraints that bind at the optimum.
    solver : str
        Which solver of the fallback chain answered.
    by_sleeve : bool
        Every sleeve is a basket of its own; otherwise the whole rebalance fills at one fraction.
    """

    ts_ns: Nanos
    state_version: int
    status: str
    leg_frac: tuple[float, ...]
    binding: tuple[str, ...] = ()
    solver: str = ""
    by_sleeve: bool = False


# ----------------------------------------------------------------------------------- events about bars


class BarRejected(_Message, frozen=True):
    """``count`` bars of a symbol were not accepted; ``bar`` is kept for the quarantine when it was one."""

    ts_close_ns: Nanos
    symbol: str
    reason: Reject
    count: int = 1
    bar: Bar | None = None


class BarSuspended(_Message, frozen=True):
    """A jump beyond the collar: the bar is pending until a later one confirms or denies it."""

    ts_close_ns: Nanos
    symbol: str
    reference_usd: float
    close_usd: float


class BarConfirmed(_Message, frozen=True):
    """The suspended bar of ``ts_close_ns`` counts as accepted; it is never dispatched back in time."""

    ts_close_ns: Nanos
    symbol: str


class SliceClosed(_Message, frozen=True):
    """A live minute was closed with ``accepted`` bars; ``suspect`` symbols wait for confirmation."""

    ts_close_ns: Nanos
    session: int
    minute: int
    accepted: int
    suspect: tuple[int, ...] = ()


# ----------------------------------------------------------------------------- events of the trading day


class Signal(_Message, frozen=True):
    """A spread changed its side. ``z`` triggered it, ``expected_return_frac`` is per USD of gross."""

    ts_ns: Nanos
    strategy: str
    spread: str
    side: Side
    z: float
    beta: float
    expected_return_frac: float


class SpreadNoted(_Message, frozen=True):
    """A strategy has something to say about a spread (``calibrated``, ``not_admitted``, ...)."""

    ts_ns: Nanos
    strategy: str
    spread: str
    note: str
    values: dict[str, float]


class TargetApproved(_Message, frozen=True):
    """Permission to trade. Only ``risk/gate.py`` makes one; nothing else can change the book.

    ``leg_quantity`` is the target of every leg in shares; ``weight_frac`` the net weight by symbol.
    ``scale`` is the λ of w0 + λ(w − w0) that met the budget, 1 if it was met unscaled.
    """

    ts_ns: Nanos
    leg_quantity: tuple[float, ...]
    weight_frac: tuple[float, ...]
    scale: float
    var_upper_usd: float
    is_flatten: bool = False


class TargetRefused(_Message, frozen=True):
    """A target, or what was left of it, will not trade; the book is held."""

    ts_ns: Nanos
    reason: str
    weight_frac: tuple[float, ...] = ()


class Filled(_Message, frozen=True):
    """Net fill of one symbol at the opening instant ``ts_ns`` of its bar; costs are not in the price."""

    ts_ns: Nanos
    symbol: str
    quantity: float
    price_usd: float
    cost_usd: float


class BookMarked(_Message, frozen=True):
    """The book after fills, marks and funding; ``funding_usd`` and ``costs_usd`` are cumulative."""

    ts_ns: Nanos
    equity_usd: float
    cash_usd: float
    gross_usd: float
    net_usd: float
    funding_usd: float
    costs_usd: float


class SleevesMarked(_Message, frozen=True):
    """What each sleeve has earned up to the close of a session: said when the next one begins.

    Sums over sleeves are those of the book: ``pnl_usd`` is after ``costs_usd`` and funding. All cumulative,
    in the order of the layout's sleeves.
    """

    ts_ns: Nanos
    gross_usd: tuple[float, ...]
    pnl_usd: tuple[float, ...]
    costs_usd: tuple[float, ...]


class RiskMeasured(_Message, frozen=True):
    """VaR and ES of the held book, positive losses; NaN with a ``reason`` when UNKNOWN."""

    ts_ns: Nanos
    var_usd: float
    var_analytic_usd: float
    var_mc_usd: float
    var_upper_usd: float
    es_usd: float
    reason: str = ""


class TradingStateChanged(_Message, frozen=True):
    """The latch moved. ``halt_id`` names a halt (and is what a resume must quote)."""

    ts_ns: Nanos
    state: TradingState
    previous: TradingState
    reason: str
    halt_id: str = ""


class CommandJudged(_Message, frozen=True):
    """Verdict on an operator command: ``accepted``, or ``refused`` and why.

    ``nonce`` is that of the command, by which its sender knows the verdict; empty if it was no command.
    """

    ts_ns: Nanos
    kind: str
    principal: str
    verdict: str
    reason: str
    nonce: str = ""


class LimitChanged(_Message, frozen=True):
    """A risk limit changed; ``expires_ns`` 0 means until further notice."""

    ts_ns: Nanos
    name: str
    value: float
    previous: float
    expires_ns: Nanos
    principal: str


class AllocationDone(_Message, frozen=True):
    """An allocator answered: what the console and the log show of a rebalance."""

    ts_ns: Nanos
    status: str
    gross_frac: float
    net_frac: float
    turnover_frac: float
    binding: tuple[str, ...]
    solver: str


class Alert(_Message, frozen=True):
    """Something a person should know. ``severity`` is ``info``, ``warning`` or ``critical``.

    As a record it is what the edge has to tell: it decides nothing.
    """

    ts_ns: Nanos
    severity: str
    kind: str
    text: str


Record: TypeAlias = (
    Bar
    | Tick
    | BarSlice
    | BarRejected
    | BarSuspended
    | BarConfirmed
    | HaltRequested
    | Command
    | NoncesUsed
    | LimitsDue
    | TargetsProposed
    | Alert
)
Event: TypeAlias = (
    BarRejected
    | BarSuspended
    | BarConfirmed
    | SliceClosed
    | Signal
    | SpreadNoted
    | TargetApproved
    | TargetRefused
    | Filled
    | BookMarked
    | SleevesMarked
    | RiskMeasured
    | TradingStateChanged
    | CommandJudged
    | LimitChanged
    | AllocationDone
    | Alert
)
#: Events that the ``digest`` of a run covers.
DIGESTED: Final = (
    Signal,
    TargetApproved,
    TargetRefused,
    Filled,
    BookMarked,
    RiskMeasured,
    TradingStateChanged,
)
