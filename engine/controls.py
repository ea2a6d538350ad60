"""The numbers an operator may change while the engine runs, and how far.

A number may be tightened for good. Loosening it beyond its standing value needs a time, within a week, at
which that value returns by itself, and neither way leads out of the hard bounds of the configuration. A
command that asks for several numbers changes all of them or none. Which way is tight depends on the number: a
cap protects by being low, an aversion by being high.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from engine.commands import TIME_MAX_NS
from engine.events import DAY_NS, LimitChanged, Nanos
from engine.ports import State

VAR_LIMIT: Final = "var_limit_usd"
#: Numbers that belong to the allocator: it takes them from ``AllocationProblem.controls``.
CAPS: Final = ("gross_max_frac", "net_max_frac", "name_max_frac")
AVERSIONS: Final = ("risk_aversion", "trade_aversion")
#: The key of a ``limits`` command that is no number to change: when the standing values return.
REVERT: Final = "revert_ns"
#: The longest that a number may stay loosened: what lasts belongs into the configuration.
LOOSE_MAX_DAYS: Final = 7
#: Who changes a number back when its time has come.
TIMER: Final = "timer"


class Control(msgspec.Struct, frozen=True):
    """One adjustable number.

    Parameters
    ----------
    name : str
    value : float
        As configured.
    low, high : float
        Hard bounds; ``low <= value <= high``.
    """

    name: str
    value: float
    low: float
    high: float

    @property
    def is_tight_low(self) -> bool:
        """Whether a smaller value is the safer one."""
        return self.name not in AVERSIONS

    def is_looser(self, value: float, standing: float) -> bool:
        """Whether ``value`` allows more than ``standing`` does."""
        return value > standing if self.is_tight_low else value < standing


class Setting(msgspec.Struct, frozen=True):
    """What a number is now, what it returns to, and when; ``revert_ns`` 0 means it stands."""

    value: float
    standing: float
    revert_ns: Nanos = 0


class Controls:
    """Values, standing values and timers of the adjustable numbers.

    Parameters
    ----------
    controls : sequence of Control
        In the order in which changes are told.

    Examples
    --------
    >>> controls = Controls([Control("var_limit_usd", 150_000.0, 1.0, 150_000.0)])
    >>> controls.change(60, {"var_limit_usd": 200_000.0, "revert_ns": 90.0}, "ada")
    'var_limit_usd must be between 1 and 150000, was 200000'
    >>> [changed.value for changed in controls.change(60, {"var_limit_usd": 9e4}, "ada")]
    [90000.0]
    """

    def __init__(self, controls: Sequence[Control]) -> None:
        self._controls = {control.name: control for control in controls}
        self._settings = {control.name: Setting(control.value, control.value) for control in controls}
        #: The earliest time at which a value returns; 0 when none will.
        self.revert_ns: Nanos = 0

    @property
    def settings(self) -> Mapping[str, Setting]:
        """Every number as it is now, by name."""
        return self._settings

    @property
    def bounds(self) -> Mapping[str, Control]:
        """Every number as configured, with its hard bounds, by name."""
        return self._controls

    @property
    def of_allocator(self) -> dict[str, float]:
        """The numbers in force that belong to the allocator."""
        return {name: setting.value for name, setting in self._settings.items() if name != VAR_LIMIT}

    def change(self, ts_ns: Nanos, args: Mapping[str, float], principal: str) -> str | list[LimitChanged]:
        """Change the numbers a command names, all of them or none.

        Parameters
        ----------
        ts_ns : int
            When the command entered the log.
        args : mapping of str to float
            New values by name, and ``revert_ns``: when the standing values return, 0 for never.
        principal : str

        Returns
        -------
        str or list of LimitChanged
            Why nothing was changed, or what was.
        """
        revert = args.get(REVERT, 0.0)
        names = [name for name in args if name != REVERT]
        if not (revert == 0.0 or ts_ns < revert < TIME_MAX_NS):
            return f"{REVERT} must be 0 or lie ahead"
        if not names:
            return f"no number to change was named; there are {', '.join(self._controls)}"
        for name in names:
            if fault := self._fault(name, args[name], revert - ts_ns if revert else None):
                return fault
        return [
            self._set(ts_ns, name, args[name], int(revert), principal)
            for name in self._controls
            if name in args
        ]

    def _fault(self, name: str, value: float, lasts_ns: float | None) -> str:
        """Say why a number cannot be changed for so long (None: for good); empty if it can."""
        control = self._controls.get(name)
        if control is None:
            return f"{name!r} is no number of this engine; there are {', '.join(self._controls)}"
        if not control.low <= value <= control.high:
            return f"{name} must be between {control.low:.10g} and {control.high:.10g}, was {value:.10g}"
        if not control.is_looser(value, self._settings[name].standing):
            return ""
        if lasts_ns is None:
            return f"a loosened {name} must say when it reverts"
        if lasts_ns > LOOSE_MAX_DAYS * DAY_NS:
            return f"a loosened {name} must revert within {LOOSE_MAX_DAYS} days"
        return ""

    def revert(self, now_ns: Nanos) -> list[LimitChanged]:
        """Return to their standing values the numbers whose time has come."""
        return [
            self._set(now_ns, name, setting.standing, 0, TIMER)
            for name, setting in list(self._settings.items())
            if 0 < setting.revert_ns <= now_ns
        ]

    def _set(self, ts_ns: Nanos, name: str, value: float, revert_ns: Nanos, principal: str) -> LimitChanged:
        """Set one number; the last word replaces earlier ones, with their timers."""
        before = self._settings[name]
        self._settings[name] = Setting(value, before.standing if revert_ns else value, revert_ns)
        self._aim()
        return LimitChanged(ts_ns, name, value, before.value, revert_ns, principal)

    def _aim(self) -> None:
        self.revert_ns = min((s.revert_ns for s in self._settings.values() if s.revert_ns), default=0)

    def state(self) -> State:
        """Return everything that the next command or minute depends on."""
        return {name: list(msgspec.structs.astuple(setting)) for name, setting in self._settings.items()}

    def restore(self, state: State) -> None:
        """Continue from what ``state`` returned, bit for bit."""
        self._settings = {name: Setting(*state[name]) for name in self._controls}
        self._aim()
