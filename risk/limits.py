"""The halt latch: ACTIVE, REDUCING, HALTED.

It falls at once and rises slowly: any sign of danger moves it down in the same step; the way up is a resume
that names the halt, and three fresh measures well under the limit. The comparison is ``not (var < limit)``,
so that NaN halts, and it is made to the cent, so that a VaR that prints as the limit is at the limit.

A halt that finds trading halted already takes a name of its own, and a resume must quote the newest: whoever
resumes has seen every cause. What lasts is found again each minute, so a cause counts once until a resume.
A state that was shown to be wrong cannot be resumed from: a new process computes it anew, says so, and halts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec

from engine.errors import ConfigError
from engine.events import SECOND_NS, Alert, Nanos, TradingState, TradingStateChanged
from engine.oversight import RiskReport
from engine.ports import State
from engine.vocabulary import STATE_MISMATCH, STATE_RECOMPUTED

VAR_LIMIT: Final = "VAR_LIMIT"
VAR_UPPER: Final = "VAR_UPPER"
PRICE_SUSPECT: Final = "PRICE_SUSPECT"
RESUMED: Final = "RESUMED"
CLEARED: Final = "CLEARED"

#: Amounts are compared to the cent: what prints as the limit is at the limit.
HALF_CENT_USD: Final = 0.005
#: Share of the limit at or under which an upper bound counts as calm, and how many of them clear the state.
CLEAR_FRAC: Final = 0.95
CLEAR_COUNT: Final = 3
#: Share of the limit at which people are told, and how far below it they may be told again.
WARN_FRAC: Final = 0.80
REARM_FRAC: Final = 0.05


class HaltLatch:
    """The state machine that decides what may trade.

    Parameters
    ----------
    var_limit_usd : float
    warn_frac : float
        Share of the limit at which people are told, once.

    Raises
    ------
    ConfigError
        If the limit is not a positive, finite amount.
    """

    def __init__(self, var_limit_usd: float, warn_frac: float = WARN_FRAC) -> None:
        self._warn_frac = warn_frac
        self._set(_checked(var_limit_usd))
        self.trading_state = TradingState.ACTIVE
        self.halt_id = ""
        #: Why trading is halted; a person's wish is no cause that lasts, and each one counts.
        self._causes: list[str] = []
        self._halts = 0
        self._calm = 0
        self._has_warned = False
        self._held_suspect = False
        self._last: RiskReport | None = None

    def on_measured(
        self, ts_ns: Nanos, report: RiskReport, held_suspect: bool, is_fresh: bool
    ) -> Sequence[TradingStateChanged | Alert]:
        """Judge a measure of the held book.

        Parameters
        ----------
        ts_ns : int
        report : RiskReport
        held_suspect : bool
            A held symbol's bar is waiting for confirmation.
        is_fresh : bool
            Every held symbol has a bar in this slice. A measure of older prices can halt, and opens nothing.
        """
        self._last = report
        self._held_suspect = held_suspect
        # Most minutes are calm, and nothing can follow from them; NaN is not below anything.
        is_calm = report.var_usd < self._warn_usd and report.var_upper_usd < self._warn_usd
        is_quiet = not (report.reason or held_suspect or self._has_warned)
        if is_calm and is_quiet and self.trading_state is TradingState.ACTIVE:
            return ()
        events = self._descend(ts_ns, report, held_suspect)
        if events or self.trading_state is TradingState.HALTED:
            return events
        if self.trading_state is TradingState.REDUCING:
            return self._count_calm(ts_ns, report, held_suspect, is_fresh)
        return self._warn(ts_ns, report)

    def halt(
        self, ts_ns: Nanos, reason: str, *, by_person: bool = False
    ) -> Sequence[TradingStateChanged | Alert]:
        """Halt now, whatever the measure says; a halt in force takes a new name.

        Parameters
        ----------
        ts_ns : int
        reason : str
            Up to its first colon it names the cause. One that the halt in force has already changes nothing.
        by_person : bool
            Somebody asked for it: then it counts, whatever was said before.
        """
        return self._enter_halt(ts_ns, reason, reason, by_person=by_person)

    def resume(self, ts_ns: Nanos, halt_id: str) -> str | TradingStateChanged:
        """Lift the named halt to REDUCING, or say why not; the caller has authenticated the command."""
        last = self._last
        if self.trading_state is not TradingState.HALTED:
            return f"nothing is halted: the state is {self.trading_state.value}"
        if halt_id != self.halt_id:
            return f"the halt in force is {self.halt_id}, the command named {halt_id!r}"
        if self.is_state_wrong:
            return "the state does not follow from the journal: stop and start the engine first"
        if last is None:
            return "VaR has not been measured yet"
        if _is_unknown(last):
            return f"VaR is unknown: {last.reason or 'not a number'}"
        if self._is_breach(last):
            return f"VaR {_usd(last.var_usd)} is not under the limit {_usd(self.var_limit_usd)}"
        return self._move(ts_ns, TradingState.REDUCING, RESUMED)

    @property
    def is_state_wrong(self) -> bool:
        """Whether a halt in force says that the state does not follow from the journal."""
        return STATE_MISMATCH in self._causes

    def set_limit(self, ts_ns: Nanos, var_limit_usd: float) -> Sequence[TradingStateChanged | Alert]:
        """Change the limit and judge the last measure against it at once.

        The last measure is not a fresh one: it can lower the state, but does not count towards raising it.

        Raises
        ------
        ConfigError
            If the limit is not a positive, finite amount.
        """
        self._set(_checked(var_limit_usd))
        self._calm = 0
        last = self._last
        if last is None:
            return ()
        events = self._descend(ts_ns, last, self._held_suspect)
        if events or self.trading_state is TradingState.HALTED:
            return events
        return self._warn(ts_ns, last)

    def state(self) -> State:
        """Return everything that the next step depends on."""
        return {
            "trading_state": self.trading_state.value,
            "halt_id": self.halt_id,
            "causes": list(self._causes),
            "var_limit_usd": self.var_limit_usd,
            "halts": self._halts,
            "calm": self._calm,
            "has_warned": self._has_warned,
            "held_suspect": self._held_suspect,
            "last": None if self._last is None else msgspec.structs.astuple(self._last),
        }

    def restore(self, state: State) -> None:
        """Continue from what ``state`` returned, bit for bit."""
        self.trading_state = TradingState(state["trading_state"])
        self.halt_id = str(state["halt_id"])
        self._causes = list(state["causes"])
        self._set(float(state["var_limit_usd"]))
        self._halts = int(state["halts"])
        self._calm = int(state["calm"])
        self._has_warned = bool(state["has_warned"])
        self._held_suspect = bool(state["held_suspect"])
        self._last = None if state["last"] is None else RiskReport(*state["last"])

    def _set(self, var_limit_usd: float) -> None:
        self.var_limit_usd = var_limit_usd
        self._warn_usd = self._warn_frac * var_limit_usd

    def _is_breach(self, report: RiskReport) -> bool:
        return not report.var_usd < self.var_limit_usd - HALF_CENT_USD

    def _descend(
        self, ts_ns: Nanos, report: RiskReport, held_suspect: bool
    ) -> list[TradingStateChanged | Alert]:
        """Move down if the measure asks for it; a halt may find a further cause."""
        limit = self.var_limit_usd
        if _is_unknown(report):
            reason = report.reason or "VAR_NOT_FINITE"
            return self._enter_halt(ts_ns, reason, f"VaR is unknown ({reason})")
        if self._is_breach(report):
            text = f"VaR {_usd(report.var_usd)} has reached the limit {_usd(limit)}"
            return self._enter_halt(ts_ns, VAR_LIMIT, text)
        is_over = not report.var_upper_usd < limit - HALF_CENT_USD
        if self.trading_state is TradingState.ACTIVE and (is_over or held_suspect):
            text = "a held symbol's price is suspect and waits for confirmation"
            if is_over:
                text = f"the upper bound of VaR {_usd(report.var_upper_usd)} has reached {_usd(limit)}"
            self._has_warned = self._has_warned or is_over
            return [
                self._move(ts_ns, TradingState.REDUCING, VAR_UPPER if is_over else PRICE_SUSPECT),
                Alert(ts_ns, "warning", "reducing", f"only trades that lower VaR pass: {text}"),
            ]
        return []

    def _count_calm(
        self, ts_ns: Nanos, report: RiskReport, held_suspect: bool, is_fresh: bool
    ) -> Sequence[TradingStateChanged | Alert]:
        """REDUCING: three fresh upper bounds in a row at or under 95% of the limit give ACTIVE.

        A calm one of old prices neither counts nor breaks the row, since thin symbols lack bars on calm days.
        """
        is_calm = report.var_upper_usd <= CLEAR_FRAC * self.var_limit_usd and not held_suspect
        self._calm = self._calm + is_fresh if is_calm else 0
        if self._calm < CLEAR_COUNT:
            return self._warn(ts_ns, report)
        text = (
            f"trading is open again: {CLEAR_COUNT} measures in a row under {CLEAR_FRAC:.0%} of the limit "
            f"{_usd(self.var_limit_usd)}, the last {_usd(report.var_upper_usd)}"
        )
        return [self._move(ts_ns, TradingState.ACTIVE, CLEARED), Alert(ts_ns, "info", "active", text)]

    def _warn(self, ts_ns: Nanos, report: RiskReport) -> Sequence[Alert]:
        """Tell people once that VaR has come near the limit, and again only after it had gone away."""
        frac = report.var_usd / self.var_limit_usd
        if self._has_warned:
            self._has_warned = frac >= self._warn_frac - REARM_FRAC
            return ()
        if frac < self._warn_frac:
            return ()
        self._has_warned = True
        text = f"VaR {_usd(report.var_usd)} is {frac:.0%} of the limit {_usd(self.var_limit_usd)}"
        return [Alert(ts_ns, "warning", "var_near_limit", text)]

    def _enter_halt(
        self, ts_ns: Nanos, reason: str, text: str, *, by_person: bool = False
    ) -> list[TradingStateChanged | Alert]:
        cause = reason.partition(":")[0]
        if cause == STATE_RECOMPUTED:
            self._causes = [known for known in self._causes if known not in {STATE_MISMATCH, cause}]
        if cause in self._causes and not by_person:
            return []
        if not by_person:
            self._causes.append(cause)
        stays = "stays " if self.trading_state is TradingState.HALTED else ""
        self._halts += 1
        at = datetime.fromtimestamp(ts_ns // SECOND_NS, UTC)
        self.halt_id = f"halt-{at:%Y%m%dT%H%M%SZ}-{self._halts}"
        return [
            self._move(ts_ns, TradingState.HALTED, reason),
            Alert(ts_ns, "critical", "halted", f"trading {stays}halted: {text}; resume with {self.halt_id}"),
        ]

    def _move(self, ts_ns: Nanos, state: TradingState, reason: str) -> TradingStateChanged:
        previous, self.trading_state = self.trading_state, state
        halt_id = self.halt_id
        if state is not TradingState.HALTED:
            self.halt_id = ""
            self._causes.clear()
        self._calm = 0
        return TradingStateChanged(ts_ns, state, previous, reason, halt_id)


def _is_unknown(report: RiskReport) -> bool:
    return bool(report.reason) or not (math.isfinite(report.var_usd) and math.isfinite(report.var_upper_usd))


def _usd(amount: float) -> str:
    return f"${amount:,.2f}"


def _checked(var_limit_usd: float) -> float:
    if not (var_limit_usd > 0.0 and math.isfinite(var_limit_usd)):
        raise ConfigError(
            "C041",
            f"var_limit_usd must be a positive amount, was {var_limit_usd}",
            "risk.var_limit_usd",
            "Every halt is judged by this limit; give it in USD, for example 150000.",
        )
    return float(var_limit_usd)
